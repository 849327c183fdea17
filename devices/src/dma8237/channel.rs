//! The wires between a device and its DMA channel.

use super::Shared;
use super::controller::Direction;
use std::sync::Arc;
use trimotor_bus::PhysAddr;

/// A device's channel.
#[derive(Clone)]
pub struct DmaChannel {
    shared: Arc<Shared>,
    number: u8,
}

/// What a channel has moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moved {
    /// Bytes.
    pub bytes: usize,
    /// The count has run out: the device must stop.
    pub terminal_count: bool,
}

impl DmaChannel {
    pub(super) fn new(shared: Arc<Shared>, number: u8) -> Self {
        Self { shared, number }
    }
    /// Bytes that the channel will move before its count runs out; none where it is closed.
    pub fn room(&self) -> usize {
        let chips = self.shared.chips();
        let (controller, channel, unit) = self.place();
        let passed_on = controller == 1 || chips.controllers[1].passes_on(0);
        if !passed_on || !chips.controllers[controller].is_open(channel) {
            return 0;
        }
        chips.controllers[controller].position(channel).1 as usize * unit
    }
    /// Moves bytes of the device to memory, until the count runs out.
    pub fn to_memory(&self, data: &[u8]) -> Moved {
        self.walk(Direction::ToMemory, data.len(), |at, range| {
            self.shared.memory.dma_write(at, &data[range]);
        })
    }
    /// Moves bytes of memory to the device, until the count runs out. With a channel that only counts, they stay as they are.
    pub fn from_memory(&self, data: &mut [u8]) -> Moved {
        self.walk(Direction::FromMemory, data.len(), |at, range| {
            self.shared.memory.dma_read(at, &mut data[range]);
        })
    }

    /// Controller, channel there, and bytes of a transfer.
    fn place(&self) -> (usize, u8, usize) {
        if self.number < 4 { (0, self.number, 1) } else { (1, self.number - 4, 2) }
    }
    fn walk(
        &self,
        wanted: Direction,
        bytes: usize,
        mut each: impl FnMut(PhysAddr, std::ops::Range<usize>),
    ) -> Moved {
        /// Which page register is whose channel's.
        const PAGE: [usize; 8] = [6, 2, 0, 1, 14, 10, 8, 9];
        let bytes = bytes.min(self.room());
        let mut chips = self.shared.chips();
        let (controller, channel, unit) = self.place();
        let page = u64::from(chips.pages[PAGE[usize::from(self.number & 7)]]);
        let direction = chips.controllers[controller].direction(channel);
        let moves = match direction {
            Direction::Verify => false,
            Direction::Illegal => return Moved::default(),
            other if other != wanted => return Moved::default(),
            _ => true,
        };
        let mut moved = Moved::default();
        while moved.bytes + unit <= bytes && !moved.terminal_count {
            let chip = &mut chips.controllers[controller];
            let (address, left) = chip.position(channel);
            let down = chip.goes_down(channel);
            // Up to where the address wraps; downwards one by one.
            let room = if down { 1 } else { 0x1_0000 - u32::from(address) };
            let transfers = left.min(room).min(((bytes - moved.bytes) / unit) as u32);
            let size = transfers as usize * unit;
            if moves {
                let at = match unit {
                    1 => page << 16 | u64::from(address),
                    _ => (page & 0xFE) << 16 | u64::from(address) << 1,
                };
                each(PhysAddr(at), moved.bytes..moved.bytes + size);
            }
            moved.bytes += size;
            moved.terminal_count = chip.advance(channel, transfers);
        }
        moved
    }
}
