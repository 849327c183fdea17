//! The header of a frame (5.1.6): what was left open in it.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | 1: a checksum is missing; 2: all checksums are right |
//! | 1 | how the frame is to be cut: 0 not at all, 1 TCP over IPv4, 4 TCP over IPv6; 80h: ECN |
//! | 2 to 5 | bytes of headers, a hint; bytes of payload in each piece |
//! | 6 to 9 | where summed bytes begin; where the checksum belongs, from there |
//! | 10, 11 | to the guest, with `MRG_RXBUF` or `VERSION_1`: buffers that the frame takes |

use super::feature;
use crate::virtio::registers::feature::VERSION_1;
use trimotor_net::{Checksum, Frame, Offloads, Segmentation, SegmentationKind};

/// Bytes of the longest header.
pub(super) const MOST_BYTES: usize = 12;
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const ECN: u8 = 0x80;

/// Bytes of the header for a driver with these features.
pub(super) fn bytes(features: u64) -> u64 {
    if features & (feature::MRG_RXBUF | VERSION_1) != 0 { 12 } else { 10 }
}
/// Says in how many buffers the frame is.
pub(super) fn set_buffers(header: &mut [u8], buffers: u16) {
    if let Some(place) = header.get_mut(10..12) {
        place.copy_from_slice(&buffers.to_le_bytes());
    }
}

/// A header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Header {
    flags: u8,
    segmentation: u8,
    header_bytes: u16,
    payload: u16,
    start: u16,
    offset: u16,
}

impl Header {
    /// Out of a buffer; what is not there is zero.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let half = |at: usize| u16::from_le_bytes([byte(at), byte(at + 1)]);
        Self {
            flags: byte(0),
            segmentation: byte(1),
            header_bytes: half(2),
            payload: half(4),
            start: half(6),
            offset: half(8),
        }
    }
    fn to_bytes(self, length: usize) -> Vec<u8> {
        let Self { flags, segmentation, header_bytes, payload, start, offset } = self;
        let mut bytes = vec![flags, segmentation];
        [header_bytes, payload, start, offset].iter().for_each(|half| bytes.extend(half.to_le_bytes()));
        bytes.resize(length, 0);
        bytes
    }

    /// The frame of the guest that this header is of, as the network takes it; none where the header cannot be.
    pub(super) fn frame(self, mut bytes: Vec<u8>, features: u64, accepts: Offloads) -> Option<Frame> {
        let has = |bit| features & bit != 0;
        let open = self.flags & NEEDS_CSUM != 0 && has(feature::CSUM);
        let place = usize::from(self.start) + usize::from(self.offset);
        if open && place + 2 > bytes.len() {
            return None;
        }
        let segmentation = match self.segmentation & !ECN {
            0 => None,
            kind => {
                let (kind, needs) = match kind {
                    TCP4 => (SegmentationKind::Tcp4, feature::HOST_TSO4),
                    TCP6 => (SegmentationKind::Tcp6, feature::HOST_TSO6),
                    _ => return None,
                };
                let ecn = self.segmentation & ECN != 0;
                if !open || self.payload == 0 || !has(needs) || ecn && !has(feature::HOST_ECN) {
                    return None;
                }
                Some(Segmentation { kind, payload: self.payload, ecn })
            }
        };
        let checksum = Checksum { start: self.start, offset: self.offset };
        let checksum = match open {
            true if accepts.checksum => Some(checksum),
            true => {
                fill(&mut bytes, checksum);
                None
            }
            false => None,
        };
        Some(Frame { bytes, checksum, segmentation, ..Frame::default() })
    }
    /// The header of a frame for the guest, which takes `offloads`, and the frame's bytes where they had to be changed.
    pub(super) fn for_guest(frame: &Frame, offloads: u64, features: u64) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut header, mut filled) = (Self::default(), None);
        let takes = offloads & feature::GUEST_CSUM != 0;
        if let Some(checksum) = frame.checksum {
            if takes {
                header.flags = NEEDS_CSUM;
                (header.start, header.offset) = (checksum.start, checksum.offset);
            } else {
                let mut bytes = frame.bytes.clone();
                fill(&mut bytes, checksum);
                filled = Some(bytes);
            }
        } else if frame.verified && takes {
            header.flags = DATA_VALID;
        }
        if let (Some(cut), true) = (frame.segmentation, takes) {
            let kind = match cut.kind {
                SegmentationKind::Tcp4 => TCP4,
                SegmentationKind::Tcp6 => TCP6,
                // Never told to a network that the card takes them.
                SegmentationKind::Udp => 0,
            };
            header.segmentation = kind | if cut.ecn { ECN } else { 0 };
            header.payload = cut.payload;
            // TCP says in the upper half of its thirteenth byte how long its header is, in words.
            let tcp = usize::from(header.start);
            let words = frame.bytes.get(tcp + 12).map_or(5, |byte| byte >> 4);
            header.header_bytes = header.start.saturating_add(4 * u16::from(words));
        }
        (header.to_bytes(bytes(features) as usize), filled)
    }
}

/// Fills in a checksum (RFC 1071), where the frame has its place.
fn fill(bytes: &mut [u8], Checksum { start, offset }: Checksum) {
    let (start, place) = (usize::from(start), usize::from(start) + usize::from(offset));
    if start < bytes.len() {
        let end = bytes.len();
        crate::e1000::checksum::fill(bytes, start, end, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = VERSION_1
        | feature::CSUM
        | feature::GUEST_OFFLOADS
        | feature::HOST_TSO4
        | feature::HOST_TSO6
        | feature::HOST_ECN;

    #[test]
    fn what_the_network_does_not_take_open_is_filled_in() {
        let mut bytes = vec![0; 60];
        (bytes[34], bytes[36]) = (0x12, 0x34);
        let header = Header { flags: NEEDS_CSUM, start: 34, offset: 6, ..Header::default() };
        let open = header.frame(bytes.clone(), ALL, Offloads { checksum: true, ..Offloads::default() });
        assert_eq!(open.unwrap().checksum, Some(Checksum { start: 34, offset: 6 }));
        let done = header.frame(bytes.clone(), ALL, Offloads::default()).unwrap();
        assert_eq!((done.checksum, &done.bytes[40..42]), (None, &(!0x4600u16).to_be_bytes()[..]));
        // Without the feature the field says nothing.
        let plain = header.frame(bytes.clone(), VERSION_1, Offloads::default()).unwrap();
        assert_eq!(plain.bytes, bytes);
    }

    #[test]
    fn headers_that_cannot_be_have_no_frame() {
        let good = Header {
            flags: NEEDS_CSUM,
            segmentation: TCP4,
            payload: 1000,
            start: 34,
            offset: 16,
            ..Header::default()
        };
        let takes_all = Offloads { checksum: true, tcp4: true, tcp6: true, ecn: true, udp: false };
        let frame = |header: Header, features| header.frame(vec![0; 2000], features, takes_all);
        let cut = frame(good, ALL).unwrap().segmentation;
        assert_eq!(cut, Some(Segmentation { kind: SegmentationKind::Tcp4, payload: 1000, ecn: false }));
        for (header, features) in [
            (Header { start: 1999, offset: 0, ..good }, ALL),
            (Header { start: 0xFFFF, offset: 0xFFFF, ..good }, ALL),
            (Header { payload: 0, ..good }, ALL),
            (Header { segmentation: 3, ..good }, ALL),
            (Header { flags: 0, ..good }, ALL),
            (Header { segmentation: TCP4 | ECN, ..good }, ALL & !feature::HOST_ECN),
            (Header { segmentation: TCP6, ..good }, ALL & !feature::HOST_TSO6),
        ] {
            assert_eq!(frame(header, features), None, "{header:?}");
        }
    }

    #[test]
    fn the_guest_gets_what_it_takes() {
        let mut frame = Frame::from(vec![0; 3000]);
        frame.bytes[34 + 12] = 0x80;
        frame.checksum = Some(Checksum { start: 34, offset: 16 });
        frame.segmentation = Some(Segmentation { kind: SegmentationKind::Tcp4, payload: 1460, ecn: true });
        let (header, filled) = Header::for_guest(&frame, feature::GUEST_OFFLOADS, ALL);
        assert_eq!(header, [1, 0x81, 66, 0, 0xB4, 5, 34, 0, 16, 0, 0, 0]);
        assert_eq!(filled, None);
        let (header, filled) = Header::for_guest(&frame, 0, 0);
        assert_eq!(header, [0; 10]);
        assert!(filled.is_some_and(|bytes| bytes != frame.bytes));
        let verified = Frame { verified: true, ..Frame::from(vec![0; 60]) };
        assert_eq!(Header::for_guest(&verified, feature::GUEST_CSUM, ALL).0[0], DATA_VALID);
        assert_eq!(Header::for_guest(&verified, 0, ALL).0[0], 0);
    }
}
