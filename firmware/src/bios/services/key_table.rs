//! What each key means: for each scan code of set 1 four words, as INT 16h returns them: plain, with Shift, Ctrl, Alt.
//! The high byte is a scan code, the low byte a character, 0 where there is none; a word of 0 is no key.
//!
//! The layout is that of the United States.
//!
//! Source: IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 16H", table of character codes.

/// Scan codes that have a row, less one.
pub const LAST: u8 = 0x58;

/// Plain, Shift, Ctrl, Alt.
pub type Row = [u16; 4];

const DIGITS: [(u8, u8); 12] = [
    (b'1', b'!'),
    (b'2', b'@'),
    (b'3', b'#'),
    (b'4', b'$'),
    (b'5', b'%'),
    (b'6', b'^'),
    (b'7', b'&'),
    (b'8', b'*'),
    (b'9', b'('),
    (b'0', b')'),
    (b'-', b'_'),
    (b'=', b'+'),
];
/// Rows of letters and the scan code of the first.
const LETTERS: [(u8, &[u8]); 3] = [(0x10, b"qwertyuiop"), (0x1E, b"asdfghjkl"), (0x2C, b"zxcvbnm")];

/// Keys that follow no rule.
const SINGLE: [(u8, Row); 16] = [
    (0x01, [0x011B, 0x011B, 0x011B, 0x0100]),
    (0x0E, [0x0E08, 0x0E08, 0x0E7F, 0x0E00]),
    (0x0F, [0x0F09, 0x0F00, 0x9400, 0xA500]),
    (0x1A, [0x1A5B, 0x1A7B, 0x1A1B, 0x1A00]),
    (0x1B, [0x1B5D, 0x1B7D, 0x1B1D, 0x1B00]),
    (0x1C, [0x1C0D, 0x1C0D, 0x1C0A, 0x1C00]),
    (0x27, [0x273B, 0x273A, 0, 0x2700]),
    (0x28, [0x2827, 0x2822, 0, 0x2800]),
    (0x29, [0x2960, 0x297E, 0, 0x2900]),
    (0x2B, [0x2B5C, 0x2B7C, 0x2B1C, 0x2B00]),
    (0x33, [0x332C, 0x333C, 0, 0x3300]),
    (0x34, [0x342E, 0x343E, 0, 0x3400]),
    (0x35, [0x352F, 0x353F, 0, 0x3500]),
    (0x37, [0x372A, 0x372A, 0x9600, 0x3700]),
    (0x39, [0x3920, 0x3920, 0x3920, 0x3920]),
    (0x56, [0x565C, 0x567C, 0, 0]),
];
/// The keypad from scan code 47h on: the digit or sign, and the code with Ctrl.
const KEYPAD: [(u8, u16); 13] = [
    (b'7', 0x7700),
    (b'8', 0x8D00),
    (b'9', 0x8400),
    (b'-', 0x8E00),
    (b'4', 0x7300),
    (b'5', 0x8F00),
    (b'6', 0x7400),
    (b'+', 0x9000),
    (b'1', 0x7500),
    (b'2', 0x9100),
    (b'3', 0x7600),
    (b'0', 0x9200),
    (b'.', 0x9300),
];
/// The keypad's first key.
pub const KEYPAD_FIRST: u8 = 0x47;

/// The rows of scan codes 0 to [`LAST`].
pub fn rows() -> Vec<Row> {
    let mut rows = vec![[0; 4]; usize::from(LAST) + 1];
    let word = |scan: u8, character: u8| u16::from(scan) << 8 | u16::from(character);
    for (n, (plain, shift)) in DIGITS.iter().enumerate() {
        let scan = 0x02 + n as u8;
        let control = match plain {
            b'2' => 0x0300,
            b'6' => 0x071E,
            b'-' => 0x0C1F,
            _ => 0,
        };
        rows[usize::from(scan)] = [word(scan, *plain), word(scan, *shift), control, word(0x78 + n as u8, 0)];
    }
    for (first, letters) in LETTERS {
        for (scan, letter) in (first..).zip(letters) {
            rows[usize::from(scan)] = [*letter, letter.to_ascii_uppercase(), letter & 0x1F, 0]
                .map(|character| word(scan, character));
        }
    }
    for n in 0..10u8 {
        let scan = 0x3B + n;
        rows[usize::from(scan)] = [scan, 0x54 + n, 0x5E + n, 0x68 + n].map(|code| word(code, 0));
    }
    rows[0x57] = [0x8500, 0x8700, 0x8900, 0x8B00];
    rows[0x58] = [0x8600, 0x8800, 0x8A00, 0x8C00];
    for (scan, (sign, control)) in (KEYPAD_FIRST..).zip(KEYPAD) {
        let plain = if sign.is_ascii_digit() || sign == b'.' { word(scan, 0) } else { word(scan, sign) };
        // With Alt digits are the digits of a character's number; the signs are keys.
        let alt = if sign.is_ascii_digit() || sign == b'.' { 0 } else { word(scan, 0) };
        rows[usize::from(scan)] = [plain, word(scan, sign), control, alt];
    }
    // The 5 in the middle has no function.
    rows[0x4C][0] = 0x4C00;
    for (scan, row) in SINGLE {
        rows[usize::from(scan)] = row;
    }
    rows
}

/// What keys behind the prefix E0h mean.
pub const EXTENDED: [(u8, Row); 12] = [
    (0x1C, [0xE00D, 0xE00D, 0xE00A, 0xA600]),
    (0x35, [0xE02F, 0xE02F, 0x9500, 0xA400]),
    (0x47, [0x47E0, 0x47E0, 0x77E0, 0x9700]),
    (0x48, [0x48E0, 0x48E0, 0x8DE0, 0x9800]),
    (0x49, [0x49E0, 0x49E0, 0x84E0, 0x9900]),
    (0x4B, [0x4BE0, 0x4BE0, 0x73E0, 0x9B00]),
    (0x4D, [0x4DE0, 0x4DE0, 0x74E0, 0x9D00]),
    (0x4F, [0x4FE0, 0x4FE0, 0x75E0, 0x9F00]),
    (0x50, [0x50E0, 0x50E0, 0x91E0, 0xA000]),
    (0x51, [0x51E0, 0x51E0, 0x76E0, 0xA100]),
    (0x52, [0x52E0, 0x52E0, 0x92E0, 0xA200]),
    (0x53, [0x53E0, 0x53E0, 0x93E0, 0xA300]),
];
