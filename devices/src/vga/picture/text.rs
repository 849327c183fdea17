//! Text: cells of characters, by the fonts in plane 2.
//!
//! A font has 32 bytes for each character, a line each. Eight fonts fit; the sequencer's character map register says
//! which of them characters with attribute bit 3 come from, and which those without. The ninth dot of a cell repeats
//! the eighth for codes C0h to DFh, where the attribute controller's bit says so, and else has the background's colour.

use super::Look;
use crate::display::{Damage, Rect, Surface};
use crate::vga::crtc::{Addressing, ScanLine, scan_lines};
use crate::vga::planes::Order;
use crate::vga::registers::*;
use crate::vga::timing;

/// Frames for which the cursor is shown, and then is not.
const CURSOR_FRAMES: u64 = 8;
/// The same for blinking characters.
const BLINK_FRAMES: u64 = 16;
/// Bytes of a character in plane 2, whatever the height of a cell.
const FONT_BYTES: usize = 32;

/// What of what blinks is shown now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Phase {
    cursor: bool,
    characters: bool,
}

impl Phase {
    pub(super) fn at(r: &Registers, now: trimotor_bus::GuestTime) -> Self {
        let frames = timing::frames(r, now);
        let seen = |period: u64| (frames / period).is_multiple_of(2);
        Self { cursor: seen(CURSOR_FRAMES), characters: seen(BLINK_FRAMES) }
    }
}

/// What a cell shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    character: u8,
    attribute: u8,
    /// First and last line of the cursor.
    cursor: Option<(u8, u8)>,
    /// It blinks, and its character is not to be seen now.
    dark: bool,
}

/// Lines of the screen that belong to one row of characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    first_line: usize,
    lines: usize,
    address: u32,
}

/// The cells that were drawn.
#[derive(Default)]
pub(super) struct Cells {
    cells: Vec<Cell>,
    lines: Vec<ScanLine>,
    phase: Option<Phase>,
    has_cursor: bool,
    has_blinking: bool,
}

impl Cells {
    /// Whether something looks different in this phase from what was drawn.
    pub(super) fn phase_matters(&self, phase: Phase) -> bool {
        self.phase.is_some_and(|drawn| {
            self.has_cursor && drawn.cursor != phase.cursor
                || self.has_blinking && drawn.characters != phase.characters
        })
    }

    /// Draws the cells that changed, or all.
    #[allow(clippy::too_many_arguments, reason = "all that a picture of text depends on")]
    pub(super) fn draw(
        &mut self,
        r: &Registers,
        look: &Look,
        copy: &[u8],
        phase: Phase,
        surface: &mut Surface,
        damage: &mut Damage,
        all: bool,
    ) {
        let lines = scan_lines(r);
        let rows = rows(&lines);
        // Panning shows a part of one cell more.
        let columns = r.crtc[1] as usize + 2;
        let same =
            |new: &ScanLine, old: &ScanLine| (new.row_scan, new.panning) == (old.row_scan, old.panning);
        let all = all
            || self.cells.len() != columns * rows.len()
            || !lines.iter().zip(&self.lines).all(|(new, old)| same(new, old));
        self.lines = lines;
        self.phase = Some(phase);
        (self.has_cursor, self.has_blinking) = (false, false);
        if self.cells.len() != columns * rows.len() {
            let none = Cell { character: 0, attribute: 0, cursor: None, dark: false };
            self.cells = vec![none; columns * rows.len()];
        }
        let paint = Paint::new(r, look, copy);
        let (addressing, order, cursor) = (Addressing::of(r), Order::of(r, false), Cursor::of(r));
        let blinks = r.attribute[0x10] & 8 != 0;
        for (n, row) in rows.iter().enumerate() {
            for column in 0..columns {
                let counter = row.address.wrapping_add(column as u32);
                let [at, _] = order.bytes(addressing.word(counter, 0)).map(|at| at as usize);
                let attribute = copy.get(at + 1).copied().unwrap_or(0);
                let blinking = blinks && attribute & 0x80 != 0;
                let under_cursor = cursor.at(counter);
                self.has_blinking |= blinking;
                self.has_cursor |= under_cursor.is_some();
                let cell = Cell {
                    character: copy.get(at).copied().unwrap_or(0),
                    attribute,
                    cursor: under_cursor.filter(|_| phase.cursor),
                    dark: blinking && !phase.characters,
                };
                let drawn = &mut self.cells[n * columns + column];
                if all || *drawn != cell {
                    *drawn = cell;
                    let lines = &self.lines[row.first_line..row.first_line + row.lines];
                    paint.cell(&cell, column, row.first_line, lines, surface, damage);
                }
            }
        }
    }
}

/// The rows of characters that lines belong to.
fn rows(lines: &[ScanLine]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        match rows.last_mut() {
            // A split to the same address begins a new row too: there the row scan counter goes back.
            Some(row) if row.address == line.address && line.row_scan >= lines[n - 1].row_scan => {
                row.lines += 1
            }
            _ => rows.push(Row { first_line: n, lines: 1, address: line.address }),
        }
    }
    rows
}

/// The cursor, where it is shown.
struct Cursor {
    address: u16,
    lines: Option<(u8, u8)>,
}

impl Cursor {
    fn of(r: &Registers) -> Self {
        let (start, end) = (r.crtc[CRTC_CURSOR_START], r.crtc[CRTC_CURSOR_END]);
        let (first, last, skew) = (start & 0x1F, end & 0x1F, end >> 5 & 3);
        let shown = start & 0x20 == 0 && first <= last;
        let address = r.crtc_pair(CRTC_CURSOR_LOCATION).wrapping_add(skew.into());
        Self { address, lines: shown.then_some((first, last)) }
    }
    fn at(&self, counter: u32) -> Option<(u8, u8)> {
        self.lines.filter(|_| counter as u16 == self.address)
    }
}

/// How cells are painted.
struct Paint<'a> {
    copy: &'a [u8],
    order: Order,
    palette: [u32; 16],
    /// Where the fonts begin in plane 2: of characters without attribute bit 3, and with it.
    fonts: [usize; 2],
    dots: usize,
    double: usize,
    repeats_eighth: bool,
    background_bits: u8,
    underline: u8,
}

impl<'a> Paint<'a> {
    fn new(r: &Registers, look: &Look, copy: &'a [u8]) -> Self {
        let map = r.sequencer[3];
        let font = |low: u8, high: u8| usize::from(low & 3) * 0x4000 + usize::from(high & 1) * 0x2000;
        Self {
            copy,
            order: Order::of(r, false),
            palette: std::array::from_fn(|code| look.colours[r.palette(code as u8) as usize]),
            fonts: [font(map, map >> 4), font(map >> 2, map >> 5)],
            dots: r.dots(),
            double: if r.half_clock() { 2 } else { 1 },
            repeats_eighth: r.attribute[0x10] & 4 != 0,
            background_bits: if r.attribute[0x10] & 8 != 0 { 7 } else { 15 },
            underline: r.crtc[0x14] & 0x1F,
        }
    }
    /// A character's dots in a line: bit 8 is the first.
    fn bits(&self, cell: &Cell, row_scan: u8) -> u16 {
        let (first, last) = cell.cursor.unwrap_or((1, 0));
        // Blue on black, as the attribute says, is underlined on black-and-white monitors.
        let underlined = row_scan == self.underline && cell.attribute & 0x77 == 1;
        if (first..=last).contains(&row_scan) || underlined && !cell.dark {
            return 0x1FF;
        }
        if cell.dark {
            return 0;
        }
        let font = self.fonts[usize::from(cell.attribute >> 3 & 1)];
        let offset = (font + usize::from(cell.character) * FONT_BYTES + usize::from(row_scan)) as u16;
        let [_, at] = self.order.bytes(self.order.word_at(offset)).map(|at| at as usize);
        let bits = u16::from(self.copy.get(at).copied().unwrap_or(0)) << 1;
        let ninth = self.repeats_eighth && (0xC0..=0xDF).contains(&cell.character);
        if ninth { bits | bits >> 1 & 1 } else { bits }
    }
    fn cell(
        &self,
        cell: &Cell,
        column: usize,
        first_line: usize,
        lines: &[ScanLine],
        surface: &mut Surface,
        damage: &mut Damage,
    ) {
        let foreground = self.palette[usize::from(cell.attribute & 15)];
        let background = self.palette[usize::from(cell.attribute >> 4 & self.background_bits)];
        let width = self.dots * self.double;
        let mut changed = Rect::default();
        for (n, line) in lines.iter().enumerate() {
            let bits = self.bits(cell, line.row_scan);
            let panned = usize::from(line.panning) * self.double;
            let left = column * width;
            let hidden = panned.saturating_sub(left).min(width);
            let (x, y) = (left.saturating_sub(panned), first_line + n);
            let pixels = surface.line_mut(y).get_mut(x..).unwrap_or_default();
            for (at, pixel) in (hidden..width).zip(pixels.iter_mut()) {
                *pixel = if bits & 0x100 >> (at / self.double) != 0 { foreground } else { background };
            }
            changed = changed.union(&Rect { x, y, width: width - hidden, height: 1 });
        }
        damage.add(changed.intersection(&surface.whole()));
    }
}
