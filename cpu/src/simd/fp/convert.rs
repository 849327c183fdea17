//! Conversions between the floating-point formats and integers.
//!
//! What cannot be represented gives the "integer indefinite" value (only the top bit set)
//! and the invalid flag.

use std::arch::asm;

use super::{Binary, FromInteger, Operation, Results, ToInteger, Unary, Xmm, binary, unary};

const EXACT: Results = Results::NeverTiny;

unary! {
    CvtDq2Ps "cvtdq2ps" EXACT;
    CvtPs2Dq "cvtps2dq" EXACT;
    CvttPs2Dq "cvttps2dq" EXACT;
    CvtPs2Pd "cvtps2pd" EXACT;
    CvtDq2Pd "cvtdq2pd" EXACT;
    CvtPd2Ps "cvtpd2ps" Results::F32(2, Operation::Narrow);
    CvtPd2Dq "cvtpd2dq" EXACT;
    CvttPd2Dq "cvttpd2dq" EXACT;
}

binary! {
    CvtSs2Sd "cvtss2sd" EXACT;
    CvtSd2Ss "cvtsd2ss" Results::F32(1, Operation::NarrowSecond);
}

/// Types that implement [`FromInteger`].
macro_rules! from_integer {
    ($($name:ident $mnemonic:literal $register:literal $integer:ty;)*) => {$(
        #[doc = concat!("`", $mnemonic, "` from `", stringify!($integer), "`.")]
        pub struct $name;
        impl FromInteger for $name {
            type Integer = $integer;
            #[inline(always)]
            fn apply(first: Xmm, integer: $integer) -> Xmm {
                let result;
                // SAFETY: touches its operand registers and the flags of MXCSR only.
                unsafe {
                    asm!(
                        concat!($mnemonic, " {first}, {integer:", $register, "}"),
                        first = inlateout(xmm_reg) first => result,
                        integer = in(reg) integer,
                        options(nomem, nostack, preserves_flags)
                    )
                };
                result
            }
        }
    )*};
}

from_integer! {
    CvtSi2Ss32 "cvtsi2ss" "e" u32;
    CvtSi2Ss64 "cvtsi2ss" "r" u64;
    CvtSi2Sd32 "cvtsi2sd" "e" u32;
    CvtSi2Sd64 "cvtsi2sd" "r" u64;
}

/// Types that implement [`ToInteger`].
macro_rules! to_integer {
    ($($name:ident $mnemonic:literal $register:literal $integer:ty;)*) => {$(
        #[doc = concat!("`", $mnemonic, "` to `", stringify!($integer), "`.")]
        pub struct $name;
        impl ToInteger for $name {
            type Integer = $integer;
            #[inline(always)]
            fn apply(source: Xmm) -> $integer {
                let result;
                // SAFETY: touches its operand registers and the flags of MXCSR only.
                unsafe {
                    asm!(
                        concat!($mnemonic, " {result:", $register, "}, {source}"),
                        result = lateout(reg) result,
                        source = in(xmm_reg) source,
                        options(nomem, nostack, preserves_flags)
                    )
                };
                result
            }
        }
    )*};
}

to_integer! {
    CvtSs2Si32 "cvtss2si" "e" u32;
    CvtSs2Si64 "cvtss2si" "r" u64;
    CvttSs2Si32 "cvttss2si" "e" u32;
    CvttSs2Si64 "cvttss2si" "r" u64;
    CvtSd2Si32 "cvtsd2si" "e" u32;
    CvtSd2Si64 "cvtsd2si" "r" u64;
    CvttSd2Si32 "cvttsd2si" "e" u32;
    CvttSd2Si64 "cvttsd2si" "r" u64;
}
