//! Lays out the terminal: the PC's screen, the status line, and help over both.

use crate::cp437;
use crate::frame::{Cell, TextFrame};
use crate::overlay;
use crate::render::{Glyph, Picture};

/// Colours of the status line: black on grey.
const STATUS_COLOURS: (u8, u8) = (0, 7);

/// What is to be seen beside the PC's screen.
#[derive(Clone, Default, Debug)]
pub struct Extras {
    /// The status line's text, if it is shown.
    pub status: Option<String>,
    /// Lines of help in a box over the screen.
    pub overlay: Option<Vec<String>>,
}

/// Lays out a terminal of `size` (columns, rows).
///
/// The status line takes the last row only where the PC's screen leaves it free. Where the
/// terminal is smaller than the screen, the part around the cursor is shown.
pub fn compose(frame: &TextFrame, size: (usize, usize), extras: &Extras) -> Picture {
    let mut picture = Picture::new(size.0, size.1);
    let (columns, rows) = (picture.columns(), picture.rows());
    let status = extras.status.as_ref().filter(|_| rows > frame.rows());
    let visible_rows = if status.is_some() { rows - 1 } else { rows };
    let (cursor_column, cursor_row) = frame.cursor.unwrap_or((0, 0));
    let first_row = first_visible(cursor_row, visible_rows, frame.rows());
    let first_column = first_visible(cursor_column, columns, frame.columns());

    for row in 0..visible_rows.min(frame.rows()) {
        let cells = frame.row(first_row + row).iter().skip(first_column).take(columns);
        for (column, cell) in cells.enumerate() {
            picture.put(column, row, glyph(*cell, frame.blink));
        }
    }
    picture.cursor = frame.cursor.map(|(column, row)| (column - first_column, row - first_row));
    if let Some(status) = status {
        let line = format!("{status:<columns$}");
        picture.put_text(0, rows - 1, &line, STATUS_COLOURS);
    }
    if let Some(lines) = &extras.overlay {
        overlay::draw(&mut picture, lines);
        picture.cursor = None;
    }
    picture
}

/// The first of `visible` places out of `all`, so that `cursor` is among them.
fn first_visible(cursor: usize, visible: usize, all: usize) -> usize {
    let most = all.saturating_sub(visible);
    (cursor + 1).saturating_sub(visible).min(most)
}

fn glyph(cell: Cell, blink_enabled: bool) -> Glyph {
    let high = cell.attribute & 0x80 != 0;
    let background = (cell.attribute >> 4) & if blink_enabled { 0x07 } else { 0x0f };
    Glyph {
        character: cp437::to_char(cell.code),
        foreground: cell.attribute & 0x0f,
        background,
        blink: high && blink_enabled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Renderer;

    fn extras(status: &str) -> Extras {
        Extras { status: Some(status.to_owned()), overlay: None }
    }
    fn text(picture: &Picture) -> String {
        let mut out = Vec::new();
        Renderer::default().draw(picture, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
    fn numbered(rows: usize) -> TextFrame {
        let mut frame = TextFrame::new(80, rows);
        for row in 0..rows {
            frame.put(0, row, Cell { code: b'A' + row as u8, attribute: 7 });
        }
        frame
    }

    #[test]
    fn the_status_line_needs_a_free_row() {
        let frame = numbered(25);
        assert!(text(&compose(&frame, (80, 26), &extras("engine"))).contains("engine"));
        assert!(!text(&compose(&frame, (80, 25), &extras("engine"))).contains("engine"));
    }

    #[test]
    fn a_small_terminal_follows_the_cursor() {
        let mut frame = numbered(25);
        frame.cursor = Some((0, 24));
        let picture = compose(&frame, (20, 10), &Extras::default());
        assert_eq!(picture.cursor, Some((0, 9)));
        let shown = text(&picture);
        assert!(shown.contains('Y') && !shown.contains('A'), "{shown:?}");
        frame.cursor = Some((79, 0));
        assert_eq!(compose(&frame, (20, 10), &Extras::default()).cursor, Some((19, 0)));
        assert_eq!(compose(&frame, (1, 1), &Extras::default()).rows(), 1);
    }

    #[test]
    fn attribute_bit_7_blinks_or_brightens() {
        let cell = Cell { code: b'x', attribute: 0x9f };
        let blinking = glyph(cell, true);
        assert_eq!((blinking.background, blinking.blink), (1, true));
        let bright = glyph(cell, false);
        assert_eq!((bright.background, bright.blink), (9, false));
    }
}
