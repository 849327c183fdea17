//! Comparisons: CMPxx with its 8 and 32 predicates, COMIS and UCOMIS.

use std::cmp::Ordering;

use super::lanes::{element, with_element};
use super::{BinaryImm, Element, Environment, Results, Xmm, host_or_portable, soft};
use crate::flags::ArithFlags;
use crate::softfloat::number::Format;
use crate::softfloat::{DOUBLE, SINGLE};

/// Defines an ordering of the low elements, which gives the arithmetic flags.
macro_rules! ordering {
    ($($(#[$doc:meta])* $name:ident $mnemonic:literal $case:ident $format:ident $signals:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub fn $name(first: Xmm, second: Xmm) -> ArithFlags {
                $case::apply(first, second)
            }
            struct $case;
            impl $case {
                #[inline(always)]
                fn apply(first: Xmm, second: Xmm) -> ArithFlags {
                    host_or_portable!(first, second)
                }
                #[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
                #[inline(always)]
                fn host(first: Xmm, second: Xmm) -> ArithFlags {
                    let flags: u32;
                    // SAFETY: touches its operands, EAX, the flags and those of MXCSR only.
                    unsafe {
                        std::arch::asm!(
                            "xor eax, eax",
                            concat!($mnemonic, " {first}, {second}"),
                            "lahf",
                            first = in(xmm_reg) first,
                            second = in(xmm_reg) second,
                            lateout("eax") flags,
                            options(nomem, nostack)
                        )
                    };
                    ArithFlags(flags as u16 & ArithFlags::ALL)
                }
                #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
                fn portable(environment: &mut Environment, first: Xmm, second: Xmm) -> ArithFlags {
                    let low = |xmm| element(u128::from_xmm(xmm), $format.width, 0);
                    flags_of(soft::order(environment, $format, low(first), low(second), $signals))
                }
            }
        )*
        /// Each ordering, by the host and portable.
        #[cfg(all(test, target_arch = "x86_64"))]
        pub(super) const ORDERINGS: &[super::against_host::OrderingCase] =
            &[$((stringify!($name), $case::host, $case::portable),)*];
    };
}

ordering! {
    /// `comiss`: any NaN is invalid.
    comiss "comiss" Comiss SINGLE true;
    /// `comisd`: any NaN is invalid.
    comisd "comisd" Comisd DOUBLE true;
    /// `ucomiss`: a signaling NaN is invalid.
    ucomiss "ucomiss" Ucomiss SINGLE false;
    /// `ucomisd`: a signaling NaN is invalid.
    ucomisd "ucomisd" Ucomisd DOUBLE false;
}

/// The flags of an ordering.
fn flags_of(ordering: Option<Ordering>) -> ArithFlags {
    ArithFlags(match ordering {
        Some(Ordering::Less) => ArithFlags::CF,
        Some(Ordering::Equal) => ArithFlags::ZF,
        Some(Ordering::Greater) => 0,
        None => ArithFlags::CF | ArithFlags::ZF | ArithFlags::PF,
    })
}

/// The relations that satisfy a predicate: bits 0 to 3 are less, equal, greater, unordered.
/// Predicates 16 to 31 are the same again with the other behaviour for quiet NaNs.
const SATISFIED: [u8; 16] = [
    0b0010, // EQ_OQ
    0b0001, // LT_OS
    0b0011, // LE_OS
    0b1000, // UNORD_Q
    0b1101, // NEQ_UQ
    0b1110, // NLT_US
    0b1100, // NLE_US
    0b0111, // ORD_Q
    0b1010, // EQ_UQ
    0b1001, // NGE_US
    0b1011, // NGT_US
    0b0000, // FALSE_OQ
    0b0101, // NEQ_OQ
    0b0110, // GE_OS
    0b0100, // GT_OS
    0b1111, // TRUE_UQ
];

/// Of predicates 0 to 15, those for which a quiet NaN is invalid too.
const SIGNALING: u16 = 0x6666;

/// Whether the flags that an ordering left satisfy a predicate.
#[inline(always)]
fn satisfies(predicate: u8, flags: ArithFlags) -> bool {
    let relation = match (flags.0 & ArithFlags::ZF != 0, flags.0 & ArithFlags::CF != 0) {
        (false, true) => 0,
        (true, false) => 1,
        (false, false) => 2,
        (true, true) => 3,
    };
    SATISFIED[(predicate & 15) as usize] >> relation & 1 != 0
}

/// Whether a predicate takes quiet NaNs for invalid.
fn signals(predicate: u8) -> bool {
    (SIGNALING >> (predicate & 15) & 1 != 0) != (predicate & 16 != 0)
}

/// Any predicate on the lowest `lanes` single-precision elements, by COMISS and UCOMISS; the
/// others are `first`'s.
#[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
#[inline(never)]
pub(super) fn compare_singles(first: Xmm, second: Xmm, predicate: u8, lanes: usize) -> Xmm {
    let order = if signals(predicate) { Comiss::host } else { Ucomiss::host };
    let (mut elements, others) = (super::to_singles(first), super::to_singles(second));
    for (a, b) in elements.iter_mut().zip(others).take(lanes) {
        *a = if satisfies(predicate, order(a.to_xmm(), b.to_xmm())) { u32::MAX } else { 0 };
    }
    super::singles(elements)
}

/// Any predicate on the lowest `lanes` double-precision elements, by COMISD and UCOMISD; the
/// others are `first`'s.
#[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
#[inline(never)]
pub(super) fn compare_doubles(first: Xmm, second: Xmm, predicate: u8, lanes: usize) -> Xmm {
    let order = if signals(predicate) { Comisd::host } else { Ucomisd::host };
    let (mut elements, others) = (super::to_doubles(first), super::to_doubles(second));
    for (a, b) in elements.iter_mut().zip(others).take(lanes) {
        *a = if satisfies(predicate, order(a.to_xmm(), b.to_xmm())) { u64::MAX } else { 0 };
    }
    super::doubles(elements)
}

/// Any predicate on the lowest `lanes` elements; the others are `first`'s.
#[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
fn compare_elements(
    environment: &mut Environment,
    format: Format,
    operands: [Xmm; 2],
    predicate: u8,
    lanes: usize,
) -> Xmm {
    let [first, second] = operands.map(u128::from_xmm);
    let width = format.width;
    let vector = (0..lanes).fold(first, |vector, n| {
        let (a, b) = (element(first, width, n), element(second, width, n));
        let flags = flags_of(soft::order(environment, format, a, b, signals(predicate)));
        with_element(vector, width, n, if satisfies(predicate, flags) { u64::MAX >> (64 - width) } else { 0 })
    });
    vector.to_xmm()
}

/// Types that implement [`BinaryImm`] by a CMP instruction, whose immediate is one of 32
/// predicates. SSE knows the first 8; AVX has the others, if the host does.
macro_rules! compare {
    ($($name:ident $mnemonic:literal $by_ordering:ident $format:ident $lanes:literal;)*) => {
        $(
            #[doc = concat!("`", $mnemonic, "`: the immediate is one of 32 predicates.")]
            pub struct $name;
            impl $name {
                #[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
                #[inline(always)]
                fn host(first: Xmm, second: Xmm, imm: u8) -> Xmm {
                    #[inline(always)]
                    fn legacy<const IMM: u8>(first: Xmm, second: Xmm) -> Xmm {
                        let result;
                        // SAFETY: touches its operand registers and the flags of MXCSR only.
                        unsafe {
                            std::arch::asm!(
                                concat!($mnemonic, " {first}, {second}, {imm}"),
                                first = inlateout(xmm_reg) first => result,
                                second = in(xmm_reg) second,
                                imm = const IMM,
                                options(nomem, nostack, preserves_flags)
                            )
                        };
                        result
                    }
                    #[inline(always)]
                    fn vex<const IMM: u8>(first: Xmm, second: Xmm) -> Xmm {
                        let result;
                        // SAFETY: as above, and the host has AVX, which the only caller checks.
                        unsafe {
                            std::arch::asm!(
                                concat!("v", $mnemonic, " {result}, {first}, {second}, {imm}"),
                                first = in(xmm_reg) first,
                                second = in(xmm_reg) second,
                                result = lateout(xmm_reg) result,
                                imm = const IMM,
                                options(nomem, nostack, preserves_flags)
                            )
                        };
                        result
                    }
                    // As integers: vectors are passed by address, which would forbid the callers' tail calls.
                    #[inline(never)]
                    fn beyond_sse(first: u128, second: u128, imm: u8) -> u128 {
                        let (first, second) = (u128::to_xmm(first), u128::to_xmm(second));
                        u128::from_xmm(choose_beyond_sse(first, second, imm))
                    }
                    fn choose_beyond_sse(first: Xmm, second: Xmm, imm: u8) -> Xmm {
                        if !is_x86_feature_detected!("avx") {
                            return $by_ordering(first, second, imm, $lanes);
                        }
                        super::with_immediate!(
                            imm & 31,
                            [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
                             16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31],
                            vex(first, second)
                        )
                    }
                    if imm & 31 > 7 {
                        return u128::to_xmm(beyond_sse(u128::from_xmm(first), u128::from_xmm(second), imm));
                    }
                    super::with_immediate!(imm & 7, [0 1 2 3 4 5 6 7], legacy(first, second))
                }
                #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
                fn portable(environment: &mut Environment, first: Xmm, second: Xmm, imm: u8) -> Xmm {
                    compare_elements(environment, $format, [first, second], imm, $lanes)
                }
            }
            impl BinaryImm for $name {
                const RESULTS: Results = Results::NeverTiny;
                #[inline(always)]
                fn apply(first: Xmm, second: Xmm, imm: u8) -> Xmm {
                    host_or_portable!(first, second, imm)
                }
            }
        )*
        /// Each CMP, by the host and portable.
        #[cfg(all(test, target_arch = "x86_64"))]
        pub(super) const COMPARE: &[super::against_host::ImmediateCase] =
            &[$((stringify!($name), $name::host, $name::portable),)*];
    };
}

compare! {
    CmpPs "cmpps" compare_singles SINGLE 4;
    CmpPd "cmppd" compare_doubles DOUBLE 2;
    CmpSs "cmpss" compare_singles SINGLE 1;
    CmpSd "cmpsd" compare_doubles DOUBLE 1;
}
