//! A picture in memory.

/// The widest surface, in pixels.
pub const MAX_WIDTH: usize = 4096;
/// The highest surface, in pixels.
pub const MAX_HEIGHT: usize = 4096;

/// A part of a surface, in pixels; what is beyond the surface's edges counts for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rect {
    /// Of the left edge.
    pub x: usize,
    /// Of the upper edge.
    pub y: usize,
    /// Pixels in a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

impl Rect {
    /// Whether it has no pixel.
    pub fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }
    /// The pixels in it.
    pub fn area(&self) -> usize {
        self.width * self.height
    }
    /// The smallest one that has all of both.
    pub fn union(&self, other: &Rect) -> Rect {
        if self.is_empty() {
            return *other;
        }
        if other.is_empty() {
            return *self;
        }
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let right = (self.x + self.width).max(other.x + other.width);
        let below = (self.y + self.height).max(other.y + other.height);
        Rect { x, y, width: right - x, height: below - y }
    }
    /// What both have.
    pub fn intersection(&self, other: &Rect) -> Rect {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let right = (self.x + self.width).min(other.x + other.width);
        let below = (self.y + self.height).min(other.y + other.height);
        Rect { x, y, width: right.saturating_sub(x), height: below.saturating_sub(y) }
    }
}

/// A picture: lines from top to bottom, each pixel 00RRGGBBh.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Surface {
    width: usize,
    height: usize,
    pixels: Vec<u32>,
}

impl Surface {
    /// A black one of this size, which is cut to [`MAX_WIDTH`] and [`MAX_HEIGHT`].
    pub fn new(width: usize, height: usize) -> Self {
        let (width, height) = (width.min(MAX_WIDTH), height.min(MAX_HEIGHT));
        Self { width, height, pixels: vec![0; width * height] }
    }
    /// Pixels in a line.
    pub fn width(&self) -> usize {
        self.width
    }
    /// Lines.
    pub fn height(&self) -> usize {
        self.height
    }
    /// The whole of it.
    pub fn whole(&self) -> Rect {
        Rect { x: 0, y: 0, width: self.width, height: self.height }
    }
    /// Makes it another size, all black; returns false where it has this size already, and leaves it as it is.
    pub fn resize(&mut self, width: usize, height: usize) -> bool {
        let (width, height) = (width.min(MAX_WIDTH), height.min(MAX_HEIGHT));
        if (width, height) == (self.width, self.height) {
            return false;
        }
        *self = Self::new(width, height);
        true
    }
    /// All pixels, line after line.
    pub fn pixels(&self) -> &[u32] {
        &self.pixels
    }
    /// A line's pixels; none below the last line.
    pub fn line(&self, y: usize) -> &[u32] {
        let start = (y * self.width).min(self.pixels.len());
        &self.pixels[start..(start + self.width).min(self.pixels.len())]
    }
    /// A line's pixels, to be drawn; none below the last line.
    pub fn line_mut(&mut self, y: usize) -> &mut [u32] {
        let start = (y * self.width).min(self.pixels.len());
        let end = (start + self.width).min(self.pixels.len());
        &mut self.pixels[start..end]
    }
    /// Takes the pixels of `part` from a surface of the same size.
    pub fn copy_from(&mut self, other: &Surface, part: Rect) {
        let part = part.intersection(&self.whole()).intersection(&other.whole());
        for y in part.y..part.y + part.height {
            let columns = part.x..part.x + part.width;
            self.line_mut(y)[columns.clone()].copy_from_slice(&other.line(y)[columns]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: usize, y: usize, width: usize, height: usize) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn rectangles_meet_and_join() {
        let (a, b) = (rect(0, 0, 10, 10), rect(5, 8, 10, 10));
        assert_eq!(a.intersection(&b), rect(5, 8, 5, 2));
        assert_eq!(a.union(&b), rect(0, 0, 15, 18));
        assert!(a.intersection(&rect(10, 0, 1, 1)).is_empty());
        assert_eq!(a.union(&Rect::default()), a);
    }

    #[test]
    fn parts_are_copied_and_edges_hold() {
        let mut from = Surface::new(4, 3);
        (0..3).for_each(|y| from.line_mut(y).fill(7 + y as u32));
        let mut to = Surface::new(4, 3);
        to.copy_from(&from, rect(2, 1, 100, 100));
        assert_eq!(to.pixels(), [0, 0, 0, 0, 0, 0, 8, 8, 0, 0, 9, 9]);
        assert!(to.line(3).is_empty() && !to.resize(4, 3) && to.resize(2, 2));
        assert_eq!(Surface::new(usize::MAX, 1).width(), MAX_WIDTH);
    }
}
