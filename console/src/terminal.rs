//! Takes the terminal over, and gives it back on every way out.
//!
//! Raw mode (no echo, no line editing, no signals from keys) is the terminal's, not the
//! process's: who dies without giving it back leaves the shell unusable. [`RawTerminal`]
//! gives it back when dropped, a panic hook gives it back before the panic's message is
//! printed, and the signal thread of [`crate::input`] gives it back before it ends the
//! process. All of them call [`restore`], which does its work once.

use crate::background_writer;
use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::style::ResetColor;
use crossterm::terminal::{
    DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen, SetTitle,
};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

/// Messages kept while the screen is drawn on, in bytes; later ones are dropped.
const MOST_MESSAGE_BYTES: usize = 64 * 1024;

/// How long a terminal that takes nothing is waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What has to be given back.
struct Taken {
    modes: Option<Termios>,
    alternate_screen: bool,
    /// What the program had to say meanwhile.
    messages: Vec<u8>,
}

static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);
static PANIC_HOOK: Once = Once::new();

/// The terminal in raw mode, until dropped.
#[derive(Debug)]
pub struct RawTerminal {
    _private: (),
}

impl RawTerminal {
    /// Puts the terminal on standard input into raw mode, where there is one. Output keeps
    /// its newline processing, so that messages of this program need no carriage returns.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn take() -> io::Result<Self> {
        PANIC_HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                next(info);
            }));
        });
        let stdin = io::stdin();
        let mut modes = None;
        if stdin.is_terminal() {
            let before = tcgetattr(&stdin)?;
            let mut raw = before.clone();
            raw.make_raw();
            raw.output_modes |= OutputModes::OPOST;
            tcsetattr(&stdin, OptionalActions::Now, &raw)?;
            modes = Some(before);
        }
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Taken { modes, alternate_screen: false, messages: Vec::new() });
        Ok(Self { _private: () })
    }
    /// Switches to the terminal's alternate screen, to draw on.
    ///
    /// # Errors
    /// What writing to the terminal returned.
    pub fn enter_screen(&self, title: &str) -> io::Result<()> {
        if let Some(taken) = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            taken.alternate_screen = true;
        }
        let mut out = background_writer::stdout();
        execute!(out, EnterAlternateScreen, DisableLineWrap, SetTitle(title))
    }
    /// Leaves the alternate screen: what was there before is back.
    ///
    /// # Errors
    /// What writing to the terminal returned.
    pub fn leave_screen(&self) -> io::Result<()> {
        let mut guard = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        match guard.as_mut() {
            Some(taken) if taken.alternate_screen => {
                taken.alternate_screen = false;
                leave_alternate_screen()?;
                background_writer::stderr().write_all(&std::mem::take(&mut taken.messages))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

fn leave_alternate_screen() -> io::Result<()> {
    let mut out = background_writer::stdout();
    execute!(out, ResetColor, EnableLineWrap, LeaveAlternateScreen, Show)
}

/// Gives the terminal back as it was, if it is taken. Errors have nobody to hear them.
pub fn restore() {
    // A panic may come from within the lock's holder: never wait for it here.
    let Ok(mut guard) = TAKEN.try_lock() else { return };
    let Some(taken) = guard.take() else { return };
    if taken.alternate_screen {
        let _ = leave_alternate_screen();
        background_writer::stdout().drain(LAST_WAIT);
        let _ = background_writer::stderr().write_all(&taken.messages);
    }
    if let Some(modes) = taken.modes {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
    }
}

/// The same for a signal handler whose process is about to end: no allocation, no buffers, no waiting.
pub fn restore_in_handler() {
    const LEAVE: &[u8] = b"\x1b[0m\x1b[?7h\x1b[?1049l\x1b[?25h";
    let Ok(guard) = TAKEN.try_lock() else { return };
    if let Some(taken) = guard.as_ref() {
        if taken.alternate_screen {
            let _ = rustix::io::write(rustix::stdio::stdout(), LEAVE);
            let _ = rustix::io::write(rustix::stdio::stderr(), &taken.messages);
        }
        if let Some(modes) = &taken.modes {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, modes);
        }
    }
    // Nobody else writes to the terminal any more.
    std::mem::forget(guard);
}

/// Standard error for messages, which wait while the alternate screen is drawn on.
#[derive(Clone, Copy, Default, Debug)]
pub struct MessageWriter;

impl Write for MessageWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Who holds the lock may be the one who has something to say: never wait for it.
        if let Ok(mut guard) = TAKEN.try_lock()
            && let Some(taken) = guard.as_mut().filter(|taken| taken.alternate_screen)
        {
            if taken.messages.len() + bytes.len() <= MOST_MESSAGE_BYTES {
                taken.messages.extend_from_slice(bytes);
            }
            return Ok(bytes.len());
        }
        // Whoever logs may hold a lock that others wait for.
        background_writer::stderr().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The terminal's size (columns, rows), or that of a VT100 where nobody knows.
pub fn size() -> (usize, usize) {
    match crossterm::terminal::size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (columns.into(), rows.into()),
        _ => (80, 24),
    }
}
