//! The terminal's mouse as the guest's.
//!
//! A report says where the terminal's pointer is and what its buttons do (xterm, "Mouse Tracking"). Where the guest takes positions
//! it gets them; otherwise it gets the moves between them, in pixels of its screen. Events wait here while the guest takes
//! none, and what is held down goes up when the mouse is taken away.

use crate::reports::MouseReport;
use std::collections::VecDeque;
use trimotor_devices::pointer::{FARTHEST, PointerButton, PointerEvent};

/// Events that wait for a guest that takes none; then presses are dropped, and moves add up anyway.
const MOST_WAITING: usize = 64;

/// Bits of a report's code.
const MODIFIERS: u32 = 4 | 8 | 16;
const MOVED: u32 = 32;

/// Where a pointer is on the guest's screen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GuestPlace {
    /// The guest's pixel; it may be outside.
    pub pixel: (f64, f64),
    /// The size of the guest's screen, in pixels.
    pub size: (usize, usize),
    /// The pointer is where the screen is shown.
    pub inside: bool,
}

/// The mouse while the guest has it.
#[derive(Default, Debug)]
pub struct Mouse {
    held: Vec<PointerButton>,
    /// Where it was, in the guest's pixels; none before the first report.
    last: Option<(f64, f64)>,
    /// Parts of a pixel that moves have left.
    rest: (f64, f64),
    waiting: VecDeque<PointerEvent>,
}

impl Mouse {
    /// Takes a report, of a pointer at `place`. Where the guest is `absolute`, it takes positions.
    pub fn take(&mut self, report: MouseReport, place: GuestPlace, absolute: bool) {
        self.go_to(place, absolute);
        let code = report.code & !MODIFIERS;
        let button = match code & !MOVED {
            0 => PointerButton::Left,
            1 => PointerButton::Middle,
            2 => PointerButton::Right,
            // Terminals that do not say which one went up.
            3 if report.released => return self.release_all(),
            64..=67 if !report.released => return self.turn(code & 3, place.inside),
            128 => PointerButton::Side,
            129 => PointerButton::Extra,
            _ => return,
        };
        let held = self.held.contains(&button);
        if report.released && held {
            self.held.retain(|other| *other != button);
            self.push(PointerEvent::Button { button, down: false });
        } else if !report.released
            && !held
            && code & MOVED == 0
            && place.inside
            && self.waiting.len() < MOST_WAITING
        {
            self.held.push(button);
            self.push(PointerEvent::Button { button, down: true });
        }
    }
    /// All buttons go up, and the next report begins anew.
    pub fn release_all(&mut self) {
        for button in std::mem::take(&mut self.held) {
            self.push(PointerEvent::Button { button, down: false });
        }
        self.last = None;
    }
    /// Gives the guest what waits, by `give`, which returns false where there is no room.
    pub fn feed(&mut self, mut give: impl FnMut(PointerEvent) -> bool) {
        while let Some(event) = self.waiting.front() {
            if !give(*event) {
                return;
            }
            self.waiting.pop_front();
        }
    }
    /// Whether the guest has not taken all.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
    fn go_to(&mut self, place: GuestPlace, absolute: bool) {
        let before = self.last.replace(place.pixel);
        if absolute {
            let scale = |at: f64, size: usize| {
                let farthest = f64::from(FARTHEST);
                (at.floor() / (size.max(2) - 1) as f64 * farthest).clamp(0.0, farthest) as u16
            };
            let (x, y) = (scale(place.pixel.0, place.size.0), scale(place.pixel.1, place.size.1));
            if before != Some(place.pixel) {
                self.push(PointerEvent::Position { x, y });
            }
            return;
        }
        let Some(before) = before else { return };
        let part = |now: f64, before: f64, rest: &mut f64| {
            let moved = now - before + *rest;
            *rest = moved.fract();
            moved.trunc() as i32
        };
        let dx = part(place.pixel.0, before.0, &mut self.rest.0);
        let dy = part(place.pixel.1, before.1, &mut self.rest.1);
        if (dx, dy) != (0, 0) {
            self.push(PointerEvent::Motion { dx, dy });
        }
    }
    /// The wheel: up, down, left, right.
    fn turn(&mut self, way: u32, inside: bool) {
        let (down, right) = [(-1, 0), (1, 0), (0, -1), (0, 1)][way as usize & 3];
        if inside && self.waiting.len() < MOST_WAITING {
            self.push(PointerEvent::Wheel { down, right });
        }
    }
    fn push(&mut self, event: PointerEvent) {
        // What goes down goes up, whatever waits; a move is made up for by the next one.
        let is_full = self.waiting.len() >= 2 * MOST_WAITING && !matches!(event, PointerEvent::Button { .. });
        let last = self.waiting.back_mut();
        if let Some(last) = last
            && let Some(merged) = last.merged(event)
        {
            *last = merged;
        } else if !is_full {
            self.waiting.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, y: f64) -> GuestPlace {
        GuestPlace {
            pixel: (x, y),
            size: (640, 400),
            inside: (0.0..640.0).contains(&x) && (0.0..400.0).contains(&y),
        }
    }
    fn report(code: u32, released: bool) -> MouseReport {
        MouseReport { code, x: 1, y: 1, released }
    }
    fn taken(mouse: &mut Mouse) -> Vec<PointerEvent> {
        let mut events = Vec::new();
        mouse.feed(|event| {
            events.push(event);
            true
        });
        events
    }
    fn button(button: PointerButton, down: bool) -> PointerEvent {
        PointerEvent::Button { button, down }
    }

    #[test]
    fn positions_go_to_a_guest_that_takes_them() {
        let mut mouse = Mouse::default();
        mouse.take(report(35, false), at(0.5, 0.5), true);
        assert_eq!(taken(&mut mouse), [PointerEvent::Position { x: 0, y: 0 }]);
        mouse.take(report(35, false), at(0.5, 0.5), true);
        assert_eq!(taken(&mut mouse), []);
        mouse.take(report(35, false), at(639.9, 1000.0), true);
        assert_eq!(taken(&mut mouse), [PointerEvent::Position { x: 65535, y: 65535 }]);
        mouse.take(report(0, false), at(320.0, 200.0), true);
        let events = taken(&mut mouse);
        assert_eq!(events[1..], [button(PointerButton::Left, true)]);
        assert!(matches!(events[0], PointerEvent::Position { x: 32000..33500, y: 32000..33500 }));
    }

    #[test]
    fn moves_go_to_one_that_does_not() {
        let mut mouse = Mouse::default();
        for (x, y) in [(10.0, 10.0), (12.5, 10.0), (15.0, 7.0)] {
            mouse.take(report(35, false), at(x, y), false);
        }
        // Nothing of the first, whose way is not known; parts of a pixel add up.
        assert_eq!(taken(&mut mouse), [PointerEvent::Motion { dx: 5, dy: -3 }]);
    }

    #[test]
    fn buttons_and_wheel_are_told_once() {
        let mut mouse = Mouse::default();
        let place = at(5.0, 5.0);
        for (code, released) in
            [(0, false), (0, false), (32, false), (2 + 16, false), (0, true), (0, true), (1, true)]
        {
            mouse.take(report(code, released), place, false);
        }
        use PointerButton::{Extra, Left, Right, Side};
        assert_eq!(taken(&mut mouse), [button(Left, true), button(Right, true), button(Left, false)]);
        mouse.take(report(65, false), place, false);
        mouse.take(report(65, false), place, false);
        mouse.take(report(66, false), place, false);
        mouse.take(report(128, false), place, false);
        mouse.take(report(129, false), place, false);
        let wheel = |down, right| PointerEvent::Wheel { down, right };
        assert_eq!(taken(&mut mouse), [wheel(2, -1), button(Side, true), button(Extra, true)]);
        mouse.release_all();
        assert_eq!(taken(&mut mouse), [button(Right, false), button(Side, false), button(Extra, false)]);
        // Old terminals do not say which.
        mouse.take(report(2, false), place, false);
        mouse.take(report(3, true), place, false);
        assert_eq!(taken(&mut mouse), [button(Right, true), button(Right, false)]);
    }

    #[test]
    fn presses_beside_the_screen_are_none_of_the_guest_s() {
        let mut mouse = Mouse::default();
        mouse.take(report(0, false), at(-3.0, 5.0), false);
        mouse.take(report(64, false), at(5.0, 400.0), false);
        mouse.take(report(0, true), at(-3.0, 5.0), false);
        assert!(taken(&mut mouse).iter().all(|event| matches!(event, PointerEvent::Motion { .. })));
        // But one that goes up there was down elsewhere.
        mouse.take(report(0, false), at(3.0, 5.0), true);
        mouse.take(report(0, true), at(-3.0, 5.0), true);
        assert_eq!(taken(&mut mouse).last(), Some(&button(PointerButton::Left, false)));
    }

    #[test]
    fn a_guest_that_takes_nothing_makes_nothing_grow() {
        let mut mouse = Mouse::default();
        for round in 0..10_000 {
            for code in [0, 1, 2, 64, 66] {
                mouse.take(report(code, false), at(f64::from(round % 600), 5.0), round % 2 == 0);
                mouse.take(report(code, true), at(5.0, 5.0), false);
            }
        }
        assert!(mouse.waiting.len() < 4 * MOST_WAITING, "{}", mouse.waiting.len());
        mouse.release_all();
        assert_eq!(mouse.held, []);
    }
}
