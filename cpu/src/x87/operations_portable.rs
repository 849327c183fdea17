//! The operations of the x87 unit on its state, on hosts without such a unit: all of them are whole
//! instructions ([`execute`]), whatever is masked.
//!
//! The type parameters name the operation where an x86-64 host has a kernel for it; here const
//! parameter `OPCODE` tells all.

use super::control;
use super::host::execute;
use super::kernels::{Arithmetic, Kernel};
pub use super::whole::{Memory, Stored};
use crate::flags::ArithFlags;
use crate::state::X87State;

/// The form of a second operand in memory.
pub trait Operand {}

macro_rules! operand {
    ($($(#[$doc:meta])* $name:ident;)+) => { $(
        $(#[$doc])*
        pub struct $name;
        impl Operand for $name {}
    )+ };
}

operand! {
    /// Single precision.
    M32;
    /// Double precision.
    M64;
    /// Word integer.
    I16;
    /// Doubleword integer.
    I32;
}

impl X87State {
    fn on_memory<const OPCODE: u16>(&mut self, value: &mut Memory) {
        execute::<OPCODE>(self, 1, ArithFlags(0), value);
    }

    /// ST0 op memory.
    pub fn arithmetic_memory<A: Arithmetic, F: Operand, const OPCODE: u16>(&mut self, value: &mut Memory) {
        self.on_memory::<OPCODE>(value);
    }

    /// ST0 op ST(i), result in ST0.
    pub fn arithmetic_st0<A: Arithmetic, const OPCODE: u16>(&mut self, i: u8) {
        self.whole::<OPCODE>(i);
    }

    /// ST(i) op ST0, result in ST(i); then a pop if `POP`.
    pub fn arithmetic_sti<A: Arithmetic, const OPCODE: u16, const POP: bool>(&mut self, i: u8) {
        self.whole::<OPCODE>(i);
    }

    /// Compares ST0 with memory; then a pop if `POP`.
    pub fn compare_memory<A: Arithmetic, F: Operand, const OPCODE: u16, const POP: bool>(
        &mut self,
        value: &mut Memory,
    ) {
        self.on_memory::<OPCODE>(value);
    }

    /// Compares ST0 with ST(i); then `POPS` pops.
    pub fn compare_st<A: Arithmetic, const OPCODE: u16, const POPS: u8>(&mut self, i: u8) {
        self.whole::<OPCODE>(i);
    }

    /// FCOMI, FUCOMI; then a pop if `POP`. Takes and returns the arithmetic flags.
    pub fn compare_flags<const OPCODE: u16, const UNORDERED: bool, const POP: bool>(
        &mut self,
        i: u8,
        flags: ArithFlags,
    ) -> ArithFlags {
        execute::<OPCODE>(self, i, flags, &mut [0; 16])
    }

    /// An operation on ST0 alone; `TAKEN` are the condition codes that it defines.
    pub fn unary<K: Kernel, const OPCODE: u16, const TAKEN: u16>(&mut self) {
        self.whole::<OPCODE>(1);
    }

    /// An operation on ST0 and ST1, with its result in ST0.
    pub fn binary<K: Kernel, const OPCODE: u16, const TAKEN: u16>(&mut self) {
        self.whole::<OPCODE>(1);
    }

    /// An operation on ST0 and ST1 that leaves its result in ST1 and pops.
    pub fn binary_pop<K: Kernel, const OPCODE: u16>(&mut self) {
        self.whole::<OPCODE>(1);
    }

    /// Pushes what a load makes of `value`.
    pub fn load<K: Kernel, const OPCODE: u16>(&mut self, value: &mut Memory) {
        self.on_memory::<OPCODE>(value);
    }

    /// What a store of ST0 puts into memory, and what is to be committed afterwards.
    pub fn store<K: Kernel, const OPCODE: u16>(&self, into: &mut Memory) -> Stored {
        if self.control & control::MASKS != control::MASKS || self.is_empty(0) {
            return self.store_whole::<OPCODE>(into);
        }
        // Nothing is suppressed, and the caller pops.
        let mut copy = *self;
        copy.on_memory::<OPCODE>(into);
        Stored::Fast(copy.status)
    }
}
