//! The keys of a PC keyboard, and which of them type a character on a US layout.
//!
//! A terminal sends characters; the i8042 wants keys going down and up. [`stroke_of`]
//! finds the key (and Shift) that a US keyboard layout types a character with, which is
//! what a guest assumes unless it is told otherwise. The scan codes are those of set 2
//! (IBM PS/2 Technical Reference, "Keyboards", scan code set 2); the i8042 translates
//! them to set 1 where the guest asks it to.

/// A key, by its place on a 104-key US keyboard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    /// A key that types a character: the character that it types without Shift.
    Char(char),
    /// F1 to F12.
    F(u8),
    /// Escape.
    Escape,
    /// Tab.
    Tab,
    /// Backspace.
    Backspace,
    /// Enter of the main block.
    Enter,
    /// The left Shift.
    Shift,
    /// The left Ctrl.
    Ctrl,
    /// The left Alt.
    Alt,
    /// Up arrow.
    Up,
    /// Down arrow.
    Down,
    /// Left arrow.
    Left,
    /// Right arrow.
    Right,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Insert.
    Insert,
    /// Delete.
    Delete,
}

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
    pub key: Key,
    /// What was held.
    pub modifiers: Modifiers,
}

impl Stroke {
    /// `key` alone.
    pub const fn plain(key: Key) -> Self {
        Self { key, modifiers: Modifiers { shift: false, ctrl: false, alt: false } }
    }
    /// Ctrl, Alt and Delete together.
    pub const CTRL_ALT_DELETE: Stroke =
        Stroke { key: Key::Delete, modifiers: Modifiers { shift: false, ctrl: true, alt: true } };

    /// The keys that go down (`true`) and up (`false`), in order.
    pub fn transitions(self) -> impl Iterator<Item = (Key, bool)> {
        let Modifiers { shift, ctrl, alt } = self.modifiers;
        let held = [(shift, Key::Shift), (ctrl, Key::Ctrl), (alt, Key::Alt)];
        let down = held.into_iter().filter(|(is_held, _)| *is_held).map(|(_, key)| (key, true));
        let up = held.into_iter().rev().filter(|(is_held, _)| *is_held).map(|(_, key)| (key, false));
        down.chain([(self.key, true), (self.key, false)]).chain(up)
    }
    /// The scan codes of set 2 that the keyboard sends for the stroke.
    pub fn scan_codes(self) -> Vec<u8> {
        self.transitions().flat_map(|(key, down)| scan_code(key, down)).collect()
    }
}

/// The characters of the main block without Shift, and at the same place with Shift.
const UNSHIFTED: &str = "`1234567890-=qwertyuiop[]\\asdfghjkl;'zxcvbnm,./";
const SHIFTED: &str = "~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:\"ZXCVBNM<>?";
/// Their set 2 codes, at the same place.
const MAIN_BLOCK: [u8; 47] = [
    0x0e, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x15, 0x1d, 0x24, 0x2d,
    0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5d, 0x1c, 0x1b, 0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42,
    0x4b, 0x4c, 0x52, 0x1a, 0x22, 0x21, 0x2a, 0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a,
];
/// Set 2 codes of F1 to F12.
const FUNCTION: [u8; 12] = [0x05, 0x06, 0x04, 0x0c, 0x03, 0x0b, 0x83, 0x0a, 0x01, 0x09, 0x78, 0x07];

/// The stroke that types `character` on a US layout, if one does.
pub fn stroke_of(character: char) -> Option<Stroke> {
    if character == ' ' {
        return Some(Stroke::plain(Key::Char(' ')));
    }
    if UNSHIFTED.contains(character) {
        return Some(Stroke::plain(Key::Char(character)));
    }
    let place = SHIFTED.chars().position(|shifted| shifted == character)?;
    let key = Key::Char(UNSHIFTED.chars().nth(place)?);
    Some(Stroke { key, modifiers: Modifiers { shift: true, ..Modifiers::default() } })
}

/// The scan code of set 2 for `key` going down or up: empty for a key that no keyboard has.
pub fn scan_code(key: Key, down: bool) -> Vec<u8> {
    let Some((extended, code)) = set2(key) else { return Vec::new() };
    let mut bytes = Vec::with_capacity(3);
    if extended {
        bytes.push(0xe0);
    }
    if !down {
        bytes.push(0xf0);
    }
    bytes.push(code);
    bytes
}

/// Whether the code has the prefix E0h, and the code.
fn set2(key: Key) -> Option<(bool, u8)> {
    let plain = |code| Some((false, code));
    let extended = |code| Some((true, code));
    match key {
        Key::Char(' ') => plain(0x29),
        Key::Char(character) => {
            let place = UNSHIFTED.chars().position(|known| known == character)?;
            plain(MAIN_BLOCK[place])
        }
        Key::F(number) => plain(*FUNCTION.get(usize::from(number).checked_sub(1)?)?),
        Key::Escape => plain(0x76),
        Key::Tab => plain(0x0d),
        Key::Backspace => plain(0x66),
        Key::Enter => plain(0x5a),
        Key::Shift => plain(0x12),
        Key::Ctrl => plain(0x14),
        Key::Alt => plain(0x11),
        Key::Up => extended(0x75),
        Key::Down => extended(0x72),
        Key::Left => extended(0x6b),
        Key::Right => extended(0x74),
        Key::Home => extended(0x6c),
        Key::End => extended(0x69),
        Key::PageUp => extended(0x7d),
        Key::PageDown => extended(0x7a),
        Key::Insert => extended(0x70),
        Key::Delete => extended(0x71),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_ascii_character_has_a_stroke() {
        for character in ' '..='~' {
            let stroke = stroke_of(character).unwrap_or_else(|| panic!("no key types {character:?}"));
            assert!(!stroke.scan_codes().is_empty());
        }
        assert_eq!(stroke_of('é'), None);
    }

    #[test]
    fn strokes_become_make_and_break_codes() {
        assert_eq!(stroke_of('a').unwrap().scan_codes(), [0x1c, 0xf0, 0x1c]);
        assert_eq!(stroke_of('?').unwrap().scan_codes(), [0x12, 0x4a, 0xf0, 0x4a, 0xf0, 0x12]);
        assert_eq!(Stroke::plain(Key::Up).scan_codes(), [0xe0, 0x75, 0xe0, 0xf0, 0x75]);
        let keys: Vec<_> = Stroke::CTRL_ALT_DELETE.transitions().collect();
        assert_eq!(keys.first(), Some(&(Key::Ctrl, true)));
        assert_eq!(keys.last(), Some(&(Key::Ctrl, false)));
    }

    #[test]
    fn both_rows_of_the_layout_have_the_same_length() {
        assert_eq!(UNSHIFTED.chars().count(), MAIN_BLOCK.len());
        assert_eq!(SHIFTED.chars().count(), MAIN_BLOCK.len());
    }
}
