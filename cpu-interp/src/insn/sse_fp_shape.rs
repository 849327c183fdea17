//! The shapes of floating-point vector instructions: where operands come from and what
//! becomes of the rest of the destination.
//!
//! A legacy instruction's first operand is destination and first source, its 128-bit
//! memory operand must be aligned, and the upper half of the YMM register stays. A VEX
//! instruction names its sources apart, aligns nothing, and zeroes the destination above
//! what it writes. Each shape here serves all operations of a trait; the functions with
//! `[Row; N]` make an operation's rows for all its encodings.
#![allow(unsafe_code, reason = "a half of a register is written in place")]

use iced_x86::Code;
use trimotor_cpu::simd::fp::{Binary, BinaryImm, Element, Results, Unary, Xmm};

use super::fp_env_checked as checked;
use super::sse_fp_form::{Form, form_row};
use crate::access::Guest;
use crate::core::Core;
use crate::op::{Done, Op, Row};

/// What stands above the results of 128-bit VEX instructions.
const ZERO: [u64; 2] = [0; 2];

/// Writes a 128-bit result and zeroes the upper half of the YMM register.
#[inline(always)]
pub(crate) fn set_zeroing_upper(core: &mut Core, register: u8, value: Xmm) {
    let register = &mut core.state.ymm[register as usize & 15].0;
    // SAFETY: the low half of the register is 16 aligned bytes.
    unsafe { register.as_mut_ptr().cast::<Xmm>().write(value) };
    register[2..].copy_from_slice(&ZERO);
}

/// `r1 = f(r1, r2/m128)`, legacy.
#[inline(always)]
fn legacy<F: Form>(core: &mut Core, op: &Op, results: Results, f: impl Fn(Xmm, Xmm) -> Xmm) -> Done {
    let second = F::aligned(core, op, op.r2)?;
    let first = core.vec(op.r1);
    let result = F::vector(core, op, results, [first, second, second], || f(first, second))?;
    core.set_vec(op.r1, result);
    Ok(())
}

/// `r1 = f(r2, r3/m128)`, VEX.128.
#[inline(always)]
fn vex128<F: Form>(core: &mut Core, op: &Op, results: Results, f: impl Fn(Xmm, Xmm) -> Xmm) -> Done {
    let second = F::source(core, op, op.r3)?;
    let first = core.vec(op.r2);
    let result = F::vector(core, op, results, [first, second, second], || f(first, second))?;
    set_zeroing_upper(core, op.r1, result);
    Ok(())
}

/// `r1 = f(r2, r3/m256)`, VEX.256, in each half.
#[inline(always)]
fn vex256<F: Form>(core: &mut Core, op: &Op, results: Results, f: impl Fn(Xmm, Xmm) -> Xmm) -> Done {
    let second: [Xmm; 2] = F::source(core, op, op.r3)?;
    let first: [Xmm; 2] = core.vec(op.r2);
    let result = F::pair(core, op, results, [first, second, second], || {
        [f(first[0], second[0]), f(first[1], second[1])]
    })?;
    core.set_vec(op.r1, result);
    Ok(())
}

/// `r1 = f(r1, r2/m)` where the memory operand is one element, legacy.
#[inline(always)]
fn scalar_legacy<F: Form, E: Element + Guest>(
    core: &mut Core,
    op: &Op,
    results: Results,
    f: impl Fn(Xmm, Xmm) -> Xmm,
) -> Done {
    let second = F::source::<E>(core, op, op.r2)?.to_xmm();
    let first = core.vec(op.r1);
    let result = F::vector(core, op, results, [first, second, second], || f(first, second))?;
    core.set_vec(op.r1, result);
    Ok(())
}

/// `r1 = f(r2, r3/m)` where the memory operand is one element, VEX.
#[inline(always)]
fn scalar_vex<F: Form, E: Element + Guest>(
    core: &mut Core,
    op: &Op,
    results: Results,
    f: impl Fn(Xmm, Xmm) -> Xmm,
) -> Done {
    let second = F::source::<E>(core, op, op.r3)?.to_xmm();
    let first = core.vec(op.r2);
    let result = F::vector(core, op, results, [first, second, second], || f(first, second))?;
    set_zeroing_upper(core, op.r1, result);
    Ok(())
}

/// `r1 = f(r2/m128)`, legacy.
#[inline(always)]
pub(crate) fn unary_legacy<F: Form>(
    core: &mut Core,
    op: &Op,
    results: Results,
    f: impl Fn(Xmm) -> Xmm,
) -> Done {
    let source = F::aligned(core, op, op.r2)?;
    let result = F::vector(core, op, results, [source; 3], || f(source))?;
    core.set_vec(op.r1, result);
    Ok(())
}

/// `r1 = f(r2/m128)`, VEX.128.
#[inline(always)]
pub(crate) fn unary_vex128<F: Form>(
    core: &mut Core,
    op: &Op,
    results: Results,
    f: impl Fn(Xmm) -> Xmm,
) -> Done {
    let source = F::source(core, op, op.r2)?;
    let result = F::vector(core, op, results, [source; 3], || f(source))?;
    set_zeroing_upper(core, op.r1, result);
    Ok(())
}

/// `r1 = f(r2/m256)`, VEX.256, in each half.
#[inline(always)]
fn unary_vex256<F: Form>(core: &mut Core, op: &Op, results: Results, f: impl Fn(Xmm) -> Xmm) -> Done {
    let source: [Xmm; 2] = F::source(core, op, op.r2)?;
    let result = F::pair(core, op, results, [source; 3], || [f(source[0]), f(source[1])])?;
    core.set_vec(op.r1, result);
    Ok(())
}

/// The rows of a packed operation on two vectors: legacy, VEX.128, VEX.256.
pub(crate) const fn packed<T: Binary + 'static>(codes: [Code; 3]) -> [Row; 3] {
    [
        form_row!(codes[0], |core, op, F| legacy::<F>(core, op, T::RESULTS, T::apply)),
        form_row!(codes[1], |core, op, F| vex128::<F>(core, op, T::RESULTS, T::apply)),
        form_row!(codes[2], |core, op, F| vex256::<F>(core, op, T::RESULTS, T::apply)),
    ]
}

/// The rows of a scalar operation, whose memory operand is an `E`: legacy, VEX.
pub(crate) const fn scalar<T: Binary + 'static, E: Element + Guest>(codes: [Code; 2]) -> [Row; 2] {
    [
        form_row!(codes[0], |core, op, F| scalar_legacy::<F, E>(core, op, T::RESULTS, T::apply)),
        form_row!(codes[1], |core, op, F| scalar_vex::<F, E>(core, op, T::RESULTS, T::apply)),
    ]
}

/// The rows of a packed operation on one vector: legacy, VEX.128, VEX.256.
pub(crate) const fn unary<T: Unary + 'static>(codes: [Code; 3]) -> [Row; 3] {
    [
        form_row!(codes[0], |core, op, F| unary_legacy::<F>(core, op, T::RESULTS, T::apply)),
        form_row!(codes[1], |core, op, F| unary_vex128::<F>(core, op, T::RESULTS, T::apply)),
        form_row!(codes[2], |core, op, F| unary_vex256::<F>(core, op, T::RESULTS, T::apply)),
    ]
}

/// Raises the exceptions of an operation that finds them in steps, before it is executed.
///
/// # Faults
/// #XM, #UD, those of the load.
#[inline(always)]
fn stepped<F: Form, T: BinaryImm>(core: &mut Core, op: &Op, legacy: bool, imm: u8) -> Done {
    if T::STEPS.is_empty() || !F::CHECKED || !op.fp_checked() {
        return Ok(());
    }
    let second = if legacy { F::aligned(core, op, op.r2)? } else { F::source(core, op, op.r3)? };
    let first = core.vec(if legacy { op.r1 } else { op.r2 });
    checked::steps::<T>(core, &[(first, second)], imm)
}

/// [`stepped`] for VEX.256.
///
/// # Faults
/// As [`stepped`].
#[inline(always)]
fn stepped_256<F: Form, T: BinaryImm>(core: &mut Core, op: &Op, imm: u8) -> Done {
    if T::STEPS.is_empty() || !F::CHECKED || !op.fp_checked() {
        return Ok(());
    }
    let second: [Xmm; 2] = F::source(core, op, op.r3)?;
    let first: [Xmm; 2] = core.vec(op.r2);
    checked::steps::<T>(core, &[(first[0], second[0]), (first[1], second[1])], imm)
}

/// The rows of a packed operation on two vectors and an immediate, of which the legacy
/// form sees the bits in `LEGACY`: legacy, VEX.128.
pub(crate) const fn packed_imm_128<T: BinaryImm + 'static, const LEGACY: u8>(codes: [Code; 2]) -> [Row; 2] {
    [
        form_row!(codes[0], |core, op, F| {
            let imm = op.imm as u8 & LEGACY;
            stepped::<F, T>(core, op, true, imm)?;
            legacy::<F>(core, op, T::RESULTS, |a, b| T::apply(a, b, imm))
        }),
        form_row!(codes[1], |core, op, F| {
            let imm = op.imm as u8;
            stepped::<F, T>(core, op, false, imm)?;
            vex128::<F>(core, op, T::RESULTS, |a, b| T::apply(a, b, imm))
        }),
    ]
}

/// The rows of [`packed_imm_128`], and VEX.256.
pub(crate) const fn packed_imm<T: BinaryImm + 'static, const LEGACY: u8>(codes: [Code; 3]) -> [Row; 3] {
    let [legacy, vex128] = packed_imm_128::<T, LEGACY>([codes[0], codes[1]]);
    let wide = form_row!(codes[2], |core, op, F| {
        let imm = op.imm as u8;
        stepped_256::<F, T>(core, op, imm)?;
        vex256::<F>(core, op, T::RESULTS, |a, b| T::apply(a, b, imm))
    });
    [legacy, vex128, wide]
}

/// The rows of a scalar operation with an immediate, of which the legacy form sees the
/// bits in `LEGACY`: legacy, VEX.
pub(crate) const fn scalar_imm<T: BinaryImm + 'static, E: Element + Guest, const LEGACY: u8>(
    codes: [Code; 2],
) -> [Row; 2] {
    [
        form_row!(codes[0], |core, op, F| {
            let imm = op.imm as u8 & LEGACY;
            scalar_legacy::<F, E>(core, op, T::RESULTS, |a, b| T::apply(a, b, imm))
        }),
        form_row!(codes[1], |core, op, F| {
            let imm = op.imm as u8;
            scalar_vex::<F, E>(core, op, T::RESULTS, |a, b| T::apply(a, b, imm))
        }),
    ]
}

/// The rows of a packed operation on one vector and an immediate: legacy, VEX.128, VEX.256.
pub(crate) const fn unary_imm<T: BinaryImm + 'static>(codes: [Code; 3]) -> [Row; 3] {
    [
        form_row!(codes[0], |core, op, F| {
            let imm = op.imm as u8;
            unary_legacy::<F>(core, op, T::RESULTS, |a| T::apply(a, a, imm))
        }),
        form_row!(codes[1], |core, op, F| {
            let imm = op.imm as u8;
            unary_vex128::<F>(core, op, T::RESULTS, |a| T::apply(a, a, imm))
        }),
        form_row!(codes[2], |core, op, F| {
            let imm = op.imm as u8;
            unary_vex256::<F>(core, op, T::RESULTS, |a| T::apply(a, a, imm))
        }),
    ]
}

/// How many rows the parts of a table have together.
pub(crate) const fn total(parts: &[&[Row]]) -> usize {
    let (mut count, mut part) = (0, 0);
    while part < parts.len() {
        count += parts[part].len();
        part += 1;
    }
    count
}

/// The parts of a table as one.
pub(crate) const fn concat<const N: usize>(parts: &[&[Row]]) -> [Row; N] {
    let mut rows = [parts[0][0]; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut i = 0;
        while i < parts[part].len() {
            rows[at] = parts[part][i];
            (at, i) = (at + 1, i + 1);
        }
        part += 1;
    }
    rows
}
