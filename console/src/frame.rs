//! One picture of the VGA's text screen, as the display takes it.

use crate::cp437;

/// Columns of the standard text modes 2, 3 and 7.
pub const STANDARD_COLUMNS: usize = 80;
/// Rows of the standard text modes.
pub const STANDARD_ROWS: usize = 25;

/// A character cell: a glyph of code page 437 and an attribute byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// The glyph.
    pub code: u8,
    /// Bits 0 to 3 foreground, 4 to 6 background, 7 blink or bright background.
    pub attribute: u8,
}

impl Cell {
    /// A blank in light grey on black, as the BIOS clears the screen.
    pub const BLANK: Cell = Cell { code: b' ', attribute: 0x07 };
}

impl From<u16> for Cell {
    /// A cell as text memory holds it: glyph in the low byte, attribute in the high.
    fn from(word: u16) -> Self {
        Cell { code: word as u8, attribute: (word >> 8) as u8 }
    }
}

/// The text screen at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextFrame {
    columns: usize,
    cells: Vec<Cell>,
    /// Where the cursor stands (column, row), if it is shown and on the screen.
    pub cursor: Option<(usize, usize)>,
    /// Whether attribute bit 7 blinks (as after reset) rather than brightens.
    pub blink: bool,
}

impl TextFrame {
    /// A blank screen of `columns` by `rows` cells, both at least 1.
    pub fn new(columns: usize, rows: usize) -> Self {
        let (columns, rows) = (columns.max(1), rows.max(1));
        Self { columns, cells: vec![Cell::BLANK; columns * rows], cursor: None, blink: true }
    }
    /// A screen from cells in reading order; a last row that is not full is dropped.
    pub fn from_cells(columns: usize, cells: Vec<Cell>) -> Self {
        let columns = columns.max(1);
        let mut frame = Self { columns, cells, cursor: None, blink: true };
        frame.cells.truncate(frame.rows() * columns);
        frame
    }
    /// Cells a row.
    pub fn columns(&self) -> usize {
        self.columns
    }
    /// Rows.
    pub fn rows(&self) -> usize {
        self.cells.len() / self.columns
    }
    /// The cells of `row`, blank cells' worth of nothing where there is no such row.
    pub fn row(&self, row: usize) -> &[Cell] {
        self.cells.get(row * self.columns..(row + 1) * self.columns).unwrap_or(&[])
    }
    /// Puts `cell` at `column`, `row`; outside the screen nothing happens.
    pub fn put(&mut self, column: usize, row: usize, cell: Cell) {
        if column < self.columns
            && let Some(at) = self.cells.get_mut(row * self.columns + column)
        {
            *at = cell;
        }
    }
    /// The text of `row` without trailing blanks.
    pub fn row_text(&self, row: usize) -> String {
        let text: String = self.row(row).iter().map(|cell| cp437::to_char(cell.code)).collect();
        text.trim_end().to_owned()
    }
    /// The text of the screen: a line a row, trailing blanks and blank last rows left out.
    pub fn text(&self) -> String {
        let mut text: String = (0..self.rows()).map(|row| self.row_text(row) + "\n").collect();
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_leaves_out_what_is_blank() {
        let mut frame = TextFrame::new(STANDARD_COLUMNS, STANDARD_ROWS);
        for (column, &code) in b"\xc9\xcd ok".iter().enumerate() {
            frame.put(column, 1, Cell { code, attribute: 0x1f });
        }
        frame.put(STANDARD_COLUMNS, 0, Cell::from(0x4141));
        assert_eq!(frame.text(), "\n╔═ ok\n");
        assert_eq!(frame.row(99), &[]);
    }

    #[test]
    fn partial_rows_are_dropped() {
        let frame = TextFrame::from_cells(80, vec![Cell::BLANK; 81]);
        assert_eq!((frame.columns(), frame.rows()), (80, 1));
    }
}
