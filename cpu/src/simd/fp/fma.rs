//! Fused multiply-add: one rounding for product and sum.
//!
//! The digits name the operands that are multiplied and added: 132 is first * third +
//! second. All three orders are here, since among several NaNs the order decides.
//! The host must have FMA: [`super::host_offers_fma`].

use std::arch::asm;

use super::{Results, Ternary, Xmm};

const PS: Results = Results::F32(4);
const PD: Results = Results::F64(2);
const SS: Results = Results::F32(1);
const SD: Results = Results::F64(1);

/// Types that implement [`Ternary`] by the instruction of the given mnemonic.
macro_rules! fused {
    ($($name:ident $mnemonic:literal $results:expr;)*) => {$(
        #[doc = concat!("`", $mnemonic, "`.")]
        pub struct $name;
        impl Ternary for $name {
            const RESULTS: Results = $results;
            #[inline(always)]
            fn apply(first: Xmm, second: Xmm, third: Xmm) -> Xmm {
                let result;
                // SAFETY: touches its operand registers and the flags of MXCSR only. Only a
                // guest that was offered FMA gets here, and `host_offers_fma` was asked then.
                unsafe {
                    asm!(
                        concat!($mnemonic, " {first}, {second}, {third}"),
                        first = inlateout(xmm_reg) first => result,
                        second = in(xmm_reg) second,
                        third = in(xmm_reg) third,
                        options(nomem, nostack, preserves_flags)
                    )
                };
                result
            }
        }
    )*};
}

fused! {
    Fmadd132Ps "vfmadd132ps" PS;
    Fmadd132Pd "vfmadd132pd" PD;
    Fmadd132Ss "vfmadd132ss" SS;
    Fmadd132Sd "vfmadd132sd" SD;
    Fmadd213Ps "vfmadd213ps" PS;
    Fmadd213Pd "vfmadd213pd" PD;
    Fmadd213Ss "vfmadd213ss" SS;
    Fmadd213Sd "vfmadd213sd" SD;
    Fmadd231Ps "vfmadd231ps" PS;
    Fmadd231Pd "vfmadd231pd" PD;
    Fmadd231Ss "vfmadd231ss" SS;
    Fmadd231Sd "vfmadd231sd" SD;
    Fmsub132Ps "vfmsub132ps" PS;
    Fmsub132Pd "vfmsub132pd" PD;
    Fmsub132Ss "vfmsub132ss" SS;
    Fmsub132Sd "vfmsub132sd" SD;
    Fmsub213Ps "vfmsub213ps" PS;
    Fmsub213Pd "vfmsub213pd" PD;
    Fmsub213Ss "vfmsub213ss" SS;
    Fmsub213Sd "vfmsub213sd" SD;
    Fmsub231Ps "vfmsub231ps" PS;
    Fmsub231Pd "vfmsub231pd" PD;
    Fmsub231Ss "vfmsub231ss" SS;
    Fmsub231Sd "vfmsub231sd" SD;
    Fnmadd132Ps "vfnmadd132ps" PS;
    Fnmadd132Pd "vfnmadd132pd" PD;
    Fnmadd132Ss "vfnmadd132ss" SS;
    Fnmadd132Sd "vfnmadd132sd" SD;
    Fnmadd213Ps "vfnmadd213ps" PS;
    Fnmadd213Pd "vfnmadd213pd" PD;
    Fnmadd213Ss "vfnmadd213ss" SS;
    Fnmadd213Sd "vfnmadd213sd" SD;
    Fnmadd231Ps "vfnmadd231ps" PS;
    Fnmadd231Pd "vfnmadd231pd" PD;
    Fnmadd231Ss "vfnmadd231ss" SS;
    Fnmadd231Sd "vfnmadd231sd" SD;
    Fnmsub132Ps "vfnmsub132ps" PS;
    Fnmsub132Pd "vfnmsub132pd" PD;
    Fnmsub132Ss "vfnmsub132ss" SS;
    Fnmsub132Sd "vfnmsub132sd" SD;
    Fnmsub213Ps "vfnmsub213ps" PS;
    Fnmsub213Pd "vfnmsub213pd" PD;
    Fnmsub213Ss "vfnmsub213ss" SS;
    Fnmsub213Sd "vfnmsub213sd" SD;
    Fnmsub231Ps "vfnmsub231ps" PS;
    Fnmsub231Pd "vfnmsub231pd" PD;
    Fnmsub231Ss "vfnmsub231ss" SS;
    Fnmsub231Sd "vfnmsub231sd" SD;
    Fmaddsub132Ps "vfmaddsub132ps" PS;
    Fmaddsub132Pd "vfmaddsub132pd" PD;
    Fmaddsub213Ps "vfmaddsub213ps" PS;
    Fmaddsub213Pd "vfmaddsub213pd" PD;
    Fmaddsub231Ps "vfmaddsub231ps" PS;
    Fmaddsub231Pd "vfmaddsub231pd" PD;
    Fmsubadd132Ps "vfmsubadd132ps" PS;
    Fmsubadd132Pd "vfmsubadd132pd" PD;
    Fmsubadd213Ps "vfmsubadd213ps" PS;
    Fmsubadd213Pd "vfmsubadd213pd" PD;
    Fmsubadd231Ps "vfmsubadd231ps" PS;
    Fmsubadd231Pd "vfmsubadd231pd" PD;
}
