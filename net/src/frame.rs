//! A frame, and what its sender left to others.
//!
//! A card that is asked to send 64 KiB as one TCP segment need not cut it up where the network behind it takes it
//! whole, and a checksum of bytes that never leave the host is work for nothing. So a frame says what is missing in it, as the
//! header of a virtio network device does (virtio 1.2, 5.1.6): where a checksum belongs, and in which pieces it is to be
//! cut. A network says what it accepts ([`Offloads`]).

use serde::{Deserialize, Serialize};

/// An Ethernet frame without its frame check sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// From the destination address on. With [`Frame::segmentation`] it may be longer than the network's MTU.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// The checksum that is missing, if one is: the field has the sum of the pseudo header.
    pub checksum: Option<Checksum>,
    /// In what pieces the frame is meant to be sent, if in pieces. Then [`Frame::checksum`] is there too.
    pub segmentation: Option<Segmentation>,
    /// All checksums of the frame are known to be right: the receiver need not look.
    pub verified: bool,
    /// The pair of queues that it belongs to, where card or network has several: the one by which the guest sent it, or the one
    /// that the network chose for it. None: whoever gets the frame chooses.
    pub queue: Option<u16>,
}

/// A checksum that is to be filled in: the ones' complement sum of all bytes from `start` to the frame's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// Where the summed bytes begin, in bytes from the frame's first.
    pub start: u16,
    /// Where the sum belongs, in bytes from `start`.
    pub offset: u16,
}

/// How a long frame is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segmentation {
    /// The protocol.
    pub kind: SegmentationKind,
    /// Bytes of payload in each piece but the last.
    pub payload: u16,
    /// TCP: the flag CWR belongs into the first piece only.
    pub ecn: bool,
}

/// The protocol of a frame that is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SegmentationKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP: each piece a datagram (as Linux's UDP GSO).
    Udp,
}

/// What a receiver of frames accepts beside whole, finished ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offloads {
    /// Frames with a checksum that is to be filled in.
    pub checksum: bool,
    /// Long frames of TCP over IPv4.
    pub tcp4: bool,
    /// Long frames of TCP over IPv6.
    pub tcp6: bool,
    /// Long frames of TCP with [`Segmentation::ecn`].
    pub ecn: bool,
    /// Long frames of UDP.
    pub udp: bool,
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }
}
