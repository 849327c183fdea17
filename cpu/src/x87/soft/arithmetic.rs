//! The six operations of arithmetic, square root, rounding, and changes of sign.

use super::super::X87State;
use super::{Outcome, commit, compare, limits, not_numbers, operand, rounding, stack};
use crate::softfloat::arithmetic;
use crate::softfloat::integer;
use crate::softfloat::{Class, Number, flag};

/// ST0 op an operand in memory, `operation` being the opcode's: 2 and 3 compare.
pub(super) fn with_operand(x: &mut X87State, operation: u8, source: Number) {
    if operation & 6 == 2 {
        return compare::with_operand(x, source, operation == 3);
    }
    if x.is_empty(0) {
        if stack::underflow(x) {
            stack::set_indefinite(x, 0);
        }
        return;
    }
    let outcome = compute(operation, operand(x, 0), source, x.control);
    commit(x, 0, outcome);
}

/// ST(`to`) op ST(`from`), the result in ST(`to`); then a pop if `pop`.
pub(super) fn of_registers(x: &mut X87State, operation: u8, to: u8, from: u8, pop: bool) {
    let committed = if x.is_empty(to) || x.is_empty(from) {
        let goes_on = stack::underflow(x);
        if goes_on {
            stack::set_indefinite(x, to);
        }
        goes_on
    } else {
        let outcome = compute(operation, operand(x, to), operand(x, from), x.control);
        commit(x, to, outcome)
    };
    if committed && pop {
        x.drop_top();
    }
}

/// FADD (0), FMUL (1), FSUB (4), FSUBR (5), FDIV (6), FDIVR (7) of destination and source.
fn compute(operation: u8, destination: Number, source: Number, control: u16) -> Outcome {
    let (a, b) = if matches!(operation, 5 | 7) { (source, destination) } else { (destination, source) };
    if let Some(outcome) = not_numbers(&[a, b]) {
        return outcome;
    }
    match operation {
        0 => sum(a, b, control),
        1 => product(a, b, control),
        4 | 5 => sum(a, b.negated(), control),
        _ => quotient(a, b, control),
    }
}

fn sum(a: Number, b: Number, control: u16) -> Outcome {
    let exact = match (a.is_infinite(), b.is_infinite()) {
        (true, true) if a.negative != b.negative => return Outcome::INVALID,
        (true, _) => a,
        (_, true) => b,
        _ => arithmetic::add(a, b, rounding(control)),
    };
    Outcome::rounded(exact, control).of(&[a, b])
}

fn product(a: Number, b: Number, control: u16) -> Outcome {
    let negative = a.negative != b.negative;
    let exact = match (a.class, b.class) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => return Outcome::INVALID,
        (Class::Infinity, _) | (_, Class::Infinity) => Number::infinity(negative),
        (Class::Zero, _) | (_, Class::Zero) => Number::zero(negative),
        _ => arithmetic::multiply(a, b),
    };
    Outcome::rounded(exact, control).of(&[a, b])
}

fn quotient(a: Number, b: Number, control: u16) -> Outcome {
    let negative = a.negative != b.negative;
    let exact = match (a.class, b.class) {
        (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => return Outcome::INVALID,
        (Class::Infinity, _) => Number::infinity(negative),
        (_, Class::Infinity) | (Class::Zero, _) => Number::zero(negative),
        (_, Class::Zero) => {
            return Outcome { flags: flag::ZERO_DIVIDE, ..Outcome::exactly(Number::infinity(negative)) };
        }
        _ => arithmetic::divide(a, b),
    };
    Outcome::rounded(exact, control).of(&[a, b])
}

/// An instruction on ST0 alone.
pub(super) fn unary(x: &mut X87State, compute: impl FnOnce(Number, u16) -> Outcome) {
    if x.is_empty(0) {
        if stack::underflow(x) {
            stack::set_indefinite(x, 0);
        }
        return;
    }
    let a = operand(x, 0);
    let outcome = not_numbers(&[a]).unwrap_or_else(|| compute(a, x.control));
    commit(x, 0, outcome);
}

/// FSQRT.
pub(super) fn square_root(x: &mut X87State) {
    unary(x, |a, control| match a.class {
        Class::Zero => Outcome::exactly(a),
        _ if a.negative => Outcome::INVALID,
        Class::Infinity => Outcome::exactly(a),
        _ => Outcome::rounded(arithmetic::square_root(a), control).of(&[a]),
    });
}

/// FRNDINT.
pub(super) fn round_to_integral(x: &mut X87State) {
    unary(x, |a, control| {
        let (number, inexact, up) = integer::round_to_integral(a, rounding(control));
        let flags = if inexact { flag::INEXACT } else { 0 };
        Outcome { flags, number, up }.of(&[a])
    });
}

/// FCHS, FABS: what the sign becomes. Whatever the register holds is no matter.
pub(super) fn sign(x: &mut X87State, becomes: impl Fn(bool) -> bool) {
    if x.is_empty(0) {
        if stack::underflow(x) {
            stack::set_indefinite(x, 0);
        }
        return;
    }
    let at = x.physical(0);
    let top = &mut x.regs[at].0[9];
    *top = *top & 0x7F | (becomes(*top & 0x80 != 0) as u8) << 7;
    x.status &= !super::status::C1;
}

/// A result that is not precision control's business, rounded to 64 bits.
pub(super) fn full_precision(exact: Number, control: u16) -> Outcome {
    Outcome::limited(exact, limits(control, 64))
}
