//! The forms of operands that floating-point vector instructions are specialised by.
//!
//! A body is written once, generic over its [`Form`]. As [`General`] it handles any operand,
//! with all checks; as [`Fast`] it knows where its last source is (a register, or memory that
//! the inline translation finds) and that no exception is unmasked, and gives up where that
//! does not hold. [`form_row`] makes a row of all of them.
#![allow(unsafe_code, reason = "vectors are plain data to guest memory")]

use trimotor_cpu::Fault;
use trimotor_cpu::simd::fp::{Results, Xmm};

use super::fp_env_checked as checked;
use super::integer;
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::Op;

// SAFETY: 16 bytes, any bit pattern.
unsafe impl Guest for Xmm {}
// SAFETY: 32 bytes, any bit pattern.
unsafe impl Guest for [Xmm; 2] {}

/// How a body reaches its last source and computes.
pub(crate) trait Form {
    /// Whether exceptions may be unmasked.
    const CHECKED: bool;

    /// The memory operand, or the low bytes of vector register `register`.
    ///
    /// # Faults
    /// Those of the load.
    fn source<T: Guest>(core: &mut Core, op: &Op, register: u8) -> Result<T, Fault>;

    /// The memory operand, which must be aligned, or vector register `register`.
    ///
    /// # Faults
    /// #GP(0) where it is not aligned, those of the load.
    fn aligned(core: &mut Core, op: &Op, register: u8) -> Result<Xmm, Fault>;

    /// The memory operand, or general register `register`.
    ///
    /// # Faults
    /// Those of the load.
    fn integer<T: Guest + Int>(core: &mut Core, op: &Op, register: u8) -> Result<T, Fault>;

    /// See [`checked::vector`].
    ///
    /// # Faults
    /// #XM, #UD.
    fn vector(
        core: &mut Core,
        op: &Op,
        results: Results,
        operands: [Xmm; 3],
        compute: impl Fn() -> Xmm,
    ) -> Result<Xmm, Fault>;

    /// See [`checked::pair`].
    ///
    /// # Faults
    /// #XM, #UD.
    fn pair(
        core: &mut Core,
        op: &Op,
        results: Results,
        operands: [[Xmm; 2]; 3],
        compute: impl Fn() -> [Xmm; 2],
    ) -> Result<[Xmm; 2], Fault>;

    /// See [`checked::other`].
    ///
    /// # Faults
    /// #XM, #UD.
    fn other<R>(core: &mut Core, op: &Op, compute: impl Fn() -> R) -> Result<R, Fault>;
}

/// Any operand, with all checks.
pub(crate) struct General;

impl Form for General {
    const CHECKED: bool = true;

    #[inline(always)]
    fn source<T: Guest>(core: &mut Core, op: &Op, register: u8) -> Result<T, Fault> {
        core.vec_rm(op, register)
    }
    #[inline(always)]
    fn aligned(core: &mut Core, op: &Op, register: u8) -> Result<Xmm, Fault> {
        if op.has_mem() { core.load_aligned(op) } else { Ok(core.vec(register)) }
    }
    #[inline(always)]
    fn integer<T: Guest + Int>(core: &mut Core, op: &Op, register: u8) -> Result<T, Fault> {
        if op.has_mem() { core.load(op) } else { Ok(core.reg(register)) }
    }
    #[inline(always)]
    fn vector(
        core: &mut Core,
        op: &Op,
        results: Results,
        operands: [Xmm; 3],
        compute: impl Fn() -> Xmm,
    ) -> Result<Xmm, Fault> {
        checked::vector(core, op, results, operands, compute)
    }
    #[inline(always)]
    fn pair(
        core: &mut Core,
        op: &Op,
        results: Results,
        operands: [[Xmm; 2]; 3],
        compute: impl Fn() -> [Xmm; 2],
    ) -> Result<[Xmm; 2], Fault> {
        checked::pair(core, op, results, operands, compute)
    }
    #[inline(always)]
    fn other<R>(core: &mut Core, op: &Op, compute: impl Fn() -> R) -> Result<R, Fault> {
        checked::other(core, op, compute)
    }
}

/// [`Fast`] without a memory operand.
pub(crate) const REGISTER: u8 = 0xFF;
/// What [`Fast`] returns where the general form must take over.
const GIVE_UP: Fault = Fault::RESUME;

/// No exception unmasked, and an operand of kind `K`: [`REGISTER`], [`integer::BASE`] or
/// [`integer::INDEXED`].
pub(crate) struct Fast<const K: u8>;

impl<const K: u8> Fast<K> {
    /// Reads the memory operand; any of the address bits in `must_be_zero` is one too many.
    #[inline(always)]
    fn load<T: Guest>(core: &Core, op: &Op, must_be_zero: u64) -> Result<T, Fault> {
        let linear = integer::linear::<K>(core, op);
        match core.host_to_read(linear, size_of::<T>() as u64) {
            // SAFETY: the table says that these bytes are mapped guest memory.
            Some(p) if linear & must_be_zero == 0 => Ok(unsafe { p.cast::<T>().read_unaligned() }),
            _ => Err(GIVE_UP),
        }
    }
}

impl<const K: u8> Form for Fast<K> {
    const CHECKED: bool = false;

    #[inline(always)]
    fn source<T: Guest>(core: &mut Core, op: &Op, register: u8) -> Result<T, Fault> {
        if K == REGISTER { Ok(core.vec(register)) } else { Self::load(core, op, 0) }
    }
    #[inline(always)]
    fn aligned(core: &mut Core, op: &Op, register: u8) -> Result<Xmm, Fault> {
        if K == REGISTER { Ok(core.vec(register)) } else { Self::load(core, op, 15) }
    }
    #[inline(always)]
    fn integer<T: Guest + Int>(core: &mut Core, op: &Op, register: u8) -> Result<T, Fault> {
        if K == REGISTER { Ok(core.reg(register)) } else { Self::load(core, op, 0) }
    }
    #[inline(always)]
    fn vector(
        _: &mut Core,
        _: &Op,
        _: Results,
        _: [Xmm; 3],
        compute: impl Fn() -> Xmm,
    ) -> Result<Xmm, Fault> {
        Ok(compute())
    }
    #[inline(always)]
    fn pair(
        _: &mut Core,
        _: &Op,
        _: Results,
        _: [[Xmm; 2]; 3],
        compute: impl Fn() -> [Xmm; 2],
    ) -> Result<[Xmm; 2], Fault> {
        Ok(compute())
    }
    #[inline(always)]
    fn other<R>(_: &mut Core, _: &Op, compute: impl Fn() -> R) -> Result<R, Fault> {
        Ok(compute())
    }
}

/// The row of an instruction: its code, and its body as a function of the core, the op and a
/// [`Form`].
macro_rules! form_row {
    ($code:expr, |$core:ident, $op:ident, $form:ident| $body:expr) => {{
        use $crate::insn::integer::{BASE, INDEXED};
        use $crate::insn::sse_fp_form::{Fast, General, REGISTER};
        use $crate::op::{FastPaths, body, fast_path, row};
        let general = |$core: &mut Core, $op: &Op| {
            type $form = General;
            $body
        };
        let register = |$core: &mut Core, $op: &Op| {
            type $form = Fast<REGISTER>;
            $body
        };
        let base = |$core: &mut Core, $op: &Op| {
            type $form = Fast<BASE>;
            $body
        };
        let indexed = |$core: &mut Core, $op: &Op| {
            type $form = Fast<INDEXED>;
            $body
        };
        row($code, body(general)).fast_paths(FastPaths {
            register: fast_path(register, general),
            base: fast_path(base, general),
            indexed: fast_path(indexed, general),
        })
    }};
}
pub(crate) use form_row;
