//! The translated code of an engine: blocks by where their guest bytes lie, links between them, and
//! the instructions that may fall back to the interpreter.

use crate::code_memory::{CodeMemory, CodeMemoryError, CodeOffset};
use crate::inline_cache_policy::InlineCachePolicy;
use crate::positions::{self, Piece};
use crate::profiler::{Profiler, guest_block};
use crate::region::{Block, PlacedFallback, PlacedLink, Region, index_of, number, region_of};
use crate::retranslation_backoff::RetranslationBackoff;
use crate::start::LEAST_CODE_BYTES;
use crate::thunks::{Runtime, ThunkError, Thunks};
use crate::translate::{Link, MAX_LENGTH, Source, Tools, Translation};
use iced_x86::Code;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu_interp::cache::AddressHasher;
use trimotor_cpu_interp::core::Core;
use trimotor_cpu_interp::debugger::PageOffsets;
use trimotor_cpu_interp::op::{Exit, Op};

/// Bytes of a page.
const PAGE: usize = 4096;

/// In the place of a mode's bit: the variant without check coalescing.
pub const UNCOALESCED: u32 = 1 << 22;
/// In the place of a mode's bit: the variant whose x87 instructions fall back to the interpreter.
pub const X87_FALLBACK: u32 = 1 << 23;

/// Counts for `info`.
#[derive(Default, Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub blocks: u64,
    pub instructions: u64,
    /// Nanoseconds that translation took, where it is timed: from a miss to the block's entry in the map.
    pub translation_ns: u64,
    pub host_bytes: u64,
    pub killed: u64,
    pub evictions: u64,
    pub evicted: u64,
    pub fallbacks: u64,
    pub faults: u64,
    pub links: u64,
    pub relinks: u64,
    pub lookups: u64,
    pub leaves: u64,
    pub stepped: u64,
    pub untranslated: u64,
    pub exits: [u64; 6],
}

/// What lies at a place in code memory.
pub enum CodePlace<'a> {
    /// Code that all blocks share, by its name.
    Shared(&'static str),
    /// Code of a block.
    Block {
        /// The block.
        block: &'a Block,
        /// Bytes from its start.
        offset: u32,
        /// What the code there is for.
        piece: Piece,
        /// Guest instructions of the block.
        instructions: u8,
    },
}

/// Reads guest code.
fn copy_code(host: usize, into: &mut [u8]) {
    // SAFETY: callers pass the host address of mapped guest memory, and stay within its page.
    #[allow(unsafe_code)]
    unsafe {
        std::ptr::copy_nonoverlapping(host as *const u8, into.as_mut_ptr(), into.len())
    };
}

/// All translated code of a vCPU.
pub struct TranslatedCode {
    memory: CodeMemory,
    thunks: Thunks,
    start: usize,
    /// Where each thunk starts, in the order of their places.
    shared: Vec<(CodeOffset, &'static str)>,
    tools: Tools,
    /// Room for the page that is translated from.
    guest_bytes: Vec<u8>,
    map: HashMap<(usize, u32), u32, BuildHasherDefault<AddressHasher>>,
    regions: Vec<Region>,
    /// The region that is being filled; the one after it is the oldest.
    current: usize,
    /// The number of the next inline cache of user code.
    next_ic: u32,
    /// Changes when code was dropped: keepers of host addresses or numbers of blocks forget them.
    pub epoch: u64,
    /// The interpreter's cache, which tracks our pages, dropped everything so often.
    pub seen_flushes: u64,
    /// Counts for `info`.
    pub counts: Counts,
    /// How often forms fell back to the interpreter by sites that are gone.
    past_forms: HashMap<Code, u64>,
    /// Accesses that use inline caches.
    pub(crate) ic_policy: InlineCachePolicy,
    /// Code that is written again and again.
    backoff: RetranslationBackoff,
    /// The last block that was not found waits for that.
    waits: bool,
    /// What profilers are told.
    pub profiler: Profiler,
}

// SAFETY: the pointers lead into ops of regions, which move with the value.
#[allow(unsafe_code)]
unsafe impl Send for TranslatedCode {}

impl TranslatedCode {
    /// No code yet, and `bytes` bytes for it, but [`LEAST_CODE_BYTES`] at least.
    ///
    /// # Errors
    /// The host gives no memory to run code from.
    pub fn new(runtime: &Runtime, bytes: usize, profiler: Profiler) -> Result<TranslatedCode, ThunkError> {
        let memory = if profiler.is_observed() { CodeMemory::for_profilers } else { CodeMemory::new };
        let mut memory = memory(bytes.max(LEAST_CODE_BYTES))?;
        let thunks = Thunks::place(&mut memory, runtime)?;
        let regions = Region::all(memory.next(), memory.capacity());
        let start = memory.next();
        memory.reuse(regions[0].place.clone());
        let mut shared: Vec<_> = thunks.named().into_iter().map(|(name, at)| (at, name)).collect();
        shared.sort_unstable();
        let mut code = TranslatedCode {
            start,
            shared,
            memory,
            thunks,
            tools: Tools::new(),
            guest_bytes: Vec::new(),
            map: HashMap::default(),
            regions,
            current: 0,
            next_ic: 0,
            epoch: 1,
            seen_flushes: 0,
            counts: Counts::default(),
            past_forms: HashMap::new(),
            ic_policy: InlineCachePolicy::default(),
            backoff: RetranslationBackoff::default(),
            waits: false,
            profiler,
        };
        code.report_thunks();
        Ok(code)
    }

    /// The thunks.
    pub fn thunks(&self) -> &Thunks {
        &self.thunks
    }
    /// Where the thunks end.
    pub fn thunks_end(&self) -> u32 {
        self.start as u32
    }
    /// What lies at a host address. Allocates nothing: signal handlers ask.
    pub fn place_of(&self, host: u64) -> Option<CodePlace<'_>> {
        let at = self.memory.offset_of(host as *const u8)?;
        if (at.0 as usize) < self.start {
            let before = self.shared.iter().rfind(|(start, _)| *start <= at);
            return Some(CodePlace::Shared(before?.1));
        }
        let region = self.regions.iter().find(|region| region.place.contains(&at.0))?;
        let block = region.block_at(at)?;
        let offset = at.0 - block.entry.0;
        let pieces = region.pieces(block);
        let instructions = pieces.instructions();
        Some(CodePlace::Block { block, offset, piece: pieces.at(offset), instructions })
    }
    /// The host address of placed code.
    pub fn address(&self, at: CodeOffset) -> u64 {
        self.memory.entry(at) as u64
    }
    /// Bytes of host code, of dead blocks too.
    pub fn used_bytes(&self) -> usize {
        let filled = |(n, region): (usize, &Region)| match region.place.len() {
            // Nothing may have been translated yet.
            bytes if n == self.current => {
                bytes - (region.place.end as usize).saturating_sub(self.memory.next()).min(bytes)
            }
            _ if region.blocks.is_empty() => 0,
            bytes => bytes,
        };
        self.start + self.regions.iter().enumerate().map(filled).sum::<usize>()
    }
    /// Blocks that live.
    pub fn live_blocks(&self) -> usize {
        self.map.len()
    }

    /// The regions.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }
    /// A copy of a block's host code.
    pub fn code_of(&self, block: &Block) -> Vec<u8> {
        self.memory.read(block.entry, block.bytes as usize)
    }
    /// A copy of what stands now where a block's guest code came from, with its offsets in the page; of an
    /// instruction that crosses pages the part in the first one.
    pub fn guest_code_of(&self, block: &Block) -> Vec<(u16, Vec<u8>)> {
        let page = block.key.0 & !(PAGE - 1);
        let piece = |range: &Range<u16>| {
            let mut bytes = vec![0; range.len()];
            copy_code(page + range.start as usize, &mut bytes);
            (range.start, bytes)
        };
        block.guest.iter().map(piece).collect()
    }

    fn block(&self, number: u32) -> &Block {
        &self.regions[region_of(number)].blocks[index_of(number)]
    }
    fn block_mut(&mut self, number: u32) -> &mut Block {
        &mut self.regions[region_of(number)].blocks[index_of(number)]
    }
    fn link(&self, number: u32) -> &PlacedLink {
        &self.regions[region_of(number)].links[index_of(number)]
    }

    /// Drops everything. No translated code may be running or be returned to.
    pub fn reset(&mut self, core: &mut Core) {
        for n in 0..self.regions.len() {
            self.empty(core, n);
        }
        self.open(0);
    }
    /// Makes room: goes on in the oldest region, whose blocks are dropped. No code of it may be running or be
    /// returned to.
    fn evict_oldest(&mut self, core: &mut Core) {
        let oldest = (self.current + 1) % self.regions.len();
        if !self.regions[oldest].blocks.is_empty() {
            self.counts.evictions += 1;
            self.empty(core, oldest);
        }
        self.open(oldest);
    }
    fn open(&mut self, region: usize) {
        self.current = region;
        self.memory.reuse(self.regions[region].place.clone());
        self.memory.serialize();
        self.epoch += 1;
    }
    /// Drops the blocks of region `n`: nothing knows of them or leads to them any more.
    fn empty(&mut self, core: &mut Core, n: usize) {
        core.forget_tracked(&|id| region_of(id) == n);
        self.ic_policy.forget(&self.regions[n].place);
        let gone = self.regions[n].take();
        gone.count_forms(&mut self.past_forms);
        self.profiler.forget(gone.blocks.iter().filter_map(|block| block.counter));
        for block in gone.blocks {
            if block.alive {
                self.map.remove(&block.key);
                self.counts.evicted += 1;
            }
            for link in block.incoming.into_iter().filter(|&link| region_of(link) != n) {
                self.disconnect(link);
            }
        }
        for (link, placed) in gone.links.iter().enumerate() {
            if let Some(target) = placed.target.filter(|&target| region_of(target) != n) {
                let link = number(n, link);
                self.block_mut(target).incoming.retain(|&other| other != link);
            }
        }
    }

    /// The variant with the bits `variant` ([`UNCOALESCED`], [`X87_FALLBACK`]) of the block for code at host address
    /// `host`, where RIP leads, in the core's mode, translated now if it must be; `None`: it must be stepped.
    /// May drop code: see [`epoch`](Self::epoch).
    pub fn find(&mut self, core: &mut Core, host: usize, variant: u32) -> Option<u32> {
        let key = (host, core.state.mode | variant);
        if let Some(&id) = self.map.get(&key) {
            return Some(id);
        }
        self.waits = variant == 0 && self.backoff.waits(host);
        if self.waits {
            return None;
        }
        let began = self.profiler.now_ns();
        let made = self.make(core, key);
        self.counts.translation_ns += self.profiler.now_ns().saturating_sub(began);
        made
    }
    /// Translates the block with this key.
    fn make(&mut self, core: &mut Core, key: (usize, u32)) -> Option<u32> {
        let mut bytes = std::mem::take(&mut self.guest_bytes);
        let found = self.read_and_translate(core, key, &mut bytes);
        self.guest_bytes = bytes;
        found
    }
    /// The same; `bytes` is room for a page and an instruction.
    fn read_and_translate(&mut self, core: &mut Core, key: (usize, u32), bytes: &mut Vec<u8>) -> Option<u32> {
        let host = key.0;
        core.track_code_page(host);
        bytes.resize(PAGE + MAX_LENGTH, 0);
        copy_code(host & !(PAGE - 1), &mut bytes[..PAGE]);
        if let Some(id) = self.translate(core, key, &bytes[..PAGE], None) {
            return Some(id);
        }
        // The first instruction goes on in the next page, which is looked at when it is executed: not at the
        // end of a budget.
        if core.state.budget <= 0 {
            return None;
        }
        let next_page = core.state.rip.wrapping_sub(host as u64 & 4095).wrapping_add(4096);
        let second = core.fetch_flat(core.cut_rip(next_page)).ok()??;
        core.track_code_page(second);
        copy_code(second, &mut bytes[PAGE..]);
        self.translate(core, key, bytes, Some(second))
    }

    /// Translates the block at the key's host address from `bytes`, those of its page; `second` is where those lie
    /// that are in the next page.
    fn translate(
        &mut self,
        core: &mut Core,
        key: (usize, u32),
        bytes: &[u8],
        second: Option<usize>,
    ) -> Option<u32> {
        let model = core.model.clone();
        let mut made = self.emit(&model, core.debugger.cuts(), key, bytes, second)?;
        let entry = match self.place_emitted() {
            Ok(entry) => entry,
            // The code holds displacements and numbers: it is made again for the next region.
            Err(_) => {
                self.evict_oldest(core);
                made = self.emit(&model, core.debugger.cuts(), key, bytes, second)?;
                match self.place_emitted() {
                    Ok(entry) => entry,
                    Err(error) => unreachable!("a block of {} instructions: {error}", made.instructions),
                }
            }
        };
        let page = key.0 & !(PAGE - 1);
        let id = self.enlist(core, key, entry, &made, second);
        let changed = made.ranges.iter().any(|range| {
            core.code_changed(page + range.start, &bytes[range.start..range.end.min(PAGE)])
                || second.is_some_and(|second| core.code_changed(second, &bytes[PAGE..range.end]))
        });
        self.tools.recycle(made);
        if changed {
            self.kill(core, &[id]);
            return self.make(core, key);
        }
        Some(id)
    }
    /// Places the code of the last block that was emitted.
    fn place_emitted(&mut self) -> Result<CodeOffset, CodeMemoryError> {
        match self.tools.emitter.finish() {
            Ok(code) => self.memory.place(code, 16),
            Err(error) => unreachable!("a translated block: {error}"),
        }
    }
    /// Emits code for `bytes`, to be placed next.
    fn emit(
        &mut self,
        model: &CpuModel,
        cuts: &PageOffsets,
        key: (usize, u32),
        bytes: &[u8],
        second: Option<usize>,
    ) -> Option<Translation> {
        let counter = self.profiler.next_counter();
        let region = &self.regions[self.current];
        let source = Source {
            mode: key.1 & !(UNCOALESCED | X87_FALLBACK),
            model,
            bytes,
            offset: (key.0 & 4095) as u16,
            cuts,
            // It has no groups either: where one cannot be established the block goes on in the variant
            // without groups, which would ask for this one again.
            uncoalesced: key.1 & (UNCOALESCED | X87_FALLBACK) != 0,
            x87_fallback: key.1 & X87_FALLBACK != 0,
            second_page: second.map(|at| at as u64),
            base: CodeOffset(self.memory.next().next_multiple_of(16) as u32),
            first_fallback: number(self.current, region.sites.len()),
            first_link: number(self.current, region.links.len()),
            counter,
            first_ic: self.next_ic,
        };
        match self.tools.translate(&source, &self.thunks) {
            Ok(made) => made,
            Err(error) => unreachable!("translating at {:#x}: {error}", key.0),
        }
    }
    /// Enters a block that has been placed at `entry`.
    fn enlist(
        &mut self,
        core: &mut Core,
        key: (usize, u32),
        entry: CodeOffset,
        made: &Translation,
        second: Option<usize>,
    ) -> u32 {
        let host_bytes = (self.memory.next() - entry.0 as usize) as u64;
        let what = guest_block(core.state.rip, key.1, made.instructions);
        let counter = self.profiler.placed(self.memory.entry(entry) as u64, host_bytes, what);
        let region = &mut self.regions[self.current];
        let id = number(self.current, region.blocks.len());
        let dead = CodeOffset(entry.0 + made.dead as u32);
        let first_position = region.positions.len() as u32;
        positions::pack(&made.positions, &made.cold_positions, &mut region.positions);
        region.blocks.push(Block {
            key,
            entry,
            dead,
            alive: true,
            incoming: Vec::new(),
            bytes: host_bytes as u32,
            born: core.state.retired,
            guest: made.ranges.iter().map(|r| r.start as u16..r.end.min(PAGE) as u16).collect(),
            positions: (first_position, region.positions.len() as u32),
            counter,
        });
        let page = key.0 & !4095;
        region.links.extend(made.links.iter().map(|&link| PlacedLink { link, page, target: None }));
        region.sites.extend(made.sites.iter().map(|&site| PlacedFallback::new(site)));
        self.next_ic = self.next_ic.wrapping_add(made.inline_caches);
        self.ic_policy.placed(&self.memory, entry, &made.ic_sites);
        self.map.insert(key, id);
        self.counts.blocks += 1;
        self.counts.instructions += made.instructions as u64;
        self.counts.host_bytes += host_bytes;
        for range in &made.ranges {
            let here = range.end.min(PAGE) - range.start;
            core.track_code(id, page + range.start, here);
            if let Some(second) = second {
                core.track_code(id, second, range.len() - here);
            }
        }
        id
    }

    /// The host address where a block starts.
    pub fn entry(&self, block: u32) -> u64 {
        self.address(self.block(block).entry)
    }

    /// Steps the instruction at RIP, which [`find`](Self::find) has just found no block for.
    pub fn step(&mut self, core: &mut Core) -> Exit {
        self.counts.stepped += 1;
        if std::mem::take(&mut self.waits) { core.step_unkept() } else { core.step_one() }
    }

    /// Decides anew which accesses use an inline cache, if it is time. No translated code may be running or be returned to.
    pub fn adapt_inline_caches(&mut self, core: &mut Core) {
        self.ic_policy.look(core, &mut self.memory);
    }

    /// Guest code of these blocks was written to: nothing leads to them any more.
    pub fn kill(&mut self, core: &Core, ids: &[u32]) {
        for &id in ids {
            let Some(block) = self.regions[region_of(id)].blocks.get_mut(index_of(id)) else { continue };
            if !std::mem::replace(&mut block.alive, false) {
                continue;
            }
            let (key, entry, dead) = (block.key, block.entry, block.dead);
            self.backoff.killed(key.0, core.state.retired.wrapping_sub(block.born));
            let incoming = std::mem::take(&mut block.incoming);
            self.counts.killed += 1;
            self.map.remove(&key);
            let displacement = dead.0.wrapping_sub(entry.0 + 5).to_le_bytes();
            let [a, b, c, d] = displacement;
            self.memory.write(entry, &[0xE9, a, b, c, d]);
            for link in incoming {
                self.disconnect(link);
            }
        }
    }
    /// Leads link `n` back to its stub.
    fn disconnect(&mut self, n: u32) {
        let placed = &mut self.regions[region_of(n)].links[index_of(n)];
        placed.target = None;
        let Link { patch_at, stub, key, .. } = placed.link;
        match key {
            // Without a key it goes to the stub before it has changed the page.
            Some(at) => self.memory.write(at, &[0; 8]),
            None => self.memory.link(patch_at, stub),
        }
    }

    /// What link `n` leads to: the target's offset from the first byte of the page, that page's host
    /// address, whether the target is in another page, and the bits of its variant.
    pub fn link_target(&self, n: u32) -> (i32, usize, bool, u32) {
        let l = self.link(n);
        (l.link.target, l.page, l.link.key.is_some(), if l.link.uncoalesced { UNCOALESCED } else { 0 })
    }
    /// Makes link `n` lead to a block, where it has a key for `key` only.
    pub fn connect(&mut self, n: u32, block: u32, key: u64) {
        let placed = &mut self.regions[region_of(n)].links[index_of(n)];
        let link = placed.link;
        let before = placed.target.replace(block);
        self.counts.links += 1;
        if let Some(at) = link.key {
            self.memory.write(at, &key.to_le_bytes());
            self.counts.relinks += 1;
        }
        if before != Some(block) {
            if let Some(before) = before {
                self.block_mut(before).incoming.retain(|&other| other != n);
            }
            self.block_mut(block).incoming.push(n);
        }
        self.memory.link(link.patch_at, self.block(block).entry);
    }

    /// Where control comes out behind site `n`, in bytes from the page's start, and how many instructions of
    /// the block are after it.
    pub fn after(&self, n: u32) -> (u16, u8) {
        let site = &self.regions[region_of(n)].sites[index_of(n)].site;
        (site.offset + site.len as u16, site.left)
    }
    /// How often each instruction form fell back to the interpreter.
    fn fallback_forms(&self) -> HashMap<Code, u64> {
        let mut forms = self.past_forms.clone();
        self.regions.iter().for_each(|region| region.count_forms(&mut forms));
        forms
    }
    /// What fell back to the interpreter most, by instruction form: how often.
    pub fn most_fallbacks(&self, count: usize) -> Vec<(String, u64)> {
        let forms = self.fallback_forms();
        let mut forms: Vec<_> = forms.into_iter().map(|(code, n)| (format!("{code:?}"), n)).collect();
        forms.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        forms.truncate(count);
        forms
    }

    /// The ops of site `n`, for [`Core::run_fallback`].
    pub fn ops(&mut self, model: &CpuModel, n: u32) -> *const Op {
        self.regions[region_of(n)].ops(model, index_of(n))
    }
}
