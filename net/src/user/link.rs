//! The network's end of the cable: what goes to the guest, and which station has which address.

use super::config::{Addresses, LINK_LOCAL};
use super::shared::{Shared, count};
use crate::frame::Frame;
use crate::wire::build::{IpHeader, append_ethernet, udp};
use crate::wire::headers::{Arp, BROADCAST, ETHERTYPE_ARP, IPV4_DONT_FRAGMENT, Ipv6Fragment, Mac, protocol};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Stations that are known at most: a guest has one address or a few, and many come only with a flood.
const MOST_NEIGHBOURS: usize = 256;
/// Frames that wait for a station's answer at most.
const MOST_WAITING: usize = 64;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(3);
/// A station is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Everything that a protocol needs to answer.
pub struct Link {
    /// The network's addresses.
    pub addresses: Addresses,
    /// The largest IP packet.
    pub mtu: usize,
    /// Frames for the card.
    pub shared: Arc<Shared>,
    /// Now, as the turn began.
    pub now: Instant,
    neighbours: HashMap<IpAddr, Neighbour>,
    waiting: VecDeque<Waiting>,
    asked: Option<(IpAddr, Instant)>,
    next_id: u32,
    /// The guest's IPv6 address that was seen last.
    pub guest6: Option<Ipv6Addr>,
}

struct Neighbour {
    mac: Mac,
    seen: Instant,
}

struct Waiting {
    station: IpAddr,
    frame: Frame,
    until: Instant,
}

/// The Ethernet address that the network has for one of its own addresses: QEMU's 52:55 and the IPv4 address,
/// 52:56 and the end of the IPv6 address.
pub fn own_mac(address: IpAddr) -> Mac {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [0x52, 0x55, a, b, c, d]
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            [0x52, 0x56, 0, 0, 0, octets[15]]
        }
    }
}

impl Link {
    /// The end of a cable to nobody yet.
    pub fn new(addresses: Addresses, mtu: u16, shared: Arc<Shared>) -> Self {
        Self {
            addresses,
            mtu: mtu.into(),
            shared,
            now: Instant::now(),
            neighbours: HashMap::new(),
            waiting: VecDeque::new(),
            asked: None,
            next_id: 1,
            guest6: None,
        }
    }
    /// Whether streams may send more.
    pub fn has_room(&self) -> bool {
        self.shared.has_room()
    }
    /// The router's Ethernet address for packets to `station`, which come from behind it or from itself.
    fn source_mac(&self, source: IpAddr) -> Mac {
        if self.addresses.contains(source) || source == IpAddr::V6(LINK_LOCAL) {
            own_mac(source)
        } else {
            own_mac(self.addresses.router_for(source))
        }
    }
    /// A station has an address.
    pub fn learn(&mut self, address: IpAddr, mac: Mac) {
        if mac[0] & 1 != 0 || address.is_unspecified() || address.is_multicast() {
            return;
        }
        if let (IpAddr::V6(address), true) = (address, self.addresses.contains(address)) {
            self.guest6 = Some(address);
        }
        if let Some(known) = self.neighbours.get_mut(&address) {
            *known = Neighbour { mac, seen: self.now };
        } else {
            if self.neighbours.len() >= MOST_NEIGHBOURS {
                let oldest = self.neighbours.iter().min_by_key(|(_, n)| n.seen).map(|(address, _)| *address);
                oldest.map(|oldest| self.neighbours.remove(&oldest));
            }
            self.neighbours.insert(address, Neighbour { mac, seen: self.now });
        }
        if !self.waiting.is_empty() {
            self.send_waiting(address, mac);
        }
    }
    fn send_waiting(&mut self, address: IpAddr, mac: Mac) {
        for mut entry in std::mem::take(&mut self.waiting) {
            if entry.station == address {
                entry.frame.bytes[..6].copy_from_slice(&mac);
                self.push(entry.frame);
            } else {
                self.waiting.push_back(entry);
            }
        }
    }
    /// Forgets frames that waited too long.
    pub fn tick(&mut self) {
        let now = self.now;
        self.waiting.retain(|entry| entry.until > now);
    }
    /// Whether something waits for a station's answer.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
    /// Puts a finished frame into the card's queue: its number there, or nothing where it was dropped.
    pub fn push(&mut self, frame: Frame) -> Option<u64> {
        let bytes = frame.bytes.len();
        let counters = &self.shared.counters;
        match self.shared.queue.push(frame) {
            Ok(number) => {
                count(&counters.frames_to_guest, 1);
                count(&counters.bytes_to_guest, bytes);
                Some(number)
            }
            Err(_) => {
                count(&counters.dropped_to_guest, 1);
                None
            }
        }
    }
    /// The Ethernet header of a packet's frame: the destination's address is missing where it is not known yet.
    pub fn begin(&self, header: &IpHeader, capacity: usize) -> (Vec<u8>, bool) {
        let mut bytes = Vec::with_capacity(14 + capacity);
        let known = match header.destination {
            IpAddr::V4(address) if address.is_broadcast() || address == self.addresses.broadcast() => {
                Some(BROADCAST)
            }
            IpAddr::V6(address) if address.is_multicast() => {
                let octets = address.octets();
                Some([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
            }
            address => self.neighbours.get(&address).map(|neighbour| neighbour.mac),
        };
        let source = self.source_mac(header.source);
        append_ethernet(&mut bytes, known.unwrap_or_default(), source, header.ethertype());
        (bytes, known.is_some())
    }
    /// Sends a frame that [`Link::begin`] began, or keeps it and asks for the station.
    pub fn end(&mut self, header: &IpHeader, frame: Frame, station_is_known: bool) -> Option<u64> {
        if station_is_known {
            return self.push(frame);
        }
        self.ask_for(header.destination);
        if self.waiting.len() >= MOST_WAITING || frame.segmentation.is_some() {
            count(&self.shared.counters.dropped_to_guest, 1);
            return None;
        }
        let until = self.now + PATIENCE;
        self.waiting.push_back(Waiting { station: header.destination, frame, until });
        None
    }
    /// Sends an IP packet, in fragments if it is too long.
    pub fn send_ip(&mut self, mut header: IpHeader, payload: &[u8]) {
        let most = self.mtu - header.bytes();
        if payload.len() > 65_535 - header.bytes() {
            return;
        }
        self.next_id = self.next_id.wrapping_add(1);
        if payload.len() <= most {
            return self.send_piece(&header, &[], payload);
        }
        let is_ipv4 = header.source.is_ipv4();
        let overhead = if is_ipv4 { 0 } else { Ipv6Fragment::BYTES };
        let step = (most - overhead) & !7;
        let (next, id) = (header.protocol, self.next_id);
        for (n, piece) in payload.chunks(step).enumerate() {
            let offset = (n * step) as u16;
            let more = usize::from(offset) + piece.len() < payload.len();
            if is_ipv4 {
                header.id = id as u16;
                header.flags_and_offset = (offset / 8) | if more { 0x2000 } else { 0 };
                self.send_piece(&header, &[], piece);
            } else {
                let offset_and_more = (offset | u16::from(more)).into();
                let part = Ipv6Fragment { next, reserved: 0, offset_and_more, id: id.into() };
                header.protocol = protocol::FRAGMENT;
                self.send_piece(&header, part.as_bytes(), piece);
            }
        }
    }
    fn send_piece(&mut self, header: &IpHeader, extension: &[u8], payload: &[u8]) {
        let length = extension.len() + payload.len();
        let (mut bytes, known) = self.begin(header, header.bytes() + length);
        header.append(&mut bytes, length);
        bytes.extend_from_slice(extension);
        bytes.extend_from_slice(payload);
        let verified = extension.is_empty() && header.flags_and_offset & !IPV4_DONT_FRAGMENT == 0;
        let frame = Frame { bytes, verified, ..Frame::default() };
        self.end(header, frame, known);
    }
    /// Sends a datagram.
    pub fn send_udp(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        if payload.len() > 65_535 - 8 {
            return;
        }
        let header = IpHeader::new(source.ip(), destination.ip(), protocol::UDP);
        self.send_ip(header, &udp(source, destination, payload));
    }
    /// Asks which station has an address, by ARP or neighbour discovery.
    fn ask_for(&mut self, station: IpAddr) {
        if self.asked.is_some_and(|(asked, at)| asked == station && self.now < at + ASK_AGAIN) {
            return;
        }
        self.asked = Some((station, self.now));
        match station {
            IpAddr::V4(station) => {
                let host = self.addresses.host;
                let question = Arp {
                    hardware: 1.into(),
                    protocol: 0x0800.into(),
                    hardware_length: 6,
                    protocol_length: 4,
                    operation: 1.into(),
                    sender_mac: own_mac(host.into()),
                    sender: host.octets(),
                    target_mac: Mac::default(),
                    target: station.octets(),
                };
                self.send_arp(BROADCAST, &question);
            }
            IpAddr::V6(station) => super::ndp::ask_for(self, station),
        }
    }
    /// Sends an ARP packet.
    pub fn send_arp(&mut self, destination: Mac, packet: &Arp) {
        let mut bytes = Vec::with_capacity(60);
        append_ethernet(&mut bytes, destination, packet.sender_mac, ETHERTYPE_ARP);
        bytes.extend_from_slice(packet.as_bytes());
        self.push(bytes.into());
    }
}

/// Says of an error of the host whether trying again later is all that can be done.
pub fn is_temporary(error: Errno) -> bool {
    matches!(error, Errno::AGAIN | Errno::INTR | Errno::NOBUFS)
}
