//! Guest time, from the host's clock or from a count of instructions.

use crate::config::ClockSource;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use trimotor_bus::GuestTime;

/// The host's monotonic clock, handed in by the program.
pub trait HostClock: Send + Sync {
    /// Nanoseconds since a moment of the clock's choice. Never goes back, whichever threads look.
    fn now_ns(&self) -> u64;
}

/// Guest time as one thread reads it.
pub(crate) enum TimeSource<'a> {
    /// The board's clock, for the one thread that runs the machine.
    Board(&'a GuestClock),
    /// The host's clock, for a thread beside others.
    Thread(RunningClock),
}

impl TimeSource<'_> {
    /// The time now.
    #[inline]
    pub(crate) fn now(&mut self) -> GuestTime {
        match self {
            TimeSource::Board(clock) => clock.now(),
            TimeSource::Thread(clock) => clock.now(),
        }
    }
    /// The latest time that was handed out here, without looking again.
    #[inline]
    pub(crate) fn latest(&self) -> GuestTime {
        match self {
            TimeSource::Board(clock) => clock.latest(),
            TimeSource::Thread(clock) => clock.latest,
        }
    }
    /// So many instructions have retired since the slice began.
    #[inline]
    pub(crate) fn set_retired(&self, instructions: u64) {
        if let TimeSource::Board(clock) = self {
            clock.set_retired(instructions);
        }
    }
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
        self.latest = self.latest.max(GuestTime(since(self.origin, self.host.now_ns())));
        self.latest
    }
}

/// Guest time.
///
/// With the host's clock, time is what has passed since power-on minus the time paused. With
/// instructions, it is the time at which the present slice began plus a nanosecond for each
/// instruction retired since.
///
/// One thread at a time reads and sets it (the fields are atomic only so that a board can be shared);
/// others have a [`RunningClock`].
pub struct GuestClock {
    host: Arc<dyn HostClock>,
    source: ClockSource,
    /// With the host's clock: its reading at guest time 0.
    origin: AtomicU64,
    /// With the host's clock: the guest time at which the machine was paused, or [`RUNS`].
    paused: AtomicU64,
    /// With instructions: guest time at the slice's start.
    slice_start: AtomicU64,
    /// With instructions: instructions retired since the slice's start.
    retired: AtomicU64,
    /// The latest time that was handed out.
    latest: AtomicU64,
}

/// Nanoseconds from a clock's `origin` to `now`, modulo 2^64: a machine that was restored may be older than
/// its host.
fn since(origin: u64, now: u64) -> u64 {
    now.wrapping_sub(origin).cast_signed().max(0).cast_unsigned()
}

/// `paused` of a clock that is not paused.
const RUNS: u64 = u64::MAX;

impl GuestClock {
    /// A clock at guest time 0.
    pub fn new(host: Arc<dyn HostClock>, source: ClockSource) -> Self {
        let origin = AtomicU64::new(host.now_ns());
        Self {
            host,
            source,
            origin,
            paused: AtomicU64::new(RUNS),
            slice_start: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            latest: AtomicU64::new(0),
        }
    }
    /// Whether time is a count of instructions.
    #[inline]
    pub fn counts_instructions(&self) -> bool {
        self.source == ClockSource::Instructions
    }
    /// With instructions: guest time at the last instruction that retired.
    #[inline]
    fn counted(&self) -> u64 {
        self.slice_start.load(Relaxed).saturating_add(self.retired.load(Relaxed))
    }
    /// The time now.
    #[inline]
    pub fn now(&self) -> GuestTime {
        let now = match self.source {
            ClockSource::Instructions => self.counted(),
            ClockSource::Host => match self.paused.load(Relaxed) {
                RUNS => since(self.origin.load(Relaxed), self.host.now_ns()),
                at => at,
            },
        };
        let now = self.latest.load(Relaxed).max(now);
        self.latest.store(now, Relaxed);
        GuestTime(now)
    }
    /// The host's clock, for what people want to know of the machine: nothing that the guest sees comes from it.
    pub(crate) fn host_now_ns(&self) -> u64 {
        self.host.now_ns()
    }
    /// With the host's clock: its reading at a guest time, if time does not stop before.
    pub(crate) fn host_ns(&self, at: GuestTime) -> u64 {
        // The origin is a negative number where a restored machine is older than its host.
        at.ns().saturating_add_signed(self.origin.load(Relaxed).cast_signed())
    }
    /// The clock for a vCPU on another thread, while time does not stand still; only with the host's clock.
    pub(crate) fn running(&self) -> RunningClock {
        RunningClock { host: self.host.clone(), origin: self.origin.load(Relaxed), latest: self.latest() }
    }
    /// The latest time that was handed out, without looking again.
    #[inline]
    pub fn latest(&self) -> GuestTime {
        GuestTime(self.latest.load(Relaxed))
    }
    /// A slice begins.
    #[inline]
    pub fn begin_slice(&self) {
        self.slice_start.store(self.latest.load(Relaxed).max(self.counted()), Relaxed);
        self.retired.store(0, Relaxed);
    }
    /// So many instructions have retired since the slice began.
    #[inline]
    pub fn set_retired(&self, instructions: u64) {
        self.retired.store(instructions, Relaxed);
    }
    /// With instructions: skips to `to`, as nothing happens before it.
    pub fn skip_to(&self, to: GuestTime) {
        self.slice_start.store(self.slice_start.load(Relaxed).max(to.ns()), Relaxed);
        self.retired.store(0, Relaxed);
        self.now();
    }
    /// Time stops.
    pub fn pause(&self) {
        let now = self.now();
        if self.paused.load(Relaxed) == RUNS {
            self.paused.store(now.ns(), Relaxed);
        }
    }
    /// Time goes on where it stopped.
    pub fn resume(&self) {
        let at = self.paused.swap(RUNS, Relaxed);
        if at != RUNS {
            self.origin.store(self.host.now_ns().wrapping_sub(at), Relaxed);
        }
    }
    /// Sets the time, of a machine that does not run: it goes on from there.
    pub fn set(&self, to: GuestTime) {
        self.origin.store(self.host.now_ns().wrapping_sub(to.ns()), Relaxed);
        if self.paused.load(Relaxed) != RUNS {
            self.paused.store(to.ns(), Relaxed);
        }
        self.slice_start.store(to.ns(), Relaxed);
        self.retired.store(0, Relaxed);
        self.latest.store(to.ns(), Relaxed);
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
        let clock = GuestClock::new(Arc::new(Hand(hand.clone())), ClockSource::Host);
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
        let clock = GuestClock::new(Arc::new(Hand(hand)), ClockSource::Instructions);
        clock.begin_slice();
        clock.set_retired(70);
        assert_eq!(clock.now(), GuestTime(70));
        clock.begin_slice();
        assert_eq!(clock.now(), GuestTime(70));
        clock.skip_to(GuestTime(1000));
        assert_eq!(clock.latest(), GuestTime(1000));
        assert_eq!(clock.now(), GuestTime(1000));
        clock.skip_to(GuestTime(10));
        assert_eq!(clock.now(), GuestTime(1000));
    }
}
