//! A window of an X server (X.Org Foundation, "X Window System Protocol, X Version 11").
//!
//! The protocol is spoken by the crate x11rb, without Xlib: keys come with the server's numbers for them and go by their
//! places, only what changed is sent, and a server that goes away is an error here where Xlib ends the program.
//!
//! | part | file |
//! |---|---|
//! | connecting, and what is said where that fails | [`connect`] |
//! | which key each of the server's numbers is | [`keyboard`] |
//! | the pointer while it is grabbed | [`pointer`] |
//! | pixels | [`pixels`] |
//!
//! A frame ends with a change of a property of the window's own. The server tells of it once it has taken all that was sent
//! before, which is when the next frame may begin: what a slow connection has not taken does not pile up.

mod connect;
mod keyboard;
mod pixels;
mod pointer;

use super::NoWindow;
use super::host::{Grab, Host, Input, Lost};
use pixels::Pixels;
use pointer::Pointer;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use trimotor_devices::display::Rect;
use trimotor_devices::i8042::KeyCode;
use x11rb::atom_manager;
use x11rb::connection::Connection;
use x11rb::errors::{ConnectionError, ReplyError};
use x11rb::properties::WmSizeHints;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    AtomEnum, ChangeWindowAttributesAux, ClientMessageEvent, ConfigureNotifyEvent, ConfigureWindowAux,
    ConnectionExt as _, CreateGCAux, CreateWindowAux, Cursor, EventMask, Gcontext, GrabMode, GrabStatus,
    NotifyDetail, NotifyMode, PropMode, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;
use x11rb::{COPY_DEPTH_FROM_PARENT, CURRENT_TIME};

/// Windows are no smaller, in pixels.
const SMALLEST: (usize, usize) = (160, 100);
/// Where the host has its name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// "_NET_WM_STATE_TOGGLE" (Extended Window Manager Hints, "_NET_WM_STATE").
const STATE_TOGGLE: u32 = 2;
/// The message comes from an ordinary program.
const SOURCE_APPLICATION: u32 = 1;
/// Inputs that are taken before the picture is looked at again.
const INPUTS_AT_ONCE: usize = 256;

atom_manager! {
    /// Names that the server and window managers have numbers for.
    pub Atoms:
    /// What is asked for before the numbers are there.
    AtomsCookie {
        UTF8_STRING,
        WM_DELETE_WINDOW,
        WM_PROTOCOLS,
        _NET_WM_NAME,
        _NET_WM_PID,
        _NET_WM_PING,
        _NET_WM_STATE,
        _NET_WM_STATE_FULLSCREEN,
        _TRIMOTOR_FRAME,
    }
}

/// A connection to a server, and a window there.
pub struct X11 {
    /// The server's name, for messages.
    display: String,
    connection: RustConnection,
    root: u32,
    screen: (usize, usize),
    window: u32,
    graphics: Gcontext,
    no_cursor: Cursor,
    atoms: Atoms,
    /// By the server's numbers.
    keys: Vec<Option<KeyCode>>,
    pixels: Pixels,
    pointer: Pointer,
    grab: Option<Grab>,
    /// The window has the keyboard's focus.
    has_focus: bool,
    size: (usize, usize),
    frames: u32,
    inputs: VecDeque<Input>,
}

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Lost {
        Lost(error.to_string())
    }
}

/// Connects to the server of this name.
///
/// # Errors
/// It cannot be reached, lets nobody in, or shows colours in a way that is not known here.
pub fn open(display: &str) -> Result<X11, NoWindow> {
    let (connection, screen) = connect::connect(display)?;
    X11::new(display, connection, screen)
        .map_err(|error| NoWindow(format!("the X server at DISPLAY={display}: {error}")))
}

impl X11 {
    fn new(
        display: &str,
        connection: RustConnection,
        screen: usize,
    ) -> Result<X11, Box<dyn std::error::Error>> {
        let setup = connection.setup();
        let screen = setup.roots.get(screen).ok_or("it has no such screen")?.clone();
        let pixels = Pixels::new(setup, &screen)?;
        let atoms = Atoms::new(&connection)?;
        let keys = keyboard::keys(&connection)?;
        let atoms = atoms.reply()?;
        let (window, graphics) = (connection.generate_id()?, connection.generate_id()?);
        let events = EventMask::KEY_PRESS
            | EventMask::KEY_RELEASE
            | pointer::events()
            | EventMask::EXPOSURE
            | EventMask::STRUCTURE_NOTIFY
            | EventMask::FOCUS_CHANGE
            | EventMask::LEAVE_WINDOW
            | EventMask::PROPERTY_CHANGE;
        let attributes = CreateWindowAux::new().background_pixel(screen.black_pixel).event_mask(events);
        let class = WindowClass::INPUT_OUTPUT;
        connection
            .create_window(
                COPY_DEPTH_FROM_PARENT,
                window,
                screen.root,
                0,
                0,
                1,
                1,
                0,
                class,
                screen.root_visual,
                &attributes,
            )?
            .check()?;
        connection.create_gc(graphics, window, &CreateGCAux::new().graphics_exposures(0))?;
        let no_cursor = pointer::no_cursor(&connection, window)?;
        Ok(X11 {
            display: display.to_owned(),
            root: screen.root,
            screen: (screen.width_in_pixels.into(), screen.height_in_pixels.into()),
            connection,
            window,
            graphics,
            no_cursor,
            atoms,
            keys,
            pixels,
            pointer: Pointer::default(),
            grab: None,
            has_focus: false,
            size: (1, 1),
            frames: 0,
            inputs: VecDeque::new(),
        })
    }
    /// What window managers look at before they show a window.
    fn introduce(&self) -> Result<(), ConnectionError> {
        let (connection, window, atoms) = (&self.connection, self.window, &self.atoms);
        let class = b"trimotor\0Trimotor\0";
        connection.change_property8(
            PropMode::REPLACE,
            window,
            AtomEnum::WM_CLASS,
            AtomEnum::STRING,
            class,
        )?;
        let protocols = [atoms.WM_DELETE_WINDOW, atoms._NET_WM_PING];
        connection.change_property32(
            PropMode::REPLACE,
            window,
            atoms.WM_PROTOCOLS,
            AtomEnum::ATOM,
            &protocols,
        )?;
        let process = [std::process::id()];
        connection.change_property32(
            PropMode::REPLACE,
            window,
            atoms._NET_WM_PID,
            AtomEnum::CARDINAL,
            &process,
        )?;
        let host = std::fs::read(HOST_NAME).unwrap_or_default();
        let name = AtomEnum::WM_CLIENT_MACHINE;
        connection.change_property8(PropMode::REPLACE, window, name, AtomEnum::STRING, host.trim_ascii())?;
        let hints =
            WmSizeHints { min_size: Some((SMALLEST.0 as i32, SMALLEST.1 as i32)), ..WmSizeHints::new() };
        hints.set_normal_hints(connection, window)?;
        Ok(())
    }
    /// What came from the server.
    fn take(&mut self, event: Event) -> Result<(), Lost> {
        match event {
            Event::KeyPress(event) => self.key(event.detail, true),
            Event::KeyRelease(event) => self.key(event.detail, false),
            Event::ButtonPress(event) => {
                self.moved(event.sequence, event.event_x, event.event_y)?;
                self.inputs.push_back(Input::Button { number: event.detail, down: true });
            }
            Event::ButtonRelease(event) => {
                self.moved(event.sequence, event.event_x, event.event_y)?;
                self.inputs.push_back(Input::Button { number: event.detail, down: false });
            }
            Event::MotionNotify(event) => self.moved(event.sequence, event.event_x, event.event_y)?,
            // Without a window manager keys go where the pointer is.
            Event::FocusIn(event) if event.detail != NotifyDetail::POINTER => self.has_focus = true,
            Event::FocusOut(event) if event.detail != NotifyDetail::POINTER => self.focus_left(event.mode),
            Event::LeaveNotify(event) if !self.has_focus && event.mode == NotifyMode::NORMAL => {
                self.inputs.push_back(Input::FocusLost);
            }
            Event::ConfigureNotify(event) if event.window == self.window => self.configured(&event),
            Event::Expose(event) => {
                let (x, y) = (event.x.into(), event.y.into());
                let part = Rect { x, y, width: event.width.into(), height: event.height.into() };
                self.inputs.push_back(Input::Exposed(part));
            }
            Event::PropertyNotify(event) if event.atom == self.atoms._TRIMOTOR_FRAME => {
                self.inputs.push_back(Input::FrameTaken);
            }
            Event::ClientMessage(event) => self.message(event)?,
            Event::MapNotify(event) if event.window == self.window => {
                self.inputs.push_back(Input::Shown(true))
            }
            Event::UnmapNotify(event) if event.window == self.window => {
                self.inputs.push_back(Input::Shown(false))
            }
            Event::DestroyNotify(event) if event.window == self.window => {
                return Err(Lost("another program destroyed the window".to_owned()));
            }
            Event::Error(error) => log::debug!("the X server at {}: {error:?}", self.display),
            _ => {}
        }
        Ok(())
    }
    fn key(&mut self, number: u8, down: bool) {
        if let Some(key) = self.keys.get(usize::from(number)).copied().flatten() {
            self.inputs.push_back(Input::Key { key, down });
        }
    }
    fn focus_left(&mut self, mode: NotifyMode) {
        // A grab of ours takes the focus from the window, and gives it to the window.
        let is_own = mode == NotifyMode::GRAB && self.grab.is_some();
        if is_own || mode == NotifyMode::UNGRAB {
            return;
        }
        if mode != NotifyMode::GRAB {
            self.has_focus = false;
        }
        self.inputs.push_back(Input::FocusLost);
    }
    fn moved(&mut self, sequence: u16, x: i16, y: i16) -> Result<(), Lost> {
        let (x, y) = (i32::from(x), i32::from(y));
        if self.grab != Some(Grab::Pointer) {
            self.inputs.push_back(Input::At { x, y });
            return Ok(());
        }
        let (dx, dy) = self.pointer.moved(sequence, (x, y));
        if (dx, dy) != (0, 0) {
            self.inputs.push_back(Input::Moved { dx, dy });
        }
        if self.pointer.must_go_back(self.size) {
            self.warp()?;
        }
        Ok(())
    }
    /// Sends the pointer to the window's middle.
    fn warp(&mut self) -> Result<(), Lost> {
        let (x, y) = (self.size.0 / 2, self.size.1 / 2);
        let cookie =
            self.connection.warp_pointer(x11rb::NONE, self.window, 0, 0, 0, 0, x as i16, y as i16)?;
        self.pointer.sent_to(cookie.sequence_number() as u16, (x as i32, y as i32));
        Ok(())
    }
    fn configured(&mut self, event: &ConfigureNotifyEvent) {
        self.size = (event.width.into(), event.height.into());
        self.inputs.push_back(Input::Resized { width: self.size.0, height: self.size.1 });
    }
    fn message(&mut self, mut event: ClientMessageEvent) -> Result<(), Lost> {
        if event.type_ != self.atoms.WM_PROTOCOLS || event.format != 32 {
            return Ok(());
        }
        let protocol = event.data.as_data32()[0];
        if protocol == self.atoms.WM_DELETE_WINDOW {
            self.inputs.push_back(Input::Closed);
        } else if protocol == self.atoms._NET_WM_PING {
            event.window = self.root;
            let to = EventMask::SUBSTRUCTURE_NOTIFY | EventMask::SUBSTRUCTURE_REDIRECT;
            self.connection.send_event(false, self.root, to, event)?;
        }
        Ok(())
    }
    fn grab_keyboard(&self) -> Result<bool, Lost> {
        let mode = GrabMode::ASYNC;
        let cookie = self.connection.grab_keyboard(true, self.window, CURRENT_TIME, mode, mode)?;
        reply(cookie.reply()).map(|reply| reply.is_some_and(|reply| reply.status == GrabStatus::SUCCESS))
    }
    fn grab_pointer(&mut self) -> Result<bool, Lost> {
        let (mode, window) = (GrabMode::ASYNC, self.window);
        let cookie = self.connection.grab_pointer(
            true,
            window,
            pointer::events(),
            mode,
            mode,
            window,
            self.no_cursor,
            CURRENT_TIME,
        )?;
        let granted = reply(cookie.reply())?.is_some_and(|reply| reply.status == GrabStatus::SUCCESS);
        if granted {
            self.warp()?;
            // Without it the pointer is grabbed all the same.
            self.grab_keyboard()?;
        }
        Ok(granted)
    }
}

/// A reply; nothing where the server refuses it.
fn reply<T>(reply: Result<T, ReplyError>) -> Result<Option<T>, Lost> {
    match reply {
        Ok(reply) => Ok(Some(reply)),
        Err(ReplyError::X11Error(error)) => {
            log::debug!("X11: {error:?}");
            Ok(None)
        }
        Err(ReplyError::ConnectionError(error)) => Err(error.into()),
    }
}

impl Host for X11 {
    fn inputs(&mut self) -> Result<Vec<Input>, Lost> {
        while self.inputs.len() < INPUTS_AT_ONCE
            && let Some(event) = self.connection.poll_for_event()?
        {
            self.take(event)?;
        }
        Ok(self.inputs.drain(..).collect())
    }
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.connection.stream().as_fd()
    }
    fn screen(&self) -> Option<(usize, usize)> {
        Some(self.screen)
    }
    fn show(&mut self, size: (usize, usize), title: &str) -> Result<(), Lost> {
        self.introduce()?;
        self.set_title(title)?;
        self.set_size(size)?;
        self.connection.map_window(self.window)?;
        Ok(())
    }
    fn set_title(&mut self, title: &str) -> Result<(), Lost> {
        let (connection, window) = (&self.connection, self.window);
        let names = [
            (u32::from(AtomEnum::WM_NAME), u32::from(AtomEnum::STRING)),
            (self.atoms._NET_WM_NAME, self.atoms.UTF8_STRING),
        ];
        for (name, kind) in names {
            connection.change_property8(PropMode::REPLACE, window, name, kind, title.as_bytes())?;
        }
        Ok(())
    }
    fn set_size(&mut self, (width, height): (usize, usize)) -> Result<(), Lost> {
        let size = ConfigureWindowAux::new().width(width.max(1) as u32).height(height.max(1) as u32);
        self.connection.configure_window(self.window, &size)?;
        Ok(())
    }
    fn toggle_full_screen(&mut self) -> Result<(), Lost> {
        let data = [STATE_TOGGLE, self.atoms._NET_WM_STATE_FULLSCREEN, 0, SOURCE_APPLICATION, 0];
        let message = ClientMessageEvent::new(32, self.window, self.atoms._NET_WM_STATE, data);
        let to = EventMask::SUBSTRUCTURE_NOTIFY | EventMask::SUBSTRUCTURE_REDIRECT;
        self.connection.send_event(false, self.root, to, message)?;
        Ok(())
    }
    fn set_pointer_visible(&mut self, visible: bool) -> Result<(), Lost> {
        let cursor = if visible { x11rb::NONE } else { self.no_cursor };
        let change = ChangeWindowAttributesAux::new().cursor(cursor);
        self.connection.change_window_attributes(self.window, &change)?;
        Ok(())
    }
    fn grab(&mut self, grab: Option<Grab>) -> Result<bool, Lost> {
        if self.grab.take().is_some() {
            self.connection.ungrab_pointer(CURRENT_TIME)?;
            self.connection.ungrab_keyboard(CURRENT_TIME)?;
        }
        let granted = match grab {
            None => true,
            Some(Grab::Keyboard) => self.grab_keyboard()?,
            Some(Grab::Pointer) => self.grab_pointer()?,
        };
        if granted {
            self.grab = grab;
        }
        Ok(granted)
    }
    fn draw(&mut self, part: Rect, pixels: &[u32]) -> Result<(), Lost> {
        self.pixels.send(&self.connection, self.window, self.graphics, part, pixels)?;
        Ok(())
    }
    fn end_frame(&mut self) -> Result<(), Lost> {
        self.frames = self.frames.wrapping_add(1);
        let (name, kind) = (self.atoms._TRIMOTOR_FRAME, AtomEnum::CARDINAL);
        self.connection.change_property32(PropMode::REPLACE, self.window, name, kind, &[self.frames])?;
        Ok(())
    }
    fn flush(&mut self) -> Result<(), Lost> {
        self.connection.flush()?;
        Ok(())
    }
}
