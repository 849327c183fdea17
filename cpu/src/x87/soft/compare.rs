//! Comparisons, FTST and FXAM.

use std::cmp::Ordering;

use super::super::{X87State, status};
use super::{operand, raise, stack};
use crate::flags::ArithFlags;
use crate::softfloat::arithmetic::compare;
use crate::softfloat::{Class, Number, flag};

/// The condition codes of an ordering.
fn codes(ordering: Option<Ordering>) -> u16 {
    match ordering {
        Some(Ordering::Less) => status::C0,
        Some(Ordering::Equal) => status::C3,
        Some(Ordering::Greater) => 0,
        None => status::C0 | status::C2 | status::C3,
    }
}

/// How `a` relates to `b`, and the exceptions that it raises to ask: an unordered operand is invalid, but
/// with FUCOM not a quiet NaN.
fn order(a: Number, b: Number, signals: bool) -> (Option<Ordering>, u32) {
    let operands = [a, b];
    let any = |class| operands.iter().any(|operand| operand.class == class);
    if any(Class::Unsupported) || any(Class::SignalingNan) {
        return (None, flag::INVALID);
    }
    if any(Class::QuietNan) {
        return (None, if signals { flag::INVALID } else { 0 });
    }
    let denormal = a.denormal || b.denormal;
    (Some(compare(a, b)), if denormal { flag::DENORMAL } else { 0 })
}

/// Sets the condition codes to an ordering, unmasked exceptions or not; whether the instruction goes on.
fn set_codes(x: &mut X87State, ordering: Option<Ordering>, flags: u32) -> bool {
    let goes_on = raise(x, flags);
    x.status = x.status & !status::CC | codes(ordering);
    goes_on
}

/// A comparison with an empty register.
fn underflow(x: &mut X87State) -> bool {
    let goes_on = stack::underflow(x);
    x.status = x.status & !status::CC | codes(None);
    goes_on
}

/// ST0 with an operand in memory.
pub(super) fn with_operand(x: &mut X87State, source: Number, pop: bool) {
    let goes_on = if x.is_empty(0) {
        underflow(x)
    } else {
        let (ordering, flags) = order(operand(x, 0), source, true);
        set_codes(x, ordering, flags)
    };
    if goes_on && pop {
        x.drop_top();
    }
}

/// FCOM (`signals`), FUCOM: ST0 with ST(`i`); then so many pops.
pub(super) fn ordered(x: &mut X87State, i: u8, signals: bool, pops: u8) {
    let goes_on = if x.is_empty(0) || x.is_empty(i) {
        underflow(x)
    } else {
        let (ordering, flags) = order(operand(x, 0), operand(x, i), signals);
        set_codes(x, ordering, flags)
    };
    if goes_on {
        for _ in 0..pops {
            x.drop_top();
        }
    }
}

/// FTST.
pub(super) fn with_zero(x: &mut X87State) {
    with_operand(x, Number::zero(false), false);
}

/// FCOMI (`signals`), FUCOMI: the arithmetic flags.
pub(super) fn to_flags(x: &mut X87State, i: u8, signals: bool, pop: bool) -> ArithFlags {
    let (ordering, goes_on) = if x.is_empty(0) || x.is_empty(i) {
        (None, stack::underflow(x))
    } else {
        let (ordering, flags) = order(operand(x, 0), operand(x, i), signals);
        (ordering, raise(x, flags))
    };
    if goes_on && pop {
        x.drop_top();
    }
    ArithFlags(match ordering {
        Some(Ordering::Less) => ArithFlags::CF,
        Some(Ordering::Equal) => ArithFlags::ZF,
        Some(Ordering::Greater) => 0,
        None => ArithFlags::CF | ArithFlags::ZF | ArithFlags::PF,
    })
}

/// FXAM: the sign in C1 and the class in the others. It raises nothing.
pub(super) fn examine(x: &mut X87State) {
    let a = operand(x, 0);
    let class = match a.class {
        _ if x.is_empty(0) => status::C3 | status::C0,
        Class::Unsupported => 0,
        Class::QuietNan | Class::SignalingNan => status::C0,
        Class::Finite if a.denormal => status::C3 | status::C2,
        Class::Finite => status::C2,
        Class::Infinity => status::C2 | status::C0,
        Class::Zero => status::C3,
    };
    let sign = if x.st(0).0[9] & 0x80 != 0 { status::C1 } else { 0 };
    x.status = x.status & !status::CC | class | sign;
}
