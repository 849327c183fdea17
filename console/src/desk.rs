//! A session while it runs: what is typed, what is shown, and when to look.
//!
//! The desk waits for events, and has a time of its own only while there is a reason
//! ([`Desk::patience`]): a lone Escape that is undecided, something that waits for the guest, the time between two pictures.

use crate::background_writer;
use crate::charset;
use crate::decode::Decoder;
use crate::escape::{Command, Escape, Typed};
use crate::input::{HostEvent, TypedQueue};
use crate::keys::{KeyCode, Stroke};
use crate::monitor_view::MonitorView;
use crate::outlet::SerialOutlet;
use crate::overlay;
use crate::reports::{Piece, Report, Reports};
use crate::screen::ScreenDisplay;
use crate::session::{Display, Ending, Event, Guest};
use crate::silence::Silence;
use crate::terminal::{MessageWriter, Passage, RawTerminal};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often the screen is drawn at most, 30 pictures a second, and how often is looked at what gives no notice.
const FRAME_INTERVAL: Duration = Duration::from_millis(33);
/// How often the status line is drawn, whose time goes on while nothing else changes.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes and keys that wait for the guest before no more input is taken from a pipe, and what is typed on a terminal is
/// dropped. A large paste fits.
const WAITING_LIMIT: usize = 64 << 10;
/// How long the end waits for a reader of the output that takes nothing, where a person or a signal asked for it.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Serial output kept for who switches to the serial port later, in bytes.
const BACKLOG_BYTES: usize = 256 * 1024;
/// DSR: asks a terminal for its status, and the answer of one that is well (ECMA-48, "Device Status Report").
const STATUS_QUESTION: &[u8] = b"\x1b[5n";
const STATUS_ANSWER: &[u8] = b"\x1b[0n";
/// How long it is waited for at the end.
const ANSWER_WAIT: Duration = Duration::from_millis(300);
/// How long what a terminal says is for the screen after the serial port has taken its place.
const DRAIN_WAIT: Duration = Duration::from_secs(1);
/// Where the time for a picture has come and the terminal has not taken the last one: the wait before the next look.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// The running session's state.
pub(crate) struct Desk<'a> {
    pub(crate) guest: &'a mut dyn Guest,
    pub(crate) outlet: SerialOutlet,
    pub(crate) display: Display,
    pub(crate) screen: ScreenDisplay,
    /// Of the serial port, where it is shown from the beginning.
    pub(crate) silence: Option<Silence>,
    pub(crate) told_of_pause: bool,
    pub(crate) passage: Passage,
    pub(crate) lines: Vec<String>,
    pub(crate) has_screen: bool,
    pub(crate) escape: Escape,
    pub(crate) decoder: Decoder,
    /// What the terminal says between what is typed, while the screen is drawn on it.
    pub(crate) reports: Reports,
    /// The serial port has the terminal, but what it says may still be for the screen.
    pub(crate) drains_until: Option<Instant>,
    pub(crate) typed: TypedQueue,
    /// When something was typed last.
    pub(crate) typed_at: Instant,
    /// The guest's screen, or what else is shown, may be another one than that drawn last.
    pub(crate) changed: Arc<AtomicBool>,
    pub(crate) drawn_at: Option<Instant>,
    /// Something was asked for that the guest's report is to tell.
    pub(crate) report_due: bool,
    /// A person types: the console's own keys must be found whether or not the guest takes what comes before them.
    pub(crate) is_typed: bool,
    pub(crate) keys: VecDeque<(KeyCode, bool)>,
    /// What the mouse did waits for the guest too.
    pub(crate) mouse_waits: bool,
    pub(crate) bytes: VecDeque<u8>,
    /// The monitor, where it can be had from here.
    pub(crate) monitor: Option<MonitorView>,
    pub(crate) backlog: VecDeque<u8>,
    pub(crate) terminal: RawTerminal,
}

impl Desk<'_> {
    /// Obeys until the session ends.
    pub(crate) fn run(&mut self, events: &Receiver<Event>) -> io::Result<Ending> {
        loop {
            let event = match self.patience() {
                None => Some(events.recv().unwrap_or(Event::GuestEnded)),
                Some(limit) => match events.recv_timeout(limit) {
                    Ok(event) => Some(event),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => Some(Event::GuestEnded),
                },
            };
            match event {
                Some(Event::Host(HostEvent::EndSignal(signal))) => return Ok(Ending::Signal(signal)),
                Some(Event::GuestEnded) => return Ok(Ending::GuestEnded),
                Some(Event::Leave) => return Ok(Ending::Quit),
                Some(Event::Host(HostEvent::Resize)) => self.resized()?,
                Some(Event::SerialOutput) => self.pass_serial_output()?,
                Some(Event::MonitorOutput) => self.pass_monitor_output()?,
                Some(Event::Host(HostEvent::Input)) => self.typed_at = Instant::now(),
                Some(Event::Host(_) | Event::GuestChanged) | None => {}
            }
            if self.take_idle()? || self.take_typed()? {
                return Ok(Ending::Quit);
            }
            self.feed_guest();
            self.show()?;
        }
    }
    /// How long to wait for the next event at most; without end where all that can come gives notice.
    fn patience(&self) -> Option<Duration> {
        let waits = !self.keys.is_empty() || !self.bytes.is_empty() || self.waits_for_monitor() > 0;
        let retries = waits || self.report_due || self.mouse_waits;
        let undecided = self.decoder.is_waiting() || self.reports.is_waiting() || retries;
        let silence = self.silence.as_ref().filter(|_| !self.in_monitor());
        let silence = silence.and_then(|silence| silence.patience(Instant::now()));
        let picture = (self.display != Display::Serial).then(|| {
            let is_new = self.is_new() || self.drawn_at.is_none();
            let has_status = self.display == Display::Screen && self.screen.has_status();
            let interval =
                if is_new { Some(self.frame_interval()) } else { has_status.then_some(STATUS_INTERVAL) };
            let since = self.drawn_at.map_or(Duration::ZERO, |drawn| drawn.elapsed());
            let drawn = self
                .screen
                .draws_until()
                .map_or(Duration::ZERO, |until| until.duration_since(Instant::now()));
            interval.map(|interval| interval.saturating_sub(since).max(drawn).max(SHORTEST_WAIT))
        });
        [undecided.then_some(FRAME_INTERVAL), silence, picture.flatten()].into_iter().flatten().min()
    }
    /// Whether there may be something new to show.
    fn is_new(&self) -> bool {
        self.changed.load(Ordering::Acquire)
            || (self.display == Display::Screen && self.screen.is_undecided())
    }
    /// The time between two pictures, half of which may be spent on making them.
    fn frame_interval(&self) -> Duration {
        FRAME_INTERVAL.max(2 * self.screen.cost())
    }
    /// What is shown must be drawn anew.
    fn redraw(&mut self) {
        self.screen.redraw();
        self.drawn_at = None;
    }
    fn resized(&mut self) -> io::Result<()> {
        self.drawn_at = None;
        match self.display {
            Display::Screen => self.screen.resized(),
            _ => Ok(()),
        }
    }
    /// What may be typed by itself is, once nothing has followed. True where the person leaves.
    fn take_idle(&mut self) -> io::Result<bool> {
        let waited = self.typed_at.elapsed();
        let typed = self.reports.idle(waited);
        let leaves = self.take_bytes(&typed)?;
        if waited >= FRAME_INTERVAL {
            self.strike_decoded(|decoder| decoder.idle());
        }
        Ok(leaves)
    }
    /// Takes what was typed; from a pipe, while there is room for it. True where the person leaves.
    fn take_typed(&mut self) -> io::Result<bool> {
        while self.is_typed || self.has_room() {
            let Some(bytes) = self.typed.take() else { break };
            self.drains_until = self.drains_until.filter(|until| Instant::now() < *until);
            // What a terminal says to the guest at the serial port is the guest's.
            if self.display == Display::Serial && self.drains_until.is_none() {
                if self.take_bytes(&bytes)? {
                    return Ok(true);
                }
                continue;
            }
            self.reports.expect(
                self.screen.expects_reports() || self.drains_until.is_some(),
                self.screen.has_mouse(),
            );
            for piece in self.reports.push(&bytes) {
                match piece {
                    Piece::Typed(bytes) if self.take_bytes(&bytes)? => return Ok(true),
                    Piece::Typed(_) => {}
                    Piece::Report(report) => self.take_report(&report),
                }
            }
        }
        Ok(false)
    }
    fn take_report(&mut self, report: &Report) {
        if self.drains_until.is_some() && *report == Report::Status {
            self.drains_until = None;
        } else if self.screen.take_report(report, self.guest) {
            // At the pace of other pictures.
            self.changed.store(true, Ordering::Release);
        }
    }
    /// Takes bytes that were typed. True where the person leaves.
    fn take_bytes(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(false);
        }
        self.drawn_at = None;
        for typed in self.escape.push(bytes) {
            match typed {
                Typed::Command(Command::Quit) => return Ok(true),
                Typed::Command(command) => self.obey(command)?,
                Typed::Bytes(_) if self.screen.close_overlay() => {}
                Typed::Bytes(_) if self.is_typed && !self.has_room() => self.ring()?,
                Typed::Bytes(bytes) if self.in_monitor() => self.type_to_monitor(&bytes),
                Typed::Bytes(bytes) if self.display == Display::Serial => self.bytes.extend(bytes),
                Typed::Bytes(bytes) => self.strike_decoded(|decoder| decoder.push(&bytes)),
            }
        }
        Ok(false)
    }
    fn has_room(&self) -> bool {
        self.keys.len() + self.bytes.len() + self.waits_for_monitor() < WAITING_LIMIT
    }
    /// What was typed is dropped: rings the terminal's bell, as terminals do themselves where too much waits.
    fn ring(&mut self) -> io::Result<()> {
        write_out(b"\x07")
    }
    fn strike_decoded(&mut self, decode: impl FnOnce(&mut Decoder) -> Vec<Stroke>) {
        let strokes = decode(&mut self.decoder);
        self.keys.extend(strokes.into_iter().flat_map(Stroke::transitions));
    }
    fn obey(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Help => self.help()?,
            Command::Monitor => self.toggle_monitor()?,
            Command::StatusLine => self.screen.toggle_status_line(),
            Command::Switch if self.in_monitor() => self.leave_monitor()?,
            Command::Switch if self.has_screen => self.switch()?,
            Command::Switch => self.say("this run has no screen: it was started with --nographic")?,
            Command::Break => self.guest.serial_break(),
            Command::CtrlAltDelete => self.keys.extend(Stroke::CTRL_ALT_DELETE.transitions()),
            Command::Info => {
                self.guest.ask_report();
                self.report_due = true;
            }
            Command::Engine => {
                self.guest.switch_engine();
                self.report_due = true;
            }
            Command::Redraw => self.redraw(),
            Command::Pause => {
                let paused = self.guest.status().paused;
                self.guest.set_paused(!paused);
            }
            Command::Mouse | Command::Zoom if self.display != Display::Screen => {
                self.say("this key is for the screen, which is not shown now")?;
            }
            Command::Mouse => self.screen.toggle_mouse(),
            Command::Zoom => self.screen.toggle_zoom(),
            Command::Quit => {}
            Command::Unknown(_) => self.help()?,
        }
        Ok(())
    }
    fn help(&mut self) -> io::Result<()> {
        self.show_lines(overlay::key_help(self.escape.name().as_deref()))
    }
    /// Shows lines of the console's own: in a box over the screen, or between the guest's output.
    fn show_lines(&mut self, lines: Vec<String>) -> io::Result<()> {
        if self.display == Display::Screen {
            self.screen.open_overlay(lines);
            return Ok(());
        }
        self.say(&lines.join("\n"))
    }
    /// Prints a message of the console's own between the guest's output.
    pub(crate) fn say(&mut self, message: &str) -> io::Result<()> {
        let mut out = background_writer::stdout();
        writeln!(out, "\n{}", charset::shown(message))
    }
    fn switch(&mut self) -> io::Result<()> {
        match self.display {
            Display::Screen => {
                self.display = Display::Serial;
                self.leave_screen()?;
                self.show_backlog()
            }
            Display::Serial => {
                self.display = Display::Screen;
                (self.drawn_at, self.drains_until) = (None, None);
                self.passage.undo();
                self.screen.enter(&self.terminal)
            }
            Display::Lines => Ok(()),
        }
    }
    /// The terminal is no longer drawn on.
    pub(crate) fn leave_screen(&mut self) -> io::Result<()> {
        let expects = self.screen.expects_reports();
        self.screen.leave(&self.terminal)?;
        if expects {
            // Its answer comes behind all that the screen has asked for.
            write_out(STATUS_QUESTION)?;
            self.drains_until = Some(Instant::now() + DRAIN_WAIT);
        }
        Ok(())
    }
    /// Shows what the serial port has sent while something else was shown.
    pub(crate) fn show_backlog(&mut self) -> io::Result<()> {
        let backlog: Vec<u8> = self.backlog.drain(..).collect();
        self.say("[serial port]")?;
        self.passage.pass(&backlog, write_out)
    }
    fn feed_guest(&mut self) {
        self.feed_monitor();
        while let Some(&(key, down)) = self.keys.front() {
            if !self.guest.key(key, down) {
                break;
            }
            self.keys.pop_front();
        }
        if !self.bytes.is_empty() {
            let taken = self.guest.serial_input(self.bytes.make_contiguous());
            self.bytes.drain(..taken.min(self.bytes.len()));
        }
        self.mouse_waits = self.screen.feed_mouse(self.guest);
    }
    fn pass_serial_output(&mut self) -> io::Result<()> {
        let passes = self.passes_serial();
        let room = if passes { background_writer::stdout().room() } else { BACKLOG_BYTES };
        let bytes = self.outlet.take(room);
        if let Some(silence) = self.silence.as_mut().filter(|_| !bytes.is_empty()) {
            silence.broken();
        }
        if passes {
            return self.passage.pass(&bytes, write_out);
        }
        self.backlog.extend(bytes);
        let too_many = self.backlog.len().saturating_sub(BACKLOG_BYTES);
        self.backlog.drain(..too_many);
        Ok(())
    }
    fn show(&mut self) -> io::Result<()> {
        if let Some(lines) = self.guest.report() {
            self.report_due = false;
            self.drawn_at = None;
            self.show_lines(lines)?;
        }
        // Not where the terminal has not taken the last picture yet, or not drawn it.
        let is_ready = background_writer::stdout().is_idle()
            && self.screen.draws_until().is_none_or(|until| Instant::now() >= until);
        let draws = self.display != Display::Serial && is_ready && self.must_draw();
        match self.display {
            Display::Serial => {
                // What changes from now on gives notice anew.
                self.changed.store(false, Ordering::Release);
                if self.in_monitor() {
                    // Who sits there knows.
                    self.told_of_pause = self.guest.status().paused;
                } else {
                    self.tell_of_silence();
                    self.tell_of_pause();
                }
                Ok(())
            }
            _ if !draws => Ok(()),
            Display::Screen => self.screen.show(self.guest, &self.terminal),
            Display::Lines => self.print_changed_lines(),
        }
    }
    /// Whether it is time for a new picture, which begins then.
    fn must_draw(&mut self) -> bool {
        let since = self.drawn_at.map(|drawn| drawn.elapsed());
        let due = match since {
            None => true,
            Some(since) if self.is_new() => since >= self.frame_interval(),
            Some(since) => self.display == Display::Screen && since >= STATUS_INTERVAL,
        };
        if due {
            // What changes from now on gives notice anew.
            self.changed.store(false, Ordering::Release);
            self.drawn_at = Some(Instant::now());
        }
        due
    }
    /// Where there is no status line.
    fn tell_of_pause(&mut self) {
        let paused = self.guest.status().paused;
        if paused && !self.told_of_pause {
            let keys = self
                .escape
                .name()
                .map(|prefix| format!("; {prefix} p goes on, {prefix} x leaves"))
                .unwrap_or_default();
            let _ = writeln!(MessageWriter, "trimotor: the machine is paused{keys}");
        }
        self.told_of_pause = paused;
    }
    fn tell_of_silence(&mut self) {
        let Some(silence) = &mut self.silence else { return };
        if let Some(advice) = silence.advice(Instant::now(), self.guest) {
            // Where standard error is closed nobody is there to be told.
            let _ = writeln!(MessageWriter, "trimotor: {advice}");
        }
    }
    fn print_changed_lines(&mut self) -> io::Result<()> {
        let Some(screen) = self.guest.screen() else { return Ok(()) };
        let mut text = String::new();
        self.lines.resize(screen.rows, String::new());
        for (row, shown) in self.lines.iter_mut().enumerate() {
            let now = screen.row_text(row);
            if now != *shown {
                text += &format!("{row:02}|{now}\n");
                *shown = now;
            }
        }
        write_out(charset::shown(&text).as_bytes())
    }
    /// Shows what is left to show, and gives the terminal back.
    pub(crate) fn finish(mut self, events: &Receiver<Event>, in_haste: bool) -> io::Result<()> {
        if self.in_monitor() {
            self.end_monitor()?;
        }
        if self.display == Display::Lines {
            self.print_changed_lines()?;
        }
        self.pass_the_rest(events, in_haste)?;
        let expects = match self.display {
            Display::Screen => self.screen.expects_reports(),
            _ => self.drains_until.is_some_and(|until| Instant::now() < until),
        };
        if self.display == Display::Screen {
            self.screen.leave(&self.terminal)?;
        }
        if self.is_typed && (self.passage.has_asked() || expects) {
            self.await_answers(events)?;
        }
        drop(self.terminal);
        match background_writer::stdout().failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
    /// Waits for what the terminal answers to the guest's questions: the shell would take it for something typed. Terminals answer
    /// in order, so that the answer to a last question comes behind all others.
    fn await_answers(&mut self, events: &Receiver<Event>) -> io::Result<()> {
        write_out(STATUS_QUESTION)?;
        let start = Instant::now();
        let mut answers = Vec::new();
        while let Some(left) = ANSWER_WAIT.checked_sub(start.elapsed()) {
            while let Some(piece) = self.typed.take() {
                answers.extend(piece);
            }
            let answered = answers.windows(STATUS_ANSWER.len()).any(|part| part == STATUS_ANSWER);
            if answered || matches!(events.recv_timeout(left), Ok(Event::Host(HostEvent::EndSignal(_)))) {
                break;
            }
            // The rest of an answer may be in the next piece; what is before it does not matter.
            answers.drain(..answers.len().saturating_sub(STATUS_ANSWER.len()));
        }
        Ok(())
    }
    /// Passes on what is left of the output, however slow its reader is; `in_haste`, while the reader takes anything.
    /// A signal, or the person, ends it.
    fn pass_the_rest(&mut self, events: &Receiver<Event>, in_haste: bool) -> io::Result<()> {
        let out = background_writer::stdout();
        let mut taken = (out.count(), Instant::now());
        loop {
            self.pass_serial_output()?;
            if self.outlet.is_empty() && out.is_idle() {
                return Ok(());
            }
            if out.count() != taken.0 {
                taken = (out.count(), Instant::now());
            }
            let given_up = in_haste && taken.1.elapsed() >= LAST_WAIT;
            let event = events.recv_timeout(FRAME_INTERVAL);
            if given_up || matches!(event, Ok(Event::Host(HostEvent::EndSignal(_)))) || self.take_typed()? {
                return Ok(());
            }
        }
    }
}

pub(crate) fn write_out(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    background_writer::stdout().write_all(bytes)
}
