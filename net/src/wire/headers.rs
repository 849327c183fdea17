//! The headers' fields.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet address.
pub type Mac = [u8; 6];
/// The address of all stations.
pub const BROADCAST: Mac = [0xFF; 6];

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86DD;

/// IP protocol numbers.
pub mod protocol {
    #![allow(missing_docs)]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// Flags of TCP.
pub mod tcp_flags {
    #![allow(missing_docs)]
    pub const FIN: u16 = 1;
    pub const SYN: u16 = 2;
    pub const RST: u16 = 4;
    pub const PSH: u16 = 8;
    pub const ACK: u16 = 16;
    pub const CWR: u16 = 128;
}

macro_rules! header {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        #[allow(missing_docs)]
        pub struct $name { $(pub $field: $kind,)* }

        impl $name {
            /// Bytes of the header, without options.
            pub const BYTES: usize = size_of::<Self>();
            /// The header at the beginning of `bytes`, and what follows.
            pub fn split(bytes: &[u8]) -> Option<(&Self, &[u8])> {
                Self::ref_from_prefix(bytes).ok()
            }
            /// The header at the beginning of `bytes`, to be changed.
            pub fn split_mut(bytes: &mut [u8]) -> Option<(&mut Self, &mut [u8])> {
                Self::mut_from_prefix(bytes).ok()
            }
        }
    };
}

header!(
    /// Ethernet II.
    Ethernet { destination: Mac, source: Mac, kind: U16, }
);
header!(
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp {
        hardware: U16,
        protocol: U16,
        hardware_length: u8,
        protocol_length: u8,
        operation: U16,
        sender_mac: Mac,
        sender: [u8; 4],
        target_mac: Mac,
        target: [u8; 4],
    }
);
header!(
    /// IPv4 (RFC 791).
    Ipv4 {
        version_and_length: u8,
        tos: u8,
        length: U16,
        id: U16,
        flags_and_offset: U16,
        ttl: u8,
        protocol: u8,
        checksum: [u8; 2],
        source: [u8; 4],
        destination: [u8; 4],
    }
);
header!(
    /// IPv6 (RFC 8200).
    Ipv6 {
        version_class_label: U32,
        length: U16,
        next: u8,
        hops: u8,
        source: [u8; 16],
        destination: [u8; 16],
    }
);
header!(
    /// The fragment header of IPv6.
    Ipv6Fragment { next: u8, reserved: u8, offset_and_more: U16, id: U32, }
);
header!(
    /// TCP (RFC 9293).
    Tcp {
        source: U16,
        destination: U16,
        sequence: U32,
        acknowledgment: U32,
        offset_and_flags: U16,
        window: U16,
        checksum: [u8; 2],
        urgent: U16,
    }
);
header!(
    /// UDP (RFC 768).
    Udp { source: U16, destination: U16, length: U16, checksum: [u8; 2], }
);
header!(
    /// ICMP and ICMPv6: what all messages begin with, and the four bytes behind that.
    Icmp { kind: u8, code: u8, checksum: [u8; 2], rest: [u8; 4], }
);

/// "Don't fragment" in [`Ipv4::flags_and_offset`].
pub const IPV4_DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments" in [`Ipv4::flags_and_offset`].
pub const IPV4_MORE_FRAGMENTS: u16 = 0x2000;

impl Ipv4 {
    /// Bytes of the header with its options, as it says.
    pub fn header_bytes(&self) -> usize {
        usize::from(self.version_and_length & 15) * 4
    }
}

impl Tcp {
    /// Bytes of the header with its options, as it says.
    pub fn header_bytes(&self) -> usize {
        usize::from(self.offset_and_flags.get() >> 12) * 4
    }
    /// The flags.
    pub fn flags(&self) -> u16 {
        self.offset_and_flags.get() & 0x1FF
    }
}
