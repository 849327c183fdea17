//! Terminals that show ASCII only.
//!
//! Output is UTF-8. Where the locale names another character set, box-drawing characters and the like would come out
//! as rubbish: what looks most like them in ASCII is shown instead.

use std::borrow::Cow;
use std::env;

/// Variables that name the locale of characters, the strongest first (POSIX, "Environment Variables", 8.2).
const VARIABLES: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];

/// Whether the terminal is said to show something else than UTF-8. Where nothing is said, as in many containers,
/// UTF-8 is what terminals show.
pub fn is_ascii_only() -> bool {
    names_other(VARIABLES.iter().filter_map(|name| env::var(name).ok()))
}

fn names_other(values: impl Iterator<Item = String>) -> bool {
    let named = values.into_iter().find(|value| !value.is_empty());
    named.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        !value.contains("utf-8") && !value.contains("utf8")
    })
}

/// `text` as the terminal can show it.
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !is_ascii_only() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(ascii).collect())
}

/// The ASCII character that looks most like a character of code page 437, or a question mark.
pub fn ascii(character: char) -> char {
    match character {
        ' '..='~' => character,
        '\u{a0}' => ' ',
        '─' | '═' => '-',
        '│' | '║' => '|',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' | '╒' | '╓' | '╔' | '╕' | '╖' | '╗' | '╘'
        | '╙' | '╚' | '╛' | '╜' | '╝' | '╞' | '╟' | '╠' | '╡' | '╢' | '╣' | '╤' | '╥' | '╦' | '╧' | '╨'
        | '╩' | '╪' | '╫' | '╬' => '+',
        '█' | '▓' | '▒' | '▄' | '▀' | '▌' | '▐' | '■' => '#',
        '░' => ':',
        '•' | '●' | '○' | '◘' | '◙' | '·' | '∙' | '☺' | '☻' => '*',
        '►' | '→' | '»' => '>',
        '◄' | '←' | '«' => '<',
        '▲' | '↑' => '^',
        '▼' | '↓' => 'v',
        '↔' | '↕' | '▬' | '…' => '-',
        'Ä' | 'Å' | 'à'..='æ' => 'a',
        'è'..='ë' | 'É' => 'e',
        'ì'..='ï' => 'i',
        'ò'..='ö' | 'Ö' => 'o',
        'ù'..='ü' | 'Ü' => 'u',
        'ç' | 'Ç' => 'c',
        'ñ' | 'Ñ' => 'n',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_devices::vga::cp437;

    #[test]
    fn the_strongest_variable_that_is_set_names_the_set() {
        let other = |values: &[&str]| names_other(values.iter().map(|value| (*value).to_owned()));
        assert!(!other(&[]) && !other(&["", ""]));
        assert!(!other(&["C.UTF-8"]) && !other(&["", "de_DE.utf8", "C"]));
        assert!(other(&["C", "de_DE.UTF-8"]) && other(&["de_DE.ISO-8859-1"]) && other(&["POSIX"]));
    }

    #[test]
    fn all_of_the_adapter_s_characters_become_ascii() {
        for code in 0..=255 {
            assert!(ascii(cp437::to_char(code)).is_ascii_graphic() || ascii(cp437::to_char(code)) == ' ');
        }
        assert_eq!("┌─┐│ x█".chars().map(ascii).collect::<String>(), "+-+| x#");
    }
}
