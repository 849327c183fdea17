//! What a terminal shows, as a file.

use trimotor_devices::vga::cp437;
use trimotor_test_terminal::{Colour, Terminal};

/// Keeps what a terminal shows as a picture in the folder that `TRIMOTOR_KEEP_PICTURES` names, to be looked at.
pub fn keep(terminal: &Terminal, name: &str) {
    let Some(folder) = std::env::var_os("TRIMOTOR_KEEP_PICTURES") else { return };
    let (columns, rows) = terminal.size();
    let (width, height) = (8 * columns, 16 * rows);
    let mut pixels = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            pixels.extend(terminal.pixel(x, y).unwrap_or_else(|| of_cell(terminal, x, y)));
        }
    }
    let file = std::fs::File::create(std::path::Path::new(&folder).join(format!("{name}.png"))).unwrap();
    let mut encoder = png::Encoder::new(file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

/// A pixel of a cell's character, by the VGA's font.
fn of_cell(terminal: &Terminal, x: usize, y: usize) -> [u8; 3] {
    let cell = terminal.cell(x / 8, y / 16);
    let is_set = match cell.character {
        '▀' => y % 16 < 8,
        character => {
            let code = (0..=255u8).find(|code| cp437::to_char(*code) == character).unwrap_or(b' ');
            trimotor_firmware::vga_bios::font::LINES_16[16 * usize::from(code) + y % 16] & 0x80 >> (x % 8)
                != 0
        }
    };
    let (colour, usual) = if is_set { (cell.foreground, [170; 3]) } else { (cell.background, [0; 3]) };
    match colour {
        Colour::Usual => usual,
        Colour::Rgb(rgb) => rgb,
        Colour::Index(index @ 0..16) => {
            let bright = if index >= 8 { 85 } else { 0 };
            [1, 2, 4].map(|bit| if index & bit != 0 { 170 + bright } else { bright })
        }
        Colour::Index(index @ 232..) => [8 + 10 * (index - 232); 3],
        Colour::Index(index) => {
            [36, 6, 1].map(|place| [0, 95, 135, 175, 215, 255][usize::from((index - 16) / place % 6)])
        }
    }
}
