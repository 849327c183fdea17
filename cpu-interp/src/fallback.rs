//! Single instructions for other engines: what the translator does not translate, and what its
//! fast paths do not cover, runs here, on the same state.
//!
//! An instruction that falls back to the interpreter belongs to a *page block*: `reg_file::BLOCK_RIP` holds the RIP of the
//! first byte of its page, and [`Op::offset`] counts from there. The engine has charged the budget with
//! its whole block at entry, and [`Op::left`] says how much of that is still ahead, as
//! in blocks of the interpreter.

#![allow(unsafe_code, reason = "handlers are called with pointers to ops")]

use crate::core::{Core, mode};
use crate::lower::{Lowering, bare_op};
use crate::op::{At, Exit, LOOPS, Op, run};
use iced_x86::Instruction;
use trimotor_bus::GuestMemory;
use trimotor_cpu::Fault;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::{Activity, reg_file};

/// The end of an instruction that fell back: returns to the caller. A loop that dispatches finds no next op.
fn finished(core: &mut Core, _op: At<'_>) -> Exit {
    if LOOPS {
        core.next_op = std::ptr::null();
    }
    Exit::Continue
}

/// The ops of `i`, which stands `offset` bytes into its page, with `left` instructions of its block after
/// it. `i` was decoded with the RIP `page_rip + offset`.
pub fn lower_one(
    model: &CpuModel,
    mode: u32,
    page_rip: u64,
    i: &Instruction,
    offset: u16,
    left: u8,
) -> Box<[Op]> {
    let mut ops = Vec::with_capacity(3);
    Lowering { mode, model, rip: page_rip, page_offset: 0, atomic: true }.lower(i, offset, &mut ops);
    for op in &mut ops {
        op.left = left;
    }
    ops.push(bare_op(finished, offset));
    ops.into_boxed_slice()
}

impl Lowering<'_> {
    /// Whether the CPU as it stands refuses `i`: the model lacks it, or its unit is switched off.
    pub fn refuses(&self, i: &Instruction) -> bool {
        self.refusal(i).is_some()
    }
}

impl Core {
    /// Runs ops of [`lower_one`]. [`Exit::Continue`]: the instruction retired, and the engine goes on after
    /// it. Else RIP and the budget are up to date, and the engine leaves its block.
    ///
    /// # Safety
    /// `ops` points to ops of `lower_one` for the mode that the vCPU is in, which stay where they are until this returns, and `reg_file::BLOCK_RIP` is set.
    pub unsafe fn run_fallback(&mut self, ops: *const Op) -> Exit {
        // SAFETY: the caller's promise; the last op's handler returns at once.
        let first = unsafe { At::new(ops) };
        run(self, first)
    }

    /// Sets `reg_file::BLOCK_RIP` to the RIP of a page's first byte.
    #[inline]
    pub fn set_block_rip(&mut self, rip: u64) {
        self.state.reg_file[(reg_file::BLOCK_RIP / 8) as usize] = rip;
    }

    /// Whether the run loop has nothing to do between two blocks: no pins, traps, changes of memory.
    #[inline]
    pub fn undisturbed(&self) -> bool {
        self.signals.pending() == 0
            && !self.memory.peers().is_asked(self.id as usize)
            && self.memory.map_generation() == self.mmu.map_generation()
            && self.state.pending_debug == 0
            && self.state.activity == Activity::Active
            && !self.repeats_long()
            && !self.must_step()
    }

    /// Whether code fetches and data accesses need no segment: CS is open, and ES, CS, SS and DS start
    /// at zero.
    pub fn is_flat(&self) -> bool {
        let first = (reg_file::SEG_BASE / 8) as usize;
        self.state.mode & mode::OPEN_CS != 0 && self.state.reg_file[first..first + 4] == [0; 4]
    }

    /// The host address of the code at RIP in flat code, from the translation table or by a walk;
    /// `None` where it comes from a device.
    ///
    /// # Faults
    /// Those of the fetch: #GP(0) for a non-canonical address, #PF.
    pub fn fetch_flat(&mut self, rip: u64) -> Result<Option<usize>, Fault> {
        if self.state.mode & mode::CODE_SIZE == mode::CODE64 && !self.canonical(rip) {
            return Err(Fault::gp(0));
        }
        self.fetch_host(rip)
    }

    /// The host address of what is at a linear address with the present mapping, without a side effect; `None` where
    /// nothing or a device is.
    pub fn code_at(&mut self, linear: u64) -> Option<usize> {
        let phys = self.mmu.inspect(&self.state, linear, &mut Vec::new())?;
        let read = self.memory.backing(phys).read;
        (!read.is_null()).then(|| read as usize + (phys.page_offset() as usize))
    }

    /// Registers `ranges` (host address and bytes, each within one page) as what block `id` of another
    /// engine was made from: a write to one of them reports `id` in [`killed_blocks`](Self::killed_blocks).
    pub fn track_code(&mut self, id: u32, host: usize, bytes: usize) {
        let memory: std::sync::Arc<GuestMemory> = self.memory.clone();
        self.code_cache().track(&memory, id, host, bytes);
    }
    /// Code at `host` is about to be read, to be kept in another form: its page is tracked for writes from
    /// now on.
    pub fn track_code_page(&mut self, host: usize) {
        let (memory, page) = (self.memory.clone(), host & !4095);
        if self.code_cache().track_page(&memory, page) {
            self.mmu.protect_page(page as *mut u8);
        }
    }
    /// Whether code at `host`, which was read as `bytes` and is tracked now, has changed in between: another
    /// vCPU wrote it.
    pub fn code_changed(&self, host: usize, bytes: &[u8]) -> bool {
        if self.memory.peers().alone() {
            return false;
        }
        // SAFETY: callers read the bytes from there, which lie in one page of guest memory.
        let now = |i: usize| unsafe { (host as *const u8).add(i).read_volatile() };
        bytes.iter().enumerate().any(|(i, &byte)| byte != now(i))
    }
    /// Takes the list of tracked blocks that were written to.
    pub fn killed_blocks(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.code_cache().killed_tracked)
    }
    /// Whether that list is empty.
    pub fn killed_blocks_empty(&mut self) -> bool {
        self.code_cache().killed_tracked.is_empty()
    }
    /// Forgets the tracked blocks whose ids are `gone`.
    pub fn forget_tracked(&mut self, gone: &dyn Fn(u32) -> bool) {
        self.code_cache().forget_tracked(gone);
    }
    /// How often the cache of decoded code dropped everything, tracked blocks included.
    pub fn cache_flushes(&mut self) -> u64 {
        self.code_cache().flushes
    }
}
