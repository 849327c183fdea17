//! Ends with input: sockets, a pseudo-terminal.
//!
//! A thread waits with `poll` for input (and for someone to connect), puts it into a bounded
//! queue and calls back, so that a machine that sleeps wakes up. While the queue is full the
//! thread does not read: the sender waits, and nothing is lost. Output is gathered in another bounded queue,
//! which the thread writes when the machine flushes; while that is full the chip keeps its bytes.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use trimotor_devices::serial::SerialBackend;

/// Input that waits for the guest.
const INPUT_BYTES: usize = 64 << 10;
/// Output that waits for the other end; beyond it the chip keeps its bytes.
const OUTPUT_BYTES: usize = 64 << 10;
/// Output that is written without waiting for the flush at a slice's end.
const EAGER_BYTES: usize = 8 << 10;
/// How often to look whether someone opened the pseudo-terminal again: nothing else tells.
const REOPEN_LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

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
        /// The file to remove at the end.
        remove: Option<PathBuf>,
    },
    /// The master of a pseudo-terminal.
    Pty(OwnedFd),
}

struct Shared {
    state: Mutex<State>,
    /// Output was written, or nobody is there any more.
    written: Condvar,
    /// Wakes the thread: there is room again, or it shall stop.
    wake: OwnedFd,
    kick: Kick,
}

#[derive(Default)]
struct State {
    input: VecDeque<u8>,
    output: VecDeque<u8>,
    /// Bytes of output that the thread has in hand.
    in_hand: usize,
    /// The thread is to write the output.
    flushed: bool,
    peer: Option<Arc<OwnedFd>>,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn wake_thread(&self) {
        // A counter that is full is awake enough.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// The back end.
pub struct Channel {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    remove: Option<PathBuf>,
}

impl Channel {
    /// Starts the thread that reads from `end`.
    ///
    /// # Errors
    /// The host has no descriptor or thread left, or refuses to switch to non-blocking.
    pub fn start(end: End, kick: Kick) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let mut state = State::default();
        let (mut remove, mut reader) = (None, Reader::default());
        match end {
            End::Connected(socket) => {
                set_nonblocking(&socket)?;
                state.peer = Some(Arc::new(socket));
            }
            End::Listener { socket, remove: file } => {
                set_nonblocking(&socket)?;
                reader.listener = Some(socket);
                remove = file;
            }
            End::Pty(master) => {
                set_nonblocking(&master)?;
                reader.pty = Some(Arc::new(master));
            }
        }
        let shared = Arc::new(Shared { state: Mutex::new(state), written: Condvar::new(), wake, kick });
        let for_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("serial-channel".into())
            .spawn(move || reader.run(&for_thread))?;
        Ok(Self { shared, thread: Some(thread), remove })
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
            self.shared.wake_thread();
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
            self.shared.wake_thread();
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
        self.shared.lock().stop = true;
        self.shared.wake_thread();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(path) = &self.remove {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The thread's side.
#[derive(Default)]
struct Reader {
    listener: Option<OwnedFd>,
    pty: Option<Arc<OwnedFd>>,
}

/// What the thread waits for.
struct Watch {
    peer: Option<Arc<OwnedFd>>,
    room: usize,
    has_output: bool,
}

impl Reader {
    fn run(mut self, shared: &Shared) {
        loop {
            let watch = {
                let state = shared.lock();
                if state.stop {
                    return;
                }
                Watch {
                    peer: state.peer.clone(),
                    room: INPUT_BYTES.saturating_sub(state.input.len()),
                    has_output: state.flushed && !state.output.is_empty(),
                }
            };
            if self.turn(shared, &watch).is_err() {
                return;
            }
        }
    }

    /// Waits once and handles what came.
    fn turn(&mut self, shared: &Shared, watch: &Watch) -> rustix::io::Result<()> {
        let listener = self.listener.as_ref().filter(|_| watch.peer.is_none());
        let peer = watch.peer.as_ref().filter(|_| watch.room > 0 || watch.has_output);
        let absent_pty = self.pty.as_ref().filter(|_| watch.peer.is_none());
        let mut fds = vec![PollFd::new(&shared.wake, PollFlags::IN)];
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, watch.room > 0);
        wanted.set(PollFlags::OUT, watch.has_output);
        let watched: Option<BorrowedFd<'_>> = match (peer, listener) {
            (Some(peer), _) => Some(peer.as_fd()),
            (None, Some(listener)) => Some(listener.as_fd()),
            (None, None) => None,
        };
        fds.extend(watched.map(|fd| PollFd::from_borrowed_fd(fd, wanted)));
        match poll(&mut fds, absent_pty.map(|_| &REOPEN_LOOK)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let came = fds.get(1).map_or(PollFlags::empty(), PollFd::revents);
        let ready = came.intersects(!PollFlags::OUT);
        if !fds[0].revents().is_empty() {
            let mut count = [0; 8];
            let _ = rustix::io::read(&shared.wake, &mut count);
        }
        if came.contains(PollFlags::OUT)
            && let Some(peer) = peer
        {
            self.send(shared, peer);
        }
        if let Some(master) = absent_pty
            && !hung_up(master)
        {
            self.attach(shared, master.clone());
        } else if ready
            && watch.room > 0
            && let Some(peer) = peer
        {
            self.receive(shared, peer, watch.room);
        } else if ready && let Some(listener) = listener {
            self.accept(shared, listener)?;
        }
        Ok(())
    }

    /// Writes what the peer takes now.
    fn send(&self, shared: &Shared, peer: &OwnedFd) {
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
        drop(state);
        shared.written.notify_all();
    }

    fn attach(&self, shared: &Shared, peer: Arc<OwnedFd>) {
        shared.lock().peer = Some(peer);
        (shared.kick)();
    }

    fn accept(&self, shared: &Shared, listener: &OwnedFd) -> rustix::io::Result<()> {
        use rustix::net::SocketFlags;
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(peer) => self.attach(shared, Arc::new(peer)),
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(error) => {
                log::error!("a serial port's socket accepts nobody any more: {error}");
                return Err(error);
            }
        }
        Ok(())
    }

    fn receive(&self, shared: &Shared, peer: &OwnedFd, room: usize) {
        let mut bytes = [0; 4096];
        let most = room.min(bytes.len());
        match rustix::io::read(peer, &mut bytes[..most]) {
            Ok(0) => self.detach(shared),
            Ok(n) => shared.lock().input.extend(&bytes[..n]),
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => self.detach(shared),
        }
        (shared.kick)();
    }

    /// The other end has gone; what it sent stays for the guest.
    fn detach(&self, shared: &Shared) {
        let mut state = shared.lock();
        state.peer = None;
        state.output.clear();
        shared.written.notify_all();
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
