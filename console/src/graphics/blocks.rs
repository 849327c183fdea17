//! Pictures of half-blocks: each cell shows two pixels above each other, one as the colour of an upper half block (U+2580) and one as
//! the colour behind it.

use super::scale::rgb;
use crate::render::{Glyph, Picture};
use trimotor_devices::display::Surface;

/// The upper half of a cell.
pub const UPPER_HALF: char = '\u{2580}';

/// Puts a picture into cells, from (`column`, `row`) on: two lines a row, or one, where `whole_cells` are all that the terminal
/// shows.
pub fn put(scaled: &Surface, (column, row): (usize, usize), whole_cells: bool, into: &mut Picture) {
    let lines = if whole_cells { 1 } else { 2 };
    for of_row in 0..scaled.height().div_ceil(lines) {
        let upper = scaled.line(lines * of_row);
        let lower = if whole_cells { upper } else { scaled.line(2 * of_row + 1) };
        for (at, pixel) in upper.iter().enumerate() {
            // Below a picture with an odd number of lines it is black.
            let glyph = cell(rgb(*pixel), rgb(lower.get(at).copied().unwrap_or(0)));
            into.put(column + at, row + of_row, glyph);
        }
    }
}

fn cell(upper: [u8; 3], lower: [u8; 3]) -> Glyph {
    let character = if upper == lower { ' ' } else { UPPER_HALF };
    // A space has no colour of its own: none is sent where that of the cell before will do.
    Glyph { character, foreground: upper, background: lower, blink: false, exact: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colours::Depth;
    use crate::graphics::scale::tests::colourful;
    use crate::render::Renderer;
    use trimotor_test_terminal::{Colour, Terminal};

    fn shown(picture: &Picture, depth: Depth) -> Terminal {
        let mut terminal = Terminal::new(picture.columns(), picture.rows());
        let mut renderer = Renderer::default();
        renderer.set_depth(depth);
        let mut out = Vec::new();
        renderer.draw(picture, &mut out).unwrap();
        terminal.write(&out);
        terminal
    }

    #[test]
    fn cells_are_the_picture_s_pixels() {
        let scaled = colourful(60, 31);
        let mut picture = Picture::new(80, 24);
        put(&scaled, (7, 3), false, &mut picture);
        let terminal = shown(&picture, Depth::True);
        for row in 0..16 {
            for column in 0..60 {
                let cell = terminal.cell(7 + column, 3 + row);
                let upper = Colour::Rgb(rgb(scaled.line(2 * row)[column]));
                let lower = Colour::Rgb(rgb(scaled.line(2 * row + 1).get(column).copied().unwrap_or(0)));
                assert_eq!(cell.background, lower, "{column} {row}");
                if upper == lower {
                    assert_eq!(cell.character, ' ');
                } else {
                    assert_eq!((cell.character, cell.foreground), (UPPER_HALF, upper), "{column} {row}");
                }
            }
        }
        assert_eq!(terminal.cell(6, 3).character, ' ');
        assert_eq!(terminal.cell(7, 19).background, Colour::Usual);
    }

    #[test]
    fn terminals_of_fewer_colours_get_the_nearest() {
        let mut scaled = Surface::new(2, 2);
        scaled.line_mut(0).copy_from_slice(&[0x00FE_0101, 0x0002_02FF]);
        scaled.line_mut(1).copy_from_slice(&[0x0000_AF00, 0x00AA_AAAA]);
        let mut picture = Picture::new(2, 1);
        put(&scaled, (0, 0), false, &mut picture);
        let table = shown(&picture, Depth::Table);
        assert_eq!(
            (table.cell(0, 0).foreground, table.cell(0, 0).background),
            (Colour::Index(196), Colour::Index(34))
        );
        assert_eq!(
            (table.cell(1, 0).foreground, table.cell(1, 0).background),
            (Colour::Index(21), Colour::Index(248))
        );
        let sixteen = shown(&picture, Depth::Sixteen);
        assert_eq!(
            (sixteen.cell(0, 0).foreground, sixteen.cell(0, 0).background),
            (Colour::Index(9), Colour::Index(2))
        );
    }

    #[test]
    fn without_half_blocks_cells_have_one_colour() {
        let scaled = colourful(5, 4);
        let mut picture = Picture::new(5, 4);
        put(&scaled, (0, 0), true, &mut picture);
        let terminal = shown(&picture, Depth::True);
        assert_eq!(terminal.text().trim(), "");
        assert_eq!(terminal.cell(3, 2).background, Colour::Rgb(rgb(scaled.line(2)[3])));
    }
}
