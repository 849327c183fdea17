//! What the core does by itself; against the host it is tested through the operations made of it.

use super::arithmetic::{add, divide, multiply, multiply_add, square_root};
use super::integer::{round_to_integral, to_signed};
use super::round::round;
use super::*;

fn double(value: f64) -> Number {
    DOUBLE.unpack(value.to_bits() as u128)
}

fn rounded(number: Number) -> (f64, u32) {
    let result = round(number, Limits::of(DOUBLE, Rounding::Nearest));
    (f64::from_bits(DOUBLE.pack(result.number) as u64), result.flags)
}

#[test]
fn every_half_comes_back_from_being_taken_apart() {
    for bits in 0..=u16::MAX {
        let number = HALF.unpack(bits as u128);
        let result = round(number, Limits::of(HALF, Rounding::Nearest));
        assert_eq!((HALF.pack(result.number), result.flags), (bits as u128, 0));
        let wider = round(number, Limits::of(EXTENDED, Rounding::Nearest));
        assert_eq!(wider.flags, 0);
        let back = round(EXTENDED.unpack(EXTENDED.pack(wider.number)), Limits::of(HALF, Rounding::Nearest));
        assert_eq!((HALF.pack(back.number), back.flags), (bits as u128, 0));
    }
}

#[test]
fn arithmetic_rounds_once() {
    let nearest = Rounding::Nearest;
    assert_eq!(rounded(divide(double(1.0), double(3.0))), (1.0 / 3.0, flag::INEXACT));
    assert_eq!(rounded(square_root(double(2.0))), (2f64.sqrt(), flag::INEXACT));
    assert_eq!(rounded(square_root(double(2.25))), (1.5, 0));
    assert_eq!(rounded(square_root(double(0.25))), (0.5, 0));
    assert_eq!(rounded(add(double(0.1), double(0.2), nearest)), (0.1 + 0.2, flag::INEXACT));
    assert_eq!(rounded(multiply(double(0.1), double(0.1))), (0.1 * 0.1, flag::INEXACT));
    let two = 2.0 * f64::EPSILON;
    let exact = multiply_add(double(1.0 + two), double(1.0 + two), double(-1.0), nearest);
    assert_eq!(rounded(exact), (2.0 * two + two * two, 0));
}

#[test]
fn results_out_of_range_raise_what_ieee_754_says() {
    let least = double(f64::MIN_POSITIVE);
    assert_eq!(rounded(multiply(least, double(0.5))), (f64::MIN_POSITIVE / 2.0, 0));
    let third = rounded(divide(least, double(3.0)));
    assert_eq!(third, (f64::MIN_POSITIVE / 3.0, flag::UNDERFLOW | flag::INEXACT));
    // Rounded up to the least normal number only because of the narrower subnormal format: tiny.
    let just_below = multiply(least, double(1.0 - f64::EPSILON / 2.0));
    assert_eq!(rounded(just_below), (f64::MIN_POSITIVE, flag::UNDERFLOW | flag::INEXACT));
    let large = multiply(double(f64::MAX), double(2.0));
    assert_eq!(rounded(large), (f64::INFINITY, flag::OVERFLOW | flag::INEXACT));
}

#[test]
fn integers_round_and_do_not_fit() {
    let as_i32 = |value: f64, rounding| to_signed(double(value), rounding, 32).map(|(i, _)| i);
    assert_eq!(as_i32(2.5, Rounding::Nearest), Some(2));
    assert_eq!(as_i32(-2.5, Rounding::Down), Some(-3));
    assert_eq!(as_i32(-2147483648.0, Rounding::Nearest), Some(-2147483648));
    assert_eq!(as_i32(2147483647.5, Rounding::Truncate), Some(2147483647));
    assert_eq!(as_i32(2147483647.5, Rounding::Nearest), None);
    assert_eq!(as_i32(f64::NAN, Rounding::Nearest), None);
    assert_eq!(as_i32(1e300, Rounding::Nearest), None);
    assert_eq!(as_i32(1e-300, Rounding::Up), Some(1));
    let (value, inexact, up) = round_to_integral(double(-0.75), Rounding::Nearest);
    assert_eq!((rounded(value), inexact, up), ((-1.0, 0), true, true));
}

/// Whether a function's value is the wanted one but for the errors of the standard library's.
fn close(found: Number, wanted: f64) {
    let (value, flags) = rounded(found);
    assert!((value - wanted).abs() <= 4.0 * f64::EPSILON * wanted.abs(), "{value} for {wanted}");
    assert_eq!(flags & flag::INEXACT, flag::INEXACT);
}

#[test]
fn functions_have_the_values_known() {
    for x in [1e-9, 0.1, 0.25, 0.4, 0.7, 0.99] {
        for x in [x, -x] {
            close(functions::exp2_minus_1(double(x)), (x * 2f64.ln()).exp_m1());
            close(functions::log2_plus_1(double(x)), x.ln_1p() * std::f64::consts::LOG2_E);
            for y in [1e-3, 0.3, 1.0, 77.0] {
                close(functions::arctangent(double(y), double(x)), y.atan2(x));
                close(functions::arctangent(double(-y), double(x)), (-y).atan2(x));
            }
            let (sine, cosine) = functions::sine_and_cosine_of(double(x));
            close(sine, x.sin());
            close(cosine, x.cos());
            close(functions::tangent_of(double(x)), x.tan());
        }
    }
    for x in [2.0f64, 3.0, 4.0, 5.5, 7.0, 100.0] {
        close(functions::sine_and_cosine_of(double(x)).0, x.sin());
        close(functions::sine_and_cosine_of(double(-x)).1, x.cos());
    }
    close(functions::log2(double(10.0)), 10f64.log2());
    close(functions::log2(double(0.001)), 0.001f64.log2());
    assert_eq!(rounded(functions::log2(double(0.125))), (-3.0, 0));
    assert_eq!(rounded(functions::quarters_of_pi(4)).0, std::f64::consts::PI);
}

#[test]
fn pi_has_66_bits_where_the_x87_unit_reduces_by_it() {
    // The double next to pi, less its sine, is that pi.
    let near = double(std::f64::consts::PI);
    let (sine, _) = functions::sine_and_cosine_of(near);
    let pi = wide::sum(near, sine);
    assert_eq!(((pi.significand >> 61) + 1) >> 1, 0x3_243F_6A88_85A3_08D3);
}
