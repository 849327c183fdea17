//! Guest time: nanoseconds since power-on.
//!
//! Where it comes from (the host's monotonic clock or a count of instructions) is
//! the machine's business; a device sees only the value it is handed.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};

/// A point in guest time, in nanoseconds since power-on. Never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
#[repr(transparent)]
pub struct GuestTime(pub u64);

/// Nanoseconds in a second.
pub const NS_PER_SECOND: u64 = 1_000_000_000;

impl GuestTime {
    /// Power-on.
    pub const ZERO: GuestTime = GuestTime(0);

    /// Nanoseconds since power-on.
    #[inline]
    pub const fn ns(self) -> u64 {
        self.0
    }
    /// How many whole ticks of a clock of `hz` hertz have passed since power-on.
    #[inline]
    pub const fn ticks(self, hz: u64) -> u64 {
        if hz == NS_PER_SECOND {
            return self.0; // the usual rate of the time-stamp counter and the local APIC
        }
        ((self.0 as u128 * hz as u128) / NS_PER_SECOND as u128) as u64
    }
    /// The first instant at which [`ticks`](Self::ticks) of `hz` is at least `ticks`.
    #[inline]
    pub const fn of_tick(ticks: u64, hz: u64) -> GuestTime {
        let ns = (ticks as u128 * NS_PER_SECOND as u128).div_ceil(hz as u128);
        GuestTime(if ns > u64::MAX as u128 { u64::MAX } else { ns as u64 })
    }
    /// Nanoseconds from `earlier` to `self`, 0 where `earlier` is later.
    #[inline]
    pub const fn since(self, earlier: GuestTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for GuestTime {
    type Output = GuestTime;
    /// Adds nanoseconds; saturates.
    fn add(self, ns: u64) -> GuestTime {
        GuestTime(self.0.saturating_add(ns))
    }
}
impl Sub<GuestTime> for GuestTime {
    type Output = u64;
    /// Nanoseconds between two instants; 0 where the second is later.
    fn sub(self, earlier: GuestTime) -> u64 {
        self.since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_tick_is_the_first_instant_of_that_tick() {
        for hz in [1_193_182, 3_579_545, 32_768, 100_000_000] {
            for tick in [0, 1, 2, 65_535, 1 << 32] {
                let at = GuestTime::of_tick(tick, hz);
                assert_eq!(at.ticks(hz), tick);
                if tick > 0 {
                    assert_eq!(GuestTime(at.0 - 1).ticks(hz), tick - 1);
                }
            }
        }
    }
}
