//! Counted time that keeps step with the host's clock where all vCPUs halt.
//!
//! Counted time leaps over a rest: a guest that waits a second for an answer from a network has given up before its peer could
//! answer. Where somebody outside is to keep up, a rest is to take as long as it says, less what the guest had lost before while
//! it ran slower than the host's clock.

use trimotor_bus::GuestTime;

/// So much of what the guest lost, or ran ahead, counts at most, in nanoseconds: after a busy second the next answer is waited for
/// as long as after a quiet one.
const MOST_NS: i64 = 10_000_000;

/// How far guest time may leap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    host_ns: u64,
    guest_ns: u64,
    /// How much the guest is behind the host's clock.
    behind_ns: i64,
}

impl Pace {
    /// Begins at these readings of the host's clock and the guest's.
    pub(crate) fn new(host_ns: u64, guest: GuestTime) -> Self {
        Self { host_ns, guest_ns: guest.ns(), behind_ns: 0 }
    }
    /// How much guest time may pass at once, in nanoseconds.
    pub(crate) fn allowance(&mut self, host_ns: u64, guest: GuestTime) -> u64 {
        let passed = |now: u64, before: u64| i64::try_from(now.saturating_sub(before)).unwrap_or(i64::MAX);
        let (host, own) = (passed(host_ns, self.host_ns), passed(guest.ns(), self.guest_ns));
        self.behind_ns = self.behind_ns.saturating_add(host.saturating_sub(own));
        // While a rest is waited for, guest time stands still, and all that passes counts.
        if own > 0 {
            self.behind_ns = self.behind_ns.clamp(-MOST_NS, MOST_NS);
        }
        (self.host_ns, self.guest_ns) = (host_ns, guest.ns());
        self.behind_ns.max(0).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_rest_takes_as_long_as_it_says() {
        let mut pace = Pace::new(500 * MS, GuestTime(0));
        assert_eq!(pace.allowance(500 * MS, GuestTime(0)), 0);
        assert_eq!(pace.allowance(503 * MS, GuestTime(0)), 3 * MS);
        assert_eq!(pace.allowance(503 * MS, GuestTime(3 * MS)), 0, "it leapt");
        assert_eq!(pace.allowance(505 * MS, GuestTime(5 * MS)), 0, "it ran");
        assert_eq!(pace.allowance(509 * MS, GuestTime(7 * MS)), 2 * MS, "slower than the host's clock");
    }

    #[test]
    fn little_of_what_was_before_counts() {
        let mut pace = Pace::new(0, GuestTime(0));
        assert_eq!(pace.allowance(5000 * MS, GuestTime(MS)), 10 * MS);
        assert_eq!(pace.allowance(5000 * MS, GuestTime(4000 * MS)), 0);
        assert_eq!(pace.allowance(5011 * MS, GuestTime(4000 * MS)), MS);
        assert_eq!(pace.allowance(0, GuestTime(0)), MS, "clocks that go back change nothing");
    }

    #[test]
    fn all_of_a_long_rest_passes() {
        let mut pace = Pace::new(0, GuestTime(0));
        assert_eq!(pace.allowance(600 * MS, GuestTime(0)), 600 * MS);
        assert_eq!(pace.allowance(1000 * MS, GuestTime(0)), 1000 * MS);
        assert_eq!(pace.allowance(1000 * MS, GuestTime(1000 * MS)), 0);
    }
}
