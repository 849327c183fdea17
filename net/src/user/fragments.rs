//! Packets that come in fragments (RFC 791, 3.2; RFC 8200, 4.5) are put together.
//!
//! Fragments that overlap belong to nobody's packet: all of them are dropped (RFC 5722), of IPv4 too.

use super::link::Link;
use crate::frame::Frame;
use crate::wire::build::{IpHeader, append_ethernet};
use crate::wire::headers::Ethernet;
use crate::wire::ip::Packet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Packets that are put together at a time.
const MOST_PACKETS: usize = 16;
/// Fragments of a packet. The longest packet has some 45 at an MTU of 1500, and 120 at 576.
const MOST_FRAGMENTS: usize = 128;
/// The longest payload.
const LONGEST: usize = 65_535 - 40;
/// How long the rest is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
}

struct Partial {
    key: Key,
    began: Instant,
    /// Offset and bytes, in order.
    parts: Vec<(usize, Vec<u8>)>,
    length: Option<usize>,
}

/// Packets of which parts have come.
#[derive(Default)]
pub struct Fragments {
    partial: Vec<Partial>,
}

impl Fragments {
    /// A fragment: the whole packet, if this was the last that was missing.
    pub fn receive(&mut self, packet: &Packet, frame: &Frame, link: &Link) -> Option<Frame> {
        let part = packet.fragment?;
        let bytes = &frame.bytes[packet.payload.clone()];
        let end = part.offset + bytes.len();
        if end > LONGEST || bytes.is_empty() || (part.more && !bytes.len().is_multiple_of(8)) {
            return None;
        }
        let key = Key {
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            id: part.id,
        };
        let n = self.find(key, link.now);
        let partial = &mut self.partial[n];
        let at = partial.parts.partition_point(|(offset, _)| *offset < part.offset);
        let overlaps = at > 0 && partial.parts[at - 1].0 + partial.parts[at - 1].1.len() > part.offset
            || partial.parts.get(at).is_some_and(|(offset, _)| *offset < end)
            || partial.length.is_some_and(|length| end > length || !part.more);
        if overlaps || partial.parts.len() >= MOST_FRAGMENTS {
            self.partial.remove(n);
            return None;
        }
        partial.parts.insert(at, (part.offset, bytes.to_vec()));
        if !part.more {
            partial.length = Some(end);
        }
        let whole = partial.length?;
        let has: usize = partial.parts.iter().map(|(_, bytes)| bytes.len()).sum();
        if has < whole {
            return None;
        }
        let partial = self.partial.remove(n);
        // A part that lay beyond the end came before the end was known.
        let last = partial.parts.last().map(|(offset, bytes)| offset + bytes.len());
        (has == whole && last == Some(whole)).then(|| together(packet, frame, &partial))?
    }
    fn find(&mut self, key: Key, now: Instant) -> usize {
        if let Some(n) = self.partial.iter().position(|partial| partial.key == key) {
            return n;
        }
        if self.partial.len() >= MOST_PACKETS {
            self.partial.remove(0);
        }
        self.partial.push(Partial { key, began: now, parts: Vec::new(), length: None });
        self.partial.len() - 1
    }
    /// Once a second: forgets what is old.
    pub fn tick(&mut self, link: &Link) {
        self.partial.retain(|partial| link.now.saturating_duration_since(partial.began) < PATIENCE);
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.partial.is_empty()
    }
}

fn together(packet: &Packet, frame: &Frame, partial: &Partial) -> Option<Frame> {
    let (ethernet, _) = Ethernet::split(&frame.bytes)?;
    let length = partial.length?;
    let mut bytes = Vec::with_capacity(54 + length);
    append_ethernet(&mut bytes, ethernet.destination, ethernet.source, ethernet.kind.get());
    let mut header = IpHeader::new(packet.source, packet.destination, packet.protocol);
    header.ttl = packet.ttl;
    header.append(&mut bytes, length);
    partial.parts.iter().for_each(|(_, part)| bytes.extend_from_slice(part));
    Some(bytes.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::user::config::UserNetConfig;
    use crate::user::shared::Shared;
    use crate::wire::headers::{ETHERTYPE_IPV4, protocol};
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    fn link() -> Link {
        Link::new(UserNetConfig::default().addresses().unwrap(), 1500, Arc::new(Shared::new().unwrap()))
    }
    fn fragment(offset: u16, payload: &[u8], more: bool) -> Frame {
        let mut bytes = Vec::new();
        append_ethernet(&mut bytes, [1; 6], [2; 6], ETHERTYPE_IPV4);
        let (a, b) = (Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(10, 0, 2, 2));
        let mut header = IpHeader::new(a.into(), b.into(), protocol::UDP);
        header.flags_and_offset = (offset / 8) | if more { 0x2000 } else { 0 };
        header.append(&mut bytes, payload.len());
        bytes.extend_from_slice(payload);
        bytes.into()
    }
    fn give(fragments: &mut Fragments, link: &Link, frame: Frame) -> Option<Vec<u8>> {
        let packet = Packet::read(&frame).unwrap();
        let whole = fragments.receive(&packet, &frame, link)?;
        let packet = Packet::read(&whole).unwrap();
        assert_eq!(packet.fragment, None);
        Some(whole.bytes[packet.payload].to_vec())
    }

    #[test]
    fn parts_in_any_order_make_a_packet() {
        let (link, mut fragments) = (link(), Fragments::default());
        assert_eq!(give(&mut fragments, &link, fragment(16, b"end", false)), None);
        assert_eq!(give(&mut fragments, &link, fragment(0, b"begin.. ", true)), None);
        let whole = give(&mut fragments, &link, fragment(8, b"middle  ", true)).unwrap();
        assert_eq!(whole, b"begin.. middle  end");
        assert!(fragments.is_empty());
    }

    #[test]
    fn overlaps_and_floods_are_dropped() {
        let (link, mut fragments) = (link(), Fragments::default());
        give(&mut fragments, &link, fragment(0, &[1; 16], true));
        assert_eq!(give(&mut fragments, &link, fragment(8, &[2; 16], true)), None);
        assert!(fragments.is_empty());
        give(&mut fragments, &link, fragment(64, &[1; 8], true));
        give(&mut fragments, &link, fragment(8, &[1; 8], false));
        assert_eq!(give(&mut fragments, &link, fragment(0, &[1; 8], true)), None);
        for n in 0..1000_u16 {
            let mut frame = fragment(8 * (n % 8000), &[1; 8], true);
            frame.bytes[18..20].copy_from_slice(&n.to_be_bytes());
            frame.bytes[24..26].fill(0);
            let sum = crate::wire::checksum::Sum::default().bytes(&frame.bytes[14..34]).checksum();
            frame.bytes[24..26].copy_from_slice(&sum);
            give(&mut fragments, &link, frame);
        }
        assert!(fragments.partial.len() <= MOST_PACKETS);
    }
}
