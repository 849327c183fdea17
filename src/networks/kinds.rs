//! The kinds of networks: the one table that lists them.

use super::cards::Planned;
use crate::error::Failure;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use trimotor_net::capture::{Capture, CaptureConfig};
use trimotor_net::limit::{self, RateConfig, RateLimit};
use trimotor_net::socket::config::{DATAGRAM_OPTIONS, SOCKET_OPTIONS, STREAM_OPTIONS, SocketConfig};
use trimotor_net::socket::datagram::DatagramNet;
use trimotor_net::socket::passt::{self, PasstConfig, PasstNet};
use trimotor_net::socket::stream::StreamNet;
use trimotor_net::{NetBackend, NetError, Tap, TapConfig, UserNet, UserNetConfig, tap, user};

/// Names of options with what they are for.
type Options = &'static [(&'static str, &'static str)];
/// Options with their values.
type Given<'a> = &'a [(&'a str, &'a str)];
/// What opening gives.
type Opened = Result<Arc<dyn NetBackend>, NetError>;

/// A kind of network.
struct Kind {
    name: &'static str,
    /// What it is, in one line; or why it is not there.
    summary: &'static str,
    options: Options,
    open: Option<fn(Given<'_>) -> Opened>,
}

/// A row for a kind of network.
const fn kind(
    name: &'static str,
    summary: &'static str,
    options: Options,
    open: fn(Given<'_>) -> Opened,
) -> Kind {
    Kind { name, summary, options, open: Some(open) }
}
/// A row for one that QEMU has and this program has not.
const fn without(name: &'static str, why: &'static str) -> Kind {
    Kind { name, summary: why, options: &[], open: None }
}

/// All kinds.
static KINDS: &[Kind] = &[
    kind(
        "user",
        "a network of the guest's own behind a router in this program: needs no privileges",
        user::config::OPTIONS,
        |options| Ok(Arc::new(UserNet::start(&UserNetConfig::from_options(options.iter().copied())?)?)),
    ),
    kind("tap", "an interface of the host", tap::config::OPTIONS, open_tap),
    kind("bridge", "an interface that QEMU's bridge helper makes", BRIDGE_OPTIONS, |options| {
        let named = options.iter().any(|(name, _)| *name == "br");
        let standard = (!named).then_some(("br", STANDARD_BRIDGE));
        open_tap(&options.iter().copied().chain(standard).collect::<Vec<_>>())
    }),
    kind("socket", "a cable to another machine, in QEMU's older form", SOCKET_OPTIONS, |options| {
        open_socket(SocketConfig::socket(options.iter().copied())?)
    }),
    kind("stream", "a cable to another machine: a connection", STREAM_OPTIONS, |options| {
        open_socket(SocketConfig::stream(options.iter().copied())?)
    }),
    kind("dgram", "a cable to another machine: datagrams", DATAGRAM_OPTIONS, |options| {
        open_socket(SocketConfig::datagram(options.iter().copied())?)
    }),
    kind("passt", "a network by the program passt", passt::OPTIONS, |options| {
        Ok(Arc::new(PasstNet::start(&PasstConfig::from_options(options.iter().copied())?)?))
    }),
    without("hubport", "comes later: each network has one card so far"),
    without("vde", "is not planned; a bridge and tap do what its switch does"),
    without("l2tpv3", "comes later"),
    without("netmap", "is not planned: it is no part of Linux"),
    without("af-xdp", "is not planned; tap is the way to a host's interface"),
    without("vhost-user", "is not planned: cards are in this program"),
    without("vhost-vdpa", "is not planned: cards are in this program"),
];

const BRIDGE_OPTIONS: Options = &[
    ("br", "BRIDGE: the bridge (br0)"),
    ("helper", "FILE: the bridge helper (QEMU's)"),
    ("vnet_hdr", "on|off: leave checksums and segments of TCP to the host's kernel (on)"),
];
const STANDARD_BRIDGE: &str = "br0";

/// Options of each kind: a capture, and a limit.
const CAPTURE: &str = "pcap";
const COMMON: Options =
    &[(CAPTURE, "FILE: what goes over the cable, for Wireshark; pcapng unless the name ends in .pcap")];

fn open_tap(options: Given<'_>) -> Opened {
    Ok(Arc::new(Tap::open(&TapConfig::from_options(options.iter().copied())?)?))
}
fn open_socket(config: SocketConfig) -> Opened {
    Ok(match config {
        SocketConfig::Stream { place, listen: true, .. } => Arc::new(StreamNet::listen(&place)?),
        SocketConfig::Stream { place, reconnect, .. } => Arc::new(StreamNet::connect(&place, reconnect)?),
        SocketConfig::Datagram { local, remote } => Arc::new(DatagramNet::pair(&local, &remote)?),
        SocketConfig::Multicast { group, interface } => Arc::new(DatagramNet::multicast(group, interface)?),
    })
}

fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// Looks whether there is a network of this kind with these options.
///
/// # Errors
/// There is not; what there is.
pub fn check(name: &str, options: &[(String, String)]) -> Result<(), String> {
    let Some(kind) = find(name) else {
        let known = KINDS.iter().filter(|kind| kind.open.is_some()).map(|kind| kind.name);
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(format!("there is no type {name:?}; there are {known} (`trimotor networks` lists them)"));
    };
    if kind.open.is_none() {
        return Err(format!("the type {name} {}", kind.summary));
    }
    let known = || kind.options.iter().chain(COMMON).chain(limit::OPTIONS).map(|(name, _)| *name);
    match options.iter().find(|(name, _)| !known().any(|known| known == name)) {
        None => Ok(()),
        Some((option, _)) => {
            let known = known().collect::<Vec<_>>().join(", ");
            Err(format!("a network of type {name} has no option {option:?}; its options: {known}"))
        }
    }
}

/// Opens a network, with its limit and its capture: what is captured is what the card sees.
///
/// # Errors
/// A value that cannot be used, or the host refuses it.
pub fn open(network: &Planned) -> Result<Arc<dyn NetBackend>, Failure> {
    opened(network).map_err(|error| Failure::bad(format!("{}: {error}", network.option)))
}
fn opened(network: &Planned) -> Opened {
    let (mut own, mut rate, mut file) = (Vec::new(), RateConfig::default(), None);
    for (name, value) in &network.options {
        match name.as_str() {
            CAPTURE => file = Some(Path::new(value)),
            name if limit::OPTIONS.iter().any(|(known, _)| *known == name) => rate.set(name, value)?,
            name => own.push((name, value.as_str())),
        }
    }
    let missing = || NetError::Unknown(format!("there is no type {}", network.kind));
    let open = find(&network.kind).and_then(|kind| kind.open).ok_or_else(missing)?;
    let mut backend = open(&own)?;
    if !rate.is_unlimited() {
        backend = Arc::new(RateLimit::new(backend, rate)?);
    }
    if let Some(file) = file {
        backend = Arc::new(Capture::new(backend, file, CaptureConfig::default())?);
    }
    Ok(backend)
}

/// `trimotor networks`: prints the table.
///
/// # Errors
/// Standard output cannot be written.
pub fn list() -> Result<(), Failure> {
    write(&mut io::stdout().lock())?;
    Ok(())
}
fn write(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "With `trimotor run --nic TYPE[,OPTION=VALUE]...`, a card and its network:")?;
    writeln!(
        out,
        "  model=MODEL, mac=ADDRESS, addr=SLOT, romfile=FILE  are the card's (`trimotor devices`)"
    )?;
    for kind in KINDS.iter().filter(|kind| kind.open.is_some()) {
        writeln!(out, "\n{}: {}", kind.name, kind.summary)?;
        kind.options.iter().try_for_each(|(name, help)| writeln!(out, "  {name}={help}"))?;
    }
    writeln!(out, "\nAll of them:")?;
    COMMON.iter().chain(limit::OPTIONS).try_for_each(|(name, help)| writeln!(out, "  {name}={help}"))?;
    writeln!(out, "\nNot there:")?;
    KINDS
        .iter()
        .filter(|kind| kind.open.is_none())
        .try_for_each(|kind| writeln!(out, "  {} {}", kind.name, kind.summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_network_is_said() {
        let options = |name: &str| vec![(name.to_owned(), "x".to_owned())];
        assert_eq!(check("user", &[]), Ok(()));
        for (kind, options, says) in [
            ("usr", vec![], "there is no type \"usr\"; there are user"),
            ("vde", vec![], "the type vde is not planned"),
            ("user", options("turbo"), "no option \"turbo\"; its options: "),
        ] {
            let error = check(kind, &options).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let mut text = Vec::new();
        write(&mut text).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("hostfwd="));
    }
}
