//! Each operation as the host's own instruction: also the flags that the manual leaves undefined are then
//! the same in all engines. `LAHF; SETO AL` brings them into the form of [`ArithFlags`].
#![allow(unsafe_code, reason = "the host's own instructions, through inline assembly")]

use super::{Alu, WideAlu, product_flags};
use crate::flags::ArithFlags;
use std::arch::asm;

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
/// Rotates: the host's flags come in through SAHF, so that those that a rotate keeps are kept. OF is computed: by counts other
/// than 1 the manual leaves it undefined, and Intel's processors keep what the host's OF happens to be.
macro_rules! rotate {
    ($name:ident, $insn:literal, $overflow:expr, $class:ident, $m:literal) => {
        #[inline(always)]
        fn $name(self, count: u8, f: ArithFlags) -> (Self, ArithFlags) {
            if count & (if size_of::<Self>() == 8 { 63 } else { 31 }) == 0 {
                return (self, f);
            }
            let mut a = self;
            let mut ax = f.0;
            // SAFETY: register arithmetic.
            unsafe {
                asm!("sahf", concat!($insn, " {a", $m, "}, cl"), "lahf",
                     a = inout($class) a, in("cl") count, inout("ax") ax, options(pure, nomem, nostack));
            }
            let flags = ax & (ArithFlags::ALL & !ArithFlags::OF);
            let (top, below) = (a >> (Self::BITS - 1) & 1, a >> (Self::BITS - 2) & 1);
            let overflow: fn(u16, u16, u16) -> u16 = $overflow;
            let overflow = overflow(top as u16, below as u16, u16::from(flags & ArithFlags::CF != 0));
            (a, ArithFlags(flags | ArithFlags::OF * overflow))
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
            rotate!(rol, "rol", |top, _, carry| top ^ carry, $class, $m);
            rotate!(ror, "ror", |top, below, _| top ^ below, $class, $m);
            rotate!(rcl, "rcl", |top, _, carry| top ^ carry, $class, $m);
            rotate!(rcr, "rcr", |top, below, _| top ^ below, $class, $m);
        }
    )*};
}
alu!(u8, reg_byte, ""; u16, reg, ":x"; u32, reg, ":e"; u64, reg, ":r");

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
