//! Register reads and writes of the local APIC, common to page and MSRs.

use super::registers::*;
use super::{Effect, LocalApic};
use crate::interrupts::message::{ApicMessage, DeliveryMode, Destination};
use trimotor_bus::{GuestTime, Width};

impl LocalApic {
    /// Reads the page at `offset` (0 to FFFh). Registers are 32 bits on 16-byte boundaries; a
    /// narrower read takes its part.
    pub fn page_read(&mut self, offset: u64, width: Width, now: GuestTime) -> u64 {
        self.advance(now);
        let within = offset & 0xF;
        let value = if within < 4 { self.read_register((offset >> 4) as u8, now) } else { Some(0) };
        let value = value.unwrap_or_else(|| {
            self.error(ERROR_REGISTER);
            0
        });
        (u64::from(value) >> (8 * (within & 3))) & width.mask()
    }
    /// Writes the page at `offset`. Only aligned 32-bit writes have an effect (SDM Vol. 3A, Local
    /// APIC Register Address Map: others are undefined).
    pub fn page_write(&mut self, offset: u64, width: Width, value: u64, now: GuestTime) -> Effect {
        self.advance(now);
        if offset & 0xF != 0 || width.bytes() < 4 {
            return Effect::None;
        }
        let (register, value) = ((offset >> 4) as u8, value as u32);
        match register {
            ID | LDR | DFR | ICR_HIGH => self.write_xapic_register(register, value),
            _ => {
                if let Some(effect) = self.write_register(register, value, now) {
                    return effect;
                }
                self.error(ERROR_REGISTER);
            }
        }
        Effect::None
    }

    /// Registers that software can write in xAPIC mode only.
    fn write_xapic_register(&mut self, register: u8, value: u32) {
        match register {
            LDR => self.state.ldr = value & 0xFF00_0000,
            DFR => self.state.dfr = value | 0x0FFF_FFFF,
            ICR_HIGH => {
                self.state.icr = (self.state.icr & 0xFFFF_FFFF) | u64::from(value & 0xFF00_0000) << 32;
            }
            _ => self.state.xapic_id = (value >> 24) as u8,
        }
    }
    /// Reads a register by number; `None` where there is none.
    pub(super) fn read_register(&self, register: u8, now: GuestTime) -> Option<u32> {
        let s = &self.state;
        let x2apic = self.x2apic();
        Some(match register {
            ID if x2apic => u32::from(self.id),
            ID => u32::from(s.xapic_id) << 24,
            VERSION => VERSION_VALUE,
            TPR => u32::from(s.tpr),
            APR | RRD if !x2apic => 0,
            PPR => u32::from(self.ppr()),
            EOI if !x2apic => 0,
            LDR if x2apic => self.x2apic_ldr(),
            LDR => s.ldr,
            DFR if !x2apic => s.dfr,
            SVR => s.svr,
            ISR..TMR => s.isr.register(register - ISR),
            TMR..IRR => s.tmr.register(register - TMR),
            IRR..ESR => s.irr.register(register - IRR),
            ESR => s.esr,
            ICR_LOW => s.icr as u32,
            ICR_HIGH if !x2apic => (s.icr >> 32) as u32,
            LVT_TIMER..=LVT_ERROR => s.lvt[usize::from(register - LVT_TIMER)],
            INITIAL_COUNT => s.timer.initial,
            CURRENT_COUNT => self.current_count(now),
            DIVIDE => u32::from(s.timer.divide),
            _ => return None,
        })
    }
    /// Writes a register by number, as both modes have it; `None` where there is none to write.
    pub(super) fn write_register(&mut self, register: u8, value: u32, now: GuestTime) -> Option<Effect> {
        match register {
            TPR => self.state.tpr = value as u8,
            EOI => return Some(self.end_of_interrupt().map_or(Effect::None, Effect::EndOfInterrupt)),
            SVR => self.set_spurious(value),
            ESR => self.state.esr = std::mem::take(&mut self.state.errors),
            ICR_LOW => {
                self.state.icr = (self.state.icr & !0xFFFF_FFFF) | u64::from(value & ICR_WRITABLE);
                return Some(self.send_command());
            }
            LVT_TIMER..=LVT_ERROR => self.write_lvt(LvtEntry::of_register(register)?, value),
            INITIAL_COUNT => self.set_initial_count(value, now),
            DIVIDE => self.set_divide(value, now),
            _ => return None,
        }
        Some(Effect::None)
    }
    /// The bits of an LVT entry that software can write on this model.
    pub(super) fn lvt_writable(&self, entry: LvtEntry) -> u32 {
        let absent = if self.model.tsc_deadline { Lvt::empty() } else { Lvt::TSC_DEADLINE };
        (Lvt::writable(entry) - absent).bits()
    }
    fn write_lvt(&mut self, entry: LvtEntry, value: u32) {
        let old = self.lvt(entry);
        let writable = self.lvt_writable(entry);
        let mut new = (old.bits() & !writable) | (value & writable);
        if !self.software_enabled() {
            new |= Lvt::MASKED.bits();
        }
        self.state.lvt[entry as usize] = new;
        if entry == LvtEntry::Timer {
            self.timer_mode_changed(old);
        }
    }
    /// Sends what the interrupt command register says.
    pub(super) fn send_command(&mut self) -> Effect {
        let icr = self.state.icr;
        let low = icr as u32;
        let logical = low & 1 << 11 != 0;
        let level = low & 1 << 15 != 0;
        let asserted = low & 1 << 14 != 0;
        let vector = low as u8;
        let Some(mode) = DeliveryMode::from_bits(low >> 8) else { return Effect::None };
        // The INIT level de-assert only synchronises arbitration ids, which newer parts lack.
        if mode == DeliveryMode::Init && level && !asserted || mode == DeliveryMode::ExtInt {
            return Effect::None;
        }
        let shorthand = low >> 18 & 3;
        // To the sender itself, alone or among all, goes nothing but fixed interrupts (SDM Vol. 3A, Valid
        // Combinations for the Pentium 4 and Intel Xeon Processors' Local xAPIC Interrupt Command Register).
        // The error status register has no bit for the others.
        if matches!(shorthand, SHORTHAND_SELF | SHORTHAND_ALL) && mode != DeliveryMode::Fixed {
            return Effect::None;
        }
        if vector < 16 && matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority) {
            self.error(ERROR_SENT_VECTOR);
            return Effect::None;
        }
        let index = usize::from(self.id);
        let destination = match shorthand {
            SHORTHAND_SELF => Destination::Only(index),
            SHORTHAND_ALL => Destination::All,
            SHORTHAND_ALL_BUT_SELF => Destination::AllBut(index),
            _ if self.x2apic() => Destination::from_32_bits((icr >> 32) as u32, logical),
            _ => Destination::from_8_bits((icr >> 56) as u8, logical),
        };
        // A level-triggered command is sent as an edge, as the same table says.
        Effect::Send(ApicMessage { destination, mode, vector, level: false })
    }
}

/// Destination shorthands of the ICR.
const SHORTHAND_SELF: u32 = 1;
const SHORTHAND_ALL: u32 = 2;
const SHORTHAND_ALL_BUT_SELF: u32 = 3;
/// ICR bits 31 to 0 that software can write.
const ICR_WRITABLE: u32 = 0x000C_CFFF;
