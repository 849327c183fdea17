//! What a virtio device is to its transport.

use super::io::Io;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use trimotor_bus::{GuestTime, RestoreError};
use trimotor_net::Frame;

/// Who a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// For people.
    pub name: &'static str,
    /// The virtio device type (virtio 1.2, 5).
    pub device_type: u16,
    /// The PCI device ID of a transitional device (4.1.2.1), if there is one: without, the device is a modern one only.
    pub transitional: Option<u16>,
    /// The PCI class code, 24 bits.
    pub class: u32,
}

/// A virtio device without its transport: what its queues mean, and its configuration.
///
/// All that a driver does comes through [`Io`], which is the queues. A new device is a type that implements this, and a row in
/// `machine/src/devices/mod.rs`.
pub trait VirtioDevice: Send + 'static {
    /// What is saved.
    type State: Clone + Debug + Serialize + DeserializeOwned;

    /// Who it is.
    fn kind(&self) -> Kind;
    /// The features of its own that it offers. They do not change.
    fn features(&self) -> u64;
    /// The largest size of each queue. They do not change.
    fn queue_sizes(&self) -> Vec<u16>;
    /// Its configuration, for a driver that has chosen `features`.
    fn config(&self, features: u64) -> Vec<u8>;
    /// The driver writes a byte of its configuration.
    fn config_write(&mut self, _offset: usize, _byte: u8, _io: &mut Io<'_>, _now: GuestTime) {}

    /// The driver is ready: features are chosen, and queues set up.
    fn ready(&mut self, _io: &mut Io<'_>) {}
    /// A queue may have new buffers.
    fn look(&mut self, queue: usize, io: &mut Io<'_>, now: GuestTime);
    /// A queue was reset: its buffers are the driver's again.
    fn queue_reset(&mut self, queue: usize);
    /// The driver reset the device: as it came, but for what workers do still.
    fn reset(&mut self);
    /// The machine was reset: as it came. No worker's answer comes any more.
    fn power_on(&mut self) {
        self.reset();
    }
    /// A request that the device began has an answer.
    fn complete(&mut self, _token: u64, _result: &[u8], _io: &mut Io<'_>, _now: GuestTime) {}
    /// When something happens by itself.
    fn next_event(&self) -> Option<GuestTime> {
        None
    }
    /// Lets time pass.
    fn advance(&mut self, _io: &mut Io<'_>, _now: GuestTime) {}

    /// The device as a network card.
    fn network(&mut self) -> Option<&mut dyn VirtioNetwork> {
        None
    }

    /// What it is doing, for people.
    fn info(&self) -> String;
    /// The state now.
    fn save(&self) -> Self::State;
    /// Checks a saved state.
    ///
    /// # Errors
    /// A state that the device cannot have.
    fn check(&self, state: &Self::State) -> Result<(), RestoreError>;
    /// Takes a state that was checked. What workers were doing is begun anew.
    fn restore(&mut self, state: Self::State);
}

/// A virtio device that takes frames from a network: [`NetworkCard`](crate::network::NetworkCard) without its transport.
pub trait VirtioNetwork {
    /// Whether it would take a frame now.
    fn has_room(&mut self, io: &mut Io<'_>) -> bool;
    /// A frame arrives. Returns whether it was taken.
    fn receive(&mut self, frame: &Frame, io: &mut Io<'_>) -> bool;
    /// The cable's other end was connected, or disconnected.
    fn carrier(&mut self, connected: bool, io: &mut Io<'_>);
}
