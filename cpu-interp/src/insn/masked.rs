//! Loads, stores and gathers that touch only the elements whose mask sign is set; broadcasts.
//!
//! Elements that are not touched cannot fault. A masked store checks all its elements
//! before it writes the first. A gather may fault half-way: the elements done so far stay
//! done and their mask is clear, so that the instruction goes on where it stopped.
//!
//! Sources: SDM Vol. 2, MASKMOVDQU, VMASKMOV, VPMASKMOV, VPGATHERDD and relatives.

use super::vector_forms::{V256, second, set_xmm};
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::hot::loads;
use crate::op::{Done, Op, Row, body, info, row};
use iced_x86::Code::{self, *};
use trimotor_cpu::mmu::Access;
use trimotor_cpu::simd::int::{self, V128};
use trimotor_cpu::{Fault, SegReg};

// ---- MASKMOVQ, MASKMOVDQU ----

/// Stores the bytes of `value` whose bit of `mask` is set at DS:rDI (or the overriding
/// segment).
///
/// # Faults
/// Those of the stores; then nothing is stored.
#[inline(never)]
pub(super) fn store_bytes(core: &mut Core, op: &Op, value: V128, mask: u32) -> Done {
    const RDI: u8 = 7 * 8;
    let Some(segment) = SegReg::from_encoding(op.segment()) else { return Err(Fault::UD) };
    let bytes: [u8; 16] = value.lanes();
    let mut linear = [0; 16];
    let chosen = || (0..16usize).filter(|i| mask >> i & 1 != 0);
    for i in chosen() {
        let offset = core.reg64(RDI).wrapping_add(i as u64) & op.address_mask();
        linear[i] = core.segment_linear(segment, offset, 1, Access::Write)?;
        core.check_write_linear(linear[i], 1)?;
    }
    for i in chosen() {
        core.write_linear(linear[i], bytes[i])?;
    }
    Ok(())
}
/// MASKMOVDQU, VMASKMOVDQU.
fn maskmovdqu(core: &mut Core, op: &Op) -> Done {
    let (value, mask): (V128, V128) = (core.vec(op.r1), core.vec(op.r2));
    store_bytes(core, op, value, int::pmovmskb(mask))
}

// ---- VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ ----

/// Elements of 32 or 64 bits in up to two vectors.
trait Element: Guest + Int {
    /// All ones in elements whose sign is set.
    fn signs(mask: V128) -> V128;
    /// The sign bits.
    fn sign_bits(mask: V256) -> u32;
}
impl Element for u32 {
    fn signs(mask: V128) -> V128 {
        int::psrad(mask, V128::from_low(31))
    }
    fn sign_bits(mask: V256) -> u32 {
        int::movmskps(mask[0]) | int::movmskps(mask[1]) << 4
    }
}
impl Element for u64 {
    fn signs(mask: V128) -> V128 {
        int::pcmpgtq(V128::ZERO, mask)
    }
    fn sign_bits(mask: V256) -> u32 {
        int::movmskpd(mask[0]) | int::movmskpd(mask[1]) << 2
    }
}

/// The first and second source of a masked move on `HALVES` halves: what is there.
#[inline(always)]
fn halves<const HALVES: usize>(core: &Core, register: u8) -> V256 {
    let v: V256 = core.vec(register);
    if HALVES == 1 { [v[0], V128::ZERO] } else { v }
}

/// VMASKMOVPS and relatives, from memory: elements that are not chosen become zero.
fn masked_load<T: Element, const HALVES: usize>(core: &mut Core, op: &Op) -> Done {
    let mask = halves::<HALVES>(core, op.r2);
    // All bytes readable by the inline path: load them all and keep what is chosen.
    if op.info & info::GENERAL == 0 && core.host_to_read(core.linear_open(op), 16 * HALVES as u64).is_some() {
        let whole: V256 = if HALVES == 1 { [core.load(op)?, V128::ZERO] } else { core.load(op)? };
        core.set_vec::<V256>(op.r1, [0, 1].map(|half| int::pand(T::signs(mask[half]), whole[half])));
        return Ok(());
    }
    let chosen = T::sign_bits(mask);
    let mut bytes = [0u8; 32];
    for i in (0..32 / T::BYTES).filter(|i| chosen >> i & 1 != 0) {
        let at = i * T::BYTES;
        let element: T = core.load_at(op, at as u64)?;
        bytes[at..at + T::BYTES].copy_from_slice(&element.to_u64().to_le_bytes()[..T::BYTES]);
    }
    core.set_vec(op.r1, bytes);
    Ok(())
}
/// VMASKMOVPS and relatives, to memory.
fn masked_store<T: Element, const HALVES: usize>(core: &mut Core, op: &Op) -> Done {
    let chosen = T::sign_bits(halves::<HALVES>(core, op.r1));
    let bytes: [u8; 32] = core.vec(op.r2);
    let elements = || (0..32 / T::BYTES).filter(move |i| chosen >> i & 1 != 0);
    for i in elements() {
        core.check_store(op, (i * T::BYTES) as u64, T::BYTES as u64)?;
    }
    for i in elements() {
        let at = i * T::BYTES;
        let mut element = [0; 8];
        element[..T::BYTES].copy_from_slice(&bytes[at..at + T::BYTES]);
        core.store_at(op, at as u64, T::cut(u64::from_le_bytes(element)))?;
    }
    Ok(())
}

// ---- gathers ----

/// VPGATHERDD and relatives: `COUNT` elements of `T` whose indexes have the width of `I`.
#[inline(never)]
fn gather<T: Element, I: Int + Guest, const COUNT: usize>(core: &mut Core, op: &Op) -> Done {
    let (target, mask, index) = (op.r1, op.r2, op.r3);
    if target == mask || target == index || mask == index {
        return Err(Fault::UD);
    }
    let Some(segment) = SegReg::from_encoding(op.segment()) else { return Err(Fault::UD) };
    let used = COUNT * T::BYTES;
    let indexes: [u8; 32] = core.vec(index);
    let chosen = T::sign_bits(core.vec(mask)) & ((1 << COUNT) - 1);
    keep_low_bytes(core, mask, used);
    for i in 0..COUNT {
        let whole = if chosen >> i & 1 != 0 { u64::MAX } else { 0 };
        set_element::<T>(core, mask, i, whole);
    }
    let base = core.reg64(op.base).wrapping_add(op.disp as i64 as u64);
    for i in (0..COUNT).filter(|i| chosen >> i & 1 != 0) {
        let mut element = [0; 8];
        element[..I::BYTES].copy_from_slice(&indexes[i * I::BYTES..][..I::BYTES]);
        let scaled = I::cut(u64::from_le_bytes(element)).to_i64() << op.scale;
        let offset = base.wrapping_add(scaled as u64) & op.address_mask();
        let linear = core.segment_linear(segment, offset, T::BYTES as u64, Access::Read)?;
        let value: T = core.read_linear(linear)?;
        set_element::<T>(core, target, i, value.to_u64());
        set_element::<T>(core, mask, i, 0);
    }
    keep_low_bytes(core, target, used);
    core.set_vec(mask, [0u8; 32]);
    Ok(())
}

/// Writes element `i` of a vector register.
fn set_element<T: Element>(core: &mut Core, register: u8, i: usize, value: u64) {
    let mut bytes: [u8; 32] = core.vec(register);
    bytes[i * T::BYTES..][..T::BYTES].copy_from_slice(&value.to_le_bytes()[..T::BYTES]);
    core.set_vec(register, bytes);
}
/// Clears a vector register above its low `used` bytes.
fn keep_low_bytes(core: &mut Core, register: u8, used: usize) {
    let mut bytes: [u8; 32] = core.vec(register);
    bytes[used..].fill(0);
    core.set_vec(register, bytes);
}

// ---- broadcasts ----

/// `value` in all lanes of its width.
#[inline(always)]
fn filled<T: Int>(value: T) -> V128 {
    V128::from_lanes([value.to_u64().wrapping_mul(u64::MAX / (u64::MAX >> (64 - T::BITS))); 2])
}
/// VBROADCASTSS and relatives, to an XMM register.
const fn broadcast<T: Guest + Int>(code: Code) -> Row {
    loads::<false, T, _, _>(code, second, |core: &mut Core, op: &Op, value: T| {
        set_xmm(core, op.r1, filled(value));
    })
}
/// The same to a YMM register.
const fn broadcast256<T: Guest + Int>(code: Code) -> Row {
    loads::<false, T, _, _>(code, second, |core: &mut Core, op: &Op, value: T| {
        core.set_vec(op.r1, [filled(value); 2]);
    })
}
/// VBROADCASTF128, VBROADCASTI128.
const fn broadcast_half(code: Code) -> Row {
    loads::<false, V128, _, _>(code, second, |core: &mut Core, op: &Op, value: V128| {
        core.set_vec(op.r1, [value; 2]);
    })
}

/// The family's instruction forms.
pub(crate) const ROWS: &[Row] = &[
    row(Maskmovdqu_rDI_xmm_xmm, body(maskmovdqu)),
    row(VEX_Vmaskmovdqu_rDI_xmm_xmm, body(maskmovdqu)),
    row(VEX_Vmaskmovps_xmm_xmm_m128, body(masked_load::<u32, 1>)),
    row(VEX_Vmaskmovps_ymm_ymm_m256, body(masked_load::<u32, 2>)),
    row(VEX_Vmaskmovpd_xmm_xmm_m128, body(masked_load::<u64, 1>)),
    row(VEX_Vmaskmovpd_ymm_ymm_m256, body(masked_load::<u64, 2>)),
    row(VEX_Vpmaskmovd_xmm_xmm_m128, body(masked_load::<u32, 1>)),
    row(VEX_Vpmaskmovd_ymm_ymm_m256, body(masked_load::<u32, 2>)),
    row(VEX_Vpmaskmovq_xmm_xmm_m128, body(masked_load::<u64, 1>)),
    row(VEX_Vpmaskmovq_ymm_ymm_m256, body(masked_load::<u64, 2>)),
    row(VEX_Vmaskmovps_m128_xmm_xmm, body(masked_store::<u32, 1>)),
    row(VEX_Vmaskmovps_m256_ymm_ymm, body(masked_store::<u32, 2>)),
    row(VEX_Vmaskmovpd_m128_xmm_xmm, body(masked_store::<u64, 1>)),
    row(VEX_Vmaskmovpd_m256_ymm_ymm, body(masked_store::<u64, 2>)),
    row(VEX_Vpmaskmovd_m128_xmm_xmm, body(masked_store::<u32, 1>)),
    row(VEX_Vpmaskmovd_m256_ymm_ymm, body(masked_store::<u32, 2>)),
    row(VEX_Vpmaskmovq_m128_xmm_xmm, body(masked_store::<u64, 1>)),
    row(VEX_Vpmaskmovq_m256_ymm_ymm, body(masked_store::<u64, 2>)),
    row(VEX_Vpgatherdd_xmm_vm32x_xmm, body(gather::<u32, u32, 4>)),
    row(VEX_Vpgatherdd_ymm_vm32y_ymm, body(gather::<u32, u32, 8>)),
    row(VEX_Vpgatherdq_xmm_vm32x_xmm, body(gather::<u64, u32, 2>)),
    row(VEX_Vpgatherdq_ymm_vm32x_ymm, body(gather::<u64, u32, 4>)),
    row(VEX_Vpgatherqd_xmm_vm64x_xmm, body(gather::<u32, u64, 2>)),
    row(VEX_Vpgatherqd_xmm_vm64y_xmm, body(gather::<u32, u64, 4>)),
    row(VEX_Vpgatherqq_xmm_vm64x_xmm, body(gather::<u64, u64, 2>)),
    row(VEX_Vpgatherqq_ymm_vm64y_ymm, body(gather::<u64, u64, 4>)),
    row(VEX_Vgatherdps_xmm_vm32x_xmm, body(gather::<u32, u32, 4>)),
    row(VEX_Vgatherdps_ymm_vm32y_ymm, body(gather::<u32, u32, 8>)),
    row(VEX_Vgatherdpd_xmm_vm32x_xmm, body(gather::<u64, u32, 2>)),
    row(VEX_Vgatherdpd_ymm_vm32x_ymm, body(gather::<u64, u32, 4>)),
    row(VEX_Vgatherqps_xmm_vm64x_xmm, body(gather::<u32, u64, 2>)),
    row(VEX_Vgatherqps_xmm_vm64y_xmm, body(gather::<u32, u64, 4>)),
    row(VEX_Vgatherqpd_xmm_vm64x_xmm, body(gather::<u64, u64, 2>)),
    row(VEX_Vgatherqpd_ymm_vm64y_ymm, body(gather::<u64, u64, 4>)),
    broadcast::<u32>(VEX_Vbroadcastss_xmm_m32),
    broadcast256::<u32>(VEX_Vbroadcastss_ymm_m32),
    broadcast::<u32>(VEX_Vbroadcastss_xmm_xmm),
    broadcast256::<u32>(VEX_Vbroadcastss_ymm_xmm),
    broadcast256::<u64>(VEX_Vbroadcastsd_ymm_m64),
    broadcast256::<u64>(VEX_Vbroadcastsd_ymm_xmm),
    broadcast_half(VEX_Vbroadcastf128_ymm_m128),
    broadcast_half(VEX_Vbroadcasti128_ymm_m128),
    broadcast::<u8>(VEX_Vpbroadcastb_xmm_xmmm8),
    broadcast256::<u8>(VEX_Vpbroadcastb_ymm_xmmm8),
    broadcast::<u16>(VEX_Vpbroadcastw_xmm_xmmm16),
    broadcast256::<u16>(VEX_Vpbroadcastw_ymm_xmmm16),
    broadcast::<u32>(VEX_Vpbroadcastd_xmm_xmmm32),
    broadcast256::<u32>(VEX_Vpbroadcastd_ymm_xmmm32),
    broadcast::<u64>(VEX_Vpbroadcastq_xmm_xmmm64),
    broadcast256::<u64>(VEX_Vpbroadcastq_ymm_xmmm64),
];
