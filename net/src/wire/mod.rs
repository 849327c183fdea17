//! Headers as they are on the wire, and checksums.
//!
//! Headers are structs of big-endian fields that are read where they lie ([`zerocopy`]); a header that is cut off is `None`.
//!
//! | module | what it has |
//! |---|---|
//! | [`checksum`] | the Internet checksum |
//! | [`headers`] | Ethernet, ARP, IPv4, IPv6, TCP, UDP, ICMP |
//! | [`ip`] | an IP packet of either version, checked |
//! | [`build`] | frames around a payload |
//! | [`vnet`] | the header of TAP interfaces |

pub mod build;
pub mod checksum;
pub mod headers;
pub mod ip;
pub mod vnet;
