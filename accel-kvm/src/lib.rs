//! KVM, the hardware virtualisation of Linux hosts, as an engine, and the *probe*, which finds out by use whether this host's
//! KVM could drive a guest.
//!
//! That `/dev/kvm` exists and opens says little. Behind it may be a processor whose firmware
//! switched virtualisation off, a hypervisor that holds it, or a software implementation that runs
//! most guest instructions in an emulator and lacks some. So [`probe`] goes the whole way that
//! an engine would: it opens the device, asks for the version and capabilities, creates VMs and
//! vCPUs, maps memory, and runs tiny guests in real mode and long mode whose results it checks.
//! [`KvmUnusable`] says at which step it ended and what would help.
//!
//! # A probe never hangs
//! The guests are straight-line code that ends in HLT, and leave KVM a bounded number of times. What
//! remains is a KVM_RUN that never returns, which only a defect in the host's kernel can bring
//! about. The probe therefore runs in a thread of its own, and [`probe`] waits for it no longer than
//! [`DEADLINE`]. A thread that is late is told to stop (it looks before every KVM_RUN) and left
//! behind; it owns all that it uses. No signal is involved, so that a program that embeds this crate
//! keeps its signal handlers and masks: a kick out of KVM_RUN would need one. That `immediate_exit`
//! makes KVM_RUN return at once, on which the engine's own kicks will rest, is one of
//! the probe's steps.
//!
//! The probe is the one part of this crate that looks at the host beyond KVM (the deadline's clock,
//! the name of the module that KVM rests on), and nothing of that reaches a guest.
//!
//! # The engine
//! [`KvmEngine`] makes vCPUs of a VM whose memory slots follow the machine's map (`vm.rs`). Interrupt controllers, timers and most
//! MSRs stay the machine's. A vCPU (`vcpu.rs`) leaves KVM for accesses to devices (`exits.rs`), is brought back by its pins
//! (`kick.rs`), and exchanges its state as [`ArchState`](trimotor_cpu::ArchState) (`registers.rs`, `vector_state.rs`).
//!
//! What KVM does not run (instructions that it cannot emulate, system-management mode, a closed A20 gate, breakpoints of a debugger), a
//! vCPU of another engine runs, on the same memory and pins. This crate does not know which engine that is. It runs one instruction,
//! or more where KVM gives up again and again (`stretches.rs`).

mod unusable;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod engine;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod exits;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod guests;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod kick;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod model;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod offer;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod probe;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod registers;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod requests;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod stretches;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trial;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod vcpu;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod vector_state;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod vm;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use engine::KvmEngine;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use probe::{DEADLINE, probe};
pub use unusable::{Backing, KvmUnusable};

use std::fmt;

/// A KVM that passed the probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KvmHost {
    /// The API version, which is 12 since 2007.
    pub api_version: i32,
    /// How many vCPUs a VM can have.
    pub max_vcpus: usize,
    /// How many memory slots a VM can have.
    pub memory_slots: usize,
    /// What KVM rests on.
    pub backing: Backing,
    /// Instructions that any operating system uses and this KVM does not run, with what happens instead: another engine runs
    /// them in its place.
    pub missing: Vec<(&'static str, String)>,
}

impl fmt::Display for KvmHost {
    /// Continues the words "this host's /dev/kvm".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "runs real-mode and long-mode guests ({}; {} vCPUs, {} memory slots)",
            self.backing, self.max_vcpus, self.memory_slots
        )?;
        if self.missing.is_empty() {
            return Ok(());
        }
        write!(f, ", but not {}", unusable::list(&self.missing))
    }
}

/// Probes KVM: always refused, since this build is for another kind of host.
///
/// # Errors
/// [`KvmUnusable::OtherHost`].
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub fn probe() -> Result<KvmHost, KvmUnusable> {
    Err(KvmUnusable::OtherHost)
}
