//! Draws a picture of character cells in a terminal, sending only what changed.

use crate::charset;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::style::{Attribute, Color, Print, SetAttribute, SetBackgroundColor, SetForegroundColor};
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use std::io::{self, Write};

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// The 16 colours of the VGA's text modes after a mode set, in its order (1 is blue).
pub const VGA_COLOURS: [Rgb; 16] = [
    [0x00, 0x00, 0x00],
    [0x00, 0x00, 0xaa],
    [0x00, 0xaa, 0x00],
    [0x00, 0xaa, 0xaa],
    [0xaa, 0x00, 0x00],
    [0xaa, 0x00, 0xaa],
    [0xaa, 0x55, 0x00],
    [0xaa, 0xaa, 0xaa],
    [0x55, 0x55, 0x55],
    [0x55, 0x55, 0xff],
    [0x55, 0xff, 0x55],
    [0x55, 0xff, 0xff],
    [0xff, 0x55, 0x55],
    [0xff, 0x55, 0xff],
    [0xff, 0xff, 0x55],
    [0xff, 0xff, 0xff],
];

/// What one place of the terminal shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Glyph {
    /// The character.
    pub character: char,
    /// Its colour.
    pub foreground: Rgb,
    /// The colour behind it.
    pub background: Rgb,
    /// Whether it blinks.
    pub blink: bool,
}

impl Glyph {
    /// Nothing: black behind a space.
    pub const BLANK: Glyph =
        Glyph { character: ' ', foreground: VGA_COLOURS[7], background: VGA_COLOURS[0], blink: false };
}

/// What the whole terminal shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    columns: usize,
    glyphs: Vec<Glyph>,
    /// Where the cursor stands (column, row), if it is shown.
    pub cursor: Option<(usize, usize)>,
}

impl Picture {
    /// A blank picture of this size.
    pub fn new(columns: usize, rows: usize) -> Self {
        let columns = columns.max(1);
        Self { columns, glyphs: vec![Glyph::BLANK; columns * rows.max(1)], cursor: None }
    }
    /// Places a row.
    pub fn columns(&self) -> usize {
        self.columns
    }
    /// Rows.
    pub fn rows(&self) -> usize {
        self.glyphs.len() / self.columns
    }
    /// Puts `glyph` at a place; outside the picture nothing happens.
    pub fn put(&mut self, column: usize, row: usize, glyph: Glyph) {
        if column < self.columns
            && let Some(at) = self.glyphs.get_mut(row * self.columns + column)
        {
            *at = glyph;
        }
    }
    /// Puts `text` into a row from `column` on, in these of the VGA's colours (of the
    /// characters, and behind them); what does not fit is cut.
    pub fn put_text(&mut self, column: usize, row: usize, text: &str, colours: (usize, usize)) {
        let (foreground, background) = (VGA_COLOURS[colours.0], VGA_COLOURS[colours.1]);
        for (offset, character) in text.chars().enumerate() {
            let glyph = Glyph { character, foreground, background, blink: false };
            self.put(column + offset, row, glyph);
        }
    }
    /// The character at a place.
    #[cfg(test)]
    pub(crate) fn at(&self, column: usize, row: usize) -> char {
        self.row(row)[column].character
    }
    fn row(&self, row: usize) -> &[Glyph] {
        &self.glyphs[row * self.columns..(row + 1) * self.columns]
    }
}

/// Knows what the terminal shows, and brings it up to date.
#[derive(Default, Debug)]
pub struct Renderer {
    shown: Option<Picture>,
    ascii_only: bool,
}

impl Renderer {
    /// For a terminal that shows ASCII only, or for one that shows all characters.
    pub fn new(ascii_only: bool) -> Self {
        Self { shown: None, ascii_only }
    }
    /// Forgets what the terminal shows: the next picture is drawn whole.
    pub fn invalidate(&mut self) {
        self.shown = None;
    }
    /// Makes the terminal behind `out` show `picture`.
    ///
    /// # Errors
    /// What writing to `out` returned.
    pub fn draw(&mut self, picture: &Picture, out: &mut impl Write) -> io::Result<()> {
        if self.shown.as_ref() == Some(picture) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        queue!(bytes, BeginSynchronizedUpdate, Hide)?;
        let same_size = |shown: &Picture| shown.columns == picture.columns && shown.rows() == picture.rows();
        let before = self.shown.take().filter(same_size);
        let mut pen = Pen { style: None, ascii_only: self.ascii_only };
        if before.is_none() {
            queue!(bytes, SetAttribute(Attribute::Reset), Clear(ClearType::All))?;
        }
        for row in 0..picture.rows() {
            let old = before.as_ref().map(|picture| picture.row(row));
            draw_row(&mut pen, row, picture.row(row), old, &mut bytes)?;
        }
        queue!(bytes, SetAttribute(Attribute::Reset))?;
        if let Some((column, row)) = picture.cursor {
            queue!(bytes, MoveTo(column as u16, row as u16), Show)?;
        }
        queue!(bytes, EndSynchronizedUpdate)?;
        out.write_all(&bytes)?;
        out.flush()?;
        self.shown = Some(picture.clone());
        Ok(())
    }
}

fn draw_row(
    pen: &mut Pen,
    row: usize,
    glyphs: &[Glyph],
    old: Option<&[Glyph]>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let changed = |column: usize| match old {
        Some(old) => old[column] != glyphs[column],
        None => glyphs[column] != Glyph::BLANK,
    };
    let mut at = None;
    for (column, glyph) in glyphs.iter().enumerate().filter(|(column, _)| changed(*column)) {
        if at != Some(column) {
            queue!(out, MoveTo(column as u16, row as u16))?;
        }
        pen.take_up(glyph, out)?;
        queue!(out, Print(if pen.ascii_only { charset::ascii(glyph.character) } else { glyph.character }))?;
        at = Some(column + 1);
    }
    Ok(())
}

/// What the terminal writes with.
struct Pen {
    /// Colours of characters and behind them, and whether they blink.
    style: Option<(Rgb, Rgb, bool)>,
    ascii_only: bool,
}

impl Pen {
    fn take_up(&mut self, glyph: &Glyph, out: &mut Vec<u8>) -> io::Result<()> {
        let style = (glyph.foreground, glyph.background, glyph.blink);
        if self.style == Some(style) {
            return Ok(());
        }
        if self.style.is_none_or(|(_, _, blinks)| blinks != glyph.blink) {
            queue!(out, SetAttribute(Attribute::Reset))?;
            if glyph.blink {
                queue!(out, SetAttribute(Attribute::SlowBlink))?;
            }
        }
        queue!(
            out,
            SetForegroundColor(colour(glyph.foreground)),
            SetBackgroundColor(colour(glyph.background))
        )?;
        self.style = Some(style);
        Ok(())
    }
}

/// A colour as the terminal takes it. The VGA's own are entries of the terminal's palette, as
/// the person has set it up; the PC counts blue as bit 0, terminals red.
fn colour(rgb: Rgb) -> Color {
    match VGA_COLOURS.iter().position(|known| *known == rgb) {
        Some(pc) => Color::AnsiValue(((pc & 0b1010) | ((pc & 1) << 2) | ((pc >> 2) & 1)) as u8),
        None => Color::Rgb { r: rgb[0], g: rgb[1], b: rgb[2] },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(renderer: &mut Renderer, picture: &Picture) -> String {
        let mut out = Vec::new();
        renderer.draw(picture, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_changed_is_sent() {
        let mut renderer = Renderer::default();
        let mut picture = Picture::new(80, 25);
        picture.put_text(2, 3, "hello", (15, 1));
        let first = drawn(&mut renderer, &picture);
        assert!(first.contains("\x1b[4;3H") && first.contains("hello") && first.contains("\x1b[2J"));
        assert!(first.contains("38;5;15m") && first.contains("48;5;4m"), "{first:?}");
        assert_eq!(drawn(&mut renderer, &picture), "");
        picture.put_text(3, 3, "u", (15, 1));
        let second = drawn(&mut renderer, &picture);
        assert!(second.contains("\x1b[4;4H") && !second.contains("\x1b[2J") && !second.contains("llo"));
    }

    #[test]
    fn a_terminal_of_ascii_gets_nothing_else() {
        let mut picture = Picture::new(10, 2);
        picture.put_text(0, 0, "║ a ═╝", (15, 1));
        let text = drawn(&mut Renderer::new(true), &picture);
        assert!(text.is_ascii() && text.contains("| a -+"), "{text:?}");
    }

    #[test]
    fn a_new_size_draws_the_whole_picture() {
        let mut renderer = Renderer::default();
        drawn(&mut renderer, &Picture::new(80, 25));
        assert!(drawn(&mut renderer, &Picture::new(40, 10)).contains("\x1b[2J"));
    }

    #[test]
    fn red_and_blue_change_places_and_other_colours_are_sent_whole() {
        let vga = |code: usize| colour(VGA_COLOURS[code]);
        assert_eq!([vga(1), vga(4), vga(12), vga(14)], [4, 1, 9, 11].map(Color::AnsiValue));
        assert_eq!(colour([1, 2, 3]), Color::Rgb { r: 1, g: 2, b: 3 });
    }
}
