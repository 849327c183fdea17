//! Moves between vector registers, memory and general registers, legacy and VEX.
//!
//! Loads into an XMM register by a legacy instruction leave the rest of the YMM register
//! alone; VEX forms clear it. Aligned forms (MOVAPS, MOVDQA, non-temporal moves) raise
//! #GP(0) for an address that is not a multiple of the operand's size, also in VEX form.
//! Non-temporal moves are plain moves here: caches are not modelled.

use super::vector_forms::{V256, concat, length, set_xmm};
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code::{self, *};
use trimotor_cpu::simd::int::{self, V128};

/// Writes the destination register `r1` of a load of `T`: what is left of it by the form.
trait Destination: Guest {
    /// VEX form: bits above the value become zero.
    fn set_vex(core: &mut Core, register: u8, value: Self);
}
impl Destination for V128 {
    #[inline(always)]
    fn set_vex(core: &mut Core, register: u8, value: V128) {
        set_xmm(core, register, value);
    }
}
impl Destination for V256 {
    #[inline(always)]
    fn set_vex(core: &mut Core, register: u8, value: V256) {
        core.set_vec(register, value);
    }
}

/// MOVUPS, MOVUPD, MOVDQU xmm, xmm/m128; LDDQU.
fn load_unaligned(core: &mut Core, op: &Op) -> Done {
    let value: V128 = core.vec_rm(op, op.r2)?;
    core.set_vec(op.r1, value);
    Ok(())
}
/// MOVAPS, MOVAPD, MOVDQA xmm, xmm/m128; MOVNTDQA.
fn load_aligned(core: &mut Core, op: &Op) -> Done {
    let value: V128 = if op.has_mem() { core.load_aligned(op)? } else { core.vec(op.r2) };
    core.set_vec(op.r1, value);
    Ok(())
}
/// MOVUPS, MOVUPD, MOVDQU xmm/m128, xmm.
fn store_unaligned(core: &mut Core, op: &Op) -> Done {
    if op.has_mem() {
        return core.store::<V128>(op, core.vec(op.r1));
    }
    core.set_vec::<V128>(op.r1, core.vec(op.r2));
    Ok(())
}
/// MOVAPS, MOVAPD, MOVDQA xmm/m128, xmm; MOVNTPS, MOVNTPD, MOVNTDQ.
fn store_aligned(core: &mut Core, op: &Op) -> Done {
    if op.has_mem() {
        return core.store_aligned::<V128>(op, core.vec(op.r1));
    }
    core.set_vec::<V128>(op.r1, core.vec(op.r2));
    Ok(())
}

/// VMOVUPS, VMOVUPD, VMOVDQU to a register; VLDDQU.
fn vex_load_unaligned<T: Destination>(core: &mut Core, op: &Op) -> Done {
    let value: T = core.vec_rm(op, op.r2)?;
    T::set_vex(core, op.r1, value);
    Ok(())
}
/// VMOVAPS, VMOVAPD, VMOVDQA to a register; VMOVNTDQA.
fn vex_load_aligned<T: Destination>(core: &mut Core, op: &Op) -> Done {
    let value: T = if op.has_mem() { core.load_aligned(op)? } else { core.vec(op.r2) };
    T::set_vex(core, op.r1, value);
    Ok(())
}
/// VMOVUPS, VMOVUPD, VMOVDQU from a register.
fn vex_store_unaligned<T: Destination>(core: &mut Core, op: &Op) -> Done {
    if op.has_mem() {
        return core.store::<T>(op, core.vec(op.r1));
    }
    T::set_vex(core, op.r1, core.vec(op.r2));
    Ok(())
}
/// VMOVAPS, VMOVAPD, VMOVDQA from a register; VMOVNTPS, VMOVNTPD, VMOVNTDQ.
fn vex_store_aligned<T: Destination>(core: &mut Core, op: &Op) -> Done {
    if op.has_mem() {
        return core.store_aligned::<T>(op, core.vec(op.r1));
    }
    T::set_vex(core, op.r1, core.vec(op.r2));
    Ok(())
}

/// Rows of an unaligned move: load and store, each legacy, VEX.128 and VEX.256.
const fn unaligned(load: [Code; 3], store: [Code; 3]) -> [Row; 6] {
    [
        row(load[0], body(load_unaligned)),
        row(load[1], body(vex_load_unaligned::<V128>)),
        row(load[2], body(vex_load_unaligned::<V256>)),
        row(store[0], body(store_unaligned)),
        row(store[1], body(vex_store_unaligned::<V128>)),
        row(store[2], body(vex_store_unaligned::<V256>)),
    ]
}
/// Rows of an aligned move.
const fn aligned(load: [Code; 3], store: [Code; 3]) -> [Row; 6] {
    let [a, b, c] = aligned_stores(store);
    let [d, e, f] = aligned_loads(load);
    [a, b, c, d, e, f]
}
const fn aligned_stores(store: [Code; 3]) -> [Row; 3] {
    [
        row(store[0], body(store_aligned)),
        row(store[1], body(vex_store_aligned::<V128>)),
        row(store[2], body(vex_store_aligned::<V256>)),
    ]
}
const fn aligned_loads(load: [Code; 3]) -> [Row; 3] {
    [
        row(load[0], body(load_aligned)),
        row(load[1], body(vex_load_aligned::<V128>)),
        row(load[2], body(vex_load_aligned::<V256>)),
    ]
}

#[rustfmt::skip] // One line a direction: the table is read by columns.
const WHOLE: &[[Row; 6]] = &[
    unaligned([Movups_xmm_xmmm128, VEX_Vmovups_xmm_xmmm128, VEX_Vmovups_ymm_ymmm256],
              [Movups_xmmm128_xmm, VEX_Vmovups_xmmm128_xmm, VEX_Vmovups_ymmm256_ymm]),
    unaligned([Movupd_xmm_xmmm128, VEX_Vmovupd_xmm_xmmm128, VEX_Vmovupd_ymm_ymmm256],
              [Movupd_xmmm128_xmm, VEX_Vmovupd_xmmm128_xmm, VEX_Vmovupd_ymmm256_ymm]),
    unaligned([Movdqu_xmm_xmmm128, VEX_Vmovdqu_xmm_xmmm128, VEX_Vmovdqu_ymm_ymmm256],
              [Movdqu_xmmm128_xmm, VEX_Vmovdqu_xmmm128_xmm, VEX_Vmovdqu_ymmm256_ymm]),
    aligned([Movaps_xmm_xmmm128, VEX_Vmovaps_xmm_xmmm128, VEX_Vmovaps_ymm_ymmm256],
            [Movaps_xmmm128_xmm, VEX_Vmovaps_xmmm128_xmm, VEX_Vmovaps_ymmm256_ymm]),
    aligned([Movapd_xmm_xmmm128, VEX_Vmovapd_xmm_xmmm128, VEX_Vmovapd_ymm_ymmm256],
            [Movapd_xmmm128_xmm, VEX_Vmovapd_xmmm128_xmm, VEX_Vmovapd_ymmm256_ymm]),
    aligned([Movdqa_xmm_xmmm128, VEX_Vmovdqa_xmm_xmmm128, VEX_Vmovdqa_ymm_ymmm256],
            [Movdqa_xmmm128_xmm, VEX_Vmovdqa_xmmm128_xmm, VEX_Vmovdqa_ymmm256_ymm]),
];

#[rustfmt::skip]
const ONE_WAY: &[[Row; 3]] = &[
    aligned_stores([Movntps_m128_xmm, VEX_Vmovntps_m128_xmm, VEX_Vmovntps_m256_ymm]),
    aligned_stores([Movntpd_m128_xmm, VEX_Vmovntpd_m128_xmm, VEX_Vmovntpd_m256_ymm]),
    aligned_stores([Movntdq_m128_xmm, VEX_Vmovntdq_m128_xmm, VEX_Vmovntdq_m256_ymm]),
    aligned_loads([Movntdqa_xmm_m128, VEX_Vmovntdqa_xmm_m128, VEX_Vmovntdqa_ymm_m256]),
    [
        row(Lddqu_xmm_m128, body(load_unaligned)),
        row(VEX_Vlddqu_xmm_m128, body(vex_load_unaligned::<V128>)),
        row(VEX_Vlddqu_ymm_m256, body(vex_load_unaligned::<V256>)),
    ],
];

// ---- scalars and halves ----

/// MOVSS, MOVSD to a register: from memory the rest of the XMM register is cleared, from a
/// register it stays.
fn load_scalar<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    if op.has_mem() {
        let value: T = core.load(op)?;
        core.set_vec(op.r1, V128::from_low(value.to_u64()));
    } else {
        core.set_vec::<T>(op.r1, core.vec(op.r2));
    }
    Ok(())
}
/// MOVSS, MOVSD, MOVLPS, MOVLPD from a register.
fn store_low<T: Guest>(core: &mut Core, op: &Op) -> Done {
    if op.has_mem() {
        return core.store::<T>(op, core.vec(op.r1));
    }
    core.set_vec::<T>(op.r1, core.vec(op.r2));
    Ok(())
}
/// VMOVSS, VMOVSD from memory; MOVQ, VMOVQ xmm, xmm/m64 in VEX form.
fn vex_load_low<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value: T = core.vec_rm(op, op.r2)?;
    set_xmm(core, op.r1, V128::from_low(value.to_u64()));
    Ok(())
}
/// VMOVSS, VMOVSD between registers: the low element of the third operand in the second.
fn vex_merge_low<T: Guest>(core: &mut Core, op: &Op) -> Done {
    let low: T = core.vec(op.r3);
    let rest: V128 = core.vec(op.r2);
    set_xmm(core, op.r1, rest);
    core.set_vec(op.r1, low);
    Ok(())
}
/// MOVLPS, MOVLPD xmm, m64.
fn load_low_half(core: &mut Core, op: &Op) -> Done {
    let value: u64 = core.load(op)?;
    core.set_vec(op.r1, value);
    Ok(())
}
/// VMOVLPS, VMOVLPD xmm, xmm, m64.
fn vex_load_low_half(core: &mut Core, op: &Op) -> Done {
    let value: u64 = core.load(op)?;
    let other: V128 = core.vec(op.r2);
    set_xmm(core, op.r1, int::movsd(other, V128::from_low(value)));
    Ok(())
}
/// MOVHPS, MOVHPD xmm, m64.
fn load_high_half(core: &mut Core, op: &Op) -> Done {
    let value: u64 = core.load(op)?;
    let low: V128 = core.vec(op.r1);
    core.set_vec(op.r1, int::punpcklqdq(low, V128::from_low(value)));
    Ok(())
}
/// VMOVHPS, VMOVHPD xmm, xmm, m64.
fn vex_load_high_half(core: &mut Core, op: &Op) -> Done {
    let value: u64 = core.load(op)?;
    let low: V128 = core.vec(op.r2);
    set_xmm(core, op.r1, int::punpcklqdq(low, V128::from_low(value)));
    Ok(())
}
/// MOVHPS, MOVHPD m64, xmm.
fn store_high_half(core: &mut Core, op: &Op) -> Done {
    core.store(op, core.vec::<V128>(op.r1).high())
}
/// MOVQ xmm, xmm/m64: the rest of the XMM register is cleared.
fn movq_load(core: &mut Core, op: &Op) -> Done {
    let value: u64 = core.vec_rm(op, op.r2)?;
    core.set_vec(op.r1, V128::from_low(value));
    Ok(())
}
/// MOVQ xmm/m64, xmm.
fn movq_store(core: &mut Core, op: &Op) -> Done {
    if op.has_mem() {
        return core.store::<u64>(op, core.vec(op.r1));
    }
    core.set_vec(op.r1, V128::from_low(core.vec(op.r2)));
    Ok(())
}
/// VMOVQ xmm/m64, xmm.
fn vex_movq_store(core: &mut Core, op: &Op) -> Done {
    if op.has_mem() {
        return core.store::<u64>(op, core.vec(op.r1));
    }
    set_xmm(core, op.r1, V128::from_low(core.vec(op.r2)));
    Ok(())
}
/// MOVDDUP xmm, xmm/m64.
fn movddup(core: &mut Core, op: &Op) -> Done {
    let value: u64 = core.vec_rm(op, op.r2)?;
    core.set_vec(op.r1, V128::from_lanes([value; 2]));
    Ok(())
}
/// VMOVDDUP xmm, xmm/m64.
fn vex_movddup(core: &mut Core, op: &Op) -> Done {
    let value: u64 = core.vec_rm(op, op.r2)?;
    set_xmm(core, op.r1, V128::from_lanes([value; 2]));
    Ok(())
}
/// VMOVDDUP ymm, ymm/m256.
fn vex_movddup256(core: &mut Core, op: &Op) -> Done {
    let value: V256 = core.vec_rm(op, op.r2)?;
    core.set_vec(op.r1, value.map(int::movddup));
    Ok(())
}
/// MOVLHPS, MOVHLPS.
const fn merge_halves<F>(sse: Code, avx: Code, f: F) -> [Row; 2]
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    [super::vector_forms::sse(sse, f), super::vector_forms::narrow(avx, f)]
}

const PARTS_OF_REGISTERS: &[Row] = &[
    row(Movss_xmm_xmmm32, body(load_scalar::<u32>)),
    row(Movsd_xmm_xmmm64, body(load_scalar::<u64>)),
    row(Movss_xmmm32_xmm, body(store_low::<u32>)),
    row(Movsd_xmmm64_xmm, body(store_low::<u64>)),
    row(VEX_Vmovss_xmm_m32, body(vex_load_low::<u32>)),
    row(VEX_Vmovsd_xmm_m64, body(vex_load_low::<u64>)),
    row(VEX_Vmovss_m32_xmm, body(store_low::<u32>)),
    row(VEX_Vmovsd_m64_xmm, body(store_low::<u64>)),
    row(VEX_Vmovss_xmm_xmm_xmm, body(vex_merge_low::<u32>)),
    row(VEX_Vmovss_xmm_xmm_xmm_0F11, body(vex_merge_low::<u32>)),
    row(VEX_Vmovsd_xmm_xmm_xmm, body(vex_merge_low::<u64>)),
    row(VEX_Vmovsd_xmm_xmm_xmm_0F11, body(vex_merge_low::<u64>)),
    row(Movlps_xmm_m64, body(load_low_half)),
    row(Movlpd_xmm_m64, body(load_low_half)),
    row(VEX_Vmovlps_xmm_xmm_m64, body(vex_load_low_half)),
    row(VEX_Vmovlpd_xmm_xmm_m64, body(vex_load_low_half)),
    row(Movlps_m64_xmm, body(store_low::<u64>)),
    row(Movlpd_m64_xmm, body(store_low::<u64>)),
    row(VEX_Vmovlps_m64_xmm, body(store_low::<u64>)),
    row(VEX_Vmovlpd_m64_xmm, body(store_low::<u64>)),
    row(Movhps_xmm_m64, body(load_high_half)),
    row(Movhpd_xmm_m64, body(load_high_half)),
    row(VEX_Vmovhps_xmm_xmm_m64, body(vex_load_high_half)),
    row(VEX_Vmovhpd_xmm_xmm_m64, body(vex_load_high_half)),
    row(Movhps_m64_xmm, body(store_high_half)),
    row(Movhpd_m64_xmm, body(store_high_half)),
    row(VEX_Vmovhps_m64_xmm, body(store_high_half)),
    row(VEX_Vmovhpd_m64_xmm, body(store_high_half)),
    row(Movq_xmm_xmmm64, body(movq_load)),
    row(VEX_Vmovq_xmm_xmmm64, body(vex_load_low::<u64>)),
    row(Movq_xmmm64_xmm, body(movq_store)),
    row(VEX_Vmovq_xmmm64_xmm, body(vex_movq_store)),
    row(Movddup_xmm_xmmm64, body(movddup)),
    row(VEX_Vmovddup_xmm_xmmm64, body(vex_movddup)),
    row(VEX_Vmovddup_ymm_ymmm256, body(vex_movddup256)),
];

const HALVES: &[[Row; 2]] = &[
    merge_halves(Movhlps_xmm_xmm, VEX_Vmovhlps_xmm_xmm_xmm, int::movhlps),
    merge_halves(Movlhps_xmm_xmm, VEX_Vmovlhps_xmm_xmm_xmm, int::punpcklqdq),
];

// ---- general registers ----

/// MOVD xmm, r/m32; MOVQ xmm, r/m64.
fn from_general<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value: T = core.rm(op)?;
    core.set_vec(op.r1, V128::from_low(value.to_u64()));
    Ok(())
}
/// VMOVD, VMOVQ to a vector register.
fn vex_from_general<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value: T = core.rm(op)?;
    set_xmm(core, op.r1, V128::from_low(value.to_u64()));
    Ok(())
}
/// MOVD r/m32, xmm; MOVQ r/m64, xmm.
fn to_general<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    if op.has_mem() {
        return core.store::<T>(op, core.vec(op.r1));
    }
    core.set_reg::<T>(op.r1, core.vec(op.r2));
    Ok(())
}
/// MOVNTI.
fn movnti<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    core.store::<T>(op, core.reg(op.r1))
}

/// Rows of an instruction that puts sign bits into a general register.
const fn sign_mask<F>(sse: [Code; 2], avx: [Code; 2], avx256: [Code; 2], bits: u32, f: F) -> [Row; 6]
where
    F: Fn(V128) -> u32 + Copy + 'static,
{
    let one = move |core: &mut Core, op: &Op| {
        core.set_reg::<u32>(op.r1, f(core.vec(op.r2)));
        Ok(())
    };
    let [a, b] = [row(sse[0], body(one)), row(sse[1], body(one))];
    let [c, d] = [row(avx[0], body(one)), row(avx[1], body(one))];
    let [e, g] = match bits {
        16 => both_masks::<16, F>(avx256, f),
        4 => both_masks::<4, F>(avx256, f),
        _ => both_masks::<2, F>(avx256, f),
    };
    [a, b, c, d, e, g]
}
/// Rows of a sign mask of both halves, `BITS` from each.
const fn both_masks<const BITS: u32, F>(avx256: [Code; 2], f: F) -> [Row; 2]
where
    F: Fn(V128) -> u32 + Copy + 'static,
{
    let both = move |core: &mut Core, op: &Op| {
        let [low, high]: V256 = core.vec(op.r2);
        core.set_reg::<u32>(op.r1, f(low) | f(high) << BITS);
        Ok(())
    };
    [row(avx256[0], body(both)), row(avx256[1], body(both))]
}

#[rustfmt::skip]
const SIGN_MASKS: &[[Row; 6]] = &[
    sign_mask([Pmovmskb_r32_xmm, Pmovmskb_r64_xmm], [VEX_Vpmovmskb_r32_xmm, VEX_Vpmovmskb_r64_xmm],
        [VEX_Vpmovmskb_r32_ymm, VEX_Vpmovmskb_r64_ymm], 16, int::pmovmskb),
    sign_mask([Movmskps_r32_xmm, Movmskps_r64_xmm], [VEX_Vmovmskps_r32_xmm, VEX_Vmovmskps_r64_xmm],
        [VEX_Vmovmskps_r32_ymm, VEX_Vmovmskps_r64_ymm], 4, int::movmskps),
    sign_mask([Movmskpd_r32_xmm, Movmskpd_r64_xmm], [VEX_Vmovmskpd_r32_xmm, VEX_Vmovmskpd_r64_xmm],
        [VEX_Vmovmskpd_r32_ymm, VEX_Vmovmskpd_r64_ymm], 2, int::movmskpd),
];

const GENERAL: &[Row] = &[
    row(Movd_xmm_rm32, body(from_general::<u32>)),
    row(Movq_xmm_rm64, body(from_general::<u64>)),
    row(VEX_Vmovd_xmm_rm32, body(vex_from_general::<u32>)),
    row(VEX_Vmovq_xmm_rm64, body(vex_from_general::<u64>)),
    row(Movd_rm32_xmm, body(to_general::<u32>)),
    row(Movq_rm64_xmm, body(to_general::<u64>)),
    row(VEX_Vmovd_rm32_xmm, body(to_general::<u32>)),
    row(VEX_Vmovq_rm64_xmm, body(to_general::<u64>)),
    row(Movnti_m32_r32, body(movnti::<u32>)),
    row(Movnti_m64_r64, body(movnti::<u64>)),
];

const PARTS: &[&[Row]] = &[
    WHOLE.as_flattened(),
    ONE_WAY.as_flattened(),
    PARTS_OF_REGISTERS,
    HALVES.as_flattened(),
    SIGN_MASKS.as_flattened(),
    GENERAL,
];

/// The family's instruction forms.
pub(crate) const ROWS: &[Row] = &concat::<{ length(PARTS) }>(PARTS);
