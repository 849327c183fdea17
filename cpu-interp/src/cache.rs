//! The code cache: blocks of decoded ops, keyed by where their bytes lie and the mode.
//!
//! A block is identified by the *host* address of its first byte: guest-physical memory and
//! ROM in one number, whatever linear addresses lead to it. Blocks lie in one arena of bounded
//! size. A block that guest code wrote to is dead: its charge becomes larger than any budget, so
//! that links to it fail the check that they make anyway. When the arena is full, everything is
//! dropped at once, between two blocks.

#![allow(unsafe_code, reason = "blocks link to each other by pointer within the arena")]

use crate::op::Op;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::Ordering;
use trimotor_bus::GuestMemory;
use trimotor_bus::memory::PageState;
use trimotor_bus::peers::code_granules;

/// Arena size in ops: 16 MiB.
const ARENA_OPS: usize = 16 << 20 >> 5;
/// The most ops of one block, header and ending included.
pub const MAX_BLOCK_OPS: usize = 80;
/// Ops at the start of the arena for the one untracked block.
const SCRATCH: usize = MAX_BLOCK_OPS + 1;
/// Writes that a page without blocks stays tracked: code that is written and run in turn pays for
/// the tracking once, and a page that turned into data soon is data again.
const IDLE_WRITES: u32 = 64;
/// The charge of a dead block.
pub const DEAD: i64 = i64::MAX / 2;

/// What stands before a block's first op.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct BlockHeader {
    /// Instructions, taken from the budget at entry; [`DEAD`] for a dead block.
    pub charge: i64,
    /// Host address of the first byte.
    pub host: usize,
    /// Mode that the block was decoded for.
    pub mode: u32,
    /// Bytes of guest code.
    pub bytes: u16,
    /// Ops, the ending included.
    pub ops: u16,
}
const _: () = assert!(size_of::<BlockHeader>() == size_of::<Op>());

/// The header of the block whose first op is `first`.
///
/// # Safety
/// `first` is the first op of a block in the arena.
#[inline(always)]
pub unsafe fn header(first: *const Op) -> *mut BlockHeader {
    // SAFETY: the header is the op's size before the first op.
    unsafe { first.sub(1) as *mut BlockHeader }
}

/// A fast hash for keys that are addresses.
#[derive(Default)]
pub struct AddressHasher(u64);
impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        // Of a page's address the low bits are zero, and those of the product with them; maps look at these first.
        self.0.rotate_left(26)
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(b as u64);
        }
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(n as u64);
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}
type AddressMap<K, V> = HashMap<K, V, BuildHasherDefault<AddressHasher>>;

/// Blocks of one page.
#[derive(Default)]
struct CodePage {
    blocks: Vec<*const Op>,
    /// What blocks of another engine were made from: identifier, first byte and end within the page.
    tracked: Vec<(u32, u16, u16)>,
    /// A bit for each 64 bytes that a block covers.
    granules: u64,
    /// Writes since its last block was killed: see [`IDLE_WRITES`].
    idle_writes: u32,
}

/// All decoded code of a vCPU.
pub struct CodeCache {
    /// The number of the vCPU.
    cpu: usize,
    arena: Box<[std::mem::MaybeUninit<Op>]>,
    used: usize,
    blocks: AddressMap<(usize, u32), *const Op>,
    /// By host address of the page.
    pages: AddressMap<usize, CodePage>,
    /// Instructions that cross pages: first op, bytes, and what the bytes were. Checked at each use.
    crossing: AddressMap<(usize, u32), (*const Op, usize, [u8; 15])>,
    /// Tracked blocks that were written to, for the engine that had them tracked.
    pub killed_tracked: Vec<u32>,
    /// Dropped everything so often.
    pub flushes: u64,
    /// Blocks decoded.
    pub decoded: u64,
    /// Blocks killed by writes.
    pub killed: u64,
}

// SAFETY: the pointers lead into the arena, which moves with the cache.
unsafe impl Send for CodeCache {}

impl CodeCache {
    /// An empty cache for vCPU `cpu`.
    pub fn new(cpu: usize) -> CodeCache {
        CodeCache {
            cpu,
            arena: Box::new_uninit_slice(ARENA_OPS),
            used: SCRATCH,
            blocks: AddressMap::default(),
            pages: AddressMap::default(),
            crossing: AddressMap::default(),
            killed_tracked: Vec::new(),
            flushes: 0,
            decoded: 0,
            killed: 0,
        }
    }

    /// The live block for code at `host` in `mode`.
    #[inline]
    pub fn find(&self, host: usize, mode: u32) -> Option<*const Op> {
        self.blocks.get(&(host, mode)).copied()
    }

    /// Whether a block of the largest size still fits.
    pub fn has_room(&self) -> bool {
        self.used + MAX_BLOCK_OPS < ARENA_OPS
    }

    /// Drops everything. No block may be running, and all links and jump caches must go too.
    pub fn flush(&mut self, memory: &GuestMemory) {
        for &page in self.pages.keys() {
            untrack(memory, self.cpu, page);
        }
        self.pages.clear();
        self.blocks.clear();
        self.crossing.clear();
        self.used = SCRATCH;
        self.flushes += 1;
    }

    /// Adds a block. `tracked`: it is found by `find`, and writes to its bytes kill it; else it is
    /// for one execution (code that crosses pages or comes from a device), and the next untracked
    /// block takes its place. The page of a tracked block is [tracked](Self::track_page).
    pub fn insert(
        &mut self,
        memory: &GuestMemory,
        head: BlockHeader,
        ops: &[Op],
        tracked: bool,
    ) -> *const Op {
        assert!(ops.len() <= MAX_BLOCK_OPS && self.has_room());
        let first = self.place(if tracked { self.used } else { 0 }, head, ops);
        if !tracked {
            return first;
        }
        self.used += ops.len() + 1;
        self.blocks.insert((head.host, head.mode), first);
        self.track_pages(memory, head.host, head.bytes as usize);
        if let Some(page) = self.pages.get_mut(&(head.host & !4095)) {
            page.blocks.push(first);
        }
        first
    }

    /// Begins to track the page at host address `page` for writes; true if it was not tracked before. To
    /// be called before its code is read.
    pub fn track_page(&mut self, memory: &GuestMemory, page: usize) -> bool {
        if self.pages.contains_key(&page) {
            return false;
        }
        self.pages.insert(page, CodePage::default());
        if let Some(ram_page) = memory.ram_page_of_host(page as *const u8) {
            let state = memory.page_state(ram_page);
            memory.peers().begin_code(self.cpu, ram_page, || {
                state.fetch_or(PageState::CODE, Ordering::SeqCst);
            });
        }
        true
    }

    /// Code at `host` was decoded: writes there are of interest.
    fn track_pages(&mut self, memory: &GuestMemory, host: usize, bytes: usize) {
        let page = self.pages.entry(host & !4095).or_default();
        page.idle_writes = 0;
        let new = code_granules(host & 4095, bytes) & !page.granules;
        page.granules |= new;
        if new != 0
            && let Some(ram_page) = memory.ram_page_of_host(host as *const u8)
        {
            memory.peers().add_code(self.cpu, ram_page, new);
        }
    }

    /// Tracks `bytes` bytes at `host`, within one page, for block `id` of another engine: a write there
    /// puts `id` on the list of [`killed_tracked`](Self::killed_tracked).
    pub fn track(&mut self, memory: &GuestMemory, id: u32, host: usize, bytes: usize) {
        self.track_pages(memory, host, bytes);
        if let Some(page) = self.pages.get_mut(&(host & !4095)) {
            let start = (host & 4095) as u16;
            page.tracked.push((id, start, start + bytes as u16));
        }
    }
    /// Tracks no block any more whose id is `gone`; pages without blocks are tracked until writes show that
    /// they hold data.
    pub fn forget_tracked(&mut self, gone: &dyn Fn(u32) -> bool) {
        for page in self.pages.values_mut() {
            page.tracked.retain(|&(id, ..)| !gone(id));
        }
        self.killed_tracked.retain(|&id| !gone(id));
    }

    /// Writes a block into the arena at `start`.
    fn place(&mut self, start: usize, head: BlockHeader, ops: &[Op]) -> *const Op {
        assert!(start + ops.len() < ARENA_OPS);
        self.decoded += 1;
        let base = self.arena.as_mut_ptr().wrapping_add(start).cast::<Op>();
        // SAFETY: there is room for the header and the ops (asserted).
        unsafe {
            base.cast::<BlockHeader>().write(head);
            std::ptr::copy_nonoverlapping(ops.as_ptr(), base.add(1), ops.len());
            base.add(1) as *const Op
        }
    }

    /// Keeps the decoding of an instruction that crosses pages, by host address and mode of its
    /// first byte.
    pub fn insert_crossing(
        &mut self,
        key: (usize, u32),
        head: BlockHeader,
        ops: &[Op],
        bytes: [u8; 15],
    ) -> *const Op {
        let first = self.place(self.used, head, ops);
        self.used += ops.len() + 1;
        self.crossing.insert(key, (first, head.bytes as usize, bytes));
        first
    }
    /// The kept decoding of an instruction that crosses pages: first op, length and bytes.
    pub fn find_crossing(&self, key: (usize, u32)) -> Option<(*const Op, usize, [u8; 15])> {
        self.crossing.get(&key).copied()
    }

    /// Guest memory at host address `host` has changed, within one page: kills the blocks
    /// that were decoded from there. True if there were any.
    pub fn written(&mut self, memory: &GuestMemory, host: *mut u8, bytes: u64) -> bool {
        let at = host as usize;
        let Some(page) = self.pages.get_mut(&(at & !4095)) else { return false };
        if page.blocks.is_empty() && page.tracked.is_empty() {
            page.idle_writes += 1;
            if page.idle_writes >= IDLE_WRITES {
                self.pages.remove(&(at & !4095));
                untrack(memory, self.cpu, at & !4095);
            }
            return false;
        }
        if page.granules & code_granules(at & 4095, bytes as usize) == 0 {
            return false;
        }
        let mut any = false;
        let (blocks, killed) = (&mut self.blocks, &mut self.killed);
        page.granules = 0;
        page.blocks.retain(|&first| {
            // SAFETY: listed blocks lie in the arena.
            let head = unsafe { &mut *header(first) };
            let hit = head.host < at + bytes as usize && at < head.host + head.bytes as usize;
            if hit {
                any = true;
                *killed += 1;
                head.charge = DEAD;
                blocks.remove(&(head.host, head.mode));
            } else {
                page.granules |= code_granules(head.host & 4095, head.bytes as usize);
            }
            !hit
        });
        let (start, end) = (at & 4095, (at & 4095) + bytes as usize);
        let killed_tracked = &mut self.killed_tracked;
        page.tracked.retain(|&(id, first, last)| {
            let hit = (first as usize) < end && start < last as usize;
            if hit {
                any = true;
                killed_tracked.push(id);
            } else {
                page.granules |= code_granules(first as usize, (last - first) as usize);
            }
            !hit
        });
        if any && let Some(ram_page) = memory.ram_page_of_host(host) {
            memory.peers().set_code(self.cpu, ram_page, page.granules);
        }
        any
    }

    /// Anything may have changed: kills all blocks. Some may be running.
    pub fn all_written(&mut self, memory: &GuestMemory) {
        for page in self.pages.keys().copied().collect::<Vec<_>>() {
            self.written(memory, page as *mut u8, 4096);
        }
    }

    /// Blocks alive.
    pub fn live_blocks(&self) -> usize {
        self.blocks.len()
    }
    /// Bytes of the arena in use.
    pub fn used_bytes(&self) -> usize {
        self.used * size_of::<Op>()
    }
}

/// A page is not tracked any more.
fn untrack(memory: &GuestMemory, cpu: usize, host_page: usize) {
    if let Some(ram_page) = memory.ram_page_of_host(host_page as *const u8) {
        let state = memory.page_state(ram_page);
        memory.peers().drop_code(cpu, ram_page, || {
            state.fetch_and(!PageState::CODE, Ordering::SeqCst);
        });
    }
}

/// Where a linear address was last found to lead.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct JumpEntry {
    /// Linear address of the code.
    pub linear: u64,
    /// `CpuState::jump_key` that it holds for.
    pub key: u64,
    /// The block.
    pub first: *const Op,
}

/// Jump targets by linear address: what indirect and page-crossing jumps look into.
pub struct JumpCache {
    entries: Box<[JumpEntry; JUMP_ENTRIES]>,
}
const JUMP_ENTRIES: usize = 4096;

impl Default for JumpCache {
    fn default() -> Self {
        Self::new()
    }
}

impl JumpCache {
    /// An empty cache.
    pub fn new() -> JumpCache {
        let nothing = JumpEntry { linear: 0, key: 0, first: std::ptr::null() };
        JumpCache {
            entries: vec![nothing; JUMP_ENTRIES]
                .into_boxed_slice()
                .try_into()
                .unwrap_or_else(|_| unreachable!()),
        }
    }
    /// The entry that `linear` belongs into.
    #[inline(always)]
    pub fn entry(&mut self, linear: u64) -> &mut JumpEntry {
        let index = (linear ^ linear >> 12) as usize & (JUMP_ENTRIES - 1);
        &mut self.entries[index]
    }
    /// Forgets everything.
    pub fn clear(&mut self) {
        for e in self.entries.iter_mut() {
            e.key = 0;
        }
    }
}
