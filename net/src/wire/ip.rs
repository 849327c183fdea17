//! An IP packet of either version, checked.

use super::checksum::Sum;
use super::headers::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, IPV4_MORE_FRAGMENTS, Ipv4, Ipv6, Ipv6Fragment, Udp, protocol,
};
use crate::frame::Frame;
use std::net::IpAddr;
use std::ops::Range;

/// Extension headers of IPv6 that are skipped at most: more are nobody's.
const MOST_EXTENSION_HEADERS: usize = 8;

/// What a packet's headers say, and where in the frame its payload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The sender.
    pub source: IpAddr,
    /// The receiver.
    pub destination: IpAddr,
    /// The protocol of the payload.
    pub protocol: u8,
    /// Hops that are left.
    pub ttl: u8,
    /// The payload, as a range of the frame's bytes.
    pub payload: Range<usize>,
    /// The payload is a part only.
    pub fragment: Option<Fragment>,
}

/// Which part of a packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What all parts of a packet have in common, with the addresses.
    pub id: u32,
    /// Where the part belongs, in bytes.
    pub offset: usize,
    /// It is not the last.
    pub more: bool,
}

impl Packet {
    /// Reads the headers of a frame: `None` where they are not IP, cut off, or contradict themselves. Padding behind the packet is left out.
    /// A frame with segmentation need not say its length or its header's checksum: they are filled in when it is cut.
    pub fn read(frame: &Frame) -> Option<Self> {
        let (ethernet, rest) = Ethernet::split(&frame.bytes)?;
        match ethernet.kind.get() {
            ETHERTYPE_IPV4 => Self::ipv4(rest, frame),
            ETHERTYPE_IPV6 => Self::ipv6(rest, frame),
            _ => None,
        }
    }
    fn ipv4(bytes: &[u8], frame: &Frame) -> Option<Self> {
        let (header, _) = Ipv4::split(bytes)?;
        let header_bytes = header.header_bytes();
        let whole = frame.segmentation.is_some();
        let length = if whole { bytes.len() } else { header.length.get().into() };
        if header.version_and_length >> 4 != 4
            || header_bytes < Ipv4::BYTES
            || length < header_bytes
            || length > bytes.len()
            || !(whole || Sum::default().bytes(&bytes[..header_bytes]).is_right())
        {
            return None;
        }
        let flags = header.flags_and_offset.get();
        let offset = usize::from(flags & 0x1FFF) * 8;
        let more = flags & IPV4_MORE_FRAGMENTS != 0;
        Some(Self {
            source: header.source.into(),
            destination: header.destination.into(),
            protocol: header.protocol,
            ttl: header.ttl,
            payload: Ethernet::BYTES + header_bytes..Ethernet::BYTES + length,
            fragment: (more || offset != 0).then(|| Fragment { id: header.id.get().into(), offset, more }),
        })
    }
    fn ipv6(bytes: &[u8], frame: &Frame) -> Option<Self> {
        let (header, rest) = Ipv6::split(bytes)?;
        let length = if frame.segmentation.is_some() { rest.len() } else { header.length.get().into() };
        if header.version_class_label.get() >> 28 != 6 || length > rest.len() {
            return None;
        }
        let mut packet = Self {
            source: header.source.into(),
            destination: header.destination.into(),
            protocol: header.next,
            ttl: header.hops,
            payload: Ethernet::BYTES + Ipv6::BYTES..Ethernet::BYTES + Ipv6::BYTES + length,
            fragment: None,
        };
        for _ in 0..MOST_EXTENSION_HEADERS {
            let payload = &frame.bytes[packet.payload.clone()];
            let skipped = match packet.protocol {
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                    let [next, words, ..] = payload else { return None };
                    packet.protocol = *next;
                    8 + usize::from(*words) * 8
                }
                protocol::FRAGMENT if packet.fragment.is_none() => {
                    let (part, _) = Ipv6Fragment::split(payload)?;
                    packet.protocol = part.next;
                    let at = part.offset_and_more.get();
                    packet.fragment = Some(Fragment {
                        id: part.id.get(),
                        offset: usize::from(at & 0xFFF8),
                        more: at & 1 != 0,
                    });
                    Ipv6Fragment::BYTES
                }
                _ => return Some(packet),
            };
            if skipped > payload.len() {
                return None;
            }
            packet.payload.start += skipped;
            // What follows the fragment header of a later part is no header.
            if packet.fragment.is_some_and(|part| part.offset != 0) {
                return Some(packet);
            }
        }
        None
    }
    /// Whether the checksum of TCP, UDP or ICMPv6 over the payload is right, or need not be.
    pub fn checksum_is_right(&self, frame: &Frame) -> bool {
        if frame.verified || frame.checksum.is_some() {
            return true;
        }
        let payload = &frame.bytes[self.payload.clone()];
        // Without a checksum, as IPv4 allows (RFC 768) and IPv6 does not (RFC 8200, 8.1).
        let has_none = self.protocol == protocol::UDP
            && self.source.is_ipv4()
            && Udp::split(payload).is_some_and(|(udp, _)| udp.checksum == [0; 2]);
        if has_none {
            return true;
        }
        let sum = match self.protocol {
            protocol::ICMP => Sum::default(),
            _ => Sum::default().pseudo_header(self.source, self.destination, self.protocol, payload.len()),
        };
        sum.bytes(payload).is_right()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::build::{IpHeader, append_ethernet, udp};
    use std::net::SocketAddr;

    #[test]
    fn only_ipv4_has_datagrams_without_a_checksum() {
        for (source, allowed) in [("10.0.2.15:1", true), ("[fec0::15]:1", false)] {
            let source: SocketAddr = source.parse().unwrap();
            let mut datagram = udp(source, source, b"anything");
            let is_right = |datagram: &[u8]| {
                let header = IpHeader::new(source.ip(), source.ip(), protocol::UDP);
                let mut bytes = Vec::new();
                append_ethernet(&mut bytes, [2; 6], [4; 6], header.ethertype());
                header.append(&mut bytes, datagram.len());
                bytes.extend_from_slice(datagram);
                let frame = Frame::from(bytes);
                Packet::read(&frame).unwrap().checksum_is_right(&frame)
            };
            assert!(is_right(&datagram));
            datagram[6..8].fill(0);
            assert_eq!(is_right(&datagram), allowed, "{source}");
            datagram[6] = 1;
            assert!(!is_right(&datagram));
        }
    }
}
