//! SMBIOS: what the machine is made of, for people and inventories (`dmidecode`).
//!
//! Structures are a fixed part followed by the strings that it refers to by number. Both entry
//! points, of version 2.1 (32-bit) and 3.0 (64-bit), lead to the same structures.
//!
//! Source: DMTF DSP0134, System Management BIOS Reference Specification.

use super::{Platform, checksum};
use crate::boot::bytes::Record;
use trimotor_bus::PhysAddr;
use trimotor_bus::memory::HIGH_RAM_BASE;

const VENDOR: &str = "Trimotor";
/// The most that one memory device holds, in bytes.
const DIMM_BYTES: u64 = 16 << 30;
const PROCESSOR_HANDLE: u16 = 0x0400;
const ARRAY_HANDLE: u16 = 0x1000;
const DIMM_HANDLE: u16 = 0x1100;
const MAPPING_HANDLE: u16 = 0x1300;
/// No error-information structure is provided.
const NO_ERROR_HANDLE: u16 = 0xFFFE;

/// All structures, one after the other.
pub(super) struct Structures {
    pub bytes: Vec<u8>,
    count: u16,
    largest: u16,
}

impl Structures {
    /// Adds a structure: `fixed` is its fixed part, whose 4-byte header is filled in here.
    fn add(&mut self, kind: u8, handle: u16, mut fixed: Record, strings: &[&str]) {
        let start = self.bytes.len();
        fixed.u8(0, kind);
        let length = fixed.0.len() as u8;
        fixed.u8(1, length);
        fixed.u16(2, handle);
        self.bytes.extend_from_slice(&fixed.0);
        for s in strings {
            self.bytes.extend_from_slice(s.as_bytes());
            self.bytes.push(0);
        }
        self.bytes.extend_from_slice(if strings.is_empty() { &[0, 0] } else { &[0] });
        self.count += 1;
        self.largest = self.largest.max((self.bytes.len() - start) as u16);
    }
}

pub(super) fn structures(platform: &Platform) -> Structures {
    let mut s = Structures { bytes: Vec::new(), count: 0, largest: 0 };
    s.add(0, 0x0000, bios_information(), &[VENDOR, env!("CARGO_PKG_VERSION"), "01/01/2026"]);
    // Programs show manufacturer and product side by side.
    s.add(1, 0x0100, system_information(), &[VENDOR, "PC (i440FX, PIIX)", "1"]);
    s.add(3, 0x0300, chassis(), &[VENDOR]);
    for cpu in 0..platform.vcpus {
        let socket = format!("CPU {cpu}");
        s.add(4, PROCESSOR_HANDLE + u16::from(cpu), processor(), &[&socket, VENDOR]);
    }
    memory(&mut s, platform);
    s.add(32, 0x2000, Record::new(11), &[]);
    s.add(127, 0x7F00, Record::new(4), &[]);
    s
}

/// Type 0.
fn bios_information() -> Record {
    let mut r = Record::new(0x18);
    r.u8(0x04, 1);
    r.u8(0x05, 2);
    r.u16(0x06, 0xE800); // BIOS segment
    r.u8(0x08, 3);
    r.u8(0x09, 0); // 64 KiB
    r.u64(0x0A, 1 << 3); // characteristics are not given
    r.u8(0x13, 1 << 2 | 1 << 4); // second extension: targeted content, virtual machine
    r.u32(0x14, 0xFFFF_0100); // release 0.1, no embedded controller
    r
}

/// Type 1, with an all-zero UUID: not set.
fn system_information() -> Record {
    let mut r = Record::new(0x1B);
    r.u8(0x04, 1);
    r.u8(0x05, 2);
    r.u8(0x06, 3);
    r.u8(0x18, 6); // wake-up: power switch
    r
}

/// Type 3.
fn chassis() -> Record {
    const SAFE: u8 = 3;
    let mut r = Record::new(0x15);
    r.u8(0x04, 1);
    r.u8(0x05, 1); // type: other
    for offset in [0x09, 0x0A, 0x0B] {
        r.u8(offset, SAFE);
    }
    r.u8(0x0C, 2); // security: unknown
    r
}

/// Type 4.
fn processor() -> Record {
    const NO_CACHE_HANDLE: u16 = 0xFFFF;
    let mut r = Record::new(0x2A);
    r.u8(0x04, 1);
    r.u8(0x05, 3); // central processor
    r.u8(0x06, 1); // family: other
    r.u8(0x07, 2);
    r.u8(0x18, 0x41); // socket populated, enabled
    r.u8(0x19, 1); // upgrade: other
    for offset in [0x1A, 0x1C, 0x1E] {
        r.u16(offset, NO_CACHE_HANDLE);
    }
    for offset in [0x23, 0x24, 0x25] {
        r.u8(offset, 1); // cores, enabled cores, threads
    }
    r.u16(0x26, 1 << 2); // 64-bit capable
    r.u16(0x28, 1);
    r
}

/// Types 16, 17 and 19.
fn memory(s: &mut Structures, platform: &Platform) {
    let (low, high) = (platform.memory.low_ram_bytes(), platform.memory.high_ram_bytes());
    let total = low + high;
    let dimms = total.div_ceil(DIMM_BYTES);
    let mut r = Record::new(0x17);
    r.u8(0x04, 3); // system board
    r.u8(0x05, 3); // system memory
    r.u8(0x06, 3); // no error correction
    r.u32(0x07, 0x8000_0000); // capacity is in the extended field
    r.u16(0x0B, NO_ERROR_HANDLE);
    r.u16(0x0D, dimms as u16);
    r.u64(0x0F, total);
    s.add(16, ARRAY_HANDLE, r, &[]);
    for i in 0..dimms {
        let bytes = DIMM_BYTES.min(total - i * DIMM_BYTES);
        let locator = format!("DIMM {i}");
        s.add(17, DIMM_HANDLE + i as u16, dimm(bytes), &[&locator, VENDOR]);
    }
    let ranges = [(0, low), (HIGH_RAM_BASE, high)];
    for (i, (base, bytes)) in ranges.into_iter().filter(|r| r.1 > 0).enumerate() {
        let mut r = Record::new(0x1F);
        r.u32(0x04, u32::MAX); // addresses are in the extended fields
        r.u32(0x08, u32::MAX);
        r.u16(0x0C, ARRAY_HANDLE);
        r.u8(0x0E, 1);
        r.u64(0x0F, base);
        r.u64(0x17, base + bytes - 1);
        s.add(19, MAPPING_HANDLE + i as u16, r, &[]);
    }
}

/// Type 17.
fn dimm(bytes: u64) -> Record {
    const UNKNOWN_WIDTH: u16 = 0xFFFF;
    let mut r = Record::new(0x28);
    r.u16(0x04, ARRAY_HANDLE);
    r.u16(0x06, NO_ERROR_HANDLE);
    r.u16(0x08, UNKNOWN_WIDTH);
    r.u16(0x0A, UNKNOWN_WIDTH);
    r.u16(0x0C, (bytes >> 20) as u16); // MiB; below 32 GiB less 1 MiB
    r.u8(0x0E, 9); // DIMM
    r.u8(0x10, 1);
    r.u8(0x12, 7); // RAM
    r.u16(0x13, 1 << 1); // other
    r.u8(0x17, 2);
    r
}

/// The entry point of version 2.8, `_SM_`.
pub(super) fn entry_point_21(structures: &Structures, table: PhysAddr) -> Vec<u8> {
    let mut r = Record::new(0x1F);
    r.put(0, b"_SM_");
    r.u8(0x05, 0x1F);
    r.u8(0x06, 2);
    r.u8(0x07, 8);
    r.u16(0x08, structures.largest);
    r.put(0x10, b"_DMI_");
    r.u16(0x16, structures.bytes.len() as u16);
    r.u32(0x18, table.0 as u32);
    r.u16(0x1C, structures.count);
    r.u8(0x1E, 0x28);
    let inner = checksum(&r.0[0x10..]);
    r.u8(0x15, inner);
    let outer = checksum(&r.0);
    r.u8(0x04, outer);
    r.0
}

/// The entry point of version 3.0, `_SM3_`.
pub(super) fn entry_point_30(structures: &Structures, table: PhysAddr) -> Vec<u8> {
    let mut r = Record::new(0x18);
    r.put(0, b"_SM3_");
    r.u8(0x06, 0x18);
    r.u8(0x07, 3);
    r.u8(0x0A, 1);
    r.u32(0x0C, structures.bytes.len() as u32);
    r.u64(0x10, table.0);
    let sum = checksum(&r.0);
    r.u8(0x05, sum);
    r.0
}
