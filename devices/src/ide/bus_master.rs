//! The bus master of a channel: moves what the device gives to the pages that a table in memory names, and back.
//!
//! The table has an entry of eight bytes for each physical region: its address, its bytes (0 means 64 KiB), and in the
//! last bit of the second dword whether the table ends here. It lies within 64 KiB, where the chip's counter wraps. Regions should
//! lie so, too, but the driver of EDK II (OVMF) makes them of 64 KiB from any address, and counts on the address going on.

use super::registers::*;
use crate::saved_state::saved_state;
use trimotor_bus::device::DmaBus;
use trimotor_bus::{BusMaster, PhysAddr, RestoreError};

/// The registers of one channel, and where in its table it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusMasterChannel {
    pub(super) command: u8,
    pub(super) status: u8,
    pub(super) table: u32,
    /// Where the next entry is.
    entry: u32,
    /// What of the present region is next.
    address: u32,
    /// Bytes left of the present region.
    left: u32,
    /// The present region is the table's last.
    last: bool,
}

saved_state! {
    /// The saved registers of one channel.
    pub struct BusMasterChannelStateV1 of BusMasterChannel {
        command: u8,
        status: u8,
        table: u32,
        entry: u32,
        address: u32,
        left: u32,
        last: bool,
    }
}

/// How a transfer between device and memory went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DmaEnd {
    /// All bytes were moved.
    Done,
    /// The table ended before the data.
    TableEnded,
    /// The chip is no bus master, or moves the other way.
    Failed,
}

impl BusMasterChannel {
    pub(super) fn read(&self, offset: u8) -> u8 {
        match offset {
            0 => self.command,
            2 => self.status,
            4..=7 => self.table.to_le_bytes()[usize::from(offset) - 4],
            _ => 0,
        }
    }
    /// Writes a register. Returns whether a transfer begins.
    pub(super) fn write(&mut self, offset: u8, value: u8) -> bool {
        match offset {
            0 => {
                let started = value & !self.command & BM_START != 0;
                // The direction stays while the transfer runs.
                self.command = value & (BM_START | BM_TO_MEMORY);
                if started {
                    self.status |= BM_ACTIVE;
                    (self.entry, self.left, self.last) = (self.table, 0, false);
                } else if value & BM_START == 0 {
                    self.status &= !BM_ACTIVE;
                }
                return started;
            }
            2 => {
                let kept = self.status & !(value & (BM_ERROR | BM_INTERRUPT)) & !BM_CAPABLE;
                self.status = kept | value & BM_CAPABLE;
            }
            4..=7 => {
                let mut bytes = self.table.to_le_bytes();
                bytes[usize::from(offset) - 4] = value;
                self.table = u32::from_le_bytes(bytes) & !3;
            }
            _ => {}
        }
        false
    }
    /// Whether a transfer runs.
    pub(super) fn active(&self) -> bool {
        self.status & BM_ACTIVE != 0
    }
    /// The device raised its interrupt.
    pub(super) fn note_interrupt(&mut self) {
        self.status |= BM_INTERRUPT;
    }
    /// What no chip can be.
    pub(super) fn check(&self) -> Result<(), RestoreError> {
        let refuse = |field, value: u32| {
            Err(RestoreError { part: "IDE bus master", field, value: format!("{value:#x}") })
        };
        if self.command & !(BM_START | BM_TO_MEMORY) != 0 {
            return refuse("command", self.command.into());
        }
        if self.status & !(BM_ACTIVE | BM_ERROR | BM_INTERRUPT | BM_CAPABLE) != 0 {
            return refuse("status", self.status.into());
        }
        if self.table & 3 != 0 || self.entry & 3 != 0 {
            return refuse("table", self.table);
        }
        // Packets may ask for an odd number of bytes.
        if self.left > 0x1_0000 {
            return refuse("region", self.left);
        }
        Ok(())
    }
}

/// A channel's bus master with its way to memory.
pub(super) struct Dma<'a> {
    pub(super) channel: &'a mut BusMasterChannel,
    pub(super) memory: &'a BusMaster,
}

impl Dma<'_> {
    /// Moves `data` to memory.
    pub(super) fn write_memory(&mut self, data: &[u8]) -> DmaEnd {
        let memory = self.memory;
        self.walk(true, data.len(), |at, range| memory.dma_write(at, &data[range]))
    }
    /// Fills `data` from memory.
    pub(super) fn read_memory(&mut self, data: &mut [u8]) -> DmaEnd {
        let memory = self.memory;
        self.walk(false, data.len(), |at, range| memory.dma_read(at, &mut data[range]))
    }
    /// Calls `each` with the regions for `bytes` bytes.
    fn walk(
        &mut self,
        to_memory: bool,
        bytes: usize,
        mut each: impl FnMut(PhysAddr, std::ops::Range<usize>),
    ) -> DmaEnd {
        if !self.memory.enabled() || (self.channel.command & BM_TO_MEMORY != 0) != to_memory {
            self.channel.status = self.channel.status & !BM_ACTIVE | BM_ERROR;
            return DmaEnd::Failed;
        }
        let mut done = 0;
        while done < bytes {
            let channel = &mut *self.channel;
            if channel.left == 0 {
                if channel.last {
                    channel.status &= !BM_ACTIVE;
                    return DmaEnd::TableEnded;
                }
                let mut entry = [0; 8];
                self.memory.dma_read(PhysAddr(channel.entry.into()), &mut entry);
                let [a, b, c, d, low, high, _, end] = entry;
                channel.address = u32::from_le_bytes([a & !1, b, c, d]);
                channel.left = match u32::from(u16::from_le_bytes([low & !1, high])) {
                    0 => 0x1_0000,
                    bytes => bytes,
                };
                channel.last = end & 0x80 != 0;
                channel.entry = channel.entry & 0xFFFF_0000 | channel.entry.wrapping_add(8) & 0xFFFF;
            }
            let now = channel.left.min(u32::try_from(bytes - done).unwrap_or(u32::MAX));
            each(PhysAddr(channel.address.into()), done..done + now as usize);
            done += now as usize;
            channel.left -= now;
            channel.address = channel.address.wrapping_add(now);
        }
        if self.channel.left == 0 && self.channel.last {
            self.channel.status &= !BM_ACTIVE;
        }
        DmaEnd::Done
    }
}
