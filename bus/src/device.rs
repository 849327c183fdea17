//! What a device offers to the board.
//!
//! Each register access has the same three steps: catch up with time (`now`), act,
//! drive the lines. A device is handed the guest time and never asks for it.

use crate::{GuestTime, PhysAddr, Port, Width};

/// A device that answers I/O ports.
pub trait PortDevice: Send {
    /// Reads `width` bytes at `port`. What no register answers reads as all ones.
    fn port_read(&mut self, port: Port, width: Width, now: GuestTime) -> u32;
    /// Writes the low `width` bytes of `value` at `port`.
    fn port_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime);
}

/// A device that answers guest-physical memory accesses.
pub trait MmioDevice: Send {
    /// Reads `width` bytes at `offset` bytes into the device's region.
    fn mmio_read(&mut self, offset: u64, width: Width, now: GuestTime) -> u64;
    /// Writes the low `width` bytes of `value` at `offset` bytes into the region.
    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, now: GuestTime);
    /// Writes elements of `width` bytes one after the other, from `offset` on.
    fn mmio_write_run(&mut self, offset: u64, width: Width, bytes: &[u8], now: GuestTime) {
        for (n, element) in bytes.chunks_exact(width.bytes()).enumerate() {
            let at = offset + (n * width.bytes()) as u64;
            self.mmio_write(at, width, width.value_of(element), now);
        }
    }
}

/// A device on which something happens by itself when time passes.
pub trait Timed: Send {
    /// The next instant at which [`advance`](Self::advance) has something to do, if any.
    /// May change with each register access; the board asks again after each.
    fn next_event(&self) -> Option<GuestTime>;
    /// Lets time pass up to `now` and drives the lines. Calling it early or twice is harmless.
    fn advance(&mut self, now: GuestTime);
}

/// Bus-master access to guest memory, as a device uses it.
///
/// Every write passes the page-state hook of [`GuestMemory`](crate::GuestMemory), so
/// that engines see DMA into code and page tables.
pub trait DmaBus: Send + Sync {
    /// Reads guest memory; bytes that no RAM or ROM backs read as FFh.
    fn dma_read(&self, addr: PhysAddr, into: &mut [u8]);
    /// Writes guest memory; bytes that no RAM backs are dropped.
    fn dma_write(&self, addr: PhysAddr, from: &[u8]);
}
