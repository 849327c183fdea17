//! Controller and keyboard as drivers use them.

use super::controller::BYTE_NS;
use super::*;
use crate::pointer::PointerButton;
use crate::requests::MachineRequest;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use trimotor_bus::IrqSink;

#[derive(Default)]
struct Pins {
    level: AtomicU32,
    edges: AtomicU32,
}
impl IrqSink for Pins {
    fn set_level(&self, line: u8, high: bool) {
        let bit = 1 << line;
        if high {
            if self.level.fetch_or(bit, Ordering::SeqCst) & bit == 0 {
                self.edges.fetch_add(1, Ordering::SeqCst);
            }
        } else {
            self.level.fetch_and(!bit, Ordering::SeqCst);
        }
    }
}

struct Rig {
    chip: I8042,
    pins: Arc<Pins>,
    requests: MachineRequests,
    now: GuestTime,
}
impl Rig {
    fn new() -> Self {
        let pins = Arc::new(Pins::default());
        let requests = MachineRequests::new();
        let wire = |n| IrqLine::new(pins.clone(), n);
        let chip = I8042::new(wire(1), wire(12), requests.clone());
        Rig { chip, pins, requests, now: GuestTime(1_000_000_000) }
    }
    fn status(&mut self) -> u8 {
        self.chip.port_read(Port(0x64), Width::Byte, self.now) as u8
    }
    fn command(&mut self, byte: u8) {
        self.chip.port_write(Port(0x64), Width::Byte, byte as u32, self.now);
    }
    fn write(&mut self, byte: u8) {
        self.chip.port_write(Port(0x60), Width::Byte, byte as u32, self.now);
    }
    fn read(&mut self) -> u8 {
        self.chip.port_read(Port(0x60), Width::Byte, self.now) as u8
    }
    fn irqs(&self) -> u32 {
        self.pins.level.load(Ordering::SeqCst)
    }
    fn pass(&mut self, ns: u64) {
        self.now = self.now + ns;
        self.chip.advance(self.now);
    }
    /// All bytes that come, with time passing.
    fn drain(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            self.pass(BYTE_NS);
            if self.status() & 1 == 0 {
                return all;
            }
            all.push(self.read());
        }
    }
    /// The same, with the pauses between keys that waited.
    fn drain_typed(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let codes = self.drain();
            if codes.is_empty() {
                return all;
            }
            all.extend(codes);
            self.pass(STROKE_NS);
        }
    }
    fn key(&mut self, key: KeyCode, pressed: bool) {
        self.chip.key_event(key, pressed, self.now);
    }
    /// The codes of a key going down and up, in the keyboard's own set.
    fn codes(&mut self, set: u8, hold: &[KeyCode], key: KeyCode) -> (Vec<u8>, Vec<u8>) {
        self.command(0x60);
        self.write(0x05);
        self.write(0xF0);
        self.write(set);
        for held in hold {
            self.key(*held, true);
        }
        self.drain();
        self.key(key, true);
        let make = self.drain();
        self.key(key, false);
        let broke = self.drain();
        for held in hold {
            self.key(*held, false);
        }
        self.drain();
        (make, broke)
    }
}

#[test]
fn tests_and_command_byte() {
    let mut rig = Rig::new();
    rig.command(0xAA);
    assert_eq!(rig.status(), 0x1D);
    assert_eq!(rig.read(), 0x55);
    assert_eq!(rig.status() & 1, 0);
    for test in [0xAB, 0xA9] {
        rig.command(test);
        assert_eq!(rig.read(), 0);
    }
    rig.command(0x60);
    rig.write(0x74);
    rig.command(0x20);
    assert_eq!(rig.read(), 0x74);
    rig.command(0xA8);
    rig.command(0xAE);
    rig.command(0x20);
    assert_eq!(rig.read(), 0x44);
}

#[test]
fn a_key_interrupts_until_it_is_read_and_is_translated() {
    let mut rig = Rig::new();
    rig.key(KeyCode::A, true);
    assert_eq!(rig.irqs(), 1 << 1);
    assert_eq!(rig.status() & 0x21, 1);
    assert_eq!(rig.read(), 0x1E);
    assert_eq!(rig.irqs(), 0);
    rig.key(KeyCode::A, false);
    assert_eq!(rig.irqs(), 0, "the next byte takes its time");
    assert_eq!(rig.chip.next_event(), Some(rig.now + BYTE_NS));
    rig.pass(BYTE_NS);
    assert_eq!(rig.irqs(), 1 << 1);
    assert_eq!(rig.read(), 0x9E);
    rig.key(KeyCode::ArrowUp, true);
    assert_eq!(rig.drain(), [0xE0, 0x48]);
}

#[test]
fn a20_and_reset_lines() {
    let mut rig = Rig::new();
    assert!(rig.requests.a20());
    rig.command(0xD1);
    rig.write(0xDD);
    assert!(!rig.requests.a20());
    rig.command(0xD0);
    assert_eq!(rig.read() & 3, 1);
    rig.command(0xDF);
    assert!(rig.requests.a20());
    assert_eq!(rig.requests.take(), None);
    rig.command(0xFE);
    let reset = Some(MachineRequest::Reset(ResetCause::KeyboardController));
    assert_eq!(rig.requests.take(), reset);
    rig.command(0xFF);
    assert_eq!(rig.requests.take(), None);
    rig.command(0xD1);
    rig.write(0xFE);
    assert_eq!(rig.requests.take(), reset);
}

#[test]
fn the_aux_port_loops_back_and_reaches_the_mouse() {
    let mut rig = Rig::new();
    rig.command(0x60);
    rig.write(0x47);
    rig.command(0xD3);
    rig.write(0xA5);
    assert_eq!(rig.status() & 0x61, 0x21);
    assert_eq!(rig.irqs(), 1 << 12);
    assert_eq!(rig.read(), 0xA5);
    rig.command(0xD4);
    rig.write(0xF2);
    for answer in [0xFA, 0x00] {
        assert_eq!(rig.status() & 1, 0, "a byte takes its time");
        rig.pass(BYTE_NS);
        assert_eq!(rig.status() & 0x61, 0x21);
        assert_eq!(rig.irqs(), 1 << 12);
        assert_eq!(rig.read(), answer);
    }
    rig.command(0xD2);
    rig.write(0x77);
    assert_eq!(rig.status() & 0x61, 0x01);
    assert_eq!(rig.read(), 0x77);
}

#[test]
fn a_disabled_mouse_keeps_its_bytes_and_the_keyboard_does_not_wait_for_it() {
    let mut rig = Rig::new();
    rig.command(0xA7);
    rig.command(0xE0);
    assert_eq!(rig.read(), 0x01, "the mouse's clock is held");
    rig.command(0xD4);
    rig.write(0xEE);
    rig.key(KeyCode::A, true);
    assert_eq!(rig.drain(), [0x1E]);
    rig.command(0xA8);
    assert_eq!(rig.drain(), [0xFA]);
}

#[test]
fn keyboard_and_mouse_take_turns() {
    let mut rig = Rig::new();
    rig.command(0x60);
    rig.write(0x07);
    for _ in 0..3 {
        rig.key(KeyCode::A, true);
        rig.key(KeyCode::A, false);
    }
    rig.command(0xD4);
    rig.write(0xE9);
    let mut from = Vec::new();
    loop {
        rig.pass(BYTE_NS);
        let status = rig.status();
        if status & 1 == 0 {
            break;
        }
        from.push(status & 0x20 != 0);
        rig.read();
    }
    assert_eq!(from, [false, true, false, true, false, true, false, true, false, false, false, false, false]);
}

#[test]
fn the_input_port_can_be_polled_and_passwords_are_thrown_away() {
    let mut rig = Rig::new();
    rig.command(0xC1);
    assert_eq!(rig.status(), 0x0C);
    rig.command(0xC2);
    assert_eq!(rig.status(), 0xBC);
    rig.command(0xC0);
    assert_eq!(rig.status(), 0x1D);
    assert_eq!(rig.read(), 0xB0);
    rig.command(0xA5);
    for byte in [0x1E, 0xFF, 0xED, 0x00] {
        rig.write(byte);
    }
    assert!(rig.drain().is_empty(), "the keyboard saw none of them");
    rig.command(0xA4);
    assert_eq!(rig.read(), 0xF1);
    rig.write(0xEE);
    assert_eq!(rig.drain(), [0xEE]);
}

#[test]
fn letting_go_of_all_keys_comes_behind_what_was_typed() {
    let mut rig = Rig::new();
    rig.key(KeyCode::ShiftLeft, true);
    rig.key(KeyCode::A, true);
    for (key, pressed) in [(KeyCode::A, false), (KeyCode::B, true)] {
        assert!(rig.chip.type_event(key, pressed, rig.now));
    }
    rig.chip.release_all(rig.now);
    assert_eq!(rig.drain_typed(), [0x2A, 0x1E, 0x9E, 0x30, 0xAA, 0xB0]);
    rig.chip.release_all(rig.now);
    assert!(rig.drain().is_empty());
}

#[test]
fn keyboard_commands() {
    let mut rig = Rig::new();
    rig.command(0x60);
    rig.write(0x05);
    for (sent, answer) in [
        (vec![0xFF], vec![0xFA, 0xAA]),
        (vec![0xF2], vec![0xFA, 0xAB, 0x83]),
        (vec![0xEE], vec![0xEE]),
        (vec![0xFE], vec![0xEE]),
        (vec![0xF5], vec![0xFA]),
        (vec![0xF4], vec![0xFA]),
        (vec![0xF6], vec![0xFA]),
        (vec![0xEF], vec![0xFE]),
        (vec![0x00], vec![0xFE]),
        (vec![0xED], vec![0xFA]),
        (vec![0x02], vec![0xFA]),
        (vec![0xF3], vec![0xFA]),
        (vec![0x00], vec![0xFA]),
        (vec![0xF0], vec![0xFA]),
        (vec![0x00], vec![0xFA, 0x02]),
        (vec![0xF0], vec![0xFA]),
        (vec![0x09], vec![0xFE]),
        (vec![0x03], vec![0xFA]),
        (vec![0xFC], vec![0xFA]),
        (vec![0x1C, 0x32], vec![0xFA]),
        (vec![0xF8], vec![0xFA]),
    ] {
        for byte in &sent {
            rig.write(*byte);
        }
        assert_eq!(rig.drain(), answer, "{sent:x?}");
    }
    assert_eq!(rig.chip.leds(), Leds::NUM_LOCK);
}

#[test]
fn with_translation_the_identity_is_ab_41() {
    let mut rig = Rig::new();
    rig.write(0xF2);
    assert_eq!(rig.drain(), [0xFA, 0xAB, 0x41]);
}

#[test]
fn a_disabled_keyboard_keeps_its_bytes() {
    let mut rig = Rig::new();
    rig.command(0xAD);
    rig.key(KeyCode::B, true);
    assert!(rig.drain().is_empty());
    rig.command(0xAE);
    assert_eq!(rig.drain(), [0x30]);
    rig.write(0xF5);
    rig.key(KeyCode::C, true);
    assert_eq!(rig.drain(), [0xFA], "scanning is off");
}

#[test]
fn special_keys_in_set_2() {
    use KeyCode::*;
    let mut rig = Rig::new();
    for (hold, key, make, broke) in [
        (vec![], Pause, vec![0xE1, 0x14, 0x77, 0xE1, 0xF0, 0x14, 0xF0, 0x77], vec![]),
        (vec![ControlLeft], Pause, vec![0xE0, 0x7E, 0xE0, 0xF0, 0x7E], vec![]),
        (vec![], PrintScreen, vec![0xE0, 0x12, 0xE0, 0x7C], vec![0xE0, 0xF0, 0x7C, 0xE0, 0xF0, 0x12]),
        (vec![ControlLeft], PrintScreen, vec![0xE0, 0x7C], vec![0xE0, 0xF0, 0x7C]),
        (vec![AltLeft], PrintScreen, vec![0x84], vec![0xF0, 0x84]),
        (vec![], Home, vec![0xE0, 0x6C], vec![0xE0, 0xF0, 0x6C]),
        (vec![ShiftRight], Home, vec![0xE0, 0xF0, 0x59, 0xE0, 0x6C], vec![0xE0, 0xF0, 0x6C, 0xE0, 0x59]),
        (vec![], F7, vec![0x83], vec![0xF0, 0x83]),
    ] {
        assert_eq!(rig.codes(2, &hold, key), (make, broke), "{hold:?} {key:?}");
    }
    rig.write(0xED);
    rig.write(0x02);
    let expected = (vec![0xE0, 0x12, 0xE0, 0x71], vec![0xE0, 0xF0, 0x71, 0xE0, 0xF0, 0x12]);
    assert_eq!(rig.codes(2, &[], Delete), expected);
}

#[test]
fn sets_1_and_3() {
    use KeyCode::*;
    let mut rig = Rig::new();
    assert_eq!(rig.codes(1, &[], Enter), (vec![0x1C], vec![0x9C]));
    assert_eq!(
        rig.codes(1, &[], Pause).0,
        [0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5],
        "the sequence that PCs know"
    );
    assert_eq!(rig.codes(3, &[], Escape), (vec![0x08], vec![]));
    assert_eq!(rig.codes(3, &[], ShiftLeft), (vec![0x12], vec![0xF0, 0x12]));
    rig.write(0xFC);
    rig.write(0x08);
    assert_eq!(rig.codes(3, &[], Escape), (vec![0x08], vec![0xF0, 0x08]));
}

#[test]
fn held_keys_repeat_as_programmed() {
    let mut rig = Rig::new();
    rig.write(0xF3);
    rig.write(0x00); // 250 ms, then 30 a second.
    rig.drain();
    rig.key(KeyCode::X, true);
    rig.key(KeyCode::X, true);
    assert_eq!(rig.drain(), [0x2D]);
    rig.pass(240_000_000);
    assert!(rig.drain().is_empty());
    rig.pass(10_000_000);
    assert_eq!(rig.drain(), [0x2D]);
    rig.pass(33_333_336);
    assert_eq!(rig.drain(), [0x2D]);
    rig.key(KeyCode::X, false);
    assert_eq!(rig.drain(), [0xAD]);
    assert_eq!(rig.chip.next_event(), None);
}

#[test]
fn an_overrun_is_marked_once() {
    let mut rig = Rig::new();
    rig.command(0xAD);
    let keys = [KeyCode::A, KeyCode::B, KeyCode::C, KeyCode::D, KeyCode::E, KeyCode::F, KeyCode::G];
    for key in keys {
        rig.key(key, true);
        rig.key(key, false);
    }
    rig.command(0xAE);
    let codes = rig.drain();
    assert_eq!(codes.last(), Some(&0xFF));
    assert_eq!(codes.iter().filter(|c| **c == 0xFF).count(), 1);
    assert_eq!(codes.len(), 12);
}

#[test]
fn typed_text_waits_for_the_guest() {
    let mut rig = Rig::new();
    let text = "Hello, World!\n".repeat(20);
    assert_eq!(rig.chip.type_text(Layout::US, &text, rig.now), text.len());
    let codes = rig.drain_typed();
    assert!(!codes.contains(&0xFF), "nothing is lost");
    let enters = codes.iter().filter(|c| **c == 0x1C).count();
    assert_eq!(enters, 20);
    assert_eq!(&codes[..4], [0x2A, 0x23, 0xA3, 0xAA]);
    let long = "x".repeat(TYPE_AHEAD);
    assert!(rig.chip.type_text(Layout::US, &long, rig.now) < TYPE_AHEAD);
}

#[test]
fn scheduled_keys_come_at_their_instants_and_behind_each_other() {
    let mut rig = Rig::new();
    let start = rig.now;
    let key = |ms: u64, key, down| TimedKey { at: start + ms * 1_000_000, key, down };
    let (a, b) = (KeyCode::A, KeyCode::B);
    assert!(rig.chip.schedule([key(20, b, true), key(20, b, false), key(10, a, true), key(10, a, false)]));
    assert_eq!(rig.chip.next_event(), Some(start + 10_000_000));
    rig.now = start + 9_000_000;
    assert!(rig.drain().is_empty());
    rig.now = start + 10_000_000;
    rig.chip.reset();
    assert_eq!(rig.drain(), [0x1E, 0x9E], "a reset does not take them away");
    // Those that the guest takes late come in their order.
    let late = start + 500_000_000;
    rig.chip.schedule([key(30, a, true), key(30, a, false)]);
    rig.now = late;
    assert_eq!(rig.drain_typed(), [0x30, 0xB0, 0x1E, 0x9E]);
    let many = std::iter::repeat_n(key(900, a, true), MOST_SCHEDULED + 1);
    assert!(!rig.chip.schedule(many));
}

#[test]
fn keys_that_waited_go_down_two_milliseconds_apart() {
    let mut rig = Rig::new();
    rig.chip.type_text(Layout::US, "ab", rig.now);
    assert_eq!(rig.drain(), [0x1E, 0x9E]);
    assert!(rig.chip.next_event().is_some_and(|at| at > rig.now));
    rig.pass(STROKE_NS);
    assert_eq!(rig.drain(), [0x30, 0xB0]);
}

#[test]
fn a_saved_state_goes_on_where_it_was() {
    let mut rig = Rig::new();
    rig.chip.type_text(Layout::US, "abc", rig.now);
    rig.command(0xDD);
    let state = rig.chip.save();
    let mut other = Rig::new();
    other.chip.restore(state).unwrap();
    assert_eq!(other.irqs(), 1 << 1);
    assert!(!other.requests.a20());
    assert_eq!(other.drain_typed(), [0x1E, 0x9E, 0x30, 0xB0, 0x2E, 0xAE]);
}

#[test]
fn any_bytes_are_survived() {
    let mut rig = Rig::new();
    let mut seed = 7u64;
    for _ in 0..50_000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let byte = (seed >> 33) as u8;
        match seed >> 60 & 7 {
            0 | 1 => rig.command(byte),
            2 | 3 => rig.write(byte),
            4 if byte & 0x80 == 0 => _ = rig.read(),
            4 => {
                let way = (seed >> 16) as i32;
                rig.chip.point(PointerEvent::Motion { dx: way, dy: !way }, rig.now);
                rig.chip.point(PointerEvent::Wheel { down: way, right: way }, rig.now);
                let button = PointerButton::ALL[byte as usize % 5];
                rig.chip.point(PointerEvent::Button { button, down: way & 1 == 0 }, rig.now);
                rig.chip.point(PointerEvent::Position { x: way as u16, y: byte.into() }, rig.now);
            }
            5 if byte & 0x80 == 0 => {
                // For the mouse.
                rig.command(0xD4);
                rig.write(0xE0 | byte);
            }
            5 => {
                let key = KeyCode::all().nth(byte as usize % 100).unwrap();
                rig.key(key, seed >> 50 & 1 == 0);
            }
            _ => rig.pass(seed >> 40 & 0xFFFFF),
        }
    }
    let state = rig.chip.save();
    assert!(rig.chip.restore(state).is_ok());
}
