//! One peer's hands at the guest's keyboard and pointing device.

use super::keysyms::{KeyPress, keysym};
use crate::guest::Guest;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use trimotor_devices::i8042::keymap::Held;
use trimotor_devices::i8042::{KeyCode, Leds};
use trimotor_devices::pointer::{FARTHEST, PointerButton, PointerEvent};

/// Key strokes that wait for a guest that takes none. A person's typing fits; more is dropped, and all keys go up.
const MOST_WAITING: usize = 1024;
/// When to try again where the guest had no room.
pub const RETRY: Duration = Duration::from_millis(20);

/// The hands. When they are dropped, what they hold goes up.
pub struct Hands {
    guest: Arc<dyn Guest>,
    waiting: VecDeque<(KeyCode, bool)>,
    /// Keys that are down, as soon as the guest took what waits.
    held: HashSet<KeyCode>,
    /// Of the keys that are down, the keysyms by which they went down.
    by_keysym: HashMap<u32, KeyCode>,
    buttons: HashSet<u8>,
    position: Option<(u16, u16)>,
}

/// The buttons that RFB numbers from 0, but for the wheel.
const BUTTONS: [(u8, PointerButton); 5] = [
    (0, PointerButton::Left),
    (1, PointerButton::Middle),
    (2, PointerButton::Right),
    (7, PointerButton::Side),
    (8, PointerButton::Extra),
];
/// The buttons that are turns of the wheel: up, down, left, right.
const WHEEL: [(u8, i32, i32); 4] = [(3, -1, 0), (4, 1, 0), (5, 0, -1), (6, 0, 1)];

impl Hands {
    /// At this guest's; they hold nothing.
    pub fn new(guest: Arc<dyn Guest>) -> Hands {
        Hands {
            guest,
            waiting: VecDeque::new(),
            held: HashSet::new(),
            by_keysym: HashMap::new(),
            buttons: HashSet::new(),
            position: None,
        }
    }
    /// A key went down or up. Repeats are left out: the guest's keyboard repeats itself.
    pub fn key(&mut self, key: KeyCode, down: bool) {
        let changed = if down { self.held.insert(key) } else { self.held.remove(&key) };
        if changed {
            self.strike(key, down);
        }
    }
    fn strike(&mut self, key: KeyCode, down: bool) {
        if self.waiting.len() >= MOST_WAITING {
            self.release_all();
            return;
        }
        self.waiting.push_back((key, down));
        self.feed();
    }
    /// A key that is named by what it types. Where the peer's keyboard has the character elsewhere than the guest's, Shift is
    /// moved for the one stroke, and AltGr held.
    pub fn keysym(&mut self, symbol: u32, down: bool) {
        if !down {
            match self.by_keysym.remove(&symbol) {
                Some(key) => self.key(key, false),
                // The peer moved shift in between: the same key has another name now.
                None => {
                    let key = keysym(symbol, self.guest.layout()).map(|press| press.key);
                    self.by_keysym.retain(|_, held| Some(*held) != key);
                    key.into_iter().for_each(|key| self.key(key, false));
                }
            }
            return;
        }
        let Some(press) = keysym(symbol, self.guest.layout()) else { return };
        let KeyPress { before, key, held: wanted, is_letter } = press;
        self.by_keysym.insert(symbol, key);
        if self.held.contains(&key) {
            return;
        }
        for (key, down) in before.into_iter().flat_map(|before| before.events()) {
            self.strike(key, down);
        }
        let Some(wanted) = wanted else { return self.key(key, true) };
        let alt_gr = wanted.contains(Held::ALT_GR) && !self.held.contains(&KeyCode::AltRight);
        if alt_gr {
            self.strike(KeyCode::AltRight, true);
        }
        let caps = is_letter && self.guest.leds().contains(Leds::CAPS_LOCK);
        let shifts = [KeyCode::ShiftLeft, KeyCode::ShiftRight];
        let held: Vec<KeyCode> = shifts.into_iter().filter(|shift| self.held.contains(shift)).collect();
        match wanted.contains(Held::SHIFT) ^ caps {
            true if held.is_empty() => {
                self.strike(KeyCode::ShiftLeft, true);
                self.key(key, true);
                self.strike(KeyCode::ShiftLeft, false);
            }
            false if !held.is_empty() && !is_letter => {
                held.iter().for_each(|shift| self.strike(*shift, false));
                self.key(key, true);
                held.iter().for_each(|shift| self.strike(*shift, true));
            }
            _ => self.key(key, true),
        }
        if alt_gr {
            self.strike(KeyCode::AltRight, false);
        }
    }
    /// Gives the guest what waits, as much as it takes; false where some is left: try again after [`RETRY`].
    pub fn feed(&mut self) -> bool {
        while let Some(&(key, down)) = self.waiting.front() {
            if !self.guest.key(key, down) {
                return false;
            }
            self.waiting.pop_front();
        }
        true
    }
    /// The pointer is at a place of a picture so many pixels wide and high.
    pub fn point(&mut self, x: usize, y: usize, width: usize, height: usize) {
        let scale = |at: usize, most: usize| {
            let most = most.saturating_sub(1).max(1);
            (at.min(most) * usize::from(FARTHEST) / most) as u16
        };
        let position = (scale(x, width), scale(y, height));
        if self.position.replace(position) != Some(position) {
            self.guest.pointer(PointerEvent::Position { x: position.0, y: position.1 });
        }
    }
    /// The pointer was moved.
    pub fn shift(&mut self, dx: i32, dy: i32) {
        if (dx, dy) != (0, 0) {
            self.guest.pointer(PointerEvent::Motion { dx, dy });
        }
    }
    /// The wheel was turned.
    pub fn turn(&mut self, down: i32, right: i32) {
        if (down, right) != (0, 0) {
            self.guest.pointer(PointerEvent::Wheel { down, right });
        }
    }
    /// The buttons that are down, a bit for each as RFB numbers them.
    pub fn buttons(&mut self, mask: u16) {
        for (bit, button) in BUTTONS {
            let down = mask & 1 << bit != 0;
            if down != self.buttons.contains(&bit)
                && self.guest.pointer(PointerEvent::Button { button, down })
            {
                if down {
                    self.buttons.insert(bit)
                } else {
                    self.buttons.remove(&bit)
                };
            }
        }
        for (bit, down, right) in WHEEL {
            if mask & 1 << bit == 0 {
                self.buttons.remove(&bit);
            } else if self.buttons.insert(bit) {
                self.turn(down, right);
            }
        }
    }
    /// All that they hold goes up.
    pub fn release_all(&mut self) {
        let refused = !self.waiting.is_empty();
        self.waiting.clear();
        self.by_keysym.clear();
        self.buttons(0);
        let up: Vec<KeyCode> = self.held.drain().collect();
        if refused || !self.buttons.is_empty() || up.into_iter().any(|key| !self.guest.key(key, false)) {
            // What others hold goes up too, but nothing stays down for ever.
            self.buttons.clear();
            self.guest.release_all();
        }
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.release_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Did, FakeGuest};

    fn typed(symbols: &[(u32, bool)]) -> Vec<(KeyCode, bool)> {
        let guest = FakeGuest::new(1, 1);
        let mut hands = Hands::new(guest.clone());
        symbols.iter().for_each(|(symbol, down)| hands.keysym(*symbol, *down));
        std::mem::forget(hands);
        guest.keys()
    }
    const SHIFT: u32 = 0xFFE1;

    #[test]
    fn shift_is_moved_where_the_us_keyboard_has_a_character_elsewhere() {
        use KeyCode::{A, Digit7, ShiftLeft, Slash};
        let up = |symbol: char| [(symbol.into(), true), (symbol.into(), false)];
        assert_eq!(typed(&up('a')), [(A, true), (A, false)]);
        assert_eq!(typed(&up('A')), [(ShiftLeft, true), (A, true), (ShiftLeft, false), (A, false)]);
        // A viewer that sends shift itself.
        let shifted = [(SHIFT, true), ('A'.into(), true), ('A'.into(), false), (SHIFT, false)];
        assert_eq!(typed(&shifted), [(ShiftLeft, true), (A, true), (A, false), (ShiftLeft, false)]);
        // Slash is shift and 7 in Germany. Shift goes up first.
        let german =
            [(SHIFT, true), ('/'.into(), true), (SHIFT, false), ('7'.into(), false), ('/'.into(), false)];
        let us =
            [(ShiftLeft, true), (ShiftLeft, false), (Slash, true), (ShiftLeft, true), (ShiftLeft, false)];
        assert_eq!(typed(&german)[..5], us);
        assert_eq!(typed(&german)[5..], [(Slash, false)]);
        assert_eq!(typed(&up('7')), [(Digit7, true), (Digit7, false)]);
        // Repeats of a held key, and its end by another name.
        let held = [('a'.into(), true), ('a'.into(), true), (SHIFT, true), ('A'.into(), false)];
        assert_eq!(typed(&held), [(A, true), (ShiftLeft, true), (A, false)]);
    }

    #[test]
    fn what_is_held_goes_up_with_the_hands() {
        let guest = FakeGuest::new(1, 1);
        let mut hands = Hands::new(guest.clone());
        hands.key(KeyCode::ControlLeft, true);
        hands.buttons(0b101);
        drop(hands);
        let button = |button, down| Did::Pointer(PointerEvent::Button { button, down });
        assert_eq!(
            guest.did(),
            [
                Did::Key(KeyCode::ControlLeft, true),
                button(PointerButton::Left, true),
                button(PointerButton::Right, true),
                button(PointerButton::Left, false),
                button(PointerButton::Right, false),
                Did::Key(KeyCode::ControlLeft, false),
            ]
        );
    }

    #[test]
    fn a_guest_that_takes_no_keys_costs_no_memory_and_keeps_none_down() {
        let guest = FakeGuest::new(1, 1);
        guest.refuse_keys(true);
        let mut hands = Hands::new(guest.clone());
        for _ in 0..2 * MOST_WAITING {
            hands.key(KeyCode::A, true);
            hands.key(KeyCode::A, false);
            assert!(hands.waiting.len() <= MOST_WAITING);
        }
        hands.key(KeyCode::B, true);
        assert!(!hands.feed());
        drop(hands);
        assert_eq!(guest.did().last(), Some(&Did::ReleaseAll));
    }

    #[test]
    fn the_wheel_is_buttons_and_places_are_scaled() {
        let guest = FakeGuest::new(1, 1);
        let mut hands = Hands::new(guest.clone());
        hands.buttons(1 << 4);
        hands.buttons(1 << 4);
        hands.buttons(0);
        hands.point(639, 0, 640, 480);
        hands.point(639, 0, 640, 480);
        hands.point(10_000, 479, 640, 480);
        hands.point(0, 0, 0, 0);
        let place = |x, y| Did::Pointer(PointerEvent::Position { x, y });
        let wheel = Did::Pointer(PointerEvent::Wheel { down: 1, right: 0 });
        assert_eq!(guest.did(), [wheel, place(0xFFFF, 0), place(0xFFFF, 0xFFFF), place(0, 0)]);
    }
}
