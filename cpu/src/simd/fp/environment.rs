//! MXCSR: the host's register, or on hosts without one a word of the thread's own.
//!
//! The operations of this module round as it says and leave their exception flags in it. Who
//! runs a guest loads the guest's control bits with [`load_mxcsr`] and reads the flags with
//! [`read_mxcsr`], all exceptions being masked; on an x86-64 host both are one instruction.

#[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
pub use by_thread::{load_mxcsr, read_mxcsr, with};
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
pub use host::{load_mxcsr, read_mxcsr};

use crate::softfloat::{Rounding, flag};

/// MXCSR as Rust and the host's C library expect it: all masked, round to nearest, no flags.
pub const MXCSR_DEFAULT: u32 = 0x1F80;

/// Bits that software may set; others raise #GP(0) in LDMXCSR, FXRSTOR and XRSTOR.
pub const MXCSR_MASK: u32 = 0xFFFF;

/// Denormals are zeros.
const DAZ: u32 = 1 << 6;
/// Flush to zero.
const FTZ: u32 = 1 << 15;
/// The exception flags.
const FLAGS: u32 = 0x3F;

/// The floating-point environment of a portable operation: MXCSR.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    mxcsr: u32,
}

impl Environment {
    /// With this MXCSR, whose exceptions are taken for masked.
    pub fn new(mxcsr: u32) -> Environment {
        Environment { mxcsr }
    }
    /// MXCSR as it is now.
    pub fn mxcsr(&self) -> u32 {
        self.mxcsr
    }
    /// Rounding control.
    pub fn rounding(&self) -> Rounding {
        Rounding::from_bits(self.mxcsr >> 13)
    }
    /// Whether denormal operands are taken for zeros.
    pub fn daz(&self) -> bool {
        self.mxcsr & DAZ != 0
    }
    /// Whether tiny results become zeros.
    pub fn ftz(&self) -> bool {
        self.mxcsr & FTZ != 0
    }
    /// Whether the precision flag is set already.
    pub fn is_inexact(&self) -> bool {
        self.mxcsr & flag::INEXACT != 0
    }
    /// Sets exception flags (see [`crate::softfloat::flag`]).
    pub fn raise(&mut self, flags: u32) {
        self.mxcsr |= flags & FLAGS;
    }
}

#[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
mod by_thread {
    use super::{Environment, MXCSR_DEFAULT};
    use std::cell::Cell;

    thread_local! {
        /// What stands for the host's MXCSR.
        static MXCSR: Cell<u32> = const { Cell::new(MXCSR_DEFAULT) };
    }

    /// MXCSR of this thread.
    #[inline]
    pub fn read_mxcsr() -> u32 {
        MXCSR.get()
    }
    /// Gives this thread an MXCSR; exceptions are masked in it.
    #[inline]
    pub fn load_mxcsr(value: u32) {
        MXCSR.set(value);
    }
    /// Computes under this thread's MXCSR.
    #[inline]
    pub fn with<R>(compute: impl FnOnce(&mut Environment) -> R) -> R {
        let mut environment = Environment::new(MXCSR.get());
        let result = compute(&mut environment);
        MXCSR.set(environment.mxcsr());
        result
    }
}

#[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
#[cfg_attr(feature = "portable", allow(dead_code, reason = "the host's register is not used"))]
pub(super) mod host {
    use super::MXCSR_DEFAULT;

    /// The host's MXCSR.
    #[inline(always)]
    pub fn read_mxcsr() -> u32 {
        let mut value = MXCSR_DEFAULT;
        // SAFETY: STMXCSR writes four bytes to the place it is given.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }
    /// Loads the host's MXCSR. Exceptions must be masked in `value`, no reserved bit set, and the default
    /// must come back before Rust code computes with floating-point numbers.
    #[inline(always)]
    pub fn load_mxcsr(value: u32) {
        // SAFETY: LDMXCSR reads four bytes from the place it is given; the rest is the caller's promise.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags))
        };
    }
}
