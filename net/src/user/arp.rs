//! ARP (RFC 826): the network answers for its own addresses, and remembers who the guest is.

use super::link::{Link, own_mac};
use crate::wire::headers::{Arp, Ethernet};
use std::net::{IpAddr, Ipv4Addr};

const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// An ARP packet from the guest. `is_own` says which addresses are the network's.
pub fn receive(bytes: &[u8], link: &mut Link, is_own: impl Fn(IpAddr) -> bool) {
    let Some((packet, _)) = bytes.get(Ethernet::BYTES..).and_then(Arp::split) else { return };
    if packet.hardware.get() != 1
        || packet.protocol.get() != 0x0800
        || packet.hardware_length != 6
        || packet.protocol_length != 4
    {
        return;
    }
    let sender = IpAddr::from(packet.sender);
    // A guest that claims one of our addresses is not believed.
    if link.addresses.contains(sender) && !is_own(sender) {
        link.learn(sender, packet.sender_mac);
    }
    let target = Ipv4Addr::from(packet.target);
    if packet.operation.get() == REQUEST && is_own(target.into()) {
        let answer = Arp {
            operation: REPLY.into(),
            sender_mac: own_mac(target.into()),
            sender: packet.target,
            target_mac: packet.sender_mac,
            target: packet.sender,
            ..*packet
        };
        link.send_arp(packet.sender_mac, &answer);
    }
}
