//! What `--type` and `--keys` take: something to press, and when.

use std::str::FromStr;
use trimotor_bus::GuestTime;
use trimotor_devices::i8042::KeyCode;

/// When keys are pressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// At an instant of guest time.
    At(GuestTime),
    /// When this text has come out of COM1.
    Serial(String),
    /// When this text stands on the text screen.
    Screen(String),
}

/// Text and when it is typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeSpec {
    /// The text, without escapes.
    pub text: String,
    /// When.
    pub when: When,
}

/// Keys and when they are pressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeysSpec {
    /// Keys that are down together, one such group after the other.
    pub chords: Vec<Vec<KeyCode>>,
    /// When.
    pub when: When,
}

impl FromStr for TypeSpec {
    type Err = String;
    fn from_str(spec: &str) -> Result<Self, String> {
        let (text, when) = split(spec)?;
        let text = unescaped(text)?;
        if text.is_empty() {
            return Err("there is no text before the @".to_owned());
        }
        Ok(Self { text, when })
    }
}

impl FromStr for KeysSpec {
    type Err = String;
    fn from_str(spec: &str) -> Result<Self, String> {
        let (keys, when) = split(spec)?;
        let chords: Result<Vec<_>, _> = keys.split_whitespace().map(KeyCode::from_chord).collect();
        let chords = chords.map_err(|error| error.to_string())?;
        if chords.is_empty() {
            return Err("there are no keys before the @".to_owned());
        }
        Ok(Self { chords, when })
    }
}

impl KeysSpec {
    /// Keys going down, and up again in the other order.
    pub fn events(&self) -> Vec<(KeyCode, bool)> {
        let down = |key: &KeyCode| (*key, true);
        let up = |key: &KeyCode| (*key, false);
        let chord = |chord: &Vec<KeyCode>| -> Vec<_> {
            chord.iter().map(down).chain(chord.iter().rev().map(up)).collect()
        };
        self.chords.iter().flat_map(chord).collect()
    }
}

const HOW: &str = "write when behind an @: seconds of guest time as in @2.5, @text:\"...\" for a text from COM1, or \
                   @screen:\"...\" for one on the screen";

/// What stands before the @, and the moment behind it.
fn split(spec: &str) -> Result<(&str, When), String> {
    if let Some(body) = spec.strip_suffix('"') {
        // The text that is waited for may have an @ itself.
        for (mark, make) in [("@text:\"", When::Serial as fn(String) -> When), ("@screen:\"", When::Screen)] {
            if let Some((before, text)) = body.split_once(mark) {
                let text = unescaped(text)?;
                if text.is_empty() {
                    return Err(format!("an empty text is everywhere: {HOW}"));
                }
                return Ok((before, make(text)));
            }
        }
    }
    let (before, when) = spec.rsplit_once('@').ok_or_else(|| HOW.to_owned())?;
    Ok((before, When::At(instant(when).ok_or_else(|| format!("{when:?} is no time: {HOW}"))?)))
}

/// Seconds with up to nine decimals, or a number with ms, s or m.
pub(crate) fn instant(text: &str) -> Option<GuestTime> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ns: u64 = match &text[number.len()..] {
        "ms" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit_ns)?;
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    // Less than a unit, and so than 2^64.
    let part = u128::from(fraction) * u128::from(unit_ns) / 1_000_000_000;
    whole.checked_add(u64::try_from(part).ok()?).map(GuestTime)
}

/// A text with its escapes carried out.
fn unescaped(text: &str) -> Result<String, String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        plain.push(match characters.next() {
            Some('n' | 'r') => '\n',
            Some('t') => '\t',
            Some('e') => '\x1B',
            Some('b') => '\x08',
            Some(itself @ ('\\' | '"' | '@')) => itself,
            Some(other) => {
                return Err(format!("\\{other} is no escape: there are \\n \\t \\e \\b \\\\ \\\" \\@"));
            }
            None => return Err("a \\ at the end escapes nothing: write \\\\".to_owned()),
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use KeyCode::*;

    #[test]
    fn text_and_its_moment() {
        let at = |ns| When::At(GuestTime(ns));
        for (spec, text, when) in [
            ("root\\n@2.5", "root\n", at(2_500_000_000)),
            ("me@home\\n@500ms", "me@home\n", at(500_000_000)),
            ("a\\tb\\\\@0", "a\tb\\", at(0)),
            ("x@1.5m", "x", at(90_000_000_000)),
            ("x@text:\"login: \"", "x", When::Serial("login: ".to_owned())),
            ("a@b@text:\"me@home:~$ \"", "a@b", When::Serial("me@home:~$ ".to_owned())),
            ("1@screen:\"Choose\"", "1", When::Screen("Choose".to_owned())),
            ("say \\\"hi\\\"@3", "say \"hi\"", at(3_000_000_000)),
        ] {
            assert_eq!(spec.parse(), Ok(TypeSpec { text: text.to_owned(), when }), "{spec}");
        }
    }

    #[test]
    fn keys_and_their_moment() {
        let spec: KeysSpec = "ctrl-alt-del down  ret@5s".parse().unwrap();
        assert_eq!(spec.when, When::At(GuestTime(5_000_000_000)));
        assert_eq!(spec.chords, [vec![ControlLeft, AltLeft, Delete], vec![ArrowDown], vec![Enter]]);
        let events = spec.events();
        assert_eq!(events[2..6], [(Delete, true), (Delete, false), (AltLeft, false), (ControlLeft, false)]);
        assert_eq!(events.len(), 10);
    }

    #[test]
    fn errors_say_what_would_be_right() {
        let error = |spec: &str| spec.parse::<TypeSpec>().unwrap_err();
        for (spec, part) in [
            ("root", "@2.5"),
            ("root@soon", "\"soon\" is no time"),
            ("root@-1", "no time"),
            ("root@1.2.3", "no time"),
            ("root@.5", "no time"),
            ("root@99999999999999999999", "no time"),
            ("root@1d", "no time"),
            ("@5", "no text"),
            ("a\\q@5", "\\q is no escape"),
            ("a\\@5", "escapes nothing"),
            ("x@text:\"\"", "empty text"),
        ] {
            let message = error(spec);
            assert!(message.contains(part), "{spec}: {message}");
        }
        let error = |spec: &str| spec.parse::<KeysSpec>().unwrap_err();
        assert!(error("ctrl-alt-dell@5").contains("\"dell\""));
        assert!(error(" @5").contains("no keys"));
        assert!(error("ret").contains("@screen"));
    }
}
