//! Code page 437, the characters in a PC's ROM, as Unicode.

/// The 256 characters. Codes 0 to 31 and 127 are the pictures that the screen shows.
const TABLE: &str = concat!(
    " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼",
    " !\"#$%&'()*+,-./0123456789:;<=>?",
    "@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_",
    "`abcdefghijklmnopqrstuvwxyz{|}~⌂",
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒ",
    "áíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐",
    "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀",
    "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{A0}",
);

/// The character that the screen shows for a code.
pub fn to_char(code: u8) -> char {
    // Text is mostly ASCII, which needs no walk through the table.
    match code {
        0x20..=0x7E => code as char,
        _ => TABLE.chars().nth(code as usize).unwrap_or(' '),
    }
}

/// The code of a character, if the page has it.
pub fn from_char(character: char) -> Option<u8> {
    match character {
        ' '..='~' => Some(character as u8),
        _ => TABLE.chars().position(|c| c == character).map(|at| at as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_256_and_they_come_back() {
        assert_eq!(TABLE.chars().count(), 256);
        for code in 1..=255 {
            assert_eq!(from_char(to_char(code)), Some(code));
        }
        for (code, character) in [(0xDB, '█'), (0xC4, '─'), (0xE1, 'ß'), (0x41, 'A'), (0xB0, '░')] {
            assert_eq!(to_char(code), character);
        }
    }
}
