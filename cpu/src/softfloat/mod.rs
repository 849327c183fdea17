//! Binary floating point in integers: what a host computes that has neither SSE nor x87.
//!
//! A [`Number`] is an operand taken apart: class, sign, exponent, and 128 bits of significand,
//! of which the last is sticky (it stands for all that was lost below it). The four operations
//! of arithmetic, square root and fused multiply-add ([`arithmetic`]) turn finite numbers into
//! numbers that are exact but for that bit; [`round`](round::round) brings those into a
//! [`Format`] and tells the exceptions. No format has more than 64 bits of precision, so that
//! 128 always leave room for a correct rounding.
//!
//! The transcendental functions of the x87 unit are in [`functions`], made of arithmetic that is nearly
//! exact ([`wide`]).
//!
//! What is *not* here are the rules that differ between the two units of an x86 processor:
//! which NaN wins, what a denormal operand raises, what is flushed to zero. Those are in
//! `simd::fp::soft` and `x87::soft`.
//!
//! Source: SDM Vol. 1, "Floating-Point Data Types" and "Floating-Point Exception Conditions";
//! IEEE 754.

pub mod arithmetic;
pub mod functions;
pub mod integer;
pub mod number;
pub mod round;
#[cfg(test)]
mod tests;
pub mod wide;

pub use number::{Class, DOUBLE, EXTENDED, Format, HALF, Number, SINGLE};
pub use round::{Limits, Rounded, Rounding};

/// Exception flags, at the places that they have in MXCSR and in the x87 status word.
pub mod flag {
    /// Invalid operation.
    pub const INVALID: u32 = 1 << 0;
    /// Denormal operand.
    pub const DENORMAL: u32 = 1 << 1;
    /// Zero divide.
    pub const ZERO_DIVIDE: u32 = 1 << 2;
    /// Overflow.
    pub const OVERFLOW: u32 = 1 << 3;
    /// Underflow.
    pub const UNDERFLOW: u32 = 1 << 4;
    /// Precision (inexact result).
    pub const INEXACT: u32 = 1 << 5;
}
