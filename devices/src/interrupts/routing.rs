//! From wires to messages to vCPU pins.

use super::message::{ApicMessage, DeliveryMode};
use super::{Chips, LineEffect, LocalApic, LvtEntry, lines};
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
            self.deliver(message);
        }
    }
    fn nmi_wire(&mut self, high: bool) {
        let rose = high && !self.wires.nmi;
        self.wires.nmi = high;
        if rose && !self.wires.nmi_masked {
            self.local_pin_rises(LvtEntry::Lint1);
        }
    }
    fn smi_wire(&mut self, high: bool) {
        let rose = high && !self.wires.smi;
        self.wires.smi = high;
        if rose {
            for signals in &self.signals {
                signals.raise(VcpuSignals::SMI);
            }
        }
    }
    /// Passes on the PIC's INT after anything that may change it.
    pub(super) fn pic_changed(&mut self) {
        let output = self.pic.output();
        if output == self.wires.pic_output {
            return;
        }
        self.wires.pic_output = output;
        if output {
            self.local_pin_rises(LvtEntry::Lint0);
        } else {
            for apic in &mut self.lapics {
                apic.set_external_request(false);
            }
        }
        if let Some(message) = self.ioapic.set_line(PIC_PIN, output) {
            self.deliver(message);
        }
        self.update_all();
    }
    fn local_pin_rises(&mut self, pin: LvtEntry) {
        for cpu in 0..self.lapics.len() {
            match self.lapics[cpu].pin_rises(pin) {
                LineEffect::None => self.update(cpu),
                LineEffect::Nmi => self.signals[cpu].raise(VcpuSignals::NMI),
                LineEffect::Smi => self.signals[cpu].raise(VcpuSignals::SMI),
                LineEffect::Init => self.init(cpu),
            }
        }
    }
    fn init(&mut self, cpu: usize) {
        self.lapics[cpu].init();
        self.signals[cpu].lower(VcpuSignals::SIPI);
        self.signals[cpu].raise(VcpuSignals::INIT);
        self.update(cpu);
    }

    /// Delivers a message to its destinations.
    pub(super) fn deliver(&mut self, message: ApicMessage) {
        if message.mode == DeliveryMode::LowestPriority {
            let lowest = (0..self.lapics.len())
                .filter(|cpu| self.lapics[*cpu].accepts_fixed())
                .filter(|cpu| self.lapics[*cpu].is_destination(message.destination))
                .min_by_key(|cpu| self.lapics[*cpu].ppr() >> 4);
            if let Some(cpu) = lowest {
                self.receive(cpu, message);
            }
            return;
        }
        for cpu in 0..self.lapics.len() {
            if self.lapics[cpu].is_destination(message.destination) {
                self.receive(cpu, message);
            }
        }
    }
    fn receive(&mut self, cpu: usize, message: ApicMessage) {
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                if self.lapics[cpu].accepts_fixed() {
                    self.lapics[cpu].accept(message.vector, message.level);
                    self.update(cpu);
                }
            }
            DeliveryMode::Smi => self.signals[cpu].raise(VcpuSignals::SMI),
            DeliveryMode::Nmi => self.signals[cpu].raise(VcpuSignals::NMI),
            DeliveryMode::Init => self.init(cpu),
            DeliveryMode::StartUp => self.signals[cpu].raise_sipi(message.vector),
            DeliveryMode::ExtInt => {
                self.lapics[cpu].set_external_request(true);
                self.update(cpu);
            }
        }
    }
    /// The IOAPIC sees the end of a level-triggered vector.
    pub(super) fn end_of_interrupt(&mut self, vector: u8) {
        let mut released = self.ioapic.end_of_interrupt(vector);
        while released != 0 {
            let pin = released.trailing_zeros() as u8;
            released &= released - 1;
            if let Some(message) = self.ioapic.service(pin) {
                self.deliver(message);
            }
        }
    }

    /// Whether the PIC's request reaches this vCPU.
    pub(super) fn external(&self, apic: &LocalApic) -> bool {
        self.wires.pic_output && (apic.passes_external() || apic.external_request())
    }
    /// Drives a vCPU's INTR pin.
    pub(super) fn update(&self, cpu: usize) {
        let apic = &self.lapics[cpu];
        self.signals[cpu].set_intr(apic.deliverable().is_some() || self.external(apic));
    }
    /// Drives every vCPU's INTR pin.
    pub(super) fn update_all(&self) {
        for cpu in 0..self.lapics.len() {
            self.update(cpu);
        }
    }
}
