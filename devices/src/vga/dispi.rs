//! DISPI, the interface of virtual display adapters for modes that a VGA has not: a linear frame buffer of any size and
//! 4 to 32 bits a pixel. Bochs has it, and QEMU's standard VGA; drivers (bochs-drm) and VBE firmware know it.
//!
//! An index in port 1CEh selects one of the 16-bit registers, which port 1CFh reaches.
//!
//! | index | register | |
//! |---|---|---|
//! | 0 | ID | B0C5h; one from B0C0h to B0C5h is kept |
//! | 1, 2, 3 | XRES, YRES, BPP | the mode. While it is enabled what cannot be is made into what can |
//! | 4 | ENABLE | 01h enabled, 02h reads of 1 to 3 give the largest values, 20h DAC with 8 bits, 40h linear frame buffer, 80h memory stays as it is |
//! | 5 | BANK | which 64 KiB are at A0000h |
//! | 6, 7 | VIRT_WIDTH, VIRT_HEIGHT | pixels of a line in memory; lines that memory has (read only) |
//! | 8, 9 | X_OFFSET, Y_OFFSET | where in that the screen begins |
//! | Ah | VIDEO_MEMORY_64K | memory in units of 64 KiB (read only) |
//!
//! Enabling a mode sets the virtual width to the width, the offsets to 0, and clears the memory unless bit 7 is set.
//! With 4 bits a pixel memory is that of a VGA's 16-colour modes, four planes, with more of it.
//! The register for a monitor's DDC wires (index Bh of some versions) is left out: the EDID is in the memory BAR.

use serde::{Deserialize, Serialize};
use trimotor_bus::RestoreError;

/// Registers.
pub const REGISTERS: usize = 11;
/// The newest version of the interface.
pub const ID: u16 = 0xB0C5;
/// The oldest version.
pub const OLDEST_ID: u16 = 0xB0C0;
/// Index of the width in pixels.
pub const XRES: usize = 1;
/// Index of the height in lines.
pub const YRES: usize = 2;
/// Index of the bits of a pixel.
pub const BPP: usize = 3;
/// Index of the enable register.
pub const ENABLE: usize = 4;
/// Index of the bank.
pub const BANK: usize = 5;
/// Index of the pixels of a line in memory.
pub const VIRT_WIDTH: usize = 6;
/// Index of the lines in memory.
pub const VIRT_HEIGHT: usize = 7;
/// Index of the first column shown.
pub const X_OFFSET: usize = 8;
/// Index of the first line shown.
pub const Y_OFFSET: usize = 9;
/// Index of the memory's size.
pub const MEMORY_64K: usize = 10;

/// Enable: the mode is on.
pub const ENABLED: u16 = 0x01;
/// Enable: reads tell the largest values.
pub const GET_CAPS: u16 = 0x02;
/// Enable: the DAC's components have eight bits.
pub const DAC_8_BITS: u16 = 0x20;
/// Enable: memory is not cleared.
pub const NO_CLEAR: u16 = 0x80;

/// The widest mode, in pixels.
pub const MAX_XRES: u16 = 4096;
/// The highest mode, in lines.
pub const MAX_YRES: u16 = 2160;
const BITS: [u16; 6] = [4, 8, 15, 16, 24, 32];

/// The registers.
#[derive(Clone, Debug)]
pub struct Dispi {
    index: u16,
    registers: [u16; REGISTERS],
    /// Bytes of the frame buffer.
    memory: u64,
}

/// The saved registers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DispiStateV1 {
    index: u16,
    registers: Vec<u16>,
}

/// A mode that is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DispiMode {
    /// Pixels in a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Bits of a pixel: 4, 8, 15, 16, 24 or 32.
    pub bits: u16,
    /// Bytes of a line in memory.
    pub pitch: u64,
    /// The first byte shown (with 4 bits: of the first eight pixels).
    pub start: u64,
    /// With 4 bits: pixels of these eight that are not shown.
    pub skipped: usize,
}

/// What a write brought about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effect {
    /// The screen may look different.
    pub changed: bool,
    /// So many bytes of memory are to be cleared.
    pub clear: u64,
}

impl Dispi {
    /// Off, for a frame buffer of so many bytes.
    pub fn new(memory: u64) -> Self {
        let mut registers = [0; REGISTERS];
        registers[0] = ID;
        Self { index: 0, registers, memory }
    }
    /// The index register.
    pub fn index(&self) -> u16 {
        self.index
    }
    /// Sets the index register.
    pub fn set_index(&mut self, index: u16) {
        self.index = index;
    }
    /// Whether a mode is on.
    pub fn enabled(&self) -> bool {
        self.registers[ENABLE] & ENABLED != 0
    }
    /// Whether the DAC's components have eight bits.
    pub fn eight_bit_dac(&self) -> bool {
        self.registers[ENABLE] & DAC_8_BITS != 0
    }
    /// The first byte of memory that is at A0000h.
    pub fn bank(&self) -> u64 {
        u64::from(self.registers[BANK]) << 16
    }
    /// The mode that is on.
    pub fn mode(&self) -> Option<DispiMode> {
        if !self.enabled() {
            return None;
        }
        let [width, height, x, y] = [XRES, YRES, X_OFFSET, Y_OFFSET].map(|i| u64::from(self.registers[i]));
        let (bits, pitch) = (self.registers[BPP], self.pitch());
        let start = y * pitch + if bits == 4 { x / 8 * 4 } else { x * bytes(bits) };
        let skipped = if bits == 4 { x as usize % 8 } else { 0 };
        Some(DispiMode { width: width as usize, height: height as usize, bits, pitch, start, skipped })
    }
    fn pitch(&self) -> u64 {
        line_bytes(self.registers[VIRT_WIDTH], self.registers[BPP])
    }

    /// Reads a register; what is not there is 0.
    pub fn read(&self, index: u16) -> u16 {
        let at = usize::from(index);
        match at {
            XRES if self.tells_limits() => MAX_XRES,
            YRES if self.tells_limits() => MAX_YRES,
            BPP if self.tells_limits() => 32,
            VIRT_HEIGHT if self.enabled() => (self.memory / self.pitch().max(1)).min(0xFFFF) as u16,
            MEMORY_64K => (self.memory >> 16) as u16,
            _ => self.registers.get(at).copied().unwrap_or(0),
        }
    }
    fn tells_limits(&self) -> bool {
        self.registers[ENABLE] & GET_CAPS != 0
    }

    /// Writes a register.
    pub fn write(&mut self, index: u16, value: u16) -> Effect {
        let before = (self.mode(), self.eight_bit_dac());
        let mut effect = Effect::default();
        match usize::from(index) {
            0 if (OLDEST_ID..=ID).contains(&value) => self.registers[0] = value,
            at @ (XRES | YRES | BPP | VIRT_WIDTH | X_OFFSET | Y_OFFSET) => {
                self.registers[at] = value;
                self.make_possible();
            }
            BANK => self.registers[BANK] = (u64::from(value) % (self.memory >> 16).max(1)) as u16,
            ENABLE => {
                let turned_on = value & ENABLED != 0 && !self.enabled();
                self.registers[ENABLE] = value;
                if turned_on {
                    for at in [VIRT_WIDTH, X_OFFSET, Y_OFFSET] {
                        self.registers[at] = 0;
                    }
                    self.make_possible();
                    if value & NO_CLEAR == 0 {
                        effect.clear = u64::from(self.registers[YRES]) * self.pitch();
                    }
                }
                if value & ENABLED == 0 {
                    self.registers[BANK] = 0;
                }
            }
            _ => {}
        }
        effect.changed = before != (self.mode(), self.eight_bit_dac());
        effect
    }
    /// Makes the registers of a mode that is on into what memory and monitor can do.
    fn make_possible(&mut self) {
        if !self.enabled() {
            return;
        }
        let r = &mut self.registers;
        if !BITS.contains(&r[BPP]) {
            r[BPP] = 8;
        }
        let bits = r[BPP];
        r[XRES] = (r[XRES] & !7).clamp(8, MAX_XRES);
        // Even one line must fit.
        while line_bytes(r[XRES], bits) > self.memory {
            r[XRES] -= 8;
        }
        r[VIRT_WIDTH] = (r[VIRT_WIDTH] & !7).max(r[XRES]);
        while line_bytes(r[VIRT_WIDTH], bits) > self.memory {
            r[VIRT_WIDTH] -= 8;
        }
        let pitch = line_bytes(r[VIRT_WIDTH], bits);
        let lines = (self.memory / pitch).min(0xFFFF) as u16;
        r[YRES] = r[YRES].clamp(1, MAX_YRES.min(lines));
        r[X_OFFSET] = r[X_OFFSET].min(r[VIRT_WIDTH] - r[XRES]);
        r[Y_OFFSET] = r[Y_OFFSET].min(lines - r[YRES]);
    }

    /// The registers now.
    pub fn save(&self) -> DispiStateV1 {
        let Self { index, registers, memory: _ } = self;
        DispiStateV1 { index: *index, registers: registers.to_vec() }
    }
    /// Registers for a frame buffer of `memory` bytes from a saved state.
    ///
    /// # Errors
    /// Values that the registers cannot have.
    pub fn restored(state: DispiStateV1, memory: u64) -> Result<Self, RestoreError> {
        let DispiStateV1 { index, registers } = state;
        let refuse = |value: String| RestoreError { part: "VGA", field: "DISPI registers", value };
        let count = registers.len();
        let registers = registers.try_into().map_err(|_| refuse(format!("{count} of them")))?;
        let dispi = Self { index, registers, memory };
        let mut possible = dispi.clone();
        possible.make_possible();
        if possible.registers != dispi.registers
            || !(OLDEST_ID..=ID).contains(&dispi.registers[0])
            || dispi.bank() >= memory
        {
            return Err(refuse(format!("{:x?}", dispi.registers)));
        }
        Ok(dispi)
    }
}

/// Bytes of a pixel of more than 4 bits.
pub fn bytes(bits: u16) -> u64 {
    u64::from(bits).div_ceil(8)
}
/// Bytes of a line of so many pixels, which are a multiple of 8.
fn line_bytes(pixels: u16, bits: u16) -> u64 {
    if bits == 4 { u64::from(pixels) / 2 } else { u64::from(pixels) * bytes(bits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(dispi: &mut Dispi, width: u16, height: u16, bits: u16) -> Effect {
        dispi.write(4, 0);
        for (index, value) in [(1, width), (2, height), (3, bits)] {
            dispi.write(index, value);
        }
        dispi.write(4, 0x41)
    }

    #[test]
    fn modes_and_limits() {
        let mut dispi = Dispi::new(16 << 20);
        assert_eq!([dispi.read(0), dispi.read(10), dispi.read(99)], [0xB0C5, 256, 0]);
        dispi.write(0, 0xB0C2);
        dispi.write(0, 0x1234);
        assert_eq!(dispi.read(0), 0xB0C2);
        assert_eq!(mode(&mut dispi, 1280, 800, 32), Effect { changed: true, clear: 1280 * 800 * 4 });
        let shown = DispiMode { width: 1280, height: 800, bits: 32, pitch: 5120, start: 0, skipped: 0 };
        assert_eq!(dispi.mode(), Some(shown));
        assert_eq!([6, 7].map(|i| dispi.read(i)), [1280, 3276]);
        dispi.write(6, 2000);
        dispi.write(8, 99);
        dispi.write(9, 5);
        assert_eq!(dispi.mode(), Some(DispiMode { pitch: 8000, start: 5 * 8000 + 99 * 4, ..shown }));
        dispi.write(9, 0xFFFF);
        assert_eq!(dispi.read(9), 2097 - 800, "the picture stays within memory");
        dispi.write(4, 0x43);
        assert_eq!([1, 2, 3].map(|i| dispi.read(i)), [4096, 2160, 32]);
        // What cannot be is made into what can.
        mode(&mut dispi, 5, 0, 7);
        assert_eq!([1, 2, 3].map(|i| dispi.read(i)), [8, 1, 8]);
        mode(&mut dispi, 0xFFFF, 0xFFFF, 32);
        assert_eq!([1, 2, 3].map(|i| dispi.read(i)), [4096, 1024, 32]);
    }

    #[test]
    fn sixteen_colours_and_banks() {
        let mut dispi = Dispi::new(1 << 20);
        mode(&mut dispi, 1024, 768, 4);
        dispi.write(6, 1040);
        dispi.write(8, 11);
        dispi.write(5, 17);
        let mode = dispi.mode().unwrap();
        assert_eq!((mode.pitch, mode.start, mode.skipped), (520, 4, 3));
        assert_eq!(dispi.bank(), 1 << 16, "banks that are not there are others");
        let effect = dispi.write(4, 0x20);
        assert!(effect.changed && dispi.eight_bit_dac() && dispi.mode().is_none());
        let saved = dispi.save();
        assert!(Dispi::restored(saved.clone(), 1 << 20).is_ok());
        let impossible = DispiStateV1 { registers: vec![0xB0C5, 8000, 1, 8, 1, 0, 0, 0, 0, 0, 0], ..saved };
        assert!(Dispi::restored(impossible, 1 << 20).is_err());
    }
}
