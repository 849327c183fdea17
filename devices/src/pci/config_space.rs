//! A standard configuration space with a type 0 header (PCI Local Bus Specification 3.0,
//! chapter 6): what every function needs, so that a function's own file holds only what is
//! its own.

use serde::{Deserialize, Serialize};
use trimotor_bus::pci::{PciRegion, PciSpace};
use trimotor_bus::{RestoreError, Width};

/// Offset of the vendor ID.
pub const VENDOR_ID: u8 = 0x00;
/// Offset of the command register.
pub const COMMAND: u8 = 0x04;
/// Offset of the status register.
pub const STATUS: u8 = 0x06;
/// Offset of the first base address register.
pub const BAR0: u8 = 0x10;
/// Offset of the subsystem vendor ID.
pub const SUBSYSTEM_VENDOR_ID: u8 = 0x2C;
/// Offset of the expansion ROM base address.
pub const ROM_BAR: u8 = 0x30;
/// Offset of the pointer to the first capability.
pub const CAPABILITIES: u8 = 0x34;
/// Offset of the interrupt line: the guest's own note of the IRQ.
pub const INTERRUPT_LINE: u8 = 0x3C;
/// Offset of the interrupt pin: 0 none, 1 INTA#, to 4 INTD#.
pub const INTERRUPT_PIN: u8 = 0x3D;

/// Command: answers I/O space.
pub const COMMAND_IO: u16 = 1 << 0;
/// Command: answers memory space.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// Command: may be bus master.
pub const COMMAND_MASTER: u16 = 1 << 2;
/// Command: reports parity errors (stored).
pub const COMMAND_PARITY: u16 = 1 << 6;
/// Command: drives SERR# (stored).
pub const COMMAND_SERR: u16 = 1 << 8;
/// Command: INTx# is held off.
pub const COMMAND_INTX_DISABLE: u16 = 1 << 10;
/// Status: the function wants INTx#.
pub const STATUS_INTERRUPT: u16 = 1 << 3;
/// Status: there is a list of capabilities.
pub const STATUS_CAPABILITIES: u16 = 1 << 4;

const COMMAND_WRITABLE: u16 =
    COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_PARITY | COMMAND_SERR | COMMAND_INTX_DISABLE;
/// Status bits that a write of one clears: the error bits.
const STATUS_CLEARABLE: u16 = 0xF900;
const BAR_SLOTS: usize = 7;
/// Where the expansion ROM is in the list of BARs.
pub const ROM_SLOT: usize = 6;
/// Capabilities start behind the header.
const FIRST_CAPABILITY: usize = 0x40;

/// Who the function is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class code: base class, subclass, programming interface, as a 24-bit number.
    pub class: u32,
    /// Subsystem vendor and device ID.
    pub subsystem: (u16, u16),
    /// Other functions share the slot: bit 7 of the header type.
    pub multifunction: bool,
    /// Interrupt pin: 0 none, 1 INTA#, to 4 INTD#.
    pub interrupt_pin: u8,
}

/// One base address register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bar {
    /// Ports: a power of two from 4 to 256 bytes.
    Io {
        /// Bytes.
        size: u32,
    },
    /// Memory below 4 GiB: a power of two from 16 bytes.
    Memory32 {
        /// Bytes.
        size: u32,
        /// Reads have no effects.
        prefetchable: bool,
    },
    /// Memory anywhere; takes this slot and the next.
    Memory64 {
        /// Bytes.
        size: u64,
        /// Reads have no effects.
        prefetchable: bool,
    },
    /// Expansion ROM (slot 6 only): a power of two from 2 KiB.
    Rom {
        /// Bytes.
        size: u32,
    },
}

/// 256 bytes with a write mask, BARs and a capability list.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bars: [Option<Bar>; BAR_SLOTS],
    writable: [u8; 256],
    clearable: [u8; 256],
    reset_bytes: [u8; 256],
    last_capability: u8,
    next_free: usize,
    bytes: [u8; 256],
}

/// The saved state of a configuration space: its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigSpaceStateV1 {
    bytes: Vec<u8>,
}

impl ConfigSpace {
    /// A function that answers nothing yet: command 0, no BARs.
    pub fn new(id: Identity) -> Self {
        let mut space = Self {
            bars: [None; BAR_SLOTS],
            writable: [0; 256],
            clearable: [0; 256],
            reset_bytes: [0; 256],
            last_capability: 0,
            next_free: FIRST_CAPABILITY,
            bytes: [0; 256],
        };
        space.preset(VENDOR_ID, &id.vendor.to_le_bytes());
        space.preset(2, &id.device.to_le_bytes());
        space.preset(8, &[id.revision, id.class as u8, (id.class >> 8) as u8, (id.class >> 16) as u8]);
        space.preset(0x0E, &[(id.multifunction as u8) << 7]);
        space.preset(SUBSYSTEM_VENDOR_ID, &id.subsystem.0.to_le_bytes());
        space.preset(SUBSYSTEM_VENDOR_ID + 2, &id.subsystem.1.to_le_bytes());
        space.preset(INTERRUPT_PIN, &[id.interrupt_pin]);
        space.allow(COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        space.allow(0x0C, &[0xFF, 0xFF]); // Cache line size and latency timer: stored.
        space.allow(INTERRUPT_LINE, &[0xFF]);
        space.clearable[STATUS as usize + 1] = (STATUS_CLEARABLE >> 8) as u8;
        space
    }

    /// Sets bytes and their value after reset. Part of building a function.
    pub fn preset(&mut self, offset: u8, bytes: &[u8]) {
        let at = offset as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.reset_bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
    /// Lets the guest write the given bits. Part of building a function.
    pub fn allow(&mut self, offset: u8, mask: &[u8]) {
        let at = offset as usize;
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }
    /// Lets the guest clear the given bits by writing ones. Part of building a function.
    pub fn allow_clear(&mut self, offset: u8, mask: &[u8]) {
        let at = offset as usize;
        self.clearable[at..at + mask.len()].copy_from_slice(mask);
    }

    /// Adds a base address register in `slot` (0 to 5; 6 for the ROM).
    pub fn add_bar(&mut self, slot: usize, bar: Bar) {
        let at = bar_offset(slot);
        let (flags, mask): (u32, u64) = match bar {
            Bar::Io { size } => {
                assert!(size.is_power_of_two() && (4..=256).contains(&size), "an I/O BAR of {size} bytes");
                (1, !(size as u64 - 1))
            }
            Bar::Memory32 { size, prefetchable } => {
                assert!(size.is_power_of_two() && size >= 16, "a memory BAR of {size} bytes");
                ((prefetchable as u32) << 3, !(size as u64 - 1))
            }
            Bar::Memory64 { size, prefetchable } => {
                assert!(size.is_power_of_two() && size >= 16 && slot < 5, "a 64-bit BAR in slot {slot}");
                (4 | (prefetchable as u32) << 3, !(size - 1))
            }
            Bar::Rom { size } => {
                assert!(size.is_power_of_two() && size >= 2048 && slot == ROM_SLOT, "a ROM BAR");
                (0, !(size as u64 - 1) | 1)
            }
        };
        self.preset(at, &flags.to_le_bytes());
        self.allow(at, &(mask as u32).to_le_bytes());
        if matches!(bar, Bar::Memory64 { .. }) {
            self.allow(at + 4, &((mask >> 32) as u32).to_le_bytes());
        }
        self.bars[slot] = Some(bar);
    }

    /// Appends a capability: `body` follows ID and next pointer; `writable` masks the body.
    /// Returns its offset. Part of building a function.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> u8 {
        let at = self.next_free;
        let end = at + 2 + body.len();
        assert!(end <= 256 && body.len() == writable.len(), "capability {id:#x} does not fit");
        self.preset(at as u8, &[id, 0]);
        self.preset(at as u8 + 2, body);
        self.allow(at as u8 + 2, writable);
        let pointer = if self.last_capability == 0 { CAPABILITIES } else { self.last_capability + 1 };
        self.preset(pointer, &[at as u8]);
        let status = self.u16(STATUS) | STATUS_CAPABILITIES;
        self.preset(STATUS, &status.to_le_bytes());
        self.last_capability = at as u8;
        self.next_free = end.next_multiple_of(4);
        at as u8
    }
    /// Moves the place where the next capability goes, past registers of the function's own.
    pub fn reserve_until(&mut self, offset: u8) {
        self.next_free = self.next_free.max(offset as usize).next_multiple_of(4);
    }

    /// Bus reset: all bytes as built.
    pub fn reset(&mut self) {
        self.bytes = self.reset_bytes;
    }

    /// Reads `width` bytes at `offset`. Past the end: ones.
    pub fn read(&self, offset: u8, width: Width) -> u32 {
        let at = offset as usize;
        (0..width.bytes().min(4))
            .fold(0, |value, i| value | (self.bytes.get(at + i).copied().unwrap_or(0xFF) as u32) << (8 * i))
    }

    /// Writes `width` bytes at `offset` through the masks. Returns whether what the function
    /// decodes (command register or a BAR) may have changed.
    pub fn write(&mut self, offset: u8, width: Width, value: u32) -> bool {
        let at = offset as usize;
        let mut decode = false;
        for i in (0..width.bytes().min(4)).filter(|i| at + i < 256) {
            let new = (value >> (8 * i)) as u8;
            let (byte, mask) = (&mut self.bytes[at + i], self.writable[at + i]);
            let old = *byte;
            *byte = (old & !mask | new & mask) & !(new & self.clearable[at + i]);
            decode |= *byte != old && is_decode(at + i);
        }
        decode
    }

    /// The 16-bit register at `offset`.
    pub fn u16(&self, offset: u8) -> u16 {
        self.read(offset, Width::Word) as u16
    }
    /// The 32-bit register at `offset`.
    pub fn u32(&self, offset: u8) -> u32 {
        self.read(offset, Width::Dword)
    }
    /// Sets bytes from the function's side, whatever the masks say.
    pub fn set(&mut self, offset: u8, bytes: &[u8]) {
        let at = offset as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
    /// Whether all given bits of the command register are set.
    pub fn command(&self, bits: u16) -> bool {
        self.u16(COMMAND) & bits == bits
    }
    /// Whether the status register says that the function wants INTx#.
    pub fn interrupt_status(&self) -> bool {
        self.u16(STATUS) & STATUS_INTERRUPT != 0
    }
    /// Notes in the status register whether the function wants INTx#; returns the level of the pin.
    pub fn set_interrupt(&mut self, wanted: bool) -> bool {
        let status = self.u16(STATUS) & !STATUS_INTERRUPT | if wanted { STATUS_INTERRUPT } else { 0 };
        self.set(STATUS, &status.to_le_bytes());
        wanted && !self.command(COMMAND_INTX_DISABLE)
    }

    /// What the function decodes now.
    pub fn decoded_regions(&self) -> Vec<PciRegion> {
        (0..BAR_SLOTS).filter_map(|slot| self.region(slot)).collect()
    }

    fn region(&self, slot: usize) -> Option<PciRegion> {
        let low = self.u32(bar_offset(slot)) as u64;
        let (space, size, base) = match self.bars[slot]? {
            Bar::Io { size } => (PciSpace::Io, size as u64, low & !3),
            Bar::Memory32 { size, .. } => (PciSpace::Memory, size as u64, low & !0xF),
            Bar::Memory64 { size, .. } => {
                (PciSpace::Memory, size, low & !0xF | (self.u32(bar_offset(slot + 1)) as u64) << 32)
            }
            Bar::Rom { size } if low & 1 != 0 => (PciSpace::Memory, size as u64, low & !0x7FF),
            Bar::Rom { .. } => return None,
        };
        let (enable, limit) = match space {
            PciSpace::Io => (COMMAND_IO, 1 << 16),
            PciSpace::Memory => (COMMAND_MEMORY, u64::MAX),
        };
        // Address 0 is what a BAR has before anyone placed it. While a driver sizes a BAR it
        // holds all ones, which no address space reaches.
        let fits = base != 0 && base.checked_add(size - 1).is_some_and(|last| last < limit);
        (self.command(enable) && fits).then_some(PciRegion { bar: slot as u8, space, base, size })
    }

    /// The state now.
    pub fn save(&self) -> ConfigSpaceStateV1 {
        ConfigSpaceStateV1 { bytes: self.bytes.to_vec() }
    }
    /// Checks a saved state against this function.
    ///
    /// # Errors
    /// Another length, or bits that neither the guest nor reset can have set (identity, BAR sizes).
    pub fn check(&self, state: &ConfigSpaceStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value| Err(RestoreError { part: "PCI function", field, value });
        let ConfigSpaceStateV1 { bytes } = state;
        if bytes.len() != 256 {
            return refuse("configuration space", format!("{} bytes", bytes.len()));
        }
        let identity = (0..4).chain(8..12).chain(0x2C..0x30);
        if let Some(at) = identity.clone().find(|&i| bytes[i] != self.reset_bytes[i]) {
            return refuse("identity", format!("{:#x} at {at:#x}", bytes[at]));
        }
        let header = (BAR0 as usize..0x28).chain(0x30..0x34);
        let wrong = header.clone().find(|&i| (bytes[i] ^ self.reset_bytes[i]) & !self.writable[i] != 0);
        wrong.map_or(Ok(()), |at| refuse("base address", format!("{:#x} at {at:#x}", bytes[at])))
    }
    /// Takes a saved state.
    ///
    /// # Errors
    /// See [`check`](Self::check).
    pub fn restore(&mut self, state: ConfigSpaceStateV1) -> Result<(), RestoreError> {
        self.check(&state)?;
        self.bytes.copy_from_slice(&state.bytes);
        Ok(())
    }
}

fn bar_offset(slot: usize) -> u8 {
    if slot == ROM_SLOT { ROM_BAR } else { BAR0 + 4 * slot as u8 }
}

fn is_decode(at: usize) -> bool {
    matches!(at, 0x04..=0x05 | 0x10..=0x27 | 0x30..=0x33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ConfigSpace {
        let mut c = ConfigSpace::new(Identity {
            vendor: 0x1234,
            device: 0x5678,
            revision: 9,
            class: 0x02_00_00,
            subsystem: (0xAAAA, 0xBBBB),
            multifunction: false,
            interrupt_pin: 1,
        });
        c.add_bar(0, Bar::Memory32 { size: 0x2_0000, prefetchable: false });
        c.add_bar(1, Bar::Io { size: 64 });
        c.add_bar(2, Bar::Memory64 { size: 1 << 33, prefetchable: true });
        c.add_bar(ROM_SLOT, Bar::Rom { size: 0x1_0000 });
        c
    }

    #[test]
    fn identity_is_read_only() {
        let mut c = card();
        c.write(0, Width::Dword, 0xFFFF_FFFF);
        c.write(8, Width::Dword, 0);
        assert_eq!(c.read(0, Width::Dword), 0x5678_1234);
        assert_eq!(c.read(8, Width::Dword), 0x0200_0009);
        assert_eq!(c.read(0x2C, Width::Dword), 0xBBBB_AAAA);
        assert_eq!(c.read(0x0A, Width::Word), 0x0200);
    }

    #[test]
    fn sizing_a_bar_shows_its_size_and_flags() {
        let mut c = card();
        for at in [0x10, 0x14, 0x18, 0x1C, 0x20, 0x30] {
            c.write(at, Width::Dword, 0xFFFF_FFFF);
        }
        assert_eq!(c.read(0x10, Width::Dword), 0xFFFE_0000);
        assert_eq!(c.read(0x14, Width::Dword), 0xFFFF_FFC1);
        assert_eq!(c.read(0x18, Width::Dword), 0x0000_000C);
        assert_eq!(c.read(0x1C, Width::Dword), 0xFFFF_FFFE);
        assert_eq!(c.read(0x20, Width::Dword), 0);
        assert_eq!(c.read(0x30, Width::Dword), 0xFFFF_0001);
        c.write(COMMAND, Width::Word, 7);
        assert_eq!(c.decoded_regions().iter().filter(|r| r.space == PciSpace::Io).count(), 0);
    }

    #[test]
    fn decoding_needs_address_and_command() {
        let mut c = card();
        assert!(c.write(0x10, Width::Dword, 0xE000_0000));
        assert!(c.write(0x14, Width::Dword, 0xC001));
        c.write(0x1C, Width::Dword, 0x4);
        assert!(c.decoded_regions().is_empty());
        assert!(c.write(COMMAND, Width::Byte, 3));
        assert!(!c.write(INTERRUPT_LINE, Width::Byte, 11));
        let r = c.decoded_regions();
        assert_eq!(r.len(), 3);
        assert_eq!(r[0], PciRegion { bar: 0, space: PciSpace::Memory, base: 0xE000_0000, size: 0x2_0000 });
        assert_eq!(r[1], PciRegion { bar: 1, space: PciSpace::Io, base: 0xC000, size: 64 });
        assert_eq!(r[2].base, 4 << 32);
        c.write(0x30, Width::Dword, 0xFEB0_0001);
        assert_eq!(c.decoded_regions()[3].bar, 6);
    }

    #[test]
    fn capabilities_form_a_list() {
        let mut c = card();
        assert_eq!(c.read(CAPABILITIES, Width::Byte), 0);
        let first = c.add_capability(0x05, &[0; 12], &[0xFF; 12]);
        let second = c.add_capability(0x11, &[1, 2], &[0; 2]);
        assert_eq!(c.u16(STATUS) & STATUS_CAPABILITIES, STATUS_CAPABILITIES);
        assert_eq!(c.read(CAPABILITIES, Width::Byte) as u8, first);
        assert_eq!(c.read(first + 1, Width::Byte) as u8, second);
        assert_eq!(c.read(second + 1, Width::Byte), 0);
        c.write(second + 2, Width::Word, 0xFFFF);
        assert_eq!(c.read(second + 2, Width::Word), 0x0201);
    }

    #[test]
    fn status_errors_clear_by_writing_ones() {
        let mut c = card();
        c.set(STATUS, &0xF900u16.to_le_bytes());
        c.write(STATUS, Width::Word, 0x8000);
        assert_eq!(c.u16(STATUS), 0x7900);
        assert!(c.set_interrupt(true));
        assert_eq!(c.u16(STATUS) & 8, 8);
        c.write(COMMAND, Width::Word, COMMAND_INTX_DISABLE as u32);
        assert!(!c.set_interrupt(true));
    }

    #[test]
    fn a_foreign_state_is_refused() {
        let mut c = card();
        let good = c.save();
        for (at, value) in [(0, 0), (0x10, 0xFF)] {
            let mut bad = good.clone();
            bad.bytes[at] = value;
            assert!(c.restore(bad).is_err());
        }
        assert!(c.restore(ConfigSpaceStateV1 { bytes: vec![0; 4] }).is_err());
        c.write(COMMAND, Width::Word, 7);
        c.restore(good).unwrap();
        assert_eq!(c.u16(COMMAND), 0);
    }
}
