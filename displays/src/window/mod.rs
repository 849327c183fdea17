//! A window on this machine's screen.
//!
//! | part | file |
//! |---|---|
//! | what a person does in the window, and what is drawn when | [`session`] |
//! | where the picture is in the window, and its pixels | [`placement`], [`painter`] |
//! | the title | [`title`] |
//! | what is needed of a window system | [`host`] |
//! | X11, by the crate x11rb | [`x11`] |
//! | Wayland, by the crate minifb | [`wayland`] |
//!
//! The window has a thread of its own, which waits for the window system and for the guest's bell, and for nothing else: a
//! screen that does not change costs nothing, and a window system that stands still holds up neither the guest nor other
//! viewers. Where it goes away in mid-run the guest goes on.

pub mod host;
pub mod painter;
pub mod placement;
pub mod session;
pub mod title;
mod wayland;
mod x11;

pub use host::{Grab, Lost};

use crate::guest::{Bell, Guest};
use host::Host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use session::Session;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a window system may take to answer at the beginning.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end waits for a window system that stands still.
const FAREWELL: Duration = Duration::from_millis(300);

/// How the picture is shown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// How many pixels of the screen a pixel of the guest is wide and high at first; chosen by the screen where it is not said.
    pub scale: Option<usize>,
    /// The picture fills the window, where otherwise its pixels are squares of a whole number of pixels.
    pub fills: bool,
}

/// Why a window is no longer there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WindowEnd {
    /// The person closed it.
    Closed,
    /// It was taken away, as the text says.
    Lost(String),
}

/// A window system, by the environment of the program.
#[derive(Clone, Default, Debug)]
pub struct Environment {
    /// `DISPLAY`: an X server.
    pub x11: Option<String>,
    /// `WAYLAND_DISPLAY`: a Wayland compositor.
    pub wayland: Option<String>,
}

/// No window can be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoWindow(pub String);

/// A window system that answered, and shows nothing yet.
#[derive(Debug)]
pub struct Opened {
    place: String,
    start: Sender<Start>,
    done: Receiver<()>,
}

/// What a window is begun with.
struct Start {
    guest: Arc<dyn Guest>,
    name: String,
    options: Options,
    bell: Arc<Bell>,
    stopped: Arc<AtomicBool>,
    ended: Box<dyn FnOnce(WindowEnd) + Send>,
}

/// Connects to the window system.
///
/// # Errors
/// There is none, or it lets nobody in; the text says what would help.
pub fn open(environment: &Environment) -> Result<Opened, NoWindow> {
    let (start, starts) = channel();
    let (finished, done) = channel();
    let (tell, told) = channel();
    let environment = environment.clone();
    // Window systems have handles that stay on one thread, and may never answer.
    let thread = thread::Builder::new().name("window".to_owned()).spawn(move || {
        let _finished = finished;
        match connect(&environment) {
            Ok((place, host)) => {
                if tell.send(Ok(place)).is_ok() {
                    run(host, &starts);
                }
            }
            Err(error) => _ = tell.send(Err(error)),
        }
    });
    thread.map_err(|error| NoWindow(format!("a thread for it: {error}")))?;
    match told.recv_timeout(PATIENCE) {
        Ok(answer) => answer.map(|place| Opened { place, start, done }),
        Err(RecvTimeoutError::Timeout) => Err(NoWindow("the window system does not answer".to_owned())),
        Err(RecvTimeoutError::Disconnected) => {
            Err(NoWindow("connecting failed: a bug in Trimotor".to_owned()))
        }
    }
}

/// By X11 where there is an X server, which almost all Wayland desktops have too: windows can be placed, resized and grab
/// there as nowhere else. Otherwise by Wayland.
fn connect(environment: &Environment) -> Result<(String, Box<dyn Host>), NoWindow> {
    let mut why = Vec::new();
    if let Some(display) = &environment.x11 {
        match x11::open(display) {
            Ok(host) => return Ok((format!("X11, DISPLAY={display}"), Box::new(host))),
            Err(NoWindow(error)) => why.push(error),
        }
    }
    if let Some(display) = &environment.wayland {
        match wayland::open() {
            Ok(host) => return Ok((format!("Wayland, WAYLAND_DISPLAY={display}"), Box::new(host))),
            Err(NoWindow(error)) => why.push(format!("Wayland, WAYLAND_DISPLAY={display}: {error}")),
        }
    }
    if why.is_empty() {
        why.push(
            "neither DISPLAY nor WAYLAND_DISPLAY is set, so there is no desktop to open one on".to_owned(),
        );
    }
    Err(NoWindow(why.join("; ")))
}

impl Opened {
    /// Which window system it is, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }
    /// Shows `guest`, under that name, until what is returned is dropped, or `ended` is called.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn show(
        self,
        guest: Arc<dyn Guest>,
        name: String,
        options: Options,
        ended: Box<dyn FnOnce(WindowEnd) + Send>,
    ) -> io::Result<Window> {
        let (bell, stopped) = (Bell::new()?, Arc::new(AtomicBool::new(false)));
        guest.bells().add(&bell);
        let start = Start { guest, name, options, bell: bell.clone(), stopped: stopped.clone(), ended };
        // The thread waits for it.
        let _ = self.start.send(start);
        Ok(Window { bell, stopped, done: self.done })
    }
}

/// A window that is shown. Dropping it closes it; what is held down in it goes up.
#[derive(Debug)]
pub struct Window {
    bell: Arc<Bell>,
    stopped: Arc<AtomicBool>,
    done: Receiver<()>,
}

impl Drop for Window {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        self.bell.ring();
        // The thread's end is the channel's. One that waits for a window system that stands still is left alone.
        let _ = self.done.recv_timeout(FAREWELL);
    }
}

/// The window's thread, once the window system answered.
fn run(mut host: Box<dyn Host>, starts: &Receiver<Start>) {
    let Ok(Start { guest, name, options, bell, stopped, ended }) = starts.recv() else { return };
    let end = match serve(&mut *host, guest, &name, options, &bell, &stopped) {
        Ok(end) => end,
        Err(Lost(why)) => Some(WindowEnd::Lost(why)),
    };
    if let Some(end) = end {
        ended(end);
    }
}

/// Serves the window until it, or the program, ends that.
fn serve(
    host: &mut dyn Host,
    guest: Arc<dyn Guest>,
    name: &str,
    options: Options,
    bell: &Arc<Bell>,
    stopped: &AtomicBool,
) -> Result<Option<WindowEnd>, Lost> {
    let mut session = Session::begin(guest, name, options, host)?;
    while !stopped.load(Ordering::Acquire) {
        for input in host.inputs()? {
            if let Some(end) = session.take(input, host)? {
                return Ok(Some(end));
            }
        }
        let due = session.turn(Instant::now(), host)?;
        host.flush()?;
        // What was asked of the window system may have brought more in.
        let waiting = host.inputs()?;
        if waiting.is_empty() {
            wait(host, bell, due);
        }
        for input in waiting {
            if let Some(end) = session.take(input, host)? {
                return Ok(Some(end));
            }
        }
        if bell.is_rung() {
            bell.silence();
            session.guest_changed();
        }
    }
    Ok(None)
}

fn wait(host: &dyn Host, bell: &Bell, due: Option<Instant>) {
    let descriptor = host.descriptor();
    let mut descriptors =
        [PollFd::new(bell, PollFlags::IN), PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    let limit = left.and_then(|left| Timespec::try_from(left).ok());
    if poll(&mut descriptors, limit.as_ref()).is_err_and(|error| error != Errno::INTR) {
        // Too little memory, for a moment: no reason to spin.
        thread::sleep(Duration::from_millis(100));
    }
}
