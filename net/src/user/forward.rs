//! Forwards: ports of the host that lead to the guest, and addresses of the network that lead out.

use crate::error::NetError;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host that leads to the guest: `[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT`.
/// IPv6 addresses are in square brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostForward {
    /// The protocol.
    pub transport: Transport,
    /// Where the host listens; without an address, on all of IPv4. Port 0 is any that is free.
    pub host: SocketAddr,
    /// The guest; without an address, the one that DHCP gives first.
    pub guest: Option<IpAddr>,
    /// The guest's port.
    pub guest_port: u16,
}

impl fmt::Display for HostForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}-", self.transport, self.host)?;
        match self.guest {
            Some(guest) => write!(f, "{}", SocketAddr::new(guest, self.guest_port)),
            None => write!(f, ":{}", self.guest_port),
        }
    }
}

impl HostForward {
    /// Reads the host's end of a forward alone: `[tcp|udp]:[HOSTADDR]:HOSTPORT`.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn parse_host(text: &str) -> Result<(Transport, SocketAddr), NetError> {
        let wrong = |problem: &str| NetError::value("hostfwd", text, problem);
        const SHAPE: &str = "expected [tcp|udp]:[HOSTADDR]:HOSTPORT, like tcp:127.0.0.1:2222";
        let (transport, host) = transport(text).ok_or_else(|| wrong(SHAPE))?;
        let (address, port) = place(host).map_err(|problem| wrong(&problem))?;
        Ok((transport, SocketAddr::new(address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port)))
    }
}

impl FromStr for HostForward {
    type Err = NetError;
    fn from_str(text: &str) -> Result<Self, NetError> {
        let wrong = |problem: &str| NetError::value("hostfwd", text, problem);
        const SHAPE: &str =
            "expected [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, like tcp::2222-:22";
        let (transport, rest) = transport(text).ok_or_else(|| wrong(SHAPE))?;
        let (host, guest) = rest.rsplit_once('-').ok_or_else(|| wrong(SHAPE))?;
        let (host_address, host_port) = place(host).map_err(|problem| wrong(&problem))?;
        let (guest, guest_port) = place(guest).map_err(|problem| wrong(&problem))?;
        if guest_port == 0 {
            return Err(wrong("the guest's port cannot be 0"));
        }
        let host_address = host_address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Ok(Self { transport, host: SocketAddr::new(host_address, host_port), guest, guest_port })
    }
}

/// An address of the network that leads out: `[tcp]:ADDRESS:PORT-DESTINATION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestForward {
    /// Where the guest connects to.
    pub server: SocketAddr,
    /// Where that leads.
    pub destination: Destination,
}

/// Where an address of the network leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `unix:PATH`: a Unix socket.
    Unix(PathBuf),
    /// `tcp:HOST:PORT`.
    Tcp(SocketAddr),
    /// `cmd:COMMAND`: standard input and output of a command, run by the shell for each connection.
    Command(String),
}

impl fmt::Display for GuestForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp:{}-", self.server)?;
        match &self.destination {
            Destination::Unix(path) => write!(f, "unix:{}", path.display()),
            Destination::Tcp(address) => write!(f, "tcp:{address}"),
            Destination::Command(command) => write!(f, "cmd:{command}"),
        }
    }
}

impl FromStr for GuestForward {
    type Err = NetError;
    fn from_str(text: &str) -> Result<Self, NetError> {
        let wrong = |problem: &str| NetError::value("guestfwd", text, problem);
        const SHAPE: &str =
            "expected [tcp]:ADDRESS:PORT-DESTINATION, like tcp:10.0.2.100:80-unix:/run/web.sock";
        let (transport, rest) = transport(text).ok_or_else(|| wrong(SHAPE))?;
        if transport == Transport::Udp {
            return Err(wrong("only TCP can be forwarded"));
        }
        let (server, destination) = rest.split_once('-').ok_or_else(|| wrong(SHAPE))?;
        let (Some(address), port @ 1..) = place(server).map_err(|problem| wrong(&problem))? else {
            return Err(wrong(SHAPE));
        };
        let destination = match destination.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Destination::Unix(path.into()),
            Some(("cmd", command)) if !command.is_empty() => Destination::Command(command.into()),
            Some(("tcp", place)) => {
                let place = place
                    .strip_prefix("localhost")
                    .map(|port| format!("127.0.0.1{port}"))
                    .unwrap_or(place.into());
                Destination::Tcp(place.parse().map_err(|_| wrong("expected tcp:ADDRESS:PORT behind the -"))?)
            }
            _ => return Err(wrong("expected unix:PATH, tcp:ADDRESS:PORT or cmd:COMMAND behind the -")),
        };
        Ok(Self { server: SocketAddr::new(address, port), destination })
    }
}

/// `tcp:`, `udp:` or nothing but `:`, and what follows the colon.
fn transport(text: &str) -> Option<(Transport, &str)> {
    let (name, rest) = text.split_once(':')?;
    match name {
        "tcp" | "" => Some((Transport::Tcp, rest)),
        "udp" => Some((Transport::Udp, rest)),
        _ => None,
    }
}

/// `[ADDRESS]:PORT`.
fn place(text: &str) -> Result<(Option<IpAddr>, u16), String> {
    let (address, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port"))?;
    let port = port.parse().map_err(|_| format!("`{port}` is no port: 0 to 65535"))?;
    let no_address = || format!("`{address}` is no address, like 127.0.0.1 or [::1]");
    let address = match address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => Some(inner.parse::<Ipv6Addr>().map_err(|_| no_address())?.into()),
        None if address.is_empty() => None,
        None => Some(address.parse::<Ipv4Addr>().map_err(|_| no_address())?.into()),
    };
    Ok((address, port))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_and_written() {
        for (text, expected) in [
            ("tcp::2222-:22", "tcp:0.0.0.0:2222-:22"),
            (":127.0.0.1:80-10.0.2.16:8080", "tcp:127.0.0.1:80-10.0.2.16:8080"),
            ("udp:[::1]:69-[fec0::15]:69", "udp:[::1]:69-[fec0::15]:69"),
        ] {
            assert_eq!(text.parse::<HostForward>().unwrap().to_string(), expected);
        }
        let (transport, host) = HostForward::parse_host("udp:[::1]:69").unwrap();
        assert_eq!((transport, host.to_string()), (Transport::Udp, "[::1]:69".to_owned()));
        assert_eq!(HostForward::parse_host("tcp::22").unwrap().1.to_string(), "0.0.0.0:22");
        assert!(HostForward::parse_host("tcp:22").is_err() && HostForward::parse_host("22").is_err());
        for text in [
            "tcp:10.0.2.100:80-unix:/run/a-b",
            "tcp:10.0.2.100:80-cmd:echo a:b",
            "tcp:10.0.2.9:1-tcp:[::1]:5",
        ] {
            assert_eq!(text.parse::<GuestForward>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_forward_is_refused_with_a_reason() {
        for (text, expected) in [
            ("2222", "expected [tcp|udp]"),
            ("tcp:2222-:22", "no port"),
            ("tcp::2222-:0", "cannot be 0"),
            ("tcp::99999-:22", "no port: 0 to 65535"),
            ("sctp::1-:1", "expected [tcp|udp]"),
            ("tcp:localhost:1-:1", "no address"),
        ] {
            let error = text.parse::<HostForward>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for text in ["tcp:10.0.2.100:80", "udp:10.0.2.100:80-cmd:x", "tcp::80-cmd:x", "tcp:10.0.2.100:80-/x"]
        {
            assert!(text.parse::<GuestForward>().is_err(), "{text}");
        }
    }
}
