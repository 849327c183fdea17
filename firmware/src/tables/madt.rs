//! The MADT: which processors there are, and how interrupts reach them.
//!
//! ISA interrupts go to the IOAPIC pin of the same number unless an override says otherwise: the
//! PIT is on pin 2, and the SCI and the PCI links are level triggered, active high, because the
//! PIIX shares these wires between PIC and IOAPIC.
//!
//! Source: ACPI Specification, "Multiple APIC Description Table (MADT)".

use super::{Platform, acpi};
use trimotor_bus::board;

/// MPS INTI flags: active high, level triggered.
const LEVEL_HIGH: u16 = 0b1101;
/// Conforms to the bus: for ISA, active high and edge triggered.
const CONFORMS: u16 = 0;
const PCAT_COMPAT: u32 = 1;
const ENABLED: u32 = 1;
const ALL_PROCESSORS: u8 = 0xFF;

pub(super) fn madt(platform: &Platform) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&(board::LOCAL_APIC.0 as u32).to_le_bytes());
    body.extend_from_slice(&PCAT_COMPAT.to_le_bytes());
    for id in 0..platform.vcpus {
        let [a, b, c, d] = ENABLED.to_le_bytes();
        body.extend_from_slice(&[0, 8, id, id, a, b, c, d]);
    }
    body.extend_from_slice(&[1, 12, board::IOAPIC_ID, 0]);
    body.extend_from_slice(&(board::IOAPIC.0 as u32).to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
    for (source, gsi, flags) in interrupt_overrides() {
        let [g0, g1, g2, g3] = u32::from(gsi).to_le_bytes();
        let [f0, f1] = flags.to_le_bytes();
        body.extend_from_slice(&[2, 10, 0, source, g0, g1, g2, g3, f0, f1]);
    }
    // NMI is on LINT1 of each processor.
    body.extend_from_slice(&[4, 6, ALL_PROCESSORS, 0, 0, 1]);
    acpi::table(b"APIC", 3, &body)
}

/// ISA interrupt, global system interrupt and flags of each override.
fn interrupt_overrides() -> Vec<(u8, u8, u16)> {
    let mut links = board::PCI_LINK_IRQS.to_vec();
    links.sort_unstable();
    links.dedup();
    let mut overrides =
        vec![(board::PIT_IRQ, board::PIT_GSI, CONFORMS), (board::SCI_IRQ, board::SCI_IRQ, LEVEL_HIGH)];
    overrides.extend(links.into_iter().map(|irq| (irq, irq, LEVEL_HIGH)));
    overrides
}
