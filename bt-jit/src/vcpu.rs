//! The translator as an engine: its vCPUs, and the Rust functions that translated code calls.

#![allow(unsafe_code, reason = "translated code is called, and calls back with the core it was given")]

use crate::cache::TranslatedCode;
use crate::insight::Insight;
use crate::thunks::{Leave, Runtime, answer};
use crate::translate::{JUMP_ENTRIES, JumpEntry, jump_index};
use std::sync::{Arc, Mutex, PoisonError};
use trimotor_bus::{CpuBus, GuestMemory, VcpuSignals};
use trimotor_cpu::backend::{BackendError, CpuBackend, Vcpu, VcpuExit};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::slot;
use trimotor_cpu::{ArchState, Fault};
use trimotor_cpu_interp::core::{Core, mode};
use trimotor_cpu_interp::op::Exit;
use trimotor_cpu_interp::{InterpVcpu, Interpreter};

/// The stack that translated code and what it calls run on.
const STACK_BYTES: usize = 512 << 10;

/// The translator as an engine.
pub struct Translator {
    interpreter: Interpreter,
    code: Arc<Mutex<TranslatedCode>>,
}

impl Translator {
    /// A translator without vCPUs.
    ///
    /// # Errors
    /// The host refuses memory to run code from; the text says why.
    pub fn new() -> Result<Translator, String> {
        Translator::with_insight(Insight::default())
    }
    /// The same; profilers are told of translated code.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_insight(insight: Insight) -> Result<Translator, String> {
        let runtime = Runtime {
            op: run_op as *const () as usize,
            link: follow_link as *const () as usize,
            lookup: look_up as *const () as usize,
        };
        let code = TranslatedCode::new(&runtime, insight).map_err(|error| error.to_string())?;
        Ok(Translator { interpreter: Interpreter::new(), code: Arc::new(Mutex::new(code)) })
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
        let interp = self.interpreter.vcpu(id, model, memory, signals, STACK_BYTES);
        let jumps = vec![JumpEntry::EMPTY; JUMP_ENTRIES].into_boxed_slice();
        Ok(Box::new(JitVcpu { interp, code: self.code.clone(), jumps, epoch: 0 }))
    }
}

/// One vCPU of the translator.
pub struct JitVcpu {
    interp: InterpVcpu,
    code: Arc<Mutex<TranslatedCode>>,
    jumps: Box<[JumpEntry]>,
    /// The epoch of the code that the jump table leads to.
    epoch: u64,
}

impl Vcpu for JitVcpu {
    fn run(&mut self, bus: &mut dyn CpuBus, budget: u64) -> VcpuExit {
        let mut code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        let code = &mut *code;
        let JitVcpu { interp, jumps, epoch, .. } = self;
        let core = interp.core();
        core.engine.jumps = jumps.as_mut_ptr().cast();
        core.engine.pending = core.signals.pending_word();
        core.engine.translator = (&raw mut *code).cast();
        interp.run_with(bus, budget, &mut |core| run_translated(core, code, jumps, epoch))
    }
    fn state(&self) -> ArchState {
        self.interp.state()
    }
    fn set_state(&mut self, state: &ArchState) {
        self.interp.set_state(state);
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
    fn statistics(&self) -> Vec<(String, u64)> {
        let mut lines = self.interp.statistics();
        if let Ok(code) = self.code.try_lock() {
            lines.extend(code.statistics());
        }
        lines
    }
}

/// Whether code in the present mode is translated; else the interpreter runs it.
fn translatable(core: &Core) -> bool {
    core.state.mode & mode::CODE_SIZE != mode::CODE16 && core.is_flat()
}

/// Runs translated code from RIP until it is left.
fn run_translated(
    core: &mut Core,
    code: &mut TranslatedCode,
    jumps: &mut [JumpEntry],
    epoch: &mut u64,
) -> Exit {
    if !translatable(core) {
        let before = core.state.budget;
        let exit = core.run_blocks();
        code.counts.untranslated += u64::try_from(before - core.state.budget).unwrap_or(0);
        return exit;
    }
    let killed = core.killed_blocks();
    code.kill(&killed);
    if code.seen_flushes != core.cache_flushes() {
        code.reset(core);
        code.seen_flushes = core.cache_flushes();
    }
    let target = match block_at_rip(core, code) {
        Ok(Some(target)) => target,
        Ok(None) => {
            code.counts.stepped += 1;
            return core.step_one();
        }
        Err(fault) => {
            core.fault = fault;
            return Exit::Fault;
        }
    };
    if *epoch != code.epoch {
        jumps.fill(JumpEntry::EMPTY);
        *epoch = code.epoch;
    }
    remember(core, target);
    code.counts.leaves += 1;
    enter(core, code, target);
    leave(core, code)
}

/// Calls translated code.
fn enter(core: &mut Core, code: &TranslatedCode, target: u64) {
    core.engine.vector_live = 0;
    core.engine.exit_reason = Leave::Lookup as u64;
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
    let reason = core.engine.exit_reason;
    code.counts.exits[reason as usize] += 1;
    let at_offset = [Leave::Budget as u64, Leave::Dead as u64, Leave::Step as u64].contains(&reason);
    if at_offset {
        let page = core.slot(slot::BLOCK_RIP);
        core.state.rip = core.cut_rip(page.wrapping_add(core.engine.exit_offset as i32 as i64 as u64));
    }
    core.current = std::ptr::null();
    if reason == Leave::Step as u64 {
        code.counts.stepped += 1;
        return core.step_one();
    }
    if reason == Leave::Budget as u64 || reason == Leave::BudgetAtRip as u64 {
        return Exit::Budget;
    }
    if reason == Leave::Fault as u64 { Exit::Fault } else { Exit::Lookup }
}

/// The host address of the block at RIP; sets the page's RIP. `None`: it is to be run alone.
fn block_at_rip(core: &mut Core, code: &mut TranslatedCode) -> Result<Option<u64>, Fault> {
    let rip = core.state.rip;
    let Some(host) = core.fetch_flat(rip)? else { return Ok(None) };
    let Some(id) = code.find(core, host, false) else { return Ok(None) };
    core.set_block_rip(rip.wrapping_sub(host as u64 & 4095));
    Ok(Some(code.entry(id)))
}

/// Puts the block at RIP into the jump table.
fn remember(core: &mut Core, target: u64) {
    let (rip, key) = (core.state.rip, core.state.jump_key);
    let page_rip = core.slot(slot::BLOCK_RIP);
    let entry = JumpEntry { rip, key, code: target, page_rip };
    // SAFETY: `jumps` points to JUMP_ENTRIES entries during a run.
    unsafe { *core.engine.jumps.cast::<JumpEntry>().add(jump_index(rip, key)) = entry };
}

/// The core and the translator, as a thunk passes them.
///
/// # Safety
/// `core` is the pointer that translated code was entered with, and the caller uses no other reference
/// to either while it has these.
unsafe fn parts<'a>(core: *mut Core) -> (&'a mut Core, &'a mut TranslatedCode) {
    // SAFETY: the caller's promise; `run` put the translator's address there for as long as it runs.
    unsafe {
        let core = &mut *core;
        let code = &mut *core.engine.translator.cast::<TranslatedCode>();
        (core, code)
    }
}

fn leaves(core: &mut Core, reason: Leave) -> u64 {
    core.engine.exit_reason = reason as u64;
    answer::LEAVE
}

/// Runs one instruction on the interpreter, for translated code.
extern "sysv64" fn run_op(core: *mut Core, site: u32) -> u64 {
    // SAFETY: called by a thunk.
    let (core, code) = unsafe { parts(core) };
    code.counts.handed_over += 1;
    let model: *const CpuModel = &*core.model;
    // SAFETY: the model lives as long as the core, and is not changed.
    let ops = code.ops(unsafe { &*model }, site);
    // SAFETY: the ops are for the block's mode, in which the core is; the page's RIP is set.
    match unsafe { core.run_handed_over(ops) } {
        Exit::Continue => answer::CONTINUE,
        Exit::Fault => leaves(core, Leave::Fault),
        Exit::Budget => leaves(core, Leave::BudgetAtRip),
        Exit::Lookup => go_on(core, code),
    }
}

/// RIP is settled: goes on there where that is known and nothing else is to be done first.
fn go_on(core: &mut Core, code: &mut TranslatedCode) -> u64 {
    let (rip, key) = (core.state.rip, core.state.jump_key);
    if core.undisturbed() && translatable(core) && core.killed_blocks_empty() {
        // SAFETY: `jumps` points to JUMP_ENTRIES entries during a run.
        let entry = unsafe { *core.engine.jumps.cast::<JumpEntry>().add(jump_index(rip, key)) };
        if entry.rip == rip && entry.key == key {
            core.current = std::ptr::null();
            core.set_block_rip(entry.page_rip);
            return entry.code;
        }
    }
    code.counts.leaves += 1;
    leaves(core, Leave::Lookup)
}

/// Follows a link that is not connected, and connects it.
extern "sysv64" fn follow_link(core: *mut Core, link: u32) -> u64 {
    // SAFETY: called by a thunk.
    let (core, code) = unsafe { parts(core) };
    let (target, page, elsewhere, plain) = code.link_target(link);
    let rip = core.cut_rip(core.slot(slot::BLOCK_RIP).wrapping_add(target as i64 as u64));
    core.state.rip = rip;
    core.current = std::ptr::null();
    let epoch = code.epoch;
    let found = if elsewhere {
        match core.fetch_flat(rip) {
            Ok(Some(host)) => Some(host),
            Ok(None) => None,
            Err(fault) => {
                core.fault = fault;
                return leaves(core, Leave::Fault);
            }
        }
    } else {
        Some(page + target as usize)
    };
    let Some(host) = found else { return leaves(core, Leave::Lookup) };
    let Some(id) = code.find(core, host, plain) else { return leaves(core, Leave::Lookup) };
    if code.epoch != epoch {
        // The link is gone, and the jump table with it.
        return leaves(core, Leave::Lookup);
    }
    if elsewhere {
        core.set_block_rip(rip.wrapping_sub(host as u64 & 4095));
    }
    code.connect(link, id, core.state.jump_key);
    let target = code.entry(id);
    if elsewhere {
        remember(core, target);
    }
    target
}

/// Finds the block at RIP, which the jump table does not have.
extern "sysv64" fn look_up(core: *mut Core, _: u32) -> u64 {
    // SAFETY: called by a thunk.
    let (core, code) = unsafe { parts(core) };
    code.counts.lookups += 1;
    core.current = std::ptr::null();
    let epoch = code.epoch;
    match block_at_rip(core, code) {
        Ok(Some(target)) if code.epoch == epoch => {
            remember(core, target);
            target
        }
        Ok(_) => leaves(core, Leave::Lookup),
        Err(fault) => {
            core.fault = fault;
            leaves(core, Leave::Fault)
        }
    }
}
