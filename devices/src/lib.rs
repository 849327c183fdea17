//! The chips and cards of the PC.
//!
//! A chip's model is pure (no bus, no clock, no lock); its glue places it on the board's
//! ports, memory and wires. Devices know no CPU, and read no host clock, randomness,
//! environment or file: guest time is handed in with each access, host services as traits.

pub mod acpi_pm;
pub mod bios_services;
pub mod debug_exit;
pub mod debug_port;
pub mod demo_card;
pub mod device;
mod disk_work;
pub mod display;
pub mod dma8237;
pub mod drive;
pub mod drive_limits;
pub mod e1000;
pub mod flash;
pub mod floppy;
pub mod fw_cfg;
pub mod hpet;
pub mod i8042;
pub mod ide;
pub mod interrupts;
pub mod ioapic;
pub mod isa_cycles;
pub mod lapic;
pub mod network;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod pointer;
pub mod post_port;
pub mod pvpanic;
pub mod requests;
pub mod reset_control;
pub mod rtc;
pub mod save_bytes;
mod saved_state;
pub mod serial;
pub mod test_device;
pub mod vga;
pub mod virtio;
pub mod vmgenid;
pub mod vmmouse;
pub mod x87_error;

pub use device::{Completion, Device, Doorbells, Job, Outside, OutsideRef};
pub use drive::{Drive, RemovableDrives};
pub use network::NetworkCard;
pub use save_bytes::SavedBytes;
