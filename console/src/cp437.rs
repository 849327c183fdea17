//! Code page 437, the PC's character generator, in Unicode.
//!
//! The VGA's text mode shows one of 256 glyphs a cell. The upper half and the first 32
//! have no ASCII meaning; the glyphs are those of IBM's code page 437 (IBM PC Technical
//! Reference, "Of Characters, Keystrokes, and Colors"). Three of them are blank on the
//! screen: 00h, 20h and FFh.

/// The glyphs of 00h to 1Fh.
const LOW: [char; 32] = [
    ' ', '☺', '☻', '♥', '♦', '♣', '♠', '•', '◘', '○', '◙', '♂', '♀', '♪', '♫', '☼', '►', '◄', '↕', '‼', '¶',
    '§', '▬', '↨', '↑', '↓', '→', '←', '∟', '↔', '▲', '▼',
];

/// The glyphs of 80h to FFh.
const HIGH: [char; 128] = [
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', 'É', 'æ', 'Æ', 'ô', 'ö',
    'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', 'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐',
    '¬', '½', '¼', '¡', '«', '»', '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛',
    '┐', '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧', '╨', '╤', '╥', '╙',
    '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀', 'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ',
    'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩', '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²',
    '■', ' ',
];

/// The Unicode character that looks like glyph `code`.
pub fn to_char(code: u8) -> char {
    match code {
        0x00..=0x1f => LOW[code as usize],
        0x7f => '⌂',
        0x80..=0xff => HIGH[code as usize - 0x80],
        _ => code as char,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn box_characters_and_ascii_map_to_their_glyphs() {
        assert_eq!(to_char(b'A'), 'A');
        assert_eq!(to_char(0xc9), '╔');
        assert_eq!(to_char(0xcd), '═');
        assert_eq!(to_char(0xdb), '█');
        assert_eq!(to_char(0xb3), '│');
        assert_eq!(to_char(0xe3), 'π');
        assert_eq!(to_char(0xfe), '■');
        assert_eq!(to_char(0x10), '►');
    }

    #[test]
    fn no_glyph_is_a_control_character() {
        for code in 0..=255 {
            assert!(!to_char(code).is_control(), "{code:#x}");
        }
    }
}
