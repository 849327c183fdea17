//! What vCPUs and the board's address decoding do with the fabric.

use super::InterruptFabric;
use crate::lapic::{Effect, LocalApic};
use trimotor_bus::cpu_bus::NoSuchMsr;
use trimotor_bus::{GuestTime, PhysAddr, Port, Width};

impl InterruptFabric {
    /// The acknowledge cycle of vCPU `cpu`: the vector, or `None` where the request went away.
    /// The PIC's requests go first, as they pass the local APIC's priorities by.
    pub fn acknowledge(&self, cpu: usize, now: GuestTime) -> Option<u8> {
        let vector = self.locals.drive(cpu, |apic| {
            apic.advance(now);
            if self.locals.external(apic) { Err(()) } else { Ok(apic.acknowledge()) }
        });
        vector.unwrap_or_else(|()| self.acknowledge_pic(cpu))
    }
    /// The PIC asks: its lock comes before that of the local APIC.
    #[cold]
    fn acknowledge_pic(&self, cpu: usize) -> Option<u8> {
        let mut chips = self.chips();
        let external = self.locals.with(cpu, |apic| {
            let external = self.locals.external(apic);
            if external {
                apic.set_external_request(false);
            }
            external
        });
        if !external {
            // Another vCPU was first.
            return self.locals.drive(cpu, LocalApic::acknowledge);
        }
        let vector = chips.pic.acknowledge();
        // INT drops during the acknowledge cycle, so that a further request is an edge.
        chips.wires.pic_output = false;
        self.locals.set_pic_output(false);
        _ = chips.ioapic.set_line(0, false);
        chips.pic_changed();
        self.locals.drive_all();
        Some(vector)
    }

    /// Reads an MSR of a vCPU's local APIC.
    ///
    /// # Errors
    /// The guest sees #GP(0).
    pub fn msr_read(&self, cpu: usize, index: u32, now: GuestTime) -> Result<u64, NoSuchMsr> {
        // The timer may have expired while the chip caught up with time: the pin is driven.
        self.locals.drive(cpu, |apic| apic.msr_read(index, now))
    }
    /// Writes an MSR of a vCPU's local APIC. A write to IA32_APIC_BASE may move its page.
    ///
    /// # Errors
    /// The guest sees #GP(0).
    pub fn msr_write(&self, cpu: usize, index: u32, value: u64, now: GuestTime) -> Result<(), NoSuchMsr> {
        let effect = self.locals.drive(cpu, |apic| apic.msr_write(index, value, now))?;
        self.act(effect);
        Ok(())
    }
    /// The page of a vCPU's local APIC, if it is in memory.
    pub fn apic_page(&self, cpu: usize) -> Option<PhysAddr> {
        self.locals.with(cpu, |apic| apic.page())
    }
    /// IA32_APIC_BASE of a vCPU.
    pub fn apic_base(&self, cpu: usize) -> u64 {
        self.locals.with(cpu, |apic| apic.base())
    }
    /// Reads a vCPU's local APIC page.
    pub fn apic_read(&self, cpu: usize, offset: u64, width: Width, now: GuestTime) -> u64 {
        self.locals.drive(cpu, |apic| apic.page_read(offset, width, now))
    }
    /// Writes a vCPU's local APIC page.
    pub fn apic_write(&self, cpu: usize, offset: u64, width: Width, value: u64, now: GuestTime) {
        let effect = self.locals.drive(cpu, |apic| apic.page_write(offset, width, value, now));
        self.act(effect);
    }
    /// CR8 of a vCPU.
    pub fn task_priority(&self, cpu: usize) -> u8 {
        self.locals.with(cpu, |apic| apic.task_priority())
    }
    /// A write to CR8 of a vCPU.
    pub fn set_task_priority(&self, cpu: usize, priority: u8) {
        self.locals.drive(cpu, |apic| apic.set_task_priority(priority & 0xF));
    }
    /// Sets what is added to the ticks since power-on to give a vCPU's TSC.
    pub fn set_tsc_offset(&self, cpu: usize, offset: u64, now: GuestTime) {
        self.locals.with(cpu, |apic| apic.set_tsc_offset(offset, now));
    }
    /// A vCPU's TSC.
    pub fn tsc(&self, cpu: usize, now: GuestTime) -> u64 {
        self.locals.with(cpu, |apic| apic.tsc(now))
    }
    /// Does what a local APIC's register write asked for. Its lock is free again.
    fn act(&self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Send(message) => self.locals.deliver(message),
            Effect::EndOfInterrupt(vector) => self.chips().end_of_interrupt(vector),
        }
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
            self.locals.deliver(message);
        }
    }
}

impl InterruptFabric {
    /// A local APIC's requests and timer in one line, for people.
    pub fn describe_lapic(&self, cpu: usize) -> String {
        self.locals.with(cpu, |apic| {
            format!(
                "deliverable {:?}, PPR {:#04x}, timer {:?}, pins {:#x}",
                apic.deliverable(),
                apic.ppr(),
                apic.next_event(),
                self.locals.signals(cpu).pending()
            )
        })
    }
}
