//! Ends slices in time.
//!
//! With the host's clock nobody knows how many instructions fit before the next alarm. So a vCPU runs without an
//! estimate, and a thread that sleeps until the deadline kicks it ([`VcpuSignals::KICK`]).

use crate::clock::HostClock;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use trimotor_bus::VcpuSignals;
use trimotor_bus::event_flags::EventFlags;

/// The deadline is sooner than the thread knew.
const SOONER: u32 = 1 << 0;
/// The thread must end.
const STOP: u32 = 1 << 1;
/// After a kick the next deadline is mostly set at once, and need not wake the thread where it is this far ahead.
const GRACE_NS: u64 = 1_000_000;
/// No deadline.
const NEVER: u64 = u64::MAX;

struct Shared {
    flags: EventFlags,
    plan: Mutex<Plan>,
    clock: Arc<dyn HostClock>,
    vcpus: Vec<Arc<VcpuSignals>>,
}

/// When to kick which vCPU, in nanoseconds of the host's clock.
struct Plan {
    deadline_ns: u64,
    vcpu: usize,
    /// When the thread looks at the plan next, by itself.
    looks_at_ns: u64,
}

/// The thread, which ends when this is dropped.
pub(crate) struct SliceTimer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl SliceTimer {
    /// A timer that kicks these vCPUs.
    ///
    /// # Errors
    /// The host gives no thread.
    pub(crate) fn start(clock: Arc<dyn HostClock>, vcpus: Vec<Arc<VcpuSignals>>) -> io::Result<SliceTimer> {
        let plan = Mutex::new(Plan { deadline_ns: NEVER, vcpu: 0, looks_at_ns: NEVER });
        let shared = Arc::new(Shared { flags: EventFlags::new(), plan, clock, vcpus });
        let for_thread = shared.clone();
        let thread =
            std::thread::Builder::new().name("slice-timer".to_owned()).spawn(move || for_thread.run())?;
        Ok(SliceTimer { shared, thread: Some(thread) })
    }
    /// Kicks vCPU `vcpu` when the host's clock reaches `deadline_ns`, and nobody before.
    pub(crate) fn set(&self, vcpu: usize, deadline_ns: u64) {
        let mut plan = self.shared.plan();
        plan.deadline_ns = deadline_ns;
        plan.vcpu = vcpu;
        // A thread that wakes too early looks at the plan and sleeps on.
        let must_wake = deadline_ns < plan.looks_at_ns;
        drop(plan);
        if must_wake {
            self.shared.flags.raise(SOONER);
        }
    }
}

impl Drop for SliceTimer {
    fn drop(&mut self) {
        self.shared.flags.raise(STOP);
        if let Some(thread) = self.thread.take() {
            // It has no way to fail.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn run(&self) {
        while self.flags.take(STOP | SOONER) & STOP == 0 {
            let limit = self.look();
            self.flags.sleep(STOP | SOONER, limit);
        }
    }
    /// Kicks where the deadline has come; returns how long the thread may sleep.
    fn look(&self) -> Duration {
        let mut plan = self.plan();
        let now = self.clock.now_ns();
        plan.looks_at_ns = plan.deadline_ns;
        if plan.deadline_ns <= now {
            plan.deadline_ns = NEVER;
            plan.looks_at_ns = now + GRACE_NS;
            self.vcpus[plan.vcpu].raise(VcpuSignals::KICK);
        }
        Duration::from_nanos(plan.looks_at_ns - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A clock that goes on by a microsecond with each look.
    struct Steps(AtomicU64);
    impl HostClock for Steps {
        fn now_ns(&self) -> u64 {
            self.0.fetch_add(1000, Ordering::Relaxed)
        }
    }

    #[test]
    fn the_vcpu_of_the_last_deadline_is_kicked_when_it_has_come() {
        let signals: Vec<_> = (0..2).map(|_| VcpuSignals::new()).collect();
        let timer = SliceTimer::start(Arc::new(Steps(AtomicU64::new(0))), signals.clone()).unwrap();
        timer.set(0, u64::MAX - 1);
        timer.set(1, 50_000);
        while signals[1].take(VcpuSignals::KICK) == 0 {
            signals[1].wait(0, Duration::MAX);
        }
        assert_eq!(signals[0].pending(), 0, "its deadline was replaced");
        timer.set(0, 0);
        while signals[0].take(VcpuSignals::KICK) == 0 {
            signals[0].wait(0, Duration::MAX);
        }
        assert_eq!(signals[1].pending(), 0);
    }
}
