//! When devices want to be woken.
//!
//! Each source of events has one next event at most: a device, the requests that workers carry out, the local APIC timer of
//! a vCPU (unless the vCPU waits for it itself, on a thread of its own). Events change with nearly every access to a timer chip, so a change
//! costs a short lock and a pass over a small table; looking at the earliest one is a load.
//!
//! A loop that waits for events says until when it knows of none ([`Timers::expect`]); code that used a device asks
//! whether that wait must end sooner ([`Timers::wait_ends_sooner`]).

use crate::registry::DeviceId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use trimotor_bus::GuestTime;

const NEVER: u64 = u64::MAX;

/// What has events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EventSource {
    /// A device.
    Device(DeviceId),
    /// Requests that workers carry out.
    Completions,
    /// The local APIC timer of this vCPU.
    ApicTimer(usize),
}

/// The next event of each source.
pub struct Timers {
    /// How many of the sources are devices: they come first, then the completions, then the local APIC timers.
    devices: usize,
    at: Vec<AtomicU64>,
    /// Held while an event changes.
    change: Mutex<()>,
    earliest: AtomicU64,
    expected: AtomicU64,
}

impl Timers {
    /// For so many devices and vCPUs; none has an event.
    pub fn new(devices: usize, vcpus: usize) -> Self {
        Self {
            devices,
            at: (0..devices + 1 + vcpus).map(|_| AtomicU64::new(NEVER)).collect(),
            change: Mutex::new(()),
            earliest: AtomicU64::new(NEVER),
            expected: AtomicU64::new(NEVER),
        }
    }
    fn index(&self, source: EventSource) -> usize {
        match source {
            EventSource::Device(id) => id.index(),
            EventSource::Completions => self.devices,
            EventSource::ApicTimer(cpu) => self.devices + 1 + cpu,
        }
    }
    /// Sets the next event of a source, which is locked, so that no older answer of it comes later.
    #[inline]
    pub(crate) fn set(&self, source: EventSource, event: Option<GuestTime>) {
        let event = event.map_or(NEVER, GuestTime::ns);
        let at = &self.at[self.index(source)];
        // Only the source's owner changes it: what is there already needs no lock that others may hold.
        if at.load(Ordering::Relaxed) != event {
            let _changing = self.change.lock().unwrap_or_else(PoisonError::into_inner);
            at.store(event, Ordering::SeqCst);
            let all = self.at.iter().map(|at| at.load(Ordering::SeqCst));
            self.earliest.store(all.min().unwrap_or(NEVER), Ordering::SeqCst);
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
    /// Until this time, in nanoseconds of guest time, nothing looks at events by itself. A thread that sleeps then compares
    /// with [`earliest_ns`](Self::earliest_ns) once more.
    #[inline]
    pub fn expect(&self, until_ns: u64) {
        self.expected.store(until_ns, Ordering::SeqCst);
    }
    /// The first source from number `from` on whose event is due, and its number. Devices come in the order of their
    /// ids, `ids`.
    pub(crate) fn first_due(
        &self,
        from: usize,
        now: GuestTime,
        mut ids: impl Iterator<Item = DeviceId>,
    ) -> Option<(usize, EventSource)> {
        let due = (from..self.at.len()).find(|index| self.at[*index].load(Ordering::SeqCst) <= now.ns())?;
        let source = match due.checked_sub(self.devices) {
            None => EventSource::Device(ids.nth(due)?),
            Some(0) => EventSource::Completions,
            Some(cpu) => EventSource::ApicTimer(cpu - 1),
        };
        Some((due, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use trimotor_devices::post_port::PostPort;

    fn two() -> [EventSource; 2] {
        let mut registry = Registry::default();
        ["a", "b"].map(|name| EventSource::Device(registry.add(name, PostPort::new()).id()))
    }

    #[test]
    fn the_earliest_is_kept() {
        let [a, b] = two();
        let timers = Timers::new(2, 2);
        assert_eq!(timers.earliest(), None);
        timers.set(a, Some(GuestTime(50)));
        timers.set(b, Some(GuestTime(30)));
        assert_eq!(timers.earliest(), Some(GuestTime(30)));
        timers.set(b, Some(GuestTime(80)));
        assert_eq!(timers.earliest(), Some(GuestTime(50)));
        let due = |from| {
            let ids = [a, b].into_iter().filter_map(|source| match source {
                EventSource::Device(id) => Some(id),
                _ => None,
            });
            timers.first_due(from, GuestTime(50), ids)
        };
        assert_eq!(due(0), Some((0, a)));
        assert_eq!(due(1), None);
        timers.set(EventSource::ApicTimer(1), Some(GuestTime(49)));
        timers.set(EventSource::Completions, Some(GuestTime(50)));
        assert_eq!(timers.earliest(), Some(GuestTime(49)));
        assert_eq!(due(1), Some((2, EventSource::Completions)));
        assert_eq!(due(3), Some((4, EventSource::ApicTimer(1))));
        timers.set(EventSource::ApicTimer(1), None);
        timers.set(EventSource::Completions, None);
        timers.set(a, None);
        timers.set(b, None);
        assert_eq!(timers.earliest(), None);
    }

    #[test]
    fn an_earlier_event_ends_a_wait_once() {
        let [a, b] = two();
        let timers = Timers::new(2, 2);
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
