//! What the network's holder can ask of its thread.

use super::forward::HostForward;
use rustix::fd::OwnedFd;

/// A wish.
pub enum Command {
    /// A port of the host, which listens already, leads to the guest from now on.
    Forward {
        /// The number by which it is ended.
        id: u64,
        /// What it is.
        forward: HostForward,
        /// The socket.
        socket: OwnedFd,
    },
    /// It leads there no longer. Connections that are open stay.
    EndForward {
        /// Its number.
        id: u64,
    },
}
