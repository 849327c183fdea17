//! Instructions of the x87 unit that are executed the whole way, with every effect that the architecture defines, on
//! any host.

use super::host::execute;
use super::status;
use crate::flags::ArithFlags;
use crate::state::{Fpr, X87State};

/// A memory operand, with room for the widest.
pub type Memory = [u8; 16];

/// What a store needs to be committed, once memory has taken the value.
pub enum Stored {
    /// The status word's new value.
    Fast(u16),
    /// The whole unit, popped already where the instruction pops, and whether the
    /// value is to be stored (an unmasked exception suppresses it).
    Whole(Box<X87State>, bool),
}

impl X87State {
    /// Any instruction whose operands are registers, the whole way.
    #[inline(never)]
    pub fn whole<const OPCODE: u16>(&mut self, i: u8) {
        execute::<OPCODE>(self, i, ArithFlags(0), &mut [0; 16]);
    }

    /// FLD m80.
    #[inline(always)]
    pub fn load_m80<const OPCODE: u16>(&mut self, value: &[u8; 10]) {
        let mut wide = [0; 16];
        wide[..10].copy_from_slice(value);
        if self.is_empty(7) {
            self.push_value(Fpr(wide));
        } else {
            execute::<OPCODE>(self, 1, ArithFlags(0), &mut wide);
        }
    }

    /// As `store`, the whole way.
    #[inline(never)]
    pub fn store_whole<const OPCODE: u16>(&self, into: &mut Memory) -> Stored {
        let mut copy = Box::new(*self);
        execute::<OPCODE>(&mut copy, 1, ArithFlags(0), into);
        let suppressing = status::EXCEPTIONS & !status::PE;
        // What waited before (and was ignored) suppresses nothing.
        let waited = self.status & !self.control;
        let stored = copy.status & !copy.control & !waited & suppressing == 0;
        Stored::Whole(copy, stored)
    }
}
