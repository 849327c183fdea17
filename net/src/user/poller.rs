//! What the network's thread waits for.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events that are taken at once.
const MOST_EVENTS: usize = 256;

/// Whose an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The bell of the network's holder.
    Bell,
    /// A connection.
    Tcp(u64),
    /// A flow of datagrams.
    Udp(u64),
    /// A flow of echo requests.
    Icmp(u64),
    /// A question to a name server.
    Dns(u64),
    /// A port of the host that leads to the guest.
    Forward(u64),
}

const KIND_SHIFT: u32 = 56;

impl Token {
    fn number(self) -> u64 {
        let (kind, n) = match self {
            Self::Bell => (0, 0),
            Self::Tcp(n) => (1, n),
            Self::Udp(n) => (2, n),
            Self::Icmp(n) => (3, n),
            Self::Dns(n) => (4, n),
            Self::Forward(n) => (5, n),
        };
        kind << KIND_SHIFT | n
    }
    fn from_number(number: u64) -> Self {
        let n = number & ((1 << KIND_SHIFT) - 1);
        match number >> KIND_SHIFT {
            1 => Self::Tcp(n),
            2 => Self::Udp(n),
            3 => Self::Icmp(n),
            4 => Self::Dns(n),
            5 => Self::Forward(n),
            _ => Self::Bell,
        }
    }
}

/// An epoll instance.
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// Waits for nothing yet.
    ///
    /// # Errors
    /// The host has no more file descriptors.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }
    /// Watches a file until it is closed.
    ///
    /// # Errors
    /// The host has no more memory for it.
    pub fn add(&self, file: impl AsFd, token: Token, flags: EventFlags) -> std::io::Result<()> {
        Ok(epoll::add(&self.epoll, file, EventData::new_u64(token.number()), flags)?)
    }
    /// Watches a file no longer, though others hold it.
    pub fn remove(&self, file: impl AsFd) {
        _ = epoll::delete(&self.epoll, file);
    }
    /// Waits for events, at most so long; without a time, until one comes.
    pub fn wait(&self, timeout: Option<Duration>, events: &mut Vec<(Token, EventFlags)>) {
        let mut list: Vec<Event> = Vec::with_capacity(MOST_EVENTS);
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        events.clear();
        // It is interrupted by signals only: then there is nothing.
        if epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut list), timeout.as_ref()).is_ok() {
            events.extend(list.iter().map(|event| (Token::from_number(event.data.u64()), event.flags)));
        }
    }
}
