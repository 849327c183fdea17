//! A PS/2 keyboard: scan-code sets 1 to 3, commands, typematic repeat, a 16-byte buffer.
//! No bus, no clock, no lock (IBM PS/2 Hardware Interface Technical Reference, "Keyboards").

use super::keys::{KeyCode, KeyKind};
use super::translate::{self, BREAK_PREFIX};
use bitflags::bitflags;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use trimotor_bus::{GuestTime, RestoreError};

/// Bytes of scan codes that wait; the byte after them says that some were lost.
pub const BUFFER_BYTES: usize = 16;
/// The most bytes that one key sends.
pub const LONGEST_SEQUENCE: usize = 8;
/// Answers that wait: the longest is four bytes.
const REPLY_BYTES: usize = 8;
const ACKNOWLEDGE: u8 = 0xFA;
const RESEND: u8 = 0xFE;
const TEST_PASSED: u8 = 0xAA;
const IDENTITY: [u8; 2] = [0xAB, 0x83];
/// Delay 500 ms, 10.9 characters a second.
const DEFAULT_TYPEMATIC: u8 = 0x2B;

bitflags! {
    /// The indicators, as command EDh has them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(transparent)]
    pub struct Leds: u8 {
        /// Scroll Lock.
        const SCROLL_LOCK = 0x01;
        /// Num Lock.
        const NUM_LOCK = 0x02;
        /// Caps Lock.
        const CAPS_LOCK = 0x04;
    }
}

/// What the next byte from the controller is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Expect {
    Command,
    Leds,
    Typematic,
    ScanCodeSet,
    /// Keys of set 3 that get this kind, until a command comes.
    Keys(KeyKind),
}

/// The keyboard.
#[derive(Debug)]
pub struct Keyboard {
    state: KeyboardStateV1,
}

/// The saved state of a keyboard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyboardStateV1 {
    scan_code_set: u8,
    scanning: bool,
    leds: Leds,
    typematic: u8,
    expect: Expect,
    buffer: VecDeque<u8>,
    replies: VecDeque<u8>,
    last_sent: u8,
    held: Vec<KeyCode>,
    repeating: Option<(KeyCode, GuestTime)>,
    /// Kinds of set 3 that differ from the table, by make code.
    kinds: Vec<(u8, KeyKind)>,
    all_kinds: Option<KeyKind>,
}

impl Keyboard {
    /// A keyboard that has passed its self test: set 2, scanning.
    pub fn new() -> Self {
        Self {
            state: KeyboardStateV1 {
                scan_code_set: 2,
                scanning: true,
                leds: Leds::empty(),
                typematic: DEFAULT_TYPEMATIC,
                expect: Expect::Command,
                buffer: VecDeque::new(),
                replies: VecDeque::new(),
                last_sent: 0,
                held: Vec::new(),
                repeating: None,
                kinds: Vec::new(),
                all_kinds: None,
            },
        }
    }

    /// The indicators.
    pub fn leds(&self) -> Leds {
        self.state.leds
    }
    /// The keys that are down, in the order in which they went down.
    pub fn held(&self) -> &[KeyCode] {
        &self.state.held
    }
    /// Whether a byte waits for the controller.
    pub fn has_byte(&self) -> bool {
        let s = &self.state;
        !s.replies.is_empty() || s.expect == Expect::Command && !s.buffer.is_empty()
    }
    /// Whether no scan code waits and keys are looked at.
    pub fn wants_keys(&self) -> bool {
        self.state.scanning && self.state.buffer.is_empty()
    }
    /// The next byte for the controller.
    pub fn take_byte(&mut self) -> Option<u8> {
        let s = &mut self.state;
        let byte = match s.replies.pop_front() {
            Some(reply) => Some(reply),
            None if s.expect == Expect::Command => s.buffer.pop_front(),
            None => None,
        }?;
        s.last_sent = byte;
        Some(byte)
    }

    /// A byte from the controller: a command or its parameter.
    pub fn write(&mut self, byte: u8) {
        self.state.replies.clear();
        let expect = std::mem::replace(&mut self.state.expect, Expect::Command);
        if byte >= 0xED {
            return self.command(byte);
        }
        match expect {
            Expect::Command => self.reply(&[RESEND]),
            Expect::Leds => {
                self.state.leds = Leds::from_bits_truncate(byte);
                self.reply(&[ACKNOWLEDGE]);
            }
            Expect::Typematic => {
                self.state.typematic = byte & 0x7F;
                self.reply(&[ACKNOWLEDGE]);
            }
            Expect::ScanCodeSet => self.select_set(byte),
            Expect::Keys(kind) => {
                self.state.kinds.retain(|(code, _)| *code != byte);
                self.state.kinds.push((byte, kind));
                self.state.expect = expect;
                self.reply(&[ACKNOWLEDGE]);
            }
        }
    }

    fn reply(&mut self, bytes: &[u8]) {
        self.state.replies.extend(bytes);
    }

    fn select_set(&mut self, set: u8) {
        match set {
            0 => self.reply(&[ACKNOWLEDGE, self.state.scan_code_set]),
            1..=3 => {
                self.state.scan_code_set = set;
                self.state.buffer.clear();
                self.reply(&[ACKNOWLEDGE]);
            }
            _ => {
                self.state.expect = Expect::ScanCodeSet;
                self.reply(&[RESEND]);
            }
        }
    }

    fn command(&mut self, command: u8) {
        match command {
            0xED => self.expect(Expect::Leds),
            0xEE => self.reply(&[0xEE]),
            0xF0 => self.expect(Expect::ScanCodeSet),
            0xF2 => self.reply(&[ACKNOWLEDGE, IDENTITY[0], IDENTITY[1]]),
            0xF3 => self.expect(Expect::Typematic),
            0xF4 => {
                self.state.buffer.clear();
                self.state.scanning = true;
                self.reply(&[ACKNOWLEDGE]);
            }
            0xF5 | 0xF6 => {
                self.set_defaults();
                self.state.scanning = command == 0xF6;
                self.reply(&[ACKNOWLEDGE]);
            }
            0xF7 => self.all_keys(KeyKind::Typematic),
            0xF8 => self.all_keys(KeyKind::MakeBreak),
            0xF9 => self.all_keys(KeyKind::MakeOnly),
            0xFA => self.all_keys(KeyKind::TypematicMakeBreak),
            0xFB => self.expect(Expect::Keys(KeyKind::Typematic)),
            0xFC => self.expect(Expect::Keys(KeyKind::MakeBreak)),
            0xFD => self.expect(Expect::Keys(KeyKind::MakeOnly)),
            0xFE => self.reply(&[self.state.last_sent]),
            0xFF => {
                self.set_defaults();
                self.state.scan_code_set = 2;
                self.state.leds = Leds::empty();
                self.state.scanning = true;
                self.reply(&[ACKNOWLEDGE, TEST_PASSED]);
            }
            _ => self.reply(&[RESEND]),
        }
    }

    fn expect(&mut self, next: Expect) {
        self.state.expect = next;
        self.reply(&[ACKNOWLEDGE]);
    }

    fn all_keys(&mut self, kind: KeyKind) {
        self.state.kinds.clear();
        self.state.all_kinds = Some(kind);
        self.reply(&[ACKNOWLEDGE]);
    }

    fn set_defaults(&mut self) {
        let s = &mut self.state;
        s.typematic = DEFAULT_TYPEMATIC;
        s.kinds.clear();
        s.all_kinds = None;
        s.buffer.clear();
        s.repeating = None;
    }

    fn kind(&self, key: KeyCode) -> KeyKind {
        if self.state.scan_code_set != 3 {
            return KeyKind::TypematicMakeBreak;
        }
        let own = self.state.kinds.iter().find(|(code, _)| Some(*code) == key.set_3());
        own.map(|(_, kind)| *kind).or(self.state.all_kinds).unwrap_or(key.kind())
    }

    /// A key went down or up. Repeats of the host are not passed on: the keyboard has its own.
    pub fn key_event(&mut self, key: KeyCode, pressed: bool, now: GuestTime) {
        let was_held = self.state.held.contains(&key);
        if was_held == pressed {
            return;
        }
        let kind = self.kind(key);
        if pressed {
            self.send(key, true);
            self.state.held.push(key);
            let repeats = matches!(kind, KeyKind::Typematic | KeyKind::TypematicMakeBreak);
            let repeats = repeats && key != KeyCode::Pause;
            self.state.repeating = repeats.then(|| (key, now + self.delay_ns()));
        } else {
            self.state.held.retain(|held| *held != key);
            if self.state.repeating.is_some_and(|(repeating, _)| repeating == key) {
                self.state.repeating = None;
            }
            if matches!(kind, KeyKind::MakeBreak | KeyKind::TypematicMakeBreak) {
                self.send(key, false);
            }
        }
    }

    fn delay_ns(&self) -> u64 {
        (1 + (self.state.typematic >> 5 & 3) as u64) * 250_000_000
    }
    fn period_ns(&self) -> u64 {
        let t = self.state.typematic as u64;
        ((8 + (t & 7)) << (t >> 3 & 3)) * 4_166_667
    }

    /// When the held key repeats next.
    pub fn next_event(&self) -> Option<GuestTime> {
        self.state.repeating.map(|(_, at)| at)
    }

    /// Repeats the held key. Repeats that nobody saw in time are not made up for.
    pub fn advance(&mut self, now: GuestTime) {
        if let Some((key, at)) = self.state.repeating.filter(|(_, at)| *at <= now) {
            self.send(key, true);
            let next = at + self.period_ns();
            self.state.repeating = Some((key, if next > now { next } else { now + self.period_ns() }));
        }
    }

    fn send(&mut self, key: KeyCode, make: bool) {
        if !self.state.scanning {
            return;
        }
        let codes = match self.state.scan_code_set {
            3 => key.set_3().map_or(Vec::new(), |c| if make { vec![c] } else { vec![BREAK_PREFIX, c] }),
            1 => {
                let mut breaking = false;
                self.set_2(key, make).iter().filter_map(|&b| translate::step(&mut breaking, b)).collect()
            }
            _ => self.set_2(key, make),
        };
        let overrun = if self.state.scan_code_set == 1 { 0xFF } else { 0x00 };
        let buffer = &mut self.state.buffer;
        if buffer.len() + codes.len() <= BUFFER_BYTES {
            buffer.extend(codes);
        } else if buffer.back() != Some(&overrun) {
            buffer.push_back(overrun);
        }
    }

    fn holds(&self, keys: &[KeyCode]) -> bool {
        self.state.held.iter().any(|held| keys.contains(held))
    }

    /// What a key sends in set 2, with the keyboard's own shifts around it.
    fn set_2(&self, key: KeyCode, make: bool) -> Vec<u8> {
        use KeyCode::*;
        let shift = self.holds(&[ShiftLeft, ShiftRight]);
        let control = self.holds(&[ControlLeft, ControlRight]);
        match key {
            Pause if !make => Vec::new(),
            Pause if control => vec![0xE0, 0x7E, 0xE0, BREAK_PREFIX, 0x7E],
            Pause => vec![0xE1, 0x14, 0x77, 0xE1, BREAK_PREFIX, 0x14, BREAK_PREFIX, 0x77],
            PrintScreen if self.holds(&[AltLeft, AltRight]) => plain(0x84, make),
            PrintScreen if !shift && !control => around(&[0x12], true, plain(key.set_2(), make), make),
            KeypadDivide if shift => around(&self.shifts(), false, plain(key.set_2(), make), make),
            _ if key.is_navigation() && shift && !self.num_lock() => {
                around(&self.shifts(), false, plain(key.set_2(), make), make)
            }
            _ if key.is_navigation() && !shift && self.num_lock() => {
                around(&[0x12], true, plain(key.set_2(), make), make)
            }
            _ => plain(key.set_2(), make),
        }
    }

    fn num_lock(&self) -> bool {
        self.state.leds.contains(Leds::NUM_LOCK)
    }

    /// Codes of the shift keys that are held.
    fn shifts(&self) -> Vec<u8> {
        let held = |key| self.state.held.contains(&key);
        let keys = [(KeyCode::ShiftLeft, 0x12), (KeyCode::ShiftRight, 0x59)];
        keys.into_iter().filter(|(key, _)| held(*key)).map(|(_, code)| code).collect()
    }

    /// The state now.
    pub fn save(&self) -> KeyboardStateV1 {
        self.state.clone()
    }

    /// Whether this keyboard can take a saved state.
    ///
    /// # Errors
    /// A set that does not exist, or buffers that are too long.
    pub fn check(state: &KeyboardStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "keyboard", field, value });
        if !(1..=3).contains(&state.scan_code_set) {
            return refuse("scan_code_set", state.scan_code_set.to_string());
        }
        if !Leds::all().contains(state.leds) {
            return refuse("leds", state.leds.bits().to_string());
        }
        for (field, len, most) in [
            ("buffer", state.buffer.len(), BUFFER_BYTES + 1),
            ("replies", state.replies.len(), REPLY_BYTES),
            ("held", state.held.len(), 256),
            ("kinds", state.kinds.len(), 256),
        ] {
            if len > most {
                return refuse(field, format!("{len} long"));
            }
        }
        Ok(())
    }

    /// Takes a saved state.
    ///
    /// # Errors
    /// See [`check`](Self::check).
    pub fn restore(&mut self, state: KeyboardStateV1) -> Result<(), RestoreError> {
        Self::check(&state)?;
        self.state = state;
        Ok(())
    }
}

impl Default for Keyboard {
    fn default() -> Self {
        Self::new()
    }
}

/// Make or break code of a key.
fn plain(code: u16, make: bool) -> Vec<u8> {
    let prefix = (code > 0xFF).then_some((code >> 8) as u8);
    let breaking = (!make).then_some(BREAK_PREFIX);
    prefix.into_iter().chain(breaking).chain([code as u8]).collect()
}

/// A key within shifts of the keyboard's own: pressed around it, or released around it.
fn around(shifts: &[u8], press: bool, key: Vec<u8>, make: bool) -> Vec<u8> {
    let one = |code: u8, make: bool| plain(0xE000 | code as u16, make);
    let side: Vec<u8> = shifts.iter().flat_map(|&code| one(code, press == make)).collect();
    if make { [side, key].concat() } else { [key, side].concat() }
}
