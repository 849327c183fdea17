//! The host's ends of serial cables.
//!
//! A serial port of the machine has a [`SerialBackend`] at the other end of its cable. People
//! name it with a [`SerialSpec`] (`file:PATH`, `tcp:HOST:PORT,server` and so on), and
//! [`SerialSpec::open`] makes it: [`sinks`] only take bytes, [`channel`] is everything with
//! input.
//!
//! Nothing here waits for a peer. A socket or pseudo-terminal where nobody is loses output, as a cable would. Standard
//! input and output are the session's ([`crate::console_port`]).

pub mod channel;
pub mod sinks;
pub mod spec;

#[cfg(test)]
mod tests;

pub use channel::{Channel, End, Kick};
pub use sinks::{FileSink, NullSink};
pub use spec::{FORMS, SerialSpec, SpecError};

use crate::background_writer::BackgroundWriter;
use crate::outlet::WhenFull;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use trimotor_devices::serial::SerialBackend;
use trimotor_sockets::{Listener, Stream};

/// A serial port's other end could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SerialError {
    /// The file cannot be written.
    #[error("{flag} {spec}: cannot write {path}: {source}; name a file in a directory that you may write to")]
    File {
        /// The command-line flag.
        flag: String,
        /// What stands behind it.
        spec: String,
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Nobody listens, or the name is unknown.
    #[error(
        "{flag} {spec}: cannot connect: {source}; start the listener first, or add \",server\" to listen here"
    )]
    Connect {
        /// The command-line flag.
        flag: String,
        /// What stands behind it.
        spec: String,
        /// Why not.
        source: io::Error,
    },
    /// The address or path cannot be listened at.
    #[error("{flag} {spec}: cannot listen: {source}; choose another address or end the program that has it")]
    Listen {
        /// The command-line flag.
        flag: String,
        /// What stands behind it.
        spec: String,
        /// Why not.
        source: io::Error,
    },
    /// The host refuses something that it usually gives.
    #[error("{flag} {spec}: the host refuses it: {source}")]
    Host {
        /// The command-line flag.
        flag: String,
        /// What stands behind it.
        spec: String,
        /// Why not.
        source: io::Error,
    },
}

/// An end that was made.
pub struct OpenedSerial {
    /// The end.
    pub backend: Box<dyn SerialBackend>,
    /// Where to find it, where that was chosen just now: the pseudo-terminal's path or the
    /// address that is listened at.
    pub place: Option<String>,
    /// Its writer, where a thread writes what the guest sends.
    pub writer: Option<BackgroundWriter>,
}

impl SerialSpec {
    /// Makes the end. `flag` is what people wrote before it ("--serial"), for messages; `kick`
    /// is called from another thread when input came. `when_full`: of ends that write to a file.
    ///
    /// # Errors
    /// See [`SerialError`]: each names flag and path and says what would work.
    pub fn open(&self, flag: &str, kick: Kick, when_full: WhenFull) -> Result<OpenedSerial, SerialError> {
        let names = || (flag.to_string(), self.to_string());
        let host = |source| {
            let (flag, spec) = names();
            SerialError::Host { flag, spec, source }
        };
        let channel = |end, place| {
            let backend = Channel::start(end, kick).map_err(host)?;
            Ok(OpenedSerial { backend: Box::new(backend), place, writer: None })
        };
        match self {
            SerialSpec::Null => Ok(OpenedSerial { backend: Box::new(NullSink), place: None, writer: None }),
            SerialSpec::File(path) => {
                let file = File::create(path).map_err(|source| {
                    let (flag, spec) = names();
                    SerialError::File { flag, spec, path: path.display().to_string(), source }
                })?;
                let sink = FileSink::new(file, format!("{flag} {self}"), when_full);
                let writer = Some(sink.writer().clone());
                Ok(OpenedSerial { backend: Box::new(sink), place: None, writer })
            }
            SerialSpec::Stdio => {
                Err(host(io::Error::other("standard input and output belong to the session")))
            }
            SerialSpec::Pty => {
                let (master, path) = open_pty().map_err(host)?;
                channel(End::Pty(master), Some(path))
            }
            SerialSpec::Unix { .. } | SerialSpec::Tcp { .. } => {
                let (end, place) = self.socket().map_err(|source| {
                    let (flag, spec) = names();
                    match self {
                        SerialSpec::Unix { server: true, .. } | SerialSpec::Tcp { server: true, .. } => {
                            SerialError::Listen { flag, spec, source }
                        }
                        _ => SerialError::Connect { flag, spec, source },
                    }
                })?;
                channel(end, place)
            }
        }
    }

    fn socket(&self) -> io::Result<(End, Option<String>)> {
        match self {
            SerialSpec::Unix { path, server: true } => {
                let (socket, file) = Listener::unix(path)?.into_parts();
                Ok((End::Listener { socket, file }, Some(path.display().to_string())))
            }
            SerialSpec::Tcp { host, port, server: true } => {
                let listener = Listener::tcp((host.as_str(), *port))?;
                let place = listener.address().map(|address| address.to_string());
                let (socket, file) = listener.into_parts();
                Ok((End::Listener { socket, file }, place))
            }
            SerialSpec::Unix { path, server: false } => {
                Ok((End::Connected(Stream::unix(path)?.into()), None))
            }
            SerialSpec::Tcp { host, port, server: false } => {
                Ok((End::Connected(Stream::tcp((host.as_str(), *port))?.into()), None))
            }
            _ => Err(io::Error::other("not a socket")),
        }
    }
}

/// A pseudo-terminal that passes bytes as they are, and the path of its slave.
fn open_pty() -> io::Result<(OwnedFd, String)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
    // Opening the slave once sets it up, and makes the master say "hung up" until the next one.
    let slave = File::options().read(true).write(true).open(&path)?;
    let mut modes = tcgetattr(&slave)?;
    modes.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &modes)?;
    Ok((master, path))
}
