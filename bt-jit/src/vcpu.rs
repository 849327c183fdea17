//! The translator as an engine: its vCPUs, and the Rust functions that translated code calls.

#![allow(unsafe_code, reason = "translated code is called, and calls back with the core it was given")]

use crate::cache::{TranslatedCode, X87_FALLBACK};
use crate::core_stack::CoreStack;
use crate::engine_area::{area, area_of, check_inline_caches};
use crate::jumps::JumpTables;
use crate::native;
use crate::profiler::Profiler;
use crate::start::CODE_BYTES;
use crate::thunks::{Leave, Runtime, answer};
use crate::x87;
use std::sync::Arc;
use trimotor_bus::{CpuBus, GuestMemory, PhysAddr, VcpuSignals};
use trimotor_cpu::backend::{BackendError, CpuBackend, Vcpu, VcpuExit};
use trimotor_cpu::debugger::{DebugPoints, DebugStop};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::reg_file;
use trimotor_cpu::trace::{Kinds, VcpuTrace};
use trimotor_cpu::{ArchState, Fault};
use trimotor_cpu_interp::core::{Core, mode};
use trimotor_cpu_interp::op::Exit;
use trimotor_cpu_interp::{InterpVcpu, Interpreter};

/// The stack that translated code and what it calls run on.
const STACK_BYTES: usize = 512 << 10;

/// The translator as an engine.
pub struct Translator {
    interpreter: Interpreter,
    /// Bytes of code memory of each vCPU.
    code_bytes: usize,
    profiler: Profiler,
}

impl Translator {
    /// A translator without vCPUs.
    ///
    /// # Errors
    /// The host refuses memory to run code from, or signal handlers; the text says why.
    pub fn new() -> Result<Translator, String> {
        Translator::with(CODE_BYTES, Profiler::default())
    }
    /// The same with so many bytes of memory for translated code, and profilers that are told of it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(code_bytes: usize, profiler: Profiler) -> Result<Translator, String> {
        // Each vCPU asks the host for memory again; here it is known early whether there is any.
        TranslatedCode::new(&runtime(), code_bytes, Profiler::default())
            .map_err(|error| error.to_string())?;
        #[cfg(target_os = "linux")]
        crate::host_fault::handle_empty_inline_caches()
            .map_err(|error| format!("the host refuses a handler of SIGSEGV: {error}"))?;
        Ok(Translator { interpreter: Interpreter::new(), code_bytes, profiler })
    }
    /// Holds each hit of a shadow page table of vCPUs made from now on against a walk, as
    /// [`Interpreter::checking_tlb`] does. Translated code finds nothing in the table that it looks into,
    /// so that all its accesses go through [`Mmu::translate`](trimotor_cpu::mmu::Mmu::translate).
    #[must_use]
    pub fn checking_tlb(mut self) -> Translator {
        self.interpreter = self.interpreter.checking_tlb();
        self
    }
    /// vCPUs made from now on keep translations until something flushes them, as [`Interpreter::keeping_tlb`] has it.
    #[must_use]
    pub fn keeping_tlb(mut self) -> Translator {
        self.interpreter = self.interpreter.keeping_tlb();
        self
    }
}

impl CpuBackend for Translator {
    fn name(&self) -> &'static str {
        "jit"
    }
    fn create_vcpu(
        &mut self,
        id: u32,
        model: &Arc<CpuModel>,
        memory: &Arc<GuestMemory>,
        signals: &Arc<VcpuSignals>,
    ) -> Result<Box<dyn Vcpu>, BackendError> {
        let unavailable = |reason| BackendError::Unavailable { engine: self.name(), reason };
        let mut core = self.interpreter.core(id, model, memory, signals);
        core.atomic = true;
        let stack = CoreStack::new(core, STACK_BYTES)
            .map_err(|error| unavailable(format!("the host refuses a stack for translated code: {error}")))?;
        let interp = InterpVcpu::new(stack);
        let jumps = Box::new(JumpTables::new());
        let code = TranslatedCode::new(&runtime(), self.code_bytes, self.profiler.for_another())
            .map_err(|error| unavailable(error.to_string()))?;
        Ok(Box::new(JitVcpu { interp, code, jumps }))
    }
    fn runs_vcpus_at_once(&self) -> bool {
        true
    }
}

/// The functions that translated code calls.
fn runtime() -> Runtime {
    Runtime {
        op: run_op as *const () as usize,
        op_x87: run_op_x87 as *const () as usize,
        load_x87: load_x87 as *const () as usize,
        link: follow_link as *const () as usize,
        lookup: look_up as *const () as usize,
        time_stamp: native::time_stamp as *const () as usize,
        access_control: native::access_control as *const () as usize,
        syscall: native::syscall as *const () as usize,
        sysret: native::sysret as *const () as usize,
    }
}

/// One vCPU of the translator.
pub struct JitVcpu {
    interp: InterpVcpu<CoreStack>,
    code: TranslatedCode,
    jumps: Box<JumpTables>,
}

impl Vcpu for JitVcpu {
    fn run(&mut self, bus: &mut dyn CpuBus, budget: u64) -> VcpuExit {
        if self.interp.core().traces(Kinds::INSN) {
            return self.interp.run(bus, budget);
        }
        let JitVcpu { interp, code, jumps } = self;
        let core = interp.core();
        let pending: *const _ = core.signals.pending_word();
        let area = area(core);
        area.jump_tables = (&raw mut **jumps).cast();
        area.pending = pending;
        area.translator = (&raw mut *code).cast();
        #[cfg(target_os = "linux")]
        let _scope = crate::host_fault::RunningScope::new(core, code);
        interp.run_with(bus, budget, &mut |core| run_translated(core, code))
    }
    fn set_exact_budget(&mut self, exact: bool) {
        self.interp.set_exact_budget(exact);
    }
    fn open_signals(&self) -> u32 {
        self.interp.open_signals()
    }
    fn state(&self) -> ArchState {
        self.interp.state()
    }
    fn set_state(&mut self, state: &ArchState) {
        self.interp.set_state(state);
    }
    fn inject_interrupt(&mut self, vector: u8) {
        self.interp.inject_interrupt(vector);
    }
    fn retired(&self) -> u64 {
        self.interp.retired()
    }
    fn reset(&mut self) {
        self.interp.reset();
    }
    fn set_a20(&mut self, open: bool) {
        self.interp.set_a20(open);
    }
    fn read_linear(&mut self, addr: u64, into: &mut [u8]) -> usize {
        self.interp.read_linear(addr, into)
    }
    fn physical(&mut self, linear: u64) -> Option<PhysAddr> {
        self.interp.physical(linear)
    }
    fn set_debug_points(&mut self, points: Option<&DebugPoints>) {
        self.interp.set_debug_points(points);
    }
    fn set_stepping(&mut self, stepping: bool) {
        self.interp.set_stepping(stepping);
    }
    fn take_debug_stop(&mut self) -> Option<DebugStop> {
        self.interp.take_debug_stop()
    }
    fn set_trace(&mut self, trace: Option<Box<VcpuTrace>>) -> Option<Box<VcpuTrace>> {
        self.interp.set_trace(trace)
    }
    fn trace(&self) -> Option<&VcpuTrace> {
        self.interp.trace()
    }
    fn host_code(&mut self, linear: u64) -> Option<String> {
        self.code.listing(self.interp.core().code_at(linear)?)
    }
    fn statistics(&self) -> Vec<(String, u64)> {
        let mut lines = self.interp.statistics();
        lines.extend(self.code.statistics());
        lines
    }
}

/// Whether code in the present mode is translated; else the interpreter runs it.
fn translatable(core: &Core) -> bool {
    core.state.mode & mode::CODE_SIZE != mode::CODE16 && core.is_flat()
}

/// Runs translated code from RIP until it is left.
fn run_translated(core: &mut Core, code: &mut TranslatedCode) -> Exit {
    if !translatable(core) {
        let before = core.state.budget;
        let exit = core.run_blocks();
        code.counts.untranslated += u64::try_from(before - core.state.budget).unwrap_or(0);
        return exit;
    }
    let mut variant = 0;
    loop {
        let exit = run_variant(core, code, variant);
        if area_of(core).exit_reason != Leave::X87InState as u64 {
            return exit;
        }
        variant = X87_FALLBACK;
    }
}

/// Runs the variant of the block at RIP with the bits `variant`, and what follows.
fn run_variant(core: &mut Core, code: &mut TranslatedCode, variant: u32) -> Exit {
    area(core).exit_reason = Leave::Lookup as u64;
    let killed = core.killed_blocks();
    code.kill(core, &killed);
    code.adapt_inline_caches(core);
    if code.seen_flushes != core.cache_flushes() {
        code.reset(core);
        code.seen_flushes = core.cache_flushes();
    }
    let target = match block_at_rip(core, code, variant) {
        Ok(Some(target)) => target,
        Ok(None) => return code.step(core),
        Err(fault) => {
            core.fault = fault;
            return Exit::Fault;
        }
    };
    jumps(core).follow_epoch(code.epoch);
    if variant == 0 && !core.debugger.cuts_at(core.state.rip) {
        remember(core, target);
    }
    code.counts.leaves += 1;
    refresh_caches(core);
    enter(core, code, target);
    leave(core, code)
}

/// Calls translated code.
fn enter(core: &mut Core, code: &TranslatedCode, target: u64) {
    let area = area(core);
    area.vector_live = 0;
    area.x87_live = 0;
    area.exit_reason = Leave::Lookup as u64;
    let enter = code.address(code.thunks().enter);
    // SAFETY: the thunk has this signature; the core stands above the stack that it uses, and is not
    // looked at until it returns, except by what it calls with the pointer that it is given.
    unsafe {
        let enter: extern "sysv64" fn(*mut Core, u64) = std::mem::transmute(enter as *const ());
        enter(core, target);
    }
}

/// What the run loop is to do after translated code was left.
fn leave(core: &mut Core, code: &mut TranslatedCode) -> Exit {
    x87::store(core);
    let reason = area_of(core).exit_reason;
    code.counts.exits[reason as usize] += 1;
    let at_offset = [Leave::Budget, Leave::Dead, Leave::Step, Leave::X87InState].map(|r| r as u64);
    let at_offset = at_offset.contains(&reason);
    if at_offset {
        let page = core.reg64(reg_file::BLOCK_RIP);
        core.state.rip = core.cut_rip(page.wrapping_add(area_of(core).exit_offset as i32 as i64 as u64));
    }
    core.current = std::ptr::null();
    if reason == Leave::Step as u64 {
        code.counts.stepped += 1;
        return core.step_one();
    }
    if reason == Leave::Budget as u64 || reason == Leave::BudgetAtRip as u64 {
        return Exit::Budget;
    }
    Exit::Lookup
}

/// The host address of the block at RIP; sets the page's RIP. `None`: it must be stepped.
fn block_at_rip(core: &mut Core, code: &mut TranslatedCode, variant: u32) -> Result<Option<u64>, Fault> {
    let rip = core.state.rip;
    let Some(host) = core.fetch_flat(rip)? else { return Ok(None) };
    let Some(id) = code.find(core, host, variant) else { return Ok(None) };
    debug_assert_eq!(rip & 4095, host as u64 & 4095, "of flat segments");
    core.set_block_rip(rip & !4095);
    Ok(Some(code.entry(id)))
}

/// Puts the block at RIP into the jump table.
fn remember(core: &mut Core, target: u64) {
    let rip = core.state.rip;
    jumps(core).put(rip, target);
}

/// The vCPU's jump tables, with the one for the present key chosen.
fn jumps(core: &mut Core) -> &mut JumpTables {
    let key = core.state.jump_key;
    // SAFETY: `run` put the tables' address there for as long as it runs, and uses no other reference to them.
    let tables = unsafe { &mut *area(core).jump_tables.cast::<JumpTables>() };
    let area = area(core);
    if area.jumps_key != key {
        area.jumps = tables.choose(key).as_ptr().cast();
        area.jumps_key = key;
    }
    tables
}

/// Before translated code runs: what it finds pages and code by is for the present state.
fn refresh_caches(core: &mut Core) {
    check_inline_caches(core);
    jumps(core);
}

/// The core and the translator, as a thunk passes them.
///
/// # Safety
/// `core` is the pointer that translated code was entered with, and the caller uses no other reference
/// to either while it has these.
pub(crate) unsafe fn parts<'a>(core: *mut Core) -> (&'a mut Core, &'a mut TranslatedCode) {
    // SAFETY: the caller's promise; `run` put the translator's address there for as long as it runs.
    unsafe {
        let core = &mut *core;
        let code = &mut *area(core).translator.cast::<TranslatedCode>();
        x87::store(core);
        (core, code)
    }
}

fn leaves(core: &mut Core, reason: Leave) -> u64 {
    area(core).exit_reason = reason as u64;
    answer::LEAVE
}

/// Runs one instruction on the interpreter, for translated code.
extern "sysv64" fn run_op(core: *mut Core, site: u32) -> u64 {
    // SAFETY: called by a thunk.
    let (core, code) = unsafe { parts(core) };
    code.counts.fallbacks += 1;
    let model: *const CpuModel = &*core.model;
    // SAFETY: the model lives as long as the core, and is not changed.
    let ops = code.ops(unsafe { &*model }, site);
    // SAFETY: the ops are for the block's mode, in which the core is; the page's RIP is set.
    match unsafe { core.run_fallback(ops) } {
        Exit::Continue => {
            refresh_caches(core);
            answer::CONTINUE
        }
        Exit::Fault => {
            code.counts.faults += 1;
            core.handle_exit(Exit::Fault);
            go_on(core, code)
        }
        Exit::Budget => leaves(core, Leave::BudgetAtRip),
        Exit::Lookup => go_on(core, code),
    }
}

/// The same for blocks with x87 code, which go on with the x87 registers in the host's.
extern "sysv64" fn run_op_x87(core: *mut Core, site: u32) -> u64 {
    let answer = run_op(core, site);
    // SAFETY: called by a thunk, and `run_op` has given its references back.
    let (core, code) = unsafe { parts(core) };
    if answer != answer::CONTINUE || x87::load(core) {
        return answer;
    }
    let (next, left) = code.after(site);
    core.state.rip = core.cut_rip(core.reg64(reg_file::BLOCK_RIP).wrapping_add(next as u64));
    core.state.budget += left as i64;
    core.current = std::ptr::null();
    leaves(core, Leave::Lookup)
}

/// Loads the x87 registers, if they can be loaded: whether they are.
extern "sysv64" fn load_x87(core: *mut Core) -> u64 {
    // SAFETY: called by a thunk.
    let (core, _) = unsafe { parts(core) };
    x87::load(core) as u64
}

/// RIP is up to date: goes on there where that is known and nothing else must be done first.
pub(crate) fn go_on(core: &mut Core, code: &mut TranslatedCode) -> u64 {
    let rip = core.state.rip;
    if core.undisturbed()
        && translatable(core)
        && core.killed_blocks_empty()
        && let Some(target) = jumps(core).get(rip)
    {
        core.current = std::ptr::null();
        core.set_block_rip(rip & !4095);
        refresh_caches(core);
        return target;
    }
    code.counts.leaves += 1;
    leaves(core, Leave::Lookup)
}

/// Follows a link that is not connected, and connects it.
extern "sysv64" fn follow_link(core: *mut Core, link: u32) -> u64 {
    // SAFETY: called by a thunk.
    let (core, code) = unsafe { parts(core) };
    let (target, page, elsewhere, variant) = code.link_target(link);
    let rip = core.cut_rip(core.reg64(reg_file::BLOCK_RIP).wrapping_add(target as i64 as u64));
    core.state.rip = rip;
    core.current = std::ptr::null();
    if variant == 0 && core.debugger.cuts_at(rip) {
        // There may be a breakpoint, or one at another address of the same memory: it is looked up each time. A variant goes on
        // within the block that the link stands in, with an instruction that has been decided about.
        return leaves(core, Leave::Lookup);
    }
    let epoch = code.epoch;
    let found = if elsewhere {
        // The run loop fetches again and raises the fault, if the budget is not spent.
        core.fetch_flat(rip).unwrap_or_default()
    } else {
        Some(page + target as usize)
    };
    let Some(host) = found else { return leaves(core, Leave::Lookup) };
    let Some(id) = code.find(core, host, variant) else { return leaves(core, Leave::Lookup) };
    if code.epoch != epoch {
        // The link is gone, and the jump table with it.
        return leaves(core, Leave::Lookup);
    }
    if elsewhere {
        core.set_block_rip(rip & !4095);
    }
    code.connect(link, id, core.state.jump_key);
    let target = code.entry(id);
    if elsewhere {
        remember(core, target);
    }
    refresh_caches(core);
    target
}

/// Finds the block at RIP, which the jump table does not have.
extern "sysv64" fn look_up(core: *mut Core, _: u32) -> u64 {
    // SAFETY: called by a thunk.
    let (core, code) = unsafe { parts(core) };
    code.counts.lookups += 1;
    core.current = std::ptr::null();
    if !translatable(core) || core.debugger.cuts_at(core.state.rip) {
        return leaves(core, Leave::Lookup);
    }
    let epoch = code.epoch;
    match block_at_rip(core, code, 0) {
        Ok(Some(target)) if code.epoch == epoch => {
            remember(core, target);
            refresh_caches(core);
            target
        }
        // The run loop fetches again and raises the fault, if the budget is not spent.
        Ok(_) | Err(_) => leaves(core, Leave::Lookup),
    }
}
