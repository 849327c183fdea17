//! Translations that stay until something flushes them, as a processor's TLB may have it.
//!
//! Tables are as fresh as memory otherwise (see [`super::address_spaces`]): a translation goes when its page-table entry changes,
//! so that a missing INVLPG has no effect. Some guests rely on the opposite, that a translation stays, and guests that
//! forget an INVLPG fail on processors only. With this mode on there is one address space, which a CR3 load empties of
//! everything that is not global; a translation whose entry was written is set aside, so that its next use is
//! noticed, comes back with that use, and is reported if a walk contradicts it.
//!
//! A page fault drops what there is of its page, as it does on processors (SDM Vol. 3A, "Operations that Invalidate TLBs
//! and Paging-Structure Caches"). What is kept is what a shadow table holds: one translation for each of
//! [`TLB_ENTRIES`](super::TLB_ENTRIES) page numbers and each privilege, of RAM and ROM.

use super::address_spaces::Mmu;
use super::entry::{TlbEntry, WRITE_PROTECTED, tlb_index};
use super::fill::{FillRequest, Mapped};
use super::guest_tables;
use super::tracking::Path;
use super::walk::Access;
use crate::state::CpuState;
use std::collections::BTreeMap;
use std::fmt;
use trimotor_bus::address::PAGE_SHIFT;
use trimotor_bus::memory::View;
use trimotor_bus::{GuestMemory, PhysAddr};

/// Page-table entries whose value is remembered. With more of them it is not known what an entry was.
const ENTRIES: usize = 1 << 16;
/// Uses that are told one by one until somebody asks; more are only counted.
const TOLD: usize = 64;
/// The accessed and dirty flags, which walks set.
const ACCESSED_AND_DIRTY: u64 = 0x60;

/// A translation was used that a walk contradicts: its page-table entry has changed, and nothing has flushed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StaleUse {
    /// What was accessed.
    pub linear: u64,
    /// How.
    pub access: Access,
    /// The page-table entry that was written.
    pub entry: PhysAddr,
    /// Its value when the translation was made; `None` where that is not known any more.
    pub was: Option<u64>,
    /// Its value now.
    pub is: u64,
}

impl fmt::Display for StaleUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StaleUse { linear, access, entry, was, is } = *self;
        let access = match access {
            Access::Read => "a read",
            Access::Write => "a write",
            Access::Execute => "a fetch",
        };
        write!(
            f,
            "missing INVLPG: {access} at linear address {linear:#x} still finds the page that it had before "
        )?;
        match was {
            Some(was) => {
                write!(f, "the entry at physical address {:#x} changed from {was:#x} to {is:#x}", entry.0)
            }
            None => write!(f, "an entry at physical address {:#x} changed to {is:#x}", entry.0),
        }
    }
}

/// A translation whose entry was written.
struct SetAside {
    translation: TlbEntry,
    global: bool,
    entry: PhysAddr,
    was: Option<u64>,
    bytes: u8,
}

/// What the mode keeps beside the tables.
#[derive(Default)]
pub(super) struct Keeper {
    /// Entries as walks read them, by address: value and bytes.
    read: BTreeMap<u64, (u64, u8)>,
    /// By table and linear page.
    aside: BTreeMap<(usize, u64), SetAside>,
    told: Vec<StaleUse>,
    count: u64,
}

/// The present value of a page-table entry of 4 or 8 bytes.
fn value_of(memory: &GuestMemory, entry: PhysAddr, bytes: u8) -> u64 {
    if bytes == 4 { memory.read_u32(entry).into() } else { memory.read_u64(entry) }
}

impl Keeper {
    /// A walk has read these entries of `bytes` bytes.
    pub(super) fn note(&mut self, path: &Path, bytes: u8) {
        for (addr, value) in path.values() {
            if self.read.len() >= ENTRIES {
                self.read.clear();
            }
            self.read.insert(addr.0, (value, bytes));
        }
    }
    /// Forgets what was set aside where `goes` says so of its linear page and of whether it is global.
    pub(super) fn forget(&mut self, goes: impl Fn(u64, bool) -> bool) {
        self.aside.retain(|&(_, page), aside| !goes(page, aside.global));
    }
    /// Forgets it for the `1 << shift` bytes around `linear`.
    pub(super) fn forget_around(&mut self, linear: u64, shift: u32) {
        self.forget(|page, _| page >> shift == linear >> shift);
    }
    /// The entry within a granule that has changed, its value before and its bytes.
    fn changed(&self, memory: &GuestMemory, granule: PhysAddr) -> (PhysAddr, Option<u64>, u8) {
        for addr in [granule, granule.offset(4)] {
            if let Some(&(was, bytes)) = self.read.get(&addr.0)
                && (value_of(memory, addr, bytes) ^ was) & !ACCESSED_AND_DIRTY != 0
            {
                return (addr, Some(was), bytes);
            }
        }
        (granule, None, 8)
    }
}

impl Mmu {
    /// Keeps translations until something flushes them, from now on. To be called before the first
    /// [`select`](Self::select).
    pub fn keep_until_flush(&mut self) {
        self.keeper = Some(Box::default());
    }
    /// How many uses of stale translations there were, where they are kept.
    pub fn stale_uses(&self) -> Option<u64> {
        self.keeper.as_ref().map(|keeper| keeper.count)
    }
    /// Whether there were some since they were last taken.
    #[inline]
    pub fn has_stale_uses(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| !keeper.told.is_empty())
    }
    /// Takes the uses since the last time.
    pub fn take_stale_uses(&mut self) -> Vec<StaleUse> {
        self.keeper.as_mut().map(|keeper| std::mem::take(&mut keeper.told)).unwrap_or_default()
    }

    /// A granule of a page table was written: sets aside what came from there. False where translations are not
    /// kept.
    pub(super) fn set_aside(&mut self, ram_page: u64, granule: u32) -> bool {
        let Mmu { keeper: Some(keeper), spaces, memory, tracker, current, .. } = self else { return false };
        // A table in device memory that is hidden now: what came from it is about to go with the memory map.
        let Some(table) = memory.ram_page_addr(ram_page) else { return false };
        let granule_at = table.offset(u64::from(granule) * 8);
        let (entry, was, bytes) = keeper.changed(memory, granule_at);
        let space = &mut spaces[*current];
        for &(linear, shift) in tracker.dependents(ram_page, granule).ranges() {
            space.take_around(linear, shift, |kind, page, translation, global| {
                keeper.aside.insert((kind, page), SetAside { translation, global, entry, was, bytes });
            });
        }
        true
    }

    /// Puts a translation back that was set aside, where it allows the access, and notes the use.
    #[cold]
    pub(super) fn put_back(
        &mut self,
        state: &mut CpuState,
        kind: usize,
        linear: u64,
        request: FillRequest,
    ) -> Option<Mapped> {
        let (page, index) = (linear & !0xFFF, tlb_index(linear));
        let aside = self.keeper.as_mut()?.aside.remove(&(kind, page))?;
        let mut translation = aside.translation;
        let allows = match request.access {
            Access::Read => translation.read_tag == page,
            Access::Write => translation.write_tag == page || translation.write_tag == page ^ WRITE_PROTECTED,
            Access::Execute => translation.exec_tag == page,
        };
        if !allows {
            return None;
        }
        let ram_page = self.memory.ram_page_of_host(translation.host)?;
        let writable = translation.write_tag == page;
        // Its page may have come to hold code or a page table meanwhile.
        let inline = writable && self.may_write_inline(ram_page);
        if writable && !inline {
            translation.write_tag ^= WRITE_PROTECTED;
        }
        let space = &mut self.spaces[self.current];
        space.table(kind).put(index, translation, aside.global);
        if translation.exec_tag == page {
            space.note_execution(linear);
        }
        if inline {
            self.note_reverse(ram_page, self.current, kind, index);
        }
        let mapped = self.hit(kind, linear, request.access)?;
        self.compare(state, linear, request, &mapped, &aside);
        Some(mapped)
    }
    /// Notes the use of a translation unless a walk says the same.
    fn compare(
        &mut self,
        state: &CpuState,
        linear: u64,
        request: FillRequest,
        mapped: &Mapped,
        aside: &SetAside,
    ) {
        let (config, view) = (self.config(state), View::of(state.in_smm));
        let walked = guest_tables::look(&self.memory, &config, view, linear, request);
        if walked == Some(mapped.phys) {
            return;
        }
        let is = value_of(&self.memory, aside.entry, aside.bytes);
        let Some(keeper) = &mut self.keeper else { return };
        keeper.count += 1;
        if keeper.told.len() < TOLD {
            let (access, entry, was) = (request.access, aside.entry, aside.was);
            keeper.told.push(StaleUse { linear, access, entry, was, is });
        }
    }

    /// A page fault drops what there is of its page, where translations are kept.
    pub(super) fn forget_faulting(&mut self, state: &mut CpuState, linear: u64) {
        let Some(keeper) = &mut self.keeper else { return };
        self.invalidations += 1;
        keeper.forget_around(linear, PAGE_SHIFT);
        self.spaces[self.current].drop_page(linear);
        self.refresh_key(state);
    }
    /// Drops what is not global, where translations are kept.
    pub(super) fn drop_locals(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        keeper.forget(|_, global| !global);
        self.spaces[self.current].drop_locals();
    }
}
