//! A network by passt, a program that gives a machine the host's own addresses without privileges (passt(1)).
//!
//! It speaks as a stream does. Either it runs already, and its socket is named; or it is started, with a socket of ours, and ends with us.

use super::config::Place;
use super::stream::{Source, StreamNet};
use crate::backend::{NetBackend, Waker};
use crate::error::NetError;
use crate::frame::{Frame, Offloads};
use rustix::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The options, with what they are for.
pub const OPTIONS: &[(&str, &str)] = &[
    ("path", "FILE: the socket of a passt that runs"),
    ("program", "FILE: the passt to start (passt)"),
    ("arg", "ARGUMENT: an argument for it; may be given more than once"),
];

/// How long to wait before connecting to a passt again that went away.
const RECONNECT: Duration = Duration::from_secs(1);

/// A passt network, as it is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasstConfig {
    /// The socket of a passt that runs.
    pub path: Option<PathBuf>,
    /// The passt to start.
    pub program: Option<PathBuf>,
    /// Arguments for it.
    pub arguments: Vec<String>,
}

impl PasstConfig {
    /// A network from options and their values.
    ///
    /// # Errors
    /// An option is unknown.
    pub fn from_options<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, NetError> {
        let mut config = Self::default();
        for (option, value) in options {
            match option {
                "path" => config.path = Some(value.into()),
                "program" => config.program = Some(value.into()),
                "arg" => config.arguments.push(value.into()),
                _ => {
                    let known = OPTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                    return Err(NetError::Option { network: "passt", option: option.into(), known });
                }
            }
        }
        Ok(config)
    }
}

/// A network by passt.
pub struct PasstNet {
    stream: StreamNet,
    child: Option<Child>,
}

impl PasstNet {
    /// Connects to a passt, or starts one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(config: &PasstConfig) -> Result<Self, NetError> {
        if let Some(path) = &config.path {
            let stream = StreamNet::connect(&Place::Unix(path.clone()), Some(RECONNECT))?;
            return Ok(Self { stream, child: None });
        }
        let program = config.program.clone().unwrap_or_else(|| "passt".into());
        let refused = |error| {
            let hint = "install passt (Debian: passt), or say program=FILE, or path=FILE for one that runs";
            NetError::host_with_hint(format!("{} cannot be started", program.display()), error, hint)
        };
        let (ours, theirs) = UnixStream::pair().map_err(refused)?;
        ours.set_nonblocking(true).map_err(refused)?;
        // Its end of the socket is its standard input.
        let child = Command::new(&program)
            .args(["--foreground", "--quiet", "--one-off", "--fd", "0"])
            .args(&config.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .map_err(refused)?;
        let name = format!("of {}", program.display());
        let stream = StreamNet::start(name, Source::Given(ours.into()))?;
        Ok(Self { stream, child: Some(child) })
    }
}

impl NetBackend for PasstNet {
    fn send(&self, frame: Frame) {
        self.stream.send(frame);
    }
    fn receive(&self) -> Option<Frame> {
        self.stream.receive()
    }
    fn accepts(&self) -> Offloads {
        self.stream.accepts()
    }
    fn set_waker(&self, waker: Waker) {
        self.stream.set_waker(waker);
    }
    fn carrier(&self) -> bool {
        self.stream.carrier()
    }
    fn info(&self) -> String {
        self.stream.info().replacen("socket", "passt", 1)
    }
}

impl Drop for PasstNet {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It would end with the connection, but not before it has noticed.
            _ = child.kill();
            _ = child.wait();
        }
    }
}
