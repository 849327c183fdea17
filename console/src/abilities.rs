//! What the terminal can do, as far as it is known.
//!
//! The environment says a little: TERM, COLORTERM, whether a multiplexer is in between. The terminal says the rest when it is
//! asked ([`Abilities::questions`]). Nobody waits for its answers: they come between the keys ([`crate::reports`]), as late as the line is
//! slow, and one that answers nothing is left alone after [`PATIENCE`]. The last question is one that all terminals answer (DA1), so
//! that its answer ends the wait early.
//!
//! tmux and screen would take kitty's commands for titles and pass other strings on to whatever is outside; they are asked by control
//! sequences only, and get half-blocks.

use crate::charset;
use crate::colours::Depth;
use crate::graphics::fit::{CellSize, Unit};
use crate::graphics::{Format, kitty};
use crate::reports::Report;
use std::env;
use std::time::{Duration, Instant};

/// How long answers are waited for before the guest's picture is drawn without them.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The size of window and cells in pixels.
const SIZE_QUESTION: &[u8] = b"\x1b[14t\x1b[16t";
/// Colours of sixel pictures; mouse reports in decimals, and in pixels; DA1.
const QUESTIONS: &[u8] = b"\x1b[?1;1;0S\x1b[?1006$p\x1b[?1016$p\x1b[c";
/// Sets a colour and asks for it, which terminals that have 24 bits of it answer as it was set.
const COLOUR_QUESTION: &[u8] = b"\x1b[48;2;1;2;3m\x1bP$qm\x1b\\\x1b[0m";
/// DA1's number for sixels.
const SIXEL_ATTRIBUTE: u32 = 4;
const MOUSE_MODE: u32 = 1006;
const PIXEL_MOUSE_MODE: u32 = 1016;
/// Sides of cells that can be: anything else is a mistake.
const CELL_SIDES: std::ops::RangeInclusive<usize> = 2..=256;

/// What is known of the terminal.
#[derive(Clone, Debug)]
pub struct Abilities {
    /// The format that the person asks for.
    forced: Option<Format>,
    asked_at: Option<Instant>,
    /// DA1 was answered.
    answered: bool,
    sixels: bool,
    kitty: bool,
    /// Colours of a sixel picture.
    registers: u32,
    depth: Depth,
    cell: Option<CellSize>,
    has_mouse: bool,
    pixel_mouse: bool,
    multiplexer: bool,
    ascii_only: bool,
}

impl Abilities {
    /// What the environment says; the person may ask for a format.
    pub fn of_environment(forced: Option<Format>) -> Abilities {
        let value = |name| env::var(name).unwrap_or_default();
        let term = value("TERM");
        let multiplexer = !value("TMUX").is_empty()
            || !value("STY").is_empty()
            || term.starts_with("tmux")
            || term.starts_with("screen");
        let depth = Depth::of_environment(&value("COLORTERM"), &term);
        Abilities {
            forced,
            multiplexer,
            depth,
            ascii_only: charset::is_ascii_only(),
            ..Abilities::of_nothing()
        }
    }
    /// Of a terminal of which nothing is known.
    fn of_nothing() -> Abilities {
        Abilities {
            forced: None,
            asked_at: None,
            answered: false,
            sixels: false,
            kitty: false,
            registers: 256,
            depth: Depth::Sixteen,
            cell: None,
            has_mouse: true,
            pixel_mouse: false,
            multiplexer: false,
            ascii_only: false,
        }
    }
    /// What to ask the terminal, now that the screen is ours.
    pub fn questions(&mut self, now: Instant) -> Vec<u8> {
        if self.asked_at.is_some() {
            return SIZE_QUESTION.to_vec();
        }
        self.asked_at = Some(now);
        let strings: &[&[u8]] = if self.multiplexer { &[] } else { &[kitty::QUESTION, COLOUR_QUESTION] };
        [strings.concat(), SIZE_QUESTION.to_vec(), QUESTIONS.to_vec()].concat()
    }
    /// What to ask once more where the window is another one: the size of cells, if the terminal told it.
    pub fn questions_of_size(&self) -> &'static [u8] {
        if self.answered { SIZE_QUESTION } else { &[] }
    }
    /// Takes what the terminal says, which has a window of so many cells.
    pub fn take(&mut self, report: &Report, (columns, rows): (usize, usize)) {
        match *report {
            Report::Attributes(ref attributes) => {
                self.answered = true;
                self.sixels = attributes.iter().skip(1).any(|number| *number == SIXEL_ATTRIBUTE);
            }
            Report::Image(kitty::QUESTION_IMAGE, works) => self.kitty |= works,
            Report::ColourRegisters(count) if count >= 2 => self.registers = count,
            Report::CellPixels(width, height) => self.set_cell(width as usize, height as usize),
            Report::WindowPixels(width, height) if self.cell.is_none() => {
                self.set_cell(width as usize / columns.max(1), height as usize / rows.max(1));
            }
            Report::Mode(MOUSE_MODE, known) => self.has_mouse = known,
            Report::Mode(PIXEL_MOUSE_MODE, known) => self.pixel_mouse = known,
            Report::Rendition(ref text) if text.contains("48:2:") || text.contains("48;2;1;2;3") => {
                self.depth = Depth::True;
            }
            _ => {}
        }
    }
    /// The size of the window in pixels, as the host knows it.
    pub fn take_window(&mut self, size: Option<(usize, usize)>, (columns, rows): (usize, usize)) {
        if let Some((width, height)) = size {
            self.set_cell(width / columns.max(1), height / rows.max(1));
        }
    }
    fn set_cell(&mut self, width: usize, height: usize) {
        if CELL_SIDES.contains(&width) && CELL_SIDES.contains(&height) {
            self.cell = Some(CellSize { width, height });
        }
    }
    /// The format of pictures; none as long as answers may come that decide it.
    pub fn format(&self, now: Instant) -> Option<Format> {
        let waited = self.asked_at.is_some_and(|asked| now.duration_since(asked) >= PATIENCE);
        match self.forced {
            Some(format) => Some(format),
            None if self.multiplexer => Some(Format::Blocks),
            None if !self.answered && !waited => None,
            None if self.kitty => Some(Format::Kitty),
            None if self.sixels => Some(Format::Sixel),
            None => Some(Format::Blocks),
        }
    }
    /// What a picture in that format is made of.
    pub fn unit(&self, format: Format) -> Unit {
        match format {
            Format::Kitty if self.cell.is_none() => Unit::PixelOfWholeCells,
            Format::Kitty | Format::Sixel => Unit::Pixel,
            Format::Blocks if self.ascii_only => Unit::Cell,
            Format::Blocks => Unit::Half,
        }
    }
    /// The size of a cell, as far as it is known.
    pub fn cell(&self) -> CellSize {
        self.cell.unwrap_or(CellSize::USUAL)
    }
    /// Colours that a sixel picture may have.
    pub fn registers(&self) -> usize {
        self.registers as usize
    }
    /// Colours of text.
    pub fn depth(&self) -> Depth {
        // A terminal with pictures has all of them.
        if self.kitty { Depth::True } else { self.depth }
    }
    /// Whether the terminal may have a mouse.
    pub fn has_mouse(&self) -> bool {
        self.has_mouse
    }
    /// Whether it tells where its mouse is in pixels.
    pub fn has_pixel_mouse(&self) -> bool {
        self.pixel_mouse
    }
    /// Whether it answers.
    pub fn answers(&self) -> bool {
        self.answered
    }
    /// Whether answers to what was asked may still come.
    pub fn awaits_answers(&self, now: Instant) -> bool {
        !self.answered && self.asked_at.is_some_and(|asked| now.duration_since(asked) < PATIENCE)
    }
    /// What the terminal can do, in a line.
    pub fn describe(&self) -> String {
        let graphics = match self.format(Instant::now()) {
            Some(Format::Kitty) => "by kitty's protocol".to_owned(),
            Some(Format::Sixel) => format!("as sixels of {} colours", self.registers.min(256)),
            _ => format!("as half-blocks in {}", self.depth().name()),
        };
        let why = match (self.multiplexer, self.answered) {
            (true, _) => " (in tmux or screen)",
            (_, false) => " (it answers nothing)",
            _ => "",
        };
        let mouse = match (self.has_mouse, self.pixel_mouse) {
            (false, _) => "no mouse",
            (true, false) => "mouse",
            (true, true) => "mouse by pixels",
        };
        format!("text, and pictures {graphics}{why}; {mouse}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::{Piece, Reports};
    use trimotor_test_terminal::{Answers, Terminal};

    const SIZE: (usize, usize) = (80, 24);

    /// What is known of a terminal that was asked.
    fn asked(answers: Answers, mut abilities: Abilities) -> Abilities {
        let mut terminal = Terminal::new(SIZE.0, SIZE.1).with_cells(9, 18).answering(answers);
        terminal.write(&abilities.questions(Instant::now()));
        assert!(!terminal.is_in_sequence());
        for piece in Reports::default().push(&terminal.take_answers()) {
            match piece {
                Piece::Report(report) => abilities.take(&report, SIZE),
                typed => panic!("{typed:?}"),
            }
        }
        abilities
    }

    #[test]
    fn answers_decide_the_format() {
        let answers = |attributes, kitty| Answers {
            attributes: Some(attributes),
            kitty,
            cell_size: true,
            modes: vec![1006, 1016],
            status: true,
        };
        let now = Instant::now();
        for (attributes, kitty, format) in [
            ("62;4;22", true, Format::Kitty),
            ("62;4;22", false, Format::Sixel),
            ("62;22", false, Format::Blocks),
            // The first number is the kind of terminal, not an ability.
            ("4;6", false, Format::Blocks),
        ] {
            let known = asked(answers(attributes, kitty), Abilities::of_nothing());
            assert_eq!(known.format(now), Some(format), "{attributes}");
            assert_eq!(known.cell(), CellSize { width: 9, height: 18 });
            assert!(known.has_mouse() && known.has_pixel_mouse() && known.answers());
            assert!(!known.awaits_answers(now));
        }
        let forced = Abilities { forced: Some(Format::Blocks), ..Abilities::of_nothing() };
        assert_eq!(asked(answers("62;4", true), forced).format(now), Some(Format::Blocks));
        let inside = Abilities { multiplexer: true, ..Abilities::of_nothing() };
        let inside = asked(answers("1;2;4", true), inside);
        assert_eq!(inside.format(now), Some(Format::Blocks));
        assert!(inside.describe().contains("tmux"));
    }

    #[test]
    fn a_terminal_that_answers_nothing_gets_half_blocks_after_a_while() {
        let mut abilities = asked(Answers::default(), Abilities::of_nothing());
        let now = abilities.asked_at.unwrap();
        assert_eq!(abilities.format(now), None);
        assert!(abilities.awaits_answers(now) && abilities.questions_of_size().is_empty());
        assert_eq!(abilities.format(now + PATIENCE), Some(Format::Blocks));
        assert_eq!(abilities.cell(), CellSize::USUAL);
        // Late ones count too.
        abilities.take(&Report::Attributes(vec![62, 4]), SIZE);
        assert_eq!(abilities.format(now + PATIENCE), Some(Format::Sixel));
        assert_eq!(abilities.questions(now), SIZE_QUESTION);
    }

    #[test]
    fn sizes_that_cannot_be_are_ignored() {
        let mut abilities = Abilities::of_nothing();
        for report in [Report::CellPixels(0, 0), Report::CellPixels(5000, 3), Report::WindowPixels(1, 1)] {
            abilities.take(&report, SIZE);
            assert_eq!(abilities.cell(), CellSize::USUAL);
        }
        abilities.take_window(Some((800, 480)), SIZE);
        assert_eq!(abilities.cell(), CellSize { width: 10, height: 20 });
        assert_eq!(abilities.unit(Format::Kitty), Unit::Pixel);
    }

    #[test]
    fn a_colour_that_comes_back_is_known() {
        let mut abilities = Abilities::of_nothing();
        abilities.take(&Report::Rendition("0;48;5;16m".to_owned()), SIZE);
        assert_eq!(abilities.depth(), Depth::Sixteen);
        abilities.take(&Report::Rendition("0;48:2::1:2:3m".to_owned()), SIZE);
        assert_eq!(abilities.depth(), Depth::True);
    }
}
