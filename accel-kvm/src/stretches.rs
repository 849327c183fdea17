//! How long the other engine runs when KVM cannot: one instruction where that happens now and then, more and more of them where
//! KVM gives up soon after each time that it was resumed.

/// Instructions of the longest stretch: some milliseconds of an interpreter.
const LONGEST: u64 = 1 << 17;
/// KVM was resumed in vain where it ran no longer than this, in nanoseconds: what the exchange of states costs it.
const SOON_NS: u64 = 100_000;
/// KVM is fine where it ran so long.
const LONG_NS: u64 = 2_000_000;
/// How much time is looked at before anything is said of it, in nanoseconds.
const JUDGED_AFTER_NS: u64 = 3_000_000_000;
/// The share of it in the other engine that is worth a word, in percent.
const MUCH_PERCENT: u64 = 10;

/// The lengths of stretches, and the times that engines took.
#[derive(Clone, Copy, Debug)]
pub struct Stretches {
    length: u64,
    /// Nanoseconds that KVM has run since the last stretch.
    since_ns: u64,
    /// Nanoseconds in KVM and in the other engine.
    pub kvm_ns: u64,
    pub other_ns: u64,
    judged: bool,
}

impl Default for Stretches {
    fn default() -> Self {
        Self { length: 1, since_ns: 0, kvm_ns: 0, other_ns: 0, judged: false }
    }
}

impl Stretches {
    /// KVM ran so long.
    pub fn kvm_ran(&mut self, ns: u64) {
        self.kvm_ns += ns;
        self.since_ns = self.since_ns.saturating_add(ns);
    }
    /// The other engine ran so long.
    pub fn other_ran(&mut self, ns: u64) {
        self.other_ns += ns;
    }
    /// KVM gave up: how many instructions the other engine is to run.
    pub fn next(&mut self) -> u64 {
        let ran = std::mem::take(&mut self.since_ns);
        if ran < SOON_NS {
            self.length = (self.length * 2).min(LONGEST);
        } else if ran > LONG_NS {
            self.length = (self.length / 4).max(1);
        }
        self.length
    }
    /// Once: the share of the time, in percent, that was spent in the other engine, where it is more than a little.
    pub fn verdict(&mut self) -> Option<u64> {
        let all = self.kvm_ns + self.other_ns;
        if self.judged || all < JUDGED_AFTER_NS {
            return None;
        }
        self.judged = true;
        let percent = self.other_ns * 100 / all;
        (percent >= MUCH_PERCENT).then_some(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_grow_while_kvm_gives_up_soon_and_shrink_when_it_runs() {
        let mut s = Stretches::default();
        let mut last = 0;
        for _ in 0..40 {
            s.kvm_ran(1000);
            let next = s.next();
            assert!(next >= last && next <= LONGEST);
            last = next;
        }
        assert_eq!(last, LONGEST);
        s.kvm_ran(500_000);
        assert_eq!(s.next(), LONGEST, "in between it stays");
        for _ in 0..40 {
            s.kvm_ran(LONG_NS);
            s.kvm_ran(1);
            last = s.next();
        }
        assert_eq!(last, 1);
    }

    #[test]
    fn much_time_elsewhere_is_said_once() {
        let mut s = Stretches::default();
        s.other_ran(JUDGED_AFTER_NS / 2);
        assert_eq!(s.verdict(), None, "too early");
        s.kvm_ran(JUDGED_AFTER_NS / 2);
        assert_eq!(s.verdict(), Some(50));
        assert_eq!(s.verdict(), None);
        let mut little = Stretches::default();
        little.kvm_ran(JUDGED_AFTER_NS);
        assert_eq!(little.verdict(), None);
    }
}
