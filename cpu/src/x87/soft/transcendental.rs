//! F2XM1, FYL2X, FYL2XP1, FSIN, FCOS, FSINCOS, FPTAN, FPATAN: special values, stack and exceptions.
//!
//! Results are rounded to 64 bits, as rounding control says. Precision control is not theirs.
//!
//! Source: SDM Vol. 2, the tables of results of these instructions.

use super::super::{X87State, status};
use super::arithmetic::{full_precision, unary};
use super::partial::push;
use super::{Outcome, commit, not_numbers, operand, raise, register, stack};
use crate::softfloat::functions;
use crate::softfloat::{Class, Number, flag, wide};

/// The exponent from which FSIN and its kin leave the operand as it is.
const OUT_OF_RANGE: i32 = 63;

/// A result of F2XM1, FYL2X or FYL2XP1. Those call it inexact even where it is exact (of powers of two), and
/// beyond their range, where it is undefined.
fn inexact(exact: Number, control: u16) -> Outcome {
    let mut outcome = full_precision(exact, control);
    if exact.class == Class::Finite {
        outcome.flags |= flag::INEXACT;
        if outcome.number.significand & wide::ONE.significand == 0 {
            outcome.flags |= flag::UNDERFLOW;
        }
    }
    outcome
}

/// F2XM1. Beyond -1 to 1 the operand stays, except that infinities give the limits.
pub(super) fn exp2_minus_1(x: &mut X87State) {
    unary(x, |a, control| {
        let one = a.exponent == 0 && a.significand == wide::ONE.significand;
        let exact = match a.class {
            Class::Zero => a,
            Class::Infinity if a.negative => return Outcome::exactly(Number::integer(-1)),
            Class::Infinity => a,
            _ if one && a.negative => wide::shifted(Number::integer(-1), -1),
            _ if a.exponent >= 0 => a,
            _ => functions::exp2_minus_1(a),
        };
        inexact(exact, control).of(&[a])
    });
}

/// FSIN.
pub(super) fn sine(x: &mut X87State) {
    circular(x, |a| if a.is_zero() { a } else { functions::sine_and_cosine_of(a).0 });
}

/// FCOS.
pub(super) fn cosine(x: &mut X87State) {
    circular(x, |a| if a.is_zero() { wide::ONE } else { functions::sine_and_cosine_of(a).1 });
}

/// Whether an operand is too large for the circular functions; notes that in C2.
fn out_of_range(x: &mut X87State) -> bool {
    let a = operand(x, 0);
    let large = !x.is_empty(0) && a.class == Class::Finite && a.exponent >= OUT_OF_RANGE;
    x.status &= !(status::C1 | status::C2);
    if large {
        x.status |= status::C2;
    }
    large
}

fn circular(x: &mut X87State, function: impl FnOnce(Number) -> Number) {
    if out_of_range(x) {
        return;
    }
    unary(x, |a, control| match a.class {
        Class::Infinity => Outcome::INVALID,
        _ => full_precision(function(a), control).of(&[a]),
    });
}

/// FPTAN: the tangent in ST0's place, and 1 above it.
pub(super) fn tangent(x: &mut X87State) {
    two_results(x, |a, control| {
        let tangent = if a.is_zero() { a } else { functions::tangent_of(a) };
        [full_precision(tangent, control), Outcome::exactly(wide::ONE)]
    });
}

/// FSINCOS: the sine in ST0's place, and the cosine above it.
pub(super) fn sine_and_cosine(x: &mut X87State) {
    two_results(x, |a, control| {
        let results = if a.is_zero() { (a, wide::ONE) } else { functions::sine_and_cosine_of(a) };
        [full_precision(results.0, control), full_precision(results.1, control)]
    });
}

/// A circular function that replaces ST0 and pushes.
fn two_results(x: &mut X87State, function: impl FnOnce(Number, u16) -> [Outcome; 2]) {
    if x.is_empty(0) || !x.is_empty(7) {
        x.status &= !status::C2;
        let goes_on = if x.is_empty(0) { stack::underflow(x) } else { stack::overflow(x) };
        if goes_on {
            stack::set_indefinite(x, 0);
            push(x, Number::INDEFINITE);
        }
        return;
    }
    if out_of_range(x) {
        return;
    }
    let a = operand(x, 0);
    let results = match not_numbers(&[a]) {
        Some(outcome) => [outcome; 2],
        None if a.is_infinite() => [Outcome::INVALID; 2],
        None => function(a, x.control).map(|outcome| outcome.of(&[a])),
    };
    let [below, above] = results;
    if raise(x, below.flags | above.flags) {
        if above.up || below.up {
            x.status |= status::C1;
        }
        let at = x.physical(0);
        x.regs[at] = register(below.number);
        push(x, above.number);
    }
}

/// An instruction on ST0 and ST1 that leaves its result in ST1 and pops.
fn binary_pop(x: &mut X87State, compute: impl FnOnce(Number, Number, u16) -> Outcome) {
    let committed = if x.is_empty(0) || x.is_empty(1) {
        let goes_on = stack::underflow(x);
        if goes_on {
            stack::set_indefinite(x, 1);
        }
        goes_on
    } else {
        let (a, b) = (operand(x, 0), operand(x, 1));
        let outcome = not_numbers(&[a, b]).unwrap_or_else(|| compute(a, b, x.control));
        commit(x, 1, outcome)
    };
    if committed {
        x.drop_top();
    }
}

/// `y` times a logarithm, which may be zero, infinite or finite.
fn times(y: Number, logarithm: Number) -> Option<Number> {
    let negative = y.negative != logarithm.negative;
    Some(match (y.class, logarithm.class) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => return None,
        (Class::Infinity, _) | (_, Class::Infinity) => Number::infinity(negative),
        (Class::Zero, _) | (_, Class::Zero) => Number::zero(negative),
        _ => {
            let product = wide::product(y, logarithm);
            // What lies below the logarithm's last bit lies below the product's too.
            let endless = logarithm.significand & 1;
            Number { significand: product.significand | endless, ..product }
        }
    })
}

/// FYL2X: ST1 times the binary logarithm of ST0.
pub(super) fn logarithm(x: &mut X87State) {
    binary_pop(x, |a, y, control| {
        if a.negative && !a.is_zero() {
            return Outcome::INVALID;
        }
        let one = a.exponent == 0 && a.significand == wide::ONE.significand;
        let logarithm = match a.class {
            Class::Zero => Number::infinity(true),
            Class::Infinity => Number::infinity(false),
            _ if one => Number::zero(false),
            _ => functions::log2(a),
        };
        match times(y, logarithm) {
            None => Outcome::INVALID,
            Some(result) if a.is_zero() && !y.is_infinite() => {
                Outcome { flags: flag::ZERO_DIVIDE, ..Outcome::exactly(result) }
            }
            Some(result) => inexact(result, control).of(&[a, y]),
        }
    });
}

/// FYL2XP1: ST1 times the binary logarithm of ST0 + 1. From -1 on, where there is none, ST0 is the result.
pub(super) fn logarithm_plus_1(x: &mut X87State) {
    binary_pop(x, |a, y, control| {
        let logarithm = match a.class {
            Class::Infinity if a.negative => return Outcome::INVALID,
            Class::Finite if !(a.negative && a.exponent >= 0) => functions::log2_plus_1(a),
            Class::Finite if y.class == Class::Finite => return inexact(a, control).of(&[a, y]),
            _ => a,
        };
        match times(y, logarithm) {
            None => Outcome::INVALID,
            Some(result) => inexact(result, control).of(&[a, y]),
        }
    });
}

/// FPATAN: the angle of the point ST0, ST1.
pub(super) fn arctangent(x: &mut X87State) {
    binary_pop(x, |a, y, control| {
        let quarters = |by| Number { negative: y.negative, ..functions::quarters_of_pi(by) };
        let exact = match (y.class, a.class) {
            (Class::Infinity, Class::Infinity) => quarters(if a.negative { 3 } else { 1 }),
            (Class::Infinity, _) => quarters(2),
            (Class::Zero, _) | (_, Class::Infinity) if a.negative => quarters(4),
            (Class::Zero, _) | (_, Class::Infinity) => Number::zero(y.negative),
            (_, Class::Zero) => quarters(2),
            _ => functions::arctangent(y, a),
        };
        full_precision(exact, control).of(&[a, y])
    });
}
