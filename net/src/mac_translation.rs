//! A network that sees another Ethernet address than the guest has.
//!
//! All clones of a saved machine have its address, which their drivers have read before. Two of them on one network would get
//! each other's frames. So their networks see addresses of their own: what the guest sends as itself is sent from there, and what
//! comes for that is given to the guest, as address translation does a layer above. Translated are the frame's addresses and
//! those that protocols repeat in it, by which others learn them: ARP (RFC 826), DHCP's client address (RFC 2131), and the
//! link-layer options of neighbour discovery (RFC 4861).

use crate::backend::{NetBackend, PortForwards, Waker};
use crate::frame::{Frame, Offloads};
use crate::wire::checksum::{Sum, never_zero};
use crate::wire::headers::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Mac, protocol};
use std::sync::Arc;

const VLAN_TAGS: [u16; 2] = [0x8100, 0x88A8];
/// Ports of DHCP's server and client.
const DHCP_PORTS: [u16; 2] = [67, 68];
/// Where DHCP's client address stands, from the UDP header on.
const DHCP_CLIENT: usize = 8 + 28;
/// Messages of neighbour discovery, and where the options of each begin.
const DISCOVERY: [(u8, usize); 5] = [(133, 8), (134, 16), (135, 24), (136, 24), (137, 40)];
/// Options with a link-layer address: the source's and the target's.
const LINK_LAYER_OPTIONS: [u8; 2] = [1, 2];

/// A network that sees another address.
pub struct MacTranslation {
    network: Arc<dyn NetBackend>,
    guest: Mac,
    seen: Mac,
}

impl MacTranslation {
    /// `network` sees the address `seen` where the guest has `guest`.
    pub fn new(network: Arc<dyn NetBackend>, guest: Mac, seen: Mac) -> Self {
        Self { network, guest, seen }
    }
}

impl NetBackend for MacTranslation {
    fn send(&self, mut frame: Frame) {
        translate(&mut frame, self.guest, self.seen);
        self.network.send(frame);
    }
    fn receive(&self) -> Option<Frame> {
        let mut frame = self.network.receive()?;
        translate(&mut frame, self.seen, self.guest);
        Some(frame)
    }
    fn accepts(&self) -> Offloads {
        self.network.accepts()
    }
    fn card_accepts(&self, offloads: Offloads) {
        self.network.card_accepts(offloads);
    }
    fn set_waker(&self, waker: Waker) {
        self.network.set_waker(waker);
    }
    fn carrier(&self) -> bool {
        self.network.carrier()
    }
    fn mtu(&self) -> u16 {
        self.network.mtu()
    }
    fn queues(&self) -> u16 {
        self.network.queues()
    }
    fn port_forwards(&self) -> Option<&dyn PortForwards> {
        self.network.port_forwards()
    }
    fn info(&self) -> String {
        let text = |address: Mac| address.map(|byte| format!("{byte:02x}")).join(":");
        format!(
            "{}\n  the guest's address {} is seen as {}",
            self.network.info(),
            text(self.guest),
            text(self.seen)
        )
    }
}

/// Puts `to` wherever a frame says `from`.
fn translate(frame: &mut Frame, from: Mac, to: Mac) {
    // Where the checksum is missing, its field has the sum of the pseudo header alone.
    let has_checksum = frame.checksum.is_none();
    let bytes = &mut frame.bytes;
    replace(bytes, 0, from, to);
    replace(bytes, 6, from, to);
    let mut at = 12;
    while word(bytes, at).is_some_and(|kind| VLAN_TAGS.contains(&kind)) {
        at += 4;
    }
    let Some(kind) = word(bytes, at) else { return };
    let payload = at + 2;
    match kind {
        ETHERTYPE_ARP => {
            [payload + 8, payload + 18].into_iter().for_each(|at| _ = replace(bytes, at, from, to))
        }
        ETHERTYPE_IPV4 => in_dhcp(bytes, payload, has_checksum, from, to),
        ETHERTYPE_IPV6 => in_discovery(bytes, payload, has_checksum, from, to),
        _ => {}
    }
}

fn in_dhcp(bytes: &mut [u8], ip: usize, has_checksum: bool, from: Mac, to: Mac) {
    let (Some(first), Some(fragment)) = (bytes.get(ip).copied(), word(bytes, ip + 6)) else { return };
    let udp = ip + usize::from(first & 0xF) * 4;
    let is_first = fragment & 0x1FFF == 0;
    let is_dhcp = |at: usize| word(bytes, at).is_some_and(|port| DHCP_PORTS.contains(&port));
    if bytes.get(ip + 9) == Some(&protocol::UDP)
        && is_first
        && is_dhcp(udp)
        && is_dhcp(udp + 2)
        && replace(bytes, udp + DHCP_CLIENT, from, to)
    {
        // Zero: the sender left it out.
        let is_there = word(bytes, udp + 6) != Some(0);
        if has_checksum && is_there {
            correct(bytes, udp + 6, from, to);
        }
    }
}

fn in_discovery(bytes: &mut [u8], ip: usize, has_checksum: bool, from: Mac, to: Mac) {
    let icmp = ip + 40;
    let kind = bytes.get(icmp).copied();
    let found = DISCOVERY.iter().find(|(message, _)| Some(*message) == kind);
    let (Some((_, options)), Some(&protocol::ICMPV6)) = (found, bytes.get(ip + 6)) else { return };
    let mut at = icmp + options;
    while let (Some(kind), Some(length)) = (bytes.get(at).copied(), bytes.get(at + 1).copied()) {
        if length == 0 {
            return;
        }
        if LINK_LAYER_OPTIONS.contains(&kind) && replace(bytes, at + 2, from, to) && has_checksum {
            correct(bytes, icmp + 2, from, to);
        }
        at += usize::from(length) * 8;
    }
}

/// Replaces an address; false where another one stands there.
fn replace(bytes: &mut [u8], at: usize, from: Mac, to: Mac) -> bool {
    let place = bytes.get_mut(at..at + 6).filter(|place| **place == from);
    place.map(|place| place.copy_from_slice(&to)).is_some()
}

/// Corrects the checksum at `at` for an address that was replaced at an even place (RFC 1624, "Solution").
fn correct(bytes: &mut [u8], at: usize, from: Mac, to: Mac) {
    let Some(old) = word(bytes, at) else { return };
    let sum = Sum::default().number(!old).bytes(&from.map(|byte| !byte)).bytes(&to);
    bytes[at..at + 2].copy_from_slice(&never_zero(sum.checksum()));
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: Mac = [0x52, 0x54, 0, 1, 2, 3];
    const SEEN: Mac = [0x52, 0x54, 0, 0xFE, 0xDC, 0xBA];
    const OTHER: Mac = [0x52, 0x55, 9, 9, 9, 9];

    fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Frame {
        [&to[..], &from, &kind.to_be_bytes(), payload].concat().into()
    }
    fn translated(mut frame: Frame) -> Frame {
        translate(&mut frame, GUEST, SEEN);
        frame
    }

    #[test]
    fn addresses_of_frames_and_of_arp_are_translated() {
        let arp = |sender: Mac, target: Mac| {
            [&[0, 1, 8, 0, 6, 4, 0, 1][..], &sender, &[10, 0, 2, 15], &target, &[10, 0, 2, 2]].concat()
        };
        for tag in [&[][..], &[0x81, 0, 0, 5]] {
            let frame = |from: Mac, sender: Mac| -> Frame {
                let rest = [tag, &ETHERTYPE_ARP.to_be_bytes(), &arp(sender, OTHER)].concat();
                [&OTHER[..], &from, &rest].concat().into()
            };
            assert_eq!(translated(frame(GUEST, GUEST)), frame(SEEN, SEEN));
            assert_eq!(translated(frame(OTHER, OTHER)), frame(OTHER, OTHER));
        }
        assert_eq!(translated(ethernet(GUEST, OTHER, 0x1234, &[1])), ethernet(SEEN, OTHER, 0x1234, &[1]));
        for length in 0..60 {
            let mut cut = ethernet(GUEST, GUEST, ETHERTYPE_ARP, &arp(GUEST, GUEST));
            cut.bytes.truncate(length);
            translated(cut);
        }
    }

    fn dhcp(client: Mac, with_checksum: bool) -> Vec<u8> {
        let mut udp = [&[0, 68, 0, 67, 0, 72, 0, 0, 1, 1, 6, 0][..], &[7; 24], &client, &[0; 30]].concat();
        let mut ip =
            vec![0x45, 0, 0, 92, 0, 0, 0, 0, 64, protocol::UDP, 0, 0, 10, 0, 2, 15, 255, 255, 255, 255];
        if with_checksum {
            let (source, destination) = ([10, 0, 2, 15].into(), [255; 4].into());
            let sum = Sum::default().pseudo_header(source, destination, protocol::UDP, udp.len());
            let sum = sum.bytes(&udp).checksum();
            udp[6..8].copy_from_slice(&sum);
        }
        ip.extend(udp);
        ip
    }

    #[test]
    fn dhcp_and_its_checksum_are_translated() {
        for with_checksum in [false, true] {
            let frame = |from: Mac, client: Mac| {
                ethernet([0xFF; 6], from, ETHERTYPE_IPV4, &dhcp(client, with_checksum))
            };
            assert_eq!(translated(frame(GUEST, GUEST)), frame(SEEN, SEEN));
        }
        // Another service's bytes are its own.
        let mut other = ethernet(OTHER, OTHER, ETHERTYPE_IPV4, &dhcp(GUEST, true));
        other.bytes[14 + 21] = 99;
        assert_eq!(translated(other.clone()), other);
    }

    #[test]
    fn neighbour_discovery_and_its_checksum_are_translated() {
        let solicitation = |source: Mac| {
            let mut icmp =
                [&[135, 0, 0, 0, 0, 0, 0, 0][..], &[3; 16], &[14, 1], &[0; 6], &[1, 1], &source].concat();
            let addresses = [0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].repeat(2);
            let sum = Sum::default().bytes(&addresses).number(icmp.len() as u16);
            let sum = sum.number(u16::from(protocol::ICMPV6)).bytes(&icmp).checksum();
            icmp[2..4].copy_from_slice(&sum);
            let head = [0x60, 0, 0, 0, 0, icmp.len() as u8, protocol::ICMPV6, 255];
            [&head[..], &addresses, &icmp].concat()
        };
        let frame = |from: Mac| ethernet(OTHER, from, ETHERTYPE_IPV6, &solicitation(from));
        assert_eq!(translated(frame(GUEST)), frame(SEEN));
        let mut endless = frame(GUEST);
        let option = endless.bytes.len() - 7;
        endless.bytes[option] = 0;
        translated(endless);
    }
}
