//! The interface between a network card and the network that it is connected to.
//!
//! No call blocks. A network has a thread of its own, or the host's; what comes from it waits in a
//! bounded queue ([`FrameQueue`](crate::FrameQueue)) until the machine takes it, one frame at a time and only while the card has room,
//! so that a network that can wait (TCP of the user-mode network) waits for a slow guest.

use crate::error::NetError;
use crate::frame::{Frame, Offloads};
use crate::user::forward::{HostForward, Transport};
use std::net::SocketAddr;
use std::sync::Arc;

/// Tells the machine that there is something to take. It may be called on any thread, also when there is nothing.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// A network, as a card sees it.
pub trait NetBackend: Send + Sync {
    /// Sends a frame, or drops it, as a network does that is too busy. Frames with offloads that [`NetBackend::accepts`] lacks
    /// are the caller's mistake; they are dropped.
    fn send(&self, frame: Frame);
    /// The next frame for the card, if one has come.
    fn receive(&self) -> Option<Frame>;
    /// What may be left open in frames that are sent.
    fn accepts(&self) -> Offloads {
        Offloads::default()
    }
    /// The card's driver can take such frames from now on; none at the beginning and after a reset.
    fn card_accepts(&self, _offloads: Offloads) {}
    /// Whom to wake when a frame has come or the carrier has changed. The last one counts.
    fn set_waker(&self, waker: Waker);
    /// Whether the cable's other end is connected.
    fn carrier(&self) -> bool {
        true
    }
    /// The largest IP packet that the network carries, in bytes.
    fn mtu(&self) -> u16 {
        1500
    }
    /// Into how many queues it sorts what comes for a card ([`Frame::queue`]).
    fn queues(&self) -> u16 {
        1
    }
    /// The network as one that ports of the host can lead to.
    fn port_forwards(&self) -> Option<&dyn PortForwards> {
        None
    }
    /// What it is and how it is doing, in a few lines, for people.
    fn info(&self) -> String;
}

/// A network that ports of the host can lead to, at any time.
pub trait PortForwards {
    /// Has a port of the host lead to the guest: the forward with the port that was chosen, where it was 0.
    ///
    /// # Errors
    /// The port is taken, or this program may not have it.
    fn add(&self, forward: HostForward) -> Result<HostForward, NetError>;
    /// Ends a forward. Connections that came by it stay.
    ///
    /// # Errors
    /// There is none with this protocol and place; which there are.
    fn remove(&self, transport: Transport, host: SocketAddr) -> Result<HostForward, NetError>;
}
