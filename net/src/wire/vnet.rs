//! The header that Linux's TAP interfaces put before a frame, with what is left open in it: `struct virtio_net_hdr`
//! (virtio 1.2, 5.1.6), without the number of buffers, in the host's byte order.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | flags: 1 a checksum is missing, 2 checksums are right |
//! | 1 | kind of segmentation: 1 TCP over IPv4, 4 TCP over IPv6, 5 UDP; with 80h congestion was told |
//! | 2–3 | length of the headers |
//! | 4–5 | payload of a segment |
//! | 6–7 | where the checksum begins |
//! | 8–9 | where in that it belongs |

use super::headers::{Tcp, Udp};
use crate::frame::{Checksum, Frame, Segmentation, SegmentationKind};

/// Bytes of the header.
pub const BYTES: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const IS_VALID: u8 = 2;
const ECN: u8 = 0x80;

/// The header of a frame.
pub fn header(frame: &Frame) -> [u8; BYTES] {
    let mut header = [0; BYTES];
    if frame.verified {
        header[0] = IS_VALID;
    }
    if let Some(checksum) = frame.checksum {
        header[0] = NEEDS_CHECKSUM;
        header[6..8].copy_from_slice(&checksum.start.to_ne_bytes());
        header[8..10].copy_from_slice(&checksum.offset.to_ne_bytes());
    }
    if let (Some(Segmentation { kind, payload, ecn }), Some(checksum)) = (frame.segmentation, frame.checksum)
    {
        let start = usize::from(checksum.start);
        let transport = frame.bytes.get(start..).unwrap_or_default();
        let (kind, length) = match kind {
            SegmentationKind::Tcp4 => (1, Tcp::split(transport).map(|(tcp, _)| tcp.header_bytes())),
            SegmentationKind::Tcp6 => (4, Tcp::split(transport).map(|(tcp, _)| tcp.header_bytes())),
            SegmentationKind::Udp => (5, Some(Udp::BYTES)),
        };
        header[1] = kind | if ecn { ECN } else { 0 };
        let length = (start + length.unwrap_or(0)).min(0xFFFF) as u16;
        header[2..4].copy_from_slice(&length.to_ne_bytes());
        header[4..6].copy_from_slice(&payload.to_ne_bytes());
    }
    header
}

/// The frame behind a header: `None` where the header says what no frame can be.
pub fn frame(header: &[u8; BYTES], bytes: Vec<u8>) -> Option<Frame> {
    let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let checksum =
        (header[0] & NEEDS_CHECKSUM != 0).then(|| Checksum { start: number(6), offset: number(8) });
    let kind = match header[1] & !ECN {
        0 => None,
        1 => Some(SegmentationKind::Tcp4),
        4 => Some(SegmentationKind::Tcp6),
        5 => Some(SegmentationKind::Udp),
        _ => return None,
    };
    let segmentation = kind.map(|kind| Segmentation { kind, payload: number(4), ecn: header[1] & ECN != 0 });
    if segmentation.is_some_and(|segmentation| segmentation.payload == 0 || checksum.is_none()) {
        return None;
    }
    Some(Frame { bytes, checksum, segmentation, verified: header[0] & IS_VALID != 0, queue: None })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_through_its_header() {
        let mut bytes = vec![0; 100];
        bytes[46] = 0x80;
        for frame in [
            Frame::from(bytes.clone()),
            Frame { verified: true, ..bytes.clone().into() },
            Frame { checksum: Some(Checksum { start: 34, offset: 16 }), ..bytes.clone().into() },
            Frame {
                checksum: Some(Checksum { start: 34, offset: 16 }),
                segmentation: Some(Segmentation { kind: SegmentationKind::Tcp4, payload: 20, ecn: true }),
                ..bytes.clone().into()
            },
        ] {
            let header = header(&frame);
            assert_eq!(super::frame(&header, frame.bytes.clone()).unwrap(), frame);
            let length = u16::from_ne_bytes([header[2], header[3]]);
            assert_eq!(length, if frame.segmentation.is_some() { 34 + 32 } else { 0 });
        }
    }
}
