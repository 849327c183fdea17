//! What a guest's output leaves behind in the terminal, and what puts it right.
//!
//! With the serial port on the terminal a guest may set there what it likes: colours, a scroll region, the
//! alternate screen, mouse reports, the title. The shell that comes back afterwards expects none of it. A
//! [`Scanner`] reads along what passes (ECMA-48 and xterm's "Control Sequences") and keeps as [`Traces`] what is
//! set at the moment; [`Traces::undo`] is what to send at the end. A guest that set nothing has nothing undone:
//! some of the sequences move the cursor, or mean nothing to simple terminals.

/// Things that are set, a bit for each row of [`UNDO`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traces(pub u32);

/// How a trace comes about, beside those that the scanner knows by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// `CSI ? number h` where true, `CSI ? number l` where false; the other one takes it back.
    Private(&'static [u16], bool),
    /// The same without the question mark.
    Mode(u16, bool),
    /// Other sequences.
    Other,
}

/// One kind of trace.
struct Trace {
    bit: u32,
    by: By,
    undo: &'static [u8],
}

const fn trace(number: u32, by: By, undo: &'static [u8]) -> Trace {
    Trace { bit: 1 << number, by, undo }
}

const ALTERNATE: u32 = 1 << 1;
const ORIGIN: u32 = 1 << 4;
const REGION: u32 = 1 << 5;
const KEYPAD: u32 = 1 << 16;
const CURSOR_STYLE: u32 = 1 << 17;
const CHARACTER_SET: u32 = 1 << 18;
const COLOURS: u32 = 1 << 19;
const LINK: u32 = 1 << 20;
const KEY_FORMS: u32 = 1 << 21;
const TITLE: u32 = 1 << 22;
const ATTRIBUTES: u32 = 1 << 23;
const ELSEWHERE: u32 = 1 << 25;
const IN_A_LINE: u32 = 1 << 26;
/// What a soft reset (DECSTR) takes back.
const SOFT: u32 = ORIGIN | REGION | KEYPAD | CHARACTER_SET | ATTRIBUTES;

/// All kinds, in the order in which they are undone: the screen first, where the cursor stands last.
const UNDO: &[Trace] = &[
    trace(0, By::Private(&[2026], true), b"\x1b[?2026l"),
    trace(1, By::Private(&[1049], true), b"\x1b[?1049l"),
    trace(2, By::Private(&[47, 1047], true), b"\x1b[?1047l"),
    trace(3, By::Private(&[69], true), b"\x1b[?69l"),
    trace(4, By::Private(&[6], true), b"\x1b[?6l"),
    trace(5, By::Other, b"\x1b[r"),
    trace(6, By::Private(&[5], true), b"\x1b[?5l"),
    trace(7, By::Private(&[7], false), b"\x1b[?7h"),
    trace(8, By::Private(&[1], true), b"\x1b[?1l"),
    trace(
        9,
        By::Private(&[9, 1000, 1001, 1002, 1003], true),
        b"\x1b[?9l\x1b[?1000l\x1b[?1001l\x1b[?1002l\x1b[?1003l",
    ),
    trace(10, By::Private(&[1005, 1006, 1015, 1016], true), b"\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l"),
    trace(11, By::Private(&[1004], true), b"\x1b[?1004l"),
    trace(12, By::Private(&[2004], true), b"\x1b[?2004l"),
    trace(13, By::Mode(2, true), b"\x1b[2l"),
    trace(14, By::Mode(4, true), b"\x1b[4l"),
    trace(15, By::Mode(20, true), b"\x1b[20l"),
    trace(16, By::Other, b"\x1b>"),
    trace(17, By::Other, b"\x1b[0 q"),
    trace(18, By::Other, b"\x0f\x1b(B"),
    trace(19, By::Other, b"\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\"),
    trace(20, By::Other, b"\x1b]8;;\x1b\\"),
    trace(21, By::Other, b"\x1b[>4m\x1b[<9u"),
    trace(22, By::Other, b"\x1b[23;0t"),
    trace(23, By::Other, b"\x1b[0m"),
    trace(24, By::Private(&[25], false), b"\x1b[?25h"),
    trace(25, By::Other, b"\x1b[999;1H\r\n"),
    trace(26, By::Other, b"\r\n"),
];

/// The byte that all sequences begin with.
const ESCAPE: u8 = 0x1b;

/// Keeps the terminal's title, for [`Traces::undo`] to bring it back: to be sent before the guest's first sequence.
pub const KEEP_TITLE: &[u8] = b"\x1b[22;0t";

impl Traces {
    /// What to send, piece by piece. Allocates nothing: signal handlers send it too.
    pub fn undo(self) -> impl Iterator<Item = &'static [u8]> {
        UNDO.iter()
            .filter(move |trace| self.0 & trace.bit != 0 && !self.is_covered(trace.bit))
            .map(|trace| trace.undo)
    }
    /// A line that is not at its beginning needs no new one where the cursor goes to the bottom anyway.
    fn is_covered(self, bit: u32) -> bool {
        bit == IN_A_LINE && self.0 & ELSEWHERE != 0
    }
}

/// What a piece of output leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// All that is set at one moment or another while it passes.
    pub meanwhile: Traces,
    /// What is set behind it.
    pub after: Traces,
    /// Whether the first sequence begins in it: the title is kept before that, as the next byte may be the one in the
    /// middle of a sequence that sets it.
    pub begins: bool,
    /// Whether it asks the terminal something, which answers by typing.
    pub asks: bool,
}

/// Numbers of a sequence that are kept; further ones are ignored, as terminals do.
const NUMBERS: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    #[default]
    Ground,
    /// Behind ESC, with the intermediate byte (ECMA-48, "Escape sequences") if there was one.
    Escape(u8),
    Control,
    /// An operating system command: its number, until something else comes.
    Command(u16, bool),
    /// Another string, up to its terminator.
    Text,
    /// ESC inside a string: a backslash ends it.
    TextEscape,
}

/// Reads along what passes to the terminal.
#[derive(Default, Debug)]
pub struct Scanner {
    state: State,
    /// Of a control sequence: the byte `<`, `=`, `>` or `?` in front, the one before the last, its numbers.
    private: u8,
    intermediate: u8,
    numbers: [u16; NUMBERS],
    count: usize,
    traces: u32,
    meanwhile: u32,
    asks: bool,
}

impl Scanner {
    /// Reads a piece of output.
    pub fn scan(&mut self, bytes: &[u8]) -> Scanned {
        let begins = self.traces & TITLE == 0 && bytes.contains(&ESCAPE);
        self.set(TITLE, self.traces & TITLE != 0 || begins);
        self.meanwhile = self.traces;
        self.asks = false;
        for &byte in bytes {
            self.byte(byte);
            self.meanwhile |= self.traces;
        }
        Scanned { meanwhile: Traces(self.meanwhile), after: Traces(self.traces), begins, asks: self.asks }
    }
    /// All was undone.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn set(&mut self, bit: u32, on: bool) {
        self.traces = if on { self.traces | bit } else { self.traces & !bit };
    }
    /// The cursor is somewhere. On the alternate screen that says nothing: leaving it brings the old place back.
    fn moved(&mut self, bit: u32, on: bool) {
        if self.traces & ALTERNATE == 0 {
            self.set(bit, on);
        }
    }

    fn byte(&mut self, byte: u8) {
        match (self.state, byte) {
            // CAN and SUB end any sequence.
            (_, 0x18 | 0x1a) => self.state = State::Ground,
            (State::Command(..) | State::Text, 0x1b) => self.state = State::TextEscape,
            (State::TextEscape, b'\\') => self.state = State::Ground,
            (State::TextEscape, _) => {
                self.state = State::Escape(0);
                self.byte(byte);
            }
            (_, 0x1b) => self.state = State::Escape(0),
            (State::Command(..) | State::Text, 0x07) => self.state = State::Ground,
            (State::Text, _) => {}
            (State::Command(number, open), _) => self.state = self.command(number, open, byte),
            (State::Ground, _) => self.plain(byte),
            (State::Escape(_) | State::Control, 0x00..=0x1f) => self.plain(byte),
            (State::Escape(before), _) => self.state = self.escape(before, byte),
            (State::Control, _) => self.control(byte),
        }
    }
    fn plain(&mut self, byte: u8) {
        match byte {
            b'\n' => self.moved(IN_A_LINE, false),
            0x0e => self.set(CHARACTER_SET, true),
            0x20..=0x7e | 0x80.. => self.moved(IN_A_LINE, true),
            _ => {}
        }
    }
    fn escape(&mut self, before: u8, byte: u8) -> State {
        match (before, byte) {
            (0, b'[') => {
                (self.private, self.intermediate, self.count, self.numbers) = (0, 0, 0, [0; NUMBERS]);
                return State::Control;
            }
            (0, b']') => return State::Command(0, true),
            (0, b'P' | b'X' | b'^' | b'_') => return State::Text,
            (_, 0x20..=0x2f) => return State::Escape(byte),
            (0, b'c') => self.traces &= TITLE,
            (0, b'=') => self.set(KEYPAD, true),
            (0, b'>') => self.set(KEYPAD, false),
            // DECRC and a reverse line feed: the cursor may be anywhere.
            (0, b'8' | b'M') => self.moved(ELSEWHERE, true),
            (b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/' | b'%', _) => self.set(CHARACTER_SET, true),
            _ => {}
        }
        State::Ground
    }
    /// A byte of an operating system command, whose number stands in front.
    fn command(&mut self, number: u16, open: bool, byte: u8) -> State {
        if open && byte.is_ascii_digit() {
            return State::Command(number.saturating_mul(10).saturating_add((byte - b'0').into()), true);
        }
        if open {
            match number {
                4 | 5 | 10..=19 => self.set(COLOURS, true),
                8 => self.set(LINK, true),
                _ => {}
            }
        }
        State::Command(number, false)
    }
    fn control(&mut self, byte: u8) {
        match byte {
            b'0'..=b'9' => {
                let at = self.count.min(NUMBERS - 1);
                let digit = (byte - b'0').into();
                self.numbers[at] = self.numbers[at].saturating_mul(10).saturating_add(digit);
            }
            b';' | b':' => self.count += 1,
            b'<'..=b'?' => self.private = byte,
            0x20..=0x2f => self.intermediate = byte,
            0x40..=0x7e => {
                self.state = State::Ground;
                self.control_ends(byte);
            }
            _ => self.state = State::Ground,
        }
    }
    fn control_ends(&mut self, last: u8) {
        let numbers = self.numbers;
        let numbers = &numbers[..(self.count + 1).min(NUMBERS)];
        match (self.private, self.intermediate, last) {
            (b'?', 0, b'h' | b'l') => {
                numbers.iter().for_each(|number| self.mode(*number, last == b'h', true));
            }
            (0, 0, b'h' | b'l') => {
                numbers.iter().for_each(|number| self.mode(*number, last == b'h', false));
            }
            (0, 0, b'm') => self.set(ATTRIBUTES, numbers != [0]),
            (0, 0, b'r') => {
                self.set(REGION, true);
                self.moved(ELSEWHERE, true);
            }
            (0, 0, b'A' | b'F' | b'H' | b'd' | b'f' | b'u') => self.moved(ELSEWHERE, true),
            (0, b' ', b'q') => self.set(CURSOR_STYLE, numbers != [0]),
            (b'>', 0, b'm' | b'u') | (b'=', 0, b'u') => self.set(KEY_FORMS, true),
            (0, b'!', b'p') => self.set(SOFT, false),
            // Status, cursor position, kind of terminal, modes, window size.
            (_, 0, b'n' | b'c') | (_, b'$', b'p') => self.asks = true,
            (0, 0, b't') => self.asks |= (11..=21).contains(&numbers[0]),
            _ => {}
        }
    }
    fn mode(&mut self, number: u16, on: bool, private: bool) {
        let found = UNDO.iter().find_map(|trace| match trace.by {
            By::Private(numbers, leaves) if private && numbers.contains(&number) => Some((trace.bit, leaves)),
            By::Mode(of, leaves) if !private && of == number => Some((trace.bit, leaves)),
            _ => None,
        });
        let Some((bit, leaves)) = found else { return };
        self.set(bit, on == leaves);
        if bit == ORIGIN {
            self.moved(ELSEWHERE, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is undone behind this output, the title aside.
    fn undone(output: &str) -> String {
        let whole = Scanner::default().scan(output.as_bytes()).after;
        // The same however it is cut.
        let mut scanner = Scanner::default();
        let cut = output.bytes().map(|byte| scanner.scan(&[byte]).after).last().unwrap_or_default();
        assert_eq!(cut, whole, "{output:?}");
        assert_eq!(whole.0 & TITLE != 0, output.contains('\x1b'));
        String::from_utf8(Traces(whole.0 & !TITLE).undo().flatten().copied().collect()).unwrap()
    }

    #[test]
    fn rows_have_bits_of_their_own() {
        for (number, trace) in UNDO.iter().enumerate() {
            assert_eq!(trace.bit, 1 << number);
        }
    }

    #[test]
    fn questions_are_noticed() {
        for question in ["\x1b[6n", "\x1b[5n", "\x1b[?6n", "\x1b[c", "\x1b[>0c", "\x1b[?7$p", "\x1b[18t"] {
            assert!(Scanner::default().scan(question.as_bytes()).asks, "{question:?}");
        }
        for other in ["6n", "\x1b[6m", "\x1bc", "\x1b[22;0t", "\x1b[!p"] {
            assert!(!Scanner::default().scan(other.as_bytes()).asks, "{other:?}");
        }
    }

    #[test]
    fn plain_text_needs_a_new_line_at_most() {
        assert_eq!(undone(""), "");
        assert_eq!(undone("login: "), "\r\n");
        assert_eq!(undone("bye\r\n"), "");
        assert_eq!(undone("\x1b[1;32mok\x1b[0m \x1b[31m!\x1b[m\r\n"), "");
    }

    #[test]
    fn what_is_set_is_undone_and_what_was_taken_back_is_not() {
        for (set, undo, taken_back) in [
            ("\x1b[31;44m", "\x1b[0m", "\x1b[0m"),
            ("\x1b[?25l", "\x1b[?25h", "\x1b[?25h"),
            ("\x1b[?7l", "\x1b[?7h", "\x1b[?7h"),
            ("\x1b[?1049h", "\x1b[?1049l", "\x1b[?1049l"),
            ("\x1b[?1h\x1b=", "\x1b[?1l\x1b>", "\x1b[?1l\x1b>"),
            ("\x1b[?2004h", "\x1b[?2004l", "\x1b[?2004l"),
            ("\x1b[4h", "\x1b[4l", "\x1b[4l"),
            ("\x1b[5 q", "\x1b[0 q", "\x1b[0 q"),
            ("\x1b(0", "\x0f\x1b(B", "\x1bc"),
            ("\x1b]8;;http://x\x1b\\", "\x1b]8;;\x1b\\", "\x1bc"),
            ("\x1b[?1000;1006h", "\x1b[?1000l", "\x1b[?1000;1006l"),
            ("\x1b[?2026h", "\x1b[?2026l", "\x1b[?2026l"),
            ("\x1b[>4;2m", "\x1b[>4m", "\x1bc"),
        ] {
            assert!(undone(set).contains(undo), "{set:?}: {:?}", undone(set));
            assert_eq!(undone(&format!("{set}{taken_back}")), "", "{set:?}");
        }
    }

    #[test]
    fn a_cursor_that_went_elsewhere_goes_to_the_bottom() {
        assert_eq!(undone("\x1b[5;10Hhere"), "\x1b[999;1H\r\n");
        assert_eq!(undone("\x1b[3;9r"), "\x1b[r\x1b[999;1H\r\n");
        // Not where it did on the alternate screen, which is left.
        assert_eq!(undone("text\r\n\x1b[?1049h\x1b[5;10Hhere\x1b[?1049l"), "");
        assert_eq!(undone("\x1b[?1049h\x1b[5;10Hhere"), "\x1b[?1049l");
    }

    #[test]
    fn strings_and_broken_sequences_are_no_text() {
        assert_eq!(undone("\x1b]0;a\x1b[31m"), "\x1b[0m");
        assert_eq!(undone("\x1bPq#0;2\x1b\\"), "");
        assert_eq!(undone("\x1b[31\x18"), "");
        assert_eq!(undone("\x1b[?99999999999h\x1b[1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18J"), "");
    }

    #[test]
    fn the_title_is_kept_before_the_first_sequence_and_what_passed_meanwhile_is_known() {
        let mut scanner = Scanner::default();
        assert!(!scanner.scan(b"plain").begins);
        let first = scanner.scan(b"more\x1b[31m\x1b[0m\x1b");
        assert!(first.begins);
        assert_eq!(first.meanwhile.0 & ATTRIBUTES, ATTRIBUTES);
        assert_eq!(first.after.0 & ATTRIBUTES, 0);
        assert!(!scanner.scan(b"]2;title\x07").begins);
        assert!(first.after.undo().any(|piece| piece == b"\x1b[23;0t"));
    }
}
