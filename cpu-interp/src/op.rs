//! The decoded operation and its dispatch.
//!
//! A block of guest code is an array of 32-byte [`Op`]s. Each names its handler, and a handler ends
//! by tail-calling the next op's: there is no loop around it. In builds without optimisation or with debug
//! assertions handlers return to a loop instead ([`LOOPS`]).

#![allow(unsafe_code, reason = "`At` walks the ops of a block by pointer")]

use crate::core::Core;
use iced_x86::Code;
use std::marker::PhantomData;
use std::ops::Deref;
use trimotor_cpu::Fault;

/// What an instruction body returns.
pub type Done = Result<(), Fault>;

/// The code of one op: does its work and goes on to the next op.
pub type Handler = fn(&mut Core, At<'_>) -> Exit;

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
/// byte offsets into the register file, others by number.
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
    /// Offset in the register file of the base.
    pub base: u8,
    /// Offset in the register file of the index.
    pub index: u8,
    /// Shift of the index, 0 to 3.
    pub scale: u8,
    /// Offset in the register file of the segment base.
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
        (self.seg - trimotor_cpu::state::reg_file::SEG_BASE) / 8
    }
}

/// An op at its place in the block that runs: what handlers get. It is as large as a pointer, and passed as one.
///
/// That handlers may look at the op, and go on to the next one, rests on three things:
/// - Ops are in the arena of the code cache, or in a list that an engine keeps for its fallbacks. Neither gives memory back while
///   a block runs: the arena is emptied between two blocks only (`find_block` of the run loop), and engines drop their
///   lists between two runs of ops.
/// - `Builder::finish` and `fallback::lower_one` end each block with an op whose handler leaves the block: it does not go on to the
///   next one. An op that does has another op behind it, and one that runs as a pair with its successor has that one.
/// - Nobody writes to an op while a reference to it lives: jumps are linked through the pointer.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct At<'block> {
    op: *const Op,
    block: PhantomData<&'block Op>,
}

impl At<'_> {
    /// The op that `op` points to.
    ///
    /// # Safety
    /// It is an op of a block as described [above](At), which lives as long as the result.
    #[inline(always)]
    pub unsafe fn new<'block>(op: *const Op) -> At<'block> {
        At { op, block: PhantomData }
    }
    /// The pointer to it.
    #[inline(always)]
    pub fn as_ptr(self) -> *const Op {
        self.op
    }
    /// The op after it.
    #[inline(always)]
    pub fn next(self) -> Self {
        // SAFETY: the op's handler goes on, so it is not the last one of its block.
        At { op: unsafe { self.op.add(1) }, block: PhantomData }
    }
}

impl Deref for At<'_> {
    type Target = Op;
    #[inline(always)]
    fn deref(&self) -> &Op {
        // SAFETY: `new` was promised so.
        unsafe { &*self.op }
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
    pub fast_paths: Option<FastPaths>,
}

/// Handlers (see [`fast_paths`]) for forms of operands that need no check when the op runs: no SSE
/// exception is unmasked, and the memory operand's segment is open.
#[derive(Clone, Copy)]
pub struct FastPaths {
    /// No memory operand.
    pub register: Handler,
    /// A memory operand without an index.
    pub base: Handler,
    /// A memory operand with an index, or without.
    pub indexed: Handler,
}

impl Row {
    /// Adds handlers for the usual forms of its operands.
    pub const fn fast_paths(self, fast_paths: FastPaths) -> Row {
        Row { fast_paths: Some(fast_paths), ..self }
    }
    /// The handler for `op`, whose operands are laid out.
    pub fn select(&self, op: &Op) -> Handler {
        match self.fast_paths {
            Some(fast_paths) if !op.fp_checked() && !op.has_mem() => fast_paths.register,
            Some(fast_paths) if !op.fp_checked() && op.info & info::GENERAL == 0 => {
                if op.index == trimotor_cpu::state::reg_file::ZERO {
                    fast_paths.base
                } else {
                    fast_paths.indexed
                }
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
    Row { code, handler, unit: Unit::Auto, fast_paths: None }
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
fn step<F>(core: &mut Core, op: At<'_>) -> Exit
where
    F: Fn(&mut Core, &Op) -> Done + Copy + 'static,
{
    core.current = op.as_ptr();
    match call::<F>(core, &op) {
        Ok(()) if !core.attention => next(core, op),
        Ok(()) => leave_after(core, op),
        Err(fault) => stop(core, op, fault),
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
pub const fn fast_path<F, G>(_fast: F, _general: G) -> Handler
where
    F: Fn(&mut Core, &Op) -> Done + Copy + 'static,
    G: Fn(&mut Core, &Op) -> Done + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0 && size_of::<G>() == 0, "an instruction body is a plain function") };
    step_fast::<F, G>
}

/// Runs `F`, or the body `G`, then the next op.
fn step_fast<F, G>(core: &mut Core, op: At<'_>) -> Exit
where
    F: Fn(&mut Core, &Op) -> Done + Copy + 'static,
    G: Fn(&mut Core, &Op) -> Done + Copy + 'static,
{
    // SAFETY: F has no size (checked in `fast_path`), so that any value of it is the value.
    let f: F = unsafe { std::mem::zeroed() };
    match f(core, &op) {
        Ok(()) => next(core, op),
        Err(_) => step::<G>(core, op),
    }
}

/// Goes on to the op after `op`.
#[inline(always)]
pub fn next(core: &mut Core, op: At<'_>) -> Exit {
    go(core, op.next())
}

/// Goes on at `op`, whose block's RIP is in `reg_file::BLOCK_RIP`.
#[inline(always)]
pub fn go(core: &mut Core, op: At<'_>) -> Exit {
    if LOOPS {
        core.next_op = op.as_ptr();
        Exit::Continue
    } else {
        (op.handler)(core, op)
    }
}

/// Runs ops from `op` on until one leaves them, where handlers return to a loop too.
#[inline(always)]
pub(crate) fn run(core: &mut Core, op: At<'_>) -> Exit {
    let mut exit = (op.handler)(core, op);
    while LOOPS && exit == Exit::Continue && !core.next_op.is_null() {
        // SAFETY: `go` left it there, from an `At` of the same run.
        let op = unsafe { At::new(core.next_op) };
        exit = (op.handler)(core, op);
    }
    exit
}

/// Leaves the block after `op`, which retired.
#[cold]
#[inline(never)]
pub(crate) fn leave_after(core: &mut Core, op: At<'_>) -> Exit {
    core.attention = false;
    core.state.rip = core.next_rip(&op);
    core.state.budget += op.left as i64;
    Exit::Lookup
}

/// Leaves the block because `op`'s body returned `Err`.
#[cold]
#[inline(never)]
pub(crate) fn stop(core: &mut Core, op: At<'_>, fault: Fault) -> Exit {
    core.attention = false;
    if fault == Fault::LEAVE {
        core.state.budget += op.left as i64;
        return Exit::Lookup;
    }
    core.state.rip = core.this_rip(&op);
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
