//! Where in a window the picture is, and how large.

use trimotor_devices::display::Rect;

/// A picture's place in a window: in its middle, with black at the sides where the two differ in shape.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Placement {
    /// The picture's width and height, in its own pixels.
    picture: (usize, usize),
    /// The part of the window that it fills.
    at: Rect,
}

impl Placement {
    /// Of a picture in a window, both as width and height in pixels. The picture is shown whole, in its own shape. Each of its
    /// pixels is a square of as many pixels of the window as fit; where not even one does, or with `fills`, the picture is as
    /// large as the window allows.
    pub fn new(picture: (usize, usize), window: (usize, usize), fills: bool) -> Placement {
        if picture.0 == 0 || picture.1 == 0 || window.0 == 0 || window.1 == 0 {
            return Placement::default();
        }
        let times = (window.0 / picture.0).min(window.1 / picture.1);
        let (width, height) = if times > 0 && !fills {
            (picture.0 * times, picture.1 * times)
        } else {
            fitted(picture, window)
        };
        let at = Rect { x: (window.0 - width) / 2, y: (window.1 - height) / 2, width, height };
        Placement { picture, at }
    }
    /// The part of the window that has the picture.
    pub fn at(&self) -> Rect {
        self.at
    }
    /// The picture's width and height.
    pub fn picture(&self) -> (usize, usize) {
        self.picture
    }
    /// How many pixels of the window a pixel of the picture is wide and high; `None` where that is no whole number.
    pub fn times(&self) -> Option<usize> {
        let times = self.at.width.checked_div(self.picture.0)?;
        let is_whole =
            times > 0 && (self.picture.0 * times, self.picture.1 * times) == (self.at.width, self.at.height);
        is_whole.then_some(times)
    }
    /// The part of the window that a part of the picture has a share in.
    pub fn shown(&self, part: Rect) -> Rect {
        let (x, width) = scaled(part.x, part.width, self.picture.0, self.at.width);
        let (y, height) = scaled(part.y, part.height, self.picture.1, self.at.height);
        Rect { x: self.at.x + x, y: self.at.y + y, width, height }
    }
    /// The picture's pixel at a place of the window; beside the picture, the nearest.
    pub fn pixel(&self, x: i32, y: i32) -> (usize, usize) {
        let along = |at: i32, from: usize, length: usize, pixels: usize| {
            let inside = i64::from(at) - from as i64;
            let inside = inside.clamp(0, (length as i64 - 1).max(0)) as usize;
            (inside * pixels).checked_div(length).unwrap_or(0)
        };
        let Rect { x: left, y: top, width, height } = self.at;
        (along(x, left, width, self.picture.0), along(y, top, height, self.picture.1))
    }
}

/// The largest size of a picture's shape that a window has room for.
pub fn fitted(picture: (usize, usize), window: (usize, usize)) -> (usize, usize) {
    if picture.1 * window.0 <= picture.0 * window.1 {
        (window.0, (window.0 * picture.1 / picture.0.max(1)).max(1))
    } else {
        ((window.1 * picture.0 / picture.1.max(1)).max(1), window.1)
    }
}

/// Start and length of what pixels `start..start + length` of `from` have a share in, once they are `to`.
fn scaled(start: usize, length: usize, from: usize, to: usize) -> (usize, usize) {
    if from == 0 || length == 0 {
        return (0, 0);
    }
    let first = start * to / from;
    let end = ((start + length) * to).div_ceil(from).min(to);
    (first, end.saturating_sub(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: usize, y: usize, width: usize, height: usize) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn pixels_are_squares_in_the_middle() {
        let twice = Placement::new((720, 400), (1500, 900), false);
        assert_eq!((twice.times(), twice.at()), (Some(2), rect(30, 50, 1440, 800)));
        assert_eq!(twice.shown(rect(1, 2, 3, 4)), rect(32, 54, 6, 8));
        assert_eq!(Placement::new((640, 480), (640, 480), false).at(), rect(0, 0, 640, 480));
    }

    #[test]
    fn a_small_window_shows_all_of_the_picture() {
        let wide = Placement::new((4096, 2160), (1024, 768), false);
        assert_eq!((wide.times(), wide.at()), (None, rect(0, 114, 1024, 540)));
        // Two pixels of the picture for one of the window, and those that lie half in another.
        assert_eq!(wide.shown(rect(3, 0, 2, 2160)), rect(0, 114, 2, 540));
        assert_eq!(wide.shown(rect(0, 0, 4096, 2160)), wide.at());
        let high = Placement::new((720, 400), (2000, 300), false);
        assert_eq!(high.at(), rect(730, 0, 540, 300));
        assert_eq!(Placement::new((4096, 1), (10, 10), false).at().height, 1);
    }

    #[test]
    fn one_that_fills_need_be_no_whole_number() {
        let filling = Placement::new((720, 400), (1000, 900), true);
        assert_eq!((filling.times(), filling.at()), (None, rect(0, 172, 1000, 555)));
        assert_eq!(Placement::new((720, 400), (1440, 800), true).times(), Some(2));
    }

    #[test]
    fn places_are_pixels_of_the_picture() {
        let placement = Placement::new((720, 400), (1500, 900), false);
        assert_eq!(placement.pixel(30, 50), (0, 0));
        assert_eq!(placement.pixel(33, 53), (1, 1));
        assert_eq!(placement.pixel(-5, 10_000), (0, 399));
        assert_eq!(placement.pixel(i32::MAX, i32::MIN), (719, 0));
        let small = Placement::new((4096, 2160), (1024, 768), false);
        assert_eq!(small.pixel(1023, 653), (4092, 2156));
    }

    #[test]
    fn nothing_is_nowhere() {
        for placement in [Placement::new((0, 0), (5, 5), false), Placement::new((5, 5), (0, 7), true)] {
            assert_eq!((placement.at(), placement.times()), (Rect::default(), None));
            assert_eq!(placement.pixel(3, 3), (0, 0));
            assert_eq!(placement.shown(rect(0, 0, 5, 5)), Rect::default());
        }
    }
}
