//! Half precision: VCVTPH2PS and VCVTPS2PH.
//!
//! The host must have F16C: [`super::host_offers_f16c`].

use std::arch::asm;

use super::{Operation, Results, Unary, Xmm, unary, with_immediate};

unary! {
    CvtPh2Ps "vcvtph2ps" Results::NeverTiny;
}

/// `vcvtps2ph`: four single-precision elements to half precision, in the low 64 bits of the
/// result. The immediate is a rounding mode, or (bit 2) leaves it to MXCSR.
#[inline(always)]
pub fn cvtps2ph(source: Xmm, imm: u8) -> Xmm {
    #[inline(always)]
    fn convert<const IMM: u8>(source: Xmm) -> Xmm {
        let result;
        // SAFETY: touches its operand registers and the flags of MXCSR only. Only a guest
        // that was offered F16C gets here, and `host_offers_f16c` was asked then.
        unsafe {
            asm!(
                "vcvtps2ph {result}, {source}, {imm}",
                result = lateout(xmm_reg) result,
                source = in(xmm_reg) source,
                imm = const IMM,
                options(nomem, nostack, preserves_flags)
            )
        };
        result
    }
    with_immediate!(imm & 7, [0 1 2 3 4 5 6 7], convert(source))
}

/// Where the results of [`cvtps2ph`] stand.
pub const CVTPS2PH_RESULTS: Results = Results::F16(4, Operation::Narrow);
