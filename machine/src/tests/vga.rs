//! The display adapter's memory as guests use it, on every engine: the window at A0000h becomes memory and ceases to be,
//! and all that is written is in the frame buffer.

use super::card_memory::{count, expect};
use super::cards::{card_machine, leave, multiboot};
use super::chips::engines;
use super::*;
use iced_x86::code_asm::*;
use trimotor_bus::board::{VGA_FRAME_BUFFER, VGA_WINDOW};
use trimotor_devices::display::Surface;
use trimotor_firmware::vga_bios::mode_table::MODES;

const WINDOW: u32 = VGA_WINDOW.0 as u32;
const LINEAR: u32 = VGA_FRAME_BUFFER.0 as u32;
/// Dwords of a picture in mode 13h.
const DWORDS: u32 = 16000;
/// How often it is filled.
const FILLS: u32 = 10;

fn out(a: &mut CodeAssembler, port: u16, value: u8) {
    a.mov(dx, u32::from(port)).unwrap();
    a.mov(al, u32::from(value)).unwrap();
    a.out(dx, al).unwrap();
}
fn indexed(a: &mut CodeAssembler, port: u16, index: u8, value: u8) {
    out(a, port, index);
    out(a, port + 1, value);
}
fn dispi(a: &mut CodeAssembler, index: u32, value: u32) {
    for (port, word) in [(0x1CEu32, index), (0x1CF, value)] {
        a.mov(dx, port).unwrap();
        a.mov(ax, word).unwrap();
        a.out(dx, ax).unwrap();
    }
}
fn set_mode(a: &mut CodeAssembler, number: u8) {
    let row = MODES.iter().find(|mode| mode.number == number).unwrap().row();
    out(a, 0x3C2, row[9]);
    (0..4).for_each(|n| indexed(a, 0x3C4, n + 1, row[5 + usize::from(n)]));
    indexed(a, 0x3D4, 0x11, 0);
    (0..25).for_each(|n| indexed(a, 0x3D4, n, row[10 + usize::from(n)]));
    (0..9).for_each(|n| indexed(a, 0x3CE, n, row[55 + usize::from(n)]));
}
/// Stores the number of dwords that are left, and so often.
fn fill(a: &mut CodeAssembler, times: u32) {
    let (mut again, mut store) = (a.create_label(), a.create_label());
    a.mov(esi, times).unwrap();
    a.set_label(&mut again).unwrap();
    a.mov(edi, WINDOW).unwrap();
    a.mov(ecx, DWORDS).unwrap();
    a.set_label(&mut store).unwrap();
    a.mov(dword_ptr(edi), ecx).unwrap();
    a.add(edi, 4).unwrap();
    a.dec(ecx).unwrap();
    a.jne(store).unwrap();
    a.dec(esi).unwrap();
    a.jne(again).unwrap();
}

fn uses_the_window(a: &mut CodeAssembler) {
    let mut wrong = a.create_label();
    a.mov(esp, 0x7000u32).unwrap();
    set_mode(a, 0x13);
    fill(a, FILLS);
    for at in [0, 0x7FFC, 4 * DWORDS - 4] {
        expect(a, WINDOW + at, DWORDS - at / 4, wrong);
        expect(a, LINEAR + at, DWORDS - at / 4, wrong);
    }
    // What the graphics controller does to bytes is done at once, also to a page that was just written.
    indexed(a, 0x3CE, 8, 0x0F);
    a.mov(al, byte_ptr(WINDOW)).unwrap();
    a.mov(byte_ptr(WINDOW), 0xFF).unwrap();
    expect(a, LINEAR, DWORDS & 0xFFFF_FF00 | 0x8F, wrong);
    indexed(a, 0x3CE, 8, 0xFF);
    indexed(a, 0x3C4, 2, 0x02);
    a.mov(dword_ptr(WINDOW + 8), -1).unwrap();
    expect(a, LINEAR + 8, (DWORDS - 2) & 0xFFFF_00FF | 0xFF00, wrong);
    indexed(a, 0x3C4, 2, 0x0F);
    fill(a, 1);
    expect(a, LINEAR + 8, DWORDS - 2, wrong);
    // Without chain 4 the window is planes again, in which pixel 4n is byte n.
    indexed(a, 0x3C4, 4, 6);
    indexed(a, 0x3C4, 2, 1);
    a.mov(byte_ptr(WINDOW + 4), 0x77).unwrap();
    indexed(a, 0x3C4, 2, 0x0F);
    indexed(a, 0x3C4, 4, 0x0E);
    expect(a, WINDOW + 4, (DWORDS - 1) & 0xFFFF_FF00 | 0x77, wrong);
    // Banks.
    for (index, value) in [(1, 640), (2, 480), (3, 32), (4, 0x41)] {
        dispi(a, index, value);
    }
    for bank in 0..4 {
        dispi(a, 5, bank);
        fill(a, 1);
        a.mov(dword_ptr(WINDOW + 0xFFFC), 0x1000 + bank).unwrap();
    }
    for bank in 0..4u32 {
        expect(a, LINEAR + (bank << 16) + 0xFFFC, 0x1000 + bank, wrong);
        expect(a, LINEAR + (bank << 16) + 4 * DWORDS - 4, 1, wrong);
    }
    a.mov(dword_ptr(LINEAR + 640 * 4 * 100), 0x12_3456).unwrap();
    out(a, 0x3F8, b'.');
    let mut wait = a.create_label();
    // For the picture to be looked at.
    a.mov(ecx, 3_000_000).unwrap();
    a.set_label(&mut wait).unwrap();
    a.dec(ecx).unwrap();
    a.jne(wait).unwrap();
    dispi(a, 4, 0);
    leave(a, 1);
    a.set_label(&mut wrong).unwrap();
    leave(a, 2);
}

/// Bytes of an area of planes that is written: more than a page.
const AREA: u32 = 0x1200;
/// From one area to the next.
const AREAS: u32 = 0x4000;
/// Where bytes come from.
const SOURCE: u32 = 0x2_0000;

/// Does to an area of planes what the registers say: fills it, copies from RAM, and copies it up within itself. By repeated string
/// instructions, or an element at a time.
fn draw_area(a: &mut CodeAssembler, at: u32, repeated: bool) {
    let mut again = a.create_label();
    for (from, to, elements) in
        [(None, at, AREA / 4), (Some(SOURCE + 3), at + 8, AREA / 8), (Some(at + 0x400), at + 0x100, AREA / 8)]
    {
        // The same latches before each.
        a.mov(al, byte_ptr(WINDOW + 3 * AREAS)).unwrap();
        a.mov(eax, 0x1234_56C9u32).unwrap();
        a.mov(edi, to).unwrap();
        a.mov(esi, from.unwrap_or(0)).unwrap();
        a.mov(ecx, elements).unwrap();
        match (repeated, from.is_some()) {
            (true, false) => a.rep().stosd().unwrap(),
            (true, true) => a.rep().movsw().unwrap(),
            (false, fetched) => {
                a.set_label(&mut again).unwrap();
                if fetched {
                    a.movsw().unwrap()
                } else {
                    a.stosd().unwrap()
                }
                a.dec(ecx).unwrap();
                a.jne(again).unwrap();
                again = a.create_label();
            }
        }
    }
}
/// Ways to write planes: indices of the graphics controller and values.
const WAYS: [&[(u8, u8)]; 6] = [
    &[],
    &[(0, 5), (1, 3), (3, 0x18 | 3), (8, 0x5A)],
    &[(3, 0x10), (8, 0xF0)],
    &[(5, 1)],
    &[(5, 2), (8, 0x3C)],
    &[(5, 3), (0, 9), (8, 0x77)],
];

fn repeats_on_planes(a: &mut CodeAssembler) {
    let mut wrong = a.create_label();
    a.mov(esp, 0x7000u32).unwrap();
    a.cld().unwrap();
    let mut next = a.create_label();
    a.mov(edi, SOURCE).unwrap();
    a.mov(eax, 0x9E37_79B9u32).unwrap();
    a.set_label(&mut next).unwrap();
    a.imul_3(eax, eax, 0x19_660D).unwrap();
    a.add(eax, 0x3C6E_F35F).unwrap();
    a.stosd().unwrap();
    a.cmp(edi, SOURCE + 0x4000).unwrap();
    a.jne(next).unwrap();
    set_mode(a, 0x12);
    // The font lies in plane 2.
    let mut clear = a.create_label();
    a.mov(edi, WINDOW).unwrap();
    a.set_label(&mut clear).unwrap();
    a.mov(dword_ptr(edi), 0).unwrap();
    a.add(edi, 4).unwrap();
    a.cmp(edi, WINDOW + 2 * AREAS).unwrap();
    a.jne(clear).unwrap();
    a.mov(dword_ptr(WINDOW + 3 * AREAS), 0xA5).unwrap();
    for way in WAYS {
        way.iter().for_each(|(index, value)| indexed(a, 0x3CE, *index, *value));
        draw_area(a, WINDOW, false);
        draw_area(a, WINDOW + AREAS, true);
        for (index, value) in [(0, 0), (1, 0), (3, 0), (5, 0), (8, 0xFF)] {
            indexed(a, 0x3CE, index, value);
        }
        for plane in 0..4 {
            indexed(a, 0x3CE, 4, plane);
            let mut compare = a.create_label();
            a.mov(esi, WINDOW).unwrap();
            a.set_label(&mut compare).unwrap();
            a.mov(eax, dword_ptr(esi)).unwrap();
            a.cmp(eax, dword_ptr(esi + AREAS)).unwrap();
            a.jne(wrong).unwrap();
            a.add(esi, 4).unwrap();
            a.cmp(esi, WINDOW + AREA + 0x100).unwrap();
            a.jne(compare).unwrap();
        }
    }
    leave(a, 1);
    a.set_label(&mut wrong).unwrap();
    leave(a, 2);
}

/// The same bytes by text's addresses and by planes.
fn text_is_planes(a: &mut CodeAssembler) {
    const TEXT: u32 = 0xB_8000;
    let mut wrong = a.create_label();
    a.mov(esp, 0x7000u32).unwrap();
    a.cld().unwrap();
    set_mode(a, 3);
    for n in 0..3u32 {
        a.mov(edi, TEXT).unwrap();
        a.mov(ecx, 0x1000u32).unwrap();
        a.mov(eax, 0x1F41_1E42 + n).unwrap();
        a.rep().stosd().unwrap();
    }
    let as_planes = |a: &mut CodeAssembler, plane: u8| {
        for (index, value) in [(4, plane), (5, 0), (6, 5)] {
            indexed(a, 0x3CE, index, value);
        }
        indexed(a, 0x3C4, 4, 6);
        indexed(a, 0x3C4, 2, 1 << plane);
    };
    let as_text = |a: &mut CodeAssembler| {
        for (index, value) in [(4, 0), (5, 0x10), (6, 0xE)] {
            indexed(a, 0x3CE, index, value);
        }
        indexed(a, 0x3C4, 4, 2);
        indexed(a, 0x3C4, 2, 3);
    };
    // Even offsets have characters and attributes, odd ones nothing yet.
    for (plane, dword) in [(0, 0x0041_0044), (1, 0x001F_001E)] {
        as_planes(a, plane);
        a.and(dword_ptr(WINDOW + 0x3F00), 0x00FF_00FF).unwrap();
        expect(a, WINDOW + 0x3F00, dword, wrong);
    }
    as_planes(a, 0);
    a.mov(word_ptr(WINDOW + 0x3F00), 0x5561).unwrap();
    as_planes(a, 2);
    a.mov(word_ptr(WINDOW + 0x3F00), 0x3344).unwrap();
    as_text(a);
    expect(a, TEXT + 0x3F00, 0x1F41_1E61, wrong);
    a.mov(word_ptr(TEXT + 0x3F02), 0x2A62).unwrap();
    as_planes(a, 2);
    expect(a, WINDOW + 0x3F00, 0x3344, wrong);
    as_planes(a, 0);
    expect(a, WINDOW + 0x3F00, 0x0062_5561, wrong);
    leave(a, 1);
    a.set_label(&mut wrong).unwrap();
    leave(a, 2);
}

fn config(engine: Engine, cpus: u8, clock: ClockSource) -> MachineConfig {
    MachineConfig { engine: Some(engine), cpus, clock, ..super::config() }
}

#[test]
fn the_window_is_memory_where_it_can_be() {
    let image = multiboot(uses_the_window);
    for engine in engines() {
        for (cpus, clock) in [(1, ClockSource::Instructions), (1, ClockSource::Host), (4, ClockSource::Host)]
        {
            let (mut machine, _) = card_machine(config(engine, cpus, clock), &image);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs, {clock:?}");
            let stores = u64::from(FILLS * DWORDS);
            let slow = count(&machine, "slow writes");
            assert!(slow < stores / 20, "{engine}: {slow} stores were slow");
        }
    }
}

#[test]
fn planes_see_each_element_of_a_repeated_instruction() {
    let image = multiboot(repeats_on_planes);
    for engine in engines() {
        let (mut machine, _) = card_machine(config(engine, 1, ClockSource::Instructions), &image);
        assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}");
    }
}

#[test]
fn text_is_memory_and_is_in_the_planes() {
    let image = multiboot(text_is_planes);
    for engine in engines() {
        let (mut machine, _) = card_machine(config(engine, 1, ClockSource::Instructions), &image);
        assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}");
        let slow = count(&machine, "slow writes");
        assert!(slow < 0x1000, "{engine}: {slow} of 3000h stores were slow");
    }
}

/// What a viewer sees of it; and a machine that is saved meanwhile goes on with the same picture, on any engine.
#[test]
fn the_picture_is_what_was_written() {
    let image = multiboot(uses_the_window);
    for engine in engines() {
        let (mut machine, log) = card_machine(config(engine, 1, ClockSource::Instructions), &image);
        let mut viewer = machine.control().view();
        let mut picture = Surface::default();
        while log.0.lock().unwrap().is_empty() {
            assert_eq!(machine.run_until(machine.instructions() + 10_000), None);
        }
        // What was drawn last may be from before; taking it has the machine draw again.
        viewer.update(&mut picture);
        assert_eq!(machine.run_until(machine.instructions() + 1_500_000), None);
        viewer.update(&mut picture);
        assert_eq!((picture.width(), picture.height()), (640, 480));
        assert_eq!(picture.line(100)[0], 0x12_3456);
        assert_eq!(picture.line(0)[3], DWORDS - 3);
        let bytes = postcard::to_stdvec(&machine.save().unwrap()).unwrap();
        for other in engines() {
            let mut machine = super::cards::restored(&bytes, other, Log::default()).unwrap();
            let mut viewer = machine.control().view();
            let mut again = Surface::default();
            assert_eq!(machine.run_until(machine.instructions() + 1_200_000), None);
            viewer.update(&mut again);
            assert!(again == picture, "{engine} goes on as {other}");
            assert_eq!(machine.run(), ExitReason::DebugExit(1));
        }
    }
}
