//! A set of the 256 vectors, as IRR, ISR and TMR are.

use serde::{Deserialize, Serialize};

/// 256 bits, one for each vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VectorSet([u64; 4]);

impl VectorSet {
    /// No vector.
    pub const EMPTY: Self = Self([0; 4]);

    /// Adds a vector.
    #[inline]
    pub fn insert(&mut self, vector: u8) {
        self.0[usize::from(vector >> 6)] |= 1 << (vector & 63);
    }
    /// Removes a vector.
    #[inline]
    pub fn remove(&mut self, vector: u8) {
        self.0[usize::from(vector >> 6)] &= !(1 << (vector & 63));
    }
    /// Whether the vector is in the set.
    #[inline]
    pub fn contains(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0
    }
    /// The highest vector in the set.
    #[inline]
    pub fn highest(&self) -> Option<u8> {
        (0..4).rev().find(|i| self.0[*i] != 0).map(|i| (i as u32 * 64 + 63 - self.0[i].leading_zeros()) as u8)
    }
    /// 32 vectors from `32 * index` on, as a register shows them.
    pub fn register(&self, index: u8) -> u32 {
        (self.0[usize::from(index >> 1 & 3)] >> (32 * (index & 1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_and_registers() {
        let mut set = VectorSet::EMPTY;
        assert_eq!(set.highest(), None);
        for vector in [0, 31, 64, 200, 255] {
            set.insert(vector);
            assert_eq!(set.highest(), Some(vector));
        }
        assert_eq!(set.register(0), 1 | 1 << 31);
        assert_eq!(set.register(6), 1 << 8);
        set.remove(255);
        assert!(!set.contains(255) && set.contains(200));
    }
}
