//! The host bridge Intel 440FX (82441FX PMC): 8086:1237 at 00:00.0.
//!
//! Of its own registers a PC's firmware uses two kinds. PAM0 to PAM6 (59h to 5Fh) say for
//! each piece of C0000h to FFFFFh whether reads and writes go to RAM or to the bus, where
//! the firmware ROM answers. SMRAM (72h) shows or hides the RAM behind the VGA window: to all, or to
//! processors in system-management mode.
//! Other registers (DRAM timing, arbitration) are stored.
//!
//! Left out: the AGP port (a 440FX has none) and error reporting.

use super::config_space::*;
use crate::device::Device;
use std::sync::Arc;
use trimotor_bus::memory::{Smram, WindowRead, WindowWrite};
use trimotor_bus::pci::PciRegion;
use trimotor_bus::{GuestMemory, GuestTime, PciFunction, RestoreError, SaveState, Width};

/// The first of the seven PAM registers.
pub const PAM0: u8 = 0x59;
/// The SMRAM control register.
pub const SMRAM: u8 = 0x72;
/// SMRAM: the RAM behind A0000h to BFFFFh is open to all (D_OPEN).
pub const SMRAM_OPEN: u8 = 1 << 6;
/// SMRAM: closed to data, code fetches in SMM still see it (D_CLS).
pub const SMRAM_CLOSED: u8 = 1 << 5;
/// SMRAM: D_OPEN is 0 and cannot be set before reset (D_LCK).
pub const SMRAM_LOCKED: u8 = 1 << 4;
/// SMRAM: SMM sees the RAM behind A0000h to BFFFFh (G_SMRAME).
pub const SMRAM_ENABLED: u8 = 1 << 3;

const VGA_WINDOW: std::ops::Range<u64> = 0xA_0000..0xC_0000;

/// The host bridge's configuration function.
pub struct I440fx {
    memory: Arc<GuestMemory>,
    config: ConfigSpace,
}

/// The saved state of the host bridge.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct I440fxStateV1 {
    config: ConfigSpaceStateV1,
}

impl I440fx {
    /// The bridge of `memory`; PAM as after reset, with the ROM shown. A machine without a ROM
    /// has RAM there, as firmware would have left it.
    pub fn new(memory: Arc<GuestMemory>) -> Self {
        let mut config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x1237,
            revision: 2,
            class: 0x06_00_00,
            subsystem: (0x1AF4, 0x1100),
            multifunction: false,
            interrupt_pin: 0,
        });
        config.preset(COMMAND, &[0x06, 0]); // Memory and master are wired to one.
        config.allow(COMMAND, &[0, (COMMAND_SERR >> 8) as u8]);
        config.preset(STATUS, &[0x80, 0x02]);
        config.allow(0x50, &[0xFF; 9]); // PMCCFG, DETURBO, DRAM control and timing.
        config.allow(PAM0, &[0x33; 7]);
        if memory.rom_bytes() == 0 {
            // Nobody will ever open the RAM above C0000h where there is no firmware to do it.
            config.preset(PAM0, &[0x33; 7]);
        }
        config.allow(0x60, &[0xFF; 0x12]); // DRAM row boundaries, hole control, arbitration.
        config.preset(SMRAM, &[0x02]);
        config.allow(SMRAM, &[0x78]);
        let bridge = Self { memory, config };
        bridge.apply();
        bridge
    }

    /// Bus reset: the ROM is shown again and SMRAM is unlocked.
    pub fn reset(&mut self) {
        self.config.reset();
        self.apply();
    }

    /// Shows RAM at C0000h to FFFFFh, for reads and writes: what firmware does with the PAM
    /// registers before it puts its tables there, and what a direct boot must do in its place.
    pub fn open_shadow_ram(&mut self) {
        self.config.set(PAM0, &[0x33; 7]);
        self.apply();
    }

    fn apply(&self) {
        let pam: [u8; 7] = std::array::from_fn(|i| self.config.read(PAM0 + i as u8, Width::Byte) as u8);
        self.apply_pam(0xF_0000, 0x1_0000, pam[0] >> 4);
        for piece in 0..12 {
            self.apply_pam(0xC_0000 + piece * 0x4000, 0x4000, pam[1 + piece as usize / 2] >> (piece % 2 * 4));
        }
        self.apply_smram();
    }

    /// One PAM nibble: bit 0 sends reads to RAM, bit 1 writes.
    fn apply_pam(&self, base: u64, bytes: u64, nibble: u8) {
        let elsewhere = if base >= 0x10_0000 - self.memory.rom_bytes().min(128 << 10) {
            WindowRead::Rom
        } else {
            WindowRead::Device
        };
        let read = if nibble & 1 != 0 { WindowRead::Ram } else { elsewhere };
        let write = if nibble & 2 != 0 { WindowWrite::Ram } else { WindowWrite::Nowhere };
        self.set_window(base..base + bytes, read, write);
    }

    fn apply_smram(&self) {
        let smram = self.config.read(SMRAM, Width::Byte) as u8;
        let enabled = smram & SMRAM_ENABLED != 0;
        self.memory.set_smram(match (enabled, smram & SMRAM_CLOSED != 0) {
            (false, _) => Smram::Hidden,
            (true, true) => Smram::Code,
            (true, false) => Smram::Open,
        });
        if enabled && smram & SMRAM_OPEN != 0 {
            self.set_window(VGA_WINDOW, WindowRead::Ram, WindowWrite::Ram);
        } else {
            self.set_window(VGA_WINDOW, WindowRead::Device, WindowWrite::Device);
        }
    }

    /// Engines drop their view of memory at each change, so only real changes are passed on.
    fn set_window(&self, range: std::ops::Range<u64>, read: WindowRead, write: WindowWrite) {
        for at in range.step_by(trimotor_bus::memory::WINDOW_SIZE as usize) {
            if self.memory.window(trimotor_bus::PhysAddr(at)) != (read, write) {
                self.memory.set_window(at..at + trimotor_bus::memory::WINDOW_SIZE, read, write);
            }
        }
    }
}

impl PciFunction for I440fx {
    fn config_read(&mut self, offset: u8, width: Width) -> u32 {
        self.config.read(offset, width)
    }

    fn config_write(&mut self, offset: u8, width: Width, value: u32, _now: GuestTime) -> bool {
        let smram = self.config.read(SMRAM, Width::Byte) as u8;
        self.config.write(offset, width, value);
        let mut new = self.config.read(SMRAM, Width::Byte) as u8;
        if smram & SMRAM_LOCKED != 0 {
            // A lock that is set holds D_OPEN, D_LCK and G_SMRAME; D_CLS stays free.
            new = smram & !SMRAM_CLOSED | new & SMRAM_CLOSED;
        }
        if new & SMRAM_LOCKED != 0 {
            new &= !SMRAM_OPEN;
        }
        self.config.set(SMRAM, &[new]);
        self.apply();
        false
    }

    fn decoded_regions(&self) -> Vec<PciRegion> {
        Vec::new()
    }
}

impl SaveState for I440fx {
    type State = I440fxStateV1;
    fn save(&self) -> I440fxStateV1 {
        let Self { memory: _, config } = self;
        I440fxStateV1 { config: config.save() }
    }
    fn restore(&mut self, state: I440fxStateV1) -> Result<(), RestoreError> {
        let I440fxStateV1 { config } = state;
        self.config.restore(config)?;
        self.apply();
        Ok(())
    }
}

impl Device for I440fx {
    fn reset(&mut self, _now: GuestTime) {
        I440fx::reset(self);
    }
    fn info(&self) -> String {
        format!(
            "PAM {:02x?}, SMRAM {:#04x}",
            (0..7).map(|i| self.config.read(PAM0 + i, Width::Byte)).collect::<Vec<_>>(),
            self.config.read(SMRAM, Width::Byte)
        )
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_bus::PhysAddr;
    use trimotor_bus::memory::View;

    fn bridge() -> (I440fx, Arc<GuestMemory>) {
        let memory = GuestMemory::new(2 << 20, &vec![0xEA; 128 << 10]).unwrap();
        (I440fx::new(memory.clone()), memory)
    }
    fn write(b: &mut I440fx, at: u8, value: u8) {
        b.config_write(at, Width::Byte, value as u32, GuestTime::ZERO);
    }

    #[test]
    fn pam_copies_rom_to_ram_as_firmware_does() {
        let (mut b, m) = bridge();
        assert_eq!(b.config_read(0, Width::Dword), 0x1237_8086);
        assert_eq!(m.window(PhysAddr(0xF_0000)), (WindowRead::Rom, WindowWrite::Nowhere));
        assert_eq!(m.window(PhysAddr(0xC_0000)), (WindowRead::Device, WindowWrite::Nowhere));
        write(&mut b, PAM0, 0x20);
        assert_eq!(m.window(PhysAddr(0xF_0000)), (WindowRead::Rom, WindowWrite::Ram));
        assert_eq!(m.write(PhysAddr(0xF_0000), &[1]), 1);
        write(&mut b, PAM0, 0x10);
        assert_eq!(m.window(PhysAddr(0xF_C000)), (WindowRead::Ram, WindowWrite::Nowhere));
        write(&mut b, PAM0 + 1, 0x31);
        assert_eq!(m.window(PhysAddr(0xC_0000)), (WindowRead::Ram, WindowWrite::Nowhere));
        assert_eq!(m.window(PhysAddr(0xC_4000)), (WindowRead::Ram, WindowWrite::Ram));
        write(&mut b, PAM0 + 6, 0x33);
        assert_eq!(m.window(PhysAddr(0xE_C000)), (WindowRead::Ram, WindowWrite::Ram));
        b.reset();
        assert_eq!(m.window(PhysAddr(0xE_C000)), (WindowRead::Rom, WindowWrite::Nowhere));
        b.open_shadow_ram();
        assert_eq!(m.window(PhysAddr(0xE_C000)), (WindowRead::Ram, WindowWrite::Ram));
        write(&mut b, 0x3C, 1);
        assert_eq!(m.window(PhysAddr(0xF_0000)), (WindowRead::Ram, WindowWrite::Ram));
    }

    #[test]
    fn smram_shows_in_smm_only_and_locks() {
        let (mut b, m) = bridge();
        let ram = (WindowRead::Ram, WindowWrite::Ram);
        write(&mut b, SMRAM, SMRAM_OPEN | SMRAM_ENABLED);
        assert_eq!(m.window(PhysAddr(0xA_0000)), ram);
        write(&mut b, SMRAM, SMRAM_LOCKED | SMRAM_OPEN | SMRAM_ENABLED);
        assert_ne!(m.window(PhysAddr(0xA_0000)), ram);
        write(&mut b, SMRAM, SMRAM_OPEN);
        assert_eq!(b.config_read(SMRAM, Width::Byte) as u8, SMRAM_LOCKED | SMRAM_ENABLED | 0x02);
        let in_smm = |m: &GuestMemory| m.backing_for(PhysAddr(0xB_C000), View::Smm).ram_page.is_some();
        assert!(in_smm(&m) && m.backing(PhysAddr(0xB_C000)).ram_page.is_none());
        let fetched = |m: &GuestMemory| m.backing_for(PhysAddr(0xB_C000), View::SmmCode).ram_page.is_some();
        write(&mut b, SMRAM, SMRAM_CLOSED);
        assert!(!in_smm(&m) && fetched(&m));
        write(&mut b, SMRAM, 0);
        assert!(in_smm(&m));
        b.reset();
        assert!(!in_smm(&m) && !fetched(&m));
    }

    #[test]
    fn without_a_rom_there_is_ram() {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        let mut b = I440fx::new(memory.clone());
        b.reset();
        assert_eq!(memory.window(PhysAddr(0xE_0000)), (WindowRead::Ram, WindowWrite::Ram));
        assert_eq!(memory.window(PhysAddr(0xF_0000)), (WindowRead::Ram, WindowWrite::Ram));
        assert_eq!(memory.window(PhysAddr(0xB_8000)), (WindowRead::Device, WindowWrite::Device));
    }

    #[test]
    fn a_write_that_changes_nothing_keeps_the_memory_map() {
        let (mut b, m) = bridge();
        let generation = m.map_generation();
        write(&mut b, 0x3C, 5);
        write(&mut b, PAM0, 0);
        assert_eq!(m.map_generation(), generation);
    }

    #[test]
    fn restoring_applies_the_windows() {
        let (mut b, _) = bridge();
        write(&mut b, PAM0, 0x30);
        let (mut other, m) = bridge();
        other.restore(b.save()).unwrap();
        assert_eq!(m.window(PhysAddr(0xF_0000)), (WindowRead::Ram, WindowWrite::Ram));
    }
}
