//! An address space: one way of seeing memory, and its tables.

use super::entry::{TlbEntry, tlb_index};
use super::table::{IndexSet, Range, Table};
use crate::registers::{Cr0, Cr4, Efer};
use crate::state::CpuState;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which of an address space's tables.
pub(super) const USER: usize = 0;
/// Supervisor mode.
pub(super) const SUPERVISOR: usize = 1;
/// Supervisor mode with RFLAGS.AC under SMAP.
pub(super) const SUPERVISOR_AC: usize = 2;
/// How many there are.
pub(super) const TABLES: usize = 3;

/// Where generations come from: unique over all vCPUs of the process.
static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);

fn next_generation() -> u64 {
    NEXT_GENERATION.fetch_add(1, Ordering::Relaxed)
}

/// What translations depend on apart from memory. PCIDs are not in it: they tell apart what a TLB
/// holds, but all that we hold is as fresh as memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct AddressSpaceKey {
    /// The table that CR3 points to; zero where the walk does not begin there.
    base: u64,
    /// The bits of control registers that decide about rights and levels; zero without paging.
    pub(super) regime: u64,
    /// The PDPTEs, with PAE paging.
    pdpte: [u64; 4],
}

impl AddressSpaceKey {
    /// As the CPU stands.
    pub(super) fn of(state: &CpuState) -> AddressSpaceKey {
        if !state.cr0.contains(Cr0::PG) {
            return AddressSpaceKey::default();
        }
        const CR4: Cr4 = Cr4::PSE
            .union(Cr4::PAE)
            .union(Cr4::PGE)
            .union(Cr4::SMEP)
            .union(Cr4::SMAP)
            .union(Cr4::PKE)
            .union(Cr4::LA57);
        const EFER: Efer = Efer::NXE.union(Efer::LMA);
        let cr0 = state.cr0 & (Cr0::PG | Cr0::WP);
        let regime = cr0.bits() | (state.cr4 & CR4).bits() << 32 | (state.efer & EFER).bits();
        let long = state.efer.contains(Efer::LMA);
        if state.cr4.contains(Cr4::PAE) && !long {
            return AddressSpaceKey { base: 0, regime, pdpte: state.pdpte };
        }
        let base = state.cr3 & if long { !0xFFF } else { 0xFFFF_F000 };
        AddressSpaceKey { base, regime, pdpte: [0; 4] }
    }
}

/// One address space.
pub(super) struct AddressSpace {
    pub(super) key: AddressSpaceKey,
    /// See the documentation of [`super::address_spaces`].
    pub(super) generation: u64,
    pub(super) last_used: u64,
    pub(super) tables: [Option<Box<Table>>; TABLES],
    /// Indices of pages that code was fetched from in this generation (entries may have been
    /// displaced since).
    executed: IndexSet,
}

impl AddressSpace {
    pub(super) fn new(key: AddressSpaceKey) -> AddressSpace {
        AddressSpace {
            key,
            generation: next_generation(),
            last_used: 0,
            tables: [const { None }; TABLES],
            executed: IndexSet::new(),
        }
    }
    #[inline]
    pub(super) fn table(&mut self, kind: usize) -> &mut Table {
        self.tables[kind].get_or_insert_with(|| Box::new(Table::new()))
    }
    /// Code is fetched from the page at `linear`: links may come to depend on its translation.
    pub(super) fn note_execution(&mut self, linear: u64) {
        self.executed.set(tlb_index(linear), true);
    }
    /// Links of the address space are no longer valid.
    pub(super) fn change_generation(&mut self) {
        self.generation = next_generation();
    }

    /// Drops the translations of the page at `linear`.
    #[inline]
    pub(super) fn drop_page(&mut self, linear: u64) {
        for t in self.tables.iter_mut().flatten() {
            t.drop_page(linear);
        }
        if self.executed.has(tlb_index(linear)) {
            self.forget_execution(Range::around(linear, 12));
        }
    }
    /// Drops the translations of the `1 << shift` bytes around `linear`; 64: of all.
    pub(super) fn drop_around(&mut self, linear: u64, shift: u32) {
        if shift == 12 {
            return self.drop_page(linear);
        }
        let range = if shift < 64 { Range::around(linear, shift) } else { Range::ALL };
        // Other pages than those in the range belong into the same entries; they are few.
        self.drop_indices(range, false);
    }
    /// Takes the translations of the `1 << shift` bytes around `linear` (64: all) out of the tables: calls `taken` with
    /// table, page, entry and whether it is global.
    pub(super) fn take_around(
        &mut self,
        linear: u64,
        shift: u32,
        mut taken: impl FnMut(usize, u64, TlbEntry, bool),
    ) {
        let range = if shift < 64 { Range::around(linear, shift) } else { Range::ALL };
        for (kind, t) in self.tables.iter_mut().enumerate() {
            let Some(t) = t else { continue };
            t.drop_range(range, |i, entry, global| match entry.page(i) {
                Some(page) if shift >= 64 || page >> shift == linear >> shift => {
                    taken(kind, page, *entry, global);
                    true
                }
                _ => false,
            });
        }
        self.forget_execution(range);
    }
    /// Drops the translations of pages that are not global.
    pub(super) fn drop_locals(&mut self) {
        for t in self.tables.iter_mut().flatten() {
            t.drop_range(Range::ALL, |_, _, global| !global);
        }
        let AddressSpace { executed, tables, .. } = self;
        executed.retain(Range::ALL, |i| tables.iter().flatten().any(|t| t.has_global(i)));
        self.change_generation();
    }
    /// Drops everything.
    pub(super) fn flush(&mut self) {
        self.drop_indices(Range::ALL, false);
        self.executed.clear();
        self.change_generation();
    }
    /// Drops the translations of global pages.
    pub(super) fn drop_globals(&mut self) {
        self.drop_indices(Range::ALL, true);
    }

    fn drop_indices(&mut self, range: Range, only_global: bool) {
        for t in self.tables.iter_mut().flatten() {
            t.drop_range(range, |_, _, global| global || !only_global);
        }
        self.forget_execution(range);
    }
    /// Changes the generation if code was fetched from a page in `range`. What may still be fetched
    /// from there without a walk is noted no longer, so the right to it goes too.
    fn forget_execution(&mut self, range: Range) {
        let AddressSpace { executed, tables, .. } = self;
        let mut any = false;
        executed.retain(range, |i| {
            any = true;
            for t in tables.iter_mut().flatten() {
                t.forbid_execution(i);
            }
            false
        });
        if any {
            self.change_generation();
        }
    }
    /// Takes the right to write inline from the entry at `index` of a table, if it leads to `host`.
    pub(super) fn write_protect(&mut self, kind: usize, index: usize, host: *mut u8) {
        if let Some(t) = &mut self.tables[kind] {
            let e: &mut TlbEntry = &mut t.entries[index];
            // What may be written may be read: equal tags mean that the right is there.
            if e.host == host && e.write_tag == e.read_tag {
                e.write_tag ^= super::entry::WRITE_PROTECTED;
            }
        }
    }
}
