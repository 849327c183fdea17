//! Conversions between the floating-point formats and integers.
//!
//! What cannot be represented gives the "integer indefinite" value (only the top bit set)
//! and the invalid flag.

use super::lanes::{
    from_doublewords, integer_scalar, narrow, narrow_scalar, scalar_to_integer, to_doublewords, widen,
    widen_scalar,
};
use super::{
    Binary, Environment, FromInteger, Operation, Results, ToInteger, Unary, Xmm, binary, host_or_portable,
    unary,
};
use crate::softfloat::{DOUBLE, SINGLE};

const EXACT: Results = Results::NeverTiny;

unary! {
    CvtDq2Ps "cvtdq2ps" EXACT => from_doublewords(SINGLE, 4);
    CvtPs2Dq "cvtps2dq" EXACT => to_doublewords(SINGLE, false);
    CvttPs2Dq "cvttps2dq" EXACT => to_doublewords(SINGLE, true);
    CvtPs2Pd "cvtps2pd" EXACT => widen;
    CvtDq2Pd "cvtdq2pd" EXACT => from_doublewords(DOUBLE, 2);
    CvtPd2Ps "cvtpd2ps" Results::F32(2, Operation::Narrow) => narrow;
    CvtPd2Dq "cvtpd2dq" EXACT => to_doublewords(DOUBLE, false);
    CvttPd2Dq "cvttpd2dq" EXACT => to_doublewords(DOUBLE, true);
}

binary! {
    CvtSs2Sd "cvtss2sd" EXACT => widen_scalar;
    CvtSd2Ss "cvtsd2ss" Results::F32(1, Operation::NarrowSecond) => narrow_scalar;
}

/// Types that implement [`FromInteger`].
macro_rules! from_integer {
    ($($name:ident $mnemonic:literal $register:literal $integer:ty, $signed:ty, $format:ident;)*) => {
        $(
            #[doc = concat!("`", $mnemonic, "` from `", stringify!($integer), "`.")]
            pub struct $name;
            impl $name {
                #[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
                #[inline(always)]
                fn host(first: Xmm, integer: $integer) -> Xmm {
                    let result;
                    // SAFETY: touches its operand registers and the flags of MXCSR only.
                    unsafe {
                        std::arch::asm!(
                            concat!($mnemonic, " {first}, {integer:", $register, "}"),
                            first = inlateout(xmm_reg) first => result,
                            integer = in(reg) integer,
                            options(nomem, nostack, preserves_flags)
                        )
                    };
                    result
                }
                #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
                fn portable(environment: &mut Environment, first: Xmm, integer: $integer) -> Xmm {
                    integer_scalar(environment, $format, first, (integer as $signed).into())
                }
            }
            impl FromInteger for $name {
                type Integer = $integer;
                #[inline(always)]
                fn apply(first: Xmm, integer: $integer) -> Xmm {
                    host_or_portable!(first, integer)
                }
            }
        )*
        /// Each conversion from an integer, by the host and portable.
        #[cfg(all(test, target_arch = "x86_64"))]
        pub(super) const FROM_INTEGER: &[super::against_host::FromIntegerCase] = &[$((
            stringify!($name),
            |first, integer| $name::host(first, integer as $integer),
            |environment, first, integer| $name::portable(environment, first, integer as $integer),
        ),)*];
    };
}

from_integer! {
    CvtSi2Ss32 "cvtsi2ss" "e" u32, i32, SINGLE;
    CvtSi2Ss64 "cvtsi2ss" "r" u64, i64, SINGLE;
    CvtSi2Sd32 "cvtsi2sd" "e" u32, i32, DOUBLE;
    CvtSi2Sd64 "cvtsi2sd" "r" u64, i64, DOUBLE;
}

/// Types that implement [`ToInteger`].
macro_rules! to_integer {
    ($($name:ident $mnemonic:literal $register:literal $integer:ty, $format:ident, $truncate:literal;)*) => {
        $(
            #[doc = concat!("`", $mnemonic, "` to `", stringify!($integer), "`.")]
            pub struct $name;
            impl $name {
                #[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
                #[inline(always)]
                fn host(source: Xmm) -> $integer {
                    let result;
                    // SAFETY: touches its operand registers and the flags of MXCSR only.
                    unsafe {
                        std::arch::asm!(
                            concat!($mnemonic, " {result:", $register, "}, {source}"),
                            result = lateout(reg) result,
                            source = in(xmm_reg) source,
                            options(nomem, nostack, preserves_flags)
                        )
                    };
                    result
                }
                #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
                fn portable(environment: &mut Environment, source: Xmm) -> $integer {
                    scalar_to_integer(environment, $format, source, $truncate, <$integer>::BITS) as $integer
                }
            }
            impl ToInteger for $name {
                type Integer = $integer;
                #[inline(always)]
                fn apply(source: Xmm) -> $integer {
                    host_or_portable!(source)
                }
            }
        )*
        /// Each conversion to an integer, by the host and portable.
        #[cfg(all(test, target_arch = "x86_64"))]
        pub(super) const TO_INTEGER: &[super::against_host::ToIntegerCase] = &[$((
            stringify!($name),
            |source| $name::host(source) as u64,
            |environment, source| $name::portable(environment, source) as u64,
        ),)*];
    };
}

to_integer! {
    CvtSs2Si32 "cvtss2si" "e" u32, SINGLE, false;
    CvtSs2Si64 "cvtss2si" "r" u64, SINGLE, false;
    CvttSs2Si32 "cvttss2si" "e" u32, SINGLE, true;
    CvttSs2Si64 "cvttss2si" "r" u64, SINGLE, true;
    CvtSd2Si32 "cvtsd2si" "e" u32, DOUBLE, false;
    CvtSd2Si64 "cvtsd2si" "r" u64, DOUBLE, false;
    CvttSd2Si32 "cvttsd2si" "e" u32, DOUBLE, true;
    CvttSd2Si64 "cvttsd2si" "r" u64, DOUBLE, true;
}
