//! Rounding to integral values, and conversion to integers.

use super::number::{Class, Number};
use super::round::{Rounding, shift_right_sticky};

/// An integral magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integral {
    /// The magnitude; meaningful below 2^127.
    pub magnitude: u128,
    /// Digits were lost.
    pub inexact: bool,
    /// The magnitude is larger than the exact one.
    pub up: bool,
}

/// A finite number or zero as an integer; `None` where the magnitude is 2^127 or more.
pub fn to_integer(number: Number, rounding: Rounding) -> Option<Integral> {
    if number.is_zero() {
        return Some(Integral { magnitude: 0, inexact: false, up: false });
    }
    match number.exponent {
        127.. => None,
        126 => Some(Integral { magnitude: number.significand >> 1, inexact: false, up: false }),
        exponent => {
            // The integer with two more digits, of which the last is sticky.
            let fixed = shift_right_sticky(number.significand, (125 - exponent) as u32);
            let (integer, lost) = (fixed >> 2, fixed & 3);
            let up = rounding.grows(number.negative, integer & 1 != 0, lost, 2);
            Some(Integral { magnitude: integer + up as u128, inexact: lost != 0, up })
        }
    }
}

/// A number as a two's complement integer of `bits` bits (64 at most), and whether digits were lost and
/// the magnitude grew. `None` where it does not fit, or is no number.
pub fn to_signed(number: Number, rounding: Rounding, bits: u32) -> Option<(i64, Integral)> {
    if !matches!(number.class, Class::Zero | Class::Finite) {
        return None;
    }
    let integral = to_integer(number, rounding)?;
    let limit = 1u128 << (bits - 1);
    if integral.magnitude > limit - !number.negative as u128 {
        return None;
    }
    let magnitude = integral.magnitude as i64;
    Some((if number.negative { magnitude.wrapping_neg() } else { magnitude }, integral))
}

/// The nearest integral value in the direction of `rounding`, whether digits were lost, and whether
/// the magnitude grew. What is not finite stays as it is.
pub fn round_to_integral(number: Number, rounding: Rounding) -> (Number, bool, bool) {
    if number.class != Class::Finite || number.exponent >= 64 {
        return (number, false, false);
    }
    let Some(integral) = to_integer(number, rounding) else { return (number, false, false) };
    let result = if integral.magnitude == 0 {
        Number::zero(number.negative)
    } else {
        Number::finite(number.negative, 127, integral.magnitude)
    };
    (result, integral.inexact, integral.up)
}
