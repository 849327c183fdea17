//! The floppy controller 82077AA with up to two drives.
//!
//! | port | read | write |
//! |---|---|---|
//! | 3F2h | digital output | digital output: drive, reset (0 resets), interrupt and DMA enabled, motors |
//! | 3F3h | tape drive | tape drive |
//! | 3F4h | main status: whether the FIFO wants to be read or written | data rate, reset |
//! | 3F5h | FIFO | FIFO |
//! | 3F7h | digital input: bit 7 is the selected drive's change line | data rate |
//!
//! A command is a few bytes in the FIFO, its execution, and up to seven bytes of result. Data goes over ISA DMA channel 2 until its
//! terminal count, or byte by byte through the FIFO where SPECIFY says so. Reading and writing end with interrupt 6; so do seeks, whose
//! result SENSE INTERRUPT STATUS gives.
//!
//! A disk is found by its size; its data rate must be set as in a real drive, and the head must be on its track. The change line
//! is high from when a disk is taken out until the head moves with another one in the drive.
//!
//! | part | file |
//! |---|---|
//! | disks and drives | `geometry.rs` |
//! | what the chip remembers | `state.rs` |
//! | ports, resets, seeks | `chip.rs` |
//! | commands, and their results | `commands.rs` |
//! | data | `transfer.rs` |
//!
//! Left out: SCAN commands, deleted data marks (what is written with one reads as ordinary), the registers of the PS/2 at
//! 3F0h and 3F1h, tapes. Motors need no time.
//!
//! Source: Intel 82077AA data sheet.

mod chip;
mod commands;
mod geometry;
mod state;
#[cfg(test)]
mod tests;
mod transfer;

pub use chip::FloppyController;
pub(crate) use geometry::disks;
pub use geometry::{DriveKind, Geometry, cmos_types};
pub use state::FloppyStateV1;

use trimotor_bus::Port;

/// The first port of the controller.
pub const FLOPPY_PORTS: Port = Port(0x3F2);
/// How many ports lie together from there.
pub const FLOPPY_PORT_COUNT: u16 = 4;
/// Digital input and data rate.
pub const FLOPPY_INPUT: Port = Port(0x3F7);
/// The controller's interrupt.
pub const FLOPPY_IRQ: u8 = 6;
/// The controller's DMA channel.
pub const FLOPPY_DMA: u8 = 2;
