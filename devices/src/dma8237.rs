//! The two ISA DMA controllers 8237A and their page registers, as registers.
//!
//! Ports 0h to Fh are the first controller (channels 0 to 3, bytes), C0h to DEh at even
//! addresses the second (channels 4 to 7, words), 81h to 8Fh the page registers that hold
//! address bits 16 to 23. Each channel has a base and a current address and count, written
//! through one byte port with a flip-flop that says which byte is next.
//!
//! Left out: transfers. No device of the board asks for ISA DMA (a floppy would), so no
//! channel ever has a request and nothing is copied; firmware and kernels that set the
//! controllers up and read them back find what they wrote.

use crate::device::Device;
use crate::isa_cycles;
use serde::{Deserialize, Serialize};
use trimotor_bus::{GuestTime, Port, PortDevice, RestoreError, SaveState, Width};

/// The first controller's ports.
pub const FIRST: Port = Port(0x00);
/// The second controller's ports, at every other address.
pub const SECOND: Port = Port(0xC0);
/// The page registers; 80h itself is the POST port.
pub const PAGES: Port = Port(0x81);

/// One controller's four channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Controller {
    /// Base and current address of each channel.
    address: [[u16; 2]; 4],
    /// Base and current count of each channel.
    count: [[u16; 2]; 4],
    mode: [u8; 4],
    command: u8,
    mask: u8,
    request: u8,
    temporary: u8,
    high_byte_next: bool,
}

/// Both controllers and the page registers.
#[derive(Debug, Default)]
pub struct Dma8237 {
    controllers: [Controller; 2],
    pages: [u8; 15],
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dma8237StateV1 {
    controllers: [Controller; 2],
    pages: [u8; 15],
}

impl Controller {
    fn master_clear(&mut self) {
        (self.command, self.request, self.temporary) = (0, 0, 0);
        self.mask = 0x0F;
        self.high_byte_next = false;
    }

    fn read(&mut self, register: u16) -> u8 {
        match register {
            0..=7 => {
                let channel = register as usize / 2;
                let value = if register & 1 == 0 { self.address[channel] } else { self.count[channel] };
                let bytes = value[1].to_le_bytes();
                self.high_byte_next = !self.high_byte_next;
                bytes[!self.high_byte_next as usize]
            }
            8 => self.request << 4, // No channel has reached its count.
            0xD => self.temporary,
            0xF => self.mask | 0xF0,
            _ => 0xFF,
        }
    }

    fn write(&mut self, register: u16, value: u8) {
        match register {
            0..=7 => {
                let channel = register as usize / 2;
                let pair =
                    if register & 1 == 0 { &mut self.address[channel] } else { &mut self.count[channel] };
                for word in pair {
                    let mut bytes = word.to_le_bytes();
                    bytes[self.high_byte_next as usize] = value;
                    *word = u16::from_le_bytes(bytes);
                }
                self.high_byte_next = !self.high_byte_next;
            }
            8 => self.command = value,
            9 => self.request = set_bit(self.request, value),
            0xA => self.mask = set_bit(self.mask, value),
            0xB => self.mode[(value & 3) as usize] = value,
            0xC => self.high_byte_next = false,
            0xD => self.master_clear(),
            0xE => self.mask = 0,
            _ => self.mask = value & 0x0F,
        }
    }
}

/// Bits 0 and 1 select a channel, bit 2 is its value.
fn set_bit(bits: u8, value: u8) -> u8 {
    let bit = 1 << (value & 3);
    if value & 4 != 0 { bits | bit } else { bits & !bit }
}

impl Dma8237 {
    /// Controllers after reset: all channels masked.
    pub fn new() -> Self {
        let mut dma = Self::default();
        dma.reset();
        dma
    }
    /// Reset.
    pub fn reset(&mut self) {
        self.controllers.iter_mut().for_each(Controller::master_clear);
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
        isa_cycles::read_bytes(port, width, |p| match (Self::register(p), p.0) {
            (Some((controller, register)), _) => self.controllers[controller].read(register),
            (None, 0x81..=0x8F) => self.pages[(p.0 - PAGES.0) as usize],
            _ => 0xFF,
        })
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, _now: GuestTime) {
        isa_cycles::write_bytes(port, width, value, |p, byte| match (Self::register(p), p.0) {
            (Some((controller, register)), _) => self.controllers[controller].write(register, byte),
            (None, 0x81..=0x8F) => self.pages[(p.0 - PAGES.0) as usize] = byte,
            _ => {}
        });
    }
}

impl SaveState for Dma8237 {
    type State = Dma8237StateV1;
    fn save(&self) -> Dma8237StateV1 {
        let Self { controllers, pages } = self;
        Dma8237StateV1 { controllers: *controllers, pages: *pages }
    }
    fn restore(&mut self, state: Dma8237StateV1) -> Result<(), RestoreError> {
        let Dma8237StateV1 { controllers, pages } = state;
        (self.controllers, self.pages) = (controllers, pages);
        Ok(())
    }
}

impl Device for Dma8237 {
    fn reset(&mut self, _now: GuestTime) {
        Dma8237::reset(self);
    }
    fn info(&self) -> String {
        "two controllers".to_owned()
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: GuestTime = GuestTime::ZERO;

    #[test]
    fn addresses_read_back_byte_by_byte() {
        let mut dma = Dma8237::new();
        for (port, controller) in [(0x04, 0), (0xC8, 1)] {
            let clear = if controller == 0 { 0x0C } else { 0xD8 };
            dma.port_write(Port(clear), Width::Byte, 0, NOW);
            dma.port_write(Port(port), Width::Byte, 0x34, NOW);
            dma.port_write(Port(port), Width::Byte, 0x12, NOW);
            assert_eq!(dma.port_read(Port(port), Width::Byte, NOW), 0x34);
            assert_eq!(dma.port_read(Port(port), Width::Byte, NOW), 0x12);
        }
        dma.port_write(Port(0x87), Width::Byte, 0x5A, NOW);
        assert_eq!(dma.port_read(Port(0x87), Width::Byte, NOW), 0x5A);
    }

    #[test]
    fn masks_and_master_clear() {
        let mut dma = Dma8237::new();
        assert_eq!(dma.port_read(Port(0x0F), Width::Byte, NOW) & 0x0F, 0x0F);
        dma.port_write(Port(0x0A), Width::Byte, 2, NOW);
        assert_eq!(dma.port_read(Port(0x0F), Width::Byte, NOW) & 0x0F, 0x0B);
        dma.port_write(Port(0x0D), Width::Byte, 0, NOW);
        assert_eq!(dma.port_read(Port(0x0F), Width::Byte, NOW) & 0x0F, 0x0F);
        dma.port_write(Port(0xDC), Width::Byte, 0, NOW);
        assert_eq!(dma.port_read(Port(0xDE), Width::Byte, NOW) & 0x0F, 0);
        let mut other = Dma8237::new();
        other.restore(dma.save()).unwrap();
        assert_eq!(other.save(), dma.save());
    }
}
