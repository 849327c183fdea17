//! The two ISA DMA controllers 8237A and their page registers.
//!
//! Ports 0h to Fh are the first controller (channels 0 to 3, bytes), C0h to DEh at even
//! addresses the second (channels 4 to 7, words), 81h to 8Fh the page registers that hold
//! address bits 16 to 23. Each channel has a base and a current address and count, written
//! through one byte port with a flip-flop that says which byte is next. The first controller asks for the bus through channel 4
//! of the second, which firmware sets up as a cascade.
//!
//! A device asks through its [`DmaChannel`]: the controller moves bytes between it and memory, counts, and says when the
//! count has run out (*terminal count*). The address is 16 bits wide and wraps within its page.
//!
//! Left out: transfers from memory to memory, which PC chipsets do not have; the time that transfers take.
//!
//! Source: Intel 8237A data sheet; PC/AT Technical Reference, page registers.

mod channel;
mod controller;

pub use channel::{DmaChannel, Moved};

use crate::device::Device;
use crate::isa_cycles;
use controller::{Controller, ControllerStateV1};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_bus::device::DmaBus;
use trimotor_bus::{GuestTime, Port, PortDevice, RestoreError, SaveState, Width};

/// The first controller's ports.
pub const FIRST: Port = Port(0x00);
/// The second controller's ports, at every other address.
pub const SECOND: Port = Port(0xC0);
/// The page registers; 80h itself is the POST port.
pub const PAGES: Port = Port(0x81);

/// What both controllers hold.
#[derive(Clone, Debug, Default)]
struct Chips {
    controllers: [Controller; 2],
    pages: [u8; 15],
}

/// Both controllers as devices and guests share them: a device that moves data holds its own lock, and then this one.
struct Shared {
    chips: Mutex<Chips>,
    memory: Arc<dyn DmaBus>,
}

impl Shared {
    fn chips(&self) -> MutexGuard<'_, Chips> {
        self.chips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both controllers and the page registers.
pub struct Dma8237 {
    shared: Arc<Shared>,
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dma8237StateV1 {
    controllers: [ControllerStateV1; 2],
    pages: [u8; 15],
}

impl Dma8237 {
    /// Controllers after reset: all channels masked.
    pub fn new(memory: Arc<dyn DmaBus>) -> Self {
        let mut dma = Self { shared: Arc::new(Shared { chips: Mutex::default(), memory }) };
        dma.reset();
        dma
    }
    /// Reset.
    pub fn reset(&mut self) {
        self.shared.chips().controllers.iter_mut().for_each(Controller::master_clear);
    }
    /// The wires of a channel, 0 to 7, for a device.
    pub fn channel(&self, number: u8) -> DmaChannel {
        DmaChannel::new(self.shared.clone(), number & 7)
    }

    /// Controller and register of a port.
    fn register(port: Port) -> Option<(usize, u16)> {
        match port.0 {
            0x00..=0x0F => Some((0, port.0)),
            0xC0..=0xDF if port.0 & 1 == 0 => Some((1, (port.0 - SECOND.0) / 2)),
            _ => None,
        }
    }
}

impl PortDevice for Dma8237 {
    fn port_read(&mut self, port: Port, width: Width, _now: GuestTime) -> u32 {
        let chips = &mut *self.shared.chips();
        isa_cycles::read_bytes(port, width, |p| match (Self::register(p), p.0) {
            (Some((controller, register)), _) => chips.controllers[controller].read(register),
            (None, 0x81..=0x8F) => chips.pages[(p.0 - PAGES.0) as usize],
            _ => 0xFF,
        })
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, _now: GuestTime) {
        let chips = &mut *self.shared.chips();
        isa_cycles::write_bytes(port, width, value, |p, byte| match (Self::register(p), p.0) {
            (Some((controller, register)), _) => chips.controllers[controller].write(register, byte),
            (None, 0x81..=0x8F) => chips.pages[(p.0 - PAGES.0) as usize] = byte,
            _ => {}
        });
    }
}

impl SaveState for Dma8237 {
    type State = Dma8237StateV1;
    fn save(&self) -> Dma8237StateV1 {
        let Chips { controllers, pages } = &*self.shared.chips();
        Dma8237StateV1 { controllers: controllers.map(ControllerStateV1::from), pages: *pages }
    }
    fn restore(&mut self, state: Dma8237StateV1) -> Result<(), RestoreError> {
        let Dma8237StateV1 { controllers, pages } = state;
        let controllers = controllers.map(Controller::from);
        controllers.iter().try_for_each(Controller::check)?;
        *self.shared.chips() = Chips { controllers, pages };
        Ok(())
    }
}

impl Device for Dma8237 {
    fn reset(&mut self, _now: GuestTime) {
        Dma8237::reset(self);
    }
    fn info(&self) -> String {
        let chips = self.shared.chips();
        let open =
            (0..8u8).filter(|channel| chips.controllers[usize::from(channel / 4)].is_open(channel & 3));
        let open: Vec<_> = open.map(|channel| channel.to_string()).collect();
        format!("open channels: {}", if open.is_empty() { "none".to_owned() } else { open.join(", ") })
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
