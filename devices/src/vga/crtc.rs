//! What the CRT controller does while it scans a picture: the address of each line, and the way from its address
//! counter to the planes (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem", CRT controller).

use super::planes::Order;
use super::registers::*;

/// The lines of a picture, from top to bottom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanLine {
    /// The address counter at the first character.
    pub address: u32,
    /// The row scan counter: which line of a character.
    pub row_scan: u8,
    /// Dots by which the picture is moved to the left.
    pub panning: u8,
}

/// Lines that the screen shows.
pub fn lines_shown(r: &Registers) -> usize {
    let lines = r.crtc_vertical(0x12, 1, 6) as usize + 1;
    // With the vertical counter at half its clock all vertical values count double.
    if r.crtc[0x17] & 0x04 != 0 { 2 * lines } else { lines }
}
/// The line behind which the picture goes on at address 0.
fn line_compare(r: &Registers) -> usize {
    let line =
        r.crtc_vertical(0x18, 4, 10) as usize | (r.crtc[CRTC_MAXIMUM_SCAN_LINE] as usize >> 6 & 1) << 9;
    if r.crtc[0x17] & 0x04 != 0 { 2 * line + 1 } else { line }
}

/// All lines of the picture.
pub fn scan_lines(r: &Registers) -> Vec<ScanLine> {
    let last_row_scan = r.crtc[CRTC_MAXIMUM_SCAN_LINE] & 0x1F;
    let double = r.crtc[CRTC_MAXIMUM_SCAN_LINE] & 0x80 != 0;
    let offset = u32::from(r.crtc[0x13]) * 2;
    let compare = line_compare(r);
    let byte_panning = u32::from(r.crtc[8] >> 5 & 3);
    let mut line = ScanLine {
        address: u32::from(r.crtc_pair(CRTC_START_ADDRESS)) + byte_panning,
        row_scan: r.crtc[8] & 0x1F,
        panning: panning(r),
    };
    let mut second = false;
    let mut lines = Vec::with_capacity(lines_shown(r));
    for number in 0..lines_shown(r) {
        lines.push(line);
        if number == compare {
            let panning = if r.attribute[0x10] & 0x20 != 0 { 0 } else { line.panning };
            line = ScanLine { address: 0, row_scan: 0, panning };
            second = false;
            continue;
        }
        if double && !second {
            second = true;
            continue;
        }
        second = false;
        if line.row_scan == last_row_scan {
            line.row_scan = 0;
            line.address = line.address.wrapping_add(offset);
        } else {
            line.row_scan = (line.row_scan + 1) & 0x1F;
        }
    }
    lines
}

/// Dots by which the attribute controller moves the picture to the left.
fn panning(r: &Registers) -> u8 {
    let value = r.attribute[0x13] & 0xF;
    match value {
        // With nine dots a character, 8 is no movement and 0 is one dot.
        _ if !r.is_graphics() && r.dots() == 9 => {
            if value >= 8 {
                0
            } else {
                value + 1
            }
        }
        8.. => 0,
        value => value,
    }
}

/// The way from the address counter to the planes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addressing {
    /// `log2` of the characters for which the counter stands still.
    divider: u8,
    mode: u8,
    underline: u8,
    order: Order,
}

impl Addressing {
    /// As the registers say.
    pub fn of(r: &Registers) -> Self {
        let (mode, underline) = (r.crtc[0x17], r.crtc[0x14]);
        let divider = if underline & 0x20 != 0 { 2 } else { mode >> 3 & 1 };
        Self { divider, mode, underline, order: Order::of(r, false) }
    }
    /// The counter at a character of a line.
    pub fn counter(&self, line: &ScanLine, character: u32) -> u32 {
        line.address.wrapping_add(character >> self.divider)
    }
    /// The word of the frame buffer for a value of the counter, in a line of characters.
    pub fn word(&self, counter: u32, row_scan: u8) -> u32 {
        let counter = counter as u16;
        let mut offset = if self.underline & 0x40 != 0 {
            // Doublewords: the upper bits come in at the bottom.
            counter << 2 | counter >> 12 & 3
        } else if self.mode & 0x40 != 0 {
            counter
        } else if self.mode & 0x20 != 0 {
            counter.rotate_left(1)
        } else {
            counter << 1 | counter >> 13 & 1
        };
        // The CGA's and the Hercules adapter's lines are in banks, which the row scan counter selects.
        for (bit, substitute) in [(13, self.mode & 1 == 0), (14, self.mode & 2 == 0)] {
            if substitute {
                offset = offset & !(1 << bit) | u16::from(row_scan >> (bit - 13) & 1) << bit;
            }
        }
        self.order.word_at(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_rows_split_and_preset_row_scan() {
        let mut r = Registers::text_mode(TextMode::Rows25);
        r.crtc[0x0D] = 80;
        r.crtc[8] = 0x20 | 3; // One byte, three lines.
        // Line compare 99.
        r.crtc[0x18] = 99;
        r.crtc[7] &= !0x10;
        r.crtc[9] &= !0x40;
        r.attribute[0x13] = 2;
        r.attribute[0x10] |= 0x20;
        let lines = scan_lines(&r);
        let at = |n: usize| (lines[n].address, lines[n].row_scan, lines[n].panning);
        assert_eq!(lines.len(), 400);
        assert_eq!([at(0), at(12), at(13), at(99)], [(81, 3, 3), (81, 15, 3), (161, 0, 3), (561, 6, 3)]);
        assert_eq!([at(100), at(115), at(116)], [(0, 0, 0), (0, 15, 0), (80, 0, 0)]);
        r.crtc[9] |= 0x80;
        let lines = scan_lines(&r);
        assert_eq!((lines[25].row_scan, lines[26].row_scan, lines[26].address), (15, 0, 161));
    }

    #[test]
    fn addresses_in_words_doublewords_and_banks() {
        let mut r = Registers::text_mode(TextMode::Rows25);
        assert_eq!(Addressing::of(&r).word(5, 1), 10);
        r.crtc[0x17] = 0xA2; // Words, bit 13 from the row scan counter.
        assert_eq!([0, 1].map(|scan| Addressing::of(&r).word(5, scan)), [10, 0x200A]);
        r.crtc[0x17] = 0xE0; // Bytes, both bits.
        assert_eq!([1, 2, 3].map(|scan| Addressing::of(&r).word(5, scan)), [0x2005, 0x4005, 0x6005]);
        r.crtc[0x17] = 0xA3;
        r.crtc[0x14] = 0x40;
        assert_eq!(Addressing::of(&r).word(0x1005, 0), 0x4015);
        r.sequencer[4] |= 8;
        assert_eq!(Addressing::of(&r).word(0x1005, 0), 0x1005, "chain 4: in the frame buffer's order");
        r.crtc[0x14] = 0x20;
        let line = ScanLine { address: 7, row_scan: 0, panning: 0 };
        assert_eq!(Addressing::of(&r).counter(&line, 9), 9);
    }
}
