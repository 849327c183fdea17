//! Floating-point SSE, AVX, FMA and F16C operations: by the host's own instructions, or in
//! integers where it has none of them.
//!
//! An x86-64 host has the very unit that the guest expects: rounding, FTZ and DAZ come
//! from MXCSR, exception flags gather in it, and which NaN wins out of two is hard-wired.
//! So each operation here executes the instruction of its name in inline assembly, on
//! operands that stand in vector registers, and its caller has put the guest's
//! control bits into MXCSR, with all exceptions masked. Rust's own floating-point
//! arithmetic promises none of this and is not used.
//!
//! All is 128 bits wide. A 256-bit AVX instruction works on each 128-bit lane as the
//! 128-bit one does, so it is two applications; this way the upper halves of the host's
//! registers stay clean, and the host needs no AVX.
//!
//! An operation is a type without values that implements one of the traits here, so that
//! one generic function serves all operations of a shape, each compiled to its own code.
//! An x86-64 host must offer SSE4.2. FMA and F16C cannot be had from older instructions (and
//! exact rounding by software is slow): a CPU model offers them to the guest only where
//! [`host_offers_fma`] and [`host_offers_f16c`] say so.
//!
//! Each operation has a portable definition beside the instruction, computed with
//! [`softfloat`](crate::softfloat) under an [`Environment`]: other hosts have only that (and with the
//! feature `portable` an x86-64 host takes it too), and the tests hold it against the
//! instruction, results and flags bit for bit. Only the approximations RCP and RSQRT, which
//! differ between processors, are its own, within the error that the manual allows. Where no more is asked
//! for than rounding to nearest of normal numbers, the host's IEEE arithmetic answers (`quick`).
//! What stands for MXCSR on such a host is in [`environment`].
//!
//! Source: SDM Vol. 1, "Programming with Intel SSE"; Vol. 2, the instructions by name.
#![allow(unsafe_code, reason = "host instructions in inline assembly")]

#[cfg(all(test, target_arch = "x86_64"))]
mod against_host;
#[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
mod approximate;
mod arithmetic;
mod compare;
mod convert;
pub mod environment;
mod fma;
mod half;
mod host;
#[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
mod lanes;
mod precision;
#[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
mod quick;
#[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
mod soft;
#[cfg(test)]
mod tests;
#[cfg(all(test, target_arch = "x86_64", not(feature = "portable")))]
mod two_ways;

pub use arithmetic::*;
pub use compare::*;
pub use convert::*;
pub use environment::{Environment, MXCSR_MASK, load_mxcsr, read_mxcsr};
pub use fma::*;
pub use half::*;
pub use precision::is_inexact;

#[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
use host::with_immediate;
use host::{binary, host_or_portable, unary};

use std::mem::transmute;

/// The contents of a 128-bit vector register, whatever its elements are.
#[cfg(target_arch = "x86_64")]
pub type Xmm = std::arch::x86_64::__m128i;

/// The contents of a 128-bit vector register, whatever its elements are.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Xmm(u128);

/// Whether FMA3 operations are there: on an x86-64 host, if it can execute them.
pub fn host_offers_fma() -> bool {
    #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
    return is_x86_feature_detected!("fma");
    #[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
    true
}

/// Whether F16C operations are there: on an x86-64 host, if it can execute them.
pub fn host_offers_f16c() -> bool {
    #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
    return is_x86_feature_detected!("f16c");
    #[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
    true
}

/// What stands in the low bits of a vector: an element, two, or all of it.
pub trait Element: Copy {
    /// The element in the low bits of a vector that is zero above it.
    fn to_xmm(self) -> Xmm;
    /// The low bits of a vector.
    fn from_xmm(xmm: Xmm) -> Self;
}

impl Element for u32 {
    #[inline(always)]
    fn to_xmm(self) -> Xmm {
        singles([self, 0, 0, 0])
    }
    #[inline(always)]
    fn from_xmm(xmm: Xmm) -> u32 {
        to_singles(xmm)[0]
    }
}

impl Element for u64 {
    #[inline(always)]
    fn to_xmm(self) -> Xmm {
        doubles([self, 0])
    }
    #[inline(always)]
    fn from_xmm(xmm: Xmm) -> u64 {
        to_doubles(xmm)[0]
    }
}

impl Element for u128 {
    #[inline(always)]
    fn to_xmm(self) -> Xmm {
        doubles([self as u64, (self >> 64) as u64])
    }
    #[inline(always)]
    fn from_xmm(xmm: Xmm) -> u128 {
        let [low, high] = to_doubles(xmm);
        low as u128 | (high as u128) << 64
    }
}

/// A vector of four 32-bit elements.
#[inline(always)]
pub fn singles(elements: [u32; 4]) -> Xmm {
    // SAFETY: same size, and any bits make a vector.
    unsafe { transmute(elements) }
}

/// The four 32-bit elements of a vector.
#[inline(always)]
pub fn to_singles(xmm: Xmm) -> [u32; 4] {
    // SAFETY: same size, and any bits make integers.
    unsafe { transmute(xmm) }
}

/// A vector of two 64-bit elements.
#[inline(always)]
pub fn doubles(elements: [u64; 2]) -> Xmm {
    // SAFETY: same size, and any bits make a vector.
    unsafe { transmute(elements) }
}

/// The two 64-bit elements of a vector.
#[inline(always)]
pub fn to_doubles(xmm: Xmm) -> [u64; 2] {
    // SAFETY: same size, and any bits make integers.
    unsafe { transmute(xmm) }
}

/// The bits that two vectors have in common.
#[inline(always)]
fn and(a: Xmm, b: Xmm) -> Xmm {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_and_si128(a, b)
    }
    #[cfg(not(target_arch = "x86_64"))]
    Xmm(a.0 & b.0)
}

/// Where the results of an operation that can underflow stand in the vector it returns.
///
/// An unmasked underflow exception is raised for any tiny result, the masked one (and so
/// the flag that the host leaves) only for one that is inexact too: code that emulates the
/// former looks at the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    /// The operation cannot underflow.
    NeverTiny,
    /// The lowest so many single-precision elements.
    F32(usize, Operation),
    /// The lowest so many double-precision elements.
    F64(usize, Operation),
    /// The lowest so many half-precision elements.
    F16(usize, Operation),
}

/// How results come from the operands, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing that can overflow or underflow.
    Other,
    /// First plus second.
    Add,
    /// First minus second.
    Subtract,
    /// First minus second in even elements, plus second in odd ones.
    AddSubtract,
    /// Sums or differences of neighbours: the first's, then the second's.
    Horizontal {
        /// Differences.
        subtract: bool,
    },
    /// First times second.
    Multiply,
    /// First divided by second.
    Divide,
    /// A product plus an addend.
    Fused {
        /// Which operands are multiplied and which one is added.
        order: [u8; 3],
        /// The product's sign is changed.
        negative_product: bool,
        /// The addend's sign is changed, in even and in odd elements.
        negative_sum: [bool; 2],
    },
    /// The first operand's element in the next smaller format.
    Narrow,
    /// The second operand's.
    NarrowSecond,
}

impl Results {
    /// The operation that yields them.
    pub fn operation(self) -> Operation {
        match self {
            Results::NeverTiny => Operation::Other,
            Results::F32(_, operation) | Results::F64(_, operation) | Results::F16(_, operation) => operation,
        }
    }
    /// Whether one of the results is tiny, that is, subnormal.
    pub fn any_tiny(self, xmm: Xmm) -> bool {
        let (count, width, fraction) = match self {
            Results::NeverTiny => return false,
            Results::F16(count, _) => (count, 16, 10),
            Results::F32(count, _) => (count, 32, 23),
            Results::F64(count, _) => (count, 64, 52),
        };
        let bits = u128::from_xmm(xmm);
        (0..count).any(|lane| {
            let magnitude = bits >> (lane * width) & ((1 << (width - 1)) - 1);
            magnitude != 0 && magnitude >> fraction == 0
        })
    }
}

/// An operation on one vector.
pub trait Unary {
    /// Where results that can underflow stand.
    const RESULTS: Results;
    /// Executes it under the current MXCSR.
    fn apply(source: Xmm) -> Xmm;
}

/// An operation on two vectors. A scalar one takes the other elements from the first.
pub trait Binary {
    /// Where results that can underflow stand.
    const RESULTS: Results;
    /// Executes it under the current MXCSR.
    fn apply(first: Xmm, second: Xmm) -> Xmm;
}

/// A step of an operation that computes one result from others: see [`BinaryImm::STEPS`].
#[derive(Clone, Copy)]
pub struct Step {
    /// What it works on, from the operation's operands.
    pub operands: fn(first: Xmm, second: Xmm, imm: u8) -> [Xmm; 2],
    /// What it does to them.
    pub apply: fn(first: Xmm, second: Xmm) -> Xmm,
    /// Where its results stand.
    pub results: Results,
}

impl Step {
    const fn of<T: Binary>(operands: fn(Xmm, Xmm, u8) -> [Xmm; 2]) -> Self {
        Self { operands, apply: T::apply, results: T::RESULTS }
    }
}

/// An operation on two vectors and an immediate byte.
pub trait BinaryImm {
    /// Where results that can underflow stand.
    const RESULTS: Results;
    /// The steps in which the operation raises exceptions, each with the exceptions of its own
    /// (each yields elements of its own). Empty: all at once.
    const STEPS: &'static [Step] = &[];
    /// Executes it under the current MXCSR.
    fn apply(first: Xmm, second: Xmm, imm: u8) -> Xmm;
}

/// An operation on three vectors. A scalar one takes the other elements from the first.
pub trait Ternary {
    /// Where results that can underflow stand.
    const RESULTS: Results;
    /// Executes it under the current MXCSR.
    fn apply(first: Xmm, second: Xmm, third: Xmm) -> Xmm;
}

/// Conversion of a general register's integer into the low element of a vector.
pub trait FromInteger {
    /// `u32` or `u64`, the bits of a signed integer.
    type Integer: Copy;
    /// Executes it under the current MXCSR; the other elements are `first`'s.
    fn apply(first: Xmm, integer: Self::Integer) -> Xmm;
}

/// Conversion of the low element of a vector into a general register's integer.
pub trait ToInteger {
    /// `u32` or `u64`, the bits of a signed integer.
    type Integer: Copy;
    /// Executes it under the current MXCSR.
    fn apply(source: Xmm) -> Self::Integer;
}
