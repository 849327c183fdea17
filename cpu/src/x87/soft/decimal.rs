//! Packed decimals: eighteen digits, two a byte, and a sign in the last of ten bytes.

use crate::softfloat::Number;

/// How many digits there are.
const DIGITS: u32 = 18;

/// The integer that a packed decimal stands for; zero has a sign too.
pub(super) fn from_decimal(memory: &[u8; 16]) -> Number {
    let digit = |n: u32| i64::from(memory[n as usize / 2] >> (n % 2 * 4) & 15);
    let magnitude = (0..DIGITS).rev().fold(0i64, |value, n| value * 10 + digit(n));
    let number = Number::integer(magnitude);
    if memory[9] & 0x80 != 0 { number.negated() } else { number }
}

/// The packed decimal of an integer, which has no more than eighteen digits.
pub(super) fn to_decimal(negative: bool, magnitude: u64) -> [u8; 10] {
    let mut decimal = [0; 10];
    let mut rest = magnitude;
    for byte in &mut decimal[..9] {
        *byte = (rest % 10 + (rest / 10 % 10) * 16) as u8;
        rest /= 100;
    }
    decimal[9] = (negative as u8) << 7;
    decimal
}

/// The largest magnitude.
pub(super) const MOST: u128 = 10u128.pow(DIGITS) - 1;

/// What an invalid operation stores.
pub(super) const INDEFINITE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xC0, 0xFF, 0xFF];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_come_back() {
        for value in [0i64, 7, -42, 123_456_789_012_345_678, -999_999_999_999_999_999] {
            let mut memory = [0; 16];
            memory[..10].copy_from_slice(&to_decimal(value < 0, value.unsigned_abs()));
            assert_eq!(from_decimal(&memory), Number::integer(value));
        }
        let mut negative_zero = [0; 16];
        negative_zero[9] = 0x80;
        assert_eq!(from_decimal(&negative_zero), Number::zero(true));
        assert_eq!(to_decimal(true, 1234)[..2], [0x34, 0x12]);
    }
}
