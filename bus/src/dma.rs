//! Bus mastering: a card's own way to guest memory.
//!
//! A card is handed a [`BusMaster`] and no guest memory. Its accesses work while the guest lets the card be bus
//! master (bit 2 of the command register), and each write passes the page-state hook of
//! [`GuestMemory`], so that engines see DMA into code and page tables. What a bus master cannot
//! reach (ROM, registers of other devices, addresses behind which nothing is) reads as ones and ignores writes: there are
//! no transfers between cards.

use crate::device::DmaBus;
use crate::{GuestMemory, PhysAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A card's way to guest memory. Clones are the same way.
#[derive(Clone)]
pub struct BusMaster {
    memory: Arc<GuestMemory>,
    enabled: Arc<AtomicBool>,
}

impl BusMaster {
    /// A way to `memory` that is closed until [`enable`](Self::enable).
    pub fn new(memory: Arc<GuestMemory>) -> Self {
        Self { memory, enabled: Arc::default() }
    }
    /// Opens or closes the way, as the command register says.
    pub fn enable(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::SeqCst);
    }
    /// Whether the way is open.
    pub fn enabled(&self) -> bool {
        self.enabled.load(Ordering::SeqCst)
    }
}

impl DmaBus for BusMaster {
    fn dma_read(&self, addr: PhysAddr, into: &mut [u8]) {
        if self.enabled() {
            self.memory.read(addr, into);
        } else {
            into.fill(0xFF);
        }
    }
    fn dma_write(&self, addr: PhysAddr, from: &[u8]) {
        if self.enabled() {
            self.memory.write(addr, from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_way_reads_ones_and_writes_nothing() {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        let master = BusMaster::new(memory.clone());
        let card = master.clone();
        let mut bytes = [0; 2];
        card.dma_write(PhysAddr(0x1000), &[1, 2]);
        card.dma_read(PhysAddr(0x1000), &mut bytes);
        assert_eq!(bytes, [0xFF; 2]);
        master.enable(true);
        card.dma_read(PhysAddr(0x1000), &mut bytes);
        assert_eq!(bytes, [0; 2]);
        card.dma_write(PhysAddr(0x1000), &[1, 2]);
        card.dma_read(PhysAddr(0x1000), &mut bytes);
        assert_eq!(bytes, [1, 2]);
    }
}
