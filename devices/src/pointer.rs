//! What a hand does with a pointing device, whichever device of the guest tells of it.
//!
//! A window, a remote screen or a script gives these events to the machine, which passes them to the pointing device that
//! the guest uses: a mouse that tells how far it was moved, or one that tells where on the screen it is.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

/// The largest coordinate of [`PointerEvent::Position`].
pub const FARTHEST: u16 = 0xFFFF;

/// Something that a hand did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PointerEvent {
    /// Moved by so many counts: to the right, and towards the user (down).
    Motion {
        /// To the right; negative to the left.
        dx: i32,
        /// Down; negative up.
        dy: i32,
    },
    /// Is at a place on the screen, each coordinate from 0 (left, top) to [`FARTHEST`] (right, bottom).
    Position {
        /// From the left.
        x: u16,
        /// From the top.
        y: u16,
    },
    /// A button went down or up.
    Button {
        /// Which one.
        button: PointerButton,
        /// Whether it is down.
        down: bool,
    },
    /// The wheel was turned by so many notches.
    Wheel {
        /// Towards the user, as text scrolls down; negative away from the user.
        down: i32,
        /// To the right; negative to the left.
        right: i32,
    },
}

impl PointerEvent {
    /// The event that says as much as `self` and then `next`, where there is one: moves and turns of the wheel add up.
    pub fn merged(self, next: PointerEvent) -> Option<PointerEvent> {
        use PointerEvent::{Motion, Position, Wheel};
        match (self, next) {
            (Motion { dx, dy }, Motion { dx: dx2, dy: dy2 }) => {
                Some(Motion { dx: dx.saturating_add(dx2), dy: dy.saturating_add(dy2) })
            }
            (Position { .. }, Position { .. }) => Some(next),
            (Wheel { down, right }, Wheel { down: down2, right: right2 }) => {
                Some(Wheel { down: down.saturating_add(down2), right: right.saturating_add(right2) })
            }
            _ => None,
        }
    }
}

/// A button.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PointerButton {
    /// Under the index finger of a right hand.
    Left,
    /// Under the middle finger.
    Right,
    /// Between the two: the wheel.
    Middle,
    /// The fourth one: back.
    Side,
    /// The fifth one: forward.
    Extra,
}

impl PointerButton {
    /// All buttons.
    pub const ALL: [PointerButton; 5] = [
        PointerButton::Left,
        PointerButton::Right,
        PointerButton::Middle,
        PointerButton::Side,
        PointerButton::Extra,
    ];
}

bitflags! {
    /// The buttons that are down.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(transparent)]
    pub struct Buttons: u8 {
        /// [`PointerButton::Left`].
        const LEFT = 0x01;
        /// [`PointerButton::Right`].
        const RIGHT = 0x02;
        /// [`PointerButton::Middle`].
        const MIDDLE = 0x04;
        /// [`PointerButton::Side`].
        const SIDE = 0x08;
        /// [`PointerButton::Extra`].
        const EXTRA = 0x10;
    }
}

impl From<PointerButton> for Buttons {
    fn from(button: PointerButton) -> Buttons {
        match button {
            PointerButton::Left => Buttons::LEFT,
            PointerButton::Right => Buttons::RIGHT,
            PointerButton::Middle => Buttons::MIDDLE,
            PointerButton::Side => Buttons::SIDE,
            PointerButton::Extra => Buttons::EXTRA,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_and_turns_add_up_and_buttons_stay_apart() {
        let motion = |dx, dy| PointerEvent::Motion { dx, dy };
        assert_eq!(motion(3, -1).merged(motion(i32::MAX, 2)), Some(motion(i32::MAX, 1)));
        let at = |x, y| PointerEvent::Position { x, y };
        assert_eq!(at(1, 2).merged(at(3, 4)), Some(at(3, 4)));
        assert_eq!(at(1, 2).merged(motion(3, 4)), None);
        let wheel = |down| PointerEvent::Wheel { down, right: 0 };
        assert_eq!(wheel(1).merged(wheel(-3)), Some(wheel(-2)));
        let press = PointerEvent::Button { button: PointerButton::Left, down: true };
        assert_eq!(press.merged(press), None);
    }
}
