//! Makes a picture smaller.
//!
//! Each pixel of the result is the mean of all that it covers, partly covered ones by their share. The mean is one of light and not of
//! the codes of colours: letters a pixel thin, white on black, keep the brightness that the eye would see from afar (IEC
//! 61966-2-1 has the curve between the two).

use std::ops::Range;
use std::sync::LazyLock;
use trimotor_devices::display::{Rect, Surface};

/// Steps of light: so many that each code has its own, in the dark too.
const STEPS: usize = 1 << 16;

/// Light of each code.
static LIGHT: LazyLock<[u32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|code| {
        let code = code as f64 / 255.0;
        let light = if code <= 0.040_45 { code / 12.92 } else { ((code + 0.055) / 1.055).powf(2.4) };
        (light * (STEPS - 1) as f64).round() as u32
    })
});
/// The code of each step of light.
static CODE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let code = |step: usize| {
        let light = step as f64 / (STEPS - 1) as f64;
        let code = if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
        (code * 255.0).round() as u8
    };
    (0..STEPS).map(code).collect()
});

/// Red, green and blue of a pixel 00RRGGBBh.
pub(crate) fn rgb(pixel: u32) -> [u8; 3] {
    let [_, red, green, blue] = pixel.to_be_bytes();
    [red, green, blue]
}

/// The way from a part of a surface to a smaller picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scaling {
    /// The part of the surface.
    pub source: Rect,
    /// Pixels in a line of the result, at most those of the part.
    pub width: usize,
    /// Lines of the result, at most those of the part.
    pub height: usize,
}

impl Scaling {
    /// The pixels of the result that a part of the surface has a share in.
    pub fn reached(&self, part: Rect) -> Rect {
        let part = part.intersection(&self.source);
        if part.is_empty() {
            return Rect::default();
        }
        let side = |start: usize, length: usize, from: usize, to: usize| {
            let first = start * to / from;
            let end = ((start + length) * to).div_ceil(from).min(to);
            (first, end - first)
        };
        let (x, width) = side(part.x - self.source.x, part.width, self.source.width, self.width);
        let (y, height) = side(part.y - self.source.y, part.height, self.source.height, self.height);
        Rect { x, y, width, height }
    }
    /// Draws `part` of the result into `result`, which has its size.
    pub fn draw(&self, from: &Surface, part: Rect, result: &mut Surface) {
        let whole = Rect { x: 0, y: 0, width: self.width, height: self.height };
        let part = part.intersection(&whole);
        if part.is_empty() || self.source.union(&from.whole()) != from.whole() {
            return;
        }
        if (self.width, self.height) == (self.source.width, self.source.height) {
            for y in part.y..part.y + part.height {
                let line = &from.line(self.source.y + y)[self.source.x + part.x..][..part.width];
                result.line_mut(y)[part.x..part.x + part.width].copy_from_slice(line);
            }
            return;
        }
        let columns: Vec<Shares> =
            (part.x..part.x + part.width).map(|x| Shares::of(x, self.width, self.source.width)).collect();
        let (first, end) = match (columns.first(), columns.last()) {
            (Some(first), Some(last)) => (first.places.start, last.places.end),
            _ => return,
        };
        let mut sums = vec![[0u32; 3]; end - first];
        for y in part.y..part.y + part.height {
            sums.fill([0; 3]);
            for (line, share) in Shares::of(y, self.height, self.source.height).each() {
                let line = &from.line(self.source.y + line)[self.source.x + first..self.source.x + end];
                for (sum, pixel) in sums.iter_mut().zip(line) {
                    let light = rgb(*pixel).map(|code| LIGHT[usize::from(code)]);
                    (0..3).for_each(|colour| sum[colour] += share * light[colour]);
                }
            }
            let result = &mut result.line_mut(y)[part.x..part.x + part.width];
            for (pixel, shares) in result.iter_mut().zip(&columns) {
                *pixel = self.mean(shares, first, &sums);
            }
        }
    }
    /// The mean of what a column covers of sums of lines, the first of which is of the place `first`.
    fn mean(&self, shares: &Shares, first: usize, sums: &[[u32; 3]]) -> u32 {
        let mut light = [0u64; 3];
        for (place, share) in shares.each() {
            (0..3).for_each(|colour| {
                light[colour] += u64::from(share) * u64::from(sums[place - first][colour]);
            });
        }
        let all = (self.source.width * self.source.height) as u64;
        let codes = light.map(|light| CODE[((light + all / 2) / all) as usize]);
        u32::from_be_bytes([0, codes[0], codes[1], codes[2]])
    }
}

/// What a place of the result covers in one direction: places of the source, and how much of each.
struct Shares {
    places: Range<usize>,
    /// Of the first place, of those in the middle, of the last one.
    first: u32,
    middle: u32,
    last: u32,
}

impl Shares {
    /// Of place `at` of `to`, which are made of `from`. The shares of a place add up to `from`.
    fn of(at: usize, to: usize, from: usize) -> Shares {
        let (start, end) = (at * from, (at + 1) * from);
        let places = start / to..end.div_ceil(to);
        let first = ((places.start + 1) * to).min(end) - start;
        let last = end - ((places.end - 1) * to).max(start);
        Shares { places, first: first as u32, middle: to as u32, last: last as u32 }
    }
    fn each(&self) -> impl Iterator<Item = (usize, u32)> {
        self.places.clone().map(|place| {
            let share = if place == self.places.start {
                self.first
            } else if place + 1 == self.places.end {
                self.last
            } else {
                self.middle
            };
            (place, share)
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A picture of all sorts of colours, with text-like stripes.
    pub(crate) fn colourful(width: usize, height: usize) -> Surface {
        let mut surface = Surface::new(width, height);
        for y in 0..height {
            for (x, pixel) in surface.line_mut(y).iter_mut().enumerate() {
                let stripe = if (x / 3 + y / 5) % 4 == 0 { 0x00FF_FFFF } else { 0 };
                *pixel =
                    stripe ^ (((x * 255 / width) << 16 | (y * 255 / height) << 8 | (x * y) & 0xFF) as u32);
            }
        }
        surface
    }
    fn scaled(from: &Surface, source: Rect, width: usize, height: usize) -> Surface {
        let scaling = Scaling { source, width, height };
        let mut result = Surface::new(width, height);
        scaling.draw(from, result.whole(), &mut result);
        result
    }

    #[test]
    fn equal_colours_stay_as_they_are() {
        for code in 0..=255u32 {
            let mut from = Surface::new(7, 5);
            (0..5).for_each(|y| from.line_mut(y).fill(code << 16 | (255 - code) << 8 | code));
            let to = scaled(&from, from.whole(), 3, 2);
            assert!(to.pixels().iter().all(|pixel| *pixel == from.pixels()[0]), "{code}");
        }
    }

    #[test]
    fn a_mean_is_one_of_light() {
        let mut from = Surface::new(2, 2);
        from.line_mut(0).copy_from_slice(&[0x00FF_FFFF, 0]);
        from.line_mut(1).copy_from_slice(&[0, 0x00FF_FFFF]);
        // Half the light of white is the code 188.
        assert_eq!(scaled(&from, from.whole(), 1, 1).pixels(), [0x00BC_BCBC]);
        let part = Rect { x: 1, y: 0, width: 1, height: 2 };
        assert_eq!(scaled(&from, part, 1, 1).pixels(), [0x00BC_BCBC]);
        assert_eq!(scaled(&from, from.whole(), 2, 2), from);
        assert_eq!(scaled(&from, part, 1, 2).pixels(), [0, 0x00FF_FFFF]);
    }

    #[test]
    fn partly_covered_pixels_count_by_their_share() {
        let mut from = Surface::new(3, 1);
        from.line_mut(0).copy_from_slice(&[0, 0x00FF_FFFF, 0]);
        // A third of the light each.
        let pixels = scaled(&from, from.whole(), 2, 1);
        assert_eq!(pixels.pixels(), [0x009C_9C9C; 2]);
    }

    #[test]
    fn a_part_comes_out_as_in_the_whole() {
        let mut from = colourful(201, 97);
        let scaling = Scaling { source: from.whole(), width: 64, height: 31 };
        let mut result = Surface::new(64, 31);
        scaling.draw(&from, result.whole(), &mut result);
        let part = Rect { x: 77, y: 40, width: 5, height: 9 };
        for y in 40..49 {
            from.line_mut(y)[77..82].fill(0x0012_3456);
        }
        let mut whole = Surface::new(64, 31);
        scaling.draw(&from, whole.whole(), &mut whole);
        scaling.draw(&from, scaling.reached(part), &mut result);
        assert!(result == whole);
        assert!(scaling.reached(Rect { x: 300, y: 0, width: 9, height: 9 }).is_empty());
    }

    #[test]
    fn the_largest_picture_does_not_overflow() {
        let mut from = Surface::new(4096, 4096);
        (0..4096).for_each(|y| from.line_mut(y).fill(0x00FF_FFFF));
        assert_eq!(scaled(&from, from.whole(), 1, 1).pixels(), [0x00FF_FFFF]);
        assert!(scaled(&from, from.whole(), 3, 5).pixels().iter().all(|pixel| *pixel == 0x00FF_FFFF));
    }
}
