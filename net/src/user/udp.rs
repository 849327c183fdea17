//! UDP of the user-mode network: address translation (RFC 4787).
//!
//! Each pair of ends has a socket of the host that is connected to the other end, so that the host tells when nobody is there. All
//! sockets of one port of the guest have the same port of the host: that is what programs which look for a way through address
//! translations need ("endpoint-independent mapping"). Only ends that the guest has sent to can answer.

use super::icmp::{Trouble, send_udp_trouble};
use super::link::{Link, is_temporary};
use super::outward::{Outward, family, new_socket};
use super::poller::{Poller, Token};
use super::tcp::connection::Flow;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendFlags, SocketType, bind, connect, getsockname, recv, recvfrom, send, sendto, sockopt,
};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Pairs of ends at a time.
const MOST_FLOWS: usize = 1024;
/// A pair is forgotten after so long without a datagram: RFC 4787, 4.3 wants two minutes at least.
const IDLE: Duration = Duration::from_secs(180);
/// Datagrams that are taken from a socket before others have their turn.
const MOST_AT_ONCE: usize = 64;
/// The longest datagram.
const LONGEST: usize = 65_535;

struct UdpFlow {
    key: Flow,
    way: Way,
    active: Instant,
}

#[derive(Clone)]
enum Way {
    /// A socket that is connected to the other end, and its port.
    Own(Arc<OwnedFd>, u16),
    /// A port of the host that leads to the guest, and who sent there.
    Forward(Arc<OwnedFd>, SocketAddr),
}

/// All flows of datagrams.
#[derive(Default)]
pub struct UdpTable {
    flows: HashMap<u64, UdpFlow>,
    by_ends: HashMap<Flow, u64>,
    /// Flows with datagrams for which there was no room in the card's queue.
    waiting: VecDeque<u64>,
    next_number: u64,
    buffer: Vec<u8>,
}

impl UdpTable {
    /// A datagram from the guest that is not for the network itself.
    pub fn receive(
        &mut self,
        ends: Flow,
        payload: &[u8],
        link: &mut Link,
        outward: &Outward,
        poller: &Poller,
    ) {
        let id = match self.by_ends.get(&ends) {
            Some(id) => *id,
            None => {
                let Some(target) = outward.any(ends.remote) else {
                    let trouble = if outward.restrict { Trouble::Prohibited } else { Trouble::NoPort };
                    return send_udp_trouble(link, trouble, ends.guest, ends.remote);
                };
                match self.open(ends, target, link.now, poller) {
                    Ok(id) => id,
                    Err(error) => return tell(link, &ends, error),
                }
            }
        };
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.active = link.now;
        if let Err(error) = flow.send(payload) {
            tell(link, &ends, error);
        }
    }
    fn open(&mut self, ends: Flow, target: SocketAddr, now: Instant, poller: &Poller) -> Result<u64, Errno> {
        self.make_room();
        let same_port = self.flows.values().find_map(|flow| match &flow.way {
            Way::Own(_, port) if flow.key.guest == ends.guest => Some(*port),
            _ => None,
        });
        let (socket, port) = open_socket(target, same_port.unwrap_or(0))
            .or_else(|error| if same_port.is_some() { open_socket(target, 0) } else { Err(error) })?;
        let flags = EventFlags::IN | EventFlags::ET;
        poller.add(&socket, Token::Udp(self.next_number), flags).map_err(|_| Errno::NOMEM)?;
        Ok(self.insert(UdpFlow { key: ends, way: Way::Own(Arc::new(socket), port), active: now }))
    }
    fn insert(&mut self, flow: UdpFlow) -> u64 {
        let id = self.next_number;
        self.next_number += 1;
        self.by_ends.insert(flow.key, id);
        self.flows.insert(id, flow);
        id
    }
    fn make_room(&mut self) {
        if self.flows.len() >= MOST_FLOWS {
            let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.active).map(|(id, _)| *id);
            oldest.into_iter().for_each(|id| self.remove(id));
        }
    }
    fn remove(&mut self, id: u64) {
        if let Some(flow) = self.flows.remove(&id) {
            self.by_ends.remove(&flow.key);
        }
    }
    /// Datagrams have come from the other end of a flow.
    pub fn event(&mut self, id: u64, link: &mut Link) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let Way::Own(socket, _) = &flow.way else { return };
        let buffer = &mut self.buffer;
        for _ in 0..MOST_AT_ONCE {
            if !link.has_room() {
                break;
            }
            buffer.clear();
            buffer.reserve(LONGEST);
            match recv(socket, rustix::buffer::spare_capacity(buffer), RecvFlags::DONTWAIT) {
                Ok(_) => {
                    flow.active = link.now;
                    link.send_udp(flow.key.remote, flow.key.guest, buffer);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => tell(link, &flow.key, error),
            }
        }
        // There may be more, and no event will say so.
        self.waiting.push_back(id);
    }
    /// A turn for those that had no room before.
    pub fn work(&mut self, link: &mut Link) {
        for _ in 0..self.waiting.len() {
            if !link.has_room() {
                return;
            }
            let Some(id) = self.waiting.pop_front() else { return };
            self.event(id, link);
        }
    }
    /// Whether something waits for room in the card's queue, or for its turn.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
    /// Datagrams have come at a port of the host that leads to the guest.
    pub fn forward(&mut self, socket: &Arc<OwnedFd>, guest: SocketAddr, link: &mut Link, outward: &Outward) {
        for _ in 0..MOST_AT_ONCE {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            buffer.reserve(LONGEST);
            let received =
                recvfrom(&**socket, rustix::buffer::spare_capacity(&mut buffer), RecvFlags::DONTWAIT);
            match received {
                Ok((_, _, Some(peer))) => {
                    if let Ok(peer) = SocketAddr::try_from(peer) {
                        let remote = self.forwarded(socket, guest, peer, link, outward);
                        link.send_udp(remote, guest, &buffer);
                    }
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.buffer = buffer;
                    return;
                }
                // What somebody else did not take.
                Err(_) => {}
            }
            self.buffer = buffer;
        }
    }
    /// The other end as the guest sees it, of a datagram from `peer`.
    fn forwarded(
        &mut self,
        socket: &Arc<OwnedFd>,
        guest: SocketAddr,
        peer: SocketAddr,
        link: &Link,
        outward: &Outward,
    ) -> SocketAddr {
        let ip = outward.seen_by_guest(peer.ip(), guest.ip());
        let is_same = |flow: &UdpFlow| matches!(&flow.way, Way::Forward(other, other_peer) if *other_peer == peer && Arc::ptr_eq(other, socket));
        for n in 0..64 {
            let remote = SocketAddr::new(ip, peer.port().wrapping_add(n));
            let key = Flow { guest, remote };
            match self.by_ends.get(&key).and_then(|id| self.flows.get_mut(id)) {
                Some(flow) if is_same(flow) => {
                    flow.active = link.now;
                    return remote;
                }
                Some(_) => {}
                None => {
                    self.make_room();
                    let way = Way::Forward(socket.clone(), peer);
                    self.insert(UdpFlow { key, way, active: link.now });
                    return remote;
                }
            }
        }
        SocketAddr::new(ip, peer.port())
    }
    /// Once a second: forgets what is old.
    pub fn tick(&mut self, link: &Link) {
        let old = |flow: &UdpFlow| link.now.saturating_duration_since(flow.active) > IDLE;
        let old: Vec<u64> = self.flows.iter().filter(|(_, flow)| old(flow)).map(|(id, _)| *id).collect();
        old.into_iter().for_each(|id| self.remove(id));
        link.shared.counters.udp.store(self.flows.len() as u64, Ordering::Relaxed);
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

impl UdpFlow {
    fn send(&self, payload: &[u8]) -> Result<(), Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match &self.way {
            Way::Own(socket, _) => send(socket, payload, flags)?,
            Way::Forward(socket, peer) => sendto(&**socket, payload, flags, peer)?,
        };
        Ok(())
    }
}

fn tell(link: &mut Link, ends: &Flow, error: Errno) {
    if is_temporary(error) {
        return;
    }
    if let Some(trouble) = Trouble::of(error) {
        send_udp_trouble(link, trouble, ends.guest, ends.remote);
    }
}

/// A socket that is connected to an address, and its port; with the port that other sockets of ours have, if one is given.
fn open_socket(target: SocketAddr, port: u16) -> Result<(OwnedFd, u16), Errno> {
    let socket = new_socket(family(target.ip()), SocketType::DGRAM)?;
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A new port must be nobody else's: it is made one that can be shared afterwards.
    if port != 0 {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(any, port))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    connect(&socket, &target)?;
    let own = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, own.port()))
}
