//! The monitor at the session's terminal: in the place of what is shown otherwise, until the person goes back.
//!
//! What the guest writes to its serial port meanwhile waits and is shown afterwards, as far back as the backlog reaches. Where
//! nobody sits at a terminal, but a script reads what comes, nothing must be lost: there it is passed on at once.

use crate::background_writer;
use crate::desk::{Desk, write_out};
use crate::duplex::SessionEnd;
use crate::session::Display;
use std::collections::VecDeque;
use std::io;

/// Has a line editor show its line anew: Ctrl-R.
const SHOW_ANEW: &[u8] = b"\x12";

/// The session's end of the monitor, and whether it is shown.
pub(crate) struct MonitorView {
    end: SessionEnd,
    /// What was shown before, while the monitor is.
    from: Option<Display>,
    /// Typed, and not taken yet.
    typed: VecDeque<u8>,
    was_shown: bool,
}

impl MonitorView {
    pub(crate) fn new(end: SessionEnd) -> Self {
        Self { end, from: None, typed: VecDeque::new(), was_shown: false }
    }
    fn feed(&mut self) {
        let taken = self.end.give(self.typed.make_contiguous());
        self.typed.drain(..taken);
    }
}

impl Desk<'_> {
    /// Whether the monitor has the terminal.
    pub(crate) fn in_monitor(&self) -> bool {
        self.monitor.as_ref().is_some_and(|monitor| monitor.from.is_some())
    }
    /// Bytes that were typed to the monitor and that it has not taken.
    pub(crate) fn waits_for_monitor(&self) -> usize {
        self.monitor.as_ref().map_or(0, |monitor| monitor.typed.len())
    }
    /// Whether the serial port's output goes to the terminal as it comes.
    pub(crate) fn passes_serial(&self) -> bool {
        let from = self.monitor.as_ref().and_then(|monitor| monitor.from);
        self.display == Display::Serial && from.is_none_or(|from| from == Display::Serial && !self.is_typed)
    }
    pub(crate) fn type_to_monitor(&mut self, bytes: &[u8]) {
        if let Some(monitor) = &mut self.monitor {
            monitor.typed.extend(bytes);
            monitor.feed();
        }
    }
    pub(crate) fn feed_monitor(&mut self) {
        if let Some(monitor) = &mut self.monitor {
            monitor.feed();
        }
    }
    /// Shows what the monitor writes, while it is shown.
    pub(crate) fn pass_monitor_output(&mut self) -> io::Result<()> {
        let Some(monitor) = self.monitor.as_ref().filter(|monitor| monitor.from.is_some()) else {
            return Ok(());
        };
        write_out(&monitor.end.take(background_writer::stdout().room()))
    }
    /// The monitor, or back.
    pub(crate) fn toggle_monitor(&mut self) -> io::Result<()> {
        if self.in_monitor() {
            return self.leave_monitor();
        }
        let prefix = self.escape.name().unwrap_or_default();
        let from = self.display;
        let Some(monitor) = &mut self.monitor else {
            return self.say("the monitor is not at this terminal: --monitor stdio puts it here");
        };
        monitor.from = Some(from);
        let was_shown = std::mem::replace(&mut monitor.was_shown, true);
        match from {
            Display::Screen => self.leave_screen()?,
            Display::Serial => self.passage.undo(),
            Display::Lines => {}
        }
        self.display = Display::Serial;
        self.say(&format!("[monitor: {prefix} c goes back]"))?;
        if was_shown {
            self.type_to_monitor(SHOW_ANEW);
        }
        self.pass_monitor_output()
    }
    /// The session ends: shows what the monitor has written, and what the guest has meanwhile. The screen is not drawn again.
    pub(crate) fn end_monitor(&mut self) -> io::Result<()> {
        self.pass_monitor_output()?;
        match self.monitor.as_ref().and_then(|monitor| monitor.from) {
            Some(Display::Screen) => Ok(()),
            _ => self.leave_monitor(),
        }
    }
    /// Back to what was shown before.
    pub(crate) fn leave_monitor(&mut self) -> io::Result<()> {
        let Some(from) = self.monitor.as_mut().and_then(|monitor| monitor.from.take()) else { return Ok(()) };
        self.display = from;
        (self.drawn_at, self.drains_until) = (None, None);
        match from {
            Display::Screen => self.screen.enter(&self.terminal),
            Display::Serial => self.show_backlog(),
            Display::Lines => Ok(()),
        }
    }
}
