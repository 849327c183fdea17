//! The interrupt controllers as text, for a monitor's `info`.

use super::InterruptFabric;
use crate::ioapic::RedirectionEntry;
use std::fmt::Write;
use trimotor_bus::board::{IOAPIC_PINS, PIT_GSI, PIT_IRQ};

impl InterruptFabric {
    /// What there is to say on one of the topics `pic`, `irq`, `ioapic` and `lapic`, in lines.
    pub fn describe(&self, topic: &str) -> Option<String> {
        Some(match topic {
            "pic" => self.chips().pic.describe(),
            "irq" => self.describe_wires(),
            "ioapic" => self.describe_ioapic(),
            "lapic" => {
                let of = |cpu| self.locals.with(cpu, |apic| apic.describe());
                (0..self.vcpus()).map(of).collect::<Vec<_>>().join("\n")
            }
            _ => return None,
        })
    }
    /// Each wire: its level, and where it leads.
    fn describe_wires(&self) -> String {
        let chips = self.chips();
        let mut out = String::new();
        for wire in 0..IOAPIC_PINS {
            let pin = if wire == PIT_IRQ { PIT_GSI } else { wire };
            let mut ways = Vec::new();
            if wire < 16 && wire != super::CASCADE {
                ways.push(if chips.pic.is_masked(wire) {
                    "PIC: masked".to_owned()
                } else {
                    format!("PIC: vector {:#04x}", chips.pic.vector(wire))
                });
            }
            if wire != super::CASCADE {
                let entry = chips.ioapic.entry(pin);
                ways.push(if entry.contains(RedirectionEntry::MASKED) {
                    format!("IOAPIC pin {pin}: masked")
                } else {
                    format!("IOAPIC pin {pin}: vector {:#04x}", entry.vector())
                });
            }
            if ways.is_empty() {
                continue;
            }
            let level = if wire < 16 { chips.pic.line(wire) } else { chips.ioapic.line(pin) };
            let level = if level { "high" } else { "low" };
            _ = writeln!(out, "wire {wire:2}: {level:<4} {}", ways.join(", "));
        }
        let wires = &chips.wires;
        _ = write!(
            out,
            "NMI: {}{}; SMI: {}; wires 0 and 8 are the {}",
            if wires.nmi { "high" } else { "low" },
            if wires.nmi_masked { ", masked" } else { "" },
            if wires.smi { "high" } else { "low" },
            if wires.hpet_legacy { "HPET's" } else { "PIT's and the RTC's" }
        );
        out
    }
    fn describe_ioapic(&self) -> String {
        let chips = self.chips();
        let mut out = "ioapic: 24 pins\n".to_owned();
        for pin in 0..IOAPIC_PINS {
            let entry = chips.ioapic.entry(pin);
            let has = |bit| entry.contains(bit);
            let mode = entry.delivery_mode().map_or("reserved".to_owned(), |mode| format!("{mode:?}"));
            _ = writeln!(
                out,
                "  pin {pin:2} {:016x} {}{} dest={:02x} vector={:02x} {} {} {mode}{}",
                entry.bits(),
                if chips.ioapic.line(pin) { "high" } else { "low " },
                if has(RedirectionEntry::MASKED) { " masked" } else { "       " },
                entry.destination(),
                entry.vector(),
                if has(RedirectionEntry::LEVEL) { "level" } else { "edge " },
                if has(RedirectionEntry::LOGICAL) { "logical " } else { "physical" },
                if has(RedirectionEntry::REMOTE_IRR) { " in service" } else { "" }
            );
        }
        out.truncate(out.trim_end().len());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;
    use crate::lapic::LapicModel;
    use trimotor_bus::{Port, VcpuSignals};

    #[test]
    fn each_topic_tells_what_the_chips_have() {
        let fabric = InterruptFabric::new(vec![VcpuSignals::new()], LapicModel::full(1_000_000_000));
        // The PIC's vectors begin at 20h, and only input 1 is open.
        for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xFD)] {
            fabric.pic_write(Port(port), value);
        }
        // IOREGSEL 10h + 2 * 4, the lower half: vector 34h, level triggered.
        fabric.ioapic_write(0, 0x18);
        fabric.ioapic_write(0x10, 0x8034);
        let holder = fabric.holder();
        holder.set_level(1, true);
        holder.set_level(lines::NMI_MASK, true);
        let told = |topic| fabric.describe(topic).unwrap();
        assert!(told("pic").contains("pic0: irr=02 imr=fd isr=00"), "{}", told("pic"));
        let wires = told("irq");
        assert!(wires.contains("wire  1: high PIC: vector 0x21, IOAPIC pin 1: masked"), "{wires}");
        assert!(wires.contains("wire  0: low  PIC: masked, IOAPIC pin 2: masked"), "{wires}");
        assert!(wires.contains("NMI: low, masked"), "{wires}");
        assert!(
            told("ioapic")
                .contains("pin  4 0000000000008034 low         dest=00 vector=34 level physical Fixed")
        );
        assert!(told("lapic").contains("local APIC 0: base fee00900"), "{}", told("lapic"));
        assert_eq!(fabric.describe("pci"), None);
    }
}
