//! The run loop: finds blocks, runs them, and looks around between them.

#![allow(
    unsafe_code,
    reason = "blocks are entered by pointer; the bus and the cache are pointers for one run"
)]

use crate::cache::{CodeCache, header};
use crate::core::{Core, mode};
use crate::decode::{STRAIGHT, STRAIGHT_LIMIT};
use crate::events;
use crate::insn::branch_record::{self, Branch};
use crate::insn::fp_env;
use crate::insn::port_io::IoAccess;
use crate::op::{At, Exit, Op, run};
use std::ops::DerefMut;
use std::ptr::NonNull;
use std::sync::Arc;
use trimotor_bus::memory::View;
use trimotor_bus::peers::Written;
use trimotor_bus::{CpuBus, GuestMemory, PhysAddr, VcpuSignals};
use trimotor_cpu::backend::{BackendError, CpuBackend, Vcpu, VcpuExit};
use trimotor_cpu::debugger::{DebugPoints, DebugStop};
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::mmu::{Access, tlb_index};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::{Activity, reg_file};
use trimotor_cpu::trace::{Kinds, VcpuTrace};
use trimotor_cpu::{ArchState, Fault, SegReg};

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
        core.faults_in_a_row = 0;
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

impl Core {
    fn code(&mut self) -> &mut CodeCache {
        // SAFETY: `run_with` set `code` for the run, and nobody else uses it meanwhile.
        unsafe { &mut *self.code }
    }

    /// Whether this run has retired an instruction.
    fn has_retired(&mut self) -> bool {
        self.sync_retired();
        self.state.retired != self.run_began
    }

    fn run_loop(&mut self, blocks: &mut dyn FnMut(&mut Core) -> Exit) -> VcpuExit {
        loop {
            self.sync_retired();
            if self.debugger_has_stop() {
                return VcpuExit::Debugger;
            }
            let (steps_by_event, before) = (self.steps_by_event(), self.state.retired);
            if let Some(exit) = self.poll_events() {
                return exit;
            }
            if steps_by_event {
                self.step_done();
                return VcpuExit::Debugger;
            }
            if self.debugger_stops_ahead() {
                return VcpuExit::Debugger;
            }
            if self.state.budget <= 0 && !self.next_quantum() {
                return VcpuExit::Budget;
            }
            // What happened between blocks ends none: the look-up sees it. Left over, it would end the first
            // instruction that looks, after the first of its ops.
            self.attention = false;
            let exit = if self.must_step() { self.step_one() } else { blocks(self) };
            match exit {
                // The pins are looked at, and the next block is found again.
                Exit::Budget if self.next_quantum() => self.handle_exit(exit),
                Exit::Budget if !self.exact_budget && self.has_retired() => return VcpuExit::Budget,
                Exit::Budget if self.state.budget > 0 => {
                    // The rest of the budget ends within a block.
                    self.sync_retired();
                    loop {
                        let exit = self.step_one();
                        self.handle_exit(exit);
                        if exit != Exit::Lookup
                            || self.state.budget <= 0
                            || self.board_wants_attention()
                            || self.must_step()
                            || self.state.activity != Activity::Active
                        {
                            break;
                        }
                    }
                }
                exit => self.handle_exit(exit),
            }
            if self.holds_interrupts() || self.steps_by_event() {
                self.end_step(exit, before);
            }
            if self.state.activity == Activity::Shutdown {
                return VcpuExit::Shutdown(Box::new(std::mem::take(&mut self.shutdown)));
            }
            if self.repeats_long() {
                return VcpuExit::Budget;
            }
        }
    }

    /// Whether repeated string instructions were left between two iterations, or faults led to faults, so often that
    /// the run ends: nothing retires meanwhile, and the board must get its turn. With an exact budget much later, as
    /// there no time passes meanwhile.
    #[inline]
    pub(crate) fn repeats_long(&self) -> bool {
        self.portions.max(self.faults_in_a_row) >= if self.exact_budget { 1 << 16 } else { 1 << 8 }
    }

    /// Delivers the fault that ended a block, if one did.
    pub fn handle_exit(&mut self, exit: Exit) {
        self.sync_retired();
        if exit == Exit::Fault {
            self.counts.faults += 1;
            if std::mem::replace(&mut self.faulted_at, self.state.retired) != self.state.retired {
                self.faults_in_a_row = 0;
            }
            self.faults_in_a_row += 1;
            self.debugger.forget_access();
            let fault = self.fault;
            events::raise(self, fault);
        }
    }

    /// Between blocks: what other vCPUs ask, DMA into code, changes of the memory map, debug traps, pins.
    fn poll_events(&mut self) -> Option<VcpuExit> {
        if self.signals.pending() & VcpuSignals::LOOK != 0 {
            // Before what it is about is looked at, so that a later one stays.
            self.signals.take(VcpuSignals::LOOK);
        }
        self.mmu.catch_up(&mut self.state);
        self.serve_board();
        if let Some(vector) = self.injected.take() {
            self.counts.interrupts += 1;
            self.current = std::ptr::null();
            events::external(self, vector);
        }
        if self.state.pending_debug != 0 && matches!(self.state.activity, Activity::Active | Activity::Halted)
        {
            events::after_instruction(self);
        }
        let pending = self.signals.pending();
        if pending != 0
            && let Some(exit) = self.take_signals(pending)
        {
            return Some(exit);
        }
        match self.state.activity {
            Activity::Active => None,
            Activity::Shutdown => Some(VcpuExit::Shutdown(Box::new(std::mem::take(&mut self.shutdown)))),
            Activity::Halted | Activity::WaitForSipi => Some(VcpuExit::Halted),
        }
    }

    /// Does what other vCPUs and the board ask, and follows changes of the memory map.
    #[inline]
    pub(crate) fn serve_board(&mut self) {
        if self.memory.peers().is_asked(self.id as usize) {
            self.serve_peers();
        }
        if self.memory.map_generation() != self.mmu.map_generation() {
            self.mmu.check_memory_map(&mut self.state);
            self.jumps.clear();
        }
    }
    /// Does what other vCPUs ask: gives up the right to write pages inline, and drops code that was written
    /// by them or by devices.
    #[cold]
    pub(crate) fn serve_peers(&mut self) {
        self.mmu.serve_protect();
        let memory = self.memory.clone();
        let cpu = self.id as usize;
        memory.peers().serve_written(cpu, |write| {
            let killed = match write {
                Some(write) => self.peer_wrote(&memory, write),
                None => {
                    self.mmu.flush_all(&mut self.state);
                    self.code().all_written(&memory);
                    true
                }
            };
            self.attention |= killed;
        });
    }
    /// True if code was dropped.
    fn peer_wrote(&mut self, memory: &GuestMemory, write: Written) -> bool {
        let Written { ram_page, offset, bytes, by_device } = write;
        if by_device {
            self.mmu.device_wrote(&mut self.state, ram_page, offset, bytes);
        }
        let at = memory.ram_page_host(ram_page).wrapping_add(offset as usize);
        self.code().written(memory, at, bytes)
    }

    /// The signals that are taken before the next instruction, as the state stands. Those that end a halt are the same.
    fn open_signals(&self) -> u32 {
        use VcpuSignals as S;
        let s = &self.state;
        match s.activity {
            Activity::WaitForSipi => return S::INIT | S::SIPI,
            Activity::Shutdown => return S::INIT,
            Activity::Active | Activity::Halted => {}
        }
        if self.holds_interrupts() {
            return S::INIT;
        }
        // Nothing is in the shadow of STI or MOV SS but the next instruction, which a halt does not come to.
        let shadow = s.shadow_at == s.retired && s.activity == Activity::Active;
        let ss_shadow = shadow && s.shadow_is_ss;
        let shadowed = match (shadow, ss_shadow) {
            (_, true) => S::SMI | S::NMI | S::INTR,
            (true, false) => S::INTR,
            (false, false) => 0,
        };
        S::INIT | (S::SMI | S::NMI | S::INTR) & !(self.masked_signals() | shadowed)
    }

    /// Takes interrupts and other pins in the order of their priority.
    fn take_signals(&mut self, pending: u32) -> Option<VcpuExit> {
        use VcpuSignals as S;
        if pending & S::KICK != 0 {
            self.signals.take(S::KICK);
            return Some(VcpuExit::Budget);
        }
        if pending & S::INIT != 0 && self.signals.take(S::INIT) != 0 {
            events::init(self);
        }
        let open = pending & self.open_signals();
        if self.state.activity == Activity::WaitForSipi {
            if open & S::SIPI != 0 && self.signals.take(S::SIPI) != 0 {
                let vector = self.signals.startup_vector();
                events::startup(self, vector);
            }
            return None;
        }
        self.signals.take(S::SIPI);
        if open & S::SMI != 0 && self.signals.take(S::SMI) != 0 {
            events::enter_smm(self);
            return None;
        }
        if open & S::NMI != 0 && self.signals.take_nmi() {
            self.counts.interrupts += 1;
            events::nmi(self);
            return None;
        }
        if open & S::INTR != 0 {
            self.current = std::ptr::null();
            if let Some(vector) = self.on_bus(|bus| bus.acknowledge_interrupt()) {
                self.counts.interrupts += 1;
                events::external(self, vector);
            }
        }
        None
    }

    /// Whether the next instruction must stepped: single step, breakpoints on code, or an
    /// interrupt that waits for a shadow to end; or branches are recorded, or a debugger wants it.
    #[inline]
    pub(crate) fn must_step(&self) -> bool {
        self.state.rflags.contains(Rflags::TF)
            || self.state.dr[7] & 0xFF != 0
            || self.state.shadow_at == self.state.retired && self.signals.pending() != 0
            || self.state.rflags.contains(Rflags::RF)
            || self.state.msrs.debugctl & branch_record::LBR != 0
            || self.debugger_steps()
    }

    /// Runs blocks of the interpreter until one returns.
    pub fn run_blocks(&mut self) -> Exit {
        let rip = self.state.rip;
        match self.find_block(rip, crate::decode::MAX_INSTRUCTIONS) {
            Ok(first) => self.run_block(first, rip),
            Err(fault) => {
                self.fault = fault;
                Exit::Fault
            }
        }
    }

    /// Runs one instruction.
    pub fn step_one(&mut self) -> Exit {
        self.step(1)
    }
    /// Runs one instruction that is likely to be written to soon: its decoding is not kept, and its page not tracked
    /// for it.
    pub fn step_unkept(&mut self) -> Exit {
        self.step(0)
    }
    /// `limit`: as [`find_block`](Self::find_block) takes it.
    fn step(&mut self, limit: usize) -> Exit {
        self.counts.single_steps += 1;
        if self.state.dr[7] & 0xFF != 0
            && !self.state.rflags.contains(Rflags::RF)
            && events::before_instruction(self)
        {
            self.fault = Fault::DB;
            return Exit::Fault;
        }
        let trap = self.state.rflags.contains(Rflags::TF);
        let resume = self.state.rflags.contains(Rflags::RF);
        let rip = self.state.rip;
        let branch = Branch::at(self, rip);
        let on_branches = self.state.msrs.debugctl & branch_record::BTF != 0;
        // A budget of one: what the instruction links or jumps to does not run.
        let rest = self.state.budget - 1;
        self.shift_budget(-rest);
        let exit = match self.find_block(rip, limit) {
            Ok(first) if self.traces(Kinds::INSN) => {
                self.begin_instructions(rip, first);
                let exit = self.run_block(first, rip);
                self.end_instructions(exit);
                exit
            }
            Ok(first) => self.run_block(first, rip),
            Err(fault) => {
                self.fault = fault;
                Exit::Fault
            }
        };
        self.shift_budget(rest);
        let exit = if exit == Exit::Budget { Exit::Lookup } else { exit };
        if exit != Exit::Fault {
            if resume && !events::sets_rf(self) {
                self.state.rflags.remove(Rflags::RF);
            }
            let taken = branch.is_some_and(|branch| branch.was_taken(self.state.rip));
            if taken {
                branch_record::record(self, rip);
            }
            if trap && (taken || !on_branches) {
                events::single_step_done(self);
            }
        }
        exit
    }

    pub(crate) fn run_block(&mut self, first: *const Op, rip: u64) -> Exit {
        // SAFETY: `first` is the first op of a block of the arena, which lives until the next flush;
        // flushes happen in `find_block` only.
        let (charge, first) = unsafe { ((*header(first)).charge, At::new(first)) };
        let budget = self.state.budget - charge;
        if budget < 0 {
            return Exit::Budget;
        }
        self.state.budget = budget;
        self.state.reg_file[(reg_file::BLOCK_RIP / 8) as usize] = rip;
        run(self, first)
    }

    /// The block at `rip`, for a link or a jump cache entry; `None`: the run loop must do it (faults,
    /// full cache, code that cannot be linked).
    pub(crate) fn lookup_linked(&mut self, rip: u64) -> Option<*const Op> {
        if !self.code().has_room() {
            return None;
        }
        let linear = self.code_linear(rip).ok()?;
        if self.debugger.cuts_at(linear) {
            return None;
        }
        let host = self.fetch_host(linear).ok()??;
        if self.state.mode & mode::OPEN_CS == 0 {
            return None;
        }
        let first = match self.find_tracked(host) {
            Some(first) => first,
            None if host & 4095 > 4096 - 15 && self.has_crossing(host) => return None,
            None => self.decode_tracked(rip, host, crate::decode::MAX_INSTRUCTIONS)?,
        };
        let key = self.state.jump_key;
        *self.jumps.entry(linear) = crate::cache::JumpEntry { linear, key, first };
        Some(first)
    }

    fn has_crossing(&mut self, host: usize) -> bool {
        let mode = self.state.mode;
        self.code().find_crossing((host, mode)).is_some()
    }
    fn find_tracked(&mut self, host: usize) -> Option<*const Op> {
        let mode = self.state.mode;
        self.code().find(host, mode)
    }

    /// The block at `rip`, decoded now if it must be; at most `limit` instructions long; 0: one that is not kept.
    ///
    /// # Faults
    /// Those of the fetch: #GP(0) by limit or address, #PF.
    fn find_block(&mut self, rip: u64, limit: usize) -> Result<*const Op, Fault> {
        self.counts.lookups += 1;
        if !self.code().has_room() {
            let memory = self.memory.clone();
            self.code().flush(&memory);
            self.jumps.clear();
        }
        let linear = self.code_linear(rip)?;
        let host = self.fetch_host(linear)?;
        if limit > 1
            && let Some(host) = host
        {
            let first = match self.find_tracked(host) {
                Some(first) => Some(first),
                None if host & 4095 > 4096 - 15 && self.has_crossing(host) => None,
                None => self.decode_tracked(rip, host, limit),
            };
            if let Some(first) = first
                && self.within_limit(rip, first)
            {
                if self.state.mode & mode::OPEN_CS != 0 && !self.debugger.cuts_at(linear) {
                    let key = self.state.jump_key;
                    *self.jumps.entry(linear) = crate::cache::JumpEntry { linear, key, first };
                }
                return Ok(first);
            }
        }
        self.decode_alone(rip, linear, limit > 0)
    }

    /// The block at `rip` that ends at the first jump.
    ///
    /// # Faults
    /// As [`find_block`](Self::find_block).
    pub(crate) fn find_straight(&mut self, rip: u64) -> Result<*const Op, Fault> {
        self.counts.lookups += 1;
        if !self.code().has_room() {
            let memory = self.memory.clone();
            self.code().flush(&memory);
            self.jumps.clear();
        }
        let linear = self.code_linear(rip)?;
        let mode = self.state.mode | STRAIGHT;
        if let Some(host) = self.fetch_host(linear)? {
            let found = match self.code().find(host, mode) {
                Some(first) => Some(first),
                None if host & 4095 > 4096 - 15 && self.has_crossing(host) => None,
                None => self.decode_tracked(rip, host, STRAIGHT_LIMIT),
            };
            if let Some(first) = found.filter(|first| self.within_limit(rip, *first)) {
                return Ok(first);
            }
        }
        self.decode_alone(rip, linear, true)
    }

    /// Whether a block at `rip` lies within CS's limit as a whole.
    fn within_limit(&self, rip: u64, first: *const Op) -> bool {
        // SAFETY: `first` is the first op of a block.
        let bytes = unsafe { (*header(first)).bytes } as u64;
        self.state.mode & mode::OPEN_CS != 0 || rip + bytes - 1 <= self.state.seg(SegReg::Cs).limit as u64
    }

    /// The linear address of the instruction at `rip`.
    ///
    /// # Faults
    /// #GP(0): outside CS's limit, or not canonical.
    fn code_linear(&self, rip: u64) -> Result<u64, Fault> {
        if self.state.mode & mode::CODE_SIZE == mode::CODE64 {
            return if self.canonical(rip) { Ok(rip) } else { Err(Fault::gp(0)) };
        }
        let cs = self.state.seg(SegReg::Cs);
        if rip > cs.limit as u64 {
            return Err(Fault::gp(0));
        }
        Ok(cs.base.wrapping_add(rip) & 0xFFFF_FFFF)
    }

    /// Host address of the code byte at `linear`; `None`: it comes from a device.
    ///
    /// # Faults
    /// #PF.
    pub(crate) fn fetch_host(&mut self, linear: u64) -> Result<Option<usize>, Fault> {
        // SAFETY: the table has an entry for each index.
        let e = unsafe { &*self.state.tlb.add(tlb_index(linear)) };
        let offset = linear.wrapping_sub(e.exec_tag);
        if offset < 4096 {
            return Ok(Some(e.host as usize + offset as usize));
        }
        let m = self.translate(linear, Access::Execute)?;
        Ok(if m.host.is_null() { None } else { Some(m.host as usize) })
    }
}
