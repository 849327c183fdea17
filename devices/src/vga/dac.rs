//! The DAC: 256 colours of three components, reached through ports 3C6h to 3C9h.
//!
//! | port | read | write |
//! |---|---|---|
//! | 3C6h | mask | mask: pixels are ANDed with it before the table is looked up |
//! | 3C7h | 3 while the table is being read, 0 while it is being written | index from which colours are read |
//! | 3C8h | index for writes | index from which colours are written |
//! | 3C9h | the next component | the next component: red, green, blue, and then those of the next colour |
//!
//! A component has six bits. With the DISPI register's bit it has eight; the table itself stays as it is then.

use serde::{Deserialize, Serialize};
use trimotor_bus::RestoreError;

/// Bytes of the table: 256 colours of three components.
pub const DAC_BYTES: usize = 768;

/// The DAC.
#[derive(Clone, Debug)]
pub struct Dac {
    mask: u8,
    reading: bool,
    read_at: usize,
    write_at: usize,
    /// Components that wait for the third.
    latch: [u8; 3],
    table: [u8; DAC_BYTES],
    eight_bits: bool,
}

/// The saved DAC.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DacStateV1 {
    mask: u8,
    reading: bool,
    read_at: usize,
    write_at: usize,
    latch: [u8; 3],
    table: Vec<u8>,
    eight_bits: bool,
}

impl Dac {
    /// With the 64 colours of text modes: six bits rgbRGB, of which the upper three are dim and the lower bright.
    pub fn text_colours() -> Self {
        let mut table = [0; DAC_BYTES];
        for (code, colour) in table.chunks_exact_mut(3).take(64).enumerate() {
            let component =
                |bright: u32, dim: u32| (code >> bright & 1) as u8 * 0x2A + (code >> dim & 1) as u8 * 0x15;
            colour.copy_from_slice(&[component(2, 5), component(1, 4), component(0, 3)]);
        }
        Self { mask: 0xFF, reading: false, read_at: 0, write_at: 0, latch: [0; 3], table, eight_bits: false }
    }

    /// Reads a port from 3C6h to 3C9h.
    pub fn read(&mut self, port: u16) -> u8 {
        match port {
            0x3C6 => self.mask,
            0x3C7 => 3 * self.reading as u8,
            0x3C8 => (self.write_at / 3) as u8,
            _ => {
                let value = self.table[self.read_at] & self.bits();
                self.read_at = (self.read_at + 1) % DAC_BYTES;
                value
            }
        }
    }
    /// Writes a port from 3C6h to 3C9h. Returns whether a colour may look different.
    pub fn write(&mut self, port: u16, value: u8) -> bool {
        match port {
            0x3C6 => return std::mem::replace(&mut self.mask, value) != value,
            0x3C7 => {
                self.reading = true;
                self.read_at = value as usize * 3;
            }
            0x3C8 => {
                self.reading = false;
                self.write_at = value as usize * 3;
            }
            _ => return self.write_component(value & self.bits()),
        }
        false
    }
    fn write_component(&mut self, value: u8) -> bool {
        let component = self.write_at % 3;
        self.latch[component] = value;
        let base = self.write_at - component;
        self.write_at = (self.write_at + 1) % DAC_BYTES;
        if component < 2 {
            return false;
        }
        // All three components change at once, with the third.
        let changed = self.table[base..base + 3] != self.latch;
        self.table[base..base + 3].copy_from_slice(&self.latch);
        changed
    }
    fn bits(&self) -> u8 {
        if self.eight_bits { 0xFF } else { 0x3F }
    }
    /// Gives components eight bits, or six.
    pub fn set_eight_bits(&mut self, eight_bits: bool) {
        self.eight_bits = eight_bits;
    }
    /// Whether components have eight bits.
    pub fn eight_bits(&self) -> bool {
        self.eight_bits
    }

    /// The colour of a pixel, eight bits a component.
    pub fn colour(&self, pixel: u8) -> [u8; 3] {
        let at = (pixel & self.mask) as usize * 3;
        std::array::from_fn(|i| {
            let value = self.table[at + i] & self.bits();
            if self.eight_bits { value } else { value << 2 | value >> 4 }
        })
    }
    /// The colour of each pixel, as 00RRGGBBh.
    pub fn colours(&self) -> [u32; 256] {
        std::array::from_fn(|pixel| rgb(self.colour(pixel as u8)))
    }

    /// The DAC now.
    pub fn save(&self) -> DacStateV1 {
        let Self { mask, reading, read_at, write_at, latch, table, eight_bits } = self.clone();
        DacStateV1 { mask, reading, read_at, write_at, latch, table: table.to_vec(), eight_bits }
    }
    /// A DAC from a saved state.
    ///
    /// # Errors
    /// A table of another length, or an index outside it.
    pub fn restored(state: DacStateV1) -> Result<Self, RestoreError> {
        let DacStateV1 { mask, reading, read_at, write_at, latch, table, eight_bits } = state;
        let refuse = |field, value: usize| RestoreError { part: "VGA", field, value: value.to_string() };
        for (field, at) in [("DAC read index", read_at), ("DAC write index", write_at)] {
            if at >= DAC_BYTES {
                return Err(refuse(field, at));
            }
        }
        let bytes = table.len();
        let table = table.try_into().map_err(|_| refuse("DAC table's bytes", bytes))?;
        Ok(Self { mask, reading, read_at, write_at, latch, table, eight_bits })
    }
}

/// 00RRGGBBh.
pub fn rgb(colour: [u8; 3]) -> u32 {
    colour.iter().fold(0, |all, component| all << 8 | u32::from(*component))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_of_eight_bits() {
        let mut dac = Dac::text_colours();
        let set = |dac: &mut Dac, values: [u8; 3]| {
            dac.write(0x3C8, 5);
            values.iter().filter(|value| dac.write(0x3C9, **value)).count()
        };
        assert_eq!(set(&mut dac, [0xFF, 0x40, 1]), 1);
        assert_eq!(dac.colour(5), [0xFF, 0, 4]);
        dac.set_eight_bits(true);
        assert_eq!(dac.colour(5), [0x3F, 0, 1], "the table stays");
        set(&mut dac, [0xFF, 0x40, 1]);
        assert_eq!(dac.colour(5), [0xFF, 0x40, 1]);
        dac.write(0x3C7, 5);
        assert_eq!([0; 4].map(|_: u8| dac.read(0x3C9)), [0xFF, 0x40, 1, 0x2A]);
        dac.set_eight_bits(false);
        dac.write(0x3C7, 5);
        assert_eq!([0; 3].map(|_: u8| dac.read(0x3C9)), [0x3F, 0, 1]);
        assert_eq!([dac.read(0x3C7), dac.read(0x3C8)], [3, 6]);
    }
}
