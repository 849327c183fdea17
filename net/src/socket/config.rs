//! How socket networks are described: the options of `--netdev socket`, `stream` and `dgram`, with QEMU's names.

use crate::error::NetError;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// The options of `socket`, QEMU's older form.
pub const SOCKET_OPTIONS: &[(&str, &str)] = &[
    ("listen", "[HOST]:PORT: wait for the other machine by TCP"),
    ("connect", "HOST:PORT: connect to the other machine by TCP"),
    ("mcast", "GROUP:PORT: a multicast group, for any number of machines"),
    ("udp", "HOST:PORT: send to the other machine by UDP; with localaddr"),
    ("localaddr", "HOST:PORT: where datagrams come in; with mcast, the address of the host's interface"),
];
/// The options of `stream`.
pub const STREAM_OPTIONS: &[(&str, &str)] = &[
    ("server", "on|off: wait for the other machine, or connect to it (off)"),
    ("addr.type", "inet|unix"),
    ("addr.host", "HOST: with inet"),
    ("addr.port", "PORT: with inet"),
    ("addr.path", "FILE: with unix"),
    ("reconnect", "SECONDS: connect again after so long (not at all)"),
    ("reconnect-ms", "MILLISECONDS: the same"),
];
/// The options of `dgram`.
pub const DATAGRAM_OPTIONS: &[(&str, &str)] = &[
    ("local.type", "inet|unix: where datagrams come in"),
    ("local.host", "HOST"),
    ("local.port", "PORT"),
    ("local.path", "FILE: with unix"),
    ("remote.type", "inet|unix: where they go; a multicast group needs no local"),
    ("remote.host", "HOST"),
    ("remote.port", "PORT"),
    ("remote.path", "FILE: with unix"),
];

/// One end of a connection or of datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address.
    Internet(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Internet(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A socket network, as it is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketConfig {
    /// A connection.
    Stream {
        /// Where.
        place: Place,
        /// The other machine connects to us.
        listen: bool,
        /// How long to wait before connecting again.
        reconnect: Option<Duration>,
    },
    /// Datagrams to one other machine.
    Datagram {
        /// Where they come in.
        local: Place,
        /// Where they go.
        remote: Place,
    },
    /// Datagrams to a group.
    Multicast {
        /// The group.
        group: SocketAddrV4,
        /// The address of the host's interface.
        interface: Ipv4Addr,
    },
}

/// Options by their names.
struct Options<'a> {
    network: &'static str,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Options<'a> {
    fn read(
        network: &'static str,
        known: &[(&str, &str)],
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, NetError> {
        let mut values = BTreeMap::new();
        for (option, value) in options {
            if !known.iter().any(|(name, _)| *name == option) {
                let known = known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                return Err(NetError::Option { network, option: option.into(), known });
            }
            values.insert(option, value);
        }
        Ok(Self { network, values })
    }
    fn missing(&self, problem: impl Into<String>) -> NetError {
        NetError::Missing { network: self.network, problem: problem.into() }
    }
    fn get(&self, option: &str) -> Option<&'a str> {
        self.values.get(option).copied()
    }
    fn address(&self, option: &str) -> Result<Option<SocketAddr>, NetError> {
        self.get(option).map(|value| address(option, value)).transpose()
    }
    /// The place that `NAME.type`, `NAME.host`, ... say, if any is given.
    fn place(&self, name: &str) -> Result<Option<Place>, NetError> {
        let get = |part: &str| self.get(&format!("{name}.{part}"));
        match (get("type"), get("path")) {
            (None, None) if get("host").is_none() && get("port").is_none() => Ok(None),
            (Some("unix"), Some(path)) | (None, Some(path)) if !path.is_empty() => {
                Ok(Some(Place::Unix(path.into())))
            }
            (Some("unix"), _) => Err(self.missing(format!("{name}.path is missing"))),
            (Some("inet") | None, None) => {
                let port = get("port").ok_or_else(|| self.missing(format!("{name}.port is missing")))?;
                let host = get("host").unwrap_or_default();
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                address(&format!("{name}.port"), &format!("{host}:{port}"))
                    .map(|at| Some(Place::Internet(at)))
            }
            (Some("inet"), Some(_)) => Err(self.missing(format!("{name}.path is for {name}.type=unix"))),
            (Some(other), _) => Err(NetError::value(&format!("{name}.type"), other, "expected inet or unix")),
            (None, Some(_)) => Err(self.missing(format!("{name}.path is empty"))),
        }
    }
}

impl SocketConfig {
    /// `--netdev socket`.
    ///
    /// # Errors
    /// An option is unknown, or a value is not one, or not exactly one kind is named.
    pub fn socket<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, NetError> {
        let options = Options::read("socket", SOCKET_OPTIONS, options)?;
        let kinds = ["listen", "connect", "mcast", "udp"];
        let given: Vec<&str> = kinds.into_iter().filter(|kind| options.get(kind).is_some()).collect();
        let [kind] = given[..] else {
            return Err(options.missing("expected one of listen=, connect=, mcast= and udp="));
        };
        let at = options.address(kind)?.ok_or_else(|| options.missing(format!("{kind} has no address")))?;
        match kind {
            "mcast" => {
                let interface = match options.get("localaddr") {
                    None => Ipv4Addr::UNSPECIFIED,
                    Some(value) => {
                        let host = value.split_once(':').map_or(value, |(host, _)| host);
                        host.parse()
                            .map_err(|_| NetError::value("localaddr", value, "expected an IPv4 address"))?
                    }
                };
                multicast(at, interface, options.get(kind).unwrap_or_default())
            }
            "udp" => {
                let local = options.address("localaddr")?;
                let local = local.ok_or_else(|| options.missing("udp= needs localaddr=HOST:PORT"))?;
                Ok(Self::Datagram { local: Place::Internet(local), remote: Place::Internet(at) })
            }
            _ => Ok(Self::Stream { place: Place::Internet(at), listen: kind == "listen", reconnect: None }),
        }
    }
    /// `--netdev stream`.
    ///
    /// # Errors
    /// An option is unknown or missing, or a value is not one.
    pub fn stream<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, NetError> {
        let options = Options::read("stream", STREAM_OPTIONS, options)?;
        let place = options.place("addr")?.ok_or_else(|| {
            options.missing(
                "expected addr.type=inet,addr.host=HOST,addr.port=PORT or addr.type=unix,addr.path=FILE",
            )
        })?;
        let listen = match options.get("server") {
            None | Some("off") => false,
            Some("on" | "") => true,
            Some(value) => return Err(NetError::value("server", value, "expected on or off")),
        };
        let time = |option: &str, unit: Duration| {
            let value = options.get(option)?;
            let wrong = || NetError::value(option, value, "expected a number");
            Some(value.parse::<u32>().map(|n| unit * n).map_err(|_| wrong()))
        };
        let reconnect =
            time("reconnect-ms", Duration::from_millis(1)).or(time("reconnect", Duration::from_secs(1)));
        let reconnect = reconnect.transpose()?.filter(|time| !time.is_zero());
        Ok(Self::Stream { place, listen, reconnect })
    }
    /// `--netdev dgram`.
    ///
    /// # Errors
    /// An option is unknown or missing, or a value is not one.
    pub fn datagram<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, NetError> {
        let options = Options::read("dgram", DATAGRAM_OPTIONS, options)?;
        let (local, remote) = (options.place("local")?, options.place("remote")?);
        let remote =
            remote.ok_or_else(|| options.missing("remote.type and what belongs to it are missing"))?;
        match (local, remote) {
            (local, Place::Internet(group)) if group.ip().is_multicast() => {
                let interface = match local {
                    Some(Place::Internet(SocketAddr::V4(local))) => *local.ip(),
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                multicast(group, interface, &group.to_string())
            }
            (Some(local @ Place::Internet(_)), remote @ Place::Internet(_))
            | (Some(local @ Place::Unix(_)), remote @ Place::Unix(_)) => Ok(Self::Datagram { local, remote }),
            (None, _) => Err(options.missing("local.type and what belongs to it are missing")),
            _ => Err(options.missing("local and remote must be of one type")),
        }
    }
}

fn multicast(group: SocketAddr, interface: Ipv4Addr, value: &str) -> Result<SocketConfig, NetError> {
    match group {
        SocketAddr::V4(group) if group.ip().is_multicast() => {
            Ok(SocketConfig::Multicast { group, interface })
        }
        _ => Err(NetError::value(
            "mcast",
            value,
            "expected a group of IPv4, 224.0.0.0 to 239.255.255.255, and a port",
        )),
    }
}

/// `[HOST]:PORT`, where the host may be a name.
fn address(option: &str, value: &str) -> Result<SocketAddr, NetError> {
    let value_with_host = if value.starts_with(':') { format!("0.0.0.0{value}") } else { value.to_owned() };
    let found = value_with_host.to_socket_addrs();
    let mut found =
        found.map_err(|error| NetError::value(option, value, format!("expected HOST:PORT: {error}")))?;
    found.next().ok_or_else(|| NetError::value(option, value, "this host has no address"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn qemus_forms_are_read() {
        let internet = |at: &str| Place::Internet(at.parse().unwrap());
        let listen = SocketConfig::socket([("listen", ":1234")]).unwrap();
        assert_eq!(
            listen,
            SocketConfig::Stream { place: internet("0.0.0.0:1234"), listen: true, reconnect: None }
        );
        let udp = SocketConfig::socket([("udp", "127.0.0.1:1"), ("localaddr", "127.0.0.1:2")]).unwrap();
        assert_eq!(
            udp,
            SocketConfig::Datagram { local: internet("127.0.0.1:2"), remote: internet("127.0.0.1:1") }
        );
        let group = SocketConfig::socket([("mcast", "230.0.0.1:1234"), ("localaddr", "127.0.0.1")]).unwrap();
        let other = SocketConfig::datagram([
            ("remote.type", "inet"),
            ("remote.host", "230.0.0.1"),
            ("remote.port", "1234"),
        ]);
        assert_eq!(
            group,
            SocketConfig::Multicast {
                group: "230.0.0.1:1234".parse().unwrap(),
                interface: Ipv4Addr::LOCALHOST
            }
        );
        assert!(matches!(other.unwrap(), SocketConfig::Multicast { .. }));
        let stream =
            SocketConfig::stream([("addr.type", "unix"), ("addr.path", "/x"), ("reconnect", "2")]).unwrap();
        let reconnect = Some(Duration::from_secs(2));
        assert_eq!(
            stream,
            SocketConfig::Stream { place: Place::Unix("/x".into()), listen: false, reconnect }
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (error, expected) in [
            (SocketConfig::socket([("listen", ":1"), ("connect", "a:2")]), "expected one of"),
            (SocketConfig::socket([("udp", "127.0.0.1:1")]), "needs localaddr"),
            (SocketConfig::socket([("mcast", "127.0.0.1:1")]), "a group of IPv4"),
            (SocketConfig::socket([("connect", "nothing")]), "HOST:PORT"),
            (SocketConfig::stream([("addr.type", "unix")]), "addr.path is missing"),
            (SocketConfig::stream([("addr.type", "vsock")]), "inet or unix"),
            (SocketConfig::stream([]), "expected addr.type"),
            (SocketConfig::datagram([("remote.type", "unix"), ("remote.path", "/x")]), "local.type"),
        ] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
