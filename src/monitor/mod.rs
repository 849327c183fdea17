//! `--monitor`: where commands are typed, by people and by programs.
//!
//! | part | file |
//! |---|---|
//! | the ends of `--monitor`, opened | this |
//! | who connects, and the threads that serve them | [`serve`] |
//! | what commands need of this program | [`host`] |
//! | `commit` | [`commit`] |
//!
//! All monitors have equal rights, and a thread for each peer. A peer that sends garbage wastes its own time, and one that reads
//! nothing its own thread's.

mod commit;
mod host;
mod serve;

pub use host::ProgramHost;

use crate::error::Failure;
use crate::note::note;
use anyhow::Context;
use serve::{PtyEnd, serve_in_thread, serve_who_connects};
use std::net::{SocketAddr, ToSocketAddrs};
use trimotor_console::reactor::Registration;
use trimotor_console::serial::{SerialError, SerialSpec};
use trimotor_console::session::Session as Console;
use trimotor_monitor::Monitor;
use trimotor_sockets::{Listener, Stream};

/// Monitors at a time, of one program.
const MOST_MONITORS: usize = 16;

/// An end that is open: who connects waits until there is a machine.
enum End {
    Console(trimotor_console::duplex::ServingEnd),
    Listener(Listener),
    Connected(Stream),
    Pty(PtyEnd),
}

/// The monitors before there is a machine.
pub struct Monitors {
    ends: Vec<End>,
}

/// The monitors while the machine runs. Dropping it lets nobody connect any more.
#[derive(Default)]
pub struct Running {
    listeners: Vec<Registration>,
}

impl Monitors {
    /// Opens all ends; without any, one on the console. Says where those are that chose their place.
    ///
    /// # Errors
    /// [`Failure::BadInput`] that names the end and says what would work.
    pub fn open(specs: &[String], console: &mut Console) -> Result<Monitors, Failure> {
        let default = ["stdio".to_owned()];
        let specs = if specs.is_empty() { &default[..] } else { specs };
        if specs.len() > MOST_MONITORS {
            return Err(Failure::bad(format!(
                "--monitor: {} are too many: {MOST_MONITORS} at most",
                specs.len()
            )));
        }
        let mut monitors = Monitors { ends: Vec::new() };
        for text in specs {
            if let Some(end) = monitors.open_one(text, console)? {
                monitors.ends.push(end);
            }
        }
        Ok(monitors)
    }
    fn open_one(&self, text: &str, console: &mut Console) -> Result<Option<End>, Failure> {
        if text == "none" {
            return Ok(None);
        }
        let spec: SerialSpec = text.parse().map_err(|error| Failure::bad(format!("--monitor: {error}")))?;
        let (flag, shown) = (|| "--monitor".to_owned(), || spec.to_string());
        let listen = |source| Failure::bad(SerialError::Listen { flag: flag(), spec: shown(), source });
        let connect = |source| Failure::bad(SerialError::Connect { flag: flag(), spec: shown(), source });
        let end = match &spec {
            SerialSpec::Null => return Ok(None),
            SerialSpec::File(_) => {
                return Err(Failure::bad(format!(
                    "--monitor {spec}: nobody can type into a file; use stdio, unix:PATH,server, tcp:HOST:PORT,server, \
                     pty or none"
                )));
            }
            SerialSpec::Stdio if self.ends.iter().any(|end| matches!(end, End::Console(_))) => {
                return Err(Failure::bad("--monitor stdio: given twice; there is one terminal"));
            }
            SerialSpec::Stdio => End::Console(console.add_monitor()),
            SerialSpec::Pty => {
                let (end, place) = PtyEnd::open(&spec).map_err(Failure::bad)?;
                note(format_args!("trimotor: --monitor pty: {place}"));
                End::Pty(end)
            }
            SerialSpec::Unix { path, server: true } => End::Listener(Listener::unix(path).map_err(listen)?),
            SerialSpec::Unix { path, server: false } => End::Connected(Stream::unix(path).map_err(connect)?),
            SerialSpec::Tcp { host, port, server: true } => {
                let listener = Listener::tcp((host.as_str(), *port)).map_err(listen)?;
                warn_of_strangers(&spec, listener.address());
                End::Listener(listener)
            }
            SerialSpec::Tcp { host, port, server: false } => {
                let stream = Stream::tcp((host.as_str(), *port)).map_err(connect)?;
                let other = (host.as_str(), *port).to_socket_addrs().ok().and_then(|mut all| all.next());
                warn_of_strangers(&spec, other);
                End::Connected(stream)
            }
        };
        Ok(Some(end))
    }
    /// Serves until what is returned is dropped.
    ///
    /// # Errors
    /// The host has no thread or descriptor left.
    pub fn start(self, monitor: &Monitor) -> Result<Running, Failure> {
        let mut running = Running::default();
        for end in self.ends {
            let monitor = monitor.clone();
            let started = match end {
                End::Console(stream) => serve_in_thread(stream, monitor),
                End::Connected(stream) => serve_in_thread(stream, monitor),
                End::Pty(pty) => pty.serve_in_thread(monitor),
                End::Listener(listener) => {
                    serve_who_connects(listener, monitor).map(|held| running.listeners.push(held))
                }
            };
            started.context("a thread for --monitor")?;
        }
        Ok(running)
    }
}

/// Whoever types into a monitor commands the machine, and reads and writes files as this program may.
fn warn_of_strangers(spec: &SerialSpec, address: Option<SocketAddr>) {
    if address.is_some_and(|address| !address.ip().is_loopback()) {
        note(format_args!(
            "trimotor: warning: --monitor {spec}: whoever reaches this address commands the machine, and writes files as you: \
             better listen at 127.0.0.1, and use a tunnel from elsewhere, as ssh -L makes one"
        ));
    }
}
