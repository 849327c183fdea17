//! Sequence numbers, which count modulo 2³² (RFC 9293, 3.4).

use std::ops::{Add, AddAssign, Sub};

/// A sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seq(pub u32);

impl Seq {
    /// Whether it comes before `other`, as numbers less than 2³¹ apart do.
    pub fn is_before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
    /// Whether it comes after `other`.
    pub fn is_after(self, other: Self) -> bool {
        other.is_before(self)
    }
    /// The later one.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }
}

impl Add<usize> for Seq {
    type Output = Self;
    fn add(self, n: usize) -> Self {
        Self(self.0.wrapping_add(n as u32))
    }
}

impl AddAssign<usize> for Seq {
    fn add_assign(&mut self, n: usize) {
        *self = *self + n;
    }
}

/// The distance forward from the other one.
impl Sub for Seq {
    type Output = usize;
    fn sub(self, other: Self) -> usize {
        self.0.wrapping_sub(other.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap() {
        let last = Seq(u32::MAX);
        assert!(last.is_before(last + 1) && (last + 1).is_after(last));
        assert_eq!(last + 5 - last, 5);
        assert_eq!(last.later(Seq(3)), Seq(3));
    }
}
