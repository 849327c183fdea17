//! An EDID for cards that have none: a monitor of 24 inches for all modes up to 1920x1080.
//!
//! Source: VESA Enhanced EDID Standard, release A, revision 2 (EDID 1.4).

/// Bytes that are kept: the first block and one more.
pub const BYTES: usize = 2 * BLOCK;
/// Bytes of a block.
const BLOCK: usize = 128;

/// "TRI": five bits a letter.
const MAKER: u16 = letter(b'T') << 10 | letter(b'R') << 5 | letter(b'I');
const fn letter(letter: u8) -> u16 {
    (letter - b'@') as u16
}

/// 1920x1080 at 60 Hz, reduced blanking: pixel clock, then active and blanked columns and lines, then front porch and
/// width of the synchronization pulses.
const CLOCK_10_KHZ: u16 = 13_850;
const COLUMNS: (u16, u16) = (1920, 160);
const LINES: (u16, u16) = (1080, 31);
const SYNC: (u8, u8, u8, u8) = (48, 32, 3, 5);
/// The picture in millimetres.
const PICTURE_MM: (u16, u16) = (531, 299);

/// Both blocks; the second one is empty.
pub fn blocks() -> [u8; BYTES] {
    let mut edid = [0; BYTES];
    edid[..8].copy_from_slice(&[0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0]);
    edid[8..10].copy_from_slice(&MAKER.to_be_bytes());
    edid[10..12].copy_from_slice(&1u16.to_le_bytes());
    // Made in 2026; EDID 1.4.
    edid[17] = (2026 - 1990) as u8;
    edid[18..20].copy_from_slice(&[1, 4]);
    // Digital, 8 bits a colour; 53 by 30 cm; gamma 2.2; sRGB, the first timing is that of the panel.
    edid[20..25].copy_from_slice(&[0xA0, 53, 30, 120, 0x06]);
    // sRGB's primaries.
    edid[25..35].copy_from_slice(&[0xEE, 0x91, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54]);
    // 640x480, 800x600, 1024x768 and 1280x1024 in the table of established timings.
    edid[35..38].copy_from_slice(&[0x21, 0x09, 0x00]);
    // Standard timings at 60 Hz: columns / 8 - 31, and the aspect ratio (0 16:10, 2 5:4, 3 16:9) above the rate less 60.
    let standard: [(u16, u8); 7] =
        [(1920, 3), (1680, 0), (1600, 3), (1440, 0), (1280, 3), (1280, 2), (1280, 0)];
    edid[38..54].fill(1);
    for (at, (columns, aspect)) in (38..).step_by(2).zip(standard) {
        edid[at] = (columns / 8 - 31) as u8;
        edid[at + 1] = aspect << 6;
    }
    edid[54..72].copy_from_slice(&timing());
    edid[72..90].copy_from_slice(&text(0xFC, b"Trimotor VGA"));
    edid[90..108].copy_from_slice(&ranges());
    edid[108..126].copy_from_slice(&text(0xFF, b"1"));
    edid[127] = crate::tables::checksum(&edid[..BLOCK]);
    edid
}

/// A detailed timing: low bytes, and the upper bits of two values in one byte.
fn timing() -> [u8; 18] {
    let pair = |(first, second): (u16, u16)| {
        [first as u8, second as u8, ((first >> 8) as u8) << 4 | (second >> 8) as u8]
    };
    let mut bytes = [0; 18];
    bytes[..2].copy_from_slice(&CLOCK_10_KHZ.to_le_bytes());
    bytes[2..5].copy_from_slice(&pair(COLUMNS));
    bytes[5..8].copy_from_slice(&pair(LINES));
    bytes[8..11].copy_from_slice(&[SYNC.0, SYNC.1, SYNC.2 << 4 | SYNC.3]);
    bytes[12..15].copy_from_slice(&pair(PICTURE_MM));
    // Digital separate synchronization, horizontal positive.
    bytes[17] = 0x1A;
    bytes
}
/// A descriptor of text: it ends with a line feed, and blanks follow.
fn text(kind: u8, text: &[u8]) -> [u8; 18] {
    let mut bytes = [b' '; 18];
    bytes[..5].copy_from_slice(&[0, 0, 0, kind, 0]);
    bytes[5..5 + text.len()].copy_from_slice(text);
    bytes[5 + text.len()] = b'\n';
    bytes
}
/// Limits: 30 to 160 kHz, 50 to 75 Hz, 600 MHz.
fn ranges() -> [u8; 18] {
    let mut bytes = [b' '; 18];
    bytes[..12].copy_from_slice(&[0, 0, 0, 0xFD, 0, 50, 75, 30, 160, 60, 1, b'\n']);
    bytes
}
