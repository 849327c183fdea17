//! Rounding into a format, and the exceptions of the result: overflow, underflow, precision.

use super::flag;
use super::number::{Class, Format, INTEGER_BIT, Number};

/// The rounding modes, as MXCSR and the x87 control word number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest, ties to even.
    Nearest,
    /// Toward minus infinity.
    Down,
    /// Toward plus infinity.
    Up,
    /// Toward zero.
    Truncate,
}

impl Rounding {
    /// From the two bits of rounding control.
    pub fn from_bits(bits: u32) -> Rounding {
        match bits & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::Truncate,
        }
    }
    /// Whether a magnitude grows whose last kept digit is `odd`, and whose lost ones compare with
    /// one half of that digit as `lost` and `half` do.
    pub fn grows(self, negative: bool, odd: bool, lost: u128, half: u128) -> bool {
        match self {
            Rounding::Nearest => lost > half || lost == half && odd,
            Rounding::Down => negative && lost != 0,
            Rounding::Up => !negative && lost != 0,
            Rounding::Truncate => false,
        }
    }
}

/// What rounding is to respect.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The format that the result has to fit.
    pub format: Format,
    /// Bits of significand that are kept: the format's, or fewer by x87 precision control.
    pub precision: u32,
    /// Rounding control.
    pub rounding: Rounding,
    /// Overflow and underflow ([`flag`]) that give a result with its exponent wrapped into range by
    /// [`Limits::WRAP`], as the x87 unit does where they are unmasked.
    pub wrapped: u32,
}

impl Limits {
    /// Three quarters of the extended format's exponents: SDM Vol. 1, "Numeric Overflow Exception".
    pub const WRAP: i32 = 24576;

    /// The format's own precision.
    pub fn of(format: Format, rounding: Rounding) -> Limits {
        Limits { format, precision: format.precision, rounding, wrapped: 0 }
    }
}

/// A result that fits its format.
#[derive(Clone, Copy, Debug)]
pub struct Rounded {
    /// The result.
    pub number: Number,
    /// Overflow, underflow and precision.
    pub flags: u32,
    /// The magnitude is larger than the exact one.
    pub up: bool,
    /// The result is tiny: below the smallest normal number, had the exponent no limit.
    pub tiny: bool,
}

/// `significand` with at most `precision` bits counted from bit 127: whether it grew, whether it was
/// inexact; a carry out of bit 127 comes back as the last value.
fn cut(significand: u128, precision: u32, rounding: Rounding, negative: bool) -> (u128, bool, bool, bool) {
    let last = 1u128 << (128 - precision);
    let lost = significand & (last - 1);
    let up = rounding.grows(negative, significand & last != 0, lost, last >> 1);
    let (kept, carry) = (significand - lost).overflowing_add(if up { last } else { 0 });
    (kept, up, lost != 0, carry)
}

/// `significand` moved right, with a sticky last bit.
pub fn shift_right_sticky(significand: u128, by: u32) -> u128 {
    match by {
        0 => significand,
        128.. => (significand != 0) as u128,
        _ => significand >> by | (significand << (128 - by) != 0) as u128,
    }
}

/// Rounds; what is not finite stays as it is.
pub fn round(number: Number, limits: Limits) -> Rounded {
    if number.class != Class::Finite {
        return Rounded { number, flags: 0, up: false, tiny: false };
    }
    let Limits { format, precision, rounding, wrapped } = limits;
    let (mut significand, up, inexact, carry) = cut(number.significand, precision, rounding, number.negative);
    let mut exponent = number.exponent;
    if carry {
        (significand, exponent) = (INTEGER_BIT, exponent + 1);
    }
    let precision_flag = |inexact: bool| if inexact { flag::INEXACT } else { 0 };
    let result = Number { denormal: false, exponent, significand, ..number };
    let tiny = exponent < format.least();
    let range = if exponent > format.bias() {
        flag::OVERFLOW
    } else if tiny {
        flag::UNDERFLOW
    } else {
        return Rounded { number: result, flags: precision_flag(inexact), up, tiny };
    };
    if wrapped & range != 0 {
        let by = if tiny { Limits::WRAP } else { -Limits::WRAP };
        let exponent = exponent + by;
        if (format.least()..=format.bias()).contains(&exponent) {
            let number = Number { exponent, ..result };
            return Rounded { number, flags: range | precision_flag(inexact), up, tiny };
        }
        return beyond_wrapping(result, range);
    }
    if tiny { round_tiny(number, limits) } else { overflow(number, limits) }
}

/// A magnitude too large: infinity, or the largest number where rounding goes the other way.
fn overflow(number: Number, limits: Limits) -> Rounded {
    let up = limits.rounding.grows(number.negative, true, 2, 1);
    let result = if up {
        Number::infinity(number.negative)
    } else {
        let significand = u128::MAX << (128 - limits.precision);
        Number { denormal: false, exponent: limits.format.bias(), significand, ..number }
    };
    Rounded { number: result, flags: flag::OVERFLOW | flag::INEXACT, up, tiny: false }
}

/// A magnitude below the normal numbers: it has as many digits as are left above the format's last place.
fn round_tiny(number: Number, limits: Limits) -> Rounded {
    let Limits { format, precision, rounding, .. } = limits;
    let shifted = shift_right_sticky(number.significand, (format.least() - number.exponent) as u32);
    let (significand, up, inexact, _) = cut(shifted, precision, rounding, number.negative);
    let flags = if inexact { flag::UNDERFLOW | flag::INEXACT } else { 0 };
    let class = if significand == 0 { Class::Zero } else { Class::Finite };
    let number = Number { class, denormal: false, exponent: format.least(), significand, ..number };
    Rounded { number, flags, up, tiny: true }
}

/// A magnitude that not even wrapping brings into range (FSCALE can make one): an infinity or zero.
fn beyond_wrapping(number: Number, range: u32) -> Rounded {
    let tiny = range == flag::UNDERFLOW;
    let result = if tiny { Number::zero(number.negative) } else { Number::infinity(number.negative) };
    Rounded { number: result, flags: range | flag::INEXACT, up: !tiny, tiny }
}
