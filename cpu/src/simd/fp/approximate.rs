//! RCP and RSQRT: approximations of 12 bits, which every processor makes in its own way.
//!
//! Source: SDM Vol. 2, RCPPS and RSQRTPS: a relative error of at most 1.5 * 2^-12.

use super::environment::Environment;
use super::soft::pack;
use crate::softfloat::arithmetic;
use crate::softfloat::number::{Format, Number};
use crate::softfloat::round::{Limits, Rounding, round};
use crate::softfloat::{Class, SINGLE};

/// RCP of the second operand: the reciprocal to 12 bits, in no rounding mode and without exceptions.
pub(super) fn reciprocal(_: &mut Environment, format: Format, _: u64, a: u64) -> u64 {
    approximate(format, a, |a| arithmetic::divide(Number::integer(1), a))
}

/// RSQRT of the second operand, likewise.
pub(super) fn reciprocal_root(_: &mut Environment, format: Format, _: u64, a: u64) -> u64 {
    let operand = format.unpack(a as u128);
    if operand.negative && !operand.is_nan() && !operand.is_zero() && !operand.denormal {
        return pack(format, Number::INDEFINITE);
    }
    approximate(format, a, |a| {
        // The root needs fewer bits than the division takes.
        let root = round(arithmetic::square_root(a), Limits::of(SINGLE, Rounding::Nearest)).number;
        arithmetic::divide(Number::integer(1), root)
    })
}

/// An approximation of 12 bits: denormals are zeros, on both sides.
fn approximate(format: Format, a: u64, exact: impl Fn(Number) -> Number) -> u64 {
    const PRECISION: u32 = 12;
    let a = format.unpack(a as u128);
    let result = match a.class {
        _ if a.is_nan() => a.quieted(),
        Class::Zero => Number::infinity(a.negative),
        _ if a.denormal => Number::infinity(a.negative),
        Class::Infinity => Number::zero(a.negative),
        _ => exact(a),
    };
    let limits = Limits { precision: PRECISION, ..Limits::of(format, Rounding::Nearest) };
    let rounded = round(result, limits);
    pack(format, if rounded.tiny { Number::zero(result.negative) } else { rounded.number })
}
