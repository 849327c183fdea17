//! Segments: those of the guest are read, those for the guest are made.

use super::sequence::Seq;
use crate::frame::{Checksum, Frame, Offloads, Segmentation, SegmentationKind};
use crate::user::link::Link;
use crate::wire::build::IpHeader;
use crate::wire::checksum::Sum;
use crate::wire::headers::{Tcp, protocol, tcp_flags};
use crate::wire::ip::Packet;
use std::net::SocketAddr;
use std::ops::Range;
use zerocopy::IntoBytes;

/// The segment size where a SYN names none (RFC 9293, 3.7.1).
const DEFAULT_MSS: u16 = 536;
/// Segments smaller than this are not worth their headers; a guest that asks for them gets this.
const SMALLEST_MSS: u16 = 88;
/// The largest shift of a window (RFC 7323, 2.3).
const MOST_SCALE: u8 = 14;

/// What a segment's header says.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The flags, as in [`tcp_flags`].
    pub flags: u16,
    /// The first byte's number.
    pub sequence: Seq,
    /// The next number that the sender expects, with the flag ACK.
    pub acknowledgment: Seq,
    /// The window, not yet scaled.
    pub window: u16,
    /// The largest segment that the sender takes; of a SYN.
    pub mss: u16,
    /// The shift of windows; of a SYN.
    pub scale: Option<u8>,
    /// The sender understands selective acknowledgments; of a SYN.
    pub sack: bool,
    /// The payload, as a range of the frame's bytes.
    pub payload: Range<usize>,
}

impl Segment {
    /// Whether a flag is set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
    /// Numbers that it takes: bytes, SYN and FIN.
    pub fn length(&self) -> usize {
        self.payload.len() + usize::from(self.has(tcp_flags::SYN)) + usize::from(self.has(tcp_flags::FIN))
    }
    /// Reads the header behind an IP header, with the ports of both ends: sender and receiver.
    pub fn read(frame: &Frame, packet: &Packet) -> Option<(Self, SocketAddr, SocketAddr)> {
        let bytes = &frame.bytes[packet.payload.clone()];
        let (header, _) = Tcp::split(bytes)?;
        let header_bytes = header.header_bytes();
        if header_bytes < Tcp::BYTES || header_bytes > bytes.len() {
            return None;
        }
        let mut segment = Self {
            flags: header.flags(),
            sequence: Seq(header.sequence.get()),
            acknowledgment: Seq(header.acknowledgment.get()),
            window: header.window.get(),
            mss: DEFAULT_MSS,
            scale: None,
            sack: false,
            payload: packet.payload.start + header_bytes..packet.payload.end,
        };
        if segment.has(tcp_flags::SYN) {
            segment.read_options(&bytes[Tcp::BYTES..header_bytes]);
        }
        let source = SocketAddr::new(packet.source, header.source.get());
        let destination = SocketAddr::new(packet.destination, header.destination.get());
        Some((segment, source, destination))
    }
    fn read_options(&mut self, mut options: &[u8]) {
        loop {
            options = match options {
                [] | [0, ..] => return,
                [1, rest @ ..] => rest,
                [kind, length, rest @ ..] => {
                    let Some((value, rest)) =
                        usize::from(*length).checked_sub(2).and_then(|length| rest.split_at_checked(length))
                    else {
                        return;
                    };
                    match (kind, value) {
                        (2, [high, low]) => {
                            self.mss = u16::from_be_bytes([*high, *low]).max(SMALLEST_MSS);
                        }
                        (4, []) => self.sack = true,
                        (3, [shift]) => self.scale = Some((*shift).min(MOST_SCALE)),
                        _ => {}
                    }
                    rest
                }
                [_] => return,
            };
        }
    }
}

/// A segment for the guest.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Whom it comes from, as the guest sees it.
    pub source: SocketAddr,
    /// The guest.
    pub destination: SocketAddr,
    /// The first byte's number.
    pub sequence: Seq,
    /// The next number that is expected; with the flag ACK.
    pub acknowledgment: Seq,
    /// The flags.
    pub flags: u16,
    /// The window as it is in the header.
    pub window: u16,
    /// Options, a multiple of four bytes.
    pub options: &'a [u8],
    /// The payload, in two pieces.
    pub payload: (&'a [u8], &'a [u8]),
    /// Bytes of payload in each segment on the wire.
    pub mss: u16,
}

impl Outgoing<'_> {
    /// Gives it to the guest: its number in the card's queue, or nothing where it was not sent.
    pub fn send(&self, link: &mut Link, accepts: Offloads) -> Option<u64> {
        let header = IpHeader::new(self.source.ip(), self.destination.ip(), protocol::TCP);
        let payload = self.payload.0.len() + self.payload.1.len();
        let tcp_bytes = Tcp::BYTES + self.options.len();
        let length = tcp_bytes + payload;
        let (mut bytes, known) = link.begin(&header, header.bytes() + length);
        header.append(&mut bytes, length);
        let start = bytes.len();
        let sum = Sum::default().pseudo_header(header.source, header.destination, protocol::TCP, length);
        let tcp = Tcp {
            source: self.source.port().into(),
            destination: self.destination.port().into(),
            sequence: self.sequence.0.into(),
            acknowledgment: self.acknowledgment.0.into(),
            offset_and_flags: ((tcp_bytes as u16 / 4) << 12 | self.flags).into(),
            window: self.window.into(),
            checksum: sum.folded(),
            urgent: 0.into(),
        };
        bytes.extend_from_slice(tcp.as_bytes());
        bytes.extend_from_slice(self.options);
        bytes.extend_from_slice(self.payload.0);
        bytes.extend_from_slice(self.payload.1);
        let mut frame = Frame { bytes, verified: true, ..Frame::default() };
        if accepts.checksum {
            frame.checksum = Some(Checksum { start: start as u16, offset: 16 });
        } else {
            // The sum of the pseudo header is in the field already.
            let checksum = Sum::default().bytes(&frame.bytes[start..]).checksum();
            frame.bytes[start + 16..start + 18].copy_from_slice(&checksum);
        }
        if payload > usize::from(self.mss) {
            let kind = if self.source.is_ipv4() { SegmentationKind::Tcp4 } else { SegmentationKind::Tcp6 };
            frame.segmentation = Some(Segmentation { kind, payload: self.mss, ecn: false });
        }
        link.end(&header, frame, known)
    }
}

/// The answer to a segment that belongs to no connection (RFC 9293, 3.10.7.1), unless it is a reset itself.
pub fn refuse(link: &mut Link, segment: &Segment, guest: SocketAddr, remote: SocketAddr) {
    if segment.has(tcp_flags::RST) {
        return;
    }
    let (flags, sequence, acknowledgment) = if segment.has(tcp_flags::ACK) {
        (tcp_flags::RST, segment.acknowledgment, Seq(0))
    } else {
        (tcp_flags::RST | tcp_flags::ACK, Seq(0), segment.sequence + segment.length())
    };
    let reset = Outgoing {
        source: remote,
        destination: guest,
        sequence,
        acknowledgment,
        flags,
        window: 0,
        options: &[],
        payload: (&[], &[]),
        mss: DEFAULT_MSS,
    };
    reset.send(link, Offloads::default());
}
