//! A text screen as a picture: SVG, which every browser shows and git can compare.
//!
//! Programs that draw SVG differ in their fonts, and some ignore `textLength`. So the font's size is that whose
//! characters are as wide as a cell in the usual fonts (0.6 of their height), each word is placed by itself, and is
//! told its width; backgrounds and block characters are rectangles.

use std::fmt::Write;
use trimotor_devices::vga::{TextScreen, cp437};

/// Pixels of a cell: the VGA's 9 by 16.
const CELL_WIDTH: usize = 9;
const CELL_HEIGHT: usize = 16;
/// Characters of DejaVu Sans Mono and Liberation Mono are then 9 pixels wide.
const FONT_SIZE: usize = 15;
/// Pixels from a cell's top to the line that characters stand on.
const BASELINE: usize = 12;
/// Characters that are placed together: where a font's are a little too wide, no more than these drift.
const PLACED_TOGETHER: usize = 10;
/// Pixels around the screen.
const MARGIN: usize = 12;

/// Draws `screen`. Cells in a row with the same colours become one rectangle and a text a word.
pub fn draw(screen: &TextScreen) -> String {
    let width = screen.columns * CELL_WIDTH + 2 * MARGIN;
    let height = screen.rows * CELL_HEIGHT + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" \
         font-family=\"'DejaVu Sans Mono','Liberation Mono',Menlo,Consolas,monospace\" font-size=\"{FONT_SIZE}\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"#000\"/>\n"
    );
    // All backgrounds first: some characters reach into the row above theirs.
    for draw_run in [draw_background, draw_characters] {
        for row in 0..screen.rows {
            let mut column = 0;
            for run in screen.row(row).chunk_by(|left, right| left.attribute == right.attribute) {
                let text: Vec<char> = run.iter().map(|cell| cp437::to_char(cell.character)).collect();
                draw_run(&mut svg, screen, (column, row), run[0].attribute, &text);
                column += run.len();
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// A place on the screen: column and row.
type Place = (usize, usize);

fn left_top((column, row): Place) -> (usize, usize) {
    (MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT)
}

fn hex(screen: &TextScreen, code: usize) -> String {
    let [red, green, blue] = screen.colours[code];
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn draw_background(svg: &mut String, screen: &TextScreen, place: Place, attribute: u8, text: &[char]) {
    let background = usize::from((attribute >> 4) & if screen.blink { 0x07 } else { 0x0f });
    if background != 0 {
        let size = (text.len() * CELL_WIDTH, CELL_HEIGHT);
        rectangle(svg, left_top(place), size, &hex(screen, background), "");
    }
}

fn draw_characters(svg: &mut String, screen: &TextScreen, place: Place, attribute: u8, text: &[char]) {
    let colour = hex(screen, usize::from(attribute & 0x0f));
    let (mut column, row) = place;
    for word in text.chunk_by(|left, right| kind(*left) == kind(*right)) {
        match kind(word[0]) {
            Kind::Blank => {}
            Kind::Word => {
                for (number, part) in word.chunks(PLACED_TOGETHER).enumerate() {
                    draw_word(svg, (column + number * PLACED_TOGETHER, row), part, &colour);
                }
            }
            Kind::Block(block) => draw_block(svg, (column, row), word.len(), block, &colour),
        }
        column += word.len();
    }
}

/// How a character is drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Blank,
    Word,
    Block(Block),
}

/// A part of a cell: pixels from its left top, its size, and how much of the colour it has, in quarters.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Block {
    offset: (usize, usize),
    size: (usize, usize),
    quarters: usize,
}

fn kind(character: char) -> Kind {
    const HALF_WIDTH: usize = CELL_WIDTH / 2;
    const HALF_HEIGHT: usize = CELL_HEIGHT / 2;
    let block = |offset, size, quarters| Kind::Block(Block { offset, size, quarters });
    match character {
        ' ' | '\u{a0}' => Kind::Blank,
        '█' => block((0, 0), (CELL_WIDTH, CELL_HEIGHT), 4),
        '▓' => block((0, 0), (CELL_WIDTH, CELL_HEIGHT), 3),
        '▒' => block((0, 0), (CELL_WIDTH, CELL_HEIGHT), 2),
        '░' => block((0, 0), (CELL_WIDTH, CELL_HEIGHT), 1),
        '▀' => block((0, 0), (CELL_WIDTH, HALF_HEIGHT), 4),
        '▄' => block((0, HALF_HEIGHT), (CELL_WIDTH, HALF_HEIGHT), 4),
        '▌' => block((0, 0), (HALF_WIDTH, CELL_HEIGHT), 4),
        '▐' => block((HALF_WIDTH, 0), (CELL_WIDTH - HALF_WIDTH, CELL_HEIGHT), 4),
        _ => Kind::Word,
    }
}

fn draw_word(svg: &mut String, place: Place, word: &[char], colour: &str) {
    let (x, y) = left_top(place);
    let (y, width) = (y + BASELINE, word.len() * CELL_WIDTH);
    let text: String = word.iter().collect();
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\" textLength=\"{width}\" lengthAdjust=\"spacingAndGlyphs\">{text}</text>"
    );
}

fn draw_block(svg: &mut String, (column, row): Place, cells: usize, block: Block, colour: &str) {
    let opacity = match block.quarters {
        4 => String::new(),
        quarters => format!(" fill-opacity=\"{}\"", quarters as f64 / 4.0),
    };
    let mut put = |column: usize, width: usize| {
        let (x, y) = left_top((column, row));
        rectangle(svg, (x + block.offset.0, y + block.offset.1), (width, block.size.1), colour, &opacity);
    };
    if block.size.0 == CELL_WIDTH {
        put(column, cells * CELL_WIDTH);
    } else {
        (0..cells).for_each(|cell| put(column + cell, block.size.0));
    }
}

fn rectangle(
    svg: &mut String,
    (x, y): (usize, usize),
    (width, height): (usize, usize),
    colour: &str,
    more: &str,
) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\"{more}/>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_devices::vga::{TextCell, Vga};

    fn drawn(text: &[u8]) -> String {
        let mut screen = Vga::alone().screen().unwrap();
        for (column, &character) in text.iter().enumerate() {
            screen.cells[column] = TextCell { character, attribute: 0x1e };
        }
        draw(&screen)
    }

    #[test]
    fn runs_of_a_colour_are_one_rectangle_and_words_have_places_of_their_own() {
        let svg = drawn(b"a<b  cd");
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(
            svg.contains("<rect x=\"12\" y=\"12\" width=\"63\" height=\"16\" fill=\"#0000aa\"/>"),
            "{svg}"
        );
        assert_eq!(svg.matches("<text").count(), 2);
        let word = "<text x=\"12\" y=\"24\" fill=\"#ffff55\" textLength=\"27\" lengthAdjust=\"spacingAndGlyphs\">a&lt;b</text>";
        assert!(svg.contains(word), "{svg}");
        // The fifth cell on.
        assert!(svg.contains("<text x=\"57\"") && svg.contains("textLength=\"18\""), "{svg}");
    }

    #[test]
    fn long_words_are_placed_in_parts() {
        let svg = drawn(&[b'x'; 25]);
        for (x, width) in [(12, 90), (102, 90), (192, 45)] {
            let part = format!("<text x=\"{x}\" y=\"24\" fill=\"#ffff55\" textLength=\"{width}\"");
            assert!(svg.contains(&part), "no {part} in {svg}");
        }
    }

    #[test]
    fn blocks_are_rectangles() {
        // Code page 437: two full blocks, two left halves, a medium shade.
        let svg = drawn(&[0xdb, 0xdb, 0xdd, 0xdd, 0xb1]);
        assert_eq!(svg.matches("<text").count(), 0);
        for part in [
            "x=\"12\" y=\"12\" width=\"18\" height=\"16\" fill=\"#ffff55\"/",
            "x=\"30\" y=\"12\" width=\"4\" height=\"16\"",
            "x=\"39\" y=\"12\" width=\"4\" height=\"16\"",
            "x=\"48\" y=\"12\" width=\"9\" height=\"16\" fill=\"#ffff55\" fill-opacity=\"0.5\"/",
        ] {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
    }
}
