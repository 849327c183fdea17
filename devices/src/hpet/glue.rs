//! The HPET's registers and wires.

use super::timer::*;
use crate::device::Device;
use crate::interrupts::{InterruptFabric, lines};
use std::sync::Arc;
use trimotor_bus::{GuestTime, IrqLine, IrqSink, MmioDevice, RestoreError, SaveState, Timed, Width};

/// General capabilities: Intel, legacy replacement, 64 bits, three timers, revision 1.
const CAPABILITIES: u64 = PERIOD_FS << 32 | 0x8086 << 16 | 1 << 15 | 1 << 13 | (TIMERS as u64 - 1) << 8 | 1;
/// General configuration: legacy replacement.
const LEGACY: u64 = 1 << 1;

/// Offsets of the general registers.
const CAPABILITY_REGISTER: u64 = 0x00;
const CONFIG_REGISTER: u64 = 0x10;
const STATUS_REGISTER: u64 = 0x20;
const COUNTER_REGISTER: u64 = 0xF0;
const TIMER_REGISTERS: u64 = 0x100;

/// The configuration bits of a timer that software can write; timer 0 alone can be periodic.
fn writable(timer: usize) -> u64 {
    LEVEL | ENABLE | SET_VALUE | MODE_32 | ROUTE | if timer == 0 { PERIODIC } else { 0 }
}

/// The HPET.
pub struct Hpet {
    /// Each timer's IOAPIC pins: two timers may use one.
    pins: [Arc<dyn IrqSink>; TIMERS],
    /// What replaces the PIT and the RTC.
    legacy_lines: [IrqLine; 2],
    legacy: IrqLine,
    state: HpetStateV1,
}

impl Hpet {
    /// An HPET at power-on whose wires lead to `fabric`.
    pub fn new(fabric: &Arc<InterruptFabric>) -> Self {
        let mut hpet = Self {
            pins: std::array::from_fn(|_| fabric.holder()),
            legacy_lines: [fabric.line(lines::HPET_TIMER_0), fabric.line(lines::HPET_TIMER_1)],
            legacy: fabric.line(lines::HPET_LEGACY),
            state: HpetStateV1::default(),
        };
        hpet.reset();
        hpet
    }
    /// Back to power-on.
    pub fn reset(&mut self) {
        for timer in 0..TIMERS {
            self.drive(timer, false);
        }
        self.state = HpetStateV1::default();
        for timer in &mut self.state.timers {
            timer.comparator = u64::MAX;
        }
        self.legacy.set(false);
    }
    /// Drives the wire of a timer, where it leads now.
    fn drive(&self, timer: usize, high: bool) {
        if self.is_legacy(timer) {
            return self.legacy_lines[timer].set(high);
        }
        let pin = ((self.state.timers[timer].config & ROUTE) >> 9) as u8;
        if ROUTES >> pin & 1 != 0 {
            self.pins[timer].set_level(pin, high);
        }
    }
    fn catch_up(&mut self, now: GuestTime) {
        let counter = self.state.counter(now);
        let seen = std::mem::replace(&mut self.state.seen, counter);
        if seen == counter {
            return;
        }
        for i in 0..TIMERS {
            let timer = &mut self.state.timers[i];
            if !timer.matches(seen, counter) {
                continue;
            }
            let config = timer.config;
            if config & LEVEL != 0 {
                self.state.status |= 1 << i;
                self.drive(i, config & ENABLE != 0);
            } else if config & ENABLE != 0 {
                self.edge(i);
            }
        }
    }
    /// A timer's edge. In the place of the PIT or the RTC the wire stays high until the next one, as the PIT's
    /// does in mode 2: the PIC takes no request whose wire has fallen. The IOAPIC does, and its pins may be
    /// shared.
    fn edge(&self, i: usize) {
        self.drive(i, false);
        self.drive(i, true);
        if !self.is_legacy(i) {
            self.drive(i, false);
        }
    }
    /// Whether a timer replaces the PIT or the RTC.
    fn is_legacy(&self, timer: usize) -> bool {
        self.state.config & LEGACY != 0 && timer < self.legacy_lines.len()
    }
    fn read_register(&self, register: u64, now: GuestTime) -> u64 {
        match register {
            CAPABILITY_REGISTER => CAPABILITIES,
            CONFIG_REGISTER => self.state.config,
            STATUS_REGISTER => self.state.status,
            COUNTER_REGISTER => self.state.counter(now),
            _ => match self.timer_register(register) {
                Some((i, 0)) => {
                    let periodic = if i == 0 { PERIODIC_CAPABLE } else { 0 };
                    self.state.timers[i].config | SIZE_64 | periodic | u64::from(ROUTES) << 32
                }
                Some((i, 8)) => self.state.timers[i].comparator,
                _ => 0,
            },
        }
    }
    fn timer_register(&self, register: u64) -> Option<(usize, u64)> {
        let offset = register.checked_sub(TIMER_REGISTERS)?;
        let timer = (offset / 0x20) as usize;
        (timer < TIMERS).then_some((timer, offset % 0x20))
    }
    /// Writes the bits of a register that `mask` selects; `value` is in place already.
    fn write_register(&mut self, register: u64, value: u64, mask: u64, now: GuestTime) {
        let merged = |old: u64| old & !mask | value & mask;
        match register {
            CONFIG_REGISTER => self.configure(merged(self.state.config) & 3, now),
            STATUS_REGISTER => {
                self.state.status &= !(value & mask);
                for i in 0..TIMERS {
                    let level = self.state.timers[i].config & LEVEL != 0;
                    if value & mask & 1 << i != 0 && level {
                        self.drive(i, false);
                    }
                }
            }
            COUNTER_REGISTER => {
                let counter = merged(self.state.counter(now));
                let s = &mut self.state;
                (s.base, s.base_tick, s.seen) = (counter, now.ticks(HPET_HZ), counter);
            }
            _ => match self.timer_register(register) {
                Some((i, 0)) => self.configure_timer(i, merged(self.state.timers[i].config)),
                Some((i, 8)) => self.write_comparator(i, value, mask),
                _ => {}
            },
        }
    }
    fn configure(&mut self, new: u64, now: GuestTime) {
        let counter = self.state.counter(now);
        let s = &mut self.state;
        (s.base, s.base_tick, s.seen) = (counter, now.ticks(HPET_HZ), counter);
        let changed = s.config ^ new;
        if changed & LEGACY != 0 {
            for timer in 0..2 {
                self.drive(timer, false);
            }
        }
        self.state.config = new;
        self.legacy.set(new & LEGACY != 0);
    }
    fn configure_timer(&mut self, i: usize, new: u64) {
        let mut new = new & writable(i);
        let route = (new & ROUTE) >> 9;
        if ROUTES >> route & 1 == 0 {
            // A pin that the timer cannot use: the field keeps its value.
            new = new & !ROUTE | self.state.timers[i].config & ROUTE;
        }
        self.drive(i, false);
        let timer = &mut self.state.timers[i];
        timer.config = new;
        if new & MODE_32 != 0 {
            timer.comparator &= 0xFFFF_FFFF;
            timer.period &= 0xFFFF_FFFF;
        }
        self.drive(i, self.level(i));
    }
    /// Whether a timer's level-triggered interrupt is asserted.
    fn level(&self, i: usize) -> bool {
        let config = self.state.timers[i].config;
        config & (LEVEL | ENABLE) == LEVEL | ENABLE && self.state.status & 1 << i != 0
    }
    /// A write to a comparator sets what it compares with; for a periodic timer also (or, without
    /// the set-value bit, only) the period.
    fn write_comparator(&mut self, i: usize, value: u64, mask: u64) {
        let timer = &mut self.state.timers[i];
        let merged = |old: u64| old & !mask | value & mask;
        if timer.periodic() {
            timer.period = merged(timer.period);
        }
        if !timer.periodic() || timer.config & SET_VALUE != 0 {
            timer.comparator = merged(timer.comparator);
        }
        // The bit lasts for one write of the whole register: its lower half may come first.
        if mask & 0xFFFF_FFFF != 0 {
            timer.config &= !SET_VALUE;
        }
        if timer.config & MODE_32 != 0 {
            timer.comparator &= 0xFFFF_FFFF;
            timer.period &= 0xFFFF_FFFF;
        }
    }
}

impl MmioDevice for Hpet {
    fn mmio_read(&mut self, offset: u64, width: Width, now: GuestTime) -> u64 {
        if offset & !7 != COUNTER_REGISTER {
            self.catch_up(now);
        }
        (self.read_register(offset & !7, now) >> (8 * (offset & 7))) & width.mask()
    }
    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, now: GuestTime) {
        self.catch_up(now);
        let shift = 8 * (offset & 7);
        self.write_register(offset & !7, value << shift, width.mask() << shift, now);
    }
}

impl Timed for Hpet {
    fn next_event(&self) -> Option<GuestTime> {
        self.state.next_event()
    }
    fn advance(&mut self, now: GuestTime) {
        self.catch_up(now);
    }
}

impl SaveState for Hpet {
    type State = HpetStateV1;
    fn save(&self) -> HpetStateV1 {
        let Self { pins: _, legacy_lines: _, legacy: _, state } = self;
        state.clone()
    }
    fn restore(&mut self, state: HpetStateV1) -> Result<(), RestoreError> {
        let refuse =
            |field, value: u64| Err(RestoreError { part: "HPET", field, value: format!("{value:#x}") });
        if state.config & !3 != 0 {
            return refuse("config", state.config);
        }
        if state.status >> TIMERS != 0 {
            return refuse("status", state.status);
        }
        for (i, timer) in state.timers.iter().enumerate() {
            let route = timer.config & ROUTE;
            let can_route = route == 0 || ROUTES >> (route >> 9) & 1 != 0;
            if timer.config & !writable(i) != 0 || !can_route {
                return refuse("timer", timer.config);
            }
            if timer.config & MODE_32 != 0 && (timer.comparator | timer.period) >> 32 != 0 {
                return refuse("comparator", timer.comparator);
            }
        }
        self.state = state;
        for i in 0..TIMERS {
            self.drive(i, self.level(i));
        }
        self.legacy.set(self.state.config & LEGACY != 0);
        Ok(())
    }
}

impl Device for Hpet {
    fn reset(&mut self, _now: GuestTime) {
        Hpet::reset(self);
    }
    fn info(&self) -> String {
        let running = if self.state.running() { "counts" } else { "stands still" };
        format!("main counter {running}")
    }
    fn memory(&mut self) -> Option<&mut dyn MmioDevice> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lapic::LapicModel;
    use trimotor_bus::VcpuSignals;

    fn hpet() -> (Hpet, Arc<InterruptFabric>) {
        let fabric = InterruptFabric::new(vec![VcpuSignals::new()], LapicModel::full(1_000_000_000));
        (Hpet::new(&fabric), fabric)
    }
    fn write(hpet: &mut Hpet, offset: u64, value: u64, now: u64) {
        hpet.mmio_write(offset, Width::Qword, value, GuestTime(now));
    }

    #[test]
    fn the_counter_counts_100_mhz_while_enabled() {
        let (mut hpet, _) = hpet();
        assert_eq!(hpet.mmio_read(4, Width::Dword, GuestTime(0)), PERIOD_FS);
        assert_eq!(hpet.mmio_read(0xF0, Width::Qword, GuestTime(1000)), 0);
        write(&mut hpet, 0x10, 1, 1000);
        assert_eq!(hpet.mmio_read(0xF0, Width::Qword, GuestTime(2000)), 100);
        write(&mut hpet, 0x10, 0, 2000);
        assert_eq!(hpet.mmio_read(0xF0, Width::Dword, GuestTime(9000)), 100);
        write(&mut hpet, 0xF0, 5, 9000);
        assert_eq!(hpet.mmio_read(0xF0, Width::Qword, GuestTime(9000)), 5);
    }

    #[test]
    fn periodic_timer_0_sets_value_and_period() {
        let (mut hpet, _) = hpet();
        write(&mut hpet, 0x10, 3, 0);
        write(&mut hpet, 0x100, ENABLE | PERIODIC | SET_VALUE, 0);
        write(&mut hpet, 0x108, 1000, 0);
        write(&mut hpet, 0x108, 500, 0);
        assert_eq!(hpet.next_event(), Some(GuestTime(10_000)));
        hpet.advance(GuestTime(10_000));
        assert_eq!(hpet.next_event(), Some(GuestTime(15_000)));
        hpet.advance(GuestTime(26_000));
        assert_eq!(hpet.next_event(), Some(GuestTime(30_000)));
    }

    #[test]
    fn a_one_shot_in_32_bit_mode_matches_again_after_a_wrap() {
        let (mut hpet, _) = hpet();
        write(&mut hpet, 0x10, 1, 0);
        write(&mut hpet, 0x120, ENABLE | MODE_32 | 16 << 9, 0);
        write(&mut hpet, 0x128, 100, 0);
        assert_eq!(hpet.next_event(), Some(GuestTime(1000)));
        hpet.advance(GuestTime(1000));
        assert_eq!(hpet.next_event(), Some(GuestTime(1000 + (10 << 32))));
    }

    #[test]
    fn a_level_stays_until_status_is_cleared() {
        let (mut hpet, _) = hpet();
        write(&mut hpet, 0x10, 1, 0);
        write(&mut hpet, 0x120, ENABLE | LEVEL | 20 << 9, 0);
        write(&mut hpet, 0x128, 100, 0);
        hpet.advance(GuestTime(1000));
        assert_eq!(hpet.mmio_read(0x20, Width::Qword, GuestTime(1000)), 2);
        assert_eq!(hpet.next_event(), None);
        write(&mut hpet, 0x20, 2, 1000);
        assert_eq!(hpet.mmio_read(0x20, Width::Qword, GuestTime(1000)), 0);
    }

    #[test]
    fn routes_that_are_not_offered_are_refused() {
        let (mut hpet, _) = hpet();
        write(&mut hpet, 0x140, 31 << 9, 0);
        assert_eq!(hpet.mmio_read(0x140, Width::Dword, GuestTime(0)) & ROUTE, 0);
    }
}
