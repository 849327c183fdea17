//! What the host gives a machine: a clock and a random seed.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use trimotor_devices::virtio::rng::Entropy;
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

/// Asks the host to wake this thread, and those that it starts from now on, as soon as a sleep is over: Linux waits some
/// 50 us longer otherwise, and the guest's timers would be late by that.
pub fn sleep_precisely() {
    const SLACK_NS: NonZeroU64 = NonZeroU64::MIN;
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_current_timer_slack(Some(SLACK_NS)) {
        log::debug!("the timer slack stays as it is: {error}");
    }
}

/// The host's monotonic clock, in nanoseconds since the first call.
pub fn monotonic_ns() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
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
///
/// The time is a line over ticks. Each look at the clock bends it, where the line then is, towards the clock:
/// it has no steps, so that all threads see the same time and none sees it go back.
struct CounterClock {
    read: fn() -> u64,
    line: SharedLine,
    /// Ticks and nanoseconds of the first look since the last jump; who bends the line holds it.
    first: Mutex<(u64, u64)>,
}

/// Time by ticks.
#[derive(Clone, Copy, Debug)]
struct Line {
    ticks: u64,
    ns: u64,
    /// Nanoseconds a tick, times 2^32; 0 until two looks at the clock lie far enough apart.
    slope: u64,
}
impl Line {
    fn at(&self, ticks: u64) -> u64 {
        let passed = u128::from(ticks.wrapping_sub(self.ticks));
        self.ns.saturating_add(((passed * u128::from(self.slope)) >> 32) as u64)
    }
}

/// A line that many threads read and one at a time changes.
struct SharedLine {
    /// Odd while it changes.
    version: AtomicU64,
    values: [AtomicU64; 3],
}
impl SharedLine {
    fn new(line: Line) -> SharedLine {
        SharedLine {
            version: AtomicU64::new(0),
            values: [line.ticks, line.ns, line.slope].map(AtomicU64::new),
        }
    }
    fn get(&self) -> Line {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let [ticks, ns, slope] = [0, 1, 2].map(|i| self.values[i].load(Ordering::Acquire));
            if version.is_multiple_of(2) && self.version.load(Ordering::Acquire) == version {
                return Line { ticks, ns, slope };
            }
            std::hint::spin_loop();
        }
    }
    fn set(&self, line: Line) {
        self.version.fetch_add(1, Ordering::AcqRel);
        for (value, new) in self.values.iter().zip([line.ticks, line.ns, line.slope]) {
            value.store(new, Ordering::Release);
        }
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

impl CounterClock {
    /// Ticks between two looks at the clock: some ten milliseconds.
    const INTERVAL: u64 = 1 << 25;
    /// Ticks that are enough to measure the counter's rate to a few millionths.
    const ENOUGH: u64 = 1 << 23;
    /// More ticks than these say nothing about the rate: the counter went back, or the host slept.
    const MOST: u64 = 1 << 36;
    /// The line jumps ahead where it lags by so many nanoseconds, and bends where it is less.
    const LAG: u64 = 1_000_000;

    /// `None` where the counter's rate is not constant.
    fn new() -> Option<CounterClock> {
        let read = constant_counter()?;
        Some(CounterClock::starting_at(read, read()))
    }
    fn starting_at(read: fn() -> u64, ticks: u64) -> CounterClock {
        let line = SharedLine::new(Line { ticks, ns: 0, slope: 0 });
        CounterClock { read, line, first: Mutex::new((ticks, 0)) }
    }

    fn now_ns(&self, clock: impl Fn() -> u64) -> u64 {
        let line = self.line.get();
        let ticks = (self.read)();
        // A counter that went back, or a long sleep of the host, shows as a large difference.
        if line.slope != 0 && ticks.wrapping_sub(line.ticks) < Self::INTERVAL {
            return line.at(ticks);
        }
        self.look_at_clock(clock)
    }
    #[cold]
    fn look_at_clock(&self, clock: impl Fn() -> u64) -> u64 {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let line = self.line.get();
        let (ticks, now) = ((self.read)(), clock());
        let passed = ticks.wrapping_sub(line.ticks);
        if line.slope != 0 && passed < Self::INTERVAL {
            // Another thread has looked meanwhile.
            return line.at(ticks);
        }
        let rate = |(from, from_ns): (u64, u64)| {
            let ticks = ticks.wrapping_sub(from);
            let usable = (Self::ENOUGH..=1 << 60).contains(&ticks) && now > from_ns;
            usable.then(|| ((u128::from(now - from_ns) << 32) / u128::from(ticks)) as u64)
        };
        if line.slope == 0 {
            if let Some(slope) = rate(*first) {
                self.line.set(Line { ticks, ns: now, slope });
            }
            return now;
        }
        let told = if passed <= Self::MOST { line.at(ticks) } else { line.ns };
        if passed > Self::MOST || now > told + Self::LAG {
            let ns = now.max(told);
            *first = (ticks, ns);
            self.line.set(Line { ticks, ns, ..line });
            return ns;
        }
        // So that it meets the clock after another interval, if the rate stays.
        let rate = rate(*first).unwrap_or(line.slope);
        let off = i128::from(now) - i128::from(told);
        let bent = i128::from(rate) + (off << 32) / i128::from(Self::INTERVAL);
        let slope = bent.clamp(i128::from(rate / 2), i128::from(rate) * 2) as u64;
        self.line.set(Line { ticks, ns: told, slope });
        told
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

/// Random bytes of the host, for devices that give them to the guest.
pub fn entropy() -> Entropy {
    let source = Mutex::new(File::open("/dev/urandom").ok());
    Arc::new(move |_, into: &mut [u8]| {
        let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the host has none the guest gets none: zeroes, which its kernel mixes with what it has.
        _ = source.as_mut().map(|source| source.read_exact(into));
    })
}

/// The seed of the guest's random numbers: the host's, or with `icount` always the same.
pub fn random_seed(icount: bool) -> u64 {
    let mut bytes = FIXED_SEED.to_le_bytes();
    if !icount {
        randomize(&mut bytes);
    }
    u64::from_le_bytes(bytes)
}
/// Puts the host's random numbers in the place of these: where it has none, the fixed ones are better than none.
fn randomize(bytes: &mut [u8]) {
    if let Ok(mut source) = File::open("/dev/urandom") {
        let _ = source.read_exact(bytes);
    }
}

/// This program's command line, without its name.
pub fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned()).collect()
}

/// Random bytes of the host's.
pub fn random_bytes() -> [u8; 16] {
    let seed = u128::from(FIXED_SEED);
    let mut bytes = (seed << 64 | seed).to_le_bytes();
    randomize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a nanosecond a tick, and a clock that is `off` nanoseconds off.
    static TICKS: AtomicU64 = AtomicU64::new(0);
    fn ticks() -> u64 {
        TICKS.load(Ordering::Relaxed)
    }
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    #[test]
    fn the_counter_tells_the_time_between_looks_at_the_clock() {
        let _alone = ONE_AT_A_TIME.lock();
        let counter = CounterClock::starting_at(ticks, 0);
        let at = |ticks: u64, off: i64| {
            TICKS.store(ticks, Ordering::Relaxed);
            counter.now_ns(|| (ticks / 2).wrapping_add_signed(off))
        };
        assert_eq!(at(1000, 0), 500, "the clock's time while the rate is not known");
        let start = 1 << 24;
        assert_eq!(at(start, 0), start / 2);
        TICKS.store(start + 2_000_000, Ordering::Relaxed);
        assert_eq!(counter.now_ns(|| unreachable!("not asked")), (start + 2_000_000) / 2);
        // The clock is a little ahead or behind: time goes on without a step, and meets it.
        let mut last = 0;
        for round in 1..20 {
            let ticks = start + round * (CounterClock::INTERVAL + 5);
            let now = at(ticks, -3000);
            assert!(now > last);
            last = now;
            let before = now;
            assert!(at(ticks, 0) - before < 2, "no step");
            assert!(round < 12 || now.abs_diff(ticks / 2 - 3000) < 400, "round {round}: {now}");
        }
        // The clock was set forth, as after a sleep of the host: so is the time.
        let ticks = start + (1 << 32);
        assert_eq!(at(ticks, 5_000_000_000), ticks / 2 + 5_000_000_000);
    }

    #[test]
    fn time_does_not_go_back_where_the_counter_does() {
        let _alone = ONE_AT_A_TIME.lock();
        let counter = CounterClock::starting_at(ticks, 0);
        TICKS.store(1 << 24, Ordering::Relaxed);
        assert_eq!(counter.now_ns(|| 9_000_000), 9_000_000);
        TICKS.store(5, Ordering::Relaxed);
        assert_eq!(counter.now_ns(|| 8_999_999), 9_000_000);
    }

    #[test]
    fn threads_see_one_time() {
        let clock = MonotonicClock::new();
        let latest = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..200_000 {
                        let known = latest.load(Ordering::SeqCst);
                        let now = clock.now_ns();
                        // The counter may be read before the word, whose line the other thread has.
                        assert!(now + 2000 >= known, "{now} after another thread saw {known}");
                        latest.fetch_max(now, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
