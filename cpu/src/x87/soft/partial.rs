//! FSCALE, FXTRACT, and the partial remainders.

use super::super::{INDEFINITE, X87State, status};
use super::arithmetic::full_precision;
use super::{Outcome, commit, not_numbers, operand, raise, register, stack};
use crate::softfloat::integer::to_integer;
use crate::softfloat::round::Rounding;
use crate::softfloat::{Class, Number, flag};

/// An exponent that takes any number out of range, whatever its own.
const FAR: u128 = 1 << 17;

/// FSCALE: ST0 times 2 to the power of ST1, which is truncated.
pub(super) fn scale(x: &mut X87State) {
    binary(x, |a, b, control| {
        let exact = match (a.class, b.class) {
            (Class::Infinity, Class::Infinity) if b.negative => return Outcome::INVALID,
            (Class::Zero, Class::Infinity) if !b.negative => return Outcome::INVALID,
            (Class::Zero | Class::Infinity, _) => a,
            (_, Class::Infinity) if b.negative => Number::zero(a.negative),
            (_, Class::Infinity) => Number::infinity(a.negative),
            _ => {
                let by = to_integer(b, Rounding::Truncate).map_or(FAR, |i| i.magnitude.min(FAR)) as i32;
                Number { exponent: if b.negative { a.exponent - by } else { a.exponent + by }, ..a }
            }
        };
        full_precision(exact, control).of(&[a, b])
    });
}

/// An instruction on ST0 and ST1 with its result in ST0.
///
/// Returns whether it was committed.
fn binary(x: &mut X87State, compute: impl FnOnce(Number, Number, u16) -> Outcome) -> bool {
    if x.is_empty(0) || x.is_empty(1) {
        let goes_on = stack::underflow(x);
        if goes_on {
            stack::set_indefinite(x, 0);
        }
        return goes_on;
    }
    let (a, b) = (operand(x, 0), operand(x, 1));
    let outcome = not_numbers(&[a, b]).unwrap_or_else(|| compute(a, b, x.control));
    commit(x, 0, outcome)
}

/// FXTRACT: the exponent in ST0's place, and the significand above it.
pub(super) fn extract(x: &mut X87State) {
    if x.is_empty(0) || !x.is_empty(7) {
        let goes_on = if x.is_empty(0) { stack::underflow(x) } else { stack::overflow(x) };
        if goes_on {
            stack::set_indefinite(x, 0);
            push(x, Number::INDEFINITE);
        }
        return;
    }
    let a = operand(x, 0);
    let (flags, exponent, significand) = match (not_numbers(&[a]), a.class) {
        (Some(outcome), _) => (outcome.flags, outcome.number, outcome.number),
        (_, Class::Zero) => (flag::ZERO_DIVIDE, Number::infinity(true), a),
        (_, Class::Infinity) => (0, Number::infinity(false), a),
        _ => {
            let flags = if a.denormal { flag::DENORMAL } else { 0 };
            (flags, Number::integer(a.exponent.into()), Number { exponent: 0, denormal: false, ..a })
        }
    };
    if raise(x, flags) {
        let at = x.physical(0);
        x.regs[at] = register(exponent);
        push(x, significand);
    }
}

/// Pushes without touching the status word.
pub(super) fn push(x: &mut X87State, number: Number) {
    let status = x.status;
    x.push_value(if number == Number::INDEFINITE { INDEFINITE } else { register(number) });
    x.status = status;
}

/// What is left of a division, and the last bits of the quotient.
struct Remainder {
    number: Number,
    /// The low three bits of the quotient; `None` while the reduction is incomplete.
    quotient: Option<u64>,
}

impl Remainder {
    /// C0, C3 and C1 are bits 2, 1 and 0 of the quotient; C2 tells of an incomplete reduction.
    fn codes(&self) -> u16 {
        let Some(bits) = self.quotient else { return status::C2 };
        [(4, status::C0), (2, status::C3), (1, status::C1)]
            .into_iter()
            .map(|(bit, code)| if bits & bit != 0 { code } else { 0 })
            .sum()
    }
}

/// FPREM, or FPREM1 (`nearest`), whose quotient is rounded to the nearest.
pub(super) fn remainder(x: &mut X87State, nearest: bool) {
    let mut codes = None;
    x.status &= !status::C2;
    let committed = binary(x, |a, b, control| {
        let left = match (a.class, b.class) {
            (Class::Infinity, _) | (_, Class::Zero) => return Outcome::INVALID,
            (Class::Zero, _) | (_, Class::Infinity) => Remainder { number: a, quotient: Some(0) },
            _ => reduce(a, b, nearest),
        };
        codes = Some(left.codes());
        full_precision(left.number, control).of(&[a, b])
    });
    if let (true, Some(codes)) = (committed, codes) {
        x.status = x.status & !status::CC | codes;
    }
}

/// Finite `a` by finite `b`: at most 63 bits of the quotient at a time.
fn reduce(a: Number, b: Number, nearest: bool) -> Remainder {
    let distance = a.exponent - b.exponent;
    let (dividend, divisor) = (a.significand >> 64, b.significand >> 64);
    if distance >= 64 {
        // As many bits as make the next distance a multiple of 32.
        let bits = 32 + distance % 32;
        let rest = (dividend << bits) % divisor;
        // What is subtracted is the divisor times a multiple of 2^(distance - bits).
        let exponent = b.exponent + distance - bits;
        return Remainder { number: whole(a.negative, rest, exponent), quotient: None };
    }
    if distance < -1 || distance < 0 && !nearest {
        return Remainder { number: Number { denormal: false, ..a }, quotient: Some(0) };
    }
    // In units of half the divisor's last place, so that a distance of -1 is one too.
    let (dividend, divisor) = ((dividend << (distance + 1)), divisor << 1);
    let (mut quotient, rest) = (dividend / divisor, dividend % divisor);
    let (mut negative, mut left) = (a.negative, rest);
    if nearest && (rest > divisor - rest || rest == divisor - rest && quotient & 1 != 0) {
        (quotient, negative, left) = (quotient + 1, !a.negative, divisor - rest);
    }
    let number = if left == 0 { Number::zero(a.negative) } else { whole(negative, left, b.exponent - 1) };
    Remainder { number, quotient: Some(quotient as u64 & 7) }
}

/// `digits` in units of the last place of a 64-bit significand with this exponent.
fn whole(negative: bool, digits: u128, exponent: i32) -> Number {
    if digits == 0 { Number::zero(negative) } else { Number::finite(negative, exponent + 64, digits) }
}
