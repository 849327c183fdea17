//! VGA in text mode.
//!
//! A text screen is memory: at B8000h each cell has two bytes, a character of code page 437
//! and an attribute with its colours. Behind that address the adapter spreads even and odd
//! bytes over planes 0 and 1, and its CRT controller walks over them from the start address
//! on, 70 times a second. Registers sit behind index and data ports: CRT controller
//! (3D4h/3D5h) for the shape of the screen and the cursor, sequencer (3C4h/3C5h) and graphics
//! controller (3CEh/3CFh) for the way from processor to planes, attribute controller (3C0h,
//! 3C1h) and DAC (3C6h to 3C9h) for colours. Port 3DAh tells where the beam is.
//!
//! [`registers`] keeps all of them, [`planes`] is memory with the four write modes, [`timing`]
//! the beam, [`screen`] the picture of cells that others look at ([`VgaText::screen`]), this
//! file the glue. After power-on the adapter is in mode 3 with a blank screen, as a video BIOS
//! leaves it, because a kernel that is booted directly finds it so.
//!
//! Left out, for a full VGA to come: pictures of graphics modes (their memory and registers
//! work), fonts in plane 2 as something to see, panning by pixels, the vertical interrupt,
//! and the PCI function with its BIOS ROM.

pub mod cp437;
pub mod planes;
pub mod registers;
pub mod screen;
pub mod timing;

#[cfg(test)]
mod tests;

pub use registers::TextMode;
pub use screen::{TextCell, TextCursor, TextScreen};

use crate::device::Device;
use crate::isa_cycles;
use planes::{MEMORY_BYTES, Planes};
use registers::{Registers, RegistersStateV1};
use serde::{Deserialize, Serialize};
use trimotor_bus::{GuestTime, MmioDevice, Port, PortDevice, RestoreError, SaveState, Width};

/// The first port that the adapter answers.
pub const FIRST_PORT: Port = Port(0x3B0);
/// The last port that the adapter answers.
pub const LAST_PORT: Port = Port(0x3DF);
/// Light grey on black: the attribute of a cleared screen.
const BLANK_ATTRIBUTE: u8 = 0x07;

/// The adapter.
pub struct VgaText {
    registers: Registers,
    planes: Planes,
    changes: u64,
}

/// The saved state of the adapter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VgaTextStateV1 {
    registers: RegistersStateV1,
    planes: Vec<u8>,
    latch: u32,
}

impl VgaText {
    /// An adapter in mode 3 with a blank screen.
    pub fn new() -> Self {
        let mut vga =
            Self { registers: Registers::text_mode(TextMode::Rows25), planes: Planes::new(), changes: 0 };
        vga.blank();
        vga
    }

    /// Machine reset: mode 3, blank.
    pub fn reset(&mut self) {
        self.set_mode(TextMode::Rows25);
    }

    /// Sets a text mode and clears the screen, as the video BIOS does.
    pub fn set_mode(&mut self, mode: TextMode) {
        self.registers = Registers::text_mode(mode);
        self.blank();
    }

    fn blank(&mut self) {
        self.planes.bytes.fill(0);
        // The 32 KiB window has 16384 cells, each at an even offset of its plane.
        for cell in self.planes.bytes.chunks_exact_mut(8).take(0x4000) {
            cell[0] = b' ';
            cell[1] = BLANK_ATTRIBUTE;
        }
        self.changes += 1;
    }

    /// The text screen now; `None` in a graphics mode.
    pub fn screen(&self) -> Option<TextScreen> {
        screen::look(&self.registers, &self.planes)
    }
    /// Grows whenever the screen may look different.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    fn read_port(&mut self, port: Port, now: GuestTime) -> u8 {
        if matches!(port.0, 0x3BA | 0x3DA) && self.registers.crtc_port(port.0) {
            self.registers.reset_flip_flop();
            return timing::input_status(&self.registers, now);
        }
        self.registers.read(port.0).unwrap_or(0xFF)
    }
}

impl Default for VgaText {
    fn default() -> Self {
        Self::new()
    }
}

impl PortDevice for VgaText {
    fn port_read(&mut self, port: Port, width: Width, now: GuestTime) -> u32 {
        isa_cycles::read_bytes(port, width, |p| self.read_port(p, now))
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, _now: GuestTime) {
        isa_cycles::write_bytes(port, width, value, |p, byte| {
            self.changes += self.registers.write(p.0, byte) as u64;
        });
    }
}

/// The window A0000h to BFFFFh. What the graphics controller does not open reads as ones.
impl MmioDevice for VgaText {
    fn mmio_read(&mut self, offset: u64, width: Width, _now: GuestTime) -> u64 {
        let mut byte = |i| self.planes.read(&self.registers, offset + i).unwrap_or(0xFF) as u64;
        (0..width.bytes() as u64).fold(0, |value, i| value | byte(i) << (8 * i))
    }
    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, _now: GuestTime) {
        for i in 0..width.bytes() as u64 {
            let changed = self.planes.write(&self.registers, offset + i, (value >> (8 * i)) as u8);
            self.changes += changed as u64;
        }
    }
}

impl SaveState for VgaText {
    type State = VgaTextStateV1;
    fn save(&self) -> VgaTextStateV1 {
        let Self { registers, planes, changes: _ } = self;
        let Planes { bytes, latch } = planes;
        VgaTextStateV1 { registers: registers.save(), planes: bytes.clone(), latch: *latch }
    }
    fn restore(&mut self, state: VgaTextStateV1) -> Result<(), RestoreError> {
        let VgaTextStateV1 { registers, planes, latch } = state;
        if planes.len() != MEMORY_BYTES {
            let value = format!("{} bytes", planes.len());
            return Err(RestoreError { part: "VGA", field: "planes", value });
        }
        self.registers = Registers::restored(registers)?;
        self.planes = Planes { bytes: planes, latch };
        self.changes += 1;
        Ok(())
    }
}

impl Device for VgaText {
    fn reset(&mut self, _now: GuestTime) {
        VgaText::reset(self);
    }
    fn info(&self) -> String {
        match self.screen() {
            Some(screen) => format!("text, {} by {}", screen.columns, screen.rows),
            None => "graphics mode, which this adapter does not show".to_owned(),
        }
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn memory(&mut self) -> Option<&mut dyn MmioDevice> {
        Some(self)
    }
}
