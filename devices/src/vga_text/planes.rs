//! Video memory: four planes of 64 KiB, and the way of a byte from the processor to them
//! (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem", graphics controller).
//!
//! A word of four bytes, one a plane, is the unit. Text modes use a quarter of what is here
//! (odd and even addresses go to planes 0 and 1); font loading needs plane 2, and graphics
//! modes the rest.

use super::registers::Registers;

/// Bytes in one plane.
pub const PLANE_BYTES: usize = 64 << 10;
/// Bytes in all planes.
pub const MEMORY_BYTES: usize = 4 * PLANE_BYTES;

/// The planes and the latch of the last read. Byte `4 * offset + plane` is at `offset` of `plane`.
pub struct Planes {
    pub(super) bytes: Vec<u8>,
    pub(super) latch: u32,
}

impl Planes {
    /// All zeroes.
    pub fn new() -> Self {
        Self { bytes: vec![0; MEMORY_BYTES], latch: 0 }
    }

    /// The byte at `offset` of `plane`.
    pub fn byte(&self, plane: usize, offset: u16) -> u8 {
        self.bytes[4 * offset as usize + plane]
    }
    fn word(&self, offset: u16) -> u32 {
        let at = 4 * offset as usize;
        u32::from_le_bytes(std::array::from_fn(|plane| self.bytes[at + plane]))
    }

    /// Reads a byte at `address` bytes from A0000h. `None`: the window is not there.
    pub fn read(&mut self, r: &Registers, address: u64) -> Option<u8> {
        let at = window(r, address)?;
        let (mut plane, offset) = if r.sequencer[4] & 0x08 != 0 {
            ((at & 3) as usize, (at & 0xFFFC) as u16)
        } else if r.graphics[5] & 0x10 != 0 {
            ((r.graphics[4] & 2) as usize | (at & 1) as usize, (at & 0xFFFE) as u16)
        } else {
            ((r.graphics[4] & 3) as usize, at as u16)
        };
        plane &= 3;
        self.latch = self.word(offset);
        if r.graphics[5] & 0x08 == 0 {
            return Some((self.latch >> (8 * plane)) as u8);
        }
        // Read mode 1: which pixels have the colour to compare, in the planes that count.
        let different = (self.latch ^ spread(r.graphics[2])) & spread(r.graphics[7]);
        let bytes = different.to_le_bytes();
        Some(!(bytes[0] | bytes[1] | bytes[2] | bytes[3]))
    }

    /// Writes a byte at `address` bytes from A0000h. Returns whether memory changed.
    pub fn write(&mut self, r: &Registers, address: u64, value: u8) -> bool {
        let Some(at) = window(r, address) else { return false };
        let map = r.sequencer[2];
        let (planes, offset) = if r.sequencer[4] & 0x08 != 0 {
            (map & 1 << (at & 3), (at & 0xFFFC) as u16)
        } else if r.sequencer[4] & 0x04 == 0 {
            (map & if at & 1 == 0 { 0b0101 } else { 0b1010 }, (at & 0xFFFE) as u16)
        } else {
            (map, at as u16)
        };
        let data = self.combine(r, value);
        let mask = spread(planes);
        let old = self.word(offset);
        let new = old & !mask | data & mask;
        let base = 4 * offset as usize;
        self.bytes[base..base + 4].copy_from_slice(&new.to_le_bytes());
        new != old
    }

    /// The write modes: what goes to the four planes.
    fn combine(&self, r: &Registers, value: u8) -> u32 {
        let rotated = value.rotate_right((r.graphics[3] & 7) as u32);
        let set = spread(r.graphics[0]);
        match r.graphics[5] & 3 {
            0 => {
                let enable = spread(r.graphics[1]);
                let data = each(rotated) & !enable | set & enable;
                self.masked(r, data, r.graphics[8])
            }
            1 => self.latch,
            2 => self.masked(r, spread(value), r.graphics[8]),
            _ => self.masked(r, set, rotated & r.graphics[8]),
        }
    }

    fn masked(&self, r: &Registers, data: u32, bits: u8) -> u32 {
        let data = match r.graphics[3] >> 3 & 3 {
            0 => data,
            1 => data & self.latch,
            2 => data | self.latch,
            _ => data ^ self.latch,
        };
        let mask = each(bits);
        data & mask | self.latch & !mask
    }
}

impl Default for Planes {
    fn default() -> Self {
        Self::new()
    }
}

/// The address within the window that the graphics controller's register 6 opens.
fn window(r: &Registers, address: u64) -> Option<u32> {
    if r.misc & 2 == 0 {
        return None; // The processor's access is off.
    }
    let (base, bytes) = match r.graphics[6] >> 2 & 3 {
        0 => (0, 0x2_0000),
        1 => (0, 0x1_0000),
        2 => (0x1_0000, 0x8000),
        _ => (0x1_8000, 0x8000),
    };
    let at = address.checked_sub(base).filter(|&at| at < bytes)?;
    Some(at as u32 & 0xFFFF)
}

/// Bit `plane` of the low four bits, as all ones in that plane's byte.
fn spread(bits: u8) -> u32 {
    (0..4).fold(0, |word, plane| word | ((bits >> plane & 1) as u32 * 0xFF) << (8 * plane))
}

/// The same byte for each plane.
fn each(byte: u8) -> u32 {
    byte as u32 * 0x0101_0101
}
