//! Our BIOS: what programs get from it, beside SeaBIOS on QEMU, and what boots by it.

pub mod boots;
pub mod disk_calls;
pub mod images;
pub mod oracle;
pub mod other_roms;
pub mod ovmf;
pub mod rom_on_qemu;
pub mod services;
pub mod vbe;
