//! What AVX and AVX2 add: permutations across 128-bit halves, and VZEROUPPER.

use super::vector_forms::{V256, across, across_imm};
use crate::core::{Core, mode};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code::*;
use trimotor_cpu::simd::int::{self, V128};

/// VPERMQ, VPERMPD.
fn vpermq(core: &mut Core, op: &Op) -> Done {
    let a: V256 = core.vec_rm(op, op.r2)?;
    core.set_vec(op.r1, int::vpermq(a, op.imm as u8));
    Ok(())
}
/// VPERMILPD with an immediate, on XMM registers.
fn vpermilpd(core: &mut Core, op: &Op) -> Done {
    let a: V128 = core.vec_rm(op, op.r2)?;
    super::vector_forms::set_xmm(core, op.r1, int::permilpd_immediate(a, op.imm as u8));
    Ok(())
}
/// VPERMILPD with an immediate, on YMM registers.
fn vpermilpd256(core: &mut Core, op: &Op) -> Done {
    let [low, high]: V256 = core.vec_rm(op, op.r2)?;
    let order = op.imm as u8;
    let permuted = [int::permilpd_immediate(low, order), int::permilpd_immediate(high, order >> 2)];
    core.set_vec(op.r1, permuted);
    Ok(())
}
/// VPERMILPS with an immediate, on XMM registers.
fn vpermilps(core: &mut Core, op: &Op) -> Done {
    let a: V128 = core.vec_rm(op, op.r2)?;
    super::vector_forms::set_xmm(core, op.r1, int::pshufd(a, op.imm as u8));
    Ok(())
}
/// VPERMILPS with an immediate, on YMM registers.
fn vpermilps256(core: &mut Core, op: &Op) -> Done {
    let a: V256 = core.vec_rm(op, op.r2)?;
    core.set_vec(op.r1, a.map(|half| int::pshufd(half, op.imm as u8)));
    Ok(())
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
    super::vector_forms::set_xmm(core, op.r1, half);
    Ok(())
}
/// The registers that the mode reaches: eight outside 64-bit mode.
fn reachable(core: &Core) -> u8 {
    if core.state.mode & mode::CODE_SIZE == mode::CODE64 { 16 } else { 8 }
}
/// VZEROUPPER.
fn vzeroupper(core: &mut Core, _op: &Op) -> Done {
    for register in 0..reachable(core) {
        let low: V128 = core.vec(register);
        core.set_vec(register, [low, V128::ZERO]);
    }
    Ok(())
}
/// VZEROALL.
fn vzeroall(core: &mut Core, _op: &Op) -> Done {
    for register in 0..reachable(core) {
        core.set_vec(register, [V128::ZERO; 2]);
    }
    Ok(())
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
    super::vector_forms::narrow_imm(VEX_Vpblendd_xmm_xmm_xmmm128_imm8, int::blendps),
    row(VEX_Vpermq_ymm_ymmm256_imm8, body(vpermq)),
    row(VEX_Vpermpd_ymm_ymmm256_imm8, body(vpermq)),
    row(VEX_Vpermilps_xmm_xmmm128_imm8, body(vpermilps)),
    row(VEX_Vpermilps_ymm_ymmm256_imm8, body(vpermilps256)),
    row(VEX_Vpermilpd_xmm_xmmm128_imm8, body(vpermilpd)),
    row(VEX_Vpermilpd_ymm_ymmm256_imm8, body(vpermilpd256)),
    row(VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, body(insert_half)),
    row(VEX_Vinserti128_ymm_ymm_xmmm128_imm8, body(insert_half)),
    row(VEX_Vextractf128_xmmm128_ymm_imm8, body(extract_half)),
    row(VEX_Vextracti128_xmmm128_ymm_imm8, body(extract_half)),
    row(VEX_Vzeroupper, body(vzeroupper)),
    row(VEX_Vzeroall, body(vzeroall)),
];
