//! TCP of the user-mode network: the guest's connections end here, and a socket of the host stands for each other end.
//!
//! This is an own implementation rather than smoltcp's sockets. Those want a socket in advance for each port, look at all of them at
//! each turn, and take and give segments of an MTU only; here a connection costs nothing while nothing happens, segments
//! have up to 64 KiB in both directions, and a byte is copied once between the host's socket and a frame.
//!
//! Left out, because both ends of the cable are in one process: congestion control, timestamps, and to read the guest's selective
//! acknowledgments. Urgent data are data.
//!
//! | module | what it has |
//! |---|---|
//! | [`connection`] | phases, and who does what when |
//! | [`send`] | the direction to the guest |
//! | [`receive`], [`later`] | the direction from the guest, and what comes before its turn |
//! | [`segment`] | segments on the wire |
//! | [`ring`], [`sequence`] | bytes that wait, and their numbers |

pub mod connection;
pub mod later;
pub mod receive;
pub mod ring;
pub mod segment;
pub mod send;
pub mod sequence;

use super::link::Link;
use super::outward::{self, Outward, Way};
use super::poller::{Poller, Token};
use crate::frame::Frame;
use crate::wire::headers::tcp_flags::{ACK, RST, SYN};
use crate::wire::ip::Packet;
use connection::{Connection, Flow, Phase, Verdict};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::net::sockopt;
use segment::Segment;
use sequence::Seq;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::process::Child;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Connections at a time. Those that have ended wait a second for strays and count too.
const MOST_CONNECTIONS: usize = 4096;
/// Bytes that all connections may keep before each may keep [`LITTLE`] only.
const MOST_MEMORY: usize = 256 << 20;
/// What each direction of a connection keeps.
pub const MUCH: usize = 1 << 20;
const LITTLE: usize = 32 << 10;
/// What a connection sends before others have their turn.
pub const QUANTUM: usize = 256 << 10;
/// A connection that was silent for so long makes room for a new one where there are too many.
const IDLE: Duration = Duration::from_secs(300);

/// All connections.
pub struct TcpTable {
    connections: HashMap<u64, Connection>,
    by_flow: HashMap<Flow, u64>,
    /// Those with something to do, in the order of their turns.
    listed: VecDeque<u64>,
    /// Those that wait for room in the card's queue.
    hungry: VecDeque<u64>,
    next_number: u64,
    next_look: Option<Instant>,
    memory: usize,
    secret: RandomState,
    began: Instant,
    children: Vec<Child>,
    said_full: bool,
}

impl TcpTable {
    /// No connections.
    pub fn new(now: Instant) -> Self {
        Self {
            connections: HashMap::new(),
            by_flow: HashMap::new(),
            listed: VecDeque::new(),
            hungry: VecDeque::new(),
            next_number: 0,
            next_look: None,
            memory: 0,
            secret: RandomState::new(),
            began: now,
            children: Vec::new(),
            said_full: false,
        }
    }
    /// The first number of a connection: it cannot be guessed from others', and grows (RFC 6528).
    fn first_number(&self, flow: &Flow, now: Instant) -> Seq {
        let clock = now.saturating_duration_since(self.began).as_micros() / 4;
        Seq((self.secret.hash_one(flow) as u32).wrapping_add(clock as u32))
    }

    /// A frame with TCP from the guest.
    pub fn receive(
        &mut self,
        frame: Frame,
        packet: &Packet,
        link: &mut Link,
        outward: &Outward,
        poller: &Poller,
    ) {
        let Some((segment, guest, remote)) = Segment::read(&frame, packet) else { return };
        let flow = Flow { guest, remote };
        let known = self.by_flow.get(&flow).copied();
        if let Some(id) = known.filter(|id| !self.makes_way(*id, &segment)) {
            return self.give(id, &segment, frame, link);
        }
        if segment.flags & (SYN | ACK | RST) == SYN {
            self.open(flow, &segment, link, outward, poller);
        } else {
            segment::refuse(link, &segment, guest, remote);
        }
    }
    /// Whether a connection that has ended makes way for a new one with the same ends.
    fn makes_way(&mut self, id: u64, segment: &Segment) -> bool {
        let Some(connection) = self.connections.get(&id) else { return true };
        let is_new = segment.flags & (SYN | ACK | RST) == SYN
            && connection.phase == Phase::TimeWait
            && segment.sequence.is_after(connection.inward.next);
        if is_new {
            self.remove(id);
        }
        is_new
    }
    fn give(&mut self, id: u64, segment: &Segment, frame: Frame, link: &mut Link) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let verdict = connection.receive(segment, frame, link);
        self.conclude(id, verdict, link);
        self.list(id);
    }
    /// The guest wants a connection.
    fn open(&mut self, flow: Flow, syn: &Segment, link: &mut Link, outward: &Outward, poller: &Poller) {
        let way = match outward.tcp(flow.remote) {
            Some(way) if self.has_room(link.now) => way,
            _ => return segment::refuse(link, syn, flow.guest, flow.remote),
        };
        let opened = match &way {
            Way::Internet(address) => outward::connect_tcp(*address),
            Way::Unix(path) => outward::connect_unix(path),
            Way::Command(command) => outward::start_command(command).map(|(socket, child)| {
                self.children.push(child);
                (socket, true)
            }),
        };
        let (socket, is_connected) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                log::debug!("no connection to {}: {error}", flow.remote);
                return super::icmp::tcp_failed(link, syn, &flow, error);
            }
        };
        let ours = self.first_number(&flow, link.now);
        let mut connection = Connection::from_guest(flow, syn, ours, link);
        if is_connected {
            connection.connected(link);
        }
        connection.socket = Some(socket);
        self.insert(connection, poller);
    }
    /// Somebody connected to a port of the host that leads to the guest.
    pub fn forward(&mut self, socket: OwnedFd, flow: Flow, link: &mut Link, poller: &Poller) {
        if !self.has_room(link.now) || self.by_flow.contains_key(&flow) {
            // The peer gets a reset.
            return abort(&socket);
        }
        _ = sockopt::set_tcp_nodelay(&socket, true);
        _ = sockopt::set_socket_keepalive(&socket, true);
        let ours = self.first_number(&flow, link.now);
        let mut connection = Connection::from_host(flow, socket, ours, link);
        connection.send_syn(link);
        self.insert(connection, poller);
    }
    /// A port of the other end that makes a flow unique: the peer's own, or another.
    pub fn free_port(&self, guest: SocketAddr, remote: IpAddr, port: u16) -> Option<u16> {
        let others = (0..1000_u16).map(|n| 49_152 + (port.wrapping_add(n)) % 16_384);
        std::iter::once(port)
            .chain(others)
            .find(|port| !self.by_flow.contains_key(&Flow { guest, remote: SocketAddr::new(remote, *port) }))
    }
    fn insert(&mut self, connection: Connection, poller: &Poller) {
        let id = self.next_number;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let Some(socket) = &connection.socket else { return };
        if let Err(error) = poller.add(socket, Token::Tcp(id), flags) {
            return log::warn!("a connection of the guest cannot be watched: {error}");
        }
        self.next_number += 1;
        self.look_at(connection.deadline);
        self.by_flow.insert(connection.flow, id);
        self.connections.insert(id, connection);
    }
    /// Whether there may be one more, after one that was silent for long has made room.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.connections.len() < MOST_CONNECTIONS {
            return true;
        }
        let oldest = self.connections.iter().min_by_key(|(_, c)| (c.phase != Phase::TimeWait, c.active));
        let removable = oldest
            .filter(|(_, c)| c.phase == Phase::TimeWait || now.saturating_duration_since(c.active) > IDLE)
            .map(|(id, _)| *id);
        match removable {
            Some(id) => {
                self.connections.get(&id).and_then(|c| c.socket.as_ref()).into_iter().for_each(abort);
                self.remove(id);
            }
            None if !self.said_full => {
                self.said_full = true;
                log::warn!("the guest has {MOST_CONNECTIONS} connections; more are refused");
            }
            None => {}
        }
        removable.is_some()
    }
    fn remove(&mut self, id: u64) {
        if let Some(connection) = self.connections.remove(&id) {
            self.memory = self.memory.saturating_sub(connection.memory());
            self.by_flow.remove(&connection.flow);
        }
    }
    fn list(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.is_listed) {
            connection.is_listed = true;
            self.listed.push_back(id);
        }
    }
    fn look_at(&mut self, deadline: Option<Instant>) {
        self.next_look = [self.next_look, deadline].into_iter().flatten().min();
    }
    /// Does what a verdict says.
    fn conclude(&mut self, id: u64, verdict: Verdict, link: &mut Link) {
        let Some(connection) = self.connections.get(&id) else { return };
        match verdict {
            Verdict::Keep | Verdict::More | Verdict::WaitForRoom => return,
            Verdict::Finished => {}
            Verdict::Reset => connection.send_reset(link),
            Verdict::Abort => connection.socket.iter().for_each(abort),
        }
        self.remove(id);
    }

    /// The host's socket of a connection has something to tell.
    pub fn event(&mut self, id: u64, flags: EventFlags, link: &mut Link) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.active = link.now;
        let Some(socket) = &connection.socket else { return };
        if connection.phase == Phase::Connecting {
            if !flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                return;
            }
            match sockopt::socket_error(socket) {
                Ok(Ok(())) => connection.connected(link),
                Ok(Err(error)) | Err(error) => {
                    super::icmp::connect_failed(link, connection, error);
                    return self.remove(id);
                }
            }
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            connection.out.readable = true;
        }
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            connection.out.hung_up = true;
        }
        if flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
            connection.inward.writable = true;
        }
        let deadline = connection.deadline;
        self.look_at(deadline);
        self.list(id);
    }
    /// One turn for each connection with something to do.
    pub fn work(&mut self, link: &mut Link) {
        if link.has_room() {
            // Those that waited longest come first.
            for id in self.hungry.drain(..).rev() {
                self.listed.push_front(id);
            }
        }
        for _ in 0..self.listed.len() {
            let Some(id) = self.listed.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let limit = if self.memory < MOST_MEMORY { MUCH } else { LITTLE };
            let before = connection.memory();
            let verdict = connection.work(link, limit);
            self.memory = (self.memory + connection.memory()).saturating_sub(before);
            connection.is_listed = matches!(verdict, Verdict::More | Verdict::WaitForRoom);
            let deadline = connection.deadline;
            match verdict {
                Verdict::More => self.listed.push_back(id),
                Verdict::WaitForRoom => self.hungry.push_back(id),
                _ => self.conclude(id, verdict, link),
            }
            self.look_at(deadline);
        }
        // Here, as nobody wakes the thread once the last one is gone.
        link.shared.counters.tcp.store(self.connections.len() as u64, Ordering::Relaxed);
    }
    /// Whether some connection could go on at once.
    pub fn has_work(&self) -> bool {
        !self.listed.is_empty()
    }
    /// Whether some connection waits for room in the card's queue.
    pub fn is_hungry(&self) -> bool {
        !self.hungry.is_empty()
    }
    /// When to call [`TcpTable::late`].
    pub fn next_look(&self) -> Option<Instant> {
        self.next_look
    }
    /// Looks at all connections whose time has come.
    pub fn late(&mut self, link: &mut Link) {
        if self.next_look.is_none_or(|at| at > link.now) {
            return;
        }
        let late = |c: &Connection| c.deadline.is_some_and(|at| at <= link.now);
        let due: Vec<u64> = self.connections.iter().filter(|(_, c)| late(c)).map(|(id, _)| *id).collect();
        for id in due {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let verdict = connection.late(link);
            self.conclude(id, verdict, link);
            self.list(id);
        }
        self.next_look = self.connections.values().filter_map(|connection| connection.deadline).min();
    }
    /// Once a second: gives back what is not used.
    pub fn tick(&mut self, link: &Link) {
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        for connection in self.connections.values_mut() {
            if link.now.saturating_duration_since(connection.active) > Duration::from_secs(2) {
                connection.out.ring.release();
                connection.inward.kept.release();
            }
        }
        self.memory = self.connections.values().map(Connection::memory).sum();
    }
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.children.is_empty()
    }
}

/// Closes a socket so that its peer gets a reset.
fn abort(socket: &OwnedFd) {
    _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}
