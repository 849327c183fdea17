//! What the guest finds at power-on.
//!
//! A PC starts with a program in ROM that describes the machine in tables and loads an
//! operating system. This crate stands in for it in five parts:
//!
//! - [`tables`]: E820 memory map, ACPI, SMBIOS, the MP table and the BIOS data area;
//! - [`boot`]: direct boot of a kernel file, without firmware code: Linux `bzImage` and
//!   `vmlinux`, PVH, Multiboot 1 and 2, flat images. The answer is a [`boot::BootPlan`]: what to
//!   write into memory and the state in which the first processor starts;
//! - [`bios`]: our own BIOS, a ROM of code and tables;
//! - [`vga_bios`]: the ROM of the VGA card, with INT 10h and VBE;
//! - [`demo`]: the embedded guest that `trimotor` runs when it is given nothing else.
//!
//! The crate knows no CPU and no device: the `machine` crate turns a [`boot::EntryState`] into
//! processor state. All guest files are hostile: nothing in them can cause a panic.

pub mod bios;
pub mod boot;
pub mod demo;
pub mod pci_bios;
pub mod tables;
pub mod vga_bios;
