//! The files of an interface: each of them is a queue.
//!
//! An interface has one queue, or was made for several (`IFF_MULTI_QUEUE`). The kernel sorts what it sends by flows, each to the
//! queue by which something of the flow came last, and new ones by a sum of their addresses and ports.

use super::config::TapConfig;
use super::{helper, ioctl};
use crate::error::NetError;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open as open_file};
use rustix::io::Errno;

/// An open interface.
pub struct Interface {
    /// A file for each queue, at least one.
    pub files: Vec<OwnedFd>,
    /// The interface's name.
    pub name: String,
    /// Frames have a header.
    pub has_header: bool,
}

/// Opens the interface that a configuration names, or makes it.
///
/// # Errors
/// The host does not let this program have it.
pub fn open(config: &TapConfig) -> Result<Interface, NetError> {
    match &config.bridge {
        Some(bridge) => helper::open(config, bridge),
        None if !config.files.is_empty() => inherited(config),
        None => named(config),
    }
}

/// An interface by its name.
fn named(config: &TapConfig) -> Result<Interface, NetError> {
    let first = driver()?;
    let known = ioctl::features(&first).unwrap_or(0);
    let has_header = config.offloads && known & u32::from(ioctl::IFF_VNET_HDR) != 0;
    let flags = ioctl::IFF_TAP | ioctl::IFF_NO_PI | if has_header { ioctl::IFF_VNET_HDR } else { 0 };
    let several = flags | ioctl::IFF_MULTI_QUEUE;
    let refused = |error| refused(config, error);
    if config.queues > 1 {
        let name = ioctl::set_interface(&first, &config.interface, several).map_err(refused)?;
        let mut files = vec![first];
        for _ in 1..config.queues {
            let file = driver()?;
            ioctl::set_interface(&file, &name, several).map_err(refused)?;
            files.push(file);
        }
        return Ok(Interface { files, name, has_header });
    }
    let name = match ioctl::set_interface(&first, &config.interface, flags) {
        // An interface that was made for several queues takes no file that does not say so.
        Err(Errno::INVAL) => ioctl::set_interface(&first, &config.interface, several),
        done => done,
    };
    Ok(Interface { files: vec![first], name: name.map_err(refused)?, has_header })
}

/// A file of the TUN driver, of no interface yet.
fn driver() -> Result<OwnedFd, NetError> {
    open_file("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
        let hint = match error {
            Errno::NOENT | Errno::NODEV => "the host's kernel lacks the TUN driver: `modprobe tun`",
            Errno::ACCESS => "this user may not open it: it needs rights to /dev/net/tun",
            _ => "TAP needs /dev/net/tun",
        };
        NetError::host_with_hint("/dev/net/tun", error, hint)
    })
}

/// Why the driver refuses an interface, and what to do.
fn refused(config: &TapConfig, error: Errno) -> NetError {
    let (name, queues) = (&config.interface, config.queues);
    let multi_queue = if queues > 1 { " multi_queue" } else { "" };
    let hint = match error {
        Errno::PERM | Errno::ACCESS => format!(
            "to make an interface needs the privilege CAP_NET_ADMIN; without it, have one made for this user: \
             `sudo ip tuntap add dev {name} mode tap{multi_queue} user $USER && sudo ip link set {name} up`, or use br=BRIDGE",
        ),
        Errno::BUSY => "another program uses this interface".into(),
        Errno::TOOBIG => "the kernel has no more queues for it".into(),
        Errno::INVAL if queues > 1 => format!(
            "there is an interface with this name that is of another kind or was made for one queue; choose another ifname, \
             or have it made anew by `ip tuntap add dev {name} mode tap multi_queue`"
        ),
        Errno::INVAL => "there is an interface of another kind with this name; choose another ifname".into(),
        _ => "the kernel refused it".into(),
    };
    let option = if queues > 1 { format!(",queues={queues}") } else { String::new() };
    NetError::host_with_hint(format!("tap,ifname={name}{option}"), error, hint)
}

/// An interface whose queues this program was started with.
fn inherited(config: &TapConfig) -> Result<Interface, NetError> {
    let mut interface: Option<Interface> = None;
    for number in &config.files {
        let refuse =
            |error: Errno, hint: &str| Err(NetError::host_with_hint(format!("tap,fd={number}"), error, hint));
        let file = match ioctl::inherited(*number) {
            Ok(file) => file,
            Err(error) => {
                return refuse(
                    error,
                    "no such file is open; whoever starts this program opens it and leaves it open",
                );
            }
        };
        let (name, flags) = match ioctl::interface_of(&file) {
            Ok(of) => of,
            Err(error) => {
                return refuse(error, "this file is no TAP interface's: /dev/net/tun, made one by TUNSETIFF");
            }
        };
        if flags & ioctl::IFF_TAP == 0 || flags & ioctl::IFF_NO_PI == 0 {
            return refuse(Errno::INVAL, "the interface must have the flags IFF_TAP and IFF_NO_PI");
        }
        let has_header = flags & ioctl::IFF_VNET_HDR != 0;
        match &mut interface {
            None => interface = Some(Interface { files: vec![file], name, has_header }),
            Some(first) if first.name != name || first.has_header != has_header => {
                return refuse(
                    Errno::INVAL,
                    &format!("this is {name}, and the file before it {}, or with other flags", first.name),
                );
            }
            Some(first) => first.files.push(file),
        }
    }
    interface.ok_or_else(|| NetError::value("fds", "", "names no file"))
}
