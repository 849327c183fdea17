//! Spaces and their shadow page tables.
//!
//! A *space* is one address space as the guest tags it: the PCID, or the only one where
//! PCIDs are off. Each space has three tables: user mode, supervisor mode, and supervisor
//! mode with RFLAGS.AC under SMAP. Tables cache walks as a TLB does (stage 1): CR3 loads,
//! INVLPG and INVPCID flush what a TLB would flush, global pages survive.
//!
//! Engines cache where code lies in the form of links between blocks. Those links are
//! valid for one [`generation`](Mmu::generation) of a space: it changes whenever an
//! executable translation of the space may have gone.

// Host addresses of guest pages are kept in the tables; see the SAFETY notes.
#![allow(unsafe_code)]

use super::check::{TlbCheck, TlbDifferences};
use super::entry::{TLB_ENTRIES, TlbEntry, tlb_index};
use super::walk::{Access, PageWalk, WalkConfig, WalkResult, walk};
use crate::fault::Fault;
use crate::flags::Rflags;
use crate::registers::{Cr0, Cr4};
use crate::state::CpuState;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use trimotor_bus::memory::View;
use trimotor_bus::{GuestMemory, LinearAddr, PhysAddr};

/// How many spaces a vCPU keeps: Linux uses six PCIDs and their user halves.
const SPACES: usize = 12;
/// When this many entries of a table are in use, flushing clears the table as a whole.
const SCAN_LIMIT: usize = TLB_ENTRIES / 2;

/// Which of a space's tables.
const USER: usize = 0;
const SUPERVISOR: usize = 1;
const SUPERVISOR_AC: usize = 2;

/// Where generations come from: unique over all vCPUs of the process.
static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);

fn next_generation() -> u64 {
    NEXT_GENERATION.fetch_add(1, Ordering::Relaxed)
}

/// One shadow page table.
struct Table {
    entries: Box<[TlbEntry]>,
    /// Indices that were filled since the last flush (some may be empty again).
    used: Vec<u16>,
    /// A bit an entry: it is a global page. Meaningful for entries in use.
    global: Vec<u64>,
    /// Whether any bit of `global` may be set.
    has_global: bool,
}

impl Table {
    fn new() -> Table {
        let layout = std::alloc::Layout::array::<TlbEntry>(TLB_ENTRIES);
        let Ok(layout) = layout else { unreachable!("the size is a constant") };
        // SAFETY: the layout is not empty, zeroes are a valid TlbEntry, and a boxed slice of that
        // many entries has this layout. Zeroed memory costs nothing until it is touched.
        let mut entries = unsafe {
            let p = std::alloc::alloc_zeroed(layout) as *mut TlbEntry;
            if p.is_null() {
                std::alloc::handle_alloc_error(layout);
            }
            Box::from_raw(std::ptr::slice_from_raw_parts_mut(p, TLB_ENTRIES))
        };
        entries[0] = TlbEntry::empty(0);
        Table { entries, used: Vec::new(), global: vec![0; TLB_ENTRIES / 64], has_global: false }
    }

    /// Empties all entries for which `which(entry, is_global)` holds; true if one was executable.
    fn clear(&mut self, mut which: impl FnMut(&TlbEntry, bool) -> bool) -> bool {
        let mut executable = false;
        let Table { entries, used, global, .. } = self;
        used.retain(|&i| {
            let i = i as usize;
            if entries[i].host.is_null() {
                return false;
            }
            if which(&entries[i], global[i / 64] >> (i % 64) & 1 != 0) {
                executable |= entries[i].exec_tag != TlbEntry::no_tag(i);
                entries[i] = TlbEntry::empty(i);
                return false;
            }
            true
        });
        executable
    }

    fn clear_all(&mut self) {
        if self.used.len() > SCAN_LIMIT {
            *self = Table::new();
            return;
        }
        for &i in &self.used {
            self.entries[i as usize] = TlbEntry::empty(i as usize);
        }
        self.used.clear();
        self.has_global = false;
    }

    fn set_global(&mut self, index: usize, global: bool) {
        self.has_global |= global;
        let word = &mut self.global[index / 64];
        *word = *word & !(1 << (index % 64)) | (global as u64) << (index % 64);
    }
}

/// What identifies a space.
#[derive(Clone, Copy)]
struct Space {
    pcid: u16,
    generation: u64,
    last_used: u64,
}

struct SpaceTables {
    space: Space,
    tables: [Option<Box<Table>>; 3],
    /// Pages of 2 MiB and more that entries came from, by linear address >> 21: the page shift.
    large: HashMap<u64, u8>,
}

impl SpaceTables {
    fn new(pcid: u16) -> SpaceTables {
        SpaceTables {
            space: Space { pcid, generation: next_generation(), last_used: 0 },
            tables: [const { None }; 3],
            large: HashMap::new(),
        }
    }
    fn table(&mut self, kind: usize) -> &mut Table {
        self.tables[kind].get_or_insert_with(|| Box::new(Table::new()))
    }
    fn flush_all(&mut self) {
        for t in self.tables.iter_mut().flatten() {
            t.clear_all();
        }
        self.large.clear();
        self.space.generation = next_generation();
    }
    fn flush_non_global(&mut self) {
        for t in self.tables.iter_mut().flatten() {
            if t.has_global {
                t.clear(|_, global| !global);
            } else {
                t.clear_all();
            }
        }
        self.space.generation = next_generation();
    }
    fn flush_page(&mut self, linear: u64) {
        let large = self.large.get(&(linear >> 21)).copied();
        let mut executable = false;
        for t in self.tables.iter_mut().flatten() {
            if let Some(shift) = large {
                executable |= t.clear(|e, _| page_of(e) >> shift == linear >> shift);
            } else {
                let i = tlb_index(linear);
                let e = &mut t.entries[i];
                if !e.host.is_null() && page_of(e) == linear & !0xFFF {
                    executable |= e.exec_tag != TlbEntry::no_tag(i);
                    *e = TlbEntry::empty(i);
                }
            }
        }
        if executable {
            self.space.generation = next_generation();
        }
    }
}

/// The linear page of an entry in use. Read tags are set in all entries in use that can be read;
/// execute-only entries (protection keys) carry the address in their exec tag.
fn page_of(e: &TlbEntry) -> u64 {
    let no = |t: u64| t == 0 || t == 1 << 12;
    [e.read_tag, e.exec_tag, e.write_tag].into_iter().find(|&t| !no(t)).unwrap_or(e.read_tag)
}

/// Where an access ends up.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    /// Guest-physical address of the byte.
    pub phys: PhysAddr,
    /// Host address of the byte; null where the bus answers (devices, nobody, ROM writes).
    pub host: *mut u8,
    /// The RAM page has a state (code, page table): a write must tell.
    pub watched: bool,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct FillRequest {
    /// The access.
    pub access: Access,
    /// At user privilege.
    pub user: bool,
}

/// The MMU of one vCPU.
pub struct Mmu {
    memory: Arc<GuestMemory>,
    spaces: Vec<SpaceTables>,
    current: usize,
    clock: u64,
    phys_bits: u32,
    gib_pages: bool,
    map_generation: u64,
    check: Option<Box<TlbCheck>>,
    /// Walks made, for statistics.
    pub walks: u64,
    /// Flushes made, for statistics.
    pub flushes: u64,
}

// SAFETY: the raw pointers in the tables lead into guest memory, which `memory` keeps alive and
// which any thread may access.
unsafe impl Send for Mmu {}

/// Page-table accesses go straight to RAM.
struct Tables<'a>(&'a GuestMemory, View);

impl PageWalk for Tables<'_> {
    fn read_entry(&mut self, addr: PhysAddr, bytes: u8) -> u64 {
        let page = self.0.backing_for(addr, self.1).read;
        if page.is_null() {
            return 0;
        }
        let at = page.wrapping_add(addr.page_offset() as usize);
        // SAFETY: `page` is a mapped page of RAM or ROM; entries are naturally aligned and so
        // lie within it.
        unsafe {
            if bytes == 4 {
                (*(at as *const AtomicU32)).load(Ordering::Relaxed) as u64
            } else {
                (*(at as *const AtomicU64)).load(Ordering::Relaxed)
            }
        }
    }
    fn set_bits(&mut self, addr: PhysAddr, old: u64, bits: u64, bytes: u8) -> bool {
        let page = self.0.backing_for(addr, self.1).write;
        if page.is_null() {
            return true; // tables in ROM keep what they have
        }
        let at = page.wrapping_add(addr.page_offset() as usize);
        let (o, r) = (Ordering::AcqRel, Ordering::Relaxed);
        // SAFETY: as in read_entry, and RAM is writable.
        let done = unsafe {
            if bytes == 4 {
                let e = &*(at as *const AtomicU32);
                e.compare_exchange(old as u32, (old | bits) as u32, o, r).is_ok()
            } else {
                (*(at as *const AtomicU64)).compare_exchange(old, old | bits, o, r).is_ok()
            }
        };
        self.0.note_write(addr, bytes as u64);
        done
    }
}

impl Mmu {
    /// An MMU with nothing cached. `phys_bits` is MAXPHYADDR (36 to 52), `gib_pages` whether CPUID
    /// offers 1 GiB pages.
    pub fn new(memory: Arc<GuestMemory>, phys_bits: u32, gib_pages: bool) -> Mmu {
        let map_generation = memory.map_generation();
        Mmu {
            memory,
            spaces: vec![SpaceTables::new(0)],
            current: 0,
            clock: 0,
            phys_bits,
            gib_pages,
            map_generation,
            check: None,
            walks: 0,
            flushes: 0,
        }
    }

    /// Holds each hit against a walk from now on: see [`TlbDifferences`]. To be called before the first
    /// [`select`](Self::select).
    pub fn check_hits(&mut self) {
        self.check = Some(Box::new(TlbCheck::new()));
    }
    /// What [`check_hits`](Self::check_hits) found, where it was called.
    pub fn differences(&self) -> Option<TlbDifferences> {
        self.check.as_ref().map(|check| check.found)
    }
    /// The guest's memory.
    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }
    /// The map generation that the tables were filled under.
    pub fn map_generation(&self) -> u64 {
        self.map_generation
    }
    /// The generation of the current space: see the module's documentation.
    pub fn generation(&self) -> u64 {
        self.spaces[self.current].space.generation
    }
    /// The walk configuration for a CPU state.
    pub fn config(&self, state: &CpuState) -> WalkConfig {
        WalkConfig::of(state, self.phys_bits, self.gib_pages)
    }

    fn kind(state: &CpuState, user: bool) -> usize {
        if user {
            USER
        } else if state.cr4.contains(Cr4::SMAP) && state.rflags.contains(Rflags::AC) {
            SUPERVISOR_AC
        } else {
            SUPERVISOR
        }
    }

    /// Points `state.tlb` to the table for the present CPL and AC, and refreshes `state.jump_key`.
    /// To be called after each change of either, and after flushes.
    #[inline]
    pub fn select(&mut self, state: &mut CpuState) {
        let kind = Self::kind(state, state.cpl == 3);
        let space = &mut self.spaces[self.current];
        state.tlb = match &mut self.check {
            Some(check) => check.table(),
            None => space.table(kind).entries.as_mut_ptr(),
        };
        state.jump_key = space.space.generation << 24 | state.mode as u64;
    }

    /// The table for supervisor accesses (AC clear), whatever the CPL: descriptor tables, TSS.
    #[inline]
    pub fn supervisor_table(&mut self) -> *mut TlbEntry {
        match &mut self.check {
            Some(check) => check.table(),
            None => self.spaces[self.current].table(SUPERVISOR).entries.as_mut_ptr(),
        }
    }

    /// A CR3 load: switches to the space of its PCID. `keep` is bit 63 of the value with CR4.PCIDE.
    pub fn load_cr3(&mut self, state: &mut CpuState, keep: bool) {
        let pcid = if state.cr4.contains(Cr4::PCIDE) { (state.cr3 & 0xFFF) as u16 } else { 0 };
        self.clock += 1;
        let found = self.spaces.iter().position(|s| s.space.pcid == pcid);
        match found {
            Some(i) => {
                self.current = i;
                if !keep {
                    self.flushes += 1;
                    self.spaces[i].flush_non_global();
                }
            }
            None if self.spaces.len() < SPACES => {
                self.current = self.spaces.len();
                self.spaces.push(SpaceTables::new(pcid));
            }
            None => {
                let oldest = (0..self.spaces.len()).min_by_key(|&i| self.spaces[i].space.last_used);
                self.current = oldest.unwrap_or(0);
                self.spaces[self.current].flush_all();
                self.spaces[self.current].space.pcid = pcid;
            }
        }
        self.spaces[self.current].space.last_used = self.clock;
        self.select(state);
    }

    /// Drops everything, global pages too: changes of CR0.PG, CR0.WP, CR4, EFER.NXE, A20, the
    /// memory map, breakpoints.
    pub fn flush_all(&mut self, state: &mut CpuState) {
        self.flushes += 1;
        for s in &mut self.spaces {
            s.flush_all();
        }
        self.select(state);
    }

    /// Drops all spaces' entries but those of global pages.
    pub fn flush_non_global(&mut self, state: &mut CpuState) {
        self.flushes += 1;
        for s in &mut self.spaces {
            s.flush_non_global();
        }
        self.select(state);
    }

    /// Drops the non-global entries of one PCID.
    pub fn flush_pcid(&mut self, state: &mut CpuState, pcid: u16) {
        if let Some(s) = self.spaces.iter_mut().find(|s| s.space.pcid == pcid) {
            self.flushes += 1;
            s.flush_non_global();
        }
        self.select(state);
    }

    /// INVLPG: drops a linear address in the current space, and where it is global everywhere.
    pub fn flush_page(&mut self, state: &mut CpuState, linear: u64) {
        let linear = if state.long_mode() { linear } else { linear & 0xFFFF_FFFF };
        for s in &mut self.spaces {
            s.flush_page(linear);
        }
        self.select(state);
    }

    /// Notices that the map of guest-physical memory changed; true if everything was dropped.
    pub fn check_memory_map(&mut self, state: &mut CpuState) -> bool {
        let now = self.memory.map_generation();
        if now == self.map_generation {
            return false;
        }
        self.map_generation = now;
        self.flush_all(state);
        true
    }

    /// Takes the right to write without telling from all entries of a RAM page (host address of its
    /// first byte): it now holds code or a page table.
    pub fn protect_page(&mut self, host_page: *mut u8) {
        for s in &mut self.spaces {
            for t in s.tables.iter_mut().flatten() {
                for &i in &t.used {
                    let e = &mut t.entries[i as usize];
                    if e.host == host_page {
                        e.write_tag = TlbEntry::no_tag(i as usize);
                    }
                }
            }
        }
    }

    /// Translates with a walk and, where RAM or ROM answers, remembers the page.
    ///
    /// # Faults
    /// #PF with its error code; `state.fault_address` is set. The caller has checked that the
    /// address is canonical.
    pub fn translate(
        &mut self,
        state: &mut CpuState,
        linear: u64,
        request: FillRequest,
        cacheable: bool,
    ) -> Result<Mapped, Fault> {
        if self.check.is_none() {
            return self.walk_and_fill(state, linear, request, cacheable);
        }
        let hit = self.hit(state, linear, request);
        let walked = self.walk_and_fill(state, linear, request, cacheable);
        if let Some(check) = &mut self.check {
            check.compare(linear, request.access, hit, &walked);
        }
        walked
    }

    /// The host page that the table has for an access, if it has it.
    fn hit(&mut self, state: &CpuState, linear: u64, request: FillRequest) -> Option<*mut u8> {
        let table = self.spaces[self.current].table(Self::kind(state, request.user));
        let entry = &table.entries[tlb_index(linear)];
        let tag = match request.access {
            Access::Read => entry.read_tag,
            Access::Write => entry.write_tag,
            Access::Execute => entry.exec_tag,
        };
        (tag == linear & !0xFFF && !entry.host.is_null()).then_some(entry.host)
    }

    fn walk_and_fill(
        &mut self,
        state: &mut CpuState,
        linear: u64,
        request: FillRequest,
        cacheable: bool,
    ) -> Result<Mapped, Fault> {
        self.walks += 1;
        let config = self.config(state);
        let FillRequest { access, user } = request;
        let view = View::of(state.in_smm);
        let result = match walk(&mut Tables(&self.memory, view), &config, LinearAddr(linear), access, user) {
            Ok(result) => result,
            Err(fault) => {
                state.fault_address = linear;
                return Err(Fault::pf(fault.error_code));
            }
        };
        let backing = self.memory.backing_for(result.phys, view);
        let page = if access == Access::Write { backing.write } else { backing.read };
        let watched =
            backing.ram_page.is_some_and(|p| self.memory.page_state(p).load(Ordering::Acquire) != 0);
        if cacheable && !backing.read.is_null() {
            let same = backing.read == backing.write;
            self.fill(state, linear, &result, backing.read, user, same && !watched);
        }
        let host = if page.is_null() { page } else { page.wrapping_add(result.phys.page_offset() as usize) };
        Ok(Mapped { phys: result.phys, host, watched: watched && access == Access::Write })
    }

    fn fill(
        &mut self,
        state: &mut CpuState,
        linear: u64,
        r: &WalkResult,
        host: *mut u8,
        user: bool,
        writable: bool,
    ) {
        let kind = Self::kind(state, user);
        let page = linear & !0xFFF;
        let i = tlb_index(linear);
        let s = &mut self.spaces[self.current];
        if r.page_shift > 12 {
            s.large.insert(linear >> 21, r.page_shift);
        }
        let t = s.table(kind);
        let old = t.entries[i];
        let none = TlbEntry::no_tag(i);
        if old.host.is_null() {
            t.used.push(i as u16);
        }
        let lost_code = old.exec_tag != none && (old.exec_tag != page || old.host != host || !r.executable);
        let tag = |allowed: bool| if allowed { page } else { none };
        t.set_global(i, r.global && state.cr0.contains(Cr0::PG));
        t.entries[i] = TlbEntry {
            read_tag: tag(r.readable),
            write_tag: tag(r.writable && writable),
            exec_tag: tag(r.executable),
            host,
        };
        if lost_code {
            s.space.generation = next_generation();
            state.jump_key = s.space.generation << 24 | state.mode as u64;
        }
    }

    /// Walks for a debugger or a report: no flags set, nothing remembered. `notes` gets a line for
    /// each table entry read.
    pub fn inspect(&self, state: &CpuState, linear: u64, notes: &mut Vec<String>) -> Option<PhysAddr> {
        struct Quiet<'a>(Tables<'a>, &'a mut Vec<String>);
        impl PageWalk for Quiet<'_> {
            fn read_entry(&mut self, addr: PhysAddr, bytes: u8) -> u64 {
                self.0.read_entry(addr, bytes)
            }
            fn set_bits(&mut self, _: PhysAddr, _: u64, _: u64, _: u8) -> bool {
                true
            }
            fn note(&mut self, level: u8, addr: PhysAddr, entry: u64) {
                let present = if entry & 1 == 0 { ", not present" } else { "" };
                self.1.push(format!("level {level} entry at {:#x}: {entry:#018x}{present}", addr.0));
            }
        }
        let config = self.config(state);
        let mut tables = Quiet(Tables(&self.memory, View::of(state.in_smm)), notes);
        walk(&mut tables, &config, LinearAddr(linear), Access::Read, false).ok().map(|r| r.phys)
    }
}
