//! Floating-point operations with regard to the exceptions that the guest has unmasked.
//!
//! All floating-point bodies compute through [`vector`], [`pair`] or [`other`]. Unmasked
//! exceptions are rare: the decoder marks what it decodes while the guest has one unmasked.
//! Then too the host computes with everything masked, and the flags of this one instruction
//! tell whether the guest's handler must be called; if so, nothing is committed but flags.
//!
//! Invalid, denormal and divide-by-zero are found before the result is computed: if one of
//! them is unmasked, the flags of the others (overflow, underflow, precision) stay as they
//! were. An unmasked underflow is found for any tiny result, also an exact one, where the
//! masked one asks for inexactness too; and it disables FTZ.
//!
//! Source: SDM Vol. 1, "SSE, SSE2, SSE3 Exceptions" and "Handling SIMD Floating-Point
//! Exceptions in Software".

use trimotor_cpu::Fault;
use trimotor_cpu::registers::Cr4;
use trimotor_cpu::simd::fp::{BinaryImm, Results, Xmm, is_inexact};

use super::fp_env::{FLAGS, MASK_SHIFT, MASKS, enter_guest_fp, host_mxcsr, set_host_mxcsr};
use crate::core::Core;
use crate::op::{Done, Op};
use trimotor_cpu::simd::fp::MXCSR_MASK;

/// The flags of exceptions found before the result is computed: invalid, denormal, divide by zero.
const PRE_COMPUTATION: u32 = 0x07;
/// Overflow flag.
const OVERFLOW: u32 = 1 << 3;
/// Precision flag.
const PRECISION: u32 = 1 << 5;
/// Underflow flag.
const UNDERFLOW: u32 = 1 << 4;
/// Flush to zero.
const FTZ: u32 = 1 << 15;

/// Executes a floating-point operation of instruction `op`, with a vector as its result.
/// Nothing may be committed before.
///
/// # Faults
/// #XM where it raises an exception that the guest has unmasked (#UD without CR4.OSXMMEXCPT).
#[inline(always)]
pub(crate) fn vector(
    core: &mut Core,
    op: &Op,
    results: Results,
    operands: [Xmm; 3],
    compute: impl Fn() -> Xmm,
) -> Result<Xmm, Fault> {
    if !op.fp_checked() {
        return Ok(compute());
    }
    begin(core);
    let result = compute();
    end(core, results.any_tiny(result), |mxcsr| is_inexact(results, operands, mxcsr))?;
    Ok(result)
}

/// [`vector`] for 256 bits: `compute` is one operation on each half.
///
/// # Faults
/// As [`vector`].
#[inline(always)]
pub(crate) fn pair(
    core: &mut Core,
    op: &Op,
    results: Results,
    operands: [[Xmm; 2]; 3],
    compute: impl Fn() -> [Xmm; 2],
) -> Result<[Xmm; 2], Fault> {
    if !op.fp_checked() {
        return Ok(compute());
    }
    begin(core);
    let [low, high] = compute();
    let half = |i: usize| operands.map(|operand| operand[i]);
    end(core, results.any_tiny(low) || results.any_tiny(high), |mxcsr| {
        is_inexact(results, half(0), mxcsr) || is_inexact(results, half(1), mxcsr)
    })?;
    Ok([low, high])
}

/// [`vector`] for operations that yield something else, and cannot underflow.
///
/// # Faults
/// As [`vector`].
#[inline(always)]
pub(crate) fn other<R>(core: &mut Core, op: &Op, compute: impl Fn() -> R) -> Result<R, Fault> {
    if !op.fp_checked() {
        return Ok(compute());
    }
    begin(core);
    let result = compute();
    end(core, false, |_| false)?;
    Ok(result)
}

/// Finds the exceptions of an operation that raises them step by step, before it is executed
/// as a whole: those of a later step are not found if an earlier one raises one unmasked.
/// `operands` are those of each 128-bit lane.
///
/// # Faults
/// As [`vector`].
#[cold]
#[inline(never)]
pub(crate) fn steps<T: BinaryImm>(core: &mut Core, operands: &[(Xmm, Xmm)], imm: u8) -> Done {
    for step in T::STEPS {
        begin(core);
        // Results of earlier steps raise again what they raised and nobody wants to handle.
        let of_lane = |&(first, second): &(Xmm, Xmm)| (step.operands)(first, second, imm);
        let lanes: Vec<[Xmm; 2]> = operands.iter().map(of_lane).collect();
        let mut tiny = false;
        for &[first, second] in &lanes {
            tiny |= step.results.any_tiny((step.apply)(first, second));
        }
        end(core, tiny, |mxcsr| {
            lanes.iter().any(|&[first, second]| is_inexact(step.results, [first, second, second], mxcsr))
        })?;
    }
    Ok(())
}

/// Clears the host's flags, so that those of one instruction can be told.
#[cold]
#[inline(never)]
fn begin(core: &mut Core) {
    core.sync_mxcsr();
    let mut control = core.state.mxcsr & MXCSR_MASK & !FLAGS | MASKS;
    if unmasked(core) & UNDERFLOW != 0 {
        control &= !FTZ;
    }
    set_host_mxcsr(control);
}

/// Takes over the flags of the instruction, whose result may be tiny, and judges them. `inexact` says
/// from MXCSR what PE is beside an unmasked overflow or underflow: see [`is_inexact`].
#[cold]
#[inline(never)]
fn end(core: &mut Core, tiny: bool, inexact: impl Fn(u32) -> bool) -> Done {
    let unmasked = unmasked(core);
    let mut raised = host_mxcsr() & FLAGS;
    if tiny && unmasked & UNDERFLOW != 0 {
        raised |= UNDERFLOW;
    }
    if raised & PRE_COMPUTATION & unmasked != 0 {
        raised &= PRE_COMPUTATION;
    } else if raised & (OVERFLOW | UNDERFLOW) & unmasked != 0 {
        raised &= !PRECISION;
        if inexact(core.state.mxcsr) {
            raised |= PRECISION;
        }
    }
    core.state.mxcsr |= raised;
    enter_guest_fp(core);
    if raised & unmasked == 0 {
        Ok(())
    } else if core.state.cr4.contains(Cr4::OSXMMEXCPT) {
        Err(Fault::XM)
    } else {
        Err(Fault::UD)
    }
}

/// The exceptions that the guest has unmasked, at the places of their flags.
fn unmasked(core: &Core) -> u32 {
    !(core.state.mxcsr >> MASK_SHIFT) & FLAGS
}
