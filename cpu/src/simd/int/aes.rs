//! AES rounds and carry-less multiplication.
//!
//! A state is 16 bytes, column by column: byte 4c + r is row r of column c (FIPS 197).

#![allow(unsafe_code, reason = "the host's own instructions")]

use super::host::detected;
use super::v128::V128;

detected! {
    "aes":
    /// AESENC: one round of encryption with round key `key`.
    aesenc(key) = "aesenc";
    /// AESENCLAST: the last round of encryption.
    aesenclast(key) = "aesenclast";
    /// AESDEC: one round of decryption (equivalent inverse cipher).
    aesdec(key) = "aesdec";
    /// AESDECLAST: the last round of decryption.
    aesdeclast(key) = "aesdeclast";
}

/// AESIMC: inverse MixColumns.
#[inline(always)]
pub fn aesimc(a: V128) -> V128 {
    // InvMixColumns alone: the last encryption round undoes the decryption round's InvShiftRows
    // and InvSubBytes.
    aesdec(aesenclast(a, V128::ZERO), V128::ZERO)
}

/// AESKEYGENASSIST: SubWord of doublewords 1 and 3, each also rotated and with the round
/// constant.
#[inline(always)]
pub fn aeskeygenassist(a: V128, round_constant: u8) -> V128 {
    let words: [u32; 4] = a.lanes();
    let substitute = |word: u32| u32::from_le_bytes(word.to_le_bytes().map(|b| S_BOX[b as usize]));
    let (one, three) = (substitute(words[1]), substitute(words[3]));
    let constant = round_constant as u32;
    V128::from_lanes([one, one.rotate_right(8) ^ constant, three, three.rotate_right(8) ^ constant])
}

/// PCLMULQDQ: the carry-less product of a quadword of `a` (bit 0 of `choice`) and one of `b`
/// (bit 4).
#[inline(always)]
pub fn pclmulqdq(a: V128, b: V128, choice: u8) -> V128 {
    let x = V128::from_low(if choice & 1 != 0 { a.high() } else { a.low() });
    let y = V128::from_low(if choice & 0x10 != 0 { b.high() } else { b.low() });
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("pclmulqdq") {
        let mut result = x.0;
        // SAFETY: reads and writes vector registers only; the instruction is there.
        unsafe {
            core::arch::asm!("pclmulqdq {0}, {1}, 0", inout(xmm_reg) result, in(xmm_reg) y.0,
                options(pure, nomem, nostack, preserves_flags));
        }
        return V128(result);
    }
    V128::from(portable::multiply(x.low(), y.low()))
}

/// Multiplication by x in GF(2^8).
const fn times_x(byte: u8) -> u8 {
    byte << 1 ^ if byte & 0x80 != 0 { 0x1B } else { 0 }
}

const fn multiply_bytes(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = times_x(a);
        b >>= 1;
    }
    product
}

/// SubBytes: the inverse in GF(2^8), then an affine map.
static S_BOX: [u8; 256] = s_box();
/// InvSubBytes.
static INVERSE_S_BOX: [u8; 256] = inverse_s_box();

const fn s_box() -> [u8; 256] {
    let mut table = [0x63; 256];
    // 3 generates the multiplicative group: walk it upwards, its inverse downwards.
    let (mut power, mut inverse) = (1u8, 1u8);
    loop {
        power = multiply_bytes(power, 3);
        inverse = multiply_bytes(inverse, 0xF6);
        let i = inverse;
        table[power as usize] =
            i ^ i.rotate_left(1) ^ i.rotate_left(2) ^ i.rotate_left(3) ^ i.rotate_left(4) ^ 0x63;
        if power == 1 {
            return table;
        }
    }
}

const fn inverse_s_box() -> [u8; 256] {
    let forward = s_box();
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[forward[i] as usize] = i as u8;
        i += 1;
    }
    table
}

mod portable {
    use super::*;

    pub(super) fn aesenc(state: V128, key: V128) -> V128 {
        add_key(mix_columns(substitute_and_shift(state), [2, 3, 1, 1]), key)
    }
    pub(super) fn aesenclast(state: V128, key: V128) -> V128 {
        add_key(substitute_and_shift(state), key)
    }
    pub(super) fn aesdec(state: V128, key: V128) -> V128 {
        add_key(mix_columns(inverse_substitute_and_shift(state), [14, 11, 13, 9]), key)
    }
    pub(super) fn aesdeclast(state: V128, key: V128) -> V128 {
        add_key(inverse_substitute_and_shift(state), key)
    }

    fn add_key(state: [u8; 16], key: V128) -> V128 {
        V128::from(V128::from_lanes(state).bits() ^ key.bits())
    }
    fn substitute_and_shift(state: V128) -> [u8; 16] {
        let s: [u8; 16] = state.lanes();
        std::array::from_fn(|i| S_BOX[s[(i + 4 * (i % 4)) % 16] as usize])
    }
    fn inverse_substitute_and_shift(state: V128) -> [u8; 16] {
        let s: [u8; 16] = state.lanes();
        std::array::from_fn(|i| INVERSE_S_BOX[s[(i + 16 - 4 * (i % 4)) % 16] as usize])
    }
    /// Multiplies each column by the circulant matrix whose first row is `row`.
    fn mix_columns(s: [u8; 16], row: [u8; 4]) -> [u8; 16] {
        std::array::from_fn(|i| {
            let (column, r) = (i / 4 * 4, i % 4);
            (0..4).fold(0, |sum, k| sum ^ multiply_bytes(s[column + k], row[(4 + k - r) % 4]))
        })
    }

    #[cold]
    #[inline(never)]
    pub(super) fn multiply(x: u64, y: u64) -> u128 {
        (0..64).filter(|i| y >> i & 1 != 0).fold(0, |sum, i| sum ^ (x as u128) << i)
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::host::Vectors;
    use super::*;
    use trimotor_test_needs::{host_cpu, skip};

    #[test]
    fn key_expansion_parts_are_the_hosts() {
        if skip(host_cpu("AES", std::arch::is_x86_feature_detected!("aes"))) {
            return;
        }
        let mut vectors = Vectors::new();
        for _ in 0..1000 {
            let a = vectors.vector();
            let (imc, assist);
            // SAFETY: reads and writes vector registers only.
            unsafe {
                std::arch::asm!("aesimc {0}, {1}", lateout(xmm_reg) imc, in(xmm_reg) a.0);
                std::arch::asm!("aeskeygenassist {0}, {1}, 0x8d", lateout(xmm_reg) assist, in(xmm_reg) a.0);
            }
            assert_eq!(aesimc(a), V128(imc));
            assert_eq!(aeskeygenassist(a, 0x8D), V128(assist));
        }
    }

    #[test]
    fn carry_less_products_are_the_hosts() {
        if skip(host_cpu("PCLMULQDQ", std::arch::is_x86_feature_detected!("pclmulqdq"))) {
            return;
        }
        let mut vectors = Vectors::new();
        for _ in 0..1000 {
            let (a, b) = (vectors.vector(), vectors.vector());
            let mut product = a.0;
            // SAFETY: reads and writes vector registers only.
            unsafe { std::arch::asm!("pclmulqdq {0}, {1}, 0x01", inout(xmm_reg) product, in(xmm_reg) b.0) };
            assert_eq!(pclmulqdq(a, b, 0x01), V128(product));
            assert_eq!(V128::from(portable::multiply(a.high(), b.low())), V128(product));
            assert_eq!(pclmulqdq(b, a, 0x10), V128(product));
        }
    }
}
