//! A ring of descriptors in guest memory, as its registers describe it.

use super::registers::DESCRIPTOR_BYTES;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use trimotor_bus::{DmaBus, PhysAddr};

/// Bits of the registers.
pub(super) const BASE_MASK: u64 = !0xF;
pub(super) const LENGTH_MASK: u32 = 0xF_FF80;
pub(super) const INDEX_MASK: u32 = 0xFFFF;

/// The registers of a ring. The card takes descriptors from the head up to the tail, which the driver moves: where vCPUs run at the
/// same time, without waiting for the card.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    pub(super) base: u64,
    /// Bytes.
    pub(super) length: u32,
    pub(super) head: u32,
    tail: Arc<AtomicU32>,
}

impl Ring {
    /// The tail, which others may write.
    pub fn tail_register(&self) -> Arc<AtomicU32> {
        self.tail.clone()
    }
    /// The tail.
    pub fn tail(&self) -> u32 {
        self.tail.load(Ordering::Acquire) & INDEX_MASK
    }
    /// Writes the tail.
    pub fn set_tail(&self, tail: u32) {
        self.tail.store(tail & INDEX_MASK, Ordering::Release);
    }
    /// All registers are zero.
    pub fn reset(&mut self) {
        (self.base, self.length, self.head) = (0, 0, 0);
        self.set_tail(0);
    }
    /// Writes the low or the high half of the base.
    pub fn set_base(&mut self, high: bool, value: u32) {
        self.base = match high {
            true => self.base & 0xFFFF_FFFF | u64::from(value) << 32,
            false => self.base & !0xFFFF_FFFF | u64::from(value) & BASE_MASK,
        };
    }
    /// How many descriptors there are.
    pub fn descriptors(&self) -> u32 {
        self.length / DESCRIPTOR_BYTES as u32
    }
    /// How many descriptors are the card's; none where the registers make no sense.
    pub fn ready(&self) -> u32 {
        let (count, tail) = (self.descriptors(), self.tail());
        match (self.head < count, tail < count) {
            (true, true) if tail >= self.head => tail - self.head,
            (true, true) => count - self.head + tail,
            _ => 0,
        }
    }
    /// The address of the descriptor at the head.
    pub fn at_head(&self) -> PhysAddr {
        PhysAddr(self.base.wrapping_add(u64::from(self.head) * DESCRIPTOR_BYTES))
    }
    /// The descriptor at the head.
    pub fn read(&self, memory: &impl DmaBus) -> [u64; 2] {
        let mut bytes = [0; 16];
        memory.dma_read(self.at_head(), &mut bytes);
        let [low, high] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i])));
        [low, high]
    }
    /// The head goes on.
    pub fn advance(&mut self) {
        self.head = if self.head + 1 >= self.descriptors() { 0 } else { self.head + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_counted_round_the_end() {
        let mut ring = Ring { base: 0x1000, length: 128, ..Ring::default() };
        assert_eq!((ring.descriptors(), ring.ready()), (8, 0));
        ring.set_tail(3);
        assert_eq!(ring.ready(), 3);
        ring.head = 6;
        assert_eq!((ring.ready(), ring.at_head()), (5, PhysAddr(0x1060)));
        ring.advance();
        ring.advance();
        assert_eq!((ring.head, ring.ready()), (0, 3));
        ring.set_tail(8);
        assert_eq!(ring.ready(), 0);
        ring.set_tail(1);
        ring.head = 0xFFFF;
        assert_eq!(ring.ready(), 0);
        ring.length = 0;
        assert_eq!(ring.ready(), 0);
        ring.set_base(true, 1);
        ring.set_base(false, 0x2FFF);
        assert_eq!(ring.base, 0x1_0000_2FF0);
    }
}
