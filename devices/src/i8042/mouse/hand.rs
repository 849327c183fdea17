//! What a hand did with the mouse and no packet has told yet.
//!
//! A position on the screen is no news to a mouse, but the way from the last one is: it becomes a move, on a screen of [`SCREEN`] counts.
//!
//! Moves and turns of the wheel add up, so that a guest that does not read costs nothing. Buttons do not: a click that is
//! pressed and released between two samples must reach the guest as both. Each change of a button begins a new [`Stretch`];
//! when too many wait, the last ones become one.

use crate::pointer::{Buttons, PointerEvent};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The counts that are the width and height of a screen: what most guests show. On a larger or smaller one the pointer moves more slowly or
/// faster than the hand.
pub const SCREEN: (i32, i32) = (1024, 768);
/// Stretches that wait, at most: some quick clicks.
pub const MOST_STRETCHES: usize = 16;

/// A move with the buttons as they are at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stretch {
    /// Counts to the right.
    pub dx: i32,
    /// Counts down.
    pub dy: i32,
    /// Notches of the wheel towards the user.
    pub down: i32,
    /// Notches to the right.
    pub right: i32,
    /// The buttons that are down.
    pub buttons: Buttons,
}

impl Stretch {
    fn moves(&self) -> bool {
        (self.dx, self.dy, self.down, self.right) != (0, 0, 0, 0)
    }
    fn add(&mut self, other: Stretch) {
        self.dx = self.dx.saturating_add(other.dx);
        self.dy = self.dy.saturating_add(other.dy);
        self.down = self.down.saturating_add(other.down);
        self.right = self.right.saturating_add(other.right);
        self.buttons = other.buttons;
    }
}

/// Takes up to `most` of a way, in either direction.
fn part(way: &mut i32, most: i32) -> i32 {
    let part = (*way).clamp(-most, most);
    *way -= part;
    part
}

/// The hand on the mouse.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Hand {
    /// What waits, oldest first.
    waiting: VecDeque<Stretch>,
    /// The buttons in the packet that was made last.
    told: Buttons,
    /// The buttons now.
    buttons: Buttons,
    /// A packet is wanted even where nothing has changed.
    nudged: bool,
    /// The last position on the screen, if it was told.
    position: Option<(u16, u16)>,
}

impl Hand {
    /// The buttons that are down.
    pub fn buttons(&self) -> Buttons {
        self.buttons
    }
    /// Whether there is something to tell.
    pub fn has_news(&self) -> bool {
        self.nudged || self.waiting.iter().any(|stretch| stretch.moves() || stretch.buttons != self.told)
    }
    /// A packet is wanted whatever the hand does.
    pub fn nudge(&mut self) {
        self.nudged = true;
    }
    /// Another device follows the pointer: where it was is not known any more.
    pub fn lose_position(&mut self) {
        self.position = None;
    }
    /// Forgets moves: where the mouse is now is where it counts from.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.nudged = false;
        self.told = self.buttons;
    }

    /// The hand did something.
    pub fn event(&mut self, event: PointerEvent) {
        let mut stretch = Stretch { buttons: self.buttons, ..Stretch::default() };
        match event {
            PointerEvent::Motion { dx, dy } => (stretch.dx, stretch.dy) = (dx, dy),
            PointerEvent::Wheel { down, right } => (stretch.down, stretch.right) = (down, right),
            PointerEvent::Button { button, down } => stretch.buttons.set(button.into(), down),
            PointerEvent::Position { x, y } => {
                let Some((old_x, old_y)) = self.position.replace((x, y)) else { return };
                // Differences of rounded places: however the way is cut, it comes to the same.
                let count = |at: u16, counts: i32| (i32::from(at) * counts) >> 16;
                stretch.dx = count(x, SCREEN.0) - count(old_x, SCREEN.0);
                stretch.dy = count(y, SCREEN.1) - count(old_y, SCREEN.1);
            }
        }
        let pressed = stretch.buttons != self.buttons;
        self.buttons = stretch.buttons;
        if !pressed && !stretch.moves() {
            return;
        }
        let full = self.waiting.len() >= MOST_STRETCHES;
        match self.waiting.back_mut() {
            Some(last) if !pressed || full => last.add(stretch),
            _ => self.waiting.push_back(stretch),
        }
    }

    /// Takes what one packet can tell: up to `most` counts each way and `notches` of one wheel, the vertical one first. What
    /// the hand did beyond that follows. Turns of the second wheel are dropped unless `tilts`.
    pub fn take(&mut self, most: i32, notches: i32, tilts: bool) -> Stretch {
        self.nudged = false;
        let Some(first) = self.waiting.front_mut() else {
            return Stretch { buttons: self.buttons, ..Stretch::default() };
        };
        if !tilts {
            first.right = 0;
        }
        if notches == 0 {
            first.down = 0;
        }
        let down = part(&mut first.down, notches);
        let right = if down == 0 { part(&mut first.right, notches) } else { 0 };
        let told = Stretch {
            dx: part(&mut first.dx, most),
            dy: part(&mut first.dy, most),
            down,
            right,
            buttons: first.buttons,
        };
        if !first.moves() {
            self.waiting.pop_front();
        }
        self.told = told.buttons;
        told
    }

    /// Whether a saved hand can be.
    pub fn is_possible(&self) -> bool {
        let known = |buttons: Buttons| Buttons::all().contains(buttons);
        self.waiting.len() <= MOST_STRETCHES
            && known(self.told)
            && known(self.buttons)
            && self.waiting.iter().all(|stretch| known(stretch.buttons))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pointer::PointerButton;

    fn motion(dx: i32, dy: i32) -> PointerEvent {
        PointerEvent::Motion { dx, dy }
    }
    fn button(down: bool) -> PointerEvent {
        PointerEvent::Button { button: PointerButton::Left, down }
    }

    #[test]
    fn a_long_way_is_told_in_parts_and_nothing_is_lost() {
        let mut hand = Hand::default();
        (0..1000).for_each(|_| hand.event(motion(1, -2)));
        let (mut x, mut y, mut packets) = (0, 0, 0);
        while hand.has_news() {
            let told = hand.take(255, 7, false);
            (x, y, packets) = (x + told.dx, y + told.dy, packets + 1);
        }
        assert_eq!((x, y, packets), (1000, -2000, 8));
    }

    #[test]
    fn a_click_between_two_samples_is_told_as_press_and_release() {
        let mut hand = Hand::default();
        for event in [motion(5, 0), button(true), button(false), motion(2, 0)] {
            hand.event(event);
        }
        let told: Vec<_> = std::iter::from_fn(|| hand.has_news().then(|| hand.take(255, 7, false))).collect();
        let told: Vec<_> = told.iter().map(|s| (s.dx, s.buttons)).collect();
        assert_eq!(told, [(5, Buttons::empty()), (0, Buttons::LEFT), (2, Buttons::empty())]);
    }

    #[test]
    fn a_guest_that_does_not_read_costs_nothing_and_finds_the_last_state() {
        let mut hand = Hand::default();
        for turn in 0..100_000 {
            hand.event(button(turn % 2 == 0));
            hand.event(motion(i32::MAX, i32::MIN));
        }
        hand.event(button(true));
        assert!(hand.waiting.len() <= MOST_STRETCHES && hand.is_possible());
        hand.forget();
        assert!(!hand.has_news());
        assert_eq!(hand.buttons(), Buttons::LEFT);
    }

    #[test]
    fn positions_become_moves_without_drift() {
        let mut hand = Hand::default();
        let at = |x: u16, y: u16| PointerEvent::Position { x, y };
        hand.event(at(100, 100));
        assert!(!hand.has_news(), "where the guest's pointer is, nobody knows");
        (0..=1000u16).for_each(|n| hand.event(at(100 + 60 * n, 100 + 13 * n)));
        hand.event(at(100, 100));
        hand.event(at(0x8000, 0xFFFF));
        let told = hand.take(10_000, 7, false);
        assert_eq!((told.dx, told.dy), (512 - 1, 767 - 1));
        hand.lose_position();
        hand.event(at(0, 0));
        assert!(!hand.has_news());
    }

    #[test]
    fn turns_that_nobody_can_be_told_of_end() {
        let mut hand = Hand::default();
        hand.event(PointerEvent::Wheel { down: 3, right: 4 });
        assert_eq!(hand.take(255, 0, false), Stretch::default());
        assert!(!hand.has_news());
        hand.event(PointerEvent::Wheel { down: 9, right: 1 });
        let told: Vec<_> = (0..3).map(|_| hand.take(255, 7, true)).map(|s| (s.down, s.right)).collect();
        assert_eq!(told, [(7, 0), (2, 0), (0, 1)]);
    }
}
