//! The interrupt fabric: PIC pair, IOAPIC and local APICs as one part of the board.
//!
//! Devices drive wires ([`IrqLine`](trimotor_bus::IrqLine)); each ISA wire reaches the PIC and
//! the IOAPIC at once, the PIC's INT reaches every local APIC's LINT0 and the IOAPIC's pin 0.
//! Several devices may pull one wire ([`holder`](InterruptFabric::holder)). What comes out drives the pins of each vCPU ([`VcpuSignals`]); its acknowledge cycle comes
//! back here and gets the vector. Interrupts arise from device threads as well as from vCPUs: PIC, IOAPIC and
//! wires are behind one lock, each local APIC behind one of its own (`locals.rs`).
//!
//! Wires 0 to 15 are the ISA interrupts, 16 to 23 the IOAPIC's own pins. Numbers from 80h on
//! are wires that are no interrupt requests ([`lines`]): NMI and its mask, SMI, and the HPET's
//! legacy replacement, which takes the place of the PIT and the RTC on wires 0 and 8.

mod access;
mod describe;
mod holder;
mod locals;
pub mod message;
mod routing;

use crate::device::Device;
use crate::ioapic::{IoApic, IoApicStateV1};
use crate::lapic::{LapicModel, LapicStateV1, LocalApic};
use crate::pic::{PicPair, PicPairStateV1};
use crate::saved_state::saved_state;
use locals::LocalApics;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_bus::board::{MAX_VCPUS, PIT_GSI, PIT_IRQ, RTC_IRQ};
use trimotor_bus::{GuestTime, MsiSink, RestoreError, SaveState, VcpuSignals};

/// Numbers of wires that are no interrupt requests.
pub mod lines {
    /// The board's NMI (an edge), as PCI SERR# or a person makes it.
    pub const NMI: u8 = 0x80;
    /// The NMI mask (bit 7 of port 70h).
    pub const NMI_MASK: u8 = 0x81;
    /// System-management interrupt (an edge) to all vCPUs.
    pub const SMI: u8 = 0x82;
    /// The HPET takes the place of the PIT and the RTC.
    pub const HPET_LEGACY: u8 = 0x83;
    /// HPET timer 0 in legacy replacement.
    pub const HPET_TIMER_0: u8 = 0x84;
    /// HPET timer 1 in legacy replacement.
    pub const HPET_TIMER_1: u8 = 0x85;
}

/// The PIC's input that its slave drives.
const CASCADE: u8 = 2;

/// Everything that the fabric remembers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterruptsStateV1 {
    pic: PicPairStateV1,
    ioapic: IoApicStateV1,
    lapics: Vec<LapicStateV1>,
    wires: WiresStateV1,
}

/// Wires beside those that the chips remember.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wires {
    /// The PIC's INT as the others saw it last.
    pic_output: bool,
    nmi: bool,
    nmi_masked: bool,
    smi: bool,
    hpet_legacy: bool,
    /// Levels of ISA 0 and 8 from the PIT and the RTC, and from the HPET.
    pit: bool,
    rtc: bool,
    hpet: [bool; 2],
}

saved_state! {
    /// The saved wires.
    pub struct WiresStateV1 of Wires {
        pic_output: bool,
        nmi: bool,
        nmi_masked: bool,
        smi: bool,
        hpet_legacy: bool,
        pit: bool,
        rtc: bool,
        hpet: [bool; 2],
    }
}

impl Wires {
    /// Whether both ends of each wire have the same level.
    fn fit(&self, pic: &PicPair, ioapic: &IoApic) -> bool {
        let (pit, rtc) = self.timers();
        self.pic_output == pic.output()
            && self.pic_output == ioapic.line(routing::PIC_PIN)
            && pic.line(PIT_IRQ) == pit
            && pic.line(RTC_IRQ) == rtc
            && ioapic.line(PIT_GSI) == pit
            && (0..16).all(|irq| matches!(irq, PIT_IRQ | CASCADE) || pic.line(irq) == ioapic.line(irq))
    }
    /// The levels of interrupts 0 and 8: of the PIT and the RTC, or of what replaces them.
    fn timers(&self) -> (bool, bool) {
        if self.hpet_legacy { (self.hpet[0], self.hpet[1]) } else { (self.pit, self.rtc) }
    }
}

/// The chips that wires lead to, behind one lock.
struct Chips {
    pic: PicPair,
    ioapic: IoApic,
    wires: Wires,
    /// Where their messages go.
    locals: Arc<LocalApics>,
    /// What each device pulls. No part of the state: devices that are restored drive their wires.
    holders: Vec<holder::Pulled>,
}

/// The interrupt fabric. Shared; all methods take `&self`.
pub struct InterruptFabric {
    chips: Mutex<Chips>,
    locals: Arc<LocalApics>,
}

impl InterruptFabric {
    /// A fabric for as many vCPUs (1 to [`MAX_VCPUS`]) as there are `signals`, all of one `model`.
    pub fn new(signals: Vec<Arc<VcpuSignals>>, model: LapicModel) -> Arc<Self> {
        assert!((1..=MAX_VCPUS).contains(&signals.len()), "a board has 1 to {MAX_VCPUS} vCPUs");
        let locals = Arc::new(LocalApics::new(signals, model));
        let chips = Chips {
            pic: PicPair::new(),
            ioapic: IoApic::new(),
            wires: Wires::default(),
            locals: locals.clone(),
            holders: Vec::new(),
        };
        Arc::new(Self { chips: Mutex::new(chips), locals })
    }
    /// One edge of the board's NMI, as a person makes it.
    pub fn pulse_nmi(&self) {
        let mut chips = self.chips();
        chips.set_wire(lines::NMI, true);
        chips.set_wire(lines::NMI, false);
    }
    /// All chips back to power-on; wires keep their levels.
    pub fn reset(&self) {
        let mut chips = self.chips();
        chips.pic.reset();
        chips.ioapic.reset();
        chips.wires.nmi_masked = false;
        for cpu in 0..self.locals.count() {
            self.locals.with(cpu, LocalApic::reset);
            let edges = VcpuSignals::NMI | VcpuSignals::SMI | VcpuSignals::INIT | VcpuSignals::SIPI;
            self.locals.signals(cpu).lower(edges);
        }
        chips.pic_changed();
        self.locals.drive_all();
    }
    fn chips(&self) -> MutexGuard<'_, Chips> {
        self.chips.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The number of vCPUs.
    pub fn vcpus(&self) -> usize {
        self.locals.count()
    }
    /// When the earliest local APIC timer expires.
    pub fn next_event(&self) -> Option<GuestTime> {
        self.locals.next_event()
    }
    /// Lets time pass for all local APIC timers.
    pub fn advance(&self, now: GuestTime) {
        (0..self.vcpus()).for_each(|cpu| self.advance_timer(cpu, now));
    }
    /// Lets time pass for the local APIC timer of a vCPU.
    pub fn advance_timer(&self, cpu: usize, now: GuestTime) {
        self.locals.drive(cpu, |apic| apic.advance(now));
    }
    /// Tells `publish` when the local APIC timer of a vCPU expires next, while no other thread can change it.
    pub fn publish_next_event<R>(&self, cpu: usize, publish: impl FnOnce(Option<GuestTime>) -> R) -> R {
        self.locals.with(cpu, |apic| publish(apic.next_event()))
    }
}

impl MsiSink for InterruptFabric {
    fn send(&self, address: u64, data: u32) {
        if let Some(message) = message::ApicMessage::from_msi(address, data) {
            self.locals.deliver(message);
        }
    }
}

impl InterruptFabric {
    /// The state of all chips.
    pub fn save(&self) -> InterruptsStateV1 {
        let chips = self.chips();
        let Chips { pic, ioapic, wires, locals, holders: _ } = &*chips;
        InterruptsStateV1 {
            pic: pic.save(),
            ioapic: ioapic.save(),
            lapics: (0..locals.count()).map(|cpu| locals.with(cpu, |apic| apic.save())).collect(),
            wires: wires.clone().into(),
        }
    }
    /// Takes a saved state. Edge signals (NMI, SMI, INIT, SIPI) that wait at a vCPU are not part
    /// of it: the machine saves them with the vCPU.
    ///
    /// # Errors
    /// A chip refuses its part, or the number of vCPUs differs; nothing changes then.
    pub fn restore(&self, state: InterruptsStateV1) -> Result<(), RestoreError> {
        let InterruptsStateV1 { pic, ioapic, lapics, wires } = state;
        let wires = Wires::from(wires);
        let mut chips = self.chips();
        if lapics.len() != self.vcpus() {
            let value = lapics.len().to_string();
            return Err(RestoreError { part: "interrupt fabric", field: "lapics", value });
        }
        let (mut new_pic, mut new_ioapic) = (chips.pic.clone(), chips.ioapic.clone());
        new_pic.restore(pic)?;
        new_ioapic.restore(ioapic)?;
        let restored = |(cpu, state)| {
            let mut apic = self.locals.with(cpu, |apic| apic.clone());
            apic.restore(state).map(|()| apic)
        };
        let lapics = lapics.into_iter().enumerate().map(restored).collect::<Result<Vec<_>, _>>()?;
        if !wires.fit(&new_pic, &new_ioapic) {
            let value = format!("{wires:?}");
            return Err(RestoreError { part: "interrupt fabric", field: "wires", value });
        }
        self.locals.set_pic_output(wires.pic_output);
        for (cpu, restored) in lapics.into_iter().enumerate() {
            self.locals.drive(cpu, |apic| *apic = restored);
        }
        (chips.pic, chips.ioapic, chips.wires) = (new_pic, new_ioapic, wires);
        Ok(())
    }
}

/// The fabric as a device of the board. Its registers and timers are reached through [`InterruptFabric`] itself, which
/// has locks of its own.
pub struct FabricDevice(pub Arc<InterruptFabric>);

impl Device for FabricDevice {
    fn reset(&mut self, _now: GuestTime) {
        self.0.reset();
    }
    fn info(&self) -> String {
        format!("PIC pair, IOAPIC, {} local APICs", self.0.vcpus())
    }
    fn describe(&self, topic: &str) -> Option<String> {
        self.0.describe(topic)
    }
}

impl SaveState for FabricDevice {
    type State = InterruptsStateV1;
    fn save(&self) -> InterruptsStateV1 {
        self.0.save()
    }
    fn restore(&mut self, state: InterruptsStateV1) -> Result<(), RestoreError> {
        self.0.restore(state)
    }
}

#[cfg(test)]
mod tests;
