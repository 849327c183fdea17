//! Cables to other machines, ours and QEMU's, through sockets of the host.
//!
//! | kind | what it is | frames are |
//! |---|---|---|
//! | [`stream`] | a connection, of TCP or a Unix socket; one side listens | behind four bytes with their length, big-endian |
//! | [`datagram`] | datagrams, of UDP, a multicast group or Unix sockets | a datagram each |
//! | [`passt`] | a connection to passt, which is a network without privileges of its own | as in a stream |
//!
//! Nothing is left open in frames: they are finished before they are sent. A stream can lose its other end: then the
//! carrier is gone until there is one again. Who can reach the socket is on the cable: nothing is encrypted.

pub mod config;
pub mod datagram;
pub mod passt;
pub mod stream;

/// The longest frame: an IP packet, with its Ethernet header and a VLAN's.
pub const LONGEST: usize = 65_535 + 18;
/// The shortest: both addresses and the type.
pub const SHORTEST: usize = 14;
