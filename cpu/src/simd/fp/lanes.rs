//! Portable operations on vectors, from those on elements.

use super::environment::Environment;
use super::soft::{self, ElementOperation, Signs};
use super::{Element, Operation, Xmm};
use crate::softfloat::number::Format;
use crate::softfloat::round::Rounding;
use crate::softfloat::{DOUBLE, SINGLE};

/// Element `n` of `width` bits.
pub(super) fn element(vector: u128, width: u32, n: usize) -> u64 {
    (vector >> (width * n as u32)) as u64 & (u64::MAX >> (64 - width))
}

/// `vector` with another element `n`.
pub(super) fn with_element(vector: u128, width: u32, n: usize, value: u64) -> u128 {
    let at = width * n as u32;
    let ones = u128::from(u64::MAX >> (64 - width));
    vector & !(ones << at) | u128::from(value) << at
}

/// The lowest `count` elements computed by `f`, the others `first`'s.
fn fill(first: Xmm, width: u32, count: usize, mut f: impl FnMut(usize) -> u64) -> Xmm {
    let vector = (0..count).fold(u128::from_xmm(first), |vector, n| with_element(vector, width, n, f(n)));
    vector.to_xmm()
}

/// `operation` on the lowest `count` elements; the others are the first operand's.
pub(super) fn each(
    format: Format,
    count: usize,
    operation: ElementOperation,
) -> impl Fn(&mut Environment, Xmm, Xmm) -> Xmm {
    move |environment, first, second| {
        let (a, b) = (u128::from_xmm(first), u128::from_xmm(second));
        let width = format.width;
        fill(first, width, count, |n| {
            operation(environment, format, element(a, width, n), element(b, width, n))
        })
    }
}

/// An operation of one operand, on all elements.
pub(super) fn map(format: Format, operation: ElementOperation) -> impl Fn(&mut Environment, Xmm) -> Xmm {
    move |environment, source| {
        each(format, (128 / format.width) as usize, operation)(environment, source, source)
    }
}

/// `operation` on neighbours: the first operand's give the lower half, the second's the upper.
pub(super) fn horizontal(
    format: Format,
    operation: ElementOperation,
) -> impl Fn(&mut Environment, Xmm, Xmm) -> Xmm {
    move |environment, first, second| {
        let width = format.width;
        let half = (64 / width) as usize;
        fill(first, width, 2 * half, |n| {
            let from = u128::from_xmm(if n < half { first } else { second });
            let at = n % half * 2;
            operation(environment, format, element(from, width, at), element(from, width, at + 1))
        })
    }
}

/// Differences in even elements, sums in odd ones.
pub(super) fn alternating(format: Format) -> impl Fn(&mut Environment, Xmm, Xmm) -> Xmm {
    move |environment, first, second| {
        let (a, b) = (u128::from_xmm(first), u128::from_xmm(second));
        let width = format.width;
        fill(first, width, (128 / width) as usize, |n| {
            let operation = if n & 1 == 0 { soft::subtract } else { soft::add };
            operation(environment, format, element(a, width, n), element(b, width, n))
        })
    }
}

/// ROUND of the second operand's lowest `count` elements.
pub(super) fn rounded(
    environment: &mut Environment,
    format: Format,
    count: usize,
    first: Xmm,
    second: Xmm,
    imm: u8,
) -> Xmm {
    let source = u128::from_xmm(second);
    let width = format.width;
    fill(first, width, count, |n| soft::round_element(environment, format, element(source, width, n), imm))
}

/// A multiply-add of the lowest `count` elements, as `operation` describes it.
pub(super) fn fused(
    environment: &mut Environment,
    format: Format,
    count: usize,
    operation: Operation,
    operands: [Xmm; 3],
) -> Xmm {
    let Operation::Fused { order, negative_product, negative_sum } = operation else {
        unreachable!("only multiply-adds get here")
    };
    let width = format.width;
    fill(operands[0], width, count, |n| {
        let elements = operands.map(|operand| element(u128::from_xmm(operand), width, n));
        let signs = Signs { negative_product, negative_sum: negative_sum[n & 1] };
        soft::fused(environment, format, elements, order, signs)
    })
}

/// The lowest `count` elements converted from one width to another, and zeros above.
pub(super) fn converted(
    source: Xmm,
    [from, to]: [u32; 2],
    count: usize,
    mut convert: impl FnMut(u64) -> u64,
) -> Xmm {
    let vector = u128::from_xmm(source);
    fill(0u128.to_xmm(), to, count, |n| convert(element(vector, from, n)))
}

/// Signed doublewords to the elements of a format.
pub(super) fn from_doublewords(format: Format, count: usize) -> impl Fn(&mut Environment, Xmm) -> Xmm {
    move |environment, source| {
        converted(source, [32, format.width], count, |integer| {
            soft::from_integer(environment, format, (integer as i32).into())
        })
    }
}

/// All elements of a format to signed doublewords; truncated, or rounded as MXCSR says.
pub(super) fn to_doublewords(format: Format, truncate: bool) -> impl Fn(&mut Environment, Xmm) -> Xmm {
    move |environment, source| {
        let rounding = if truncate { Rounding::Truncate } else { environment.rounding() };
        converted(source, [format.width, 32], (128 / format.width) as usize, |bits| {
            soft::to_integer(environment, format, bits, rounding, 32)
        })
    }
}

/// Two elements, from single to double precision.
pub(super) fn widen(environment: &mut Environment, source: Xmm) -> Xmm {
    converted(source, [32, 64], 2, |bits| soft::convert(environment, SINGLE, DOUBLE, bits))
}

/// Two elements, from double to single precision.
pub(super) fn narrow(environment: &mut Environment, source: Xmm) -> Xmm {
    converted(source, [64, 32], 2, |bits| soft::convert(environment, DOUBLE, SINGLE, bits))
}

/// The lowest element, from single to double precision.
pub(super) fn widen_scalar(environment: &mut Environment, first: Xmm, second: Xmm) -> Xmm {
    let source = element(u128::from_xmm(second), 32, 0);
    fill(first, 64, 1, |_| soft::convert(environment, SINGLE, DOUBLE, source))
}

/// The lowest element, from double to single precision.
pub(super) fn narrow_scalar(environment: &mut Environment, first: Xmm, second: Xmm) -> Xmm {
    let source = element(u128::from_xmm(second), 64, 0);
    fill(first, 32, 1, |_| soft::convert(environment, DOUBLE, SINGLE, source))
}

/// An integer in the lowest element.
pub(super) fn integer_scalar(environment: &mut Environment, format: Format, first: Xmm, integer: i64) -> Xmm {
    fill(first, format.width, 1, |_| soft::from_integer(environment, format, integer))
}

/// The lowest element as an integer of `bits` bits.
pub(super) fn scalar_to_integer(
    environment: &mut Environment,
    format: Format,
    source: Xmm,
    truncate: bool,
    bits: u32,
) -> u64 {
    let rounding = if truncate { Rounding::Truncate } else { environment.rounding() };
    soft::to_integer(environment, format, element(u128::from_xmm(source), format.width, 0), rounding, bits)
}
