//! Exponential, logarithm, sine, cosine and arctangent of finite numbers, by series with 128-bit significands.
//!
//! A result has more than 100 good bits and its last bit set, since none of them has an end:
//! rounded to 64 bits, it is correct but in one of very many cases.

use super::arithmetic::compare_magnitudes;
use super::number::Number;
use super::wide::{self, LN_2, LOG2_E, ONE, PI, difference, product, quotient, scaled, series, sum};
use std::cmp::Ordering;

/// With the last bit set: the result of a function whose digits do not end.
fn endless(number: Number) -> Number {
    Number { significand: number.significand | 1, ..number }
}

/// 2 to the power of `x`, minus 1; `x` lies between -1 and 1 and is neither of them, nor 0.
pub fn exp2_minus_1(x: Number) -> Number {
    // expm1(t) = t (1 + t/2 (1 + t/3 (1 + ...)))
    const TERMS: u32 = 32;
    let t = product(x, LN_2);
    endless(series(t, t, TERMS, |n| (1, n + 1)))
}

/// The natural logarithm of `(1 + z) / (1 - z)`, for `z` below 0.18 in magnitude: 2 artanh(z).
fn log_of_quotient(z: Number) -> Number {
    const TERMS: u32 = 26;
    let square = product(z, z);
    // z (1 + 1/3 z^2 (1 + 3/5 z^2 (1 + 5/7 z^2 ...)))
    wide::shifted(series(z, square, TERMS, |n| (2 * n - 1, 2 * n + 1)), 1)
}

/// The binary logarithm of a positive number that is not 1; exact for powers of two.
pub fn log2(x: Number) -> Number {
    /// The significand of the square root of 2.
    const ROOT_2: u128 = 0xB504_F333_F9DE_6484_597D_89B3_754A_BE9F;
    let exponent = if x.significand > ROOT_2 { x.exponent + 1 } else { x.exponent };
    let digits = wide::shifted(x, -exponent);
    let whole = Number::integer(exponent.into());
    let above = difference(digits, ONE);
    if above.is_zero() {
        return whole;
    }
    let z = quotient(above, sum(digits, ONE));
    endless(sum(whole, product(log_of_quotient(z), LOG2_E)))
}

/// The binary logarithm of 1 + `x`, for an `x` above -1 that is not 0.
pub fn log2_plus_1(x: Number) -> Number {
    // Adding 1 first would lose digits.
    if x.exponent < -2 {
        let z = quotient(x, sum(Number::integer(2), x));
        return endless(product(log_of_quotient(z), LOG2_E));
    }
    log2(sum(ONE, x))
}

/// The sine and cosine of an `x` of pi/4 at most in magnitude, not 0.
fn sine_and_cosine(x: Number) -> (Number, Number) {
    const TERMS: u32 = 17;
    let square = product(x, x).negated();
    let sine = series(x, square, TERMS, |n| (1, 2 * n * (2 * n + 1)));
    let cosine = series(ONE, square, TERMS, |n| (1, (2 * n - 1) * 2 * n));
    (endless(sine), endless(cosine))
}

/// The sine and cosine of any `x` below 2^63 in magnitude, not 0, pi being of 66 bits, as in the x87 unit.
pub fn sine_and_cosine_of(x: Number) -> (Number, Number) {
    /// Half of pi in units of 2^-65.
    const HALF_PI: u128 = 0x3_243F_6A88_85A3_08D3;
    if x.exponent < -1 {
        return sine_and_cosine(x);
    }
    let argument = (x.significand >> 64) << (x.exponent + 2);
    let (mut quarters, mut rest, mut negative) = (argument / HALF_PI, argument % HALF_PI, false);
    if rest > HALF_PI / 2 {
        (quarters, rest, negative) = (quarters + 1, HALF_PI - rest, true);
    }
    // Not zero: no argument of 64 bits is a multiple of an odd number of 66.
    let (sine, cosine) = sine_and_cosine(Number::finite(negative, 127 - 65, rest));
    let (sine, cosine) = match quarters & 3 {
        0 => (sine, cosine),
        1 => (cosine, sine.negated()),
        2 => (sine.negated(), cosine.negated()),
        _ => (cosine.negated(), sine),
    };
    (if x.negative { sine.negated() } else { sine }, cosine)
}

/// The tangent of `x`, likewise.
pub fn tangent_of(x: Number) -> Number {
    let (sine, cosine) = sine_and_cosine_of(x);
    endless(quotient(sine, cosine))
}

/// The arctangent of a `z` of 0.5 at most in magnitude.
fn arctangent_near_0(z: Number) -> Number {
    // Euler's series, which has no differences: z/(1+z^2) (1 + 2/3 u (1 + 4/5 u (1 + ...))), u = z^2/(1+z^2)
    const TERMS: u32 = 56;
    if z.is_zero() {
        return z;
    }
    let square = product(z, z);
    let divisor = sum(ONE, square);
    series(quotient(z, divisor), quotient(square, divisor), TERMS, |n| (2 * n, 2 * n + 1))
}

/// The angle of the point `x`, `y`, neither of which is zero, between -pi and pi.
pub fn arctangent(y: Number, x: Number) -> Number {
    let (a, b) = (y.magnitude(), x.magnitude());
    let (low, high) = match compare_magnitudes(a, b) {
        Ordering::Greater => (b, a),
        _ => (a, b),
    };
    // The angle to the nearer axis.
    let ratio = quotient(low, high);
    let angle = if ratio.exponent < -1 {
        arctangent_near_0(ratio)
    } else {
        sum(wide::shifted(PI, -2), arctangent_near_0(quotient(difference(low, high), sum(low, high))))
    };
    let steep = compare_magnitudes(a, b) == Ordering::Greater;
    let angle = if steep { difference(wide::shifted(PI, -1), angle) } else { angle };
    let angle = if x.negative { difference(PI, angle) } else { angle };
    endless(Number { negative: y.negative, ..angle })
}

/// Pi times `by` / 4.
pub fn quarters_of_pi(by: u32) -> Number {
    endless(scaled(PI, by, 4))
}
