//! A network without privileges: a router behind which the guest is alone, as at home.
//!
//! ```text
//!   guest 10.0.2.15 --cable-- router 10.0.2.2 --sockets of the host-- everything that the host reaches
//!                             name server 10.0.2.3
//! ```
//!
//! What the guest sends never reaches the host's network as it is. TCP ends here, and its bytes go on through a socket; so do
//! datagrams and echo requests. The guest can reach what the program can reach. Nobody reaches the guest but by a forward.
//!
//! A packet's way: the card's [`send`](crate::NetBackend::send) puts a frame into a queue ([`shared`]) and rings a bell. The network's
//! thread ([`router`]) takes all frames at once, gives each to its protocol, and then gives each connection with something to do its
//! turn: it writes to the host's socket, reads from it, and puts segments into the card's queue. When that is full, connections
//! wait until the card has made room, and sockets until connections have.
//!
//! | module | what it has |
//! |---|---|
//! | [`config`], [`forward`] | options |
//! | [`router`], [`poller`], [`shared`], [`command`] | the thread, what it waits for, and its queues |
//! | [`link`], [`arp`], [`ndp`], [`fragments`] | the cable: frames, neighbours, parts of packets |
//! | [`outward`], [`inbound`], [`resolvers`] | which address is what on the host |
//! | [`tcp`], [`udp`], [`icmp`] | transports |
//! | [`dhcp`], [`dns`], [`tftp`] | services |
//!
//! Left out: multicast and broadcasts beyond the cable, DHCPv6, protocols beside TCP, UDP and ICMP, IP options, `smb=`.

pub mod arp;
pub mod command;
pub mod config;
pub mod dhcp;
pub mod dns;
pub mod forward;
pub mod fragments;
pub mod icmp;
pub mod inbound;
pub mod link;
pub mod ndp;
pub mod outward;
pub mod poller;
pub mod resolvers;
pub mod router;
pub mod shared;
pub mod tcp;
pub mod tftp;
pub mod udp;

use crate::backend::{NetBackend, PortForwards, Waker};
use crate::error::NetError;
use crate::frame::{Frame, Offloads};
use command::Command;
use config::{Addresses, UserNetConfig};
use forward::{HostForward, Transport};
use router::Router;
use rustix::net::getsockname;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shared::Shared;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// File descriptors that a thousand connections and more need.
const ENOUGH_FILES: u64 = 16_384;

/// A user-mode network.
pub struct UserNet {
    shared: Arc<Shared>,
    addresses: Addresses,
    mtu: u16,
    restrict: bool,
    thread: Option<JoinHandle<()>>,
    forwards: Mutex<Vec<(u64, HostForward)>>,
    next_forward: AtomicU64,
}

impl UserNet {
    /// Starts a network.
    ///
    /// # Errors
    /// The configuration contradicts itself, a port of a forward is taken, the folder of TFTP is none, or the host has no more threads or
    /// file descriptors.
    pub fn start(config: &UserNetConfig) -> Result<Self, NetError> {
        allow_many_files();
        let shared = Arc::new(Shared::new().map_err(|error| NetError::host("user network", error))?);
        let router = Router::new(config, shared.clone())?;
        let mut net = Self {
            shared,
            addresses: config.addresses()?,
            mtu: config.mtu,
            restrict: config.restrict,
            thread: None,
            forwards: Mutex::default(),
            next_forward: AtomicU64::new(0),
        };
        for forward in &config.host_forwards {
            net.add_forward(*forward)?;
        }
        let thread = std::thread::Builder::new().name("user network".into()).spawn(move || router.run());
        net.thread = Some(thread.map_err(|error| NetError::host("user network", error))?);
        Ok(net)
    }
    fn forwards(&self) -> MutexGuard<'_, Vec<(u64, HostForward)>> {
        self.forwards.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Has a port of the host lead to the guest: the forward with the port that was chosen, where it was 0.
    ///
    /// # Errors
    /// The port is taken, or this program may not have it.
    pub fn add_forward(&self, mut forward: HostForward) -> Result<HostForward, NetError> {
        let socket = inbound::open(&forward)?;
        if let Some(own) = getsockname(&socket).ok().and_then(|own| SocketAddr::try_from(own).ok()) {
            forward.host = own;
        }
        let id = self.next_forward.fetch_add(1, Ordering::Relaxed);
        self.forwards().push((id, forward));
        self.shared.command(Command::Forward { id, forward, socket });
        Ok(forward)
    }
    /// Ends a forward. Connections that came by it stay.
    ///
    /// # Errors
    /// There is none with this protocol and place.
    pub fn remove_forward(&self, transport: Transport, host: SocketAddr) -> Result<HostForward, NetError> {
        let mut forwards = self.forwards();
        let is_it =
            |(_, forward): &(u64, HostForward)| forward.transport == transport && forward.host == host;
        let Some(at) = forwards.iter().position(is_it) else {
            let known: Vec<String> = forwards.iter().map(|(_, forward)| forward.to_string()).collect();
            let known = if known.is_empty() { "there are none".into() } else { known.join(", ") };
            return Err(NetError::Unknown(format!("no forward at {transport}:{host}: {known}")));
        };
        let (id, forward) = forwards.remove(at);
        self.shared.command(Command::EndForward { id });
        Ok(forward)
    }
    /// All forwards.
    pub fn list_forwards(&self) -> Vec<HostForward> {
        self.forwards().iter().map(|(_, forward)| *forward).collect()
    }
}

impl Drop for UserNet {
    fn drop(&mut self) {
        self.shared.stop();
        crate::bell::join(&mut self.thread);
    }
}

impl PortForwards for UserNet {
    fn add(&self, forward: HostForward) -> Result<HostForward, NetError> {
        self.add_forward(forward)
    }
    fn remove(&self, transport: Transport, host: SocketAddr) -> Result<HostForward, NetError> {
        self.remove_forward(transport, host)
    }
}

impl NetBackend for UserNet {
    fn port_forwards(&self) -> Option<&dyn PortForwards> {
        Some(self)
    }
    fn send(&self, frame: Frame) {
        self.shared.put(frame);
    }
    fn receive(&self) -> Option<Frame> {
        self.shared.next_for_card()
    }
    fn accepts(&self) -> Offloads {
        Offloads { checksum: true, tcp4: true, tcp6: true, ecn: true, udp: false }
    }
    fn card_accepts(&self, offloads: Offloads) {
        self.shared.set_card_accepts(offloads);
    }
    fn set_waker(&self, waker: Waker) {
        self.shared.queue.set_waker(waker);
    }
    fn mtu(&self) -> u16 {
        self.mtu
    }
    fn info(&self) -> String {
        let Addresses { net, bits, host, dns, net6, .. } = self.addresses;
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = format!("user: net {net}/{bits}, router {host}, name server {dns}");
        if self.addresses.ipv6 {
            text += &format!(", IPv6 {net6}/64");
        }
        if self.restrict {
            text += ", restricted";
        }
        text += &format!(
            "\n  connections: {} TCP, {} UDP, {} ping",
            read(&counters.tcp),
            read(&counters.udp),
            read(&counters.icmp)
        );
        text += &format!(
            "\n  from the guest: {} frames, {} bytes, {} dropped\n  to the guest: {} frames, {} bytes, {} dropped, {} sent again",
            read(&counters.frames_from_guest),
            read(&counters.bytes_from_guest),
            read(&counters.dropped_from_guest),
            read(&counters.frames_to_guest),
            read(&counters.bytes_to_guest),
            read(&counters.dropped_to_guest),
            read(&counters.retransmissions)
        );
        for forward in self.list_forwards() {
            text += &format!("\n  hostfwd {forward}");
        }
        text
    }
}

/// Each connection is a file descriptor; many systems allow 1024 unless a program asks for more.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(ENOUGH_FILES).min(ENOUGH_FILES);
    if limit.current.is_some_and(|current| current < wanted) {
        // Without it there are fewer connections.
        _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}
