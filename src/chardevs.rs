//! `--chardev`: ends on the host for ports that a device names by an id.
//!
//! Written as `--serial` has it with an id behind (`unix:PATH,server,id=NAME`), or as QEMU has it
//! (`socket,path=PATH,server=on,wait=off,id=NAME`).

use std::str::FromStr;
use trimotor_console::serial::SerialSpec;

/// An end and its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chardev {
    /// What devices name it by.
    pub id: String,
    /// What it is.
    pub spec: SerialSpec,
}

impl FromStr for Chardev {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut id, mut rest) = (None, Vec::new());
        for part in text.split(',') {
            match part.strip_prefix("id=") {
                Some(name) if id.is_none() && !name.is_empty() => id = Some(name.to_owned()),
                Some(_) => return Err(format!("{text}: one id, which devices name it by")),
                None => rest.push(part),
            }
        }
        let Some(id) = id else { return Err(format!("{text}: id= says by which name devices find it")) };
        let spec = match rest.first() {
            Some(&("socket" | "file" | "pipe" | "serial" | "tty" | "udp")) => qemu(&rest)?,
            _ => rest.join(","),
        };
        let spec = spec.parse::<SerialSpec>().map_err(|error| error.to_string())?;
        Ok(Self { id, spec })
    }
}

/// What QEMU's users write, as `--serial` has it.
fn qemu(parts: &[&str]) -> Result<String, String> {
    let (kind, options) = parts.split_first().map_or(("", &[][..]), |(kind, options)| (*kind, options));
    let (mut path, mut host, mut port, mut server) = (None, "", None, false);
    for option in options {
        match option.split_once('=').unwrap_or((option, "on")) {
            ("path", value) => path = Some(value),
            ("host", value) => host = value,
            ("port", value) => port = Some(value),
            ("server", value) => server = value == "on",
            // Nothing here waits for a peer.
            ("wait", "off") => {}
            ("wait", _) => {
                return Err("wait=on: a machine does not wait for who connects; write wait=off".to_owned());
            }
            (name, _) => {
                return Err(format!("{kind}: no option {name:?}; there are path, host, port, server"));
            }
        }
    }
    let server = if server { ",server" } else { "" };
    match (kind, path, port) {
        ("socket", Some(path), None) => Ok(format!("unix:{path}{server}")),
        ("socket", None, Some(port)) => Ok(format!("tcp:{host}:{port}{server}")),
        ("socket", ..) => Err("socket: path= of a Unix socket, or host= and port=".to_owned()),
        ("file", Some(path), None) => Ok(format!("file:{path}")),
        ("file", ..) => Err("file: path= says which".to_owned()),
        _ => Err(format!("there is no {kind}: socket, file, pty, stdio and null are there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_are_read() {
        for (text, id, spec) in [
            ("unix:/tmp/a,server,id=agent", "agent", "unix:/tmp/a,server"),
            ("socket,path=/tmp/a,server=on,wait=off,id=agent", "agent", "unix:/tmp/a,server"),
            ("socket,id=c,path=/tmp/a", "c", "unix:/tmp/a"),
            ("socket,host=localhost,port=99,id=c", "c", "tcp:localhost:99"),
            ("pty,id=c", "c", "pty"),
            ("id=c,null", "c", "null"),
            ("file,path=out,id=c", "c", "file:out"),
        ] {
            let expected = Chardev { id: id.to_owned(), spec: spec.parse().unwrap() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for (text, says) in [
            ("pty", "id="),
            ("pty,id=a,id=b", "one id"),
            ("pty,id=", "one id"),
            ("socket,id=a", "path="),
            ("socket,path=/x,server=on,wait=on,id=a", "wait=off"),
            ("socket,path=/x,mux=on,id=a", "mux"),
            ("udp,port=3,id=a", "no udp"),
            ("nothing,id=a", "nothing"),
        ] {
            let error = text.parse::<Chardev>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
