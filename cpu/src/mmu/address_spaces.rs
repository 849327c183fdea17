//! The MMU of a vCPU: its address spaces, and which of them is in use.
//!
//! An *address space* is one way of seeing memory: the page table that CR3 points to (or the PDPTEs) and the
//! bits of control registers that decide about rights. It has tables for user mode, supervisor mode,
//! and supervisor mode with RFLAGS.AC under SMAP. Spaces are kept: a CR3 load chooses one and flushes
//! nothing.
//!
//! That is allowed because what the tables hold is as fresh as memory. Translations of two kinds are
//! in them:
//! - *Tracked* ones: the page-table entries that they came from are marked, and a write to one drops
//!   what came from it at once, in all address spaces (see [`super::tracking`]). No flush does anything to
//!   them.
//! - *Global* ones (of pages with the G flag under CR4.PGE) are kept as a TLB keeps them, until INVLPG
//!   or until something flushes global pages. Nothing is marked for them.
//!
//! Under SMAP and SMEP supervisor code reaches no user pages unless AC is set, so the supervisor's table
//! holds the kernel's pages alone. They are global pages as a rule: then all address spaces share one such
//! table, and a new process begins with the kernel's translations. Translations in it that are not
//! global go with the next CR3 load; with many of them the table is no longer shared.
//!
//! Engines cache where code lies in the form of links between blocks. Those links are valid for one
//! [`generation`](Mmu::generation) of an address space, which changes when the translation of a page changed or
//! went that code was fetched from. A kept address space keeps its generation, and kernel code that is reached
//! through the shared table has the generation of that one in all address spaces.

use super::address_space::{AddressSpace, AddressSpaceKey, SUPERVISOR, SUPERVISOR_AC, USER};
use super::check::{TlbCheck, TlbDifferences};
use super::device_pages::DevicePages;
use super::entry::TlbEntry;
use super::guest_tables;
use super::keep::Keeper;
use super::reverse_map::ReverseMap;
use super::table::IndexSet;
use super::tracking::Tracker;
use super::walk::WalkConfig;
use crate::flags::Rflags;
use crate::registers::Cr4;
use crate::state::CpuState;
use std::sync::Arc;
use trimotor_bus::address::PAGE_SHIFT;
use trimotor_bus::memory::View;
use trimotor_bus::{GuestMemory, PhysAddr};

/// How many address spaces a vCPU keeps; they are numbered from 1. (Numbers are bits of a u32.)
const SPACES: usize = 24;
/// The number of the address space that holds the shared supervisor table.
pub(super) const SHARED: usize = 0;
/// With so many translations in the shared table that are not global, it is not worth sharing.
pub(super) const MANY_NON_GLOBALS: usize = 256;

/// The MMU of one vCPU.
pub struct Mmu {
    pub(super) memory: Arc<GuestMemory>,
    /// The same for walks, which keep a count: this one's is this vCPU's alone, so that no two vCPUs write one cache line.
    #[expect(clippy::redundant_allocation, reason = "the outer count is the point")]
    pub(super) memory_of_walks: Arc<Arc<GuestMemory>>,
    /// The number of the vCPU.
    pub(super) cpu: usize,
    pub(super) spaces: Vec<AddressSpace>,
    pub(super) current: usize,
    /// The current address space uses the shared supervisor table.
    pub(super) sharing: bool,
    /// The guest's kernel pages are not global.
    kernel_is_not_global: bool,
    /// Entries of the shared table that are not global pages.
    pub(super) non_globals: Vec<u16>,
    /// Code was fetched from a supervisor page that is not global while sharing.
    pub(super) non_global_code: bool,
    /// Indices of global pages in other tables than the shared one.
    pub(super) global_elsewhere: IndexSet,
    pub(super) large: LargePages,
    pub(super) tracker: Tracker,
    pub(super) reverse_map: ReverseMap,
    pub(super) device_pages: DevicePages,
    clock: u64,
    phys_bits: u32,
    gib_pages: bool,
    map_generation: u64,
    pub(super) check: Option<Box<TlbCheck>>,
    /// Translations are kept until a flush: see [`super::keep`].
    pub(super) keeper: Option<Box<Keeper>>,
    /// Changes whenever a translation or a right may have gone, or the address space: what engines keep of the
    /// tables elsewhere then goes too.
    pub invalidations: u64,
    /// Walks made, for statistics.
    pub walks: u64,
    /// Flushes made, for statistics.
    pub flushes: u64,
    /// CR3 loads that found no kept address space, for statistics.
    pub new_spaces: u64,
    /// Writes to page-table entries that something came from, for statistics.
    pub table_writes: u64,
}

// SAFETY: the raw pointers in the tables lead into guest memory, which `memory` keeps alive and
// which any thread may access.
#[allow(unsafe_code)]
unsafe impl Send for Mmu {}

/// Where large global pages may have been seen: bits by hash, so that INVLPG need not look everywhere.
#[derive(Default)]
pub(super) struct LargePages([u64; 3]);

impl LargePages {
    const SHIFTS: [u8; 3] = [21, 22, 30];

    pub(super) fn add(&mut self, linear: u64, shift: u8) {
        if let Some(i) = Self::SHIFTS.iter().position(|&s| s == shift) {
            self.0[i] |= 1 << (linear >> shift & 63);
        }
    }
    /// The page sizes (`log2`) of which there may be a page at `linear`.
    fn around(&self, linear: u64) -> impl Iterator<Item = u32> + use<> {
        let sets = self.0;
        let hit = move |i: &usize| sets[*i] >> (linear >> Self::SHIFTS[*i] & 63) & 1 != 0;
        (0..3).filter(hit).map(|i| Self::SHIFTS[i] as u32)
    }
}

impl Mmu {
    /// The MMU of vCPU `cpu`, with nothing cached. `phys_bits` is MAXPHYADDR (36 to 52), `gib_pages` whether CPUID
    /// offers 1 GiB pages.
    pub fn new(memory: Arc<GuestMemory>, cpu: usize, phys_bits: u32, gib_pages: bool) -> Mmu {
        let map_generation = memory.map_generation();
        memory.peers().attach(cpu);
        memory.peers().follows_map(cpu, map_generation);
        Mmu {
            cpu,
            spaces: vec![
                AddressSpace::new(AddressSpaceKey::default()),
                AddressSpace::new(AddressSpaceKey::default()),
            ],
            current: 1,
            sharing: false,
            kernel_is_not_global: false,
            non_globals: Vec::new(),
            non_global_code: false,
            global_elsewhere: IndexSet::new(),
            large: LargePages::default(),
            tracker: Tracker::new(&memory, cpu),
            reverse_map: ReverseMap::new(&memory),
            device_pages: DevicePages::default(),
            clock: 0,
            phys_bits,
            gib_pages,
            map_generation,
            check: None,
            keeper: None,
            invalidations: 0,
            walks: 0,
            flushes: 0,
            new_spaces: 0,
            table_writes: 0,
            memory_of_walks: Arc::new(memory.clone()),
            memory,
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
    /// The generation of links that start in supervisor code (`user` false) or user code of the
    /// current address space: see the module's documentation.
    #[inline]
    pub fn generation(&self, user: bool) -> u64 {
        self.spaces[self.code_space(user)].generation
    }
    /// The walk configuration for a CPU state.
    pub fn config(&self, state: &CpuState) -> WalkConfig {
        WalkConfig::of(state, self.phys_bits, self.gib_pages)
    }

    pub(super) fn kind(state: &CpuState, user: bool) -> usize {
        if user {
            USER
        } else if state.cr4.contains(Cr4::SMAP) && state.rflags.contains(Rflags::AC) {
            SUPERVISOR_AC
        } else {
            SUPERVISOR
        }
    }
    /// The address space whose table of a kind is used.
    #[inline]
    pub(super) fn table_space(&self, kind: usize) -> usize {
        if self.sharing && kind == SUPERVISOR { SHARED } else { self.current }
    }
    /// The address space whose generation holds for code.
    #[inline]
    pub(super) fn code_space(&self, user: bool) -> usize {
        if self.sharing && !user { SHARED } else { self.current }
    }

    /// Points `state.tlb` to the table for the present CPL and AC, and refreshes `state.jump_key`.
    /// To be called after each change of either, and after flushes.
    #[inline]
    pub fn select(&mut self, state: &mut CpuState) {
        let kind = Self::kind(state, state.cpl == 3);
        let space = self.table_space(kind);
        state.tlb = match &mut self.check {
            Some(check) => check.table(),
            None => self.spaces[space].table(kind).entries.as_mut_ptr(),
        };
        self.refresh_key(state);
    }
    /// Refreshes `state.jump_key` after a generation may have changed.
    #[inline]
    pub(super) fn refresh_key(&self, state: &mut CpuState) {
        state.jump_key = self.generation(state.cpl == 3) << 24 | state.mode as u64;
    }

    /// The table for supervisor accesses (AC clear), whatever the CPL: descriptor tables, TSS.
    #[inline]
    pub fn supervisor_table(&mut self) -> *mut TlbEntry {
        let space = self.table_space(SUPERVISOR);
        match &mut self.check {
            Some(check) => check.table(),
            None => self.spaces[space].table(SUPERVISOR).entries.as_mut_ptr(),
        }
    }

    /// A CR3 load: chooses the address space. What is not global and not tracked goes.
    pub fn load_cr3(&mut self, state: &mut CpuState) {
        self.catch_up(state);
        self.invalidations += 1;
        if !self.non_globals.is_empty() || self.non_global_code {
            self.drop_non_globals();
        }
        self.drop_locals();
        let key = AddressSpaceKey::of(state);
        if self.spaces[self.current].key != key {
            self.enter(key);
        }
        const SHARES: Cr4 = Cr4::SMAP.union(Cr4::SMEP).union(Cr4::PGE);
        self.sharing = key.regime != 0
            && state.cr4.contains(SHARES)
            && !self.kernel_is_not_global
            && self.keeper.is_none();
        self.select(state);
    }

    /// Registers that paging depends on have changed in a way that flushes global pages too: CR0.PG,
    /// CR0.WP, CR4, EFER.NXE. Chooses the address space.
    pub fn reconfigure(&mut self, state: &mut CpuState) {
        self.invalidations += 1;
        self.drop_globals();
        self.kernel_is_not_global = false;
        self.load_cr3(state);
    }

    /// Makes the address space of a key the current one.
    fn enter(&mut self, key: AddressSpaceKey) {
        if self.keeper.is_some() {
            self.spaces[self.current].key = key;
            return;
        }
        self.clock += 1;
        self.spaces[self.current].last_used = self.clock;
        let kept = (1..self.spaces.len()).find(|&i| self.spaces[i].key == key);
        self.current = kept.unwrap_or_else(|| {
            self.new_spaces += 1;
            if self.spaces.len() <= SPACES {
                self.spaces.push(AddressSpace::new(key));
                return self.spaces.len() - 1;
            }
            let oldest = (1..self.spaces.len())
                .filter(|&i| i != self.current)
                .min_by_key(|&i| self.spaces[i].last_used)
                .unwrap_or(1);
            self.spaces[oldest].flush();
            self.tracker.forget_space(oldest);
            self.spaces[oldest].key = key;
            oldest
        });
    }

    /// Drops what is not global from the shared table.
    fn drop_non_globals(&mut self) {
        self.invalidations += 1;
        self.kernel_is_not_global |= self.non_globals.len() >= MANY_NON_GLOBALS;
        let shared = &mut self.spaces[SHARED];
        for i in self.non_globals.drain(..) {
            let t = shared.table(SUPERVISOR);
            if !t.is_global(i as usize) {
                t.drop_entry(i as usize);
            }
        }
        if std::mem::take(&mut self.non_global_code) {
            shared.change_generation();
        }
        if self.kernel_is_not_global {
            self.drop_globals();
        }
    }

    /// Drops everything: changes of A20, the memory map, breakpoints, protection keys.
    pub fn flush_all(&mut self, state: &mut CpuState) {
        self.invalidations += 1;
        self.flushes += 1;
        for (i, s) in self.spaces.iter_mut().enumerate() {
            s.flush();
            self.tracker.forget_space(i);
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.forget(|_, _| true);
        }
        self.non_globals.clear();
        self.reverse_map.clear();
        self.global_elsewhere.clear();
        self.large = LargePages::default();
        self.select(state);
    }

    /// Drops the translations of global pages everywhere (what is not global is fresh).
    pub fn flush_globals(&mut self, state: &mut CpuState) {
        self.catch_up(state);
        self.drop_globals();
        self.drop_non_globals();
        self.drop_locals();
        self.select(state);
    }
    fn drop_globals(&mut self) {
        self.invalidations += 1;
        self.flushes += 1;
        self.spaces[SHARED].flush();
        self.non_globals.clear();
        for s in &mut self.spaces[1..] {
            s.drop_globals();
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.forget(|_, global| global);
        }
        self.global_elsewhere.clear();
        self.large = LargePages::default();
    }

    /// INVPCID of one PCID or all, but for global pages: drops what is not tracked.
    pub fn flush_non_global(&mut self, state: &mut CpuState) {
        self.catch_up(state);
        self.invalidations += 1;
        self.drop_non_globals();
        self.drop_locals();
        self.select(state);
    }

    /// INVLPG: drops a linear address in the current address space, and where it is global everywhere.
    pub fn flush_page(&mut self, state: &mut CpuState, linear: u64) {
        self.catch_up(state);
        self.invalidations += 1;
        let linear = if state.long_mode() { linear } else { linear & 0xFFFF_FFFF };
        self.spaces[SHARED].drop_page(linear);
        if self.global_elsewhere.has(super::tlb_index(linear)) {
            self.spaces[1..].iter_mut().for_each(|s| s.drop_page(linear));
        } else {
            self.spaces[self.current].drop_page(linear);
        }
        for shift in self.large.around(linear).chain([PAGE_SHIFT]) {
            if shift > PAGE_SHIFT {
                self.spaces.iter_mut().for_each(|s| s.drop_around(linear, shift));
            }
            if let Some(keeper) = &mut self.keeper {
                keeper.forget_around(linear, shift);
            }
        }
        self.refresh_key(state);
    }

    /// Notices that the map of guest-physical memory changed; true if everything was dropped.
    pub fn check_memory_map(&mut self, state: &mut CpuState) -> bool {
        let now = self.memory.map_generation();
        if now == self.map_generation {
            return false;
        }
        self.map_generation = now;
        self.flush_all(state);
        self.memory.peers().follows_map(self.cpu, now);
        true
    }

    /// Walks for a debugger or a report: no flags set, nothing remembered. `notes` gets a line for
    /// each table entry read.
    pub fn inspect(&self, state: &CpuState, linear: u64, notes: &mut Vec<String>) -> Option<PhysAddr> {
        let view = View::of(state.in_smm);
        guest_tables::inspect(&self.memory, &self.config(state), view, linear, notes)
    }
}
