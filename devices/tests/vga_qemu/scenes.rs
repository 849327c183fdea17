//! What is drawn.

use super::Both;
use trimotor_firmware::vga_bios::font::{LINES_8, LINES_16};
use trimotor_firmware::vga_bios::mode_table::{Kind, MODES, Mode};

/// Six bits of each component.
const SIX: u32 = 0xFC_FCFC;
const SEQUENCER: u16 = 0x3C4;
const GRAPHICS: u16 = 0x3CE;

pub fn all(both: &mut Both) {
    for mode in &MODES {
        every_mode(both, mode);
    }
    fonts_and_cursor(both);
    scrolling_and_split(both);
    write_modes(both);
    packed_and_unchained(both);
    dispi(both);
    // Back to text, with all that was on gone.
    set_mode(both, mode(3));
    text(both, 0xB_8000);
    both.compare("mode 3 in the end", SIX);
}

fn mode(number: u8) -> &'static Mode {
    MODES.iter().find(|mode| mode.number == number).unwrap()
}
/// Bytes that look like nothing.
fn noise(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Sets a mode by its registers, with an empty memory, fonts and colours.
fn set_mode(both: &mut Both, mode: &Mode) {
    let row = mode.row();
    let parameters = &row[5..];
    let (sequencer, rest) = parameters.split_at(4);
    let (misc, crtc, attribute, graphics) = (rest[0], &rest[1..26], &rest[26..46], &rest[46..55]);
    memory_is_empty(both);
    font(both, 0, LINES_16);
    both.out(0x3C2, misc);
    both.indexed(SEQUENCER, 0, 1);
    for (n, value) in sequencer.iter().enumerate() {
        both.indexed(SEQUENCER, n as u8 + 1, *value);
    }
    both.indexed(SEQUENCER, 0, 3);
    let base = if misc & 1 != 0 { 0x3D4 } else { 0x3B4 };
    both.indexed(base, 0x11, 0);
    for (n, value) in crtc.iter().enumerate() {
        both.indexed(base, n as u8, *value);
    }
    // No cursor.
    both.indexed(base, 0x0A, 0x20);
    for (n, value) in graphics.iter().enumerate() {
        both.indexed(GRAPHICS, n as u8, *value);
    }
    both.input(base + 6);
    for (n, value) in attribute.iter().enumerate() {
        // Nothing blinks.
        let value = if n == 0x10 { value & !8 } else { *value };
        both.out(0x3C0, n as u8);
        both.out(0x3C0, value);
    }
    both.out(0x3C0, 0x14);
    both.out(0x3C0, 0);
    both.out(0x3C0, 0x20);
    both.out(0x3C8, 0);
    for colour in 0..=255u8 {
        let components = [colour.wrapping_mul(7), colour.wrapping_mul(13) ^ 0x15, colour.wrapping_mul(29)];
        components.iter().for_each(|component| both.out(0x3C9, component & 0x3F));
    }
}
/// All planes at A0000h, one byte an address.
fn planar_window(both: &mut Both, planes: u8) {
    for (port, index, value) in [
        (SEQUENCER, 2, planes),
        (SEQUENCER, 4, 6),
        (GRAPHICS, 0, 0),
        (GRAPHICS, 1, 0),
        (GRAPHICS, 3, 0),
        (GRAPHICS, 5, 0),
        (GRAPHICS, 6, 5),
        (GRAPHICS, 8, 0xFF),
    ] {
        both.indexed(port, index, value);
    }
}
fn memory_is_empty(both: &mut Both) {
    both.out(0x3C2, 0x67);
    planar_window(both, 0x0F);
    both.write(0xA_0000, &vec![0; 0x1_0000]);
}
fn font(both: &mut Both, at: u64, lines: &[u8]) {
    planar_window(both, 0x04);
    let height = lines.len() / 256;
    let mut bytes = vec![0; 256 * 32];
    for (character, shape) in lines.chunks_exact(height).enumerate() {
        bytes[32 * character..32 * character + height].copy_from_slice(shape);
    }
    both.write(0xA_0000 + at, &bytes);
}
/// Cells that are the same on both: neither underlined, nor shading characters.
fn cell(character: u32, attribute: u32) -> [u8; 2] {
    let character = character as u8;
    let attribute = attribute as u8;
    [
        if (0xB0..0xC0).contains(&character) { character + 0x10 } else { character },
        if attribute & 0x77 == 1 { 0x0F } else { attribute },
    ]
}
/// Characters in all colours.
fn text(both: &mut Both, window: u64) {
    let cells: Vec<u8> = (0..2000).flat_map(|n| cell(n, n / 7)).collect();
    both.write(window, &cells);
}

fn every_mode(both: &mut Both, mode: &Mode) {
    set_mode(both, mode);
    let window = u64::from(mode.segment) << 4;
    match mode.kind {
        Kind::Text => text(both, window),
        Kind::Cga4 | Kind::Cga2 => both.write(window, &noise(mode.number.into(), 0x4000)),
        Kind::Packed => both.write(window, &noise(9, 64000)),
        Kind::Planar | Kind::Banked => {
            for plane in 0..4 {
                both.indexed(SEQUENCER, 2, 1 << plane);
                both.write(window, &noise(plane, 38400));
            }
        }
    }
    let name = format!("mode {:02X}h", mode.number);
    if mode.number < 2 {
        both.compare_columns(&name, SIX, |column| column % 18 < 16);
    } else {
        both.compare(&name, SIX);
    }
}

fn fonts_and_cursor(both: &mut Both) {
    set_mode(both, mode(3));
    for (number, at) in [(1, 0x4000), (4, 0x2000), (6, 0xA000)] {
        set_mode(both, mode(3));
        let upside_down: Vec<u8> = LINES_16.chunks_exact(16).flat_map(|c| c.iter().rev().copied()).collect();
        font(both, at, &upside_down);
        back_to_text(both);
        // Characters with attribute bit 3 by this font, those without by the first.
        both.indexed(SEQUENCER, 3, (number & 3) << 2 | number >> 2 << 5);
        text(both, 0xB_8000);
        both.compare(&format!("font {number} for bright characters"), SIX);
        both.indexed(SEQUENCER, 3, number & 3 | number >> 2 << 4);
        both.compare(&format!("font {number} for others"), SIX);
    }
    set_mode(both, mode(3));
    text(both, 0xB_8000);
    for (start, end, at) in [(13, 14, 0), (0, 15, 333), (7, 7, 1999), (0x20, 15, 40), (9, 4, 50)] {
        for (index, value) in [(0x0A, start), (0x0B, end), (0x0E, (at >> 8) as u8), (0x0F, at as u8)] {
            both.indexed(0x3D4, index, value);
        }
        both.compare(&format!("cursor from {start} to {end} at {at}"), SIX);
    }
    // Fifty rows, without line graphics, eight dots wide.
    set_mode(both, mode(3));
    font(both, 0, LINES_8);
    back_to_text(both);
    both.indexed(0x3D4, 9, 0x47);
    let cells: Vec<u8> = (0..4000).flat_map(|n| cell(n, (7 + n / 80) & 0x7E)).collect();
    both.write(0xB_8000, &cells);
    both.compare("fifty rows", SIX);
    both.input(0x3DA);
    both.out(0x3C0, 0x30);
    both.out(0x3C0, 0);
    // QEMU draws the ninth column anew only with its cell.
    let cells: Vec<u8> = (0..4000).flat_map(|n| cell(n + 1, (7 + n / 80) & 0x7E)).collect();
    both.write(0xB_8000, &cells);
    both.compare("without line graphics", SIX);
    both.indexed(SEQUENCER, 1, 1);
    both.compare("eight dots", SIX);
}
fn back_to_text(both: &mut Both) {
    for (port, index, value) in
        [(SEQUENCER, 2, 3), (SEQUENCER, 4, 2), (GRAPHICS, 4, 0), (GRAPHICS, 5, 0x10), (GRAPHICS, 6, 0x0E)]
    {
        both.indexed(port, index, value);
    }
}

fn scrolling_and_split(both: &mut Both) {
    for number in [3, 0x0D, 0x10, 0x12, 0x13] {
        let mode = mode(number);
        set_mode(both, mode);
        match mode.kind {
            Kind::Text => {
                let cells: Vec<u8> = (0..8192).flat_map(|n| cell(n / 3, (n / 80) & 0x7E)).collect();
                both.write(0xB_8000, &cells);
            }
            _ => both.write(u64::from(mode.segment) << 4, &noise(5, 0x1_0000)),
        }
        for (high, low) in [(0, 1), (0, 80), (1, 0x21)] {
            both.indexed(0x3D4, 0x0C, high);
            both.indexed(0x3D4, 0x0D, low);
            both.compare(&format!("mode {number:02X}h from {high:02x}{low:02x}h on"), SIX);
        }
        // A split at line 160: the last one above is 159.
        let maximum = if number == 3 { 0x0F } else { both_maximum(mode) };
        both.indexed(0x3D4, 0x18, 159);
        both.indexed(0x3D4, 7, mode_overflow(mode) & !0x10);
        both.indexed(0x3D4, 9, maximum & !0x40);
        both.compare(&format!("mode {number:02X}h, split"), SIX);
        both.indexed(0x3D4, 0x13, 0x2C);
        both.compare(&format!("mode {number:02X}h, split, longer lines"), SIX);
    }
}
fn mode_overflow(mode: &Mode) -> u8 {
    mode.row()[10 + 7]
}
fn both_maximum(mode: &Mode) -> u8 {
    mode.row()[10 + 9]
}

fn write_modes(both: &mut Both) {
    set_mode(both, mode(0x12));
    for plane in 0..4 {
        both.indexed(SEQUENCER, 2, 1 << plane);
        both.write(0xA_0000, &noise(20 + plane, 38400));
    }
    both.indexed(SEQUENCER, 2, 0x0F);
    let mut row = 0;
    for write_mode in 0..4 {
        for function in 0..4 {
            for (map, rotate, set, enable, mask) in
                [(0xF, 0, 0, 0, 0xFF), (0x5, 3, 0xA, 0xC, 0x3C), (0xE, 7, 0x6, 0xF, 0xA5)]
            {
                both.indexed(SEQUENCER, 2, map);
                for (index, value) in
                    [(0, set), (1, enable), (3, rotate | function << 3), (5, write_mode), (8, mask)]
                {
                    both.indexed(GRAPHICS, index, value);
                }
                let at = 0xA_0000 + 80 * 10 * row;
                for (n, byte) in noise(row as u32, 12).into_iter().enumerate() {
                    // The latches first.
                    both.read(at + n as u64);
                    both.write(at + 160 + n as u64, &[byte]);
                }
                row += 1;
            }
        }
    }
    both.compare("write modes", SIX);
    // Read mode 1.
    both.indexed(GRAPHICS, 5, 8);
    for (compare, care) in [(0, 0xF), (5, 0xF), (0xA, 0x3), (0xF, 0)] {
        both.indexed(GRAPHICS, 2, compare);
        both.indexed(GRAPHICS, 7, care);
        (0..20).for_each(|n| _ = both.read(0xA_0000 + 37 * n));
    }
}

fn packed_and_unchained(both: &mut Both) {
    // 320 by 240 in planes, and more widths.
    for (name, changes) in [
        (
            "320x240",
            &[
                (0x06, 0x0D),
                (0x07, 0x3E),
                (0x09, 0x41),
                (0x10, 0xEA),
                (0x11, 0x2C),
                (0x12, 0xDF),
                (0x15, 0xE7),
                (0x16, 0x06),
            ][..],
        ),
        ("320x400", &[(0x09, 0x40)]),
        ("256 columns", &[(0x00, 0x5F), (0x01, 0x3F), (0x02, 0x40), (0x13, 0x20)]),
        ("360 columns", &[(0x00, 0x6B), (0x01, 0x59), (0x02, 0x5A), (0x13, 0x2D)]),
    ] {
        set_mode(both, mode(0x13));
        both.indexed(SEQUENCER, 4, 6);
        both.indexed(0x3D4, 0x14, 0);
        both.indexed(0x3D4, 0x17, 0xE3);
        both.indexed(0x3D4, 0x11, 0);
        changes.iter().for_each(|(index, value)| both.indexed(0x3D4, *index, *value));
        for plane in 0..4 {
            both.indexed(SEQUENCER, 2, 1 << plane);
            both.write(0xA_0000, &noise(40 + plane, 0x1_0000));
        }
        both.compare(&format!("planes of bytes, {name}"), SIX);
        both.indexed(0x3D4, 0x0D, 0x50);
        both.compare(&format!("planes of bytes, {name}, scrolled"), SIX);
    }
    // The colour mask is QEMU's weak point; the DAC's other registers are not.
    set_mode(both, mode(0x13));
    both.write(0xA_0000, &noise(50, 64000));
    both.out(0x3C8, 100);
    noise(51, 300).iter().for_each(|component| both.out(0x3C9, component & 0x3F));
    both.compare("other colours", SIX);
    both.out(0x3C7, 90);
    (0..60).for_each(|_| _ = both.input(0x3C9));
    both.input(0x3DA);
    both.input(0x3C0);
}

fn dispi(both: &mut Both) {
    const COLOURS: [(u16, u32); 6] =
        [(8, SIX), (15, 0xF8_F8F8), (16, 0xF8_FCF8), (24, 0xFF_FFFF), (32, 0xFF_FFFF), (4, SIX)];
    let register = |both: &mut Both, index: u16, value: u16| {
        both.out_word(0x1CE, index);
        both.out_word(0x1CF, value);
    };
    both.open_frame_buffer();
    for (bits, mask) in COLOURS {
        set_mode(both, mode(if bits == 4 { 0x12 } else { 0x13 }));
        register(both, 4, 0);
        for (index, value) in [(1, 640), (2, 400), (3, bits), (4, 0x41)] {
            register(both, index, value);
        }
        let name = format!("640x400, {bits} bits");
        both.compare(&format!("{name}, empty"), mask);
        if bits == 4 {
            both.write_frame_buffer(0, &noise(60, 640 * 480 / 2));
        } else {
            let banks = (640 * 480 * u32::from(bits).div_ceil(8)).div_ceil(0x1_0000);
            for bank in 0..banks {
                register(both, 5, bank as u16);
                both.write(0xA_0000, &noise(70 + bank, 0x1_0000));
            }
        }
        both.compare(&name, mask);
        for (index, value) in [(6, 800), (8, 8), (9, 3)] {
            register(both, index, value);
        }
        both.compare(&format!("{name}, moved"), mask);
        for index in [0, 1, 2, 3, 4, 6, 7, 8, 9, 10] {
            both.out_word(0x1CE, index);
            let theirs = both.qemu.number("inw 0x1cf") as u16;
            let ours = both.dispi();
            if ours != theirs {
                both.wrong.push(format!("{name}, register {index}: {ours:#x} here, {theirs:#x} there"));
            }
        }
        if bits == 8 {
            register(both, 4, 0x61);
            both.out(0x3C8, 0);
            noise(90, 768).iter().for_each(|component| both.out(0x3C9, *component));
            both.compare("components of eight bits", 0xFF_FFFF);
            register(both, 4, 0x41);
        }
    }
    register(both, 4, 0);
}
