//! What the host's own IEEE arithmetic can answer, which is nearly everything and several times
//! faster than integers are.
//!
//! Rust's floating-point numbers round to nearest and tell no flags. That is enough where rounding to nearest is
//! asked for, operands and result are normal, and the precision flag, the only one that such an operation can
//! raise, is set already: it is sticky, and set before long in any program that computes.
//! Everything else is [`None`] here and goes the long way.

use std::cmp::Ordering;

use super::environment::Environment;
use crate::softfloat::number::Format;
use crate::softfloat::{Rounding, SINGLE};

/// An operation on two numbers, in both formats.
#[derive(Clone, Copy)]
pub(super) struct Native {
    single: fn(f32, f32) -> f32,
    double: fn(f64, f64) -> f64,
}

pub(super) const ADD: Native = Native { single: |a, b| a + b, double: |a, b| a + b };
pub(super) const SUBTRACT: Native = Native { single: |a, b| a - b, double: |a, b| a - b };
pub(super) const MULTIPLY: Native = Native { single: |a, b| a * b, double: |a, b| a * b };
pub(super) const DIVIDE: Native = Native { single: |a, b| a / b, double: |a, b| a / b };
pub(super) const SQUARE_ROOT: Native = Native { single: |_, b| b.sqrt(), double: |_, b| b.sqrt() };

/// Whether a rounded normal result raises nothing new.
#[inline]
fn applies(environment: &Environment) -> bool {
    environment.is_inexact() && environment.rounding() == Rounding::Nearest
}

#[inline]
fn double(bits: u64) -> Option<f64> {
    Some(f64::from_bits(bits)).filter(|number| number.is_normal())
}

#[inline]
fn single(bits: u64) -> Option<f32> {
    Some(f32::from_bits(bits as u32)).filter(|number| number.is_normal())
}

/// The least normal number may have been rounded up from a tiny one.
#[inline]
fn finish_double(result: f64) -> Option<u64> {
    (result.is_normal() && result.abs() != f64::MIN_POSITIVE).then_some(result.to_bits())
}

#[inline]
fn finish_single(result: f32) -> Option<u64> {
    (result.is_normal() && result.abs() != f32::MIN_POSITIVE).then_some(result.to_bits().into())
}

/// `operation` on elements `a` and `b`.
#[inline]
pub(super) fn compute(
    environment: &Environment,
    format: Format,
    a: u64,
    b: u64,
    operation: Native,
) -> Option<u64> {
    if !applies(environment) {
        return None;
    }
    if format == SINGLE {
        finish_single((operation.single)(single(a)?, single(b)?))
    } else {
        finish_double((operation.double)(double(a)?, double(b)?))
    }
}

/// `a` times `b` plus `c`, with the signs of product and addend changed or not.
#[inline]
pub(super) fn fused(
    environment: &Environment,
    format: Format,
    [a, b, c]: [u64; 3],
    negative_product: bool,
    negative_sum: bool,
) -> Option<u64> {
    if !applies(environment) {
        return None;
    }
    if format == SINGLE {
        let (a, b, c) = (single(a)?, single(b)?, single(c)?);
        let c = if negative_sum { -c } else { c };
        finish_single(if negative_product { -a } else { a }.mul_add(b, c))
    } else {
        let (a, b, c) = (double(a)?, double(b)?, double(c)?);
        let c = if negative_sum { -c } else { c };
        finish_double(if negative_product { -a } else { a }.mul_add(b, c))
    }
}

/// How two elements compare that are normal, or zero.
#[inline]
pub(super) fn order(format: Format, a: u64, b: u64) -> Option<Ordering> {
    let number = |bits: u64| {
        let number = if format == SINGLE { f32::from_bits(bits as u32).into() } else { f64::from_bits(bits) };
        let denormal = format == SINGLE && f32::from_bits(bits as u32).is_subnormal();
        Some(number).filter(|number: &f64| !denormal && (number.is_normal() || *number == 0.0))
    };
    number(a)?.partial_cmp(&number(b)?)
}
