//! SSE arithmetic on one element, in integers: which NaN wins, what is raised, DAZ and FTZ.
//!
//! Elements come as the low bits of a `u64`. Every function takes the environment, whose
//! rounding it respects and whose flags it sets.
//!
//! Source: SDM Vol. 1, "Operating on SNaNs and QNaNs", "SSE, SSE2, SSE3 Exceptions", "Flush-To-Zero",
//! "Denormals-Are-Zeros".

use std::cmp::Ordering;

use super::environment::Environment;
use super::quick;
use crate::softfloat::arithmetic::{self, multiply_add};
use crate::softfloat::integer::{round_to_integral, to_signed};
use crate::softfloat::number::{Format, Number};
use crate::softfloat::round::{Limits, Rounding, round};
use crate::softfloat::{Class, HALF, SINGLE, flag};

/// An operation on two elements of one format.
pub(super) type ElementOperation = fn(&mut Environment, Format, u64, u64) -> u64;

/// An operand as DAZ lets it be seen.
fn operand(environment: &Environment, format: Format, bits: u64) -> Number {
    let number = format.unpack(bits as u128);
    if number.denormal && environment.daz() { Number::zero(number.negative) } else { number }
}

/// The NaN that an operation with these operands gives, if one is a NaN: the first, made quiet.
fn nan_of(environment: &mut Environment, operands: &[Number]) -> Option<Number> {
    let nan = operands.iter().find(|number| number.is_nan())?;
    if operands.iter().any(|number| number.class == Class::SignalingNan) {
        environment.raise(flag::INVALID);
    }
    Some(nan.quieted())
}

fn raise_denormal(environment: &mut Environment, operands: &[Number]) {
    if operands.iter().any(|number| number.denormal) {
        environment.raise(flag::DENORMAL);
    }
}

fn invalid(environment: &mut Environment) -> Number {
    environment.raise(flag::INVALID);
    Number::INDEFINITE
}

pub(super) fn pack(format: Format, number: Number) -> u64 {
    format.pack(number) as u64
}

/// The result in its format; tiny ones are flushed to zero if FTZ says so.
fn finish(environment: &mut Environment, format: Format, exact: Number) -> u64 {
    let rounded = round(exact, Limits::of(format, environment.rounding()));
    if rounded.tiny && environment.ftz() {
        environment.raise(flag::UNDERFLOW | flag::INEXACT);
        return pack(format, Number::zero(exact.negative));
    }
    environment.raise(rounded.flags);
    pack(format, rounded.number)
}

/// ADD.
pub(super) fn add(environment: &mut Environment, format: Format, a: u64, b: u64) -> u64 {
    if let Some(result) = quick::compute(environment, format, a, b, quick::ADD) {
        return result;
    }
    let (a, b) = (operand(environment, format, a), operand(environment, format, b));
    sum(environment, format, a, b, b.negative)
}

/// SUB.
pub(super) fn subtract(environment: &mut Environment, format: Format, a: u64, b: u64) -> u64 {
    if let Some(result) = quick::compute(environment, format, a, b, quick::SUBTRACT) {
        return result;
    }
    let (a, b) = (operand(environment, format, a), operand(environment, format, b));
    sum(environment, format, a, b, !b.negative)
}

/// The sum of `a` and of `b` with this sign. A NaN keeps its own.
fn sum(environment: &mut Environment, format: Format, a: Number, b: Number, negative: bool) -> u64 {
    if let Some(nan) = nan_of(environment, &[a, b]) {
        return pack(format, nan);
    }
    raise_denormal(environment, &[a, b]);
    let b = Number { negative, ..b };
    let exact = match (a.is_infinite(), b.is_infinite()) {
        (true, true) if a.negative != b.negative => invalid(environment),
        (true, _) => a,
        (_, true) => b,
        _ => arithmetic::add(a, b, environment.rounding()),
    };
    finish(environment, format, exact)
}

/// MUL.
pub(super) fn multiply(environment: &mut Environment, format: Format, a: u64, b: u64) -> u64 {
    if let Some(result) = quick::compute(environment, format, a, b, quick::MULTIPLY) {
        return result;
    }
    let (a, b) = (operand(environment, format, a), operand(environment, format, b));
    if let Some(nan) = nan_of(environment, &[a, b]) {
        return pack(format, nan);
    }
    let negative = a.negative != b.negative;
    let exact = match (a.class, b.class) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => invalid(environment),
        (Class::Infinity, _) | (_, Class::Infinity) => Number::infinity(negative),
        (Class::Zero, _) | (_, Class::Zero) => Number::zero(negative),
        _ => arithmetic::multiply(a, b),
    };
    raise_denormal(environment, &[a, b]);
    finish(environment, format, exact)
}

/// DIV.
pub(super) fn divide(environment: &mut Environment, format: Format, a: u64, b: u64) -> u64 {
    if let Some(result) = quick::compute(environment, format, a, b, quick::DIVIDE) {
        return result;
    }
    let (a, b) = (operand(environment, format, a), operand(environment, format, b));
    if let Some(nan) = nan_of(environment, &[a, b]) {
        return pack(format, nan);
    }
    // A zero divide is found before a denormal operand.
    if !b.is_zero() {
        raise_denormal(environment, &[a, b]);
    }
    let negative = a.negative != b.negative;
    let exact = match (a.class, b.class) {
        (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => invalid(environment),
        (Class::Infinity, _) => Number::infinity(negative),
        (_, Class::Infinity) | (Class::Zero, _) => Number::zero(negative),
        (_, Class::Zero) => {
            environment.raise(flag::ZERO_DIVIDE);
            Number::infinity(negative)
        }
        _ => arithmetic::divide(a, b),
    };
    finish(environment, format, exact)
}

/// SQRT of the second operand.
pub(super) fn square_root(environment: &mut Environment, format: Format, _: u64, a: u64) -> u64 {
    if let Some(result) = quick::compute(environment, format, a, a, quick::SQUARE_ROOT) {
        return result;
    }
    let a = operand(environment, format, a);
    if let Some(nan) = nan_of(environment, &[a]) {
        return pack(format, nan);
    }
    let exact = match a.class {
        Class::Zero => a,
        _ if a.negative => invalid(environment),
        Class::Infinity => a,
        _ => {
            raise_denormal(environment, &[a]);
            arithmetic::square_root(a)
        }
    };
    finish(environment, format, exact)
}

/// MIN: the second operand where none is less.
pub(super) fn minimum(environment: &mut Environment, format: Format, a: u64, b: u64) -> u64 {
    extreme(environment, format, a, b, Ordering::Less)
}

/// MAX: the second operand where none is greater.
pub(super) fn maximum(environment: &mut Environment, format: Format, a: u64, b: u64) -> u64 {
    extreme(environment, format, a, b, Ordering::Greater)
}

fn extreme(environment: &mut Environment, format: Format, a: u64, b: u64, wanted: Ordering) -> u64 {
    let first = order(environment, format, a, b, true) == Some(wanted);
    let (bits, number) =
        if first { (a, operand(environment, format, a)) } else { (b, operand(environment, format, b)) };
    // As it stands, even a signaling NaN; but a denormal is a zero under DAZ.
    if number.is_zero() { pack(format, number) } else { bits }
}

/// How `a` relates to `b`; `None` where a NaN is among them, which is invalid if it is a signaling one
/// or `signals`.
pub(super) fn order(
    environment: &mut Environment,
    format: Format,
    a: u64,
    b: u64,
    signals: bool,
) -> Option<Ordering> {
    if let Some(ordering) = quick::order(format, a, b) {
        return Some(ordering);
    }
    let (a, b) = (operand(environment, format, a), operand(environment, format, b));
    if nan_of(environment, &[a, b]).is_some() {
        if signals {
            environment.raise(flag::INVALID);
        }
        return None;
    }
    raise_denormal(environment, &[a, b]);
    Some(arithmetic::compare(a, b))
}

/// ROUND of an element with the low four bits of the immediate: rounding mode, "by MXCSR instead",
/// "without precision exception".
pub(super) fn round_element(environment: &mut Environment, format: Format, a: u64, imm: u8) -> u64 {
    let a = operand(environment, format, a);
    if let Some(nan) = nan_of(environment, &[a]) {
        return pack(format, nan);
    }
    let rounding = if imm & 4 != 0 { environment.rounding() } else { Rounding::from_bits(imm as u32) };
    let (result, inexact, _) = round_to_integral(a, rounding);
    if inexact && imm & 8 == 0 {
        environment.raise(flag::INEXACT);
    }
    pack(format, result)
}

/// What a fused multiply-add does to the signs.
#[derive(Clone, Copy)]
pub(super) struct Signs {
    pub negative_product: bool,
    pub negative_sum: bool,
}

/// `a` times `b` plus `c`, rounded once. `operands` are the same three as the instruction names them:
/// the first NaN among those wins.
pub(super) fn fused(
    environment: &mut Environment,
    format: Format,
    operands: [u64; 3],
    order: [u8; 3],
    signs: Signs,
) -> u64 {
    let elements = order.map(|number| operands[usize::from(number - 1)]);
    let Signs { negative_product, negative_sum } = signs;
    if let Some(result) = quick::fused(environment, format, elements, negative_product, negative_sum) {
        return result;
    }
    let operands = operands.map(|bits| operand(environment, format, bits));
    let [a, b, c] = order.map(|number| operands[usize::from(number - 1)]);
    if let Some(nan) = nan_of(environment, &[a, b, c]) {
        return pack(format, nan);
    }
    let zero_times_infinity = a.is_zero() && b.is_infinite() || a.is_infinite() && b.is_zero();
    let c = if signs.negative_sum { c.negated() } else { c };
    let a = if signs.negative_product { a.negated() } else { a };
    let infinite = a.is_infinite() || b.is_infinite();
    let negative = a.negative != b.negative;
    if zero_times_infinity || infinite && c.is_infinite() && c.negative != negative {
        // What is invalid is not reported as denormal too.
        return pack(format, invalid(environment));
    }
    let exact = if infinite {
        Number::infinity(negative)
    } else if c.is_infinite() {
        c
    } else {
        multiply_add(a, b, c, environment.rounding())
    };
    raise_denormal(environment, &[a, b, c]);
    finish(environment, format, exact)
}

/// An element in another format.
pub(super) fn convert(environment: &mut Environment, from: Format, to: Format, a: u64) -> u64 {
    let a = operand(environment, from, a);
    if let Some(nan) = nan_of(environment, &[a]) {
        return pack(to, nan);
    }
    raise_denormal(environment, &[a]);
    finish(environment, to, a)
}

/// Half to single precision: DAZ is not looked at, and no denormal reported.
pub(super) fn from_half(environment: &mut Environment, a: u64) -> u64 {
    let a = HALF.unpack(a as u128);
    let result = nan_of(environment, &[a]).unwrap_or(a);
    pack(SINGLE, result)
}

/// Single to half precision: FTZ is not looked at.
pub(super) fn to_half(environment: &mut Environment, a: u64, rounding: Rounding) -> u64 {
    let a = operand(environment, SINGLE, a);
    if let Some(nan) = nan_of(environment, &[a]) {
        return pack(HALF, nan);
    }
    raise_denormal(environment, &[a]);
    let rounded = round(a, Limits::of(HALF, rounding));
    environment.raise(rounded.flags);
    pack(HALF, rounded.number)
}

/// A signed integer of 32 or 64 bits as an element.
pub(super) fn from_integer(environment: &mut Environment, format: Format, integer: i64) -> u64 {
    finish(environment, format, Number::integer(integer))
}

/// An element as a signed integer of `bits` bits, with this rounding; the integer indefinite where it does
/// not fit.
pub(super) fn to_integer(
    environment: &mut Environment,
    format: Format,
    a: u64,
    rounding: Rounding,
    bits: u32,
) -> u64 {
    let a = operand(environment, format, a);
    match to_signed(a, rounding, bits) {
        Some((integer, integral)) => {
            if integral.inexact {
                environment.raise(flag::INEXACT);
            }
            integer as u64 & (u64::MAX >> (64 - bits))
        }
        None => {
            environment.raise(flag::INVALID);
            1 << (bits - 1)
        }
    }
}
