//! What a terminal sends that nobody typed: answers to questions, and what its mouse does.
//!
//! Both come between the keys, as sequences of their own: `CSI ? ... c` (DA1), `CSI 6 ; height ; width t`, `CSI < b ; x ; y M`,
//! strings that begin with `ESC P` or `ESC _` (ECMA-48; xterm's "Control Sequences"). [`Reports`] takes them out, so that none is
//! ever taken for a key: not where it arrives in pieces, is cut off, or means nothing.

use std::time::Duration;

/// The longest control sequence that is read; the rest of a longer one is dropped.
const LONGEST_SEQUENCE: usize = 64;
/// The same for strings.
const LONGEST_STRING: usize = 4096;
/// A lone Escape is the key when nothing follows for so long.
const KEY_WAIT: Duration = Duration::from_millis(33);
/// The same while the terminal sends reports, which a slow line may cut behind the Escape.
const PATIENT_KEY_WAIT: Duration = Duration::from_millis(150);
/// The beginning of a sequence whose rest does not come for so long is dropped.
const REST_WAIT: Duration = Duration::from_secs(1);

const ESCAPE: u8 = 0x1b;

/// A piece of what came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Bytes that were typed.
    Typed(Vec<u8>),
    /// Something that the terminal says.
    Report(Report),
}

/// What a terminal says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// DA1: what it is able to.
    Attributes(Vec<u32>),
    /// DSR: it is well, and has done all that came before the question.
    Status,
    /// The pixels of its window (width, height).
    WindowPixels(u32, u32),
    /// The pixels of a cell (width, height).
    CellPixels(u32, u32),
    /// DECRPM: a private mode, and whether the terminal knows it.
    Mode(u32, bool),
    /// How many colours a sixel picture has.
    ColourRegisters(u32),
    /// DECRPSS: how it writes.
    Rendition(String),
    /// To a question by kitty's protocol: the image's number, and whether all is well.
    Image(u32, bool),
    /// The mouse did something.
    Mouse(MouseReport),
    /// Something else.
    Other,
}

/// What the mouse did, as the terminal says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MouseReport {
    /// Button, modifiers, whether it moved (xterm, "Mouse Tracking").
    pub code: u32,
    /// Column or pixel, from 1.
    pub x: u32,
    /// Row or pixel, from 1.
    pub y: u32,
    /// A button went up.
    pub released: bool,
}

/// What is being skipped: the rest of something too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Skipped {
    Sequence,
    /// And whether the last byte was an Escape, which may begin the end.
    String(bool),
}

/// Takes reports out of what comes.
#[derive(Default, Debug)]
pub struct Reports {
    held: Vec<u8>,
    skipped: Option<Skipped>,
    patient: bool,
    old_mouse: bool,
}

/// What the beginning of some bytes is.
enum Parsed {
    /// So many bytes that were typed.
    Typed(usize),
    /// A report of so many bytes.
    Report(usize, Report),
    /// So many bytes that were to be a report and are none.
    Broken(usize),
    /// The beginning of something.
    More,
}

impl Reports {
    /// Whether reports are to come: a lone Escape may then be the first byte of one. With `mouse`, `CSI M` begins one of
    /// a mouse, as terminals send it that know no other form.
    pub fn expect(&mut self, any: bool, mouse: bool) {
        self.patient = any || mouse;
        self.old_mouse = mouse;
    }
    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let rest = self.skip(bytes);
        self.held.extend_from_slice(rest);
        while !self.held.is_empty() {
            let (length, piece) = match self.parse() {
                Parsed::Typed(length) => (length, Some(Piece::Typed(self.held[..length].to_vec()))),
                Parsed::Report(length, report) => (length, Some(Piece::Report(report))),
                Parsed::Broken(length) => (length, None),
                Parsed::More if self.held.len() > self.longest() => {
                    self.skipped = Some(match self.held[1] {
                        b'[' => Skipped::Sequence,
                        _ => Skipped::String(self.held.last() == Some(&ESCAPE)),
                    });
                    (self.held.len(), None)
                }
                Parsed::More => break,
            };
            self.held.drain(..length);
            match (pieces.last_mut(), piece) {
                (Some(Piece::Typed(before)), Some(Piece::Typed(typed))) => before.extend(typed),
                (_, piece) => pieces.extend(piece),
            }
        }
        pieces
    }
    /// Whether the end of something has not come: call [`idle`](Self::idle) from time to time.
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty() || self.skipped.is_some()
    }
    /// Nothing came for so long. What is held is typed, where it can be, or dropped.
    pub fn idle(&mut self, waited: Duration) -> Vec<u8> {
        let key_wait = if self.patient { PATIENT_KEY_WAIT } else { KEY_WAIT };
        let is_typed = match &*self.held {
            [ESCAPE] => waited >= key_wait,
            // Alt with the character.
            [ESCAPE, _] => waited >= if self.patient { REST_WAIT } else { KEY_WAIT },
            _ => false,
        };
        if is_typed {
            return std::mem::take(&mut self.held);
        }
        if waited >= REST_WAIT {
            self.held.clear();
            self.skipped = None;
        }
        Vec::new()
    }
    fn longest(&self) -> usize {
        if self.held.get(1) == Some(&b'[') { LONGEST_SEQUENCE } else { LONGEST_STRING }
    }
    /// Drops the rest of what is skipped; what is left.
    fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            self.skipped = match (self.skipped, *byte) {
                (None, _) => return &bytes[at..],
                (Some(Skipped::Sequence), 0x20..=0x3f) => Some(Skipped::Sequence),
                (Some(Skipped::Sequence), 0x40..=0x7e) => None,
                // It was cut off.
                (Some(Skipped::Sequence), _) => {
                    self.skipped = None;
                    return &bytes[at..];
                }
                (Some(Skipped::String(true)), b'\\') | (Some(Skipped::String(false)), 0x07) => None,
                (Some(Skipped::String(_)), byte) => Some(Skipped::String(byte == ESCAPE)),
            };
        }
        &[]
    }
    fn parse(&self) -> Parsed {
        let held = &*self.held;
        match held {
            [ESCAPE] | [ESCAPE, b'[' | b'_' | b'P'] => Parsed::More,
            // The Linux console's F1 to F5.
            [ESCAPE, b'[', b'[', ..] => Parsed::Typed(3),
            [ESCAPE, b'[', b'M', rest @ ..] if self.old_mouse => old_mouse(rest),
            [ESCAPE, b'[', rest @ ..] => sequence(rest),
            [ESCAPE, b'_', b'G', ..] | [ESCAPE, b'P', b'0'..=b'9' | b'>' | b'!', ..] => string(held),
            // Alt with a character, or Escape again.
            [ESCAPE, ESCAPE, ..] => Parsed::Typed(1),
            [ESCAPE, ..] => Parsed::Typed(2),
            _ => Parsed::Typed(held.iter().position(|byte| *byte == ESCAPE).unwrap_or(held.len())),
        }
    }
}

/// Bytes of `CSI M` that follow: button, column and row, each with 32 added.
fn old_mouse(rest: &[u8]) -> Parsed {
    let [code, x, y, ..] = rest else { return Parsed::More };
    let number = |byte: &u8| u32::from(byte.saturating_sub(32));
    let code = number(code);
    // Which button went up it does not say.
    let released = code & 0b11 == 0b11 && code & 0b0110_0000 == 0;
    Parsed::Report(6, Report::Mouse(MouseReport { code, x: number(x), y: number(y), released }))
}

/// What follows `CSI`.
fn sequence(rest: &[u8]) -> Parsed {
    const INTRODUCER: usize = 2;
    let Some(end) = rest.iter().position(|byte| !(0x20..=0x3f).contains(byte)) else { return Parsed::More };
    let (text, last) = (&rest[..end], rest[end]);
    if !(0x40..=0x7e).contains(&last) {
        return if end == 0 { Parsed::Typed(INTRODUCER) } else { Parsed::Broken(INTRODUCER + end) };
    }
    let length = INTRODUCER + end + 1;
    let text = String::from_utf8_lossy(text);
    let numbers: Vec<u32> = text
        .trim_start_matches(|first: char| "<=>?".contains(first))
        .trim_end_matches('$')
        .split(';')
        .map(|number| number.parse().unwrap_or(0))
        .collect();
    let private = text.chars().next().filter(|first| "<=>?".contains(*first));
    let report = match (private, last, &*numbers) {
        (Some('?'), b'c', numbers) => Report::Attributes(numbers.to_vec()),
        (Some('?'), b'y', [mode, state]) if text.ends_with('$') => {
            Report::Mode(*mode, matches!(state, 1..=3))
        }
        (Some('?'), b'S', [1, 0, count, ..]) => Report::ColourRegisters(*count),
        (Some('<'), b'M' | b'm', [code, x, y]) => {
            Report::Mouse(MouseReport { code: *code, x: *x, y: *y, released: last == b'm' })
        }
        (None, b'n', [0]) => Report::Status,
        (None, b't', [4, height, width]) => Report::WindowPixels(*width, *height),
        (None, b't', [6, height, width]) => Report::CellPixels(*width, *height),
        (Some(_), ..) | (None, b'n' | b't' | b'c', _) => Report::Other,
        _ => return Parsed::Typed(length),
    };
    Parsed::Report(length, report)
}

/// A string from `ESC` on, up to its end.
fn string(held: &[u8]) -> Parsed {
    let Some(end) = held[2..].iter().position(|byte| matches!(*byte, ESCAPE | 0x07)).map(|end| end + 2)
    else {
        return Parsed::More;
    };
    let length = match held[end..] {
        [ESCAPE] => return Parsed::More,
        [0x07, ..] => end + 1,
        [_, b'\\', ..] => end + 2,
        // Another sequence begins.
        [_, ESCAPE, ..] => return Parsed::Broken(end + 1),
        _ => return Parsed::Broken(end),
    };
    let text = String::from_utf8_lossy(&held[2..end]);
    let report = match held[1] {
        b'P' => text.strip_prefix("1$r").map(|rendition| Report::Rendition(rendition.to_owned())),
        _ => text.strip_prefix('G').and_then(|answer| {
            let (keys, outcome) = answer.split_once(';')?;
            let number = keys.split(',').find_map(|key| key.strip_prefix("i="))?.parse().ok()?;
            Some(Report::Image(number, outcome == "OK"))
        }),
    };
    Parsed::Report(length, report.unwrap_or(Report::Other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(bytes: &[u8]) -> Vec<Piece> {
        Reports::default().push(bytes)
    }
    fn mouse(code: u32, x: u32, y: u32, released: bool) -> Report {
        Report::Mouse(MouseReport { code, x, y, released })
    }
    /// Reports as terminals send them.
    fn known() -> Vec<(&'static [u8], Report)> {
        vec![
            (b"\x1b[?62;4;22c", Report::Attributes(vec![62, 4, 22])),
            (b"\x1b[?6c", Report::Attributes(vec![6])),
            (b"\x1b[0n", Report::Status),
            (b"\x1b[4;800;1280t", Report::WindowPixels(1280, 800)),
            (b"\x1b[6;20;10t", Report::CellPixels(10, 20)),
            (b"\x1b[?1006;2$y", Report::Mode(1006, true)),
            (b"\x1b[?1016;0$y", Report::Mode(1016, false)),
            (b"\x1b[?1;0;256S", Report::ColourRegisters(256)),
            (b"\x1bP1$r48:2:1:2:3m\x1b\\", Report::Rendition("48:2:1:2:3m".to_owned())),
            (b"\x1bP0$r\x1b\\", Report::Other),
            (b"\x1b_Gi=31;OK\x1b\\", Report::Image(31, true)),
            (b"\x1b_Gi=31,p=4;ENOTSUP:no\x1b\\", Report::Image(31, false)),
            (b"\x1b[<0;12;34M", mouse(0, 12, 34, false)),
            (b"\x1b[<35;1000;2000m", mouse(35, 1000, 2000, true)),
            (b"\x1b[>0;276;0c", Report::Other),
            (b"\x1b[?99999999999;1$y", Report::Mode(0, true)),
            (b"\x1b[8;24;80t", Report::Other),
        ]
    }

    #[test]
    fn reports_are_read_however_they_are_cut() {
        for (bytes, report) in known() {
            assert_eq!(pieces(bytes), [Piece::Report(report.clone())], "{bytes:x?}");
            for cut in 1..bytes.len() {
                let mut reports = Reports::default();
                reports.expect(true, false);
                assert_eq!(reports.push(&bytes[..cut]), [], "{cut} of {bytes:x?}");
                assert!(reports.is_waiting());
                assert!(reports.idle(Duration::from_millis(100)).is_empty());
                assert_eq!(
                    reports.push(&bytes[cut..]),
                    [Piece::Report(report.clone())],
                    "{cut} of {bytes:x?}"
                );
                assert!(!reports.is_waiting());
            }
        }
    }

    #[test]
    fn a_report_that_is_cut_off_is_no_key() {
        for (bytes, _) in known() {
            for cut in 3..bytes.len() {
                let mut reports = Reports::default();
                reports.expect(true, true);
                assert_eq!(reports.push(&bytes[..cut]), []);
                assert!(reports.idle(REST_WAIT).is_empty());
                assert!(!reports.is_waiting());
                assert_eq!(reports.push(b"x"), [Piece::Typed(b"x".to_vec())]);
                // And where another sequence follows at once.
                reports.push(&bytes[..cut]);
                let next = reports.push(b"\x1b[A");
                assert_eq!(next, [Piece::Typed(b"\x1b[A".to_vec())], "{cut} of {bytes:x?}");
            }
        }
    }

    #[test]
    fn keys_stay_keys() {
        for keys in [
            &b"hello \xc3\xa9"[..],
            b"\x1b[A\x1bOP\x1b[1;5C\x1b[3~\x1b[Z\x1b[[A\x1b[15~",
            b"\x1bx\x1b\x1b[A",
            b"\x1b[M",
            b"\x1b_x\x1bPx\x1b]",
            b"\x01x\x03",
        ] {
            assert_eq!(pieces(keys), [Piece::Typed(keys.to_vec())], "{keys:x?}");
        }
        let both = pieces(b"a\x1b[<64;1;2Mb\x1b[0nc");
        let typed = |text: &[u8]| Piece::Typed(text.to_vec());
        assert_eq!(
            both,
            [
                typed(b"a"),
                Piece::Report(mouse(64, 1, 2, false)),
                typed(b"b"),
                Piece::Report(Report::Status),
                typed(b"c")
            ]
        );
    }

    #[test]
    fn a_lone_escape_is_typed_when_nothing_follows() {
        let mut reports = Reports::default();
        assert_eq!(reports.push(b"\x1b"), []);
        assert!(reports.idle(Duration::ZERO).is_empty());
        assert_eq!(reports.idle(KEY_WAIT), b"\x1b");
        for prefix in [&b"\x1b["[..], b"\x1b_", b"\x1bP"] {
            reports.push(prefix);
            assert_eq!(reports.idle(KEY_WAIT), prefix);
        }
        reports.expect(true, false);
        reports.push(b"\x1b");
        assert!(reports.idle(KEY_WAIT).is_empty());
        assert_eq!(reports.idle(PATIENT_KEY_WAIT), b"\x1b");
    }

    #[test]
    fn mice_of_old_terminals_are_read_where_they_are_expected() {
        let mut reports = Reports::default();
        reports.expect(true, true);
        assert_eq!(reports.push(b"\x1b[M !"), []);
        assert_eq!(reports.push(b"\""), [Piece::Report(mouse(0, 1, 2, false))]);
        assert_eq!(reports.push(b"\x1b[M#!!"), [Piece::Report(mouse(3, 1, 1, true))]);
        assert_eq!(reports.push(b"\x1b[MC!!"), [Piece::Report(mouse(35, 1, 1, false))]);
    }

    #[test]
    fn nothing_is_held_without_bound_and_no_rest_is_typed() {
        let mut reports = Reports::default();
        let mut long = b"\x1b[<".to_vec();
        long.extend(b"1;".repeat(1000));
        for piece in long.chunks(7) {
            assert_eq!(reports.push(piece), []);
            assert!(reports.held.len() <= LONGEST_SEQUENCE + 7);
        }
        assert_eq!(reports.push(b"1Mx"), [Piece::Typed(b"x".to_vec())]);
        reports.push(b"\x1b_G");
        for _ in 0..1000 {
            assert_eq!(reports.push(b"abcdefghij"), []);
            assert!(reports.held.len() <= LONGEST_STRING + 10);
        }
        assert_eq!(reports.push(b"\x1b"), []);
        assert_eq!(reports.push(b"\\x"), [Piece::Typed(b"x".to_vec())]);
    }
}
