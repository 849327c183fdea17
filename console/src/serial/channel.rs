//! Ends with input: sockets, a pseudo-terminal.
//!
//! The [reactor](crate::reactor) waits for input (and for someone to connect), puts it into a bounded
//! queue and calls back, so that a machine that sleeps wakes up. While the queue is full it
//! does not read: the sender waits, and nothing is lost. Output is gathered in another bounded queue,
//! which the reactor writes when the machine flushes; while that is full the chip keeps its bytes.

use crate::reactor::{self, Handler, Registration, Wants};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use trimotor_devices::serial::SerialBackend;
use trimotor_sockets::SocketFile;

/// Input that waits for the guest.
const INPUT_BYTES: usize = 64 << 10;
/// Output that waits for the other end; beyond it the chip keeps its bytes.
const OUTPUT_BYTES: usize = 64 << 10;
/// Output that is written without waiting for the flush at a slice's end.
const EAGER_BYTES: usize = 8 << 10;
/// How often to look whether someone opened the pseudo-terminal again, where the host cannot tell.
const REOPEN_LOOK: Duration = Duration::from_millis(200);

/// How long the end of the program waits for a peer that takes nothing.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Called when input came or someone connected or left.
pub type Kick = Box<dyn Fn() + Send + Sync>;

/// How an end behaves.
pub enum End {
    /// A socket that is connected. When it ends nobody is there any more.
    Connected(OwnedFd),
    /// A socket that listens; one peer at a time.
    Listener {
        /// The socket.
        socket: OwnedFd,
        /// Its file, which goes at the end.
        file: Option<SocketFile>,
    },
    /// The master of a pseudo-terminal.
    Pty(OwnedFd),
}

struct Shared {
    state: Mutex<State>,
    /// Output was written, or nobody is there any more.
    written: Condvar,
    kick: Kick,
}

#[derive(Default)]
struct State {
    input: VecDeque<u8>,
    output: VecDeque<u8>,
    /// Bytes of output that the reactor has in hand.
    in_hand: usize,
    /// The output is to be written.
    flushed: bool,
    /// The machine wrote more than there was room for: it is told when there is.
    refused: bool,
    peer: Option<Arc<OwnedFd>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The back end.
pub struct Channel {
    shared: Arc<Shared>,
    reader: Option<Registration>,
    _file: Option<SocketFile>,
}

impl Channel {
    /// Begins to read from `end`.
    ///
    /// # Errors
    /// The host has no descriptor or thread left, or refuses to switch to non-blocking.
    pub fn start(end: End, kick: Kick) -> io::Result<Self> {
        let mut state = State::default();
        let (mut file, mut listener, mut pty) = (None, None, None);
        match end {
            End::Connected(socket) => {
                set_nonblocking(&socket)?;
                state.peer = Some(Arc::new(socket));
            }
            End::Listener { socket, file: of_socket } => {
                set_nonblocking(&socket)?;
                listener = Some(socket);
                file = of_socket;
            }
            End::Pty(master) => {
                set_nonblocking(&master)?;
                pty = Some(Pty { opened: tells_of_opening(&master), master: Arc::new(master) });
            }
        }
        let shared = Arc::new(Shared { state: Mutex::new(state), written: Condvar::new(), kick });
        let reader = Reader { shared: shared.clone(), listener, pty, watched: None };
        Ok(Self { shared, reader: Some(reactor::add(reader)?), _file: file })
    }
    fn wake_reader(&self) {
        if let Some(reader) = &self.reader {
            reader.wake();
        }
    }
}

impl SerialBackend for Channel {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut state = self.shared.lock();
        if state.peer.is_none() {
            // As on a cable that leads nowhere.
            return bytes.len();
        }
        let taken = OUTPUT_BYTES.saturating_sub(state.output.len()).min(bytes.len());
        state.output.extend(&bytes[..taken]);
        state.refused |= taken < bytes.len();
        let much = state.output.len() >= EAGER_BYTES;
        drop(state);
        if much {
            self.flush();
        }
        taken
    }

    fn flush(&mut self) {
        let mut state = self.shared.lock();
        if !state.output.is_empty() && !std::mem::replace(&mut state.flushed, true) {
            drop(state);
            self.wake_reader();
        }
    }

    fn read(&mut self, into: &mut [u8]) -> usize {
        let mut state = self.shared.lock();
        let was_full = state.input.len() >= INPUT_BYTES;
        let n = into.len().min(state.input.len());
        for (slot, byte) in into.iter_mut().zip(state.input.drain(..n)) {
            *slot = byte;
        }
        drop(state);
        if was_full && n > 0 {
            self.wake_reader();
        }
        n
    }

    fn connected(&self) -> bool {
        self.shared.lock().peer.is_some()
    }
}

impl Channel {
    /// At the end: gives a slow peer some time to take what is left.
    fn finish(&mut self) {
        self.flush();
        let mut state = self.shared.lock();
        let mut left = usize::MAX;
        while state.peer.is_some() && (1..left).contains(&(state.output.len() + state.in_hand)) {
            left = state.output.len() + state.in_hand;
            let waited = self.shared.written.wait_timeout(state, LAST_WAIT);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.finish();
        self.reader = None;
    }
}

/// The master of a pseudo-terminal.
struct Pty {
    master: Arc<OwnedFd>,
    /// Becomes readable when somebody opens the slave, where the host can tell.
    opened: Option<OwnedFd>,
}

/// Has the host tell when the slave of a pseudo-terminal is opened.
fn tells_of_opening(master: &OwnedFd) -> Option<OwnedFd> {
    let slave = rustix::pty::ptsname(master, Vec::new()).ok()?;
    let told = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    inotify::add_watch(&told, slave, WatchFlags::OPEN).ok()?;
    Some(told)
}

/// The reactor's side.
struct Reader {
    shared: Arc<Shared>,
    listener: Option<OwnedFd>,
    pty: Option<Pty>,
    /// The peer that was waited for last.
    watched: Option<Arc<OwnedFd>>,
}

impl Handler for Reader {
    fn wants(&mut self) -> Option<Wants<'_>> {
        if let Some(pty) = &self.pty
            && self.shared.lock().peer.is_none()
            && !hung_up(&pty.master)
        {
            self.attach(pty.master.clone());
        }
        let state = self.shared.lock();
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, state.input.len() < INPUT_BYTES);
        flags.set(PollFlags::OUT, state.flushed && !state.output.is_empty());
        self.watched = state.peer.clone();
        drop(state);
        if let Some(peer) = &self.watched {
            let descriptor = (!flags.is_empty()).then_some((peer.as_fd(), flags));
            return Some(Wants { descriptor, deadline: None });
        }
        if let Some(listener) = &self.listener {
            return Some(Wants { descriptor: Some((listener.as_fd(), PollFlags::IN)), deadline: None });
        }
        let pty = self.pty.as_ref()?;
        let descriptor = pty.opened.as_ref().map(|opened| (opened.as_fd(), PollFlags::IN));
        let deadline = descriptor.is_none().then(|| Instant::now() + REOPEN_LOOK);
        Some(Wants { descriptor, deadline })
    }
    fn act(&mut self, came: PollFlags) {
        if let Some(peer) = self.watched.take() {
            if came.contains(PollFlags::OUT) {
                self.send(&peer);
            }
            let room = INPUT_BYTES.saturating_sub(self.shared.lock().input.len());
            if came.intersects(!PollFlags::OUT) && room > 0 {
                self.receive(&peer, room);
            }
        } else if self.listener.is_some() {
            self.accept();
        } else if let Some(opened) = self.pty.as_ref().and_then(|pty| pty.opened.as_ref()) {
            // What it was does not matter: `wants` looks who is there.
            let _ = rustix::io::read(opened, &mut [0; 512]);
        }
    }
}

impl Reader {
    /// Writes what the peer takes now.
    fn send(&self, peer: &OwnedFd) {
        let shared = &*self.shared;
        // Outside the lock: a vCPU may wait for it.
        let mut bytes = {
            let mut state = shared.lock();
            state.flushed = false;
            state.in_hand = state.output.len();
            std::mem::take(&mut state.output)
        };
        let written = match rustix::io::write(peer, bytes.make_contiguous()) {
            Ok(written) => written,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            // Reading sees the end, too, and lets the peer go.
            Err(_) => bytes.len(),
        };
        bytes.drain(..written);
        let mut state = shared.lock();
        state.in_hand = 0;
        // What came meanwhile is for later.
        state.flushed |= !bytes.is_empty();
        bytes.append(&mut state.output);
        state.output = bytes;
        let tell = state.output.len() < OUTPUT_BYTES && std::mem::take(&mut state.refused);
        drop(state);
        shared.written.notify_all();
        if tell {
            (shared.kick)();
        }
    }

    fn attach(&self, peer: Arc<OwnedFd>) {
        self.shared.lock().peer = Some(peer);
        (self.shared.kick)();
    }

    fn accept(&mut self) {
        use rustix::net::SocketFlags;
        let Some(listener) = &self.listener else { return };
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(peer) => self.attach(Arc::new(peer)),
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(error) => {
                log::error!("a serial port's socket accepts nobody any more: {error}");
                self.listener = None;
            }
        }
    }

    fn receive(&self, peer: &OwnedFd, room: usize) {
        let shared = &*self.shared;
        let mut bytes = [0; 4096];
        let most = room.min(bytes.len());
        match rustix::io::read(peer, &mut bytes[..most]) {
            Ok(0) => self.detach(),
            Ok(n) => shared.lock().input.extend(&bytes[..n]),
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => self.detach(),
        }
        (shared.kick)();
    }

    /// The other end has gone; what it sent stays for the guest.
    fn detach(&self) {
        let mut state = self.shared.lock();
        state.peer = None;
        state.output.clear();
        self.shared.written.notify_all();
    }
}

/// Whether nobody has the slave of a pseudo-terminal open.
fn hung_up(master: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(master, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = poll(&mut fds, Some(&now));
    fds[0].revents().contains(PollFlags::HUP)
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    Ok(())
}
