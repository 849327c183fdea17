//! Loads: what pushes a value.

use super::super::{INDEFINITE, X87State};
use super::{not_numbers, raise, register, stack};
use crate::softfloat::{Number, flag};
use crate::state::Fpr;

/// Pushes a register's contents as they are.
pub(super) fn raw(x: &mut X87State, value: Fpr) {
    if x.is_empty(7) {
        x.push_value(value);
    } else {
        overflowing(x);
    }
}

/// A load onto a register that is not empty.
fn overflowing(x: &mut X87State) {
    if stack::overflow(x) {
        let status = x.status;
        x.push_value(INDEFINITE);
        x.status = status;
    }
}

/// FILD, FBLD.
pub(super) fn integer(x: &mut X87State, value: Number) {
    raw(x, register(value));
}

/// FLD m32, FLD m64.
pub(super) fn real(x: &mut X87State, value: Number) {
    if !x.is_empty(7) {
        return overflowing(x);
    }
    let (flags, number) = match not_numbers(&[value]) {
        Some(outcome) => (outcome.flags, outcome.number),
        None => (if value.denormal { flag::DENORMAL } else { 0 }, value),
    };
    // A denormal is loaded even if that exception is unmasked.
    if raise(x, flags) || value.denormal {
        x.push_value(register(number));
    }
}

/// FLD ST(i).
pub(super) fn copy(x: &mut X87State, i: u8) {
    if x.is_empty(i) {
        if stack::underflow(x) {
            x.push_value(INDEFINITE);
        }
    } else if !x.is_empty(7) {
        overflowing(x);
    } else {
        let value = *x.st(i);
        x.push_value(value);
    }
}
