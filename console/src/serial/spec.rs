//! What people write on the command line for the other end of a serial cable.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The other end of a serial cable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SerialSpec {
    /// The program's own standard input and output.
    Stdio,
    /// A file that takes the output; there is no input.
    File(PathBuf),
    /// A new pseudo-terminal.
    Pty,
    /// A Unix domain socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Listen there; otherwise connect.
        server: bool,
    },
    /// A TCP connection.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Listen there; otherwise connect.
        server: bool,
    },
    /// Output is swallowed; there is no input.
    Null,
}

/// What is accepted, for error messages.
pub const FORMS: &str = "stdio, file:PATH, pty, unix:PATH[,server], tcp:HOST:PORT[,server] or null";

/// Text that is no [`SerialSpec`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// No such kind.
    #[error("{text:?} is no serial port: use {FORMS}")]
    Kind {
        /// The text.
        text: String,
    },
    /// A kind that needs a path has none.
    #[error("{text:?} has no path: write {kind}:PATH")]
    NoPath {
        /// The text.
        text: String,
        /// The kind.
        kind: &'static str,
    },
    /// A kind that takes nothing behind it has something.
    #[error("{text:?}: {kind} stands alone")]
    Trailing {
        /// The text.
        text: String,
        /// The kind.
        kind: &'static str,
    },
    /// Host and port are not there, or the port is no number.
    #[error("{text:?} needs a host and a port from 1 to 65535, as in tcp:127.0.0.1:4444,server")]
    Address {
        /// The text.
        text: String,
    },
    /// Something other than `server` behind a comma.
    #[error(
        "{text:?}: the only option is \",server\", with \",nowait\" behind it if you like, not \",{option}\""
    )]
    Option {
        /// The text.
        text: String,
        /// What stands there.
        option: String,
    },
}

impl FromStr for SerialSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let owned = || text.to_string();
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        let alone = |kind, spec| match rest {
            None => Ok(spec),
            Some(_) => Err(SpecError::Trailing { text: owned(), kind }),
        };
        let path = |kind| rest.filter(|r| !r.is_empty()).ok_or(SpecError::NoPath { text: owned(), kind });
        match kind {
            "stdio" => alone("stdio", SerialSpec::Stdio),
            "pty" => alone("pty", SerialSpec::Pty),
            "null" => alone("null", SerialSpec::Null),
            "file" => Ok(SerialSpec::File(path("file")?.into())),
            "unix" => {
                let (path, server) = split_server(text, path("unix")?)?;
                if path.is_empty() {
                    return Err(SpecError::NoPath { text: owned(), kind: "unix" });
                }
                Ok(SerialSpec::Unix { path: path.into(), server })
            }
            "tcp" => tcp(text, rest.unwrap_or("")),
            _ => Err(SpecError::Kind { text: owned() }),
        }
    }
}

fn tcp(text: &str, rest: &str) -> Result<SerialSpec, SpecError> {
    let (address, server) = split_server(text, rest)?;
    let refuse = || SpecError::Address { text: text.to_string() };
    let (host, port) = address.rsplit_once(':').ok_or_else(refuse)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(refuse)?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    // Without a host: this machine only, so that nobody opens a guest to the world by accident.
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(SerialSpec::Tcp { host: host.to_string(), port, server })
}

fn split_server<'a>(text: &str, rest: &'a str) -> Result<(&'a str, bool), SpecError> {
    let (before, options) = rest.split_once(',').map_or((rest, None), |(before, rest)| (before, Some(rest)));
    match options {
        None => Ok((before, false)),
        // Nothing here waits for a peer, as QEMU does unless it is told not to.
        Some("server" | "server=on" | "server,nowait" | "server=on,wait=off" | "server,wait=off") => {
            Ok((before, true))
        }
        Some(option) => Err(SpecError::Option { text: text.to_string(), option: option.to_string() }),
    }
}

impl fmt::Display for SerialSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = |server: &bool| if *server { ",server" } else { "" };
        match self {
            SerialSpec::Stdio => f.write_str("stdio"),
            SerialSpec::Pty => f.write_str("pty"),
            SerialSpec::Null => f.write_str("null"),
            SerialSpec::File(path) => write!(f, "file:{}", path.display()),
            SerialSpec::Unix { path, server } => write!(f, "unix:{}{}", path.display(), suffix(server)),
            SerialSpec::Tcp { host, port, server } if host.contains(':') => {
                write!(f, "tcp:[{host}]:{port}{}", suffix(server))
            }
            SerialSpec::Tcp { host, port, server } => write!(f, "tcp:{host}:{port}{}", suffix(server)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_and_written() {
        for text in [
            "stdio",
            "pty",
            "null",
            "file:/tmp/a,b:c",
            "unix:/run/s",
            "unix:s,server",
            "tcp:localhost:23",
            "tcp:[::1]:4444,server",
        ] {
            assert_eq!(text.parse::<SerialSpec>().unwrap().to_string(), text);
        }
        for text in ["unix:s,server,nowait", "unix:s,server=on,wait=off"] {
            assert_eq!(text.parse::<SerialSpec>().unwrap().to_string(), "unix:s,server");
        }
        assert_eq!("tcp::9".parse::<SerialSpec>().unwrap().to_string(), "tcp:127.0.0.1:9");
    }

    #[test]
    fn errors_say_what_would_work() {
        for (text, part) in [
            ("", "use stdio, file:PATH"),
            ("serial", "use stdio"),
            ("stdio:x", "stands alone"),
            ("file", "file:PATH"),
            ("file:", "file:PATH"),
            ("unix:,server", "unix:PATH"),
            ("unix:/s,nowait", "\",server\""),
            ("unix:/s,server,wait=on", "not \",server,wait=on\""),
            ("tcp:localhost", "a host and a port"),
            ("tcp:localhost:70000", "1 to 65535"),
            ("tcp:localhost:0", "1 to 65535"),
            ("tcp", "a host and a port"),
        ] {
            let message = text.parse::<SerialSpec>().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
