//! The decoded operation and its dispatch.
//!
//! A block of guest code is an array of 32-byte [`Op`]s. Each names its handler, and a handler ends
//! by tail-calling the next op's: there is no loop around it. In builds without optimisation or with debug
//! assertions handlers return to a loop instead ([`LOOPS`]).

#![allow(unsafe_code, reason = "handlers walk the ops of a block by pointer")]

use crate::core::Core;
use iced_x86::Code;
use trimotor_cpu::Fault;

/// What an instruction body returns.
pub type Done = Result<(), Fault>;

/// The code of one op: does its work and goes on to the next op.
pub type Handler = unsafe fn(&mut Core, *const Op) -> Exit;

/// Handlers return to a loop: without optimisation calls in tail position are real calls. (`tail_calls` comes from the
/// build script.)
pub(crate) const LOOPS: bool = cfg!(any(debug_assertions, not(tail_calls)));

/// Why handlers returned to the run loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Go on at `core.next_op` (builds that dispatch by a loop).
    Continue,
    /// Look up the block at `state.rip`.
    Lookup,
    /// The budget does not cover the block at `state.rip`.
    Budget,
    /// `core.fault` was raised by the instruction at `state.rip`.
    Fault,
}

/// One decoded operation. Registers are as `INTERP` lowering assigns them: general registers as
/// byte offsets into the slot file, others by number.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct Op {
    /// Does the work.
    pub handler: Handler,
    /// Immediate, or the linked block of a jump.
    pub imm: u64,
    /// Displacement of the memory operand (relative to the block's start if RIP-relative), or of
    /// the jump target relative to the block's start.
    pub disp: i32,
    /// Slot offset of the base.
    pub base: u8,
    /// Slot offset of the index.
    pub index: u8,
    /// Shift of the index, 0 to 3.
    pub scale: u8,
    /// Slot offset of the segment base.
    pub seg: u8,
    /// First register operand.
    pub r1: u8,
    /// Second register operand.
    pub r2: u8,
    /// Third register operand.
    pub r3: u8,
    /// Length in bytes.
    pub len: u8,
    /// Offset from the block's first byte.
    pub offset: u16,
    /// Instructions of the block after this op.
    pub left: u8,
    /// See [`info`].
    pub info: u8,
}

/// Bits of [`Op::info`].
pub mod info {
    /// Has a memory operand.
    pub const MEM: u8 = 1 << 0;
    /// 16-bit addresses.
    pub const ADDR16: u8 = 1 << 1;
    /// 32-bit addresses.
    pub const ADDR32: u8 = 1 << 2;
    /// The effective address needs segment checks or cutting: no inline translation.
    pub const GENERAL: u8 = 1 << 3;
    /// REP or REPE.
    pub const REP: u8 = 1 << 4;
    /// REPNE.
    pub const REPNE: u8 = 1 << 5;
    /// Some SSE exception is unmasked: floating-point bodies must check.
    pub const FP_CHECKED: u8 = 1 << 6;
}

const _: () = assert!(size_of::<Op>() == 32);

impl Op {
    /// Has a memory operand.
    #[inline(always)]
    pub fn has_mem(&self) -> bool {
        self.info & info::MEM != 0
    }
    /// Some SSE exception is unmasked.
    #[inline(always)]
    pub fn fp_checked(&self) -> bool {
        self.info & info::FP_CHECKED != 0
    }
    /// REP or REPE.
    #[inline(always)]
    pub fn rep(&self) -> bool {
        self.info & info::REP != 0
    }
    /// REPNE.
    #[inline(always)]
    pub fn repne(&self) -> bool {
        self.info & info::REPNE != 0
    }
    /// Address size in bits: 16, 32 or 64.
    #[inline(always)]
    pub fn address_bits(&self) -> u32 {
        if self.info & info::ADDR16 != 0 {
            16
        } else if self.info & info::ADDR32 != 0 {
            32
        } else {
            64
        }
    }
    /// What effective addresses are cut to.
    #[inline(always)]
    pub fn address_mask(&self) -> u64 {
        u64::MAX >> (64 - self.address_bits())
    }
    /// The encoding of the memory operand's segment register.
    #[inline(always)]
    pub fn segment(&self) -> u8 {
        (self.seg - trimotor_cpu::state::slot::SEG_BASE) / 8
    }
}

/// Which unit an instruction needs: what CR0, CR4 and XCR0 must allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// As its encoding tells.
    Auto,
    /// None.
    None,
    /// x87: #NM by CR0.EM or CR0.TS.
    X87,
    /// MMX: #UD by CR0.EM, #NM by CR0.TS.
    Mmx,
    /// SSE: #UD by CR0.EM or without CR4.OSFXSR, #NM by CR0.TS.
    Sse,
    /// AVX: #UD without CR4.OSXSAVE and XCR0, #NM by CR0.TS.
    Avx,
}

/// One instruction form: iced's code and our handler.
#[derive(Clone, Copy)]
pub struct Row {
    /// The form.
    pub code: Code,
    /// What it does.
    pub handler: Handler,
    /// What must be enabled.
    pub unit: Unit,
    /// Handlers for the usual forms of its operands, if it has such.
    pub quick: Option<Quick>,
}

/// Handlers (see [`quick`]) for forms of operands that need no check when the op runs: no SSE
/// exception is unmasked, and the memory operand's segment is open.
#[derive(Clone, Copy)]
pub struct Quick {
    /// No memory operand.
    pub register: Handler,
    /// A memory operand without an index.
    pub base: Handler,
    /// A memory operand with an index, or without.
    pub indexed: Handler,
}

impl Row {
    /// Adds handlers for the usual forms of its operands.
    pub const fn quick(self, quick: Quick) -> Row {
        Row { quick: Some(quick), ..self }
    }
    /// The handler for `op`, whose operands are laid out.
    pub fn select(&self, op: &Op) -> Handler {
        match self.quick {
            Some(quick) if !op.fp_checked() && !op.has_mem() => quick.register,
            Some(quick) if !op.fp_checked() && op.info & info::GENERAL == 0 => {
                if op.index == trimotor_cpu::state::slot::ZERO { quick.base } else { quick.indexed }
            }
            _ => self.handler,
        }
    }
    /// Overrides what the encoding tells.
    pub const fn unit(self, unit: Unit) -> Row {
        Row { unit, ..self }
    }
}

/// A row of an instruction table.
pub const fn row(code: Code, handler: Handler) -> Row {
    Row { code, handler, unit: Unit::Auto, quick: None }
}

/// The handler for an instruction body, specialised for it.
pub const fn body<F>(_body: F) -> Handler
where
    F: Fn(&mut Core, &Op) -> Done + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0, "an instruction body is a plain function") };
    step::<F>
}

/// Runs body `F`, then the next op.
///
/// The body is a call of its own: were it part of this function, a local whose address it hands
/// out would forbid the tail call of the next op, and the stack would grow with each op.
unsafe fn step<F>(core: &mut Core, op: *const Op) -> Exit
where
    F: Fn(&mut Core, &Op) -> Done + Copy + 'static,
{
    // SAFETY: `op` points into a block that lives while it runs.
    unsafe {
        core.current = op;
        match call::<F>(core, &*op) {
            Ok(()) if !core.attention => next(core, op),
            Ok(()) => leave_after(core, op),
            Err(fault) => stop(core, op, fault),
        }
    }
}

/// Calls body `F`.
#[inline(never)]
fn call<F>(core: &mut Core, op: &Op) -> Done
where
    F: Fn(&mut Core, &Op) -> Done + Copy + 'static,
{
    // SAFETY: F has no size (checked in `body`), so that any value of it is the value.
    let f: F = unsafe { std::mem::zeroed() };
    f(core, op)
}

/// The handler that runs `fast`, and where that fails, `general` as [`body`] would. `fast` has no
/// slow paths: it touches registers, and memory by the inline translation, and reaches no device.
/// Where it fails it has done nothing, and which fault it returns does not matter. A handler
/// without calls needs no stack frame.
pub const fn quick<F, G>(_fast: F, _general: G) -> Handler
where
    F: Fn(&mut Core, &Op) -> Done + Copy + 'static,
    G: Fn(&mut Core, &Op) -> Done + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0 && size_of::<G>() == 0, "an instruction body is a plain function") };
    step_quick::<F, G>
}

/// Runs `F`, or the body `G`, then the next op.
unsafe fn step_quick<F, G>(core: &mut Core, op: *const Op) -> Exit
where
    F: Fn(&mut Core, &Op) -> Done + Copy + 'static,
    G: Fn(&mut Core, &Op) -> Done + Copy + 'static,
{
    // SAFETY: as in `step`.
    unsafe {
        let f: F = std::mem::zeroed();
        match f(core, &*op) {
            Ok(()) => next(core, op),
            Err(_) => step::<G>(core, op),
        }
    }
}

/// Goes on to the op after `op`.
///
/// # Safety
/// `op` is not the last op of its block.
#[inline(always)]
pub unsafe fn next(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: the caller's promise.
    unsafe { go(core, op.add(1)) }
}

/// Goes on at `op`.
///
/// # Safety
/// `op` is an op of a live block, and `slot::BLOCK_RIP` is that block's RIP.
#[inline(always)]
pub unsafe fn go(core: &mut Core, op: *const Op) -> Exit {
    if LOOPS {
        core.next_op = op;
        Exit::Continue
    } else {
        // SAFETY: the caller's promise.
        unsafe { ((*op).handler)(core, op) }
    }
}

/// Leaves the block after `op`, which retired.
#[cold]
#[inline(never)]
pub(crate) unsafe fn leave_after(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: `op` is an op of the running block.
    let op = unsafe { &*op };
    core.attention = false;
    core.state.rip = core.next_rip(op);
    core.state.budget += op.left as i64;
    Exit::Lookup
}

/// Leaves the block because `op`'s body returned `Err`.
#[cold]
#[inline(never)]
pub(crate) unsafe fn stop(core: &mut Core, op: *const Op, fault: Fault) -> Exit {
    // SAFETY: `op` is an op of the running block.
    let op = unsafe { &*op };
    core.attention = false;
    if fault == Fault::LEAVE {
        core.state.budget += op.left as i64;
        return Exit::Lookup;
    }
    core.state.rip = core.this_rip(op);
    core.state.budget += op.left as i64 + 1;
    if fault == Fault::RESUME {
        core.sync_retired();
        core.repeating_at = core.state.retired;
        core.portions += 1;
        return Exit::Lookup;
    }
    core.fault = fault;
    Exit::Fault
}
