//! The VGA's pictures beside those of QEMU's standard VGA, pixel by pixel.
//!
//! QEMU's adapter is driven by its test protocol (`-qtest`), which carries port and memory accesses without a guest;
//! ours gets the same accesses. At the end of each scene QEMU is asked for a screen dump, and ours is drawn.
//! [`scenes`] has what is drawn; this file says what may differ, and why:
//!
//! | | |
//! |---|---|
//! | components of 6 bits | QEMU makes eight of them by repeating the lowest bit twice, ours by repeating the upper two: the upper six are compared |
//! | 15 and 16 bits a pixel | the bits that a component has are compared |
//! | modes 0 and 1 | QEMU leaves out the ninth dot of a character where dots are doubled, so that its picture has 640 columns; a monitor shows 720 |
//! | codes B0h to BFh | QEMU repeats their eighth dot as the ninth; IBM's adapters do so from C0h on. Scenes leave them out |
//! | addresses beyond 64 KiB in mode 13h | QEMU shows what follows; the counter of IBM's adapters begins anew. Scenes end before |
//! | DISPI modes of 4 bits a pixel | QEMU keeps chain 4 on in them, so that its window reaches no planes: the frame buffer is written by its BAR |
//! | DISPI's bank | QEMU's register keeps its value when the mode is left, and its window does not |
//! | attribute bit 7 | QEMU never blinks: scenes turn blinking off |
//! | underline, pixel panning, preset row scan, byte panning | QEMU 7.2 has none: tests of our own look at them (`vga/tests.rs`) |

#![allow(clippy::unwrap_used, reason = "a failure to set a test up ends the test")]

mod qtest;
mod scenes;

use qtest::Qemu;
use trimotor_bus::{GuestTime, MmioDevice, PciBars, Port, PortDevice, Width};
use trimotor_devices::display::Surface;
use trimotor_devices::vga::Vga;
use trimotor_devices::vga::pci::FRAME_BUFFER_BAR;
use trimotor_test_needs::{program, skip};

const NOW: GuestTime = GuestTime::ZERO;
const WINDOW: u64 = 0xA_0000;
/// Where the frame buffer of QEMU's adapter is.
const FRAME_BUFFER: u64 = 0xE000_0000;

/// Both adapters, and what differed.
struct Both {
    qemu: Qemu,
    vga: Vga,
    surface: Surface,
    wrong: Vec<String>,
    compared: usize,
}

impl Both {
    fn out(&mut self, port: u16, value: u8) {
        self.qemu.command(&format!("outb {port:#x} {value:#x}"));
        self.vga.port_write(Port(port), Width::Byte, value.into(), NOW);
    }
    fn out_word(&mut self, port: u16, value: u16) {
        self.qemu.command(&format!("outw {port:#x} {value:#x}"));
        self.vga.port_write(Port(port), Width::Word, value.into(), NOW);
    }
    fn input(&mut self, port: u16) -> u8 {
        let theirs = self.qemu.number(&format!("inb {port:#x}")) as u8;
        let ours = self.vga.port_read(Port(port), Width::Byte, NOW) as u8;
        // Where the beam is differs.
        if port != 0x3DA && port != 0x3BA && theirs != ours {
            self.wrong.push(format!("port {port:#x}: {ours:#x} here, {theirs:#x} there"));
        }
        ours
    }
    /// The DISPI register that is selected, of ours.
    fn dispi(&mut self) -> u16 {
        self.vga.port_read(Port(0x1CF), Width::Word, NOW) as u16
    }
    /// A register behind an index port.
    fn indexed(&mut self, port: u16, index: u8, value: u8) {
        self.out(port, index);
        self.out(port + 1, value);
    }
    /// Writes bytes one after the other.
    fn write(&mut self, addr: u64, bytes: &[u8]) {
        self.qemu.write(addr, bytes);
        for (i, byte) in bytes.iter().enumerate() {
            self.vga.mmio_write(addr - WINDOW + i as u64, Width::Byte, (*byte).into(), NOW);
        }
    }
    /// Opens the frame buffer's base address register of QEMU's adapter.
    fn open_frame_buffer(&mut self) {
        for (register, value) in [(0x10, FRAME_BUFFER), (4, 3)] {
            self.qemu.command(&format!("outl 0xcf8 {:#x}", 0x8000_1000u32 | register));
            self.qemu.command(&format!("outl 0xcfc {value:#x}"));
        }
    }
    /// Writes the frame buffer.
    fn write_frame_buffer(&mut self, offset: u64, bytes: &[u8]) {
        self.qemu.write(FRAME_BUFFER + offset, bytes);
        for (i, byte) in bytes.iter().enumerate() {
            self.vga.bar_write(FRAME_BUFFER_BAR, offset + i as u64, Width::Byte, (*byte).into(), NOW);
        }
    }
    /// Reads a byte, and compares.
    fn read(&mut self, addr: u64) -> u8 {
        let theirs = self.qemu.number(&format!("readb {addr:#x}")) as u8;
        let ours = self.vga.mmio_read(addr - WINDOW, Width::Byte, NOW) as u8;
        if theirs != ours {
            self.wrong.push(format!("memory at {addr:#x}: {ours:#x} here, {theirs:#x} there"));
        }
        ours
    }
    /// Compares the bits of `mask` of each pixel.
    fn compare(&mut self, scene: &str, mask: u32) {
        self.compare_columns(scene, mask, |_| true);
    }
    /// The same for the columns of ours that `counts` takes.
    fn compare_columns(&mut self, scene: &str, mask: u32, counts: impl Fn(usize) -> bool) {
        let theirs = self.qemu.screen();
        self.vga.draw(NOW, &mut self.surface, false);
        // What was drawn of what changed is all of it.
        let mut whole = Surface::default();
        self.vga.draw(NOW, &mut whole, true);
        if self.surface != whole {
            self.wrong.push(format!("{scene}: drawing what changed left something out"));
        }
        self.compared += 1;
        let columns: Vec<usize> = (0..whole.width()).filter(|column| counts(*column)).collect();
        if (columns.len(), whole.height()) != (theirs.width, theirs.height) {
            self.wrong.push(format!(
                "{scene}: {}x{} here, {}x{} there",
                columns.len(),
                whole.height(),
                theirs.width,
                theirs.height
            ));
            return;
        }
        let mut different = 0;
        let mut first = None;
        for y in 0..whole.height() {
            for (x, column) in columns.iter().enumerate() {
                let (ours, its) = (whole.line(y)[*column], theirs.pixels[y * theirs.width + x]);
                if (ours ^ its) & mask != 0 {
                    different += 1;
                    first.get_or_insert((x, y, ours, its));
                }
            }
        }
        if let Some((x, y, ours, its)) = first {
            self.wrong.push(format!(
                "{scene}: {different} pixels differ, the first at {x}, {y}: {ours:06x} here, {its:06x} there"
            ));
        }
    }
}

#[test]
fn pictures_are_those_of_qemu() {
    if skip(program("qemu-system-x86_64", "qemu-system-x86")) {
        return;
    }
    let mut both = Both {
        qemu: Qemu::start(),
        vga: Vga::with_own_memory(16 << 20),
        surface: Surface::default(),
        wrong: Vec::new(),
        compared: 0,
    };
    scenes::all(&mut both);
    assert!(both.wrong.is_empty(), "of {} pictures:\n{}", both.compared, both.wrong.join("\n"));
    assert!(both.compared >= 30, "only {} pictures were compared", both.compared);
}
