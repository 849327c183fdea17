//! A window's pixels, made of the picture's.
//!
//! Where a pixel of the picture is a whole number of the window's wide and high, it is repeated. Otherwise each pixel of the
//! window is the mean of what of the picture lies under it, weighted by area: text stays readable in a window that is too
//! small for it, and edges stay sharp in one that is larger.

use super::placement::Placement;
use std::ops::Range;
use trimotor_devices::display::{Rect, Surface};

/// Paints parts of a window.
#[derive(Default, Debug)]
pub struct Painter {
    placement: Placement,
    columns: Shares,
    rows: Shares,
}

/// For each pixel along one side of the window's picture: which pixels of the picture lie under it, and how much of each.
#[derive(Default, Debug)]
struct Shares {
    /// By the pixel's number: where its shares are in `weights`, and the first pixel of the picture.
    spans: Vec<(Range<usize>, usize)>,
    /// The shares of one pixel add up to `whole`.
    weights: Vec<u32>,
    whole: u64,
}

impl Shares {
    /// Of `to` pixels that `from` lie under.
    fn new(from: usize, to: usize) -> Shares {
        let mut shares = Shares { whole: from as u64, ..Shares::default() };
        for pixel in 0..to {
            // In parts of the picture's pixels, `to` of which are one.
            let (begin, end) = (pixel * from, (pixel + 1) * from);
            let (first, last) = (begin / to, (end - 1) / to);
            let start = shares.weights.len();
            for under in first..=last {
                let share = end.min((under + 1) * to) - begin.max(under * to);
                shares.weights.push(share as u32);
            }
            shares.spans.push((start..shares.weights.len(), first));
        }
        shares
    }
    /// The pixels under pixel `at`, from the first on, with their weights.
    fn of(&self, at: usize) -> (usize, &[u32]) {
        self.spans.get(at).map_or((0, &[]), |(range, first)| (*first, &self.weights[range.clone()]))
    }
}

impl Painter {
    /// For pictures that are placed so.
    pub fn place(&mut self, placement: Placement) {
        if self.placement == placement {
            return;
        }
        *self = Painter { placement, ..Painter::default() };
        if placement.times().is_none() {
            let ((width, height), at) = (placement.picture(), placement.at());
            self.columns = Shares::new(width, at.width);
            self.rows = Shares::new(height, at.height);
        }
    }
    /// Appends the pixels of `part` of the window, line after line, each 00RRGGBBh. What lies beside the picture is black.
    pub fn paint(&self, picture: &Surface, part: Rect, to: &mut Vec<u32>) {
        let at = self.placement.at();
        let inside = part.intersection(&at);
        let mut previous: Option<(usize, Range<usize>)> = None;
        for y in part.y..part.y + part.height {
            let start = to.len();
            if inside.is_empty() || y < inside.y || y >= inside.y + inside.height {
                to.resize(start + part.width, 0);
                continue;
            }
            let row = y - at.y;
            if let Some(times) = self.placement.times() {
                match &previous {
                    Some((same, line)) if *same == row / times => to.extend_from_within(line.clone()),
                    _ => self.repeat(picture.line(row / times), times, part, inside, to),
                }
                previous = Some((row / times, start..to.len()));
            } else {
                self.average(picture, row, part, inside, to);
            }
        }
    }
    /// A line whose pixels are repeated.
    fn repeat(&self, line: &[u32], times: usize, part: Rect, inside: Rect, to: &mut Vec<u32>) {
        let start = to.len();
        to.resize(start + (inside.x - part.x), 0);
        let first = inside.x - self.placement.at().x;
        if times == 1 {
            to.extend(line.iter().skip(first).take(inside.width));
        } else {
            let pixels = (first..first + inside.width).map(|x| line.get(x / times).copied().unwrap_or(0));
            to.extend(pixels);
        }
        to.resize(start + part.width, 0);
    }
    /// A line of means.
    fn average(&self, picture: &Surface, row: usize, part: Rect, inside: Rect, to: &mut Vec<u32>) {
        let start = to.len();
        to.resize(start + (inside.x - part.x), 0);
        let (top, heights) = self.rows.of(row);
        let whole = (self.rows.whole * self.columns.whole).max(1);
        let first = inside.x - self.placement.at().x;
        for column in first..first + inside.width {
            let (left, widths) = self.columns.of(column);
            let mut sums = [0u64; 3];
            for (y, height) in heights.iter().enumerate() {
                let line = picture.line(top + y);
                let under = line.get(left..left + widths.len()).unwrap_or_default();
                for (pixel, width) in under.iter().zip(widths) {
                    let weight = u64::from(*width) * u64::from(*height);
                    for (sum, place) in sums.iter_mut().zip([16, 8, 0]) {
                        *sum += weight * u64::from(pixel >> place & 0xFF);
                    }
                }
            }
            let mean = |sum: u64| ((sum + whole / 2) / whole) as u32;
            to.push(mean(sums[0]) << 16 | mean(sums[1]) << 8 | mean(sums[2]));
        }
        to.resize(start + part.width, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of these lines.
    fn picture(lines: &[&[u32]]) -> Surface {
        let mut surface = Surface::new(lines[0].len(), lines.len());
        lines.iter().enumerate().for_each(|(y, line)| surface.line_mut(y).copy_from_slice(line));
        surface
    }
    fn painted(picture: &Surface, window: (usize, usize), fills: bool, part: Rect) -> Vec<u32> {
        let mut painter = Painter::default();
        painter.place(Placement::new((picture.width(), picture.height()), window, fills));
        let mut pixels = Vec::new();
        painter.paint(picture, part, &mut pixels);
        assert_eq!(pixels.len(), part.area());
        pixels
    }
    fn all(window: (usize, usize)) -> Rect {
        Rect { x: 0, y: 0, width: window.0, height: window.1 }
    }

    #[test]
    fn pixels_are_repeated_and_black_is_around() {
        let two = picture(&[&[1, 2], &[3, 4]]);
        assert_eq!(painted(&two, (2, 2), false, all((2, 2))), [1, 2, 3, 4]);
        #[rustfmt::skip]
        let framed = [
            0, 0, 0, 0, 0, 0,
            0, 1, 1, 2, 2, 0,
            0, 1, 1, 2, 2, 0,
            0, 3, 3, 4, 4, 0,
            0, 3, 3, 4, 4, 0,
        ];
        // The odd line goes below.
        let window = painted(&two, (6, 5), false, all((6, 5)));
        assert_eq!(window[..24], framed[6..]);
        assert_eq!(window[24..], [0; 6]);
        let part = Rect { x: 2, y: 1, width: 3, height: 2 };
        assert_eq!(painted(&two, (6, 5), false, part), [1, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn smaller_windows_show_means() {
        let checks = picture(&[&[0, 0x00FF_FFFF, 0, 0x00FF_FFFF], &[0x00FF_FFFF, 0, 0x00FF_FFFF, 0]]);
        assert_eq!(painted(&checks, (2, 1), false, all((2, 1))), [0x0080_8080; 2]);
        let red_and_blue = picture(&[&[0x00FF_0000, 0x0000_00FF, 0x0000_FF00]]);
        // Two thirds of the middle one's neighbours each.
        assert_eq!(painted(&red_and_blue, (2, 1), false, all((2, 1))), [0x00AA_0055, 0x0000_AA55]);
    }

    #[test]
    fn what_fills_a_window_has_sharp_edges() {
        let edge = picture(&[&[0, 0x00FF_FFFF]]);
        assert_eq!(
            painted(&edge, (5, 5), true, Rect { x: 0, y: 1, width: 5, height: 1 }),
            [0, 0, 0x0080_8080, 0x00FF_FFFF, 0x00FF_FFFF]
        );
    }

    #[test]
    fn all_of_a_colour_stays_that_colour() {
        let mut plain = Surface::new(720, 400);
        (0..400).for_each(|y| plain.line_mut(y).fill(0x00FF_FEFD));
        for window in [(719, 401), (1, 1), (333, 77), (1000, 1000)] {
            let placement = Placement::new((720, 400), window, true);
            let pixels = painted(&plain, window, true, placement.at());
            assert!(pixels.iter().all(|pixel| *pixel == 0x00FF_FEFD), "{window:?}");
        }
    }

    #[test]
    fn parts_are_as_in_the_whole() {
        let mut gradient = Surface::new(50, 40);
        for y in 0..40 {
            gradient
                .line_mut(y)
                .iter_mut()
                .enumerate()
                .for_each(|(x, pixel)| *pixel = (x * y * 1007) as u32 & 0xFF_FFFF);
        }
        for (window, fills) in [((130, 90), false), ((33, 20), false), ((77, 61), true)] {
            let whole = painted(&gradient, window, fills, all(window));
            let part = Rect { x: 5, y: 3, width: 20, height: 15 };
            let pixels = painted(&gradient, window, fills, part);
            for y in 0..part.height {
                let start = (part.y + y) * window.0 + part.x;
                assert_eq!(pixels[y * part.width..][..part.width], whole[start..start + part.width]);
            }
        }
    }
}
