//! The modes: how each is drawn to, and which rows of the [parameter table](super::parameters) it has.

use crate::bios::asm::Module;

/// How a mode's memory is drawn to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Characters with attributes.
    Text = 0,
    /// Four pixels a byte, even lines apart from odd ones.
    Cga4 = 1,
    /// Eight pixels a byte, likewise.
    Cga2 = 2,
    /// Eight pixels a byte in each of four planes.
    Planar = 3,
    /// A byte a pixel.
    Packed = 4,
    /// One byte to four a pixel, in banks of 64 KiB: VBE's modes.
    Banked = 5,
}

/// Which colours the DAC gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colours {
    /// Grey levels.
    Mono = 0,
    /// The sixteen of the CGA.
    Cga = 1,
    /// The 64 of the EGA.
    Ega = 2,
    /// 256.
    All = 3,
}

/// A mode.
pub struct Mode {
    /// Its number.
    pub number: u8,
    /// How it is drawn to.
    pub kind: Kind,
    /// Its colours.
    pub colours: Colours,
    /// The segment of its memory.
    pub segment: u16,
    /// Its row with 200, 350 and 400 lines.
    pub rows: [u8; 3],
    /// How many colours are shown at once, and how many pages there are.
    pub shows: (u16, u8),
}

const fn mode(
    number: u8,
    kind: Kind,
    colours: Colours,
    segment: u16,
    rows: [u8; 3],
    shows: (u16, u8),
) -> Mode {
    Mode { number, kind, colours, segment, rows, shows }
}

/// IBM's modes.
pub static MODES: [Mode; 15] = [
    mode(0x00, Kind::Text, Colours::Ega, 0xB800, [0x00, 0x13, 0x17], (16, 8)),
    mode(0x01, Kind::Text, Colours::Ega, 0xB800, [0x01, 0x14, 0x17], (16, 8)),
    mode(0x02, Kind::Text, Colours::Ega, 0xB800, [0x02, 0x15, 0x18], (16, 8)),
    mode(0x03, Kind::Text, Colours::Ega, 0xB800, [0x03, 0x16, 0x18], (16, 8)),
    mode(0x04, Kind::Cga4, Colours::Cga, 0xB800, [0x04; 3], (4, 1)),
    mode(0x05, Kind::Cga4, Colours::Cga, 0xB800, [0x05; 3], (4, 1)),
    mode(0x06, Kind::Cga2, Colours::Cga, 0xB800, [0x06; 3], (2, 1)),
    mode(0x07, Kind::Text, Colours::Mono, 0xB000, [0x07, 0x07, 0x19], (0, 8)),
    mode(0x0D, Kind::Planar, Colours::Cga, 0xA000, [0x0D; 3], (16, 8)),
    mode(0x0E, Kind::Planar, Colours::Cga, 0xA000, [0x0E; 3], (16, 4)),
    mode(0x0F, Kind::Planar, Colours::Mono, 0xA000, [0x11; 3], (0, 2)),
    mode(0x10, Kind::Planar, Colours::Ega, 0xA000, [0x12; 3], (16, 2)),
    mode(0x11, Kind::Planar, Colours::Ega, 0xA000, [0x1A; 3], (2, 1)),
    mode(0x12, Kind::Planar, Colours::Ega, 0xA000, [0x1B; 3], (16, 1)),
    mode(0x13, Kind::Packed, Colours::All, 0xA000, [0x1C; 3], (256, 1)),
];

/// Text modes of VBE: their numbers and rows. They pass for mode 3, with other columns and rows.
pub static VBE_TEXT: [(u16, u8); 5] =
    [(0x108, 0x1D), (0x109, 0x1E), (0x10A, 0x1F), (0x10B, 0x20), (0x10C, 0x21)];
/// The rows from which VBE's graphics modes start.
pub const PLANAR_ROW: u32 = 0x1B;
/// See [`PLANAR_ROW`].
pub const PACKED_ROW: u32 = 0x1C;

/// Offsets in an entry of the table in ROM: number, kind, colours, segment, the rows, colours and pages.
pub const KIND: u32 = 1;
/// See [`KIND`].
pub const COLOURS: u32 = 2;
/// See [`KIND`].
pub const SEGMENT: u32 = 3;
/// See [`KIND`].
pub const ROWS: u32 = 5;
/// See [`KIND`].
pub const SHOWN_COLOURS: u32 = 8;
/// See [`KIND`].
pub const PAGES: u32 = 10;
/// Bytes of an entry.
pub const ENTRY_BYTES: u32 = 11;

impl Mode {
    /// Its row of the [parameter table](super::parameters), with the most lines.
    pub fn row(&self) -> Vec<u8> {
        super::parameters::row(self.rows[2])
    }
    /// The entry.
    fn entry(&self) -> Vec<u8> {
        let [s0, s1] = self.segment.to_le_bytes();
        let [c0, c1] = self.shows.0.to_le_bytes();
        let [r0, r1, r2] = self.rows;
        vec![self.number, self.kind as u8, self.colours as u8, s0, s1, r0, r1, r2, c0, c1, self.shows.1]
    }
}

/// Adds the table to the data; its offset.
pub(super) fn table(a: &mut Module) -> u32 {
    let bytes: Vec<u8> = MODES.iter().flat_map(Mode::entry).collect();
    a.bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_their_length_and_modes_their_order() {
        assert!(MODES.iter().all(|mode| mode.entry().len() == ENTRY_BYTES as usize));
        assert!(MODES.windows(2).all(|pair| pair[0].number < pair[1].number));
    }
}
