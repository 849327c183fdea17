//! A word of flags that one thread can sleep on.
//!
//! The one mechanism by which threads of the machine sleep and are woken: vCPUs that halt
//! ([`VcpuSignals`](crate::VcpuSignals)), and the machine's own thread.
//!
//! That the owner sleeps is itself a bit of the word. The owner sets it and learns in the same atomic operation which
//! flags are raised already; a raiser sets its flag and learns in the same operation whether the owner sleeps. Two
//! operations on one word have an order, so one of them sees the other: no flag can be raised inline between the
//! owner's last look and its sleep. `tests/loom.rs` checks this in all interleavings.

use crate::sync::{AtomicU32, Condvar, Mutex, MutexGuard};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The owner sleeps, or is about to.
const ASLEEP: u32 = 1 << 31;

/// Flags, bits 0 to 30, that any thread raises and one thread, the owner, waits for.
#[derive(Debug, Default)]
pub struct EventFlags {
    word: AtomicU32,
    /// Held by the owner from before it sets [`ASLEEP`] until it waits at `woken`.
    falling_asleep: Mutex<()>,
    woken: Condvar,
}

impl EventFlags {
    /// All flags low.
    pub fn new() -> EventFlags {
        EventFlags::default()
    }
    /// Raises flags, and wakes the owner.
    #[inline]
    pub fn raise(&self, flags: u32) {
        if self.word.fetch_or(flags & !ASLEEP, Ordering::AcqRel) & ASLEEP != 0 {
            self.wake();
        }
    }
    /// Changes the flags in one step; returns what they were. A sleeping owner is woken.
    pub fn update(&self, change: impl Fn(u32) -> u32) -> u32 {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let changed = change(word & !ASLEEP) & !ASLEEP | word & ASLEEP;
            match self.word.compare_exchange_weak(word, changed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & ASLEEP != 0 {
            self.wake();
        }
        word & !ASLEEP
    }
    #[cold]
    fn wake(&self) {
        // With the lock the owner is past its look, and waits: the notice cannot come too early.
        drop(self.lock());
        self.woken.notify_one();
    }
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.falling_asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Lowers flags.
    #[inline]
    pub fn lower(&self, flags: u32) {
        self.word.fetch_and(!flags | ASLEEP, Ordering::AcqRel);
    }
    /// Lowers flags; returns those of them that were high.
    #[inline]
    pub fn take(&self, flags: u32) -> u32 {
        self.word.fetch_and(!flags | ASLEEP, Ordering::AcqRel) & flags & !ASLEEP
    }
    /// The flags that are high.
    #[inline]
    pub fn raised(&self) -> u32 {
        self.word.load(Ordering::Acquire) & !ASLEEP
    }
    /// The word itself, for the owner's code that looks at it without a call: not 0 where a flag is high.
    #[cfg(not(feature = "loom"))]
    pub fn word(&self) -> &AtomicU32 {
        &self.word
    }
    /// Sleeps until one of the `awaited` flags is high, at most for `limit`. Only the owner calls it. May return early.
    pub fn sleep(&self, awaited: u32, limit: Duration) {
        let guard = self.lock();
        if self.word.fetch_or(ASLEEP, Ordering::AcqRel) & awaited == 0 {
            drop(self.woken.wait_timeout(guard, limit));
        }
        self.word.fetch_and(!ASLEEP, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn flags_are_raised_taken_and_lowered() {
        let flags = EventFlags::new();
        flags.raise(0b101);
        assert_eq!(flags.take(0b001), 0b001);
        assert_eq!(flags.take(0b001), 0);
        assert_eq!(flags.raised(), 0b100);
        flags.lower(u32::MAX);
        assert_eq!(flags.raised(), 0);
    }

    #[test]
    fn a_flag_that_is_high_already_ends_the_sleep() {
        let flags = EventFlags::new();
        flags.raise(2);
        flags.sleep(2, Duration::MAX);
        assert_eq!(flags.raised(), 2, "the owner takes it when it wants to");
    }

    #[test]
    fn a_flag_raised_by_another_thread_ends_the_sleep() {
        let flags = EventFlags::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while flags.take(2) == 0 {
                    flags.sleep(2, Duration::MAX);
                }
            });
            flags.raise(1); // wakes it to no purpose
            flags.raise(2);
        });
        assert_eq!(flags.raised(), 1);
    }
}
