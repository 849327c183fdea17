//! One 8237A: four channels.

use crate::saved_state::saved_state;
use trimotor_bus::RestoreError;

/// Command: the controller does nothing.
const DISABLED: u8 = 1 << 2;
/// Mode: towards lower addresses.
const DOWN: u8 = 1 << 5;
/// Mode: starts over at terminal count.
const AUTOINIT: u8 = 1 << 4;
/// Mode: bits 7 and 6 are both set on a channel that another controller asks through.
const CASCADE: u8 = 3 << 6;

/// Which way a channel moves data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// It counts, and moves nothing.
    Verify,
    /// From the device to memory.
    ToMemory,
    /// From memory to the device.
    FromMemory,
    /// No chip does this.
    Illegal,
}

/// One controller's four channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Controller {
    /// Base and current address of each channel.
    address: [[u16; 2]; 4],
    /// Base and current count of each channel, one less than there are transfers.
    count: [[u16; 2]; 4],
    mode: [u8; 4],
    command: u8,
    mask: u8,
    request: u8,
    temporary: u8,
    /// Channels that have reached their count since the status was read.
    reached: u8,
    high_byte_next: bool,
}

saved_state! {
    /// The saved state of a controller.
    pub struct ControllerStateV1 of Controller {
        address: [[u16; 2]; 4],
        count: [[u16; 2]; 4],
        mode: [u8; 4],
        command: u8,
        mask: u8,
        request: u8,
        temporary: u8,
        reached: u8,
        high_byte_next: bool,
    }
}

impl Controller {
    pub(super) fn master_clear(&mut self) {
        (self.command, self.request, self.temporary, self.reached) = (0, 0, 0, 0);
        self.mask = 0x0F;
        self.high_byte_next = false;
    }

    pub(super) fn read(&mut self, register: u16) -> u8 {
        match register {
            0..=7 => {
                let channel = register as usize / 2;
                let value = if register & 1 == 0 { self.address[channel] } else { self.count[channel] };
                let bytes = value[1].to_le_bytes();
                self.high_byte_next = !self.high_byte_next;
                bytes[!self.high_byte_next as usize]
            }
            8 => self.request << 4 | std::mem::take(&mut self.reached),
            0xD => self.temporary,
            0xF => self.mask | 0xF0,
            _ => 0xFF,
        }
    }

    pub(super) fn write(&mut self, register: u16, value: u8) {
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

    /// Whether a channel takes requests.
    pub(super) fn is_open(&self, channel: u8) -> bool {
        self.command & DISABLED == 0 && self.mask & 1 << channel == 0 && !self.is_cascade(channel)
    }
    /// Whether a channel passes on the requests of another controller.
    pub(super) fn passes_on(&self, channel: u8) -> bool {
        self.command & DISABLED == 0 && self.mask & 1 << channel == 0 && self.is_cascade(channel)
    }
    fn is_cascade(&self, channel: u8) -> bool {
        self.mode(channel) & CASCADE == CASCADE
    }
    fn mode(&self, channel: u8) -> u8 {
        self.mode[usize::from(channel & 3)]
    }
    pub(super) fn direction(&self, channel: u8) -> Direction {
        match self.mode(channel) >> 2 & 3 {
            0 => Direction::Verify,
            1 => Direction::ToMemory,
            2 => Direction::FromMemory,
            _ => Direction::Illegal,
        }
    }
    /// Whether addresses go down.
    pub(super) fn goes_down(&self, channel: u8) -> bool {
        self.mode(channel) & DOWN != 0
    }
    /// The present address, and how many transfers are left.
    pub(super) fn position(&self, channel: u8) -> (u16, u32) {
        let channel = usize::from(channel & 3);
        (self.address[channel][1], u32::from(self.count[channel][1]) + 1)
    }
    /// Counts `transfers`, no more than are left. Returns whether that was the last one.
    pub(super) fn advance(&mut self, channel: u8, transfers: u32) -> bool {
        let (down, bit, index) = (self.goes_down(channel), 1 << (channel & 3), usize::from(channel & 3));
        let steps = transfers as u16;
        let [base_address, address] = &mut self.address[index];
        let [base_count, count] = &mut self.count[index];
        let last = transfers == u32::from(*count) + 1;
        *address = if down { address.wrapping_sub(steps) } else { address.wrapping_add(steps) };
        *count = count.wrapping_sub(steps);
        if last {
            self.reached |= bit;
            self.request &= !bit;
            if self.mode[index] & AUTOINIT != 0 {
                (*address, *count) = (*base_address, *base_count);
            } else {
                self.mask |= bit;
            }
        }
        last
    }
    /// What no chip can hold.
    pub(super) fn check(&self) -> Result<(), RestoreError> {
        if (self.mask | self.request | self.reached) > 0x0F {
            let value = format!("{:x} {:x} {:x}", self.mask, self.request, self.reached);
            return Err(RestoreError { part: "DMA controller", field: "channels", value });
        }
        Ok(())
    }
}

/// Bits 0 and 1 select a channel, bit 2 is its value.
fn set_bit(bits: u8, value: u8) -> u8 {
    let bit = 1 << (value & 3);
    if value & 4 != 0 { bits | bit } else { bits & !bit }
}
