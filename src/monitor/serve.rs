//! Who connects to a monitor, and the threads that serve them.

use rustix::event::PollFlags;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use trimotor_console::outlet::WhenFull;
use trimotor_console::reactor::{self, Handler, Registration, Wants};
use trimotor_console::serial::{SerialError, SerialSpec};
use trimotor_devices::serial::SerialBackend;
use trimotor_monitor::{Monitor, Session};
use trimotor_sockets::{Listener, Stream};

/// Peers of one socket at a time. Each has a thread.
const MOST_PEERS: usize = 16;
/// The wait before the next look where the host has no descriptor left for a peer.
const NO_DESCRIPTOR: Duration = Duration::from_millis(200);

/// Serves a peer on a thread of its own, which may wait for it for as long as the program lives.
///
/// # Errors
/// The host has no thread left.
pub fn serve_in_thread(mut stream: impl Read + Write + Send + 'static, monitor: Monitor) -> io::Result<()> {
    serve_then(move || Session::new(monitor).serve(&mut stream))
}

fn serve_then(serve: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let serve = || {
        if let Err(error) = serve() {
            log::debug!("a monitor's peer is gone: {error}");
        }
    };
    thread::Builder::new().name("monitor".to_owned()).spawn(serve).map(drop)
}

/// Serves who connects, until what is returned is dropped.
///
/// # Errors
/// The host has no thread or descriptor left.
pub fn serve_who_connects(listener: Listener, monitor: Monitor) -> io::Result<Registration> {
    listener.set_nonblocking(true)?;
    reactor::add(Accepting { listener, monitor, peers: Arc::default(), pauses_until: None })
}

/// Waits for who connects.
struct Accepting {
    listener: Listener,
    monitor: Monitor,
    peers: Arc<AtomicUsize>,
    pauses_until: Option<Instant>,
}

impl Handler for Accepting {
    fn wants(&mut self) -> Option<Wants<'_>> {
        self.pauses_until = self.pauses_until.filter(|until| Instant::now() < *until);
        let descriptor = self.pauses_until.is_none().then(|| (self.listener.as_fd(), PollFlags::IN));
        Some(Wants { descriptor, deadline: self.pauses_until })
    }
    fn act(&mut self, _came: PollFlags) {
        let accepted = self.listener.accept().map(|(stream, _)| self.begin(stream));
        let failed = match accepted {
            Ok(begun) => begun.err(),
            Err(error)
                if [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionAborted].contains(&error.kind()) =>
            {
                None
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            log::warn!("--monitor: a peer cannot be served: {error}");
            self.pauses_until = Some(Instant::now() + NO_DESCRIPTOR);
        }
    }
}

impl Accepting {
    fn begin(&self, mut stream: Stream) -> io::Result<()> {
        let place = Place::take(&self.peers);
        if place.number >= MOST_PEERS {
            // It takes so much without waiting, as nothing was sent before.
            let _ = write!(stream, "{MOST_PEERS} are connected to this monitor already: try again later\r\n");
            return Ok(());
        }
        let monitor = self.monitor.clone();
        serve_then(move || {
            let _place = place;
            Session::new(monitor).serve(&mut stream)
        })
    }
}

/// One of the places for peers, until it is dropped.
struct Place {
    peers: Arc<AtomicUsize>,
    /// How many were taken before.
    number: usize,
}
impl Place {
    fn take(peers: &Arc<AtomicUsize>) -> Place {
        Place { peers: peers.clone(), number: peers.fetch_add(1, Ordering::Relaxed) }
    }
}
impl Drop for Place {
    fn drop(&mut self) {
        self.peers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Rings when something has happened at the pseudo-terminal.
#[derive(Default)]
struct Doorbell {
    rung: Mutex<bool>,
    changed: Condvar,
}
impl Doorbell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *rung) {
            rung = self.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A pseudo-terminal: somebody opens it, leaves, and another one opens it.
pub struct PtyEnd {
    backend: Box<dyn SerialBackend>,
    doorbell: Arc<Doorbell>,
}

impl PtyEnd {
    /// Makes one; its path.
    ///
    /// # Errors
    /// The host has none left.
    pub fn open(spec: &SerialSpec) -> Result<(PtyEnd, String), SerialError> {
        let doorbell = Arc::new(Doorbell::default());
        let rings = doorbell.clone();
        let opened = spec.open("--monitor", Box::new(move || rings.ring()), WhenFull::Refuse)?;
        Ok((PtyEnd { backend: opened.backend, doorbell }, opened.place.unwrap_or_default()))
    }
    /// Serves who opens it, one after the other.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn serve_in_thread(mut self, monitor: Monitor) -> io::Result<()> {
        serve_then(move || {
            loop {
                while !self.backend.connected() {
                    self.doorbell.wait();
                }
                Session::new(monitor.clone()).serve(&mut self)?;
            }
        })
    }
}

impl Read for PtyEnd {
    /// Ends where nobody has the terminal open, and all that was typed is read.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            // Before the look at what was typed, so that nothing can come in between.
            let connected = self.backend.connected();
            let count = self.backend.read(into);
            if count > 0 || !connected {
                return Ok(count);
            }
            self.doorbell.wait();
        }
    }
}

impl Write for PtyEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let count = self.backend.write(bytes);
            self.backend.flush();
            if count > 0 || bytes.is_empty() {
                return Ok(count);
            }
            self.doorbell.wait();
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        self.backend.flush();
        Ok(())
    }
}
