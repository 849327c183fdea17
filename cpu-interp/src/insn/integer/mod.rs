//! The integer instructions.
//!
//! The hot ones (moves, ALU, shifts, stack) are handlers of their own, specialised by operation,
//! operand size and operand form; [`select`] chooses among them. Memory forms come in three
//! kinds: [`BASE`] (base and displacement), [`INDEXED`], and [`SLOW`], which handles everything
//! else, and to which the other two jump when the inline translation misses. The rest are
//! ordinary bodies in rows.

#![allow(unsafe_code, reason = "what is read, changed and written is accessed by one pointer")]

pub mod alu;
pub mod bcd;
pub mod bits;
pub mod fused;
pub mod misc;
pub mod moves;
pub mod muldiv;
pub(crate) mod pairs;
pub mod shift;
pub mod stack;
pub mod string;

use crate::core::{Core, Int, mode};
use crate::lower::Lowering;
use crate::op::{At, Exit, Handler, Op, info, leave_after, next, stop};
use iced_x86::{Code, Instruction};
use trimotor_cpu::Fault;
use trimotor_cpu::mmu::Access;
use trimotor_cpu::state::reg_file;

/// Memory operand of base and displacement, inline translation.
pub(crate) const BASE: u8 = 0;
/// Memory operand with an index, inline translation.
pub(crate) const INDEXED: u8 = 1;
/// Any memory operand, with all checks.
pub(crate) const SLOW: u8 = 2;

/// The kind of `op`'s memory operand.
pub(crate) fn kind_of(op: &Op) -> u8 {
    if op.info & info::GENERAL != 0 {
        SLOW
    } else if op.index == reg_file::ZERO {
        BASE
    } else {
        INDEXED
    }
}

/// The handler for `i`, if it is one of those that are specialised by operand form.
pub(crate) fn select(lowering: &Lowering<'_>, i: &Instruction, op: &mut Op) -> Option<Handler> {
    let is64 = lowering.mode & mode::CODE_SIZE == mode::CODE64;
    alu::select(i, op)
        .or_else(|| moves::select(i, op))
        .or_else(|| if is64 { stack::select(i, op) } else { None })
}

/// Whether [`select`] knows the form.
pub(crate) fn implements(code: Code) -> bool {
    alu::implements(code) || moves::implements(code)
}

/// The linear address of an inline memory operand.
#[inline(always)]
pub(crate) fn linear<const K: u8>(core: &Core, op: &Op) -> u64 {
    let mut sum = core.reg::<u64>(op.base).wrapping_add(op.disp as i64 as u64);
    if K == INDEXED {
        sum = sum.wrapping_add(core.reg::<u64>(op.index) << op.scale);
    }
    sum.wrapping_add(core.reg::<u64>(op.seg)) & core.reg::<u64>(reg_file::LINEAR_MASK)
}

/// Loads the memory operand; `None`: the inline translation missed, or (for [`SLOW`]) see `fault`.
#[inline(always)]
pub(crate) fn load<T: Int + crate::access::Guest, const K: u8>(core: &mut Core, op: At<'_>) -> Option<T> {
    if K == SLOW {
        return load_slow(core, op);
    }
    core.read_inline(linear::<K>(core, &op))
}

/// Loads with all checks. Out of line, and with a result that fits registers: what is returned through memory
/// would be a local of the handler whose address escapes, and the handler could not tail-call.
#[inline(never)]
fn load_slow<T: Int + crate::access::Guest>(core: &mut Core, op: At<'_>) -> Option<T> {
    core.current = op.as_ptr();
    match core.load_at::<T>(&op, 0) {
        Ok(value) => Some(value),
        Err(fault) => {
            core.fault = fault;
            None
        }
    }
}

/// Stores to the memory operand; false as in [`load`].
#[inline(always)]
pub(crate) fn store<T: Int + crate::access::Guest, const K: u8>(
    core: &mut Core,
    op: At<'_>,
    value: T,
) -> bool {
    if K == SLOW {
        core.current = op.as_ptr();
        return match core.store_at::<T>(&op, 0, value) {
            Ok(()) => true,
            Err(fault) => {
                core.fault = fault;
                false
            }
        };
    }
    core.write_inline(linear::<K>(core, &op), value)
}

/// Reads, changes and writes the memory operand; `change` returns the new value and what else
/// is to be committed. `None` as in [`load`].
#[inline(always)]
pub(crate) fn modify<T: Int + crate::access::Guest, R, const K: u8>(
    core: &mut Core,
    op: At<'_>,
    change: impl Fn(&Core, T) -> (T, R),
) -> Option<R> {
    if K == SLOW {
        return modify_noting(core, op, change);
    }
    let linear = linear::<K>(core, &op);
    let p = core.host_to_write(linear, T::BYTES as u64)?.cast::<T>();
    // SAFETY: the table says that these bytes are mapped guest memory that may be written, and so read.
    let (new, rest) = change(core, unsafe { p.read_unaligned() });
    // SAFETY: as above.
    unsafe { p.write_unaligned(new) };
    Some(rest)
}

/// [`modify_slow`], with the fault noted in the core. Out of line as [`load_slow`] is.
#[inline(never)]
fn modify_noting<T: Int + crate::access::Guest, R>(
    core: &mut Core,
    op: At<'_>,
    change: impl Fn(&Core, T) -> (T, R),
) -> Option<R> {
    core.current = op.as_ptr();
    match modify_slow(core, &op, change) {
        Ok(rest) => Some(rest),
        Err(fault) => {
            core.fault = fault;
            None
        }
    }
}

/// Reads, changes and writes the memory operand with all checks.
///
/// # Faults
/// Those of a store come before those of the load, as the processor takes the line for writing.
pub(crate) fn modify_slow<T: Int + crate::access::Guest, R>(
    core: &mut Core,
    op: &Op,
    change: impl Fn(&Core, T) -> (T, R),
) -> Result<R, Fault> {
    let linear = core.linear_of(op, 0, T::BYTES as u64, Access::Write)?;
    if core.atomic
        && let Some(m) = core.host_to_exchange(linear, T::BYTES as u64)?
    {
        let at = m.host.cast::<T>();
        loop {
            // SAFETY: the bytes are mapped guest memory that may be written.
            let old = unsafe { at.read_unaligned() };
            let (new, rest) = change(core, old);
            // SAFETY: as above.
            if unsafe { T::replace(at, old, new) } {
                core.exchanged(linear, m, T::BYTES);
                return Ok(rest);
            }
        }
    }
    core.check_write_linear(linear, T::BYTES as u64)?;
    let old = core.read_linear::<T>(linear)?;
    let (new, rest) = change(core, old);
    core.write_linear(linear, new)?;
    Ok(rest)
}

/// Ends a handler whose memory access is done.
#[inline(always)]
pub(crate) fn done<const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    if K == SLOW && core.attention { leave_after(core, op) } else { next(core, op) }
}

/// Ends a handler whose memory access missed or faulted: jumps to `slow`, or stops.
#[inline(always)]
pub(crate) fn missed<const K: u8>(core: &mut Core, op: At<'_>, slow: Handler) -> Exit {
    if K == SLOW {
        let fault = core.fault;
        stop(core, op, fault)
    } else {
        slow(core, op)
    }
}

/// Chooses by memory kind among a handler's three variants.
macro_rules! by_kind {
    ($op:expr, $f:ident :: < $($g:ty),* >) => {
        match $crate::insn::integer::kind_of($op) {
            $crate::insn::integer::BASE => $f::<$($g,)* 0>,
            $crate::insn::integer::INDEXED => $f::<$($g,)* 1>,
            _ => $f::<$($g,)* 2>,
        }
    };
}
pub(crate) use by_kind;
