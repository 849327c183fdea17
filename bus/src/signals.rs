//! What the board tells a running vCPU from outside: interrupt pins and kicks.

use crate::event_flags::EventFlags;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// The signal pins of one vCPU. Shared by the interrupt controllers, the board and
/// the engine that runs the vCPU; safe to drive from any thread.
#[derive(Debug, Default)]
pub struct VcpuSignals {
    flags: EventFlags,
    startup_vector: AtomicU8,
}

impl VcpuSignals {
    /// INTR: a maskable interrupt waits at the local APIC or the PIC. A level: it
    /// stays until the controller takes it back.
    pub const INTR: u32 = 1 << 0;
    /// NMI: an edge, taken once.
    pub const NMI: u32 = 1 << 1;
    /// SMI: an edge, taken once.
    pub const SMI: u32 = 1 << 2;
    /// INIT: an edge, taken once.
    pub const INIT: u32 = 1 << 3;
    /// Start-up IPI: an edge, taken once, with a vector.
    pub const SIPI: u32 = 1 << 4;
    /// The run must end soon (pause, reset, an alarm).
    pub const KICK: u32 = 1 << 5;

    /// A fresh set of pins, all low.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }
    /// Raises the given bits, and wakes the vCPU's thread.
    #[inline]
    pub fn raise(&self, bits: u32) {
        self.flags.raise(bits);
    }
    /// Sleeps until one of `bits`, or KICK, is high, at most for `limit`. Called by the one thread that runs the vCPU;
    /// may return early.
    pub fn wait(&self, bits: u32, limit: Duration) {
        self.flags.sleep(bits | Self::KICK, limit);
    }
    /// Lowers the given bits.
    #[inline]
    pub fn lower(&self, bits: u32) {
        self.flags.lower(bits);
    }
    /// Raises or lowers INTR.
    #[inline]
    pub fn set_intr(&self, high: bool) {
        if high { self.raise(Self::INTR) } else { self.lower(Self::INTR) }
    }
    /// All bits that are high.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.flags.raised()
    }
    /// The word behind [`pending`](Self::pending), for code that looks at it without a call. While the vCPU runs it is 0
    /// where all bits are low.
    #[cfg(not(feature = "loom"))]
    pub fn pending_word(&self) -> &std::sync::atomic::AtomicU32 {
        self.flags.word()
    }
    /// Takes the given bits: returns those that were high, and lowers them.
    #[inline]
    pub fn take(&self, bits: u32) -> u32 {
        self.flags.take(bits)
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
