//! A person at a window: what is pressed goes to the guest, and its picture into the window.
//!
//! Keys go by their places. The pointer goes in one of two ways, as the guest has it: its place in the picture, where the
//! guest takes positions; otherwise its moves, once a click has grabbed it. Chords with Ctrl and Alt are the window's own:
//! G grabs and releases, F fills the screen, U gives the window the picture's size again, Q ends the run.
//!
//! The picture is looked at only when it changed, when the window system has taken what was drawn before, and at most
//! [`FRAME`] often. Meanwhile changes add up in the [`View`](crate::guest::View), and cost nothing here.

use super::host::{Grab, Host, Input, Lost};
use super::painter::Painter;
use super::placement::{Placement, fitted};
use super::title::Title;
use super::{Options, WindowEnd};
use crate::guest::{Guest, View};
use crate::keys::{Hands, RETRY};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use trimotor_devices::display::{Damage, Rect, Surface};
use trimotor_devices::i8042::KeyCode;

/// Between two frames at least: sixty a second.
const FRAME: Duration = Duration::from_micros(16_667);
/// The picture's size before there is one: that of text.
const FIRST_SIZE: (usize, usize) = (720, 400);
/// Buttons that grab the pointer.
const GRABBING: std::ops::RangeInclusive<u8> = 1..=3;
/// Sizes that were asked for and did not come yet. A window manager may answer none.
const MOST_ASKED: usize = 8;

/// The session.
pub struct Session {
    guest: Arc<dyn Guest>,
    options: Options,
    hands: Hands,
    view: Box<dyn View>,
    picture: Surface,
    window: (usize, usize),
    placement: Placement,
    painter: Painter,
    /// Parts of the window that are to be drawn.
    dirty: Damage,
    pixels: Vec<u32>,
    /// The guest's picture may be another one than that looked at last.
    changed: bool,
    is_shown: bool,
    /// A frame was drawn that was not taken.
    is_drawing: bool,
    last_frame: Option<Instant>,
    /// The window has the picture's size, and changes it with the guest's mode.
    follows: bool,
    /// Sizes that were asked for.
    asked: VecDeque<(usize, usize)>,
    /// Whether the guest took positions when it was asked last.
    absolute: Option<bool>,
    grab: Option<Grab>,
    /// The buttons that the guest is told of, a bit for each.
    buttons: u16,
    /// Modifiers that are down on the host's keyboard.
    modifiers: HashSet<KeyCode>,
    /// Keys and buttons whose going up is not the guest's business either.
    own_keys: HashSet<KeyCode>,
    own_buttons: u16,
    title: Title,
}

impl Session {
    /// Shows the window, with what the guest shows.
    ///
    /// # Errors
    /// The window is gone.
    pub fn begin(
        guest: Arc<dyn Guest>,
        name: &str,
        options: Options,
        host: &mut dyn Host,
    ) -> Result<Session, Lost> {
        let view = guest.view();
        let mut session = Session {
            hands: Hands::new(guest.clone()),
            guest,
            options,
            view,
            picture: Surface::default(),
            window: (0, 0),
            placement: Placement::default(),
            painter: Painter::default(),
            dirty: Damage::default(),
            pixels: Vec::new(),
            changed: true,
            is_shown: true,
            is_drawing: false,
            last_frame: None,
            follows: true,
            asked: VecDeque::new(),
            absolute: None,
            grab: None,
            buttons: 0,
            modifiers: HashSet::new(),
            own_keys: HashSet::new(),
            own_buttons: 0,
            title: Title::new(name),
        };
        session.window = session.natural_size(host);
        let (title, _) = session.title.next(Instant::now(), &session.guest.status(), None);
        host.show(session.window, title.as_deref().unwrap_or_default())?;
        Ok(session)
    }
    /// The guest's picture, or its state, may be another one.
    pub fn guest_changed(&mut self) {
        self.changed = true;
    }
    /// Something came. `Some` where that ends the session.
    ///
    /// # Errors
    /// The window is gone.
    pub fn take(&mut self, input: Input, host: &mut dyn Host) -> Result<Option<WindowEnd>, Lost> {
        match input {
            Input::Key { key, down } => return self.key(key, down, host),
            Input::FocusLost => {
                self.modifiers.clear();
                self.own_keys.clear();
                self.release(host)?;
                self.hands.release_all();
                self.buttons = 0;
            }
            Input::At { x, y } => {
                let (width, height) = self.placement.picture();
                if self.guest.pointer_is_absolute() && width > 0 {
                    let (x, y) = self.placement.pixel(x, y);
                    self.hands.point(x, y, width, height);
                }
            }
            Input::Moved { dx, dy } => self.hands.shift(dx, dy),
            Input::Button { number, down } => self.button(number, down, host)?,
            Input::Resized { width, height } => self.resized((width, height), host),
            Input::Exposed(part) => self.dirty.add(part),
            Input::Shown(shown) => self.is_shown = shown,
            Input::FrameTaken => self.is_drawing = false,
            Input::Closed => return Ok(Some(WindowEnd::Closed)),
        }
        Ok(None)
    }
    fn key(&mut self, key: KeyCode, down: bool, host: &mut dyn Host) -> Result<Option<WindowEnd>, Lost> {
        use KeyCode::{AltLeft, ControlLeft, ControlRight, F, G, Q, U};
        if [AltLeft, ControlLeft, ControlRight].contains(&key) {
            if down {
                self.modifiers.insert(key)
            } else {
                self.modifiers.remove(&key)
            };
        }
        if !down && self.own_keys.remove(&key) || self.own_keys.contains(&key) {
            return Ok(None);
        }
        let holds = |key| self.modifiers.contains(&key);
        let is_chord =
            holds(AltLeft) && (holds(ControlLeft) || holds(ControlRight)) && [F, G, Q, U].contains(&key);
        if !down || !is_chord {
            self.hands.key(key, down);
            return Ok(None);
        }
        self.own_keys.insert(key);
        // The guest has seen Ctrl and Alt go down, and nothing comes of it.
        self.hands.release_all();
        match key {
            Q => return Ok(Some(WindowEnd::Closed)),
            F => host.toggle_full_screen()?,
            U => {
                self.follows = true;
                self.follow(host)?;
            }
            _ if self.grab.is_some() => self.release(host)?,
            _ if self.guest.pointer_is_absolute() => self.take_hold(Grab::Keyboard, host)?,
            _ => self.take_hold(Grab::Pointer, host)?,
        }
        Ok(None)
    }
    fn button(&mut self, number: u8, down: bool, host: &mut dyn Host) -> Result<(), Lost> {
        let bit = 1u16.checked_shl(u32::from(number).wrapping_sub(1)).unwrap_or(0);
        if !down && self.own_buttons & bit != 0 {
            self.own_buttons &= !bit;
            return Ok(());
        }
        let reaches = self.guest.pointer_is_absolute() || self.grab == Some(Grab::Pointer);
        if !reaches && down {
            // This click, or turn of the wheel, is none of the guest's.
            self.own_buttons |= bit;
            if GRABBING.contains(&number) {
                self.take_hold(Grab::Pointer, host)?;
            }
            return Ok(());
        }
        if down {
            self.buttons |= bit
        } else {
            self.buttons &= !bit
        }
        self.hands.buttons(self.buttons);
        Ok(())
    }
    fn take_hold(&mut self, grab: Grab, host: &mut dyn Host) -> Result<(), Lost> {
        if host.grab(Some(grab))? {
            self.grab = Some(grab);
        }
        Ok(())
    }
    fn release(&mut self, host: &mut dyn Host) -> Result<(), Lost> {
        if self.grab.take().is_some() {
            host.grab(None)?;
            self.buttons = 0;
            self.hands.buttons(0);
        }
        Ok(())
    }
    /// The size of a window that shows the picture as it is, on this screen.
    fn natural_size(&self, host: &dyn Host) -> (usize, usize) {
        let picture = match (self.picture.width(), self.picture.height()) {
            (0, _) | (_, 0) => FIRST_SIZE,
            size => size,
        };
        let Some(screen) = host.screen() else {
            let times = self.options.scale.unwrap_or(1);
            return (picture.0 * times, picture.1 * times);
        };
        // Where pixels are small: twice as large, and so on, in up to half of the screen.
        let fits = (screen.0 / 2 / picture.0).min(screen.1 / 2 / picture.1);
        let times = self.options.scale.unwrap_or(fits).max(1);
        let wanted = (picture.0 * times, picture.1 * times);
        if wanted.0 > screen.0 || wanted.1 > screen.1 { fitted(picture, screen) } else { wanted }
    }
    /// Gives the window the picture's size.
    fn follow(&mut self, host: &mut dyn Host) -> Result<(), Lost> {
        let size = self.natural_size(host);
        if self.asked.back().unwrap_or(&self.window) != &size {
            self.asked.push_back(size);
            if self.asked.len() > MOST_ASKED {
                self.asked.pop_front();
            }
            host.set_size(size)?;
        }
        Ok(())
    }
    fn resized(&mut self, size: (usize, usize), host: &dyn Host) {
        match self.asked.iter().position(|asked| *asked == size) {
            Some(ours) => _ = self.asked.drain(..=ours),
            None if size == self.window => {}
            // The person, or the window manager, wants another one.
            None => self.follows = size == self.natural_size(host),
        }
        if size != self.window {
            self.window = size;
            self.place();
        }
    }
    fn place(&mut self) {
        let picture = (self.picture.width(), self.picture.height());
        self.placement = Placement::new(picture, self.window, self.options.fills);
        self.painter.place(self.placement);
        self.dirty = Damage::default();
        self.dirty.add(Rect { x: 0, y: 0, width: self.window.0, height: self.window.1 });
    }
    /// Does what there is to do; returns when to call it again at the latest.
    ///
    /// # Errors
    /// The window is gone.
    pub fn turn(&mut self, now: Instant, host: &mut dyn Host) -> Result<Option<Instant>, Lost> {
        let retry = if self.hands.feed() { None } else { Some(now + RETRY) };
        let absolute = self.guest.pointer_is_absolute();
        if self.absolute != Some(absolute) {
            self.absolute = Some(absolute);
            self.release(host)?;
            host.set_pointer_visible(!absolute)?;
        }
        let frame = self.frame(now, host)?;
        let (title, due) = self.title.next(now, &self.guest.status(), self.grab);
        if let Some(title) = title {
            host.set_title(&title)?;
        }
        Ok([retry, frame, due].into_iter().flatten().min())
    }
    /// Draws a frame, if there is something new and it is time; otherwise when it will be.
    fn frame(&mut self, now: Instant, host: &mut dyn Host) -> Result<Option<Instant>, Lost> {
        let is_new = self.changed || !self.dirty.is_empty();
        if !is_new || !self.is_shown || self.is_drawing {
            return Ok(None);
        }
        if let Some(due) = self.last_frame.map(|last| last + FRAME).filter(|due| *due > now) {
            return Ok(Some(due));
        }
        self.last_frame = Some(now);
        self.look(host)?;
        let parts = std::mem::take(&mut self.dirty);
        let window = Rect { x: 0, y: 0, width: self.window.0, height: self.window.1 };
        let mut drawn = false;
        for part in
            parts.rects().iter().map(|part| part.intersection(&window)).filter(|part| !part.is_empty())
        {
            self.pixels.clear();
            self.painter.paint(&self.picture, part, &mut self.pixels);
            host.draw(part, &self.pixels)?;
            drawn = true;
        }
        if drawn {
            host.end_frame()?;
            self.is_drawing = true;
        }
        Ok(None)
    }
    /// Looks what is new in the guest's picture.
    fn look(&mut self, host: &mut dyn Host) -> Result<(), Lost> {
        self.changed = false;
        let size = (self.picture.width(), self.picture.height());
        let new = self.view.update(&mut self.picture);
        if size != (self.picture.width(), self.picture.height()) {
            self.place();
            if self.follows {
                self.follow(host)?;
            }
            return Ok(());
        }
        for part in new.rects() {
            self.dirty.add(self.placement.shown(*part));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
