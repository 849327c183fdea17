//! Stores of ST0 to memory.
//!
//! Here an unmasked overflow or underflow suppresses the result as an invalid operation does:
//! memory keeps what it has, and nothing is popped.

use super::super::{X87State, status};
use super::{decimal, not_numbers, operand, raise, rounding, stack};
use crate::softfloat::integer::{Integral, to_integer, to_signed};
use crate::softfloat::round::{Limits, Rounding, round};
use crate::softfloat::{Class, Format, Number, flag};

/// Puts the value into memory and pops, with the exceptions `flags`.
fn finish(x: &mut X87State, memory: &mut [u8; 16], value: &[u8], flags: u32, up: bool, pop: bool) {
    let out_of_range = flags & (flag::OVERFLOW | flag::UNDERFLOW) & !u32::from(x.control) != 0;
    let flags = if out_of_range { flags & !flag::INEXACT } else { flags };
    if raise(x, flags) && !out_of_range {
        if up {
            x.status |= status::C1;
        }
        put(x, memory, value, pop);
    }
}

fn put(x: &mut X87State, memory: &mut [u8; 16], value: &[u8], pop: bool) {
    memory[..value.len()].copy_from_slice(value);
    if pop {
        x.drop_top();
    }
}

/// A store of an empty register.
fn underflow(x: &mut X87State, memory: &mut [u8; 16], indefinite: &[u8], pop: bool) {
    if stack::underflow(x) {
        put(x, memory, indefinite, pop);
    }
}

/// FST m32, FST m64.
pub(super) fn real(x: &mut X87State, format: Format, memory: &mut [u8; 16], pop: bool) {
    let bytes = format.width as usize / 8;
    let encode = |number: Number| format.pack(number).to_le_bytes();
    if x.is_empty(0) {
        return underflow(x, memory, &encode(Number::INDEFINITE)[..bytes], pop);
    }
    let a = operand(x, 0);
    if let Some(outcome) = not_numbers(&[a]) {
        return finish(x, memory, &encode(outcome.number)[..bytes], outcome.flags, false, pop);
    }
    let rounded = round(a, Limits::of(format, rounding(x.control)));
    let mut flags = rounded.flags;
    if rounded.tiny && x.control & status::UE == 0 {
        flags |= flag::UNDERFLOW;
    }
    finish(x, memory, &encode(rounded.number)[..bytes], flags, rounded.up, pop);
}

/// FSTP m80.
pub(super) fn extended(x: &mut X87State, memory: &mut [u8; 16]) {
    if x.is_empty(0) {
        return underflow(x, memory, &super::super::INDEFINITE.0[..10], true);
    }
    let value = x.st(0).0;
    x.status &= !status::C1;
    put(x, memory, &value[..10], true);
}

/// FIST and FISTTP (`truncate`) of `bits` bits.
pub(super) fn integer(x: &mut X87State, bits: u32, memory: &mut [u8; 16], truncate: bool, pop: bool) {
    let bytes = bits as usize / 8;
    let indefinite = (1u64 << (bits - 1)).to_le_bytes();
    if x.is_empty(0) {
        return underflow(x, memory, &indefinite[..bytes], pop);
    }
    let mode = if truncate { Rounding::Truncate } else { rounding(x.control) };
    match to_signed(operand(x, 0), mode, bits) {
        Some((value, integral)) => {
            let flags = if integral.inexact { flag::INEXACT } else { 0 };
            finish(x, memory, &value.to_le_bytes()[..bytes], flags, integral.up, pop);
        }
        None => finish(x, memory, &indefinite[..bytes], flag::INVALID, false, pop),
    }
}

/// FBSTP.
pub(super) fn decimal(x: &mut X87State, memory: &mut [u8; 16]) {
    if x.is_empty(0) {
        return underflow(x, memory, &decimal::INDEFINITE, true);
    }
    let a = operand(x, 0);
    let integral = match a.class {
        Class::Zero | Class::Finite => to_integer(a, rounding(x.control)),
        _ => None,
    };
    match integral {
        Some(Integral { magnitude, inexact, up }) if magnitude <= decimal::MOST => {
            let value = decimal::to_decimal(a.negative, magnitude as u64);
            finish(x, memory, &value, if inexact { flag::INEXACT } else { 0 }, up, true);
        }
        _ => finish(x, memory, &decimal::INDEFINITE, flag::INVALID, false, true),
    }
}
