//! Takes the terminal over, and gives it back on every way out.
//!
//! Raw mode (no echo, no line editing, no signals from keys) is the terminal's, not the
//! process's: who dies without giving it back leaves the shell unusable. [`RawTerminal`]
//! gives it back when dropped, a panic hook gives it back before the panic's message is
//! printed, and the signal thread of [`crate::input`] gives it back before it ends the
//! process. All of them call [`restore`], which does its work once. What the guest's own
//! output has set in the terminal is undone there too ([`crate::traces`]).

use crate::background_writer;
use crate::graphics::kitty;
use crate::traces::{KEEP_TITLE, Scanner, Traces};
use crossterm::execute;
use crossterm::terminal::{DisableLineWrap, EnterAlternateScreen, SetTitle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU32, Ordering};
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
    /// It tells of its mouse.
    mouse: bool,
    /// It may show images that outlive the screen they are on, or be in the middle of a string that draws one.
    images: bool,
    /// What the program had to say meanwhile.
    messages: Vec<u8>,
}

/// Leaves the alternate screen: colours, wrapping, the old screen, the cursor, the title.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?7h\x1b[?1049l\x1b[?25h\x1b[23;0t";
/// The mouse is told of: presses, moves, all of them in decimals (xterm, "Mouse Tracking"). A terminal that lacks one of
/// these has those before it.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1002h\x1b[?1003h\x1b[?1006h";
/// And in pixels.
const PIXEL_MOUSE_ON: &[u8] = b"\x1b[?1016h";
/// None of it any more.
const MOUSE_OFF: &[u8] = b"\x1b[?1016l\x1b[?1006l\x1b[?1003l\x1b[?1002l\x1b[?1000l";
/// Ends a string that was cut off.
const END_STRING: &[u8] = b"\x1b\\";
/// The same where poll(2) waits.
const PUT_WAIT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);
/// What the guest's output has set in the terminal once all of it is written; apart from [`TAKEN`], so that a signal
/// handler finds it while the session writes.
static TRACES: AtomicU32 = AtomicU32::new(0);
/// What it may have set before, while some of it waits to be written.
static TRACES_MEANWHILE: AtomicU32 = AtomicU32::new(0);
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
            Some(Taken { modes, alternate_screen: false, mouse: false, images: false, messages: Vec::new() });
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
        out.write_all(KEEP_TITLE)?;
        execute!(out, EnterAlternateScreen, DisableLineWrap, SetTitle(title))
    }
    /// Has the terminal tell of its mouse, in pixels if it can, or no more.
    ///
    /// # Errors
    /// What writing to the terminal returned.
    pub fn set_mouse(&self, on: bool, in_pixels: bool) -> io::Result<()> {
        if let Some(taken) = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            taken.mouse = on;
        }
        let mut out = background_writer::stdout();
        match (on, in_pixels) {
            (false, _) => out.write_all(MOUSE_OFF),
            (true, false) => out.write_all(MOUSE_ON),
            (true, true) => out.write_all(&[MOUSE_ON, PIXEL_MOUSE_ON].concat()),
        }
    }
    /// Images are to be deleted in the end, if there are any.
    pub fn note_images(&self) {
        if let Some(taken) = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            taken.images = true;
        }
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
                background_writer::stdout().write_all(LEAVE)?;
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

/// The guest's output on its way to the terminal.
#[derive(Debug, Default)]
pub struct Passage {
    scanner: Scanner,
    /// Standard output is no terminal: nothing has to be put right there.
    is_pipe: bool,
    /// The guest has asked the terminal something.
    asked: bool,
}

impl Passage {
    /// To standard output.
    pub fn new() -> Self {
        Self { scanner: Scanner::default(), is_pipe: !io::stdout().is_terminal(), asked: false }
    }
    /// Passes `bytes` on by `write`, which may be called with bytes of the console's own first. What `write` takes
    /// goes to standard output's [writer](background_writer::stdout).
    ///
    /// # Errors
    /// What `write` returned.
    pub fn pass(&mut self, bytes: &[u8], mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.is_pipe {
            return write(bytes);
        }
        let scanned = self.scanner.scan(bytes);
        self.asked |= scanned.asks;
        if background_writer::stdout_is_idle() {
            TRACES_MEANWHILE.store(0, Ordering::Relaxed);
        }
        TRACES_MEANWHILE.fetch_or(scanned.meanwhile.0, Ordering::Relaxed);
        TRACES.store(scanned.after.0, Ordering::Relaxed);
        if scanned.begins {
            write(KEEP_TITLE)?;
        }
        write(bytes)
    }
    /// Whether the guest has asked the terminal something, whose answer may still come.
    pub fn has_asked(&self) -> bool {
        self.asked
    }
    /// Undoes what the guest's output has set in the terminal, which the console needs for itself now.
    pub fn undo(&mut self) {
        for piece in Traces(TRACES.swap(0, Ordering::Relaxed)).undo() {
            // Errors have nobody to hear them.
            let _ = background_writer::stdout().write_all(piece);
        }
        self.scanner.forget();
    }
}

/// What the guest's output may have set in the terminal at this moment.
fn traces_now() -> Traces {
    let after = TRACES.load(Ordering::Relaxed);
    if background_writer::stdout_is_idle() {
        return Traces(after);
    }
    Traces(after | TRACES_MEANWHILE.load(Ordering::Relaxed))
}

/// Writes to standard output at once, unless the terminal takes nothing: then returns false. No allocation, no
/// buffers: signal handlers call it. Errors have nobody to hear them.
fn put(bytes: &[u8]) -> bool {
    let out = rustix::stdio::stdout();
    let ready = matches!(poll(&mut [PollFd::new(&out, PollFlags::OUT)], Some(&PUT_WAIT)), Ok(1..));
    ready && rustix::io::write(out, bytes).is_ok()
}

/// Gives the terminal back as it was, if it is taken. Errors have nobody to hear them.
pub fn restore() {
    // A panic may come from within the lock's holder: never wait for it here.
    let Ok(mut guard) = TAKEN.try_lock() else { return };
    let Some(taken) = guard.take() else { return };
    if taken.alternate_screen || taken.mouse || traces_now() != Traces::default() {
        background_writer::stdout().drain(LAST_WAIT);
    }
    taken.give_back();
    if !taken.messages.is_empty() {
        let mut errors = background_writer::stderr();
        let _ = errors.write_all(&taken.messages);
        errors.drain(LAST_WAIT);
    }
}

impl Taken {
    /// Gives back all but the messages. Allocates nothing: signal handlers call it too.
    fn give_back(&self) {
        let traces = traces_now();
        TRACES.store(0, Ordering::Relaxed);
        // A terminal that does not take one piece is not waited for again.
        let images: &[&[u8]] = if self.images { &[END_STRING, kitty::DELETE_ALL] } else { &[] };
        let mouse: &[&[u8]] = if self.mouse { &[MOUSE_OFF] } else { &[] };
        let own = images.iter().chain(mouse).copied();
        let _ = traces.undo().chain(own).all(put) && self.alternate_screen && put(LEAVE);
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, modes);
        }
    }
}

/// The same for a signal handler whose process is about to end: no allocation, no buffers, no waiting for locks.
pub fn restore_in_handler() {
    let Ok(guard) = TAKEN.try_lock() else { return };
    background_writer::stop_stdout();
    if let Some(taken) = guard.as_ref() {
        taken.give_back();
        let _ = rustix::io::write(rustix::stdio::stderr(), &taken.messages);
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

/// The size (width, height) of the terminal on standard output in pixels, where the host knows it.
pub fn pixels() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    let (width, height) = (size.ws_xpixel.into(), size.ws_ypixel.into());
    (width > 0 && height > 0).then_some((width, height))
}

/// The size (columns, rows) of the terminal on standard output, or that of a VT100 where nobody knows.
pub fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// Whether the terminal understands cursor movement: TERM names one that does.
pub fn can_be_drawn_on() -> bool {
    std::env::var("TERM").is_ok_and(|name| !name.is_empty() && name != "dumb")
}
