//! What a terminal sends for a key, turned back into the key.
//!
//! A terminal sends characters as UTF-8, Ctrl with a letter as 01h to 1Ah, Alt as an
//! Escape before the key, and the other keys as sequences: `ESC [` (CSI) or `ESC O`
//! (SS3), numbers, and a final byte (ECMA-48, and xterm's "Control Sequences", section
//! "PC-Style Function Keys"). A lone Escape looks like the beginning of a sequence: it
//! is the key once nothing follows, which [`Decoder::idle`] says.

use crate::keys::{self, KeyCode, Layout, Modifiers, Stroke};

/// The longest sequence that is waited for; a longer one is dropped.
const LONGEST_SEQUENCE: usize = 32;

const FUNCTION_KEYS: [KeyCode; 12] = [
    KeyCode::F1,
    KeyCode::F2,
    KeyCode::F3,
    KeyCode::F4,
    KeyCode::F5,
    KeyCode::F6,
    KeyCode::F7,
    KeyCode::F8,
    KeyCode::F9,
    KeyCode::F10,
    KeyCode::F11,
    KeyCode::F12,
];

/// Collects bytes until they are a key.
#[derive(Default, Debug)]
pub struct Decoder {
    held: Vec<u8>,
    layout: Layout,
}

/// What the bytes held so far are.
enum Parsed {
    /// A key (or nothing known) of this many bytes.
    Done(usize, Vec<Stroke>),
    /// The beginning of something.
    More,
}

impl Decoder {
    /// For a guest whose keyboard has this layout.
    pub fn new(layout: Layout) -> Self {
        Self { held: Vec::new(), layout }
    }
    /// Takes `bytes` and returns the strokes that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Stroke> {
        self.held.extend_from_slice(bytes);
        let mut strokes = Vec::new();
        while !self.held.is_empty() {
            match parse(self.layout, &self.held) {
                Parsed::Done(length, some) => {
                    strokes.extend(some);
                    self.held.drain(..length);
                }
                Parsed::More if self.held.len() > LONGEST_SEQUENCE => self.held.clear(),
                Parsed::More => break,
            }
        }
        strokes
    }
    /// Whether bytes are held that may be a key by themselves: call [`idle`](Self::idle)
    /// when nothing follows soon.
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }
    /// Nothing followed: what is held are keys by themselves.
    pub fn idle(&mut self) -> Vec<Stroke> {
        let held = std::mem::take(&mut self.held);
        match held.as_slice() {
            [] => Vec::new(),
            [0x1b] => vec![Stroke::plain(KeyCode::Escape)],
            [0x1b, rest @ ..] => {
                rest.iter().flat_map(|&byte| control_or_ascii(self.layout, byte)).map(with_alt).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn with_alt(mut stroke: Stroke) -> Stroke {
    stroke.modifiers.alt = true;
    stroke
}

/// A key alone, or nothing known.
fn plain(key: Option<KeyCode>) -> Vec<Stroke> {
    key.map(Stroke::plain).into_iter().collect()
}

fn parse(layout: Layout, held: &[u8]) -> Parsed {
    match held {
        [0x1b] => Parsed::More,
        [0x1b, b'[', rest @ ..] => parse_csi(rest),
        [0x1b, b'O'] => Parsed::More,
        [0x1b, b'O', last, ..] => Parsed::Done(3, plain(final_key(*last))),
        [0x1b, 0x1b, ..] => Parsed::Done(1, plain(Some(KeyCode::Escape))),
        [0x1b, rest @ ..] => match parse_character(layout, rest) {
            Parsed::Done(length, some) => Parsed::Done(length + 1, some.into_iter().map(with_alt).collect()),
            Parsed::More => Parsed::More,
        },
        _ => parse_character(layout, held),
    }
}

/// A character that is no sequence: ASCII, a control code, or UTF-8.
fn parse_character(layout: Layout, held: &[u8]) -> Parsed {
    let first = held[0];
    if first < 0x80 {
        return Parsed::Done(1, control_or_ascii(layout, first));
    }
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Parsed::Done(1, Vec::new()),
    };
    let Some(bytes) = held.get(..length) else { return Parsed::More };
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            Parsed::Done(length, text.chars().flat_map(|typed| keys::strokes_of(layout, typed)).collect())
        }
        Err(_) => Parsed::Done(1, Vec::new()),
    }
}

fn control_or_ascii(layout: Layout, byte: u8) -> Vec<Stroke> {
    let mut strokes = match byte {
        // The keys on which terminals find these.
        0x1e => keys::strokes_of(layout, '6'),
        0x1f => keys::strokes_of(layout, '-'),
        _ => keys::strokes_of(layout, byte.into()),
    };
    strokes.iter_mut().for_each(|stroke| stroke.modifiers.ctrl |= matches!(byte, 0x1e | 0x1f));
    strokes
}

/// What follows `ESC [`.
fn parse_csi(rest: &[u8]) -> Parsed {
    const INTRODUCER: usize = 2;
    if let [b'[', letter, ..] = rest {
        // The Linux console's F1 to F5.
        let key = (b'A'..=b'E').contains(letter).then(|| FUNCTION_KEYS[usize::from(letter - b'A')]);
        return Parsed::Done(INTRODUCER + 2, plain(key));
    }
    if rest == b"[" {
        return Parsed::More;
    }
    let Some(end) = rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) else { return Parsed::More };
    let parameters: Vec<u32> = std::str::from_utf8(&rest[..end])
        .unwrap_or_default()
        .split(';')
        .map(|number| number.parse().unwrap_or(0))
        .collect();
    let first = parameters.first().copied().unwrap_or(0);
    let key = match rest[end] {
        b'~' => numbered_key(first),
        b'Z' => Some(KeyCode::Tab),
        last => final_key(last),
    };
    let mut modifiers = modifiers_of(parameters.get(1).copied().unwrap_or(1));
    modifiers.shift |= rest[end] == b'Z';
    Parsed::Done(INTRODUCER + end + 1, key.map(|key| Stroke { key, modifiers }).into_iter().collect())
}

/// xterm's modifier parameter: 1 plus shift 1, alt 2, ctrl 4.
fn modifiers_of(parameter: u32) -> Modifiers {
    let bits = parameter.saturating_sub(1);
    Modifiers { shift: bits & 1 != 0, alt: bits & 2 != 0, ctrl: bits & 4 != 0, alt_gr: false }
}

fn final_key(last: u8) -> Option<KeyCode> {
    Some(match last {
        b'A' => KeyCode::ArrowUp,
        b'B' => KeyCode::ArrowDown,
        b'C' => KeyCode::ArrowRight,
        b'D' => KeyCode::ArrowLeft,
        b'H' => KeyCode::Home,
        b'F' => KeyCode::End,
        b'P' => KeyCode::F1,
        b'Q' => KeyCode::F2,
        b'R' => KeyCode::F3,
        b'S' => KeyCode::F4,
        b'M' => KeyCode::Enter,
        _ => return None,
    })
}

fn numbered_key(number: u32) -> Option<KeyCode> {
    Some(match number {
        1 | 7 => KeyCode::Home,
        2 => KeyCode::Insert,
        3 => KeyCode::Delete,
        4 | 8 => KeyCode::End,
        5 => KeyCode::PageUp,
        6 => KeyCode::PageDown,
        11..=15 => FUNCTION_KEYS[number as usize - 11],
        17..=21 => FUNCTION_KEYS[number as usize - 12],
        23 | 24 => FUNCTION_KEYS[number as usize - 13],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], key: KeyCode, held: &str) {
        let (shift, ctrl, alt) = (held.contains('s'), held.contains('c'), held.contains('a'));
        let modifiers = Modifiers { shift, ctrl, alt, ..Modifiers::NONE };
        assert_eq!(Decoder::default().push(bytes), [Stroke { key, modifiers }], "{bytes:x?}");
    }

    #[test]
    fn keys_of_common_terminals_decode() {
        check(b"a", KeyCode::A, "");
        check(b"A", KeyCode::A, "s");
        check(b"\x03", KeyCode::C, "c");
        check(b"\x1bx", KeyCode::X, "a");
        check(b"\r", KeyCode::Enter, "");
        check(b"\x7f", KeyCode::Backspace, "");
        check(b"\x1b[A", KeyCode::ArrowUp, "");
        check(b"\x1bOB", KeyCode::ArrowDown, "");
        check(b"\x1b[1;5C", KeyCode::ArrowRight, "c");
        check(b"\x1b[1;2D", KeyCode::ArrowLeft, "s");
        check(b"\x1b[H", KeyCode::Home, "");
        check(b"\x1b[4~", KeyCode::End, "");
        check(b"\x1b[5~", KeyCode::PageUp, "");
        check(b"\x1b[3;3~", KeyCode::Delete, "a");
        check(b"\x1bOP", KeyCode::F1, "");
        check(b"\x1b[[E", KeyCode::F5, "");
        check(b"\x1b[15~", KeyCode::F5, "");
        check(b"\x1b[17~", KeyCode::F6, "");
        check(b"\x1b[24~", KeyCode::F12, "");
        check(b"\x1b[Z", KeyCode::Tab, "s");
    }

    #[test]
    fn characters_are_typed_on_the_layout_of_the_guest() {
        let mut decoder = Decoder::new("de".parse().unwrap());
        let strokes = decoder.push("z@é".as_bytes());
        let keys: Vec<_> = strokes.iter().map(|stroke| (stroke.key, stroke.modifiers.alt_gr)).collect();
        let expected =
            [(KeyCode::Y, false), (KeyCode::Q, true), (KeyCode::Equal, false), (KeyCode::E, false)];
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_sequence_may_arrive_in_pieces() {
        let mut decoder = Decoder::default();
        assert!(decoder.push(b"\x1b").is_empty());
        assert!(decoder.push(b"[1").is_empty());
        assert!(decoder.is_waiting());
        assert_eq!(decoder.push(b"~x"), [Stroke::plain(KeyCode::Home), Stroke::plain(KeyCode::X)]);
        assert!(!decoder.is_waiting());
    }

    #[test]
    fn a_lone_escape_is_the_key() {
        let mut decoder = Decoder::default();
        assert!(decoder.push(b"\x1b").is_empty());
        assert_eq!(decoder.idle(), [Stroke::plain(KeyCode::Escape)]);
        assert!(decoder.push(b"\x1b[").is_empty());
        assert_eq!(decoder.idle().len(), 1, "Alt and [");
        assert!(decoder.idle().is_empty());
    }

    #[test]
    fn nothing_is_held_without_bound() {
        let mut decoder = Decoder::default();
        decoder.push(b"\x1b[");
        for _ in 0..1000 {
            decoder.push(b"1;");
        }
        assert!(decoder.held.len() <= LONGEST_SEQUENCE);
        for byte in 0..=255 {
            decoder.push(&[byte]);
        }
    }
}
