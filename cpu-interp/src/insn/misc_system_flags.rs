//! CLI, STI, PUSHF, POPF, STAC, CLAC: flags that privilege guards (SDM Vol. 2; Vol. 3B, 8086
//! Emulation, "Interrupt and Exception Handling in Virtual-8086 Mode").
//!
//! With CR4.VME, virtual-8086 code below IOPL 3 sees VIF where it looks for IF; with CR4.PVI,
//! CLI and STI at CPL 3 work on VIF too.

use crate::core::{Core, Int};
use crate::op::{Done, Op, Row, Unit, body, row};
use iced_x86::Code;
use trimotor_cpu::Fault;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::registers::Cr4;

pub(crate) const ROWS: &[Row] = &[
    row(Code::Cli, body(cli)),
    row(Code::Sti, body(sti)),
    row(Code::Pushfw, body(pushf::<u16>)),
    row(Code::Pushfd, body(pushf::<u32>)),
    row(Code::Pushfq, body(pushf::<u64>)),
    row(Code::Popfw, body(popf::<u16>)),
    row(Code::Popfd, body(popf::<u32>)),
    row(Code::Popfq, body(popf::<u64>)),
    row(Code::Stac, body(set_ac::<true>)).unit(Unit::None),
    row(Code::Clac, body(set_ac::<false>)).unit(Unit::None),
];

/// Flags that any POPF may change.
const ALWAYS: u64 = Rflags::ARITH.bits()
    | Rflags::TF.bits()
    | Rflags::DF.bits()
    | Rflags::NT.bits()
    | Rflags::AC.bits()
    | Rflags::ID.bits();

/// Which flag CLI and STI work on.
#[derive(PartialEq, Eq)]
enum Interrupts {
    Real,
    Virtual,
}

/// # Faults
/// #GP(0) where neither IF nor VIF may be changed.
fn interrupt_flag(core: &Core) -> Result<Interrupts, Fault> {
    let s = &core.state;
    if !s.protected() || s.iopl() >= s.cpl {
        return Ok(Interrupts::Real);
    }
    let is_virtual = if s.v86() { s.cr4.contains(Cr4::VME) } else { s.cpl == 3 && s.cr4.contains(Cr4::PVI) };
    if is_virtual { Ok(Interrupts::Virtual) } else { Err(Fault::gp(0)) }
}

fn cli(core: &mut Core, _op: &Op) -> Done {
    match interrupt_flag(core)? {
        Interrupts::Real => core.state.rflags.remove(Rflags::IF),
        Interrupts::Virtual => core.state.rflags.remove(Rflags::VIF),
    }
    Ok(())
}

fn sti(core: &mut Core, _op: &Op) -> Done {
    if interrupt_flag(core)? == Interrupts::Virtual {
        if core.state.rflags.contains(Rflags::VIP) {
            return Err(Fault::gp(0));
        }
        core.state.rflags.insert(Rflags::VIF);
        return Ok(());
    }
    if !core.state.rflags.contains(Rflags::IF) {
        core.state.rflags.insert(Rflags::IF);
        core.set_shadow(false);
        notice_interrupts(core);
    }
    Ok(())
}

/// Ends the block soon where a pin is high.
fn notice_interrupts(core: &mut Core) {
    if core.signals.pending() != 0 {
        core.attention = true;
    }
}

fn pushf<T: Int + crate::access::Guest>(core: &mut Core, _op: &Op) -> Done {
    let mut image = core.state.rflags() & !(Rflags::VM | Rflags::RF).bits();
    if core.state.v86() && core.state.iopl() < 3 {
        if !core.state.cr4.contains(Cr4::VME) || T::BYTES != 2 {
            return Err(Fault::gp(0));
        }
        let vif = core.state.rflags.contains(Rflags::VIF);
        image = image & !Rflags::IF.bits() | Rflags::IOPL.bits() | if vif { Rflags::IF.bits() } else { 0 };
    }
    core.push(T::cut(image))
}

fn popf<T: Int + crate::access::Guest>(core: &mut Core, op: &Op) -> Done {
    let virtual_if = core.state.v86() && core.state.iopl() < 3;
    if virtual_if && (!core.state.cr4.contains(Cr4::VME) || T::BYTES != 2) {
        return Err(Fault::gp(0));
    }
    let image = core.peek::<T>(0)?.to_u64();
    let wants_if = image & Rflags::IF.bits() != 0;
    if virtual_if && (image & Rflags::TF.bits() != 0 || wants_if && core.state.rflags.contains(Rflags::VIP)) {
        return Err(Fault::gp(0));
    }
    core.drop_stack(T::BYTES as u64);
    let mut mask = ALWAYS;
    if virtual_if {
        core.state.rflags.set(Rflags::VIF, wants_if);
    } else {
        let cpl = if core.state.protected() { core.state.cpl } else { 0 };
        if cpl == 0 {
            mask |= Rflags::IOPL.bits();
        }
        if cpl <= core.state.iopl() {
            mask |= Rflags::IF.bits();
        }
    }
    if T::BYTES == 2 {
        mask &= 0xFFFF;
    }
    let old = core.state.rflags();
    let new = (old & !mask | image & mask) & !Rflags::RF.bits();
    core.state.set_rflags(new);
    let changed = old ^ new;
    if changed & new & Rflags::IF.bits() != 0 {
        notice_interrupts(core);
    }
    if changed & (Rflags::TF | Rflags::AC).bits() != 0 {
        core.mode_changed();
        let next = core.next_rip(op);
        return core.leave(next);
    }
    Ok(())
}

fn set_ac<const ON: bool>(core: &mut Core, _op: &Op) -> Done {
    if core.state.cpl != 0 {
        return Err(Fault::UD);
    }
    core.state.rflags.set(Rflags::AC, ON);
    core.mmu.select(&mut core.state);
    Ok(())
}
