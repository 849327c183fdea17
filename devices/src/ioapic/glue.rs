//! The IOAPIC's two registers in memory.

use super::IoApic;
use crate::interrupts::message::ApicMessage;

/// Offset of the register that selects.
const IOREGSEL: u64 = 0x00;
/// Offset of the window to the selected register.
const IOWIN: u64 = 0x10;

impl IoApic {
    /// Reads 32 bits at `offset` bytes into the chip's page.
    pub fn read(&self, offset: u64) -> u32 {
        match offset & 0xFF {
            IOREGSEL => u32::from(self.state.select),
            IOWIN => self.read_selected(),
            _ => 0,
        }
    }
    /// Writes 32 bits at `offset` bytes into the chip's page; the message that this makes, if any.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<ApicMessage> {
        match offset & 0xFF {
            IOREGSEL => self.state.select = value as u8,
            IOWIN => return self.write_selected(value),
            _ => {}
        }
        None
    }
}
