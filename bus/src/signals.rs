//! What the board tells a running vCPU from outside: interrupt pins and kicks.

use crate::RestoreError;
use crate::event_flags::{EventFlags, Recall};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// The signal pins of one vCPU. Shared by the interrupt controllers, the board and
/// the engine that runs the vCPU; safe to drive from any thread. Aligned, so that no two vCPUs share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct VcpuSignals {
    flags: EventFlags,
    startup_vector: AtomicU8,
}

/// The saved pins of a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignalsStateV1 {
    edges: u32,
    startup_vector: u8,
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
    /// The run must end soon (pause, reset, an alarm).
    pub const KICK: u32 = 1 << 5;
    /// The vCPU is asked for something that it does between two blocks (see [`peers`](crate::peers)). Its thread is not woken
    /// for it, nor does its run end.
    pub const LOOK: u32 = 1 << 7;
    /// Beside [`NMI`](Self::NMI): a second one waits.
    const SECOND_NMI: u32 = 1 << 6;
    /// What waits to be taken.
    const EDGES: u32 = Self::NMI | Self::SECOND_NMI | Self::SMI | Self::INIT | Self::SIPI;

    /// A fresh set of pins, all low.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }
    /// Raises the given bits, and wakes the vCPU's thread.
    #[inline]
    pub fn raise(&self, bits: u32) {
        if bits & Self::NMI == 0 {
            self.flags.raise(bits);
        } else {
            self.flags.update(|pins| pins | bits | if pins & Self::NMI != 0 { Self::SECOND_NMI } else { 0 });
        }
    }
    /// Sleeps until one of `bits`, or KICK, is high, at most for `limit`. Called by the one thread that runs the vCPU;
    /// may return early.
    pub fn wait(&self, bits: u32, limit: Duration) {
        self.flags.sleep(bits | Self::KICK, limit);
    }
    /// Says what brings the vCPU back when it is away (see [`go_away`](Self::go_away)): for engines whose guests run in the
    /// host's kernel. Called by the thread that owns the vCPU.
    pub fn set_recall(&self, recall: Option<Arc<dyn Recall>>) {
        self.flags.set_recall(recall);
    }
    /// Takes it back, where it is still the one that was set: nobody is about to call it then.
    pub fn drop_recall(&self, recall: &Arc<dyn Recall>) {
        self.flags.drop_recall(recall);
    }
    /// The vCPU looks at no bit until it is recalled, as [`raise`](Self::raise) does from now on. Returns the bits that are high
    /// already, for which nobody recalls it. Called by the one thread that runs it.
    pub fn go_away(&self) -> u32 {
        self.flags.go_away()
    }
    /// The vCPU looks at bits by itself again.
    pub fn come_back(&self) {
        self.flags.come_back();
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
        self.flags.raised()
    }
    /// The word behind [`pending`](Self::pending), for code that looks at it without a call. While the vCPU runs it is 0
    /// where all bits are low.
    #[cfg(not(feature = "loom"))]
    pub fn pending_word(&self) -> &std::sync::atomic::AtomicU32 {
        self.flags.word()
    }
    /// Takes the given bits: returns those that were high, and lowers them; with NMI, all of them that wait.
    #[inline]
    pub fn take(&self, bits: u32) -> u32 {
        let second = if bits & Self::NMI != 0 { Self::SECOND_NMI } else { 0 };
        self.flags.take(bits | second) & bits
    }
    /// Takes one NMI, for delivery; false where none waits. A second one goes on waiting.
    pub fn take_nmi(&self) -> bool {
        let second = |pins: u32| pins & Self::SECOND_NMI != 0;
        let before =
            self.flags.update(|pins| pins & !(if second(pins) { Self::SECOND_NMI } else { Self::NMI }));
        before & Self::NMI != 0
    }
    /// NMIs have been blocked until now: of those that came meanwhile one was latched (SDM Vol. 3A, "Handling Multiple
    /// NMIs").
    pub fn keep_one_nmi(&self) {
        self.flags.lower(Self::SECOND_NMI);
    }
    /// The pins that wait to be taken, for a saved machine. INTR is a level, which the interrupt controllers drive.
    pub fn save(&self) -> SignalsStateV1 {
        let edges = self.pending() & Self::EDGES;
        SignalsStateV1 { edges, startup_vector: self.startup_vector() }
    }
    /// Takes saved pins.
    ///
    /// # Errors
    /// Bits that are no edges.
    pub fn restore(&self, state: SignalsStateV1) -> Result<(), RestoreError> {
        let SignalsStateV1 { edges, startup_vector } = state;
        let second_of_none = edges & (Self::NMI | Self::SECOND_NMI) == Self::SECOND_NMI;
        if edges & !Self::EDGES != 0 || second_of_none {
            let value = format!("{edges:#x}");
            return Err(RestoreError { part: "vCPU", field: "signals", value });
        }
        self.startup_vector.store(startup_vector, Ordering::Release);
        self.flags.update(|pins| pins & !Self::EDGES | edges);
        Ok(())
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
