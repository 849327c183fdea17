//! One shadow page table, and the sets of its indices.

// The table is made of zeroed memory; see the SAFETY note.
#![allow(unsafe_code)]

use super::entry::{TLB_ENTRIES, TlbEntry, tlb_index};
use trimotor_bus::address::PAGE_SHIFT;

const WORDS: usize = TLB_ENTRIES / 64;

/// A set of indices of a table.
pub(super) struct IndexSet(Box<[u64; WORDS]>);

impl IndexSet {
    pub(super) fn new() -> IndexSet {
        IndexSet(Box::new([0; WORDS]))
    }
    #[inline]
    pub(super) fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 != 0
    }
    #[inline]
    pub(super) fn set(&mut self, index: usize, on: bool) {
        let word = &mut self.0[index / 64];
        *word = *word & !(1 << (index % 64)) | (on as u64) << (index % 64);
    }
    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }
    /// Calls `f` for the members in `range`; it says whether they stay.
    pub(super) fn retain(&mut self, range: Range, mut f: impl FnMut(usize) -> bool) {
        for w in range.first / 64..range.end.div_ceil(64) {
            let mut word = self.0[w] & range.mask(w);
            while word != 0 {
                let i = w * 64 + word.trailing_zeros() as usize;
                word &= word - 1;
                if !f(i) {
                    self.0[w] &= !(1 << (i % 64));
                }
            }
        }
    }
}

/// Indices that a range of linear addresses belongs into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    first: usize,
    end: usize,
}

impl Range {
    pub(super) const ALL: Range = Range { first: 0, end: TLB_ENTRIES };

    /// Those of the `1 << shift` bytes, aligned to their size, that `linear` lies in.
    pub(super) fn around(linear: u64, shift: u32) -> Range {
        let pages_shift = shift - PAGE_SHIFT;
        if pages_shift >= TLB_ENTRIES.trailing_zeros() {
            return Range::ALL;
        }
        let first = tlb_index(linear) >> pages_shift << pages_shift;
        Range { first, end: first + (1 << pages_shift) }
    }
    /// The bits of word `w` of a set that lie in the range.
    fn mask(self, w: usize) -> u64 {
        let (from, to) = (self.first.max(w * 64) - w * 64, self.end.min(w * 64 + 64) - w * 64);
        (u64::MAX >> (64 - (to - from))) << from
    }
}

/// One shadow page table. Its entries stay where they are for as long as it lives.
pub(super) struct Table {
    pub(super) entries: Box<[TlbEntry]>,
    used: IndexSet,
    /// Which of them are global pages.
    global: IndexSet,
}

impl Table {
    pub(super) fn new() -> Table {
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
        Table { entries, used: IndexSet::new(), global: IndexSet::new() }
    }

    #[inline]
    pub(super) fn put(&mut self, index: usize, entry: TlbEntry, global: bool) {
        self.entries[index] = entry;
        self.used.set(index, true);
        self.global.set(index, global);
    }
    pub(super) fn is_global(&self, index: usize) -> bool {
        self.global.has(index)
    }
    pub(super) fn drop_entry(&mut self, index: usize) {
        self.entries[index] = TlbEntry::empty(index);
        self.used.set(index, false);
    }
    #[inline]
    pub(super) fn drop_page(&mut self, linear: u64) {
        let i = tlb_index(linear);
        if self.entries[i].is_for(linear) {
            self.drop_entry(i);
        }
    }
    /// Drops what lies in `range` where `goes` says so of its index, its entry and whether that is global.
    pub(super) fn drop_range(&mut self, range: Range, mut goes: impl FnMut(usize, &TlbEntry, bool) -> bool) {
        let Table { entries, used, global } = self;
        used.retain(range, |i| {
            let goes = goes(i, &entries[i], global.has(i));
            if goes {
                entries[i] = TlbEntry::empty(i);
            }
            !goes
        });
    }
    /// Whether the entry at `index` is in use for a global page.
    pub(super) fn has_global(&self, index: usize) -> bool {
        self.used.has(index) && self.global.has(index)
    }
    /// Takes the right to fetch instructions from the entry at `index`.
    pub(super) fn forbid_execution(&mut self, index: usize) {
        self.entries[index].exec_tag = TlbEntry::no_tag(index);
    }
    /// Calls `f` for all entries in use.
    pub(super) fn for_each(&mut self, mut f: impl FnMut(usize, &mut TlbEntry)) {
        let Table { entries, used, .. } = self;
        used.retain(Range::ALL, |i| {
            f(i, &mut entries[i]);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_pages_around() {
        let r = |linear, shift| {
            let r = Range::around(linear, shift);
            (r.first, r.end)
        };
        assert_eq!(r(0x1234_5678, 12), (0x2345, 0x2346));
        assert_eq!(r(0x3000, 13), (2, 4));
        assert_eq!(r(0xFFFF_8000_0030_0000, 21), (512, 1024));
        assert_eq!(r(1 << 40, 30), (0, TLB_ENTRIES));
    }

    #[test]
    fn sets_visit_their_members_within_a_range() {
        let mut s = IndexSet::new();
        for i in [0, 63, 64, 511, 512, TLB_ENTRIES - 1] {
            s.set(i, true);
        }
        let mut seen = Vec::new();
        s.retain(Range { first: 63, end: 512 }, |i| {
            seen.push(i);
            i == 64
        });
        assert_eq!(seen, [63, 64, 511]);
        let mut left = Vec::new();
        s.retain(Range::ALL, |i| {
            left.push(i);
            true
        });
        assert_eq!(left, [0, 64, 512, TLB_ENTRIES - 1]);
    }
}
