//! The translated code of an engine: blocks by where their guest bytes lie, links between them, and
//! the instructions that may be handed over.

use crate::code_memory::{CodeMemory, CodeOffset};
use crate::insight::{Insight, guest_block};
use crate::thunks::{Runtime, ThunkError, Thunks};
use crate::translate::{Link, MAX_INSTRUCTIONS, MAX_LENGTH, Site, Source, Tools};
use iced_x86::{Code, Decoder};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu_interp::cache::AddressHasher;
use trimotor_cpu_interp::core::{Core, mode};
use trimotor_cpu_interp::handover::lower_one;
use trimotor_cpu_interp::lower::Lowering;
use trimotor_cpu_interp::op::Op;

/// Code memory in bytes. Pages cost nothing until they are used.
const CODE_BYTES: usize = 64 << 20;
/// Room that a block of the largest size may need, in bytes.
const LARGEST_BLOCK: usize = 64 << 10;

/// Mark of a block's variant without groups, in the place of a mode bit.
const PLAIN: u32 = 1 << 22;
/// In the place of a mode's bit: the variant whose x87 instructions are handed over.
pub const X87_HANDED_OVER: u32 = 1 << 23;

/// A translated block.
#[derive(Debug)]
struct Block {
    /// Host address of its first guest byte, and its mode.
    key: (usize, u32),
    /// Where its code starts.
    entry: CodeOffset,
    /// The stub that a dead block's entry leads to.
    dead: CodeOffset,
    alive: bool,
    /// Links that lead here.
    incoming: Vec<u32>,
}

/// A link, and the page that it stands in.
struct PlacedLink {
    link: Link,
    /// Host address of the page that is jumped from.
    page: usize,
}

/// A site, and its ops once it was handed over.
struct PlacedSite {
    site: Site,
    ops: *const Op,
    /// Times that it was handed over.
    runs: u64,
}

/// Counts for `info`.
#[derive(Default, Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub blocks: u64,
    pub instructions: u64,
    pub host_bytes: u64,
    pub killed: u64,
    pub resets: u64,
    pub handed_over: u64,
    pub links: u64,
    pub relinks: u64,
    pub lookups: u64,
    pub leaves: u64,
    pub stepped: u64,
    pub untranslated: u64,
    pub exits: [u64; 7],
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
    tools: Tools,
    map: HashMap<(usize, u32), u32, BuildHasherDefault<AddressHasher>>,
    blocks: Vec<Block>,
    links: Vec<PlacedLink>,
    sites: Vec<PlacedSite>,
    /// Ops of sites; boxed so that they stay where they are.
    ops: Vec<Box<[Op]>>,
    /// The number of the next slot of user code.
    next_slot: u32,
    /// Changes when everything was dropped.
    pub epoch: u64,
    /// The interpreter's cache, which tracks our pages, dropped everything so often.
    pub seen_flushes: u64,
    /// Counts for `info`.
    pub counts: Counts,
    /// How often forms were handed over by sites that are gone.
    past_forms: HashMap<Code, u64>,
    /// What profilers are told.
    pub insight: Insight,
}

// SAFETY: the pointers lead into `ops`, which moves with the value.
#[allow(unsafe_code)]
unsafe impl Send for TranslatedCode {}

impl TranslatedCode {
    /// No code yet.
    ///
    /// # Errors
    /// The host gives no memory to run code from.
    pub fn new(runtime: &Runtime, insight: Insight) -> Result<TranslatedCode, ThunkError> {
        let memory = if insight.is_observed() { CodeMemory::for_profilers } else { CodeMemory::new };
        let mut memory = memory(CODE_BYTES)?;
        let thunks = Thunks::place(&mut memory, runtime)?;
        let mut code = TranslatedCode {
            start: memory.used(),
            memory,
            thunks,
            tools: Tools::new(),
            map: HashMap::default(),
            blocks: Vec::new(),
            links: Vec::new(),
            sites: Vec::new(),
            ops: Vec::new(),
            next_slot: 0,
            epoch: 1,
            seen_flushes: 0,
            counts: Counts::default(),
            past_forms: HashMap::new(),
            insight,
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
    /// The host address of placed code.
    pub fn address(&self, at: CodeOffset) -> u64 {
        self.memory.entry(at) as u64
    }
    /// Bytes of host code.
    pub fn used_bytes(&self) -> usize {
        self.memory.used()
    }
    /// Blocks that live.
    pub fn live_blocks(&self) -> usize {
        self.map.len()
    }

    /// Whether a block of the largest size fits.
    fn has_room(&self) -> bool {
        self.memory.capacity() - self.memory.used() > LARGEST_BLOCK
    }

    /// Drops everything. No translated code may be running or be returned to.
    pub fn reset(&mut self, core: &mut Core) {
        core.forget_tracked();
        self.map.clear();
        self.blocks.clear();
        self.links.clear();
        self.past_forms = self.handed_over_forms();
        self.sites.clear();
        self.ops.clear();
        self.insight.forget();
        self.memory.reset_to(self.start);
        self.memory.serialize();
        self.epoch += 1;
        self.counts.resets += 1;
    }

    /// The block for code at host address `host`, where RIP leads, in the core's mode, translated now if it
    /// must be, or its variant without groups; `None`: it is to be run alone. May drop all code: see [`epoch`](Self::epoch).
    pub fn find(&mut self, core: &mut Core, host: usize, plain: bool) -> Option<u32> {
        self.find_variant(core, host, if plain { PLAIN } else { 0 })
    }
    /// The same for the variant with the bits `variant`.
    pub fn find_variant(&mut self, core: &mut Core, host: usize, variant: u32) -> Option<u32> {
        let key = (host, core.state.mode | variant);
        if let Some(&id) = self.map.get(&key) {
            return Some(id);
        }
        if !self.has_room() {
            self.reset(core);
        }
        core.watch_code(host);
        let mut bytes = [0u8; MAX_INSTRUCTIONS * MAX_LENGTH];
        let len = bytes.len().min(4096 - (host & 4095));
        copy_code(host, &mut bytes[..len]);
        if let Some(id) = self.translate(core, key, &bytes[..len], None) {
            return Some(id);
        }
        // The first instruction goes on in the next page, which is looked at when it is executed: not at the
        // end of a budget.
        if core.state.budget <= 0 {
            return None;
        }
        let next_page = core.state.rip.wrapping_sub(host as u64 & 4095).wrapping_add(4096);
        let second = core.fetch_flat(core.cut_rip(next_page)).ok()??;
        core.watch_code(second);
        copy_code(second, &mut bytes[len..MAX_LENGTH]);
        self.translate(core, key, &bytes[..MAX_LENGTH], Some(second))
    }

    /// Translates `bytes`, whose first one is at the key's host address; `second` is where those lie that
    /// are in the next page.
    fn translate(
        &mut self,
        core: &mut Core,
        key: (usize, u32),
        bytes: &[u8],
        second: Option<usize>,
    ) -> Option<u32> {
        let (host, mode) = (key.0, key.1 & !(PLAIN | X87_HANDED_OVER));
        let model = core.model.clone();
        let source = Source {
            mode,
            model: &model,
            bytes,
            offset: (host & 4095) as u16,
            // It has no groups either: where one cannot be established the block goes on in the variant
            // without groups, which would ask for this one again.
            plain: key.1 & (PLAIN | X87_HANDED_OVER) != 0,
            x87_handed_over: key.1 & X87_HANDED_OVER != 0,
            second_page: second.map(|at| at as u64),
            base: CodeOffset(self.memory.used().next_multiple_of(16) as u32),
            first_site: self.sites.len() as u32,
            first_link: self.links.len() as u32,
            counter: self.insight.next_counter(),
            first_slot: self.next_slot,
        };
        let t = match self.tools.translate(&source, &self.thunks) {
            Ok(t) => t?,
            Err(error) => unreachable!("translating at {host:#x}: {error}"),
        };
        let placed = self.tools.emitter.finish().map_err(|e| e.to_string()).and_then(|code| {
            self.counts.host_bytes += code.len() as u64;
            self.memory.place(code, 16).map_err(|e| e.to_string())
        });
        let entry = match placed {
            Ok(entry) => entry,
            Err(error) => unreachable!("a block of {} instructions: {error}", t.instructions),
        };
        debug_assert_eq!(entry, source.base);
        let host_bytes = (self.memory.used() - entry.0 as usize) as u64;
        let what = guest_block(core.state.rip, mode, t.instructions);
        self.insight.placed(self.memory.entry(entry) as u64, host_bytes, what);
        let id = self.blocks.len() as u32;
        let dead = CodeOffset(entry.0 + t.dead as u32);
        self.blocks.push(Block { key, entry, dead, alive: true, incoming: Vec::new() });
        let page = host & !4095;
        self.links.extend(t.links.iter().map(|&link| PlacedLink { link, page }));
        self.sites.extend(t.sites.iter().map(|&site| PlacedSite { site, ops: std::ptr::null(), runs: 0 }));
        self.next_slot = self.next_slot.wrapping_add(t.slots);
        self.map.insert(key, id);
        self.counts.blocks += 1;
        self.counts.instructions += t.instructions as u64;
        let here = t.bytes.min(4096 - (host & 4095));
        core.track_code(id, host, here);
        if let Some(second) = second {
            core.track_code(id, second, t.bytes - here);
        }
        let changed = core.code_changed(host, &bytes[..here])
            || second.is_some_and(|second| core.code_changed(second, &bytes[here..t.bytes]));
        if changed {
            self.kill(&[id]);
            return self.find_variant(core, host, key.1 & (PLAIN | X87_HANDED_OVER));
        }
        Some(id)
    }

    /// The host address where a block starts.
    pub fn entry(&self, block: u32) -> u64 {
        self.address(self.blocks[block as usize].entry)
    }

    /// Guest code of these blocks was written to: nothing leads to them any more.
    pub fn kill(&mut self, ids: &[u32]) {
        for &id in ids {
            let Some(block) = self.blocks.get_mut(id as usize) else { continue };
            if !std::mem::replace(&mut block.alive, false) {
                continue;
            }
            self.counts.killed += 1;
            self.map.remove(&block.key);
            let displacement = block.dead.0.wrapping_sub(block.entry.0 + 5).to_le_bytes();
            let [a, b, c, d] = displacement;
            self.memory.write(block.entry, &[0xE9, a, b, c, d]);
            for n in std::mem::take(&mut block.incoming) {
                let Link { site, stub, key, .. } = self.links[n as usize].link;
                match key {
                    // Without a key it goes to the stub before it has changed the page.
                    Some(at) => self.memory.write(at, &[0; 8]),
                    None => self.memory.link(site, stub),
                }
            }
        }
    }

    /// What link `n` leads to: the target's offset from the first byte of the page, that page's host
    /// address, whether the target is in another page, and whether it is the variant without groups.
    pub fn link_target(&self, n: u32) -> (i32, usize, bool, bool) {
        let l = &self.links[n as usize];
        (l.link.target, l.page, l.link.key.is_some(), l.link.plain)
    }
    /// Makes link `n` lead to a block, where it has a key for `key` only.
    pub fn connect(&mut self, n: u32, block: u32, key: u64) {
        let link = self.links[n as usize].link;
        self.counts.links += 1;
        if let Some(at) = link.key {
            self.memory.write(at, &key.to_le_bytes());
            self.counts.relinks += 1;
        }
        let target = &mut self.blocks[block as usize];
        if !target.incoming.contains(&n) {
            target.incoming.push(n);
        }
        self.memory.link(link.site, target.entry);
    }

    /// Where control comes out behind site `n`, in bytes from the page's start, and how many instructions of
    /// the block are after it.
    pub fn after(&self, n: u32) -> (u16, u8) {
        let site = &self.sites[n as usize].site;
        (site.offset + site.len as u16, site.left)
    }
    /// How often each instruction form was handed over.
    fn handed_over_forms(&self) -> HashMap<Code, u64> {
        let mut forms = self.past_forms.clone();
        for placed in self.sites.iter().filter(|placed| placed.runs > 0) {
            let bits = if placed.site.mode & mode::CODE_SIZE == mode::CODE64 { 64 } else { 32 };
            let bytes = &placed.site.bytes[..placed.site.len as usize];
            *forms.entry(Decoder::new(bits, bytes, 0).decode().code()).or_default() += placed.runs;
        }
        forms
    }
    /// What was handed over most, by instruction form: how often.
    pub fn most_handed_over(&self, count: usize) -> Vec<(String, u64)> {
        let forms = self.handed_over_forms();
        let mut forms: Vec<_> = forms.into_iter().map(|(code, n)| (format!("{code:?}"), n)).collect();
        forms.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        forms.truncate(count);
        forms
    }

    /// The ops of site `n`, for [`Core::run_handed_over`].
    pub fn ops(&mut self, model: &CpuModel, n: u32) -> *const Op {
        let placed = &mut self.sites[n as usize];
        placed.runs += 1;
        if placed.ops.is_null() {
            let site = placed.site;
            let bits = if site.mode & mode::CODE_SIZE == mode::CODE64 { 64 } else { 32 };
            let options =
                Lowering { mode: site.mode, model, rip: 0, page_offset: 0, atomic: true }.decoder_options();
            let bytes = &site.bytes[..site.len as usize];
            let i = Decoder::with_ip(bits, bytes, site.offset as u64, options).decode();
            let ops = lower_one(model, site.mode, 0, &i, site.offset, site.left);
            placed.ops = ops.as_ptr();
            self.ops.push(ops);
        }
        placed.ops
    }
}
