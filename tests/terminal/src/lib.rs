//! A terminal for tests: what a person would see of what a program writes.
//!
//! It knows of ECMA-48 and xterm's control sequences what full-screen programs use: cursor movement, erasing, colours, the
//! alternate screen. It draws sixels ([`sixel`]) and kitty's images ([`kitty`]), and answers questions as it is told to
//! ([`Answers`]). Cells and pixels can then be looked at.

#![allow(clippy::unwrap_used, reason = "what a test cannot read ends it")]

mod kitty;
mod sixel;

use std::collections::BTreeSet;

/// A colour that a cell was given.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Colour {
    /// The terminal's own.
    #[default]
    Usual,
    /// One of the table.
    Index(u8),
    /// Red, green, blue.
    Rgb([u8; 3]),
}

/// A place of the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// What stands there.
    pub character: char,
    /// Its colour.
    pub foreground: Colour,
    /// The colour behind it.
    pub background: Colour,
}

const BLANK: Cell = Cell { character: ' ', foreground: Colour::Usual, background: Colour::Usual };

/// What the terminal answers.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// DA1: the numbers between `CSI ?` and `c`; none where it does not answer.
    pub attributes: Option<&'static str>,
    /// It knows kitty's images.
    pub kitty: bool,
    /// It tells the size of its cells.
    pub cell_size: bool,
    /// The private modes that it knows, for DECRQM; it does not answer where there are none.
    pub modes: Vec<u16>,
    /// It answers DSR.
    pub status: bool,
}

/// Where the parser is.
#[derive(Clone, Debug)]
enum State {
    Ground,
    Escape,
    Intermediate,
    Control(Vec<u8>),
    /// A string of this kind (`P`, `_`, `]`, ...), and whether an ESC came that may end it.
    Text(u8, Vec<u8>, bool),
}

/// The terminal.
#[derive(Clone, Debug)]
pub struct Terminal {
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
    cell_pixels: (usize, usize),
    state: State,
    cut: Vec<u8>,
    cursor: (usize, usize),
    pen: Cell,
    modes: BTreeSet<u16>,
    answers: Answers,
    said: Vec<u8>,
    canvas: Vec<Option<[u8; 3]>>,
    images: Vec<kitty::Image>,
    loading: Option<kitty::Loading>,
    scrolled: usize,
    pictures: usize,
    title: String,
}

impl Terminal {
    /// A terminal that answers nothing.
    pub fn new(columns: usize, rows: usize) -> Terminal {
        Terminal {
            columns,
            rows,
            cells: vec![BLANK; columns * rows],
            cell_pixels: (0, 0),
            state: State::Ground,
            cut: Vec::new(),
            cursor: (0, 0),
            pen: BLANK,
            modes: BTreeSet::new(),
            answers: Answers::default(),
            said: Vec::new(),
            canvas: Vec::new(),
            images: Vec::new(),
            loading: None,
            scrolled: 0,
            pictures: 0,
            title: String::new(),
        }
        .with_cells(10, 20)
    }
    /// With cells of so many pixels.
    pub fn with_cells(mut self, width: usize, height: usize) -> Terminal {
        self.cell_pixels = (width, height);
        self.canvas = vec![None; self.columns * width * self.rows * height];
        self
    }
    /// One that answers so.
    pub fn answering(mut self, answers: Answers) -> Terminal {
        self.answers = answers;
        self
    }
    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }
    /// A cell.
    pub fn cell(&self, column: usize, row: usize) -> Cell {
        self.cells[row * self.columns + column]
    }
    /// The text of a row.
    pub fn row(&self, row: usize) -> String {
        (0..self.columns)
            .map(|column| self.cell(column, row).character)
            .collect::<String>()
            .trim_end()
            .to_owned()
    }
    /// All rows.
    pub fn text(&self) -> String {
        (0..self.rows).map(|row| self.row(row) + "\n").collect()
    }
    /// What pictures show at a pixel. Images lie below cells that have a colour behind them.
    pub fn pixel(&self, x: usize, y: usize) -> Option<[u8; 3]> {
        let (width, height) = self.cell_pixels;
        let cell = self.cells.get(y / height * self.columns + x / width).filter(|_| x / width < self.columns);
        let covered = cell.is_some_and(|cell| cell.background != Colour::Usual);
        let image = self.images.iter().rev().filter(|_| !covered).find_map(|image| image.pixel(x, y));
        let width = self.columns * width;
        image.or_else(|| if x < width { self.canvas.get(y * width + x).copied().flatten() } else { None })
    }
    /// The private modes that are set.
    pub fn modes(&self) -> &BTreeSet<u16> {
        &self.modes
    }
    /// How often the screen was scrolled.
    pub fn scrolled(&self) -> usize {
        self.scrolled
    }
    /// How many pictures came.
    pub fn pictures(&self) -> usize {
        self.pictures
    }
    /// Images that are kept.
    pub fn images(&self) -> usize {
        self.images.len()
    }
    /// Whether a sequence has begun and not ended.
    pub fn is_in_sequence(&self) -> bool {
        !matches!(self.state, State::Ground)
    }
    /// The title.
    pub fn title(&self) -> &str {
        &self.title
    }
    /// What it says to the program, as if typed.
    pub fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.said)
    }
    /// Takes what a program writes.
    pub fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(*byte));
    }

    fn byte(&mut self, byte: u8) {
        match (&mut self.state, byte) {
            (State::Text(_, _, ended @ false), 0x1b) => *ended = true,
            (State::Text(kind, text, true), b'\\') => {
                let (kind, text) = (*kind, std::mem::take(text));
                self.state = State::Ground;
                self.string(kind, &text);
            }
            (State::Text(_, _, true), _) => {
                self.state = State::Escape;
                self.byte(byte);
            }
            (State::Text(b']', text, false), 0x07) => {
                let text = std::mem::take(text);
                self.state = State::Ground;
                self.string(b']', &text);
            }
            (State::Text(_, text, false), _) => text.push(byte),
            (_, 0x1b) => self.state = State::Escape,
            (State::Escape, b'[') => self.state = State::Control(Vec::new()),
            (State::Escape, b'P' | b'_' | b']' | b'^' | b'X') => {
                self.state = State::Text(byte, Vec::new(), false);
            }
            (State::Escape, b' '..=b'/') => self.state = State::Intermediate,
            (State::Escape | State::Intermediate, _) => self.state = State::Ground,
            (State::Control(text), 0x40..=0x7e) => {
                let text = String::from_utf8(std::mem::take(text)).unwrap();
                self.state = State::Ground;
                self.control(&text, byte);
            }
            (State::Control(text), _) => text.push(byte),
            (State::Ground, _) => self.plain(byte),
        }
    }
    fn plain(&mut self, byte: u8) {
        match byte {
            b'\r' => self.cursor.0 = 0,
            b'\n' if self.cursor.1 + 1 == self.rows => self.scrolled += 1,
            b'\n' => self.cursor.1 += 1,
            0..0x20 | 0x7f => {}
            _ => {
                self.cut.push(byte);
                let Ok(text) = std::str::from_utf8(&self.cut) else { return };
                let character = text.chars().next().unwrap();
                self.cut.clear();
                self.print(character);
            }
        }
    }
    fn print(&mut self, character: char) {
        let (column, row) = (self.cursor.0.min(self.columns - 1), self.cursor.1);
        self.cells[row * self.columns + column] = Cell { character, ..self.pen };
        self.erase_pixels(column, row);
        self.cursor.0 = column + 1;
    }
    /// Text lies where sixels were.
    fn erase_pixels(&mut self, column: usize, row: usize) {
        let (width, height) = self.cell_pixels;
        for y in row * height..(row + 1) * height {
            let start = (y * self.columns + column) * width;
            self.canvas[start..start + width].fill(None);
        }
    }
    fn control(&mut self, text: &str, last: u8) {
        let numbers: Vec<usize> = text
            .trim_start_matches(|c: char| "<=>?".contains(c))
            .trim_end_matches('$')
            .split([';', ':'])
            .map(|number| number.parse().unwrap_or(0))
            .collect();
        let at_least_1 = |at: usize| numbers.get(at).copied().unwrap_or(0).max(1);
        match (text.as_bytes().first(), last) {
            (Some(b'?'), b'h') => self.modes.extend(numbers.iter().map(|number| *number as u16)),
            (Some(b'?'), b'l') => self.modes.retain(|mode| !numbers.contains(&usize::from(*mode))),
            (_, b'p') if text.starts_with('?') => self.tell_mode(numbers[0] as u16),
            (Some(b'<'..=b'?'), _) => {}
            (_, b'H') => {
                self.cursor =
                    ((at_least_1(1) - 1).min(self.columns - 1), (at_least_1(0) - 1).min(self.rows - 1))
            }
            (_, b'D') => self.cursor.0 = self.cursor.0.saturating_sub(at_least_1(0)),
            (_, b'J') => self.erase(numbers[0]),
            (_, b'K') => {
                assert_eq!(numbers[0], 0, "the rest of the line is erased");
                let row = self.cursor.1 * self.columns;
                let rest = row + self.cursor.0.min(self.columns)..row + self.columns;
                self.cells[rest].fill(Cell { character: ' ', ..self.pen });
            }
            (_, b'm') => self.colours(&numbers),
            (_, b'n') if numbers[0] == 5 && self.answers.status => self.say("\x1b[0n"),
            (_, b'c') => {
                if let Some(attributes) = self.answers.attributes {
                    self.say(&format!("\x1b[?{attributes}c"));
                }
            }
            (_, b't') if self.answers.cell_size => {
                let (width, height) = self.cell_pixels;
                match numbers[0] {
                    14 => self.say(&format!("\x1b[4;{};{}t", height * self.rows, width * self.columns)),
                    16 => self.say(&format!("\x1b[6;{height};{width}t")),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    fn say(&mut self, text: &str) {
        self.said.extend(text.bytes());
    }
    fn tell_mode(&mut self, mode: u16) {
        if !self.answers.modes.is_empty() {
            let known = if self.answers.modes.contains(&mode) { 2 } else { 0 };
            self.say(&format!("\x1b[?{mode};{known}$y"));
        }
    }
    fn erase(&mut self, what: usize) {
        assert_eq!(what, 2, "all of the screen is erased");
        self.cells.fill(Cell { character: ' ', ..self.pen });
        self.canvas.fill(None);
    }
    fn colours(&mut self, numbers: &[usize]) {
        let mut numbers = numbers.iter().copied();
        while let Some(number) = numbers.next() {
            match number {
                0 => self.pen = BLANK,
                30..=37 => self.pen.foreground = Colour::Index(number as u8 - 30),
                40..=47 => self.pen.background = Colour::Index(number as u8 - 40),
                90..=97 => self.pen.foreground = Colour::Index(number as u8 - 82),
                100..=107 => self.pen.background = Colour::Index(number as u8 - 92),
                38 | 48 => {
                    let mut next = || numbers.next().unwrap() as u8;
                    let colour = match next() {
                        5 => Colour::Index(next()),
                        2 => Colour::Rgb([next(), next(), next()]),
                        other => panic!("colours of kind {other}"),
                    };
                    *if number == 38 { &mut self.pen.foreground } else { &mut self.pen.background } = colour;
                }
                39 => self.pen.foreground = Colour::Usual,
                49 => self.pen.background = Colour::Usual,
                _ => {}
            }
        }
    }
    fn string(&mut self, kind: u8, text: &[u8]) {
        match kind {
            b'P' if text.contains(&b'q') && !text.starts_with(b"$q") => self.draw_sixels(text),
            b'_' if text.starts_with(b"G") => self.obey_kitty(&text[1..]),
            b']' => {
                let text = String::from_utf8_lossy(text);
                if let Some(title) = text.strip_prefix("0;").or(text.strip_prefix("2;")) {
                    self.title = title.to_owned();
                }
            }
            _ => {}
        }
    }
}
