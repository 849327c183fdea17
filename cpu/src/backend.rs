//! The seam between machine and engine.

use crate::arch_state::ArchState;
use crate::debugger::{DebugPoints, DebugStop};
use crate::model::{CpuModel, Feature};
use crate::trace::VcpuTrace;
use std::sync::Arc;
use trimotor_bus::{CpuBus, GuestMemory, PhysAddr, VcpuSignals};

/// An engine that can make vCPUs.
pub trait CpuBackend: Send {
    /// The engine's name, as the command line spells it.
    fn name(&self) -> &'static str;
    /// Makes vCPU `id` (also its initial APIC id), in its state after RESET. A vCPU other than 0
    /// waits for INIT and SIPI.
    ///
    /// # Errors
    /// The host refuses, or the engine cannot offer the CPU model.
    fn create_vcpu(
        &mut self,
        id: u32,
        model: &Arc<CpuModel>,
        memory: &Arc<GuestMemory>,
        signals: &Arc<VcpuSignals>,
    ) -> Result<Box<dyn Vcpu>, BackendError>;
    /// Whether its vCPUs count instructions and end a run at the one that was asked for. Without it guest time cannot be counted by
    /// instructions.
    fn counts_instructions(&self) -> bool {
        true
    }
    /// What it cannot offer of a CPU model.
    fn lacks(&self, _model: &CpuModel) -> Lacks {
        Lacks::default()
    }
    /// Whether its vCPUs may run at the same time, on a thread each. Else they run in turn.
    fn runs_vcpus_at_once(&self) -> bool {
        false
    }
}

/// What an engine cannot offer of a CPU model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Features that its guests do not get, with those that need them.
    pub features: Vec<Feature>,
    /// The one frequency in hertz that the time-stamp counter has, where that is another one than the model's.
    pub tsc_hz: Option<u64>,
}

/// Why an engine cannot make a vCPU.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The engine cannot run on this host.
    #[error("engine {engine} cannot be used here: {reason}")]
    Unavailable {
        /// The engine.
        engine: &'static str,
        /// Why, and what would help.
        reason: String,
    },
}

/// One virtual CPU, driven by one engine.
pub trait Vcpu: Send {
    /// Runs up to `budget` instructions, and ends within some tens of microseconds after another thread raised
    /// [`VcpuSignals::KICK`]; it takes other signals as soon. Port and MMIO accesses are calls on `bus` and do not end
    /// the run. On return every instruction has retired or had no effect.
    fn run(&mut self, bus: &mut dyn CpuBus, budget: u64) -> VcpuExit;
    /// Whether runs that can use up their budget do so to the last instruction (they do at first). Where not,
    /// a run that has retired something may end before a block that does not fit, which saves
    /// running the rest one instruction at a time.
    fn set_exact_budget(&mut self, exact: bool);
    /// The signals ([`VcpuSignals`]) that the vCPU would take before its next instruction: after
    /// [`VcpuExit::Halted`], those that end the halt. INTR is among them where interrupts are enabled.
    fn open_signals(&self) -> u32;
    /// The architectural state.
    fn state(&self) -> ArchState;
    /// Takes an architectural state.
    fn set_state(&mut self, state: &ArchState);
    /// Has the next run begin with the delivery of an external interrupt that was acknowledged, whatever RFLAGS.IF says: for
    /// engines that fall back to another one while they deliver it. A run with a budget of 0 does that alone.
    fn inject_interrupt(&mut self, vector: u8);
    /// Instructions retired since the vCPU was made. An engine that cannot count them counts what it sees of them.
    fn retired(&self) -> u64;
    /// INIT or RESET from outside: back to the state after RESET.
    fn reset(&mut self);
    /// Opens (`true`) or closes the A20 gate.
    fn set_a20(&mut self, open: bool);
    /// Reads guest memory at a linear address with the present mapping and no side effect, for
    /// debuggers and reports; returns how many bytes could be read.
    fn read_linear(&mut self, addr: u64, into: &mut [u8]) -> usize;
    /// The guest-physical address that a linear one is mapped to, with the present mapping and no side effect.
    fn physical(&mut self, linear: u64) -> Option<PhysAddr>;
    /// Sets where the vCPU stops for a debugger; `None` where there is no debugger, which costs nothing.
    fn set_debug_points(&mut self, points: Option<&DebugPoints>);
    /// Whether runs end after one instruction, with [`VcpuExit::Debugger`]. Interrupts, NMIs and SMIs wait meanwhile, unless
    /// the vCPU halts: it is woken by them then, and stops at the first instruction of the handler. An instruction that faults is
    /// over when its handler has been entered.
    fn set_stepping(&mut self, stepping: bool);
    /// Takes what runs ended for with [`VcpuExit::Debugger`]; they end so until it is taken. A breakpoint that was taken does not
    /// stop the same execution of its instruction again.
    fn take_debug_stop(&mut self) -> Option<DebugStop>;
    /// Sets what is told of what the vCPU does, between two runs; returns the trace before. A trace whose sink has ended is asked for
    /// no more. The vCPU may run slower with a trace, and instruction by instruction with one of instructions; the guest notices
    /// nothing.
    fn set_trace(&mut self, trace: Option<Box<VcpuTrace>>) -> Option<Box<VcpuTrace>>;
    /// The trace.
    fn trace(&self) -> Option<&VcpuTrace>;
    /// The host code of the block of guest code that starts at a linear address with the present mapping, as text, for
    /// reports; `None` where the engine makes no host code, or has none from there.
    fn host_code(&mut self, linear: u64) -> Option<String>;
    /// Lines about the engine's inner life (caches, counts), for `info`.
    fn statistics(&self) -> Vec<(String, u64)>;
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VcpuExit {
    /// The budget is spent, or a kick asked for it.
    Budget,
    /// HLT, waiting for SIPI: nothing to do until one of [`Vcpu::open_signals`] is pending.
    Halted,
    /// Faults have led to faults, with no instruction between them, so often that others get their turn. After how many of
    /// them does not depend on kicks.
    Faulting,
    /// The vCPU stands where a debugger wants it: see [`Vcpu::take_debug_stop`].
    Debugger,
    /// Triple fault: the CPU is in shutdown.
    Shutdown(Box<ShutdownReport>),
}

/// What led to a triple fault, for people.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ShutdownReport {
    /// The chain of faults, first one first: "#PF(0x2) at 0010:c0100000, address 0xdead000".
    pub chain: Vec<String>,
    /// The descriptor or page-table entry that was wrong, level by level, in words.
    pub details: Vec<String>,
    /// The last records of the vCPU's trace, the oldest one first; nothing where it is not traced.
    pub last: Vec<String>,
}
