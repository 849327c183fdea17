//! A line that is typed at a terminal of which nothing is known but that it is one.
//!
//! The terminal is at the other end of a socket, mostly, passes each key on at once and echoes none of them. What it shows follows
//! from what the editor writes: the character, where one is added at the end, else the line anew. A line that is longer
//! than the terminal is wide is shown as a window around the cursor, so that it never wraps.
//!
//! | keys | |
//! |---|---|
//! | left, right, Ctrl-B, Ctrl-F | a character back, on |
//! | home, end, Ctrl-A, Ctrl-E | to the beginning, to the end |
//! | backspace, delete, Ctrl-D | take out the character before the cursor, at it |
//! | Ctrl-U, Ctrl-K, Ctrl-W | take out all before the cursor, all behind it, the word before it |
//! | up, down, Ctrl-P, Ctrl-N | lines from before |
//! | Tab | complete |
//! | Ctrl-C | give the line up |
//! | Ctrl-L, Ctrl-R | show the line anew, on an empty screen or where it is |
//!
//! Anything may come: bytes that are no UTF-8, sequences without end, a line without end. Each is dropped beyond a bound.

use std::collections::VecDeque;
use trimotor_machine::control::definition::LONGEST_COMMAND;

/// Characters of a line, at most. The longest character has four bytes.
pub const LONGEST_LINE: usize = LONGEST_COMMAND / 4;
/// Lines that are kept.
const HISTORY_LINES: usize = 100;
/// Columns of a terminal of which nothing is known.
const COLUMNS: usize = 80;
/// Parameters of an escape sequence that are looked at, in bytes.
const LONGEST_SEQUENCE: usize = 16;
const BELL: u8 = 0x07;

/// What a byte led to, beside what is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edited {
    /// The line is done.
    Line(String),
    /// This line, up to the cursor, is to be completed.
    Complete(String),
    /// The line was given up: a new one begins.
    Cancelled,
    /// Ctrl-D at an empty line.
    End,
}

/// Where in a sequence of bytes the editor is.
#[derive(Clone, Debug, Default)]
enum Within {
    #[default]
    Nothing,
    /// Behind ESC.
    Escape,
    /// Behind ESC [ and these parameters.
    Sequence(Vec<u8>),
    /// Behind ESC O.
    Shifted,
    /// Within a character of several bytes: these, and how many it has.
    Character(Vec<u8>, usize),
}

/// The editor.
#[derive(Clone, Debug)]
pub struct LineEditor {
    prompt: &'static str,
    line: Vec<char>,
    cursor: usize,
    /// The first character that is shown.
    first: usize,
    within: Within,
    /// The last byte was CR: an LF that follows belongs to it.
    after_return: bool,
    history: VecDeque<String>,
    /// Which line of the history is shown, from the newest one; the line that was begun before.
    recalled: Option<(usize, Vec<char>)>,
}

impl LineEditor {
    /// An editor that shows this before each line.
    pub fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            line: Vec::new(),
            cursor: 0,
            first: 0,
            within: Within::Nothing,
            after_return: false,
            history: VecDeque::new(),
            recalled: None,
        }
    }
    /// Takes a byte that was typed, and adds to `out` what the terminal is to show.
    pub fn push(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Edited> {
        let after_return = std::mem::replace(&mut self.after_return, false);
        match std::mem::take(&mut self.within) {
            Within::Nothing if byte == b'\n' && after_return => None,
            Within::Nothing => self.key(byte, out),
            Within::Escape => {
                match byte {
                    b'[' => self.within = Within::Sequence(Vec::new()),
                    b'O' => self.within = Within::Shifted,
                    0x1B => self.within = Within::Escape,
                    _ => {}
                }
                None
            }
            Within::Shifted => self.named_key(byte, &[], out),
            Within::Sequence(mut parameters) => match byte {
                // Parameter and intermediate bytes (ECMA-48, "Control sequences").
                0x20..=0x3F => {
                    if parameters.len() < LONGEST_SEQUENCE {
                        parameters.push(byte);
                    }
                    self.within = Within::Sequence(parameters);
                    None
                }
                0x40..=0x7E => self.named_key(byte, &parameters, out),
                // No sequence after all.
                _ => self.push(byte, out),
            },
            Within::Character(mut bytes, length) if byte & 0xC0 == 0x80 => {
                bytes.push(byte);
                if bytes.len() < length {
                    self.within = Within::Character(bytes, length);
                } else {
                    match std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next()) {
                        Some(character) if !character.is_control() => self.insert(character, out),
                        _ => out.push(BELL),
                    }
                }
                None
            }
            Within::Character(..) => {
                out.push(BELL);
                self.push(byte, out)
            }
        }
    }
    fn key(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Edited> {
        match byte {
            b'\r' | b'\n' => {
                self.after_return = byte == b'\r';
                return Some(Edited::Line(self.take_line(out)));
            }
            b'\t' => return Some(Edited::Complete(self.line[..self.cursor].iter().collect())),
            // Ctrl-C
            0x03 => {
                out.extend(b"^C\r\n");
                self.clear();
                return Some(Edited::Cancelled);
            }
            // Ctrl-D
            0x04 if self.line.is_empty() => return Some(Edited::End),
            0x01 => self.move_to(0, out),
            0x02 => self.move_to(self.cursor.saturating_sub(1), out),
            0x04 => self.remove(self.cursor, self.cursor + 1, out),
            0x05 => self.move_to(self.line.len(), out),
            0x06 => self.move_to(self.cursor + 1, out),
            0x08 | 0x7F => self.remove(self.cursor.saturating_sub(1), self.cursor, out),
            0x0B => self.remove(self.cursor, self.line.len(), out),
            0x0C => {
                out.extend(b"\x1b[H\x1b[2J");
                self.show(out);
            }
            0x0E => self.recall(false, out),
            0x10 => self.recall(true, out),
            0x12 => self.show(out),
            0x15 => self.remove(0, self.cursor, out),
            0x17 => self.remove(self.word_before(), self.cursor, out),
            0x1B => self.within = Within::Escape,
            b' '..=b'~' => self.insert(char::from(byte), out),
            0xC2..=0xDF => self.within = Within::Character(vec![byte], 2),
            0xE0..=0xEF => self.within = Within::Character(vec![byte], 3),
            0xF0..=0xF4 => self.within = Within::Character(vec![byte], 4),
            // Other control characters, and what no character begins with.
            _ => out.push(BELL),
        }
        None
    }
    /// A key that sends a sequence: its last byte, and the parameters before it.
    fn named_key(&mut self, last: u8, parameters: &[u8], out: &mut Vec<u8>) -> Option<Edited> {
        let key = match (last, parameters) {
            (b'A', _) => 0x10,
            (b'B', _) => 0x0E,
            (b'C', _) => 0x06,
            (b'D', _) => 0x02,
            (b'H', _) | (b'~', b"1" | b"7") => 0x01,
            (b'F', _) | (b'~', b"4" | b"8") => 0x05,
            (b'~', b"3") if !self.line.is_empty() => 0x04,
            _ => return None,
        };
        self.key(key, out)
    }
    fn word_before(&self) -> usize {
        let before = &self.line[..self.cursor];
        let end = before.iter().rposition(|character| *character != ' ').map_or(0, |at| at + 1);
        before[..end].iter().rposition(|character| *character == ' ').map_or(0, |at| at + 1)
    }
    fn insert(&mut self, character: char, out: &mut Vec<u8>) {
        if self.line.len() >= LONGEST_LINE {
            return out.push(BELL);
        }
        self.line.insert(self.cursor, character);
        self.cursor += 1;
        if self.cursor == self.line.len() && self.first == 0 && self.line.len() <= self.room() {
            let mut bytes = [0; 4];
            out.extend(character.encode_utf8(&mut bytes).as_bytes());
        } else {
            self.show(out);
        }
    }
    fn remove(&mut self, from: usize, to: usize, out: &mut Vec<u8>) {
        let to = to.min(self.line.len());
        if from >= to {
            return out.push(BELL);
        }
        self.line.drain(from..to);
        self.cursor = from;
        self.show(out);
    }
    fn move_to(&mut self, cursor: usize, out: &mut Vec<u8>) {
        let cursor = cursor.min(self.line.len());
        if cursor != self.cursor {
            self.cursor = cursor;
            self.show(out);
        }
    }
    /// Shows the line before, or the one after, of the history.
    fn recall(&mut self, older: bool, out: &mut Vec<u8>) {
        let now = self.recalled.as_ref().map(|(at, _)| *at);
        let wanted = match (now, older) {
            (None, true) => Some(0),
            (Some(at), true) => Some(at + 1),
            (Some(0) | None, false) => None,
            (Some(at), false) => Some(at - 1),
        };
        let line = match wanted {
            Some(at) => match self.history.iter().rev().nth(at) {
                Some(line) => line.chars().collect(),
                None => return out.push(BELL),
            },
            None => match self.recalled.take() {
                Some((_, begun)) => begun,
                None => return out.push(BELL),
            },
        };
        let before = std::mem::replace(&mut self.line, line);
        if let Some(at) = wanted {
            let begun = self.recalled.take().map_or(before, |(_, begun)| begun);
            self.recalled = Some((at, begun));
        }
        self.cursor = self.line.len();
        self.show(out);
    }
    fn take_line(&mut self, out: &mut Vec<u8>) -> String {
        out.extend(b"\r\n");
        let line: String = self.line.iter().collect();
        if !line.trim().is_empty() && self.history.back() != Some(&line) {
            self.history.push_back(line.clone());
            if self.history.len() > HISTORY_LINES {
                self.history.pop_front();
            }
        }
        self.clear();
        line
    }
    fn clear(&mut self) {
        self.line.clear();
        (self.cursor, self.first, self.recalled) = (0, 0, None);
    }
    /// Characters of the line that there is room for behind the prompt. The last column stays free: some terminals wrap there.
    fn room(&self) -> usize {
        COLUMNS - 1 - self.prompt.len()
    }
    /// Shows prompt and line, over what the terminal shows of them.
    pub fn show(&mut self, out: &mut Vec<u8>) {
        let room = self.room();
        self.first = self.first.clamp(self.cursor.saturating_sub(room), self.cursor);
        if self.line.len() <= room {
            self.first = 0;
        }
        let last = self.line.len().min(self.first + room);
        let text: String = self.line[self.first..last].iter().collect();
        out.extend(format!("\r{}{text}\x1b[K", self.prompt).bytes());
        let back = last - self.cursor;
        if back > 0 {
            out.extend(format!("\x1b[{back}D").bytes());
        }
    }
    /// Puts text in at the cursor, as if it were typed.
    pub fn insert_text(&mut self, text: &str, out: &mut Vec<u8>) {
        for character in text.chars().filter(|character| !character.is_control()) {
            self.insert(character, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: &str = "\x1b[D";
    const UP: &str = "\x1b[A";
    const DOWN: &str = "\x1bOB";

    fn lines(typed: &[u8]) -> Vec<Edited> {
        let (mut editor, mut out) = (LineEditor::new("> "), Vec::new());
        typed.iter().filter_map(|byte| editor.push(*byte, &mut out)).collect()
    }
    fn line(typed: &str) -> String {
        match lines(format!("{typed}\r").as_bytes()).pop() {
            Some(Edited::Line(line)) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_edit_the_line() {
        for (typed, wanted) in [
            ("info status".to_owned(), "info status"),
            (format!("ac{LEFT}b"), "abc"),
            ("bc\x01a\x05d".to_owned(), "abcd"),
            ("abd\x7fc".to_owned(), "abc"),
            ("xab\x1b[H\x1b[3~".to_owned(), "ab"),
            ("ab\x1b[1~\x04".to_owned(), "b"),
            ("one two  \x17three".to_owned(), "one three"),
            (format!("abcd{LEFT}{LEFT}\x0b"), "ab"),
            (format!("abcd{LEFT}{LEFT}\x15"), "cd"),
            ("gr\u{fc}\u{df}e\u{1F600}\x7f".to_owned(), "gr\u{fc}\u{df}e"),
            ("a\x1b[1;5Cb\x1b[999999999999999999999Xc".to_owned(), "abc"),
            ("a\x00\x1f\x1b\x1b[Db".to_owned(), "ba"),
            ("\x7f\x0b\x15\x17\x06\x02".to_owned(), ""),
        ] {
            assert_eq!(line(&typed), wanted, "{typed:?}");
        }
    }

    #[test]
    fn lines_from_before_come_back() {
        for (typed, wanted) in [
            (format!("a\rb\rc{UP}"), "b"),
            (format!("a\rb\rc{UP}{UP}{UP}{UP}"), "a"),
            (format!("a\rb\rc{UP}{UP}{DOWN}"), "b"),
            (format!("a\rb\rc{UP}{DOWN}"), "c"),
            (format!("a\rb\rc{DOWN}"), "c"),
            (format!("a\r\r  \ra\r{UP}{UP}"), "a"),
            (format!("a\r{UP}x"), "ax"),
        ] {
            assert_eq!(line(&typed), wanted, "{typed:?}");
        }
        let many: String = (0..300).map(|n| format!("{n}\r")).collect();
        assert_eq!(line(&(many + &UP.repeat(500))), "200");
    }

    #[test]
    fn lines_end_by_either_byte_or_both() {
        let line = |text: &str| Edited::Line(text.to_owned());
        assert_eq!(lines(b"a\rb\nc\r\nd\n\n"), [line("a"), line("b"), line("c"), line("d"), line("")]);
        assert_eq!(lines(b"ab\x03c\n"), [Edited::Cancelled, line("c")]);
        assert_eq!(lines(b"\x04"), [Edited::End]);
        assert_eq!(lines(b"in\t"), [Edited::Complete("in".to_owned())]);
    }

    #[test]
    fn hostile_input_is_bounded() {
        let (mut editor, mut out) = (LineEditor::new("> "), Vec::new());
        for _ in 0..3 * LONGEST_LINE {
            editor.push(b'a', &mut out);
            out.clear();
        }
        assert_eq!(editor.push(b'\n', &mut out), Some(Edited::Line("a".repeat(LONGEST_LINE))));
        for byte in
            (0..=u8::MAX).cycle().take(100_000).chain([0xFF; 100]).chain([0x1B, b'[']).chain([b'1'; 9999])
        {
            editor.push(byte, &mut out);
            out.clear();
        }
        let Within::Sequence(parameters) = &editor.within else { panic!("{:?}", editor.within) };
        assert!(parameters.len() <= LONGEST_SEQUENCE);
        assert_eq!(lines(b"\xC3(\xE2\x82\n"), [Edited::Line("(".to_owned())]);
    }

    #[test]
    fn what_is_shown_follows_the_line() {
        let (mut editor, mut out) = (LineEditor::new("> "), Vec::new());
        editor.insert_text("abc", &mut out);
        assert_eq!(out, b"abc", "characters at the end are themselves");
        out.clear();
        editor.push(0x02, &mut out);
        assert_eq!(out, b"\r> abc\x1b[K\x1b[1D");
        out.clear();
        editor.push(0x05, &mut out);
        editor.insert_text(&"d".repeat(100), &mut out);
        let shown = String::from_utf8(out.clone()).unwrap();
        let last = shown.rsplit('\r').next().unwrap();
        assert_eq!(last, format!("> {}\x1b[K", "d".repeat(77)), "a window of what fits");
        out.clear();
        editor.push(0x01, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("\r> abc{}\x1b[K\x1b[77D", "d".repeat(74)));
    }
}
