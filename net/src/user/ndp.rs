//! Neighbour discovery of IPv6 (RFC 4861): who has an address, and the router's advertisements, from which stations make their
//! addresses (RFC 4862) and learn name servers (RFC 8106).
//!
//! | type | message | here |
//! |---|---|---|
//! | 133 | router solicitation | answered with an advertisement |
//! | 134 | router advertisement | sent on solicitation, and every few minutes |
//! | 135 | neighbour solicitation | answered for the network's addresses; sent for the guest's |
//! | 136 | neighbour advertisement | remembered |

use super::config::LINK_LOCAL;
use super::icmp::send_icmp6;
use super::link::{Link, own_mac};
use crate::wire::headers::Mac;
use crate::wire::ip::Packet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

/// All stations on the cable.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);
/// How often the router advertises itself; its lifetime is a multiple of this.
pub const ADVERTISE_EVERY: Duration = Duration::from_secs(300);
const ROUTER_LIFETIME_S: u16 = 1800;
const PREFIX_VALID_S: u32 = 86_400;
const PREFIX_PREFERRED_S: u32 = 14_400;

/// What a router's advertisement says beside the network's addresses.
#[derive(Clone, Debug, Default)]
pub struct Advertised {
    /// The guest reaches nothing beyond the network: there is no default route and no name server.
    pub restrict: bool,
    /// Domains in which names are looked up.
    pub search: Vec<String>,
}

/// A message of neighbour discovery: whether it was one. `message` is the ICMPv6 message, whose checksum is right.
pub fn receive(
    packet: &Packet,
    message: &[u8],
    mac: Mac,
    link: &mut Link,
    advertised: &Advertised,
    is_own: impl Fn(IpAddr) -> bool,
) -> bool {
    let [kind @ ROUTER_SOLICITATION..=137, code, _, _, body @ ..] = message else { return false };
    // Only neighbours can send with 255 hops.
    if packet.ttl != 255 || *code != 0 {
        return true;
    }
    match *kind {
        ROUTER_SOLICITATION => {
            if let (Some(mac), false) =
                (link_address(body.get(4..), SOURCE_LINK_ADDRESS), is_own(packet.source))
            {
                link.learn(packet.source, mac);
            }
            advertise(link, advertised);
        }
        NEIGHBOUR_SOLICITATION => solicited(packet, body, mac, link, is_own),
        NEIGHBOUR_ADVERTISEMENT => {
            let Some(target) = target(body) else { return true };
            let mac = link_address(body.get(20..), TARGET_LINK_ADDRESS).unwrap_or(mac);
            if !is_own(target.into()) && is_unicast(target) {
                link.learn(target.into(), mac);
            }
        }
        _ => {}
    }
    true
}

fn solicited(packet: &Packet, body: &[u8], mac: Mac, link: &mut Link, is_own: impl Fn(IpAddr) -> bool) {
    let Some(target) = target(body) else { return };
    if !packet.source.is_unspecified() && !is_own(packet.source) {
        link.learn(packet.source, link_address(body.get(20..), SOURCE_LINK_ADDRESS).unwrap_or(mac));
    }
    if !is_own(target.into()) {
        return;
    }
    // Router, override, and solicited where somebody with an address asked.
    let is_probe = packet.source.is_unspecified();
    let flags = 0xA0 | if is_probe { 0 } else { 0x40 };
    let mut answer = target.octets().to_vec();
    append_link_address(&mut answer, TARGET_LINK_ADDRESS, own_mac(target.into()));
    let IpAddr::V6(source) = packet.source else { return };
    let to = if is_probe { ALL_NODES } else { source };
    send_icmp6(link, target, to, [NEIGHBOUR_ADVERTISEMENT, 0], [flags, 0, 0, 0], &answer);
}

/// Asks which station has an address.
pub fn ask_for(link: &mut Link, station: Ipv6Addr) {
    let octets = station.octets();
    let mut group = [0; 16];
    group[..2].copy_from_slice(&[0xFF, 2]);
    group[11..13].copy_from_slice(&[1, 0xFF]);
    group[13..].copy_from_slice(&octets[13..]);
    let mut body = octets.to_vec();
    append_link_address(&mut body, SOURCE_LINK_ADDRESS, own_mac(LINK_LOCAL.into()));
    send_icmp6(link, LINK_LOCAL, group.into(), [NEIGHBOUR_SOLICITATION, 0], [0; 4], &body);
}

/// Tells all stations of the router.
pub fn advertise(link: &mut Link, advertised: &Advertised) {
    let lifetime = if advertised.restrict { 0 } else { ROUTER_LIFETIME_S };
    let [high, low] = lifetime.to_be_bytes();
    // 64 hops; no DHCPv6.
    let rest = [64, 0, high, low];
    // Reachable time and retransmission time are the station's own.
    let mut body = vec![0; 8];
    append_link_address(&mut body, SOURCE_LINK_ADDRESS, own_mac(LINK_LOCAL.into()));
    body.extend_from_slice(&[5, 1, 0, 0]);
    body.extend_from_slice(&(link.mtu as u32).to_be_bytes());
    // The prefix is on this cable, and stations make addresses of it.
    body.extend_from_slice(&[3, 4, 64, 0xC0]);
    body.extend_from_slice(&PREFIX_VALID_S.to_be_bytes());
    body.extend_from_slice(&PREFIX_PREFERRED_S.to_be_bytes());
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&link.addresses.net6.octets());
    if !advertised.restrict {
        body.extend_from_slice(&[25, 3, 0, 0]);
        body.extend_from_slice(&u32::from(ROUTER_LIFETIME_S).to_be_bytes());
        body.extend_from_slice(&link.addresses.dns6.octets());
        append_search(&mut body, &advertised.search);
    }
    send_icmp6(link, LINK_LOCAL, ALL_NODES, [ROUTER_ADVERTISEMENT, 0], rest, &body);
}

/// RFC 8106, 5.2.
fn append_search(body: &mut Vec<u8>, search: &[String]) {
    let mut names = super::dns::names(search);
    if names.is_empty() || names.len() > 2000 {
        return;
    }
    names.resize(names.len().next_multiple_of(8), 0);
    body.extend_from_slice(&[31, (1 + names.len() / 8) as u8, 0, 0]);
    body.extend_from_slice(&u32::from(ROUTER_LIFETIME_S).to_be_bytes());
    body.extend_from_slice(&names);
}

fn append_link_address(body: &mut Vec<u8>, kind: u8, mac: Mac) {
    body.extend_from_slice(&[kind, 1]);
    body.extend_from_slice(&mac);
}

/// The target of a solicitation or advertisement, behind four bytes of flags.
fn target(body: &[u8]) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = body.get(4..20)?.try_into().ok()?;
    Some(octets.into())
}

fn is_unicast(address: Ipv6Addr) -> bool {
    !address.is_multicast() && !address.is_unspecified()
}

/// The Ethernet address in an option.
fn link_address(options: Option<&[u8]>, wanted: u8) -> Option<Mac> {
    let mut options = options?;
    while let [kind, length, ..] = options {
        if *length == 0 {
            return None;
        }
        let (option, rest) = options.split_at_checked(usize::from(*length) * 8)?;
        if *kind == wanted {
            return option.get(2..8)?.try_into().ok();
        }
        options = rest;
    }
    None
}
