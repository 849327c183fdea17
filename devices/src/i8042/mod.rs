//! The keyboard controller 8042 with a PS/2 keyboard and a PS/2 mouse.
//!
//! Port 64h is status when read and takes commands when written; port 60h is the data of
//! both. The controller stands between the processor and two devices: it takes their bytes, puts them one at a time into its
//! output buffer, says in bit 5 of the status which of them a byte is from, and pulls IRQ 1 for the keyboard, IRQ 12 for the
//! mouse, until port 60h is read. The keyboard's bytes are translated from scan-code set 2 to set 1 if the command byte says so.
//! It also owns two wires that have nothing to do with keys, because it had pins to spare:
//! the gate of address line 20 and the reset line.
//!
//! | command | what |
//! |---|---|
//! | 20h-3Fh, 60h-7Fh | read, write a byte of its RAM; byte 0 is the command byte |
//! | A4h, A5h | no password is installed; one that is loaded is thrown away |
//! | A7h, A8h, A9h | mouse off, on, its lines tested |
//! | AAh, ABh, ADh, AEh | self test; the keyboard's lines tested, keyboard off, on |
//! | C0h, C1h, C2h | input port: read; lower, upper half shown in status bits 7 to 4 until the next write |
//! | D0h, D1h, DDh, DFh | output port: read, written; A20 closed, opened |
//! | D2h, D3h | the next byte comes back as if from keyboard, mouse |
//! | D4h | the next byte is for the mouse; others written to port 60h are for the keyboard |
//! | E0h | test inputs: the clock lines |
//! | F0h-FFh | pulses bits 3 to 0 of the output port that are clear in the command: bit 0 resets the machine |
//!
//! [`controller`] is the chip, [`keyboard`] the keyboard, [`keys`] its keys, [`mouse`] the mouse, [`keymap`] what types which
//! character; this file is the glue. Keys come in three ways: [`I8042::key_event`] is a finger on
//! a key, whose codes are lost when nobody reads (as they are on a PC);
//! [`I8042::type_event`] queues for a person or a terminal that pastes, and waits for the guest;
//! [`I8042::schedule`] is a script's, with its instant of guest time. Keys that wait go down two milliseconds apart at least: programs of
//! the PC's first years keep fifteen keys, and lose the next ones.
//!
//! Left out: passwords (A6h), since who has lost one must open the case, and this one has no jumper; the
//! lock switch; the diagnostic dump (ACh), whose form differs from maker to maker; time-outs and parity errors, as both
//! devices are always there and no line is bad.

pub mod controller;
pub mod keyboard;
pub mod keymap;
pub mod keys;
pub mod mouse;
pub mod translate;

#[cfg(test)]
mod tests;

pub use controller::{CommandByte, Controller, Status};
pub use keyboard::{Keyboard, Leds};
pub use keymap::{Layout, Stroke};
pub use keys::KeyCode;
pub use mouse::Mouse;

use crate::device::Device;
use crate::pointer::PointerEvent;
use crate::requests::{A20Source, MachineRequests, ResetCause};
use controller::Effect;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use trimotor_bus::{GuestTime, IrqLine, Port, PortDevice, RestoreError, SaveState, Timed, Width, board};

/// Key events that wait to be typed: a screen of text, with shifts.
pub const TYPE_AHEAD: usize = 8192;
/// Key events that have an instant, at most.
pub const MOST_SCHEDULED: usize = 1 << 16;
/// Nanoseconds from one key that waited to the next one, both going down.
pub const STROKE_NS: u64 = 2_000_000;

/// A key that goes down or up at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TimedKey {
    /// When, in guest time; later where keys before it wait for the guest.
    pub at: GuestTime,
    /// The key.
    pub key: KeyCode,
    /// Whether it goes down.
    pub down: bool,
}

/// Controller, keyboard, mouse, and the keys that wait to be typed.
pub struct I8042 {
    keyboard_irq: IrqLine,
    aux_irq: IrqLine,
    requests: MachineRequests,
    controller: Controller,
    keyboard: Keyboard,
    mouse: Mouse,
    typing: VecDeque<(KeyCode, bool)>,
    /// In the order of their instants.
    scheduled: VecDeque<TimedKey>,
    /// No key that waits goes down before this.
    next_stroke: GuestTime,
    /// The levels of the two wires: a wire costs a lock, and most accesses change nothing.
    driven: (bool, bool),
}

/// The saved state of controller, keyboard, mouse and queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct I8042StateV1 {
    controller: controller::ControllerStateV1,
    keyboard: keyboard::KeyboardStateV1,
    mouse: mouse::MouseStateV1,
    typing: VecDeque<(KeyCode, bool)>,
    scheduled: VecDeque<TimedKey>,
    next_stroke: GuestTime,
}

impl I8042 {
    /// A controller with its keyboard; opens the A20 gate.
    pub fn new(keyboard_irq: IrqLine, aux_irq: IrqLine, requests: MachineRequests) -> Self {
        requests.set_a20(A20Source::KeyboardController, true);
        Self {
            keyboard_irq,
            aux_irq,
            requests,
            controller: Controller::new(),
            keyboard: Keyboard::new(),
            mouse: Mouse::new(),
            typing: VecDeque::new(),
            scheduled: VecDeque::new(),
            next_stroke: GuestTime::ZERO,
            driven: (false, false),
        }
    }

    /// Machine reset: controller, keyboard and mouse as after power-on, A20 open. What is scheduled stays so.
    pub fn reset(&mut self) {
        self.controller = Controller::new();
        self.keyboard = Keyboard::new();
        self.mouse = Mouse::new();
        self.typing.clear();
        self.requests.set_a20(A20Source::KeyboardController, true);
        self.set_wires((false, false));
    }

    /// A key went down or up at `now`.
    pub fn key_event(&mut self, key: KeyCode, pressed: bool, now: GuestTime) {
        self.advance(now);
        self.keyboard.key_event(key, pressed, now);
        self.advance(now);
    }

    /// Queues a key event that is made when the guest has taken all before it. Returns whether
    /// there was room.
    pub fn type_event(&mut self, key: KeyCode, pressed: bool, now: GuestTime) -> bool {
        let room = self.typing.len() < TYPE_AHEAD;
        if room {
            self.typing.push_back((key, pressed));
        }
        self.advance(now);
        room
    }

    /// Has keys go down and up at their instants. What is beyond [`MOST_SCHEDULED`] is dropped; returns whether all had room.
    pub fn schedule(&mut self, keys: impl IntoIterator<Item = TimedKey>) -> bool {
        for key in keys {
            if self.scheduled.len() >= MOST_SCHEDULED {
                return false;
            }
            let place = self.scheduled.partition_point(|other| other.at <= key.at);
            self.scheduled.insert(place, key);
        }
        true
    }

    /// Queues what types `text` on a keyboard of that layout, as far as it can be typed and there is room.
    /// Returns how many characters were queued or have no key.
    pub fn type_text(&mut self, layout: Layout, text: &str, now: GuestTime) -> usize {
        let mut done = 0;
        for character in text.chars() {
            let events: Vec<_> = layout.strokes(character).into_iter().flat_map(Stroke::events).collect();
            if self.typing.len() + events.len() > TYPE_AHEAD {
                break;
            }
            self.typing.extend(events);
            done += 1;
        }
        self.advance(now);
        done
    }

    /// All keys that are down go up when the guest has taken what is typed before.
    pub fn release_all(&mut self, now: GuestTime) {
        let mut held = self.keyboard.held().to_vec();
        for (key, pressed) in &self.typing {
            held.retain(|other| other != key);
            if *pressed {
                held.push(*key);
            }
        }
        // As many as there are keys: no bound is needed.
        self.typing.extend(held.into_iter().map(|key| (key, false)));
        self.advance(now);
    }

    /// A hand did something with the mouse.
    pub fn point(&mut self, event: PointerEvent, now: GuestTime) {
        self.advance(now);
        self.mouse.event(event);
        self.advance(now);
    }

    /// Has the mouse interrupt soon, whatever the hand does: another device has something to tell, and has no interrupt of its own.
    pub fn nudge_mouse(&mut self, now: GuestTime) {
        self.advance(now);
        self.mouse.nudge();
        self.advance(now);
    }

    /// The mouse.
    pub fn mouse(&self) -> &Mouse {
        &self.mouse
    }
    /// The keyboard's indicators.
    pub fn leds(&self) -> Leds {
        self.keyboard.leds()
    }

    /// Whether the next key that waits goes down, and the keyboard takes it.
    fn waits_for_stroke(&self) -> bool {
        self.keyboard.wants_keys() && self.typing.front().is_some_and(|(_, pressed)| *pressed)
    }
    /// Moves keys whose instant has come to those that wait for the guest.
    fn take_scheduled(&mut self, now: GuestTime) {
        while self.typing.len() < TYPE_AHEAD
            && let Some(TimedKey { key, down, .. }) = self.scheduled.pop_front_if(|key| key.at <= now)
        {
            self.typing.push_back((key, down));
        }
    }

    fn drive(&mut self) {
        let levels = (self.controller.keyboard_interrupt(), self.controller.aux_interrupt());
        if levels != self.driven {
            self.set_wires(levels);
        }
    }

    fn set_wires(&mut self, levels: (bool, bool)) {
        self.driven = levels;
        self.keyboard_irq.set(levels.0);
        self.aux_irq.set(levels.1);
    }

    fn obey(&self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::A20 => self.requests.set_a20(A20Source::KeyboardController, self.controller.a20()),
            Effect::Reset => self.requests.reset(ResetCause::KeyboardController),
        }
    }
}

impl PortDevice for I8042 {
    fn port_read(&mut self, port: Port, width: Width, now: GuestTime) -> u32 {
        self.advance(now);
        let nobody = width.mask() as u32;
        match port {
            board::I8042_DATA => {
                let value = self.controller.read_data(now);
                // The wire drops before an answer that waits raises it again.
                self.drive();
                self.advance(now);
                nobody & !0xFF | value as u32
            }
            board::I8042_COMMAND => nobody & !0xFF | self.controller.read_status() as u32,
            _ => nobody,
        }
    }

    fn port_write(&mut self, port: Port, _width: Width, value: u32, now: GuestTime) {
        self.advance(now);
        let byte = value as u8;
        let effect = match port {
            board::I8042_DATA => self.controller.write_data(byte, &mut self.keyboard, &mut self.mouse, now),
            board::I8042_COMMAND => self.controller.write_command(byte),
            _ => Effect::None,
        };
        self.obey(effect);
        self.advance(now);
    }
}

impl Timed for I8042 {
    fn next_event(&self) -> Option<GuestTime> {
        let byte = self.controller.next_event(&self.keyboard, &self.mouse);
        let own = [byte, self.keyboard.next_event(), self.mouse.next_event()];
        // What is due waits for the guest, not for a time.
        let stroke = self.waits_for_stroke().then_some(self.next_stroke);
        let scheduled = self.scheduled.front().filter(|_| self.typing.len() < TYPE_AHEAD).map(|key| key.at);
        own.into_iter().chain([stroke, scheduled]).flatten().min()
    }

    fn advance(&mut self, now: GuestTime) {
        self.keyboard.advance(now);
        self.mouse.advance(now);
        self.take_scheduled(now);
        while self.keyboard.wants_keys() && !(self.waits_for_stroke() && now < self.next_stroke) {
            let Some((key, pressed)) = self.typing.pop_front() else { break };
            self.keyboard.key_event(key, pressed, now);
            if pressed {
                self.next_stroke = now + STROKE_NS;
            }
            self.take_scheduled(now);
        }
        self.controller.fill(&mut self.keyboard, &mut self.mouse, now);
        self.drive();
    }
}

impl SaveState for I8042 {
    type State = I8042StateV1;

    fn save(&self) -> I8042StateV1 {
        let Self {
            keyboard_irq: _,
            aux_irq: _,
            requests: _,
            controller,
            keyboard,
            mouse,
            typing,
            scheduled,
            next_stroke,
            driven: _,
        } = self;
        I8042StateV1 {
            controller: controller.save(),
            keyboard: keyboard.save(),
            mouse: mouse.save(),
            typing: typing.clone(),
            scheduled: scheduled.clone(),
            next_stroke: *next_stroke,
        }
    }

    fn restore(&mut self, state: I8042StateV1) -> Result<(), RestoreError> {
        let I8042StateV1 { controller, keyboard, mouse, typing, scheduled, next_stroke } = state;
        if typing.len() > TYPE_AHEAD + KeyCode::all().count() {
            let value = format!("{} events", typing.len());
            return Err(RestoreError { part: "keyboard", field: "typing", value });
        }
        if scheduled.len() > MOST_SCHEDULED || !scheduled.iter().is_sorted_by_key(|key| key.at) {
            let value = format!("{} events", scheduled.len());
            return Err(RestoreError { part: "keyboard", field: "scheduled", value });
        }
        Keyboard::check(&keyboard)?;
        Mouse::check(&mouse)?;
        self.controller.restore(controller)?;
        self.keyboard.restore(keyboard)?;
        self.mouse.restore(mouse)?;
        self.typing = typing;
        self.scheduled = scheduled;
        self.next_stroke = next_stroke;
        self.requests.set_a20(A20Source::KeyboardController, self.controller.a20());
        self.set_wires((self.controller.keyboard_interrupt(), self.controller.aux_interrupt()));
        Ok(())
    }
}

impl Device for I8042 {
    fn reset(&mut self, _now: GuestTime) {
        I8042::reset(self);
    }
    fn info(&self) -> String {
        let streams = if self.mouse.streams() { "streams" } else { "is quiet" };
        format!("keyboard LEDs {:#05b}; mouse ({:?}) {streams}", self.leds().bits(), self.mouse.kind())
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
}
