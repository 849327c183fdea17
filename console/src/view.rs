//! Lays out the terminal: the PC's screen, the status line, and help over both.

use crate::overlay;
use crate::render::{Glyph, Picture};
use trimotor_devices::vga_text::{TextCell, TextScreen, cp437};

/// Colours of the status line: black on grey.
const STATUS_COLOURS: (usize, usize) = (0, 7);

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
pub fn compose(screen: &TextScreen, size: (usize, usize), extras: &Extras) -> Picture {
    let mut picture = Picture::new(size.0, size.1);
    let (columns, rows) = (picture.columns(), picture.rows());
    let status = extras.status.as_ref().filter(|_| rows > screen.rows);
    let visible_rows = if status.is_some() { rows - 1 } else { rows };
    let cursor = screen.cursor.map(|cursor| (cursor.column, cursor.row));
    let (cursor_column, cursor_row) = cursor.unwrap_or((0, 0));
    let first_row = first_visible(cursor_row, visible_rows, screen.rows);
    let first_column = first_visible(cursor_column, columns, screen.columns);

    if screen.on {
        for row in 0..visible_rows.min(screen.rows) {
            let cells = screen.row(first_row + row).iter().skip(first_column).take(columns);
            for (column, cell) in cells.enumerate() {
                picture.put(column, row, glyph(*cell, screen));
            }
        }
        picture.cursor = cursor.map(|(column, row)| (column - first_column, row - first_row));
    }
    if let Some(status) = status {
        draw_status(&mut picture, status);
    }
    if let Some(lines) = &extras.overlay {
        overlay::draw(&mut picture, lines);
        picture.cursor = None;
    }
    picture
}

/// Lays out a terminal while the guest is in a graphics mode, which has no text to show.
pub fn without_text(size: (usize, usize), extras: &Extras) -> Picture {
    let mut picture = Picture::new(size.0, size.1);
    let lines = ["The guest is in a graphics mode.".to_owned()];
    overlay::draw(&mut picture, extras.overlay.as_deref().unwrap_or(&lines));
    if let Some(status) = &extras.status {
        draw_status(&mut picture, status);
    }
    picture
}

fn draw_status(picture: &mut Picture, status: &str) {
    let width = picture.columns();
    picture.put_text(0, picture.rows() - 1, &format!("{status:<width$}"), STATUS_COLOURS);
}

/// The first of `visible` places out of `all`, so that `cursor` is among them.
fn first_visible(cursor: usize, visible: usize, all: usize) -> usize {
    let most = all.saturating_sub(visible);
    (cursor + 1).saturating_sub(visible).min(most)
}

fn glyph(cell: TextCell, screen: &TextScreen) -> Glyph {
    let high = cell.attribute & 0x80 != 0;
    let background = (cell.attribute >> 4) & if screen.blink { 0x07 } else { 0x0f };
    Glyph {
        character: cp437::to_char(cell.character),
        foreground: screen.colours[usize::from(cell.attribute & 0x0f)],
        background: screen.colours[usize::from(background)],
        blink: high && screen.blink,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Renderer, VGA_COLOURS};
    use trimotor_devices::vga_text::{TextCursor, VgaText};

    fn extras(status: &str) -> Extras {
        Extras { status: Some(status.to_owned()), overlay: None }
    }
    fn text(picture: &Picture) -> String {
        let mut out = Vec::new();
        Renderer::default().draw(picture, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
    /// A screen whose rows begin with A, B, C...
    fn lettered() -> TextScreen {
        let mut screen = VgaText::new().screen().unwrap();
        for row in 0..screen.rows {
            screen.cells[row * screen.columns].character = b'A' + row as u8;
        }
        screen
    }
    fn with_cursor(mut screen: TextScreen, column: usize, row: usize) -> TextScreen {
        screen.cursor = Some(TextCursor { column, row, first_line: 14, last_line: 15 });
        screen
    }

    #[test]
    fn the_status_line_needs_a_free_row() {
        let screen = lettered();
        assert!(text(&compose(&screen, (80, 26), &extras("engine"))).contains("engine"));
        assert!(!text(&compose(&screen, (80, 25), &extras("engine"))).contains("engine"));
    }

    #[test]
    fn a_small_terminal_follows_the_cursor() {
        let picture = compose(&with_cursor(lettered(), 0, 24), (20, 10), &Extras::default());
        assert_eq!(picture.cursor, Some((0, 9)));
        let shown = text(&picture);
        assert!(shown.contains('Y') && !shown.contains('A'), "{shown:?}");
        let right = with_cursor(lettered(), 79, 0);
        assert_eq!(compose(&right, (20, 10), &Extras::default()).cursor, Some((19, 0)));
        assert_eq!(compose(&right, (1, 1), &Extras::default()).rows(), 1);
    }

    #[test]
    fn attribute_bit_7_blinks_or_brightens() {
        let cell = TextCell { character: b'x', attribute: 0x9f };
        let mut screen = lettered();
        screen.blink = true;
        let blinking = glyph(cell, &screen);
        assert_eq!((blinking.background, blinking.blink), (VGA_COLOURS[1], true));
        screen.blink = false;
        let bright = glyph(cell, &screen);
        assert_eq!((bright.background, bright.blink), (VGA_COLOURS[9], false));
    }

    #[test]
    fn a_blanked_screen_shows_nothing() {
        let mut screen = lettered();
        screen.on = false;
        assert!(!text(&compose(&screen, (80, 25), &Extras::default())).contains('A'));
    }
}
