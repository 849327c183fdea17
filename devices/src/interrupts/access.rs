//! What vCPUs and the board's address decoding do with the fabric.

use super::{Chips, InterruptFabric};
use crate::lapic::Effect;
use crate::lapic::registers::MSR_APIC_BASE;
use trimotor_bus::cpu_bus::NoSuchMsr;
use trimotor_bus::{GuestTime, PhysAddr, Port, Width};

impl InterruptFabric {
    /// The acknowledge cycle of vCPU `cpu`: the vector, or `None` where the request went away.
    /// The PIC's requests go first, as they pass the local APIC's priorities by.
    pub fn acknowledge(&self, cpu: usize, now: GuestTime) -> Option<u8> {
        let mut chips = self.chips();
        chips.lapics[cpu].advance(now);
        if chips.external(&chips.lapics[cpu]) {
            chips.lapics[cpu].set_external_request(false);
            let vector = chips.pic.acknowledge();
            // INT drops during the acknowledge cycle, so that a further request is an edge.
            chips.wires.pic_output = false;
            _ = chips.ioapic.set_line(0, false);
            chips.pic_changed();
            chips.update_all();
            return Some(vector);
        }
        let vector = chips.lapics[cpu].acknowledge();
        chips.update(cpu);
        vector
    }

    /// Reads an MSR of a vCPU's local APIC.
    ///
    /// # Errors
    /// The guest sees #GP(0).
    pub fn msr_read(&self, cpu: usize, index: u32, now: GuestTime) -> Result<u64, NoSuchMsr> {
        let mut chips = self.chips();
        let value = chips.lapics[cpu].msr_read(index, now);
        // The timer may have expired while the chip caught up with time.
        chips.update(cpu);
        value
    }
    /// Writes an MSR of a vCPU's local APIC. A write to IA32_APIC_BASE may move its page.
    ///
    /// # Errors
    /// The guest sees #GP(0).
    pub fn msr_write(&self, cpu: usize, index: u32, value: u64, now: GuestTime) -> Result<(), NoSuchMsr> {
        let mut chips = self.chips();
        let effect = chips.lapics[cpu].msr_write(index, value, now)?;
        chips.act(cpu, effect);
        if index == MSR_APIC_BASE {
            chips.update_all();
        }
        Ok(())
    }
    /// The page of a vCPU's local APIC, if it is in memory.
    pub fn apic_page(&self, cpu: usize) -> Option<PhysAddr> {
        self.chips().lapics[cpu].page()
    }
    /// IA32_APIC_BASE of a vCPU.
    pub fn apic_base(&self, cpu: usize) -> u64 {
        self.chips().lapics[cpu].base()
    }
    /// Reads a vCPU's local APIC page.
    pub fn apic_read(&self, cpu: usize, offset: u64, width: Width, now: GuestTime) -> u64 {
        let mut chips = self.chips();
        let value = chips.lapics[cpu].page_read(offset, width, now);
        chips.update(cpu);
        value
    }
    /// Writes a vCPU's local APIC page.
    pub fn apic_write(&self, cpu: usize, offset: u64, width: Width, value: u64, now: GuestTime) {
        let mut chips = self.chips();
        let effect = chips.lapics[cpu].page_write(offset, width, value, now);
        chips.act(cpu, effect);
    }
    /// CR8 of a vCPU.
    pub fn task_priority(&self, cpu: usize) -> u8 {
        self.chips().lapics[cpu].task_priority()
    }
    /// A write to CR8 of a vCPU.
    pub fn set_task_priority(&self, cpu: usize, priority: u8) {
        let mut chips = self.chips();
        chips.lapics[cpu].set_task_priority(priority & 0xF);
        chips.update(cpu);
    }
    /// Sets what is added to the ticks since power-on to give a vCPU's TSC.
    pub fn set_tsc_offset(&self, cpu: usize, offset: u64, now: GuestTime) {
        self.chips().lapics[cpu].set_tsc_offset(offset, now);
    }
    /// A vCPU's TSC.
    pub fn tsc(&self, cpu: usize, now: GuestTime) -> u64 {
        self.chips().lapics[cpu].tsc(now)
    }

    /// Reads a byte at a port of the PIC pair; ones at ports that it does not have ([`PicPair::has_port`](crate::pic::PicPair::has_port)).
    pub fn pic_read(&self, port: Port) -> u8 {
        let mut chips = self.chips();
        let value = chips.pic.read(port);
        chips.pic_changed();
        value
    }
    /// Writes a byte at a port of the PIC pair; nothing at ports that it does not have.
    pub fn pic_write(&self, port: Port, value: u8) {
        let mut chips = self.chips();
        chips.pic.write(port, value);
        chips.pic_changed();
    }
    /// Reads the IOAPIC's registers. They are 32 bits wide; a narrower read takes its part.
    pub fn ioapic_read(&self, offset: u64, width: Width) -> u64 {
        let value = u64::from(self.chips().ioapic.read(offset & !3));
        (value >> (8 * (offset & 3))) & width.mask()
    }
    /// Writes the IOAPIC's registers.
    pub fn ioapic_write(&self, offset: u64, value: u64) {
        let mut chips = self.chips();
        if let Some(message) = chips.ioapic.write(offset, value as u32) {
            chips.deliver(message);
        }
    }
    /// A line of text for each unmasked redirection entry, for the monitor.
    pub fn describe_ioapic(&self) -> Vec<String> {
        let chips = self.chips();
        (0..trimotor_bus::board::IOAPIC_PINS)
            .map(|pin| (pin, chips.ioapic.entry(pin)))
            .filter(|(_, entry)| !entry.contains(crate::ioapic::RedirectionEntry::MASKED))
            .map(|(pin, e)| {
                format!(
                    "pin {pin}: vector {:#04x} to {:#04x} {:?}",
                    e.vector(),
                    e.destination(),
                    e.delivery_mode()
                )
            })
            .collect()
    }
}

impl InterruptFabric {
    /// A local APIC's requests and timer in one line, for people.
    pub fn describe_lapic(&self, cpu: usize) -> String {
        let chips = self.chips();
        let apic = &chips.lapics[cpu];
        format!(
            "deliverable {:?}, PPR {:#04x}, timer {:?}, pins {:#x}",
            apic.deliverable(),
            apic.ppr(),
            apic.next_event(),
            chips.signals[cpu].pending()
        )
    }
}

impl Chips {
    /// Does what a local APIC's register write asked for, and drives its vCPU's pin.
    fn act(&mut self, cpu: usize, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Send(message) => self.deliver(message),
            Effect::EndOfInterrupt(vector) => self.end_of_interrupt(vector),
        }
        self.update(cpu);
    }
}
