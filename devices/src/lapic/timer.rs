//! The local APIC's timer.

use super::LocalApic;
use super::registers::{Lvt, LvtEntry};
use crate::saved_state::saved_state;
use trimotor_bus::board::APIC_TIMER_HZ;
use trimotor_bus::time::NS_PER_SECOND;
use trimotor_bus::{GuestTime, RestoreError};

/// Nanoseconds of one tick of the undivided clock.
const TICK_NS: u64 = NS_PER_SECOND / APIC_TIMER_HZ;
/// The shortest period that raises events by itself: a guest that programs a shorter one gets
/// one interrupt for several periods, so that it cannot keep the machine busy with alarms alone.
const MIN_PERIOD_NS: u64 = 2_000;

/// The timer's part of the local APIC's state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct TimerState {
    pub(super) divide: u8,
    pub(super) initial: u32,
    /// When it expires next; `None`: stopped.
    pub(super) expires: Option<GuestTime>,
    /// IA32_TSC_DEADLINE; 0: not armed.
    pub(super) deadline: u64,
    /// What is added to the ticks since power-on to give this CPU's TSC.
    pub(super) tsc_offset: u64,
}

saved_state! {
    /// The saved timer.
    pub struct TimerStateV1 of TimerState {
        divide: u8,
        initial: u32,
        expires: Option<GuestTime>,
        deadline: u64,
        tsc_offset: u64,
    }
}

impl TimerState {
    pub(super) fn check(&self) -> Result<(), RestoreError> {
        if self.divide & !0xB != 0 {
            let value = format!("{:#x}", self.divide);
            return Err(RestoreError { part: "local APIC", field: "timer.divide", value });
        }
        Ok(())
    }
    /// Nanoseconds of one tick of the divided clock.
    fn tick_ns(&self) -> u64 {
        let code = (self.divide & 3) | (self.divide >> 1 & 4);
        TICK_NS << ((code + 1) & 7)
    }
}

impl LocalApic {
    /// The TSC of this CPU.
    pub fn tsc(&self, now: GuestTime) -> u64 {
        now.ticks(self.model.tsc_hz).wrapping_add(self.state.timer.tsc_offset)
    }
    /// Sets what is added to the ticks since power-on to give this CPU's TSC (writes of
    /// IA32_TIME_STAMP_COUNTER and IA32_TSC_ADJUST), modulo 2^64.
    pub fn set_tsc_offset(&mut self, offset: u64, now: GuestTime) {
        self.state.timer.tsc_offset = offset;
        self.arm_deadline(now);
    }
    /// When the timer needs [`advance`](Self::advance): not while its interrupt is masked.
    pub fn next_event(&self) -> Option<GuestTime> {
        if self.lvt(LvtEntry::Timer).contains(Lvt::MASKED) { None } else { self.state.timer.expires }
    }

    fn deadline_mode(&self) -> bool {
        self.lvt(LvtEntry::Timer).contains(Lvt::TSC_DEADLINE)
    }
    /// IA32_TSC_DEADLINE as it reads.
    pub(super) fn deadline(&self) -> u64 {
        self.state.timer.deadline
    }
    /// A write to IA32_TSC_DEADLINE; ignored in other timer modes.
    pub(super) fn set_deadline(&mut self, deadline: u64, now: GuestTime) {
        if self.deadline_mode() {
            self.state.timer.deadline = deadline;
            self.arm_deadline(now);
        }
    }
    fn arm_deadline(&mut self, now: GuestTime) {
        if !self.deadline_mode() {
            return;
        }
        let deadline = self.state.timer.deadline;
        self.state.timer.expires = (deadline != 0).then(|| {
            let remaining = deadline.saturating_sub(self.tsc(now));
            let target = now.ticks(self.model.tsc_hz).saturating_add(remaining);
            if remaining == 0 { now } else { GuestTime::of_tick(target, self.model.tsc_hz) }
        });
    }
    /// A write to the initial count register: starts or, with 0, stops.
    pub(super) fn set_initial_count(&mut self, count: u32, now: GuestTime) {
        if self.deadline_mode() {
            return;
        }
        let t = &mut self.state.timer;
        t.initial = count;
        t.expires = (count != 0).then(|| now + u64::from(count) * t.tick_ns());
    }
    /// The current count.
    pub(super) fn current_count(&self, now: GuestTime) -> u32 {
        match self.state.timer.expires {
            Some(expires) if !self.deadline_mode() => {
                expires.since(now).div_ceil(self.state.timer.tick_ns()).min(u64::from(u32::MAX)) as u32
            }
            _ => 0,
        }
    }
    /// A write to the divide configuration: the current count goes on at the new rate.
    pub(super) fn set_divide(&mut self, value: u32, now: GuestTime) {
        let count = u64::from(self.current_count(now));
        let deadline_mode = self.deadline_mode();
        let t = &mut self.state.timer;
        t.divide = value as u8 & 0xB;
        if t.expires.is_some() && !deadline_mode {
            t.expires = Some(now + count * t.tick_ns());
        }
    }
    /// A change of the timer's LVT entry: changing to or from TSC-deadline mode disarms.
    pub(super) fn timer_mode_changed(&mut self, old: Lvt) {
        let new = self.lvt(LvtEntry::Timer);
        if (old ^ new).contains(Lvt::TSC_DEADLINE) {
            self.state.timer.expires = None;
            self.state.timer.deadline = 0;
            self.state.timer.initial = 0;
        }
    }
    /// Whether the timer has expired since it was last asked; reloads it where it is periodic.
    pub(super) fn expire_timer(&mut self, now: GuestTime) -> bool {
        let periodic = self.lvt(LvtEntry::Timer).contains(Lvt::PERIODIC) && !self.deadline_mode();
        let t = &mut self.state.timer;
        let Some(expired) = t.expires.filter(|at| *at <= now) else { return false };
        t.deadline = 0;
        t.expires = if periodic && t.initial != 0 {
            let period = (u64::from(t.initial) * t.tick_ns()).max(MIN_PERIOD_NS);
            let missed = now.since(expired) / period;
            Some(expired + period.saturating_mul(missed + 1))
        } else {
            None
        };
        true
    }
}
