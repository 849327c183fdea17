//! What QEMU's adapter does not show, and what is drawn when. Pictures of all modes are compared with QEMU's in
//! `devices/tests/vga_qemu`.

use crate::display::{Rect, Surface};
use crate::vga::{TextMode, Vga};
use trimotor_bus::{GuestTime, MmioDevice, Port, PortDevice, Width};

const START: GuestTime = GuestTime::ZERO;
const GREY: u32 = 0xAA_AAAA;

fn indexed(vga: &mut Vga, port: u16, index: u8, value: u8) {
    vga.port_write(Port(port), Width::Word, u32::from(value) << 8 | u32::from(index), START);
}
fn attribute(vga: &mut Vga, index: u8, value: u8) {
    vga.port_read(Port(0x3DA), Width::Byte, START);
    for byte in [index, value, 0x20] {
        vga.port_write(Port(0x3C0), Width::Byte, byte.into(), START);
    }
}
fn put(vga: &mut Vga, cell: u64, character: u8, attribute: u8) {
    let value = u64::from(attribute) << 8 | u64::from(character);
    vga.mmio_write(0x1_8000 + 2 * cell, Width::Word, value, START);
}
/// Mode 3 with a font whose characters have their code in each line, and no cursor.
fn text() -> (Vga, Surface) {
    let mut vga = Vga::alone();
    let font: Vec<u8> = (0..256 * 16).map(|at| (at / 16) as u8).collect();
    vga.set_text_mode(TextMode::Rows25, Some(&font));
    indexed(&mut vga, 0x3D4, 0x0A, 0x20);
    // Blanks are blank.
    (0..4000).for_each(|cell| put(&mut vga, cell, 0, 7));
    let mut surface = Surface::default();
    assert!(vga.draw(START, &mut surface, false).resized());
    assert_eq!((surface.width(), surface.height()), (720, 400));
    (vga, surface)
}
/// Which of a cell's nine dots are not black, in a line.
fn dots(surface: &Surface, column: usize, line: usize) -> u16 {
    surface.line(line)[9 * column..9 * column + 9].iter().fold(0, |all, dot| all << 1 | u16::from(*dot != 0))
}

#[test]
fn only_what_changed_is_drawn() {
    let (mut vga, mut surface) = text();
    let changes = vga.changes(START, true);
    assert!(vga.draw(START, &mut surface, false).is_empty());
    assert_eq!(vga.changes(GuestTime(5_000_000_000), true), changes, "nothing blinks");
    put(&mut vga, 81, 0x55, 7);
    assert_ne!(vga.changes(START, true), changes);
    let damage = vga.draw(START, &mut surface, false);
    assert_eq!(damage.rects(), [Rect { x: 9, y: 16, width: 9, height: 16 }]);
    assert_eq!(dots(&surface, 1, 20), 0x55 << 1);
    // The same cell elsewhere on the screen, by the start address.
    indexed(&mut vga, 0x3D4, 0x0D, 80);
    let damage = vga.draw(START, &mut surface, false);
    assert_eq!(damage.rects(), [Rect { x: 9, y: 0, width: 9, height: 32 }]);
    // Colours and fonts change everything that has them.
    for byte in [7, 0x3F, 0, 0] {
        vga.port_write(Port(if byte == 7 { 0x3C8 } else { 0x3C9 }), Width::Byte, byte, START);
    }
    vga.draw(START, &mut surface, false);
    assert!(surface.line(3).contains(&0xFF_0000) && !surface.line(3).contains(&GREY));
}

#[test]
fn characters_are_underlined_and_repeated() {
    let (mut vga, mut surface) = text();
    indexed(&mut vga, 0x3D4, 0x14, 12);
    for (cell, character, attribute) in [(0, 0, 1), (1, 0, 9), (2, 0, 0x11), (3, 0xC1, 7), (4, 0x41, 7)] {
        put(&mut vga, cell, character, attribute);
    }
    vga.draw(START, &mut surface, false);
    assert_eq!([0, 1].map(|c| dots(&surface, c, 12)), [0x1FF; 2]);
    assert_eq!([0, 1].map(|c| dots(&surface, c, 11)), [0; 2]);
    assert_eq!(surface.line(12)[18], surface.line(11)[18], "the background is not black");
    assert_eq!([3, 4].map(|c| dots(&surface, c, 5)), [0xC1 << 1 | 1, 0x41 << 1]);
}

#[test]
fn what_blinks_is_seen_half_of_the_time() {
    let (mut vga, mut surface) = text();
    put(&mut vga, 3, 0xFF, 0x87);
    indexed(&mut vga, 0x3D4, 0x0A, 0);
    vga.draw(START, &mut surface, false);
    let frame = 900 * 449 * 1_000_000_000 / 28_322_000;
    let mut seen = Vec::new();
    for frames in 0..64u64 {
        let now = GuestTime(frames * frame + frame / 2);
        let before = vga.changes(now, true);
        let damage = vga.draw(now, &mut surface, false);
        assert_eq!(vga.changes(now, true), before);
        seen.push((dots(&surface, 0, 0) != 0, dots(&surface, 3, 0) != 0, damage.is_empty()));
    }
    let count = |which: fn(&(bool, bool, bool)) -> bool| seen.iter().filter(|now| which(now)).count();
    assert_eq!((count(|now| now.0), count(|now| now.1)), (32, 32));
    assert_eq!(count(|now| !now.2), 7, "each change is drawn, and nothing else");
    // Without blinking the bit is one of the background.
    attribute(&mut vga, 0x10, 0x04);
    vga.draw(GuestTime(40 * frame), &mut surface, false);
    assert_eq!(dots(&surface, 3, 0), 0x1FF);
}

#[test]
fn the_picture_moves_by_dots_lines_and_bytes() {
    let (mut vga, mut surface) = text();
    put(&mut vga, 0, 0x0F, 7);
    put(&mut vga, 1, 0xF0, 7);
    put(&mut vga, 80, 0xFF, 7);
    put(&mut vga, 160, 0xFF, 7);
    // With nine dots a character, 0 is one dot to the left.
    attribute(&mut vga, 0x13, 0);
    vga.draw(START, &mut surface, false);
    assert_eq!([0, 1].map(|c| dots(&surface, c, 0)), [0b0_0011_1101, 0b1_1100_0000]);
    attribute(&mut vga, 0x13, 8);
    indexed(&mut vga, 0x3D4, 8, 0x20 | 5);
    vga.draw(START, &mut surface, false);
    assert_eq!(dots(&surface, 0, 10), 0xF0 << 1, "a byte to the left");
    assert_eq!(dots(&surface, 79, 10), 0xFF << 1, "what follows the row");
    assert_eq!([10, 11].map(|line| dots(&surface, 79, line) != 0), [true, true]);
    assert_eq!(dots(&surface, 0, 11), 0, "five lines up");
}

#[test]
fn pixels_pan_and_the_part_below_a_split_stays() {
    let mut vga = Vga::alone();
    // Mode 13h's way: bytes as pixels, two dots wide.
    for (port, index, value) in [
        (0x3C4, 1, 1),
        (0x3C4, 2, 0x0F),
        (0x3C4, 4, 0x0E),
        (0x3CE, 5, 0x40),
        (0x3CE, 6, 5),
        (0x3D4, 0x11, 0x0E),
        (0x3D4, 7, 0x0F),
        (0x3D4, 9, 1),
        (0x3D4, 0x14, 0x40),
        (0x3D4, 0x18, 99),
    ] {
        indexed(&mut vga, port, index, value);
    }
    (0..0x1_0000).for_each(|at| vga.mmio_write(at, Width::Byte, at & 0x3F, START));
    let mut surface = Surface::default();
    vga.draw(START, &mut surface, false);
    assert_eq!((surface.width(), surface.height()), (640, 400));
    let colours = |surface: &Surface, line: usize| surface.line(line)[..8].to_vec();
    let plain = colours(&surface, 0);
    attribute(&mut vga, 0x13, 2);
    attribute(&mut vga, 0x10, 0x61);
    vga.draw(START, &mut surface, false);
    assert_eq!(colours(&surface, 0)[..6], plain[2..], "a pixel to the left");
    assert_eq!(colours(&surface, 100), plain);
    // Half of it is written by the processor past the adapter: a line of it is drawn.
    vga.planes.memory.write(320 * 20, &[0x3F; 4]);
    assert!(vga.changes(START, true) > 0);
    let damage = vga.draw(START, &mut surface, false);
    assert_eq!(damage.rects().iter().map(|rect| rect.height).max(), Some(2), "{damage:?}");
}

#[test]
fn a_linear_picture_is_drawn_by_lines_and_bytes_of_either_order() {
    let mut vga = Vga::alone();
    let mut surface = Surface::default();
    for (index, value) in [(1, 256), (2, 64), (3, 32), (4, 0x41)] {
        vga.port_write(Port(0x1CE), Width::Word, index, START);
        vga.port_write(Port(0x1CF), Width::Word, value, START);
    }
    vga.draw(START, &mut surface, false);
    assert_eq!((surface.width(), surface.height()), (256, 64));
    vga.planes.memory.write(1024 * 10 + 40, &[0x11, 0x22, 0x33, 0x44]);
    let damage = vga.draw(START, &mut surface, false);
    assert_eq!(damage.rects(), [Rect { x: 10, y: 10, width: 1, height: 1 }]);
    assert_eq!(surface.line(10)[10], 0x33_2211);
    let before = vga.changes(START, true);
    trimotor_bus::PciBars::bar_write(&mut vga, 2, 0x604, Width::Dword, 0xBEBE_BEBE, START);
    assert_ne!(vga.changes(START, true), before);
    vga.draw(START, &mut surface, false);
    assert_eq!(surface.line(10)[10], 0x22_3344);
    // Switched off by the attribute controller it is black.
    vga.port_read(Port(0x3DA), Width::Byte, START);
    vga.port_write(Port(0x3C0), Width::Byte, 0, START);
    vga.draw(START, &mut surface, false);
    assert!(surface.pixels().iter().all(|pixel| *pixel == 0));
}
