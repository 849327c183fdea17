//! A person (or a script) and a running PC: what is typed goes in, what is shown comes out.
//!
//! The session runs on the program's main thread. The machine runs on its own threads and
//! is seen through [`Guest`]. Three displays share one loop: the PC's text screen drawn in
//! the terminal, the serial port passed through, and the text screen as plain lines for
//! scripts and screen readers.

use crate::background_writer;
use crate::charset;
use crate::decode::Decoder;
use crate::escape::{Command, Escape, Typed};
use crate::input::{HostEvent, HostInput};
use crate::keys::{KeyCode, Stroke};
use crate::outlet::SerialOutlet;
use crate::overlay;
use crate::screen::ScreenDisplay;
use crate::silence::Silence;
use crate::terminal::{MessageWriter, Passage, RawTerminal};
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};
use trimotor_devices::vga_text::TextScreen;

/// How often the screen is looked at: 30 pictures a second.
const FRAME_INTERVAL: Duration = Duration::from_millis(33);
/// Pieces of input that wait in front of the session before reading stops.
const INPUT_PIECES: usize = 16;
/// Bytes and keys that wait for the guest before no more input is taken from a pipe, and what is typed on a terminal is
/// dropped. A large paste fits.
const WAITING_LIMIT: usize = 64 << 10;
/// How long the end waits for a reader of the output that takes nothing, where a person or a signal asked for it.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Serial output kept for who switches to the serial port later, in bytes.
const BACKLOG_BYTES: usize = 256 * 1024;

/// A running PC as the session sees it. Methods return at once.
pub trait Guest {
    /// The text screen now, if the guest shows one.
    fn screen(&mut self) -> Option<TextScreen>;
    /// A key goes down or up; false where the keyboard has no room (try again later).
    fn key(&mut self, key: KeyCode, down: bool) -> bool;
    /// Bytes arrive at the serial port on the console; returns how many it took.
    fn serial_input(&mut self, bytes: &[u8]) -> usize;
    /// A break arrives at the serial port on the console.
    fn serial_break(&mut self);
    /// Asks what the engine counted; [`report`](Self::report) gives it soon.
    fn ask_report(&mut self);
    /// What the engine counted, as lines, once after it was asked for.
    fn report(&mut self) -> Option<Vec<String>>;
    /// What the status line shows.
    fn status(&mut self) -> Status;
    /// What to tell the person at a serial port from which nothing came for so many seconds, in a line; with the text
    /// screen, if the guest shows one.
    fn advice_on_silence(&mut self, seconds: u64, screen: Option<&TextScreen>) -> Option<String>;
}

/// What the status line shows of the machine.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Status {
    /// The engine's name.
    pub engine: String,
    /// Guest time since power-on, in nanoseconds.
    pub guest_time_ns: u64,
    /// Instructions retired, where the engine counts them.
    pub instructions: Option<u64>,
    /// Whether the machine stands still.
    pub paused: bool,
}

/// Where the guest is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Display {
    /// The text screen, drawn in the terminal.
    Screen,
    /// The serial port, passed through.
    Serial,
    /// The text screen as lines `row|text`, printed as they change.
    Lines,
}

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The machine ended by itself.
    GuestEnded,
    /// The person left.
    Quit,
    /// A signal asked for the end.
    Signal(i32),
}

/// What the session is woken for.
enum Event {
    Host(HostEvent),
    InputWaits,
    SerialOutput,
    GuestEnded,
}

/// A session before and while it runs.
#[derive(Debug)]
pub struct Session {
    events: Receiver<Event>,
    sender: Sender<Event>,
    outlet: SerialOutlet,
}

/// Tells the session that the machine has ended; dropping it tells so too.
#[derive(Debug)]
pub struct EndNotice(Sender<Event>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        let _ = self.0.send(Event::GuestEnded);
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session that nobody has joined yet.
    pub fn new() -> Self {
        let (sender, events) = channel();
        let waker = sender.clone();
        let outlet = SerialOutlet::new(move || {
            let _ = waker.send(Event::SerialOutput);
        });
        Self { events, sender, outlet }
    }
    /// Where the console's serial port sends its output.
    pub fn outlet(&self) -> SerialOutlet {
        self.outlet.clone()
    }
    /// The notice for the machine's thread to drop when it ends.
    pub fn end_notice(&self) -> EndNotice {
        EndNotice(self.sender.clone())
    }
    /// Shows `guest` on `display` and feeds it what is typed, until either ends.
    ///
    /// # Errors
    /// Standard output or the terminal fails.
    pub fn run(self, guest: &mut dyn Guest, display: Display, escape: Escape) -> io::Result<Ending> {
        let (pieces, typed) = sync_channel(INPUT_PIECES);
        let terminal = RawTerminal::take()?;
        let (waker, outlet) = (self.sender.clone(), self.outlet.clone());
        background_writer::stdout().call_on_room(move || {
            if !outlet.is_empty() {
                // At the end nobody listens any more.
                let _ = waker.send(Event::SerialOutput);
            }
        });
        let deliver = deliver_to(self.sender.clone(), pieces);
        let _input = HostInput::start(deliver)?;
        let mut desk = Desk {
            guest,
            outlet: self.outlet.clone(),
            display,
            screen: ScreenDisplay::new(escape.name()),
            silence: (display == Display::Serial).then(Silence::new),
            told_of_pause: false,
            passage: Passage::new(),
            lines: Vec::new(),
            has_screen: display != Display::Serial,
            escape,
            decoder: Decoder::default(),
            typed,
            is_typed: io::stdin().is_terminal(),
            keys: VecDeque::new(),
            bytes: VecDeque::new(),
            backlog: VecDeque::new(),
            terminal,
        };
        if display == Display::Screen {
            desk.screen.enter(&desk.terminal)?;
        }
        let ending = desk.run(&self.events);
        self.outlet.close();
        desk.finish(&self.events, !matches!(ending, Ok(Ending::GuestEnded)))?;
        ending
    }
}

/// Sends host events to the session: bytes through the bounded channel, the rest at once.
fn deliver_to(
    events: Sender<Event>,
    pieces: SyncSender<Vec<u8>>,
) -> impl Fn(HostEvent) -> bool + Clone + Send + 'static {
    move |event| match event {
        HostEvent::Input(bytes) => pieces.send(bytes).is_ok() && events.send(Event::InputWaits).is_ok(),
        other => events.send(Event::Host(other)).is_ok(),
    }
}

/// The running session's state.
struct Desk<'a> {
    guest: &'a mut dyn Guest,
    outlet: SerialOutlet,
    display: Display,
    screen: ScreenDisplay,
    /// Of the serial port, where it is shown from the beginning.
    silence: Option<Silence>,
    told_of_pause: bool,
    passage: Passage,
    lines: Vec<String>,
    has_screen: bool,
    escape: Escape,
    decoder: Decoder,
    typed: Receiver<Vec<u8>>,
    /// A person types: the console's own keys must be found whether or not the guest takes what comes before them.
    is_typed: bool,
    keys: VecDeque<(KeyCode, bool)>,
    bytes: VecDeque<u8>,
    backlog: VecDeque<u8>,
    terminal: RawTerminal,
}

impl Desk<'_> {
    fn run(&mut self, events: &Receiver<Event>) -> io::Result<Ending> {
        loop {
            let event = match events.recv_timeout(FRAME_INTERVAL) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Event::GuestEnded),
            };
            match event {
                Some(Event::Host(HostEvent::EndSignal(signal))) => return Ok(Ending::Signal(signal)),
                Some(Event::GuestEnded) => return Ok(Ending::GuestEnded),
                Some(Event::Host(HostEvent::Resize)) => self.screen.resized(),
                Some(Event::SerialOutput) => self.pass_serial_output()?,
                Some(Event::Host(_) | Event::InputWaits) => {}
                None => self.strike_decoded(|decoder| decoder.idle()),
            }
            if self.take_typed()? {
                return Ok(Ending::Quit);
            }
            self.feed_guest();
            self.show()?;
        }
    }
    /// Takes what was typed; from a pipe, while there is room for it. True where the person leaves.
    fn take_typed(&mut self) -> io::Result<bool> {
        while self.is_typed || self.has_room() {
            let Ok(piece) = self.typed.try_recv() else { break };
            for typed in self.escape.push(&piece) {
                match typed {
                    Typed::Command(Command::Quit) => return Ok(true),
                    Typed::Command(command) => self.obey(command)?,
                    Typed::Bytes(_) if self.screen.close_overlay() => {}
                    Typed::Bytes(_) if self.is_typed && !self.has_room() => self.ring()?,
                    Typed::Bytes(bytes) if self.display == Display::Serial => self.bytes.extend(bytes),
                    Typed::Bytes(bytes) => self.strike_decoded(|decoder| decoder.push(&bytes)),
                }
            }
        }
        Ok(false)
    }
    fn has_room(&self) -> bool {
        self.keys.len() + self.bytes.len() < WAITING_LIMIT
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
            Command::StatusLine => self.screen.toggle_status_line(),
            Command::Switch if self.has_screen => self.switch()?,
            Command::Switch => self.say("this run has no screen: it was started with --nographic")?,
            Command::Break => self.guest.serial_break(),
            Command::CtrlAltDelete => self.keys.extend(Stroke::CTRL_ALT_DELETE.transitions()),
            Command::Info => self.guest.ask_report(),
            Command::Redraw => self.screen.resized(),
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
    fn say(&mut self, message: &str) -> io::Result<()> {
        let mut out = background_writer::stdout();
        writeln!(out, "\n{}", charset::shown(message))
    }
    fn switch(&mut self) -> io::Result<()> {
        match self.display {
            Display::Screen => {
                self.display = Display::Serial;
                self.terminal.leave_screen()?;
                let backlog: Vec<u8> = self.backlog.drain(..).collect();
                self.say("[serial port]")?;
                self.passage.pass(&backlog, write_out)
            }
            Display::Serial => {
                self.display = Display::Screen;
                self.passage.undo();
                self.screen.enter(&self.terminal)
            }
            Display::Lines => Ok(()),
        }
    }
    fn feed_guest(&mut self) {
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
    }
    fn pass_serial_output(&mut self) -> io::Result<()> {
        let room =
            if self.display == Display::Serial { background_writer::stdout().room() } else { BACKLOG_BYTES };
        let bytes = self.outlet.take(room);
        if let Some(silence) = self.silence.as_mut().filter(|_| !bytes.is_empty()) {
            silence.broken();
        }
        if self.display == Display::Serial {
            return self.passage.pass(&bytes, write_out);
        }
        self.backlog.extend(bytes);
        let too_many = self.backlog.len().saturating_sub(BACKLOG_BYTES);
        self.backlog.drain(..too_many);
        Ok(())
    }
    fn show(&mut self) -> io::Result<()> {
        if let Some(lines) = self.guest.report() {
            self.show_lines(lines)?;
        }
        match self.display {
            Display::Serial => {
                self.tell_of_silence();
                self.tell_of_pause();
                Ok(())
            }
            // The terminal has not taken the last picture yet.
            _ if !background_writer::stdout().is_idle() => Ok(()),
            Display::Screen => self.screen.show(self.guest),
            Display::Lines => self.print_changed_lines(),
        }
    }
    /// Where there is no status line.
    fn tell_of_pause(&mut self) {
        let paused = self.guest.status().paused;
        if paused && !self.told_of_pause {
            let keys = self.escape.name().map(|prefix| format!("; {prefix} x leaves")).unwrap_or_default();
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
    fn finish(mut self, events: &Receiver<Event>, in_haste: bool) -> io::Result<()> {
        if self.display == Display::Lines {
            self.print_changed_lines()?;
        }
        self.pass_the_rest(events, in_haste)?;
        drop(self.terminal);
        match background_writer::stdout().failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
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

fn write_out(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    background_writer::stdout().write_all(bytes)
}
