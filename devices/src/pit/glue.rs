//! The 8254 at its ports, with port 61h.

use super::{Counter, CounterStateV1};
use crate::device::Device;
use crate::isa_cycles;
use serde::{Deserialize, Serialize};
use trimotor_bus::board::{PIT, SYSTEM_CONTROL_B};
use trimotor_bus::{GuestTime, IrqLine, Port, PortDevice, RestoreError, SaveState, Timed, Width};

/// The counters' clock in hertz.
pub const PIT_HZ: u64 = 1_193_182;
/// Bit 4 of port 61h toggles with each refresh cycle, about every 15 microseconds.
const REFRESH_NS: u64 = 15_085;
/// The shortest time between two alarms of counter 0: a guest that programs a higher rate gets
/// one interrupt for several periods.
const MIN_ALARM_TICKS: u64 = 12;
/// The tick at which guest time ends.
const LAST_TICK: u64 = GuestTime(u64::MAX).ticks(PIT_HZ);

/// Everything that the PIT remembers.
#[derive(PartialEq, Eq, Clone, Debug, Serialize, Deserialize)]
pub struct PitStateV1 {
    counters: [CounterStateV1; 3],
    /// Bits 0 to 3 of port 61h.
    control: u8,
    /// Up to which tick counter 0's edges have been seen.
    seen: u64,
    /// The tick until which counter 0's wire stays high at least.
    hold: u64,
}

/// The PIT and port 61h.
#[derive(Debug)]
pub struct Pit {
    irq: IrqLine,
    counters: [Counter; 3],
    control: u8,
    seen: u64,
    /// A rise that was seen late makes the wire high for as long as it would have been, so that the PIC keeps
    /// the request for the CPU: until this tick.
    hold: u64,
}

impl Pit {
    /// A PIT at power-on whose counter 0 drives `irq`.
    pub fn new(irq: IrqLine) -> Self {
        Self { irq, counters: Self::power_on(), control: 0, seen: 0, hold: 0 }
    }
    fn power_on() -> [Counter; 3] {
        [Counter::new(true), Counter::new(true), Counter::new(false)]
    }
    /// Back to power-on.
    pub fn reset(&mut self, now: GuestTime) {
        self.counters = Self::power_on();
        (self.control, self.hold) = (0, 0);
        self.seen = now.ticks(PIT_HZ);
        self.irq.set(false);
    }
    /// Whether the speaker sounds: both its gate and its data bit are on.
    pub fn speaker_on(&self) -> bool {
        self.control & 3 == 3
    }
    /// Counter 0's edges up to now, then its level.
    fn drive(&mut self, tick: u64) {
        if self.counters[0].rose(self.seen, tick) {
            self.irq.set(false);
            self.irq.set(true);
            self.hold = tick.saturating_add(self.counters[0].high_ticks());
        }
        self.seen = self.seen.max(tick);
        self.irq.set(self.level(tick));
    }
    /// The level of counter 0's wire.
    fn level(&self, tick: u64) -> bool {
        self.counters[0].output(tick) || tick < self.hold
    }
    /// The tick at which the wire falls by itself, in the square wave of mode 3. The low tick of other modes is
    /// shown with the rise that ends it.
    fn next_fall(&self) -> Option<u64> {
        let fall = self.counters[0].next_fall(self.seen)?;
        let slow = self.counters[0].high_ticks() >= MIN_ALARM_TICKS;
        slow.then_some(if self.seen < self.hold { self.hold } else { fall })
    }
    fn read_byte(&mut self, port: u16, now: GuestTime) -> u8 {
        let tick = now.ticks(PIT_HZ);
        if port == SYSTEM_CONTROL_B.0 {
            let refresh = (now.ns() / REFRESH_NS) as u8 & 1;
            self.counters[2].catch_up(tick);
            return self.control | refresh << 4 | u8::from(self.counters[2].output(tick)) << 5;
        }
        match port.wrapping_sub(PIT.0) {
            counter @ 0..=2 => {
                if counter == 0 {
                    self.drive(tick);
                }
                self.counters[usize::from(counter)].read(tick)
            }
            _ => 0xFF,
        }
    }
    fn write_byte(&mut self, port: u16, value: u8, now: GuestTime) {
        let tick = now.ticks(PIT_HZ);
        self.drive(tick);
        if port == SYSTEM_CONTROL_B.0 {
            self.control = value & 0xF;
            self.counters[2].set_gate(value & 1 != 0, tick);
            return;
        }
        match port.wrapping_sub(PIT.0) {
            counter @ 0..=2 => self.counters[usize::from(counter)].write(value, tick),
            3 if value >> 6 == 3 => {
                for (i, counter) in self.counters.iter_mut().enumerate() {
                    if value & 2 << i != 0 {
                        counter.read_back(value & 1 << 5 == 0, value & 1 << 4 == 0, tick);
                    }
                }
            }
            3 => self.counters[usize::from(value >> 6)].control(value & 0x3F, tick),
            _ => {}
        }
        self.hold = self.hold.min(tick.saturating_add(self.counters[0].high_ticks()));
        self.irq.set(self.level(tick));
    }
}

impl PortDevice for Pit {
    fn port_read(&mut self, port: Port, width: Width, now: GuestTime) -> u32 {
        isa_cycles::read_bytes(port, width, |p| self.read_byte(p.0, now))
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime) {
        isa_cycles::write_bytes(port, width, value, |p, byte| self.write_byte(p.0, byte, now));
    }
}

impl Timed for Pit {
    fn next_event(&self) -> Option<GuestTime> {
        let rise = self.counters[0].next_rise(self.seen)?;
        let storm = self.counters[0].next_rise(rise).is_some_and(|next| next - rise < MIN_ALARM_TICKS);
        let alarm = if storm { rise.max(self.seen + MIN_ALARM_TICKS) } else { rise };
        let alarm = self.next_fall().map_or(alarm, |fall| fall.min(alarm));
        Some(GuestTime::of_tick(alarm, PIT_HZ))
    }
    fn advance(&mut self, now: GuestTime) {
        self.drive(now.ticks(PIT_HZ));
    }
}

impl SaveState for Pit {
    type State = PitStateV1;
    fn save(&self) -> PitStateV1 {
        let Self { irq: _, counters, control, seen, hold } = self;
        let counters = counters.each_ref().map(Counter::save);
        PitStateV1 { counters, control: *control, seen: *seen, hold: *hold }
    }
    fn restore(&mut self, state: PitStateV1) -> Result<(), RestoreError> {
        let PitStateV1 { counters: [c0, c1, c2], control, seen, hold } = state;
        let refuse = |field, value: u64| Err(RestoreError { part: "PIT", field, value: value.to_string() });
        if control > 0xF {
            return refuse("control", control.into());
        }
        let counters = [Counter::from_state(c0)?, Counter::from_state(c1)?, Counter::from_state(c2)?];
        // Any later, and the wire would not fall for years.
        if seen > LAST_TICK || hold > seen.saturating_add(counters[0].high_ticks()) {
            return refuse("hold", hold);
        }
        (self.counters, self.control, self.seen, self.hold) = (counters, control, seen, hold);
        self.irq.set(self.level(seen));
        Ok(())
    }
}

impl Device for Pit {
    fn reset(&mut self, now: GuestTime) {
        Pit::reset(self, now);
    }
    fn info(&self) -> String {
        format!("port 61h {:#x}, speaker {}", self.control, if self.speaker_on() { "on" } else { "off" })
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use trimotor_bus::IrqSink;

    #[derive(Default)]
    struct Edges {
        level: AtomicU32,
        rises: AtomicU32,
    }
    impl IrqSink for Edges {
        fn set_level(&self, _line: u8, high: bool) {
            if self.level.swap(u32::from(high), Ordering::Relaxed) == 0 && high {
                self.rises.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn write(pit: &mut Pit, port: u16, value: u8, now: GuestTime) {
        pit.port_write(Port(port), Width::Byte, u32::from(value), now);
    }

    #[test]
    fn a_hundred_hertz_makes_a_hundred_interrupts_a_second() {
        let edges = Arc::new(Edges::default());
        let mut pit = Pit::new(IrqLine::new(edges.clone(), 0));
        write(&mut pit, 0x43, 0x34, GuestTime::ZERO);
        for byte in 11_932u16.to_le_bytes() {
            write(&mut pit, 0x40, byte, GuestTime::ZERO);
        }
        edges.rises.store(0, Ordering::Relaxed);
        let mut alarms = 0;
        while let Some(at) = pit.next_event().filter(|at| at.ns() <= 1_000_000_000) {
            pit.advance(at);
            alarms += 1;
        }
        assert_eq!((alarms, edges.rises.load(Ordering::Relaxed)), (99, 99));
    }

    fn program(pit: &mut Pit, mode: u8, count: u16) {
        write(pit, 0x43, 0x30 | mode << 1, GuestTime::ZERO);
        for byte in count.to_le_bytes() {
            write(pit, 0x40, byte, GuestTime::ZERO);
        }
    }

    /// The wire follows the square wave of mode 3 without anybody's looking at the chip.
    #[test]
    fn the_square_wave_falls_in_the_middle_of_its_period() {
        let edges = Arc::new(Edges::default());
        let mut pit = Pit::new(IrqLine::new(edges.clone(), 0));
        program(&mut pit, 3, 1000);
        let mut levels = Vec::new();
        for _ in 0..4 {
            let at = pit.next_event().unwrap();
            pit.advance(at);
            levels.push((at.ticks(PIT_HZ), edges.level.load(Ordering::Relaxed)));
        }
        assert_eq!(levels, [(501, 0), (1001, 1), (1501, 0), (2001, 1)]);
    }

    /// A machine that comes late sees a rise when the wire is low again: the request is there all the same, as
    /// long as it would have been.
    #[test]
    fn a_rise_that_is_seen_late_stays_for_half_a_period() {
        let edges = Arc::new(Edges::default());
        let mut pit = Pit::new(IrqLine::new(edges.clone(), 0));
        program(&mut pit, 3, 1000);
        let high = || edges.level.load(Ordering::Relaxed) != 0;
        let at = |tick| GuestTime::of_tick(tick, PIT_HZ);
        pit.advance(at(501));
        assert!(!high());
        pit.advance(at(1700));
        assert!(high());
        assert_eq!(pit.next_event(), Some(at(2001)), "the next rise");
        pit.advance(at(2001));
        assert!(high());
        assert_eq!(pit.next_event(), Some(at(2501)));
    }

    #[test]
    fn calibration_through_port_61() {
        let mut pit = Pit::new(IrqLine::unconnected());
        write(&mut pit, 0x61, 0x01, GuestTime::ZERO);
        write(&mut pit, 0x43, 0xB0, GuestTime::ZERO);
        for byte in 11_932u16.to_le_bytes() {
            write(&mut pit, 0x42, byte, GuestTime::ZERO);
        }
        let at = |ms: u64| GuestTime(ms * 1_000_000);
        assert_eq!(pit.port_read(Port(0x61), Width::Byte, at(9)) & 0x20, 0);
        assert_eq!(pit.port_read(Port(0x61), Width::Byte, at(11)) & 0x21, 0x21);
        write(&mut pit, 0x61, 0x03, at(11));
        assert!(pit.speaker_on());
    }

    #[test]
    fn saved_state_counts_on() {
        let mut pit = Pit::new(IrqLine::unconnected());
        write(&mut pit, 0x43, 0x34, GuestTime::ZERO);
        write(&mut pit, 0x40, 0, GuestTime::ZERO);
        write(&mut pit, 0x40, 0, GuestTime::ZERO);
        let mut other = Pit::new(IrqLine::unconnected());
        other.restore(pit.save()).unwrap();
        assert_eq!(other.next_event(), pit.next_event());
        assert!(pit.next_event().is_some());
    }
}
