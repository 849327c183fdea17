//! The checksum of the Internet's protocols (RFC 1071), as the card makes and looks at it.

/// The ones' complement sum of the 16-bit words of `bytes`, the first byte being the high one of the first word.
pub fn sum(bytes: &[u8]) -> u16 {
    // The sum of words in the host's order is the same with its bytes swapped, and so is that of larger words, folded.
    let mut quads = bytes.chunks_exact(4);
    let total: u64 =
        quads.by_ref().map(|quad| u64::from(u32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]]))).sum();
    let mut last = [0; 4];
    last[..quads.remainder().len()].copy_from_slice(quads.remainder());
    fold(total + u64::from(u32::from_le_bytes(last))).swap_bytes()
}
/// Two sums together.
pub fn add(a: u16, b: u16) -> u16 {
    fold(u64::from(a) + u64::from(b))
}
fn fold(mut total: u64) -> u16 {
    while total > 0xFFFF {
        total = (total & 0xFFFF) + (total >> 16);
    }
    total as u16
}

/// Fills in the checksum of `bytes[start..end]` at `at`; what is there counts, as it is the sum of a pseudo header. Zero means
/// "none" in UDP, and is never written. Nothing happens where there are no such bytes.
pub fn fill(bytes: &mut [u8], start: usize, end: usize, at: usize) {
    let Some(covered) = bytes.get(start..end) else { return };
    let checksum = match !sum(covered) {
        0 => 0xFFFF,
        checksum => checksum,
    };
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The sum of a pseudo header: addresses, which `addresses` are, protocol and length.
pub fn pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> u16 {
    add(add(sum(addresses), u16::from(protocol)), length as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_words() {
        let mut bytes = Vec::new();
        let mut seed = 1u32;
        for length in 0..70usize {
            let words = bytes
                .chunks(2)
                .map(|pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
            let mut expected: u32 = words.sum();
            while expected > 0xFFFF {
                expected = (expected & 0xFFFF) + (expected >> 16);
            }
            assert_eq!(u32::from(sum(&bytes)), expected, "{length}");
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push((seed >> 24) as u8);
        }
        // The example of RFC 1071.
        assert_eq!(sum(&[0, 1, 0xF2, 3, 0xF4, 0xF5, 0xF6, 0xF7]), 0xDDF2);
    }

    #[test]
    fn what_cannot_be_filled_in_stays() {
        let mut bytes = [1, 2, 3, 4];
        for (start, end, at) in [(0, 5, 0), (3, 2, 0), (0, 4, 3), (0, 4, usize::MAX - 2)] {
            fill(&mut bytes, start, end, at);
        }
        assert_eq!(bytes, [1, 2, 3, 4]);
        let mut zero = [0xFF, 0xFF, 0, 0];
        fill(&mut zero, 0, 4, 2);
        assert_eq!(zero, [0xFF; 4]);
    }
}
