//! The clock at its ports and on its wires.

use super::DateTime;
use super::cmos::{CMOS_BYTES, CmosSizes, power_on};
use super::registers::*;
use crate::device::Device;
use crate::isa_cycles;
use serde::{Deserialize, Serialize};
use trimotor_bus::board::CMOS;
use trimotor_bus::time::NS_PER_SECOND;
use trimotor_bus::{GuestTime, IrqLine, Port, PortDevice, RestoreError, SaveState, Timed, Width};

/// How long before the end of a second the update bit is set: 244 microseconds of warning and
/// 1984 microseconds of update.
const UPDATE_NS: u64 = 2_228_000;
/// The time base's frequency in hertz.
const BASE_HZ: u64 = 32_768;
/// Register A at power-on: 32.768 kHz time base, 1024 Hz periodic rate.
const A_POWER_ON: u8 = 0x26;

/// Everything that the clock remembers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RtcStateV1 {
    index: u8,
    index_extended: u8,
    /// Both banks; the time bytes count only while the clock stands still.
    cmos: Vec<u8>,
    /// Seconds since 1970 when a second last began that `phase` names.
    base_seconds: i64,
    /// Guest time at which `base_seconds` began, in nanoseconds.
    phase: u64,
    /// What the weekday register is ahead of the date's, 0 to 6.
    weekday_offset: u8,
    flags: u8,
    /// Whole seconds and periods since power-on whose flags are set already.
    seen_seconds: u64,
    seen_periods: u64,
}

/// The clock and CMOS memory.
#[derive(Debug)]
pub struct Rtc {
    irq: IrqLine,
    nmi_mask: IrqLine,
    state: RtcStateV1,
}

impl Rtc {
    /// A clock that shows `seconds` (since 1970, as the guest shall see it: UTC or local) at
    /// guest time 0. `nmi_mask` is driven by bit 7 of port 70h.
    pub fn new(irq: IrqLine, nmi_mask: IrqLine, seconds: i64, sizes: CmosSizes) -> Self {
        let mut cmos = power_on(sizes).to_vec();
        cmos[usize::from(A)] = A_POWER_ON;
        cmos[usize::from(B)] = HOURS_24;
        // Years 0 to 9999 are what the registers can show.
        let base_seconds = seconds.clamp(-62_167_219_200, 253_402_300_799);
        let state = RtcStateV1 {
            index: 0,
            index_extended: 0,
            cmos,
            base_seconds,
            phase: 0,
            weekday_offset: 0,
            flags: 0,
            seen_seconds: 0,
            seen_periods: 0,
        };
        Self { irq, nmi_mask, state }
    }
    /// The reset pin: enables and flags are cleared, time and memory stay.
    pub fn reset(&mut self) {
        self.state.cmos[usize::from(B)] &= !(PERIODIC | ALARM | UPDATE_ENDED);
        self.state.flags = 0;
        self.state.index = 0;
        self.nmi_mask.set(false);
        self.drive();
    }
    /// A byte of CMOS memory (0 to 255), for firmware and the monitor.
    pub fn byte(&self, at: u8) -> u8 {
        self.state.cmos[usize::from(at)]
    }
    /// Sets a byte of CMOS memory (0 to 255) before the guest runs.
    pub fn set_byte(&mut self, at: u8, value: u8) {
        self.state.cmos[usize::from(at)] = value;
    }

    fn a(&self) -> u8 {
        self.byte(A)
    }
    fn b(&self) -> u8 {
        self.byte(B)
    }
    /// Whether the clock stands still: SET, or the divider held in reset.
    fn stopped(&self) -> bool {
        self.b() & SET != 0 || self.a() & 0x60 == 0x60
    }
    /// Whole seconds since `phase`.
    fn elapsed(&self, now: GuestTime) -> u64 {
        now.ns().saturating_sub(self.state.phase) / NS_PER_SECOND
    }
    fn seconds(&self, now: GuestTime) -> i64 {
        self.state.base_seconds + self.elapsed(now) as i64
    }
    /// Nanoseconds of the periodic rate, if one is selected.
    fn period_ticks(&self) -> Option<u64> {
        match self.a() & 0xF {
            0 => None,
            1 => Some(128),
            2 => Some(256),
            rate => Some(1 << (rate - 1)),
        }
    }
    fn periods(&self, now: GuestTime) -> u64 {
        self.period_ticks().map_or(0, |ticks| now.ticks(BASE_HZ) / ticks)
    }

    /// Sets the flags of what happened up to now.
    fn catch_up(&mut self, now: GuestTime) {
        let periods = self.periods(now);
        if periods > self.state.seen_periods {
            self.state.flags |= PERIODIC;
        }
        self.state.seen_periods = periods;
        if self.stopped() {
            return;
        }
        let elapsed = self.elapsed(now);
        let seen = self.state.seen_seconds;
        if elapsed > seen {
            self.state.flags |= UPDATE_ENDED;
            // A day's seconds hold every alarm that can match.
            let first = (seen + 1).max(elapsed.saturating_sub(86_400));
            if self.next_alarm(self.state.base_seconds + first as i64, elapsed - first + 1).is_some() {
                self.state.flags |= ALARM;
            }
            self.state.seen_seconds = elapsed;
        }
    }
    /// How many seconds after `from` the alarm matches, within `span` seconds (a day at most).
    fn next_alarm(&self, from: i64, span: u64) -> Option<u64> {
        let second_of_day = from.rem_euclid(86_400) as u64;
        let hour = self.alarm_field(ALARM_HOURS);
        let minute = self.alarm_field(ALARM_MINUTES);
        let second = self.alarm_field(ALARM_SECONDS);
        let matches = |wanted: Option<u8>, value: u64| wanted.is_none_or(|w| u64::from(w) == value);
        let mut at = 0;
        while at < span.min(86_400) {
            let t = (second_of_day + at) % 86_400;
            if !matches(hour, t / 3600) {
                at += 3600 - t % 3600;
            } else if !matches(minute, t / 60 % 60) {
                at += 60 - t % 60;
            } else if !matches(second, t % 60) {
                at += 1;
            } else {
                return Some(at);
            }
        }
        None
    }
    /// An alarm register's value, `None` where it matches anything (C0h to FFh).
    fn alarm_field(&self, register: u8) -> Option<u8> {
        let raw = self.byte(register);
        (raw < 0xC0).then(|| if register == ALARM_HOURS { self.decode_hours(raw) } else { self.decode(raw) })
    }
    fn drive(&self) {
        let enabled = self.state.flags & self.b() & (PERIODIC | ALARM | UPDATE_ENDED);
        self.irq.set(enabled != 0);
    }

    fn encode(&self, value: u8) -> u8 {
        if self.b() & BINARY != 0 { value } else { (value / 10 % 10) << 4 | (value % 10) }
    }
    fn decode(&self, value: u8) -> u8 {
        if self.b() & BINARY != 0 { value } else { (value >> 4) * 10 + (value & 0xF) }
    }
    fn encode_hours(&self, hour: u8) -> u8 {
        if self.b() & HOURS_24 != 0 {
            return self.encode(hour);
        }
        let twelve = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
        self.encode(twelve) | if hour >= 12 { PM } else { 0 }
    }
    fn decode_hours(&self, raw: u8) -> u8 {
        if self.b() & HOURS_24 != 0 {
            return self.decode(raw);
        }
        self.decode(raw & !PM) % 12 + if raw & PM != 0 { 12 } else { 0 }
    }
    /// Writes the time that the clock shows into the time bytes.
    fn show_time(&mut self, now: GuestTime) {
        let date = DateTime::from_seconds(self.seconds(now));
        let weekday = (date.weekday + self.state.weekday_offset) % 7 + 1;
        let century = (date.year.rem_euclid(10_000) / 100) as u8;
        for (register, value) in [
            (SECONDS, self.encode(date.second)),
            (MINUTES, self.encode(date.minute)),
            (HOURS, self.encode_hours(date.hour)),
            (WEEKDAY, self.encode(weekday)),
            (DAY, self.encode(date.day)),
            (MONTH, self.encode(date.month)),
            (YEAR, self.encode(date.year.rem_euclid(100) as u8)),
            // The century is memory that firmware keeps in BCD in either mode.
            (CENTURY, (century / 10) << 4 | (century % 10)),
        ] {
            self.state.cmos[usize::from(register)] = value;
        }
    }
    /// Starts the clock at the time in the time bytes; the first update comes after `first_ns`.
    fn take_time(&mut self, now: GuestTime, first_ns: u64) {
        let field = |register| self.decode(self.byte(register));
        let century = self.byte(CENTURY);
        let date = DateTime {
            year: i64::from((century >> 4) * 10 + (century & 0xF)) * 100 + i64::from(field(YEAR)),
            month: field(MONTH),
            day: field(DAY),
            hour: self.decode_hours(self.byte(HOURS)),
            minute: field(MINUTES),
            second: field(SECONDS),
            weekday: 0,
        };
        let seconds = date.to_seconds();
        let natural = DateTime::from_seconds(seconds).weekday;
        let weekday = field(WEEKDAY).wrapping_sub(1) % 7;
        let s = &mut self.state;
        s.weekday_offset = (weekday + 7 - natural) % 7;
        // A second that began before guest time 0 cannot be named: name the next one.
        let done = NS_PER_SECOND - first_ns;
        (s.phase, s.base_seconds) = match now.ns().checked_sub(done) {
            Some(phase) => (phase, seconds),
            None => (now.ns() + first_ns, seconds + 1),
        };
        s.seen_seconds = 0;
    }

    fn read_cmos(&mut self, index: u8, now: GuestTime) -> u8 {
        self.catch_up(now);
        match index {
            SECONDS | MINUTES | HOURS | WEEKDAY..=YEAR | CENTURY if !self.stopped() => self.show_time(now),
            A => {
                let within = now.ns().saturating_sub(self.state.phase) % NS_PER_SECOND;
                let updating = !self.stopped() && within >= NS_PER_SECOND - UPDATE_NS;
                return self.a() | if updating { UPDATE_IN_PROGRESS } else { 0 };
            }
            C => {
                let flags = std::mem::take(&mut self.state.flags);
                let interrupt = flags & self.b() & (PERIODIC | ALARM | UPDATE_ENDED) != 0;
                self.drive();
                return flags | if interrupt { INTERRUPT } else { 0 };
            }
            D => return VALID,
            _ => {}
        }
        self.byte(index)
    }
    fn write_cmos(&mut self, index: u8, value: u8, now: GuestTime) {
        self.catch_up(now);
        match index {
            SECONDS | MINUTES | HOURS | WEEKDAY..=YEAR | CENTURY if !self.stopped() => {
                // A running clock takes a single field at once and keeps its phase.
                let within = now.ns().saturating_sub(self.state.phase) % NS_PER_SECOND;
                self.show_time(now);
                self.set_byte(index, value);
                self.take_time(now, NS_PER_SECOND - within);
            }
            A | B => self.write_control(index, value, now),
            C | D => {}
            _ => self.set_byte(index, value),
        }
        self.drive();
    }
    fn write_control(&mut self, index: u8, value: u8, now: GuestTime) {
        let was_stopped = self.stopped();
        if !was_stopped {
            self.show_time(now);
        }
        let divider_was_reset = self.a() & 0x60 == 0x60;
        let value = if index == A { value & !UPDATE_IN_PROGRESS } else { value };
        self.set_byte(index, value);
        if index == B && value & SET != 0 {
            self.state.cmos[usize::from(B)] &= !UPDATE_ENDED;
        }
        if was_stopped && !self.stopped() {
            // Released from reset, the divider makes its first update after half a second.
            self.take_time(now, if divider_was_reset { NS_PER_SECOND / 2 } else { NS_PER_SECOND });
        } else if !was_stopped && !self.stopped() && index == B {
            // The number formats may have changed: show them anew.
            self.show_time(now);
        }
        self.state.seen_periods = self.periods(now);
    }
}

impl PortDevice for Rtc {
    fn port_read(&mut self, port: Port, width: Width, now: GuestTime) -> u32 {
        isa_cycles::read_bytes(port, width, |p| match p.0.wrapping_sub(CMOS.0) {
            1 => self.read_cmos(self.state.index, now),
            2 => self.state.index_extended,
            3 => self.byte(0x80 | self.state.index_extended),
            _ => 0xFF,
        })
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime) {
        isa_cycles::write_bytes(port, width, value, |p, byte| match p.0.wrapping_sub(CMOS.0) {
            0 => {
                self.nmi_mask.set(byte & 0x80 != 0);
                self.state.index = byte & 0x7F;
            }
            1 => self.write_cmos(self.state.index, byte, now),
            2 => self.state.index_extended = byte & 0x7F,
            3 => self.set_byte(0x80 | self.state.index_extended, byte),
            _ => {}
        });
    }
}

impl Timed for Rtc {
    fn next_event(&self) -> Option<GuestTime> {
        // Flags that are set already, or that nobody waits for, need no alarm.
        let waiting = self.b() & !self.state.flags;
        let periodic = (waiting & PERIODIC != 0)
            .then(|| self.period_ticks())
            .flatten()
            .map(|ticks| GuestTime::of_tick((self.state.seen_periods + 1) * ticks, BASE_HZ));
        let next = self.state.seen_seconds + 1;
        let at =
            |second: u64| GuestTime(self.state.phase.saturating_add(second.saturating_mul(NS_PER_SECOND)));
        let update = (waiting & UPDATE_ENDED != 0 && !self.stopped()).then(|| at(next));
        let alarm = (waiting & ALARM != 0 && !self.stopped())
            .then(|| self.next_alarm(self.state.base_seconds + next as i64, 86_400))
            .flatten()
            .map(|seconds| at(next + seconds));
        [periodic, update, alarm].into_iter().flatten().min()
    }
    fn advance(&mut self, now: GuestTime) {
        self.catch_up(now);
        self.drive();
    }
}

impl SaveState for Rtc {
    type State = RtcStateV1;
    fn save(&self) -> RtcStateV1 {
        let Self { irq: _, nmi_mask: _, state } = self;
        state.clone()
    }
    fn restore(&mut self, state: RtcStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "RTC", field, value });
        if state.cmos.len() != CMOS_BYTES {
            return refuse("cmos", format!("{} bytes long", state.cmos.len()));
        }
        if state.index > 0x7F || state.index_extended > 0x7F {
            return refuse("index", state.index.to_string());
        }
        if state.weekday_offset > 6 {
            return refuse("weekday_offset", state.weekday_offset.to_string());
        }
        let years = -100_000_000_000..1_000_000_000_000;
        if !years.contains(&state.base_seconds) {
            return refuse("base_seconds", state.base_seconds.to_string());
        }
        if state.seen_seconds > 1 << 40 || state.seen_periods > 1 << 50 {
            return refuse("seen", state.seen_periods.to_string());
        }
        if state.flags & !(PERIODIC | ALARM | UPDATE_ENDED) != 0 {
            return refuse("flags", state.flags.to_string());
        }
        self.state = state;
        self.drive();
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

impl Device for Rtc {
    fn reset(&mut self, _now: GuestTime) {
        Rtc::reset(self);
    }
    fn info(&self) -> String {
        format!("registers A {:#04x}, B {:#04x}", self.a(), self.b())
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
}
