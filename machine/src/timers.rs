//! When devices want to be woken.
//!
//! Each device has one next event at most. Events change with nearly every access to a timer chip, so a change
//! costs a short lock and a pass over a small table; looking at the earliest one is a load.
//!
//! Whoever waits for events says until when it knows of none ([`Timers::expect`]); whoever used a device asks
//! whether that wait must end sooner ([`Timers::wait_ends_sooner`]).

use crate::registry::DeviceId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use trimotor_bus::GuestTime;

const NEVER: u64 = u64::MAX;

/// The next event of each device.
pub struct Timers {
    at: Mutex<Vec<u64>>,
    earliest: AtomicU64,
    expected: AtomicU64,
}

impl Timers {
    /// For so many sources of events; none has one.
    pub fn new(sources: usize) -> Self {
        Self {
            at: Mutex::new(vec![NEVER; sources]),
            earliest: AtomicU64::new(NEVER),
            expected: AtomicU64::new(NEVER),
        }
    }
    /// Sets a device's next event; the device is locked, so that no older answer of it comes later.
    #[inline]
    pub fn set(&self, device: DeviceId, event: Option<GuestTime>) {
        let event = event.map_or(NEVER, GuestTime::ns);
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if at[device.index()] != event {
            at[device.index()] = event;
            let earliest = at.iter().copied().min().unwrap_or(NEVER);
            self.earliest.store(earliest, Ordering::SeqCst);
        }
    }
    /// Whether the wait that [`expect`](Self::expect) told of must end sooner; says so once for each wait.
    #[inline]
    pub fn wait_ends_sooner(&self) -> bool {
        let expected = self.expected.load(Ordering::SeqCst);
        self.earliest_ns() < expected && self.expected.swap(0, Ordering::SeqCst) != 0
    }
    /// The earliest event, in nanoseconds of guest time; the largest number if there is none.
    #[inline]
    pub fn earliest_ns(&self) -> u64 {
        self.earliest.load(Ordering::SeqCst)
    }
    /// The earliest event.
    pub fn earliest(&self) -> Option<GuestTime> {
        let earliest = self.earliest_ns();
        (earliest != NEVER).then_some(GuestTime(earliest))
    }
    /// Until this time, in nanoseconds of guest time, nothing looks at events by itself. Who sleeps then compares
    /// with [`earliest_ns`](Self::earliest_ns) once more.
    #[inline]
    pub fn expect(&self, until_ns: u64) {
        self.expected.store(until_ns, Ordering::SeqCst);
    }
    /// The first device from number `from` on whose event is due.
    pub fn first_due(&self, from: usize, now: GuestTime) -> Option<usize> {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        (from..at.len()).find(|index| at[*index] <= now.ns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use trimotor_devices::post_port::PostPort;

    fn two() -> [DeviceId; 2] {
        let mut registry = Registry::default();
        ["a", "b"].map(|name| registry.add(name, PostPort::new()).id())
    }

    #[test]
    fn the_earliest_is_kept() {
        let [a, b] = two();
        let timers = Timers::new(2);
        assert_eq!(timers.earliest(), None);
        timers.set(a, Some(GuestTime(50)));
        timers.set(b, Some(GuestTime(30)));
        assert_eq!(timers.earliest(), Some(GuestTime(30)));
        timers.set(b, Some(GuestTime(80)));
        assert_eq!(timers.earliest(), Some(GuestTime(50)));
        assert_eq!(timers.first_due(0, GuestTime(50)), Some(0));
        assert_eq!(timers.first_due(1, GuestTime(50)), None);
        timers.set(a, None);
        timers.set(b, None);
        assert_eq!(timers.earliest(), None);
    }

    #[test]
    fn an_earlier_event_ends_a_wait_once() {
        let [a, b] = two();
        let timers = Timers::new(2);
        timers.expect(40);
        timers.set(a, Some(GuestTime(40)));
        assert!(!timers.wait_ends_sooner());
        timers.set(b, Some(GuestTime(39)));
        assert!(timers.wait_ends_sooner());
        timers.set(b, Some(GuestTime(38)));
        assert!(!timers.wait_ends_sooner(), "it was told already");
        timers.expect(40);
        assert!(timers.wait_ends_sooner(), "an earlier event waits still");
    }
}
