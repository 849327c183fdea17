//! A cable that is datagrams: to one other machine, or to all in a multicast group.
//!
//! A member of a group hears its own datagrams too. They are left out, as no station hears itself on a cable: what is sent goes
//! through a socket of its own, by whose port it is known.

use super::config::Place;
use super::{LONGEST, SHORTEST};
use crate::backend::{NetBackend, Waker};
use crate::bell::Bell;
use crate::error::NetError;
use crate::frame::{Frame, Offloads};
use crate::queue::FrameQueue;
use crate::user::outward::{family, new_socket};
use rustix::event::PollFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, bind, connect, getsockname, recvfrom,
    sendto, sockopt,
};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Bytes of frames that may wait for the card.
const QUEUE_BYTES: usize = 1 << 20;
/// What the host's kernel keeps for us, where it lets us ask for it.
const SOCKET_BYTES: usize = 1 << 20;
/// The longest payload of UDP over IPv4.
const LONGEST_DATAGRAM: usize = 65_507;

/// A cable that is datagrams.
pub struct DatagramNet {
    inner: Arc<Inner>,
    /// Our end of Unix sockets, which is removed at the end.
    path: Option<PathBuf>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    name: String,
    input: OwnedFd,
    /// Where frames leave: the same socket, but with a group.
    output: Option<OwnedFd>,
    remote: Place,
    /// What has this sender is our own.
    own: Option<SocketAddr>,
    queue: FrameQueue,
    bell: Bell,
    stop: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
}

impl DatagramNet {
    /// Datagrams to one other machine.
    ///
    /// # Errors
    /// The host cannot receive there.
    pub fn pair(local: &Place, remote: &Place) -> Result<Self, NetError> {
        let hint = "choose another place, if it is taken";
        let refused =
            |error| NetError::host_with_hint(format!("the host cannot receive at {local}"), error, hint);
        let (input, path) = match local {
            Place::Internet(address) => (open_internet(*address).map_err(refused)?, None),
            Place::Unix(path) => {
                let socket = new_socket(AddressFamily::UNIX, SocketType::DGRAM).map_err(refused)?;
                bind(&socket, &SocketAddrUnix::new(path).map_err(refused)?).map_err(refused)?;
                (socket, Some(path.clone()))
            }
        };
        let name = format!("datagrams from {local} to {remote}");
        Self::start(name, input, None, remote.clone(), None, path)
    }
    /// Datagrams to a group.
    ///
    /// # Errors
    /// The host cannot join the group.
    pub fn multicast(group: SocketAddrV4, interface: Ipv4Addr) -> Result<Self, NetError> {
        let hint = "localaddr= names the host's interface by its address";
        let refused =
            |error| NetError::host_with_hint(format!("the host cannot join the group {group}"), error, hint);
        let input = join_group(group, interface).map_err(refused)?;
        let (output, own) = open_output(group, interface).map_err(refused)?;
        let name = format!("datagrams to the group {group}");
        Self::start(name, input, Some(output), Place::Internet(group.into()), Some(own), None)
    }
    fn start(
        name: String,
        input: OwnedFd,
        output: Option<OwnedFd>,
        remote: Place,
        own: Option<SocketAddr>,
        path: Option<PathBuf>,
    ) -> Result<Self, NetError> {
        for socket in std::iter::once(&input).chain(&output) {
            // Less is as good, only slower.
            _ = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BYTES);
            _ = sockopt::set_socket_send_buffer_size(socket, SOCKET_BYTES);
        }
        let inner = Arc::new(Inner {
            name,
            input,
            output,
            remote,
            own,
            queue: FrameQueue::new(QUEUE_BYTES),
            bell: Bell::new().map_err(|error| NetError::host("socket network", error))?,
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let of_thread = inner.clone();
        let thread = std::thread::Builder::new().name("socket network".into()).spawn(move || of_thread.run());
        let thread = Some(thread.map_err(|error| NetError::host("socket network", error))?);
        Ok(Self { inner, path, thread })
    }
}

fn open_internet(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = new_socket(family(address.ip()), SocketType::DGRAM)?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// A socket that hears a group, beside others on this host.
fn join_group(group: SocketAddrV4, interface: Ipv4Addr) -> Result<OwnedFd, Errno> {
    let socket = new_socket(AddressFamily::INET, SocketType::DGRAM)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Only what goes to the group.
    bind(&socket, &group)?;
    sockopt::set_ip_add_membership(&socket, group.ip(), &interface)?;
    Ok(socket)
}

/// A socket that speaks to a group, and the address by which others know it.
fn open_output(group: SocketAddrV4, interface: Ipv4Addr) -> Result<(OwnedFd, SocketAddr), Errno> {
    let socket = new_socket(AddressFamily::INET, SocketType::DGRAM)?;
    bind(&socket, &SocketAddrV4::new(interface, 0))?;
    if !interface.is_unspecified() {
        sockopt::set_ip_multicast_if(&socket, &interface)?;
    }
    sockopt::set_ip_multicast_loop(&socket, true)?;
    connect(&socket, &group)?;
    let own = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, own))
}

impl Inner {
    fn run(&self) {
        let mut bytes = Vec::new();
        while !self.stop.load(Ordering::Acquire) {
            bytes.clear();
            bytes.reserve(LONGEST);
            let buffer = rustix::buffer::spare_capacity(&mut bytes);
            match recvfrom(&self.input, buffer, RecvFlags::DONTWAIT) {
                Ok((_, _, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    if bytes.len() >= SHORTEST && (self.own.is_none() || from != self.own) {
                        self.take(&bytes);
                    }
                }
                Err(Errno::AGAIN) => _ = self.bell.wait(Some((&self.input, PollFlags::IN)), None),
                // The other machine is not there yet: what was sent came back.
                Err(_) => {}
            }
        }
    }
    /// A frame for the card. Datagrams are lost where there is no room.
    fn take(&self, bytes: &[u8]) {
        let counter = match self.queue.push(bytes.to_vec().into()) {
            Ok(_) => &self.received,
            Err(_) => &self.dropped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    fn send(&self, bytes: &[u8]) {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let socket = self.output.as_ref().unwrap_or(&self.input);
        let sent = match &self.remote {
            Place::Internet(_) if bytes.len() > LONGEST_DATAGRAM => Err(Errno::MSGSIZE),
            Place::Internet(address) => sendto(socket, bytes, flags, address),
            Place::Unix(path) => {
                SocketAddrUnix::new(path).and_then(|path| sendto(socket, bytes, flags, &path))
            }
        };
        let counter = if sent.is_ok() { &self.sent } else { &self.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl NetBackend for DatagramNet {
    fn send(&self, frame: Frame) {
        frame.finish(|frame| self.inner.send(&frame.bytes));
    }
    fn receive(&self) -> Option<Frame> {
        self.inner.queue.pop()
    }
    fn accepts(&self) -> Offloads {
        Offloads { checksum: true, tcp4: true, tcp6: true, ecn: true, udp: true }
    }
    fn set_waker(&self, waker: Waker) {
        self.inner.queue.set_waker(waker);
    }
    fn info(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Inner { name, sent, received, dropped, .. } = &*self.inner;
        format!(
            "socket, {name}\n  from the guest: {} frames\n  to the guest: {} frames\n  dropped: {}",
            read(sent),
            read(received),
            read(dropped)
        )
    }
}

impl Drop for DatagramNet {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Release);
        self.inner.bell.ring();
        crate::bell::join(&mut self.thread);
        if let Some(path) = &self.path {
            _ = std::fs::remove_file(path);
        }
    }
}
