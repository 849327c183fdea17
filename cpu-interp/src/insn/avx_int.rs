//! What AVX and AVX2 add: permutations across 128-bit halves, and VZEROUPPER.

use super::vector_forms::{V256, across, across_imm, narrow_imm, set_xmm, unary_across, unary_narrow};
use crate::core::{Core, mode};
use crate::hot::registers;
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code::*;
use trimotor_cpu::simd::int::{self, V128};

/// VPERMILPD with an immediate, on YMM registers: two bits a half.
fn vpermilpd(a: V256, order: u8) -> V256 {
    [int::permilpd_immediate(a[0], order), int::permilpd_immediate(a[1], order >> 2)]
}
/// VPERMILPS with an immediate, on YMM registers.
fn vpermilps(a: V256, order: u8) -> V256 {
    a.map(|half| int::pshufd(half, order))
}
/// VINSERTF128, VINSERTI128.
fn insert_half(core: &mut Core, op: &Op) -> Done {
    let half: V128 = core.vec_rm(op, op.r3)?;
    let [low, high]: V256 = core.vec(op.r2);
    core.set_vec(op.r1, if op.imm & 1 == 0 { [half, high] } else { [low, half] });
    Ok(())
}
/// VEXTRACTF128, VEXTRACTI128.
fn extract_half(core: &mut Core, op: &Op) -> Done {
    let halves: V256 = core.vec(if op.has_mem() { op.r1 } else { op.r2 });
    let half = halves[op.imm as usize & 1];
    if op.has_mem() {
        return core.store(op, half);
    }
    set_xmm(core, op.r1, half);
    Ok(())
}
/// The registers that the mode reaches: eight outside 64-bit mode.
fn reachable(core: &Core) -> u8 {
    if core.state.mode & mode::CODE_SIZE == mode::CODE64 { 16 } else { 8 }
}
/// VZEROUPPER.
fn vzeroupper(core: &mut Core, _op: &Op) {
    for register in 0..reachable(core) {
        let low: V128 = core.vec(register);
        core.set_vec(register, [low, V128::ZERO]);
    }
}
/// VZEROALL.
fn vzeroall(core: &mut Core, _op: &Op) {
    for register in 0..reachable(core) {
        core.set_vec(register, [V128::ZERO; 2]);
    }
}

/// VPBLENDD on YMM registers: four bits a half.
fn vpblendd(a: V256, b: V256, mask: u8) -> V256 {
    [int::blendps(a[0], b[0], mask), int::blendps(a[1], b[1], mask >> 4)]
}

/// The family's instruction forms.
pub(crate) const ROWS: &[Row] = &[
    across(VEX_Vpermd_ymm_ymm_ymmm256, int::vpermd),
    across(VEX_Vpermps_ymm_ymm_ymmm256, int::vpermd),
    across_imm(VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, int::vperm2f128),
    across_imm(VEX_Vperm2i128_ymm_ymm_ymmm256_imm8, int::vperm2f128),
    across_imm(VEX_Vpblendd_ymm_ymm_ymmm256_imm8, vpblendd),
    narrow_imm(VEX_Vpblendd_xmm_xmm_xmmm128_imm8, int::blendps),
    unary_across(VEX_Vpermq_ymm_ymmm256_imm8, int::vpermq),
    unary_across(VEX_Vpermpd_ymm_ymmm256_imm8, int::vpermq),
    unary_narrow(VEX_Vpermilps_xmm_xmmm128_imm8, int::pshufd),
    unary_across(VEX_Vpermilps_ymm_ymmm256_imm8, vpermilps),
    unary_narrow(VEX_Vpermilpd_xmm_xmmm128_imm8, int::permilpd_immediate),
    unary_across(VEX_Vpermilpd_ymm_ymmm256_imm8, vpermilpd),
    row(VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, body(insert_half)),
    row(VEX_Vinserti128_ymm_ymm_xmmm128_imm8, body(insert_half)),
    row(VEX_Vextractf128_xmmm128_ymm_imm8, body(extract_half)),
    row(VEX_Vextracti128_xmmm128_ymm_imm8, body(extract_half)),
    registers(VEX_Vzeroupper, vzeroupper),
    registers(VEX_Vzeroall, vzeroall),
];
