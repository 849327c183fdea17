//! Debug registers, breakpoints and single steps (SDM Vol. 3B, Debug, Branch Profile, TSC).
//!
//! Conditions gather in `CpuState::pending_debug` while an instruction runs (bits as in DR6, and
//! the marks below) and are delivered after it. Instruction breakpoints are looked at before.
//! While DR7 enables anything, or TF or RF is set, the run loop goes one instruction at a time.

use crate::core::Core;
use crate::insn::interrupt_event::SINGLE_STEP;
use crate::insn::{branch_record, interrupt};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::Fault;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::registers::Cr4;
use trimotor_cpu::state::Activity;

pub(crate) const ROWS: &[Row] = &[
    row(Code::Mov_r32_dr, body(mov_from_dr::<u32>)),
    row(Code::Mov_r64_dr, body(mov_from_dr::<u64>)),
    row(Code::Mov_dr_r32, body(mov_to_dr::<u32>)),
    row(Code::Mov_dr_r64, body(mov_to_dr::<u64>)),
];

/// Mark in `pending_debug`: a data or I/O breakpoint that is enabled was hit.
pub(crate) const ENABLED_HIT: u64 = 1 << 63;
/// Mark in `pending_debug`: this instruction loaded RFLAGS.RF.
const RF_LOADED: u64 = 1 << 62;
/// Mark in `pending_debug`: no single-step trap after this instruction (INT n cleared TF).
pub(crate) const NO_TRAP: u64 = 1 << 61;
/// DR6.BT: a task switch to a task with its T bit set.
pub(crate) const TASK_TRAP: u64 = 1 << 15;
/// DR6.BD: an access to debug registers with DR7.GD set.
const ACCESS_DETECTED: u64 = 1 << 13;
/// DR6 bits that conditions set.
const CONDITIONS: u64 = 0xE00F;
/// DR7.GD.
const GENERAL_DETECT: u64 = 1 << 13;
/// DR6 bits that are always one.
const DR6_ONES: u64 = 0xFFFF_0FF0;
/// DR7 bits that can be written, and the one that is always one.
const DR7_WRITABLE: u64 = 0xFFFF_23FF;
const DR7_ONES: u64 = 0x400;

/// Whether breakpoint `i` is enabled, locally or globally.
fn is_enabled(dr7: u64, i: usize) -> bool {
    dr7 >> (2 * i) & 3 != 0
}
/// Kinds of breakpoints that accesses hit.
pub(crate) const WRITE: u64 = 1;
const IO: u64 = 2;
pub(crate) const READ_WRITE: u64 = 3;
/// R/W field of breakpoint `i`: 0 execute, or one of the kinds above.
fn kind(dr7: u64, i: usize) -> u64 {
    dr7 >> (16 + 4 * i) & 3
}
/// Length in bytes of breakpoint `i`.
fn length(dr7: u64, i: usize) -> u64 {
    [1, 2, 8, 4][(dr7 >> (18 + 4 * i) & 3) as usize]
}

/// Whether an instruction breakpoint stands at the next instruction; DR6 is then set.
pub(crate) fn before_instruction(core: &mut Core) -> bool {
    let dr7 = core.state.dr[7];
    if core.state.shadow_at == core.state.retired && core.state.shadow_is_ss {
        return false;
    }
    let linear = core.next_linear();
    let mut hits = 0;
    let mut stop = false;
    for i in 0..4 {
        if kind(dr7, i) == 0 && core.state.dr[i] == linear {
            hits |= 1 << i;
            stop |= is_enabled(dr7, i);
        }
    }
    if stop {
        core.state.dr[6] = core.state.dr[6] & !0xF | hits;
    }
    stop
}

/// Whether the instruction that just retired loaded RFLAGS.RF itself.
pub(crate) fn sets_rf(core: &Core) -> bool {
    core.state.pending_debug & RF_LOADED != 0
}

/// IRET or a task switch loaded RFLAGS. RF matters only while breakpoints are enabled: without any
/// it is dropped at once, so that a return to an instruction that faulted costs no single step.
pub(crate) fn resume_flag_loaded(core: &mut Core) {
    if !core.state.rflags.contains(Rflags::RF) {
        return;
    }
    if core.state.dr[7] & 0xFF == 0 {
        core.state.rflags.remove(Rflags::RF);
    } else {
        core.state.pending_debug |= RF_LOADED;
    }
}

/// An instruction that began with TF set retired.
pub(crate) fn single_step_done(core: &mut Core) {
    if core.state.pending_debug & NO_TRAP == 0 {
        core.state.pending_debug |= SINGLE_STEP;
    }
}

/// SYSCALL or SYSRET loaded RFLAGS: its own trap goes by the TF that it loaded, not by the one that it began with.
pub(crate) fn trap_flag_loaded(core: &mut Core, before: bool) {
    match (before, core.state.rflags.contains(Rflags::TF)) {
        (true, false) => core.state.pending_debug |= NO_TRAP,
        (false, true) => core.state.pending_debug |= SINGLE_STEP,
        _ => {}
    }
}

/// Delivers #DB for the conditions that the last instruction met; wakes a halted CPU.
pub(crate) fn after_instruction(core: &mut Core) {
    let pending = core.state.pending_debug;
    if core.state.shadow_at == core.state.retired && core.state.shadow_is_ss {
        // MOV SS and POP SS hold data breakpoints back for an instruction, and lose the single step. If that
        // instruction faults, they are lost too; if it is INT1, its #DB tells of them; else their #DB comes after
        // it, at a handler's first instruction where it leads into one.
        core.state.pending_debug &= !(SINGLE_STEP | NO_TRAP | RF_LOADED);
        return;
    }
    if pending & (ENABLED_HIT | SINGLE_STEP | TASK_TRAP) == 0 {
        core.state.pending_debug = 0;
        return;
    }
    let fault = take_debug(core);
    core.state.activity = Activity::Active;
    interrupt::raise(core, fault);
}

/// Moves the pending conditions to DR6.
pub(crate) fn take_debug(core: &mut Core) -> Fault {
    let pending = std::mem::take(&mut core.state.pending_debug);
    tell(core, pending);
    Fault::DB
}

/// Tells in DR6 of the conditions in `pending`. Those of breakpoints replace older ones, the others are added.
pub(crate) fn tell(core: &mut Core, pending: u64) {
    core.state.dr[6] = core.state.dr[6] & !0xF | pending & CONDITIONS;
}

/// A handler of #DB is about to run: general detection and the recording of branches end.
pub(crate) fn enter_handler(core: &mut Core) {
    core.state.dr[7] &= !GENERAL_DETECT;
    branch_record::stop(core);
}

/// An instruction faulted: what it met on the way does not count.
pub(crate) fn forget(core: &mut Core) {
    core.state.pending_debug = 0;
}

/// Notes I/O breakpoints that an access to `bytes` bytes at `port` hits.
pub(crate) fn note_port(core: &mut Core, port: u16, bytes: u64) {
    if core.state.dr[7] & 0xFF == 0 || !core.state.cr4.contains(Cr4::DE) {
        return;
    }
    note_hits(core, Range { start: port as u64, bytes, mask: u64::MAX }, |kind| kind == IO);
}

/// Addresses from `start` on, of a space whose addresses have the bits of `mask`: after the last comes 0.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) bytes: u64,
    pub(crate) mask: u64,
}
impl Range {
    fn contains(self, at: u64) -> bool {
        at & !self.mask == 0 && at.wrapping_sub(self.start) & self.mask < self.bytes
    }
    /// Whether it and the `bytes` addresses from `start` on have one in common.
    pub(crate) fn meets(self, start: u64, bytes: u64) -> bool {
        let other = Range { start, bytes, ..self };
        self.contains(start) || start & !self.mask == 0 && other.contains(self.start)
    }
}

/// Notes the breakpoints of a wanted kind (the R/W field of DR7) that an access to `accessed` hits.
pub(crate) fn note_hits(core: &mut Core, accessed: Range, wanted: impl Fn(u64) -> bool) {
    let dr7 = core.state.dr[7];
    for i in 0..4 {
        let size = length(dr7, i);
        if wanted(kind(dr7, i)) && accessed.meets(core.state.dr[i] & !(size - 1), size) {
            core.state.pending_debug |= 1 << i | if is_enabled(dr7, i) { ENABLED_HIT } else { 0 };
            core.attention |= is_enabled(dr7, i);
        }
    }
}

/// The checks that both directions of MOV DR share; gives the register's number.
fn check(core: &mut Core, number: u8) -> Result<usize, Fault> {
    let number = match number {
        4 | 5 if core.state.cr4.contains(Cr4::DE) => return Err(Fault::UD),
        4 | 5 => number + 2,
        8.. => return Err(Fault::UD),
        n => n,
    };
    if core.state.cpl != 0 {
        return Err(Fault::gp(0));
    }
    if core.state.dr[7] & GENERAL_DETECT != 0 {
        core.state.dr[6] |= ACCESS_DETECTED;
        return Err(Fault::DB);
    }
    Ok(number as usize)
}

fn mov_from_dr<T: crate::core::Int>(core: &mut Core, op: &Op) -> Done {
    let n = check(core, op.r2)?;
    let value = core.state.dr[n];
    core.set_reg(op.r1, T::cut(value));
    Ok(())
}

fn mov_to_dr<T: crate::core::Int>(core: &mut Core, op: &Op) -> Done {
    let n = check(core, op.r1)?;
    let value = core.reg::<T>(op.r2).to_u64();
    if n >= 6 && value >> 32 != 0 {
        return Err(Fault::gp(0));
    }
    core.state.dr[n] = match n {
        6 => value & CONDITIONS | DR6_ONES,
        7 => value & DR7_WRITABLE | DR7_ONES,
        _ => value,
    };
    if n != 6 {
        // Pages with breakpoints are not kept in the tables of inline translations.
        core.mmu.flush_all(&mut core.state);
    }
    let next = core.next_rip(op);
    core.leave(next)
}
