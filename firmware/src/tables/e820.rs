//! The memory map that firmware hands to an operating system: INT 15h function E820h.
//!
//! The PC's physical address space has holes: video memory and option ROMs below 1 MiB, the PCI
//! hole below 4 GiB. An operating system may only use what the map calls usable.
//!
//! Source: ACPI Specification, System Address Map Interfaces.

use trimotor_bus::GuestMemory;
use trimotor_bus::memory::{HIGH_RAM_BASE, LOW_RAM_LIMIT};

/// Where the extended BIOS data area starts and conventional memory ends.
pub const EBDA_BASE: u64 = 0x9_FC00;
/// Where the area that firmware tables live in starts; it ends at 1 MiB.
pub const TABLE_AREA: u64 = 0xE_0000;
/// Where the fixed MMIO of the board (IOAPIC, HPET, local APIC, ROM) starts; it ends at 4 GiB.
pub const FIXED_MMIO: u64 = 0xFEC0_0000;

/// What an address range is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum E820Kind {
    /// RAM for the operating system.
    Usable = 1,
    /// Not to be touched.
    Reserved = 2,
}

/// One address range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct E820Entry {
    /// First physical address.
    pub base: u64,
    /// Bytes.
    pub bytes: u64,
    /// What it is.
    pub kind: E820Kind,
}

impl E820Entry {
    /// The entry as E820h returns it: base, length, type; 20 bytes.
    pub fn to_bytes(self) -> [u8; 20] {
        let mut b = [0; 20];
        b[..8].copy_from_slice(&self.base.to_le_bytes());
        b[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        b[16..].copy_from_slice(&(self.kind as u32).to_le_bytes());
        b
    }
}

/// The guest's RAM, as firmware describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryMap {
    low_ram: u64,
    high_ram: u64,
}

impl MemoryMap {
    /// RAM of `low_ram` bytes from 0 and `high_ram` bytes from 4 GiB.
    pub fn new(low_ram: u64, high_ram: u64) -> Self {
        Self { low_ram: low_ram.min(LOW_RAM_LIMIT), high_ram }
    }
    /// The map of this memory.
    pub fn of(memory: &GuestMemory) -> Self {
        Self::new(memory.low_ram_bytes(), memory.high_ram_bytes())
    }
    /// RAM below the PCI hole, in bytes.
    pub fn low_ram_bytes(&self) -> u64 {
        self.low_ram
    }
    /// RAM from 4 GiB on, in bytes.
    pub fn high_ram_bytes(&self) -> u64 {
        self.high_ram
    }
    /// The entries, in ascending order and without overlap.
    pub fn entries(&self) -> Vec<E820Entry> {
        let range = |base: u64, end: u64, kind| E820Entry { base, bytes: end - base, kind };
        let mut entries = vec![
            range(0, EBDA_BASE, E820Kind::Usable),
            range(EBDA_BASE, 0xA_0000, E820Kind::Reserved),
            range(TABLE_AREA, 1 << 20, E820Kind::Reserved),
        ];
        if self.low_ram > 1 << 20 {
            entries.push(range(1 << 20, self.low_ram, E820Kind::Usable));
        }
        entries.push(range(FIXED_MMIO, HIGH_RAM_BASE, E820Kind::Reserved));
        if self.high_ram > 0 {
            entries.push(range(HIGH_RAM_BASE, HIGH_RAM_BASE + self.high_ram, E820Kind::Usable));
        }
        entries
    }
    /// KiB of usable memory from 1 MiB up to the first hole, as INT 15h functions 88h and E801h
    /// and the Multiboot `mem_upper` field count it.
    pub fn upper_kib(&self) -> u64 {
        self.low_ram.saturating_sub(1 << 20) >> 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_ascends_and_counts_all_ram_above_1_mib() {
        for (low, high) in [(1u64 << 20, 0), (64 << 20, 0), (LOW_RAM_LIMIT, 5 << 30)] {
            let entries = MemoryMap::new(low, high).entries();
            assert!(entries.windows(2).all(|w| w[0].base + w[0].bytes <= w[1].base));
            let usable: u64 = entries.iter().filter(|e| e.kind == E820Kind::Usable).map(|e| e.bytes).sum();
            assert_eq!(usable, EBDA_BASE + (low - (1 << 20)) + high);
        }
    }
}
