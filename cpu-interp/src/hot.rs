//! Rows of instructions that are executed often, with handlers of their own for each operand
//! form.
//!
//! An ordinary row has one handler, which asks the op whether it has a memory operand, and
//! whose slow path costs it a stack frame. The rows made here are given in parts: where a
//! register operand comes from, and what is done with the value. From these come the
//! handlers of [`FastPaths`], for registers and for memory operands that need no segment check and
//! that the translation table has, and the one for everything else, to which they jump where they do not apply.
//!
//! The parts are inlined into handlers that end by a tail call: they must not hand out addresses
//! of their locals (also not by passing vectors to functions that are not inlined).

#![allow(unsafe_code, reason = "a handler is told what its selection has found out")]

use crate::access::Guest;
use crate::core::Core;
use crate::insn::integer::{BASE, INDEXED, linear};
use crate::op::{At, Done, Exit, FastPaths, Op, Row, leave_after, next, row, stop};
use iced_x86::Code;

/// A row of an instruction that takes a `T` from a register (`register` reads it) or from
/// memory and then does `finish`, which accesses no memory and cannot fault.
///
/// With `ALIGNED` a memory operand must be aligned to its size, or #GP(0) is raised.
pub(crate) const fn loads<const ALIGNED: bool, T, S, F>(code: Code, register: S, finish: F) -> Row
where
    T: Guest,
    S: Fn(&Core, &Op) -> T + Copy + 'static,
    F: Fn(&mut Core, &Op, T) + Copy + 'static,
{
    let _ = (register, finish);
    row(code, load_any::<ALIGNED, T, S, F>).fast_paths(FastPaths {
        register: load_register::<T, S, F>,
        base: load_memory::<BASE, ALIGNED, T, S, F>,
        indexed: load_memory::<INDEXED, ALIGNED, T, S, F>,
    })
}

/// A row of an instruction that stores `value` to memory, or does `register` where its
/// operands are registers. `ALIGNED` is as in [`loads`].
pub(crate) const fn stores<const ALIGNED: bool, T, V, R>(code: Code, value: V, register: R) -> Row
where
    T: Guest,
    V: Fn(&Core, &Op) -> T + Copy + 'static,
    R: Fn(&mut Core, &Op) + Copy + 'static,
{
    let _ = (value, register);
    row(code, store_any::<ALIGNED, T, V, R>).fast_paths(FastPaths {
        register: plain::<R>,
        base: store_memory::<BASE, ALIGNED, T, V, R>,
        indexed: store_memory::<INDEXED, ALIGNED, T, V, R>,
    })
}

/// A row of an instruction on registers alone, which cannot fault.
pub(crate) const fn registers<F>(code: Code, work: F) -> Row
where
    F: Fn(&mut Core, &Op) + Copy + 'static,
{
    let _ = work;
    row(code, plain::<F>)
}

/// The one value of a function's or closure's type.
#[inline(always)]
fn the<F: Copy + 'static>() -> F {
    const { assert!(size_of::<F>() == 0, "a part of an instruction body is a plain function") };
    // SAFETY: a type without size has one value, and it has no bytes to initialise.
    unsafe { std::mem::zeroed() }
}

fn plain<F>(core: &mut Core, op: At<'_>) -> Exit
where
    F: Fn(&mut Core, &Op) + Copy + 'static,
{
    the::<F>()(core, &op);
    next(core, op)
}

fn load_register<T, S, F>(core: &mut Core, op: At<'_>) -> Exit
where
    T: Guest,
    S: Fn(&Core, &Op) -> T + Copy + 'static,
    F: Fn(&mut Core, &Op, T) + Copy + 'static,
{
    // SAFETY: `Row::select` chose this handler for an op without a memory operand.
    unsafe { std::hint::assert_unchecked(!op.has_mem()) };
    let value = the::<S>()(core, &op);
    the::<F>()(core, &op, value);
    next(core, op)
}

fn load_memory<const K: u8, const ALIGNED: bool, T, S, F>(core: &mut Core, op: At<'_>) -> Exit
where
    T: Guest,
    S: Fn(&Core, &Op) -> T + Copy + 'static,
    F: Fn(&mut Core, &Op, T) + Copy + 'static,
{
    // SAFETY: `Row::select` chose this handler for an op with a memory operand.
    unsafe { std::hint::assert_unchecked(op.has_mem()) };
    let linear = linear::<K>(core, &op);
    match core.read_inline(linear) {
        Some(value) if !ALIGNED || linear & (size_of::<T>() as u64 - 1) == 0 => {
            the::<F>()(core, &op, value);
            next(core, op)
        }
        _ => load_any::<ALIGNED, T, S, F>(core, op),
    }
}

#[cold]
#[inline(never)]
fn load_any<const ALIGNED: bool, T, S, F>(core: &mut Core, op: At<'_>) -> Exit
where
    T: Guest,
    S: Fn(&Core, &Op) -> T + Copy + 'static,
    F: Fn(&mut Core, &Op, T) + Copy + 'static,
{
    #[inline(never)]
    fn load<const ALIGNED: bool, T, S, F>(core: &mut Core, op: &Op) -> Done
    where
        T: Guest,
        S: Fn(&Core, &Op) -> T + Copy + 'static,
        F: Fn(&mut Core, &Op, T) + Copy + 'static,
    {
        let value = if !op.has_mem() {
            the::<S>()(core, op)
        } else if ALIGNED {
            core.load_aligned(op)?
        } else {
            core.load(op)?
        };
        the::<F>()(core, op, value);
        Ok(())
    }
    whole(core, op, load::<ALIGNED, T, S, F>)
}

fn store_memory<const K: u8, const ALIGNED: bool, T, V, R>(core: &mut Core, op: At<'_>) -> Exit
where
    T: Guest,
    V: Fn(&Core, &Op) -> T + Copy + 'static,
    R: Fn(&mut Core, &Op) + Copy + 'static,
{
    let linear = linear::<K>(core, &op);
    let bytes = size_of::<T>() as u64;
    match core.host_to_write(linear, bytes) {
        Some(p) if !ALIGNED || linear & (bytes - 1) == 0 => {
            let value = the::<V>()(core, &op);
            // SAFETY: the table says that these bytes are mapped guest memory that may be written.
            unsafe { p.cast::<T>().write_unaligned(value) };
            next(core, op)
        }
        _ => store_any::<ALIGNED, T, V, R>(core, op),
    }
}

#[cold]
#[inline(never)]
fn store_any<const ALIGNED: bool, T, V, R>(core: &mut Core, op: At<'_>) -> Exit
where
    T: Guest,
    V: Fn(&Core, &Op) -> T + Copy + 'static,
    R: Fn(&mut Core, &Op) + Copy + 'static,
{
    #[inline(never)]
    fn store<const ALIGNED: bool, T, V, R>(core: &mut Core, op: &Op) -> Done
    where
        T: Guest,
        V: Fn(&Core, &Op) -> T + Copy + 'static,
        R: Fn(&mut Core, &Op) + Copy + 'static,
    {
        if !op.has_mem() {
            the::<R>()(core, op);
            return Ok(());
        }
        let value = the::<V>()(core, op);
        if ALIGNED { core.store_aligned(op, value) } else { core.store(op, value) }
    }
    whole(core, op, store::<ALIGNED, T, V, R>)
}

/// Runs a whole body that may fault, then the next op.
#[inline(always)]
fn whole(core: &mut Core, op: At<'_>, work: fn(&mut Core, &Op) -> Done) -> Exit {
    core.current = op.as_ptr();
    match work(core, &op) {
        Ok(()) if !core.attention => next(core, op),
        Ok(()) => leave_after(core, op),
        Err(fault) => stop(core, op, fault),
    }
}
