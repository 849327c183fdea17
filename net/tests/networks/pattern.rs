//! Bytes that tell where in a stream they belong.

use std::io::{Read, Result, Write};

const CHUNK: usize = 64 << 10;

fn fill(buffer: &mut [u8], begin: u64) {
    // `begin` is a multiple of 8.
    for (n, word) in buffer.chunks_mut(8).enumerate() {
        let value = (begin / 8 + n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
    }
}

/// Writes the first `bytes` of the pattern.
pub fn write(to: &mut impl Write, bytes: u64) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < bytes {
        let n = (bytes - at).min(CHUNK as u64) as usize;
        fill(&mut buffer[..n], at);
        to.write_all(&buffer[..n])?;
        at += n as u64;
    }
    Ok(())
}

/// Reads to the end, or `most` bytes, and checks each: how many there were.
pub fn read(from: &mut impl Read, most: u64) -> Result<u64> {
    let (mut buffer, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < most {
        // Whole chunks, so that the pattern's words are whole.
        let mut have = 0;
        let wanted = (most - at).min(CHUNK as u64) as usize;
        while have < wanted {
            match from.read(&mut buffer[have..wanted])? {
                0 => break,
                n => have += n,
            }
        }
        fill(&mut expected[..have], at);
        assert!(buffer[..have] == expected[..have], "wrong bytes at {at}");
        at += have as u64;
        if have < wanted {
            break;
        }
    }
    Ok(at)
}
