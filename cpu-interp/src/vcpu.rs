//! The interpreter as an engine, and its vCPUs.

#![allow(unsafe_code, reason = "the bus and the cache are pointers for one run")]

use crate::cache::CodeCache;
use crate::core::Core;
use crate::insn::fp_env;
use crate::insn::port_io::IoAccess;
use crate::op::Exit;
use std::ops::DerefMut;
use std::ptr::NonNull;
use std::sync::Arc;
use trimotor_bus::memory::View;
use trimotor_bus::{CpuBus, GuestMemory, PhysAddr, VcpuSignals};
use trimotor_cpu::ArchState;
use trimotor_cpu::backend::{BackendError, CpuBackend, Vcpu, VcpuExit};
use trimotor_cpu::debugger::{DebugPoints, DebugStop};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::Activity;
use trimotor_cpu::trace::{Kinds, VcpuTrace};

/// Statistics line: hits of shadow page tables that were compared with a walk.
pub const TLB_HITS: &str = "TLB hits checked";
/// Statistics line: those that a walk contradicts.
pub const TLB_DIFFERENCES: &str = "TLB hits that a walk contradicts";

/// Statistics line: uses of translations that a flush was missing for.
pub const STALE_USES: &str = "missing INVLPGs";

/// The interpreter as an engine. Its vCPUs run one at a time: locked instructions are not atomic.
#[derive(Default)]
pub struct Interpreter {
    check_tlb: bool,
    keep_tlb: bool,
}

impl Interpreter {
    /// An interpreter without vCPUs.
    pub fn new() -> Interpreter {
        Interpreter::default()
    }
    /// Holds each hit of a shadow page table of vCPUs made from now on against a walk: their statistics
    /// then tell of [`TLB_HITS`] and [`TLB_DIFFERENCES`], and each of the first differences is logged.
    #[must_use]
    pub fn checking_tlb(mut self) -> Interpreter {
        self.check_tlb = true;
        self
    }
    /// vCPUs made from now on keep translations until something flushes them, and report uses of those that the guest
    /// should have flushed: see [`Mmu::keep_until_flush`](trimotor_cpu::mmu::Mmu::keep_until_flush). Their statistics
    /// then tell of [`STALE_USES`].
    #[must_use]
    pub fn keeping_tlb(mut self) -> Interpreter {
        self.keep_tlb = true;
        self
    }
    /// Makes a vCPU's core, as RESET leaves it: for engines that fall back to the interpreter.
    pub fn core(
        &self,
        id: u32,
        model: &Arc<CpuModel>,
        memory: &Arc<GuestMemory>,
        signals: &Arc<VcpuSignals>,
    ) -> Core {
        let mut core = Core::new(id, model.clone(), memory.clone(), signals.clone());
        memory.peers().wire(id as usize, signals);
        if id != 0 {
            core.state.activity = Activity::WaitForSipi;
        }
        if self.keep_tlb {
            core.mmu.keep_until_flush();
        }
        if self.check_tlb {
            core.mmu.check_hits();
            core.mmu.select(&mut core.state);
        }
        core
    }
}

impl CpuBackend for Interpreter {
    fn name(&self) -> &'static str {
        "interp"
    }
    fn create_vcpu(
        &mut self,
        id: u32,
        model: &Arc<CpuModel>,
        memory: &Arc<GuestMemory>,
        signals: &Arc<VcpuSignals>,
    ) -> Result<Box<dyn Vcpu>, BackendError> {
        Ok(Box::new(InterpVcpu::new(Box::new(self.core(id, model, memory, signals)))))
    }
}

/// One vCPU of the interpreter, whose core lives in an `H`.
pub struct InterpVcpu<H: DerefMut<Target = Core> = Box<Core>> {
    core: H,
    code: CodeCache,
}

impl<H: DerefMut<Target = Core>> Drop for InterpVcpu<H> {
    /// Another vCPU may take its place: nobody is to wait for this one, or to look at writes for its sake.
    fn drop(&mut self) {
        let memory = self.core.memory.clone();
        self.code.flush(&memory);
    }
}

impl<H: DerefMut<Target = Core>> InterpVcpu<H> {
    /// A vCPU without decoded code.
    pub fn new(core: H) -> InterpVcpu<H> {
        let code = CodeCache::new(core.id as usize);
        InterpVcpu { core, code }
    }
    /// The core, for tests and for engines that fall back to the interpreter.
    pub fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    /// Runs as [`Vcpu::run`] does, with `blocks` in the place of the interpreter's blocks: called with RIP
    /// in `state`, it runs code until there is something to look at.
    pub fn run_with(
        &mut self,
        bus: &mut dyn CpuBus,
        budget: u64,
        blocks: &mut dyn FnMut(&mut Core) -> Exit,
    ) -> VcpuExit {
        let core = &mut *self.core;
        let memory = core.memory.clone();
        let _inside = Inside::enter(&memory, core.id as usize);
        core.code = &raw mut self.code;
        // SAFETY: only the lifetime changes; the pointer is taken back before this function returns.
        let bus: NonNull<dyn CpuBus> = unsafe {
            std::mem::transmute::<NonNull<dyn CpuBus + '_>, NonNull<dyn CpuBus + 'static>>(NonNull::from(bus))
        };
        core.set_bus(Some(bus));
        core.set_budget(budget.min(i64::MAX as u64 / 4) as i64);
        core.run_began = core.state.retired;
        core.portions = 0;
        fp_env::enter_guest_fp(core);
        let exit = core.run_loop(blocks);
        fp_env::leave_guest_fp(core);
        core.sync_retired();
        core.flush_trace();
        core.set_bus(None);
        core.current = std::ptr::null();
        core.code = std::ptr::null_mut();
        exit
    }
}

/// A run, as the other vCPUs see it.
struct Inside<'a> {
    memory: &'a GuestMemory,
    cpu: usize,
}
impl<'a> Inside<'a> {
    fn enter(memory: &'a GuestMemory, cpu: usize) -> Inside<'a> {
        memory.peers().enter(cpu);
        Inside { memory, cpu }
    }
}
impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.memory.peers().leave(self.cpu);
    }
}

impl<H: DerefMut<Target = Core> + Send> Vcpu for InterpVcpu<H> {
    fn run(&mut self, bus: &mut dyn CpuBus, budget: u64) -> VcpuExit {
        let traced = self.core.traces(Kinds::INSN);
        self.run_with(bus, budget, &mut if traced { Core::run_traced } else { Core::run_blocks })
    }
    fn set_exact_budget(&mut self, exact: bool) {
        self.core.exact_budget = exact;
    }
    fn open_signals(&self) -> u32 {
        self.core.open_signals()
    }
    fn state(&self) -> ArchState {
        let core = &*self.core;
        let repeating = core.is_repeating() && core.state.activity == Activity::Active;
        ArchState { repeating, port_access: core.last_io.just_made(core), ..core.state.to_arch() }
    }
    fn set_state(&mut self, state: &ArchState) {
        let core = &mut *self.core;
        core.state.set_arch(state);
        core.repeating_at = if state.repeating { state.retired } else { u64::MAX };
        core.last_io = IoAccess::before(state);
        core.mmu.load_cr3(&mut core.state);
        core.mmu.flush_all(&mut core.state);
        core.mode_changed();
    }
    fn inject_interrupt(&mut self, vector: u8) {
        self.core.injected = Some(vector);
    }
    fn retired(&self) -> u64 {
        self.core.state.retired
    }
    fn reset(&mut self) {
        let core = &mut *self.core;
        let (retired, a20) = (core.state.retired, core.state.a20_mask);
        core.state = trimotor_cpu::CpuState::at_reset(core.model.signature);
        core.state.retired = retired;
        core.state.a20_mask = a20;
        core.injected = None;
        if core.id != 0 {
            core.state.activity = Activity::WaitForSipi;
        }
        core.mmu.load_cr3(&mut core.state);
        core.mmu.flush_all(&mut core.state);
        core.mode_changed();
        core.shutdown = Default::default();
    }
    fn set_a20(&mut self, open: bool) {
        let core = &mut *self.core;
        core.state.a20_mask = if open { u64::MAX } else { !(1 << 20) };
        core.mmu.flush_all(&mut core.state);
    }
    fn read_linear(&mut self, addr: u64, into: &mut [u8]) -> usize {
        let core = &mut *self.core;
        let mut done = 0;
        while done < into.len() {
            let at = addr.wrapping_add(done as u64);
            let Some(phys) = core.mmu.inspect(&core.state, at, &mut Vec::new()) else { break };
            let piece = (into.len() - done).min((4096 - phys.page_offset()) as usize);
            if core.memory.read_for(phys, &mut into[done..done + piece], View::of(core.state.in_smm)) < piece
            {
                break;
            }
            done += piece;
        }
        done
    }
    fn physical(&mut self, linear: u64) -> Option<PhysAddr> {
        let core = &mut *self.core;
        core.mmu.inspect(&core.state, linear, &mut Vec::new())
    }
    fn set_debug_points(&mut self, points: Option<&DebugPoints>) {
        let core = &mut *self.core;
        let changed = core.debugger.set_points(points);
        if changed.cuts {
            let memory = core.memory.clone();
            self.code.flush(&memory);
            core.jumps.clear();
        }
        if changed.cuts || changed.watched {
            // Pages with watchpoints are not kept in the tables of inline translations.
            core.mmu.flush_all(&mut core.state);
        }
    }
    fn set_stepping(&mut self, stepping: bool) {
        self.core.debugger.set_stepping(stepping);
    }
    fn take_debug_stop(&mut self) -> Option<DebugStop> {
        self.core.take_debug_stop()
    }
    fn set_trace(&mut self, trace: Option<Box<VcpuTrace>>) -> Option<Box<VcpuTrace>> {
        self.core.set_trace(trace)
    }
    fn trace(&self) -> Option<&VcpuTrace> {
        self.core.trace()
    }
    fn host_code(&mut self, _linear: u64) -> Option<String> {
        None
    }
    fn statistics(&self) -> Vec<(String, u64)> {
        let c = &self.core.counts;
        let mut lines = vec![
            ("instructions".to_owned(), self.core.state.retired),
            ("block lookups".to_owned(), c.lookups),
            ("faults delivered".to_owned(), c.faults),
            ("interrupts delivered".to_owned(), c.interrupts),
            ("slow reads".to_owned(), c.slow_reads),
            ("slow writes".to_owned(), c.slow_writes),
            ("single steps".to_owned(), c.single_steps),
            ("page walks".to_owned(), self.core.mmu.walks),
            ("TLB flushes".to_owned(), self.core.mmu.flushes),
            ("spaces begun".to_owned(), self.core.mmu.new_spaces),
            ("page-table writes noticed".to_owned(), self.core.mmu.table_writes),
        ];
        if let Some(found) = self.core.mmu.differences() {
            lines.push((TLB_HITS.to_owned(), found.hits));
            lines.push((TLB_DIFFERENCES.to_owned(), found.differences));
        }
        if let Some(uses) = self.core.mmu.stale_uses() {
            lines.push((STALE_USES.to_owned(), uses));
        }
        let code = &self.code;
        lines.push(("blocks alive".to_owned(), code.live_blocks() as u64));
        lines.push(("blocks decoded".to_owned(), code.decoded));
        lines.push(("blocks killed by writes".to_owned(), code.killed));
        lines.push(("cache flushes".to_owned(), code.flushes));
        lines.push(("cache bytes".to_owned(), code.used_bytes() as u64));
        lines
    }
}
