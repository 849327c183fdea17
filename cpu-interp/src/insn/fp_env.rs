//! The floating-point environment of SSE and AVX instructions: MXCSR.
//!
//! # How guest arithmetic gets the guest's rounding and flags
//!
//! While guest code runs, the *host's* MXCSR holds the guest's control bits (rounding,
//! FTZ, DAZ) and its sticky exception flags, with all exceptions masked. An instruction
//! body executes the host's own instruction, which rounds as the guest asked, and whose
//! flags gather where the guest's flags are. [`enter_guest_fp`] and [`leave_guest_fp`]
//! switch at the two ends of a run; between them no Rust floating-point arithmetic may
//! be done that matters to the host.
//!
//! `CpuState::mxcsr` is exact outside runs. Inside one its control bits are exact and its
//! flags lag behind, until [`Core::sync_mxcsr`] merges them (STMXCSR, FXSAVE, XSAVE).
//!
//! With exceptions unmasked, see `fp_env_checked`. On a host without MXCSR the portable bodies round by, and
//! gather flags in, a word of the thread that stands for it.
//!
//! Source: SDM Vol. 1, "MXCSR Control and Status Register".

use crate::core::Core;
use trimotor_cpu::simd::fp::MXCSR_MASK;
pub(super) use trimotor_cpu::simd::fp::{load_mxcsr as set_host_mxcsr, read_mxcsr as host_mxcsr};

/// The sticky exception flags.
pub(super) const FLAGS: u32 = 0x3F;
/// The six exception masks.
pub(super) const MASKS: u32 = FLAGS << MASK_SHIFT;
/// From the place of a flag to that of its mask.
pub(super) const MASK_SHIFT: u32 = 7;
/// MXCSR as Rust and the host's C library expect it.
const HOST_DEFAULT: u32 = 0x1F80;

/// Puts the guest's floating-point environment in place, at the start of a run.
#[inline]
pub fn enter_guest_fp(core: &mut Core) {
    set_host_mxcsr(core.state.mxcsr & MXCSR_MASK | MASKS);
}

/// Takes the guest's flags into `state.mxcsr` and gives the host its environment back, at
/// the end of a run.
#[inline]
pub fn leave_guest_fp(core: &mut Core) {
    core.sync_mxcsr();
    set_host_mxcsr(HOST_DEFAULT);
}

impl Core {
    /// Merges the flags that gathered during the run into `state.mxcsr`, for its readers.
    #[inline]
    pub fn sync_mxcsr(&mut self) {
        self.state.mxcsr = self.state.mxcsr & !FLAGS | host_mxcsr() & FLAGS;
    }

    /// Gives the guest a new MXCSR within a run (LDMXCSR, FXRSTOR, XRSTOR, FXRSTOR's kin).
    /// The caller has refused reserved bits (outside [`MXCSR_MASK`]) with #GP(0).
    ///
    /// Tells whether the set of unmasked exceptions changed: then code must be decoded
    /// anew, and the body calls `mode_changed()` and ends with `leave()`.
    #[inline]
    #[must_use]
    pub fn set_mxcsr(&mut self, value: u32) -> bool {
        let before = std::mem::replace(&mut self.state.mxcsr, value & MXCSR_MASK);
        set_host_mxcsr(value & MXCSR_MASK | MASKS);
        (before ^ value) & MASKS != 0
    }
}
