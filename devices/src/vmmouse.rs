//! The VMware mouse: a pointing device that tells where on the screen the pointer is.
//!
//! A mouse tells how far it was moved, and a guest accelerates that, so that the guest's pointer and the one of the window or viewer
//! drift apart. VMware added a second way to its PS/2 mouse: a guest that knows of it asks a *backdoor port* for positions, whenever the
//! mouse interrupts. QEMU has it too, and so Linux (`psmouse`, protocol VMMouse), X servers and others have drivers.
//!
//! A program calls the backdoor by `IN EAX, DX` at port 5658h with EAX = 564D5868h and a command in CX. Any other access
//! reads as ones, as nobody's port does.
//!
//! | CX | command | gives |
//! |---|---|---|
//! | 10 | get version | EAX = 6, EBX = 564D5868h, ECX = 2, a server |
//! | 39 | data, EBX words | the oldest words: in EAX, EBX, ECX, EDX, ESI, EDI |
//! | 40 | status | EAX: words that wait; upper half FFFFh while the device is off or has failed |
//! | 41 | command EBX | 45414552h on, F5h off; 53424152h positions, 4C455252h moves |
//!
//! All other commands give EAX = FFFFFFFFh: what VMware's backdoor offers besides (clipboard, time, messages) is left out, and so is
//! the restriction to kernels (command 86), as the port is guarded by IOPL and the I/O permission bitmap like any other here.
//!
//! Switched on, the first word that waits is the version of the protocol. Each packet is four words:
//!
//! | word | what |
//! |---|---|
//! | 0 | bits 5, 4, 3: left, right, middle button; bit 16: the next two words are a move |
//! | 1, 2 | X and Y, 0 to FFFFh from the left and the top; or a move, to the right and up |
//! | 3 | turns of the wheel, towards the user |
//!
//! There is no interrupt of its own: the board has the PS/2 mouse ([`crate::i8042`]) send an empty packet. While the device is
//! on, the hand's events come here alone. When too many packets wait, the last ones become one. Sideways turns and more than three buttons have no place
//! in a packet.
//!
//! Source: what Linux's driver expects (`drivers/input/mouse/vmmouse.c`).

use crate::device::Device;
use crate::pointer::{Buttons, PointerEvent};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use trimotor_bus::{GuestTime, Port, PortRegisters, RegisterPort, RestoreError, SaveState};

/// The backdoor port.
pub const BACKDOOR: Port = Port(0x5658);
/// What EAX holds for a call.
pub const MAGIC: u32 = 0x564D_5868;
/// Words that wait: a version and some packets.
pub const MOST_WORDS: usize = 1 + 64 * WORDS;
/// Words of a packet.
const WORDS: usize = 4;
/// The most words of one call.
const MOST_DATA: u32 = 6;
/// The version of the protocol.
const PROTOCOL: u32 = 0x3442_554A;
/// The version of the backdoor, and the kind of product.
const VERSION: u32 = 6;
const PRODUCT: u32 = 2;
/// The status of a device that is off.
const OFF: u32 = 0xFFFF_0000;
/// The answer to a command that does not exist.
const UNKNOWN: u32 = u32::MAX;
/// Word 0: the next two are a move.
const RELATIVE: u32 = 1 << 16;

mod command {
    pub(super) const VERSION: u16 = 10;
    pub(super) const DATA: u16 = 39;
    pub(super) const STATUS: u16 = 40;
    pub(super) const CONTROL: u16 = 41;
}

/// What EBX of command 41 asks for.
mod control {
    pub(super) const ON: u32 = 0x4541_4552;
    pub(super) const OFF: u32 = 0xF5;
    pub(super) const MOVES: u32 = 0x4C45_5252;
    pub(super) const POSITIONS: u32 = 0x5342_4152;
}

/// The device.
#[derive(Debug, Default)]
pub struct VmMouse {
    state: VmMouseStateV1,
}

/// The saved state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VmMouseStateV1 {
    on: bool,
    /// More was read than there was: nothing more until it is switched on again.
    failed: bool,
    absolute: bool,
    words: VecDeque<u32>,
    buttons: Buttons,
    /// Where the pointer is, where that is known.
    position: Option<(u16, u16)>,
}

impl VmMouse {
    /// A device that is off.
    pub fn new() -> Self {
        Self::default()
    }
    /// Whether the guest takes positions.
    pub fn is_absolute(&self) -> bool {
        self.state.on && self.state.absolute
    }
    /// Whether the guest takes events from here.
    pub fn is_on(&self) -> bool {
        self.state.on && !self.state.failed
    }

    /// The hand did something. Returns whether the guest is to be told of it here.
    pub fn event(&mut self, event: PointerEvent) -> bool {
        if !self.is_on() {
            return false;
        }
        let s = &mut self.state;
        let mut packet = [0; WORDS];
        match event {
            PointerEvent::Motion { dx, dy } => {
                packet[0] = RELATIVE;
                (packet[1], packet[2]) = (dx as u32, dy.saturating_neg() as u32);
            }
            PointerEvent::Position { x, y } => {
                if !s.absolute {
                    return false;
                }
                s.position = Some((x, y));
            }
            PointerEvent::Wheel { down, .. } => packet[3] = down.clamp(-127, 127) as u32,
            PointerEvent::Button { button, down } => {
                let before = s.buttons;
                s.buttons.set(button.into(), down);
                if s.buttons == before {
                    return true;
                }
            }
        }
        if packet[0] & RELATIVE == 0 {
            match s.position {
                Some((x, y)) if s.absolute => (packet[1], packet[2]) = (x.into(), y.into()),
                _ => packet[0] |= RELATIVE,
            }
        }
        packet[0] |= button_bits(s.buttons);
        self.queue(packet);
        true
    }

    fn queue(&mut self, packet: [u32; WORDS]) {
        let words = &mut self.state.words;
        if words.len() + WORDS <= MOST_WORDS {
            words.extend(packet);
            return;
        }
        let first = words.len() - WORDS;
        let last: [u32; WORDS] = std::array::from_fn(|n| words[first + n]);
        let add = |n: usize| (last[n] as i32).saturating_add(packet[n] as i32);
        let both_move = last[0] & packet[0] & RELATIVE != 0;
        let merged = [
            packet[0],
            if both_move { add(1) as u32 } else { packet[1] },
            if both_move { add(2) as u32 } else { packet[2] },
            add(3).clamp(-127, 127) as u32,
        ];
        words.truncate(first);
        words.extend(merged);
    }

    fn control(&mut self, what: u32) {
        let s = &mut self.state;
        match what {
            control::ON => {
                let buttons = s.buttons;
                *s = VmMouseStateV1 {
                    on: true,
                    buttons,
                    words: VecDeque::from([PROTOCOL]),
                    ..Default::default()
                };
            }
            control::OFF => *s = VmMouseStateV1 { buttons: s.buttons, ..Default::default() },
            control::MOVES => s.absolute = false,
            control::POSITIONS => s.absolute = s.on,
            _ => {}
        }
    }
    fn status(&self) -> u32 {
        // There are fewer than a half word holds.
        if self.is_on() { self.state.words.len() as u32 } else { OFF }
    }
    fn data(&mut self, registers: &mut PortRegisters) {
        let wanted = registers.ebx;
        let waiting = self.state.words.len() as u32;
        if !self.is_on() || wanted == 0 || wanted > MOST_DATA.min(waiting) {
            self.state.failed = true;
            self.state.words.clear();
            registers.eax = OFF;
            return;
        }
        let PortRegisters { eax, ebx, ecx, edx, esi, edi } = registers;
        for register in [eax, ebx, ecx, edx, esi, edi].into_iter().take(wanted as usize) {
            if let Some(word) = self.state.words.pop_front() {
                *register = word;
            }
        }
    }
}

fn button_bits(buttons: Buttons) -> u32 {
    let bits = [(Buttons::LEFT, 0x20), (Buttons::RIGHT, 0x10), (Buttons::MIDDLE, 0x08)];
    bits.iter().filter(|(button, _)| buttons.contains(*button)).map(|(_, bit)| bit).sum()
}

impl RegisterPort for VmMouse {
    fn port_call(&mut self, registers: &mut PortRegisters, _now: GuestTime) -> bool {
        if registers.eax != MAGIC {
            return false;
        }
        match registers.ecx as u16 {
            command::VERSION => (registers.eax, registers.ebx, registers.ecx) = (VERSION, MAGIC, PRODUCT),
            command::DATA => self.data(registers),
            command::STATUS => registers.eax = self.status(),
            command::CONTROL => self.control(registers.ebx),
            _ => registers.eax = UNKNOWN,
        }
        true
    }
}

impl Device for VmMouse {
    fn reset(&mut self, _now: GuestTime) {
        self.state = VmMouseStateV1::default();
    }
    fn info(&self) -> String {
        let s = &self.state;
        match (self.is_on(), s.absolute) {
            (false, _) => "off".to_owned(),
            (true, true) => format!("positions, {} words wait", s.words.len()),
            (true, false) => format!("moves, {} words wait", s.words.len()),
        }
    }
    fn register_port(&mut self) -> Option<&mut dyn RegisterPort> {
        Some(self)
    }
}

impl SaveState for VmMouse {
    type State = VmMouseStateV1;
    fn save(&self) -> VmMouseStateV1 {
        self.state.clone()
    }
    fn restore(&mut self, state: VmMouseStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "vmmouse", field, value });
        if state.words.len() > MOST_WORDS {
            return refuse("words", format!("{} long", state.words.len()));
        }
        if !Buttons::all().contains(state.buttons) {
            return refuse("buttons", state.buttons.bits().to_string());
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pointer::PointerButton;

    fn call(mouse: &mut VmMouse, command: u16, ebx: u32) -> PortRegisters {
        let mut registers = PortRegisters { eax: MAGIC, ebx, ecx: command.into(), ..Default::default() };
        assert!(mouse.port_call(&mut registers, GuestTime::ZERO));
        registers
    }
    /// A device that a driver switched on as Linux does.
    fn driven() -> VmMouse {
        let mut mouse = VmMouse::new();
        call(&mut mouse, command::CONTROL, control::ON);
        assert_eq!(call(&mut mouse, command::STATUS, 0).eax, 1);
        assert_eq!(call(&mut mouse, command::DATA, 1).eax, PROTOCOL);
        call(&mut mouse, command::CONTROL, control::POSITIONS);
        mouse
    }
    fn packet(mouse: &mut VmMouse) -> [u32; 4] {
        assert!(call(mouse, command::STATUS, 0).eax >= 4);
        let PortRegisters { eax, ebx, ecx, edx, .. } = call(mouse, command::DATA, 4);
        [eax, ebx, ecx, edx]
    }
    fn press(down: bool) -> PointerEvent {
        PointerEvent::Button { button: PointerButton::Left, down }
    }

    #[test]
    fn it_is_found_by_its_version_and_is_off_at_first() {
        let mut mouse = VmMouse::new();
        let PortRegisters { eax, ebx, ecx, .. } = call(&mut mouse, command::VERSION, 0);
        assert_eq!((eax, ebx, ecx), (6, MAGIC, 2));
        assert_eq!(call(&mut mouse, command::STATUS, 0).eax, OFF);
        assert_eq!(call(&mut mouse, 86, 1).eax, UNKNOWN);
        assert!(!mouse.event(PointerEvent::Position { x: 1, y: 2 }));
        let mut other = PortRegisters { eax: 1, ecx: 10, ..Default::default() };
        assert!(!mouse.port_call(&mut other, GuestTime::ZERO));
        assert_eq!(other, PortRegisters { eax: 1, ecx: 10, ..Default::default() });
    }

    #[test]
    fn positions_buttons_wheel_and_moves() {
        let mut mouse = driven();
        assert!(mouse.is_absolute());
        for event in [
            PointerEvent::Position { x: 0x1234, y: 0xFFFF },
            press(true),
            press(true),
            PointerEvent::Wheel { down: -2, right: 1 },
            PointerEvent::Motion { dx: 3, dy: 5 },
            press(false),
        ] {
            assert!(mouse.event(event));
        }
        let at = |buttons, z| [buttons, 0x1234, 0xFFFF, z];
        assert_eq!(packet(&mut mouse), at(0, 0));
        assert_eq!(packet(&mut mouse), at(0x20, 0));
        assert_eq!(packet(&mut mouse), at(0x20, -2i32 as u32));
        assert_eq!(packet(&mut mouse), [RELATIVE | 0x20, 3, -5i32 as u32, 0]);
        assert_eq!(packet(&mut mouse), at(0, 0));
        assert_eq!(call(&mut mouse, command::STATUS, 0).eax, 0);
    }

    #[test]
    fn a_driver_may_want_moves() {
        let mut mouse = driven();
        call(&mut mouse, command::CONTROL, control::MOVES);
        assert!(!mouse.event(PointerEvent::Position { x: 1, y: 1 }), "the board makes a move of it");
        assert!(mouse.event(press(true)));
        assert_eq!(packet(&mut mouse), [RELATIVE | 0x20, 0, 0, 0]);
        call(&mut mouse, command::CONTROL, control::OFF);
        assert!(!mouse.event(press(false)) && !mouse.is_absolute());
        call(&mut mouse, command::CONTROL, control::POSITIONS);
        assert!(!mouse.is_absolute());
    }

    #[test]
    fn reading_more_than_there_is_fails_until_it_is_switched_on_again() {
        for wanted in [0, 5, 7, u32::MAX] {
            let mut mouse = driven();
            mouse.event(PointerEvent::Position { x: 1, y: 1 });
            assert_eq!(call(&mut mouse, command::DATA, wanted).eax, OFF, "{wanted}");
            assert_eq!(call(&mut mouse, command::STATUS, 0).eax, OFF);
            assert!(!mouse.event(PointerEvent::Position { x: 1, y: 1 }));
            call(&mut mouse, command::CONTROL, control::ON);
            assert_eq!(call(&mut mouse, command::STATUS, 0).eax, 1);
        }
    }

    #[test]
    fn a_guest_that_does_not_read_finds_the_last_position() {
        let mut mouse = driven();
        for n in 0..10_000u16 {
            assert!(mouse.event(PointerEvent::Position { x: n, y: n }));
            assert!(mouse.event(PointerEvent::Motion { dx: i32::MAX, dy: i32::MIN }));
            assert!(mouse.event(PointerEvent::Wheel { down: 100, right: 0 }));
        }
        mouse.event(PointerEvent::Position { x: 7, y: 8 });
        let waiting = call(&mut mouse, command::STATUS, 0).eax;
        assert!(waiting as usize <= MOST_WORDS && waiting.is_multiple_of(4));
        let last = (0..waiting / 4).map(|_| packet(&mut mouse)).last().unwrap();
        assert_eq!(last[..3], [0, 7, 8]);
    }

    #[test]
    fn states_come_back_and_impossible_ones_are_refused() {
        let mut mouse = driven();
        mouse.event(press(true));
        let saved = mouse.save();
        mouse.reset(GuestTime::ZERO);
        mouse.restore(saved.clone()).unwrap();
        assert_eq!(mouse.save(), saved);
        let many = VmMouseStateV1 { words: vec![0; MOST_WORDS + 1].into(), ..saved.clone() };
        let odd = VmMouseStateV1 { buttons: Buttons::from_bits_retain(0x80), ..saved.clone() };
        assert!(mouse.restore(many).is_err() && mouse.restore(odd).is_err());
        assert_eq!(mouse.save(), saved);
    }
}
