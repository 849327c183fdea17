//! What tests of displays ask of pictures: text by the font, parts, sizes.

pub use crate::pictures::picture::Picture;
use trimotor_firmware::vga_bios::font::LINES_16;

/// The size of a character in text modes, and how many there are.
const CELL: (usize, usize) = (9, 16);
const TEXT: (usize, usize) = (80, 25);

impl Picture {
    /// The text of a text mode, 80 characters wide, read by the font's shapes; what is none of ASCII's is a `?`.
    pub fn lines(&self) -> Vec<String> {
        if (self.width, self.height) != (CELL.0 * TEXT.0, CELL.1 * TEXT.1) {
            return Vec::new();
        }
        let line = |row| {
            let line: String = (0..TEXT.0).map(|column| self.character(column, row)).collect();
            line.trim_end().to_owned()
        };
        (0..TEXT.1).map(line).collect()
    }
    fn character(&self, column: usize, row: usize) -> char {
        // The ninth column is the background's.
        let background = self.pixels[row * CELL.1 * self.width + column * CELL.0 + 8];
        let shape: Vec<u8> = (0..CELL.1)
            .map(|y| {
                let start = (row * CELL.1 + y) * self.width + column * CELL.0;
                let dots = &self.pixels[start..start + 8];
                dots.iter().fold(0, |all, dot| all << 1 | u8::from(*dot != background))
            })
            .collect();
        let is_it = |code: &u8| LINES_16[16 * usize::from(*code)..][..16] == shape;
        (b' '..0x7F).find(is_it).map_or('?', char::from)
    }
    /// A part, at a place and of a size, and all pixels that are not in it.
    pub fn part_and_rest(&self, at: (usize, usize), size: (usize, usize)) -> (Picture, Vec<u32>) {
        let is_in = |place: usize| {
            let (x, y) = (place % self.width, place / self.width);
            (at.0..at.0 + size.0).contains(&x) && (at.1..at.1 + size.1).contains(&y)
        };
        let (inside, rest): (Vec<_>, Vec<_>) = (0..self.pixels.len()).partition(|place| is_in(*place));
        let pixels = |places: Vec<usize>| places.into_iter().map(|place| self.pixels[place]).collect();
        (Picture { width: size.0, height: size.1, pixels: pixels(inside) }, pixels(rest))
    }
    /// One pixel of so many in each line, and one line of so many.
    pub fn every(&self, times: usize) -> Picture {
        let (width, height) = (self.width / times, self.height / times);
        let pixels = (0..width * height)
            .map(|at| self.pixels[at / width * times * self.width + at % width * times])
            .collect();
        Picture { width, height, pixels }
    }
    /// Each pixel as a square of so many.
    pub fn scaled(&self, times: usize) -> Picture {
        let (width, height) = (self.width * times, self.height * times);
        let pixels = (0..width * height)
            .map(|at| self.pixels[at / width / times * self.width + at % width / times])
            .collect();
        Picture { width, height, pixels }
    }
    /// Fails where two pictures differ, and says where.
    #[track_caller]
    pub fn assert_same(&self, other: &Picture) {
        assert_eq!((self.width, self.height), (other.width, other.height));
        let differ: Vec<usize> =
            (0..self.pixels.len()).filter(|at| self.pixels[*at] != other.pixels[*at]).collect();
        if let Some(first) = differ.first() {
            let (x, y) = (first % self.width, first / self.width);
            let [one, two] = [self, other].map(|picture| picture.pixels[*first]);
            panic!("{} pixels differ, the first at {x},{y}: {one:06x} and {two:06x}", differ.len());
        }
    }
}
