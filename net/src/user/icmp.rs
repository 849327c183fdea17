//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echoes, and what went wrong.
//!
//! The network's own addresses answer echo requests themselves. Requests that go further need a socket of the host: one that Linux
//! gives to groups in the range `net.ipv4.ping_group_range` (icmp(7)), or a raw one where the program has the right to
//! it. Where it has neither, the guest is told that such packets are filtered.

use super::link::{Link, is_temporary};
use super::outward::{Outward, family};
use super::poller::{Poller, Token};
use super::tcp::connection::{Connection, Flow};
use super::tcp::segment::{self, Segment};
use crate::wire::build::IpHeader;
use crate::wire::checksum::Sum;
use crate::wire::headers::{Icmp, Ipv4, Tcp, Udp, protocol};
use crate::wire::ip::Packet;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send, socket_with,
    sockopt,
};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_6: u8 = 128;
const ECHO_REPLY_6: u8 = 129;

/// Pairs of addresses that are pinged at a time.
const MOST_FLOWS: usize = 256;
/// A pair is forgotten after so long.
const IDLE: Duration = Duration::from_secs(60);
/// Answers that are taken from a socket before others have their turn.
const MOST_AT_ONCE: usize = 64;
/// The longest answer: an IP packet.
const LONGEST: usize = 65_535;

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no way to the network.
    NoRoute,
    /// The station does not answer.
    NoHost,
    /// The station has nobody at the port.
    NoPort,
    /// A router does not let it through.
    Prohibited,
    /// It was under way too long.
    TimeExceeded,
}

impl Trouble {
    /// What an error of the host's socket means.
    pub fn of(error: Errno) -> Option<Self> {
        match error {
            Errno::CONNREFUSED => Some(Self::NoPort),
            Errno::NETUNREACH | Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => Some(Self::NoRoute),
            Errno::HOSTUNREACH | Errno::TIMEDOUT | Errno::HOSTDOWN => Some(Self::NoHost),
            Errno::ACCESS | Errno::PERM => Some(Self::Prohibited),
            _ => None,
        }
    }
    fn type_and_code(self, is_ipv4: bool) -> [u8; 2] {
        match (self, is_ipv4) {
            (Self::NoRoute, true) => [3, 0],
            (Self::NoHost, true) => [3, 1],
            (Self::NoPort, true) => [3, 3],
            (Self::Prohibited, true) => [3, 13],
            (Self::TimeExceeded, true) => [11, 0],
            (Self::NoRoute, false) => [1, 0],
            (Self::Prohibited, false) => [1, 1],
            (Self::NoHost, false) => [1, 3],
            (Self::NoPort, false) => [1, 4],
            (Self::TimeExceeded, false) => [3, 0],
        }
    }
}

/// Sends an ICMPv6 message: what it begins with, four bytes behind the checksum, and the body.
pub fn send_icmp6(
    link: &mut Link,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    [kind, code]: [u8; 2],
    rest: [u8; 4],
    body: &[u8],
) {
    let mut header = IpHeader::new(source.into(), destination.into(), protocol::ICMPV6);
    // Messages to neighbours must have the most hops there are.
    header.ttl = 255;
    let message = message(&header, Icmp { kind, code, checksum: [0; 2], rest }, body);
    link.send_ip(header, &message);
}

/// A message with its checksum.
fn message(header: &IpHeader, mut icmp: Icmp, body: &[u8]) -> Vec<u8> {
    let length = Icmp::BYTES + body.len();
    let sum = match header.source {
        IpAddr::V4(_) => Sum::default(),
        IpAddr::V6(_) => {
            Sum::default().pseudo_header(header.source, header.destination, protocol::ICMPV6, length)
        }
    };
    icmp.checksum = [0; 2];
    icmp.checksum = sum.bytes(icmp.as_bytes()).bytes(body).checksum();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(icmp.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Tells the guest what became of its packet, of whose payload `quote` is the beginning.
/// The message comes from `source`, or from the router.
pub fn send_trouble(
    link: &mut Link,
    trouble: Trouble,
    source: Option<IpAddr>,
    guest: IpAddr,
    remote: IpAddr,
    about: u8,
    quote: &[u8],
) {
    let is_ipv4 = guest.is_ipv4();
    let source = source.unwrap_or_else(|| link.addresses.router_for(guest));
    let number = if is_ipv4 { protocol::ICMP } else { protocol::ICMPV6 };
    let header = IpHeader::new(source, guest, number);
    let mut body = Vec::new();
    IpHeader::new(guest, remote, about).append(&mut body, quote.len());
    body.extend_from_slice(quote);
    let [kind, code] = trouble.type_and_code(is_ipv4);
    let message = message(&header, Icmp { kind, code, checksum: [0; 2], rest: [0; 4] }, &body);
    link.send_ip(header, &message);
}

/// Tells the guest what became of a datagram.
pub fn send_udp_trouble(link: &mut Link, trouble: Trouble, guest: SocketAddr, remote: SocketAddr) {
    let quote = Udp {
        source: guest.port().into(),
        destination: remote.port().into(),
        length: 8.into(),
        checksum: [0; 2],
    };
    let source = (trouble == Trouble::NoPort).then(|| remote.ip());
    send_trouble(link, trouble, source, guest.ip(), remote.ip(), protocol::UDP, quote.as_bytes());
}

/// A connection that the guest wanted cannot be had.
pub fn tcp_failed(link: &mut Link, syn: &Segment, flow: &Flow, error: Errno) {
    send_tcp_trouble(link, flow, syn.sequence.0, error);
    segment::refuse(link, syn, flow.guest, flow.remote);
}

/// A connection that the guest wanted was tried, and failed.
pub fn connect_failed(link: &mut Link, connection: &Connection, error: Errno) {
    send_tcp_trouble(link, &connection.flow, connection.inward.next.0.wrapping_sub(1), error);
    connection.send_reset(link);
}

/// A refused connection is told by a reset alone; other troubles by a message before, which says more.
fn send_tcp_trouble(link: &mut Link, flow: &Flow, sequence: u32, error: Errno) {
    let Some(trouble) = Trouble::of(error).filter(|trouble| *trouble != Trouble::NoPort) else { return };
    let quote = Tcp {
        source: flow.guest.port().into(),
        destination: flow.remote.port().into(),
        sequence: sequence.into(),
        ..Tcp::default()
    };
    send_trouble(link, trouble, None, flow.guest.ip(), flow.remote.ip(), protocol::TCP, quote.as_bytes());
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct EchoKey {
    guest: IpAddr,
    remote: IpAddr,
    ident: [u8; 2],
}

struct EchoFlow {
    key: EchoKey,
    socket: OwnedFd,
    /// The socket is raw: the number that answers must have, as the host's other answers come too.
    raw: Option<[u8; 2]>,
    ttl: u8,
    active: Instant,
}

/// Echo requests that go beyond the network.
#[derive(Default)]
pub struct Echoes {
    flows: HashMap<u64, EchoFlow>,
    by_key: HashMap<EchoKey, u64>,
    next_number: u64,
    said: bool,
}

impl Echoes {
    /// A message from the guest that is not neighbour discovery. `is_own` says whether the receiver is the network itself.
    pub fn receive(
        &mut self,
        packet: &Packet,
        bytes: &[u8],
        is_own: bool,
        link: &mut Link,
        outward: &Outward,
        poller: &Poller,
    ) {
        let Some((icmp, body)) = Icmp::split(bytes) else { return };
        let is_request = match packet.protocol {
            protocol::ICMP => icmp.kind == ECHO_REQUEST,
            _ => icmp.kind == ECHO_REQUEST_6,
        };
        if !is_request || icmp.code != 0 {
            return;
        }
        if is_own {
            return reply(link, packet.destination, packet.source, icmp.rest, body);
        }
        let quote = &bytes[..Icmp::BYTES];
        let fail = |link: &mut Link, trouble| {
            send_trouble(link, trouble, None, packet.source, packet.destination, packet.protocol, quote);
        };
        let Some(target) = outward.any(SocketAddr::new(packet.destination, 0)) else {
            return fail(link, if outward.restrict { Trouble::Prohibited } else { Trouble::NoHost });
        };
        let [a, b, ..] = icmp.rest;
        let key = EchoKey { guest: packet.source, remote: packet.destination, ident: [a, b] };
        let id = match self.by_key.get(&key) {
            Some(id) => *id,
            None => match self.open(key, target.ip(), link.now, poller) {
                Ok(id) => id,
                Err(error) => return fail(link, Trouble::of(error).unwrap_or(Trouble::NoHost)),
            },
        };
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.active = link.now;
        if let Err(error) = flow.send(packet.ttl.saturating_sub(1), icmp, body).filter_temporary() {
            fail(link, Trouble::of(error).unwrap_or(Trouble::NoHost));
        }
    }
    fn open(&mut self, key: EchoKey, target: IpAddr, now: Instant, poller: &Poller) -> Result<u64, Errno> {
        if self.flows.len() >= MOST_FLOWS {
            let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.active).map(|(id, _)| *id);
            oldest.into_iter().for_each(|id| self.remove(id));
        }
        let (socket, is_raw) = open_socket(family(target)).inspect_err(|_| self.say())?;
        connect(&socket, &SocketAddr::new(target, 0))?;
        let id = self.next_number;
        poller.add(&socket, Token::Icmp(id), EventFlags::IN).map_err(|_| Errno::NOMEM)?;
        self.next_number += 1;
        // The program's number and the flow's tell it from the host's own requests.
        let own = (std::process::id() as u16) ^ (id as u16).rotate_left(8);
        let raw = is_raw.then(|| own.to_be_bytes());
        self.flows.insert(id, EchoFlow { key, socket, raw, ttl: 0, active: now });
        self.by_key.insert(key, id);
        Ok(id)
    }
    fn say(&mut self) {
        if !std::mem::replace(&mut self.said, true) {
            log::warn!(
                "the guest's pings reach the router only: the host does not let this program send them; \
                 `sysctl net.ipv4.ping_group_range=\"0 2147483647\"` on the host lets all programs"
            );
        }
    }
    fn remove(&mut self, id: u64) {
        if let Some(flow) = self.flows.remove(&id) {
            self.by_key.remove(&flow.key);
        }
    }
    /// Answers have come.
    pub fn event(&mut self, id: u64, link: &mut Link) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let mut bytes = Vec::new();
        for _ in 0..MOST_AT_ONCE {
            bytes.clear();
            bytes.reserve(LONGEST);
            match recv(&flow.socket, rustix::buffer::spare_capacity(&mut bytes), RecvFlags::DONTWAIT) {
                Ok(_) => flow.answer(&bytes, link),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    let quote =
                        [if flow.key.guest.is_ipv4() { ECHO_REQUEST } else { ECHO_REQUEST_6 }, 0, 0, 0];
                    let quote = [&quote[..], &flow.key.ident, &[0, 0]].concat();
                    let about = if flow.key.guest.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
                    let trouble = Trouble::of(error).unwrap_or(Trouble::NoHost);
                    return send_trouble(link, trouble, None, flow.key.guest, flow.key.remote, about, &quote);
                }
            }
        }
    }
    /// Once a second: forgets what is old.
    pub fn tick(&mut self, link: &Link) {
        let old = |flow: &EchoFlow| link.now.saturating_duration_since(flow.active) > IDLE;
        let old: Vec<u64> = self.flows.iter().filter(|(_, flow)| old(flow)).map(|(id, _)| *id).collect();
        old.into_iter().for_each(|id| self.remove(id));
        link.shared.counters.icmp.store(self.flows.len() as u64, Ordering::Relaxed);
    }
    /// Whether nobody pings.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

impl EchoFlow {
    fn send(&mut self, ttl: u8, request: &Icmp, body: &[u8]) -> Result<(), Errno> {
        let is_ipv4 = self.key.guest.is_ipv4();
        if ttl != self.ttl {
            _ = match is_ipv4 {
                true => sockopt::set_ip_ttl(&self.socket, ttl.into()),
                false => sockopt::set_ipv6_unicast_hops(&self.socket, Some(ttl)),
            };
            self.ttl = ttl;
        }
        let mut icmp = *request;
        if let Some([a, b]) = self.raw {
            icmp.rest[..2].copy_from_slice(&[a, b]);
        }
        // The kernel fills in the checksum where it needs the addresses (ICMPv6), and where the socket is not raw.
        icmp.checksum = [0; 2];
        icmp.checksum = Sum::default().bytes(icmp.as_bytes()).bytes(body).checksum();
        send(&self.socket, &[icmp.as_bytes(), body].concat(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok(())
    }
    fn answer(&self, bytes: &[u8], link: &mut Link) {
        let is_ipv4 = self.key.guest.is_ipv4();
        // Raw sockets of IPv4 show the IP header.
        let skipped = match (self.raw.is_some() && is_ipv4, bytes.first()) {
            (true, Some(first)) => (usize::from(first & 15) * 4).max(Ipv4::BYTES),
            _ => 0,
        };
        let Some((icmp, body)) = bytes.get(skipped..).and_then(Icmp::split) else { return };
        let [a, b, c, d] = icmp.rest;
        let is_reply = icmp.kind == if is_ipv4 { ECHO_REPLY } else { ECHO_REPLY_6 };
        if is_reply && self.raw.is_none_or(|own| own == [a, b]) {
            let [a, b] = self.key.ident;
            reply(link, self.key.remote, self.key.guest, [a, b, c, d], body);
        }
    }
}

/// An echo reply to the guest.
fn reply(link: &mut Link, source: IpAddr, guest: IpAddr, rest: [u8; 4], body: &[u8]) {
    let is_ipv4 = guest.is_ipv4();
    let kind = if is_ipv4 { ECHO_REPLY } else { ECHO_REPLY_6 };
    let header = IpHeader::new(source, guest, if is_ipv4 { protocol::ICMP } else { protocol::ICMPV6 });
    let message = message(&header, Icmp { kind, code: 0, checksum: [0; 2], rest }, body);
    link.send_ip(header, &message);
}

/// A socket for echo requests, and whether it is raw.
fn open_socket(family: AddressFamily) -> Result<(OwnedFd, bool), Errno> {
    let number = if family == AddressFamily::INET { ipproto::ICMP } else { ipproto::ICMPV6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match socket_with(family, SocketType::DGRAM, flags, Some(number)) {
        Ok(socket) => Ok((socket, false)),
        Err(error) => match socket_with(family, SocketType::RAW, flags, Some(number)) {
            Ok(socket) => Ok((socket, true)),
            Err(_) => Err(error),
        },
    }
}

trait FilterTemporary {
    fn filter_temporary(self) -> Self;
}

impl FilterTemporary for Result<(), Errno> {
    /// A packet that the host has no room for is lost, as packets are.
    fn filter_temporary(self) -> Self {
        self.or_else(|error| if is_temporary(error) { Ok(()) } else { Err(error) })
    }
}
