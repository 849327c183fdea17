//! From wires to messages to vCPU pins.

use super::{Chips, lines};
use crate::lapic::registers::LvtEntry;
use trimotor_bus::VcpuSignals;
use trimotor_bus::board::{IOAPIC_PINS, PIT_GSI, PIT_IRQ, RTC_IRQ};

/// The IOAPIC's pin that carries the PIC's INT.
pub(super) const PIC_PIN: u8 = 0;

impl Chips {
    /// A wire changes its level.
    pub(super) fn set_wire(&mut self, line: u8, high: bool) {
        match line {
            PIT_IRQ => self.wires.pit = high,
            RTC_IRQ => self.wires.rtc = high,
            lines::HPET_TIMER_0 => self.wires.hpet[0] = high,
            lines::HPET_TIMER_1 => self.wires.hpet[1] = high,
            lines::HPET_LEGACY => self.wires.hpet_legacy = high,
            lines::NMI_MASK => self.wires.nmi_masked = high,
            lines::NMI => return self.nmi_wire(high),
            lines::SMI => return self.smi_wire(high),
            _ => return self.request_wire(line, high),
        }
        let (pit, rtc) = self.wires.timers();
        match line {
            PIT_IRQ | lines::HPET_TIMER_0 => self.request_wire(PIT_IRQ, pit),
            RTC_IRQ | lines::HPET_TIMER_1 => self.request_wire(RTC_IRQ, rtc),
            lines::HPET_LEGACY => {
                self.request_wire(PIT_IRQ, pit);
                self.request_wire(RTC_IRQ, rtc);
            }
            _ => {}
        }
    }
    /// An interrupt request wire: 0 to 15 to PIC and IOAPIC, 16 to 23 to the IOAPIC.
    fn request_wire(&mut self, line: u8, high: bool) {
        let pin = match line {
            PIT_IRQ => PIT_GSI,
            // Input 2 of the PIC is the cascade; the pin is the PIT's.
            super::CASCADE => return,
            _ => line,
        };
        if pin >= IOAPIC_PINS {
            return;
        }
        if line < 16 {
            self.pic.set_line(line, high);
            self.pic_changed();
        }
        if let Some(message) = self.ioapic.set_line(pin, high) {
            self.locals.deliver(message);
        }
    }
    fn nmi_wire(&mut self, high: bool) {
        let rose = high && !self.wires.nmi;
        self.wires.nmi = high;
        if rose && !self.wires.nmi_masked {
            self.locals.pin_rises(LvtEntry::Lint1);
        }
    }
    fn smi_wire(&mut self, high: bool) {
        let rose = high && !self.wires.smi;
        self.wires.smi = high;
        if rose {
            (0..self.locals.count()).for_each(|cpu| self.locals.signals(cpu).raise(VcpuSignals::SMI));
        }
    }
    /// Passes on the PIC's INT after anything that may change it.
    pub(super) fn pic_changed(&mut self) {
        let output = self.pic.output();
        if output == self.wires.pic_output {
            return;
        }
        self.wires.pic_output = output;
        self.locals.set_pic_output(output);
        if output {
            self.locals.pin_rises(LvtEntry::Lint0);
        } else {
            for cpu in 0..self.locals.count() {
                self.locals.with(cpu, |apic| apic.set_external_request(false));
            }
        }
        if let Some(message) = self.ioapic.set_line(PIC_PIN, output) {
            self.locals.deliver(message);
        }
        self.locals.drive_all();
    }

    /// The IOAPIC sees the end of a level-triggered vector.
    pub(super) fn end_of_interrupt(&mut self, vector: u8) {
        let mut released = self.ioapic.end_of_interrupt(vector);
        while released != 0 {
            let pin = released.trailing_zeros() as u8;
            released &= released - 1;
            if let Some(message) = self.ioapic.service(pin) {
                self.locals.deliver(message);
            }
        }
    }
}
