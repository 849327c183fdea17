//! When the card interrupts: causes, their mask, and the timers that gather them (8254x manual, "Interrupt Control and
//! Tuning").
//!
//! | register | what |
//! |---|---|
//! | ICR | causes that happened; reading clears them, as does writing ones |
//! | ICS | writing ones sets causes |
//! | IMS, IMC | causes that interrupt: ones are added, ones are taken out |
//! | ITR | the least time between two interrupts, in 256 ns |
//! | RDTR, RADV | delay from the last frame and from the first one, in 1024 ns |
//! | TIDV, TADV | the same for descriptors that were sent, where they allow a delay |
//!
//! The interrupt is a level: it is there while a cause is set that is not masked, but begins no sooner than ITR allows.

use super::registers::cause;
use trimotor_bus::GuestTime;

/// The unit of ITR.
const THROTTLE_NS: u64 = 256;
/// The unit of the delay timers.
const DELAY_NS: u64 = 1024;

/// The causes and what they wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interrupts {
    pub(super) causes: u32,
    pub(super) mask: u32,
    /// ITR.
    pub(super) interval: u32,
    /// The interrupt is there.
    pub(super) asserted: bool,
    /// When it began last.
    pub(super) began: Option<GuestTime>,
    /// Frames that wait for their interrupt.
    pub(super) receive: Delay,
    /// Descriptors that wait for theirs.
    pub(super) transmit: Delay,
}

/// A pair of delay timers: one starts anew at each event, one at the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    pub(super) from_last: Option<GuestTime>,
    pub(super) from_first: Option<GuestTime>,
}

impl Delay {
    /// Something happened: starts the timers, or returns true where nothing is to be waited for. Registers as they are.
    fn start(&mut self, from_last: u32, from_first: u32, now: GuestTime) -> bool {
        if from_last == 0 {
            return true;
        }
        self.from_last = Some(now + u64::from(from_last) * DELAY_NS);
        if from_first != 0 {
            self.from_first.get_or_insert(now + u64::from(from_first) * DELAY_NS);
        }
        false
    }
    fn next(&self) -> Option<GuestTime> {
        [self.from_last, self.from_first].into_iter().flatten().min()
    }
    /// Whether one of the two is over; then both are.
    fn is_over(&mut self, now: GuestTime) -> bool {
        let over = self.next().is_some_and(|end| end <= now);
        if over {
            *self = Self::default();
        }
        over
    }
}

impl Interrupts {
    /// Sets causes.
    pub fn set(&mut self, causes: u32) {
        self.causes |= causes & cause::ALL;
    }
    /// Reads ICR.
    pub fn read(&mut self) -> u32 {
        std::mem::take(&mut self.causes)
    }
    /// Clears causes.
    pub fn clear(&mut self, causes: u32) {
        self.causes &= !causes;
    }
    /// The mask.
    pub fn mask(&self) -> u32 {
        self.mask
    }
    /// Adds to the mask.
    pub fn unmask(&mut self, causes: u32) {
        self.mask |= causes & cause::ALL;
    }
    /// Takes out of the mask.
    pub fn mask_out(&mut self, causes: u32) {
        self.mask &= !causes;
    }
    /// A frame was received; the delay registers as they are.
    pub fn received(&mut self, rdtr: u32, radv: u32, now: GuestTime) {
        if self.receive.start(rdtr, radv, now) {
            self.set(cause::RXT0);
        }
    }
    /// The frames that wait are told of at once.
    pub fn flush_received(&mut self) {
        if self.receive.next().is_some() {
            self.receive = Delay::default();
            self.set(cause::RXT0);
        }
    }
    /// A descriptor was written back that allows a delay; the delay registers as they are.
    pub fn sent(&mut self, tidv: u32, tadv: u32, now: GuestTime) {
        if self.transmit.start(tidv, tadv, now) {
            self.set(cause::TXDW);
        }
    }
    /// When something happens by itself.
    pub fn next_event(&self) -> Option<GuestTime> {
        let waits = !self.asserted && self.causes & self.mask != 0;
        let throttle = waits.then(|| self.earliest());
        [self.receive.next(), self.transmit.next(), throttle].into_iter().flatten().min()
    }
    /// When the next interrupt may begin.
    fn earliest(&self) -> GuestTime {
        let interval = u64::from(self.interval) * THROTTLE_NS;
        self.began.map_or(GuestTime::ZERO, |began| began + interval)
    }
    /// Lets time pass, and returns whether the interrupt is there.
    pub fn update(&mut self, now: GuestTime) -> bool {
        if self.receive.is_over(now) {
            self.set(cause::RXT0);
        }
        if self.transmit.is_over(now) {
            self.set(cause::TXDW);
        }
        if self.causes & self.mask == 0 {
            self.asserted = false;
        } else if !self.asserted && self.earliest() <= now {
            self.asserted = true;
            self.began = Some(now);
        }
        self.asserted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_interrupt_where_they_are_not_masked() {
        let mut i = Interrupts::default();
        i.set(cause::LSC);
        assert!(!i.update(GuestTime(1)));
        i.unmask(cause::LSC | cause::RXT0);
        assert!(i.update(GuestTime(2)));
        assert_eq!(i.read(), cause::LSC);
        assert!(!i.update(GuestTime(3)));
        i.set(cause::RXT0);
        i.mask_out(cause::RXT0);
        assert!(!i.update(GuestTime(4)));
        assert_eq!((i.mask(), i.next_event()), (cause::LSC, None));
    }

    #[test]
    fn itr_keeps_interrupts_apart() {
        let mut i = Interrupts { interval: 4, ..Interrupts::default() };
        i.unmask(cause::RXT0);
        i.set(cause::RXT0);
        assert!(i.update(GuestTime(1000)));
        i.read();
        i.update(GuestTime(1001));
        i.set(cause::RXT0);
        assert!(!i.update(GuestTime(1002)));
        assert_eq!(i.next_event(), Some(GuestTime(2024)));
        assert!(!i.update(GuestTime(2023)) && i.update(GuestTime(2024)));
        assert_eq!(i.next_event(), None);
    }

    #[test]
    fn delays_count_from_the_last_and_from_the_first() {
        let mut i = Interrupts::default();
        i.unmask(cause::RXT0 | cause::TXDW);
        i.received(10, 15, GuestTime(0));
        assert_eq!(i.next_event(), Some(GuestTime(10_240)));
        i.received(10, 15, GuestTime(9_000));
        assert_eq!(i.next_event(), Some(GuestTime(15_360)));
        assert!(!i.update(GuestTime(15_359)) && i.update(GuestTime(15_360)));
        assert_eq!((i.read(), i.next_event()), (cause::RXT0, None));
        i.sent(3, 0, GuestTime(20_000));
        assert_eq!(i.next_event(), Some(GuestTime(23_072)));
        i.update(GuestTime(30_000));
        assert_eq!(i.read(), cause::TXDW);
        i.received(10, 0, GuestTime(40_000));
        i.flush_received();
        assert_eq!(i.read(), cause::RXT0);
        i.received(0, 99, GuestTime(50_000));
        assert_eq!(i.read(), cause::RXT0);
    }
}
