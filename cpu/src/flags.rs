//! RFLAGS, and the form in which engines keep the six arithmetic flags.
//!
//! The arithmetic flags live apart from the rest of RFLAGS, in the form that `LAHF` and
//! `SETO AL` leave in AX: two host instructions save them after any host operation, and
//! the translator and the interpreter share them without conversion. See
//! [`ArithFlags`].

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

bitflags! {
    /// RFLAGS (SDM Vol. 1, EFLAGS Register).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
    pub struct Rflags: u64 {
        /// Carry.
        const CF = 1 << 0;
        /// Always one.
        const FIXED = 1 << 1;
        /// Parity.
        const PF = 1 << 2;
        /// Auxiliary carry.
        const AF = 1 << 4;
        /// Zero.
        const ZF = 1 << 6;
        /// Sign.
        const SF = 1 << 7;
        /// Trap (single step).
        const TF = 1 << 8;
        /// Interrupt enable.
        const IF = 1 << 9;
        /// Direction.
        const DF = 1 << 10;
        /// Overflow.
        const OF = 1 << 11;
        /// I/O privilege level, low bit.
        const IOPL0 = 1 << 12;
        /// I/O privilege level, high bit.
        const IOPL1 = 1 << 13;
        /// Nested task.
        const NT = 1 << 14;
        /// Resume.
        const RF = 1 << 16;
        /// Virtual-8086 mode.
        const VM = 1 << 17;
        /// Alignment check, and access control for SMAP.
        const AC = 1 << 18;
        /// Virtual interrupt flag.
        const VIF = 1 << 19;
        /// Virtual interrupt pending.
        const VIP = 1 << 20;
        /// CPUID can be used.
        const ID = 1 << 21;
        /// The six arithmetic flags.
        const ARITH = 0x8D5;
        /// Both bits of the I/O privilege level.
        const IOPL = 3 << 12;
    }
}

/// The arithmetic flags as `LAHF; SETO AL` leaves them in AX: AH holds SF, ZF, AF, PF
/// and CF at their places in FLAGS, AL is OF as 0 or 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct ArithFlags(pub u16);

impl ArithFlags {
    /// Overflow.
    pub const OF: u16 = 1 << 0;
    /// Carry.
    pub const CF: u16 = 1 << 8;
    /// Parity.
    pub const PF: u16 = 1 << 10;
    /// Auxiliary carry.
    pub const AF: u16 = 1 << 12;
    /// Zero.
    pub const ZF: u16 = 1 << 14;
    /// Sign.
    pub const SF: u16 = 1 << 15;
    /// All six.
    pub const ALL: u16 = 0xD501;

    /// From RFLAGS; other bits do not matter.
    #[inline]
    pub const fn from_rflags(rflags: u64) -> Self {
        Self(((rflags as u16) << 8) & 0xD500 | (rflags >> 11) as u16 & 1)
    }
    /// To their places in RFLAGS; other bits are zero.
    #[inline]
    pub const fn to_rflags(self) -> u64 {
        (self.0 >> 8) as u64 & 0xD5 | (self.0 as u64 & 1) << 11
    }
    /// Carry, as 0 or 1.
    #[inline]
    pub const fn carry(self) -> u16 {
        self.0 >> 8 & 1
    }
    /// Whether condition code `cc` (0 to 15, as in Jcc's opcode) holds.
    #[inline]
    pub const fn condition(self, cc: u8) -> bool {
        let f = self.0;
        let less = (f >> 15 ^ f) & 1 != 0;
        let holds = match cc >> 1 {
            0 => f & Self::OF != 0,
            1 => f & Self::CF != 0,
            2 => f & Self::ZF != 0,
            3 => f & (Self::CF | Self::ZF) != 0,
            4 => f & Self::SF != 0,
            5 => f & Self::PF != 0,
            6 => less,
            _ => less || f & Self::ZF != 0,
        };
        holds != (cc & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_forms_convert_both_ways() {
        for bits in 0..64u64 {
            let places = [0, 2, 4, 6, 7, 11];
            let rflags: u64 = (0..6).map(|i| (bits >> i & 1) << places[i]).sum();
            assert_eq!(ArithFlags::from_rflags(rflags | 0x702).to_rflags(), rflags);
        }
    }

    #[test]
    fn conditions_are_those_of_jcc() {
        let zero = ArithFlags(ArithFlags::ZF);
        assert!(zero.condition(4) && !zero.condition(5) && zero.condition(6) && zero.condition(14));
        let less = ArithFlags(ArithFlags::SF);
        assert!(less.condition(12) && !less.condition(13) && less.condition(14) && !less.condition(15));
        let overflowed = ArithFlags(ArithFlags::SF | ArithFlags::OF);
        assert!(!overflowed.condition(12) && overflowed.condition(0));
    }
}
