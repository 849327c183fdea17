//! Bus mastering: a card's own way to guest memory.
//!
//! A card is handed a [`BusMaster`] and no guest memory. Its accesses work while the guest lets the card be bus
//! master (bit 2 of the command register), and each write passes the page-state hook of
//! [`GuestMemory`], so that engines see DMA into code and page tables. It reaches RAM, ROM, and memory of cards where that is
//! shown; what it cannot reach (registers of other devices, addresses behind which nothing is) reads as ones and ignores
//! writes. All that a card does comes through here, so that this is where an IOMMU would translate.
//!
//! **Order.** A write returns after the vCPUs that run guest code have dropped code that it wrote over. So a card that
//! writes data, then an index in memory, then raises an interrupt, is seen to do so in this order by all vCPUs, whatever
//! they poll; it need do nothing for it. It may write under its own lock: see [`peers`](crate::peers) for why that ends.
//!
//! **Queues.** Crates that work on virtio queues take a [`vm_memory::GuestMemory`]. A `BusMaster` is one (`queues.rs`), and the
//! only one that a card can get: what a crate writes through it passes the same hook, with the same order, because `vm-memory`
//! calls the bitmap of a slice after each write to it. What such a crate does with a raw pointer from a slice does not pass:
//! who hands guest memory to the host's own I/O copies the bytes in by [`DmaBus::dma_write`] afterwards, or calls
//! [`Bitmap::mark_dirty`](vm_memory::bitmap::Bitmap::mark_dirty) of the slice.

mod queues;

use crate::device::DmaBus;
use crate::{GuestMemory, PhysAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A card was sent to an address where it finds no memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no memory is there")]
pub struct NotMemory;

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
    /// Reads guest memory, all of it.
    ///
    /// # Errors
    /// The way is closed, or something else than memory is behind a part of it.
    pub fn read_exact(&self, addr: PhysAddr, into: &mut [u8]) -> Result<(), NotMemory> {
        let all = self.enabled() && self.memory.read(addr, into) == into.len();
        if all { Ok(()) } else { Err(NotMemory) }
    }
    /// Writes guest memory, all of it.
    ///
    /// # Errors
    /// The way is closed, or something else than memory is behind a part of it: then what comes before has been written, and
    /// perhaps what comes after.
    pub fn write_exact(&self, addr: PhysAddr, from: &[u8]) -> Result<(), NotMemory> {
        let all = self.enabled() && self.memory.write(addr, from) == from.len();
        if all { Ok(()) } else { Err(NotMemory) }
    }
    /// Gives pages back to the host, by their guest-physical page numbers: see [`GuestMemory::discard`].
    pub fn discard(&self, frames: std::ops::Range<u64>) -> u64 {
        if self.enabled() { self.memory.discard(frames) } else { 0 }
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
