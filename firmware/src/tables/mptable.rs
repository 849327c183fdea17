//! The MP table: processors and interrupt routing for systems that know no ACPI.
//!
//! Source: Intel MultiProcessor Specification 1.4.

use super::{Platform, acpi, checksum};
use crate::boot::bytes::Record;
use trimotor_bus::PhysAddr;
use trimotor_bus::board;

const PCI_BUS: u8 = 0;
const ISA_BUS: u8 = 1;
const LOCAL_APIC_VERSION: u8 = 0x14;
const IOAPIC_VERSION: u8 = 0x11;
/// Interrupt types.
const INT: u8 = 0;
const NMI: u8 = 1;
const EXTINT: u8 = 3;
/// Active high, level triggered.
const LEVEL_HIGH: u16 = 0b1101;

/// The MP Floating Pointer Structure, which points to the table.
pub(super) fn floating_pointer(table: PhysAddr) -> Vec<u8> {
    let mut r = Record::new(16);
    r.put(0, b"_MP_");
    r.u32(4, table.0 as u32);
    r.u8(8, 1); // length in units of 16 bytes
    r.u8(9, 4); // revision 1.4
    let sum = checksum(&r.0);
    r.u8(10, sum);
    r.0
}

/// The MP Configuration Table.
pub(super) fn configuration(platform: &Platform) -> Vec<u8> {
    let mut entries: Vec<Vec<u8>> = (0..platform.vcpus).map(processor).collect();
    entries.push([&[1, PCI_BUS][..], b"PCI   "].concat());
    entries.push([&[1, ISA_BUS][..], b"ISA   "].concat());
    let mut ioapic = vec![2, board::IOAPIC_ID, IOAPIC_VERSION, 1];
    ioapic.extend_from_slice(&(board::IOAPIC.0 as u32).to_le_bytes());
    entries.push(ioapic);
    for irq in (0..16).filter(|&i| i != 2) {
        let pin = if irq == board::PIT_IRQ { board::PIT_GSI } else { irq };
        let flags = if irq == board::SCI_IRQ { LEVEL_HIGH } else { 0 };
        entries.push(interrupt(3, INT, flags, ISA_BUS, irq, pin));
    }
    for device in 1..32u8 {
        let link = board::pci_link(device, 1);
        let pin = board::PCI_LINK_IRQS[usize::from(link)];
        // Bits 0 and 1 of the source are the interrupt pin less one.
        entries.push(interrupt(3, INT, LEVEL_HIGH, PCI_BUS, device << 2, pin));
    }
    entries.push(interrupt(4, EXTINT, 0, ISA_BUS, 0, 0));
    entries.push(interrupt(4, NMI, 0, ISA_BUS, 0, 1));
    with_header(&entries)
}

fn processor(id: u8) -> Vec<u8> {
    const ENABLED: u8 = 1;
    const BOOTSTRAP: u8 = 2;
    /// Family 6; FPU, MCE, CX8 and APIC.
    const SIGNATURE: u32 = 0x600;
    const FEATURES: u32 = 1 | 1 << 7 | 1 << 8 | 1 << 9;
    let mut r = Record::new(20);
    r.u8(1, id);
    r.u8(2, LOCAL_APIC_VERSION);
    r.u8(3, if id == 0 { ENABLED | BOOTSTRAP } else { ENABLED });
    r.u32(4, SIGNATURE);
    r.u32(8, FEATURES);
    r.0
}

/// An I/O (3) or local (4) interrupt assignment.
fn interrupt(entry: u8, kind: u8, flags: u16, bus: u8, source: u8, pin: u8) -> Vec<u8> {
    const ALL_LOCAL_APICS: u8 = 0xFF;
    let destination = if entry == 4 { ALL_LOCAL_APICS } else { board::IOAPIC_ID };
    let [f0, f1] = flags.to_le_bytes();
    vec![entry, kind, f0, f1, bus, source, destination, pin]
}

fn with_header(entries: &[Vec<u8>]) -> Vec<u8> {
    let body = entries.concat();
    let mut r = Record::new(44);
    r.put(0, b"PCMP");
    r.u16(4, (44 + body.len()) as u16);
    r.u8(6, 4);
    r.put(8, acpi::OEM_TABLE_ID);
    r.put(16, b"TRIMOTOR PC ");
    r.u16(34, entries.len() as u16);
    r.u32(36, board::LOCAL_APIC.0 as u32);
    r.0.extend_from_slice(&body);
    let sum = checksum(&r.0);
    r.u8(7, sum);
    r.0
}
