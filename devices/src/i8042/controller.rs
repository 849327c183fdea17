//! The keyboard controller: registers, commands, output buffer. No bus, no clock, no lock.

use super::keyboard::Keyboard;
use super::mouse::Mouse;
use super::translate;
use bitflags::bitflags;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use trimotor_bus::{GuestTime, RestoreError};

bitflags! {
    /// The status register, port 64h.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u8 {
        /// The output buffer is full: port 60h has a byte.
        const OUTPUT_FULL = 0x01;
        /// The input buffer is full. Bytes are taken at once, so never.
        const INPUT_FULL = 0x02;
        /// The self test was passed.
        const SYSTEM = 0x04;
        /// The last write was a command (64h), not data (60h).
        const COMMAND = 0x08;
        /// The keyboard is not locked.
        const UNLOCKED = 0x10;
        /// The byte in the output buffer is from the auxiliary device.
        const AUX = 0x20;
        /// The device did not answer. There is always one.
        const TIMEOUT = 0x40;
        /// The byte came with an error. None does.
        const PARITY = 0x80;
    }

    /// The command byte (controller RAM 0).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CommandByte: u8 {
        /// A byte from the keyboard interrupts (IRQ 1).
        const KEYBOARD_INTERRUPT = 0x01;
        /// A byte from the auxiliary device interrupts (IRQ 12).
        const AUX_INTERRUPT = 0x02;
        /// Becomes [`Status::SYSTEM`].
        const SYSTEM = 0x04;
        /// The keyboard's clock is held: it keeps its bytes.
        const KEYBOARD_DISABLED = 0x10;
        /// The auxiliary device's clock is held.
        const AUX_DISABLED = 0x20;
        /// Bytes from the keyboard are translated to set 1.
        const TRANSLATE = 0x40;
    }
}

/// Output port: low resets the machine.
pub const OUTPUT_RESET: u8 = 0x01;
/// Output port: address line 20 passes.
pub const OUTPUT_A20: u8 = 0x02;
const OUTPUT_KEYBOARD_FULL: u8 = 0x10;
const OUTPUT_AUX_FULL: u8 = 0x20;
/// The input port: not locked, colour display, no manufacturing jumper.
const INPUT_PORT: u8 = 0xB0;
/// What a device takes to send a byte, in nanoseconds. A real one takes ten times as long.
pub const BYTE_NS: u64 = 100_000;
/// Answers that wait for the output buffer: each command has one.
const REPLIES: usize = 4;

/// Where the byte of the next write to port 60h goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Target {
    Keyboard,
    Ram(u8),
    OutputPort,
    KeyboardBuffer,
    AuxBuffer,
    AuxDevice,
    /// A password that is thrown away, up to a zero.
    Password,
}

/// Half of the input port, which the upper half of the status register shows instead of its own bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Poll {
    Low,
    High,
}

/// A byte in the output buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Output {
    byte: u8,
    aux: bool,
}

/// What a write asks of the rest of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// The A20 gate may have changed.
    A20,
    /// The reset line was pulled.
    Reset,
}

/// The controller.
#[derive(Debug)]
pub struct Controller {
    state: ControllerStateV1,
}

/// The saved state of the controller.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ControllerStateV1 {
    /// RAM; byte 0 is the command byte.
    ram: [u8; 32],
    output: Option<Output>,
    replies: VecDeque<Output>,
    output_port: u8,
    target: Target,
    last_was_command: bool,
    /// A break prefix was seen and not passed on.
    breaking: bool,
    /// The next byte of keyboard or mouse is not here before this.
    byte_at: GuestTime,
    /// The mouse sent the last byte: the keyboard comes first now.
    aux_was_last: bool,
    poll: Option<Poll>,
}

impl Controller {
    /// A controller as firmware leaves it: keyboard on, translated, with its interrupt;
    /// auxiliary port off; A20 open.
    pub fn new() -> Self {
        let command = CommandByte::KEYBOARD_INTERRUPT
            | CommandByte::SYSTEM
            | CommandByte::AUX_DISABLED
            | CommandByte::TRANSLATE;
        let mut ram = [0; 32];
        ram[0] = command.bits();
        Self {
            state: ControllerStateV1 {
                ram,
                output: None,
                replies: VecDeque::new(),
                output_port: 0xCC | OUTPUT_RESET | OUTPUT_A20,
                target: Target::Keyboard,
                last_was_command: false,
                breaking: false,
                byte_at: GuestTime::ZERO,
                aux_was_last: false,
                poll: None,
            },
        }
    }

    fn command_byte(&self) -> CommandByte {
        CommandByte::from_bits_retain(self.state.ram[0])
    }
    /// Whether the controller opens the A20 gate.
    pub fn a20(&self) -> bool {
        self.state.output_port & OUTPUT_A20 != 0
    }
    /// The level of IRQ 1.
    pub fn keyboard_interrupt(&self) -> bool {
        let enabled = self.command_byte().contains(CommandByte::KEYBOARD_INTERRUPT);
        enabled && self.state.output.is_some_and(|o| !o.aux)
    }
    /// The level of IRQ 12.
    pub fn aux_interrupt(&self) -> bool {
        let enabled = self.command_byte().contains(CommandByte::AUX_INTERRUPT);
        enabled && self.state.output.is_some_and(|o| o.aux)
    }

    /// Reads port 64h.
    pub fn read_status(&self) -> u8 {
        let mut status = Status::UNLOCKED;
        status.set(Status::OUTPUT_FULL, self.state.output.is_some());
        status.set(Status::SYSTEM, self.command_byte().contains(CommandByte::SYSTEM));
        status.set(Status::COMMAND, self.state.last_was_command);
        status.set(Status::AUX, self.state.output.is_some_and(|o| o.aux));
        match self.state.poll {
            None => status.bits(),
            Some(Poll::Low) => status.bits() & 0x0F | INPUT_PORT << 4,
            Some(Poll::High) => status.bits() & 0x0F | INPUT_PORT & 0xF0,
        }
    }

    /// Takes the byte out of the output buffer, as a read of port 60h does. An answer of the
    /// controller itself may follow with [`fill`](Self::fill).
    pub fn read_data(&mut self, now: GuestTime) -> u8 {
        let byte = self.state.output.take().map_or(0, |o| o.byte);
        self.state.byte_at = now + BYTE_NS;
        byte
    }

    /// Moves the next byte into the output buffer if that is empty: answers first, then keyboard and mouse in turn when they
    /// had the time to send.
    pub fn fill(&mut self, keyboard: &mut Keyboard, mouse: &mut Mouse, now: GuestTime) {
        if self.state.output.is_some() {
            return;
        }
        if let Some(reply) = self.state.replies.pop_front() {
            self.state.output = Some(reply);
            return;
        }
        if now < self.state.byte_at {
            return;
        }
        let order = if self.state.aux_was_last { [false, true] } else { [true, false] };
        for aux in order {
            let byte = if aux { self.take_from_mouse(mouse) } else { self.take_from_keyboard(keyboard) };
            if let Some(byte) = byte {
                self.state.output = Some(Output { byte, aux });
                self.state.aux_was_last = aux;
                return;
            }
        }
    }

    fn take_from_mouse(&self, mouse: &mut Mouse) -> Option<u8> {
        let disabled = self.command_byte().contains(CommandByte::AUX_DISABLED);
        if disabled { None } else { mouse.take_byte() }
    }
    /// The keyboard's next byte, as the program gets it.
    fn take_from_keyboard(&mut self, keyboard: &mut Keyboard) -> Option<u8> {
        let command = self.command_byte();
        if command.contains(CommandByte::KEYBOARD_DISABLED) {
            return None;
        }
        while let Some(byte) = keyboard.take_byte() {
            if !command.contains(CommandByte::TRANSLATE) {
                self.state.breaking = false;
                return Some(byte);
            }
            if let Some(byte) = translate::step(&mut self.state.breaking, byte) {
                return Some(byte);
            }
        }
        None
    }

    /// When [`fill`](Self::fill) has a byte to move, if it will.
    pub fn next_event(&self, keyboard: &Keyboard, mouse: &Mouse) -> Option<GuestTime> {
        let command = self.command_byte();
        let keys = !command.contains(CommandByte::KEYBOARD_DISABLED) && keyboard.has_byte();
        let moves = !command.contains(CommandByte::AUX_DISABLED) && mouse.has_byte();
        (self.state.output.is_none() && (keys || moves)).then_some(self.state.byte_at)
    }

    fn answer(&mut self, byte: u8) {
        self.put(Output { byte, aux: false });
    }
    fn put(&mut self, output: Output) {
        if self.state.replies.len() == REPLIES {
            self.state.replies.pop_front();
        }
        self.state.replies.push_back(output);
    }

    /// Writes port 64h: a command.
    pub fn write_command(&mut self, command: u8) -> Effect {
        self.state.last_was_command = true;
        self.state.target = Target::Keyboard;
        self.state.poll = None;
        match command {
            0x20..=0x3F => self.answer(self.state.ram[(command & 0x1F) as usize]),
            0x60..=0x7F => self.state.target = Target::Ram(command & 0x1F),
            0xA4 => self.answer(0xF1), // No password.
            0xA5 => self.state.target = Target::Password,
            0xA7 => self.set_command(CommandByte::AUX_DISABLED, true),
            0xA8 => self.set_command(CommandByte::AUX_DISABLED, false),
            0xA9 => self.answer(0x00), // The auxiliary interface has no fault.
            0xAA => {
                self.state.output = None;
                self.state.replies.clear();
                self.state.breaking = false;
                self.set_command(CommandByte::SYSTEM, true);
                self.answer(0x55);
            }
            0xAB => self.answer(0x00), // The keyboard interface has no fault.
            0xAD => self.set_command(CommandByte::KEYBOARD_DISABLED, true),
            0xAE => self.set_command(CommandByte::KEYBOARD_DISABLED, false),
            0xC0 => self.answer(INPUT_PORT),
            0xC1 => self.state.poll = Some(Poll::Low),
            0xC2 => self.state.poll = Some(Poll::High),
            0xD0 => self.answer(self.output_port()),
            0xD1 => self.state.target = Target::OutputPort,
            0xD2 => self.state.target = Target::KeyboardBuffer,
            0xD3 => self.state.target = Target::AuxBuffer,
            0xD4 => self.state.target = Target::AuxDevice,
            0xDD | 0xDF => {
                let open = if command == 0xDF { OUTPUT_A20 } else { 0 };
                self.state.output_port = self.state.output_port & !OUTPUT_A20 | open;
                return Effect::A20;
            }
            0xE0 => self.answer(self.test_inputs()),
            0xF0..=0xFF if command & OUTPUT_RESET == 0 => return Effect::Reset,
            _ => {}
        }
        Effect::None
    }

    fn set_command(&mut self, bit: CommandByte, on: bool) {
        let mut command = self.command_byte();
        command.set(bit, on);
        self.state.ram[0] = command.bits();
    }

    /// The clock lines of keyboard (bit 0) and mouse (bit 1): low while the controller holds them.
    fn test_inputs(&self) -> u8 {
        let command = self.command_byte();
        u8::from(!command.contains(CommandByte::KEYBOARD_DISABLED))
            | u8::from(!command.contains(CommandByte::AUX_DISABLED)) << 1
    }

    fn output_port(&self) -> u8 {
        let full = match self.state.output {
            None => 0,
            Some(o) if o.aux => OUTPUT_AUX_FULL,
            Some(_) => OUTPUT_KEYBOARD_FULL,
        };
        self.state.output_port & !(OUTPUT_KEYBOARD_FULL | OUTPUT_AUX_FULL) | full
    }

    /// Writes port 60h: what the last command asked for, or a byte for the keyboard.
    pub fn write_data(
        &mut self,
        byte: u8,
        keyboard: &mut Keyboard,
        mouse: &mut Mouse,
        now: GuestTime,
    ) -> Effect {
        self.state.last_was_command = false;
        self.state.poll = None;
        match std::mem::replace(&mut self.state.target, Target::Keyboard) {
            Target::Keyboard => {
                // A byte for the keyboard releases its clock.
                self.set_command(CommandByte::KEYBOARD_DISABLED, false);
                self.state.byte_at = now + BYTE_NS;
                keyboard.write(byte);
            }
            Target::Ram(at) => self.state.ram[at as usize] = byte,
            Target::OutputPort => {
                self.state.output_port = byte;
                if byte & OUTPUT_RESET == 0 {
                    self.state.output_port |= OUTPUT_RESET;
                    return Effect::Reset;
                }
                return Effect::A20;
            }
            Target::KeyboardBuffer => self.answer(byte),
            Target::AuxBuffer => self.put(Output { byte, aux: true }),
            Target::AuxDevice => {
                self.state.byte_at = now + BYTE_NS;
                mouse.write(byte);
            }
            Target::Password if byte != 0 => self.state.target = Target::Password,
            Target::Password => {}
        }
        Effect::None
    }

    /// The state now.
    pub fn save(&self) -> ControllerStateV1 {
        self.state.clone()
    }

    /// Takes a saved state.
    ///
    /// # Errors
    /// RAM that does not exist, or too many answers.
    pub fn restore(&mut self, state: ControllerStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "keyboard controller", field, value });
        if let Target::Ram(at @ 32..) = state.target {
            return refuse("target", at.to_string());
        }
        if state.replies.len() > REPLIES {
            return refuse("replies", format!("{} long", state.replies.len()));
        }
        self.state = state;
        Ok(())
    }
}

impl Default for Controller {
    fn default() -> Self {
        Self::new()
    }
}
