//! Arithmetic with 128-bit significands that is nearly exact: for series.
//!
//! Each operation loses a few units of the last place at most, so that what some dozens of them
//! compute still has more than 110 good bits.

use super::arithmetic::add;
use super::number::Number;
use super::round::Rounding;

/// Pi.
pub const PI: Number = Number::finite(false, 1, 0xC90F_DAA2_2168_C234_C4C6_628B_80DC_1CD1);
/// The natural logarithm of 2.
pub const LN_2: Number = Number::finite(false, -1, 0xB172_17F7_D1CF_79AB_C9E3_B398_03F2_F6AF);
/// The binary logarithm of e.
pub const LOG2_E: Number = Number::finite(false, 0, 0xB8AA_3B29_5C17_F0BB_BE87_FED0_691D_3E89);
/// One.
pub const ONE: Number = Number::integer(1);

/// The sum.
pub fn sum(a: Number, b: Number) -> Number {
    add(a, b, Rounding::Nearest)
}

/// The difference.
pub fn difference(a: Number, b: Number) -> Number {
    sum(a, b.negated())
}

/// The product.
pub fn product(a: Number, b: Number) -> Number {
    let negative = a.negative != b.negative;
    if a.is_zero() || b.is_zero() {
        return Number::zero(negative);
    }
    Number::finite(negative, a.exponent + b.exponent + 1, high_product(a.significand, b.significand))
}

/// The upper half of a 256-bit product.
fn high_product(a: u128, b: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (x, y) = (a1 * b0, a0 * b1);
    let middle = ((a0 * b0) >> 64) + (x & LOW) + (y & LOW);
    a1 * b1 + (x >> 64) + (y >> 64) + (middle >> 64)
}

/// The quotient by a number that is not zero.
pub fn quotient(a: Number, b: Number) -> Number {
    let negative = a.negative != b.negative;
    if a.is_zero() {
        return Number::zero(negative);
    }
    // Both significands have their first digit at bit 127: one bit of quotient after the other.
    let divisor = b.significand;
    let (mut rest, mut quotient, mut carry) = (a.significand, 0u128, false);
    for _ in 0..128 {
        let fits = carry || rest >= divisor;
        if fits {
            rest = rest.wrapping_sub(divisor);
        }
        quotient = quotient << 1 | fits as u128;
        carry = rest >> 127 != 0;
        rest <<= 1;
    }
    Number::finite(negative, a.exponent - b.exponent, quotient)
}

/// The number times `by` over `over`, both small and positive.
pub fn scaled(a: Number, by: u32, over: u32) -> Number {
    if a.is_zero() {
        return a;
    }
    // Room for the factor.
    let room = 32 - by.leading_zeros();
    let product = (a.significand >> room) * u128::from(by);
    Number::finite(a.negative, a.exponent + room as i32, product / u128::from(over))
}

/// Half of the number, twice it, and so on: the number times 2 to the power of `by`.
pub fn shifted(a: Number, by: i32) -> Number {
    Number { exponent: a.exponent + by, ..a }
}

/// The sum of a series by Horner's rule: `first * (1 + f(1) x (1 + f(2) x (1 + ...)))` with so many terms, where `f`
/// gives numerator and denominator.
pub fn series(first: Number, x: Number, terms: u32, f: impl Fn(u32) -> (u32, u32)) -> Number {
    let factor = (1..=terms).rev().fold(ONE, |inner, n| {
        let (by, over) = f(n);
        sum(ONE, scaled(product(x, inner), by, over))
    });
    product(first, factor)
}
