//! A text screen as a picture: SVG, which every browser shows and git can compare.

use std::fmt::Write;
use trimotor_devices::vga_text::{TextScreen, cp437};

/// Pixels of a cell: the VGA's 9 by 16.
const CELL_WIDTH: usize = 9;
const CELL_HEIGHT: usize = 16;
/// Pixels from a cell's top to the line that characters stand on.
const BASELINE: usize = 12;
/// Pixels around the screen.
const MARGIN: usize = 12;

/// Draws `screen`. Cells in a row with the same colours become one element.
pub fn draw(screen: &TextScreen) -> String {
    let width = screen.columns * CELL_WIDTH + 2 * MARGIN;
    let height = screen.rows * CELL_HEIGHT + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"'DejaVu Sans Mono','Liberation Mono',Consolas,monospace\" font-size=\"14\">\n<rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"#000\"/>\n"
    );
    for row in 0..screen.rows {
        let cells = screen.row(row);
        let mut start = 0;
        for run in cells.chunk_by(|left, right| left.attribute == right.attribute) {
            let text: String = run.iter().map(|cell| cp437::to_char(cell.character)).collect();
            draw_run(&mut svg, screen, (start, row), run[0].attribute, &text);
            start += run.len();
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_run(svg: &mut String, screen: &TextScreen, (column, row): (usize, usize), attribute: u8, text: &str) {
    let hex = |code: usize| {
        let [red, green, blue] = screen.colours[code];
        format!("#{red:02x}{green:02x}{blue:02x}")
    };
    let (x, y) = (MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT);
    let width = text.chars().count() * CELL_WIDTH;
    let background = usize::from((attribute >> 4) & if screen.blink { 0x07 } else { 0x0f });
    if background != 0 {
        let colour = hex(background);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{CELL_HEIGHT}\" fill=\"{colour}\"/>"
        );
    }
    if text.trim().is_empty() {
        return;
    }
    let colour = hex(usize::from(attribute & 0x0f));
    // Blanks that renderers do not fold together; those at the end are nothing to see.
    let text = text.trim_end();
    let width = text.chars().count() * CELL_WIDTH;
    let escaped = text.replace(' ', "\u{a0}").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{}\" fill=\"{colour}\" textLength=\"{width}\" lengthAdjust=\"spacingAndGlyphs\">{escaped}</text>",
        y + BASELINE
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_devices::vga_text::{TextCell, VgaText};

    #[test]
    fn runs_of_a_colour_are_one_element() {
        let mut screen = VgaText::new().screen().unwrap();
        for (column, &character) in b"a<b".iter().enumerate() {
            screen.cells[column] = TextCell { character, attribute: 0x1e };
        }
        let svg = draw(&screen);
        assert!(svg.contains("fill=\"#ffff55\" textLength=\"27\""), "{svg}");
        assert!(svg.contains(">a&lt;b</text>"));
        assert_eq!(svg.matches("<text").count(), 1);
        assert_eq!(svg.matches("<rect").count(), 2);
    }
}
