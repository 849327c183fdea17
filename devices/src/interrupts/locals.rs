//! The local APICs, each behind a lock of its own.
//!
//! A vCPU's accesses to its own local APIC (end of interrupt, timer, CR8, acknowledgement) take that lock and no other, so that
//! vCPUs on threads of their own do not wait for each other. The PIC, the IOAPIC and the wires have another lock;
//! whoever holds it may take a local APIC's, never the other way round, and nobody holds two local APICs'.
//!
//! The one wire that all local APICs look at, the PIC's INT, is an atomic. Whoever changes it looks at every vCPU's INTR
//! pin afterwards; a pin is driven under its local APIC's lock only, so that the last driver has seen the last level.

use super::message::{ApicMessage, DeliveryMode};
use crate::lapic::registers::LvtEntry;
use crate::lapic::{LapicModel, LineEffect, LocalApic};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_bus::{GuestTime, VcpuSignals};

/// All local APICs.
pub(super) struct LocalApics {
    apics: Vec<Socket>,
    /// The PIC's INT.
    pic_output: AtomicBool,
}

/// A local APIC and the pins of its vCPU. Aligned, so that no two vCPUs write one cache line.
#[repr(align(128))]
struct Socket {
    apic: Mutex<Chip>,
    signals: Arc<VcpuSignals>,
}

struct Chip {
    apic: LocalApic,
    /// The level of the INTR pin: only a change of it is told.
    intr: bool,
}

impl LocalApics {
    /// One for each set of pins.
    pub(super) fn new(signals: Vec<Arc<VcpuSignals>>, model: LapicModel) -> Self {
        let chip = |id| Chip { apic: LocalApic::new(id as u8, model), intr: false };
        let socket = |(id, signals)| Socket { apic: Mutex::new(chip(id)), signals };
        let apics = signals.into_iter().enumerate().map(socket).collect();
        Self { apics, pic_output: AtomicBool::new(false) }
    }
    /// The number of vCPUs.
    pub(super) fn count(&self) -> usize {
        self.apics.len()
    }
    /// The pins of a vCPU.
    pub(super) fn signals(&self, cpu: usize) -> &VcpuSignals {
        &self.apics[cpu].signals
    }
    /// Looks at a local APIC, or changes what its vCPU's INTR pin does not depend on.
    pub(super) fn with<R>(&self, cpu: usize, action: impl FnOnce(&mut LocalApic) -> R) -> R {
        action(&mut self.lock(cpu).apic)
    }
    /// Uses a local APIC, and drives its vCPU's INTR pin.
    pub(super) fn drive<R>(&self, cpu: usize, action: impl FnOnce(&mut LocalApic) -> R) -> R {
        let mut chip = self.lock(cpu);
        let answer = action(&mut chip.apic);
        let high = chip.apic.deliverable().is_some() || self.external(&chip.apic);
        if high != chip.intr {
            chip.intr = high;
            self.apics[cpu].signals.set_intr(high);
        }
        answer
    }
    fn lock(&self, cpu: usize) -> MutexGuard<'_, Chip> {
        self.apics[cpu].apic.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Whether the PIC's request reaches the vCPU of this local APIC.
    pub(super) fn external(&self, apic: &LocalApic) -> bool {
        self.pic_output.load(Ordering::SeqCst) && (apic.passes_external() || apic.external_request())
    }
    /// The PIC's INT as the local APICs see it.
    pub(super) fn set_pic_output(&self, high: bool) {
        self.pic_output.store(high, Ordering::SeqCst);
    }
    /// Drives every vCPU's INTR pin.
    pub(super) fn drive_all(&self) {
        (0..self.count()).for_each(|cpu| self.drive(cpu, |_| ()));
    }
    /// When the earliest timer expires.
    pub(super) fn next_event(&self) -> Option<GuestTime> {
        (0..self.count()).filter_map(|cpu| self.with(cpu, |apic| apic.next_event())).min()
    }

    /// A local interrupt pin of all vCPUs rises.
    pub(super) fn pin_rises(&self, pin: LvtEntry) {
        for cpu in 0..self.count() {
            match self.drive(cpu, |apic| apic.pin_rises(pin)) {
                LineEffect::None => {}
                LineEffect::Nmi => self.signals(cpu).raise(VcpuSignals::NMI),
                LineEffect::Smi => self.signals(cpu).raise(VcpuSignals::SMI),
                LineEffect::Init => self.init(cpu),
            }
        }
    }
    fn init(&self, cpu: usize) {
        self.drive(cpu, LocalApic::init);
        self.signals(cpu).lower(VcpuSignals::SIPI);
        self.signals(cpu).raise(VcpuSignals::INIT);
    }
    /// Delivers a message to its destinations.
    pub(super) fn deliver(&self, message: ApicMessage) {
        let destinations =
            (0..self.count()).filter(|cpu| self.with(*cpu, |apic| apic.is_destination(message.destination)));
        if message.mode == DeliveryMode::LowestPriority {
            // A priority may change between the look and the delivery, as on the bus of a real machine.
            let lowest = destinations
                .filter_map(|cpu| self.with(cpu, |apic| apic.accepts_fixed().then(|| (apic.ppr() >> 4, cpu))))
                .min();
            if let Some((_, cpu)) = lowest {
                self.receive(cpu, message);
            }
            return;
        }
        destinations.for_each(|cpu| self.receive(cpu, message));
    }
    fn receive(&self, cpu: usize, message: ApicMessage) {
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => self.drive(cpu, |apic| {
                if apic.accepts_fixed() {
                    apic.accept(message.vector, message.level);
                }
            }),
            DeliveryMode::Smi => self.signals(cpu).raise(VcpuSignals::SMI),
            DeliveryMode::Nmi => self.signals(cpu).raise(VcpuSignals::NMI),
            DeliveryMode::Init => self.init(cpu),
            DeliveryMode::StartUp => self.signals(cpu).raise_sipi(message.vector),
            DeliveryMode::ExtInt => self.drive(cpu, |apic| apic.set_external_request(true)),
        }
    }
}
