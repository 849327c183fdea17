//! Moves between vector registers, memory and general registers, legacy and VEX.
//!
//! Loads into an XMM register by a legacy instruction leave the rest of the YMM register
//! alone; VEX forms clear it. Aligned forms (MOVAPS, MOVDQA, non-temporal moves) raise
//! #GP(0) for an address that is not a multiple of the operand's size, also in VEX form.
//! Non-temporal moves are plain moves here: caches are not modelled.

use super::vector_forms::{V256, concat, length, narrow, second, set_xmm, sse, third};
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::hot::{loads, registers, stores};
use crate::op::{Op, Row};
use iced_x86::Code::{self, *};
use trimotor_cpu::simd::int::{self, V128};

/// The first register operand, as a store's source.
#[inline(always)]
fn first<T: Guest>(core: &Core, op: &Op) -> T {
    core.vec(op.r1)
}

// ---- whole registers ----

/// Writes `r1`: the rest of its YMM register stays.
#[inline(always)]
fn to_xmm(core: &mut Core, op: &Op, value: V128) {
    core.set_vec(op.r1, value);
}
/// Writes `r1`: the rest of its YMM register becomes zero.
#[inline(always)]
fn to_low(core: &mut Core, op: &Op, value: V128) {
    set_xmm(core, op.r1, value);
}
/// Writes all of `r1`.
#[inline(always)]
fn to_ymm(core: &mut Core, op: &Op, value: V256) {
    core.set_vec(op.r1, value);
}

/// Legacy, VEX.128 and VEX.256 rows of a load.
const fn load<const ALIGNED: bool>(codes: [Code; 3]) -> [Row; 3] {
    [
        loads::<ALIGNED, V128, _, _>(codes[0], second, to_xmm),
        loads::<ALIGNED, V128, _, _>(codes[1], second, to_low),
        loads::<ALIGNED, V256, _, _>(codes[2], second, to_ymm),
    ]
}
/// Legacy, VEX.128 and VEX.256 rows of a store.
const fn store<const ALIGNED: bool>(codes: [Code; 3]) -> [Row; 3] {
    let legacy = |core: &mut Core, op: &Op| to_xmm(core, op, core.vec(op.r2));
    let vex = |core: &mut Core, op: &Op| to_low(core, op, core.vec(op.r2));
    let vex256 = |core: &mut Core, op: &Op| to_ymm(core, op, core.vec(op.r2));
    [
        stores::<ALIGNED, V128, _, _>(codes[0], first, legacy),
        stores::<ALIGNED, V128, _, _>(codes[1], first, vex),
        stores::<ALIGNED, V256, _, _>(codes[2], first, vex256),
    ]
}

#[rustfmt::skip] // One line a direction: the table is read by columns.
const WHOLE: &[[Row; 3]] = &[
    load::<false>([Movups_xmm_xmmm128, VEX_Vmovups_xmm_xmmm128, VEX_Vmovups_ymm_ymmm256]),
    load::<false>([Movupd_xmm_xmmm128, VEX_Vmovupd_xmm_xmmm128, VEX_Vmovupd_ymm_ymmm256]),
    load::<false>([Movdqu_xmm_xmmm128, VEX_Vmovdqu_xmm_xmmm128, VEX_Vmovdqu_ymm_ymmm256]),
    load::<false>([Lddqu_xmm_m128, VEX_Vlddqu_xmm_m128, VEX_Vlddqu_ymm_m256]),
    load::<true>([Movaps_xmm_xmmm128, VEX_Vmovaps_xmm_xmmm128, VEX_Vmovaps_ymm_ymmm256]),
    load::<true>([Movapd_xmm_xmmm128, VEX_Vmovapd_xmm_xmmm128, VEX_Vmovapd_ymm_ymmm256]),
    load::<true>([Movdqa_xmm_xmmm128, VEX_Vmovdqa_xmm_xmmm128, VEX_Vmovdqa_ymm_ymmm256]),
    load::<true>([Movntdqa_xmm_m128, VEX_Vmovntdqa_xmm_m128, VEX_Vmovntdqa_ymm_m256]),
    store::<false>([Movups_xmmm128_xmm, VEX_Vmovups_xmmm128_xmm, VEX_Vmovups_ymmm256_ymm]),
    store::<false>([Movupd_xmmm128_xmm, VEX_Vmovupd_xmmm128_xmm, VEX_Vmovupd_ymmm256_ymm]),
    store::<false>([Movdqu_xmmm128_xmm, VEX_Vmovdqu_xmmm128_xmm, VEX_Vmovdqu_ymmm256_ymm]),
    store::<true>([Movaps_xmmm128_xmm, VEX_Vmovaps_xmmm128_xmm, VEX_Vmovaps_ymmm256_ymm]),
    store::<true>([Movapd_xmmm128_xmm, VEX_Vmovapd_xmmm128_xmm, VEX_Vmovapd_ymmm256_ymm]),
    store::<true>([Movdqa_xmmm128_xmm, VEX_Vmovdqa_xmmm128_xmm, VEX_Vmovdqa_ymmm256_ymm]),
    store::<true>([Movntps_m128_xmm, VEX_Vmovntps_m128_xmm, VEX_Vmovntps_m256_ymm]),
    store::<true>([Movntpd_m128_xmm, VEX_Vmovntpd_m128_xmm, VEX_Vmovntpd_m256_ymm]),
    store::<true>([Movntdq_m128_xmm, VEX_Vmovntdq_m128_xmm, VEX_Vmovntdq_m256_ymm]),
];

// ---- parts of registers ----

/// MOVSS, MOVSD: a load clears the rest of the XMM register; a move between registers, and the
/// register form of a store, leave it.
const fn scalar<T: Guest + Int>(load: Code, store: Code) -> [Row; 2] {
    let finish = |core: &mut Core, op: &Op, value: T| {
        if op.has_mem() {
            to_xmm(core, op, V128::from_low(value.to_u64()));
        } else {
            core.set_vec(op.r1, value);
        }
    };
    let merge = |core: &mut Core, op: &Op| core.set_vec::<T>(op.r1, core.vec(op.r2));
    [loads::<false, T, _, _>(load, second, finish), stores::<false, T, _, _>(store, first, merge)]
}
/// VMOVSS, VMOVSD: load, store and the merge of two registers in its two encodings.
const fn vex_scalar<T: Guest + Int>(load: Code, store: Code, merge: Code, merge_0f11: Code) -> [Row; 4] {
    let low_of_third = |core: &mut Core, op: &Op| {
        let low: T = core.vec(op.r3);
        let rest: V128 = core.vec(op.r2);
        set_xmm(core, op.r1, rest);
        core.set_vec(op.r1, low);
    };
    [
        load_low::<T>(load),
        store_low::<T>(store),
        registers(merge, low_of_third),
        registers(merge_0f11, low_of_third),
    ]
}
/// A VEX load of the low `T` of a register; the rest becomes zero.
const fn load_low<T: Guest + Int>(code: Code) -> Row {
    let finish = |core: &mut Core, op: &Op, value: T| to_low(core, op, V128::from_low(value.to_u64()));
    loads::<false, T, _, _>(code, second, finish)
}
/// A store of the low `T` of a register, without a register form.
const fn store_low<T: Guest>(code: Code) -> Row {
    stores::<false, T, _, _>(code, first, |_: &mut Core, _: &Op| {})
}
/// Rows of MOVLPS, MOVLPD: loads of the low half beside a register's high half, and stores.
const fn low_half(load: Code, avx_load: Code, store: Code, avx_store: Code) -> [Row; 4] {
    let finish = |core: &mut Core, op: &Op, value: u64| core.set_vec(op.r1, value);
    let vex = |core: &mut Core, op: &Op, value: u64| {
        to_low(core, op, int::movsd(core.vec(op.r2), V128::from_low(value)));
    };
    [
        loads::<false, u64, _, _>(load, second, finish),
        loads::<false, u64, _, _>(avx_load, third, vex),
        store_low::<u64>(store),
        store_low::<u64>(avx_store),
    ]
}
/// Rows of MOVHPS, MOVHPD: loads of the high half beside a register's low half, and stores.
const fn high_half(load: Code, avx_load: Code, store: Code, avx_store: Code) -> [Row; 4] {
    let finish = |core: &mut Core, op: &Op, value: u64| {
        to_xmm(core, op, int::punpcklqdq(core.vec(op.r1), V128::from_low(value)));
    };
    let vex = |core: &mut Core, op: &Op, value: u64| {
        to_low(core, op, int::punpcklqdq(core.vec(op.r2), V128::from_low(value)));
    };
    let high = |core: &Core, op: &Op| core.vec::<V128>(op.r1).high();
    let nothing = |_: &mut Core, _: &Op| {};
    [
        loads::<false, u64, _, _>(load, second, finish),
        loads::<false, u64, _, _>(avx_load, third, vex),
        stores::<false, u64, _, _>(store, high, nothing),
        stores::<false, u64, _, _>(avx_store, high, nothing),
    ]
}

const HALVES: &[[Row; 4]] = &[
    vex_scalar::<u32>(
        VEX_Vmovss_xmm_m32,
        VEX_Vmovss_m32_xmm,
        VEX_Vmovss_xmm_xmm_xmm,
        VEX_Vmovss_xmm_xmm_xmm_0F11,
    ),
    vex_scalar::<u64>(
        VEX_Vmovsd_xmm_m64,
        VEX_Vmovsd_m64_xmm,
        VEX_Vmovsd_xmm_xmm_xmm,
        VEX_Vmovsd_xmm_xmm_xmm_0F11,
    ),
    low_half(Movlps_xmm_m64, VEX_Vmovlps_xmm_xmm_m64, Movlps_m64_xmm, VEX_Vmovlps_m64_xmm),
    low_half(Movlpd_xmm_m64, VEX_Vmovlpd_xmm_xmm_m64, Movlpd_m64_xmm, VEX_Vmovlpd_m64_xmm),
    high_half(Movhps_xmm_m64, VEX_Vmovhps_xmm_xmm_m64, Movhps_m64_xmm, VEX_Vmovhps_m64_xmm),
    high_half(Movhpd_xmm_m64, VEX_Vmovhpd_xmm_xmm_m64, Movhpd_m64_xmm, VEX_Vmovhpd_m64_xmm),
];

/// MOVQ and VMOVQ between XMM registers and memory: the rest is always cleared.
const fn movq() -> [Row; 4] {
    let load = |core: &mut Core, op: &Op, value: u64| to_xmm(core, op, V128::from_low(value));
    let low = |core: &Core, op: &Op| V128::from_low(core.vec(op.r2));
    let legacy = move |core: &mut Core, op: &Op| to_xmm(core, op, low(core, op));
    let vex = move |core: &mut Core, op: &Op| to_low(core, op, low(core, op));
    [
        loads::<false, u64, _, _>(Movq_xmm_xmmm64, second, load),
        load_low::<u64>(VEX_Vmovq_xmm_xmmm64),
        stores::<false, u64, _, _>(Movq_xmmm64_xmm, first, legacy),
        stores::<false, u64, _, _>(VEX_Vmovq_xmmm64_xmm, first, vex),
    ]
}
/// MOVDDUP, which reads a quadword only, and VMOVDDUP.
const fn movddup() -> [Row; 3] {
    let legacy = |core: &mut Core, op: &Op, value: u64| to_xmm(core, op, V128::from_lanes([value; 2]));
    let vex = |core: &mut Core, op: &Op, value: u64| to_low(core, op, V128::from_lanes([value; 2]));
    let vex256 = |core: &mut Core, op: &Op, value: V256| to_ymm(core, op, value.map(int::movddup));
    [
        loads::<false, u64, _, _>(Movddup_xmm_xmmm64, second, legacy),
        loads::<false, u64, _, _>(VEX_Vmovddup_xmm_xmmm64, second, vex),
        loads::<false, V256, _, _>(VEX_Vmovddup_ymm_ymmm256, second, vex256),
    ]
}

const PAIRS: &[[Row; 2]] = &[
    scalar::<u32>(Movss_xmm_xmmm32, Movss_xmmm32_xmm),
    scalar::<u64>(Movsd_xmm_xmmm64, Movsd_xmmm64_xmm),
    [sse(Movhlps_xmm_xmm, int::movhlps), narrow(VEX_Vmovhlps_xmm_xmm_xmm, int::movhlps)],
    [sse(Movlhps_xmm_xmm, int::punpcklqdq), narrow(VEX_Vmovlhps_xmm_xmm_xmm, int::punpcklqdq)],
];

// ---- general registers ----

/// Rows of MOVD, MOVQ between vector and general registers or memory, legacy and VEX.
const fn general<T: Guest + Int>(load: Code, avx_load: Code, store: Code, avx_store: Code) -> [Row; 4] {
    let source = |core: &Core, op: &Op| core.reg::<T>(op.r2);
    let legacy = |core: &mut Core, op: &Op, value: T| to_xmm(core, op, V128::from_low(value.to_u64()));
    let vex = |core: &mut Core, op: &Op, value: T| to_low(core, op, V128::from_low(value.to_u64()));
    let to_general = |core: &mut Core, op: &Op| core.set_reg::<T>(op.r1, core.vec(op.r2));
    [
        loads::<false, T, _, _>(load, source, legacy),
        loads::<false, T, _, _>(avx_load, source, vex),
        stores::<false, T, _, _>(store, first, to_general),
        stores::<false, T, _, _>(avx_store, first, to_general),
    ]
}

const GENERAL: &[[Row; 4]] = &[
    general::<u32>(Movd_xmm_rm32, VEX_Vmovd_xmm_rm32, Movd_rm32_xmm, VEX_Vmovd_rm32_xmm),
    general::<u64>(Movq_xmm_rm64, VEX_Vmovq_xmm_rm64, Movq_rm64_xmm, VEX_Vmovq_rm64_xmm),
];

/// MOVNTI.
const fn movnti<T: Guest + Int>(code: Code) -> Row {
    stores::<false, T, _, _>(code, |core: &Core, op: &Op| core.reg::<T>(op.r1), |_: &mut Core, _: &Op| {})
}

/// Rows of an instruction that puts sign bits into a general register, `BITS` of each half.
const fn sign_mask<const BITS: u32, F>(codes: [[Code; 2]; 3], f: F) -> [Row; 6]
where
    F: Fn(V128) -> u32 + Copy + 'static,
{
    let one = move |core: &mut Core, op: &Op| core.set_reg::<u32>(op.r1, f(core.vec(op.r2)));
    let both = move |core: &mut Core, op: &Op| {
        let [low, high]: V256 = core.vec(op.r2);
        core.set_reg::<u32>(op.r1, f(low) | f(high) << BITS);
    };
    let [legacy, avx, avx256] = codes;
    [
        registers(legacy[0], one),
        registers(legacy[1], one),
        registers(avx[0], one),
        registers(avx[1], one),
        registers(avx256[0], both),
        registers(avx256[1], both),
    ]
}

#[rustfmt::skip]
const SIGN_MASKS: &[[Row; 6]] = &[
    sign_mask::<16, _>([[Pmovmskb_r32_xmm, Pmovmskb_r64_xmm], [VEX_Vpmovmskb_r32_xmm, VEX_Vpmovmskb_r64_xmm],
        [VEX_Vpmovmskb_r32_ymm, VEX_Vpmovmskb_r64_ymm]], int::pmovmskb),
    sign_mask::<4, _>([[Movmskps_r32_xmm, Movmskps_r64_xmm], [VEX_Vmovmskps_r32_xmm, VEX_Vmovmskps_r64_xmm],
        [VEX_Vmovmskps_r32_ymm, VEX_Vmovmskps_r64_ymm]], int::movmskps),
    sign_mask::<2, _>([[Movmskpd_r32_xmm, Movmskpd_r64_xmm], [VEX_Vmovmskpd_r32_xmm, VEX_Vmovmskpd_r64_xmm],
        [VEX_Vmovmskpd_r32_ymm, VEX_Vmovmskpd_r64_ymm]], int::movmskpd),
];

const PARTS: &[&[Row]] = &[
    WHOLE.as_flattened(),
    HALVES.as_flattened(),
    PAIRS.as_flattened(),
    &movq(),
    &movddup(),
    GENERAL.as_flattened(),
    &[movnti::<u32>(Movnti_m32_r32), movnti::<u64>(Movnti_m64_r64)],
    SIGN_MASKS.as_flattened(),
];

/// The family's instruction forms.
pub(crate) const ROWS: &[Row] = &concat::<{ length(PARTS) }>(PARTS);
