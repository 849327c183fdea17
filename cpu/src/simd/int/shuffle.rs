//! Packing, unpacking, shuffling, blending, widening and moving lanes.
//!
//! Shuffles whose order is an immediate byte go through a table of PSHUFB controls, one
//! for each value of the byte: the immediate is data to an interpreter.

#![allow(unsafe_code, reason = "the host's own instructions")]

use super::host::{binary, unary};
use super::logic::{pand, pandn, pcmpgtb, pcmpgtd, pcmpgtq, por};
use super::v128::{Lane, V128};

binary! {
    /// PACKSSWB: words of `a`, then of `b`, to bytes with signed saturation.
    packsswb = |a, b| pack_words(a, b, |x| x.clamp(-128, 127) as u8);
    /// PACKUSWB: words of `a`, then of `b`, to bytes with unsigned saturation.
    packuswb = |a, b| pack_words(a, b, |x| x.clamp(0, 255) as u8);
    /// PACKSSDW: doublewords of `a`, then of `b`, to words with signed saturation.
    packssdw = |a, b| pack_doublewords(a, b, |x| x.clamp(-0x8000, 0x7FFF) as u16);
    /// PACKUSDW: doublewords of `a`, then of `b`, to words with unsigned saturation.
    packusdw = |a, b| pack_doublewords(a, b, |x| x.clamp(0, 0xFFFF) as u16);
    /// PUNPCKLBW: interleaves the low bytes.
    punpcklbw = |a, b| {
        let (x, y): ([u8; 16], [u8; 16]) = (a.lanes(), b.lanes());
        V128::from_lanes::<[u8; 16]>(std::array::from_fn(|i| if i & 1 == 0 { x[i / 2] } else { y[i / 2] }))
    };
    /// PUNPCKHBW: interleaves the high bytes.
    punpckhbw = |a, b| {
        let (x, y): ([u8; 16], [u8; 16]) = (a.lanes(), b.lanes());
        V128::from_lanes::<[u8; 16]>(std::array::from_fn(|i| if i & 1 == 0 { x[8 + i / 2] } else { y[8 + i / 2] }))
    };
    /// PUNPCKLWD: interleaves the low words.
    punpcklwd = |a, b| {
        let (x, y): ([u16; 8], [u16; 8]) = (a.lanes(), b.lanes());
        V128::from_lanes([x[0], y[0], x[1], y[1], x[2], y[2], x[3], y[3]])
    };
    /// PUNPCKHWD: interleaves the high words.
    punpckhwd = |a, b| {
        let (x, y): ([u16; 8], [u16; 8]) = (a.lanes(), b.lanes());
        V128::from_lanes([x[4], y[4], x[5], y[5], x[6], y[6], x[7], y[7]])
    };
    /// PUNPCKLDQ, UNPCKLPS: interleaves the low doublewords.
    punpckldq = |a, b| {
        let (x, y): ([u32; 4], [u32; 4]) = (a.lanes(), b.lanes());
        V128::from_lanes([x[0], y[0], x[1], y[1]])
    };
    /// PUNPCKHDQ, UNPCKHPS: interleaves the high doublewords.
    punpckhdq = |a, b| {
        let (x, y): ([u32; 4], [u32; 4]) = (a.lanes(), b.lanes());
        V128::from_lanes([x[2], y[2], x[3], y[3]])
    };
    /// PUNPCKLQDQ, UNPCKLPD, MOVLHPS: the low quadwords of `a` and `b`.
    punpcklqdq = |a, b| V128::from_lanes([a.low(), b.low()]);
    /// PUNPCKHQDQ, UNPCKHPD: the high quadwords of `a` and `b`.
    punpckhqdq = |a, b| V128::from_lanes([a.high(), b.high()]);
    /// MOVHLPS: the high quadword of `b` below that of `a`.
    movhlps = |a, b| V128::from_lanes([b.high(), a.high()]);
    /// MOVSS between registers: the low doubleword of `b` in `a`.
    movss = |a, b| {
        let (x, y): ([u32; 4], [u32; 4]) = (a.lanes(), b.lanes());
        V128::from_lanes([y[0], x[1], x[2], x[3]])
    };
    /// MOVSD between registers: the low quadword of `b` in `a`.
    movsd = |a, b| V128::from_lanes([b.low(), a.high()]);
    /// PSHUFB: bytes of `a` chosen by those of `b`, zero where bit 7 is set.
    pshufb = |a, b| {
        let x: [u8; 16] = a.lanes();
        V128::from_lanes(b.lanes::<[u8; 16]>().map(|n| if n & 0x80 != 0 { 0 } else { x[(n & 15) as usize] }))
    };
}

unary! {
    /// MOVDDUP: the low quadword, twice.
    movddup = |a| V128::from_lanes([a.low(); 2]);
    /// MOVSLDUP: the even doublewords, twice each.
    movsldup = |a| {
        let x: [u32; 4] = a.lanes();
        V128::from_lanes([x[0], x[0], x[2], x[2]])
    };
    /// MOVSHDUP: the odd doublewords, twice each.
    movshdup = |a| {
        let x: [u32; 4] = a.lanes();
        V128::from_lanes([x[1], x[1], x[3], x[3]])
    };
    /// PMOVSXBW: the low eight bytes to words, with sign.
    pmovsxbw = |a| widen_bytes::<8>(a, 16, |x| x as i16 as u16 as u64);
    /// PMOVSXBD: the low four bytes to doublewords, with sign.
    pmovsxbd = |a| widen_bytes::<4>(a, 32, |x| x as i32 as u32 as u64);
    /// PMOVSXBQ: the low two bytes to quadwords, with sign.
    pmovsxbq = |a| widen_bytes::<2>(a, 64, |x| x as i64 as u64);
    /// PMOVSXWD: the low four words to doublewords, with sign.
    pmovsxwd = |a| {
        let x: [i16; 8] = a.lanes();
        V128::from_lanes([x[0] as i32, x[1] as i32, x[2] as i32, x[3] as i32])
    };
    /// PMOVSXWQ: the low two words to quadwords, with sign.
    pmovsxwq = |a| {
        let x: [i16; 8] = a.lanes();
        V128::from_lanes([x[0] as i64, x[1] as i64])
    };
    /// PMOVSXDQ: the low two doublewords to quadwords, with sign.
    pmovsxdq = |a| {
        let x: [i32; 4] = a.lanes();
        V128::from_lanes([x[0] as i64, x[1] as i64])
    };
    /// PMOVZXBW: the low eight bytes to words.
    pmovzxbw = |a| widen_bytes::<8>(a, 16, |x| x as u8 as u64);
    /// PMOVZXBD: the low four bytes to doublewords.
    pmovzxbd = |a| widen_bytes::<4>(a, 32, |x| x as u8 as u64);
    /// PMOVZXBQ: the low two bytes to quadwords.
    pmovzxbq = |a| widen_bytes::<2>(a, 64, |x| x as u8 as u64);
    /// PMOVZXWD: the low four words to doublewords.
    pmovzxwd = |a| {
        let x: [u16; 8] = a.lanes();
        V128::from_lanes([x[0] as u32, x[1] as u32, x[2] as u32, x[3] as u32])
    };
    /// PMOVZXWQ: the low two words to quadwords.
    pmovzxwq = |a| {
        let x: [u16; 8] = a.lanes();
        V128::from_lanes([x[0] as u64, x[1] as u64])
    };
    /// PMOVZXDQ: the low two doublewords to quadwords.
    pmovzxdq = |a| {
        let x: [u32; 4] = a.lanes();
        V128::from_lanes([x[0] as u64, x[1] as u64])
    };
}

fn pack_words(a: V128, b: V128, f: fn(i16) -> u8) -> V128 {
    let (x, y): ([i16; 8], [i16; 8]) = (a.lanes(), b.lanes());
    V128::from_lanes::<[u8; 16]>(std::array::from_fn(|i| f(if i < 8 { x[i] } else { y[i - 8] })))
}

fn pack_doublewords(a: V128, b: V128, f: fn(i32) -> u16) -> V128 {
    let (x, y): ([i32; 4], [i32; 4]) = (a.lanes(), b.lanes());
    V128::from_lanes::<[u16; 8]>(std::array::from_fn(|i| f(if i < 4 { x[i] } else { y[i - 4] })))
}

/// `f` of each of the low `N` bytes, as lanes of `bits`.
fn widen_bytes<const N: usize>(a: V128, bits: u32, f: fn(i8) -> u64) -> V128 {
    let x: [i8; 16] = a.lanes();
    V128::from((0..N).map(|i| (f(x[i]) as u128) << (i as u32 * bits)).sum::<u128>())
}

/// A table with an entry for each value of an immediate byte, or of its low bits.
macro_rules! table {
    ($(#[doc = $doc:literal])+ $name:ident[$size:literal] = $entry:expr) => {
        $(#[doc = $doc])+
        static $name: [V128; $size] = {
            let mut table = [V128::ZERO; $size];
            let mut i = 0;
            while i < $size {
                table[i] = V128::from_lanes($entry(i));
                i += 1;
            }
            table
        };
    };
}

table! {
    /// PSHUFB controls that shift by bytes: entry 16 + n right by n, 16 - n left by n.
    BYTE_SHIFTS[33] = byte_shift
}
table! {
    /// PSHUFB controls of PSHUFD.
    DOUBLEWORD_ORDERS[256] = doubleword_order
}
table! {
    /// PSHUFB controls of PSHUFLW.
    LOW_WORD_ORDERS[256] = low_word_order
}
table! {
    /// PSHUFB controls of PSHUFHW.
    HIGH_WORD_ORDERS[256] = high_word_order
}
table! {
    /// A word of ones for each bit of PBLENDW's immediate.
    WORD_MASKS[256] = word_mask
}
table! {
    /// A doubleword of ones for each bit of BLENDPS's immediate.
    DOUBLEWORD_MASKS[16] = doubleword_mask
}
table! {
    /// A quadword of ones for each bit of BLENDPD's immediate.
    QUADWORD_MASKS[4] = quadword_mask
}

const fn byte_shift(n: usize) -> [u8; 16] {
    let mut control = [0x80; 16];
    let mut i = 0;
    while i < 16 {
        if i + n >= 16 && i + n < 32 {
            control[i] = (i + n - 16) as u8;
        }
        i += 1;
    }
    control
}

const fn doubleword_order(order: usize) -> [u8; 16] {
    let mut control = [0; 16];
    let mut i = 0;
    while i < 16 {
        control[i] = ((order >> (i / 4 * 2) & 3) * 4 + i % 4) as u8;
        i += 1;
    }
    control
}

const fn low_word_order(order: usize) -> [u8; 16] {
    let mut control = [0; 16];
    let mut i = 0;
    while i < 16 {
        control[i] = if i < 8 { (order >> (i / 2 * 2) & 3) * 2 + i % 2 } else { i } as u8;
        i += 1;
    }
    control
}

const fn high_word_order(order: usize) -> [u8; 16] {
    let low = low_word_order(order);
    let mut control = [0; 16];
    let mut i = 0;
    while i < 16 {
        control[i] = if i < 8 { i as u8 } else { low[i - 8] + 8 };
        i += 1;
    }
    control
}

const fn word_mask(bits: usize) -> [u16; 8] {
    let mut mask = [0; 8];
    let mut i = 0;
    while i < 8 {
        mask[i] = 0u16.wrapping_sub((bits >> i & 1) as u16);
        i += 1;
    }
    mask
}

const fn doubleword_mask(bits: usize) -> [u32; 4] {
    let mut mask = [0; 4];
    let mut i = 0;
    while i < 4 {
        mask[i] = 0u32.wrapping_sub((bits >> i & 1) as u32);
        i += 1;
    }
    mask
}

const fn quadword_mask(bits: usize) -> [u64; 2] {
    [0u64.wrapping_sub(bits as u64 & 1), 0u64.wrapping_sub(bits as u64 >> 1 & 1)]
}

/// PSHUFD, VPERMILPS with an immediate: each two bits of `order` choose a doubleword.
#[inline(always)]
pub fn pshufd(a: V128, order: u8) -> V128 {
    pshufb(a, DOUBLEWORD_ORDERS[order as usize])
}
/// PSHUFLW: each two bits of `order` choose one of the low four words.
#[inline(always)]
pub fn pshuflw(a: V128, order: u8) -> V128 {
    pshufb(a, LOW_WORD_ORDERS[order as usize])
}
/// PSHUFHW: each two bits of `order` choose one of the high four words.
#[inline(always)]
pub fn pshufhw(a: V128, order: u8) -> V128 {
    pshufb(a, HIGH_WORD_ORDERS[order as usize])
}
/// SHUFPS: two doublewords of `a`, two of `b`.
#[inline(always)]
pub fn shufps(a: V128, b: V128, order: u8) -> V128 {
    movsd(pshufd(b, order), pshufd(a, order))
}
/// SHUFPD: a quadword of `a` (bit 0 of `order`), one of `b` (bit 1).
#[inline(always)]
pub fn shufpd(a: V128, b: V128, order: u8) -> V128 {
    let low = if order & 1 != 0 { a.high() } else { a.low() };
    let high = if order & 2 != 0 { b.high() } else { b.low() };
    V128::from_lanes([low, high])
}
/// PSRLDQ: shifts right by `count` bytes; 16 and more clear.
#[inline(always)]
pub fn psrldq(a: V128, count: u8) -> V128 {
    pshufb(a, BYTE_SHIFTS[16 + count.min(16) as usize])
}
/// PSLLDQ: shifts left by `count` bytes; 16 and more clear.
#[inline(always)]
pub fn pslldq(a: V128, count: u8) -> V128 {
    pshufb(a, BYTE_SHIFTS[16 - count.min(16) as usize])
}
/// PALIGNR: bytes `count` and up of `b` followed by `a`, zeros after them.
#[inline(always)]
pub fn palignr(a: V128, b: V128, count: u8) -> V128 {
    por(psrldq(b, count), pshufb(a, BYTE_SHIFTS[count.min(32) as usize]))
}

/// `b` where `mask` is set, else `a`.
#[inline(always)]
pub fn select(a: V128, b: V128, mask: V128) -> V128 {
    por(pandn(mask, a), pand(mask, b))
}
/// PBLENDW: words of `b` where `mask` has a bit, else of `a`.
#[inline(always)]
pub fn pblendw(a: V128, b: V128, mask: u8) -> V128 {
    select(a, b, WORD_MASKS[mask as usize])
}
/// BLENDPS, VPBLENDD: doublewords of `b` where the low bits of `mask` are set, else of `a`.
#[inline(always)]
pub fn blendps(a: V128, b: V128, mask: u8) -> V128 {
    select(a, b, DOUBLEWORD_MASKS[mask as usize & 15])
}
/// BLENDPD: quadwords of `b` where the low bits of `mask` are set, else of `a`.
#[inline(always)]
pub fn blendpd(a: V128, b: V128, mask: u8) -> V128 {
    select(a, b, QUADWORD_MASKS[mask as usize & 3])
}

/// PBLENDVB: bytes of `b` where the sign of `mask`'s is set, else of `a`.
#[inline(always)]
pub fn pblendvb(a: V128, b: V128, mask: V128) -> V128 {
    select(a, b, pcmpgtb(V128::ZERO, mask))
}
/// BLENDVPS, doublewords likewise.
#[inline(always)]
pub fn blendvps(a: V128, b: V128, mask: V128) -> V128 {
    select(a, b, pcmpgtd(V128::ZERO, mask))
}
/// BLENDVPD, quadwords likewise.
#[inline(always)]
pub fn blendvpd(a: V128, b: V128, mask: V128) -> V128 {
    select(a, b, pcmpgtq(V128::ZERO, mask))
}

/// `value` in lane `index` of `a` (modulo the number of lanes).
#[inline(always)]
pub fn insert<T: Copy, const N: usize>(a: V128, index: u8, value: T) -> V128
where
    [T; N]: Lane,
{
    let mut lanes: [T; N] = a.lanes();
    lanes[index as usize % N] = value;
    V128::from_lanes(lanes)
}
/// Lane `index` of `a` (modulo the number of lanes).
#[inline(always)]
pub fn extract<T: Copy, const N: usize>(a: V128, index: u8) -> T
where
    [T; N]: Lane,
{
    a.lanes::<[T; N]>()[index as usize % N]
}
/// INSERTPS: `value` in the doubleword that bits 5:4 of `control` name, then zeros where
/// bits 3:0 are set.
#[inline(always)]
pub fn insertps(a: V128, value: u32, control: u8) -> V128 {
    pandn(DOUBLEWORD_MASKS[control as usize & 15], insert::<u32, 4>(a, control >> 4 & 3, value))
}

/// VPERMILPS: doublewords of `a` chosen by the low two bits of those of `b`.
#[inline(always)]
pub fn permilps(a: V128, b: V128) -> V128 {
    let x: [u32; 4] = a.lanes();
    V128::from_lanes(b.lanes::<[u32; 4]>().map(|n| x[(n & 3) as usize]))
}
/// VPERMILPD: quadwords of `a` chosen by bit 1 of those of `b`.
#[inline(always)]
pub fn permilpd(a: V128, b: V128) -> V128 {
    let x: [u64; 2] = a.lanes();
    V128::from_lanes(b.lanes::<[u64; 2]>().map(|n| x[(n >> 1 & 1) as usize]))
}
/// VPERMILPD with an immediate: a bit for each quadword.
#[inline(always)]
pub fn permilpd_immediate(a: V128, order: u8) -> V128 {
    shufpd(a, a, order)
}

/// The halves of a 256-bit vector, low first.
pub type V256 = [V128; 2];

/// VPERMD, VPERMPS: doublewords of `a` chosen by the low three bits of those of `order`.
#[inline(always)]
pub fn vpermd(order: V256, a: V256) -> V256 {
    let [low, high] = a.map(V128::lanes::<[u32; 4]>);
    order.map(|half| {
        let pick = |n: u32| if n & 4 != 0 { high[(n & 3) as usize] } else { low[(n & 3) as usize] };
        V128::from_lanes(half.lanes::<[u32; 4]>().map(pick))
    })
}
/// VPERMQ, VPERMPD: each two bits of `order` choose a quadword.
#[inline(always)]
pub fn vpermq(a: V256, order: u8) -> V256 {
    let x = [a[0].low(), a[0].high(), a[1].low(), a[1].high()];
    let pick = |place: u8| x[(order >> (2 * place) & 3) as usize];
    [V128::from_lanes([pick(0), pick(1)]), V128::from_lanes([pick(2), pick(3)])]
}
/// VPERM2F128, VPERM2I128: each four bits of `order` choose a half of `a` or `b`, or zero.
#[inline(always)]
pub fn vperm2f128(a: V256, b: V256, order: u8) -> V256 {
    let halves = [a[0], a[1], b[0], b[1]];
    let pick = |control: u8| {
        if control & 8 != 0 { V128::ZERO } else { halves[(control & 3) as usize] }
    };
    [pick(order), pick(order >> 4)]
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
