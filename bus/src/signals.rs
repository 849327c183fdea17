//! What the board tells a running vCPU from outside: interrupt pins and kicks.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// The signal pins of one vCPU. Shared by the interrupt controllers, the board and
/// the engine that runs the vCPU; safe to drive from any thread.
#[derive(Debug, Default)]
pub struct VcpuSignals {
    pending: AtomicU32,
    startup_vector: AtomicU8,
    /// The vCPU's thread sleeps, or is about to.
    waiting: AtomicBool,
    sleeper: Mutex<Option<Thread>>,
}

impl VcpuSignals {
    /// INTR: a maskable interrupt waits at the local APIC or the PIC. A level: it
    /// stays until the controller takes it back.
    pub const INTR: u32 = 1 << 0;
    /// NMI: an edge, taken once. Up to two wait: one that is delivered when it can be, and one that comes after it.
    pub const NMI: u32 = 1 << 1;
    /// SMI: an edge, taken once.
    pub const SMI: u32 = 1 << 2;
    /// INIT: an edge, taken once.
    pub const INIT: u32 = 1 << 3;
    /// Start-up IPI: an edge, taken once, with a vector.
    pub const SIPI: u32 = 1 << 4;
    /// Someone wants the run to end soon (pause, reset, an alarm).
    pub const KICK: u32 = 1 << 5;
    /// Beside [`NMI`](Self::NMI): a second one waits.
    const SECOND_NMI: u32 = 1 << 6;

    /// A fresh set of pins, all low.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }
    /// Raises the given bits, and wakes the vCPU's thread.
    #[inline]
    pub fn raise(&self, bits: u32) {
        if bits & Self::NMI == 0 {
            self.pending.fetch_or(bits, Ordering::SeqCst);
        } else {
            self.update(|pending| {
                pending | bits | if pending & Self::NMI != 0 { Self::SECOND_NMI } else { 0 }
            });
        }
        if self.waiting.load(Ordering::SeqCst) {
            self.wake();
        }
    }
    #[cold]
    fn wake(&self) {
        if let Some(thread) = &*self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.unpark();
        }
    }
    /// Sleeps until bits other than those of `seen` are high or something is raised, at most for `limit`.
    /// Called by the one thread that runs the vCPU; may return early.
    pub fn wait(&self, seen: u32, limit: Duration) {
        *self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        self.waiting.store(true, Ordering::SeqCst);
        if self.pending.load(Ordering::SeqCst) & !seen == 0 {
            std::thread::park_timeout(limit);
        }
        self.waiting.store(false, Ordering::SeqCst);
    }
    /// Changes the pins; returns what they were.
    fn update(&self, change: impl Fn(u32) -> u32) -> u32 {
        let mut pending = self.pending.load(Ordering::SeqCst);
        while let Err(now) =
            self.pending.compare_exchange_weak(pending, change(pending), Ordering::SeqCst, Ordering::SeqCst)
        {
            pending = now;
        }
        pending
    }
    /// Lowers the given bits; with NMI, all of them that wait.
    #[inline]
    pub fn lower(&self, bits: u32) {
        self.take(bits);
    }
    /// Raises or lowers INTR.
    #[inline]
    pub fn set_intr(&self, high: bool) {
        if high { self.raise(Self::INTR) } else { self.lower(Self::INTR) }
    }
    /// All bits that are high.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.pending.load(Ordering::Acquire)
    }
    /// The word behind [`pending`](Self::pending), for code that looks at it without a call.
    pub fn pending_word(&self) -> &AtomicU32 {
        &self.pending
    }
    /// Takes the given bits: returns those that were high, and lowers them; with NMI, all of them that wait.
    #[inline]
    pub fn take(&self, bits: u32) -> u32 {
        let second = if bits & Self::NMI != 0 { Self::SECOND_NMI } else { 0 };
        self.pending.fetch_and(!(bits | second), Ordering::AcqRel) & bits
    }
    /// Takes one NMI, for delivery; false where none waits. A second one goes on waiting.
    pub fn take_nmi(&self) -> bool {
        let second = |pending: u32| pending & Self::SECOND_NMI != 0;
        let before = self.update(|p| p & !(if second(p) { Self::SECOND_NMI } else { Self::NMI }));
        before & Self::NMI != 0
    }
    /// NMIs have been blocked until now: of those that came meanwhile one was latched (SDM Vol. 3A, "Handling Multiple
    /// NMIs").
    pub fn keep_one_nmi(&self) {
        self.pending.fetch_and(!Self::SECOND_NMI, Ordering::AcqRel);
    }
    /// Raises SIPI with `vector`: the target starts at `vector << 12`.
    pub fn raise_sipi(&self, vector: u8) {
        self.startup_vector.store(vector, Ordering::Release);
        self.raise(Self::SIPI);
    }
    /// The vector of the last SIPI.
    pub fn startup_vector(&self) -> u8 {
        self.startup_vector.load(Ordering::Acquire)
    }
}
