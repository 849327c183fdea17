//! What depends on which page-table entries: one MMU's side of the
//! [`TableWatch`](trimotor_bus::table_watch::TableWatch).
//!
//! For each page of page tables that translations came from, an MMU knows in which of its spaces and
//! in which *roles* it was used: what linear addresses lie behind its granules. Most tables have one
//! role. A self-referencing table has one for each level, tables shared by processes have one role in
//! several spaces; a page in more roles than [`ROLES`] makes writes to it drop whole spaces.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use trimotor_bus::memory::PageState;
use trimotor_bus::table_watch::TableEvent;
use trimotor_bus::{GuestMemory, PhysAddr};

/// Roles kept of a page.
const ROLES: usize = 4;
/// Writes to a page that nothing came from, after which it is no longer watched: tables that were
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
/// many bytes lie behind a granule, 64 for levels that are dropped with their space as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Role(u64);

impl Role {
    /// The role of a table of level `level` on the way to `linear`. `wide`: entries of 8 bytes.
    #[inline]
    fn new(linear: u64, level: u8, wide: bool) -> Role {
        let shift = match (level, wide) {
            (1, true) => 12,
            (2, true) => 21,
            (1, false) => 13,
            (2, false) => 23,
            _ => return Role(64),
        };
        Role(linear >> (shift + 9) << (shift + 9) | shift)
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
    /// A bit a space.
    spaces: u32,
    roles_used: u8,
    idle_writes: u16,
    roles: [Role; ROLES],
}

impl TableUse {
    #[inline]
    fn add_role(&mut self, role: Role) {
        let used = self.roles_used as usize;
        if self.roles[..used].contains(&role) {
            return;
        }
        if used < ROLES {
            self.roles[used] = role;
            self.roles_used += 1;
        } else {
            self.roles[0] = Role(64);
        }
    }
}

/// What depends on an entry: the spaces, and in each the ranges.
pub(super) struct Dependents {
    /// A bit a space.
    pub(super) spaces: u32,
    ranges: [(u64, u32); ROLES],
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
    slots: Box<[u32]>,
    uses: Vec<TableUse>,
    /// Events seen.
    seen: u64,
}

impl Tracker {
    pub(super) fn new(memory: &Arc<GuestMemory>, cpu: usize) -> Tracker {
        Tracker {
            memory: memory.clone(),
            cpu,
            slots: vec![0; memory.ram_pages()].into_boxed_slice(),
            uses: Vec::new(),
            seen: memory.tables().attach(),
        }
    }

    /// Notes that a translation of `linear` in `space` came from the entries of `path`; `wide`:
    /// entries of 8 bytes. Calls `used` for pages that become watched (`true`), or that are but which
    /// other vCPUs may still write unseen.
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
            let table = self.slot(ram_page);
            table.spaces |= 1 << space;
            table.add_role(Role::new(linear, level, wide));
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
    fn slot(&mut self, ram_page: u64) -> &mut TableUse {
        let slot = &mut self.slots[ram_page as usize];
        if *slot == 0 {
            self.uses.push(TableUse::default());
            *slot = self.uses.len() as u32;
        }
        &mut self.uses[*slot as usize - 1]
    }

    /// What came from a granule.
    pub(super) fn dependents(&self, ram_page: u64, granule: u32) -> Dependents {
        let mut found = Dependents { spaces: 0, ranges: [(0, 0); ROLES], len: 0 };
        if let Some(slot) = self.slots[ram_page as usize].checked_sub(1) {
            let table = &self.uses[slot as usize];
            found.spaces = table.spaces;
            found.len = table.roles_used as usize;
            for (range, role) in found.ranges.iter_mut().zip(table.roles) {
                *range = (role.linear(granule), role.shift());
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
    /// What came from a granule of a page was dropped. A table without marks has no roles left; but
    /// events that were not looked at yet need the roles.
    pub(super) fn dropped(&mut self, ram_page: u64) {
        if self.memory.tables().settled(ram_page, self.seen) {
            *self.slot(ram_page) = TableUse::default();
        }
    }
    /// A page was written where nothing came from. After some of that, a page without marks is watched
    /// no longer.
    #[inline]
    pub(super) fn idle_write(&mut self, ram_page: u64) {
        let table = self.slot(ram_page);
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

    /// A space was emptied: nothing depends on anything for its sake.
    pub(super) fn forget_space(&mut self, space: usize) {
        for table in &mut self.uses {
            table.spaces &= !(1 << space);
            if table.spaces == 0 {
                table.roles_used = 0;
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
        let r = Role::new(0xFFFF_8000_1234_5678, 1, true);
        assert_eq!((r.linear(1), r.shift()), (0xFFFF_8000_1220_1000, 12));
        let r = Role::new(0x1234_5678, 2, true);
        assert_eq!((r.linear(511), r.shift()), (0x3FE0_0000, 21));
        let r = Role::new(0x1234_5678, 1, false);
        assert_eq!((r.linear(3), r.shift()), (0x1200_6000, 13));
        let r = Role::new(0x1234_5678, 2, false);
        assert_eq!((r.linear(3), r.shift()), (0x0180_0000, 23));
        assert_eq!(Role::new(0x1234_5678, 4, true).shift(), 64);
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
            t.add_role(Role::new(n << 21, 1, true));
            t.add_role(Role::new(n << 21, 1, true));
        }
        assert_eq!(t.roles_used as usize, ROLES);
        assert!(t.roles.contains(&Role(64)));
    }
}
