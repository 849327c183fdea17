//! Requests, priorities and pins of the local APIC.

use super::LocalApic;
use super::registers::{ERROR_RECEIVED_VECTOR, Lvt, LvtEntry, SVR_ENABLE};
use crate::interrupts::message::{DeliveryMode, Destination};

/// What an edge on a local interrupt pin makes of the CPU's other pins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineEffect {
    /// Nothing, or a request inside the local APIC.
    None,
    /// An NMI.
    Nmi,
    /// An SMI.
    Smi,
    /// An INIT.
    Init,
}

impl LocalApic {
    /// Adds a request for `vector`.
    pub fn accept(&mut self, vector: u8, level: bool) {
        if vector < 16 {
            self.error(ERROR_RECEIVED_VECTOR);
            return;
        }
        let s = &mut self.state;
        s.irr.insert(vector);
        if level { s.tmr.insert(vector) } else { s.tmr.remove(vector) }
    }
    /// Whether fixed interrupts are accepted at all.
    pub fn accepts_fixed(&self) -> bool {
        self.enabled() && self.software_enabled()
    }
    /// Whether this local APIC is among the destinations of a message. Shorthands that name the
    /// sender are resolved by the fabric, which knows the indices.
    pub fn is_destination(&self, destination: Destination) -> bool {
        if !self.enabled() {
            return false;
        }
        let id = u32::from(self.id());
        match destination {
            Destination::All => true,
            Destination::AllBut(index) => index != usize::from(self.id),
            Destination::Only(index) => index == usize::from(self.id),
            Destination::Physical(wanted) => wanted == id,
            Destination::Logical32(set) if self.x2apic() => self.in_x2apic_set(set),
            Destination::Logical8(set) if self.x2apic() => self.in_x2apic_set(u32::from(set)),
            Destination::Logical32(set) => self.in_xapic_set(set as u8) && set <= 0xFF,
            Destination::Logical8(set) => self.in_xapic_set(set),
        }
    }
    fn in_x2apic_set(&self, set: u32) -> bool {
        let own = self.x2apic_ldr();
        own >> 16 == set >> 16 && own & set & 0xFFFF != 0
    }
    /// The LDR of x2APIC mode, derived from the id.
    pub(super) fn x2apic_ldr(&self) -> u32 {
        u32::from(self.id >> 4) << 16 | 1 << (self.id & 0xF)
    }
    /// The xAPIC logical match: flat model (DFR Fh) or cluster model (DFR 0h).
    fn in_xapic_set(&self, set: u8) -> bool {
        let own = (self.state.ldr >> 24) as u8;
        match self.state.dfr >> 28 {
            0 => (set >> 4 == own >> 4 || set >> 4 == 0xF) && own & set & 0xF != 0,
            _ => own & set != 0,
        }
    }

    /// The processor priority: the higher of task priority and what is in service.
    pub fn ppr(&self) -> u8 {
        let serving = self.state.isr.highest().unwrap_or(0);
        if self.state.tpr >> 4 >= serving >> 4 { self.state.tpr } else { serving & 0xF0 }
    }
    /// The vector that would be delivered now.
    #[inline]
    pub fn deliverable(&self) -> Option<u8> {
        let vector = self.state.irr.highest()?;
        (self.accepts_fixed() && vector >> 4 > self.ppr() >> 4).then_some(vector)
    }
    /// The acknowledge cycle for a vector of the local APIC itself.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.deliverable()?;
        self.state.irr.remove(vector);
        self.state.isr.insert(vector);
        Some(vector)
    }
    /// Ends the interrupt in service with the highest priority: its vector where the end must be
    /// broadcast, because it is level triggered.
    pub(super) fn end_of_interrupt(&mut self) -> Option<u8> {
        let vector = self.state.isr.highest()?;
        self.state.isr.remove(vector);
        for entry in [LvtEntry::Lint0, LvtEntry::Lint1] {
            let lvt = &mut self.state.lvt[entry as usize];
            if *lvt as u8 == vector {
                *lvt &= !Lvt::REMOTE_IRR.bits();
            }
        }
        self.state.tmr.contains(vector).then_some(vector)
    }
    /// The task priority as CR8 shows it.
    pub fn task_priority(&self) -> u8 {
        self.state.tpr >> 4
    }
    /// A write to CR8.
    pub fn set_task_priority(&mut self, priority: u8) {
        self.state.tpr = priority << 4;
    }

    /// Whether the PIC's INT passes LINT0 to the CPU: ExtINT, or no local APIC in the way.
    pub fn passes_external(&self) -> bool {
        if !self.enabled() {
            return self.is_bsp();
        }
        let lint0 = self.lvt(LvtEntry::Lint0);
        !lint0.contains(Lvt::MASKED) && lint0.delivery_mode() == Some(DeliveryMode::ExtInt)
    }
    /// Whether an ExtINT message waits.
    pub fn external_request(&self) -> bool {
        self.state.external
    }
    /// An ExtINT message arrives, or (`false`) its PIC no longer asks.
    pub fn set_external_request(&mut self, waiting: bool) {
        self.state.external = waiting;
    }
    /// A rising edge at a local interrupt pin.
    pub fn pin_rises(&mut self, pin: LvtEntry) -> LineEffect {
        if !self.enabled() {
            let nmi = pin == LvtEntry::Lint1;
            return if nmi { LineEffect::Nmi } else { LineEffect::None };
        }
        let lvt = self.lvt(pin);
        if lvt.contains(Lvt::MASKED) {
            return LineEffect::None;
        }
        match lvt.delivery_mode() {
            Some(DeliveryMode::Nmi) => LineEffect::Nmi,
            Some(DeliveryMode::Smi) => LineEffect::Smi,
            Some(DeliveryMode::Init) => LineEffect::Init,
            Some(DeliveryMode::Fixed) if !lvt.contains(Lvt::REMOTE_IRR) => {
                // LINT1 has no level-triggered mode.
                if lvt.contains(Lvt::LEVEL) && pin == LvtEntry::Lint0 {
                    self.state.lvt[pin as usize] |= Lvt::REMOTE_IRR.bits();
                }
                self.accept(lvt.vector(), false);
                LineEffect::None
            }
            _ => LineEffect::None,
        }
    }

    /// Notes an error and raises the error interrupt.
    pub(super) fn error(&mut self, error: u32) {
        if self.state.errors & error != 0 {
            return;
        }
        self.state.errors |= error;
        let lvt = self.lvt(LvtEntry::Error);
        // An error entry with an illegal vector must not report itself for ever.
        if !lvt.contains(Lvt::MASKED) && lvt.vector() >= 16 {
            self.accept(lvt.vector(), false);
        }
    }
    /// A write to SVR. Software disable masks all LVT entries.
    pub(super) fn set_spurious(&mut self, value: u32) {
        self.state.svr = value & super::registers::SVR_WRITABLE;
        if self.state.svr & SVR_ENABLE == 0 {
            for lvt in &mut self.state.lvt {
                *lvt |= Lvt::MASKED.bits();
            }
        }
    }
}

impl Lvt {
    /// The delivery mode, `None` where reserved.
    pub fn delivery_mode(self) -> Option<DeliveryMode> {
        DeliveryMode::from_bits(self.bits() >> 8)
    }
}
