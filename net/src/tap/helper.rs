//! Programs that help: one with privileges that makes an interface on a bridge, and scripts that set interfaces up.

use super::config::TapConfig;
use super::interface::Interface;
use crate::error::NetError;
use rustix::fd::OwnedFd;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// Has the helper make an interface on a bridge.
///
/// The helper is QEMU's, with its arguments: it is given a socket, and sends the interface's file through it.
pub fn open(config: &TapConfig, bridge: &str) -> Result<Interface, NetError> {
    let helper = config.find_helper()?;
    let what = || format!("tap,br={bridge}: {}", helper.display());
    let (ours, theirs) = UnixStream::pair().map_err(|error| NetError::host(what(), error))?;
    let mut command = Command::new(&helper);
    if config.offloads {
        command.arg("--use-vnet");
    }
    let mut child = command
        .arg(format!("--br={bridge}"))
        .arg("--fd=0")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| NetError::host(what(), error))?;
    // The command holds the helper's end of the socket.
    drop(command);
    let file = receive_file(&ours);
    let said = child.stderr.take().map(|mut stderr| {
        let mut text = String::new();
        _ = std::io::Read::read_to_string(&mut std::io::Read::take(&mut stderr, 4096), &mut text);
        text
    });
    let status = child.wait().map_err(|error| NetError::host(what(), error))?;
    match (file, status.success()) {
        (Some(file), true) => {
            Ok(Interface { files: vec![file], name: format!("on {bridge}"), has_header: config.offloads })
        }
        _ => Err(NetError::Unknown(format!(
            "{}: {status}: {}; is there a bridge {bridge}, does /etc/qemu/bridge.conf say `allow {bridge}`, and is the helper setuid root?",
            what(),
            said.unwrap_or_default().trim()
        ))),
    }
}

/// A file that comes through a socket.
fn receive_file(socket: &UnixStream) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    })
}

/// Runs a script with an interface's name.
pub fn run_script(script: &Path, interface: &str) -> Result<(), NetError> {
    let status = Command::new(script).arg(interface).stdin(Stdio::null()).status().map_err(|error| {
        NetError::host_with_hint(
            format!("script={}", script.display()),
            error,
            "it must be a program; script=no runs none",
        )
    })?;
    match status.success() {
        true => Ok(()),
        false => Err(NetError::File {
            path: script.into(),
            problem: format!("failed for the interface {interface}: {status}"),
        }),
    }
}
