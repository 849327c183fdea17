//! What depends on which page-table entries: one MMU's side of the
//! [`TableTracking`](trimotor_bus::table_tracking::TableTracking).
//!
//! For each page of page tables that translations came from, an MMU knows in which of its address spaces and
//! in which *mapped ranges* it was used: what linear addresses lie behind its granules. Most tables have one
//! mapped range. A self-referencing table has one for each level, tables shared by processes have one mapped range in
//! several address spaces; a page in more mapped ranges than [`MAPPED_RANGES`] makes writes to it drop whole address spaces.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use trimotor_bus::memory::PageState;
use trimotor_bus::table_tracking::TableEvent;
use trimotor_bus::{GuestMemory, PhysAddr};

/// Mapped ranges kept of a page.
const MAPPED_RANGES: usize = 4;
/// Writes to a page that nothing came from, after which it is no longer tracked: tables that were
/// freed and now hold data are data again soon.
const IDLE_WRITES: u16 = 16;

/// The entries that a walk read, outermost first.
#[derive(Default)]
pub(super) struct Path {
    entries: [(PhysAddr, u8); 5],
    values: [u64; 5],
    len: usize,
}

impl Path {
    /// Notes the entry at `addr` of a table of level `level`, and its value. A level that is not below
    /// the last one means that the walk began again.
    #[inline]
    pub(super) fn push(&mut self, addr: PhysAddr, level: u8, value: u64) {
        if self.len > 0 && self.entries[self.len - 1].1 <= level || self.len == 5 {
            self.len = 0;
        }
        self.entries[self.len] = (addr, level);
        self.values[self.len] = value;
        self.len += 1;
    }
    /// The entries and their values.
    pub(super) fn values(&self) -> impl Iterator<Item = (PhysAddr, u64)> + '_ {
        self.iter().zip(self.values).map(|((addr, _), value)| (addr, value))
    }
    fn iter(&self) -> impl Iterator<Item = (PhysAddr, u8)> + '_ {
        self.entries[..self.len].iter().copied()
    }
}

/// What lies behind the granules of a table: a base address, and in its low bits the `log2` of how
/// many bytes lie behind a granule, 64 for levels that are dropped with their address space as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct MappedRange(u64);

impl MappedRange {
    /// The mapped range of a table of level `level` on the way to `linear`. `wide`: entries of 8 bytes.
    #[inline]
    fn new(linear: u64, level: u8, wide: bool) -> MappedRange {
        let shift = match (level, wide) {
            (1, true) => 12,
            (2, true) => 21,
            (1, false) => 13,
            (2, false) => 23,
            _ => return MappedRange(64),
        };
        MappedRange(linear >> (shift + 9) << (shift + 9) | shift)
    }
    fn shift(self) -> u32 {
        (self.0 & 127) as u32
    }
    fn linear(self, granule: u32) -> u64 {
        if self.shift() == 64 { 0 } else { (self.0 & !127).wrapping_add((granule as u64) << self.shift()) }
    }
}

/// How one page is used as a page table.
#[derive(Clone, Copy, Default)]
struct TableUse {
    /// A bit an address space.
    spaces: u32,
    mapped_ranges_used: u8,
    idle_writes: u16,
    mapped_ranges: [MappedRange; MAPPED_RANGES],
}

impl TableUse {
    #[inline]
    fn add_mapped_range(&mut self, mapped: MappedRange) {
        let used = self.mapped_ranges_used as usize;
        if self.mapped_ranges[..used].contains(&mapped) {
            return;
        }
        if used < MAPPED_RANGES {
            self.mapped_ranges[used] = mapped;
            self.mapped_ranges_used += 1;
        } else {
            self.mapped_ranges[0] = MappedRange(64);
        }
    }
}

/// What depends on an entry: the address spaces, and in each the ranges.
pub(super) struct Dependents {
    /// A bit an address space.
    pub(super) spaces: u32,
    ranges: [(u64, u32); MAPPED_RANGES],
    len: usize,
}

impl Dependents {
    /// (linear address, `log2` of the size or 64 for everything).
    pub(super) fn ranges(&self) -> &[(u64, u32)] {
        &self.ranges[..self.len]
    }
}

/// The tables that one MMU's translations came from.
pub(super) struct Tracker {
    memory: Arc<GuestMemory>,
    /// The number of the vCPU.
    cpu: usize,
    /// By RAM page: an index of `uses` plus one, or 0. Zeroed memory.
    indices: Box<[u32]>,
    uses: Vec<TableUse>,
    /// Events seen.
    seen: u64,
}

impl Tracker {
    pub(super) fn new(memory: &Arc<GuestMemory>, cpu: usize) -> Tracker {
        Tracker {
            memory: memory.clone(),
            cpu,
            indices: vec![0; memory.mapped_pages() as usize].into_boxed_slice(),
            uses: Vec::new(),
            seen: memory.tables().attach(),
        }
    }

    /// Notes that a translation of `linear` in `address space` came from the entries of `path`; `wide`:
    /// entries of 8 bytes. Calls `used` for pages that become tracked (`true`), or that are but which
    /// other vCPUs may still write inline.
    #[inline]
    pub(super) fn track(
        &mut self,
        space: usize,
        linear: u64,
        path: &Path,
        wide: bool,
        mut used: impl FnMut(u64, bool),
    ) {
        for (addr, level) in path.iter() {
            // Tables in ROM do not change.
            let Some(ram_page) = self.memory.ram_page(addr) else { continue };
            let newly = self.memory.tables().mark(ram_page, (addr.page_offset() / 8) as u32);
            let table = self.table_use(ram_page);
            table.spaces |= 1 << space;
            table.add_mapped_range(MappedRange::new(linear, level, wide));
            if newly {
                table.idle_writes = 0;
            } else if self.memory.peers().alone() {
                continue;
            }
            let state = self.memory.page_state(ram_page);
            if state.load(Ordering::SeqCst) & PageState::PAGE_TABLE == 0 {
                state.fetch_or(PageState::PAGE_TABLE, Ordering::SeqCst);
                used(ram_page, true);
            } else if self.memory.peers().has_other_writers(self.cpu, ram_page) {
                used(ram_page, false);
            }
        }
    }
    #[inline]
    fn table_use(&mut self, ram_page: u64) -> &mut TableUse {
        let index = &mut self.indices[ram_page as usize];
        if *index == 0 {
            self.uses.push(TableUse::default());
            *index = self.uses.len() as u32;
        }
        &mut self.uses[*index as usize - 1]
    }

    /// What came from a granule.
    pub(super) fn dependents(&self, ram_page: u64, granule: u32) -> Dependents {
        let mut found = Dependents { spaces: 0, ranges: [(0, 0); MAPPED_RANGES], len: 0 };
        if let Some(index) = self.indices[ram_page as usize].checked_sub(1) {
            let table = &self.uses[index as usize];
            found.spaces = table.spaces;
            found.len = table.mapped_ranges_used as usize;
            for (range, mapped) in found.ranges.iter_mut().zip(table.mapped_ranges) {
                *range = (mapped.linear(granule), mapped.shift());
            }
        }
        found
    }

    /// A granule was written: true if something came from there. Its mark is gone then, and the others
    /// are told.
    #[inline]
    pub(super) fn written(&mut self, ram_page: u64, granule: u32) -> bool {
        self.memory.tables().written(ram_page, granule, &mut self.seen)
    }
    /// What came from a granule of a page was dropped. A table without marks has no mapped ranges left; but
    /// events that were not looked at yet need the mapped ranges.
    pub(super) fn dropped(&mut self, ram_page: u64) {
        if self.memory.tables().is_quiescent(ram_page, self.seen) {
            *self.table_use(ram_page) = TableUse::default();
        }
    }
    /// A page was written where nothing came from. After some of that, a page without marks is tracked
    /// no longer.
    #[inline]
    pub(super) fn idle_write(&mut self, ram_page: u64) {
        let table = self.table_use(ram_page);
        table.idle_writes += 1;
        if table.idle_writes >= IDLE_WRITES {
            table.idle_writes = 0;
            let (tables, state) = (self.memory.tables(), self.memory.page_state(ram_page));
            if !tables.is_marked(ram_page) {
                state.fetch_and(!PageState::PAGE_TABLE, Ordering::SeqCst);
                // Another vCPU may have come to use it just now.
                if tables.is_marked(ram_page) {
                    state.fetch_or(PageState::PAGE_TABLE, Ordering::SeqCst);
                }
            }
        }
    }

    /// Whether there are events to look at.
    #[inline]
    pub(super) fn is_behind(&self) -> bool {
        self.memory.tables().count() != self.seen
    }
    /// The events since the last time; `None` where some were forgotten.
    pub(super) fn events(&mut self) -> Option<Vec<TableEvent>> {
        self.memory.tables().events_since(&mut self.seen)
    }

    /// An address space was emptied: nothing depends on anything for its sake.
    pub(super) fn forget_space(&mut self, space: usize) {
        for table in &mut self.uses {
            table.spaces &= !(1 << space);
            if table.spaces == 0 {
                table.mapped_ranges_used = 0;
            }
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.memory.tables().detach();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_tells_what_lies_behind_a_granule() {
        let r = MappedRange::new(0xFFFF_8000_1234_5678, 1, true);
        assert_eq!((r.linear(1), r.shift()), (0xFFFF_8000_1220_1000, 12));
        let r = MappedRange::new(0x1234_5678, 2, true);
        assert_eq!((r.linear(511), r.shift()), (0x3FE0_0000, 21));
        let r = MappedRange::new(0x1234_5678, 1, false);
        assert_eq!((r.linear(3), r.shift()), (0x1200_6000, 13));
        let r = MappedRange::new(0x1234_5678, 2, false);
        assert_eq!((r.linear(3), r.shift()), (0x0180_0000, 23));
        assert_eq!(MappedRange::new(0x1234_5678, 4, true).shift(), 64);
    }

    #[test]
    fn a_path_begins_again_with_the_walk() {
        let mut p = Path::default();
        for level in [4, 3, 4, 3, 2, 1] {
            p.push(PhysAddr(level as u64 * 0x1000), level, 1);
        }
        let levels: Vec<u8> = p.iter().map(|(_, level)| level).collect();
        assert_eq!(levels, [4, 3, 2, 1]);
    }

    #[test]
    fn too_many_roles_mean_everything() {
        let mut t = TableUse::default();
        for n in 0..6u64 {
            t.add_mapped_range(MappedRange::new(n << 21, 1, true));
            t.add_mapped_range(MappedRange::new(n << 21, 1, true));
        }
        assert_eq!(t.mapped_ranges_used as usize, MAPPED_RANGES);
        assert!(t.mapped_ranges.contains(&MappedRange(64)));
    }
}
