//! Pictures by kitty's protocol ("Terminal graphics protocol" in kitty's documentation).
//!
//! An application program command says what is to be done, as keys with values, and carries pixels: three bytes each, compressed by
//! zlib, in base64 of at most 4096 characters a command. An image has a number: one that is sent again takes the place of that
//! which had the number before. Nothing is answered (`q=2`).

use super::scale::rgb;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write;
use trimotor_devices::display::{Rect, Surface};

/// Characters of base64 in a command.
const MOST_CHARACTERS: usize = 4096;
/// Below letters and below what is behind them, so that the console's own box lies over the picture.
const BELOW_ALL: i32 = i32::MIN / 2 - 1;
/// Deletes all images and what is kept of them.
pub const DELETE_ALL: &[u8] = b"\x1b_Ga=d,d=A,q=2\x1b\\";
/// Asks whether the terminal knows the protocol: an image of one pixel that it shall not keep.
pub const QUESTION: &[u8] = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\";
/// The number of that image.
pub const QUESTION_IMAGE: u32 = 31;

/// `part` of a picture as the image `number`, drawn from where the cursor stands, which stays there. Over so many cells
/// (columns, rows), where the terminal shall fit it to them.
pub fn encode(picture: &Surface, part: Rect, number: u32, cells: Option<(usize, usize)>) -> Vec<u8> {
    let part = part.intersection(&picture.whole());
    let mut compressed = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut line = Vec::with_capacity(3 * part.width);
    for y in part.y..part.y + part.height {
        line.clear();
        line.extend(picture.line(y)[part.x..part.x + part.width].iter().flat_map(|pixel| rgb(*pixel)));
        // Memory takes all.
        let _ = compressed.write_all(&line);
    }
    let text = base64(&compressed.finish().unwrap_or_default());
    let (width, height) = (part.width, part.height);
    let over = cells.map(|(columns, rows)| format!(",c={columns},r={rows}")).unwrap_or_default();
    let mut keys =
        format!("a=T,f=24,t=d,o=z,s={width},v={height},i={number},p=1,C=1,q=2,z={BELOW_ALL}{over},");
    let mut out = Vec::with_capacity(text.len() + 128);
    let mut chunks = text.chunks(MOST_CHARACTERS).peekable();
    while let Some(chunk) = chunks.next() {
        let more = u8::from(chunks.peek().is_some());
        out.extend(format!("\x1b_G{keys}m={more};").bytes());
        out.extend(chunk);
        out.extend(b"\x1b\\");
        keys = "q=2,".to_owned();
    }
    out
}

/// RFC 4648, "Base 64 Encoding".
fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(*group.get(at).unwrap_or(&0)));
        for place in 0..4 {
            let character = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { character } else { b'=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graphics::scale::tests::colourful;
    use trimotor_test_terminal::Terminal;

    #[test]
    fn base64_is_as_the_rfc_has_it() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text.as_bytes());
        }
    }

    #[test]
    fn pixels_come_back_as_they_are() {
        let picture = colourful(211, 97);
        for part in [picture.whole(), Rect { x: 5, y: 6, width: 30, height: 1 }] {
            let mut terminal = Terminal::new(80, 30).with_cells(8, 16);
            terminal.write(b"\x1b[3;2H");
            let bytes = encode(&picture, part, 7, None);
            assert!(bytes.split(|byte| *byte == 0x1b).all(|piece| piece.len() < MOST_CHARACTERS + 200));
            terminal.write(&bytes);
            for y in 0..part.height {
                for x in 0..part.width {
                    let meant = rgb(picture.line(part.y + y)[part.x + x]);
                    assert_eq!(terminal.pixel(8 + x, 32 + y), Some(meant), "{x} {y}");
                }
            }
            assert_eq!(terminal.pixel(8 + part.width, 32), None);
            // The cursor has not moved.
            terminal.write(b"x");
            assert_eq!(terminal.cell(1, 2).character, 'x');
            terminal.write(DELETE_ALL);
            assert_eq!(terminal.pixel(8, 33), None);
        }
    }

    #[test]
    fn an_image_takes_the_place_of_that_with_its_number() {
        let picture = colourful(16, 16);
        let mut terminal = Terminal::new(80, 30).with_cells(8, 16);
        let part = Rect { x: 0, y: 0, width: 16, height: 16 };
        terminal.write(&encode(&picture, part, 1, Some((2, 1))));
        assert!(terminal.pixel(3, 3).is_some());
        terminal.write(b"\x1b[1;10H");
        terminal.write(&encode(&picture, part, 1, Some((4, 2))));
        assert_eq!(terminal.pixel(3, 3), None);
        // Twice as large.
        assert_eq!(terminal.pixel(72 + 31, 31), Some(rgb(picture.line(15)[15])));
        assert_eq!(terminal.pixel(72 + 32, 31), None);
    }
}
