//! Updates of the picture, and of what else a viewer is told by rectangles.

use super::encode::{self, Encoder, Encoding};
use super::pixels::PixelFormat;
use super::{FENCE_REQUEST, fence_message};
use crate::connection::Output;
use crate::guest::{Guest, View};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trimotor_devices::display::{Damage, Rect, Surface};
use trimotor_devices::i8042::Leds;

/// Between two updates at least: forty a second.
const FRAME: Duration = Duration::from_millis(25);
/// The size that is told where the guest has drawn nothing yet.
const FIRST_SIZE: (usize, usize) = (640, 480);

/// Numbers of pseudo-encodings.
mod pseudo {
    pub const DESKTOP_SIZE: i32 = -223;
    pub const CURSOR: i32 = -239;
    pub const POINTER_MOTION_CHANGE: i32 = -257;
    pub const EXTENDED_KEYS: i32 = -258;
    pub const LED_STATE: i32 = -261;
    pub const EXTENDED_DESKTOP_SIZE: i32 = -308;
    pub const FENCE: i32 = -312;
    pub const CONTINUOUS_UPDATES: i32 = -313;
    /// zlib's levels 0 to 9.
    pub const LEVELS: std::ops::RangeInclusive<i32> = -256..=-247;
}

/// Why the screen has its size ("ExtendedDesktopSize").
const REASON_SERVER: u16 = 0;
const REASON_VIEWER: u16 = 1;
/// The viewer may not change it.
const STATUS_PROHIBITED: u16 = 1;
/// The message that says that updates come when they are asked for, and that there are others.
const END_OF_CONTINUOUS_UPDATES: u8 = 150;

/// What a viewer understands beside rectangles with pixels.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Knows {
    desktop_size: bool,
    extended_desktop_size: bool,
    pointer_motion_change: bool,
    led_state: bool,
    continuous_updates: bool,
}

/// What a viewer is to be told of with the next update.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct ToTell {
    cursor: bool,
    extended_keys: bool,
    /// The screen's size, because a viewer wanted another one.
    refused_size: bool,
    /// The screen's size, for the first time to who knows the extended form.
    size: bool,
}

/// A viewer's picture, and what it wants to know of it.
pub(super) struct Updates {
    guest: Arc<dyn Guest>,
    view: Option<Box<dyn View>>,
    picture: Surface,
    /// The size that the viewer knows.
    size: (usize, usize),
    /// What the viewer has not got.
    dirty: Damage,
    encoder: Encoder,
    encoding: Encoding,
    knows: Knows,
    to_tell: ToTell,
    /// What the viewer was told last.
    leds: Option<Leds>,
    absolute: Option<bool>,
    /// The part that was asked for, if one was.
    wanted: Option<Rect>,
    /// The part that is sent without being asked for.
    continuous: Option<Rect>,
    last: Option<Instant>,
    /// Rectangles of the update that has begun.
    rest: VecDeque<Rect>,
}

impl Updates {
    pub(super) fn new(guest: Arc<dyn Guest>) -> Self {
        Self {
            guest,
            view: None,
            picture: Surface::default(),
            size: FIRST_SIZE,
            dirty: Damage::default(),
            encoder: Encoder::default(),
            encoding: Encoding::Raw,
            knows: Knows::default(),
            to_tell: ToTell::default(),
            leds: None,
            absolute: None,
            wanted: None,
            continuous: None,
            last: None,
            rest: VecDeque::new(),
        }
    }
    /// Begins to look at the screen.
    pub(super) fn look(&mut self) {
        self.view = Some(self.guest.view());
    }
    /// Looks whether there is a picture, and takes its size for the one that the viewer knows.
    pub(super) fn has_picture(&mut self) -> bool {
        if let Some(view) = &mut self.view {
            let new = view.update(&mut self.picture);
            self.dirty.merge(&new, &self.picture);
        }
        let is_there = !self.picture.pixels().is_empty();
        if is_there {
            self.size = (self.picture.width(), self.picture.height());
        }
        is_there
    }
    /// The size that the viewer knows.
    pub(super) fn size(&self) -> (usize, usize) {
        self.size
    }
    /// Whether the viewer tells of the pointer's moves, not of its place.
    pub(super) fn is_relative(&self) -> bool {
        self.knows.pointer_motion_change && self.absolute == Some(false)
    }
    /// Whether an update has begun and not ended.
    pub(super) fn is_within_one(&self) -> bool {
        !self.rest.is_empty()
    }
    pub(super) fn set_format(&mut self, format: PixelFormat) {
        self.encoder.format = format;
    }
    pub(super) fn set_encodings(&mut self, numbers: &[i32], replies: &mut Vec<u8>) {
        let has = |number: i32| numbers.contains(&number);
        self.encoding =
            numbers.iter().find_map(|number| Encoding::from_number(*number)).unwrap_or(Encoding::Raw);
        if let Some(level) = numbers.iter().find(|number| pseudo::LEVELS.contains(number)) {
            self.encoder.set_level((level - pseudo::LEVELS.start()) as u32);
        }
        let before = self.knows;
        self.knows = Knows {
            desktop_size: has(pseudo::DESKTOP_SIZE),
            extended_desktop_size: has(pseudo::EXTENDED_DESKTOP_SIZE),
            pointer_motion_change: has(pseudo::POINTER_MOTION_CHANGE),
            led_state: has(pseudo::LED_STATE),
            continuous_updates: has(pseudo::CONTINUOUS_UPDATES),
        };
        self.to_tell.cursor |= has(pseudo::CURSOR);
        self.to_tell.extended_keys |= has(pseudo::EXTENDED_KEYS);
        self.to_tell.size |= self.knows.extended_desktop_size && !before.extended_desktop_size;
        if self.knows.continuous_updates && !before.continuous_updates {
            replies.push(END_OF_CONTINUOUS_UPDATES);
        }
        if has(pseudo::FENCE) {
            // Viewers take it for an offer.
            replies.extend(fence_message(FENCE_REQUEST, &[]));
        }
    }
    pub(super) fn request(&mut self, incremental: bool, place: [u16; 4]) {
        let place = rect(place);
        if !incremental {
            self.dirty.add(place);
        }
        self.wanted = Some(self.wanted.map_or(place, |wanted| wanted.union(&place)));
    }
    pub(super) fn continuous(&mut self, place: Option<[u16; 4]>, replies: &mut Vec<u8>) {
        if !self.knows.continuous_updates {
            return;
        }
        if place.is_none() && self.continuous.is_some() {
            replies.push(END_OF_CONTINUOUS_UPDATES);
        }
        self.continuous = place.map(rect);
    }
    /// The viewer wants the screen to be another size, which only the guest can make it.
    pub(super) fn refuse_size(&mut self) {
        self.to_tell.refused_size = true;
    }
    /// Says what there is to say; returns when to be called again at the latest.
    pub(super) fn turn(&mut self, now: Instant, out: &mut Output) -> Option<Instant> {
        if self.rest.is_empty() {
            // Asked for once more while the last one was on its way: soon.
            let next = self.last.map_or(now, |last| last + FRAME);
            if self.wanted.is_none() && self.continuous.is_none() {
                return None;
            }
            if now < next {
                return Some(next);
            }
            if !self.begin(out) {
                return None;
            }
            self.last = Some(now);
        }
        while out.has_room()
            && let Some(part) = self.rest.pop_front()
        {
            let mut message = Vec::new();
            self.encoder.encode(&self.picture, part, self.encoding, &mut message);
            out.push(message);
        }
        let may_follow = self.wanted.is_some() || self.continuous.is_some();
        // Where no room is left, the connection calls again when there is.
        (out.has_room() && may_follow).then_some(now + FRAME)
    }
    /// Begins an update, if there is something to tell; false where there is not.
    fn begin(&mut self, out: &mut Output) -> bool {
        if let Some(view) = &mut self.view {
            let new = view.update(&mut self.picture);
            if self.picture.pixels().is_empty() {
                return false;
            }
            self.dirty.merge(&new, &self.picture);
        }
        let size = (self.picture.width(), self.picture.height());
        let can_resize = self.knows.desktop_size || self.knows.extended_desktop_size;
        let resized = size != self.size && can_resize;
        if resized {
            self.size = size;
            self.to_tell.size = true;
            // Places that were asked for were of another screen.
            self.continuous = self.continuous.map(|_| self.picture.whole());
        }
        let mut told = Vec::new();
        let count = self.tell(&mut told);
        let (width, height) = self.size;
        let whole = Rect { x: 0, y: 0, width, height };
        // Who cannot be told of another size has the part that fits, and black around it.
        let dirty = match self.dirty.resized() {
            true => vec![whole],
            false => self.dirty.rects().iter().map(|rect| rect.intersection(&whole)).collect(),
        };
        let wanted = match (self.wanted, self.continuous) {
            (Some(wanted), Some(continuous)) => wanted.union(&continuous),
            (one, other) => one.or(other).unwrap_or_default(),
        };
        let (mut parts, mut later) = (Vec::new(), Damage::default());
        for part in dirty {
            let inside = part.intersection(&wanted);
            if inside != part {
                later.add(part);
            }
            if !inside.is_empty() {
                parts.extend(encode::cut(inside));
            }
        }
        // A screen of another size stands alone, as the viewer makes room first. The request still stands: some viewers
        // make no other.
        if resized {
            parts.clear();
            later = Damage::whole(&self.picture);
        }
        if count == 0 && parts.is_empty() {
            return false;
        }
        self.dirty = later;
        self.wanted = resized.then(|| self.picture.whole());
        let mut message = vec![0, 0];
        message.extend(((count + parts.len()) as u16).to_be_bytes());
        message.extend(told.concat());
        out.push(message);
        self.rest = parts.into();
        true
    }
    /// Rectangles without pixels of the picture; how many.
    fn tell(&mut self, told: &mut Vec<Vec<u8>>) -> usize {
        let (width, height) = self.size;
        let mut rectangle = |x: u16, y: u16, size: (usize, usize), number: i32, content: &[u8]| {
            let place = Rect { x: x.into(), y: y.into(), width: size.0, height: size.1 };
            let mut bytes = Vec::new();
            encode::header(place, number, &mut bytes);
            bytes.extend(content);
            told.push(bytes);
        };
        let ToTell { cursor, extended_keys, refused_size, size } = std::mem::take(&mut self.to_tell);
        if cursor {
            rectangle(0, 0, (0, 0), pseudo::CURSOR, &[]);
        }
        if extended_keys {
            rectangle(0, 0, (0, 0), pseudo::EXTENDED_KEYS, &[]);
        }
        let absolute = self.guest.pointer_is_absolute();
        if self.knows.pointer_motion_change && self.absolute != Some(absolute) {
            self.absolute = Some(absolute);
            rectangle(absolute.into(), 0, (width, height), pseudo::POINTER_MOTION_CHANGE, &[]);
        }
        let leds = self.guest.leds();
        if self.knows.led_state && self.leds != Some(leds) {
            self.leds = Some(leds);
            rectangle(0, 0, (1, 1), pseudo::LED_STATE, &[leds.bits() & 0b111]);
        }
        if self.knows.extended_desktop_size && (size || refused_size) {
            let (reason, status) =
                if refused_size { (REASON_VIEWER, STATUS_PROHIBITED) } else { (REASON_SERVER, 0) };
            // One screen, number 0, at the left top.
            let mut screens = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            screens.extend([width as u16, height as u16].map(u16::to_be_bytes).concat());
            screens.extend([0; 4]);
            rectangle(reason, status, (width, height), pseudo::EXTENDED_DESKTOP_SIZE, &screens);
        } else if self.knows.desktop_size && size {
            rectangle(0, 0, (width, height), pseudo::DESKTOP_SIZE, &[]);
        }
        told.len()
    }
}

fn rect([x, y, width, height]: [u16; 4]) -> Rect {
    Rect { x: x.into(), y: y.into(), width: width.into(), height: height.into() }
}
