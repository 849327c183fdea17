//! Keyboard layouts: which keys type a character.
//!
//! A keyboard sends keys by their places and knows nothing of what is printed on them: the guest turns them into characters, by the
//! layout that it was set to. Who has characters (a script, a terminal, a remote screen) and wants keys must know that
//! layout: it is a [`Keymap`], and [`Keymap::strokes`] gives the keys of a character, with Shift and AltGr, and a dead key
//! before where one is needed.
//!
//! [`layouts`] has the rows.

mod layouts;

use super::KeyCode::{self, *};
use bitflags::bitflags;
use layouts::{COMPOSED, LAYOUTS};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The keys that type different characters from country to country, in the order of the rows.
pub const KEYS: [KeyCode; 50] = [
    Grave,
    Digit1,
    Digit2,
    Digit3,
    Digit4,
    Digit5,
    Digit6,
    Digit7,
    Digit8,
    Digit9,
    Digit0,
    Minus,
    Equal,
    Q,
    W,
    E,
    R,
    T,
    Y,
    U,
    I,
    O,
    P,
    BracketLeft,
    BracketRight,
    A,
    S,
    D,
    F,
    G,
    H,
    J,
    K,
    L,
    Semicolon,
    Apostrophe,
    Backslash,
    NonUsBackslash,
    Z,
    X,
    C,
    V,
    B,
    N,
    M,
    Comma,
    Period,
    Slash,
    Yen,
    Ro,
];

bitflags! {
    /// Keys that are held while another one is struck.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Held: u8 {
        /// Left Shift.
        const SHIFT = 0x01;
        /// Right Alt.
        const ALT_GR = 0x02;
        /// Left Ctrl.
        const CONTROL = 0x04;
        /// Left Alt.
        const ALT = 0x08;
    }
}

impl Held {
    /// The keys, in the order in which they go down.
    pub fn keys(self) -> impl DoubleEndedIterator<Item = KeyCode> {
        let all = [
            (Held::CONTROL, ControlLeft),
            (Held::ALT, AltLeft),
            (Held::SHIFT, ShiftLeft),
            (Held::ALT_GR, AltRight),
        ];
        all.into_iter().filter(move |(held, _)| self.contains(*held)).map(|(_, key)| key)
    }
}

/// A key that is struck while others are held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stroke {
    /// The key.
    pub key: KeyCode,
    /// What is held with it.
    pub held: Held,
}

impl Stroke {
    /// A key alone.
    pub const fn plain(key: KeyCode) -> Self {
        Self { key, held: Held::empty() }
    }
    /// Presses and releases: (key, pressed).
    pub fn events(self) -> impl Iterator<Item = (KeyCode, bool)> {
        let down = self.held.keys().map(|key| (key, true));
        let up = self.held.keys().rev().map(|key| (key, false));
        down.chain([(self.key, true), (self.key, false)]).chain(up)
    }
}

/// The layout of a country's keyboard.
#[derive(PartialEq, Eq)]
pub struct Keymap {
    name: &'static str,
    other_names: &'static [&'static str],
    place: &'static str,
    /// Alone, with Shift, with AltGr, with both.
    rows: [&'static str; 4],
}

/// A layout by its name, as events and configurations have it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Layout(&'static Keymap);

impl Layout {
    /// The United States.
    pub const US: Layout = Layout(&LAYOUTS[0]);

    /// All layouts.
    pub fn all() -> impl Iterator<Item = Layout> {
        LAYOUTS.iter().map(Layout)
    }
}
impl Default for Layout {
    fn default() -> Self {
        Self::US
    }
}
impl std::ops::Deref for Layout {
    type Target = Keymap;
    fn deref(&self) -> &Keymap {
        self.0
    }
}
impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
impl From<Layout> for String {
    fn from(layout: Layout) -> String {
        layout.name.to_owned()
    }
}
impl TryFrom<String> for Layout {
    type Error = UnknownLayout;
    fn try_from(name: String) -> Result<Self, UnknownLayout> {
        name.parse()
    }
}
impl FromStr for Layout {
    type Err = UnknownLayout;
    fn from_str(name: &str) -> Result<Self, UnknownLayout> {
        let wanted = name.to_ascii_lowercase().replace('_', "-");
        let found = LAYOUTS.iter().find(|map| map.name == wanted || map.other_names.contains(&&*wanted));
        found.map(Layout).ok_or_else(|| UnknownLayout(name.to_owned()))
    }
}

/// There is no such layout.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no keyboard layout {0:?}: one of {known}", known = known())]
pub struct UnknownLayout(String);

fn known() -> String {
    LAYOUTS.iter().map(|map| map.name).collect::<Vec<_>>().join(", ")
}

impl Keymap {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }
    /// Where it is used.
    pub fn place(&self) -> &'static str {
        self.place
    }
    /// What a key of [`KEYS`] types, by its number there, and the number of the row (alone, Shift, AltGr, both). A
    /// combining character is a dead key.
    pub fn character(&self, key: usize, row: usize) -> Option<char> {
        self.rows.get(row)?.chars().nth(key).filter(|&character| character != ' ')
    }

    /// The strokes that type a character; none where no keys do. Control characters are letters with Ctrl; carriage
    /// return and line feed are Enter; 08h and 7Fh Backspace.
    pub fn strokes(&self, character: char) -> Vec<Stroke> {
        let named = match character {
            '\r' | '\n' => Some(Stroke::plain(Enter)),
            '\t' => Some(Stroke::plain(Tab)),
            '\x08' | '\x7F' => Some(Stroke::plain(Backspace)),
            '\x1B' => Some(Stroke::plain(Escape)),
            ' ' => Some(Stroke::plain(Space)),
            '\0' => Some(Stroke { key: Space, held: Held::CONTROL }),
            '\x01'..='\x1A' => self.control((character as u8 | 0x60).into()),
            '\x1C'..='\x1F' => self.control((character as u8 | 0x40).into()),
            _ => self.stroke(character),
        };
        named.map_or_else(|| self.composed(character), |stroke| vec![stroke])
    }
    /// The one stroke of a character that is not made of two.
    fn stroke(&self, character: char) -> Option<Stroke> {
        const HELD: [Held; 4] = [Held::empty(), Held::SHIFT, Held::ALT_GR, Held::SHIFT.union(Held::ALT_GR)];
        HELD.into_iter().zip(self.rows).find_map(|(held, row)| {
            let at = row.chars().position(|c| c == character)?;
            Some(Stroke { key: *KEYS.get(at)?, held })
        })
    }
    fn control(&self, character: char) -> Option<Stroke> {
        let Stroke { key, held } = self.stroke(character)?;
        Some(Stroke { key, held: held | Held::CONTROL })
    }
    /// A dead key and a letter.
    fn composed(&self, character: char) -> Vec<Stroke> {
        let ways = COMPOSED.iter().filter_map(|(dead, letters, become_)| {
            let at = become_.chars().position(|c| c == character)?;
            let letter = match letters.chars().nth(at)? {
                ' ' => Stroke::plain(Space),
                letter => self.stroke(letter)?,
            };
            Some(vec![self.stroke(*dead)?, letter])
        });
        ways.into_iter().next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(name: &str) -> Layout {
        name.parse().unwrap()
    }
    fn typed(name: &str, character: char) -> Vec<(KeyCode, Held)> {
        layout(name).strokes(character).iter().map(|stroke| (stroke.key, stroke.held)).collect()
    }

    #[test]
    fn all_of_ascii_can_be_typed_everywhere() {
        for layout in Layout::all() {
            for code in (0..=0x7Fu8).filter(|code| ![0x1C, 0x1D, 0x1E, 0x1F].contains(code)) {
                assert!(!layout.strokes(code.into()).is_empty(), "{layout}: {:?}", char::from(code));
            }
            assert!(layout.rows.iter().all(|row| row.chars().count() <= KEYS.len()));
            assert_eq!(layout.strokes('\u{4E00}'), []);
        }
    }

    #[test]
    fn characters_are_where_each_country_has_them() {
        let none = Held::empty();
        for (name, character, strokes) in [
            ("us", '%', vec![(Digit5, Held::SHIFT)]),
            ("us", '<', vec![(Comma, Held::SHIFT)]),
            ("us", '\x03', vec![(C, Held::CONTROL)]),
            ("uk", '£', vec![(Digit3, Held::SHIFT)]),
            ("de", 'z', vec![(Y, none)]),
            ("de", '@', vec![(Q, Held::ALT_GR)]),
            ("de", '^', vec![(Grave, none), (Space, none)]),
            ("de", 'ê', vec![(Grave, none), (E, none)]),
            ("de", 'È', vec![(Equal, Held::SHIFT), (E, Held::SHIFT)]),
            ("de-ch", 'é', vec![(Semicolon, Held::SHIFT)]),
            ("fr", '1', vec![(Digit1, Held::SHIFT)]),
            ("fr", '\x01', vec![(Q, Held::CONTROL)]),
            ("es", 'ñ', vec![(Semicolon, none)]),
            ("it", 'è', vec![(BracketLeft, none)]),
            ("se", '~', vec![(BracketRight, Held::ALT_GR), (Space, none)]),
            ("no", 'ø', vec![(Semicolon, none)]),
            ("dk", 'ø', vec![(Apostrophe, none)]),
            ("pl", 'ł', vec![(L, Held::ALT_GR)]),
            ("br", '/', vec![(Ro, none)]),
            ("br", 'ã', vec![(Apostrophe, none), (A, none)]),
            ("pt", 'ç', vec![(Semicolon, none)]),
            ("jp", '@', vec![(BracketLeft, none)]),
            ("jp", '\\', vec![(Yen, none)]),
        ] {
            assert_eq!(typed(name, character), strokes, "{name} {character:?}");
        }
    }

    #[test]
    fn what_is_held_goes_down_first_and_up_last() {
        let events: Vec<_> = layout("de").strokes('@')[0].events().collect();
        assert_eq!(events, [(AltRight, true), (Q, true), (Q, false), (AltRight, false)]);
    }

    #[test]
    fn layouts_have_names_and_an_unknown_one_says_which() {
        for layout in Layout::all() {
            assert_eq!(layout.name().parse(), Ok(layout));
            let json = serde_json::to_string(&layout).unwrap();
            assert_eq!(serde_json::from_str::<Layout>(&json).unwrap(), layout);
        }
        assert_eq!(layout("sv"), layout("se"));
        assert_eq!(layout("en_GB").name(), "uk");
        let message = "qwerty".parse::<Layout>().unwrap_err().to_string();
        assert!(message.contains("\"qwerty\"") && message.contains("us, uk, de"), "{message}");
    }
}
