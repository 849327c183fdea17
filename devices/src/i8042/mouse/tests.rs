//! The mouse as drivers use it.

use super::*;
use crate::pointer::PointerButton;

const SECOND: u64 = 1_000_000_000;

struct Desk {
    mouse: Mouse,
    now: GuestTime,
}

impl Desk {
    fn new() -> Self {
        Desk { mouse: Mouse::new(), now: GuestTime(SECOND) }
    }
    /// A mouse that streams, after these sample rates.
    fn streaming(rates: &[u8]) -> Self {
        let mut desk = Desk::new();
        desk.set_rates(rates);
        assert_eq!(desk.send(&[0xF4]), [0xFA]);
        desk
    }
    fn set_rates(&mut self, rates: &[u8]) {
        for rate in rates {
            assert_eq!(self.send(&[0xF3, *rate]), [0xFA, 0xFA]);
        }
    }
    fn bytes(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| self.mouse.take_byte()).collect()
    }
    /// All answers to these bytes.
    fn send(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for byte in bytes {
            self.mouse.write(*byte);
            all.extend(self.bytes());
        }
        all
    }
    fn motion(&mut self, dx: i32, dy: i32) {
        self.mouse.event(PointerEvent::Motion { dx, dy });
    }
    fn wheel(&mut self, down: i32, right: i32) {
        self.mouse.event(PointerEvent::Wheel { down, right });
    }
    fn press(&mut self, button: PointerButton, down: bool) {
        self.mouse.event(PointerEvent::Button { button, down });
    }
    /// The packets of the next second.
    fn packets(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let end = self.now + SECOND;
        while let Some(at) = self.mouse.next_event().filter(|at| *at < end) {
            self.now = self.now.max(at);
            self.mouse.advance(self.now);
            all.push(self.bytes());
        }
        self.now = end;
        all
    }
}

#[test]
fn commands_and_their_answers() {
    for (sent, answers) in [
        (vec![0xFF], vec![0xFA, 0xAA, 0x00]),
        (vec![0xF2], vec![0xFA, 0x00]),
        (vec![0xE9], vec![0xFA, 0x00, 0x02, 0x64]),
        (
            vec![0xE8, 0x03, 0xF3, 0x28, 0xE7, 0xE9],
            vec![0xFA, 0xFA, 0xFA, 0xFA, 0xFA, 0xFA, 0x10, 0x03, 0x28],
        ),
        (vec![0xF4, 0xE9], vec![0xFA, 0xFA, 0x20, 0x02, 0x64]),
        (vec![0xF4, 0xF0, 0xE9], vec![0xFA, 0xFA, 0xFA, 0x60, 0x02, 0x64]),
        (vec![0xF4, 0xF0, 0xE7, 0xF6, 0xE9], vec![0xFA, 0xFA, 0xFA, 0xFA, 0xFA, 0x00, 0x02, 0x64]),
        // In wrap mode all but two bytes come back.
        (vec![0xEE, 0xF2, 0x55, 0xF4, 0xEC, 0xF2], vec![0xFA, 0xF2, 0x55, 0xF4, 0xFA, 0xFA, 0x00]),
        (vec![0xEE, 0xFF], vec![0xFA, 0xFA, 0xAA, 0x00]),
        // What is no command, and no parameter.
        (vec![0x00, 0x00, 0xF2], vec![0xFE, 0xFC, 0xFA, 0x00]),
        (vec![0xE8, 0x04, 0x01, 0xE9], vec![0xFA, 0xFE, 0xFA, 0xFA, 0x00, 0x01, 0x64]),
        (vec![0xF3, 0x63, 0x63, 0xF2], vec![0xFA, 0xFE, 0xFC, 0xFA, 0x00]),
        (vec![0xE8, 0xF2], vec![0xFA, 0xFA, 0x00]),
        // Once more, please.
        (vec![0xE9, 0xFE, 0xFE], [[0xFA, 0x00, 0x02, 0x64]; 3].concat()),
    ] {
        assert_eq!(Desk::new().send(&sent), answers, "{sent:x?}");
    }
}

#[test]
fn sample_rates_tell_which_mouse_is_wanted() {
    let kinds: &[(&[u8], u8)] = &[
        (&[200, 100, 80], 3),
        (&[200, 100, 80, 200, 200, 80], 4),
        (&[200, 200, 80], 4),
        (&[200, 100, 60], 0),
        (&[100, 80, 200], 0),
        (&[40, 200, 100, 80, 20], 3),
        // What a mouse has become, it stays.
        (&[200, 200, 80, 200, 100, 80], 4),
    ];
    for (rates, identity) in kinds {
        let mut desk = Desk::new();
        desk.set_rates(rates);
        assert_eq!(desk.send(&[0xF2]), [0xFA, *identity], "{rates:?}");
        assert_eq!(desk.send(&[0xF6, 0xF2]), [0xFA, 0xFA, *identity]);
        assert_eq!(desk.send(&[0xFF, 0xF2]), [0xFA, 0xAA, 0x00, 0xFA, 0x00]);
    }
    // Something else in between, and it was no knocking.
    assert_eq!(Desk::new().send(&[0xF3, 200, 0xF3, 100, 0xE6, 0xF3, 80, 0xF2]).last(), Some(&0));
}

#[test]
fn packets_of_three_bytes() {
    let mut desk = Desk::streaming(&[]);
    desk.motion(5, -3);
    assert_eq!(desk.packets(), [[0x08, 5, 3]]);
    desk.motion(-1, 2);
    desk.press(PointerButton::Right, true);
    assert_eq!(desk.packets(), [[0x38, 0xFF, 0xFE], [0x0A, 0, 0]]);
    desk.press(PointerButton::Middle, true);
    desk.press(PointerButton::Left, true);
    assert_eq!(desk.packets(), [[0x0E, 0, 0], [0x0F, 0, 0]]);
    assert_eq!(desk.send(&[0xE9]), [0xFA, 0x27, 0x02, 0x64]);
    assert!(desk.packets().is_empty());
    desk.motion(300, 0);
    assert_eq!(desk.packets(), [[0x0F, 255, 0], [0x0F, 45, 0]]);
}

#[test]
fn wheel_and_five_buttons() {
    let mut desk = Desk::streaming(&[200, 100, 80]);
    desk.wheel(1, 0);
    desk.wheel(-9, 2);
    assert_eq!(desk.packets(), [[0x08, 0, 0, 0xF9], [0x08, 0, 0, 0xFF]]);
    let mut desk = Desk::streaming(&[200, 200, 80]);
    desk.wheel(-1, 0);
    desk.press(PointerButton::Side, true);
    desk.press(PointerButton::Extra, true);
    desk.wheel(1, 5);
    desk.press(PointerButton::Side, false);
    assert_eq!(
        desk.packets(),
        [[0x08, 0, 0, 0x0F], [0x08, 0, 0, 0x10], [0x08, 0, 0, 0x31], [0x08, 0, 0, 0x20]]
    );
    let mut desk = Desk::streaming(&[200, 200, 80, 200, 80, 40]);
    desk.wheel(0, 2);
    assert_eq!(desk.packets(), [[0x08, 0, 0, 0x7E], [0x08, 0, 0, 0x00]]);
    desk.wheel(0, -1);
    assert_eq!(desk.packets()[0], [0x08, 0, 0, 0x41]);
}

#[test]
fn samples_are_taken_at_the_rate_in_guest_time() {
    for rate in SAMPLE_RATES {
        let mut desk = Desk::streaming(&[rate]);
        desk.motion(255 * 1000, 0);
        assert_eq!(desk.packets().len(), usize::from(rate), "{rate}");
    }
}

#[test]
fn scaling_two_to_one_is_for_packets_that_come_by_themselves() {
    let mut desk = Desk::streaming(&[]);
    desk.send(&[0xE7]);
    for (way, told) in [(1, 1), (2, 1), (3, 3), (4, 6), (5, 9), (6, 12), (127, 254)] {
        desk.motion(way, 0);
        assert_eq!(desk.packets(), [[0x08, told, 0]], "{way}");
        desk.motion(-way, 0);
        assert_eq!(desk.packets(), [[0x18, told.wrapping_neg(), 0]], "{way}");
    }
    desk.motion(4, 0);
    assert_eq!(desk.send(&[0xEB]), [0xFA, 0x08, 4, 0]);
}

#[test]
fn in_remote_mode_the_driver_asks() {
    let mut desk = Desk::new();
    desk.send(&[0xF0]);
    desk.motion(7, 1);
    assert!(desk.packets().is_empty());
    assert_eq!(desk.send(&[0xEB, 0xEB]), [0xFA, 0x28, 7, 0xFF, 0xFA, 0x08, 0, 0]);
    assert_eq!(desk.send(&[0xFE]), [0xFA, 0x08, 0, 0]);
}

#[test]
fn moves_from_before_reporting_are_forgotten_and_a_command_ends_a_packet() {
    let mut desk = Desk::new();
    desk.motion(9, 9);
    desk.press(PointerButton::Left, true);
    desk.send(&[0xF4]);
    assert!(desk.packets().is_empty());
    desk.motion(1, 0);
    desk.now = desk.now + SECOND;
    desk.mouse.advance(desk.now);
    assert_eq!(desk.mouse.take_byte(), Some(0x09));
    assert_eq!(desk.send(&[0xF2]), [0xFA, 0x00]);
    assert!(desk.packets().is_empty());
}

#[test]
fn a_nudged_mouse_sends_a_packet_that_says_nothing() {
    let mut desk = Desk::streaming(&[]);
    desk.mouse.nudge();
    assert_eq!(desk.packets(), [[0x08, 0, 0]]);
    desk.send(&[0xF5]);
    desk.mouse.nudge();
    assert!(desk.packets().is_empty());
}
