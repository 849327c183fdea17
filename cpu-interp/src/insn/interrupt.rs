//! INT n and its kin, and what the run loop calls: exceptions with double and triple faults,
//! external interrupts, NMI, INIT and SIPI (SDM Vol. 3A, Interrupt and Exception Handling,
//! "Interrupt 8—Double Fault Exception").

use crate::core::Core;
use crate::insn::debug::{self, NO_TRAP};
use crate::insn::far_stack::Stack;
use crate::insn::interrupt_event::{Delivered, Event, Source, deliver};
use crate::insn::interrupt_report::{Link, report};
use crate::insn::segment_load::v86_segment;
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::registers::{Cr0, Cr4};
use trimotor_cpu::state::Activity;
use trimotor_cpu::trace::InterruptKind;
use trimotor_cpu::{CpuState, Fault, SegReg, Segment};

pub(crate) const ROWS: &[Row] = &[
    row(Code::Int_imm8, body(int)),
    row(Code::Int3, body(int3)),
    row(Code::Into, body(into)),
    row(Code::Int1, body(int1)),
];

#[inline(never)]
fn int(core: &mut Core, op: &Op) -> Done {
    let vector = op.imm as u8;
    if core.state.v86() {
        let redirected = core.state.cr4.contains(Cr4::VME) && !redirection_bit(core, vector)?;
        if redirected {
            return redirect(core, op, vector);
        }
        if core.state.iopl() < 3 {
            return Err(Fault::gp(0));
        }
    }
    software(core, op, vector, Source::Software)
}
#[inline(never)]
fn int3(core: &mut Core, op: &Op) -> Done {
    software(core, op, 3, Source::SoftwareException)
}
#[inline(never)]
fn into(core: &mut Core, op: &Op) -> Done {
    if core.state.rflags() & Rflags::OF.bits() == 0 {
        return Ok(());
    }
    software(core, op, 4, Source::SoftwareException)
}
/// INT1 is a #DB of its own: what a MOV SS before it held back is part of it, and no second #DB follows.
#[inline(never)]
fn int1(core: &mut Core, op: &Op) -> Done {
    let held_back = std::mem::take(&mut core.state.pending_debug);
    let done = software(core, op, 1, Source::PrivilegedSoftware);
    if done == Err(Fault::LEAVE) {
        debug::tell(core, held_back);
        debug::enter_handler(core);
    }
    done
}

fn software(core: &mut Core, op: &Op, vector: u8, source: Source) -> Done {
    let event = Event { vector, source, error_code: None, return_rip: core.next_rip(op) };
    core.trace_interrupt(InterruptKind::Software(vector));
    let traced = core.state.rflags.contains(Rflags::TF);
    match deliver(core, event)? {
        Delivered::Handler => {
            if traced {
                core.state.pending_debug |= NO_TRAP;
            }
            core.leave(core.state.rip)
        }
        Delivered::TaskFault(fault) => raise_after_commit(core, fault),
    }
}

/// The software-interrupt redirection bit of the TSS: set means the IDT.
///
/// # Faults
/// #GP(0) where the TSS has no bitmap; #PF.
fn redirection_bit(core: &mut Core, vector: u8) -> Result<bool, Fault> {
    let tr = core.state.tr;
    if tr.kind() & 8 == 0 || tr.limit < 103 {
        return Err(Fault::gp(0));
    }
    let io_base = core.read_system::<u16>(tr.base.wrapping_add(102))? as u64;
    let Some(at) = (io_base + vector as u64 / 8).checked_sub(32) else { return Err(Fault::gp(0)) };
    if at > tr.limit as u64 {
        return Err(Fault::gp(0));
    }
    let byte = core.read_system::<u8>(tr.base.wrapping_add(at))?;
    Ok(byte >> (vector & 7) & 1 != 0)
}

/// INT n of virtual-8086 mode through the table of the virtual 8086 at linear address 0.
fn redirect(core: &mut Core, op: &Op, vector: u8) -> Done {
    core.trace_interrupt(InterruptKind::Software(vector));
    let entry = core.read_linear::<u32>(vector as u64 * 4)?;
    let virtual_if = core.state.iopl() < 3;
    let mut image = core.state.rflags();
    if virtual_if {
        let vif = core.state.rflags.contains(Rflags::VIF);
        image = image & !Rflags::IF.bits() | Rflags::IOPL.bits() | if vif { Rflags::IF.bits() } else { 0 };
    }
    let mut stack = Stack::current(core);
    stack.push(core, image, 2)?;
    stack.push(core, core.state.seg(SegReg::Cs).selector as u64, 2)?;
    stack.push(core, core.next_rip(op), 2)?;
    if core.state.rflags.contains(Rflags::TF) {
        core.state.pending_debug |= NO_TRAP;
    }
    core.state.rflags.remove(Rflags::TF | Rflags::RF | if virtual_if { Rflags::VIF } else { Rflags::IF });
    core.state.set_gpr(4, stack.sp);
    core.state.segments[SegReg::Cs as usize] = v86_segment((entry >> 16) as u16);
    core.mode_changed();
    core.leave(entry as u64 & 0xFFFF)
}

/// Delivers a fault from an instruction body after the point of no return (a task switch is done,
/// and the new task's first fault is due).
pub(crate) fn raise_after_commit(core: &mut Core, fault: Fault) -> Done {
    raise(core, fault);
    Err(Fault::LEAVE)
}

/// What two exceptions together make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Combined {
    /// The second is delivered as if it stood alone.
    Serial,
    Double,
    Triple,
}

fn is_contributory(vector: u8) -> bool {
    matches!(vector, 0 | 10..=13)
}

/// The second exception came up while the first was being delivered.
fn combine(first: u8, second: u8) -> Combined {
    match (first, second) {
        (8, _) => Combined::Triple,
        (14, 14) => Combined::Double,
        (f, s) if (is_contributory(f) || f == 14) && is_contributory(s) => Combined::Double,
        _ => Combined::Serial,
    }
}

/// Delivers the exception `fault`. `state.rip` is at the instruction that faults, or after the one
/// that trapped. A fault on the way makes a double fault, then shutdown: `state.activity` is
/// [`Activity::Shutdown`], and `core.shutdown` tells why.
pub(crate) fn raise(core: &mut Core, fault: Fault) {
    let mut chain = [Link::default(); 4];
    let mut count = 0;
    let mut fault = fault;
    debug::forget(core);
    loop {
        if fault.vector() == 14 {
            core.state.cr2 = core.state.fault_address;
        }
        if count < chain.len() {
            chain[count] = Link::of(core, fault);
            count += 1;
        }
        if fault == Fault::DB {
            debug::enter_handler(core);
        }
        core.trace_exception(fault);
        let event = Event {
            vector: fault.vector(),
            source: Source::Exception,
            error_code: fault.error_code().filter(|_| core.state.protected()),
            return_rip: core.state.rip,
        };
        let next = match deliver(core, event) {
            Ok(Delivered::Handler) => return,
            Ok(Delivered::TaskFault(next)) | Err(next) => next,
        };
        if next.vector() == 14 {
            core.state.cr2 = core.state.fault_address;
        }
        match combine(fault.vector(), next.vector()) {
            Combined::Serial => fault = next,
            Combined::Double => {
                if count < chain.len() {
                    chain[count] = Link::of(core, next);
                    count += 1;
                }
                fault = Fault::DF;
            }
            Combined::Triple => {
                if count < chain.len() {
                    chain[count] = Link::of(core, next);
                    count += 1;
                }
                core.state.activity = Activity::Shutdown;
                core.shutdown = report(core, &chain[..count]);
                return;
            }
        }
    }
}

/// Delivers an event that is no exception; what goes wrong is raised.
fn interrupt(core: &mut Core, vector: u8, source: Source) {
    if core.state.activity == Activity::Halted {
        core.state.activity = Activity::Active;
    }
    core.trace_interrupt(match source {
        Source::Nmi => InterruptKind::Nmi,
        _ => InterruptKind::External(vector),
    });
    let event = Event { vector, source, error_code: None, return_rip: core.state.rip };
    match deliver(core, event) {
        Ok(Delivered::Handler) => {}
        Ok(Delivered::TaskFault(fault)) | Err(fault) => raise(core, fault),
    }
}

/// Delivers an external interrupt.
pub(crate) fn external(core: &mut Core, vector: u8) {
    interrupt(core, vector, Source::External);
}

/// Delivers a non-maskable interrupt; NMIs are then blocked until IRET.
pub(crate) fn nmi(core: &mut Core) {
    interrupt(core, 2, Source::Nmi);
}

/// INIT: the state after RESET, but the floating-point registers, the MSRs and CR0.CD and NW stay
/// (SDM Vol. 3A, Processor Management and Initialization). Application processors wait for SIPI.
pub(crate) fn init(core: &mut Core) {
    let fresh = CpuState::at_reset(core.model.signature);
    let s = &mut core.state;
    let cache_bits = s.cr0 & (Cr0::CD | Cr0::NW);
    s.reg_file[..16].copy_from_slice(&fresh.reg_file[..16]);
    s.arith = fresh.arith;
    s.rflags = fresh.rflags;
    s.rip = fresh.rip;
    s.cpl = 0;
    s.segments = fresh.segments;
    s.ldtr = fresh.ldtr;
    s.tr = fresh.tr;
    s.gdtr = fresh.gdtr;
    s.idtr = fresh.idtr;
    s.cr0 = (fresh.cr0 - (Cr0::CD | Cr0::NW)) | cache_bits;
    s.cr2 = 0;
    s.cr3 = 0;
    s.cr4 = fresh.cr4;
    s.efer = fresh.efer;
    s.pdpte = fresh.pdpte;
    s.dr = fresh.dr;
    s.pkru = 0;
    s.nmi_blocked = false;
    s.shadow_at = u64::MAX;
    s.pending_debug = 0;
    s.activity = if core.id == 0 { Activity::Active } else { Activity::WaitForSipi };
    let state = &mut core.state;
    core.mmu.load_cr3(state);
    core.mmu.flush_all(state);
    core.mode_changed();
}

/// SIPI: an application processor starts at `vector << 12` in real mode.
pub(crate) fn startup(core: &mut Core, vector: u8) {
    let selector = (vector as u16) << 8;
    core.state.segments[SegReg::Cs as usize] =
        Segment { base: (vector as u64) << 12, limit: 0xFFFF, attributes: 0x9B, selector };
    core.state.rip = 0;
    core.state.activity = Activity::Active;
    core.mode_changed();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_faults_combine_as_the_table_says() {
        assert_eq!(combine(13, 11), Combined::Double);
        assert_eq!(combine(14, 14), Combined::Double);
        assert_eq!(combine(14, 13), Combined::Double);
        assert_eq!(combine(13, 14), Combined::Serial);
        assert_eq!(combine(1, 13), Combined::Serial);
        assert_eq!(combine(6, 14), Combined::Serial);
        assert_eq!(combine(8, 14), Combined::Triple);
        assert_eq!(combine(8, 13), Combined::Triple);
    }
}
