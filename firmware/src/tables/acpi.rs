//! ACPI's fixed tables: RSDP, RSDT, XSDT, FADT, FACS, HPET and WAET.
//!
//! An operating system finds the RSDP by its signature; it points to the RSDT (32-bit addresses)
//! and the XSDT (64-bit), which list all other tables. The FADT says where the power-management
//! registers are and points to the DSDT, which describes devices in AML ([`super::dsdt`]), and to
//! the FACS, which the system and firmware share at run time. The FADT is revision 3 (ACPI 2.0):
//! what the PIIX4 has, and the reset register.
//!
//! Source: ACPI Specification, "ACPI Software Programming Model"; IA-PC HPET Specification
//! 1.0a; Windows ACPI Emulated Devices Table (WAET).

use super::{Platform, checksum, dsdt, madt, vmgenid};
use crate::boot::bytes::Record;
use trimotor_bus::{PhysAddr, Port, board};

/// Six bytes: who made the machine.
pub const OEM_ID: &[u8; 6] = b"TRIMTR";
/// Eight bytes: which machine.
pub const OEM_TABLE_ID: &[u8; 8] = b"TRIMOTOR";
const CREATOR_ID: &[u8; 4] = b"TRIM";
/// Bytes of the header that starts each table.
pub const HEADER_BYTES: usize = 36;

/// A table and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacedTable {
    /// Its four letters.
    pub signature: [u8; 4],
    /// Its first address.
    pub addr: PhysAddr,
    /// The whole table.
    pub bytes: Vec<u8>,
}

/// A table with its header around `body`.
pub(super) fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut r = Record::new(HEADER_BYTES);
    r.put(0, signature);
    r.u32(4, (HEADER_BYTES + body.len()) as u32);
    r.u8(8, revision);
    r.put(10, OEM_ID);
    r.put(16, OEM_TABLE_ID);
    r.u32(24, 1);
    r.put(28, CREATOR_ID);
    r.u32(32, 1);
    r.0.extend_from_slice(body);
    let sum = checksum(&r.0);
    r.u8(9, sum);
    r.0
}

/// Builds all tables but the RSDP, one after the other from `base` on; `base` is on a 64-byte
/// border, which the FACS needs. The last two are RSDT and XSDT. The VM generation ID is in `generation_page`.
pub(super) fn build(platform: &Platform, base: PhysAddr, generation_page: PhysAddr) -> Vec<PlacedTable> {
    let mut placed = Placed { tables: Vec::new(), next: base };
    let facs = placed.add(b"FACS", facs());
    let dsdt = placed.add(b"DSDT", dsdt::dsdt(platform));
    let first_listed = placed.tables.len();
    placed.add(b"FACP", fadt(facs, dsdt, platform.pm_base));
    placed.add(b"APIC", madt::madt(platform));
    if platform.hpet {
        placed.add(b"HPET", hpet());
    }
    placed.add(b"WAET", waet());
    if platform.vmgenid {
        placed.add(b"SSDT", vmgenid::ssdt(generation_page));
    }
    let listed: Vec<u64> = placed.tables[first_listed..].iter().map(|t| t.addr.0).collect();
    let addresses_32: Vec<u8> = listed.iter().flat_map(|&a| (a as u32).to_le_bytes()).collect();
    let addresses_64: Vec<u8> = listed.iter().flat_map(|a| a.to_le_bytes()).collect();
    placed.add(b"RSDT", table(b"RSDT", 1, &addresses_32));
    placed.add(b"XSDT", table(b"XSDT", 1, &addresses_64));
    placed.tables
}

struct Placed {
    tables: Vec<PlacedTable>,
    next: PhysAddr,
}

impl Placed {
    fn add(&mut self, signature: &[u8; 4], bytes: Vec<u8>) -> PhysAddr {
        let addr = self.next;
        self.next = PhysAddr((addr.0 + bytes.len() as u64).next_multiple_of(64));
        self.tables.push(PlacedTable { signature: *signature, addr, bytes });
        addr
    }
}

/// The root pointer to the RSDT and the XSDT among `tables`.
pub(super) fn rsdp(tables: &[PlacedTable]) -> Vec<u8> {
    let address =
        |signature: &[u8; 4]| tables.iter().find(|t| &t.signature == signature).map_or(0, |t| t.addr.0);
    let mut r = Record::new(36);
    r.put(0, b"RSD PTR ");
    r.put(9, OEM_ID);
    r.u8(15, 2);
    r.u32(16, address(b"RSDT") as u32);
    r.u32(20, 36);
    r.u64(24, address(b"XSDT"));
    let first_part = checksum(&r.0[..20]);
    r.u8(8, first_part);
    let whole = checksum(&r.0);
    r.u8(32, whole);
    r.0
}

/// Firmware ACPI Control Structure: waking vector and the global lock, both zero.
fn facs() -> Vec<u8> {
    let mut r = Record::new(64);
    r.put(0, b"FACS");
    r.u32(4, 64);
    r.u8(32, 1);
    r.0
}

/// FADT flags.
mod flag {
    pub const WBINVD: u32 = 1 << 0;
    pub const PROC_C1: u32 = 1 << 2;
    /// The sleep button is no fixed hardware: there is none.
    pub const SLP_BUTTON: u32 = 1 << 5;
    /// The RTC's wake status is not in the fixed registers.
    pub const FIX_RTC: u32 = 1 << 6;
    pub const TMR_VAL_EXT: u32 = 1 << 8;
    pub const RESET_REG_SUP: u32 = 1 << 10;
}

/// A generic address structure for an I/O register of `bytes` bytes; the access size is left
/// undefined, as register blocks are accessed by their own rules.
fn gas_io(port: u16, bytes: u8) -> [u8; 12] {
    const SYSTEM_IO: u8 = 1;
    let p = port.to_le_bytes();
    [SYSTEM_IO, bytes * 8, 0, 0, p[0], p[1], 0, 0, 0, 0, 0, 0]
}

/// Fixed ACPI Description Table, revision 3. Offsets count from the table's start.
fn fadt(facs: PhysAddr, dsdt: PhysAddr, pm_base: Port) -> Vec<u8> {
    const BYTES: usize = 244;
    const NO_C2: u16 = 101;
    const NO_C3: u16 = 1001;
    /// LEGACY_DEVICES and 8042.
    const BOOT_ARCHITECTURE: u16 = 0b11;
    // A register of the block, wherever the block is.
    let pm = |register: Port| pm_base.0.wrapping_add(register.0 - board::PM_BASE.0);
    let mut r = Record::new(BYTES);
    r.u32(36, facs.0 as u32);
    r.u32(40, dsdt.0 as u32);
    r.u8(45, 1); // preferred profile: desktop
    r.u16(46, u16::from(board::SCI_IRQ));
    r.u32(48, u32::from(board::SMI_COMMAND.0));
    r.u8(52, board::ACPI_ENABLE);
    r.u8(53, board::ACPI_DISABLE);
    r.u32(56, u32::from(pm(board::PM1A_EVENT)));
    r.u32(64, u32::from(pm(board::PM1A_CONTROL)));
    r.u32(76, u32::from(pm(board::PM_TIMER)));
    r.u32(80, u32::from(pm(board::GPE0)));
    r.u8(88, 4); // PM1 event block
    r.u8(89, 2); // PM1 control block
    r.u8(91, 4); // PM timer
    r.u8(92, board::GPE0_BYTES);
    r.u16(96, NO_C2);
    r.u16(98, NO_C3);
    r.u8(108, 0x32); // CMOS index of the century
    r.u16(109, BOOT_ARCHITECTURE);
    let timer = if board::PM_TIMER_32_BIT { flag::TMR_VAL_EXT } else { 0 };
    r.u32(112, flag::WBINVD | flag::PROC_C1 | flag::SLP_BUTTON | flag::FIX_RTC | flag::RESET_REG_SUP | timer);
    r.put(116, &gas_io(board::RESET_CONTROL.0, 1));
    r.u8(128, board::RESET_VALUE);
    // X_FIRMWARE_CTRL stays zero: only one of the two fields may name the FACS.
    r.u64(140, dsdt.0);
    r.put(148, &gas_io(pm(board::PM1A_EVENT), 4));
    r.put(172, &gas_io(pm(board::PM1A_CONTROL), 2));
    r.put(208, &gas_io(pm(board::PM_TIMER), 4));
    r.put(220, &gas_io(pm(board::GPE0), board::GPE0_BYTES));
    table(b"FACP", 3, &r.0[HEADER_BYTES..])
}

/// High Precision Event Timer table.
fn hpet() -> Vec<u8> {
    /// Revision 1, three comparators, 64-bit counter, legacy replacement, vendor 8086h: the low
    /// half of the HPET's capability register.
    const EVENT_TIMER_BLOCK_ID: u32 = 0x8086_A201;
    const MINIMUM_TICK: u16 = 100;
    let mut r = Record::new(20);
    r.u32(0, EVENT_TIMER_BLOCK_ID);
    r.u8(5, 64); // generic address structure: memory space, 64 bits
    r.u64(8, board::HPET.0);
    r.u16(17, MINIMUM_TICK);
    table(b"HPET", 1, &r.0)
}

/// Windows ACPI Emulated Devices Table: one read of the PM timer is enough.
fn waet() -> Vec<u8> {
    const PM_TIMER_GOOD: u32 = 1 << 1;
    table(b"WAET", 1, &PM_TIMER_GOOD.to_le_bytes())
}
