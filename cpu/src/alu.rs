//! Integer arithmetic with flags, as pure functions.
//!
//! Guest and host share the instruction set, so the host's own instruction computes result and
//! flags at once: also the flags that the manual leaves undefined are then the same in all engines.
//! `LAHF; SETO AL` brings them into the form of [`ArithFlags`].

#![allow(unsafe_code, reason = "the host's own instructions, through inline assembly")]

use crate::flags::ArithFlags;
use std::arch::asm;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the interpreter computes with x86-64 host instructions; other hosts are on the road map");

/// Unsigned integers of the four operand sizes, with the operations of the instruction set.
///
/// Methods are named by the instruction; each returns the result and the flags after it.
pub trait Alu: Copy + Eq + Default + 'static {
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

macro_rules! flags_of {
    ($ax:ident) => {
        ArithFlags($ax & ArithFlags::ALL)
    };
}

macro_rules! binary {
    ($name:ident, $insn:literal, $class:ident, $m:literal) => {
        #[inline(always)]
        fn $name(self, b: Self) -> (Self, ArithFlags) {
            let mut a = self;
            let ax: u16;
            // SAFETY: register arithmetic.
            unsafe {
                asm!(concat!($insn, " {a", $m, "}, {b", $m, "}"), "lahf", "seto al",
                     a = inout($class) a, b = in($class) b, out("ax") ax, options(pure, nomem, nostack));
            }
            (a, flags_of!(ax))
        }
    };
}
macro_rules! with_carry {
    ($name:ident, $insn:literal, $class:ident, $m:literal) => {
        #[inline(always)]
        fn $name(self, b: Self, f: ArithFlags) -> (Self, ArithFlags) {
            let mut a = self;
            let ax: u16;
            // SAFETY: register arithmetic. Adding FFh to the carry sets CF to it.
            unsafe {
                asm!("add {c}, 255", concat!($insn, " {a", $m, "}, {b", $m, "}"), "lahf", "seto al",
                     a = inout($class) a, b = in($class) b, c = inout(reg_byte) f.carry() as u8 => _, out("ax") ax,
                     options(pure, nomem, nostack));
            }
            (a, flags_of!(ax))
        }
    };
}
macro_rules! unary {
    ($name:ident, $insn:literal, $class:ident, $m:literal) => {
        #[inline(always)]
        fn $name(self, f: ArithFlags) -> (Self, ArithFlags) {
            let mut a = self;
            let ax: u16;
            // SAFETY: register arithmetic.
            unsafe {
                asm!(concat!($insn, " {a", $m, "}"), "lahf", "seto al",
                     a = inout($class) a, out("ax") ax, options(pure, nomem, nostack));
            }
            (a, ArithFlags(ax & (ArithFlags::ALL & !ArithFlags::CF) | f.0 & ArithFlags::CF))
        }
    };
}
macro_rules! shift {
    ($name:ident, $insn:literal, $class:ident, $m:literal) => {
        #[inline(always)]
        fn $name(self, count: u8, f: ArithFlags) -> (Self, ArithFlags) {
            if count & (if size_of::<Self>() == 8 { 63 } else { 31 }) == 0 {
                return (self, f);
            }
            let mut a = self;
            let ax: u16;
            // SAFETY: register arithmetic.
            unsafe {
                asm!(concat!($insn, " {a", $m, "}, cl"), "lahf", "seto al",
                     a = inout($class) a, in("cl") count, out("ax") ax, options(pure, nomem, nostack));
            }
            (a, flags_of!(ax))
        }
    };
}
/// Rotates: the host's flags come in through SAHF, so that those that a rotate keeps are kept.
macro_rules! rotate {
    ($name:ident, $insn:literal, $class:ident, $m:literal) => {
        #[inline(always)]
        fn $name(self, count: u8, f: ArithFlags) -> (Self, ArithFlags) {
            if count & (if size_of::<Self>() == 8 { 63 } else { 31 }) == 0 {
                return (self, f);
            }
            let mut a = self;
            let mut ax = f.0;
            // SAFETY: register arithmetic.
            unsafe {
                asm!("sahf", concat!($insn, " {a", $m, "}, cl"), "lahf", "seto al",
                     a = inout($class) a, in("cl") count, inout("ax") ax, options(pure, nomem, nostack));
            }
            (a, flags_of!(ax))
        }
    };
}

macro_rules! alu {
    ($($t:ty, $class:ident, $m:literal);*) => {$(
        impl Alu for $t {
            binary!(add, "add", $class, $m);
            binary!(sub, "sub", $class, $m);
            binary!(and, "and", $class, $m);
            binary!(or, "or", $class, $m);
            binary!(xor, "xor", $class, $m);
            with_carry!(adc, "adc", $class, $m);
            with_carry!(sbb, "sbb", $class, $m);
            unary!(inc, "inc", $class, $m);
            unary!(dec, "dec", $class, $m);
            #[inline(always)]
            fn neg(self) -> (Self, ArithFlags) {
                (0 as $t).sub(self)
            }
            shift!(shl, "shl", $class, $m);
            shift!(shr, "shr", $class, $m);
            shift!(sar, "sar", $class, $m);
            rotate!(rol, "rol", $class, $m);
            rotate!(ror, "ror", $class, $m);
            rotate!(rcl, "rcl", $class, $m);
            rotate!(rcr, "rcr", $class, $m);
        }
    )*};
}
alu!(u8, reg_byte, ""; u16, reg, ":x"; u32, reg, ":e"; u64, reg, ":r");

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

macro_rules! double_shift {
    ($name:ident, $insn:literal, $m:literal) => {
        #[inline(always)]
        fn $name(self, b: Self, count: u8, f: ArithFlags) -> (Self, ArithFlags) {
            if count & (if size_of::<Self>() == 8 { 63 } else { 31 }) == 0 {
                return (self, f);
            }
            let mut a = self;
            let ax: u16;
            // SAFETY: register arithmetic.
            unsafe {
                asm!(concat!($insn, " {a", $m, "}, {b", $m, "}, cl"), "lahf", "seto al",
                     a = inout(reg) a, b = in(reg) b, in("cl") count, out("ax") ax, options(pure, nomem, nostack));
            }
            (a, flags_of!(ax))
        }
    };
}
/// BSF and BSR: "the CF, OF, SF, AF, and PF flags are undefined" (SDM Vol. 2A); they are kept, as some
/// processors do. What the host leaves in them may be what they were before, which is not the guest's.
macro_rules! scan {
    ($name:ident, $insn:literal, $m:literal) => {
        #[inline(always)]
        fn $name(self, old: Self, f: ArithFlags) -> (Self, ArithFlags) {
            let zero = if self == 0 { ArithFlags::ZF } else { 0 };
            let f = ArithFlags(f.0 & !ArithFlags::ZF | zero);
            if self == 0 {
                return (old, f);
            }
            let mut a = old;
            // SAFETY: register arithmetic.
            unsafe {
                asm!(concat!($insn, " {a", $m, "}, {b", $m, "}"),
                     a = inout(reg) a, b = in(reg) self, options(pure, nomem, nostack));
            }
            (a, f)
        }
    };
}
macro_rules! wide {
    ($($t:ty, $m:literal);*) => {$(
        impl WideAlu for $t {
            #[inline(always)]
            fn imul(self, b: Self) -> (Self, ArithFlags) {
                let mut a = self;
                let overflow: u8;
                // SAFETY: register arithmetic.
                unsafe {
                    asm!(concat!("imul {a", $m, "}, {b", $m, "}"), "seto {o}", a = inout(reg) a,
                         b = in(reg) b, o = lateout(reg_byte) overflow, options(pure, nomem, nostack));
                }
                (a, product_flags(overflow != 0))
            }
            double_shift!(shld, "shld", $m);
            double_shift!(shrd, "shrd", $m);
            scan!(bsf, "bsf", $m);
            scan!(bsr, "bsr", $m);
        }
    )*};
}
wide!(u16, ":x"; u32, ":e"; u64, ":r");

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(names: &str) -> u16 {
        let bit = |c| match c {
            'c' => ArithFlags::CF,
            'p' => ArithFlags::PF,
            'a' => ArithFlags::AF,
            'z' => ArithFlags::ZF,
            's' => ArithFlags::SF,
            _ => ArithFlags::OF,
        };
        names.chars().map(bit).sum::<u16>()
    }

    #[test]
    fn results_and_flags_are_those_of_the_manual() {
        assert_eq!(0xFFu8.add(1), (0, ArithFlags(flags("cpaz"))));
        assert_eq!(0x7Fu8.add(1), (0x80, ArithFlags(flags("aso"))));
        assert_eq!(0u32.sub(1), (u32::MAX, ArithFlags(flags("cpas"))));
        assert_eq!(0x8000u16.neg(), (0x8000, ArithFlags(flags("cpso"))));
        let carry = ArithFlags(ArithFlags::CF);
        assert_eq!(0xFFFF_FFFF_FFFF_FFFFu64.adc(0, carry), (0, ArithFlags(flags("cpaz"))));
        assert_eq!(5u8.sbb(5, carry), (0xFF, ArithFlags(flags("cpas"))));
        assert_eq!(0x7Fu8.inc(carry).1, ArithFlags(flags("caso")));
        assert_eq!(1u8.dec(ArithFlags(0)).1, ArithFlags(flags("pz")));
        assert_eq!(0x81u8.rol(1, ArithFlags(flags("zs"))), (3, ArithFlags(flags("czso"))));
        assert_eq!(0x80u8.rcl(1, carry).0, 1);
        assert_eq!(7u32.shl(32, carry), (7, carry));
        assert_eq!(0u16.bsf(0x1234, carry), (0x1234, ArithFlags(flags("cz"))));
        // Whatever the host's flags were before: those that the manual leaves undefined are the guest's.
        for before in ["", "cpazso"] {
            let after = before.replace('z', "");
            assert_eq!(0x10u64.bsr(0, ArithFlags(flags(before))), (4, ArithFlags(flags(&after))));
        }
        assert_eq!(0xFFFFu16.imul(3), (0xFFFD, ArithFlags(flags("s"))));
        assert_eq!(0x4000u16.imul(4), (0, ArithFlags(flags("cpo"))));
        assert_eq!(0x8000u16.shld(0x8000, 1, ArithFlags(0)).0, 1);
    }
}
