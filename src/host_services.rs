//! What the host gives a machine: a clock and a random seed.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::time::Instant;
use trimotor_machine::HostClock;

/// The seed of a deterministic run.
const FIXED_SEED: u64 = 0x7472_696d_6f74_6f72;

/// The host's monotonic clock. Guests read the time often (Linux at each system call), so that between
/// readings of the host's clock the time is told by its time-stamp counter, where that is constant.
pub struct MonotonicClock {
    origin: Instant,
    counter: Option<CounterClock>,
}

impl MonotonicClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { origin: Instant::now(), counter: CounterClock::new() }
    }
    fn read(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl HostClock for MonotonicClock {
    fn now_ns(&self) -> u64 {
        match &self.counter {
            Some(counter) => counter.now_ns(|| self.read()),
            None => self.read(),
        }
    }
}

/// Time by the time-stamp counter, held against a clock every few milliseconds.
struct CounterClock {
    read: fn() -> u64,
    /// Counter and nanoseconds at the last look at the clock.
    anchor: Cell<(u64, u64)>,
    /// Nanoseconds a tick, times 2^32; 0 until two looks lie far enough apart.
    scale: Cell<u64>,
    /// What was told last: the time does not go back.
    last: Cell<u64>,
}

impl CounterClock {
    /// Ticks between two looks at the clock: some ten milliseconds.
    const INTERVAL: u64 = 1 << 25;
    /// Ticks that are enough to measure the counter's rate to a few millionths.
    const ENOUGH: u64 = 1 << 23;
    /// More ticks than these say nothing about the rate: the counter went back, or the host slept.
    const MOST: u64 = 1 << 36;

    /// `None` where the counter's rate is not constant.
    fn new() -> Option<CounterClock> {
        let read = constant_counter()?;
        Some(CounterClock { read, anchor: Cell::new((read(), 0)), scale: Cell::new(0), last: Cell::new(0) })
    }

    fn now_ns(&self, clock: impl Fn() -> u64) -> u64 {
        let ticks = (self.read)();
        let (anchor, anchor_ns) = self.anchor.get();
        // A counter that went back, or a long sleep of the host, shows as a large difference.
        let passed = ticks.wrapping_sub(anchor);
        let now = if self.scale.get() != 0 && passed < Self::INTERVAL {
            anchor_ns + ((u128::from(passed) * u128::from(self.scale.get())) >> 32) as u64
        } else {
            let now = clock();
            if (Self::ENOUGH..=Self::MOST).contains(&passed) {
                let scale = (u128::from(now.saturating_sub(anchor_ns)) << 32) / u128::from(passed);
                self.scale.set(u64::try_from(scale).unwrap_or(0));
            }
            if passed >= Self::ENOUGH {
                self.anchor.set((ticks, now));
            }
            now
        };
        let now = now.max(self.last.get());
        self.last.set(now);
        now
    }
}

/// How to read the host's time-stamp counter, where its rate is constant.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "RDTSC has no safe form")]
fn constant_counter() -> Option<fn() -> u64> {
    const INVARIANT_TSC: u32 = 1 << 8;
    let extended = std::arch::x86_64::__cpuid(0x8000_0000).eax;
    let invariant =
        extended >= 0x8000_0007 && std::arch::x86_64::__cpuid(0x8000_0007).edx & INVARIANT_TSC != 0;
    // SAFETY: RDTSC is there where its leaf says that it is invariant, and touches no memory.
    invariant.then_some(|| unsafe { std::arch::x86_64::_rdtsc() })
}
#[cfg(not(target_arch = "x86_64"))]
fn constant_counter() -> Option<fn() -> u64> {
    None
}

/// The seed of the guest's random numbers: the host's, or with `icount` always the same.
pub fn random_seed(icount: bool) -> u64 {
    let mut bytes = FIXED_SEED.to_le_bytes();
    if !icount && let Ok(mut source) = File::open("/dev/urandom") {
        // Where the host has no random numbers, the fixed ones are better than none.
        let _ = source.read_exact(&mut bytes);
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static TICKS: Cell<u64> = const { Cell::new(0) };
    }

    fn clock() -> CounterClock {
        let read = || TICKS.with(Cell::get);
        CounterClock { read, anchor: Cell::new((0, 0)), scale: Cell::new(0), last: Cell::new(0) }
    }

    #[test]
    fn the_counter_tells_the_time_between_looks_at_the_clock() {
        let counter = clock();
        // Half a nanosecond a tick.
        let real = || TICKS.with(Cell::get) / 2;
        let at = |ticks: u64| {
            TICKS.with(|t| t.set(ticks));
            counter.now_ns(real)
        };
        assert_eq!(at(1000), 500, "the clock's time while the rate is not known");
        let start = 1 << 24;
        assert_eq!(at(start), start / 2);
        TICKS.with(|t| t.set(start + 2_000_000));
        assert_eq!(counter.now_ns(|| unreachable!("not asked")), (start + 2_000_000) / 2);
        // The clock was set forth or the counter is off: the next look corrects it.
        TICKS.with(|t| t.set(start + (1 << 26)));
        assert_eq!(counter.now_ns(|| 77_000_000), 77_000_000);
    }

    #[test]
    fn time_does_not_go_back_where_the_counter_does() {
        let counter = clock();
        TICKS.with(|t| t.set(1 << 24));
        assert_eq!(counter.now_ns(|| 9_000_000), 9_000_000);
        TICKS.with(|t| t.set(5));
        assert_eq!(counter.now_ns(|| 8_999_999), 9_000_000);
    }
}
