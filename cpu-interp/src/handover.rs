//! Single instructions for other engines: what the translator does not translate, and what its
//! quick paths do not cover, runs here, on the same state.
//!
//! An instruction that is handed over belongs to a *page block*: `slot::BLOCK_RIP` holds the RIP of the
//! first byte of its page, and [`Op::offset`] counts from there. The engine has charged the budget with
//! its whole block at entry, and [`Op::left`] says how much of that is still ahead, as
//! in blocks of the interpreter.

#![allow(unsafe_code, reason = "handlers are called with pointers to ops")]

use crate::core::{Core, mode};
use crate::lower::{Lowering, plain_op};
use crate::op::{Exit, LOOPS, Op};
use iced_x86::Instruction;
use trimotor_bus::GuestMemory;
use trimotor_cpu::Fault;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::{Activity, slot};

/// Slots of one vCPU: the first half for reads, the other for writes.
pub const SLOTS: usize = 2048;

/// Where an access in user code last found its page: a copy of an entry of the shadow page table, one for each
/// site instead of one for each page, so that it is found without computing an index. Valid until
/// `Mmu::losses` changes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Slot {
    /// The linear page.
    pub tag: u64,
    /// What turns a linear address of the page into a host address.
    pub delta: u64,
}

impl Slot {
    /// The tag of an empty slot: no address there is canonical. There is no tag that no address matches, so
    /// an empty slot leads to the host's lowest page. No process has that: the access faults, and the
    /// translator's handler goes its slow way.
    pub const NOWHERE: u64 = 0x5A3D_96C1_7B4E_2000;
    /// Host addresses that empty slots lead to are below this.
    pub const NOWHERE_BYTES: u64 = 4096;
    /// A slot without a page.
    pub const EMPTY: Slot = Slot { tag: Slot::NOWHERE, delta: Slot::NOWHERE.wrapping_neg() };
}

/// State that a translator keeps with each vCPU, at fixed places behind the CPU state so that
/// its code reaches it. The interpreter does not look at it.
#[repr(C)]
pub struct EngineArea {
    /// The host's stack pointer while translated code runs.
    pub host_stack: u64,
    /// Offset within its page of the instruction where translated code was left.
    pub exit_offset: u64,
    /// Why translated code was left.
    pub exit_reason: u64,
    /// Non-zero while the vector registers are in the host's and not in [`CpuState`](trimotor_cpu::CpuState).
    pub vector_live: u64,
    /// Non-zero while the x87 registers are in the host's.
    pub x87_live: u64,
    /// A place for one register.
    pub spare: [u64; 3],
    /// Keeps the next away from the places before it: translators look after it, by how hosts tell places apart.
    pub apart: [u64; 16],
    /// Host addresses of groups of accesses that share a check.
    pub groups: [u64; 16],
    /// Where sites in user code last found their pages. See [`Slot`].
    pub slots: [Slot; SLOTS],
    /// Page numbers (the low 32 bits) that slots last missed: hints for when to fill one.
    pub slot_candidates: [u32; SLOTS],
    /// Slots that are not empty, a bit each.
    pub slots_used: [u64; SLOTS / 64],
    /// `Mmu::losses` that the slots hold for.
    pub slots_losses: u64,
    /// What translated x87 code leaves here.
    pub x87: X87Area,
    /// The word of the vCPU's pins (`VcpuSignals::pending_word`).
    pub pending: *const std::sync::atomic::AtomicU32,
    /// The table that indirect jumps look into, for `jumps_key`.
    pub jumps: *mut u8,
    /// The `CpuState::jump_key` that the table is for.
    pub jumps_key: u64,
    /// How many more links to other pages are followed by way of the table before one is made anew.
    pub probes: u64,
    /// All such tables of the vCPU.
    pub jump_tables: *mut u8,
    /// The translator.
    pub translator: *mut u8,
    /// How often slots missed, or accesses that have given them up were made, until somebody looks.
    pub slot_misses: [u32; SLOTS],
    /// An operand that lost flags are computed from again.
    pub flags_operand: u64,
}

impl Default for EngineArea {
    fn default() -> Self {
        EngineArea {
            host_stack: 0,
            exit_offset: 0,
            exit_reason: 0,
            vector_live: 0,
            x87_live: 0,
            spare: [0; 3],
            slot_misses: [0; SLOTS],
            flags_operand: 0,
            apart: [0; 16],
            groups: [0; 16],
            // All in use and out of date, so that they are emptied before the first use.
            slots: [Slot::EMPTY; SLOTS],
            slot_candidates: [0; SLOTS],
            slots_used: [u64::MAX; SLOTS / 64],
            slots_losses: u64::MAX,
            x87: X87Area::default(),
            pending: std::ptr::null(),
            jumps: std::ptr::null_mut(),
            jumps_key: 0,
            probes: 0,
            jump_tables: std::ptr::null_mut(),
            translator: std::ptr::null_mut(),
        }
    }
}

/// The x87 registers on their way to the host's and back, and what translated code notes of the
/// last instruction: [`NONE`](X87Area::NONE) where none ran since the registers were loaded.
#[repr(C)]
pub struct X87Area {
    /// The image of FRSTOR and FNSAVE, in its 32-bit form.
    pub image: [u8; 112],
    /// RIP of the first byte of the last instruction's page.
    pub page: u64,
    /// Offset of the last memory operand in its segment.
    pub operand: u64,
    /// Offset of the last instruction in its page.
    pub offset: u32,
    /// Number of the last memory operand's segment.
    pub segment: u32,
}

impl X87Area {
    /// Nothing was noted.
    pub const NONE: u32 = u32::MAX;
}

impl Default for X87Area {
    fn default() -> Self {
        X87Area { image: [0; 112], page: 0, operand: 0, offset: Self::NONE, segment: Self::NONE }
    }
}

/// The end of a handed-over instruction: back to who handed it over. A loop that dispatches finds no next op.
fn finished(core: &mut Core, _op: *const Op) -> Exit {
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
    ops.push(plain_op(finished, offset));
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
    /// it. Else RIP and the budget are settled, and the engine leaves its block.
    ///
    /// # Safety
    /// `ops` points to ops of `lower_one` for the mode that the vCPU is in, and `slot::BLOCK_RIP` is set.
    pub unsafe fn run_handed_over(&mut self, ops: *const Op) -> Exit {
        // SAFETY: the caller's promise; the last op's handler returns at once.
        unsafe {
            let mut exit = ((*ops).handler)(self, ops);
            if LOOPS {
                while exit == Exit::Continue && !self.next_op.is_null() {
                    let op = self.next_op;
                    exit = ((*op).handler)(self, op);
                }
            }
            exit
        }
    }

    /// Sets `slot::BLOCK_RIP` to the RIP of a page's first byte.
    #[inline]
    pub fn set_block_rip(&mut self, rip: u64) {
        self.state.slots[(slot::BLOCK_RIP / 8) as usize] = rip;
    }

    /// Empties the slots where translations may have gone since they were filled.
    #[inline]
    pub fn check_slots(&mut self) {
        if self.engine.slots_losses != self.mmu.losses {
            self.empty_slots();
        }
    }
    #[cold]
    fn empty_slots(&mut self) {
        self.engine.slots_losses = self.mmu.losses;
        for (n, word) in self.engine.slots_used.iter_mut().enumerate() {
            while *word != 0 {
                self.engine.slots[n * 64 + word.trailing_zeros() as usize] = Slot::EMPTY;
                *word &= *word - 1;
            }
        }
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
        let first = (slot::SEG_BASE / 8) as usize;
        self.state.mode & mode::OPEN_CS != 0 && self.state.slots[first..first + 4] == [0; 4]
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
    /// Code at `host` is about to be read, to be kept in another form: its page is watched for writes from
    /// now on.
    pub fn watch_code(&mut self, host: usize) {
        let (memory, page) = (self.memory.clone(), host & !4095);
        if self.code_cache().watch_page(&memory, page) {
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
