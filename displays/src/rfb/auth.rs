//! VNC Authentication (RFC 6143): a challenge, encrypted by DES with the password.

use crate::secrets;
use des::Des;
use des::cipher::{Array, BlockCipherEncrypt, KeyInit};

/// Bytes of the challenge and of its answer.
pub const CHALLENGE_BYTES: usize = 16;

/// Characters of a password that count: the rest of a longer one is not looked at.
pub const PASSWORD_CHARACTERS: usize = 8;

/// The right answer to a challenge.
pub fn answer(challenge: &[u8; CHALLENGE_BYTES], password: &str) -> [u8; CHALLENGE_BYTES] {
    let mut key = [0; PASSWORD_CHARACTERS];
    // The first implementation took the bits of each byte from the other end; all others follow.
    key.iter_mut().zip(password.bytes()).for_each(|(to, byte)| *to = byte.reverse_bits());
    let cipher = Des::new(&Array(key));
    let mut answer = *challenge;
    for block in answer.chunks_exact_mut(8) {
        let mut encrypted = Array::default();
        encrypted.copy_from_slice(block);
        cipher.encrypt_block(&mut encrypted);
        block.copy_from_slice(&encrypted);
    }
    answer
}

/// Whether an answer is right.
pub fn is_right(answered: &[u8], challenge: &[u8; CHALLENGE_BYTES], password: &str) -> bool {
    secrets::same(answered, &answer(challenge, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_s_answer_is_right() {
        let challenge = *b"0123456789abcdef";
        let right = answer(&challenge, "secret");
        assert!(is_right(&right, &challenge, "secret"));
        for wrong in ["", "Secret", "secret1"] {
            assert!(!is_right(&right, &challenge, wrong), "{wrong}");
        }
        assert!(!is_right(&right[..8], &challenge, "secret"));
        // Only eight characters count.
        assert!(is_right(&answer(&challenge, "12345678"), &challenge, "123456789"));
    }

    #[test]
    fn the_cipher_is_des_with_the_key_s_bits_turned_around() {
        // FIPS 46's well-known pair: key 133457799BBCDFF1, plain text 0123456789ABCDEF, cipher text 85E813540F0AB405.
        let key = [0x13u8, 0x34, 0x57, 0x79, 0x9B, 0xBC, 0xDF, 0xF1].map(u8::reverse_bits);
        let plain = [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF];
        let cipher = Des::new(&Array(key.map(u8::reverse_bits)));
        let mut block = Array(plain);
        cipher.encrypt_block(&mut block);
        assert_eq!(block.0, [0x85, 0xE8, 0x13, 0x54, 0x0F, 0x0A, 0xB4, 0x05]);
    }
}
