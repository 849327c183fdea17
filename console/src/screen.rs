//! The guest's screen in the terminal: frames in, escape sequences out, with the status line.
//!
//! A text mode is drawn as text, a graphics mode as a picture ([`crate::graphics`]), in the format that the terminal has. While the
//! terminal has not said that it has drawn a picture, the next one waits: what the guest draws meanwhile is never sent, however slow
//! the line is.

use crate::abilities::Abilities;
use crate::background_writer;
use crate::charset;
use crate::graphics::fit::{Fit, Room, Unit};
use crate::graphics::stage::Stage;
use crate::graphics::{Format, kitty};
use crate::mouse::{GuestPlace, Mouse};
use crate::render::{self, Picture, Renderer};
use crate::reports::{MouseReport, Report};
use crate::session::{Guest, Status};
use crate::status::{self, Speed, StatusLine};
use crate::terminal::{self, RawTerminal};
use crate::view::{self, Extras};
use std::io::{self, Write};
use std::time::{Duration, Instant};
use trimotor_devices::vga::TextScreen;

/// How long a terminal that answers may take to draw a picture before the next one is sent anyway.
const DRAWING_TIME: Duration = Duration::from_secs(3);
/// DSR, behind each picture: its answer says that the picture is drawn.
const DRAWN_QUESTION: &[u8] = b"\x1b[5n";
/// The pixels of a guest's character that its mouse counts in.
const CHARACTER: (usize, usize) = (8, 16);

/// What the terminal shows of the guest.
#[derive(Clone, Debug)]
enum Shown {
    Nothing,
    Text(Box<TextScreen>),
    Picture(Fit, (usize, usize)),
}

/// Draws a guest's screen in the terminal.
#[derive(Debug)]
pub struct ScreenDisplay {
    renderer: Renderer,
    size: (usize, usize),
    extras: Extras,
    wants_status: bool,
    speed: Speed,
    /// The console's own key, as people write it.
    prefix: Option<String>,
    abilities: Abilities,
    stage: Stage,
    shown: Shown,
    /// The format of the picture that is shown.
    format: Option<Format>,
    zoomed: bool,
    /// Whether the person wants the guest to have the mouse; not said, it has where it shows pictures.
    wants_mouse: Option<bool>,
    /// The guest has the mouse, in pixels where that is true.
    has_mouse: Option<bool>,
    mouse: Mouse,
    /// Where the mouse was last, in the guest's pixels.
    pointer: Option<(f64, f64)>,
    /// Since when the terminal draws a picture that it has not said to be drawn.
    drawing_since: Option<Instant>,
    /// What the last picture took to be made.
    cost: Duration,
    /// A picture waits for the terminal's answers.
    undecided: bool,
}

impl ScreenDisplay {
    /// A display that tells of the console's own key `prefix` ("Ctrl-A"), if there is one; with pictures in `format`, or in
    /// that which suits the terminal.
    pub fn new(prefix: Option<String>, format: Option<Format>) -> Self {
        let abilities = Abilities::of_environment(format);
        Self {
            renderer: Renderer::new(charset::is_ascii_only()),
            size: terminal::size(),
            extras: Extras::default(),
            wants_status: true,
            speed: Speed::default(),
            prefix,
            abilities,
            stage: Stage::default(),
            shown: Shown::Nothing,
            format: None,
            zoomed: false,
            wants_mouse: None,
            has_mouse: None,
            mouse: Mouse::default(),
            pointer: None,
            drawing_since: None,
            cost: Duration::ZERO,
            undecided: false,
        }
    }
    /// Takes the terminal's screen, and asks it what it can do.
    ///
    /// # Errors
    /// The terminal fails.
    pub fn enter(&mut self, terminal: &RawTerminal) -> io::Result<()> {
        terminal.enter_screen("Trimotor")?;
        // All is cleared before the first picture, whatever a terminal makes of them.
        write_out(&self.abilities.questions(Instant::now()))?;
        self.redraw();
        Ok(())
    }
    /// Gives the terminal's screen back: no mouse, no pictures.
    ///
    /// # Errors
    /// The terminal fails.
    pub fn leave(&mut self, terminal: &RawTerminal) -> io::Result<()> {
        self.set_mouse(false, terminal)?;
        if self.format == Some(Format::Kitty) {
            write_out(kitty::DELETE_ALL)?;
        }
        self.end_picture();
        self.drawing_since = None;
        terminal.leave_screen()
    }
    /// The terminal has another size.
    ///
    /// # Errors
    /// The terminal fails.
    pub fn resized(&mut self) -> io::Result<()> {
        self.redraw();
        write_out(self.abilities.questions_of_size())
    }
    /// The terminal shows what is not ours, or has another size: draw all anew.
    pub fn redraw(&mut self) {
        self.size = terminal::size();
        self.abilities.take_window(terminal::pixels(), self.size);
        self.renderer.invalidate();
    }
    /// Shows or hides the status line.
    pub fn toggle_status_line(&mut self) {
        self.wants_status = !self.wants_status;
    }
    /// Whether the status line is shown.
    pub fn has_status(&self) -> bool {
        self.wants_status
    }
    /// Gives the mouse to the guest, or back to the terminal.
    pub fn toggle_mouse(&mut self) {
        self.wants_mouse = Some(self.has_mouse.is_none());
    }
    /// Shows a picture as large as it is, or all of it.
    pub fn toggle_zoom(&mut self) {
        self.zoomed = !self.zoomed;
    }
    /// Opens a box of help over the screen.
    pub fn open_overlay(&mut self, lines: Vec<String>) {
        self.extras.overlay = Some(lines);
    }
    /// Closes the box of help; false where none is open.
    pub fn close_overlay(&mut self) -> bool {
        let was_open = self.extras.overlay.take().is_some();
        // It lay over pixels.
        if was_open && self.format.is_some_and(|format| format != Format::Blocks) {
            self.renderer.invalidate();
        }
        was_open
    }
    /// Takes what the terminal says. True where it may be shown in another way then.
    pub fn take_report(&mut self, report: &Report, guest: &mut dyn Guest) -> bool {
        match report {
            Report::Status => {
                self.drawing_since = None;
                false
            }
            Report::Mouse(report) => {
                self.take_mouse(*report, guest);
                self.zoomed && matches!(self.shown, Shown::Picture(..))
            }
            _ => {
                self.abilities.take(report, self.size);
                true
            }
        }
    }
    /// Gives the guest what its mouse did, as much as it takes; whether some is left.
    pub fn feed_mouse(&mut self, guest: &mut dyn Guest) -> bool {
        self.mouse.feed(|event| guest.pointer(event));
        self.mouse.is_waiting()
    }
    /// Whether the terminal may send reports.
    pub fn expects_reports(&self) -> bool {
        self.has_mouse.is_some()
            || self.drawing_since.is_some()
            || self.abilities.awaits_answers(Instant::now())
    }
    /// Whether the guest has the mouse.
    pub fn has_mouse(&self) -> bool {
        self.has_mouse.is_some()
    }
    /// Until when the terminal draws, at most; none where it is ready.
    pub fn draws_until(&self) -> Option<Instant> {
        self.drawing_since.map(|since| since + DRAWING_TIME)
    }
    /// Whether a picture waits for the terminal's answers.
    pub fn is_undecided(&self) -> bool {
        self.undecided
    }
    /// What the last picture took to be made: the next one waits as long, so that there is time for keys.
    pub fn cost(&self) -> Duration {
        self.cost
    }
    /// Draws the guest's screen as it is now.
    ///
    /// # Errors
    /// The terminal fails.
    pub fn show(&mut self, guest: &mut dyn Guest, terminal: &RawTerminal) -> io::Result<()> {
        let began = Instant::now();
        let screen = guest.screen();
        let is_picture = screen.is_none();
        self.renderer.set_depth(self.abilities.depth());
        let mut frame = Vec::new();
        match screen {
            Some(screen) => {
                self.end_picture();
                self.set_mouse(self.wants_mouse.unwrap_or(false), terminal)?;
                self.update_status(guest, began);
                let picture = view::compose(&screen, self.size, &self.extras);
                self.shown = Shown::Text(Box::new(screen));
                self.renderer.draw(&picture, &mut frame)?;
            }
            None => self.draw_picture(guest, began, terminal, &mut frame)?,
        }
        if frame.is_empty() {
            return Ok(());
        }
        let mut frame = render::at_once(&frame);
        if is_picture && self.abilities.answers() {
            frame.extend(DRAWN_QUESTION);
            self.drawing_since = Some(Instant::now());
        }
        self.cost = if is_picture { began.elapsed() } else { Duration::ZERO };
        write_out(&frame)
    }
    /// Draws the guest's picture.
    fn draw_picture(
        &mut self,
        guest: &mut dyn Guest,
        now: Instant,
        terminal: &RawTerminal,
        frame: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.stage.look(|| guest.view());
        let has_picture = self.stage.size() != (0, 0);
        self.set_mouse(self.wants_mouse.unwrap_or(has_picture), terminal)?;
        let format = self.abilities.format(now);
        self.undecided = format.is_none() && has_picture;
        let unit = self.abilities.unit(format.unwrap_or(Format::Blocks));
        let before = match (self.shown.clone(), self.format) {
            (Shown::Picture(fit, _), before) if before == format => Some(fit),
            _ => None,
        };
        let fit = format.and_then(|_| self.stage.lay_out(self.room(unit), self.zoom()));
        // What was there is in the way of pixels, and pixels in the way of what comes.
        if before.is_some_and(|before| !fit.is_some_and(|fit| fit.has_same_cells(&before)))
            || before.is_none() != fit.is_none()
        {
            self.renderer.invalidate();
        }
        self.shown = fit.map_or(Shown::Nothing, |fit| Shown::Picture(fit, self.stage.size()));
        let had_images = self.format == Some(Format::Kitty);
        self.format = format;
        self.update_status(guest, now);
        let put = |picture: &mut Picture| {
            if let Some(format) = format {
                self.stage.put(format, unit == Unit::Cell, picture);
            }
        };
        let picture = view::with_picture(self.size, &self.extras, put);
        let clears = self.renderer.clears_for(&picture);
        if clears && (format == Some(Format::Kitty) || had_images) {
            frame.extend(kitty::DELETE_ALL);
        }
        self.renderer.draw(&picture, frame)?;
        if let Some(format) = format.filter(|format| *format != Format::Blocks) {
            terminal.note_images();
            self.send_pixels(format, unit, clears, &picture, frame)?;
        }
        Ok(())
    }
    /// Sends what the terminal does not show yet of a picture of pixels; on a screen that was just cleared, all. While a box lies over the
    /// picture, nothing else.
    fn send_pixels(
        &mut self,
        format: Format,
        unit: Unit,
        clears: bool,
        picture: &Picture,
        frame: &mut Vec<u8>,
    ) -> io::Result<()> {
        let covered = self.extras.overlay.is_some();
        if covered && !clears {
            return Ok(());
        }
        if clears {
            self.stage.forget_sent();
        }
        let fits_to_cells = unit == Unit::PixelOfWholeCells;
        self.stage.send(format, self.abilities.registers(), fits_to_cells, frame);
        if covered { self.renderer.draw_again(picture, frame) } else { Ok(()) }
    }
    /// The room for a picture. The last row is none for pixels: some terminals scroll where a picture ends there.
    fn room(&self, unit: Unit) -> Room {
        let (columns, rows) = self.size;
        let has_status = self.wants_status && view::has_status_row(rows);
        let keeps_last = has_status || matches!(unit, Unit::Pixel | Unit::PixelOfWholeCells);
        Room {
            columns,
            rows: if keeps_last { rows.saturating_sub(1) } else { rows },
            cell: self.abilities.cell(),
            unit,
        }
    }
    /// Where a zoom looks: where the mouse is, or where something small changed.
    fn zoom(&self) -> Option<(usize, usize)> {
        let pointer = self.pointer.filter(|_| self.has_mouse.is_some());
        self.zoomed
            .then(|| pointer.map_or(self.stage.active(), |(x, y)| (x.max(0.0) as usize, y.max(0.0) as usize)))
    }
    /// No picture is shown any more.
    fn end_picture(&mut self) {
        if matches!(self.shown, Shown::Picture(..)) {
            self.renderer.invalidate();
        }
        if self.stage.is_on() {
            self.stage.end();
        }
        if self.format == Some(Format::Kitty) {
            // Errors are those of the frame that follows.
            let _ = write_out(kitty::DELETE_ALL);
        }
        (self.format, self.undecided, self.pointer, self.shown) = (None, false, None, Shown::Nothing);
    }
    /// Has the guest the mouse, or no more.
    fn set_mouse(&mut self, on: bool, terminal: &RawTerminal) -> io::Result<()> {
        let wanted = (on && self.abilities.has_mouse()).then_some(self.abilities.has_pixel_mouse());
        if wanted == self.has_mouse {
            return Ok(());
        }
        if wanted.is_none() {
            self.mouse.release_all();
        }
        self.has_mouse = wanted;
        terminal.set_mouse(wanted.is_some(), wanted.unwrap_or(false))
    }
    fn take_mouse(&mut self, report: MouseReport, guest: &mut dyn Guest) {
        let Some(in_pixels) = self.has_mouse else { return };
        let cell = self.abilities.cell();
        // The middle of what the report means.
        let part = |at: u32, cell: usize| match in_pixels {
            true => f64::from(at) / cell as f64,
            false => f64::from(at) - 0.5,
        };
        let (column, row) = (part(report.x, cell.width), part(report.y, cell.height));
        let (pixel, size) = match &self.shown {
            Shown::Nothing => return,
            Shown::Text(screen) => {
                let (column, row) = view::guest_cell(screen, self.size, self.wants_status, (column, row));
                let (width, height) = CHARACTER;
                ((column * width as f64, row * height as f64), (screen.columns * width, screen.rows * height))
            }
            Shown::Picture(fit, size) => {
                (fit.guest_pixel(column * cell.width as f64, row * cell.height as f64), *size)
            }
        };
        let inside = (0.0..size.0 as f64).contains(&pixel.0) && (0.0..size.1 as f64).contains(&pixel.1);
        self.pointer = Some(pixel);
        let absolute = guest.pointer_is_absolute();
        self.mouse.take(report, GuestPlace { pixel, size, inside }, absolute);
    }
    fn update_status(&mut self, guest: &mut dyn Guest, now: Instant) {
        self.extras.status = self.wants_status.then(|| self.status_line(&guest.status(), now));
    }
    fn status_line(&mut self, status: &Status, now: Instant) -> StatusLine {
        let mips = self.speed.measure(status, now);
        let mut line = status::of_machine(status, mips, self.prefix.as_deref());
        if let (Shown::Picture(_, (width, height)), Some(format)) = (&self.shown, self.format) {
            line.push(2, format!("{width}x{height} {format}{}", if self.zoomed { ", zoomed" } else { "" }));
        }
        if self.has_mouse.is_some() {
            let key = self.prefix.as_deref().map(|prefix| format!(" ({prefix} m)")).unwrap_or_default();
            line.push(2, format!("mouse{key}"));
        }
        line
    }
}

fn write_out(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    background_writer::stdout().write_all(bytes)
}
