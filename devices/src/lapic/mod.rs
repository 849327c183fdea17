//! The local APIC of one vCPU.
//!
//! It collects interrupts for its CPU: messages from the IOAPIC and other local APICs, two
//! pins (LINT0, on which the PIC's INT arrives, and LINT1, NMI) and its own timer. It keeps
//! 256 request bits (IRR), 256 in-service bits (ISR) and a task priority (TPR); what has a
//! higher priority class than both the task and what is in service is delivered.
//!
//! Two ways lead to its registers: in xAPIC mode the page at IA32_APIC_BASE (FEE00000h), a
//! 32-bit register each 16 bytes; in x2APIC mode MSRs 800h to 8FFh, with 32-bit ids and a
//! 64-bit interrupt command. CR8 is the upper half of TPR.
//!
//! The timer counts a 1 GHz clock ([`trimotor_bus::board::APIC_TIMER_HZ`]) through its divider,
//! once or periodically, or compares the time-stamp counter with IA32_TSC_DEADLINE. The TSC is
//! derived from guest time by its frequency plus an offset for each CPU.
//!
//! After reset the bootstrap processor's LINT0 passes ExtINT and LINT1 passes NMI, which is the
//! state that the MultiProcessor Specification asks of a BIOS (virtual wire mode), so that
//! interrupts work without one.
//!
//! What differs between CPU models (x2APIC mode, the timer's TSC-deadline mode, the width of addresses) is
//! handed in as [`LapicModel`]. Left out: LVT CMCI (the version register counts LVT entries without it, and
//! IA32_MCG_CAP does not say CMCI_P) and suppression of EOI broadcasts (the version register does not offer
//! it); thermal and performance LVT entries keep what is written but nothing raises them.
//!
//! Source: SDM Vol. 3A, Advanced Programmable Interrupt Controller (APIC).

mod access;
mod describe;
mod interrupts;
mod msr;
pub mod registers;
mod timer;
mod vectors;

pub use interrupts::LineEffect;
pub use vectors::VectorSet;

use crate::interrupts::message::ApicMessage;
use crate::saved_state::saved_state;
use registers::{ApicBase, Lvt};
use timer::{TimerState, TimerStateV1};
use trimotor_bus::{GuestTime, PhysAddr, RestoreError, SaveState};

/// What a register access asks of the interrupt fabric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing beyond this local APIC.
    None,
    /// Send an interrupt.
    Send(ApicMessage),
    /// Broadcast the end of this level-triggered vector to the IOAPIC.
    EndOfInterrupt(u8),
}

/// What the CPU model says of its local APIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LapicModel {
    /// The frequency of the TSC in hertz.
    pub tsc_hz: u64,
    /// x2APIC mode: CPUID leaf 1, ECX bit 21.
    pub x2apic: bool,
    /// The timer's TSC-deadline mode: CPUID leaf 1, ECX bit 24.
    pub tsc_deadline: bool,
    /// MAXPHYADDR: CPUID leaf 80000008h, EAX bits 7 to 0; 12 to 52.
    pub phys_bits: u32,
}

impl LapicModel {
    /// One with everything.
    pub fn full(tsc_hz: u64) -> Self {
        Self { tsc_hz, x2apic: true, tsc_deadline: true, phys_bits: 52 }
    }
    /// The bits of IA32_APIC_BASE that are not reserved.
    fn base_bits(&self) -> u64 {
        let physical = u64::MAX >> (64 - self.phys_bits.clamp(12, 52));
        let mode = if self.x2apic { ApicBase::X2APIC } else { ApicBase::empty() };
        (ApicBase::BSP | ApicBase::ENABLE | mode).bits() | ApicBase::PAGE.bits() & physical
    }
}

/// Everything that a local APIC remembers.
#[derive(Clone, PartialEq, Eq, Debug)]
struct ApicState {
    base: u64,
    /// The id of xAPIC mode, as software may have written it.
    xapic_id: u8,
    tpr: u8,
    /// LDR of xAPIC mode.
    ldr: u32,
    dfr: u32,
    svr: u32,
    icr: u64,
    lvt: [u32; 6],
    /// Errors as the last write to ESR latched them.
    esr: u32,
    /// Errors since then.
    errors: u32,
    irr: VectorSet,
    isr: VectorSet,
    tmr: VectorSet,
    /// An ExtINT message arrived and the PIC still asks.
    external: bool,
    timer: TimerState,
}

saved_state! {
    /// The saved state of a local APIC.
    pub struct LapicStateV1 of ApicState {
        base: u64,
        xapic_id: u8,
        tpr: u8,
        ldr: u32,
        dfr: u32,
        svr: u32,
        icr: u64,
        lvt: [u32; 6],
        esr: u32,
        errors: u32,
        irr: VectorSet,
        isr: VectorSet,
        tmr: VectorSet,
        external: bool,
        timer: TimerStateV1,
    }
}

/// The model of a local APIC: no wires; what leaves it are return values.
#[derive(Clone, Debug)]
pub struct LocalApic {
    /// Index of the vCPU, which is the APIC id after reset and in x2APIC mode.
    id: u8,
    model: LapicModel,
    state: ApicState,
}

impl LocalApic {
    /// The local APIC of vCPU `id` at power-on; vCPU 0 is the bootstrap processor.
    pub fn new(id: u8, model: LapicModel) -> Self {
        let base = if id == 0 { ApicBase::RESET | ApicBase::BSP } else { ApicBase::RESET };
        let model = LapicModel { tsc_hz: model.tsc_hz.max(1), ..model };
        Self { id, model, state: reset_state(base.bits(), id) }
    }
    /// Back to power-on. The TSC offset returns to 0.
    pub fn reset(&mut self) {
        *self = Self::new(self.id, self.model);
    }
    /// INIT: all registers but IA32_APIC_BASE and the id return to their reset values.
    pub fn init(&mut self) {
        let xapic_id = self.state.xapic_id;
        self.lose_state();
        self.state.xapic_id = xapic_id;
    }
    /// Disabled by IA32_APIC_BASE, which itself stays: all registers return to their reset values. The TSC is
    /// the processor's.
    fn lose_state(&mut self) {
        let tsc_offset = self.state.timer.tsc_offset;
        self.state = reset_state(self.state.base, self.id);
        self.state.timer.tsc_offset = tsc_offset;
    }

    /// The APIC id that physical destinations name: in xAPIC mode the one that software may have written.
    pub fn id(&self) -> u8 {
        if self.x2apic() { self.id } else { self.state.xapic_id }
    }
    /// IA32_APIC_BASE.
    pub fn base(&self) -> u64 {
        self.state.base
    }
    /// The page of the registers, if they are in memory (xAPIC mode).
    pub fn page(&self) -> Option<PhysAddr> {
        let base = self.flags();
        (base.contains(ApicBase::ENABLE) && !base.contains(ApicBase::X2APIC))
            .then_some(PhysAddr(self.state.base & ApicBase::PAGE.bits()))
    }
    /// Whether IA32_APIC_BASE enables it.
    pub fn enabled(&self) -> bool {
        self.flags().contains(ApicBase::ENABLE)
    }
    /// Whether it is in x2APIC mode.
    pub fn x2apic(&self) -> bool {
        self.flags().contains(ApicBase::X2APIC)
    }
    /// Whether software enabled it in the spurious-interrupt vector register.
    pub fn software_enabled(&self) -> bool {
        self.state.svr & registers::SVR_ENABLE != 0
    }
    /// Whether this is the bootstrap processor's.
    pub fn is_bsp(&self) -> bool {
        self.flags().contains(ApicBase::BSP)
    }
    fn flags(&self) -> ApicBase {
        ApicBase::from_bits_retain(self.state.base)
    }
    fn lvt(&self, entry: registers::LvtEntry) -> Lvt {
        Lvt::from_bits_retain(self.state.lvt[entry as usize])
    }
    /// Lets time pass: the timer may expire. Returns whether a request was added.
    pub fn advance(&mut self, now: GuestTime) -> bool {
        let expired = self.expire_timer(now);
        if expired {
            let timer = self.lvt(registers::LvtEntry::Timer);
            if !timer.contains(Lvt::MASKED) && self.enabled() && self.software_enabled() {
                self.accept(timer.vector(), false);
            }
        }
        expired
    }
}

fn reset_state(base: u64, id: u8) -> ApicState {
    let mut lvt = [Lvt::MASKED.bits(); 6];
    if ApicBase::from_bits_retain(base).contains(ApicBase::BSP) {
        lvt[registers::LvtEntry::Lint0 as usize] = 0x700;
        lvt[registers::LvtEntry::Lint1 as usize] = 0x400;
    }
    ApicState {
        base,
        xapic_id: id,
        tpr: 0,
        ldr: 0,
        dfr: u32::MAX,
        svr: 0xFF,
        icr: 0,
        lvt,
        esr: 0,
        errors: 0,
        irr: VectorSet::EMPTY,
        isr: VectorSet::EMPTY,
        tmr: VectorSet::EMPTY,
        external: false,
        timer: TimerState::default(),
    }
}

impl SaveState for LocalApic {
    type State = LapicStateV1;
    fn save(&self) -> LapicStateV1 {
        let Self { id: _, model: _, state } = self;
        state.clone().into()
    }
    fn restore(&mut self, state: LapicStateV1) -> Result<(), RestoreError> {
        let state = ApicState::from(state);
        let refuse =
            |field, value: u64| RestoreError { part: "local APIC", field, value: format!("{value:#x}") };
        let base = ApicBase::from_bits_retain(state.base);
        if state.base & !self.model.base_bits() != 0
            || base.contains(ApicBase::X2APIC) && !base.contains(ApicBase::ENABLE)
        {
            return Err(refuse("base", state.base));
        }
        if let Some(lvt) = state.lvt.iter().find(|l| *l & !Lvt::all().bits() != 0) {
            return Err(refuse("lvt", u64::from(*lvt)));
        }
        if state.lvt[0] & Lvt::TSC_DEADLINE.bits() != 0 && !self.model.tsc_deadline {
            return Err(refuse("lvt", u64::from(state.lvt[0])));
        }
        for (field, value, possible) in [
            ("ldr", state.ldr, 0xFF00_0000),
            ("dfr", !state.dfr, 0xF000_0000),
            ("svr", state.svr, registers::SVR_WRITABLE),
            ("esr", state.esr | state.errors, registers::ERRORS),
            ("requests", (state.irr.register(0) | state.isr.register(0)) & 0xFFFF, 0),
        ] {
            if value & !possible != 0 {
                return Err(refuse(field, value.into()));
            }
        }
        state.timer.check()?;
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
