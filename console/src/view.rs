//! Lays out the terminal: the PC's screen, the status line, and help over both.

use crate::overlay;
use crate::render::{Glyph, Picture};
use crate::status::StatusLine;
use trimotor_devices::vga::{TextCell, TextScreen, cp437};

/// Colours of the status line: black on grey.
const STATUS_COLOURS: (usize, usize) = (0, 7);

/// So many rows that do not fit are taken from the blank ones, wherever they are: 25 rows and the status line on
/// a terminal of 24.
const MOST_BLANKS_LEFT_OUT: usize = 2;
/// A terminal with fewer rows has no status line.
const LEAST_ROWS_FOR_STATUS: usize = 6;

/// What is to be seen beside the PC's screen.
#[derive(Clone, Default, Debug)]
pub struct Extras {
    /// The status line, if it is shown.
    pub status: Option<StatusLine>,
    /// Lines of help in a box over the screen.
    pub overlay: Option<Vec<String>>,
}

/// Lays out a terminal of `size` (columns, rows).
///
/// The status line has the last row. Where the terminal is smaller than the screen, blank rows are left out if one
/// or two are enough; otherwise the part around the cursor is shown, and the status line says what is not.
pub fn compose(screen: &TextScreen, size: (usize, usize), extras: &Extras) -> Picture {
    let mut picture = Picture::new(size.0, size.1);
    let (columns, rows) = (picture.columns(), picture.rows());
    let status = extras.status.as_ref().filter(|_| has_status_row(rows));
    let room = if status.is_some() { rows - 1 } else { rows };
    let cursor = screen.cursor.map(|cursor| (cursor.column, cursor.row));
    let shown = shown_rows(screen, room);
    let first_column = first_visible(cursor.map_or(0, |(column, _)| column), columns, screen.columns);

    if screen.on {
        for (row, &of_screen) in shown.rows.iter().enumerate() {
            let cells = screen.row(of_screen).iter().skip(first_column).take(columns);
            for (column, cell) in cells.enumerate() {
                picture.put(column, row, glyph(*cell, screen));
            }
        }
        picture.cursor = cursor.and_then(|(column, row)| {
            let row = shown.rows.iter().position(|of_screen| *of_screen == row)?;
            Some((column - first_column, row))
        });
    }
    if let Some(status) = status {
        let mut status = status.clone();
        if screen.on && shown.cut > 0 {
            status.push(CUT_WEIGHT, format!("{} of {} rows", shown.rows.len(), screen.rows));
        }
        draw_status(&mut picture, &status);
    }
    if let Some(lines) = &extras.overlay {
        overlay::draw(&mut picture, lines);
        picture.cursor = None;
    }
    picture
}

/// Lays out a terminal while the guest is in a graphics mode: `put` draws its picture.
pub fn with_picture(size: (usize, usize), extras: &Extras, put: impl FnOnce(&mut Picture)) -> Picture {
    let mut picture = Picture::new(size.0, size.1);
    put(&mut picture);
    if let Some(status) = extras.status.as_ref().filter(|_| has_status_row(size.1)) {
        draw_status(&mut picture, status);
    }
    if let Some(lines) = &extras.overlay {
        overlay::draw(&mut picture, lines);
    }
    picture
}

/// Whether a terminal of so many rows has room for the status line.
pub fn has_status_row(rows: usize) -> bool {
    rows >= LEAST_ROWS_FOR_STATUS
}

/// The guest's cell, as a part of columns and rows, at a place of the terminal, in columns and rows too; it may be
/// outside.
pub fn guest_cell(
    screen: &TextScreen,
    size: (usize, usize),
    has_status: bool,
    place: (f64, f64),
) -> (f64, f64) {
    let room = if has_status && has_status_row(size.1) { size.1.saturating_sub(1) } else { size.1 };
    let cursor = screen.cursor.map(|cursor| (cursor.column, cursor.row));
    let rows = shown_rows(screen, room).rows;
    let first_column = first_visible(cursor.map_or(0, |(column, _)| column), size.0, screen.columns);
    let row = place.1.max(0.0) as usize;
    // Below the last one they go on.
    let of_screen = rows.get(row).copied().unwrap_or(screen.rows + row.saturating_sub(rows.len()));
    let of_row = if place.1 < 0.0 { place.1 } else { of_screen as f64 + place.1.fract() };
    (place.0 + first_column as f64, of_row)
}

/// How much it matters that rows are cut off: more than the speed, less than the keys.
const CUT_WEIGHT: u8 = 2;

fn draw_status(picture: &mut Picture, status: &StatusLine) {
    let width = picture.columns();
    let line = status.fit(width);
    picture.put_text(0, picture.rows() - 1, &format!("{line:<width$}"), STATUS_COLOURS);
}

/// The rows of a screen that are shown, and how many that are not blank are not.
struct Shown {
    rows: Vec<usize>,
    cut: usize,
}

fn shown_rows(screen: &TextScreen, room: usize) -> Shown {
    let missing = screen.rows.saturating_sub(room);
    let cursor_row = screen.cursor.map(|cursor| cursor.row);
    let blank: Vec<usize> =
        (0..screen.rows).filter(|row| Some(*row) != cursor_row && is_blank(screen, *row)).collect();
    if missing <= MOST_BLANKS_LEFT_OUT && blank.len() >= missing {
        // The lowest ones, where an empty screen has them.
        let left_out = &blank[blank.len() - missing..];
        return Shown { rows: (0..screen.rows).filter(|row| !left_out.contains(row)).collect(), cut: 0 };
    }
    let first = first_visible(cursor_row.unwrap_or(0), room, screen.rows);
    let rows: Vec<usize> = (first..screen.rows.min(first + room)).collect();
    let cut = (0..screen.rows).filter(|row| !rows.contains(row) && !blank.contains(row)).count();
    Shown { rows, cut }
}

/// Whether nothing is to be seen in a row: neither characters nor a colour behind them.
fn is_blank(screen: &TextScreen, row: usize) -> bool {
    screen.row(row).iter().all(|cell| matches!(cell.character, 0 | b' ' | 0xff) && cell.attribute & 0x70 == 0)
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
        exact: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Renderer, VGA_COLOURS};
    use trimotor_devices::vga::{TextCursor, Vga};

    fn extras(status: &str) -> Extras {
        let mut line = StatusLine::default();
        line.push(1, status);
        Extras { status: Some(line), overlay: None }
    }
    /// Row by row, what stands at its beginning.
    fn first_column(picture: &Picture) -> String {
        (0..picture.rows()).map(|row| picture.at(0, row)).collect()
    }
    fn text(picture: &Picture) -> String {
        let mut out = Vec::new();
        Renderer::default().draw(picture, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
    /// A screen whose rows begin with A, B, C...
    fn lettered() -> TextScreen {
        let mut screen = Vga::alone().screen().unwrap();
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
    fn a_usual_terminal_shows_all_rows_that_are_not_blank_and_the_status_line() {
        let mut screen = lettered();
        for row in [7, 20] {
            screen.cells[row * screen.columns].character = b' ';
        }
        let picture = compose(&with_cursor(screen, 3, 24), (80, 24), &extras("engine"));
        assert_eq!(first_column(&picture), "ABCDEFGIJKLMNOPQRSTVWXY ");
        assert_eq!(picture.cursor, Some((3, 22)));
        assert!(text(&picture).contains("engine") && !text(&picture).contains("rows"));
    }

    #[test]
    fn a_full_screen_follows_the_cursor_and_the_status_line_says_so() {
        let picture = compose(&with_cursor(lettered(), 0, 24), (80, 24), &extras("engine"));
        assert_eq!(first_column(&picture), "CDEFGHIJKLMNOPQRSTUVWXY ");
        assert!(text(&picture).contains("23 of 25 rows"), "{}", text(&picture));
        // Without the status line one row less is cut, and with room for it none is.
        let picture = compose(&with_cursor(lettered(), 0, 24), (80, 24), &Extras::default());
        assert_eq!(first_column(&picture), "BCDEFGHIJKLMNOPQRSTUVWXY");
        let picture = compose(&with_cursor(lettered(), 0, 24), (80, 26), &extras("engine"));
        assert_eq!(first_column(&picture), "ABCDEFGHIJKLMNOPQRSTUVWXY ");
        assert!(!text(&picture).contains("rows"));
    }

    #[test]
    fn a_row_of_a_colour_is_not_blank() {
        let mut screen = lettered();
        for cell in &mut screen.cells[..80] {
            *cell = TextCell { character: b' ', attribute: 0x1f };
        }
        assert!(!is_blank(&screen, 0));
        let columns = screen.columns;
        screen.cells[columns].character = b' ';
        assert!(is_blank(&screen, 1));
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
    fn places_lead_back_to_the_guest_s_cells() {
        let screen = with_cursor(lettered(), 0, 24);
        // Two rows are cut off at the top.
        assert_eq!(guest_cell(&screen, (80, 24), true, (3.5, 0.25)), (3.5, 2.25));
        assert_eq!(guest_cell(&screen, (80, 24), true, (0.0, 22.5)), (0.0, 24.5));
        assert!(guest_cell(&screen, (80, 24), true, (0.0, 23.5)).1 >= 25.0);
        assert_eq!(guest_cell(&screen, (100, 30), true, (90.0, 5.0)), (90.0, 5.0));
        // A narrow terminal shows the part around the cursor.
        let right = with_cursor(lettered(), 79, 0);
        assert_eq!(guest_cell(&right, (20, 30), false, (0.5, 0.5)), (60.5, 0.5));
    }

    #[test]
    fn a_blanked_screen_shows_nothing() {
        let mut screen = lettered();
        screen.on = false;
        assert!(!text(&compose(&screen, (80, 25), &Extras::default())).contains('A'));
    }
}
