//! Fused multiply-add: one rounding for product and sum.
//!
//! The digits name the operands that are multiplied and added: 132 is first * third +
//! second. All three orders are here, since among several NaNs the order decides.
//! An x86-64 host must have FMA: [`super::host_offers_fma`].

use super::{Environment, Operation, Results, Ternary, Xmm, host_or_portable, lanes};
use crate::softfloat::{DOUBLE, SINGLE};

/// Multiplies first by third and adds second, or as the digits say.
const ORDER_132: [u8; 3] = [1, 3, 2];
const ORDER_213: [u8; 3] = [2, 1, 3];
const ORDER_231: [u8; 3] = [2, 3, 1];

const fn fused(order: [u8; 3], negative_product: bool, negative_sum: [bool; 2]) -> Operation {
    Operation::Fused { order, negative_product, negative_sum }
}
const fn madd(order: [u8; 3]) -> Operation {
    fused(order, false, [false; 2])
}
const fn msub(order: [u8; 3]) -> Operation {
    fused(order, false, [true; 2])
}
const fn nmadd(order: [u8; 3]) -> Operation {
    fused(order, true, [false; 2])
}
const fn nmsub(order: [u8; 3]) -> Operation {
    fused(order, true, [true; 2])
}
const fn maddsub(order: [u8; 3]) -> Operation {
    fused(order, false, [true, false])
}
const fn msubadd(order: [u8; 3]) -> Operation {
    fused(order, false, [false, true])
}

/// The portable multiply-add whose results and operation are these.
#[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
fn compute(environment: &mut Environment, results: Results, operands: [Xmm; 3]) -> Xmm {
    match results {
        Results::F32(count, operation) => lanes::fused(environment, SINGLE, count, operation, operands),
        Results::F64(count, operation) => lanes::fused(environment, DOUBLE, count, operation, operands),
        Results::NeverTiny | Results::F16(..) => unreachable!("no multiply-add has such results"),
    }
}

/// Types that implement [`Ternary`] by the instruction of the given mnemonic, or as the results say.
macro_rules! fused {
    ($($name:ident $mnemonic:literal $results:expr;)*) => {
        $(
            #[doc = concat!("`", $mnemonic, "`.")]
            pub struct $name;
            impl $name {
                #[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
                #[inline(always)]
                fn host(first: Xmm, second: Xmm, third: Xmm) -> Xmm {
                    let result;
                    // SAFETY: touches its operand registers and the flags of MXCSR only. Only a
                    // guest that was offered FMA gets here, and `host_offers_fma` was asked then.
                    unsafe {
                        std::arch::asm!(
                            concat!($mnemonic, " {first}, {second}, {third}"),
                            first = inlateout(xmm_reg) first => result,
                            second = in(xmm_reg) second,
                            third = in(xmm_reg) third,
                            options(nomem, nostack, preserves_flags)
                        )
                    };
                    result
                }
                #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
                fn portable(environment: &mut Environment, first: Xmm, second: Xmm, third: Xmm) -> Xmm {
                    compute(environment, $results, [first, second, third])
                }
            }
            impl Ternary for $name {
                const RESULTS: Results = $results;
                #[inline(always)]
                fn apply(first: Xmm, second: Xmm, third: Xmm) -> Xmm {
                    host_or_portable!(first, second, third)
                }
            }
        )*
        /// Each multiply-add, by the host and portable.
        #[cfg(all(test, target_arch = "x86_64"))]
        pub(super) const TERNARY: &[super::against_host::TernaryCase] =
            &[$((stringify!($name), $name::host, $name::portable),)*];
    };
}

fused! {
    Fmadd132Ps "vfmadd132ps" Results::F32(4, madd(ORDER_132));
    Fmadd132Pd "vfmadd132pd" Results::F64(2, madd(ORDER_132));
    Fmadd132Ss "vfmadd132ss" Results::F32(1, madd(ORDER_132));
    Fmadd132Sd "vfmadd132sd" Results::F64(1, madd(ORDER_132));
    Fmadd213Ps "vfmadd213ps" Results::F32(4, madd(ORDER_213));
    Fmadd213Pd "vfmadd213pd" Results::F64(2, madd(ORDER_213));
    Fmadd213Ss "vfmadd213ss" Results::F32(1, madd(ORDER_213));
    Fmadd213Sd "vfmadd213sd" Results::F64(1, madd(ORDER_213));
    Fmadd231Ps "vfmadd231ps" Results::F32(4, madd(ORDER_231));
    Fmadd231Pd "vfmadd231pd" Results::F64(2, madd(ORDER_231));
    Fmadd231Ss "vfmadd231ss" Results::F32(1, madd(ORDER_231));
    Fmadd231Sd "vfmadd231sd" Results::F64(1, madd(ORDER_231));
    Fmsub132Ps "vfmsub132ps" Results::F32(4, msub(ORDER_132));
    Fmsub132Pd "vfmsub132pd" Results::F64(2, msub(ORDER_132));
    Fmsub132Ss "vfmsub132ss" Results::F32(1, msub(ORDER_132));
    Fmsub132Sd "vfmsub132sd" Results::F64(1, msub(ORDER_132));
    Fmsub213Ps "vfmsub213ps" Results::F32(4, msub(ORDER_213));
    Fmsub213Pd "vfmsub213pd" Results::F64(2, msub(ORDER_213));
    Fmsub213Ss "vfmsub213ss" Results::F32(1, msub(ORDER_213));
    Fmsub213Sd "vfmsub213sd" Results::F64(1, msub(ORDER_213));
    Fmsub231Ps "vfmsub231ps" Results::F32(4, msub(ORDER_231));
    Fmsub231Pd "vfmsub231pd" Results::F64(2, msub(ORDER_231));
    Fmsub231Ss "vfmsub231ss" Results::F32(1, msub(ORDER_231));
    Fmsub231Sd "vfmsub231sd" Results::F64(1, msub(ORDER_231));
    Fnmadd132Ps "vfnmadd132ps" Results::F32(4, nmadd(ORDER_132));
    Fnmadd132Pd "vfnmadd132pd" Results::F64(2, nmadd(ORDER_132));
    Fnmadd132Ss "vfnmadd132ss" Results::F32(1, nmadd(ORDER_132));
    Fnmadd132Sd "vfnmadd132sd" Results::F64(1, nmadd(ORDER_132));
    Fnmadd213Ps "vfnmadd213ps" Results::F32(4, nmadd(ORDER_213));
    Fnmadd213Pd "vfnmadd213pd" Results::F64(2, nmadd(ORDER_213));
    Fnmadd213Ss "vfnmadd213ss" Results::F32(1, nmadd(ORDER_213));
    Fnmadd213Sd "vfnmadd213sd" Results::F64(1, nmadd(ORDER_213));
    Fnmadd231Ps "vfnmadd231ps" Results::F32(4, nmadd(ORDER_231));
    Fnmadd231Pd "vfnmadd231pd" Results::F64(2, nmadd(ORDER_231));
    Fnmadd231Ss "vfnmadd231ss" Results::F32(1, nmadd(ORDER_231));
    Fnmadd231Sd "vfnmadd231sd" Results::F64(1, nmadd(ORDER_231));
    Fnmsub132Ps "vfnmsub132ps" Results::F32(4, nmsub(ORDER_132));
    Fnmsub132Pd "vfnmsub132pd" Results::F64(2, nmsub(ORDER_132));
    Fnmsub132Ss "vfnmsub132ss" Results::F32(1, nmsub(ORDER_132));
    Fnmsub132Sd "vfnmsub132sd" Results::F64(1, nmsub(ORDER_132));
    Fnmsub213Ps "vfnmsub213ps" Results::F32(4, nmsub(ORDER_213));
    Fnmsub213Pd "vfnmsub213pd" Results::F64(2, nmsub(ORDER_213));
    Fnmsub213Ss "vfnmsub213ss" Results::F32(1, nmsub(ORDER_213));
    Fnmsub213Sd "vfnmsub213sd" Results::F64(1, nmsub(ORDER_213));
    Fnmsub231Ps "vfnmsub231ps" Results::F32(4, nmsub(ORDER_231));
    Fnmsub231Pd "vfnmsub231pd" Results::F64(2, nmsub(ORDER_231));
    Fnmsub231Ss "vfnmsub231ss" Results::F32(1, nmsub(ORDER_231));
    Fnmsub231Sd "vfnmsub231sd" Results::F64(1, nmsub(ORDER_231));
    Fmaddsub132Ps "vfmaddsub132ps" Results::F32(4, maddsub(ORDER_132));
    Fmaddsub132Pd "vfmaddsub132pd" Results::F64(2, maddsub(ORDER_132));
    Fmaddsub213Ps "vfmaddsub213ps" Results::F32(4, maddsub(ORDER_213));
    Fmaddsub213Pd "vfmaddsub213pd" Results::F64(2, maddsub(ORDER_213));
    Fmaddsub231Ps "vfmaddsub231ps" Results::F32(4, maddsub(ORDER_231));
    Fmaddsub231Pd "vfmaddsub231pd" Results::F64(2, maddsub(ORDER_231));
    Fmsubadd132Ps "vfmsubadd132ps" Results::F32(4, msubadd(ORDER_132));
    Fmsubadd132Pd "vfmsubadd132pd" Results::F64(2, msubadd(ORDER_132));
    Fmsubadd213Ps "vfmsubadd213ps" Results::F32(4, msubadd(ORDER_213));
    Fmsubadd213Pd "vfmsubadd213pd" Results::F64(2, msubadd(ORDER_213));
    Fmsubadd231Ps "vfmsubadd231ps" Results::F32(4, msubadd(ORDER_231));
    Fmsubadd231Pd "vfmsubadd231pd" Results::F64(2, msubadd(ORDER_231));
}
