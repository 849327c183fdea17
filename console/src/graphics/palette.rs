//! Few colours that stand for many.
//!
//! Pictures of few colours keep them. Of others a histogram is cut in two again and again, each time the box in which most
//! pixels lie farthest apart, at the median of its longest side (P. Heckbert, "Color Image Quantization for Frame Buffer
//! Display", 1982). No dots are mixed: letters stay sharp, and pictures small.

use super::scale::rgb;
use std::collections::HashMap;
use trimotor_devices::display::{Rect, Surface};

/// The most colours there can be.
pub const MOST_COLOURS: usize = 256;
/// Bits of each colour by which the histogram tells pixels apart.
const BITS: u32 = 5;

/// A picture in a few colours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Indexed {
    /// Pixels in a line.
    pub width: usize,
    /// The colours, red, green and blue.
    pub colours: Vec<[u8; 3]>,
    /// Each pixel's place among the colours, line after line.
    pub pixels: Vec<u8>,
}

/// `part` of a picture in at most `most` colours (1 to [`MOST_COLOURS`]).
pub fn indexed(picture: &Surface, part: Rect, most: usize) -> Indexed {
    let part = part.intersection(&picture.whole());
    let most = most.clamp(1, MOST_COLOURS);
    let lines = (part.y..part.y + part.height).map(|y| &picture.line(y)[part.x..part.x + part.width]);
    let pixels: Vec<u32> = lines.flatten().map(|pixel| pixel & 0x00FF_FFFF).collect();
    let (colours, pixels) = as_they_are(&pixels, most).unwrap_or_else(|| cut(&pixels, most));
    Indexed { width: part.width, colours, pixels }
}

/// Where there are few colours.
fn as_they_are(pixels: &[u32], most: usize) -> Option<(Vec<[u8; 3]>, Vec<u8>)> {
    let (mut places, mut colours) = (HashMap::new(), Vec::new());
    let mut last = None;
    let mut indices = Vec::with_capacity(pixels.len());
    for pixel in pixels {
        let place = match last {
            Some((before, place)) if before == *pixel => place,
            _ => *places.entry(*pixel).or_insert_with(|| {
                colours.push(rgb(*pixel));
                colours.len() - 1
            }),
        };
        if colours.len() > most {
            return None;
        }
        last = Some((*pixel, place));
        indices.push(place as u8);
    }
    Some((colours, indices))
}

/// Pixels of nearly the same colour.
#[derive(Clone, Copy, Default)]
struct Bin {
    count: u32,
    sums: [u64; 3],
}

/// The bin of a pixel: its place on each side.
fn bin_of(pixel: u32) -> usize {
    rgb(pixel).iter().fold(0, |bin, code| bin << BITS | usize::from(code >> (8 - BITS)))
}
fn side_of(bin: usize, colour: usize) -> usize {
    bin >> (BITS as usize * (2 - colour)) & ((1 << BITS) - 1)
}

fn cut(pixels: &[u32], most: usize) -> (Vec<[u8; 3]>, Vec<u8>) {
    let mut bins = vec![Bin::default(); 1 << (3 * BITS)];
    for pixel in pixels {
        let bin = &mut bins[bin_of(*pixel)];
        bin.count += 1;
        rgb(*pixel).iter().zip(&mut bin.sums).for_each(|(code, sum)| *sum += u64::from(*code));
    }
    let used: Vec<usize> = (0..bins.len()).filter(|bin| bins[*bin].count > 0).collect();
    let mut boxes = vec![ColourBox::new(used, &bins)];
    while boxes.len() < most {
        let widest = (0..boxes.len()).max_by_key(|at| boxes[*at].spread);
        let Some(widest) = widest.filter(|at| boxes[*at].spread > 0) else { break };
        let (one, other) = boxes.swap_remove(widest).halves(&bins);
        boxes.extend([one, other]);
    }
    let mut place_of = vec![0; bins.len()];
    let mut colours = Vec::with_capacity(boxes.len());
    for (place, part) in boxes.iter().enumerate() {
        part.bins.iter().for_each(|bin| place_of[*bin] = place as u8);
        colours.push(part.mean(&bins));
    }
    let indices = pixels.iter().map(|pixel| place_of[bin_of(*pixel)]).collect();
    (colours, indices)
}

/// A box of colours.
struct ColourBox {
    bins: Vec<usize>,
    /// Its longest side.
    longest: usize,
    /// How far apart how many pixels lie on it; 0 where it cannot be cut.
    spread: u64,
}

impl ColourBox {
    fn new(bins: Vec<usize>, all: &[Bin]) -> ColourBox {
        let length = |colour: usize| {
            let places = bins.iter().map(|bin| side_of(*bin, colour));
            places.clone().max().unwrap_or(0) - places.min().unwrap_or(0)
        };
        let longest = (0..3).max_by_key(|colour| length(*colour)).unwrap_or(0);
        let count: u64 = bins.iter().map(|bin| u64::from(all[*bin].count)).sum();
        // Few pixels of colours of their own count too: letters.
        let spread = (length(longest) as u64).pow(2) * (count as f64).sqrt().ceil() as u64;
        ColourBox { bins, longest, spread }
    }
    /// Cut at the median of the longest side, so that none is empty.
    fn halves(mut self, all: &[Bin]) -> (ColourBox, ColourBox) {
        self.bins.sort_by_key(|bin| side_of(*bin, self.longest));
        let count: u64 = self.bins.iter().map(|bin| u64::from(all[*bin].count)).sum();
        let mut before = 0;
        let half = self.bins.iter().position(|bin| {
            before += u64::from(all[*bin].count);
            before * 2 >= count
        });
        let at = (half.unwrap_or(0) + 1).clamp(1, self.bins.len() - 1);
        let other = self.bins.split_off(at);
        (ColourBox::new(self.bins, all), ColourBox::new(other, all))
    }
    fn mean(&self, all: &[Bin]) -> [u8; 3] {
        let count: u64 = self.bins.iter().map(|bin| u64::from(all[*bin].count)).sum();
        std::array::from_fn(|colour| {
            let sum: u64 = self.bins.iter().map(|bin| all[*bin].sums[colour]).sum();
            ((sum + count / 2) / count.max(1)) as u8
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graphics::scale::tests::colourful;

    #[test]
    fn few_colours_stay_as_they_are() {
        let mut picture = Surface::new(16, 17);
        for y in 0..16 {
            picture.line_mut(y).iter_mut().zip(16 * y as u32..).for_each(|(pixel, n)| *pixel = n * 0x01_0101);
        }
        let part = Rect { x: 0, y: 0, width: 16, height: 16 };
        let found = indexed(&picture, part, 256);
        assert_eq!((found.width, found.colours.len()), (16, 256));
        for (index, pixel) in found.pixels.iter().zip(picture.pixels()) {
            assert_eq!(found.colours[usize::from(*index)], rgb(*pixel));
        }
        let one = indexed(&picture, Rect { x: 3, y: 2, width: 1, height: 1 }, 256);
        assert_eq!((one.colours, one.pixels), (vec![[35; 3]], vec![0]));
    }

    #[test]
    fn many_colours_become_near_ones() {
        let picture = colourful(320, 200);
        for (most, error) in [(256, 22), (16, 60), (2, 140)] {
            let found = indexed(&picture, picture.whole(), most);
            assert!(found.colours.len() <= most && found.colours.len() > most / 2);
            let differences = found.pixels.iter().zip(picture.pixels()).map(|(index, pixel)| {
                let (shown, meant) = (found.colours[usize::from(*index)], rgb(*pixel));
                (0..3).map(|colour| u64::from(shown[colour].abs_diff(meant[colour]))).max().unwrap_or(0)
            });
            let mean = differences.sum::<u64>() / found.pixels.len() as u64;
            assert!(mean < error, "{most} colours: {mean}");
        }
        // Cuts end where there is nothing to cut.
        let mut two = Surface::new(300, 1);
        two.line_mut(0).iter_mut().enumerate().for_each(|(x, pixel)| *pixel = 0x0010_1010 + x as u32 % 3);
        assert_eq!(indexed(&two, two.whole(), 2).colours.len(), 1);
        assert!(indexed(&two, Rect::default(), 256).pixels.is_empty());
    }
}
