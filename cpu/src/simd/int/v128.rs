//! The 128-bit vector that lane functions take and return.

#![allow(unsafe_code, reason = "reinterprets vectors as arrays of lanes; intrinsics of the x86-64 baseline")]

#[cfg(target_arch = "x86_64")]
pub(super) type Raw = core::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Raw = u128;

/// 128 bits of an XMM register, memory operand or half of a YMM register, little endian:
/// lane 0 is the least significant. On x86-64 hosts it lives in a host vector register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct V128(pub(super) Raw);

/// An array of integers that fills 128 bits.
///
/// # Safety
/// The type has 16 bytes, no padding, and any bit pattern is a value.
pub unsafe trait Lane: Copy {}
// SAFETY: 16 bytes, plain integers.
unsafe impl Lane for [u8; 16] {}
// SAFETY: as above.
unsafe impl Lane for [i8; 16] {}
// SAFETY: as above.
unsafe impl Lane for [u16; 8] {}
// SAFETY: as above.
unsafe impl Lane for [i16; 8] {}
// SAFETY: as above.
unsafe impl Lane for [u32; 4] {}
// SAFETY: as above.
unsafe impl Lane for [i32; 4] {}
// SAFETY: as above.
unsafe impl Lane for [u64; 2] {}
// SAFETY: as above.
unsafe impl Lane for [i64; 2] {}
// SAFETY: as above.
unsafe impl Lane for u128 {}

impl V128 {
    /// All bits zero.
    pub const ZERO: V128 = V128::from_lanes([0u64; 2]);
    /// All bits one.
    pub const ONES: V128 = V128::from_lanes([u64::MAX; 2]);

    /// The vector with these lanes, least significant first.
    #[inline(always)]
    pub const fn from_lanes<L: Lane>(lanes: L) -> V128 {
        // SAFETY: `Lane` promises 16 bytes without padding; any bits are a vector.
        unsafe { std::mem::transmute_copy(&lanes) }
    }
    /// The lanes, least significant first.
    #[inline(always)]
    pub const fn lanes<L: Lane>(self) -> L {
        // SAFETY: `Lane` promises 16 bytes for which any bits are a value.
        unsafe { std::mem::transmute_copy(&self) }
    }
    /// As one number.
    #[inline(always)]
    pub const fn bits(self) -> u128 {
        self.lanes::<u128>()
    }
    /// The low 64 bits.
    #[inline(always)]
    pub const fn low(self) -> u64 {
        self.lanes::<[u64; 2]>()[0]
    }
    /// The high 64 bits.
    #[inline(always)]
    pub const fn high(self) -> u64 {
        self.lanes::<[u64; 2]>()[1]
    }
    /// `low` in the low 64 bits, zero above.
    #[inline(always)]
    pub const fn from_low(low: u64) -> V128 {
        V128::from_lanes([low, 0])
    }
}

impl From<u128> for V128 {
    #[inline(always)]
    fn from(bits: u128) -> V128 {
        V128::from_lanes(bits)
    }
}

impl From<V128> for u128 {
    #[inline(always)]
    fn from(v: V128) -> u128 {
        v.bits()
    }
}

impl PartialEq for V128 {
    fn eq(&self, other: &V128) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for V128 {}

impl Default for V128 {
    fn default() -> V128 {
        V128::ZERO
    }
}

impl std::fmt::Debug for V128 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.bits())
    }
}
