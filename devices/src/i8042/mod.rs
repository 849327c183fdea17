//! The keyboard controller 8042 and a PS/2 keyboard.
//!
//! Port 64h is status when read and takes commands when written; port 60h is the data of
//! both. The controller stands between the processor and the keyboard: it takes the
//! keyboard's bytes, translates them from scan-code set 2 to set 1 if the command byte says
//! so, puts them one at a time into its output buffer and pulls IRQ 1 until port 60h is read.
//! It also owns two wires that have nothing to do with keys, because it had pins to spare:
//! the gate of address line 20 and the reset line.
//!
//! [`controller`] is the chip, [`keyboard`] the keyboard, [`keys`] its keys, [`text`] how text
//! is typed; this file is the glue. Keys come in two ways: [`I8042::key_event`] is a finger on
//! a key, whose codes are lost when nobody reads (as they are on a PC);
//! [`I8042::type_event`] queues for a terminal that pastes, and waits for the guest.
//!
//! The auxiliary (mouse) port is there and tests well, but nothing is plugged in: a byte sent
//! to it is answered with a time-out.
//!
//! Left out: the lock switch, password commands, and electrical tests of the lines.

pub mod controller;
pub mod keyboard;
pub mod keys;
pub mod text;
pub mod translate;

#[cfg(test)]
mod tests;

pub use controller::{CommandByte, Controller, Status};
pub use keyboard::Keyboard;
pub use keys::KeyCode;
pub use text::{Stroke, stroke};

use crate::device::Device;
use crate::requests::{A20Source, MachineRequests, ResetCause};
use controller::Effect;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use trimotor_bus::{GuestTime, IrqLine, Port, PortDevice, RestoreError, SaveState, Timed, Width, board};

/// Key events that wait to be typed: a screen of text, with shifts.
pub const TYPE_AHEAD: usize = 8192;

/// Controller, keyboard, and the keys that wait to be typed.
pub struct I8042 {
    keyboard_irq: IrqLine,
    aux_irq: IrqLine,
    requests: MachineRequests,
    controller: Controller,
    keyboard: Keyboard,
    typing: VecDeque<(KeyCode, bool)>,
    /// The levels of the two wires: a wire costs a lock, and most accesses change nothing.
    driven: (bool, bool),
}

/// The saved state of controller, keyboard and queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct I8042StateV1 {
    controller: controller::ControllerStateV1,
    keyboard: keyboard::KeyboardStateV1,
    typing: VecDeque<(KeyCode, bool)>,
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
            typing: VecDeque::new(),
            driven: (false, false),
        }
    }

    /// Machine reset: controller and keyboard as after power-on, A20 open.
    pub fn reset(&mut self) {
        self.controller = Controller::new();
        self.keyboard = Keyboard::new();
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

    /// Queues what types `text` on a US keyboard, as far as it can be typed and there is room.
    /// Returns how many characters were queued or have no key.
    pub fn type_text(&mut self, text: &str, now: GuestTime) -> usize {
        let mut done = 0;
        for character in text.chars() {
            let events = stroke(character).into_iter().flat_map(Stroke::events);
            if self.typing.len() + 4 > TYPE_AHEAD {
                break;
            }
            self.typing.extend(events);
            done += 1;
        }
        self.advance(now);
        done
    }

    /// The keyboard's indicators: bit 0 Scroll Lock, bit 1 Num Lock, bit 2 Caps Lock.
    pub fn leds(&self) -> u8 {
        self.keyboard.leds()
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
            board::I8042_DATA => self.controller.write_data(byte, &mut self.keyboard, now),
            board::I8042_COMMAND => self.controller.write_command(byte),
            _ => Effect::None,
        };
        self.obey(effect);
        self.advance(now);
    }
}

impl Timed for I8042 {
    fn next_event(&self) -> Option<GuestTime> {
        let byte = self.controller.next_event(&self.keyboard);
        byte.into_iter().chain(self.keyboard.next_event()).min()
    }

    fn advance(&mut self, now: GuestTime) {
        self.keyboard.advance(now);
        while self.keyboard.wants_keys() {
            let Some((key, pressed)) = self.typing.pop_front() else { break };
            self.keyboard.key_event(key, pressed, now);
        }
        self.controller.fill(&mut self.keyboard, now);
        self.drive();
    }
}

impl SaveState for I8042 {
    type State = I8042StateV1;

    fn save(&self) -> I8042StateV1 {
        let Self { keyboard_irq: _, aux_irq: _, requests: _, controller, keyboard, typing, driven: _ } = self;
        I8042StateV1 { controller: controller.save(), keyboard: keyboard.save(), typing: typing.clone() }
    }

    fn restore(&mut self, state: I8042StateV1) -> Result<(), RestoreError> {
        let I8042StateV1 { controller, keyboard, typing } = state;
        if typing.len() > TYPE_AHEAD {
            let value = format!("{} events", typing.len());
            return Err(RestoreError { part: "keyboard", field: "typing", value });
        }
        Keyboard::check(&keyboard)?;
        self.controller.restore(controller)?;
        self.keyboard.restore(keyboard)?;
        self.typing = typing;
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
        format!("keyboard LEDs {:#05b}", self.leds())
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
}
