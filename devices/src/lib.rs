//! The chips and cards of the PC.
//!
//! A chip's model is pure (no bus, no clock, no lock); its glue places it on the board's
//! ports, memory and wires. Devices know no CPU, and read no host clock, randomness,
//! environment or file: guest time is handed in with each access, host services as traits.

pub mod acpi_pm;
pub mod debug_exit;
pub mod debug_port;
pub mod demo_card;
pub mod device;
pub mod dma8237;
pub mod fw_cfg;
pub mod hpet;
pub mod i8042;
pub mod interrupts;
pub mod ioapic;
pub mod isa_cycles;
pub mod lapic;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod post_port;
pub mod pvpanic;
pub mod requests;
pub mod reset_control;
pub mod rtc;
pub mod save_bytes;
pub mod serial;
pub mod test_device;
pub mod vga_text;
pub mod x87_error;

pub use device::{Completion, Device, Job, Outside, OutsideRef};
pub use save_bytes::SavedBytes;
