//! The local APIC's MSRs: IA32_APIC_BASE, IA32_TSC_DEADLINE and those of x2APIC mode.

use super::registers::*;
use super::{Effect, LocalApic};
use trimotor_bus::GuestTime;
use trimotor_bus::cpu_bus::NoSuchMsr;

impl LocalApic {
    /// Reads an MSR.
    ///
    /// # Errors
    /// The MSR does not exist in this mode: #GP(0).
    pub fn msr_read(&mut self, index: u32, now: GuestTime) -> Result<u64, NoSuchMsr> {
        self.advance(now);
        match index {
            MSR_APIC_BASE => Ok(self.state.base),
            MSR_TSC_DEADLINE => Ok(self.deadline()),
            _ => {
                let register = self.x2apic_register(index)?;
                match register {
                    EOI | SELF_IPI => Err(NoSuchMsr),
                    ICR_LOW => Ok(self.state.icr),
                    _ => self.read_register(register, now).map(u64::from).ok_or(NoSuchMsr),
                }
            }
        }
    }
    /// Writes an MSR.
    ///
    /// # Errors
    /// The MSR does not exist in this mode, is read-only, or a reserved bit is set: #GP(0).
    pub fn msr_write(&mut self, index: u32, value: u64, now: GuestTime) -> Result<Effect, NoSuchMsr> {
        self.advance(now);
        match index {
            MSR_APIC_BASE => self.set_base(value).map(|()| Effect::None),
            MSR_TSC_DEADLINE => {
                self.set_deadline(value, now);
                self.advance(now);
                Ok(Effect::None)
            }
            _ => {
                let register = self.x2apic_register(index)?;
                self.write_x2apic(register, value, now)
            }
        }
    }
    fn x2apic_register(&self, index: u32) -> Result<u8, NoSuchMsr> {
        match index.checked_sub(MSR_X2APIC) {
            Some(register @ 0..=0xFF) if self.x2apic() => Ok(register as u8),
            _ => Err(NoSuchMsr),
        }
    }
    fn write_x2apic(&mut self, register: u8, value: u64, now: GuestTime) -> Result<Effect, NoSuchMsr> {
        if register == ICR_LOW {
            const RESERVED: u64 = 0xFFF3_2000;
            if value & RESERVED != 0 {
                return Err(NoSuchMsr);
            }
            self.state.icr = value;
            return Ok(self.send_command());
        }
        let allowed = match register {
            TPR | SELF_IPI => 0xFF,
            EOI | ESR => 0,
            SVR => u64::from(SVR_WRITABLE),
            DIVIDE => 0xB,
            INITIAL_COUNT => 0xFFFF_FFFF,
            _ => {
                let entry = LvtEntry::of_register(register).ok_or(NoSuchMsr)?;
                u64::from(self.lvt_writable(entry) | (Lvt::DELIVERY_STATUS | Lvt::REMOTE_IRR).bits())
            }
        };
        if value & !allowed != 0 {
            return Err(NoSuchMsr);
        }
        if register == SELF_IPI {
            self.state.icr = 1 << 18 | value;
            return Ok(self.send_command());
        }
        self.write_register(register, value as u32, now).ok_or(NoSuchMsr)
    }
    /// A write to IA32_APIC_BASE (SDM Vol. 3A, x2APIC State Transitions).
    fn set_base(&mut self, value: u64) -> Result<(), NoSuchMsr> {
        let old = self.flags();
        if value & !self.model.base_bits() != 0 {
            return Err(NoSuchMsr);
        }
        let new = ApicBase::from_bits_retain(value);
        let (was_x2, is_x2) = (old.contains(ApicBase::X2APIC), new.contains(ApicBase::X2APIC));
        let (was_on, is_on) = (old.contains(ApicBase::ENABLE), new.contains(ApicBase::ENABLE));
        // x2APIC mode is entered from xAPIC mode, and left for the disabled state only.
        let illegal = if is_x2 { !is_on || !was_on } else { was_x2 && is_on };
        if illegal {
            return Err(NoSuchMsr);
        }
        if was_on && !is_on {
            self.lose_state();
        }
        if is_x2 && !was_x2 {
            // ICR's upper half changes its meaning.
            self.state.icr &= 0xFFFF_FFFF;
        }
        // The BSP flag is the hardware's.
        self.state.base = (new - ApicBase::BSP).bits() | (old & ApicBase::BSP).bits();
        Ok(())
    }
}
