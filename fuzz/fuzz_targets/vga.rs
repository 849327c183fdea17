//! The display adapter: any bytes in its registers, its window and its frame buffer, drawn at any time, and saved states that
//! were changed.
//!
//! No access and no drawing panics, and a picture is never larger than a surface can be. Drawing what changed gives
//! the picture that drawing all of it gives.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trimotor_bus::{GuestTime, MmioDevice, PciBars, PciFunction, Port, PortDevice, Width};
use trimotor_devices::display::{MAX_HEIGHT, MAX_WIDTH, Surface};
use trimotor_devices::vga::pci::{FRAME_BUFFER_BAR, REGISTER_BAR, REGISTER_BYTES};
use trimotor_devices::vga::{TextMode, Vga};
use trimotor_devices::{Device, SavedBytes};
use trimotor_fuzz::Input;

const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Dword, Width::Qword];
/// Index ports, and how many registers are behind each.
const INDEXED: [(u16, usize); 3] = [(0x3C4, 5), (0x3CE, 9), (0x3D4, 25)];
/// Bytes of a state that are changed at most.
const CHANGES: usize = 4;
const MEMORY: u64 = 1 << 20;

fn access(vga: &mut Vga, input: &mut Input<'_>, now: GuestTime) {
    let width = WIDTHS[input.below(4)];
    match input.below(12) {
        0 => _ = vga.port_read(Port(0x3B0 + input.below(0x30) as u16), WIDTHS[input.below(3)], now),
        1 => {
            let (port, width) = (Port(0x3B0 + input.below(0x30) as u16), WIDTHS[input.below(3)]);
            vga.port_write(port, width, input.number(4) as u32, now);
        }
        2 | 3 => {
            let (port, count) = INDEXED[input.below(3)];
            let index = input.below(count) as u32;
            vga.port_write(Port(port), Width::Word, (input.number(1) as u32) << 8 | index, now);
        }
        4 => {
            vga.port_read(Port(0x3DA), Width::Byte, now);
            for value in [input.below(0x15) as u32, input.number(1) as u32, 0x20] {
                vga.port_write(Port(0x3C0), Width::Byte, value, now);
            }
        }
        5 => {
            vga.port_write(Port(0x1CE), Width::Word, input.below(12) as u32, now);
            vga.port_write(Port(0x1CF), Width::Word, input.number(2) as u32, now);
        }
        6 => _ = vga.port_read(Port(0x1CE + input.below(3) as u16), WIDTHS[input.below(3)], now),
        7 => _ = vga.mmio_read(input.number(3) & 0x1_FFFF, width, now),
        8 => vga.mmio_write(input.number(3) & 0x1_FFFF, width, input.number(8), now),
        9 => {
            let (bar, bytes) = [(FRAME_BUFFER_BAR, MEMORY), (REGISTER_BAR, REGISTER_BYTES.into())][input.below(2)];
            vga.bar_write(bar, input.number(3) % bytes, width, input.number(8) & width.mask(), now);
        }
        10 => _ = vga.bar_read(REGISTER_BAR, input.number(2) % u64::from(REGISTER_BYTES), width, now),
        _ => _ = vga.config_write(input.number(1) as u8 & !3, Width::Dword, input.number(4) as u32, now),
    }
    _ = vga.shown_change();
}

/// What the adapter has saved comes back; what was changed is taken or refused whole.
fn restore(vga: &mut Vga, input: &mut Input<'_>) {
    let saved = vga.save_bytes().expect("it can be saved");
    vga.restore_bytes(&saved).expect("its own state");
    let mut changed = saved.clone();
    for _ in 0..=input.below(CHANGES) {
        let at = input.below(changed.len());
        changed[at] = input.number(1) as u8;
    }
    if vga.restore_bytes(&changed).is_err() {
        assert_eq!(vga.save_bytes().ok(), Some(saved), "changed by a state that it refused");
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut vga = Vga::alone();
    vga.set_text_mode(TextMode::Rows25, Some(&[0x5A; 4096]));
    let mut surface = Surface::default();
    let mut now = GuestTime::ZERO;
    // A small picture, which is quick to draw; what follows may make it larger.
    for (index, value) in [(0x11, 0x0E), (0x01, 9), (0x07, 0), (0x12, 47)] {
        vga.port_write(Port(0x3D4), Width::Word, value << 8 | index, now);
    }
    while !input.is_empty() {
        match input.below(24) {
            0 => restore(&mut vga, &mut input),
            1 => Device::reset(&mut vga, now),
            2 => now = now + input.number(5),
            3 => {
                _ = vga.changes(now, true);
                vga.draw(now, &mut surface, false);
            }
            4 => _ = vga.screen(),
            _ => access(&mut vga, &mut input, now),
        }
    }
    assert!(surface.width() <= MAX_WIDTH && surface.height() <= MAX_HEIGHT);
    vga.draw(now, &mut surface, false);
    let mut whole = Surface::default();
    vga.draw(now, &mut whole, true);
    assert!(surface == whole, "drawing what changed left something out");
    _ = vga.info();
});
