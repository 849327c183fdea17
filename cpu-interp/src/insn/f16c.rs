//! F16C: conversions between half and single precision.
//!
//! Source: SDM Vol. 2, VCVTPH2PS and VCVTPS2PH.

use iced_x86::Code::*;
use trimotor_cpu::simd::fp::{CVTPS2PH_RESULTS, CvtPh2Ps, Element, Unary, Xmm, cvtps2ph};

use super::fp_env_checked as checked;
use super::sse_fp_shape::set_zeroing_upper;
use crate::core::Core;
use crate::op::{Done, Op, Row, body, row};

/// VCVTPH2PS xmm, xmm/m64.
fn vcvtph2ps_128(core: &mut Core, op: &Op) -> Done {
    let source = core.vec_rm::<u64>(op, op.r2)?.to_xmm();
    let result = checked::other(core, op, || CvtPh2Ps::apply(source))?;
    set_zeroing_upper(core, op.r1, result);
    Ok(())
}

/// VCVTPH2PS ymm, xmm/m128.
fn vcvtph2ps_256(core: &mut Core, op: &Op) -> Done {
    let [low, high] = core.vec_rm::<[u64; 2]>(op, op.r2)?.map(u64::to_xmm);
    let result = checked::other(core, op, || [CvtPh2Ps::apply(low), CvtPh2Ps::apply(high)])?;
    core.set_vec(op.r1, result);
    Ok(())
}

/// VCVTPS2PH xmm/m64, xmm, imm8.
fn vcvtps2ph_128(core: &mut Core, op: &Op) -> Done {
    let imm = op.imm as u8;
    if op.has_mem() {
        core.check_store(op, 0, 8)?;
        let source = core.vec(op.r1);
        let result = checked::vector(core, op, CVTPS2PH_RESULTS, [source; 3], || cvtps2ph(source, imm))?;
        return core.store(op, u64::from_xmm(result));
    }
    let source = core.vec(op.r2);
    let result = checked::vector(core, op, CVTPS2PH_RESULTS, [source; 3], || cvtps2ph(source, imm))?;
    set_zeroing_upper(core, op.r1, result);
    Ok(())
}

/// VCVTPS2PH xmm/m128, ymm, imm8.
fn vcvtps2ph_256(core: &mut Core, op: &Op) -> Done {
    let imm = op.imm as u8;
    if op.has_mem() {
        core.check_store(op, 0, 16)?;
    }
    let source: [Xmm; 2] = core.vec(if op.has_mem() { op.r1 } else { op.r2 });
    let halves =
        checked::pair(core, op, CVTPS2PH_RESULTS, [source; 3], || source.map(|half| cvtps2ph(half, imm)))?;
    let result = halves.map(u64::from_xmm);
    if op.has_mem() {
        return core.store(op, result);
    }
    core.set_vec(op.r1, [result[0], result[1], 0, 0]);
    Ok(())
}

pub(crate) const ROWS: &[Row] = &[
    row(VEX_Vcvtph2ps_xmm_xmmm64, body(vcvtph2ps_128)),
    row(VEX_Vcvtph2ps_ymm_xmmm128, body(vcvtph2ps_256)),
    row(VEX_Vcvtps2ph_xmmm64_xmm_imm8, body(vcvtps2ph_128)),
    row(VEX_Vcvtps2ph_xmmm128_ymm_imm8, body(vcvtps2ph_256)),
];
