//! From the network's addresses to the host's: where a packet of the guest goes.
//!
//! | the guest sends to | that is |
//! |---|---|
//! | the router | the host's loopback address |
//! | the name server, port 53 | the host's name server |
//! | an address of a guest forward | what the forward says |
//! | another address of the network | nobody |
//! | any other address | the same address, as the host reaches it |

use super::config::Addresses;
use super::forward::{Destination, GuestForward};
use super::resolvers::Resolvers;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// An address.
    Internet(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// A command's input and output.
    Command(String),
}

/// What decides about ways.
pub struct Outward {
    /// The network's addresses.
    pub addresses: Addresses,
    /// The guest reaches nothing beyond the network but by forwards.
    pub restrict: bool,
    /// The router's address leads to the host's loopback.
    pub loopback: bool,
    /// The host's name servers.
    pub resolvers: Resolvers,
    /// Addresses of the network that lead out.
    pub forwards: Vec<GuestForward>,
}

impl Outward {
    /// Where a connection to `remote` goes; nothing where nobody answers.
    pub fn tcp(&self, remote: SocketAddr) -> Option<Way> {
        if let Some(forward) = self.forwards.iter().find(|forward| forward.server == remote) {
            return Some(match &forward.destination {
                Destination::Tcp(address) => Way::Internet(*address),
                Destination::Unix(path) => Way::Unix(path.clone()),
                Destination::Command(command) => Way::Command(command.clone()),
            });
        }
        if self.addresses.is_dns(remote.ip()) && remote.port() == 53 && !self.restrict {
            return self.resolvers.first().map(Way::Internet);
        }
        self.any(remote).map(Way::Internet)
    }
    /// The host's address for one of the guest's, without forwards and name servers.
    pub fn any(&self, remote: SocketAddr) -> Option<SocketAddr> {
        if self.restrict {
            return None;
        }
        let port = remote.port();
        let ip = if self.addresses.is_router(remote.ip()) {
            match remote.ip() {
                _ if !self.loopback => return None,
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            }
        } else {
            remote.ip()
        };
        let is_own = self.addresses.contains(remote.ip()) && !self.addresses.is_router(remote.ip());
        (!is_own && is_anybody(remote.ip())).then(|| SocketAddr::new(ip, port))
    }
    /// How the guest sees an address of the host's side: the loopback, and addresses that would be the guest's own network, are the router.
    pub fn seen_by_guest(&self, peer: IpAddr, guest: IpAddr) -> IpAddr {
        let peer = peer.to_canonical();
        let is_same_version = peer.is_ipv4() == guest.is_ipv4();
        if !is_same_version || !is_anybody(peer) || self.addresses.contains(peer) {
            self.addresses.router_for(guest)
        } else {
            peer
        }
    }
}

/// Whether an address is one that a single station beyond the router may have.
fn is_anybody(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_loopback()
                || address.is_multicast()
                || address.octets()[0] == 0
                || address.octets()[0] >= 240)
        }
        IpAddr::V6(address) => {
            let link_local = address.segments()[0] & 0xFFC0 == 0xFE80;
            // Addresses of IPv4 in those of IPv6 would lead around what was said above.
            let is_ipv4 = address.to_ipv4().is_some();
            !(address.is_loopback()
                || address.is_multicast()
                || address.is_unspecified()
                || link_local
                || is_ipv4)
        }
    }
}

/// The address family.
pub fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// A socket that is not inherited and never waits.
pub fn new_socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// A socket that connects, and whether it is connected already.
pub fn connect_tcp(address: SocketAddr) -> Result<(OwnedFd, bool), Errno> {
    let socket = new_socket(family(address.ip()), SocketType::STREAM)?;
    // The guest has decided already when to send.
    _ = sockopt::set_tcp_nodelay(&socket, true);
    _ = sockopt::set_socket_keepalive(&socket, true);
    match connect(&socket, &address) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

/// A Unix socket.
pub fn connect_unix(path: &Path) -> Result<(OwnedFd, bool), Errno> {
    let socket = new_socket(AddressFamily::UNIX, SocketType::STREAM)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok((socket, true))
}

/// A command, with a socket to its standard input and output.
pub fn start_command(command: &str) -> Result<(OwnedFd, Child), Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let (ours, theirs) = UnixStream::pair().map_err(errno)?;
    ours.set_nonblocking(true).map_err(errno)?;
    let input = OwnedFd::from(theirs.try_clone().map_err(errno)?);
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(errno)?;
    Ok((ours.into(), child))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::user::config::UserNetConfig;

    fn outward(change: impl FnOnce(&mut UserNetConfig)) -> Outward {
        let resolvers = vec!["192.0.2.53:53".parse().unwrap()];
        let mut config = UserNetConfig { resolvers, ..UserNetConfig::default() };
        config.set("guestfwd", "tcp:10.0.2.100:80-unix:/run/web").unwrap();
        change(&mut config);
        Outward {
            addresses: config.addresses().unwrap(),
            restrict: config.restrict,
            loopback: config.loopback,
            resolvers: Resolvers::new(config.resolvers.clone()),
            forwards: config.guest_forwards,
        }
    }

    #[test]
    fn addresses_lead_where_the_table_says() {
        let outward = outward(|_| {});
        for (guest, expected) in [
            ("10.0.2.2:80", Some("127.0.0.1:80")),
            ("[fec0::2]:80", Some("[::1]:80")),
            ("10.0.2.3:53", Some("192.0.2.53:53")),
            ("10.0.2.3:54", None),
            ("10.0.2.100:81", None),
            ("10.0.2.15:22", None),
            ("93.184.215.14:443", Some("93.184.215.14:443")),
            ("127.0.0.1:22", None),
            ("0.0.0.0:22", None),
            ("255.255.255.255:22", None),
            ("224.0.0.1:22", None),
            ("[::1]:22", None),
            ("[::ffff:127.0.0.1]:22", None),
            ("[::]:22", None),
            ("[fe80::9]:22", None),
            ("[ff02::1]:22", None),
        ] {
            let expected = expected.map(|address| Way::Internet(address.parse().unwrap()));
            assert_eq!(outward.tcp(guest.parse().unwrap()), expected, "{guest}");
        }
        let forward = outward.tcp("10.0.2.100:80".parse().unwrap());
        assert_eq!(forward, Some(Way::Unix("/run/web".into())));
    }

    #[test]
    fn a_restricted_guest_has_its_forwards_only() {
        let outward = outward(|config| config.restrict = true);
        for guest in ["10.0.2.2:80", "10.0.2.3:53", "93.184.215.14:443"] {
            assert_eq!(outward.tcp(guest.parse().unwrap()), None, "{guest}");
        }
        assert!(outward.tcp("10.0.2.100:80".parse().unwrap()).is_some());
    }

    #[test]
    fn without_loopback_the_router_is_nobody() {
        let outward = outward(|config| config.loopback = false);
        assert_eq!(outward.tcp("10.0.2.2:80".parse().unwrap()), None);
        assert!(outward.tcp("192.0.2.1:80".parse().unwrap()).is_some());
    }
}
