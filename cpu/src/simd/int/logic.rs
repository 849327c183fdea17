//! Packed logic, comparison, tests and shifts.

#![allow(unsafe_code, reason = "the host's own instructions")]

use super::host::{binary, zip};
use super::v128::V128;

binary! {
    /// PAND, ANDPS, ANDPD: AND.
    pand = |a, b| V128::from(a.bits() & b.bits());
    /// PANDN, ANDNPS, ANDNPD: `b` where `a` is clear.
    pandn = |a, b| V128::from(!a.bits() & b.bits());
    /// POR, ORPS, ORPD: OR.
    por = |a, b| V128::from(a.bits() | b.bits());
    /// PXOR, XORPS, XORPD: exclusive OR.
    pxor = |a, b| V128::from(a.bits() ^ b.bits());
    /// PCMPEQB: all ones where bytes are equal.
    pcmpeqb = |a, b| zip(a, b, |x: i8, y: i8| -((x == y) as i8));
    /// PCMPEQW: all ones where words are equal.
    pcmpeqw = |a, b| zip(a, b, |x: i16, y: i16| -((x == y) as i16));
    /// PCMPEQD: all ones where doublewords are equal.
    pcmpeqd = |a, b| zip(a, b, |x: i32, y: i32| -((x == y) as i32));
    /// PCMPEQQ: all ones where quadwords are equal.
    pcmpeqq = |a, b| zip(a, b, |x: i64, y: i64| -((x == y) as i64));
    /// PCMPGTB: all ones where signed bytes of `a` are greater.
    pcmpgtb = |a, b| zip(a, b, |x: i8, y: i8| -((x > y) as i8));
    /// PCMPGTW: all ones where signed words of `a` are greater.
    pcmpgtw = |a, b| zip(a, b, |x: i16, y: i16| -((x > y) as i16));
    /// PCMPGTD: all ones where signed doublewords of `a` are greater.
    pcmpgtd = |a, b| zip(a, b, |x: i32, y: i32| -((x > y) as i32));
    /// PCMPGTQ: all ones where signed quadwords of `a` are greater.
    pcmpgtq = |a, b| zip(a, b, |x: i64, y: i64| -((x > y) as i64));
    /// PSLLW: shifts words left by the low quadword of `b`; 16 and more clear them.
    psllw = |a, b| { let n = b.low(); zip(a, a, |x: u16, _| if n < 16 { x << n } else { 0 }) };
    /// PSLLD: shifts doublewords left by the low quadword of `b`.
    pslld = |a, b| { let n = b.low(); zip(a, a, |x: u32, _| if n < 32 { x << n } else { 0 }) };
    /// PSLLQ: shifts quadwords left by the low quadword of `b`.
    psllq = |a, b| { let n = b.low(); zip(a, a, |x: u64, _| if n < 64 { x << n } else { 0 }) };
    /// PSRLW: shifts words right by the low quadword of `b`, filling with zeros.
    psrlw = |a, b| { let n = b.low(); zip(a, a, |x: u16, _| if n < 16 { x >> n } else { 0 }) };
    /// PSRLD: shifts doublewords right, filling with zeros.
    psrld = |a, b| { let n = b.low(); zip(a, a, |x: u32, _| if n < 32 { x >> n } else { 0 }) };
    /// PSRLQ: shifts quadwords right, filling with zeros.
    psrlq = |a, b| { let n = b.low(); zip(a, a, |x: u64, _| if n < 64 { x >> n } else { 0 }) };
    /// PSRAW: shifts words right, filling with the sign.
    psraw = |a, b| { let n = b.low().min(15); zip(a, a, |x: i16, _| x >> n) };
    /// PSRAD: shifts doublewords right, filling with the sign.
    psrad = |a, b| { let n = b.low().min(31); zip(a, a, |x: i32, _| x >> n) };
}

/// `n`, of which the optimiser knows nothing any more. (`black_box` would take its address, which
/// forbids tail calls.)
#[inline(always)]
fn hidden(n: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut n = n;
        // SAFETY: no instruction at all.
        unsafe {
            core::arch::asm!("/* {0:e} */", inout(reg) n, options(pure, nomem, nostack, preserves_flags))
        };
        n
    }
    #[cfg(not(target_arch = "x86_64"))]
    n
}

/// VPSLLVD: shifts each doubleword left by that of `b`.
///
/// The counts are hidden from the optimiser: for a host with nothing but SSE2 it makes
/// powers of two by floating-point conversions, whose exceptions would show in the guest's MXCSR.
#[inline(always)]
pub fn psllvd(a: V128, b: V128) -> V128 {
    zip(a, b, |x: u32, n: u32| {
        let n = hidden(n);
        if n < 32 { x << n } else { 0 }
    })
}
/// VPSLLVQ: shifts each quadword left by that of `b`.
#[inline(always)]
pub fn psllvq(a: V128, b: V128) -> V128 {
    zip(a, b, |x: u64, n: u64| if n < 64 { x << n } else { 0 })
}
/// VPSRLVD: shifts each doubleword right by that of `b`, filling with zeros.
#[inline(always)]
pub fn psrlvd(a: V128, b: V128) -> V128 {
    zip(a, b, |x: u32, n: u32| if n < 32 { x >> n } else { 0 })
}
/// VPSRLVQ: shifts each quadword right by that of `b`, filling with zeros.
#[inline(always)]
pub fn psrlvq(a: V128, b: V128) -> V128 {
    zip(a, b, |x: u64, n: u64| if n < 64 { x >> n } else { 0 })
}
/// VPSRAVD: shifts each doubleword right by that of `b`, filling with the sign.
#[inline(always)]
pub fn psravd(a: V128, b: V128) -> V128 {
    zip(a, b, |x: u32, n: u32| (x as i32 >> n.min(31)) as u32)
}

/// Sign masks: `name = |a| portable definition`.
macro_rules! sign_masks {
    ($(#[doc = $doc:literal] $name:ident = $portable:expr;)+) => {
        $(
            #[doc = $doc]
            #[inline(always)]
            pub fn $name(a: V128) -> u32 {
                #[cfg(target_arch = "x86_64")]
                {
                    let mask: u32;
                    // SAFETY: reads a vector register, writes a general register.
                    unsafe {
                        core::arch::asm!(concat!(stringify!($name), " {0:e}, {1}"),
                            lateout(reg) mask, in(xmm_reg) a.0,
                            options(pure, nomem, nostack, preserves_flags));
                    }
                    mask
                }
                #[cfg(not(target_arch = "x86_64"))]
                portable_masks::$name(a)
            }
        )+
        /// The same masks, spelled out.
        #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
        mod portable_masks {
            use super::*;
            $(
                pub fn $name(a: V128) -> u32 {
                    let operation: fn(V128) -> u32 = $portable;
                    operation(a)
                }
            )+
        }
    };
}

sign_masks! {
    /// PMOVMSKB: the sign bits of bytes.
    pmovmskb = |a| (0..).zip(a.lanes::<[u8; 16]>()).map(|(i, byte)| (byte as u32 >> 7) << i).sum();
    /// MOVMSKPS: the sign bits of doublewords.
    movmskps = |a| (0..).zip(a.lanes::<[u32; 4]>()).map(|(i, lane)| (lane >> 31) << i).sum();
    /// MOVMSKPD: the sign bits of quadwords.
    movmskpd = |a| (a.low() >> 63) as u32 | ((a.high() >> 63) as u32 * 2);
}

/// The bits that sign tests look at: all (PTEST), or the signs of floating-point lanes
/// (VTESTPS, VTESTPD).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TestMask(pub u64);

impl TestMask {
    /// PTEST.
    pub const ALL: TestMask = TestMask(u64::MAX);
    /// VTESTPS.
    pub const SINGLES: TestMask = TestMask(0x8000_0000_8000_0000);
    /// VTESTPD.
    pub const DOUBLES: TestMask = TestMask(1 << 63);
}

/// PTEST: whether `a & b` is zero (ZF) and whether `!a & b` is zero (CF), within `mask`.
#[inline(always)]
pub fn ptest(a: V128, b: V128, mask: TestMask) -> (bool, bool) {
    let both = (a.low() & b.low()) | (a.high() & b.high());
    let missing = (!a.low() & b.low()) | (!a.high() & b.high());
    (both & mask.0 == 0, missing & mask.0 == 0)
}

#[cfg(test)]
mod tests {
    use super::super::host::Vectors;
    use super::*;

    #[test]
    fn sign_masks_collect_the_top_bits() {
        let mut vectors = Vectors::new();
        for _ in 0..1000 {
            let a = vectors.vector();
            assert_eq!(pmovmskb(a), portable_masks::pmovmskb(a));
            assert_eq!(movmskps(a), portable_masks::movmskps(a));
            assert_eq!(movmskpd(a), portable_masks::movmskpd(a));
        }
    }

    #[test]
    fn shifts_by_lane_clear_or_fill_when_the_count_is_large() {
        let a = V128::from_lanes([0x8000_0001u32, 0x8000_0001, 0x8000_0001, 0x8000_0001]);
        let n = V128::from_lanes([1u32, 31, 32, u32::MAX]);
        assert_eq!(psllvd(a, n), V128::from_lanes([2u32, 0x8000_0000, 0, 0]));
        assert_eq!(psrlvd(a, n), V128::from_lanes([0x4000_0000u32, 1, 0, 0]));
        assert_eq!(psravd(a, n), V128::from_lanes([0xC000_0000u32, u32::MAX, u32::MAX, u32::MAX]));
        let b = V128::from_lanes([5u64, 1 << 32]);
        assert_eq!(psllvq(V128::ONES, b), V128::from_lanes([u64::MAX << 5, 0]));
        assert_eq!(psrlvq(V128::ONES, b), V128::from_lanes([u64::MAX >> 5, 0]));
    }

    #[test]
    fn ptest_looks_within_its_mask() {
        let a = V128::from_lanes([0x7FFF_FFFFu64, 0]);
        assert_eq!(ptest(a, a, TestMask::ALL), (false, true));
        assert_eq!(ptest(a, a, TestMask::SINGLES), (true, true));
        assert_eq!(ptest(V128::ZERO, V128::ONES, TestMask::DOUBLES), (true, false));
    }
}
