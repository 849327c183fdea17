//! Packed integer arithmetic.

#![allow(unsafe_code, reason = "the host's own instructions")]

use super::host::{binary, map, unary, zip};
use super::v128::V128;

binary! {
    /// PADDB: adds bytes, wrapping.
    paddb = |a, b| zip(a, b, u8::wrapping_add);
    /// PADDW: adds words, wrapping.
    paddw = |a, b| zip(a, b, u16::wrapping_add);
    /// PADDD: adds doublewords, wrapping.
    paddd = |a, b| zip(a, b, u32::wrapping_add);
    /// PADDQ: adds quadwords, wrapping.
    paddq = |a, b| zip(a, b, u64::wrapping_add);
    /// PSUBB: subtracts bytes, wrapping.
    psubb = |a, b| zip(a, b, u8::wrapping_sub);
    /// PSUBW: subtracts words, wrapping.
    psubw = |a, b| zip(a, b, u16::wrapping_sub);
    /// PSUBD: subtracts doublewords, wrapping.
    psubd = |a, b| zip(a, b, u32::wrapping_sub);
    /// PSUBQ: subtracts quadwords, wrapping.
    psubq = |a, b| zip(a, b, u64::wrapping_sub);
    /// PADDSB: adds signed bytes, saturating.
    paddsb = |a, b| zip(a, b, i8::saturating_add);
    /// PADDSW: adds signed words, saturating.
    paddsw = |a, b| zip(a, b, i16::saturating_add);
    /// PADDUSB: adds unsigned bytes, saturating.
    paddusb = |a, b| zip(a, b, u8::saturating_add);
    /// PADDUSW: adds unsigned words, saturating.
    paddusw = |a, b| zip(a, b, u16::saturating_add);
    /// PSUBSB: subtracts signed bytes, saturating.
    psubsb = |a, b| zip(a, b, i8::saturating_sub);
    /// PSUBSW: subtracts signed words, saturating.
    psubsw = |a, b| zip(a, b, i16::saturating_sub);
    /// PSUBUSB: subtracts unsigned bytes, saturating.
    psubusb = |a, b| zip(a, b, u8::saturating_sub);
    /// PSUBUSW: subtracts unsigned words, saturating.
    psubusw = |a, b| zip(a, b, u16::saturating_sub);
    /// PAVGB: averages unsigned bytes, rounding up.
    pavgb = |a, b| zip(a, b, |x: u8, y: u8| ((x as u16 + y as u16 + 1) >> 1) as u8);
    /// PAVGW: averages unsigned words, rounding up.
    pavgw = |a, b| zip(a, b, |x: u16, y: u16| ((x as u32 + y as u32 + 1) >> 1) as u16);
    /// PMINUB: the smaller of unsigned bytes.
    pminub = |a, b| zip(a, b, u8::min);
    /// PMINUW: the smaller of unsigned words.
    pminuw = |a, b| zip(a, b, u16::min);
    /// PMINUD: the smaller of unsigned doublewords.
    pminud = |a, b| zip(a, b, u32::min);
    /// PMINSB: the smaller of signed bytes.
    pminsb = |a, b| zip(a, b, i8::min);
    /// PMINSW: the smaller of signed words.
    pminsw = |a, b| zip(a, b, i16::min);
    /// PMINSD: the smaller of signed doublewords.
    pminsd = |a, b| zip(a, b, i32::min);
    /// PMAXUB: the larger of unsigned bytes.
    pmaxub = |a, b| zip(a, b, u8::max);
    /// PMAXUW: the larger of unsigned words.
    pmaxuw = |a, b| zip(a, b, u16::max);
    /// PMAXUD: the larger of unsigned doublewords.
    pmaxud = |a, b| zip(a, b, u32::max);
    /// PMAXSB: the larger of signed bytes.
    pmaxsb = |a, b| zip(a, b, i8::max);
    /// PMAXSW: the larger of signed words.
    pmaxsw = |a, b| zip(a, b, i16::max);
    /// PMAXSD: the larger of signed doublewords.
    pmaxsd = |a, b| zip(a, b, i32::max);
    /// PMULLW: the low half of signed products of words.
    pmullw = |a, b| zip(a, b, u16::wrapping_mul);
    /// PMULHW: the high half of signed products of words.
    pmulhw = |a, b| zip(a, b, |x: i16, y: i16| ((x as i32 * y as i32) >> 16) as i16);
    /// PMULHUW: the high half of unsigned products of words.
    pmulhuw = |a, b| zip(a, b, |x: u16, y: u16| ((x as u32 * y as u32) >> 16) as u16);
    /// PMULHRSW: signed products of words, rounded and scaled by 2^15.
    pmulhrsw = |a, b| zip(a, b, |x: i16, y: i16| ((((x as i32 * y as i32) >> 14) + 1) >> 1) as i16);
    /// PMULLD: the low half of products of doublewords.
    pmulld = |a, b| zip(a, b, u32::wrapping_mul);
    /// PMULUDQ: unsigned products of the even doublewords.
    pmuludq = |a, b| zip(a, b, |x: u64, y: u64| (x as u32 as u64) * (y as u32 as u64));
    /// PMULDQ: signed products of the even doublewords.
    pmuldq = |a, b| zip(a, b, |x: i64, y: i64| (x as i32 as i64) * (y as i32 as i64));
    /// PMADDWD: signed products of words, added in pairs.
    pmaddwd = |a, b| {
        let (x, y): ([i16; 8], [i16; 8]) = (a.lanes(), b.lanes());
        let product = |i: usize| x[i] as i32 * y[i] as i32;
        V128::from_lanes::<[i32; 4]>(std::array::from_fn(|i| product(2 * i).wrapping_add(product(2 * i + 1))))
    };
    /// PMADDUBSW: products of unsigned by signed bytes, added in pairs with saturation.
    pmaddubsw = |a, b| {
        let (x, y): ([u8; 16], [i8; 16]) = (a.lanes(), b.lanes());
        let product = |i: usize| x[i] as i32 * y[i] as i32;
        V128::from_lanes::<[i16; 8]>(std::array::from_fn(|i| signed_word(product(2 * i) + product(2 * i + 1))))
    };
    /// PSADBW: the sum of absolute differences of unsigned bytes, for each half.
    psadbw = |a, b| {
        let (x, y): ([u8; 16], [u8; 16]) = (a.lanes(), b.lanes());
        V128::from_lanes::<[u64; 2]>(std::array::from_fn(|half| {
            (8 * half..8 * half + 8).map(|i| x[i].abs_diff(y[i]) as u64).sum()
        }))
    };
    /// PSIGNB: bytes of `a`, negated or cleared as the signs of `b` say.
    psignb = |a, b| zip(a, b, |x: i8, y: i8| x.wrapping_mul(y.signum()));
    /// PSIGNW: words of `a`, negated or cleared as the signs of `b` say.
    psignw = |a, b| zip(a, b, |x: i16, y: i16| x.wrapping_mul(y.signum()));
    /// PSIGND: doublewords of `a`, negated or cleared as the signs of `b` say.
    psignd = |a, b| zip(a, b, |x: i32, y: i32| x.wrapping_mul(y.signum()));
    /// PHADDW: adds neighbouring words of `a`, then of `b`.
    phaddw = |a, b| horizontal_words(a, b, i16::wrapping_add);
    /// PHADDSW: adds neighbouring words, saturating.
    phaddsw = |a, b| horizontal_words(a, b, i16::saturating_add);
    /// PHSUBW: subtracts neighbouring words.
    phsubw = |a, b| horizontal_words(a, b, i16::wrapping_sub);
    /// PHSUBSW: subtracts neighbouring words, saturating.
    phsubsw = |a, b| horizontal_words(a, b, i16::saturating_sub);
    /// PHADDD: adds neighbouring doublewords of `a`, then of `b`.
    phaddd = |a, b| horizontal_doublewords(a, b, i32::wrapping_add);
    /// PHSUBD: subtracts neighbouring doublewords.
    phsubd = |a, b| horizontal_doublewords(a, b, i32::wrapping_sub);
}

unary! {
    /// PABSB: absolute values of bytes.
    pabsb = |a| map(a, i8::wrapping_abs);
    /// PABSW: absolute values of words.
    pabsw = |a| map(a, i16::wrapping_abs);
    /// PABSD: absolute values of doublewords.
    pabsd = |a| map(a, i32::wrapping_abs);
    /// PHMINPOSUW: the smallest unsigned word and its index.
    phminposuw = |a| {
        let words: [u16; 8] = a.lanes();
        let smallest = (0..8).min_by_key(|&i| words[i]).unwrap_or(0);
        V128::from_low(words[smallest] as u64 | (smallest as u64) << 16)
    };
}

fn signed_word(value: i32) -> i16 {
    value.clamp(i16::MIN as i32, i16::MAX as i32) as i16
}

#[inline(always)]
fn horizontal_words(a: V128, b: V128, f: fn(i16, i16) -> i16) -> V128 {
    let (x, y): ([i16; 8], [i16; 8]) = (a.lanes(), b.lanes());
    V128::from_lanes::<[i16; 8]>(std::array::from_fn(|i| {
        let from = if i < 4 { &x } else { &y };
        f(from[2 * i % 8], from[2 * i % 8 + 1])
    }))
}

#[inline(always)]
fn horizontal_doublewords(a: V128, b: V128, f: fn(i32, i32) -> i32) -> V128 {
    let (x, y): ([i32; 4], [i32; 4]) = (a.lanes(), b.lanes());
    V128::from_lanes::<[i32; 4]>([f(x[0], x[1]), f(x[2], x[3]), f(y[0], y[1]), f(y[2], y[3])])
}

/// MPSADBW: eight sums of four absolute differences; `control` bit 2 chooses where in `a`
/// the eight windows begin, bits 1:0 the four bytes of `b`.
#[inline(always)]
pub fn mpsadbw(a: V128, b: V128, control: u8) -> V128 {
    let (x, y): ([u8; 16], [u8; 16]) = (a.lanes(), b.lanes());
    let window = (control as usize >> 2 & 1) * 4;
    let block = (control as usize & 3) * 4;
    V128::from_lanes::<[u16; 8]>(std::array::from_fn(|i| {
        (0..4).map(|j| x[window + i + j].abs_diff(y[block + j]) as u16).sum()
    }))
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::host::Vectors;
    use super::*;

    #[test]
    fn mpsadbw_is_the_hosts() {
        macro_rules! host {
            ($a:expr, $b:expr, $control:literal) => {{
                let mut r = $a.0;
                // SAFETY: reads and writes vector registers only.
                unsafe {
                    std::arch::asm!(concat!("mpsadbw {0}, {1}, ", $control), inout(xmm_reg) r, in(xmm_reg) $b.0);
                }
                V128(r)
            }};
        }
        let mut vectors = Vectors::new();
        for _ in 0..1000 {
            let (a, b) = (vectors.vector(), vectors.vector());
            assert_eq!(mpsadbw(a, b, 0), host!(a, b, 0));
            assert_eq!(mpsadbw(a, b, 1), host!(a, b, 1));
            assert_eq!(mpsadbw(a, b, 6), host!(a, b, 6));
            assert_eq!(mpsadbw(a, b, 7 | 0xF8), host!(a, b, 7));
        }
    }
}
