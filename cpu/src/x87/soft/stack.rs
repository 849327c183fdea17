//! Stack faults, and the instructions that only move registers.

use super::super::{INDEFINITE, X87State, status};
use super::raise;
use crate::softfloat::flag;

/// Raises a stack underflow; whether the instruction goes on, with the indefinite as its result.
pub(super) fn underflow(x: &mut X87State) -> bool {
    let goes_on = raise(x, flag::INVALID);
    x.status |= status::SF;
    goes_on
}

/// Raises a stack overflow; whether the instruction goes on, with the indefinite as its result.
pub(super) fn overflow(x: &mut X87State) -> bool {
    let goes_on = raise(x, flag::INVALID);
    x.status |= status::SF | status::C1;
    goes_on
}

/// Puts the indefinite into ST(`i`).
pub(super) fn set_indefinite(x: &mut X87State, i: u8) {
    let to = x.physical(i);
    x.regs[to] = INDEFINITE;
    x.empty &= !(1 << to);
}

/// FXCH.
pub(super) fn exchange(x: &mut X87State, i: u8) {
    if x.is_empty(0) || x.is_empty(i) {
        if !underflow(x) {
            return;
        }
        for place in [0, i] {
            if x.is_empty(place) {
                set_indefinite(x, place);
            }
        }
    }
    let (a, b) = (x.physical(0), x.physical(i));
    x.regs.swap(a, b);
    x.status &= !status::C1;
}

/// FST ST(i), FSTP ST(i).
pub(super) fn copy(x: &mut X87State, i: u8, pop: bool) {
    if x.is_empty(0) {
        if !underflow(x) {
            return;
        }
        set_indefinite(x, i);
    } else {
        copy_register(x, i);
    }
    if pop {
        x.drop_top();
    }
}

fn copy_register(x: &mut X87State, i: u8) {
    let (to, from) = (x.physical(i), x.physical(0));
    x.regs[to] = x.regs[from];
    x.empty &= !(1 << to);
    x.status &= !status::C1;
}

/// FSTPNCE: FSTP ST(i) that raises nothing, and copies nothing if ST0 is empty.
pub(super) fn copy_unchecked(x: &mut X87State, i: u8) {
    x.status &= !status::C1;
    if !x.is_empty(0) {
        copy_register(x, i);
    }
    x.drop_top();
}

/// FCMOVcc.
pub(super) fn conditional_move(x: &mut X87State, i: u8, condition: bool) {
    if x.is_empty(0) || x.is_empty(i) {
        if underflow(x) {
            set_indefinite(x, 0);
        }
    } else {
        if condition {
            let (to, from) = (x.physical(0), x.physical(i));
            x.regs[to] = x.regs[from];
        }
        x.status &= !status::C1;
    }
}
