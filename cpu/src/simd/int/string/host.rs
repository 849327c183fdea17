//! The host's PCMPESTRM.

#![allow(unsafe_code, reason = "the host's own instruction, through inline assembly")]

use super::{StringControl, V128};

/// PCMPESTRM with one control byte: the mask in bits, of strings of these lengths.
type Compare = fn(V128, u32, V128, u32) -> u16;

fn compare<const CONTROL: u8>(a: V128, a_length: u32, b: V128, b_length: u32) -> u16 {
    let mask;
    // SAFETY: reads and writes registers and the flags only.
    unsafe {
        std::arch::asm!("pcmpestrm {a}, {b}, {control}", a = in(xmm_reg) a.0, b = in(xmm_reg) b.0,
            control = const CONTROL, in("eax") a_length, in("edx") b_length, out("xmm0") mask,
            options(pure, nomem, nostack));
    }
    V128(mask).low() as u16
}

macro_rules! table {
    ($($control:literal)+) => { [$(compare::<$control>),+] };
}
/// The control is part of the instruction: one for each. Its two upper bits are about the form of the output.
static TABLE: [Compare; 64] = table! {
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
};

/// A bit for each element of `b` that matches ("IntRes2").
pub(super) fn matches(a: V128, a_length: u32, b: V128, b_length: u32, control: StringControl) -> u16 {
    TABLE[control.0 as usize & 63](a, a_length, b, b_length)
}
