//! What firmware says about the machine: tables in memory for the operating system to find.
//!
//! | table | found by | says |
//! |---|---|---|
//! | E820 map ([`e820`]) | handed over by the boot protocol | where RAM is |
//! | ACPI ([`acpi`], [`dsdt`], [`madt`], `vmgenid`) | `RSD PTR ` on a 16-byte border from E0000h to FFFFFh | power management, interrupt routing, devices |
//! | SMBIOS ([`smbios`]) | `_SM_` and `_SM3_` on a 16-byte border from F0000h | maker, processors, DIMMs |
//! | MP table ([`mptable`]) | `_MP_` on a 16-byte border from F0000h | processors and interrupt routing, for systems before ACPI |
//! | interrupt vectors ([`ivt`]) | at 0 | handlers that end hardware interrupts |
//! | BIOS data area ([`bda`]) | at 400h | screen, serial ports, size of conventional memory |
//!
//! All addresses come from [`trimotor_bus::board`], so that the tables describe the board as it
//! is. The tables stand below 1 MiB in RAM that the E820 map reserves. A firmware ROM would hide
//! them: [`crate::boot::BootPlan::apply`] switches these windows to RAM.

pub mod acpi;
mod aml;
pub mod bda;
pub mod dsdt;
pub mod e820;
pub mod fw_cfg;
#[cfg(test)]
mod iasl_test;
pub mod ivt;
pub mod madt;
pub mod mptable;
pub mod smbios;
mod vmgenid;

pub use e820::{E820Entry, E820Kind, MemoryMap};

use crate::boot::{Content, MemoryWrite};
use trimotor_bus::address::PAGE_SIZE;
use trimotor_bus::{PhysAddr, Port, board};

/// Where ACPI tables start; FACS first, because the others depend on no alignment of 64.
const ACPI_BASE: PhysAddr = PhysAddr(e820::TABLE_AREA);
/// Where the structures start that are found by their signature.
const ANCHORS: PhysAddr = PhysAddr(0xF_0000);
const RSDP: PhysAddr = ANCHORS;
const MP_FLOATING_POINTER: PhysAddr = PhysAddr(ANCHORS.0 + 0x40);
const SMBIOS_ENTRY: PhysAddr = PhysAddr(ANCHORS.0 + 0x60);
const SMBIOS3_ENTRY: PhysAddr = PhysAddr(ANCHORS.0 + 0x80);
const MP_TABLE: PhysAddr = PhysAddr(ANCHORS.0 + 0x100);
const SMBIOS_TABLE: PhysAddr = PhysAddr(ANCHORS.0 + 0x800);

/// What differs between machines of this board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Platform {
    /// RAM.
    pub memory: MemoryMap,
    /// Processors, 1 to [`trimotor_bus::board::MAX_VCPUS`]; the APIC id is the index.
    pub vcpus: u8,
    /// Whether the board has an HPET.
    pub hpet: bool,
    /// Serial ports, 0 to 4, from COM1 on.
    pub serial_ports: u8,
    /// Whether the board has pvpanic.
    pub pvpanic: bool,
    /// Whether the board tells of its VM generation ID.
    pub vmgenid: bool,
    /// Where the power-management block is: [`trimotor_bus::board::PM_BASE`], unless firmware from a file puts it elsewhere.
    pub pm_base: Port,
}

/// All tables for a platform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirmwareTables {
    /// The memory that the tables describe.
    pub memory: MemoryMap,
    /// What to put where.
    pub writes: Vec<MemoryWrite>,
    /// Where the ACPI root pointer stands.
    pub rsdp: PhysAddr,
    /// The ACPI root pointer's 36 bytes, for protocols that pass a copy.
    pub rsdp_bytes: Vec<u8>,
    /// Each ACPI table by its signature.
    pub acpi: Vec<acpi::PlacedTable>,
}

impl FirmwareTables {
    /// Builds the tables for `platform`.
    pub fn build(platform: &Platform) -> Self {
        let acpi = acpi::build(platform, ACPI_BASE, board::GENERATION_PAGE);
        let rsdp_bytes = acpi::rsdp(&acpi);
        let smbios = smbios::structures(platform);
        let mut writes = bda::writes(platform);
        writes.extend(ivt::writes());
        writes.extend(acpi.iter().map(|t| MemoryWrite::bytes(t.addr, t.bytes.clone())));
        writes.push(MemoryWrite::bytes(RSDP, rsdp_bytes.clone()));
        writes.push(MemoryWrite::bytes(MP_FLOATING_POINTER, mptable::floating_pointer(MP_TABLE)));
        writes.push(MemoryWrite::bytes(MP_TABLE, mptable::configuration(platform)));
        writes.push(MemoryWrite::bytes(SMBIOS_ENTRY, smbios::entry_point_21(&smbios, SMBIOS_TABLE)));
        writes.push(MemoryWrite::bytes(SMBIOS3_ENTRY, smbios::entry_point_30(&smbios, SMBIOS_TABLE)));
        writes.push(MemoryWrite::bytes(SMBIOS_TABLE, smbios.bytes));
        if platform.vmgenid {
            writes.push(MemoryWrite { addr: board::GENERATION_PAGE, content: Content::Zeros(PAGE_SIZE) });
        }
        Self { memory: platform.memory, writes, rsdp: RSDP, rsdp_bytes, acpi }
    }
}

/// The byte that makes the sum of all bytes zero, as most firmware tables want it.
pub(crate) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Platforms at the ends of what is possible.
    pub fn platforms() -> Vec<Platform> {
        let p = |low: u64, high: u64, vcpus, hpet| Platform {
            memory: MemoryMap::new(low, high),
            vcpus,
            hpet,
            serial_ports: vcpus.min(4),
            pvpanic: hpet,
            vmgenid: hpet,
            pm_base: trimotor_bus::board::PM_BASE,
        };
        vec![p(1 << 20, 0, 1, false), p(512 << 20, 0, 2, true), p(3 << 30, 61 << 30, 8, true)]
    }

    #[test]
    fn tables_do_not_overlap_and_stay_in_their_area() {
        for platform in platforms() {
            let tables = FirmwareTables::build(&platform);
            let mut ranges: Vec<_> = tables.writes.iter().map(|w| (w.addr.0, w.addr.0 + w.len())).collect();
            ranges.sort_unstable();
            assert!(ranges.windows(2).all(|w| w[0].1 <= w[1].0), "{ranges:x?}");
            for (start, end) in ranges {
                assert!(end <= 0x600 || (start >= e820::EBDA_BASE && end <= 1 << 20), "{start:x}..{end:x}");
            }
        }
    }

    #[test]
    fn anchors_are_found_by_signature_and_checksum() {
        let tables = FirmwareTables::build(&platforms()[1]);
        let at = |a: PhysAddr| match &tables.writes.iter().find(|w| w.addr == a).unwrap().content {
            crate::boot::Content::Bytes(b) => b.clone(),
            crate::boot::Content::Zeros(_) => unreachable!(),
        };
        let rsdp = at(RSDP);
        assert!(rsdp.starts_with(b"RSD PTR "));
        assert_eq!((checksum(&rsdp[..20]), checksum(&rsdp)), (0, 0));
        assert!(at(MP_FLOATING_POINTER).starts_with(b"_MP_"));
        assert_eq!(checksum(&at(MP_FLOATING_POINTER)), 0);
        assert_eq!(checksum(&at(MP_TABLE)), 0);
        let entry = at(SMBIOS_ENTRY);
        assert!(entry.starts_with(b"_SM_") && entry[16..].starts_with(b"_DMI_"));
        assert_eq!((checksum(&entry), checksum(&entry[16..])), (0, 0));
        assert!(at(SMBIOS3_ENTRY).starts_with(b"_SM3_"));
        assert_eq!(checksum(&at(SMBIOS3_ENTRY)), 0);
        for table in tables.acpi.iter().filter(|t| &t.signature != b"FACS") {
            assert_eq!(checksum(&table.bytes), 0, "{:?}", table.signature);
        }
    }
}
