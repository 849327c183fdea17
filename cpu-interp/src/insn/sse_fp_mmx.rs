//! Conversions between XMM and MMX registers, which all others of their kind have long replaced.
//!
//! Where an MMX register takes part, the x87 unit is switched to MMX use, as by any MMX
//! instruction: TOP becomes 0 and all registers count as full, after a pending x87
//! exception was reported and memory was read. A SIMD exception comes after the switch.

use iced_x86::Code::*;
use trimotor_cpu::Fault;
use trimotor_cpu::simd::fp::{
    CvtDq2Pd, CvtDq2Ps, CvtPd2Dq, CvtPs2Dq, CvttPd2Dq, CvttPs2Dq, Element, Unary, Xmm, doubles, to_doubles,
};

use super::fp_env_checked as checked;
use super::sse_fp_form::{Form, General};
use crate::core::Core;
use crate::op::{Done, Op, Row, body, row};

/// x87 status word: an unmasked exception is pending (ES).
const ERROR_SUMMARY: u16 = 1 << 7;

/// Reports a pending x87 exception.
///
/// # Faults
/// #MF.
fn check_x87(core: &Core) -> Done {
    if core.state.x87.status & ERROR_SUMMARY != 0 { Err(Fault::MF) } else { Ok(()) }
}

/// Switches the x87 unit to MMX use.
fn enter_mmx(core: &mut Core) {
    core.state.x87.top = 0;
    core.state.x87.empty = 0;
}

/// MMX register `number`.
fn mmx(core: &Core, number: u8) -> u64 {
    let [low @ .., _, _, _, _, _, _, _, _] = core.state.x87.regs[number as usize & 7].0;
    u64::from_le_bytes(low)
}

/// Writes MMX register `number`; the sign and exponent of the x87 register become all ones.
fn set_mmx(core: &mut Core, number: u8, value: u64) {
    let register = &mut core.state.x87.regs[number as usize & 7].0;
    register[..8].copy_from_slice(&value.to_le_bytes());
    register[8..10].fill(0xFF);
}

/// The source `mm/m64`; a register switches the x87 unit to MMX use.
///
/// # Faults
/// #MF for a register, those of the load for memory.
fn mmx_source(core: &mut Core, op: &Op) -> Result<Xmm, Fault> {
    if op.has_mem() {
        return Ok(core.load::<u64>(op)?.to_xmm());
    }
    check_x87(core)?;
    enter_mmx(core);
    Ok(mmx(core, op.r2).to_xmm())
}

/// CVTPI2PS xmm, mm/m64: the upper half of the destination stays.
fn cvtpi2ps(core: &mut Core, op: &Op) -> Done {
    let source = mmx_source(core, op)?;
    let result = checked::other(core, op, || CvtDq2Ps::apply(source))?;
    let [_, high] = to_doubles(core.vec(op.r1));
    core.set_vec(op.r1, doubles([u64::from_xmm(result), high]));
    Ok(())
}

/// CVTPI2PD xmm, mm/m64.
fn cvtpi2pd(core: &mut Core, op: &Op) -> Done {
    let source = mmx_source(core, op)?;
    core.set_vec(op.r1, CvtDq2Pd::apply(source));
    Ok(())
}

/// CVTPS2PI and CVTTPS2PI mm, xmm/m64.
fn singles_to_mmx<T: Unary>(core: &mut Core, op: &Op) -> Done {
    check_x87(core)?;
    let source = core.vec_rm::<u64>(op, op.r2)?.to_xmm();
    enter_mmx(core);
    let result = checked::other(core, op, || T::apply(source))?;
    set_mmx(core, op.r1, u64::from_xmm(result));
    Ok(())
}

/// CVTPD2PI and CVTTPD2PI mm, xmm/m128.
fn doubles_to_mmx<T: Unary>(core: &mut Core, op: &Op) -> Done {
    check_x87(core)?;
    let source = General::aligned(core, op, op.r2)?;
    enter_mmx(core);
    let result = checked::other(core, op, || T::apply(source))?;
    set_mmx(core, op.r1, u64::from_xmm(result));
    Ok(())
}

pub(crate) const ROWS: &[Row] = &[
    row(Cvtpi2ps_xmm_mmm64, body(cvtpi2ps)),
    row(Cvtpi2pd_xmm_mmm64, body(cvtpi2pd)),
    row(Cvtps2pi_mm_xmmm64, body(singles_to_mmx::<CvtPs2Dq>)),
    row(Cvttps2pi_mm_xmmm64, body(singles_to_mmx::<CvttPs2Dq>)),
    row(Cvtpd2pi_mm_xmmm128, body(doubles_to_mmx::<CvtPd2Dq>)),
    row(Cvttpd2pi_mm_xmmm128, body(doubles_to_mmx::<CvttPd2Dq>)),
];
