//! Integer arithmetic with flags, as pure functions.
//!
//! An x86-64 host shares the instruction set with the guest, so its own instruction computes result and
//! flags at once (`host`). Other hosts compute both as the manual describes them (`portable`); tests
//! hold the two against each other.

#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
mod host;
#[cfg(any(test, feature = "portable", not(target_arch = "x86_64")))]
mod portable;
mod table;
#[cfg(test)]
mod tests;

use crate::flags::ArithFlags;

pub use table::{
    ALL, ALU_INSTRUCTIONS, AluInstruction, Binary, DoubleShift, Operation, Recompute, Shape, Shift, Unary,
    instruction, operation,
};

/// Unsigned integers of the four operand sizes, with the operations of the instruction set.
///
/// Methods are named by the instruction; each returns the result and the flags after it.
pub trait Alu: Copy + Eq + Default + std::ops::Not<Output = Self> + 'static {
    /// ADD.
    fn add(self, b: Self) -> (Self, ArithFlags);
    /// ADC; the carry is taken from `f`.
    fn adc(self, b: Self, f: ArithFlags) -> (Self, ArithFlags);
    /// SUB, CMP.
    fn sub(self, b: Self) -> (Self, ArithFlags);
    /// SBB; the borrow is the carry of `f`.
    fn sbb(self, b: Self, f: ArithFlags) -> (Self, ArithFlags);
    /// AND, TEST.
    fn and(self, b: Self) -> (Self, ArithFlags);
    /// OR.
    fn or(self, b: Self) -> (Self, ArithFlags);
    /// XOR.
    fn xor(self, b: Self) -> (Self, ArithFlags);
    /// INC; the carry is kept.
    fn inc(self, f: ArithFlags) -> (Self, ArithFlags);
    /// DEC; the carry is kept.
    fn dec(self, f: ArithFlags) -> (Self, ArithFlags);
    /// NEG.
    fn neg(self) -> (Self, ArithFlags);
    /// SHL by CL; all flags are kept for a count of zero.
    fn shl(self, count: u8, f: ArithFlags) -> (Self, ArithFlags);
    /// SHR.
    fn shr(self, count: u8, f: ArithFlags) -> (Self, ArithFlags);
    /// SAR.
    fn sar(self, count: u8, f: ArithFlags) -> (Self, ArithFlags);
    /// ROL; flags but CF and OF are kept.
    fn rol(self, count: u8, f: ArithFlags) -> (Self, ArithFlags);
    /// ROR.
    fn ror(self, count: u8, f: ArithFlags) -> (Self, ArithFlags);
    /// RCL.
    fn rcl(self, count: u8, f: ArithFlags) -> (Self, ArithFlags);
    /// RCR.
    fn rcr(self, count: u8, f: ArithFlags) -> (Self, ArithFlags);
}

/// The flags after MUL and IMUL. CF and OF say whether the upper half matters. "The SF, ZF, AF, and PF
/// flags are undefined" (SDM Vol. 2A); they do not come from the host, which may leave them as they were
/// before. They are clear here, which a translator gets from two host instructions (SETO AL; MOV AH, AL).
#[inline]
pub fn product_flags(overflow: bool) -> ArithFlags {
    ArithFlags(if overflow { ArithFlags::CF | ArithFlags::OF } else { 0 })
}

/// Operations that 8-bit operands do not have.
pub trait WideAlu: Alu {
    /// IMUL with two operands.
    fn imul(self, b: Self) -> (Self, ArithFlags);
    /// SHLD by CL.
    fn shld(self, b: Self, count: u8, f: ArithFlags) -> (Self, ArithFlags);
    /// SHRD by CL.
    fn shrd(self, b: Self, count: u8, f: ArithFlags) -> (Self, ArithFlags);
    /// BSF: the result for zero is `old`; flags but ZF are kept.
    fn bsf(self, old: Self, f: ArithFlags) -> (Self, ArithFlags);
    /// BSR: the result for zero is `old`; flags but ZF are kept.
    fn bsr(self, old: Self, f: ArithFlags) -> (Self, ArithFlags);
}
