//! Arithmetic on finite numbers that are not zero: exact, but for the sticky last bit.

use std::cmp::Ordering;

use super::number::{INTEGER_BIT, Number};
use super::round::{Rounding, shift_right_sticky};

/// The sum, whose sign is `rounding`'s choice if it is zero. Zeros are allowed.
pub fn add(a: Number, b: Number, rounding: Rounding) -> Number {
    if a.is_zero() && b.is_zero() {
        let negative = if a.negative == b.negative { a.negative } else { rounding == Rounding::Down };
        return Number::zero(negative);
    }
    if a.is_zero() || b.is_zero() {
        return if a.is_zero() { b } else { a };
    }
    let (high, low) = match compare_magnitudes(a, b) {
        Ordering::Less => (b, a),
        _ => (a, b),
    };
    let aligned = shift_right_sticky(low.significand, (high.exponent - low.exponent) as u32);
    if a.negative != b.negative {
        let difference = high.significand - aligned;
        if difference == 0 {
            return Number::zero(rounding == Rounding::Down);
        }
        return Number::finite(high.negative, high.exponent, difference);
    }
    match high.significand.overflowing_add(aligned) {
        (sum, false) => Number::finite(high.negative, high.exponent, sum),
        (sum, true) => {
            let sum = shift_right_sticky(sum, 1) | INTEGER_BIT;
            Number::finite(high.negative, high.exponent + 1, sum)
        }
    }
}

/// How two magnitudes compare.
pub fn compare_magnitudes(a: Number, b: Number) -> Ordering {
    (a.exponent, a.significand).cmp(&(b.exponent, b.significand))
}

/// The product of numbers of at most 64 bits: exact.
pub fn multiply(a: Number, b: Number) -> Number {
    let product = (a.significand >> 64) * (b.significand >> 64);
    Number::finite(a.negative != b.negative, a.exponent + b.exponent + 1, product)
}

/// The quotient of numbers of at most 64 bits.
pub fn divide(a: Number, b: Number) -> Number {
    let (dividend, divisor) = (a.significand >> 64, b.significand >> 64);
    // 63 to 65 bits, then 62 more: below 2^127.
    let (first, rest) = ((dividend << 64) / divisor, (dividend << 64) % divisor);
    let (second, rest) = ((rest << 62) / divisor, (rest << 62) % divisor);
    let quotient = first << 62 | second | (rest != 0) as u128;
    Number::finite(a.negative != b.negative, a.exponent - b.exponent + 1, quotient)
}

/// The square root of a positive number of at most 64 bits, one binary digit after the other.
pub fn square_root(a: Number) -> Number {
    const DIGITS: u32 = 67;
    // An even exponent, and two digits before the point where it was odd.
    let odd = a.exponent & 1 != 0;
    let mut digits = a.significand >> if odd { 0 } else { 1 };
    let (mut root, mut rest) = (0u128, 0u128);
    for _ in 0..DIGITS {
        rest = rest << 2 | digits >> 126;
        digits <<= 2;
        let trial = root << 2 | 1;
        root <<= 1;
        if rest >= trial {
            rest -= trial;
            root |= 1;
        }
    }
    let significand = root << 1 | (rest != 0) as u128;
    // The first digit found is the integer bit.
    Number::finite(false, a.exponent.div_euclid(2) + 127 - DIGITS as i32, significand)
}

/// First times second plus third, exact before the sticky bit. Zeros are allowed.
pub fn multiply_add(a: Number, b: Number, c: Number, rounding: Rounding) -> Number {
    let product =
        if a.is_zero() || b.is_zero() { Number::zero(a.negative != b.negative) } else { multiply(a, b) };
    add(product, c, rounding)
}

/// How `a` relates to `b`, neither of which is a NaN.
pub fn compare(a: Number, b: Number) -> Ordering {
    let rank = |n: Number| {
        let magnitude = match (n.is_zero(), n.is_infinite()) {
            (true, _) => (0, 0, 0),
            (_, true) => (2, 0, 0),
            _ => (1, n.exponent, n.significand),
        };
        (n.negative && !n.is_zero(), magnitude)
    };
    let ((a_negative, a), (b_negative, b)) = (rank(a), rank(b));
    match (a_negative, b_negative) {
        (false, false) => a.cmp(&b),
        (true, true) => b.cmp(&a),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}
