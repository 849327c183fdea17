//! A PS/2 mouse: two buttons and a middle one, a wheel, five buttons, as the driver asks for it.
//!
//! The mouse sits behind the auxiliary port of the keyboard controller ([`super`]) and talks to a driver in bytes. In
//! *stream mode* it looks at its wheels and buttons so many times a second (the *sample rate*), and sends a packet if
//! something has changed; in *remote mode* it sends one when it is asked to (EBh). In *wrap mode* it sends back each byte.
//!
//! | byte | bits |
//! |---|---|
//! | 1 | 0 left, 1 right, 2 middle button; 3 always set; 4, 5 signs of X and Y; 6, 7 their overflows |
//! | 2, 3 | X to the right, Y away from the user: nine bits with the signs |
//! | 4 | only with a wheel: Z towards the user |
//!
//! A driver finds out what mouse it has by setting the sample rate three times and reading the identity (F2h):
//!
//! | rates | identity | what follows |
//! |---|---|---|
//! | | 0 | packets of three bytes |
//! | 200, 100, 80 | 3, IntelliMouse | a fourth byte, Z as a signed byte |
//! | 200, 200, 80 | 4, IntelliMouse Explorer | Z in four bits, the fourth and fifth button in bits 4 and 5 |
//! | 200, 80, 40 | 4 as before | turns of the wheel to the side too: a fourth byte whose bits 7 and 6 are 01b has them in six bits |
//!
//! Each byte from the driver is answered with FAh; a byte that is no command with FEh, and the next such byte with FCh. A command
//! ends a packet that is being sent.
//!
//! **A hand from outside.** The window on the host tells of moves whenever it likes; a guest may look rarely or never. What
//! no packet has told yet is kept as sums ([`hand`]), and a move that is too long for a packet goes on in the next one, so that overflow bits
//! are never needed. Moves from before reporting was enabled are forgotten.
//!
//! The resolution is kept and reported, but a count from the host is a count to the guest: it has no millimetres.
//! Times are guest times.
//!
//! Sources: IBM PS/2 Hardware Interface Technical Reference, "Mouse"; for wheels and more buttons, what Microsoft's mice do.

pub mod hand;
#[cfg(test)]
mod tests;

use crate::pointer::{Buttons, PointerEvent};
use hand::{Hand, Stretch};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use trimotor_bus::{GuestTime, RestoreError};

const ACKNOWLEDGE: u8 = 0xFA;
const RESEND: u8 = 0xFE;
const ERROR: u8 = 0xFC;
const TEST_PASSED: u8 = 0xAA;
/// The rates that a mouse knows, in samples a second.
pub const SAMPLE_RATES: [u8; 7] = [10, 20, 40, 60, 80, 100, 200];
const DEFAULT_RATE: u8 = 100;
/// Four counts a millimetre.
const DEFAULT_RESOLUTION: u8 = 2;
/// The longest way that a packet tells: its sign is a ninth bit.
const MOST_COUNTS: i32 = 255;
/// The longest answer: an acknowledgement and a packet.
const REPLY_BYTES: usize = 5;

/// What mouse it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Three buttons.
    Standard,
    /// With a wheel.
    Wheel,
    /// With a wheel and five buttons.
    Explorer,
    /// With a wheel that tilts too.
    Tilt,
}

impl Kind {
    /// What F2h answers.
    fn identity(self) -> u8 {
        match self {
            Kind::Standard => 0,
            Kind::Wheel => 3,
            Kind::Explorer | Kind::Tilt => 4,
        }
    }
    /// What the mouse is after three sample rates, the last one last.
    fn after(self, rates: [u8; 3]) -> Kind {
        match (rates, self) {
            ([200, 100, 80], Kind::Standard) => Kind::Wheel,
            ([200, 200, 80], Kind::Standard | Kind::Wheel) => Kind::Explorer,
            ([200, 80, 40], Kind::Explorer) => Kind::Tilt,
            _ => self,
        }
    }
}

/// What the next byte from the controller is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Expect {
    Command,
    Resolution,
    SampleRate,
}

/// The mouse.
#[derive(Debug)]
pub struct Mouse {
    state: MouseStateV1,
}

/// The saved state of a mouse.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MouseStateV1 {
    kind: Kind,
    /// The last three sample rates that were set.
    rates: [u8; 3],
    sample_rate: u8,
    resolution: u8,
    double_scaling: bool,
    remote: bool,
    wrap: bool,
    reporting: bool,
    expect: Expect,
    /// The last byte was no command.
    refused: bool,
    replies: VecDeque<u8>,
    /// What is left of the packet that is being sent.
    packet: VecDeque<u8>,
    /// The last answer or packet, for those who missed it.
    last: Vec<u8>,
    hand: Hand,
    /// No sample is taken before this.
    next_sample: GuestTime,
}

impl Mouse {
    /// A mouse that has passed its self test.
    pub fn new() -> Self {
        Self {
            state: MouseStateV1 {
                kind: Kind::Standard,
                rates: [0; 3],
                sample_rate: DEFAULT_RATE,
                resolution: DEFAULT_RESOLUTION,
                double_scaling: false,
                remote: false,
                wrap: false,
                reporting: false,
                expect: Expect::Command,
                refused: false,
                replies: VecDeque::new(),
                packet: VecDeque::new(),
                last: Vec::new(),
                hand: Hand::default(),
                next_sample: GuestTime::ZERO,
            },
        }
    }

    /// What mouse the driver made of it.
    pub fn kind(&self) -> Kind {
        self.state.kind
    }
    /// Whether it sends packets by itself.
    pub fn streams(&self) -> bool {
        let s = &self.state;
        s.reporting && !s.remote && !s.wrap
    }
    /// The buttons that are down.
    pub fn buttons(&self) -> Buttons {
        self.state.hand.buttons()
    }

    /// The hand did something.
    pub fn event(&mut self, event: PointerEvent) {
        self.state.hand.event(event);
        if !self.state.remote && !self.state.reporting {
            // Nobody will ask for it.
            self.state.hand.forget();
        }
    }
    /// Sends a packet soon, even where the hand did nothing: another device follows the hand.
    pub fn nudge(&mut self) {
        self.state.hand.lose_position();
        if self.streams() {
            self.state.hand.nudge();
        }
    }

    /// When a sample is taken that has something to tell.
    pub fn next_event(&self) -> Option<GuestTime> {
        self.may_sample().then_some(self.state.next_sample)
    }
    fn may_sample(&self) -> bool {
        let s = &self.state;
        let quiet = s.packet.is_empty() && s.replies.is_empty() && s.expect == Expect::Command;
        self.streams() && quiet && s.hand.has_news()
    }
    /// Takes a sample if it is time.
    pub fn advance(&mut self, now: GuestTime) {
        if self.may_sample() && self.state.next_sample <= now {
            self.state.next_sample = now + 1_000_000_000u64.div_ceil(u64::from(self.state.sample_rate));
            let packet = self.make_packet(self.state.double_scaling);
            self.state.last = packet.clone();
            self.state.packet = packet.into();
        }
    }

    /// Whether a byte waits for the controller.
    pub fn has_byte(&self) -> bool {
        !self.state.replies.is_empty() || !self.state.packet.is_empty()
    }
    /// The next byte for the controller.
    pub fn take_byte(&mut self) -> Option<u8> {
        self.state.replies.pop_front().or_else(|| self.state.packet.pop_front())
    }

    /// The packet that tells of the oldest moves.
    fn make_packet(&mut self, double: bool) -> Vec<u8> {
        let s = &mut self.state;
        let most = if double { MOST_COUNTS / 2 } else { MOST_COUNTS };
        let notches = if s.kind == Kind::Standard { 0 } else { 7 };
        let told = s.hand.take(most, notches, s.kind == Kind::Tilt);
        if told.right != 0 {
            // Its packet has no room for the fourth and fifth button: they follow.
            s.hand.nudge();
        }
        let scale = |way: i32| if double { doubled(way) } else { way };
        packet(s.kind, Stretch { dx: scale(told.dx), dy: scale(told.dy), ..told })
    }

    /// A byte from the controller: a command or its parameter.
    pub fn write(&mut self, byte: u8) {
        self.state.replies.clear();
        self.state.packet.clear();
        let expect = std::mem::replace(&mut self.state.expect, Expect::Command);
        if self.state.wrap && byte != 0xEC && byte != 0xFF {
            return self.reply(&[byte]);
        }
        match expect {
            Expect::Command => self.command(byte),
            Expect::Resolution if byte <= 3 => {
                self.state.resolution = byte;
                self.acknowledge(&[]);
            }
            Expect::SampleRate if SAMPLE_RATES.contains(&byte) => {
                let s = &mut self.state;
                s.sample_rate = byte;
                s.rates = [s.rates[1], s.rates[2], byte];
                s.kind = s.kind.after(s.rates);
                self.acknowledge(&[]);
            }
            // A driver that gave up on the parameter begins anew.
            Expect::Resolution | Expect::SampleRate if byte >= 0xE6 => self.command(byte),
            Expect::Resolution | Expect::SampleRate => {
                if !self.state.refused {
                    self.state.expect = expect;
                }
                self.refuse();
            }
        }
    }

    fn command(&mut self, command: u8) {
        if command != 0xF3 && command != 0xF2 {
            // Only rates in a row tell of a driver that looks for a wheel.
            self.state.rates = [0; 3];
        }
        match command {
            0xE6 => self.state.double_scaling = false,
            0xE7 => self.state.double_scaling = true,
            0xE8 => self.state.expect = Expect::Resolution,
            0xE9 => {
                let status = self.status();
                return self.acknowledge(&status);
            }
            0xEA => self.set_remote(false),
            0xEB => {
                let packet = self.make_packet(false);
                return self.acknowledge(&packet);
            }
            0xEC => self.state.wrap = false,
            0xEE => self.state.wrap = true,
            0xF0 => self.set_remote(true),
            0xF2 => return self.acknowledge(&[self.state.kind.identity()]),
            0xF3 => self.state.expect = Expect::SampleRate,
            0xF4 => {
                self.state.reporting = true;
                self.state.hand.forget();
            }
            0xF5 => self.state.reporting = false,
            0xF6 => self.set_defaults(),
            0xFE => {
                let again = self.state.last.clone();
                return self.state.replies.extend(again);
            }
            0xFF => {
                self.set_defaults();
                self.state.kind = Kind::Standard;
                return self.acknowledge(&[TEST_PASSED, Kind::Standard.identity()]);
            }
            _ => return self.refuse(),
        }
        self.acknowledge(&[]);
    }

    fn acknowledge(&mut self, rest: &[u8]) {
        let answer = [&[ACKNOWLEDGE], rest].concat();
        self.reply(&answer);
    }
    fn refuse(&mut self) {
        let answer = if self.state.refused { ERROR } else { RESEND };
        self.reply(&[answer]);
        self.state.refused = answer == RESEND;
    }
    fn reply(&mut self, bytes: &[u8]) {
        self.state.refused = false;
        self.state.replies.extend(bytes);
        self.state.last = bytes.to_vec();
    }
    fn set_remote(&mut self, remote: bool) {
        self.state.remote = remote;
        self.state.hand.forget();
    }
    fn set_defaults(&mut self) {
        let s = &mut self.state;
        s.sample_rate = DEFAULT_RATE;
        s.resolution = DEFAULT_RESOLUTION;
        (s.double_scaling, s.remote, s.wrap, s.reporting) = (false, false, false, false);
        s.hand.forget();
    }
    /// What E9h answers.
    fn status(&self) -> [u8; 3] {
        let s = &self.state;
        let buttons = s.hand.buttons();
        let bits = [
            (0x40, s.remote),
            (0x20, s.reporting),
            (0x10, s.double_scaling),
            (0x04, buttons.contains(Buttons::LEFT)),
            (0x02, buttons.contains(Buttons::MIDDLE)),
            (0x01, buttons.contains(Buttons::RIGHT)),
        ];
        let first = bits.iter().filter(|(_, set)| *set).map(|(bit, _)| bit).sum();
        [first, s.resolution, s.sample_rate]
    }

    /// The state now.
    pub fn save(&self) -> MouseStateV1 {
        self.state.clone()
    }
    /// Whether this mouse can take a saved state.
    ///
    /// # Errors
    /// A rate or resolution that no mouse has, or buffers that are too long.
    pub fn check(state: &MouseStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "mouse", field, value });
        if !SAMPLE_RATES.contains(&state.sample_rate) {
            return refuse("sample_rate", state.sample_rate.to_string());
        }
        if state.resolution > 3 {
            return refuse("resolution", state.resolution.to_string());
        }
        let lengths =
            [("replies", state.replies.len()), ("packet", state.packet.len()), ("last", state.last.len())];
        for (field, len) in lengths {
            if len > REPLY_BYTES {
                return refuse(field, format!("{len} long"));
            }
        }
        if !state.hand.is_possible() {
            return refuse("hand", format!("{:?}", state.hand));
        }
        Ok(())
    }
    /// Takes a saved state.
    ///
    /// # Errors
    /// See [`check`](Self::check).
    pub fn restore(&mut self, state: MouseStateV1) -> Result<(), RestoreError> {
        Self::check(&state)?;
        self.state = state;
        Ok(())
    }
}

impl Default for Mouse {
    fn default() -> Self {
        Self::new()
    }
}

/// A way with scaling 2:1: short ways are exact, long ones fast.
fn doubled(way: i32) -> i32 {
    let long = match way.abs() {
        short @ 0..=1 => short,
        2 => 1,
        3 => 3,
        4 => 6,
        5 => 9,
        long => 2 * long,
    };
    long * way.signum()
}

/// The bytes of a packet.
fn packet(kind: Kind, told: Stretch) -> Vec<u8> {
    let Stretch { dx, dy, down, right, buttons } = told;
    let up = -dy;
    let signs = u8::from(dx < 0) << 4 | u8::from(up < 0) << 5;
    let low = (buttons & (Buttons::LEFT | Buttons::RIGHT | Buttons::MIDDLE)).bits();
    let mut bytes = vec![low | 0x08 | signs, dx as u8, up as u8];
    let high =
        u8::from(buttons.contains(Buttons::SIDE)) << 4 | u8::from(buttons.contains(Buttons::EXTRA)) << 5;
    match kind {
        Kind::Standard => {}
        Kind::Wheel => bytes.push(down as u8),
        Kind::Tilt if right != 0 => bytes.push(0x40 | -right as u8 & 0x3F),
        Kind::Explorer | Kind::Tilt => bytes.push(down as u8 & 0x0F | high),
    }
    bytes
}
