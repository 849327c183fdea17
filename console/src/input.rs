//! What comes from the host's side: bytes on standard input, signals, a new window size.
//!
//! The [reactor](crate::reactor) waits for all of them, and hands them on as [`HostEvent`]s.
//! The first SIGINT, SIGQUIT, SIGTERM or SIGHUP asks the session to end; a second one, or one that comes when the session
//! is over, gives the terminal back and ends the process. So signals are waited for as long as the
//! process lives: whatever else the end of the program waits for, a signal ends it.

use crate::background_writer;
use crate::reactor::{self, Handler, Registration, Wants};
use crate::terminal;
use rustix::event::PollFlags;
use rustix::io::Errno;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::low_level::pipe;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes read from standard input at a time.
const READ_BYTES: usize = 4096;
/// Pieces of input that wait in front of the session before reading stops.
const INPUT_PIECES: usize = 16;

/// How long a standard error that takes nothing is waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Something that happened on the host's side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostEvent {
    /// Bytes were typed, or came through the pipe: they are in the queue.
    Input,
    /// Standard input has ended.
    InputEnd,
    /// The terminal changed its size.
    Resize,
    /// A signal asks the program to end.
    EndSignal(i32),
}

/// Bytes that were typed and that the session has not taken yet. Cheap to clone. While it is full nothing is read.
#[derive(Clone, Default, Debug)]
pub struct TypedQueue {
    pieces: Arc<Mutex<VecDeque<Vec<u8>>>>,
}

impl TypedQueue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Takes the oldest piece.
    pub fn take(&self) -> Option<Vec<u8>> {
        let mut pieces = self.lock();
        let was_full = pieces.len() >= INPUT_PIECES;
        let piece = pieces.pop_front();
        drop(pieces);
        if was_full {
            reactor::wake();
        }
        piece
    }
}

/// Standard input is read until this is dropped.
#[derive(Debug)]
pub struct HostInput {
    _stdin: Registration,
}

impl HostInput {
    /// Starts to wait: what is typed goes into `typed`, and `deliver` is called with each event. Where it returns false,
    /// nobody listens any more and the reading ends.
    ///
    /// # Errors
    /// The host gives no signal handler, thread or socket pair.
    pub fn start(
        typed: TypedQueue,
        deliver: impl Fn(HostEvent) -> bool + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGWINCH] {
            let (raised, raises) = UnixStream::pair()?;
            pipe::register(signal, raises)?;
            let (asked, deliver) = (asked.clone(), deliver.clone());
            reactor::add(Signal { signal, raised, asked, deliver })?.keep();
        }
        let stdin = reactor::add(StandardInput { typed, deliver, ended: false })?;
        Ok(Self { _stdin: stdin })
    }
}

/// A signal that is waited for. Its handler writes a byte for each one.
struct Signal<D> {
    signal: i32,
    raised: UnixStream,
    /// The session was asked to end, by this signal or another one.
    asked: Arc<AtomicBool>,
    deliver: D,
}

impl<D: Fn(HostEvent) -> bool + Send> Handler for Signal<D> {
    fn wants(&mut self) -> Option<Wants<'_>> {
        Some(Wants { descriptor: Some((self.raised.as_fd(), PollFlags::IN)), deadline: None })
    }
    fn act(&mut self, _came: PollFlags) {
        // One at a time: of two that came together the second one is the second request.
        let _ = rustix::io::read(&self.raised, &mut [0; 1]);
        if self.signal == SIGWINCH {
            (self.deliver)(HostEvent::Resize);
            return;
        }
        let first = !self.asked.swap(true, Ordering::Relaxed);
        if !(first && (self.deliver)(HostEvent::EndSignal(self.signal))) {
            terminal::restore();
            background_writer::stderr().drain(LAST_WAIT);
            std::process::exit(128 + self.signal);
        }
    }
}

struct StandardInput<D> {
    typed: TypedQueue,
    deliver: D,
    ended: bool,
}

impl<D: Fn(HostEvent) -> bool + Send> Handler for StandardInput<D> {
    fn wants(&mut self) -> Option<Wants<'_>> {
        let has_room = self.typed.lock().len() < INPUT_PIECES;
        let descriptor = has_room.then_some((rustix::stdio::stdin(), PollFlags::IN));
        (!self.ended).then_some(Wants { descriptor, deadline: None })
    }
    fn act(&mut self, _came: PollFlags) {
        let mut bytes = vec![0; READ_BYTES];
        match rustix::io::read(rustix::stdio::stdin(), &mut bytes[..]) {
            Ok(length) if length > 0 => {
                bytes.truncate(length);
                self.typed.lock().push_back(bytes);
                self.ended = !(self.deliver)(HostEvent::Input);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(_) | Err(_) => {
                (self.deliver)(HostEvent::InputEnd);
                self.ended = true;
            }
        }
    }
}
