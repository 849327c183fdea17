//! How many colours a terminal has, and which of them is nearest to a given one.

use crate::render::Rgb;
use crossterm::style::Color;

/// What a terminal can be told of a colour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Depth {
    /// One of the 16 that all terminals have.
    Sixteen,
    /// One of xterm's table of 256.
    Table,
    /// Red, green and blue, 8 bits each.
    #[default]
    True,
}

impl Depth {
    /// What the environment says: COLORTERM, as terminals set it that have all colours, or the name of the terminal's kind in TERM.
    pub fn of_environment(colour_term: &str, term: &str) -> Depth {
        if matches!(colour_term, "truecolor" | "24bit") || term.contains("direct") {
            Depth::True
        } else if term.contains("256") || FAMILIAR.iter().any(|name| term.contains(name)) {
            Depth::Table
        } else {
            Depth::Sixteen
        }
    }
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Depth::Sixteen => "16 colours",
            Depth::Table => "256 colours",
            Depth::True => "24-bit colours",
        }
    }
    /// The terminal's colour nearest to `rgb`.
    pub fn nearest(self, rgb: Rgb) -> Color {
        match self {
            Depth::True => Color::Rgb { r: rgb[0], g: rgb[1], b: rgb[2] },
            Depth::Table => Color::AnsiValue(nearest_of_table(rgb)),
            Depth::Sixteen => Color::AnsiValue(nearest_of_sixteen(rgb)),
        }
    }
}

/// Kinds of terminals that have xterm's table without saying so in their names.
const FAMILIAR: [&str; 6] = ["kitty", "alacritty", "foot", "wezterm", "ghostty", "contour"];

/// The levels of a colour in the cube of the table (xterm, "256colres").
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
const CUBE_START: u8 = 16;
const GREYS_START: u8 = 232;
const GREYS: u8 = 24;

/// The first 16 as xterm has them unless it is told otherwise.
const SIXTEEN: [Rgb; 16] = [
    [0, 0, 0],
    [205, 0, 0],
    [0, 205, 0],
    [205, 205, 0],
    [0, 0, 238],
    [205, 0, 205],
    [0, 205, 205],
    [229, 229, 229],
    [127, 127, 127],
    [255, 0, 0],
    [0, 255, 0],
    [255, 255, 0],
    [92, 92, 255],
    [255, 0, 255],
    [0, 255, 255],
    [255, 255, 255],
];

/// How unlike two colours are: the eye tells green best and blue worst.
fn distance(one: Rgb, other: Rgb) -> u32 {
    let square = |colour: usize| u32::from(one[colour].abs_diff(other[colour])).pow(2);
    3 * square(0) + 4 * square(1) + 2 * square(2)
}

fn nearest_of_table(rgb: Rgb) -> u8 {
    let level = |code: u8| (0..6).min_by_key(|level| LEVELS[*level].abs_diff(code)).unwrap_or(0);
    let cube = rgb.map(level);
    let mean = rgb.iter().map(|code| u32::from(*code)).sum::<u32>() / 3;
    let grey = ((mean.saturating_sub(3) / 10) as u8).min(GREYS - 1);
    let of_cube = cube.map(|level| LEVELS[level]);
    if distance(rgb, [8 + 10 * grey; 3]) < distance(rgb, of_cube) {
        GREYS_START + grey
    } else {
        CUBE_START + (36 * cube[0] + 6 * cube[1] + cube[2]) as u8
    }
}

fn nearest_of_sixteen(rgb: Rgb) -> u8 {
    (0..16).min_by_key(|index| distance(rgb, SIXTEEN[*index])).unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_tells_how_many_there_are() {
        for (colour_term, term, depth) in [
            ("truecolor", "xterm", Depth::True),
            ("24bit", "", Depth::True),
            ("", "xterm-direct", Depth::True),
            ("", "xterm-256color", Depth::Table),
            ("yes", "xterm-kitty", Depth::Table),
            ("", "linux", Depth::Sixteen),
            ("", "vt100", Depth::Sixteen),
        ] {
            assert_eq!(Depth::of_environment(colour_term, term), depth, "{colour_term} {term}");
        }
    }

    #[test]
    fn colours_of_the_table_are_themselves() {
        let value = |rgb, depth: Depth| match depth.nearest(rgb) {
            Color::AnsiValue(value) => value,
            other => panic!("{other:?}"),
        };
        for (index, level) in LEVELS.into_iter().enumerate() {
            assert_eq!(value([level, 0, 0], Depth::Table), 16 + 36 * index as u8);
            assert_eq!(value([0, 0, level], Depth::Table), 16 + index as u8);
        }
        assert_eq!(value([8 + 10 * 5; 3], Depth::Table), 237);
        assert_eq!(value([255; 3], Depth::Table), 231);
        for (index, rgb) in SIXTEEN.into_iter().enumerate() {
            assert_eq!(value(rgb, Depth::Sixteen), index as u8);
        }
        assert_eq!(Depth::True.nearest([1, 2, 3]), Color::Rgb { r: 1, g: 2, b: 3 });
    }
}
