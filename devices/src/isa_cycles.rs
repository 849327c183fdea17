//! How the ISA bus divides a wide access to an 8-bit chip: one byte cycle per port, lowest first.

use trimotor_bus::{Port, Width};

/// Reads `width` bytes from consecutive ports, one byte at a time.
pub fn read_bytes(port: Port, width: Width, mut read: impl FnMut(Port) -> u8) -> u32 {
    let bytes = width.bytes().min(4);
    (0..bytes).fold(0, |value, i| value | (read(Port(port.0.wrapping_add(i as u16))) as u32) << (8 * i))
}

/// Writes `width` bytes to consecutive ports, one byte at a time.
pub fn write_bytes(port: Port, width: Width, value: u32, mut write: impl FnMut(Port, u8)) {
    for i in 0..width.bytes().min(4) {
        write(Port(port.0.wrapping_add(i as u16)), (value >> (8 * i)) as u8);
    }
}
