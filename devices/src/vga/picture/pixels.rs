//! The VGA's graphics modes: what the shift registers make of the words that the CRT controller fetches.
//!
//! | graphics mode, bits 6:5 | a word of planes 3 to 0 is | modes |
//! |---|---|---|
//! | 0 | eight pixels, whose bit n comes from plane n | Dh to 12h; 6 |
//! | 1 | eight pixels of two bits each: four of planes 2 and 0, then four of planes 3 and 1 | 4, 5 |
//! | 2, 3 | four pixels of a byte each, two dots wide, plane 0 first | 13h |

use super::put;
use crate::display::{Damage, Surface};
use crate::vga::crtc::{Addressing, ScanLine};
use crate::vga::planes::Order;
use trimotor_bus::address::PAGE_SHIFT;

/// How words become pixels.
pub(super) struct How<'a> {
    pub shift: u8,
    pub colours: &'a [u32; 256],
    pub palette: [u32; 16],
    /// Each dot is two columns wide.
    pub double: bool,
}

/// The lines of a picture.
#[derive(Default)]
pub(super) struct Lines {
    lines: Vec<ScanLine>,
    addressing: Option<Addressing>,
    order: Order,
    /// Characters shown in a line, and one more for panning.
    characters: u32,
    /// Which pages of the planes each line comes from, a bit for each.
    pages: Vec<u64>,
}

impl Lines {
    /// `last` is the number of a line's last character.
    pub(super) fn new(lines: Vec<ScanLine>, addressing: Addressing, order: Order, last: u8) -> Self {
        let characters = u32::from(last) + 2;
        let pages_of = |line: &ScanLine| {
            let word = |c| addressing.word(addressing.counter(line, c), line.row_scan);
            let of = |word| order.bytes(word).map(|at| 1u64 << (at >> PAGE_SHIFT & 63));
            (0..characters).flat_map(|c| of(word(c))).fold(0, |pages, page| pages | page)
        };
        let pages = lines.iter().map(pages_of).collect();
        Self { lines, addressing: Some(addressing), order, characters, pages }
    }
    /// Draws the lines that have something of `pages`.
    pub(super) fn draw(
        &self,
        how: &How<'_>,
        copy: &[u8],
        pages: u64,
        surface: &mut Surface,
        damage: &mut Damage,
    ) {
        let Some(addressing) = self.addressing else { return };
        let width = if how.double { 16 } else { 8 };
        let mut pixels = vec![0; self.characters as usize * width];
        let mut before = None;
        for (y, (line, of)) in self.lines.iter().zip(&self.pages).enumerate() {
            if of & pages == 0 {
                continue;
            }
            // Lines that are shown twice are made once.
            let address = (line.address, addressing.word(line.address, line.row_scan));
            if before != Some(address) {
                for (c, eight) in pixels.chunks_exact_mut(width).enumerate() {
                    let word = addressing.word(addressing.counter(line, c as u32), line.row_scan);
                    how.make(self.order.word_in(copy, word), eight);
                }
                before = Some(address);
            }
            let panned = usize::from(line.panning) * (width / 8);
            put(surface, damage, 0, y, pixels.get(panned..).unwrap_or_default());
        }
    }
}

impl How<'_> {
    /// The columns of the screen for one word: 8, or 16.
    fn make(&self, word: [u8; 4], columns: &mut [u32]) {
        let pixel = |n: usize| match self.shift {
            0 => {
                let bit = |plane: usize| word[plane] >> (7 - n) & 1;
                self.palette[usize::from(bit(0) | bit(1) << 1 | bit(2) << 2 | bit(3) << 3)]
            }
            1 => {
                let pair = |plane: usize| word[plane] >> (6 - 2 * (n & 3)) & 3;
                let odd = n / 4;
                self.palette[usize::from(pair(odd) | pair(2 + odd) << 2)]
            }
            _ => self.colours[usize::from(word[n / 2])],
        };
        let each = columns.len() / 8;
        for (n, dot) in columns.chunks_exact_mut(each).enumerate() {
            dot.fill(pixel(n));
        }
    }
}
