//! Frames around a payload.

use super::checksum::{Sum, never_zero};
use super::headers::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, IPV4_DONT_FRAGMENT, Ipv4, Ipv6, Mac, Udp, protocol,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use zerocopy::IntoBytes;

/// Hops of packets that we send.
pub const TTL: u8 = 64;

/// What an IP header needs, beside the length.
#[derive(Clone, Copy, Debug)]
pub struct IpHeader {
    /// The sender.
    pub source: IpAddr,
    /// The receiver, an address of the same version.
    pub destination: IpAddr,
    /// The protocol of the payload.
    pub protocol: u8,
    /// IPv4: the packet's number, and the flags and offset of fragments.
    pub id: u16,
    /// IPv4: flags and offset of fragments.
    pub flags_and_offset: u16,
    /// Hops.
    pub ttl: u8,
}

impl IpHeader {
    /// A header of a packet that is not cut up.
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        let flags_and_offset = IPV4_DONT_FRAGMENT;
        Self { source, destination, protocol, id: 0, flags_and_offset, ttl: TTL }
    }
    /// Bytes of the header.
    pub fn bytes(&self) -> usize {
        if self.source.is_ipv4() { Ipv4::BYTES } else { Ipv6::BYTES }
    }
    /// The EtherType.
    pub fn ethertype(&self) -> u16 {
        if self.source.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 }
    }
    /// Appends the header of a packet with `payload` bytes.
    pub fn append(&self, bytes: &mut Vec<u8>, payload: usize) {
        match (self.source, self.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6 {
                    version_class_label: 0x6000_0000.into(),
                    length: (payload.min(0xFFFF) as u16).into(),
                    next: self.protocol,
                    hops: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                bytes.extend_from_slice(header.as_bytes());
            }
            (source, destination) => {
                let mut header = Ipv4 {
                    version_and_length: 0x45,
                    length: ((Ipv4::BYTES + payload).min(0xFFFF) as u16).into(),
                    id: self.id.into(),
                    flags_and_offset: self.flags_and_offset.into(),
                    ttl: self.ttl,
                    protocol: self.protocol,
                    source: ipv4(source),
                    destination: ipv4(destination),
                    ..Ipv4::default()
                };
                header.checksum = Sum::default().bytes(header.as_bytes()).checksum();
                bytes.extend_from_slice(header.as_bytes());
            }
        }
    }
}

fn ipv4(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED.octets(),
    }
}

/// Appends an Ethernet header.
pub fn append_ethernet(bytes: &mut Vec<u8>, destination: Mac, source: Mac, kind: u16) {
    bytes.extend_from_slice(Ethernet { destination, source, kind: kind.into() }.as_bytes());
}

/// A UDP header and its payload, with the checksum: what an IP packet has.
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = Udp::BYTES + payload.len();
    let mut header = Udp {
        source: source.port().into(),
        destination: destination.port().into(),
        length: (length.min(0xFFFF) as u16).into(),
        checksum: [0; 2],
    };
    let sum = Sum::default().pseudo_header(source.ip(), destination.ip(), protocol::UDP, length);
    header.checksum = never_zero(sum.bytes(header.as_bytes()).bytes(payload).checksum());
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
