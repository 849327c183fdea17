//! Text as key strokes of a US keyboard, for terminals and scripts.

use super::KeyCode::{self, *};

const LETTERS: [KeyCode; 26] = [A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T, U, V, W, X, Y, Z];
const DIGITS: [KeyCode; 10] =
    [Digit0, Digit1, Digit2, Digit3, Digit4, Digit5, Digit6, Digit7, Digit8, Digit9];
/// Punctuation: the key, what it types, what it types with shift.
const MARKS: [(KeyCode, char, char); 11] = [
    (Grave, '`', '~'),
    (Minus, '-', '_'),
    (Equal, '=', '+'),
    (Backslash, '\\', '|'),
    (BracketLeft, '[', '{'),
    (BracketRight, ']', '}'),
    (Semicolon, ';', ':'),
    (Apostrophe, '\'', '"'),
    (Comma, ',', '<'),
    (Period, '.', '>'),
    (Slash, '/', '?'),
];
/// What the digit keys type with shift.
const SHIFTED_DIGITS: &str = ")!@#$%^&*(";

/// A key and the modifier that is held with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stroke {
    /// The key.
    pub key: KeyCode,
    /// Left shift or left control, if one is held.
    pub modifier: Option<KeyCode>,
}

impl Stroke {
    const fn new(key: KeyCode, modifier: Option<KeyCode>) -> Self {
        Self { key, modifier }
    }
    /// Presses and releases: (key, pressed).
    pub fn events(self) -> impl Iterator<Item = (KeyCode, bool)> {
        let around = |pressed| self.modifier.map(|m| (m, pressed));
        around(true).into_iter().chain([(self.key, true), (self.key, false)]).chain(around(false))
    }
}

/// The stroke that types `character` on a US keyboard, if there is one. Control characters are
/// letters with control; carriage return and line feed are Enter; 08h and 7Fh Backspace.
pub fn stroke(character: char) -> Option<Stroke> {
    let named = match character {
        '\r' | '\n' => Some(Enter),
        '\t' => Some(Tab),
        '\x08' | '\x7F' => Some(Backspace),
        '\x1B' => Some(Escape),
        ' ' => Some(Space),
        _ => None,
    };
    if let Some(key) = named {
        return Some(Stroke::new(key, None));
    }
    let mark = MARKS.iter().find(|(_, plain, shifted)| [*plain, *shifted].contains(&character));
    if let Some(&(key, plain, _)) = mark {
        return Some(Stroke::new(key, (character != plain).then_some(ShiftLeft)));
    }
    if let Some(digit) = SHIFTED_DIGITS.find(character) {
        return Some(Stroke::new(DIGITS[digit], Some(ShiftLeft)));
    }
    match character {
        '0'..='9' => Some(Stroke::new(DIGITS[character as usize - '0' as usize], None)),
        'a'..='z' => Some(Stroke::new(LETTERS[character as usize - 'a' as usize], None)),
        'A'..='Z' => Some(Stroke::new(LETTERS[character as usize - 'A' as usize], Some(ShiftLeft))),
        '\x01'..='\x1A' => Some(Stroke::new(LETTERS[character as usize - 1], Some(ControlLeft))),
        '\x00' => Some(Stroke::new(Space, Some(ControlLeft))),
        '\x1C' => Some(Stroke::new(Backslash, Some(ControlLeft))),
        '\x1D' => Some(Stroke::new(BracketRight, Some(ControlLeft))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_ascii_but_two_controls_can_be_typed() {
        for code in 0..=0x7Fu8 {
            let typed = stroke(code as char).is_some();
            assert_eq!(typed, ![0x1E, 0x1F].contains(&code), "{code:#x}");
        }
        assert_eq!(stroke('ß'), None);
    }

    #[test]
    fn shift_goes_around_the_key() {
        let events: Vec<_> = stroke('%').unwrap().events().collect();
        assert_eq!(events, [(ShiftLeft, true), (Digit5, true), (Digit5, false), (ShiftLeft, false)]);
        assert_eq!(stroke('\x03').unwrap().modifier, Some(ControlLeft));
    }
}
