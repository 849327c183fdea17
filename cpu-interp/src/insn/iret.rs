//! IRET in all its forms (SDM Vol. 2, IRET).

use crate::core::Core;
use crate::insn::far::{OuterStack, check_target, fetch_return_code, return_outward};
use crate::insn::far_stack::Stack;
use crate::insn::segment_descriptor::set_accessed;
use crate::insn::segment_load::{paragraph_segment, v86_segment};
use crate::insn::{debug, task};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::registers::Cr4;
use trimotor_cpu::{Fault, SegReg};

pub(crate) const ROWS: &[Row] = &[
    row(Code::Iretw, body(iret::<2>)),
    row(Code::Iretd, body(iret::<4>)),
    row(Code::Iretq, body(iret::<8>)),
];

/// Flags that any IRET may change.
const ALWAYS: u64 = Rflags::ARITH.bits()
    | Rflags::TF.bits()
    | Rflags::DF.bits()
    | Rflags::NT.bits()
    | Rflags::RF.bits()
    | Rflags::AC.bits()
    | Rflags::ID.bits();

#[inline(never)]
fn iret<const SIZE: u64>(core: &mut Core, op: &Op) -> Done {
    if !core.state.protected() {
        core.unblock_nmis();
        return real_mode::<SIZE>(core);
    }
    if core.state.v86() {
        return v86::<SIZE>(core);
    }
    // Even an IRET that faults unblocks NMIs.
    core.unblock_nmis();
    if core.state.rflags.contains(Rflags::NT) {
        if core.state.long_mode() {
            return Err(Fault::gp(0));
        }
        let next = core.next_rip(op);
        return task::return_to_caller(core, next);
    }
    protected_mode::<SIZE>(core)
}

/// Replaces the flags in `mask` by those of `image`; a 16-bit image has no upper half.
fn set_flags<const SIZE: u64>(core: &mut Core, image: u64, mask: u64) {
    let mask = if SIZE == 2 { mask & 0xFFFF } else { mask };
    let old = core.state.rflags();
    core.state.set_rflags(old & !mask | image & mask);
    debug::resume_flag_loaded(core);
}

fn real_mode<const SIZE: u64>(core: &mut Core) -> Done {
    let mut stack = Stack::current(core);
    let ip = stack.pop(core, SIZE)?;
    let selector = stack.pop(core, SIZE)? as u16;
    let flags = stack.pop(core, SIZE)?;
    let cs = paragraph_segment(core, SegReg::Cs, selector);
    if ip > cs.limit as u64 {
        return Err(Fault::gp(0));
    }
    core.state.segments[SegReg::Cs as usize] = cs;
    core.state.set_gpr(4, stack.sp);
    set_flags::<SIZE>(core, flags, ALWAYS | Rflags::IF.bits() | Rflags::IOPL.bits());
    core.mode_changed();
    core.leave(ip)
}

fn v86<const SIZE: u64>(core: &mut Core) -> Done {
    let iopl3 = core.state.iopl() == 3;
    let vme = core.state.cr4.contains(Cr4::VME) && SIZE == 2;
    if !iopl3 && !vme {
        return Err(Fault::gp(0));
    }
    let mut stack = Stack::current(core);
    let ip = stack.pop(core, SIZE)?;
    let selector = stack.pop(core, SIZE)? as u16;
    let flags = stack.pop(core, SIZE)?;
    if ip > 0xFFFF {
        return Err(Fault::gp(0));
    }
    let wants_if = flags & Rflags::IF.bits() != 0;
    if !iopl3 && (flags & Rflags::TF.bits() != 0 || wants_if && core.state.rflags.contains(Rflags::VIP)) {
        return Err(Fault::gp(0));
    }
    core.unblock_nmis();
    core.state.segments[SegReg::Cs as usize] = v86_segment(selector);
    core.state.set_gpr(4, stack.sp);
    if iopl3 {
        set_flags::<SIZE>(core, flags, ALWAYS | Rflags::IF.bits());
    } else {
        core.state.rflags.set(Rflags::VIF, wants_if);
        set_flags::<SIZE>(core, flags, ALWAYS);
    }
    core.mode_changed();
    core.leave(ip)
}

fn protected_mode<const SIZE: u64>(core: &mut Core) -> Done {
    let from_64bit = core.state.is_64bit_code();
    let cpl = core.state.cpl;
    let mut stack = Stack::current(core);
    let rip = stack.pop(core, SIZE)?;
    let selector = stack.pop(core, SIZE)? as u16;
    let flags = stack.pop(core, SIZE)?;
    if SIZE == 4 && flags & Rflags::VM.bits() != 0 && cpl == 0 && !core.state.long_mode() {
        return to_v86(core, stack, rip, selector, flags);
    }
    let mut mask = ALWAYS;
    if cpl == 0 {
        mask |= Rflags::IOPL.bits() | Rflags::VIF.bits() | Rflags::VIP.bits();
    }
    if cpl <= core.state.iopl() {
        mask |= Rflags::IF.bits();
    }
    let mut d = fetch_return_code(core, selector)?;
    if (selector & 3) as u8 != cpl || from_64bit {
        let sp = stack.pop(core, SIZE)?;
        let ss = stack.pop(core, SIZE)? as u16;
        return_outward(core, d, selector, rip, OuterStack { selector: ss, sp, drop: 0 })?;
    } else {
        check_target(core, &d, rip)?;
        set_accessed(core, &mut d)?;
        core.state.segments[SegReg::Cs as usize] = d.segment(selector);
        core.state.set_gpr(4, stack.sp);
    }
    set_flags::<SIZE>(core, flags, mask);
    core.mode_changed();
    core.leave(rip)
}

/// IRETD at CPL 0 with VM set in the image.
fn to_v86(core: &mut Core, mut stack: Stack, ip: u64, cs: u16, flags: u64) -> Done {
    let sp = stack.pop(core, 4)?;
    let mut selectors = [0u16; 6];
    for reg in [SegReg::Ss, SegReg::Es, SegReg::Ds, SegReg::Fs, SegReg::Gs] {
        selectors[reg as usize] = stack.pop(core, 4)? as u16;
    }
    if ip > 0xFFFF {
        return Err(Fault::gp(0));
    }
    selectors[SegReg::Cs as usize] = cs;
    for reg in SegReg::ALL {
        core.state.segments[reg as usize] = v86_segment(selectors[reg as usize]);
    }
    core.state.set_gpr(4, sp);
    core.state.cpl = 3;
    let all = ALWAYS | (Rflags::IF | Rflags::IOPL | Rflags::VM | Rflags::VIF | Rflags::VIP).bits();
    set_flags::<4>(core, flags, all);
    core.mode_changed();
    core.leave(ip)
}
