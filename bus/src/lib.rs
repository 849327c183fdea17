//! What connects the parts of the PC.
//!
//! Devices, engines and the board meet here and nowhere else: guest memory with
//! its page states ([`memory`]), the CPU's view of the board ([`CpuBus`]), what a
//! device offers ([`PortDevice`], [`MmioDevice`], [`PciFunction`], [`Timed`]), wires
//! ([`IrqLine`], [`VcpuSignals`]), guest time ([`GuestTime`]) and save state
//! ([`SaveState`]).
//!
//! This crate reads no host clock, randomness, environment or file.

pub mod address;
pub mod board;
pub mod cpu_bus;
pub mod device;
pub mod dma;
pub mod empty_board;
pub mod event_flags;
pub mod guest_copy;
pub mod irq;
pub mod label;
pub mod memory;
pub mod msi;
pub mod pci;
pub mod peers;
pub mod port_registers;
pub mod save;
pub mod signals;
mod sync;
pub mod table_tracking;
pub mod time;

pub use address::{LinearAddr, PhysAddr, Port, Width};
pub use cpu_bus::CpuBus;
pub use device::{DmaBus, MmioDevice, PortDevice, Timed};
pub use dma::{BusMaster, NotMemory};
pub use irq::{IrqLine, IrqSink};
pub use label::Label;
pub use memory::{GuestMemory, MemoryRegion, PageBacking};
pub use msi::MsiSink;
pub use pci::{PciAddress, PciBars, PciFunction};
pub use port_registers::{PortRegisters, RegisterPort};
pub use save::{RestoreError, SaveState};
pub use signals::VcpuSignals;
pub use time::GuestTime;
