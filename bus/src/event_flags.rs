//! A word of flags that one thread can sleep on.
//!
//! The one mechanism by which threads of the machine sleep and are woken: vCPUs that halt
//! ([`VcpuSignals`](crate::VcpuSignals)), and the machine's own thread.
//!
//! That the owner sleeps is itself a bit of the word. The owner sets it and learns in the same atomic operation which
//! flags are raised already; a raiser sets its flag and learns in the same operation whether the owner sleeps. Two
//! operations on one word have an order, so one of them sees the other: no flag can be raised inline between the
//! owner's last look and its sleep. `tests/loom.rs` checks this in all interleavings.
//!
//! In the same way an owner can be *away*: somewhere where it looks at no flag until it is called back, as a vCPU is that
//! runs in the host's kernel. A raiser that finds it away calls back what the owner left for that ([`Recall`]).

use crate::sync::{AtomicU32, Condvar, Mutex, MutexGuard};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The owner sleeps, or is about to.
const ASLEEP: u32 = 1 << 31;

/// The owner is away, or is about to go.
const AWAY: u32 = 1 << 30;
/// The bits that are no flags.
const OWNER: u32 = ASLEEP | AWAY;

/// What brings an owner back that is away: see [`EventFlags::go_away`].
pub trait Recall: fmt::Debug + Send + Sync {
    /// Has the owner come back soon, or not go at all where it has not gone yet. Called by any thread, the owner's among
    /// them; it may come when the owner is back already.
    fn recall(&self);
}

/// Flags, bits 0 to 29, that any thread raises and one thread, the owner, waits for.
#[derive(Debug, Default)]
pub struct EventFlags {
    word: AtomicU32,
    /// Held by the owner from before it sets [`ASLEEP`] until it waits at `woken`.
    falling_asleep: Mutex<()>,
    woken: Condvar,
    /// What brings the owner back from where it is away.
    recall: Mutex<Option<Arc<dyn Recall>>>,
}

impl EventFlags {
    /// All flags low.
    pub fn new() -> EventFlags {
        EventFlags::default()
    }
    /// Raises flags, and wakes the owner.
    #[inline]
    pub fn raise(&self, flags: u32) {
        let before = self.word.fetch_or(flags & !OWNER, Ordering::AcqRel);
        if before & OWNER != 0 {
            self.wake(before);
        }
    }
    /// Changes the flags in one step; returns what they were. A sleeping owner is woken.
    pub fn update(&self, change: impl Fn(u32) -> u32) -> u32 {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let changed = change(word & !OWNER) & !OWNER | word & OWNER;
            match self.word.compare_exchange_weak(word, changed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & OWNER != 0 {
            self.wake(word);
        }
        word & !OWNER
    }
    #[cold]
    fn wake(&self, before: u32) {
        if before & AWAY != 0 {
            // Under the lock, so that nothing is recalled any more once it was taken back.
            let recall = self.recall.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(recall) = &*recall {
                recall.recall();
            }
        }
        if before & ASLEEP == 0 {
            return;
        }
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
        self.word.fetch_and(!flags | OWNER, Ordering::AcqRel);
    }
    /// Lowers flags; returns those of them that were high.
    #[inline]
    pub fn take(&self, flags: u32) -> u32 {
        self.word.fetch_and(!flags | OWNER, Ordering::AcqRel) & flags & !OWNER
    }
    /// The flags that are high.
    #[inline]
    pub fn raised(&self) -> u32 {
        self.word.load(Ordering::Acquire) & !OWNER
    }
    /// The word itself, for the owner's code that looks at it without a call: not 0 where a flag is high.
    #[cfg(not(feature = "loom"))]
    pub fn word(&self) -> &AtomicU32 {
        &self.word
    }
    /// Says what brings the owner back when it is away. Only the owner calls it.
    pub fn set_recall(&self, recall: Option<Arc<dyn Recall>>) {
        *self.recall.lock().unwrap_or_else(PoisonError::into_inner) = recall;
    }
    /// Takes `recall` back, where it is still the one that was set. When this returns, nobody is about to call it.
    pub fn drop_recall(&self, recall: &Arc<dyn Recall>) {
        let mut present = self.recall.lock().unwrap_or_else(PoisonError::into_inner);
        if present.as_ref().is_some_and(|present| Arc::ptr_eq(present, recall)) {
            *present = None;
        }
    }
    /// The owner is away from now on: who raises a flag recalls it. Returns the flags that are high already, for which nobody
    /// will. Only the owner calls it.
    pub fn go_away(&self) -> u32 {
        self.word.fetch_or(AWAY, Ordering::AcqRel) & !OWNER
    }
    /// The owner is back, and looks at flags by itself.
    pub fn come_back(&self) {
        self.word.fetch_and(!AWAY, Ordering::AcqRel);
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
    fn an_owner_that_is_away_is_recalled_for_each_flag_and_no_longer_once_it_is_back() {
        #[derive(Debug, Default)]
        struct Calls(std::sync::atomic::AtomicU32);
        impl Recall for Calls {
            fn recall(&self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (flags, calls) = (EventFlags::new(), Arc::new(Calls::default()));
        flags.set_recall(Some(calls.clone()));
        flags.raise(1);
        assert_eq!(flags.go_away(), 1, "nobody calls for what is high already");
        assert_eq!(calls.0.load(Ordering::Relaxed), 0);
        flags.raise(2);
        flags.update(|flags| flags | 4);
        flags.lower(1);
        assert_eq!((calls.0.load(Ordering::Relaxed), flags.raised()), (2, 6));
        flags.come_back();
        flags.raise(1);
        assert_eq!(calls.0.load(Ordering::Relaxed), 2);
        let ours: Arc<dyn Recall> = calls.clone();
        flags.drop_recall(&ours);
        flags.go_away();
        flags.raise(8);
        assert_eq!(calls.0.load(Ordering::Relaxed), 2, "taken back");
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
