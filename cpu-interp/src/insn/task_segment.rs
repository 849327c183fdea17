//! The task-state segments of the 80286 (44 bytes) and the 80386 (104 bytes).

use crate::core::Core;
use trimotor_cpu::{Fault, SegReg};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    Bits16,
    Bits32,
}

/// A TSS in memory.
#[derive(Clone, Copy)]
pub(crate) struct TaskSegment {
    pub(crate) base: u64,
    pub(crate) layout: Layout,
}

/// What a task's registers are loaded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct TaskImage {
    pub(crate) cr3: u64,
    pub(crate) eip: u64,
    pub(crate) flags: u64,
    /// In register-number order, AX first.
    pub(crate) registers: [u64; 8],
    /// In encoding order, ES first; a 16-bit TSS has no FS and GS (null).
    pub(crate) selectors: [u16; 6],
    pub(crate) ldt: u16,
    /// The T bit: a debug exception after the switch.
    pub(crate) debug_trap: bool,
}

/// Offsets of the 32-bit TSS.
mod at32 {
    pub(super) const CR3: u64 = 28;
    pub(super) const EIP: u64 = 32;
    pub(super) const EFLAGS: u64 = 36;
    pub(super) const EAX: u64 = 40;
    pub(super) const ES: u64 = 72;
    pub(super) const LDT: u64 = 96;
    pub(super) const TRAP: u64 = 100;
}

/// Offsets of the 16-bit TSS.
mod at16 {
    pub(super) const IP: u64 = 14;
    pub(super) const FLAGS: u64 = 16;
    pub(super) const AX: u64 = 18;
    pub(super) const ES: u64 = 34;
    pub(super) const LDT: u64 = 42;
}

impl TaskSegment {
    /// Reads a task's registers.
    ///
    /// # Faults
    /// #PF.
    pub(crate) fn read(&self, core: &mut Core) -> Result<TaskImage, Fault> {
        let mut image = TaskImage::default();
        let base = self.base;
        if self.layout == Layout::Bits32 {
            let mut dword = |at: u64| core.read_system::<u32>(base.wrapping_add(at));
            image.cr3 = dword(at32::CR3)? as u64;
            image.eip = dword(at32::EIP)? as u64;
            image.flags = dword(at32::EFLAGS)? as u64;
            for (i, r) in image.registers.iter_mut().enumerate() {
                *r = dword(at32::EAX + i as u64 * 4)? as u64;
            }
            for (i, s) in image.selectors.iter_mut().enumerate() {
                *s = dword(at32::ES + i as u64 * 4)? as u16;
            }
            image.ldt = dword(at32::LDT)? as u16;
            image.debug_trap = dword(at32::TRAP)? & 1 != 0;
            return Ok(image);
        }
        let mut word = |at: u64| core.read_system::<u16>(base.wrapping_add(at));
        image.eip = word(at16::IP)? as u64;
        image.flags = word(at16::FLAGS)? as u64;
        for (i, r) in image.registers.iter_mut().enumerate() {
            *r = word(at16::AX + i as u64 * 2)? as u64;
        }
        for (i, s) in image.selectors.iter_mut().take(4).enumerate() {
            *s = word(at16::ES + i as u64 * 2)?;
        }
        image.ldt = word(at16::LDT)?;
        Ok(image)
    }

    /// Saves the present registers, with `flags` and `rip`. All that is written is translated
    /// before the first byte changes.
    ///
    /// # Faults
    /// #PF.
    pub(crate) fn save(&self, core: &mut Core, flags: u64, rip: u64) -> Result<(), Fault> {
        let state = &core.state;
        let selectors = SegReg::ALL.map(|r| state.seg(r).selector);
        if self.layout == Layout::Bits32 {
            // EIP to GS, contiguous: one write, so that it happens as a whole or not at all.
            let mut bytes = [0u8; 64];
            let mut put = |at: u64, value: u32| {
                let from = (at - at32::EIP) as usize;
                bytes[from..from + 4].copy_from_slice(&value.to_le_bytes());
            };
            put(at32::EIP, rip as u32);
            put(at32::EFLAGS, flags as u32);
            for i in 0..8 {
                put(at32::EAX + i as u64 * 4, state.gpr(i) as u32);
            }
            for (i, s) in selectors.iter().enumerate() {
                put(at32::ES + i as u64 * 4, *s as u32);
            }
            return core.write_system::<[u8; 64]>(self.base.wrapping_add(at32::EIP), bytes);
        }
        let mut bytes = [0u8; 28];
        let mut put = |at: u64, value: u16| {
            let from = (at - at16::IP) as usize;
            bytes[from..from + 2].copy_from_slice(&value.to_le_bytes());
        };
        put(at16::IP, rip as u16);
        put(at16::FLAGS, flags as u16);
        for i in 0..8 {
            put(at16::AX + i as u64 * 2, state.gpr(i) as u16);
        }
        for (i, s) in selectors.iter().take(4).enumerate() {
            put(at16::ES + i as u64 * 2, *s);
        }
        core.write_system::<[u8; 28]>(self.base.wrapping_add(at16::IP), bytes)
    }
}
