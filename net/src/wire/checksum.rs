//! The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words.

use std::net::IpAddr;

/// A sum that is not yet folded. Words are in the host's byte order: the sum has the property that this does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes. All parts but the last must have an even length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut sum = self.0;
        let mut quads = bytes.chunks_exact(4);
        // 32-bit words into 64-bit sums: no carry is lost below 16 GiB, and the compiler makes vectors of it.
        for quad in quads.by_ref() {
            sum += u64::from(u32::from_ne_bytes([quad[0], quad[1], quad[2], quad[3]]));
        }
        let rest = quads.remainder();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }
    /// Adds a number as it is on the wire.
    #[must_use]
    pub fn number(self, number: u16) -> Self {
        Self(self.0 + u64::from(number.to_be()))
    }
    /// Adds the pseudo header of TCP, UDP and ICMPv6 (RFC 9293, 3.1; RFC 8200, 8.1). Addresses of two versions count as the source's.
    #[must_use]
    pub fn pseudo_header(self, source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Self {
        let sum = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.bytes(&source.octets()).bytes(&destination.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.bytes(&source.octets()).bytes(&destination.octets())
            }
            _ => self,
        };
        sum.number((length >> 16) as u16).number(length as u16).number(protocol.into())
    }
    /// The folded sum, as it is on the wire, not complemented: zero only where all was zero.
    pub fn folded(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xFFFF {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        (sum as u16).to_ne_bytes()
    }
    /// The checksum, as it is on the wire.
    pub fn checksum(self) -> [u8; 2] {
        let [a, b] = self.folded();
        [!a, !b]
    }
    /// Whether the sum over a part with its checksum says that it arrived as it was sent.
    pub fn is_right(self) -> bool {
        self.folded() == [0xFF, 0xFF]
    }
}

/// A checksum of UDP: zero would say that there is none (RFC 768).
pub fn never_zero(checksum: [u8; 2]) -> [u8; 2] {
    if checksum == [0, 0] { [0xFF, 0xFF] } else { checksum }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7];
        assert_eq!(Sum::default().bytes(&bytes).folded(), [0xDD, 0xF2]);
        assert_eq!(Sum::default().bytes(&bytes[..2]).bytes(&bytes[2..]).folded(), [0xDD, 0xF2]);
    }

    #[test]
    fn any_length_sums_as_word_by_word() {
        for length in 0..70_usize {
            let bytes: Vec<u8> = (0..length).map(|n| (n * 151 + 7) as u8).collect();
            let mut slow = 0_u32;
            for pair in bytes.chunks(2) {
                slow += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            }
            while slow > 0xFFFF {
                slow = (slow & 0xFFFF) + (slow >> 16);
            }
            assert_eq!(Sum::default().bytes(&bytes).folded(), (slow as u16).to_be_bytes(), "{length}");
        }
    }
}
