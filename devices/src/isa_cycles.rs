//! How the ISA bus divides a wide access to an 8-bit chip: one byte cycle per port, lowest first.
//!
//! Port FFFFh is the last one: what a wide access has beyond it reads as ones, and writes nothing.

use trimotor_bus::{Port, Width};

/// What a byte cycle reads where no chip answers.
const FLOATING: u8 = 0xFF;

/// The ports of an access, lowest first; `None` beyond the last port.
fn ports(port: Port, width: Width) -> impl Iterator<Item = Option<Port>> {
    (0..width.bytes().min(4) as u16).map(move |i| port.0.checked_add(i).map(Port))
}

/// Reads `width` bytes from consecutive ports, one byte at a time.
pub fn read_bytes(port: Port, width: Width, mut read: impl FnMut(Port) -> u8) -> u32 {
    ports(port, width).enumerate().fold(0, |value, (i, port)| {
        let byte = port.map_or(FLOATING, &mut read);
        value | u32::from(byte) << (8 * i)
    })
}

/// Writes `width` bytes to consecutive ports, one byte at a time.
pub fn write_bytes(port: Port, width: Width, value: u32, mut write: impl FnMut(Port, u8)) {
    for (i, port) in ports(port, width).enumerate() {
        if let Some(port) = port {
            write(port, (value >> (8 * i)) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_access_is_a_cycle_for_each_port_and_ends_at_the_last_one() {
        assert_eq!(read_bytes(Port(0x20), Width::Dword, |p| p.0 as u8), 0x2322_2120);
        assert_eq!(read_bytes(Port(0xFFFE), Width::Dword, |p| p.0 as u8), 0xFFFF_FFFE);
        let mut written = Vec::new();
        write_bytes(Port(0xFFFF), Width::Word, 0x1234, |p, byte| written.push((p, byte)));
        assert_eq!(written, [(Port(0xFFFF), 0x34)]);
    }
}
