//! The program on a terminal that a test looks at and that answers, and what it shows there against what the guest shows.

use super::drawing_guest::{self, HEIGHT, Mouse, WIDTH, colour, image};
use super::picture::Picture;
use crate::support::program::Program;
use crate::support::small_guest::Scratch;
use std::time::{Duration, Instant};
use trimotor_test_terminal::{Answers, Colour, Terminal};

/// No wait takes as long: the guard against hanging.
pub const PATIENCE: Duration = Duration::from_secs(300);
pub const COLUMNS: usize = 100;
pub const ROWS: usize = 40;
pub const CELL: (usize, usize) = (8, 16);
/// Where the picture is in half-blocks, and in pixels: first column and line, width, height. The last row has the status line.
pub const BLOCKS: (usize, usize, usize, usize) = (0, 0, 100, 75);
pub const PIXELS: (usize, usize, usize, usize) = (10 * CELL.0, 4 * CELL.1, WIDTH, HEIGHT);

pub fn xterm(attributes: &'static str) -> Answers {
    Answers { attributes: Some(attributes), kitty: false, cell_size: true, modes: vec![1006], status: true }
}
pub fn kitty() -> Answers {
    Answers { kitty: true, modes: vec![1006, 1016], ..xterm("62;c") }
}

/// The program on a terminal that answers.
pub struct Seen {
    pub program: Program,
    pub terminal: Terminal,
    pub debug: Scratch,
    pub shot: Scratch,
    pub _image: Scratch,
}

impl Seen {
    pub fn start(answers: Answers, mouse: Mouse, more: &[&str], variables: &[(&str, &str)]) -> Seen {
        let image = image(mouse);
        let (debug, shot) = (Scratch::new("mouse"), Scratch::new("screen.png"));
        let (kernel, port, file) = (image.path(), format!("file:{}", debug.path()), shot.path());
        let fixed =
            ["run", "--memory", "16M", "--kernel", &kernel, "--debugcon", &port, "--screenshot", &file];
        let arguments = [&fixed[..], more].concat();
        let program = Program::start_on_terminal_with(&arguments, COLUMNS as u16, ROWS as u16, variables);
        let terminal = Terminal::new(COLUMNS, ROWS).with_cells(CELL.0, CELL.1).answering(answers);
        Seen { program, terminal, debug, shot, _image: image }
    }
    /// Shows what the program has written, and answers it; false at the end.
    pub fn look(&mut self) -> bool {
        let Some(written) = self.program.next_output(Duration::from_millis(20)) else { return false };
        self.terminal.write(written.as_bytes());
        let answers = self.terminal.take_answers();
        if !answers.is_empty() {
            self.program.send(std::str::from_utf8(&answers).unwrap());
        }
        true
    }
    /// Looks until the end.
    pub fn end(&mut self) -> Option<i32> {
        while self.look() {}
        assert!(self.program.terminal_is_cooked());
        assert!(!self.terminal.is_in_sequence() && self.terminal.images() == 0);
        let left: Vec<_> = self.terminal.modes().iter().filter(|mode| ![7, 25].contains(*mode)).collect();
        assert_eq!(left, [&0; 0], "modes that are left");
        self.program.wait_on_terminal()
    }
    pub fn wait_until(&mut self, what: &str, done: impl Fn(&Terminal) -> bool) {
        let began = Instant::now();
        // Not in the middle of a picture: a person sees none of it before its end.
        while self.terminal.modes().contains(&2026) || self.terminal.is_in_sequence() || !done(&self.terminal)
        {
            let goes_on = began.elapsed() < PATIENCE && self.look();
            assert!(goes_on, "never {what}:\n{}", self.terminal.text());
        }
    }
    /// Waits until the guest's picture is on the screen, in the colours that `other` says.
    pub fn wait_for_picture(&mut self, other: bool) {
        let what = format!("{WIDTH}x{HEIGHT}");
        self.wait_until("the picture", |terminal| {
            let is_there = |pixel| is_near(pixel, colour(WIDTH / 2, HEIGHT - 10, other), 40);
            terminal.text().contains(&what) && last_pixel(terminal).is_some_and(is_there)
        });
    }
    /// Leaves, and returns what the guest showed, with the terminal as it was before.
    pub fn leave(mut self) -> (Picture, Terminal) {
        let before = self.terminal.clone();
        self.program.send("\x01x");
        assert_eq!(self.end(), Some(0));
        (Picture::from_png(&self.shot.0), before)
    }
    /// What the mouse has sent.
    pub fn sent(&self) -> Vec<u8> {
        drawing_guest::sent(&self.debug)
    }
    pub fn wait_for_bytes(&mut self, count: usize) -> Vec<u8> {
        let began = Instant::now();
        loop {
            let sent = self.sent();
            if sent.len() >= count {
                return sent;
            }
            assert!(began.elapsed() < PATIENCE, "{sent:?}");
            self.look();
        }
    }
}

/// A pixel near the bottom and the middle of the picture, which is drawn last, in whichever format it is.
pub fn last_pixel(terminal: &Terminal) -> Option<[u8; 3]> {
    let column = COLUMNS / 2;
    match terminal.cell(column, BLOCKS.3 / 2 - 1).background {
        Colour::Rgb(rgb) => Some(rgb),
        _ => terminal.pixel(column * CELL.0, PIXELS.1 + HEIGHT - 10),
    }
}

pub fn is_near(shown: [u8; 3], meant: u32, most: u8) -> bool {
    let meant = &meant.to_be_bytes()[1..];
    shown.iter().zip(meant).all(|(shown, meant)| shown.abs_diff(*meant) <= most)
}

/// The mean light of a part of a picture, whose edges are parts of pixels, as codes of colours.
pub fn mean(picture: &Picture, x: (f64, f64), y: (f64, f64)) -> [f64; 3] {
    let light = |code: u8| {
        let code = f64::from(code) / 255.0;
        if code <= 0.04045 { code / 12.92 } else { ((code + 0.055) / 1.055).powf(2.4) }
    };
    let share =
        |at: usize, edges: (f64, f64)| (edges.1.min(at as f64 + 1.0) - edges.0.max(at as f64)).max(0.0);
    let (mut sums, mut all) = ([0.0; 3], 0.0);
    for line in y.0 as usize..(y.1.ceil() as usize).min(picture.height) {
        for at in x.0 as usize..(x.1.ceil() as usize).min(picture.width) {
            let part = share(at, x) * share(line, y);
            all += part;
            let pixel = picture.rgb(at, line);
            (0..3).for_each(|colour| sums[colour] += part * light(pixel[colour]));
        }
    }
    sums.map(|sum| {
        let light = sum / all;
        255.0 * if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
    })
}

/// The picture that is shown, as (first column or pixel, first row or pixel, width, height), against what the guest showed.
#[track_caller]
pub fn check(
    picture: &Picture,
    place: (usize, usize, usize, usize),
    near: f64,
    shown: impl Fn(usize, usize) -> Option<[u8; 3]>,
) {
    let (left, top, width, height) = place;
    let side = |at: usize, all: usize, of: usize| {
        (at as f64 * of as f64 / all as f64, (at + 1) as f64 * of as f64 / all as f64)
    };
    for y in 0..height {
        for x in 0..width {
            let meant = mean(picture, side(x, width, picture.width), side(y, height, picture.height));
            let shown = shown(left + x, top + y).unwrap_or_else(|| panic!("nothing at {x}, {y}"));
            let far =
                (0..3).map(|colour| (f64::from(shown[colour]) - meant[colour]).abs()).fold(0.0, f64::max);
            assert!(far <= near, "{x}, {y}: {shown:?}, and should be {meant:?}");
        }
    }
}

/// The colour of half a cell.
pub fn half(terminal: &Terminal, column: usize, line: usize) -> Option<[u8; 3]> {
    let cell = terminal.cell(column, line / 2);
    let colour = match (cell.character, line % 2) {
        ('▀', 0) => cell.foreground,
        ('▀' | ' ', _) => cell.background,
        _ => return None,
    };
    match colour {
        Colour::Rgb(rgb) => Some(rgb),
        _ => None,
    }
}
