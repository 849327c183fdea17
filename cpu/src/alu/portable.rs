//! Each operation as the manual describes it, for hosts with another instruction set.
//!
//! Flags that the manual leaves undefined are those of AMD's Zen: AF is clear after a logical operation and set
//! after a shift, OF of a shift by more than one is that of its last step.
//!
//! Source: SDM Vol. 2, the instructions by name.

use super::product_flags;
#[cfg(any(feature = "portable", not(target_arch = "x86_64")))]
use super::{Alu, WideAlu};
use crate::flags::ArithFlags;

/// An operand: its size, and its way to and from 64 bits.
pub(super) trait Word: Copy + Eq {
    /// Its size in bits.
    const BITS: u32;
    /// With zeros above.
    fn wide(self) -> u64;
    /// The low bits of a value.
    fn low(value: u64) -> Self;
}
macro_rules! word {
    ($($t:ty),*) => {$(
        impl Word for $t {
            const BITS: u32 = <$t>::BITS;
            fn wide(self) -> u64 {
                self as u64
            }
            fn low(value: u64) -> Self {
                value as $t
            }
        }
    )*};
}
word!(u8, u16, u32, u64);

/// The bit at `position`, counted from the least significant one.
fn bit(value: u64, position: u32) -> bool {
    value >> position & 1 != 0
}

fn sign<T: Word>(value: T) -> bool {
    bit(value.wide(), T::BITS - 1)
}

/// A value with its sign in all bits above.
fn extended<T: Word>(value: T) -> i64 {
    let unused = 64 - T::BITS;
    (value.wide() << unused) as i64 >> unused
}

/// SF, ZF and PF of a result, with the CF, AF and OF given.
fn flags<T: Word>(result: T, carry: bool, auxiliary: bool, overflow: bool) -> ArithFlags {
    let parity = (result.wide() as u8).count_ones().is_multiple_of(2);
    let all = [
        (ArithFlags::SF, sign(result)),
        (ArithFlags::ZF, result.wide() == 0),
        (ArithFlags::PF, parity),
        (ArithFlags::CF, carry),
        (ArithFlags::AF, auxiliary),
        (ArithFlags::OF, overflow),
    ];
    ArithFlags(all.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag).sum())
}

/// `f` with CF and OF replaced.
fn with_carry_and_overflow(f: ArithFlags, carry: bool, overflow: bool) -> ArithFlags {
    let carry = if carry { ArithFlags::CF } else { 0 };
    let overflow = if overflow { ArithFlags::OF } else { 0 };
    ArithFlags(f.0 & !(ArithFlags::CF | ArithFlags::OF) | carry | overflow)
}

/// `f` for the CF of `after`.
fn with_carry_of(after: ArithFlags, f: ArithFlags) -> ArithFlags {
    ArithFlags(after.0 & !ArithFlags::CF | f.0 & ArithFlags::CF)
}

/// ADD, ADC.
pub(super) fn add<T: Word>(a: T, b: T, carry: u16) -> (T, ArithFlags) {
    let (x, y) = (a.wide(), b.wide());
    let sum = u128::from(x) + u128::from(y) + u128::from(carry);
    let result = T::low(sum as u64);
    // The carry into each bit; the one out of the highest is OF's other half.
    let carries = x ^ y ^ result.wide();
    let overflow = sign(T::low((x ^ result.wide()) & (y ^ result.wide())));
    (result, flags(result, sum >> T::BITS & 1 != 0, bit(carries, 4), overflow))
}

/// SUB, CMP, SBB.
pub(super) fn sub<T: Word>(a: T, b: T, borrow: u16) -> (T, ArithFlags) {
    let (x, y) = (a.wide(), b.wide());
    let result = T::low(x.wrapping_sub(y).wrapping_sub(u64::from(borrow)));
    let borrows = x ^ y ^ result.wide();
    let overflow = sign(T::low((x ^ y) & (x ^ result.wide())));
    let below = u128::from(x) < u128::from(y) + u128::from(borrow);
    (result, flags(result, below, bit(borrows, 4), overflow))
}

/// AND, TEST, OR, XOR, of which `result` came.
pub(super) fn logical<T: Word>(result: u64) -> (T, ArithFlags) {
    let result = T::low(result);
    (result, flags(result, false, false, false))
}

/// INC.
pub(super) fn inc<T: Word>(a: T, f: ArithFlags) -> (T, ArithFlags) {
    let (result, after) = add(a, T::low(1), 0);
    (result, with_carry_of(after, f))
}

/// DEC.
pub(super) fn dec<T: Word>(a: T, f: ArithFlags) -> (T, ArithFlags) {
    let (result, after) = sub(a, T::low(1), 0);
    (result, with_carry_of(after, f))
}

/// What is left of a count in CL: six bits of it with 64-bit operands, else five.
fn masked<T: Word>(count: u8) -> u32 {
    u32::from(count) & if T::BITS == 64 { 63 } else { 31 }
}

/// SHL.
pub(super) fn shl<T: Word>(a: T, count: u8, f: ArithFlags) -> (T, ArithFlags) {
    let count = masked::<T>(count);
    if count == 0 {
        return (a, f);
    }
    let wide = u128::from(a.wide()) << count;
    let result = T::low(wide as u64);
    let carry = wide >> T::BITS & 1 != 0;
    (result, flags(result, carry, true, carry != sign(result)))
}

/// SHR.
pub(super) fn shr<T: Word>(a: T, count: u8, f: ArithFlags) -> (T, ArithFlags) {
    let count = masked::<T>(count);
    if count == 0 {
        return (a, f);
    }
    let last = a.wide() >> (count - 1);
    let result = T::low(last >> 1);
    (result, flags(result, bit(last, 0), true, sign(T::low(last))))
}

/// SAR.
pub(super) fn sar<T: Word>(a: T, count: u8, f: ArithFlags) -> (T, ArithFlags) {
    let count = masked::<T>(count);
    if count == 0 {
        return (a, f);
    }
    let last = extended(a) >> (count - 1);
    let result = T::low((last >> 1) as u64);
    (result, flags(result, bit(last as u64, 0), true, false))
}

/// ROL: CF is the bit that arrives at the low end.
pub(super) fn rol<T: Word>(a: T, count: u8, f: ArithFlags) -> (T, ArithFlags) {
    let count = masked::<T>(count);
    if count == 0 {
        return (a, f);
    }
    let by = count % T::BITS;
    let twice = u128::from(a.wide()) << T::BITS | u128::from(a.wide());
    let result = T::low((twice << by >> T::BITS) as u64);
    let carry = bit(result.wide(), 0);
    (result, with_carry_and_overflow(f, carry, carry != sign(result)))
}

/// ROR: CF is the bit that arrives at the high end.
pub(super) fn ror<T: Word>(a: T, count: u8, f: ArithFlags) -> (T, ArithFlags) {
    let count = masked::<T>(count);
    if count == 0 {
        return (a, f);
    }
    let by = count % T::BITS;
    let twice = u128::from(a.wide()) << T::BITS | u128::from(a.wide());
    let result = T::low((twice >> by) as u64);
    let overflow = sign(result) != bit(result.wide(), T::BITS - 2);
    (result, with_carry_and_overflow(f, sign(result), overflow))
}

/// The operand with CF above it rotates to the left: RCL, and RCR as the way around.
fn rotate_with_carry<T: Word>(a: T, by: u32, f: ArithFlags) -> (T, bool) {
    let bits = T::BITS + 1;
    let joined = u128::from(f.carry()) << T::BITS | u128::from(a.wide());
    let rotated = if by == 0 { joined } else { joined << by | joined >> (bits - by) };
    (T::low(rotated as u64), rotated >> T::BITS & 1 != 0)
}

/// RCL.
pub(super) fn rcl<T: Word>(a: T, count: u8, f: ArithFlags) -> (T, ArithFlags) {
    let count = masked::<T>(count);
    if count == 0 {
        return (a, f);
    }
    let (result, carry) = rotate_with_carry(a, count % (T::BITS + 1), f);
    (result, with_carry_and_overflow(f, carry, carry != sign(result)))
}

/// RCR.
pub(super) fn rcr<T: Word>(a: T, count: u8, f: ArithFlags) -> (T, ArithFlags) {
    let count = masked::<T>(count);
    if count == 0 {
        return (a, f);
    }
    let bits = T::BITS + 1;
    let (result, carry) = rotate_with_carry(a, (bits - count % bits) % bits, f);
    let overflow = sign(result) != bit(result.wide(), T::BITS - 2);
    (result, with_carry_and_overflow(f, carry, overflow))
}

/// IMUL with two operands.
pub(super) fn imul<T: Word>(a: T, b: T) -> (T, ArithFlags) {
    let product = i128::from(extended(a)) * i128::from(extended(b));
    let result = T::low(product as u64);
    (result, product_flags(i128::from(extended(result)) != product))
}

/// SHLD. 16-bit operands shifted by more than 16 take what follows from the first operand again, as
/// processors do where the manual leaves the result undefined.
pub(super) fn shld<T: Word>(a: T, b: T, count: u8, f: ArithFlags) -> (T, ArithFlags) {
    let count = masked::<T>(count);
    if count == 0 {
        return (a, f);
    }
    let (result, carry) = if T::BITS == 16 {
        let line = u128::from(a.wide()) << 32 | u128::from(b.wide()) << 16 | u128::from(a.wide());
        (T::low((line << count >> 32) as u64), line << count >> 48 & 1 != 0)
    } else {
        let shifted = (u128::from(a.wide()) << T::BITS | u128::from(b.wide())) << count >> T::BITS;
        (T::low(shifted as u64), bit(a.wide(), T::BITS - count))
    };
    (result, flags(result, carry, true, carry != sign(result)))
}

/// SHRD, likewise.
pub(super) fn shrd<T: Word>(a: T, b: T, count: u8, f: ArithFlags) -> (T, ArithFlags) {
    let count = masked::<T>(count);
    if count == 0 {
        return (a, f);
    }
    let above = if T::BITS == 16 { u128::from(a.wide()) << 32 } else { 0 };
    let line = above | u128::from(b.wide()) << T::BITS | u128::from(a.wide());
    let last = line >> (count - 1);
    let result = T::low((last >> 1) as u64);
    let overflow = sign(result) != bit(result.wide(), T::BITS - 2);
    (result, flags(result, last & 1 != 0, true, overflow))
}

/// BSF and BSR, `place` being where the bit is that was looked for.
pub(super) fn scan<T: Word>(a: T, place: fn(u64) -> u32, old: T, f: ArithFlags) -> (T, ArithFlags) {
    let rest = f.0 & !ArithFlags::ZF;
    match a.wide() {
        0 => (old, ArithFlags(rest | ArithFlags::ZF)),
        value => (T::low(u64::from(place(value))), ArithFlags(rest)),
    }
}

#[cfg(any(feature = "portable", not(target_arch = "x86_64")))]
macro_rules! alu {
    ($($t:ty),*) => {$(
        impl Alu for $t {
            #[inline]
            fn add(self, b: Self) -> (Self, ArithFlags) {
                add(self, b, 0)
            }
            #[inline]
            fn adc(self, b: Self, f: ArithFlags) -> (Self, ArithFlags) {
                add(self, b, f.carry())
            }
            #[inline]
            fn sub(self, b: Self) -> (Self, ArithFlags) {
                sub(self, b, 0)
            }
            #[inline]
            fn sbb(self, b: Self, f: ArithFlags) -> (Self, ArithFlags) {
                sub(self, b, f.carry())
            }
            #[inline]
            fn and(self, b: Self) -> (Self, ArithFlags) {
                logical((self & b).into())
            }
            #[inline]
            fn or(self, b: Self) -> (Self, ArithFlags) {
                logical((self | b).into())
            }
            #[inline]
            fn xor(self, b: Self) -> (Self, ArithFlags) {
                logical((self ^ b).into())
            }
            #[inline]
            fn inc(self, f: ArithFlags) -> (Self, ArithFlags) {
                inc(self, f)
            }
            #[inline]
            fn dec(self, f: ArithFlags) -> (Self, ArithFlags) {
                dec(self, f)
            }
            #[inline]
            fn neg(self) -> (Self, ArithFlags) {
                sub(0, self, 0)
            }
            alu!(@shifts shl shr sar rol ror rcl rcr);
        }
    )*};
    (@shifts $($name:ident)*) => {$(
        #[inline]
        fn $name(self, count: u8, f: ArithFlags) -> (Self, ArithFlags) {
            $name(self, count, f)
        }
    )*};
}
#[cfg(any(feature = "portable", not(target_arch = "x86_64")))]
alu!(u8, u16, u32, u64);

#[cfg(any(feature = "portable", not(target_arch = "x86_64")))]
macro_rules! wide_alu {
    ($($t:ty),*) => {$(
        impl WideAlu for $t {
            #[inline]
            fn imul(self, b: Self) -> (Self, ArithFlags) {
                imul(self, b)
            }
            #[inline]
            fn shld(self, b: Self, count: u8, f: ArithFlags) -> (Self, ArithFlags) {
                shld(self, b, count, f)
            }
            #[inline]
            fn shrd(self, b: Self, count: u8, f: ArithFlags) -> (Self, ArithFlags) {
                shrd(self, b, count, f)
            }
            #[inline]
            fn bsf(self, old: Self, f: ArithFlags) -> (Self, ArithFlags) {
                scan(self, u64::trailing_zeros, old, f)
            }
            #[inline]
            fn bsr(self, old: Self, f: ArithFlags) -> (Self, ArithFlags) {
                scan(self, u64::ilog2, old, f)
            }
        }
    )*};
}
#[cfg(any(feature = "portable", not(target_arch = "x86_64")))]
wide_alu!(u16, u32, u64);
