//! A person (or a script) and a running PC: what is typed goes in, what is shown comes out.
//!
//! The session runs on the program's main thread. The machine runs on its own threads and
//! is seen through [`Guest`]. Three displays share one loop: the PC's screen drawn in
//! the terminal, the serial port passed through, and the text screen as plain lines for
//! scripts and screen readers.

use crate::background_writer;
use crate::decode::Decoder;
use crate::desk::Desk;
use crate::duplex::{ServingEnd, SessionEnd, duplex};
use crate::escape::Escape;
use crate::graphics::{Format, View};
use crate::input::{HostEvent, HostInput, TypedQueue};
use crate::keys::{KeyCode, Layout};
use crate::monitor_view::MonitorView;
use crate::outlet::SerialOutlet;
use crate::reports::Reports;
use crate::screen::ScreenDisplay;
use crate::silence::Silence;
use crate::terminal::{Passage, RawTerminal};
use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;
use trimotor_devices::pointer::PointerEvent;
use trimotor_devices::vga::TextScreen;

/// A running PC as the session sees it. Methods return at once.
pub trait Guest {
    /// Has `notify` called, from any thread, when the screen is another one, and when the machine pauses or goes on.
    fn call_on_change(&mut self, notify: Box<dyn Fn() + Send + Sync>);
    /// The text screen now, if the guest shows one.
    fn screen(&mut self) -> Option<TextScreen>;
    /// A key goes down or up; false where the keyboard has no room (try again later).
    fn key(&mut self, key: KeyCode, down: bool) -> bool;
    /// The keyboard layout that the guest is set to.
    fn layout(&self) -> Layout;
    /// Bytes arrive at the serial port on the console; returns how many it took.
    fn serial_input(&mut self, bytes: &[u8]) -> usize;
    /// A break arrives at the serial port on the console.
    fn serial_break(&mut self);
    /// Asks what the engine counted; [`report`](Self::report) gives it soon.
    fn ask_report(&mut self);
    /// Asks for another engine; [`report`](Self::report) says soon what became of it.
    fn switch_engine(&mut self);
    /// What was asked for, as lines, once after it was asked for.
    fn report(&mut self) -> Option<Vec<String>>;
    /// One more viewer of the screen as a picture.
    fn view(&mut self) -> Box<dyn View>;
    /// A hand did something with the pointing device; false where there is no room (try again later).
    fn pointer(&mut self, event: PointerEvent) -> bool;
    /// Whether the guest takes positions of the pointer as they are.
    fn pointer_is_absolute(&mut self) -> bool;
    /// Has the machine stand still, or go on.
    fn set_paused(&mut self, paused: bool);
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
    /// The screen, drawn in the terminal as text or as a picture.
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
pub(crate) enum Event {
    Host(HostEvent),
    SerialOutput,
    MonitorOutput,
    GuestChanged,
    GuestEnded,
    Leave,
}

/// A session before and while it runs.
#[derive(Debug)]
pub struct Session {
    events: Receiver<Event>,
    sender: Sender<Event>,
    outlet: SerialOutlet,
    monitor: Option<SessionEnd>,
}

/// Tells the session that the machine has ended; dropping it tells so too.
#[derive(Debug)]
pub struct EndNotice(Sender<Event>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        let _ = self.0.send(Event::GuestEnded);
    }
}

/// Ends the session as its person does, from elsewhere.
#[derive(Clone, Debug)]
pub struct Leaver(Sender<Event>);

impl Leaver {
    /// The person leaves.
    pub fn leave(&self) {
        // At the end nobody listens any more.
        let _ = self.0.send(Event::Leave);
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
        Self { events, sender, outlet, monitor: None }
    }
    /// Where the console's serial port sends its output.
    pub fn outlet(&self) -> SerialOutlet {
        self.outlet.clone()
    }
    /// A monitor that is reached from the terminal, by the escape prefix and `c`: the end of the thread that serves it.
    pub fn add_monitor(&mut self) -> ServingEnd {
        let waker = self.sender.clone();
        let (session, serving) = duplex(move || {
            // At the end nobody listens any more.
            let _ = waker.send(Event::MonitorOutput);
        });
        self.monitor = Some(session);
        serving
    }
    /// The notice for the machine's thread to drop when it ends.
    pub fn end_notice(&self) -> EndNotice {
        EndNotice(self.sender.clone())
    }
    /// A way to end the session for who sits elsewhere than at the terminal.
    pub fn leaver(&self) -> Leaver {
        Leaver(self.sender.clone())
    }
    /// Shows `guest` on `display` and feeds it what is typed, until either ends. Pictures are sent in the format `pictures`, or in
    /// that which suits the terminal.
    ///
    /// # Errors
    /// Standard output or the terminal fails.
    pub fn run(
        self,
        guest: &mut dyn Guest,
        display: Display,
        escape: Escape,
        pictures: Option<Format>,
    ) -> io::Result<Ending> {
        let terminal = RawTerminal::take()?;
        let (waker, outlet, monitor) = (self.sender.clone(), self.outlet.clone(), self.monitor.clone());
        background_writer::stdout().call_on_room(move || {
            // At the end nobody listens any more.
            if !outlet.is_empty() {
                let _ = waker.send(Event::SerialOutput);
            }
            if monitor.as_ref().is_some_and(SessionEnd::has_output) {
                let _ = waker.send(Event::MonitorOutput);
            }
        });
        let (sender, typed) = (self.sender.clone(), TypedQueue::default());
        let deliver = move |event| sender.send(Event::Host(event)).is_ok();
        let _input = HostInput::start(typed.clone(), deliver)?;
        let changed = Arc::new(AtomicBool::new(true));
        let (sender, notice) = (self.sender.clone(), changed.clone());
        guest.call_on_change(Box::new(move || {
            if !notice.swap(true, Ordering::AcqRel) {
                // At the end nobody listens any more.
                let _ = sender.send(Event::GuestChanged);
            }
        }));
        let layout = guest.layout();
        let mut desk = Desk {
            guest,
            outlet: self.outlet.clone(),
            display,
            screen: ScreenDisplay::new(escape.name(), pictures),
            silence: (display == Display::Serial).then(Silence::new),
            told_of_pause: false,
            passage: Passage::new(),
            lines: Vec::new(),
            has_screen: display != Display::Serial,
            escape,
            decoder: Decoder::new(layout),
            reports: Reports::default(),
            drains_until: None,
            typed,
            typed_at: Instant::now(),
            changed,
            drawn_at: None,
            report_due: false,
            is_typed: io::stdin().is_terminal(),
            keys: VecDeque::new(),
            mouse_waits: false,
            bytes: VecDeque::new(),
            monitor: self.monitor.clone().map(MonitorView::new),
            backlog: VecDeque::new(),
            terminal,
        };
        if display == Display::Screen {
            desk.screen.enter(&desk.terminal)?;
        }
        let ending = desk.run(&self.events);
        self.outlet.close();
        if let Some(monitor) = &self.monitor {
            monitor.close();
        }
        desk.finish(&self.events, !matches!(ending, Ok(Ending::GuestEnded)))?;
        ending
    }
}
