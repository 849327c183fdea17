//! The HPET's counter and comparators, as functions of time.

use serde::{Deserialize, Serialize};
use trimotor_bus::GuestTime;

/// The counter's frequency in hertz.
pub const HPET_HZ: u64 = 100_000_000;
/// Its period in femtoseconds, as the capability register says.
pub const PERIOD_FS: u64 = 10_000_000;
/// Comparators.
pub const TIMERS: usize = 3;
/// The shortest time in ticks between two alarms of a periodic timer (2 microseconds).
const MIN_PERIOD_TICKS: u64 = 200;
/// IOAPIC pins that timers can use: 16 to 23, which no ISA device has.
pub const ROUTES: u32 = 0x00FF_0000;

/// Timer configuration: level triggered.
pub const LEVEL: u64 = 1 << 1;
/// Timer configuration: interrupt enabled.
pub const ENABLE: u64 = 1 << 2;
/// Timer configuration: periodic.
pub const PERIODIC: u64 = 1 << 3;
/// Timer configuration: can be periodic (read only).
pub const PERIODIC_CAPABLE: u64 = 1 << 4;
/// Timer configuration: 64 bits wide (read only).
pub const SIZE_64: u64 = 1 << 5;
/// Timer configuration: the next write sets the accumulator.
pub const SET_VALUE: u64 = 1 << 6;
/// Timer configuration: 32-bit mode.
pub const MODE_32: u64 = 1 << 8;
/// Timer configuration: the IOAPIC pin.
pub const ROUTE: u64 = 0x1F << 9;

/// One comparator's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TimerStateV1 {
    pub(super) config: u64,
    pub(super) comparator: u64,
    /// What a periodic timer adds to its comparator.
    pub(super) period: u64,
}

/// Everything that the HPET remembers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HpetStateV1 {
    pub(super) config: u64,
    pub(super) status: u64,
    pub(super) timers: [TimerStateV1; TIMERS],
    /// The counter when it was last started or set.
    pub(super) base: u64,
    /// The tick of guest time then.
    pub(super) base_tick: u64,
    /// The counter up to which comparators have been looked at.
    pub(super) seen: u64,
}

impl HpetStateV1 {
    /// Whether the counter runs.
    pub(super) fn running(&self) -> bool {
        self.config & 1 != 0
    }
    /// The main counter.
    pub(super) fn counter(&self, now: GuestTime) -> u64 {
        let elapsed = if self.running() { now.ticks(HPET_HZ).saturating_sub(self.base_tick) } else { 0 };
        self.base.wrapping_add(elapsed)
    }
    /// When the counter shows `ahead` ticks more than it had when last looked at.
    fn time_of(&self, ahead: u64) -> GuestTime {
        let since_base = self.seen.wrapping_sub(self.base);
        GuestTime::of_tick(self.base_tick.saturating_add(since_base).saturating_add(ahead), HPET_HZ)
    }
    /// When the next enabled comparator matches.
    pub(super) fn next_event(&self) -> Option<GuestTime> {
        if !self.running() {
            return None;
        }
        let ahead = self.timers.iter().enumerate().filter_map(|(i, timer)| {
            // A level that is asserted already cannot rise.
            let asserted = timer.config & LEVEL != 0 && self.status & 1 << i != 0;
            (timer.config & ENABLE != 0 && !asserted).then(|| timer.ticks_ahead(self.seen))
        });
        ahead.min().map(|ticks| self.time_of(ticks))
    }
}

impl TimerStateV1 {
    pub(super) fn periodic(&self) -> bool {
        self.config & PERIODIC != 0
    }
    fn mask(&self) -> u64 {
        if self.config & MODE_32 != 0 { 0xFFFF_FFFF } else { u64::MAX }
    }
    /// How many ticks after the counter was `seen` this comparator matches next: at least 1.
    fn ticks_ahead(&self, seen: u64) -> u64 {
        (self.comparator.wrapping_sub(seen).wrapping_sub(1) & self.mask()).saturating_add(1)
    }
    /// Whether the comparator matches after `seen` up to `counter`; a periodic one moves on.
    pub(super) fn matches(&mut self, seen: u64, counter: u64) -> bool {
        let passed = counter.wrapping_sub(seen);
        let ahead = self.ticks_ahead(seen);
        if ahead > passed {
            return false;
        }
        if self.periodic() && self.period != 0 {
            let late = passed - ahead;
            let step = self.period.max(MIN_PERIOD_TICKS);
            self.comparator = self.comparator.wrapping_add(step.wrapping_mul(late / step + 1)) & self.mask();
        }
        true
    }
}
