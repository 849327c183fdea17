//! `--gdb`: where debuggers connect, one after the other.
//!
//! A thread takes who connects and serves it: it has the session, and waits for what happens to it. Another one waits for the
//! peer's bytes, a piece at a time, so that a peer that sends much and reads nothing fills no memory. The next peer waits until the
//! one before has gone.

mod spec;

pub use spec::GdbSpec;

use crate::error::Failure;
use anyhow::Context;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use trimotor_console::serial::{SerialError, SerialSpec};
use trimotor_gdb::{End, Happening, Session, View};
use trimotor_machine::MachineEvent;
use trimotor_monitor::Monitor;
use trimotor_sockets::{Listener, SocketFile, Stream};

/// Bytes that are read at a time.
const READ_BYTES: usize = 4096;
/// The wait before the next look where the host has no descriptor left for a peer.
const NO_DESCRIPTOR: Duration = Duration::from_millis(200);
/// How long the program's end waits for a peer to take the news of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// The session that is there, as the machine's thread and the program's end see it.
#[derive(Default)]
struct Place {
    inbox: Mutex<Option<Sender<Happening>>>,
    freed: Condvar,
}

impl Place {
    fn inbox(&self) -> MutexGuard<'_, Option<Sender<Happening>>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Passes on what concerns a session.
    fn tell(&self, event: &MachineEvent) {
        let concerns = matches!(
            event,
            MachineEvent::Stopped { .. }
                | MachineEvent::Paused
                | MachineEvent::Resumed
                | MachineEvent::Reset
                | MachineEvent::Ended(_)
        );
        if concerns && let Some(inbox) = &*self.inbox() {
            // It may be about to end.
            let _ = inbox.send(Happening::Machine(event.clone()));
        }
    }
    fn free(&self) {
        *self.inbox() = None;
        self.freed.notify_all();
    }
    /// Waits until no session is there, for so long at most.
    fn wait(&self, limit: Duration) {
        let waits = self.freed.wait_timeout_while(self.inbox(), limit, |inbox| inbox.is_some());
        drop(waits.unwrap_or_else(PoisonError::into_inner));
    }
}

/// The socket before there is a machine.
pub struct Gdb {
    listener: Listener,
    view: Option<View>,
}

/// The socket while the machine runs. Dropping it waits a moment for a peer that is told of the end.
pub struct Running {
    place: Arc<Place>,
    _file: Option<SocketFile>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.place.wait(FAREWELL);
    }
}

impl Gdb {
    /// Listens.
    ///
    /// # Errors
    /// [`Failure::BadInput`] that names the place and says what would work.
    pub fn open(spec: &GdbSpec) -> Result<Gdb, Failure> {
        let failed = |source| {
            let flag = "--gdb".to_owned();
            Failure::bad(SerialError::Listen { flag, spec: spec.to_string(), source })
        };
        let listener = match &spec.listen {
            SerialSpec::Unix { path, .. } => Listener::unix(path).map_err(failed)?,
            SerialSpec::Tcp { host, port, .. } => Listener::tcp((host.as_str(), *port)).map_err(failed)?,
            other => return Err(Failure::bad(format!("--gdb {other}: gdb connects to a socket"))),
        };
        if listener.address().is_some_and(|address| !address.ip().is_loopback()) {
            return Err(Failure::bad(format!(
                "--gdb {spec}: whoever reaches this address commands the machine: listen at 127.0.0.1, and use a tunnel \
                 from elsewhere, as ssh -L makes one"
            )));
        }
        Ok(Gdb { listener, view: spec.view })
    }
    /// Serves who connects, for as long as the program lives.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn start(self, monitor: Monitor) -> Result<Running, Failure> {
        let place = Arc::new(Place::default());
        let told = place.clone();
        monitor.control().observe(move |event| told.tell(event));
        let Gdb { mut listener, view } = self;
        let file = listener.take_file();
        let taken = place.clone();
        let accept = move || {
            loop {
                match listener.accept() {
                    Ok((stream, _)) => serve(stream, &monitor, view, &taken),
                    Err(error) => {
                        log::warn!("--gdb: a peer cannot be served: {error}");
                        thread::sleep(NO_DESCRIPTOR);
                    }
                }
            }
        };
        let builder = thread::Builder::new().name("gdb".to_owned());
        builder.spawn(accept).context("a thread for --gdb")?;
        Ok(Running { place, _file: file })
    }
}

/// Serves a peer until it goes.
fn serve(mut stream: Stream, monitor: &Monitor, view: Option<View>, place: &Place) {
    let (sender, inbox) = channel();
    // Before the machine is stopped, so that nothing that it tells is missed.
    *place.inbox() = Some(sender.clone());
    match serve_from(&mut stream, monitor, view, sender, &inbox) {
        Ok(End::Refused(why)) => log::warn!("--gdb: the peer is let go of: {why}"),
        Ok(end) => log::info!("--gdb: the session is over: {end:?}"),
        Err(error) => log::warn!("--gdb: a peer cannot be served: {error}"),
    }
    stream.shut_down();
    place.free();
}

fn serve_from(
    stream: &mut Stream,
    monitor: &Monitor,
    view: Option<View>,
    sender: Sender<Happening>,
    inbox: &Receiver<Happening>,
) -> io::Result<End> {
    let reader = stream.try_clone()?;
    let session = Session::begin(monitor, view).map_err(io::Error::other)?;
    let (wanted, wants) = sync_channel(1);
    let read = move || read_pieces(reader, &wants, &sender);
    thread::Builder::new().name("gdb-reader".to_owned()).spawn(read)?;
    let happenings = std::iter::from_fn(|| {
        // The piece before was handled; where one is wanted already, that stays so.
        let _ = wanted.try_send(());
        inbox.recv().ok()
    });
    Ok(session.serve(happenings, stream))
}

/// Reads from a peer until it goes, or nobody wants more: a piece for each wish.
fn read_pieces(mut stream: Stream, wants: &Receiver<()>, to: &Sender<Happening>) {
    let mut bytes = [0; READ_BYTES];
    while wants.recv().is_ok() {
        let piece = match stream.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Happening::Received(Vec::new()),
            Ok(0) | Err(_) => Happening::Gone,
            Ok(count) => Happening::Received(bytes[..count].to_vec()),
        };
        let gone = matches!(piece, Happening::Gone);
        if to.send(piece).is_err() || gone {
            return;
        }
    }
}
