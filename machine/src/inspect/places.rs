//! Addresses, ports, devices and PCI functions as text.

use crate::address_map::{MemoryTarget, PortTarget};
use crate::board::{Board, NO_PAGE};
use crate::control::{CommandError, Look};
use crate::registry::DeviceId;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use trimotor_bus::address::PAGE_SIZE;
use trimotor_bus::pci::PciSpace;
use trimotor_bus::{PciAddress, Width};

/// Base classes of PCI functions, and some subclasses before them (PCI Code and ID Assignment).
const CLASSES: &[(u32, u32, &str)] = &[
    (0x0101, 0xFFFF, "IDE controller"),
    (0x0100, 0xFFFF, "SCSI controller"),
    (0x0106, 0xFFFF, "SATA controller"),
    (0x0200, 0xFFFF, "Ethernet controller"),
    (0x0300, 0xFFFF, "VGA controller"),
    (0x0600, 0xFFFF, "Host bridge"),
    (0x0601, 0xFFFF, "ISA bridge"),
    (0x0680, 0xFFFF, "Bridge"),
    (0x0780, 0xFFFF, "Communication controller"),
    (0x0C03, 0xFFFF, "USB controller"),
    (0x0100, 0xFF00, "Storage controller"),
    (0x0200, 0xFF00, "Network controller"),
    (0x0300, 0xFF00, "Display controller"),
    (0x0400, 0xFF00, "Multimedia controller"),
    (0x0500, 0xFF00, "Memory controller"),
    (0x0600, 0xFF00, "Bridge"),
];

impl Board {
    /// Looks at what does not concern vCPUs.
    pub(crate) fn look(&self, look: &Look) -> Result<String, CommandError> {
        match look {
            Look::AddressMap => Ok(self.address_map()),
            Look::DeviceTree => Ok(self.device_tree()),
            Look::Pci => Ok(self.pci_functions()),
            Look::Topic(topic) => {
                let told: Vec<String> =
                    self.devices.ids().filter_map(|id| self.devices.lock(id).describe(topic)).collect();
                if told.is_empty() {
                    return Err(CommandError::Failed(format!(
                        "no device of this machine has anything to say about {topic}"
                    )));
                }
                Ok(told.join("\n"))
            }
            // The machine looks at vCPUs itself.
            _ => Ok(String::new()),
        }
    }

    fn address_map(&self) -> String {
        let map = self.map.current();
        let mut lines: Vec<(u64, u64, String)> = Vec::new();
        for slot in self.memory.slots() {
            let is_shown = map.memory(slot.at).is_some();
            let what = match (slot.read_only, is_shown) {
                (_, true) => "memory that a device shows",
                (true, false) => "rom",
                (false, false) => "ram",
            };
            lines.push((slot.at.0, slot.at.0 + (slot.bytes - 1), what.to_owned()));
        }
        for (range, target) in map.memory_ranges() {
            let what = match target {
                MemoryTarget::IoApic => "ioapic".to_owned(),
                MemoryTarget::Device(chip) => self.devices.name(chip.device).to_owned(),
                MemoryTarget::Bar(device, bar) => format!("{} BAR{bar}", self.devices.name(device)),
            };
            lines.push((*range.start(), *range.end(), what));
        }
        for (cpu, page) in self.apic_pages.iter().enumerate() {
            let page = page.load(Ordering::Relaxed);
            if page != NO_PAGE {
                lines.push((page, page + (PAGE_SIZE - 1), format!("local APIC of vCPU {cpu}")));
            }
        }
        lines.sort();
        let mut out = "memory\n".to_owned();
        for (first, last, what) in lines {
            _ = writeln!(out, "  {first:016x}-{last:016x} {what}");
        }
        out += "I/O ports\n";
        for (range, target) in map.port_ranges() {
            let what = match target {
                PortTarget::Nobody => continue,
                PortTarget::Pic => "pic".to_owned(),
                PortTarget::PciConfig => "PCI configuration".to_owned(),
                PortTarget::Device(chip) => self.devices.name(chip.device).to_owned(),
                PortTarget::Backdoor(device) => self.devices.name(device).to_owned(),
                PortTarget::Bar(device, bar, _) => format!("{} BAR{bar}", self.devices.name(device)),
            };
            _ = writeln!(out, "  {:04x}-{:04x} {what}", range.start(), range.end());
        }
        out.trim_end().to_owned()
    }

    fn device_tree(&self) -> String {
        let line = |id: DeviceId| format!("{}: {}\n", self.devices.name(id), self.devices.lock(id).info());
        let on_pci = |id: &DeviceId| self.functions().iter().any(|(_, function)| function == id);
        let mut out = "bus: board\n".to_owned();
        for id in self.devices.ids().filter(|id| !on_pci(id)) {
            out += &format!("  {}", line(id));
        }
        out += "bus: pci.0\n";
        for (at, id) in self.functions() {
            out += &format!("  {at} {}", line(*id));
        }
        out.trim_end().to_owned()
    }

    fn pci_functions(&self) -> String {
        let functions: Vec<_> =
            self.functions().iter().filter_map(|(at, id)| self.pci_function(*at, *id)).collect();
        functions.join("\n")
    }
    fn pci_function(&self, at: PciAddress, id: DeviceId) -> Option<String> {
        let mut device = self.devices.lock(id);
        let function = device.pci()?;
        let mut read = |offset, width| function.config_read(offset, width);
        let (vendor, number) = (read(0, Width::Word), read(2, Width::Word));
        let class = read(0x0A, Width::Word);
        let (command, line, pin) =
            (read(4, Width::Word), read(0x3C, Width::Byte), read(0x3D, Width::Byte) as u8);
        let subsystem = (read(0x2C, Width::Word), read(0x2E, Width::Word));
        let kind = CLASSES.iter().find(|(value, mask, _)| class & mask == *value);
        let kind = kind.map_or_else(|| format!("Class {class:04x}"), |(.., name)| (*name).to_owned());
        let mut out = format!("  Bus {:2}, device {:3}, function {}:\n", at.bus, at.device, at.function);
        _ = writeln!(out, "    {kind}: PCI device {vendor:04x}:{number:04x}");
        _ = writeln!(
            out,
            "      PCI subsystem {:04x}:{:04x}, command {command:04x}",
            subsystem.0, subsystem.1
        );
        if let letter @ 1..=4 = pin {
            _ = writeln!(out, "      IRQ {line}, pin {}", char::from(b'A' + letter - 1));
        }
        for region in function.decoded_regions() {
            let last = region.base.saturating_add(region.size - 1);
            let bar = if region.bar == 6 { "ROM".to_owned() } else { format!("BAR{}", region.bar) };
            _ = match region.space {
                PciSpace::Io => writeln!(out, "      {bar}: I/O at {:#06x} [{last:#06x}].", region.base),
                PciSpace::Memory => {
                    writeln!(out, "      {bar}: memory at {:#010x} [{last:#010x}].", region.base)
                }
            };
        }
        _ = write!(out, "      id {:?}", self.devices.name(id));
        Some(out)
    }
}
