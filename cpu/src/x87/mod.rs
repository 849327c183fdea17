//! The x87 unit: eight 80-bit registers used as a stack, a control word that masks
//! exceptions and sets rounding and precision, a status word that collects what happened.
//!
//! Everything here works on [`X87State`] alone: no memory, no RIP. Results, NaN payloads,
//! exception flags and C1 are those of the host's own x87, which executes each
//! operation on operands that are loaded for it ([`host`]):
//!
//! * With all exceptions masked and no empty register involved, which is nearly always, a
//!   *kernel* loads the operands, executes the one instruction, takes the status word and
//!   stores the result ([`kernels`], [`operations`]).
//! * Otherwise the *whole* instruction runs on a copy of the guest's unit, control word and
//!   all, between FRSTOR and FNSAVE ([`host::execute`]): stack faults, suppressed results and
//!   biased exponents then come out as the hardware makes them.
//!
//! An unmasked exception leaves [`status::ES`] set; it is reported (#MF) by the next
//! waiting x87 or MMX instruction, which [`X87State::pending`] tells.
//!
//! A host without such a unit does all of them the second way, in integers (`soft`); the tests hold
//! that against the host's unit.
//!
//! The host's unit is left as the ABI has it (empty stack, control word 37Fh); its sticky
//! flags are nobody's and may be stale, see [`operations`].
//!
//! Source: SDM Vol. 1, Programming with the x87 FPU.

#[cfg(all(test, target_arch = "x86_64"))]
mod against_host;
pub mod environment;
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
pub mod kernels;
#[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
#[path = "kernels_portable.rs"]
pub mod kernels;
#[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
mod native;
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
pub mod operations;
#[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
#[path = "operations_portable.rs"]
pub mod operations;
#[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
mod soft;
#[cfg(test)]
mod tests;
mod whole;

/// Whole instructions: on the host's unit, or in integers where it has none.
pub mod host {
    #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
    pub use super::native::execute;
    #[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
    pub use super::soft::execute;
}

use crate::state::{Fpr, X87State};

/// Bits of the status word.
pub mod status {
    /// Invalid operation.
    pub const IE: u16 = 1 << 0;
    /// Denormal operand.
    pub const DE: u16 = 1 << 1;
    /// Zero divide.
    pub const ZE: u16 = 1 << 2;
    /// Overflow.
    pub const OE: u16 = 1 << 3;
    /// Underflow.
    pub const UE: u16 = 1 << 4;
    /// Precision (inexact result).
    pub const PE: u16 = 1 << 5;
    /// The six exceptions.
    pub const EXCEPTIONS: u16 = 0x3F;
    /// Stack fault.
    pub const SF: u16 = 1 << 6;
    /// Exception summary: an unmasked exception waits.
    pub const ES: u16 = 1 << 7;
    /// Condition code 0.
    pub const C0: u16 = 1 << 8;
    /// Condition code 1: rounded up, or the direction of a stack fault.
    pub const C1: u16 = 1 << 9;
    /// Condition code 2.
    pub const C2: u16 = 1 << 10;
    /// Condition code 3.
    pub const C3: u16 = 1 << 14;
    /// The four condition codes.
    pub const CC: u16 = C0 | C1 | C2 | C3;
    /// TOP.
    pub const TOP: u16 = 7 << 11;
    /// Busy: the same as ES since the 80387.
    pub const B: u16 = 1 << 15;
}

/// Bits of the control word.
pub mod control {
    /// Exception masks, at the places of the flags in the status word.
    pub const MASKS: u16 = 0x3F;
    /// Precision and rounding control.
    pub const MODES: u16 = 0xF00;
    /// Bits that can be written; bit 12 (infinity control) has no effect.
    pub const WRITABLE: u16 = 0x1F3F;
    /// Bit 6 always reads as one.
    pub const FIXED: u16 = 0x40;
    /// What FNINIT loads: all masked, 64-bit precision, round to nearest.
    pub const INIT: u16 = 0x37F;
}

/// The real indefinite: the quiet NaN that masked invalid operations give.
pub const INDEFINITE: Fpr = Fpr([0, 0, 0, 0, 0, 0, 0, 0xC0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0]);

impl X87State {
    /// The physical number of ST(`i`).
    #[inline]
    pub fn physical(&self, i: u8) -> usize {
        (self.top.wrapping_add(i) & 7) as usize
    }
    /// ST(`i`), empty or not.
    #[inline]
    pub fn st(&self, i: u8) -> &Fpr {
        &self.regs[self.physical(i)]
    }
    /// Whether ST(`i`) is empty.
    #[inline]
    pub fn is_empty(&self, i: u8) -> bool {
        self.empty >> self.physical(i) & 1 != 0
    }
    /// Whether an unmasked exception waits to be reported as #MF.
    #[inline]
    pub fn pending(&self) -> bool {
        self.status & status::ES != 0
    }
    /// The status word with TOP.
    #[inline]
    pub fn status_word(&self) -> u16 {
        self.status | (self.top as u16 & 7) << 11
    }
    /// Loads the status word with TOP; ES and B follow from flags and masks.
    pub fn set_status_word(&mut self, word: u16) {
        self.status = word & !(status::TOP | status::ES | status::B);
        self.top = (word >> 11 & 7) as u8;
        self.refresh_summary();
    }
    /// Loads the control word, as FLDCW does.
    #[inline]
    pub fn set_control(&mut self, word: u16) {
        self.control = word & control::WRITABLE | control::FIXED;
        self.refresh_summary();
    }
    /// Makes ES and B follow from flags and masks.
    #[inline]
    pub fn refresh_summary(&mut self) {
        let waits = self.status & !self.control & status::EXCEPTIONS != 0;
        self.status &= !(status::ES | status::B);
        if waits {
            self.status |= status::ES | status::B;
        }
    }
    /// FNCLEX: clears the exception flags, SF, ES and B.
    pub fn clear_exceptions(&mut self) {
        self.status &= status::CC;
    }
    /// FNINIT: everything but the contents of the registers.
    pub fn init(&mut self) {
        *self = X87State { regs: self.regs, ..X87State::INIT };
    }
    /// FDECSTP (`by` = 7), FINCSTP (`by` = 1).
    #[inline]
    pub fn rotate(&mut self, by: u8) {
        self.top = self.top.wrapping_add(by) & 7;
        self.status &= !status::C1;
    }
    /// Empties ST0 and raises TOP, without any check.
    #[inline]
    pub fn drop_top(&mut self) {
        self.empty |= 1 << (self.top & 7);
        self.top = self.top.wrapping_add(1) & 7;
    }
    /// Marks ST(`i`) empty (FFREE).
    #[inline]
    pub fn free(&mut self, i: u8) {
        self.status &= !status::C1;
        self.empty |= 1 << self.physical(i);
    }
    /// Lowers TOP and puts `value` there, without any check; clears C1.
    #[inline]
    pub fn push_value(&mut self, value: Fpr) {
        self.top = self.top.wrapping_sub(1) & 7;
        let r = self.physical(0);
        self.regs[r] = value;
        self.empty &= !(1 << r);
        self.status &= !status::C1;
    }

    /// What every MMX instruction but EMMS does besides its work: TOP becomes 0 and all
    /// registers valid (SDM Vol. 1, Effect of MMX Instructions on the x87 FPU Tag Word).
    #[inline]
    pub fn enter_mmx(&mut self) {
        self.top = 0;
        self.empty = 0;
    }
    /// The contents of MMX register `n`.
    #[inline]
    pub fn mmx(&self, n: u8) -> u64 {
        let r = &self.regs[(n & 7) as usize].0;
        u64::from_le_bytes([r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]])
    }
    /// Writes MMX register `n`; sign and exponent become all ones.
    #[inline]
    pub fn set_mmx(&mut self, n: u8, value: u64) {
        self.regs[(n & 7) as usize] = Fpr((0xFFFF_u128 << 64 | value as u128).to_le_bytes());
    }
    /// EMMS: all registers are empty.
    #[inline]
    pub fn leave_mmx(&mut self) {
        self.top = 0;
        self.empty = 0xFF;
    }

    /// The 16-bit tag word: 0 valid, 1 zero, 2 special, 3 empty, two bits a register by
    /// physical number.
    pub fn tag_word(&self) -> u16 {
        let mut word = 0;
        for (n, r) in self.regs.iter().enumerate() {
            let tag = if self.empty >> n & 1 != 0 { 3 } else { tag_of(r) };
            word |= tag << (2 * n);
        }
        word
    }
    /// Loads the 16-bit tag word; of what it says, only "empty" is kept.
    pub fn set_tag_word(&mut self, word: u16) {
        self.empty = (0..8).map(|n| ((word >> (2 * n) & 3 == 3) as u8) << n).sum();
    }
}

/// The tag of a register that is not empty.
fn tag_of(r: &Fpr) -> u16 {
    let value = u128::from_le_bytes(r.0);
    let exponent = (value >> 64) as u16 & 0x7FFF;
    let significand = value as u64;
    match exponent {
        0 if significand == 0 => 1,
        0 | 0x7FFF => 2,
        _ if significand >> 63 == 0 => 2,
        _ => 0,
    }
}

/// The constants of FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ, in the order of their
/// opcodes (D9 E8 to D9 EE): significand, exponent with sign, and what rounding makes of the
/// last bit (the ROM holds more bits than the register).
///
/// The second column of the pair is the value where it is rounded up: `(down, up, nearest_is_up)`.
const CONSTANTS: [(u64, u16, bool, bool); 7] = [
    (0x8000_0000_0000_0000, 0x3FFF, false, false),
    (0xD49A_784B_CD1B_8AFE, 0x4000, true, false),
    (0xB8AA_3B29_5C17_F0BB, 0x3FFF, true, true),
    (0xC90F_DAA2_2168_C234, 0x4000, true, true),
    (0x9A20_9A84_FBCF_F798, 0x3FFD, true, true),
    (0xB172_17F7_D1CF_79AB, 0x3FFE, true, true),
    (0, 0, false, false),
];

/// Constant number `n` (0 to 6) as rounding control makes it.
pub fn constant(n: usize, control: u16) -> Fpr {
    let (truncated, exponent, inexact, nearest_is_up) = CONSTANTS[n];
    let up = match control >> 10 & 3 {
        0 => nearest_is_up,
        2 => inexact,
        _ => false,
    };
    Fpr(((exponent as u128) << 64 | (truncated + up as u64) as u128).to_le_bytes())
}
