//! AES, carry-less multiplication and SHA instructions.

use super::vector_forms::{concat, legacy_source, length, narrow, narrow_imm, sse, sse_imm, unary128};
use crate::core::Core;
use crate::op::{Op, Row, body, row};
use iced_x86::Code::{self, *};
use trimotor_cpu::simd::int::{self, V128};

/// Legacy and VEX.128 rows of an operation on two vectors.
const fn round<F>(legacy: Code, avx: Code, f: F) -> [Row; 2]
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    [sse(legacy, f), narrow(avx, f)]
}

/// SHA256RNDS2: message words and constants are in XMM0.
fn sha256rnds2(core: &mut Core, op: &Op) -> crate::op::Done {
    let b = legacy_source(core, op, op.r2)?;
    core.set_vec(op.r1, int::sha256rnds2(core.vec(op.r1), b, core.vec(0)));
    Ok(())
}

const AES: &[[Row; 2]] = &[
    round(Aesenc_xmm_xmmm128, VEX_Vaesenc_xmm_xmm_xmmm128, int::aesenc),
    round(Aesenclast_xmm_xmmm128, VEX_Vaesenclast_xmm_xmm_xmmm128, int::aesenclast),
    round(Aesdec_xmm_xmmm128, VEX_Vaesdec_xmm_xmm_xmmm128, int::aesdec),
    round(Aesdeclast_xmm_xmmm128, VEX_Vaesdeclast_xmm_xmm_xmmm128, int::aesdeclast),
    unary128(Aesimc_xmm_xmmm128, VEX_Vaesimc_xmm_xmmm128, |a, _| int::aesimc(a)),
    unary128(Aeskeygenassist_xmm_xmmm128_imm8, VEX_Vaeskeygenassist_xmm_xmmm128_imm8, int::aeskeygenassist),
];

const OTHERS: &[Row] = &[
    sse_imm(Pclmulqdq_xmm_xmmm128_imm8, int::pclmulqdq),
    narrow_imm(VEX_Vpclmulqdq_xmm_xmm_xmmm128_imm8, int::pclmulqdq),
    sse(Sha1nexte_xmm_xmmm128, int::sha1nexte),
    sse(Sha1msg1_xmm_xmmm128, int::sha1msg1),
    sse(Sha1msg2_xmm_xmmm128, int::sha1msg2),
    sse_imm(Sha1rnds4_xmm_xmmm128_imm8, int::sha1rnds4),
    row(Sha256rnds2_xmm_xmmm128, body(sha256rnds2)),
    sse(Sha256msg1_xmm_xmmm128, int::sha256msg1),
    sse(Sha256msg2_xmm_xmmm128, int::sha256msg2),
];

const PARTS: &[&[Row]] = &[AES.as_flattened(), OTHERS];

/// The family's instruction forms.
pub(crate) const ROWS: &[Row] = &concat::<{ length(PARTS) }>(PARTS);
