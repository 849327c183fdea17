//! The text screen as a picture of cells: what a terminal or a test looks at.

use super::cp437;
use super::crtc::Addressing;
use super::planes::{Order, Planes};
use super::registers::*;

/// One cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TextCell {
    /// The character, a code of page 437.
    pub character: u8,
    /// Bits 0 to 3 foreground, 4 to 7 background (or 7 blink).
    pub attribute: u8,
}

/// The cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextCursor {
    /// Column, from 0.
    pub column: usize,
    /// Row, from 0.
    pub row: usize,
    /// First line of the cell that it covers.
    pub first_line: u8,
    /// Last line of the cell that it covers.
    pub last_line: u8,
}

/// What the screen shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextScreen {
    /// Cells in a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// Lines in a cell.
    pub cell_lines: u8,
    /// Row after row.
    pub cells: Vec<TextCell>,
    /// The cursor, where it is shown and on the screen.
    pub cursor: Option<TextCursor>,
    /// Attribute bit 7 makes a cell blink; otherwise it is a bright background.
    pub blink: bool,
    /// The picture is not blanked.
    pub on: bool,
    /// Red, green and blue of the sixteen colours, eight bits each.
    pub colours: [[u8; 3]; 16],
}

impl TextScreen {
    /// One row's cells; empty below the screen.
    pub fn row(&self, row: usize) -> &[TextCell] {
        let start = (row * self.columns).min(self.cells.len());
        &self.cells[start..(start + self.columns).min(self.cells.len())]
    }
    /// One row as text, without blanks at its end.
    pub fn row_text(&self, row: usize) -> String {
        let text: String = self.row(row).iter().map(|cell| cp437::to_char(cell.character)).collect();
        text.trim_end().to_string()
    }
    /// All rows as lines of text.
    pub fn text(&self) -> String {
        (0..self.rows).map(|row| self.row_text(row) + "\n").collect()
    }
}

/// The screen now; `None` in a graphics mode.
pub(super) fn look(r: &Registers, planes: &Planes) -> Option<TextScreen> {
    if r.is_graphics() {
        return None;
    }
    let columns = r.crtc[1] as usize + 1;
    let scan = r.crtc[CRTC_MAXIMUM_SCAN_LINE];
    let cell_lines = (scan & 0x1F) + 1;
    let lines = (r.crtc_vertical(0x12, 1, 6) as usize + 1) >> (scan >> 7);
    let rows = lines / cell_lines as usize;
    let start = r.crtc_pair(CRTC_START_ADDRESS);
    let stride = r.crtc[0x13] as u16 * 2;
    // Below this line the screen shows memory from 0: a split screen.
    let compare = r.crtc_vertical(0x18, 4, 10) as usize | (scan as usize >> 6 & 1) << 9;
    let mut cells = Vec::with_capacity(columns * rows);
    let mut cursor = None;
    let at_cursor = r.crtc_pair(CRTC_CURSOR_LOCATION);
    let mut split_row = None;
    let (addressing, order) = (Addressing::of(r), Order::of(r, false));
    for row in 0..rows {
        if split_row.is_none() && row * cell_lines as usize > compare {
            split_row = Some(row);
        }
        let (first, n) = split_row.map_or((start, row), |split| (0, row - split));
        let base = first.wrapping_add(stride.wrapping_mul(n as u16));
        for column in 0..columns {
            let address = base.wrapping_add(column as u16);
            let word = planes.word(order, addressing.word(address.into(), 0));
            cells.push(TextCell { character: word as u8, attribute: (word >> 8) as u8 });
            if address == at_cursor && cursor.is_none() {
                cursor = Some((column, row));
            }
        }
    }
    let (first_line, last_line) = (r.crtc[CRTC_CURSOR_START], r.crtc[CRTC_CURSOR_END] & 0x1F);
    let shown = first_line & 0x20 == 0 && first_line & 0x1F <= last_line && first_line & 0x1F < cell_lines;
    Some(TextScreen {
        columns,
        rows,
        cell_lines,
        cells,
        cursor: cursor.filter(|_| shown).map(|(column, row)| TextCursor {
            column,
            row,
            first_line: first_line & 0x1F,
            last_line: last_line.min(cell_lines - 1),
        }),
        blink: r.attribute[0x10] & 8 != 0,
        on: r.screen_on(),
        colours: std::array::from_fn(|code| r.colour(code as u8)),
    })
}
