//! What a PCI function offers to the host bridge (PCI Local Bus Specification 3.0).

use crate::{GuestTime, Width};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bus, device and function number of a PCI function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PciAddress {
    /// Bus, 0 to 255.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

impl fmt::Display for PciAddress {
    /// As `lspci` prints it: `00:1f.3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

impl PciAddress {
    /// A function on bus 0.
    pub const fn new(device: u8, function: u8) -> Self {
        Self { bus: 0, device, function }
    }
}

/// A PCI function: 256 bytes of configuration space, and base address registers whose decoding
/// the board asks for where a configuration write may have changed it.
pub trait PciFunction: Send {
    /// Reads configuration space at `offset` (0 to 255, naturally aligned for `width`).
    fn config_read(&mut self, offset: u8, width: Width) -> u32;
    /// Writes configuration space at `offset` (0 to 255, naturally aligned for `width`). Returns
    /// whether [`decoded_regions`](Self::decoded_regions) may differ from before.
    fn config_write(&mut self, offset: u8, width: Width, value: u32, now: GuestTime) -> bool;
    /// The regions that the function decodes now (command register and BARs applied).
    fn decoded_regions(&self) -> Vec<PciRegion>;
}

/// What answers behind a function's base address registers.
pub trait PciBars: Send {
    /// Reads `width` bytes at `offset` into the region of `bar`.
    fn bar_read(&mut self, bar: u8, offset: u64, width: Width, now: GuestTime) -> u64;
    /// Writes the low `width` bytes of `value` at `offset` into the region of `bar`.
    fn bar_write(&mut self, bar: u8, offset: u64, width: Width, value: u64, now: GuestTime);
}

/// One decoded base address register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PciRegion {
    /// Which BAR, 0 to 5 (6 is the expansion ROM).
    pub bar: u8,
    /// Memory or I/O space.
    pub space: PciSpace,
    /// First address (a port number in I/O space).
    pub base: u64,
    /// Bytes, a power of two.
    pub size: u64,
}

/// The two address spaces of PCI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PciSpace {
    /// I/O space.
    Io,
    /// Memory space.
    Memory,
}
