//! Reads a console's text from its picture, with the font that the guest's kernel has.

use super::picture::Picture;

/// Width of a character.
const WIDTH: usize = 8;

/// A console's font.
pub struct Font {
    height: usize,
    /// Lines of each character; bit 7 is the leftmost.
    characters: Vec<Vec<u8>>,
}

impl Font {
    /// Of a PSF file of version 1 or 2, as `setfont -o` writes it.
    pub fn from_psf(file: &[u8]) -> Font {
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        let (start, height, count) = match file {
            [0x36, 0x04, mode, height, ..] => {
                (4, usize::from(*height), if mode & 1 != 0 { 512 } else { 256 })
            }
            [0x72, 0xB5, 0x4A, 0x86, ..] => {
                assert_eq!(word(28), WIDTH, "characters of eight columns");
                (word(8), word(24), word(16))
            }
            other => panic!("no font: {:x?}", &other[..other.len().min(16)]),
        };
        let characters = file[start..].chunks_exact(height).take(count).map(<[u8]>::to_vec).collect();
        Font { height, characters }
    }
    /// The text of a picture that has nothing but characters from its left top on; what is none is shown as U+FFFD.
    pub fn read(&self, picture: &Picture) -> Vec<String> {
        let rows = picture.height / self.height;
        let row = |row| {
            (0..picture.width / WIDTH).map(|column| self.character(picture, column, row)).collect::<String>()
        };
        (0..rows).map(|number| row(number).trim_end().to_owned()).collect()
    }
    fn character(&self, picture: &Picture, column: usize, row: usize) -> char {
        let line = |y: usize| {
            (0..WIDTH).fold(0u8, |bits, x| {
                bits << 1 | u8::from(picture.at(WIDTH * column + x, self.height * row + y) != 0)
            })
        };
        let lines: Vec<u8> = (0..self.height).map(line).collect();
        let found = (0x20..0x7F).find(|code| self.characters[usize::from(*code)] == lines);
        found.map_or('\u{FFFD}', char::from)
    }
}
