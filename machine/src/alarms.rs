//! When chips want to be woken: the next event of each, and the earliest of all.

use trimotor_bus::GuestTime;

/// A chip that may want to be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Alarm {
    /// The local APIC timers.
    Apic,
    /// The PIT.
    Pit,
    /// The real-time clock.
    Rtc,
    /// The HPET.
    Hpet,
    /// The ACPI PM timer.
    AcpiPm,
    /// The keyboard controller.
    I8042,
    /// COM1; the others follow.
    Serial0,
    /// COM2.
    Serial1,
    /// COM3.
    Serial2,
    /// COM4.
    Serial3,
}

/// How many alarms there are.
pub const ALARMS: usize = 10;
/// No event.
const NEVER: u64 = u64::MAX;

impl Alarm {
    /// All alarms.
    pub const ALL: [Alarm; ALARMS] = [
        Alarm::Apic,
        Alarm::Pit,
        Alarm::Rtc,
        Alarm::Hpet,
        Alarm::AcpiPm,
        Alarm::I8042,
        Alarm::Serial0,
        Alarm::Serial1,
        Alarm::Serial2,
        Alarm::Serial3,
    ];
    /// The alarm of a serial port, 0 to 3.
    pub fn serial(port: usize) -> Alarm {
        Alarm::ALL[Alarm::Serial0 as usize + (port & 3)]
    }
}

/// The next event of each chip.
#[derive(Clone, Debug)]
pub struct Alarms {
    at: [u64; ALARMS],
    earliest: u64,
}

impl Default for Alarms {
    fn default() -> Self {
        Self { at: [NEVER; ALARMS], earliest: NEVER }
    }
}

impl Alarms {
    /// Notes a chip's next event.
    #[inline]
    pub fn set(&mut self, alarm: Alarm, event: Option<GuestTime>) {
        let event = event.map_or(NEVER, GuestTime::ns);
        let slot = &mut self.at[alarm as usize];
        let old = std::mem::replace(slot, event);
        if event <= self.earliest {
            self.earliest = event;
        } else if old == self.earliest {
            self.earliest = self.at.iter().copied().min().unwrap_or(NEVER);
        }
    }
    /// The earliest event, in nanoseconds; `u64::MAX` where there is none.
    #[inline]
    pub fn earliest_ns(&self) -> u64 {
        self.earliest
    }
    /// The earliest event.
    pub fn earliest(&self) -> Option<GuestTime> {
        (self.earliest != NEVER).then_some(GuestTime(self.earliest))
    }
    /// Whether a chip's event is due.
    pub fn is_due(&self, alarm: Alarm, now: GuestTime) -> bool {
        self.at[alarm as usize] <= now.ns()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_is_kept() {
        let mut alarms = Alarms::default();
        assert_eq!(alarms.earliest(), None);
        alarms.set(Alarm::Pit, Some(GuestTime(50)));
        alarms.set(Alarm::Apic, Some(GuestTime(30)));
        assert_eq!(alarms.earliest(), Some(GuestTime(30)));
        alarms.set(Alarm::Apic, Some(GuestTime(80)));
        assert_eq!(alarms.earliest(), Some(GuestTime(50)));
        assert!(alarms.is_due(Alarm::Pit, GuestTime(50)) && !alarms.is_due(Alarm::Apic, GuestTime(50)));
        alarms.set(Alarm::Pit, None);
        alarms.set(Alarm::Apic, None);
        assert_eq!(alarms.earliest(), None);
    }
}
