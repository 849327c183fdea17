//! Draws sixels (VT330/VT340 Programmer Reference Manual, chapter 14).

use crate::Terminal;
use std::collections::HashMap;

/// Characters one after the other.
struct Reader<'a>(std::iter::Peekable<std::slice::Iter<'a, u8>>);

impl Reader<'_> {
    /// Numbers with semicolons between them.
    fn numbers(&mut self) -> Vec<usize> {
        let mut numbers = vec![0];
        while let Some(byte) = self.0.next_if(|byte| matches!(byte, b'0'..=b'9' | b';')) {
            match byte {
                b';' => numbers.push(0),
                digit => {
                    *numbers.last_mut().unwrap() = 10 * numbers.last().unwrap() + usize::from(digit - b'0')
                }
            }
        }
        numbers
    }
}

impl Terminal {
    /// Draws the text of a device control string from where the cursor stands. The cursor is then on the row of the last band; a
    /// picture that goes past the last row scrolls the screen.
    pub(crate) fn draw_sixels(&mut self, text: &[u8]) {
        self.pictures += 1;
        let start = text.iter().position(|byte| *byte == b'q').unwrap() + 1;
        let mut reader = Reader(text[start..].iter().peekable());
        let left = self.cursor.0 * self.cell_pixels.0;
        let top = self.cursor.1 * self.cell_pixels.1;
        let (width, height) = (self.columns * self.cell_pixels.0, self.rows * self.cell_pixels.1);
        let (mut x, mut y, mut colour) = (left, top, [0; 3]);
        let (mut table, mut lowest) = (HashMap::new(), top);
        while let Some(byte) = reader.0.next() {
            let mut count = 1;
            let byte = match byte {
                b'"' => {
                    let numbers = reader.numbers();
                    assert_eq!(numbers[..2], [1, 1], "pixels are as high as they are wide");
                    continue;
                }
                b'#' => {
                    let numbers = reader.numbers();
                    assert!(numbers[0] < 256, "colour {}", numbers[0]);
                    if numbers.len() == 5 {
                        assert_eq!(numbers[1], 2, "red, green and blue");
                        let code = |at: usize| ((numbers[at] * 255 + 50) / 100) as u8;
                        table.insert(numbers[0], [code(2), code(3), code(4)]);
                    } else {
                        colour = *table.get(&numbers[0]).expect("a colour that was set");
                    }
                    continue;
                }
                b'$' => {
                    x = left;
                    continue;
                }
                b'-' => {
                    (x, y) = (left, y + 6);
                    continue;
                }
                b'!' => {
                    count = reader.numbers()[0];
                    *reader.0.next().unwrap()
                }
                other => *other,
            };
            assert!((b'?'..=b'~').contains(&byte), "{byte:02x} is no sixel");
            for line in (0..6).filter(|line| (byte - b'?') & 1 << line != 0).map(|line| y + line) {
                lowest = lowest.max(line);
                if line < height {
                    self.canvas[line * width..][x.min(width)..(x + count).min(width)].fill(Some(colour));
                }
            }
            x += count;
        }
        // The line below the last band must be on the screen, or all of it moves up.
        self.scrolled += usize::from(lowest >= height);
        self.cursor.1 = (lowest / self.cell_pixels.1).min(self.rows - 1);
    }
}
