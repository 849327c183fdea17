//! Ports of the host that lead to the guest.

use super::forward::{HostForward, Transport};
use super::link::Link;
use super::outward::{Outward, family, new_socket};
use super::poller::{Poller, Token};
use super::tcp::TcpTable;
use super::tcp::connection::Flow;
use super::udp::UdpTable;
use crate::error::NetError;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType, acceptfrom_with, bind, listen, sockopt};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// Connections that are accepted before others have their turn.
const MOST_AT_ONCE: usize = 64;

/// Opens the host's end of a forward.
///
/// # Errors
/// The port is taken, or this program may not have it.
pub fn open(forward: &HostForward) -> Result<OwnedFd, NetError> {
    let result = match forward.transport {
        Transport::Tcp => open_tcp(forward.host),
        Transport::Udp => open_udp(forward.host),
    };
    result.map_err(|error| {
        let hint = match error {
            Errno::ADDRINUSE => "another program has this port: choose another one",
            Errno::ACCESS => "ports below 1024 need a privilege: choose another one, or lower net.ipv4.ip_unprivileged_port_start",
            Errno::ADDRNOTAVAIL => "the host has no such address",
            _ => "choose another address or port",
        };
        NetError::host_with_hint(format!("hostfwd={forward}: the host cannot listen there"), error, hint)
    })
}

fn open_tcp(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = new_socket(family(address.ip()), SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    only_its_version(&socket, address)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn open_udp(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = new_socket(family(address.ip()), SocketType::DGRAM)?;
    only_its_version(&socket, address)?;
    bind(&socket, &address)?;
    Ok(socket)
}

fn only_its_version(socket: &OwnedFd, address: SocketAddr) -> Result<(), Errno> {
    if address.is_ipv6() { sockopt::set_ipv6_v6only(socket, true) } else { Ok(()) }
}

struct Listener {
    forward: HostForward,
    socket: Arc<OwnedFd>,
}

/// All of them.
#[derive(Default)]
pub struct Listeners {
    listeners: HashMap<u64, Listener>,
    /// Those that could not accept, for lack of file descriptors, and are not watched until the next tick.
    paused: Vec<u64>,
}

impl Listeners {
    /// One more.
    pub fn add(&mut self, id: u64, forward: HostForward, socket: OwnedFd, poller: &Poller) {
        match poller.add(&socket, Token::Forward(id), EventFlags::IN) {
            Ok(()) => _ = self.listeners.insert(id, Listener { forward, socket: Arc::new(socket) }),
            Err(error) => log::warn!("hostfwd={forward} cannot be watched: {error}"),
        }
    }
    /// One less.
    pub fn remove(&mut self, id: u64, poller: &Poller) {
        if let Some(listener) = self.listeners.remove(&id) {
            // Flows of datagrams may hold it a while longer.
            poller.remove(&*listener.socket);
        }
    }
    /// Somebody came to a port.
    pub fn event(
        &mut self,
        id: u64,
        link: &mut Link,
        outward: &Outward,
        tcp: &mut TcpTable,
        udp: &mut UdpTable,
        poller: &Poller,
    ) {
        let Some(Listener { forward, socket }) = self.listeners.get(&id) else { return };
        let guest = SocketAddr::new(guest_of(forward, link), forward.guest_port);
        match forward.transport {
            Transport::Udp => udp.forward(socket, guest, link, outward),
            Transport::Tcp => {
                if accept(socket, guest, link, outward, tcp, poller).is_err() {
                    poller.remove(&**socket);
                    self.paused.push(id);
                }
            }
        }
    }
    /// Once a second: those that could not accept try again.
    pub fn tick(&mut self, poller: &Poller) {
        for id in self.paused.drain(..) {
            if let Some(listener) = self.listeners.get(&id) {
                _ = poller.add(&*listener.socket, Token::Forward(id), EventFlags::IN);
            }
        }
    }
    /// Whether some wait for the next tick.
    pub fn is_waiting(&self) -> bool {
        !self.paused.is_empty()
    }
}

/// The guest that a forward means: as it says, or the first one; with an IPv6 address of the host, the guest's if one was seen.
fn guest_of(forward: &HostForward, link: &Link) -> IpAddr {
    let first = IpAddr::V4(link.addresses.dhcp_start);
    match (forward.guest, link.guest6) {
        (Some(guest), _) => guest,
        (None, Some(guest6)) if forward.host.is_ipv6() || !link.addresses.ipv4 => guest6.into(),
        (None, _) => first,
    }
}

/// Takes who came; an error says that it cannot be done now.
fn accept(
    socket: &OwnedFd,
    guest: SocketAddr,
    link: &mut Link,
    outward: &Outward,
    tcp: &mut TcpTable,
    poller: &Poller,
) -> Result<(), Errno> {
    for _ in 0..MOST_AT_ONCE {
        match acceptfrom_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((connection, peer)) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                let Some(peer) = peer else { continue };
                let ip = outward.seen_by_guest(peer.ip(), guest.ip());
                let Some(port) = tcp.free_port(guest, ip, peer.port()) else { continue };
                let flow = Flow { guest, remote: SocketAddr::new(ip, port) };
                tcp.forward(connection, flow, link, poller);
            }
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
