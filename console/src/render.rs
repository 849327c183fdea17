//! Draws a picture of character cells in a terminal, sending only what changed.

use crate::charset;
use crate::colours::Depth;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::style::{Attribute, Color, Print, SetAttribute, SetBackgroundColor, SetForegroundColor};
use crossterm::terminal::{Clear, ClearType};
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
    /// The colours are those of a picture: none is meant as one of the terminal's own.
    pub exact: bool,
}

impl Glyph {
    /// Nothing: black behind a space.
    pub const BLANK: Glyph = Glyph {
        character: ' ',
        foreground: VGA_COLOURS[7],
        background: VGA_COLOURS[0],
        blink: false,
        exact: false,
    };
    /// Nothing, through which a picture of the terminal's is seen.
    pub const HOLE: Glyph = Glyph { character: '\0', ..Glyph::BLANK };
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
            let glyph = Glyph { character, foreground, background, ..Glyph::BLANK };
            self.put(column + offset, row, glyph);
        }
    }
    /// The character at a place.
    #[cfg(test)]
    pub(crate) fn at(&self, column: usize, row: usize) -> char {
        self.row(row)[column].character
    }
    fn has_size_of(&self, other: &Picture) -> bool {
        (self.columns, self.rows()) == (other.columns, other.rows())
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
    depth: Depth,
}

impl Renderer {
    /// For a terminal that shows ASCII only, or for one that shows all characters.
    pub fn new(ascii_only: bool) -> Self {
        Self { shown: None, ascii_only, depth: Depth::default() }
    }
    /// The terminal has so many colours.
    pub fn set_depth(&mut self, depth: Depth) {
        if std::mem::replace(&mut self.depth, depth) != depth {
            self.invalidate();
        }
    }
    /// Forgets what the terminal shows: the next picture is drawn whole.
    pub fn invalidate(&mut self) {
        self.shown = None;
    }
    /// Whether the next picture is drawn whole, on a screen that is cleared.
    pub fn clears_for(&self, picture: &Picture) -> bool {
        !self.shown.as_ref().is_some_and(|shown| shown.has_size_of(picture))
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
        queue!(bytes, Hide)?;
        let before = self.shown.take().filter(|shown| shown.has_size_of(picture));
        let mut pen = Pen { style: None, ascii_only: self.ascii_only, depth: self.depth };
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
        out.write_all(&bytes)?;
        out.flush()?;
        self.shown = Some(picture.clone());
        Ok(())
    }
}

impl Renderer {
    /// Draws once more, over pictures that were drawn since, what is neither blank nor a hole.
    ///
    /// # Errors
    /// What writing to `out` returned.
    pub fn draw_again(&mut self, picture: &Picture, out: &mut impl Write) -> io::Result<()> {
        let mut covered = picture.clone();
        covered
            .glyphs
            .iter_mut()
            .filter(|glyph| **glyph != Glyph::HOLE)
            .for_each(|glyph| *glyph = Glyph::BLANK);
        self.shown = Some(covered);
        self.draw(picture, out)
    }
}

/// `bytes` as one change of the screen.
pub fn at_once(bytes: &[u8]) -> Vec<u8> {
    [BEGIN_UPDATE, bytes, END_UPDATE].concat()
}
/// The terminal shows nothing of what comes between these two until all of it is there (mode 2026).
const BEGIN_UPDATE: &[u8] = b"\x1b[?2026h";
const END_UPDATE: &[u8] = b"\x1b[?2026l";

fn draw_row(
    pen: &mut Pen,
    row: usize,
    glyphs: &[Glyph],
    old: Option<&[Glyph]>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let changed = |column: usize| match old {
        Some(old) => old[column] != glyphs[column],
        None => glyphs[column] != Glyph::BLANK && glyphs[column] != Glyph::HOLE,
    };
    let mut at = None;
    for (column, glyph) in glyphs.iter().enumerate().filter(|(column, _)| changed(*column)) {
        if at != Some(column) {
            queue!(out, MoveTo(column as u16, row as u16))?;
        }
        pen.take_up(glyph, out)?;
        let character = if *glyph == Glyph::HOLE { ' ' } else { glyph.character };
        queue!(out, Print(if pen.ascii_only { charset::ascii(character) } else { character }))?;
        at = Some(column + 1);
    }
    Ok(())
}

/// What the terminal writes with.
struct Pen {
    /// The glyph that was written last, as far as colours and blinking go.
    style: Option<Glyph>,
    ascii_only: bool,
    depth: Depth,
}

impl Pen {
    fn take_up(&mut self, glyph: &Glyph, out: &mut Vec<u8>) -> io::Result<()> {
        if *glyph == Glyph::HOLE {
            self.style = None;
            return queue!(out, SetAttribute(Attribute::Reset));
        }
        let before = self.style;
        if before.is_none_or(|before| before.blink != glyph.blink) {
            queue!(out, SetAttribute(Attribute::Reset))?;
            if glyph.blink {
                queue!(out, SetAttribute(Attribute::SlowBlink))?;
            }
        }
        let same = |colour: fn(&Glyph) -> Rgb| {
            before.is_some_and(|before| {
                colour(&before) == colour(glyph) && (before.blink, before.exact) == (glyph.blink, glyph.exact)
            })
        };
        let mut style = *glyph;
        if !same(|glyph| glyph.foreground) {
            // A space of a picture has no colour of its own.
            if glyph.exact && glyph.character == ' ' && before.is_some_and(|before| before.exact) {
                style.foreground = before.map_or(glyph.foreground, |before| before.foreground);
            } else {
                set_colour(out, Ground::Fore, self.colour(glyph.foreground, glyph.exact), self.depth)?;
            }
        }
        if !same(|glyph| glyph.background) {
            set_colour(out, Ground::Back, self.colour(glyph.background, glyph.exact), self.depth)?;
        }
        self.style = Some(style);
        Ok(())
    }
    /// A colour as the terminal takes it. The VGA's own are entries of the terminal's palette, as the person has set it up; the PC
    /// counts blue as bit 0, terminals red.
    fn colour(&self, rgb: Rgb, exact: bool) -> Color {
        match VGA_COLOURS.iter().position(|known| *known == rgb) {
            Some(pc) if !exact => Color::AnsiValue(((pc & 0b1010) | ((pc & 1) << 2) | ((pc >> 2) & 1)) as u8),
            _ => self.depth.nearest(rgb),
        }
    }
}

/// What is coloured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ground {
    Fore,
    Back,
}

/// Has the terminal write in a colour. Of those that all have, one of 16 has the sequence that all understand.
fn set_colour(out: &mut Vec<u8>, ground: Ground, colour: Color, depth: Depth) -> io::Result<()> {
    match (ground, colour) {
        (_, Color::AnsiValue(value @ 0..16)) if depth == Depth::Sixteen => {
            let first = if value < 8 { 30 } else { 90 - 8 } + if ground == Ground::Fore { 0 } else { 10 };
            write!(out, "\x1b[{}m", first + value)
        }
        (Ground::Fore, _) => queue!(out, SetForegroundColor(colour)),
        (Ground::Back, _) => queue!(out, SetBackgroundColor(colour)),
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
        let pen = Pen { style: None, ascii_only: false, depth: Depth::True };
        let vga = |code: usize| pen.colour(VGA_COLOURS[code], false);
        assert_eq!([vga(1), vga(4), vga(12), vga(14)], [4, 1, 9, 11].map(Color::AnsiValue));
        assert_eq!(pen.colour([1, 2, 3], false), Color::Rgb { r: 1, g: 2, b: 3 });
        // Of a picture all are.
        assert_eq!(pen.colour(VGA_COLOURS[1], true), Color::Rgb { r: 0, g: 0, b: 0xaa });
    }
}
