//! Guest time, from the host's clock or from a count of instructions.

use crate::config::ClockSource;
use std::sync::Arc;
use trimotor_bus::GuestTime;

/// The host's monotonic clock, handed in by the program.
pub trait HostClock: Send + Sync {
    /// Nanoseconds since a moment of the clock's choice. Never goes back, whichever threads look.
    fn now_ns(&self) -> u64;
}

/// Guest time for a vCPU that runs on a thread of its own: the host's clock.
pub(crate) struct RunningClock {
    host: Arc<dyn HostClock>,
    origin: u64,
    latest: GuestTime,
}
impl RunningClock {
    /// The time now.
    #[inline]
    pub(crate) fn now(&mut self) -> GuestTime {
        self.latest = self.latest.max(GuestTime(self.host.now_ns().saturating_sub(self.origin)));
        self.latest
    }
}

/// Guest time.
///
/// With the host's clock, time is what has passed since power-on minus the time paused. With
/// instructions, it is the time at which the present slice began plus a nanosecond for each
/// instruction retired since.
pub struct GuestClock {
    host: Arc<dyn HostClock>,
    source: ClockSource,
    /// With the host's clock: its reading at guest time 0.
    origin: u64,
    /// With the host's clock: the guest time at which the machine was paused.
    paused: Option<GuestTime>,
    /// With instructions: guest time at the slice's start.
    slice_start: GuestTime,
    /// With instructions: instructions retired since the slice's start.
    retired: u64,
    /// The latest time that was handed out.
    latest: GuestTime,
}

impl GuestClock {
    /// A clock at guest time 0.
    pub fn new(host: Arc<dyn HostClock>, source: ClockSource) -> Self {
        let origin = host.now_ns();
        Self {
            host,
            source,
            origin,
            paused: None,
            slice_start: GuestTime::ZERO,
            retired: 0,
            latest: GuestTime::ZERO,
        }
    }
    /// Whether time is a count of instructions.
    #[inline]
    pub fn counts_instructions(&self) -> bool {
        self.source == ClockSource::Instructions
    }
    /// The time now.
    #[inline]
    pub fn now(&mut self) -> GuestTime {
        let now = match self.source {
            ClockSource::Instructions => self.slice_start + self.retired,
            ClockSource::Host => match self.paused {
                Some(at) => at,
                None => GuestTime(self.host.now_ns().saturating_sub(self.origin)),
            },
        };
        self.latest = self.latest.max(now);
        self.latest
    }
    /// With the host's clock: its reading at a guest time, if time does not stop before.
    pub(crate) fn host_ns(&self, at: GuestTime) -> u64 {
        self.origin.saturating_add(at.ns())
    }
    /// The clock for a vCPU on another thread, while time does not stand still; only with the host's clock.
    pub(crate) fn running(&self) -> RunningClock {
        RunningClock { host: self.host.clone(), origin: self.origin, latest: self.latest }
    }
    /// The latest time that was handed out, without looking again.
    #[inline]
    pub fn latest(&self) -> GuestTime {
        self.latest
    }
    /// A slice begins.
    #[inline]
    pub fn begin_slice(&mut self) {
        self.slice_start = self.latest.max(self.slice_start + self.retired);
        self.retired = 0;
    }
    /// So many instructions have retired since the slice began.
    #[inline]
    pub fn set_retired(&mut self, instructions: u64) {
        self.retired = instructions;
    }
    /// With instructions: skips to `to`, as nothing happens before it.
    pub fn skip_to(&mut self, to: GuestTime) {
        self.slice_start = self.slice_start.max(to);
        self.retired = 0;
    }
    /// Time stops.
    pub fn pause(&mut self) {
        let now = self.now();
        self.paused.get_or_insert(now);
    }
    /// Time goes on where it stopped.
    pub fn resume(&mut self) {
        if let Some(at) = self.paused.take() {
            self.origin = self.host.now_ns().saturating_sub(at.ns());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Hand(Arc<AtomicU64>);
    impl HostClock for Hand {
        fn now_ns(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn host_time_stands_still_while_paused() {
        let hand = Arc::new(AtomicU64::new(1000));
        let mut clock = GuestClock::new(Arc::new(Hand(hand.clone())), ClockSource::Host);
        hand.store(1500, Ordering::Relaxed);
        assert_eq!(clock.now(), GuestTime(500));
        clock.pause();
        hand.store(9000, Ordering::Relaxed);
        assert_eq!(clock.now(), GuestTime(500));
        clock.resume();
        hand.store(9100, Ordering::Relaxed);
        assert_eq!(clock.now(), GuestTime(600));
    }

    #[test]
    fn instructions_are_nanoseconds() {
        let hand = Arc::new(AtomicU64::new(0));
        let mut clock = GuestClock::new(Arc::new(Hand(hand)), ClockSource::Instructions);
        clock.begin_slice();
        clock.set_retired(70);
        assert_eq!(clock.now(), GuestTime(70));
        clock.begin_slice();
        assert_eq!(clock.now(), GuestTime(70));
        clock.skip_to(GuestTime(1000));
        assert_eq!(clock.now(), GuestTime(1000));
        clock.skip_to(GuestTime(10));
        assert_eq!(clock.now(), GuestTime(1000));
    }
}
