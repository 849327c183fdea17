//! SHA-1 and SHA-256 steps (FIPS 180-4), as the SHA extensions cut them.

#![allow(unsafe_code, reason = "the host's own instructions")]

use super::host::detected;
use super::v128::V128;

detected! {
    "sha":
    /// SHA1NEXTE: E after four rounds, added to the message words of `b`.
    sha1nexte(b) = "sha1nexte";
    /// SHA1MSG1: first part of the next four message words.
    sha1msg1(b) = "sha1msg1";
    /// SHA1MSG2: second part of the next four message words.
    sha1msg2(b) = "sha1msg2";
    /// SHA256RNDS2: two rounds on the states `a` (CDGH) and `b` (ABEF) with the message words
    /// and constants in the low half of `words`.
    sha256rnds2(b, words) = "sha256rnds2";
    /// SHA256MSG1: first part of the next four message words.
    sha256msg1(b) = "sha256msg1";
    /// SHA256MSG2: second part of the next four message words.
    sha256msg2(b) = "sha256msg2";
}

/// SHA1RNDS4: four rounds on the state `a` (ABCD) with the words of `b`, by the function and
/// constant that the low two bits of `function` name.
#[inline(always)]
pub fn sha1rnds4(a: V128, b: V128, function: u8) -> V128 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sha") {
        macro_rules! rounds {
            ($function:literal) => {{
                let mut result = a.0;
                // SAFETY: reads and writes vector registers only; the instruction is there.
                unsafe {
                    core::arch::asm!(concat!("sha1rnds4 {0}, {1}, ", $function),
                        inout(xmm_reg) result, in(xmm_reg) b.0,
                        options(pure, nomem, nostack, preserves_flags));
                }
                V128(result)
            }};
        }
        return match function & 3 {
            0 => rounds!(0),
            1 => rounds!(1),
            2 => rounds!(2),
            _ => rounds!(3),
        };
    }
    #[cold]
    #[inline(never)]
    fn fallback(a: u128, b: u128, function: u8) -> u128 {
        portable::sha1rnds4(V128::from(a), V128::from(b), function).bits()
    }
    V128::from(fallback(a.bits(), b.bits(), function))
}

mod portable {
    use super::*;

    /// Lanes, most significant first, as FIPS 180-4 counts words.
    fn words(v: V128) -> [u32; 4] {
        let mut lanes: [u32; 4] = v.lanes();
        lanes.reverse();
        lanes
    }
    fn vector(mut words: [u32; 4]) -> V128 {
        words.reverse();
        V128::from_lanes(words)
    }

    pub(super) fn sha1rnds4(state: V128, message: V128, function: u8) -> V128 {
        let [mut a, mut b, mut c, mut d] = words(state);
        let mut e = 0u32;
        for word in words(message) {
            let (f, k) = match function & 3 {
                0 => (b & c ^ !b & d, 0x5A82_7999),
                1 => (b ^ c ^ d, 0x6ED9_EBA1),
                2 => (b & c ^ b & d ^ c & d, 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6u32),
            };
            let next = f.wrapping_add(a.rotate_left(5)).wrapping_add(word).wrapping_add(e).wrapping_add(k);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        vector([a, b, c, d])
    }
    pub(super) fn sha1nexte(a: V128, b: V128) -> V128 {
        let mut w = words(b);
        w[0] = w[0].wrapping_add(words(a)[0].rotate_left(30));
        vector(w)
    }
    pub(super) fn sha1msg1(a: V128, b: V128) -> V128 {
        let ([w0, w1, w2, w3], [w4, w5, ..]) = (words(a), words(b));
        vector([w2 ^ w0, w3 ^ w1, w4 ^ w2, w5 ^ w3])
    }
    pub(super) fn sha1msg2(a: V128, b: V128) -> V128 {
        let ([a0, a1, a2, a3], [_, w13, w14, w15]) = (words(a), words(b));
        let w16 = (a0 ^ w13).rotate_left(1);
        vector([w16, (a1 ^ w14).rotate_left(1), (a2 ^ w15).rotate_left(1), (a3 ^ w16).rotate_left(1)])
    }

    pub(super) fn sha256rnds2(cdgh: V128, abef: V128, message: V128) -> V128 {
        let ([mut a, mut b, mut e, mut f], [mut c, mut d, mut g, mut h]) = (words(abef), words(cdgh));
        let [_, _, second, first] = words(message);
        for word in [first, second] {
            let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = e & f ^ !e & g;
            let t1 = h.wrapping_add(sum1).wrapping_add(choice).wrapping_add(word);
            let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let majority = a & b ^ a & c ^ b & c;
            let t2 = sum0.wrapping_add(majority);
            (a, b, c, d, e, f, g, h) = (t1.wrapping_add(t2), a, b, c, d.wrapping_add(t1), e, f, g);
        }
        vector([a, b, e, f])
    }
    fn sigma0(w: u32) -> u32 {
        w.rotate_right(7) ^ w.rotate_right(18) ^ w >> 3
    }
    fn sigma1(w: u32) -> u32 {
        w.rotate_right(17) ^ w.rotate_right(19) ^ w >> 10
    }
    pub(super) fn sha256msg1(a: V128, b: V128) -> V128 {
        let (w, next): ([u32; 4], [u32; 4]) = (a.lanes(), b.lanes());
        let following = [w[1], w[2], w[3], next[0]];
        V128::from_lanes::<[u32; 4]>(std::array::from_fn(|i| w[i].wrapping_add(sigma0(following[i]))))
    }
    pub(super) fn sha256msg2(a: V128, b: V128) -> V128 {
        let (x, w): ([u32; 4], [u32; 4]) = (a.lanes(), b.lanes());
        let w16 = x[0].wrapping_add(sigma1(w[2]));
        let w17 = x[1].wrapping_add(sigma1(w[3]));
        let w18 = x[2].wrapping_add(sigma1(w16));
        let w19 = x[3].wrapping_add(sigma1(w17));
        V128::from_lanes([w16, w17, w18, w19])
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::host::Vectors;
    use super::*;
    use trimotor_test_needs::{host_cpu, skip};

    #[test]
    fn four_rounds_are_the_hosts() {
        if skip(host_cpu("SHA extensions", std::arch::is_x86_feature_detected!("sha"))) {
            return;
        }
        let mut vectors = Vectors::new();
        for _ in 0..300 {
            let (a, b) = (vectors.vector(), vectors.vector());
            for function in 0..4 {
                assert_eq!(portable::sha1rnds4(a, b, function), sha1rnds4(a, b, function));
            }
        }
    }
}
