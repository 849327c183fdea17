//! Which parts of a picture changed.

use super::surface::{Rect, Surface};

/// Rectangles that are kept apart; more are joined.
pub const MAX_RECTS: usize = 32;

/// The parts of a surface that changed, in rectangles that may overlap.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Damage {
    rects: Vec<Rect>,
    resized: bool,
}

impl Damage {
    /// All of `surface`, whose size may be another one than before.
    pub fn whole(surface: &Surface) -> Self {
        Self { rects: vec![surface.whole()], resized: true }
    }
    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.rects.is_empty() && !self.resized
    }
    /// The surface's size may be another one; then all of it changed.
    pub fn resized(&self) -> bool {
        self.resized
    }
    /// What changed, at most [`MAX_RECTS`] rectangles.
    pub fn rects(&self) -> &[Rect] {
        &self.rects
    }
    /// Adds a part.
    pub fn add(&mut self, part: Rect) {
        if part.is_empty() || self.rects.iter().any(|rect| rect.union(&part) == *rect) {
            return;
        }
        // Lines below each other become one rectangle, and so do others that together are little more than each.
        let near = self.rects.iter().position(|rect| rect.union(&part).area() <= rect.area() + part.area());
        if let Some(near) = near {
            self.rects[near] = self.rects[near].union(&part);
        } else if self.rects.len() < MAX_RECTS {
            self.rects.push(part);
        } else {
            let all = self.rects.iter().fold(part, |all, rect| all.union(rect));
            self.rects = vec![all];
        }
    }
    /// Adds all that `newer` has, which belongs to `surface`.
    pub fn merge(&mut self, newer: &Damage, surface: &Surface) {
        if self.resized || newer.resized {
            *self = Self::whole(surface);
            return;
        }
        newer.rects.iter().for_each(|rect| self.add(*rect));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: usize, y: usize, width: usize, height: usize) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn lines_become_one_rectangle() {
        let mut damage = Damage::default();
        (0..100).for_each(|y| damage.add(rect(0, y, 640, 1)));
        assert_eq!(damage.rects(), [rect(0, 0, 640, 100)]);
        damage.add(rect(3, 4, 5, 6));
        assert_eq!(damage.rects().len(), 1);
        damage.add(rect(0, 300, 640, 1));
        assert_eq!(damage.rects().len(), 2);
    }

    #[test]
    fn too_many_become_one() {
        let mut damage = Damage::default();
        (0..=MAX_RECTS).for_each(|n| damage.add(rect(10 * n, 10 * n, 2, 2)));
        let side = 10 * MAX_RECTS + 2;
        assert_eq!(damage.rects(), [rect(0, 0, side, side)]);
    }

    #[test]
    fn a_new_size_is_all_of_the_surface() {
        let surface = Surface::new(8, 8);
        let mut damage = Damage::default();
        damage.add(rect(1, 1, 1, 1));
        damage.merge(&Damage::whole(&surface), &surface);
        assert!(damage.resized() && damage.rects() == [rect(0, 0, 8, 8)]);
        let mut later = Damage::default();
        later.add(rect(2, 2, 1, 1));
        damage.merge(&later, &surface);
        assert!(damage.resized() && damage.rects().len() == 1);
    }
}
