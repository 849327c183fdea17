//! Pictures as sixels (DEC STD 070, "Sixel Graphics"; VT330/VT340 Programmer Reference Manual, chapter 14).
//!
//! A picture is a device control string. Six lines at a time are drawn colour by colour: a character from `?` to `~` has a bit
//! for each of six pixels below each other, `!n` repeats one, `#c` chooses a colour, `$` goes back to the left and `-` to the
//! next six lines. Colours are set in hundredths.

use super::palette;
use std::io::Write;
use trimotor_devices::display::{Rect, Surface};

/// Lines that are drawn at a time.
pub const BAND: usize = 6;
/// The character without a pixel.
const NO_PIXEL: u8 = b'?';
/// As many equal characters are as long as their number and one of them.
const WORTH_COUNTING: usize = 4;

/// `part` of a picture, with at most so many colours (1 to 256). The terminal draws it from where its cursor stands.
pub fn encode(picture: &Surface, part: Rect, colours: usize) -> Vec<u8> {
    let indexed = palette::indexed(picture, part, colours);
    let (width, height) = (indexed.width, indexed.pixels.len() / indexed.width.max(1));
    let mut out = Vec::new();
    // Pixels that no colour draws stay as they are; a pixel is as high as it is wide.
    put(&mut out, format_args!("\x1bP0;1;0q\"1;1;{width};{height}"));
    for (number, colour) in indexed.colours.iter().enumerate() {
        let [red, green, blue] = colour.map(|code| (u32::from(code) * 100 + 127) / 255);
        put(&mut out, format_args!("#{number};2;{red};{green};{blue}"));
    }
    let mut rows = Rows { width, of: vec![Vec::new(); indexed.colours.len()], used: Vec::new() };
    for (number, band) in indexed.pixels.chunks(BAND * width.max(1)).enumerate() {
        if number > 0 {
            out.push(b'-');
        }
        rows.take(band);
        rows.write(&mut out);
    }
    out.extend(b"\x1b\\");
    out
}

fn put(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    // Memory takes all.
    let _ = out.write_fmt(what);
}

/// Of a band, the characters of each colour in it that have pixels.
struct Rows {
    width: usize,
    /// By colour: places, and the bits there.
    of: Vec<Vec<(usize, u8)>>,
    used: Vec<u8>,
}

impl Rows {
    fn take(&mut self, band: &[u8]) {
        self.used.drain(..).for_each(|colour| self.of[usize::from(colour)].clear());
        for x in 0..self.width {
            for (line, colour) in band.iter().skip(x).step_by(self.width).enumerate() {
                let row = &mut self.of[usize::from(*colour)];
                match row.last_mut() {
                    Some((last, bits)) if *last == x => *bits |= 1 << line,
                    Some(_) => row.push((x, 1 << line)),
                    None => {
                        row.push((x, 1 << line));
                        self.used.push(*colour);
                    }
                }
            }
        }
    }
    fn write(&self, out: &mut Vec<u8>) {
        for (number, colour) in self.used.iter().enumerate() {
            if number > 0 {
                out.push(b'$');
            }
            put(out, format_args!("#{colour}"));
            let row = &self.of[usize::from(*colour)];
            let mut end = 0;
            for run in row.chunk_by(|one, other| one.1 == other.1 && one.0 + 1 == other.0) {
                let (start, bits) = run[0];
                repeat(out, NO_PIXEL, start - end);
                repeat(out, NO_PIXEL + bits, run.len());
                end = start + run.len();
            }
        }
    }
}

fn repeat(out: &mut Vec<u8>, character: u8, count: usize) {
    if count >= WORTH_COUNTING {
        put(out, format_args!("!{count}{}", char::from(character)));
    } else {
        out.extend(std::iter::repeat_n(character, count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graphics::scale::{rgb, tests::colourful};
    use trimotor_test_terminal::Terminal;

    /// What a terminal shows of it, at the pixels that it was drawn at.
    fn shown(picture: &Surface, part: Rect, colours: usize) -> Vec<Option<[u8; 3]>> {
        let mut terminal = Terminal::new(200, 100).with_cells(8, 16);
        terminal.write(b"\x1b[2;3H");
        terminal.write(&encode(picture, part, colours));
        let pixel = |x: usize, y: usize| terminal.pixel(16 + x, 16 + y);
        assert_eq!(pixel(part.width, 0), None);
        assert_eq!(pixel(0, part.height), None);
        (0..part.height)
            .flat_map(|y| (0..part.width).map(move |x| (x, y)))
            .map(|(x, y)| pixel(x, y))
            .collect()
    }

    #[test]
    fn few_colours_come_back_as_exactly_as_hundredths_are() {
        let mut picture = Surface::new(23, 20);
        for y in 0..20 {
            picture.line_mut(y).iter_mut().enumerate().for_each(|(x, pixel)| {
                *pixel = ((x / 5 * 50) << 16 | (y / 3 * 30) << 8 | 0x40) as u32;
            });
        }
        for part in [picture.whole(), Rect { x: 2, y: 3, width: 9, height: 7 }] {
            let pixels = shown(&picture, part, 256);
            for (at, shown) in pixels.into_iter().enumerate() {
                let (x, y) = (part.x + at % part.width, part.y + at / part.width);
                let (shown, meant) = (shown.unwrap(), rgb(picture.line(y)[x]));
                assert!(
                    (0..3).all(|colour| shown[colour].abs_diff(meant[colour]) <= 2),
                    "{x} {y}: {shown:?} {meant:?}"
                );
            }
        }
    }

    #[test]
    fn many_colours_come_back_as_near_ones() {
        let picture = colourful(300, 131);
        let shown = shown(&picture, picture.whole(), 256);
        let far = shown.iter().zip(picture.pixels()).map(|(shown, meant)| {
            let (shown, meant) = (shown.unwrap(), rgb(*meant));
            (0..3).map(|colour| u64::from(shown[colour].abs_diff(meant[colour]))).max().unwrap()
        });
        assert!(far.sum::<u64>() / (shown.len() as u64) < 22);
    }

    #[test]
    fn equal_pixels_are_counted() {
        let picture = Surface::new(640, 480);
        let bytes = encode(&picture, picture.whole(), 256);
        assert!(bytes.len() < 1000, "{}", bytes.len());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("\"1;1;640;480#0;2;0;0;0#0!640~-"), "{text}");
        assert!(encode(&picture, Rect::default(), 256).ends_with(b"\x1b\\"));
    }
}
