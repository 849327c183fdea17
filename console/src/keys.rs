//! Keys struck with others held, as a terminal tells of them.
//!
//! A terminal sends characters; the keyboard controller wants keys going down and up. The
//! key (and Shift) that types a character is that of a US layout, which is what a guest
//! assumes unless it is told otherwise; the table is the keyboard's own
//! ([`trimotor_devices::i8042::text`]).

use trimotor_devices::i8042;
pub use trimotor_devices::i8042::KeyCode;

/// The keys held while another is struck.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Modifiers {
    /// Shift is held.
    pub shift: bool,
    /// Ctrl is held.
    pub ctrl: bool,
    /// Alt is held.
    pub alt: bool,
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
        Stroke { key: KeyCode::Delete, modifiers: Modifiers { shift: false, ctrl: true, alt: true } };

    /// `key` alone.
    pub const fn plain(key: KeyCode) -> Self {
        Self { key, modifiers: Modifiers { shift: false, ctrl: false, alt: false } }
    }
    /// The keys that go down (`true`) and up (`false`), in order.
    pub fn transitions(self) -> impl Iterator<Item = (KeyCode, bool)> {
        let Modifiers { shift, ctrl, alt } = self.modifiers;
        let held = [(shift, KeyCode::ShiftLeft), (ctrl, KeyCode::ControlLeft), (alt, KeyCode::AltLeft)];
        let down = held.into_iter().filter(|(is_held, _)| *is_held).map(|(_, key)| (key, true));
        let up = held.into_iter().rev().filter(|(is_held, _)| *is_held).map(|(_, key)| (key, false));
        down.chain([(self.key, true), (self.key, false)]).chain(up)
    }
}

/// The stroke that types `character` on a US layout, if one does. Control characters are
/// letters with Ctrl.
pub fn stroke_of(character: char) -> Option<Stroke> {
    let typed = i8042::stroke(character)?;
    let modifiers = Modifiers {
        shift: typed.modifier == Some(KeyCode::ShiftLeft),
        ctrl: typed.modifier == Some(KeyCode::ControlLeft),
        alt: false,
    };
    Some(Stroke { key: typed.key, modifiers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_ascii_character_has_a_stroke() {
        for character in ' '..='~' {
            assert!(stroke_of(character).is_some(), "no key types {character:?}");
        }
        assert_eq!(stroke_of('é'), None);
        let held = stroke_of('\x03').unwrap();
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
