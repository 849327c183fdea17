//! The host's instruction on operands in memory: what each operation executes when
//! exceptions are masked and no register involved is empty.
//!
//! A kernel finds its operands through RDX (destination, also first operand) and RCX
//! (source), returns the status word, and leaves the host's stack as it found it: empty.

#![allow(unsafe_code, reason = "the host's x87 is reached through inline assembly")]

use std::arch::asm;

macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident: $($line:expr),+) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Both pointers lead to at least as many bytes as the instruction accesses, 16 at
        /// most; the host's x87 stack is empty and all its exceptions are masked.
        #[inline(always)]
        unsafe fn $name(destination: *mut u8, source: *const u8) -> u16 {
            let status: u16;
            // SAFETY: see above; the lines pop all that they push.
            unsafe {
                asm!(
                    $($line,)+
                    in("rdx") destination, in("rcx") source, out("ax") status,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                    options(nostack),
                );
            }
            status
        }
    };
}

/// An operation of two operands whose result takes the place of the first.
pub trait Arithmetic {
    /// The second operand is a register.
    ///
    /// # Safety
    /// See the kernels of this module.
    unsafe fn st(destination: *mut u8, source: *const u8) -> u16;
    /// The second operand is a single-precision value.
    ///
    /// # Safety
    /// See the kernels of this module.
    unsafe fn m32(destination: *mut u8, source: *const u8) -> u16;
    /// The second operand is a double-precision value.
    ///
    /// # Safety
    /// See the kernels of this module.
    unsafe fn m64(destination: *mut u8, source: *const u8) -> u16;
    /// The second operand is a word integer.
    ///
    /// # Safety
    /// See the kernels of this module.
    unsafe fn i16(destination: *mut u8, source: *const u8) -> u16;
    /// The second operand is a doubleword integer.
    ///
    /// # Safety
    /// See the kernels of this module.
    unsafe fn i32(destination: *mut u8, source: *const u8) -> u16;
}

macro_rules! arithmetic {
    ($($name:ident, $real:literal, $integer:literal;)+) => { $(
        #[doc = concat!("The operation of ", stringify!($name), ".")]
        pub struct $name;
        impl Arithmetic for $name {
            kernel!(st: "fld tbyte ptr [rcx]", "fld tbyte ptr [rdx]",
                concat!($real, " st(0), st(1)"), "fnstsw ax", "fstp tbyte ptr [rdx]", "fstp st(0)");
            kernel!(m32: "fld tbyte ptr [rdx]", concat!($real, " dword ptr [rcx]"),
                "fnstsw ax", "fstp tbyte ptr [rdx]");
            kernel!(m64: "fld tbyte ptr [rdx]", concat!($real, " qword ptr [rcx]"),
                "fnstsw ax", "fstp tbyte ptr [rdx]");
            kernel!(i16: "fld tbyte ptr [rdx]", concat!($integer, " word ptr [rcx]"),
                "fnstsw ax", "fstp tbyte ptr [rdx]");
            kernel!(i32: "fld tbyte ptr [rdx]", concat!($integer, " dword ptr [rcx]"),
                "fnstsw ax", "fstp tbyte ptr [rdx]");
        }
    )+ };
}

arithmetic! {
    Fadd, "fadd", "fiadd";
    Fmul, "fmul", "fimul";
    Fsub, "fsub", "fisub";
    Fsubr, "fsubr", "fisubr";
    Fdiv, "fdiv", "fidiv";
    Fdivr, "fdivr", "fidivr";
}

macro_rules! compare {
    ($($name:ident, $register:literal, $real:literal, $integer:literal;)+) => { $(
        #[doc = concat!("The operation of ", stringify!($name), "; the destination does not change.")]
        pub struct $name;
        impl Arithmetic for $name {
            kernel!(st: "fld tbyte ptr [rcx]", "fld tbyte ptr [rdx]",
                concat!($register, " st(1)"), "fnstsw ax", "fstp st(0)", "fstp st(0)");
            kernel!(m32: "fld tbyte ptr [rdx]", concat!($real, " dword ptr [rcx]"),
                "fnstsw ax", "fstp st(0)");
            kernel!(m64: "fld tbyte ptr [rdx]", concat!($real, " qword ptr [rcx]"),
                "fnstsw ax", "fstp st(0)");
            kernel!(i16: "fld tbyte ptr [rdx]", concat!($integer, " word ptr [rcx]"),
                "fnstsw ax", "fstp st(0)");
            kernel!(i32: "fld tbyte ptr [rdx]", concat!($integer, " dword ptr [rcx]"),
                "fnstsw ax", "fstp st(0)");
        }
    )+ };
}

compare! {
    Fcom, "fcom", "fcom", "ficom";
    // The memory forms do not exist for FUCOM; rows never name them.
    Fucom, "fucom", "fcom", "ficom";
}

/// One instruction with fixed operands.
pub trait Kernel {
    /// Executes it; returns the status word.
    ///
    /// # Safety
    /// See the kernels of this module.
    unsafe fn run(destination: *mut u8, source: *const u8) -> u16;
}

macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident: $($line:expr),+;)+) => { $(
        $(#[$doc])*
        pub struct $name;
        impl Kernel for $name { kernel!(run: $($line),+); }
    )+ };
}

kernels! {
    /// FLD m32.
    LoadM32: "fld dword ptr [rcx]", "fnstsw ax", "fstp tbyte ptr [rdx]";
    /// FLD m64.
    LoadM64: "fld qword ptr [rcx]", "fnstsw ax", "fstp tbyte ptr [rdx]";
    /// FILD m16.
    LoadI16: "fild word ptr [rcx]", "xor eax, eax", "fstp tbyte ptr [rdx]";
    /// FILD m32.
    LoadI32: "fild dword ptr [rcx]", "xor eax, eax", "fstp tbyte ptr [rdx]";
    /// FILD m64.
    LoadI64: "fild qword ptr [rcx]", "xor eax, eax", "fstp tbyte ptr [rdx]";
    /// FBLD.
    LoadBcd: "fbld tbyte ptr [rcx]", "fnstsw ax", "fstp tbyte ptr [rdx]";

    /// FSTP m32.
    StoreM32: "fld tbyte ptr [rcx]", "fstp dword ptr [rdx]", "fnstsw ax";
    /// FSTP m64.
    StoreM64: "fld tbyte ptr [rcx]", "fstp qword ptr [rdx]", "fnstsw ax";
    /// FISTP m16.
    StoreI16: "fld tbyte ptr [rcx]", "fistp word ptr [rdx]", "fnstsw ax";
    /// FISTP m32.
    StoreI32: "fld tbyte ptr [rcx]", "fistp dword ptr [rdx]", "fnstsw ax";
    /// FISTP m64.
    StoreI64: "fld tbyte ptr [rcx]", "fistp qword ptr [rdx]", "fnstsw ax";
    /// FBSTP.
    StoreBcd: "fld tbyte ptr [rcx]", "fbstp tbyte ptr [rdx]", "fnstsw ax";
    /// FISTTP m16.
    TruncateI16: "fld tbyte ptr [rcx]", "fisttp word ptr [rdx]", "fnstsw ax";
    /// FISTTP m32.
    TruncateI32: "fld tbyte ptr [rcx]", "fisttp dword ptr [rdx]", "fnstsw ax";
    /// FISTTP m64.
    TruncateI64: "fld tbyte ptr [rcx]", "fisttp qword ptr [rdx]", "fnstsw ax";

    /// FSQRT.
    Fsqrt: "fld tbyte ptr [rdx]", "fsqrt", "fnstsw ax", "fstp tbyte ptr [rdx]";
    /// FRNDINT.
    Frndint: "fld tbyte ptr [rdx]", "frndint", "fnstsw ax", "fstp tbyte ptr [rdx]";
    /// FSIN.
    Fsin: "fld tbyte ptr [rdx]", "fsin", "fnstsw ax", "fstp tbyte ptr [rdx]";
    /// FCOS.
    Fcos: "fld tbyte ptr [rdx]", "fcos", "fnstsw ax", "fstp tbyte ptr [rdx]";
    /// F2XM1.
    F2xm1: "fld tbyte ptr [rdx]", "f2xm1", "fnstsw ax", "fstp tbyte ptr [rdx]";
    /// FTST; the operand does not change.
    Ftst: "fld tbyte ptr [rdx]", "ftst", "fnstsw ax", "fstp st(0)";
    /// FXAM of a register that is not empty; the operand does not change.
    Fxam: "fld tbyte ptr [rdx]", "fxam", "fnstsw ax", "fstp st(0)", "and eax, 0x4700";

    /// FSCALE: destination ST0, source ST1.
    Fscale: "fld tbyte ptr [rcx]", "fld tbyte ptr [rdx]", "fscale", "fnstsw ax",
        "fstp tbyte ptr [rdx]", "fstp st(0)";
    /// FPREM: destination ST0, source ST1.
    Fprem: "fld tbyte ptr [rcx]", "fld tbyte ptr [rdx]", "fprem", "fnstsw ax",
        "fstp tbyte ptr [rdx]", "fstp st(0)";
    /// FPREM1: destination ST0, source ST1.
    Fprem1: "fld tbyte ptr [rcx]", "fld tbyte ptr [rdx]", "fprem1", "fnstsw ax",
        "fstp tbyte ptr [rdx]", "fstp st(0)";
    /// FYL2X: destination ST1, source ST0.
    Fyl2x: "fld tbyte ptr [rdx]", "fld tbyte ptr [rcx]", "fyl2x", "fnstsw ax",
        "fstp tbyte ptr [rdx]";
    /// FYL2XP1: destination ST1, source ST0.
    Fyl2xp1: "fld tbyte ptr [rdx]", "fld tbyte ptr [rcx]", "fyl2xp1", "fnstsw ax",
        "fstp tbyte ptr [rdx]";
    /// FPATAN: destination ST1, source ST0.
    Fpatan: "fld tbyte ptr [rdx]", "fld tbyte ptr [rcx]", "fpatan", "fnstsw ax",
        "fstp tbyte ptr [rdx]";
}

/// FCOMI and FUCOMI of `a` (ST0) with `b`: status word, and the flags as LAHF and SETO
/// leave them.
///
/// # Safety
/// See the kernels of this module; `before` are the flags before, in the same form.
#[inline(always)]
pub unsafe fn compare_to_flags<const UNORDERED: bool>(a: *const u8, b: *const u8, before: u16) -> (u16, u16) {
    macro_rules! run {
        ($instruction:literal) => {{
            let (status, flags): (u16, u32);
            // SAFETY: both operands are read as 10 bytes, and popped.
            unsafe {
                asm!(
                    "fld tbyte ptr [rcx]", "fld tbyte ptr [rdx]",
                    "add al, 127", "sahf",
                    $instruction,
                    "lahf", "seto al", "mov esi, eax",
                    "fnstsw ax", "fstp st(0)", "fstp st(0)",
                    in("rdx") a, in("rcx") b,
                    inout("ax") before => status, out("esi") flags,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                    options(nostack, readonly),
                );
            }
            (status, flags as u16)
        }};
    }
    if UNORDERED { run!("fucomi st(0), st(1)") } else { run!("fcomi st(0), st(1)") }
}

/// Clears the host's sticky exception flags.
#[cold]
#[inline(never)]
pub fn clear_flags() {
    // SAFETY: no operand, no register; reports no pending exception.
    unsafe { asm!("fnclex", options(nomem, nostack)) };
}

/// Loads the host's control word.
#[inline(always)]
pub fn set_control(word: u16) {
    // SAFETY: the callers mask all exceptions and put the ABI's word back.
    unsafe { asm!("fldcw word ptr [{}]", in(reg) &word, options(readonly, nostack)) };
}
