//! One entry of a shadow page table, in the form that an engine's inline check wants.

use trimotor_bus::address::PAGE_SHIFT;

/// Entries of one table: a direct-mapped cache by linear page number.
pub const TLB_ENTRIES: usize = 1 << 14;

/// What a write tag is XORed with where the page may be written, but the write must be told of: the
/// page holds code or a page table. It makes the tag an address that belongs into another entry, so that it
/// matches nothing here, and that is not canonical, so that no other tag is the same.
pub const WRITE_PROTECTED: u64 = 1 << 63 | 1 << PAGE_SHIFT;

/// One linear page as an engine sees it: separate tags for reading, writing and executing.
///
/// A tag is the page's linear address where that access is allowed and RAM or ROM answers
/// it, so that `linear - tag <= 4096 - size` checks page and page crossing in one compare.
/// A tag that matches nothing is the address of a page which belongs into another entry:
/// zero everywhere but in entry 0.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub struct TlbEntry {
    /// Linear page that may be read.
    pub read_tag: u64,
    /// Linear page that may be written without telling anyone (see [`WRITE_PROTECTED`]).
    pub write_tag: u64,
    /// Linear page that instructions may be fetched from.
    pub exec_tag: u64,
    /// Host address of the page.
    pub host: *mut u8,
}

/// The index of the entry that a linear address belongs into.
#[inline(always)]
pub const fn tlb_index(linear: u64) -> usize {
    (linear >> PAGE_SHIFT) as usize & (TLB_ENTRIES - 1)
}

impl TlbEntry {
    /// A tag for entry `index` that matches nothing.
    #[inline]
    pub const fn no_tag(index: usize) -> u64 {
        if index == 0 { 1 << PAGE_SHIFT } else { 0 }
    }
    /// An entry at `index` that matches nothing.
    pub const fn empty(index: usize) -> TlbEntry {
        let tag = Self::no_tag(index);
        TlbEntry { read_tag: tag, write_tag: tag, exec_tag: tag, host: std::ptr::null_mut() }
    }
    /// The linear page that the entry at `index` is for, if it is for one.
    pub(super) fn page(&self, index: usize) -> Option<u64> {
        let tags = [self.read_tag, self.exec_tag, self.write_tag, self.write_tag ^ WRITE_PROTECTED];
        let own = |tag: &u64| !self.host.is_null() && tlb_index(*tag) == index;
        tags.into_iter().find(own)
    }
    /// Whether the entry at `index` is for the page at `linear`, which belongs there.
    #[inline]
    pub fn is_for(&self, linear: u64) -> bool {
        let page = linear & !((1 << PAGE_SHIFT) - 1);
        !self.host.is_null()
            && (self.read_tag == page
                || self.exec_tag == page
                || self.write_tag == page
                || self.write_tag == page ^ WRITE_PROTECTED)
    }
}
