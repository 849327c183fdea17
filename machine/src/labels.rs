//! What ports and addresses are called in traces.

use crate::address_map::{MemoryTarget, PortTarget};
use crate::board::Board;
use trimotor_bus::Label;

/// Registers of the local APIC by their offsets (SDM Vol. 3A, "Local APIC Register Address Map").
const LOCAL_APIC: &[(u64, &str)] = &[
    (0x020, "ID"),
    (0x030, "version"),
    (0x080, "TPR"),
    (0x090, "APR"),
    (0x0A0, "PPR"),
    (0x0B0, "EOI"),
    (0x0C0, "RRD"),
    (0x0D0, "LDR"),
    (0x0E0, "DFR"),
    (0x0F0, "SVR"),
    (0x280, "ESR"),
    (0x2F0, "LVT CMCI"),
    (0x300, "ICR low"),
    (0x310, "ICR high"),
    (0x320, "LVT timer"),
    (0x330, "LVT thermal"),
    (0x340, "LVT PMI"),
    (0x350, "LVT LINT0"),
    (0x360, "LVT LINT1"),
    (0x370, "LVT error"),
    (0x380, "initial count"),
    (0x390, "current count"),
    (0x3E0, "divide config"),
];

/// A register of the local APIC.
pub(crate) fn local_apic(offset: u64) -> Label {
    let mut label = Label::from("local APIC");
    let bank = match offset & !0x7F | offset & 0xF {
        0x100 => " ISR",
        0x180 => " TMR",
        0x200 => " IRR",
        _ => "",
    };
    let name = LOCAL_APIC.iter().find(|(at, _)| *at == offset).map(|(_, name)| *name);
    match name {
        Some(name) => {
            label.push(" ");
            label.push(name);
        }
        None => label.push(bank),
    }
    label
}

impl Board {
    /// Whose a port is.
    pub(crate) fn port_label(&self, target: PortTarget) -> Label {
        match target {
            PortTarget::Nobody => Label::NONE,
            PortTarget::Pic => Label::from("pic"),
            PortTarget::PciConfig => Label::from("PCI configuration"),
            PortTarget::Device(chip) => Label::from(self.devices.name(chip.device)),
            PortTarget::Backdoor(device) => Label::from(self.devices.name(device)),
            PortTarget::Bar(device, bar, _) => self.bar_label(device, bar),
        }
    }
    /// Whose an address is, `offset` bytes into its region.
    pub(crate) fn memory_label(&self, target: MemoryTarget, offset: u64) -> Label {
        match target {
            MemoryTarget::IoApic => Label::from(match offset {
                0x00 => "IOAPIC IOREGSEL",
                0x10 => "IOAPIC IOWIN",
                0x40 => "IOAPIC EOI",
                _ => "IOAPIC",
            }),
            MemoryTarget::Device(chip) => Label::from(self.devices.name(chip.device)),
            MemoryTarget::Bar(device, bar) => self.bar_label(device, bar),
        }
    }
    fn bar_label(&self, device: crate::registry::DeviceId, bar: u8) -> Label {
        let mut label = Label::from(self.devices.name(device));
        label.push(" BAR");
        label.push(char::from(b'0' + bar % 10).encode_utf8(&mut [0; 4]));
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_of_the_local_apic_have_names() {
        assert_eq!(local_apic(0xB0).as_str(), "local APIC EOI");
        assert_eq!(local_apic(0x170).as_str(), "local APIC ISR");
        assert_eq!(local_apic(0x210).as_str(), "local APIC IRR");
        assert_eq!(local_apic(0x44).as_str(), "local APIC");
    }
}
