//! Keys struck with others held, as a terminal tells of them.
//!
//! A terminal sends characters; the keyboard controller wants keys going down and up. Which
//! keys type a character is a matter of the layout that the guest is set to; the tables are the keyboard's own
//! ([`trimotor_devices::i8042::keymap`]).

use trimotor_devices::i8042::keymap::{self, Held};
pub use trimotor_devices::i8042::{KeyCode, Layout};

/// The keys held while another is struck.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Modifiers {
    /// Shift is held.
    pub shift: bool,
    /// Ctrl is held.
    pub ctrl: bool,
    /// Alt is held.
    pub alt: bool,
    /// AltGr is held.
    pub alt_gr: bool,
}

impl Modifiers {
    /// Nothing is held.
    pub const NONE: Modifiers = Modifiers { shift: false, ctrl: false, alt: false, alt_gr: false };
}

/// A key struck, with the keys that were held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stroke {
    /// The key.
    pub key: KeyCode,
    /// What was held.
    pub modifiers: Modifiers,
}

impl Stroke {
    /// Ctrl, Alt and Delete together.
    pub const CTRL_ALT_DELETE: Stroke =
        Stroke { key: KeyCode::Delete, modifiers: Modifiers { ctrl: true, alt: true, ..Modifiers::NONE } };

    /// `key` alone.
    pub const fn plain(key: KeyCode) -> Self {
        Self { key, modifiers: Modifiers::NONE }
    }
    /// The keys that go down (`true`) and up (`false`), in order.
    pub fn transitions(self) -> impl Iterator<Item = (KeyCode, bool)> {
        let Modifiers { shift, ctrl, alt, alt_gr } = self.modifiers;
        let held = [
            (shift, KeyCode::ShiftLeft),
            (ctrl, KeyCode::ControlLeft),
            (alt, KeyCode::AltLeft),
            (alt_gr, KeyCode::AltRight),
        ];
        let down = held.into_iter().filter(|(is_held, _)| *is_held).map(|(_, key)| (key, true));
        let up = held.into_iter().rev().filter(|(is_held, _)| *is_held).map(|(_, key)| (key, false));
        down.chain([(self.key, true), (self.key, false)]).chain(up)
    }
}

/// The strokes that type `character` on a layout; none where no keys do. Control characters are
/// letters with Ctrl.
pub fn strokes_of(layout: Layout, character: char) -> Vec<Stroke> {
    let stroke = |typed: keymap::Stroke| {
        let holds = |held| typed.held.contains(held);
        let (shift, ctrl) = (holds(Held::SHIFT), holds(Held::CONTROL));
        let modifiers = Modifiers { shift, ctrl, alt: holds(Held::ALT), alt_gr: holds(Held::ALT_GR) };
        Stroke { key: typed.key, modifiers }
    };
    layout.strokes(character).into_iter().map(stroke).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_ascii_character_has_a_stroke() {
        for character in ' '..='~' {
            assert!(!strokes_of(Layout::US, character).is_empty(), "no key types {character:?}");
        }
        assert_eq!(strokes_of(Layout::US, 'é'), []);
        assert_eq!(strokes_of("de".parse().unwrap(), 'é').len(), 2);
        let held = strokes_of(Layout::US, '\x03')[0];
        assert_eq!((held.key, held.modifiers.ctrl), (KeyCode::C, true));
    }

    #[test]
    fn held_keys_go_down_first_and_up_last() {
        let keys: Vec<_> = Stroke::CTRL_ALT_DELETE.transitions().collect();
        assert_eq!(keys.first(), Some(&(KeyCode::ControlLeft, true)));
        assert_eq!(keys[2], (KeyCode::Delete, true));
        assert_eq!(keys.last(), Some(&(KeyCode::ControlLeft, false)));
    }
}
