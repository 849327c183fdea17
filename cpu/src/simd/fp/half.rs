//! Half precision: VCVTPH2PS and VCVTPS2PH.
//!
//! An x86-64 host must have F16C: [`super::host_offers_f16c`].

use super::lanes::converted;
use super::{Environment, Operation, Results, Unary, Xmm, host_or_portable, soft, unary};
use crate::softfloat::Rounding;

unary! {
    CvtPh2Ps "vcvtph2ps" Results::NeverTiny => from_halves;
}

#[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
fn from_halves(environment: &mut Environment, source: Xmm) -> Xmm {
    converted(source, [16, 32], 4, |bits| soft::from_half(environment, bits))
}

/// `vcvtps2ph`: four single-precision elements to half precision, in the low 64 bits of the
/// result. The immediate is a rounding mode, or (bit 2) leaves it to MXCSR.
#[inline(always)]
pub fn cvtps2ph(source: Xmm, imm: u8) -> Xmm {
    ToHalves::apply(source, imm)
}

pub(super) struct ToHalves;

impl ToHalves {
    #[inline(always)]
    fn apply(source: Xmm, imm: u8) -> Xmm {
        host_or_portable!(source, imm)
    }
    #[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
    #[inline(always)]
    pub(super) fn host(source: Xmm, imm: u8) -> Xmm {
        #[inline(always)]
        fn convert<const IMM: u8>(source: Xmm) -> Xmm {
            let result;
            // SAFETY: touches its operand registers and the flags of MXCSR only. Only a guest
            // that was offered F16C gets here, and `host_offers_f16c` was asked then.
            unsafe {
                std::arch::asm!(
                    "vcvtps2ph {result}, {source}, {imm}",
                    result = lateout(xmm_reg) result,
                    source = in(xmm_reg) source,
                    imm = const IMM,
                    options(nomem, nostack, preserves_flags)
                )
            };
            result
        }
        super::with_immediate!(imm & 7, [0 1 2 3 4 5 6 7], convert(source))
    }
    #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
    pub(super) fn portable(environment: &mut Environment, source: Xmm, imm: u8) -> Xmm {
        let rounding = if imm & 4 != 0 { environment.rounding() } else { Rounding::from_bits(imm.into()) };
        converted(source, [32, 16], 4, |bits| soft::to_half(environment, bits, rounding))
    }
}

/// Where the results of [`cvtps2ph`] stand.
pub const CVTPS2PH_RESULTS: Results = Results::F16(4, Operation::Narrow);
