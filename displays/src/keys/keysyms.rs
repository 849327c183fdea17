//! Keysyms: keys named by what they type (X Window System Protocol, Appendix A, "KEYSYM Encoding").

use trimotor_devices::i8042::KeyCode;
use trimotor_devices::i8042::keymap::{Held, Layout, Stroke};

/// How a keysym is typed on the guest's keyboard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyPress {
    /// A dead key that is struck before.
    pub before: Option<Stroke>,
    /// The key.
    pub key: KeyCode,
    /// What must be held to type the character; `None` where it does not matter.
    pub held: Option<Held>,
    /// A letter, which Caps Lock turns around.
    pub is_letter: bool,
}

/// Where keysyms are Unicode characters.
const UNICODE: u32 = 0x0100_0000;
/// The characters of layouts that keysyms from before Unicode name otherwise: the Euro sign, and dead keys, which are combining
/// characters in layouts.
const CHARACTERS: [(u32, char); 8] = [
    (0x20AC, '\u{20AC}'),
    (0xFE50, '\u{300}'),
    (0xFE51, '\u{301}'),
    (0xFE52, '\u{302}'),
    (0xFE53, '\u{303}'),
    (0xFE57, '\u{308}'),
    (0xFE58, '\u{30A}'),
    (0xFE5B, '\u{327}'),
];

fn character_of(keysym: u32) -> Option<char> {
    match keysym {
        0x20..=0x7E | 0xA0..=0xFF => char::from_u32(keysym),
        UNICODE..=0x0110_FFFF => char::from_u32(keysym - UNICODE),
        _ => CHARACTERS.iter().find(|row| row.0 == keysym).map(|row| row.1),
    }
}

/// The key that types what a keysym stands for, where the guest's keyboard has that layout.
pub fn keysym(keysym: u32, layout: Layout) -> Option<KeyPress> {
    if let Some(character) = character_of(keysym) {
        let strokes = layout.strokes(character);
        let (before, last) = match strokes[..] {
            [only] => (None, only),
            [before, last] => (Some(before), last),
            _ => return None,
        };
        let is_letter = character.is_alphabetic();
        return Some(KeyPress { before, key: last.key, held: Some(last.held), is_letter });
    }
    let at = NAMED.binary_search_by_key(&keysym, |row| row.0).ok()?;
    Some(KeyPress { before: None, key: NAMED[at].1, held: None, is_letter: false })
}

/// Keys that type no character, by their keysyms in order.
#[rustfmt::skip]
const NAMED: &[(u32, KeyCode)] = {
    use KeyCode::*;
    &[
        // ISO_Level3_Shift, which is AltGr.
        (0xFE03, AltRight),
        // ISO_Left_Tab: Tab with shift.
        (0xFE20, Tab),
        (0xFF08, Backspace), (0xFF09, Tab), (0xFF0A, Enter), (0xFF0D, Enter), (0xFF13, Pause), (0xFF14, ScrollLock),
        // Sys_Req.
        (0xFF15, PrintScreen),
        (0xFF1B, Escape),
        (0xFF22, NonConvert), (0xFF23, Convert), (0xFF27, KanaMode),
        (0xFF50, Home), (0xFF51, ArrowLeft), (0xFF52, ArrowUp), (0xFF53, ArrowRight), (0xFF54, ArrowDown),
        (0xFF55, PageUp), (0xFF56, PageDown), (0xFF57, End),
        (0xFF61, PrintScreen), (0xFF63, Insert), (0xFF67, Menu),
        // Break: Pause with control.
        (0xFF6B, Pause),
        // Mode_switch, which old servers send for AltGr.
        (0xFF7E, AltRight),
        (0xFF7F, NumLock),
        // The keypad: with Num Lock off, and on.
        (0xFF8D, KeypadEnter),
        (0xFF95, Keypad7), (0xFF96, Keypad4), (0xFF97, Keypad8), (0xFF98, Keypad6), (0xFF99, Keypad2),
        (0xFF9A, Keypad9), (0xFF9B, Keypad3), (0xFF9C, Keypad1), (0xFF9D, Keypad5), (0xFF9E, Keypad0),
        (0xFF9F, KeypadDecimal),
        (0xFFAA, KeypadMultiply), (0xFFAB, KeypadAdd), (0xFFAC, KeypadComma), (0xFFAD, KeypadSubtract),
        (0xFFAE, KeypadDecimal), (0xFFAF, KeypadDivide),
        (0xFFB0, Keypad0), (0xFFB1, Keypad1), (0xFFB2, Keypad2), (0xFFB3, Keypad3), (0xFFB4, Keypad4),
        (0xFFB5, Keypad5), (0xFFB6, Keypad6), (0xFFB7, Keypad7), (0xFFB8, Keypad8), (0xFFB9, Keypad9),
        (0xFFBE, F1), (0xFFBF, F2), (0xFFC0, F3), (0xFFC1, F4), (0xFFC2, F5), (0xFFC3, F6), (0xFFC4, F7),
        (0xFFC5, F8), (0xFFC6, F9), (0xFFC7, F10), (0xFFC8, F11), (0xFFC9, F12),
        (0xFFE1, ShiftLeft), (0xFFE2, ShiftRight), (0xFFE3, ControlLeft), (0xFFE4, ControlRight), (0xFFE5, CapsLock),
        // Meta is Alt on a PC, Super the Windows key.
        (0xFFE7, AltLeft), (0xFFE8, AltRight), (0xFFE9, AltLeft), (0xFFEA, AltRight),
        (0xFFEB, MetaLeft), (0xFFEC, MetaRight),
        (0xFFFF, Delete),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_and_named_keys_are_found() {
        assert!(NAMED.is_sorted_by(|left, right| left.0 < right.0));
        let press = |key, held, is_letter| Some(KeyPress { before: None, key, held, is_letter });
        let us = |symbol: u32| keysym(symbol, Layout::US);
        let (none, shift) = (Some(Held::empty()), Some(Held::SHIFT));
        assert_eq!(us('a'.into()), press(KeyCode::A, none, true));
        assert_eq!(us('A'.into()), press(KeyCode::A, shift, true));
        assert_eq!(us('?'.into()), press(KeyCode::Slash, shift, false));
        assert_eq!(us(0x0100_0000 + u32::from('7')), press(KeyCode::Digit7, none, false));
        assert_eq!(us(0xFF0D), press(KeyCode::Enter, None, false));
        assert_eq!(us(0xFFFF), press(KeyCode::Delete, None, false));
        for unknown in [0, 0xE9, 0x0100_00E9, 0x0200_0000, u32::MAX] {
            assert_eq!(us(unknown), None, "{unknown:x}");
        }
    }

    #[test]
    fn layouts_have_their_own_keys() {
        let german: Layout = "de".parse().unwrap();
        let typed = |symbol: u32| keysym(symbol, german).unwrap();
        assert_eq!((typed('z'.into()).key, typed('/'.into()).key), (KeyCode::Y, KeyCode::Digit7));
        assert_eq!(typed(0xFC).key, KeyCode::BracketLeft);
        assert_eq!(typed(0x20AC).held, Some(Held::ALT_GR));
        // An e with an acute: a dead key before it.
        assert!(typed(0xE9).before.is_some_and(|before| before.key != KeyCode::E));
        assert_eq!(typed(0xE9).key, KeyCode::E);
    }
}
