//! The adapter as a console driver uses it.

use super::*;
use trimotor_bus::SaveState;

const NOW: GuestTime = GuestTime(0);

fn out(vga: &mut Vga, port: u16, value: u8) {
    vga.port_write(Port(port), Width::Byte, value as u32, NOW);
}
fn input(vga: &mut Vga, port: u16) -> u8 {
    vga.port_read(Port(port), Width::Byte, NOW) as u8
}
fn crtc(vga: &mut Vga, index: u8, value: u8) {
    vga.port_write(Port(0x3D4), Width::Word, (value as u32) << 8 | index as u32, NOW);
}
fn put(vga: &mut Vga, at: u64, text: &str) {
    for (i, byte) in text.bytes().enumerate() {
        vga.mmio_write(0x1_8000 + 2 * (at + i as u64), Width::Word, 0x1F00 | byte as u64, NOW);
    }
}

#[test]
fn power_on_is_a_blank_mode_3() {
    let vga = Vga::alone();
    let screen = vga.screen().unwrap();
    assert_eq!((screen.columns, screen.rows, screen.cell_lines), (80, 25, 16));
    assert!(screen.on && screen.blink);
    assert!(screen.cells.iter().all(|c| *c == TextCell { character: b' ', attribute: 7 }));
    let cursor = TextCursor { column: 0, row: 0, first_line: 13, last_line: 14 };
    assert_eq!(screen.cursor, Some(cursor));
    assert_eq!(screen.colours[7], [0xAA, 0xAA, 0xAA]);
    assert_eq!(screen.colours[6], [0xAA, 0x55, 0x00]);
    assert_eq!(screen.colours[9], [0x55, 0x55, 0xFF]);
}

#[test]
fn writes_show_and_count_as_changes() {
    let mut vga = Vga::alone();
    let before = vga.changes(NOW, false);
    put(&mut vga, 80, "Hello");
    assert!(vga.changes(NOW, false) > before);
    let screen = vga.screen().unwrap();
    assert_eq!(screen.row_text(1), "Hello");
    assert_eq!(screen.row(1)[4].attribute, 0x1F);
    let same = vga.changes(NOW, false);
    assert_eq!(vga.changes(NOW, false), same);
    assert_eq!(vga.mmio_read(0x1_80A0, Width::Dword, NOW), 0x1F65_1F48);
    vga.mmio_write(0x1_8000, Width::Qword, 0x0741_0742_0743_0744, NOW);
    assert_eq!(vga.screen().unwrap().row_text(0), "DCBA");
    // The windows that mode 3 does not open.
    assert_eq!(vga.mmio_read(0, Width::Byte, NOW), 0xFF);
    vga.mmio_write(0x1_0000, Width::Byte, 1, NOW);
}

#[test]
fn start_address_and_cursor_scroll() {
    let mut vga = Vga::alone();
    put(&mut vga, 160, "third row");
    crtc(&mut vga, 0x0C, 0);
    crtc(&mut vga, 0x0D, 160);
    crtc(&mut vga, 0x0F, 165);
    let screen = vga.screen().unwrap();
    assert_eq!(screen.row_text(0), "third row");
    assert_eq!(screen.cursor.map(|c| (c.column, c.row)), Some((5, 0)));
    crtc(&mut vga, 0x0A, 0x20);
    assert_eq!(vga.screen().unwrap().cursor, None);
    out(&mut vga, 0x3D4, 0x0F);
    assert_eq!(input(&mut vga, 0x3D5), 165);
    // Line compare at row 10: below it stands memory from 0.
    put(&mut vga, 0, "status");
    crtc(&mut vga, 0x18, 10 * 16 - 1);
    crtc(&mut vga, 0x07, 0x0F);
    crtc(&mut vga, 0x09, 0x0F);
    assert_eq!(vga.screen().unwrap().row_text(10), "status");
}

#[test]
fn fifty_rows_and_blanking() {
    let mut vga = Vga::alone();
    vga.set_text_mode(TextMode::Rows50, None);
    assert_eq!(vga.screen().unwrap().rows, 50);
    out(&mut vga, 0x3C4, 1);
    out(&mut vga, 0x3C5, 0x20);
    assert!(!vga.screen().unwrap().on);
}

#[test]
fn protected_crtc_registers_keep_their_values() {
    let mut vga = Vga::alone();
    crtc(&mut vga, 0x00, 0x11);
    out(&mut vga, 0x3D4, 0);
    assert_eq!(input(&mut vga, 0x3D5), 0x5F);
    crtc(&mut vga, 0x11, 0x0E);
    crtc(&mut vga, 0x00, 0x11);
    out(&mut vga, 0x3D4, 0);
    assert_eq!(input(&mut vga, 0x3D5), 0x11);
}

#[test]
fn attribute_flip_flop_and_dac() {
    let mut vga = Vga::alone();
    input(&mut vga, 0x3DA);
    out(&mut vga, 0x3C0, 0x01);
    out(&mut vga, 0x3C0, 0x3F);
    assert_eq!(input(&mut vga, 0x3C1), 0x3F);
    out(&mut vga, 0x3C0, 0x20);
    assert_eq!(vga.screen().unwrap().colours[1], [0xFF; 3]);
    out(&mut vga, 0x3C8, 0x3F);
    for component in [1, 2, 0x3F] {
        out(&mut vga, 0x3C9, component);
    }
    out(&mut vga, 0x3C7, 0x3F);
    assert_eq!([0; 3].map(|_: u8| input(&mut vga, 0x3C9)), [1, 2, 0x3F]);
    assert_eq!(vga.screen().unwrap().colours[1], [0x04, 0x08, 0xFF]);
    out(&mut vga, 0x3C6, 0);
    assert_eq!(vga.screen().unwrap().colours[1], [0; 3]);
}

#[test]
fn monochrome_addresses_move_the_crtc() {
    let mut vga = Vga::alone();
    out(&mut vga, 0x3D4, 1);
    assert_eq!(input(&mut vga, 0x3D5), 0x4F);
    assert_eq!(input(&mut vga, 0x3B5), 0xFF);
    out(&mut vga, 0x3C2, 0x66);
    assert_eq!(input(&mut vga, 0x3CC), 0x66);
    assert_eq!(input(&mut vga, 0x3D5), 0xFF);
    assert_eq!(input(&mut vga, 0x3B5), 0x4F);
}

#[test]
fn a_font_goes_to_plane_2_and_leaves_the_text() {
    let mut vga = Vga::alone();
    put(&mut vga, 0, "text");
    // As font loaders do: map mask 4, no odd/even, window at A0000h.
    for (port, index, value) in [(0x3C4, 2, 4), (0x3C4, 4, 6), (0x3CE, 4, 2), (0x3CE, 5, 0), (0x3CE, 6, 4)] {
        vga.port_write(Port(port), Width::Word, (value << 8) | index, NOW);
    }
    for line in 0..16 {
        vga.mmio_write(0x41 * 32 + line, Width::Byte, line + 1, NOW);
    }
    assert_eq!(vga.mmio_read(0x41 * 32 + 3, Width::Byte, NOW), 4);
    for (port, index, value) in
        [(0x3C4, 2, 3), (0x3C4, 4, 2), (0x3CE, 4, 0), (0x3CE, 5, 0x10), (0x3CE, 6, 0x0E)]
    {
        vga.port_write(Port(port), Width::Word, (value << 8) | index, NOW);
    }
    assert_eq!(vga.screen().unwrap().row_text(0), "text");
}

#[test]
fn graphics_modes_have_memory_and_no_text() {
    let mut vga = Vga::alone();
    // Mode 12h's way to memory: planes, write modes, bit mask.
    for (port, index, value) in [(0x3C4, 2, 0x0F), (0x3C4, 4, 6), (0x3CE, 5, 2), (0x3CE, 6, 5)] {
        vga.port_write(Port(port), Width::Word, (value << 8) | index, NOW);
    }
    assert_eq!(vga.screen(), None);
    vga.mmio_write(100, Width::Byte, 0x05, NOW);
    vga.port_write(Port(0x3CE), Width::Word, 0x0805, NOW); // Read mode 1.
    vga.port_write(Port(0x3CE), Width::Word, 0x0502, NOW);
    vga.port_write(Port(0x3CE), Width::Word, 0x0F07, NOW);
    assert_eq!(vga.mmio_read(100, Width::Byte, NOW), 0xFF);
    vga.port_write(Port(0x3CE), Width::Word, 0x0402, NOW);
    assert_eq!(vga.mmio_read(100, Width::Byte, NOW), 0x00);
}

/// Another adapter with the same memory, in the state that this one saves.
fn twin(vga: &Vga) -> Vga {
    let mut other = Vga::alone();
    let mut bytes = vec![0; 1 << 20];
    vga.planes.memory.read(0, &mut bytes);
    other.planes.memory.write(0, &bytes);
    other.restore(vga.save()).unwrap();
    other
}

#[test]
fn a_saved_state_shows_the_same() {
    let mut vga = Vga::alone();
    put(&mut vga, 3, "saved");
    crtc(&mut vga, 0x0F, 9);
    let mut other = twin(&vga);
    assert_eq!(other.screen(), vga.screen());
    let (mut one, mut two) = (Surface::default(), Surface::default());
    vga.draw(NOW, &mut one, true);
    other.draw(NOW, &mut two, true);
    assert_eq!(one, two);
}

#[test]
fn any_register_values_are_survived() {
    let mut vga = Vga::alone();
    let mut surface = Surface::default();
    let mut seed = 3u64;
    for n in 0..30_000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let port = Port(0x3B0 + (seed >> 33) as u16 % 0x30);
        let width = [Width::Byte, Width::Word, Width::Dword][(seed >> 20) as usize % 3];
        vga.port_write(port, width, (seed >> 25) as u32, NOW);
        vga.port_read(port, width, GuestTime(seed));
        vga.mmio_write(seed >> 40 & 0x1_FFFF, Width::Qword, seed, NOW);
        vga.mmio_read(seed >> 30 & 0x1_FFFF, Width::Qword, NOW);
        if n % 64 == 0 {
            vga.screen();
            vga.draw(GuestTime(seed), &mut surface, false);
        }
    }
}
