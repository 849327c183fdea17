//! A VGA, with DISPI for larger modes, as a PCI function.
//!
//! Memory is four planes of 64 KiB. The *sequencer* (3C4h/3C5h) and the *graphics controller* (3CEh/3CFh) are the way from
//! the processor to them, through the window at A0000h or B8000h: which planes are written, what is done to the bytes,
//! what reads give. The *CRT controller* (3D4h/3D5h) walks over them from the start address on, 60 or 70 times a second,
//! and makes the shape of the screen. In text modes plane 0 has characters, plane 1 their colours, and plane 2 the fonts. The
//! *attribute controller* (3C0h, 3C1h) turns what was fetched into indices of one of 256 colours, which are in the *DAC*
//! (3C6h to 3C9h). Port 3DAh tells where the beam is.
//!
//! | file | |
//! |---|---|
//! | [`registers`], [`dac`] | the registers as stored state |
//! | [`planes`] | memory, with the write and read modes |
//! | [`crtc`] | the addresses of a picture's lines |
//! | [`timing`] | the beam |
//! | [`dispi`] | modes with a linear frame buffer; `window` shows it at A0000h |
//! | [`pci`], [`edid`] | the PCI function, and the monitor |
//! | [`screen`], [`cp437`] | text as cells of characters ([`Vga::screen`]) |
//! | `picture` | all modes as pixels ([`Vga::draw`]) |
//!
//! After power-on the adapter is in mode 3 with a blank screen, as a video BIOS leaves it, because a kernel that is booted
//! directly finds it so. Plane 2 has the font once [`Vga::set_text_mode`] was given it, which the board does for such
//! kernels.
//!
//! Left out: the vertical interrupt (IRQ 2 of IBM's adapters; QEMU's has none either), the border, graphics modes with nine
//! dots a character, the sequencer's shift-load bits, blinking in graphics modes, the DISPI register for the monitor's
//! DDC wires.
//!
//! Sources: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"; IBM Enhanced Graphics Adapter.

pub mod cp437;
pub mod crtc;
pub mod dac;
pub mod dispi;
pub mod edid;
pub mod pci;
mod picture;
pub mod planes;
pub mod registers;
mod saved;
pub mod screen;
pub mod timing;
mod window;

#[cfg(test)]
mod tests;

pub use registers::TextMode;
pub use saved::VgaStateV1;
pub use screen::{TextCell, TextCursor, TextScreen};

use crate::device::Device;
use crate::display::{Damage, Surface};
use crate::isa_cycles;
use crate::pci::ConfigSpace;
use dispi::Dispi;
use picture::{Picture, Source};
use planes::{MEMORY_BYTES, Order, Planes};
use registers::Registers;
use trimotor_bus::memory::Shown;
use trimotor_bus::{
    GuestMemory, GuestTime, MemoryRegion, MmioDevice, PciBars, PciFunction, Port, PortDevice, Width,
};
use window::Window;

/// The first port that the adapter answers.
pub const FIRST_PORT: Port = Port(0x3B0);
/// The last port that the adapter answers.
pub const LAST_PORT: Port = Port(0x3DF);
/// The index port of DISPI; data is at the next one, and at the one behind that.
pub const DISPI_PORT: Port = Port(0x1CE);
/// Ports of DISPI.
pub const DISPI_PORTS: u16 = 3;
/// The first of the ports that are in the memory BAR too.
const FIRST_MMIO_PORT: u16 = 0x3C0;
/// Light grey on black: the attribute of a cleared screen.
const BLANK_ATTRIBUTE: u8 = 0x07;
/// The monitor's mode, where nothing else is said.
pub const DEFAULT_RESOLUTION: (u16, u16) = (1280, 800);
/// Bytes of a character in plane 2.
const FONT_BYTES: usize = 32;

/// The adapter.
pub struct Vga {
    registers: Registers,
    planes: Planes,
    dispi: Dispi,
    /// Pixels of more than 8 bits have their most significant byte first.
    big_endian: bool,
    config: ConfigSpace,
    rom: Option<MemoryRegion>,
    edid: [u8; edid::EDID_BYTES],

    window: Window,
    picture: Picture,
    changes: u64,
}

impl Vga {
    /// An adapter in mode 3 with a blank screen. `memory` is its frame buffer, a power of two of bytes from 1 MiB to
    /// 256 MiB, `rom` its video BIOS (a power of two from 2 KiB), `resolution` what its monitor prefers.
    pub fn new(memory: MemoryRegion, rom: Option<MemoryRegion>, resolution: (u16, u16)) -> Self {
        let mut vga = Self {
            registers: Registers::text_mode(TextMode::Rows25),
            dispi: Dispi::new(memory.bytes()),
            big_endian: false,
            config: pci::config_space(&memory, rom.as_ref()),
            rom,
            edid: edid::block(resolution.0, resolution.1),
            planes: Planes::new(memory),
            window: Window::default(),
            picture: Picture::new(),
            changes: 0,
        };
        vga.window.registers_changed(&vga.registers, &vga.dispi);
        vga.blank(None);
        vga
    }
    /// An adapter on no board, with memory of its own: for tests, and pictures of text.
    ///
    /// # Panics
    /// The host has no memory.
    pub fn alone() -> Self {
        Self::with_own_memory(1 << 20)
    }
    /// The same with a frame buffer of so many bytes.
    ///
    /// # Panics
    /// The host has no memory, or such a frame buffer cannot be.
    #[expect(clippy::expect_used, reason = "for tests, which end then")]
    pub fn with_own_memory(bytes: u64) -> Self {
        let memory = GuestMemory::new(1 << 20, &[]).expect("memory");
        let region = memory.add_device_memory("vga.vram", bytes).expect("a frame buffer");
        Self::new(region, None, DEFAULT_RESOLUTION)
    }

    /// Machine reset: mode 3, blank, without a font.
    pub fn reset(&mut self) {
        self.config.reset();
        self.big_endian = false;
        self.set_text_mode(TextMode::Rows25, None);
    }
    /// Sets a text mode and clears the screen, as the video BIOS does. `font` has the lines of 256 characters, one
    /// character after the other, at most 32 lines each.
    pub fn set_text_mode(&mut self, mode: TextMode, font: Option<&[u8]>) {
        self.registers = Registers::text_mode(mode);
        self.dispi = Dispi::new(self.planes.memory.bytes());
        self.window.forget();
        self.window.registers_changed(&self.registers, &self.dispi);
        self.blank(font);
    }
    fn blank(&mut self, font: Option<&[u8]>) {
        let mut bytes = vec![0; MEMORY_BYTES];
        let order = self.order();
        let place = |offset: usize| order.bytes(order.word_at(offset as u16)).map(|at| at as usize);
        // The 32 KiB window has 16384 cells, each at an even offset of its plane.
        for offset in (0..0x8000).step_by(2) {
            let [cell, _] = place(offset);
            bytes[cell..cell + 2].copy_from_slice(&[b' ', BLANK_ATTRIBUTE]);
        }
        let lines = font.map_or(0, |font| font.len() / 256).min(FONT_BYTES);
        for (character, shape) in font.unwrap_or_default().chunks_exact(lines.max(1)).take(256).enumerate() {
            for (line, bits) in shape.iter().enumerate() {
                let [_, fonts] = place(character * FONT_BYTES + line);
                bytes[fonts] = *bits;
            }
        }
        self.planes.memory.write(0, &bytes);
        self.planes.latch = 0;
        self.changes += 1;
    }

    /// The text screen now; `None` in a graphics mode.
    pub fn screen(&self) -> Option<TextScreen> {
        if self.dispi.enabled() { None } else { screen::look(&self.registers, &self.planes) }
    }
    /// Draws what changed since the last call into `surface`, or `all`, and returns what it drew. The surface is the same
    /// each time.
    pub fn draw(&mut self, now: GuestTime, surface: &mut Surface, all: bool) -> Damage {
        let Self { registers, planes, dispi, big_endian, picture, .. } = self;
        let source = Source { registers, dispi, planes, big_endian: *big_endian, now };
        picture.draw(&source, surface, all)
    }
    /// Grows whenever the screen may look different. Memory that vCPUs write without the adapter, and what blinks, is
    /// looked at where the picture is `viewed`.
    pub fn changes(&mut self, now: GuestTime, viewed: bool) -> u64 {
        let Self { registers, planes, dispi, big_endian, window, picture, .. } = self;
        let source = Source { registers, dispi, planes, big_endian: *big_endian, now };
        // Text is looked at by those who want no picture too.
        self.changes += u64::from(if viewed {
            picture.look(&source)
        } else {
            window.piece().is_some() && !registers.is_graphics() && picture.gather(&source)
        });
        self.changes
    }

    fn read_port(&mut self, port: Port, now: GuestTime) -> u8 {
        if matches!(port.0, 0x3BA | 0x3DA) && self.registers.crtc_port(port.0) {
            self.registers.reset_flip_flop();
            return timing::input_status(&self.registers, self.dispi.enabled(), now);
        }
        self.registers.read(port.0).unwrap_or(0xFF)
    }
    fn write_port(&mut self, port: Port, value: u8) {
        let old = self.order();
        if self.registers.write(port.0, value) {
            self.changes += 1;
            self.window.registers_changed(&self.registers, &self.dispi);
            let new = self.order();
            if new != old && !self.dispi.enabled() {
                self.planes.reorder(old, new);
            }
        }
    }
    fn write_dispi(&mut self, index: u16, value: u16) {
        let effect = self.dispi.write(index, value);
        self.window.registers_changed(&self.registers, &self.dispi);
        self.registers.dac.set_eight_bits(self.dispi.eight_bit_dac());
        self.changes += u64::from(effect.changed);
        let zeros = [0; 4096];
        let mut at = 0;
        while at < effect.clear {
            let piece = (effect.clear - at).min(zeros.len() as u64);
            self.planes.memory.write(at, &zeros[..piece as usize]);
            at += piece;
        }
    }
    /// The byte of the frame buffer that is at an offset of the window, where that is all to it. `Some(None)`: nothing is
    /// there.
    fn direct(&self, offset: u64, width: Width) -> Option<Option<u64>> {
        let piece = self.window.piece()?;
        let at = offset.checked_sub(piece.at).filter(|at| at + width.bytes() as u64 <= piece.bytes);
        // An access that only touches it goes byte by byte, but in DISPI modes, where the planes are not there.
        if at.is_none() && !self.dispi.enabled() {
            return None;
        }
        Some(at.map(|at| piece.offset + at))
    }
    /// In which order the planes are in the frame buffer.
    fn order(&self) -> Order {
        Order::of(&self.registers, self.dispi.enabled())
    }
    /// The first word behind the window: with 4 bits a pixel a bank is 64 KiB of each plane.
    fn bank(&self) -> u32 {
        if self.dispi.enabled() { self.dispi.bank() as u32 } else { 0 }
    }
}

impl PortDevice for Vga {
    fn port_read(&mut self, port: Port, width: Width, now: GuestTime) -> u32 {
        if port.0 < FIRST_PORT.0 {
            let value = match port.0 - DISPI_PORT.0 {
                0 => self.dispi.index(),
                _ => self.dispi.read(self.dispi.index()),
            };
            return (0xFFFF_0000 | u32::from(value)) & width.mask() as u32;
        }
        isa_cycles::read_bytes(port, width, |p| self.read_port(p, now))
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, _now: GuestTime) {
        if port.0 >= FIRST_PORT.0 {
            return isa_cycles::write_bytes(port, width, value, |p, byte| self.write_port(p, byte));
        }
        match port.0 - DISPI_PORT.0 {
            0 => self.dispi.set_index(value as u16),
            _ => self.write_dispi(self.dispi.index(), value as u16),
        }
    }
}

/// The window A0000h to BFFFFh. What the graphics controller does not open reads as ones.
impl MmioDevice for Vga {
    fn mmio_read(&mut self, offset: u64, width: Width, _now: GuestTime) -> u64 {
        if let Some(at) = self.direct(offset, width) {
            let mut bytes = [0xFF; 8];
            if let Some(at) = at {
                self.window.accessed();
                self.planes.memory.read(at, &mut bytes);
            }
            return u64::from_le_bytes(bytes) & width.mask();
        }
        let (bank, order) = (self.bank(), self.order());
        let mut byte = |i| self.planes.read(&self.registers, order, bank, offset + i).unwrap_or(0xFF) as u64;
        (0..width.bytes() as u64).fold(0, |value, i| value | byte(i) << (8 * i))
    }
    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, _now: GuestTime) {
        if let Some(at) = self.direct(offset, width) {
            if let Some(at) = at {
                self.window.accessed();
                self.planes.memory.write(at, &value.to_le_bytes()[..width.bytes()]);
            }
            return;
        }
        let (bank, order) = (self.bank(), self.order());
        let bytes = &value.to_le_bytes()[..width.bytes()];
        self.changes += u64::from(self.planes.write(&self.registers, order, bank, offset, bytes));
    }
    fn mmio_write_run(&mut self, offset: u64, width: Width, bytes: &[u8], now: GuestTime) {
        if self.window.piece().is_none() {
            // The planes see bytes.
            let (bank, order) = (self.bank(), self.order());
            self.changes += u64::from(self.planes.write(&self.registers, order, bank, offset, bytes));
            return;
        }
        for (n, element) in bytes.chunks_exact(width.bytes()).enumerate() {
            let at = offset + (n * width.bytes()) as u64;
            self.mmio_write(at, width, width.value_of(element), now);
        }
    }
}

impl Device for Vga {
    fn reset(&mut self, _now: GuestTime) {
        Vga::reset(self);
    }
    fn info(&self) -> String {
        if let Some(mode) = self.dispi.mode() {
            return format!("{} by {}, {} bits a pixel", mode.width, mode.height, mode.bits);
        }
        match self.screen() {
            Some(screen) => format!("text, {} by {}", screen.columns, screen.rows),
            None => format!("graphics, {} lines", crtc::lines_shown(&self.registers)),
        }
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn memory(&mut self) -> Option<&mut dyn MmioDevice> {
        Some(self)
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
    fn bars(&mut self) -> Option<&mut dyn PciBars> {
        Some(self)
    }
    fn shown_change(&mut self) -> Option<Option<Shown>> {
        self.window.take_news(&self.planes.memory)
    }
}
