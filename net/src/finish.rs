//! What a sender left open is done: checksums are filled in, and long frames cut, for networks that want whole frames.

use crate::frame::{Checksum, Frame, Segmentation, SegmentationKind};
use crate::wire::checksum::{Sum, never_zero};
use crate::wire::headers::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, Tcp, Udp, protocol, tcp_flags,
};
use crate::wire::ip::Packet;
use std::net::IpAddr;

/// Pieces of a frame at most: 64 KiB in segments that still make sense.
const MOST_PIECES: usize = 1024;

impl Frame {
    /// Gives `each` the frame as it is sent on a wire: with its checksum, and in pieces if it is meant to be cut.
    /// A frame that contradicts itself is dropped.
    pub fn finish(self, mut each: impl FnMut(Frame)) {
        match (self.segmentation, self.checksum) {
            (Some(segmentation), _) => _ = cut(&self, segmentation, &mut each),
            (None, Some(checksum)) => {
                let mut bytes = self.bytes;
                if fill_in(&mut bytes, checksum).is_some() {
                    each(Frame { bytes, verified: true, ..Frame::default() });
                }
            }
            (None, None) => each(self),
        }
    }
}

/// Fills in a checksum whose field has the sum of the pseudo header.
fn fill_in(bytes: &mut [u8], Checksum { start, offset }: Checksum) -> Option<()> {
    let part = bytes.get_mut(start.into()..)?;
    let at = usize::from(offset);
    part.get(at..at + 2)?;
    let checksum = never_zero(Sum::default().bytes(part).checksum());
    part[at..at + 2].copy_from_slice(&checksum);
    Some(())
}

/// The headers of a long frame, and where its payload is.
struct Long<'a> {
    frame: &'a Frame,
    packet: Packet,
    /// Where the header of TCP or UDP begins, and its payload.
    transport: usize,
    payload: usize,
}

impl<'a> Long<'a> {
    fn read(frame: &'a Frame, kind: SegmentationKind) -> Option<Self> {
        let packet = Packet::read(frame)?;
        let bytes = &frame.bytes[packet.payload.clone()];
        let header = match kind {
            SegmentationKind::Udp => Udp::split(bytes).map(|_| Udp::BYTES)?,
            _ => Tcp::split(bytes)?.0.header_bytes(),
        };
        let is_right = match kind {
            SegmentationKind::Tcp4 => packet.source.is_ipv4() && packet.protocol == protocol::TCP,
            SegmentationKind::Tcp6 => packet.source.is_ipv6() && packet.protocol == protocol::TCP,
            SegmentationKind::Udp => packet.protocol == protocol::UDP,
        };
        let shortest = if kind == SegmentationKind::Udp { Udp::BYTES } else { Tcp::BYTES };
        if !is_right || packet.fragment.is_some() || header < shortest || header > bytes.len() {
            return None;
        }
        let transport = packet.payload.start;
        Some(Self { frame, packet, transport, payload: transport + header })
    }
    /// A piece: `begin` is where it lies in the payload, `n` which one it is.
    fn piece(
        &self,
        begin: usize,
        payload: &[u8],
        n: usize,
        is_last: bool,
        kind: SegmentationKind,
    ) -> Option<Frame> {
        let mut bytes = Vec::with_capacity(self.payload + payload.len());
        bytes.extend_from_slice(&self.frame.bytes[..self.payload]);
        bytes.extend_from_slice(payload);
        self.ip_header(&mut bytes, n)?;
        let transport = &mut bytes[self.transport..];
        let length = transport.len();
        let (number, field) = match kind {
            SegmentationKind::Udp => {
                let (udp, _) = Udp::split_mut(transport)?;
                udp.length = (length.min(0xFFFF) as u16).into();
                (protocol::UDP, 6)
            }
            _ => {
                let (tcp, _) = Tcp::split_mut(transport)?;
                tcp.sequence = tcp.sequence.get().wrapping_add(begin as u32).into();
                let mut flags = tcp.offset_and_flags.get();
                if !is_last {
                    flags &= !(tcp_flags::FIN | tcp_flags::PSH);
                }
                if n > 0 {
                    flags &= !tcp_flags::CWR;
                }
                tcp.offset_and_flags = flags.into();
                (protocol::TCP, 16)
            }
        };
        transport[field..field + 2].fill(0);
        let (source, destination): (IpAddr, IpAddr) = (self.packet.source, self.packet.destination);
        let sum = Sum::default().pseudo_header(source, destination, number, length).bytes(transport);
        transport[field..field + 2].copy_from_slice(&never_zero(sum.checksum()));
        Some(Frame { bytes, verified: true, ..Frame::default() })
    }
    fn ip_header(&self, bytes: &mut [u8], n: usize) -> Option<()> {
        let length = bytes.len() - Ethernet::BYTES;
        let (ethernet, rest) = Ethernet::split_mut(bytes)?;
        match ethernet.kind.get() {
            ETHERTYPE_IPV4 => {
                let (ip, _) = Ipv4::split_mut(rest)?;
                ip.length = u16::try_from(length).ok()?.into();
                ip.id = ip.id.get().wrapping_add(n as u16).into();
                ip.checksum = [0; 2];
                let header = ip.header_bytes();
                let checksum = Sum::default().bytes(&rest[..header]).checksum();
                rest[10..12].copy_from_slice(&checksum);
            }
            ETHERTYPE_IPV6 => {
                let (ip, _) = Ipv6::split_mut(rest)?;
                ip.length = u16::try_from(length - Ipv6::BYTES).ok()?.into();
            }
            _ => return None,
        }
        Some(())
    }
}

fn cut(frame: &Frame, segmentation: Segmentation, each: &mut impl FnMut(Frame)) -> Option<()> {
    let Segmentation { kind, payload: step, .. } = segmentation;
    let long = Long::read(frame, kind)?;
    let payload = &frame.bytes[long.payload..long.packet.payload.end];
    let step = usize::from(step);
    if step == 0 || payload.len().div_ceil(step) > MOST_PIECES {
        return None;
    }
    if payload.is_empty() {
        each(long.piece(0, payload, 0, true, kind)?);
        return Some(());
    }
    let last = payload.len().div_ceil(step) - 1;
    for (n, part) in payload.chunks(step).enumerate() {
        each(long.piece(n * step, part, n, n == last, kind)?);
    }
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::build::{IpHeader, append_ethernet};
    use zerocopy::IntoBytes;

    /// A long frame of TCP with a numbered payload.
    fn long(is_ipv4: bool, payload: usize, ip_length_is_zero: bool) -> Frame {
        let (a, b): (IpAddr, IpAddr) = match is_ipv4 {
            true => ([10, 0, 2, 15].into(), [10, 0, 2, 2].into()),
            false => ("fec0::15".parse().unwrap(), "fec0::2".parse().unwrap()),
        };
        let header = IpHeader::new(a, b, protocol::TCP);
        let mut bytes = Vec::new();
        append_ethernet(&mut bytes, [1; 6], [2; 6], header.ethertype());
        header.append(&mut bytes, 20 + payload);
        if ip_length_is_zero {
            // As a driver of the e1000 leaves it.
            bytes[16..18].fill(0);
            bytes[24..26].fill(0);
        }
        let start = bytes.len() as u16;
        let flags = tcp_flags::ACK | tcp_flags::PSH | tcp_flags::FIN | tcp_flags::CWR;
        let tcp = Tcp {
            sequence: 0xFFFF_FFF0.into(),
            offset_and_flags: (5 << 12 | flags).into(),
            ..Tcp::default()
        };
        bytes.extend_from_slice(tcp.as_bytes());
        bytes.extend((0..payload).map(|n| n as u8));
        let kind = if is_ipv4 { SegmentationKind::Tcp4 } else { SegmentationKind::Tcp6 };
        Frame {
            bytes,
            checksum: Some(Checksum { start, offset: 16 }),
            segmentation: Some(Segmentation { kind, payload: 1000, ecn: true }),
            ..Frame::default()
        }
    }
    fn finished(frame: Frame) -> Vec<Frame> {
        let mut pieces = Vec::new();
        frame.finish(|piece| pieces.push(piece));
        pieces
    }

    #[test]
    fn pieces_are_whole_packets_that_make_the_payload_again() {
        for (is_ipv4, is_zero) in [(true, false), (true, true), (false, false)] {
            let frame = long(is_ipv4, 2500, is_zero);
            let mut payload = Vec::new();
            let pieces = finished(frame);
            assert_eq!(pieces.len(), 3);
            for (n, mut piece) in pieces.into_iter().enumerate() {
                piece.verified = false;
                let packet = Packet::read(&piece).unwrap();
                assert!(packet.checksum_is_right(&piece));
                let (tcp, data) = Tcp::split(&piece.bytes[packet.payload.clone()]).unwrap();
                assert_eq!(tcp.sequence.get(), 0xFFFF_FFF0_u32.wrapping_add(n as u32 * 1000));
                assert_eq!(tcp.flags() & tcp_flags::FIN != 0, n == 2);
                assert_eq!(tcp.flags() & tcp_flags::PSH != 0, n == 2);
                assert_eq!(tcp.flags() & tcp_flags::CWR != 0, n == 0);
                payload.extend_from_slice(data);
            }
            assert!(payload.iter().enumerate().all(|(n, byte)| *byte == n as u8) && payload.len() == 2500);
        }
    }

    #[test]
    fn a_checksum_is_filled_in() {
        let mut frame = long(true, 100, false);
        frame.segmentation = None;
        let sum =
            Sum::default().pseudo_header([10, 0, 2, 15].into(), [10, 0, 2, 2].into(), protocol::TCP, 120);
        frame.bytes[50..52].copy_from_slice(&sum.folded());
        let mut piece = finished(frame).remove(0);
        piece.verified = false;
        assert!(Packet::read(&piece).unwrap().checksum_is_right(&piece));
    }

    #[test]
    fn what_contradicts_itself_is_dropped() {
        let mut frame = long(true, 100, false);
        frame.segmentation = None;
        frame.checksum = Some(Checksum { start: 60_000, offset: 60_000 });
        assert!(finished(frame).is_empty());
        for change in [
            |frame: &mut Frame| frame.bytes.truncate(40),
            |frame: &mut Frame| frame.bytes.clear(),
            |frame: &mut Frame| frame.bytes[46] = 0xF0,
            |frame: &mut Frame| frame.bytes[14] = 0x4F,
            |frame: &mut Frame| frame.segmentation.as_mut().unwrap().payload = 0,
            |frame: &mut Frame| frame.segmentation.as_mut().unwrap().kind = SegmentationKind::Udp,
            |frame: &mut Frame| frame.segmentation.as_mut().unwrap().kind = SegmentationKind::Tcp6,
        ] {
            let mut frame = long(true, 100, false);
            change(&mut frame);
            finished(frame);
        }
    }
}
