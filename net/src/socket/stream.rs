//! A cable that is a connection.

use super::config::Place;
use super::{LONGEST, SHORTEST};
use crate::backend::{NetBackend, Waker};
use crate::bell::Bell;
use crate::error::NetError;
use crate::frame::{Frame, Offloads};
use crate::queue::FrameQueue;
use crate::user::outward::{connect_tcp, connect_unix, family, new_socket};
use rustix::event::PollFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, listen, recv, sendmsg, sockopt,
};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of frames that may wait for the card, and for the other end.
const QUEUE_BYTES: usize = 1 << 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Frames that are written at once.
const MOST_PARTS: usize = 128;
/// What stands before a frame: its length.
const LENGTH_BYTES: usize = 4;
/// How long to wait after a failure to accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Where connections come from.
pub enum Source {
    /// Whoever connects to a socket that listens; one at a time.
    Listener(OwnedFd),
    /// We connect, and again after so long.
    Connect(Place, Option<Duration>),
    /// It is there already, and nothing follows it.
    Given(OwnedFd),
}

/// A cable that is a connection.
pub struct StreamNet {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    name: String,
    queue: FrameQueue,
    bell: Bell,
    out: Mutex<Out>,
    connected: AtomicBool,
    stop: AtomicBool,
    wants_room: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Out {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl StreamNet {
    /// Waits for the other machine to connect.
    ///
    /// # Errors
    /// The host cannot listen there.
    pub fn listen(place: &Place) -> Result<Self, NetError> {
        let what = || format!("the host cannot listen at {place}");
        let listener = open_listener(place).map_err(|error| {
            NetError::host_with_hint(what(), error, "choose another place, if it is taken")
        })?;
        Self::start(format!("at {place}, for a connection"), Source::Listener(listener))
    }
    /// Connects to the other machine. Where it is not there yet, it is tried again if `reconnect` says how long to wait.
    ///
    /// # Errors
    /// It cannot be connected to, and is not to be tried again.
    pub fn connect(place: &Place, reconnect: Option<Duration>) -> Result<Self, NetError> {
        let name = format!("connects to {place}");
        if reconnect.is_some() {
            return Self::start(name, Source::Connect(place.clone(), reconnect));
        }
        // At once, so that who started us hears of it.
        let hint = "is the other machine there? With reconnect=SECONDS it may come later";
        let socket = connect_now(place)
            .map_err(|error| NetError::host_with_hint(format!("no connection to {place}"), error, hint))?;
        Self::start(name, Source::Given(socket))
    }
    /// A cable by a connection that is there, or will be.
    ///
    /// # Errors
    /// The host has no more threads.
    pub fn start(name: String, source: Source) -> Result<Self, NetError> {
        let bell = Bell::new().map_err(|error| NetError::host("socket network", error))?;
        let inner = Arc::new(Inner {
            name,
            queue: FrameQueue::new(QUEUE_BYTES),
            bell,
            out: Mutex::default(),
            connected: AtomicBool::new(matches!(source, Source::Given(_))),
            stop: AtomicBool::new(false),
            wants_room: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let of_thread = inner.clone();
        let thread =
            std::thread::Builder::new().name("socket network".into()).spawn(move || of_thread.run(source));
        let thread = Some(thread.map_err(|error| NetError::host("socket network", error))?);
        Ok(Self { inner, thread })
    }
}

fn open_listener(place: &Place) -> Result<OwnedFd, Errno> {
    match place {
        Place::Internet(address) => {
            let socket = new_socket(family(address.ip()), SocketType::STREAM)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            bind(&socket, address)?;
            listen(&socket, 1)?;
            Ok(socket)
        }
        Place::Unix(path) => {
            let address = SocketAddrUnix::new(path)?;
            let socket = new_socket(AddressFamily::UNIX, SocketType::STREAM)?;
            if let Err(Errno::ADDRINUSE) = bind(&socket, &address) {
                // What a program that is gone left behind: nobody answers there.
                if !matches!(connect_unix(path), Err(Errno::CONNREFUSED)) {
                    return Err(Errno::ADDRINUSE);
                }
                rustix::fs::unlink(path)?;
                bind(&socket, &address)?;
            }
            listen(&socket, 1)?;
            Ok(socket)
        }
    }
}

/// Connects, and waits for that.
fn connect_now(place: &Place) -> Result<OwnedFd, Errno> {
    let (socket, is_connected) = match place {
        Place::Internet(address) => connect_tcp(*address)?,
        Place::Unix(path) => connect_unix(path)?,
    };
    if !is_connected {
        let file = rustix::event::PollFd::new(&socket, PollFlags::OUT);
        rustix::event::poll(&mut [file], None)?;
        sockopt::socket_error(&socket)??;
    }
    Ok(socket)
}

/// How a connection ended.
enum End {
    Stop,
    Gone,
}

impl Inner {
    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn stops(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
    /// Waits until time is up or the network ends.
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stops() {
            let Some(rest) = until.checked_duration_since(Instant::now()) else { return };
            self.bell.wait(None, Some(rest));
        }
    }
    fn run(&self, source: Source) {
        match source {
            Source::Given(socket) => _ = self.serve(&socket),
            Source::Listener(listener) => {
                while !self.stops() {
                    if self.bell.wait(Some((&listener, PollFlags::IN)), None).is_empty() {
                        continue;
                    }
                    match accept_with(&listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                        Ok(socket) => {
                            _ = sockopt::set_tcp_nodelay(&socket, true);
                            self.serve(&socket);
                        }
                        Err(_) => self.pause(ACCEPT_AGAIN),
                    }
                }
            }
            Source::Connect(place, again) => {
                while !self.stops() {
                    // With addresses it may take a while, in which the network's end is not noticed: it is bounded by the host's time-out.
                    if let Ok(socket) = connect_now(&place) {
                        self.serve(&socket);
                    }
                    let Some(again) = again else { return };
                    self.pause(again);
                }
            }
        }
    }
    /// Carries frames over a connection until it ends.
    fn serve(&self, socket: &OwnedFd) -> End {
        self.connected.store(true, Ordering::Release);
        self.queue.wake();
        let end = Connection { net: self, socket, out: Vec::new(), written: 0, input: Vec::new() }.run();
        self.connected.store(false, Ordering::Release);
        *self.out() = Out::default();
        self.queue.wake();
        end
    }
}

/// A connection that carries frames.
struct Connection<'a> {
    net: &'a Inner,
    socket: &'a OwnedFd,
    /// Frames under way, with their lengths, and how much of them is written.
    out: Vec<(u32, Vec<u8>)>,
    written: usize,
    input: Vec<u8>,
}

impl Connection<'_> {
    fn run(mut self) -> End {
        loop {
            if self.net.stops() {
                return End::Stop;
            }
            if self.write().is_err() {
                return End::Gone;
            }
            self.net.wants_room.store(true, Ordering::SeqCst);
            let has_room = self.net.queue.room() > QUEUE_BYTES / 2;
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::IN, has_room);
            wanted.set(PollFlags::OUT, !self.out.is_empty());
            let happened = self.net.bell.wait(Some((self.socket, wanted)), None);
            if happened.intersects(PollFlags::HUP | PollFlags::ERR) && !happened.contains(PollFlags::IN) {
                return End::Gone;
            }
            if has_room && happened.contains(PollFlags::IN) && self.read().is_err() {
                return End::Gone;
            }
        }
    }
    /// Writes what waits, as far as the socket takes it.
    fn write(&mut self) -> Result<(), Errno> {
        loop {
            if self.out.is_empty() {
                let mut out = self.net.out();
                let most = out.frames.len().min(MOST_PARTS);
                let taken: Vec<Vec<u8>> = out.frames.drain(..most).collect();
                out.bytes -= taken.iter().map(Vec::len).sum::<usize>();
                drop(out);
                self.out = taken.into_iter().map(|frame| ((frame.len() as u32).to_be(), frame)).collect();
                self.written = 0;
            }
            if self.out.is_empty() {
                return Ok(());
            }
            let lengths: Vec<[u8; LENGTH_BYTES]> =
                self.out.iter().map(|(length, _)| length.to_ne_bytes()).collect();
            let mut skip = self.written;
            let mut parts = Vec::with_capacity(2 * self.out.len());
            for part in
                lengths.iter().zip(&self.out).flat_map(|(length, (_, frame))| [&length[..], &frame[..]])
            {
                let skipped = skip.min(part.len());
                skip -= skipped;
                if skipped < part.len() {
                    parts.push(IoSlice::new(&part[skipped..]));
                }
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(self.socket, &parts, &mut SendAncillaryBuffer::default(), flags) {
                Ok(n) => self.written += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
            let total: usize = self.out.iter().map(|(_, frame)| LENGTH_BYTES + frame.len()).sum();
            if self.written == total {
                self.net.sent.fetch_add(self.out.len() as u64, Ordering::Relaxed);
                self.out.clear();
            }
        }
    }
    /// Reads once, and gives whole frames to the card.
    fn read(&mut self) -> Result<(), Errno> {
        self.input.reserve(READ_BYTES);
        match recv(self.socket, rustix::buffer::spare_capacity(&mut self.input), RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(Errno::PIPE),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut at = 0;
        while let Some((length, rest)) = self.input[at..].split_first_chunk::<LENGTH_BYTES>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > LONGEST {
                log::warn!(
                    "the other end of the socket network sent a frame of {length} bytes: the connection ends"
                );
                return Err(Errno::PROTO);
            }
            let Some(frame) = rest.get(..length) else { break };
            if length >= SHORTEST {
                self.net.received.fetch_add(1, Ordering::Relaxed);
                if self.net.queue.push(frame.to_vec().into()).is_err() {
                    self.net.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            at += LENGTH_BYTES + length;
        }
        self.input.drain(..at);
        Ok(())
    }
}

impl NetBackend for StreamNet {
    fn send(&self, frame: Frame) {
        if !self.carrier() {
            return;
        }
        frame.finish(|frame| {
            let mut out = self.inner.out();
            if frame.bytes.len() > LONGEST || out.bytes + frame.bytes.len() > QUEUE_BYTES {
                self.inner.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            out.bytes += frame.bytes.len();
            let was_empty = out.frames.is_empty();
            out.frames.push_back(frame.bytes);
            drop(out);
            if was_empty {
                self.inner.bell.ring();
            }
        });
    }
    fn receive(&self) -> Option<Frame> {
        let Inner { queue, wants_room, bell, .. } = &*self.inner;
        queue.pop_for(wants_room, QUEUE_BYTES * 3 / 4, bell)
    }
    fn accepts(&self) -> Offloads {
        Offloads { checksum: true, tcp4: true, tcp6: true, ecn: true, udp: true }
    }
    fn set_waker(&self, waker: Waker) {
        self.inner.queue.set_waker(waker);
    }
    fn carrier(&self) -> bool {
        self.inner.connected.load(Ordering::Acquire)
    }
    fn info(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Inner { name, sent, received, dropped, .. } = &*self.inner;
        let state = if self.carrier() { "connected" } else { "not connected" };
        format!(
            "socket {name}: {state}\n  from the guest: {} frames\n  to the guest: {} frames\n  dropped: {}",
            read(sent),
            read(received),
            read(dropped)
        )
    }
}

impl Drop for StreamNet {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Release);
        self.inner.bell.ring();
        crate::bell::join(&mut self.thread);
    }
}
