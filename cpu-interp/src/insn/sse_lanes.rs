//! Instructions on single lanes and with masks: insertion and extraction, blends, tests.

use super::vector_forms::{V256, concat, legacy_source, length, set_xmm};
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code::{self, *};
use trimotor_cpu::flags::ArithFlags;
use trimotor_cpu::simd::int::{self, Lane, TestMask, V128};

// ---- PINSRx, PEXTRx, INSERTPS, EXTRACTPS ----

/// The low bits of general register `register`, or a memory operand of `T`.
#[inline(always)]
fn element<T: Guest + Int>(core: &mut Core, op: &Op, register: u8) -> Result<T, trimotor_cpu::Fault> {
    if op.has_mem() { core.load(op) } else { Ok(core.reg(register)) }
}
/// PINSRB, PINSRW, PINSRD, PINSRQ.
fn insert<T: Guest + Int, const N: usize>(core: &mut Core, op: &Op) -> Done
where
    [T; N]: Lane,
{
    let value: T = element(core, op, op.r2)?;
    let old: V128 = core.vec(op.r1);
    core.set_vec(op.r1, int::insert::<T, N>(old, op.imm as u8, value));
    Ok(())
}
/// VPINSRB, VPINSRW, VPINSRD, VPINSRQ.
fn vex_insert<T: Guest + Int, const N: usize>(core: &mut Core, op: &Op) -> Done
where
    [T; N]: Lane,
{
    let value: T = element(core, op, op.r3)?;
    let old: V128 = core.vec(op.r2);
    set_xmm(core, op.r1, int::insert::<T, N>(old, op.imm as u8, value));
    Ok(())
}
/// PEXTRB, PEXTRW, PEXTRD, PEXTRQ, EXTRACTPS: to a register the element is zero-extended.
fn extract<T: Guest + Int, const N: usize>(core: &mut Core, op: &Op) -> Done
where
    [T; N]: Lane,
{
    if op.has_mem() {
        return core.store(op, int::extract::<T, N>(core.vec(op.r1), op.imm as u8));
    }
    let value = int::extract::<T, N>(core.vec(op.r2), op.imm as u8);
    core.set_reg::<u64>(op.r1, value.to_u64());
    Ok(())
}
/// The doubleword that INSERTPS inserts: from memory, or as bits 7:6 of the immediate say.
#[inline(always)]
fn insertps_source(core: &mut Core, op: &Op, register: u8) -> Result<u32, trimotor_cpu::Fault> {
    if op.has_mem() {
        return core.load(op);
    }
    Ok(int::extract::<u32, 4>(core.vec(register), (op.imm >> 6) as u8 & 3))
}
/// INSERTPS.
fn insertps(core: &mut Core, op: &Op) -> Done {
    let value = insertps_source(core, op, op.r2)?;
    core.set_vec(op.r1, int::insertps(core.vec(op.r1), value, op.imm as u8));
    Ok(())
}
/// VINSERTPS.
fn vinsertps(core: &mut Core, op: &Op) -> Done {
    let value = insertps_source(core, op, op.r3)?;
    set_xmm(core, op.r1, int::insertps(core.vec(op.r2), value, op.imm as u8));
    Ok(())
}

const ELEMENTS: &[Row] = &[
    row(Pinsrb_xmm_r32m8_imm8, body(insert::<u8, 16>)),
    row(Pinsrb_xmm_r64m8_imm8, body(insert::<u8, 16>)),
    row(Pinsrw_xmm_r32m16_imm8, body(insert::<u16, 8>)),
    row(Pinsrw_xmm_r64m16_imm8, body(insert::<u16, 8>)),
    row(Pinsrd_xmm_rm32_imm8, body(insert::<u32, 4>)),
    row(Pinsrq_xmm_rm64_imm8, body(insert::<u64, 2>)),
    row(VEX_Vpinsrb_xmm_xmm_r32m8_imm8, body(vex_insert::<u8, 16>)),
    row(VEX_Vpinsrb_xmm_xmm_r64m8_imm8, body(vex_insert::<u8, 16>)),
    row(VEX_Vpinsrw_xmm_xmm_r32m16_imm8, body(vex_insert::<u16, 8>)),
    row(VEX_Vpinsrw_xmm_xmm_r64m16_imm8, body(vex_insert::<u16, 8>)),
    row(VEX_Vpinsrd_xmm_xmm_rm32_imm8, body(vex_insert::<u32, 4>)),
    row(VEX_Vpinsrq_xmm_xmm_rm64_imm8, body(vex_insert::<u64, 2>)),
    row(Pextrb_r32m8_xmm_imm8, body(extract::<u8, 16>)),
    row(Pextrb_r64m8_xmm_imm8, body(extract::<u8, 16>)),
    row(Pextrw_r32_xmm_imm8, body(extract::<u16, 8>)),
    row(Pextrw_r64_xmm_imm8, body(extract::<u16, 8>)),
    row(Pextrw_r32m16_xmm_imm8, body(extract::<u16, 8>)),
    row(Pextrw_r64m16_xmm_imm8, body(extract::<u16, 8>)),
    row(Pextrd_rm32_xmm_imm8, body(extract::<u32, 4>)),
    row(Pextrq_rm64_xmm_imm8, body(extract::<u64, 2>)),
    row(Extractps_rm32_xmm_imm8, body(extract::<u32, 4>)),
    row(Extractps_r64m32_xmm_imm8, body(extract::<u32, 4>)),
    row(VEX_Vpextrb_r32m8_xmm_imm8, body(extract::<u8, 16>)),
    row(VEX_Vpextrb_r64m8_xmm_imm8, body(extract::<u8, 16>)),
    row(VEX_Vpextrw_r32_xmm_imm8, body(extract::<u16, 8>)),
    row(VEX_Vpextrw_r64_xmm_imm8, body(extract::<u16, 8>)),
    row(VEX_Vpextrw_r32m16_xmm_imm8, body(extract::<u16, 8>)),
    row(VEX_Vpextrw_r64m16_xmm_imm8, body(extract::<u16, 8>)),
    row(VEX_Vpextrd_rm32_xmm_imm8, body(extract::<u32, 4>)),
    row(VEX_Vpextrq_rm64_xmm_imm8, body(extract::<u64, 2>)),
    row(VEX_Vextractps_rm32_xmm_imm8, body(extract::<u32, 4>)),
    row(VEX_Vextractps_r64m32_xmm_imm8, body(extract::<u32, 4>)),
    row(Insertps_xmm_xmmm32_imm8, body(insertps)),
    row(VEX_Vinsertps_xmm_xmm_xmmm32_imm8, body(vinsertps)),
];

// ---- variable blends ----

/// Rows of a blend whose mask is XMM0 in legacy form and a fourth register in VEX forms.
const fn blend<F>(sse: Code, avx: Code, avx256: Code, f: F) -> [Row; 3]
where
    F: Fn(V128, V128, V128) -> V128 + Copy + 'static,
{
    let legacy = move |core: &mut Core, op: &Op| {
        let b = legacy_source(core, op, op.r2)?;
        let (a, mask): (V128, V128) = (core.vec(op.r1), core.vec(0));
        core.set_vec(op.r1, f(a, b, mask));
        Ok(())
    };
    let vex = move |core: &mut Core, op: &Op| {
        let b: V128 = core.vec_rm(op, op.r3)?;
        let (a, mask): (V128, V128) = (core.vec(op.r2), core.vec(op.imm as u8));
        set_xmm(core, op.r1, f(a, b, mask));
        Ok(())
    };
    let halves = move |core: &mut Core, op: &Op| {
        let b: V256 = core.vec_rm(op, op.r3)?;
        let (a, mask): (V256, V256) = (core.vec(op.r2), core.vec(op.imm as u8));
        core.set_vec::<V256>(op.r1, [f(a[0], b[0], mask[0]), f(a[1], b[1], mask[1])]);
        Ok(())
    };
    [row(sse, body(legacy)), row(avx, body(vex)), row(avx256, body(halves))]
}

#[rustfmt::skip] // One line an instruction.
const BLENDS: &[[Row; 3]] = &[
    blend(Pblendvb_xmm_xmmm128, VEX_Vpblendvb_xmm_xmm_xmmm128_xmm, VEX_Vpblendvb_ymm_ymm_ymmm256_ymm, int::pblendvb),
    blend(Blendvps_xmm_xmmm128, VEX_Vblendvps_xmm_xmm_xmmm128_xmm, VEX_Vblendvps_ymm_ymm_ymmm256_ymm, int::blendvps),
    blend(Blendvpd_xmm_xmmm128, VEX_Vblendvpd_xmm_xmm_xmmm128_xmm, VEX_Vblendvpd_ymm_ymm_ymmm256_ymm, int::blendvpd),
];

// ---- PTEST, VTESTPS, VTESTPD ----

/// ZF and CF; the other arithmetic flags become zero.
#[inline(always)]
fn set_zero_and_carry(core: &mut Core, zero: bool, carry: bool) {
    let bit = |on: bool, flag: u16| if on { flag } else { 0 };
    core.state.arith = ArithFlags(bit(zero, ArithFlags::ZF) | bit(carry, ArithFlags::CF));
}
/// PTEST xmm, xmm/m128.
fn ptest(core: &mut Core, op: &Op) -> Done {
    let b = legacy_source(core, op, op.r2)?;
    let (zero, carry) = int::ptest(core.vec(op.r1), b, TestMask::ALL);
    set_zero_and_carry(core, zero, carry);
    Ok(())
}
/// VPTEST, VTESTPS, VTESTPD on XMM registers, by the mask of the bits that count.
fn vtest<const MASK: u64>(core: &mut Core, op: &Op) -> Done {
    let b: V128 = core.vec_rm(op, op.r2)?;
    let (zero, carry) = int::ptest(core.vec(op.r1), b, TestMask(MASK));
    set_zero_and_carry(core, zero, carry);
    Ok(())
}
/// The same on YMM registers.
fn vtest256<const MASK: u64>(core: &mut Core, op: &Op) -> Done {
    let b: V256 = core.vec_rm(op, op.r2)?;
    let a: V256 = core.vec(op.r1);
    let [low, high] = [0, 1].map(|half| int::ptest(a[half], b[half], TestMask(MASK)));
    set_zero_and_carry(core, low.0 && high.0, low.1 && high.1);
    Ok(())
}

const TESTS: &[Row] = &[
    row(Ptest_xmm_xmmm128, body(ptest)),
    row(VEX_Vptest_xmm_xmmm128, body(vtest::<{ TestMask::ALL.0 }>)),
    row(VEX_Vptest_ymm_ymmm256, body(vtest256::<{ TestMask::ALL.0 }>)),
    row(VEX_Vtestps_xmm_xmmm128, body(vtest::<{ TestMask::SINGLES.0 }>)),
    row(VEX_Vtestps_ymm_ymmm256, body(vtest256::<{ TestMask::SINGLES.0 }>)),
    row(VEX_Vtestpd_xmm_xmmm128, body(vtest::<{ TestMask::DOUBLES.0 }>)),
    row(VEX_Vtestpd_ymm_ymmm256, body(vtest256::<{ TestMask::DOUBLES.0 }>)),
];

const PARTS: &[&[Row]] = &[ELEMENTS, BLENDS.as_flattened(), TESTS];

/// The family's instruction forms.
pub(crate) const ROWS: &[Row] = &concat::<{ length(PARTS) }>(PARTS);
