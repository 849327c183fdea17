//! The text screen in the terminal: frames in, escape sequences out, with the status line.

use crate::background_writer;
use crate::charset;
use crate::render::Renderer;
use crate::session::{Guest, Status};
use crate::status::StatusLine;
use crate::terminal::{self, RawTerminal};
use crate::view::{self, Extras};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Screens are drawn at most this often.
const LEAST_INTERVAL: Duration = Duration::from_millis(25);
/// The status line's speed is an average over this long.
const SPEED_INTERVAL: Duration = Duration::from_secs(1);

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
    last_drawn: Option<Instant>,
}

impl ScreenDisplay {
    /// A display that tells of the console's own key `prefix` ("Ctrl-A"), if there is one.
    pub fn new(prefix: Option<String>) -> Self {
        Self {
            renderer: Renderer::new(charset::is_ascii_only()),
            size: terminal::size(),
            extras: Extras::default(),
            wants_status: true,
            speed: Speed::default(),
            prefix,
            last_drawn: None,
        }
    }
    /// Takes the terminal's screen.
    ///
    /// # Errors
    /// The terminal fails.
    pub fn enter(&mut self, terminal: &RawTerminal) -> io::Result<()> {
        terminal.enter_screen("Trimotor")?;
        self.resized();
        Ok(())
    }
    /// The terminal has another size, or shows what is not ours: draw all anew.
    pub fn resized(&mut self) {
        self.size = terminal::size();
        self.renderer.invalidate();
        self.last_drawn = None;
    }
    /// Shows or hides the status line.
    pub fn toggle_status_line(&mut self) {
        self.wants_status = !self.wants_status;
        self.last_drawn = None;
    }
    /// Opens a box of help over the screen.
    pub fn open_overlay(&mut self, lines: Vec<String>) {
        self.extras.overlay = Some(lines);
        self.last_drawn = None;
    }
    /// Closes the box of help; false where none is open.
    pub fn close_overlay(&mut self) -> bool {
        self.last_drawn = None;
        self.extras.overlay.take().is_some()
    }
    /// Draws the guest's screen as it is now, unless it was drawn a moment ago.
    ///
    /// # Errors
    /// The terminal fails.
    pub fn show(&mut self, guest: &mut dyn Guest) -> io::Result<()> {
        let now = Instant::now();
        if self.last_drawn.is_some_and(|last| now.duration_since(last) < LEAST_INTERVAL) {
            return Ok(());
        }
        self.last_drawn = Some(now);
        let screen = guest.screen();
        self.extras.status = None;
        if self.wants_status {
            let status = guest.status();
            let mips = self.speed.measure(&status, now);
            self.extras.status = Some(status_line(&status, mips, self.prefix.as_deref()));
        }
        let picture = match &screen {
            Some(screen) => view::compose(screen, self.size, &self.extras),
            None => view::without_text(self.size, &self.extras),
        };
        let mut frame = Vec::new();
        self.renderer.draw(&picture, &mut frame)?;
        background_writer::stdout().write_all(&frame)
    }
}

/// Millions of instructions a second of host time.
#[derive(Default, Debug)]
struct Speed {
    since: Option<(Instant, u64)>,
    mips: Option<f64>,
}

impl Speed {
    fn measure(&mut self, status: &Status, now: Instant) -> Option<f64> {
        let instructions = status.instructions?;
        let (since, before) = *self.since.get_or_insert((now, instructions));
        let passed = now.duration_since(since);
        if passed >= SPEED_INTERVAL {
            self.mips = Some(instructions.saturating_sub(before) as f64 / passed.as_secs_f64() / 1e6);
            self.since = Some((now, instructions));
        }
        self.mips
    }
}

fn status_line(status: &Status, mips: Option<f64>, prefix: Option<&str>) -> StatusLine {
    let mut line = StatusLine::default();
    line.push(4, status.engine.as_str());
    if status.paused {
        line.push(6, "paused");
    }
    line.push(3, format!("{:.1} s", status.guest_time_ns as f64 / 1e9));
    if let Some(mips) = mips {
        line.push(1, format!("{mips:.0} MIPS"));
    }
    if let Some(prefix) = prefix {
        line.push(5, format!("{prefix} h: keys, {prefix} x: leave"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_instructions_over_host_time() {
        let mut speed = Speed::default();
        let start = Instant::now();
        let at = |instructions| Status { instructions: Some(instructions), ..Status::default() };
        assert_eq!(speed.measure(&at(0), start), None);
        assert_eq!(speed.measure(&at(400_000_000), start + Duration::from_secs(2)), Some(200.0));
        assert_eq!(speed.measure(&Status::default(), start), None);
    }

    #[test]
    fn the_status_line_says_engine_time_and_speed() {
        let status =
            Status { engine: "interp".to_owned(), guest_time_ns: 12_340_000_000, ..Status::default() };
        let line = |mips, columns| status_line(&status, mips, Some("Ctrl-B")).fit(columns);
        assert_eq!(line(None, 80), " interp │ 12.3 s │ Ctrl-B h: keys, Ctrl-B x: leave");
        assert!(line(Some(99.6), 80).contains("100 MIPS"));
        let paused = Status { paused: true, ..status.clone() };
        assert!(status_line(&paused, None, None).fit(80).contains("interp │ paused │"));
        assert_eq!(line(Some(99.6), 40), " Ctrl-B h: keys, Ctrl-B x: leave");
    }
}
