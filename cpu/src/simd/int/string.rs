//! PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: comparison of strings of 16 bytes or 8 words
//! (SDM Vol. 2B, "Imm8 Control Byte Operation for PCMPESTRI / PCMPESTRM / PCMPISTRI /
//! PCMPISTRM").
//!
//! On an x86-64 host PCMPESTRM finds the matches of all four; elsewhere [`portable_matches`] does, which reads as the
//! manual does.

#[cfg(target_arch = "x86_64")]
mod host;

use super::v128::V128;

/// The immediate control byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StringControl(pub u8);

impl StringControl {
    /// Elements are words, not bytes.
    #[inline]
    pub fn words(self) -> bool {
        self.0 & 1 != 0
    }
    /// How many elements a vector has.
    #[inline]
    pub fn elements(self) -> u32 {
        if self.words() { 8 } else { 16 }
    }
    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn signed(self) -> bool {
        self.0 & 2 != 0
    }
    /// The index output is that of the most significant bit; the mask output is expanded to
    /// whole elements.
    fn last_or_expanded(self) -> bool {
        self.0 & 0x40 != 0
    }
    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn elements_of(self, v: V128) -> [i32; 16] {
        let mut elements = [0; 16];
        match (self.words(), self.signed()) {
            (false, false) => elements = v.lanes::<[u8; 16]>().map(i32::from),
            (false, true) => elements = v.lanes::<[i8; 16]>().map(i32::from),
            (true, false) => elements[..8].copy_from_slice(&v.lanes::<[u16; 8]>().map(i32::from)),
            (true, true) => elements[..8].copy_from_slice(&v.lanes::<[i16; 8]>().map(i32::from)),
        }
        elements
    }

    /// The number of elements before the first null (the implicit-length forms).
    #[inline]
    pub fn implicit_length(self, v: V128) -> u32 {
        let words = self.words();
        let nulls = if words { super::pcmpeqw(v, V128::ZERO) } else { super::pcmpeqb(v, V128::ZERO) };
        let byte = super::pmovmskb(nulls).trailing_zeros().min(16);
        byte >> u32::from(words)
    }
    /// A length register's value as a number of elements (the explicit-length forms): its
    /// magnitude, at most a whole vector.
    pub fn explicit_length(self, register: i64) -> u32 {
        register.unsigned_abs().min(self.elements() as u64) as u32
    }
}

/// What a string comparison found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StringMatch {
    /// A bit for each element of the second string ("IntRes2").
    pub bits: u16,
    /// SF: the first string ends within its vector.
    pub first_ends: bool,
    /// ZF: the second string ends within its vector.
    pub second_ends: bool,
    control: StringControl,
}

/// Compares the first `a_length` elements of `a` with the first `b_length` elements of `b`.
pub fn compare_strings(
    a: V128,
    a_length: u32,
    b: V128,
    b_length: u32,
    control: StringControl,
) -> StringMatch {
    #[cfg(target_arch = "x86_64")]
    let bits = host::matches(a, a_length, b, b_length, control);
    #[cfg(not(target_arch = "x86_64"))]
    let bits = portable_matches(a, a_length, b, b_length, control);
    let n = control.elements();
    StringMatch { bits, first_ends: a_length < n, second_ends: b_length < n, control }
}

/// A bit for each element of `b` that matches ("IntRes2").
#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_matches(a: V128, a_length: u32, b: V128, b_length: u32, control: StringControl) -> u16 {
    let n = control.elements();
    let (x, y) = (control.elements_of(a), control.elements_of(b));
    let (x, y) = (&x[..a_length as usize], &y[..b_length as usize]);
    let matches: u32 = match control.0 >> 2 & 3 {
        0 => bits(y.iter().map(|element| x.contains(element))),
        1 => {
            let in_range = |e: &i32| x.chunks_exact(2).any(|range| (range[0]..=range[1]).contains(e));
            bits(y.iter().map(in_range))
        }
        2 => bits((0..n as usize).map(|i| x.get(i) == y.get(i))),
        _ => bits((0..n as usize).map(|j| {
            let window = n as usize - j;
            x.iter().take(window).enumerate().all(|(i, element)| y.get(i + j) == Some(element))
        })),
    };
    let all = u32::MAX >> (32 - n);
    let inverted = match control.0 >> 4 & 3 {
        1 => matches ^ all,
        3 => matches ^ ((1 << b_length) - 1),
        _ => matches,
    };
    inverted as u16
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn bits(values: impl Iterator<Item = bool>) -> u32 {
    values.enumerate().map(|(i, set)| (set as u32) << i).sum()
}

impl StringMatch {
    /// The index output: of the first or last bit set, or the number of elements.
    pub fn index(self) -> u32 {
        match (self.bits, self.control.last_or_expanded()) {
            (0, _) => self.control.elements(),
            (bits, false) => bits.trailing_zeros(),
            (bits, true) => bits.ilog2(),
        }
    }
    /// The mask output.
    pub fn mask(self) -> V128 {
        if !self.control.last_or_expanded() {
            return V128::from_low(self.bits as u64);
        }
        let set = |i: usize| self.bits >> i & 1 != 0;
        if self.control.words() {
            V128::from_lanes::<[u16; 8]>(std::array::from_fn(|i| 0u16.wrapping_sub(set(i) as u16)))
        } else {
            V128::from_lanes::<[u8; 16]>(std::array::from_fn(|i| 0u8.wrapping_sub(set(i) as u8)))
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
