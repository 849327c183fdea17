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

/// How long KVM runs before the other engine takes its turn, on a KVM of software, in nanoseconds. It emulates the guest's kernel, a thousand
/// times slower than a processor does, and gives up on nothing there.
const KVM_TURN_NS: u64 = 10_000_000;
/// The other engine's turn is so many times as long as KVM's was, which may have come back late.
const OTHERS_SHARE: u64 = 4;

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
    /// Nanoseconds in KVM when its turn began.
    kvm_turn_began: u64,
    /// Nanoseconds in the other engine when its turn ends, if it is its turn.
    other_turn_ends: Option<u64>,
}

impl Default for Stretches {
    fn default() -> Self {
        Self {
            length: 1,
            since_ns: 0,
            kvm_ns: 0,
            other_ns: 0,
            judged: false,
            kvm_turn_began: 0,
            other_turn_ends: None,
        }
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
    /// For a KVM of software, at the beginning of a run: ends the present turn where it is over; whether it is the other engine's now.
    pub fn turn_to_other(&mut self) -> bool {
        let kvm_turn = self.kvm_ns - self.kvm_turn_began;
        match self.other_turn_ends {
            None if kvm_turn >= KVM_TURN_NS => {
                self.other_turn_ends = Some(self.other_ns + OTHERS_SHARE * kvm_turn)
            }
            Some(end) if self.other_ns >= end => {
                (self.kvm_turn_began, self.other_turn_ends) = (self.kvm_ns, None);
            }
            _ => {}
        }
        self.other_turn_ends.is_some()
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
    fn turns_are_taken_by_time() {
        let mut s = Stretches::default();
        s.kvm_ran(KVM_TURN_NS - 1);
        s.other_ran(OTHERS_SHARE * KVM_TURN_NS);
        assert!(!s.turn_to_other(), "what it gave up on does not end KVM's turn");
        s.kvm_ran(11);
        assert!(s.turn_to_other());
        s.other_ran(OTHERS_SHARE * (KVM_TURN_NS + 10) - 1);
        assert!(s.turn_to_other());
        s.other_ran(1);
        assert!(!s.turn_to_other());
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
