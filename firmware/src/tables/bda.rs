//! The BIOS data area at 400h and the extended one at 9FC00h, as a BIOS leaves them for a system in
//! text mode.
//!
//! Kernels read from the data area where conventional memory ends, where the serial ports are and how
//! the screen is set.
//!
//! Source: IBM PC/AT Technical Reference, BIOS data area.

use super::Platform;
use super::e820::EBDA_BASE;
use crate::boot::MemoryWrite;
use crate::boot::bytes::Record;
use trimotor_bus::PhysAddr;
use trimotor_bus::board::SERIAL;

const BDA: PhysAddr = PhysAddr(0x400);
const BDA_BYTES: usize = 0x100;

pub(super) fn writes(platform: &Platform) -> Vec<MemoryWrite> {
    let mut ebda = Record::new(1024);
    ebda.u8(0, 1); // its own size in KiB
    vec![MemoryWrite::bytes(BDA, bios_data_area(platform)), MemoryWrite::bytes(PhysAddr(EBDA_BASE), ebda.0)]
}

fn bios_data_area(platform: &Platform) -> Vec<u8> {
    let mut r = Record::new(BDA_BYTES);
    for (i, port) in SERIAL.iter().enumerate().take(usize::from(platform.serial_ports)) {
        r.u16(2 * i, port.0);
    }
    r.u16(0x0E, (EBDA_BASE >> 4) as u16);
    // Equipment: FPU, 80x25 colour, the serial ports.
    r.u16(0x10, 0x0002 | 2 << 4 | u16::from(platform.serial_ports.min(4)) << 9);
    r.u16(0x13, (EBDA_BASE >> 10) as u16);
    r.u16(0x1A, 0x1E); // keyboard buffer, empty: head
    r.u16(0x1C, 0x1E); // and tail
    r.u8(0x49, 3); // video mode
    r.u16(0x4A, 80); // columns
    r.u16(0x4C, 0x1000); // bytes of a page
    r.u16(0x60, 0x0D0E); // cursor: scan lines
    r.u16(0x63, 0x3D4); // CRT controller
    r.u16(0x80, 0x1E); // keyboard buffer: start
    r.u16(0x82, 0x3E); // and end
    r.u8(0x84, 24); // rows less one
    r.u16(0x85, 16); // scan lines a character
    r.0
}
