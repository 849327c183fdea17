//! The video parameter table: 64 bytes of registers for each mode, in IBM's order and layout, and the table of pointers that
//! the BDA leads to.
//!
//! Modes 0 to 3 are there three times, with 200, 350 and 400 lines, mode 7 twice. Rows behind IBM's 29 are our own: text modes of
//! VBE. The rows of an EGA's modes with 64 KiB of memory have the registers of those with more.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem", "BIOS mode register values"; IBM PS/2 and PC BIOS
//! Interface Technical Reference, "Video Parameter Table", "SAVE_PTR Table".

use crate::bios::asm::Module;
use crate::bios::layout::VIDEO_SEGMENT;

/// Bytes of a row.
pub const ROW_BYTES: u32 = 64;
/// Offsets in a row.
pub const COLUMNS: u32 = 0;
/// Rows of characters less one.
pub const ROWS: u32 = 1;
/// Lines of a character.
pub const LINES: u32 = 2;
/// Bytes of a page, a word.
pub const PAGE_BYTES: u32 = 3;
/// Sequencer registers 1 to 4.
pub const SEQUENCER: u32 = 5;
/// Miscellaneous output.
pub const MISCELLANEOUS: u32 = 9;
/// CRT controller registers 0 to 18h.
pub const CRTC: u32 = 10;
/// Attribute controller registers 0 to 13h.
pub const ATTRIBUTE: u32 = 35;
/// Graphics controller registers 0 to 8.
pub const GRAPHICS: u32 = 55;

/// A row, as groups of registers that modes share.
struct Row {
    /// Columns, rows less one, lines of a character, bytes of a page.
    shape: (u8, u8, u8, u16),
    /// Sequencer registers 1 to 4, miscellaneous output.
    sequencer: [u8; 5],
    /// CRT controller: the horizontal registers 0 to 5.
    horizontal: [u8; 6],
    /// Registers 6 to 0Bh, 10h and 11h; those between are zero.
    vertical: [u8; 8],
    /// Registers 12h to 18h.
    end: [u8; 7],
    attribute: [u8; 20],
    /// Graphics controller, registers 5 to 8.
    graphics: [u8; 4],
}

const TEXT_COLOURS: [u8; 20] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x0C,
    0x00, 0x0F, 0x08,
];
/// Characters of eight columns.
const TEXT_8: [u8; 20] = with_mode(TEXT_COLOURS, [0x08, 0x00, 0x0F, 0x00]);
const EGA_COLOURS: [u8; 20] = with_mode(TEXT_COLOURS, [0x01, 0x00, 0x0F, 0x00]);
const LOW_COLOURS: [u8; 20] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x01,
    0x00, 0x0F, 0x00,
];
const TEXT_LOW: [u8; 20] = with_mode(LOW_COLOURS, [0x08, 0x00, 0x0F, 0x00]);
const CGA_COLOURS: [u8; 20] = [
    0x00, 0x13, 0x15, 0x17, 0x02, 0x04, 0x06, 0x07, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x01,
    0x00, 0x03, 0x00,
];
const CGA_TWO: [u8; 20] = with_mode([0x17; 20], [0x01, 0x00, 0x01, 0x00]);
const MONO_TEXT: [u8; 20] = [
    0x00, 0x08, 0x08, 0x08, 0x08, 0x08, 0x08, 0x08, 0x10, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18, 0x0E,
    0x00, 0x0F, 0x08,
];
const MONO_GRAPHICS: [u8; 20] = [
    0x00, 0x08, 0x00, 0x00, 0x18, 0x18, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x18, 0x00, 0x00, 0x0B,
    0x00, 0x05, 0x00,
];
const TWO: [u8; 20] = with_mode([0x3F; 20], [0x01, 0x00, 0x0F, 0x00]);
const PACKED: [u8; 20] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x41,
    0x00, 0x0F, 0x00,
];

/// The palette of one row with the four registers behind it; black stays black.
const fn with_mode(mut row: [u8; 20], mode: [u8; 4]) -> [u8; 20] {
    let mut at = 0;
    while at < 4 {
        row[16 + at] = mode[at];
        at += 1;
    }
    row[0] = 0;
    row
}

const H_TEXT_80: [u8; 6] = [0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81];
const H_TEXT_40: [u8; 6] = [0x2D, 0x27, 0x28, 0x90, 0x2B, 0xA0];
/// 132 of 160 columns; synchronization from column 138 to 150.
const H_TEXT_132: [u8; 6] = [0x9B, 0x83, 0x84, 0x9F, 0x8A, 0x16];
const H_80: [u8; 6] = [0x5F, 0x4F, 0x50, 0x82, 0x54, 0x80];
const H_40: [u8; 6] = [0x2D, 0x27, 0x28, 0x90, 0x2B, 0x80];
/// Registers 6 to 0Bh, then 10h and 11h.
const V_TEXT_200: [u8; 8] = [0xBF, 0x1F, 0x00, 0xC7, 0x06, 0x07, 0x9C, 0x8E];
const V_TEXT_350: [u8; 8] = [0xBF, 0x1F, 0x00, 0x4D, 0x0B, 0x0C, 0x83, 0x85];
const V_TEXT: [u8; 8] = [0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0x9C, 0x8E];
const V_TEXT_8: [u8; 8] = [0xBF, 0x1F, 0x00, 0x47, 0x06, 0x07, 0x9C, 0x8E];
const V_TEXT_344: [u8; 8] = [0xBF, 0x1F, 0x00, 0x47, 0x06, 0x07, 0x83, 0x85];
const V_TEXT_480: [u8; 8] = [0x0B, 0x3E, 0x00, 0x47, 0x06, 0x07, 0xEA, 0x8C];
const V_CGA: [u8; 8] = [0xBF, 0x1F, 0x00, 0xC1, 0, 0, 0x9C, 0x8E];
const V_DOUBLED: [u8; 8] = [0xBF, 0x1F, 0x00, 0xC0, 0, 0, 0x9C, 0x8E];
const V_PACKED: [u8; 8] = [0xBF, 0x1F, 0x00, 0x41, 0, 0, 0x9C, 0x8E];
const V_350: [u8; 8] = [0xBF, 0x1F, 0x00, 0x40, 0, 0, 0x83, 0x85];
const V_480: [u8; 8] = [0x0B, 0x3E, 0x00, 0x40, 0, 0, 0xEA, 0x8C];
const E_TEXT_40: [u8; 7] = [0x8F, 0x14, 0x1F, 0x96, 0xB9, 0xA3, 0xFF];
const E_TEXT_80: [u8; 7] = [0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF];
const E_TEXT_40_350: [u8; 7] = [0x5D, 0x14, 0x1F, 0x63, 0xBA, 0xA3, 0xFF];
const E_TEXT_80_350: [u8; 7] = [0x5D, 0x28, 0x1F, 0x63, 0xBA, 0xA3, 0xFF];
const E_CGA: [u8; 7] = [0x8F, 0x14, 0x00, 0x96, 0xB9, 0xA2, 0xFF];
const E_MONO: [u8; 7] = [0x5D, 0x28, 0x0F, 0x63, 0xBA, 0xE3, 0xFF];
const E_480: [u8; 7] = [0xDF, 0x28, 0x00, 0xE7, 0x04, 0xE3, 0xFF];
const G_TEXT: [u8; 4] = [0x10, 0x0E, 0x00, 0xFF];
const G_MONO: [u8; 4] = [0x10, 0x0A, 0x00, 0xFF];
const G_CGA: [u8; 4] = [0x30, 0x0F, 0x00, 0xFF];
const G_PLANAR: [u8; 4] = [0x00, 0x05, 0x0F, 0xFF];

macro_rules! row {
    ($shape:expr, $sequencer:expr, $horizontal:expr, $vertical:expr, $end:expr, $attribute:expr, $graphics:expr) => {
        Some(Row {
            shape: $shape,
            sequencer: $sequencer,
            horizontal: $horizontal,
            vertical: $vertical,
            end: $end,
            attribute: $attribute,
            graphics: $graphics,
        })
    };
}

/// Rows by their numbers; none: IBM has nothing there.
#[rustfmt::skip]
static ROW_TABLE: [Option<Row>; ROW_COUNT] = [
    // 0 to 3: modes 0 to 3 with 200 lines.
    row!((40, 24, 8, 0x0800), [0x09, 3, 0, 2, 0x63], H_TEXT_40, V_TEXT_200, E_TEXT_40, TEXT_LOW, G_TEXT),
    row!((40, 24, 8, 0x0800), [0x09, 3, 0, 2, 0x63], H_TEXT_40, V_TEXT_200, E_TEXT_40, TEXT_LOW, G_TEXT),
    row!((80, 24, 8, 0x1000), [0x01, 3, 0, 2, 0x63], H_TEXT_80, V_TEXT_200, E_TEXT_80, TEXT_LOW, G_TEXT),
    row!((80, 24, 8, 0x1000), [0x01, 3, 0, 2, 0x63], H_TEXT_80, V_TEXT_200, E_TEXT_80, TEXT_LOW, G_TEXT),
    // 4 to 7: modes 4 to 6, mode 7 with 350 lines.
    row!((40, 24, 8, 0x4000), [0x09, 3, 0, 2, 0x63], H_40, V_CGA, E_CGA, CGA_COLOURS, G_CGA),
    row!((40, 24, 8, 0x4000), [0x09, 3, 0, 2, 0x63], H_40, V_CGA, E_CGA, CGA_COLOURS, G_CGA),
    row!((80, 24, 8, 0x4000), [0x01, 1, 0, 6, 0x63], H_80, V_CGA, [0x8F, 0x28, 0x00, 0x96, 0xB9, 0xC2, 0xFF], CGA_TWO, [0x00, 0x0D, 0x00, 0xFF]),
    row!((80, 24, 14, 0x1000), [0x00, 3, 0, 2, 0xA6], H_TEXT_80, V_TEXT_350, [0x5D, 0x28, 0x0D, 0x63, 0xBA, 0xA3, 0xFF], MONO_TEXT, G_MONO),
    None,
    None,
    None,
    None,
    None,
    // 0Dh and 0Eh: these modes.
    row!((40, 24, 8, 0x2000), [0x09, 15, 0, 6, 0x63], H_40, V_DOUBLED, [0x8F, 0x14, 0x00, 0x96, 0xB9, 0xE3, 0xFF], LOW_COLOURS, G_PLANAR),
    row!((80, 24, 8, 0x4000), [0x01, 15, 0, 6, 0x63], H_80, V_DOUBLED, [0x8F, 0x28, 0x00, 0x96, 0xB9, 0xE3, 0xFF], LOW_COLOURS, G_PLANAR),
    // 0Fh to 12h: modes 0Fh and 10h twice.
    row!((80, 24, 14, 0x8000), [0x01, 15, 0, 6, 0xA2], H_80, V_350, E_MONO, MONO_GRAPHICS, [0x00, 0x05, 0x05, 0xFF]),
    row!((80, 24, 14, 0x8000), [0x01, 15, 0, 6, 0xA3], H_80, V_350, E_MONO, EGA_COLOURS, G_PLANAR),
    row!((80, 24, 14, 0x8000), [0x01, 15, 0, 6, 0xA2], H_80, V_350, E_MONO, MONO_GRAPHICS, [0x00, 0x05, 0x05, 0xFF]),
    row!((80, 24, 14, 0x8000), [0x01, 15, 0, 6, 0xA3], H_80, V_350, E_MONO, EGA_COLOURS, G_PLANAR),
    // 13h to 16h: modes 0 to 3 with 350 lines.
    row!((40, 24, 14, 0x0800), [0x09, 3, 0, 2, 0xA3], H_TEXT_40, V_TEXT_350, E_TEXT_40_350, TEXT_8, G_TEXT),
    row!((40, 24, 14, 0x0800), [0x09, 3, 0, 2, 0xA3], H_TEXT_40, V_TEXT_350, E_TEXT_40_350, TEXT_8, G_TEXT),
    row!((80, 24, 14, 0x1000), [0x01, 3, 0, 2, 0xA3], H_TEXT_80, V_TEXT_350, E_TEXT_80_350, TEXT_8, G_TEXT),
    row!((80, 24, 14, 0x1000), [0x01, 3, 0, 2, 0xA3], H_TEXT_80, V_TEXT_350, E_TEXT_80_350, TEXT_8, G_TEXT),
    // 17h to 19h: modes 0 and 1, 2 and 3, 7 with 400 lines.
    row!((40, 24, 16, 0x0800), [0x08, 3, 0, 2, 0x67], H_TEXT_40, V_TEXT, E_TEXT_40, TEXT_COLOURS, G_TEXT),
    row!((80, 24, 16, 0x1000), [0x00, 3, 0, 2, 0x67], H_TEXT_80, V_TEXT, E_TEXT_80, TEXT_COLOURS, G_TEXT),
    row!((80, 24, 16, 0x1000), [0x00, 3, 0, 2, 0x66], H_TEXT_80, V_TEXT, [0x8F, 0x28, 0x0F, 0x96, 0xB9, 0xA3, 0xFF], MONO_TEXT, G_MONO),
    // 1Ah to 1Ch: modes 11h to 13h.
    row!((80, 29, 16, 0xA000), [0x01, 15, 0, 6, 0xE3], H_80, V_480, E_480, TWO, [0x00, 0x05, 0x01, 0xFF]),
    row!((80, 29, 16, 0xA000), [0x01, 15, 0, 6, 0xE3], H_80, V_480, E_480, EGA_COLOURS, G_PLANAR),
    row!((40, 24, 8, 0x2000), [0x01, 15, 0, 14, 0x63], H_80, V_PACKED, [0x8F, 0x28, 0x40, 0x96, 0xB9, 0xA3, 0xFF], PACKED, [0x40, 0x05, 0x0F, 0xFF]),
    // 1Dh to 21h: VBE's 108h to 10Ch.
    row!((80, 59, 8, 0x2800), [0x01, 3, 0, 2, 0xE3], H_TEXT_80, V_TEXT_480, [0xDF, 0x28, 0x1F, 0xE7, 0x04, 0xA3, 0xFF], TEXT_8, G_TEXT),
    row!((132, 24, 16, 0x2000), [0x01, 3, 0, 2, 0x67], H_TEXT_132, V_TEXT, [0x8F, 0x42, 0x1F, 0x96, 0xB9, 0xA3, 0xFF], TEXT_8, G_TEXT),
    row!((132, 42, 8, 0x3000), [0x01, 3, 0, 2, 0xA7], H_TEXT_132, V_TEXT_344, [0x57, 0x42, 0x1F, 0x63, 0xBA, 0xA3, 0xFF], TEXT_8, G_TEXT),
    row!((132, 49, 8, 0x3800), [0x01, 3, 0, 2, 0x67], H_TEXT_132, V_TEXT_8, [0x8F, 0x42, 0x1F, 0x96, 0xB9, 0xA3, 0xFF], TEXT_8, G_TEXT),
    row!((132, 59, 8, 0x4000), [0x01, 3, 0, 2, 0xE7], H_TEXT_132, V_TEXT_480, [0xDF, 0x42, 0x1F, 0xE7, 0x04, 0xA3, 0xFF], TEXT_8, G_TEXT),
];
const ROW_COUNT: usize = 34;

impl Row {
    fn bytes(&self) -> Vec<u8> {
        let (columns, rows, lines, page) = self.shape;
        let mut row = vec![columns, rows, lines];
        row.extend(page.to_le_bytes());
        row.extend(self.sequencer);
        row.extend(self.horizontal);
        row.extend(&self.vertical[..6]);
        // Start address and cursor.
        row.extend([0; 4]);
        row.extend(&self.vertical[6..8]);
        row.extend(self.end);
        row.extend(self.attribute);
        row.extend([0; 5]);
        row.extend(self.graphics);
        row
    }
}

/// The bytes of a row; zeros where there is none.
pub fn row(number: u8) -> Vec<u8> {
    let row = ROW_TABLE.get(usize::from(number)).and_then(Option::as_ref);
    row.map_or_else(|| vec![0; ROW_BYTES as usize], Row::bytes)
}

/// Adds the table to the data; its offset.
pub(super) fn table(a: &mut Module) -> u32 {
    let bytes: Vec<u8> = (0..ROW_COUNT as u8).flat_map(row).collect();
    a.bytes(&bytes)
}

/// Adds the tables that [`bda::VIDEO_POINTERS`](crate::bios::layout::bda::VIDEO_POINTERS) leads to; the offset of the first.
pub(super) fn pointers(a: &mut Module, table: u32) -> u32 {
    let far = |offset: u32| (u32::from(VIDEO_SEGMENT) << 16 | offset).to_le_bytes();
    // Entries, version, highest code; pairs of displays that may be there at once: none, or a VGA with either monitor.
    let displays = a.bytes(&[4, 1, 8, 0, 0, 0, 0, 7, 0, 8, 7, 8]);
    // Length; displays; a second font, a user's palette, and three reserved pointers: none.
    let mut second = vec![0x1A, 0];
    second.extend(far(displays));
    second.resize(0x1A, 0);
    let second = a.bytes(&second);
    // Parameters; dynamic save area, fonts of text and of graphics modes: none; the second table; two reserved.
    let mut first = Vec::from(far(table));
    first.extend([0; 12]);
    first.extend(far(second));
    first.extend([0; 8]);
    a.bytes(&first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_their_length() {
        assert!(ROW_TABLE.iter().flatten().all(|row| row.bytes().len() == ROW_BYTES as usize));
    }
}
