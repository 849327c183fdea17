//! Where indirect jumps lead: tables from RIP to the host address of its block, one for each key.
//!
//! What RIP leads to depends on the address space that it is fetched in and on the mode. Both are in the key
//! ([`CpuState::jump_key`](trimotor_cpu::CpuState)), which changes far more rarely than code jumps: translated code
//! has the table of the present key at hand and compares RIP alone.

use std::ptr::NonNull;

/// Entries of one table, a power of two.
const ENTRIES: usize = 4096;
/// log2 of an entry's size.
const ENTRY_SHIFT: u32 = 4;
/// What an entry's place is computed from: the place is `(RIP rotated left by 4 ^ RIP) & INDEX_MASK`, in bytes.
pub const INDEX_MASK: u32 = ((ENTRIES - 1) << ENTRY_SHIFT) as u32;
/// What turns the place of an entry into the one where it stands once another has taken its place.
pub const SECOND_PLACE: u32 = 1 << ENTRY_SHIFT;
/// How far RIP is rotated.
pub const INDEX_ROTATION: u32 = 4;
/// Keys that have a table at a time. Each process has one for user code, most share one for the kernel's.
const TABLES: usize = 16;

/// One entry of a table.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct JumpEntry {
    /// RIP.
    pub rip: u64,
    /// Host address of the block.
    pub code: u64,
}

impl JumpEntry {
    /// What stands in place `n` while nothing leads on from there: a RIP that is not looked for there.
    fn empty(n: usize) -> JumpEntry {
        JumpEntry { rip: if n < 2 { 4 } else { 0 }, code: 0 }
    }
}

struct Table {
    entries: Box<[JumpEntry]>,
    /// Places that may hold something, so that emptying costs no more than filling did.
    filled: Vec<u16>,
    /// When it was last chosen.
    chosen: u64,
}

impl Table {
    fn entries() -> Box<[JumpEntry]> {
        (0..ENTRIES).map(JumpEntry::empty).collect()
    }
    fn set(&mut self, n: usize, entry: JumpEntry) {
        if self.filled.len() < ENTRIES {
            self.filled.push(n as u16);
        }
        self.entries[n] = entry;
    }
    fn empty(&mut self) {
        if self.filled.len() >= ENTRIES {
            for (n, entry) in self.entries.iter_mut().enumerate() {
                *entry = JumpEntry::empty(n);
            }
        } else {
            for &n in &self.filled {
                self.entries[n as usize] = JumpEntry::empty(n as usize);
            }
        }
        self.filled.clear();
    }
}

/// The tables of one vCPU.
pub struct JumpTables {
    /// The key that each table is for; 0 for none.
    keys: [u64; TABLES],
    tables: Vec<Table>,
    present: usize,
    /// The epoch of the code that the tables lead to.
    epoch: u64,
    /// Counts choices of a table.
    clock: u64,
}

/// The index of the entry for `rip`, as translated code computes it.
fn index(rip: u64) -> usize {
    let rip = rip as u32;
    ((rip.rotate_left(INDEX_ROTATION) ^ rip) & INDEX_MASK) as usize >> ENTRY_SHIFT
}

impl JumpTables {
    /// Empty tables.
    pub fn new() -> JumpTables {
        let table = || Table { entries: Table::entries(), filled: Vec::new(), chosen: 0 };
        let tables = (0..TABLES).map(|_| table()).collect();
        JumpTables { keys: [0; TABLES], tables, present: 0, epoch: 0, clock: 0 }
    }
    /// Empties all tables if the code that they lead to is gone: if its epoch is not `epoch`.
    pub fn follow_epoch(&mut self, epoch: u64) {
        if std::mem::replace(&mut self.epoch, epoch) != epoch {
            self.tables.iter_mut().for_each(Table::empty);
        }
    }
    /// Chooses the table for `key`, and gives the address of its first entry, for as long as the tables live.
    pub fn choose(&mut self, key: u64) -> NonNull<JumpEntry> {
        let known = self.keys.iter().position(|&k| k == key);
        let oldest = || (0..TABLES).min_by_key(|&n| self.tables[n].chosen).unwrap_or_default();
        let n = known.unwrap_or_else(oldest);
        self.clock += 1;
        let table = &mut self.tables[n];
        table.chosen = self.clock;
        if known.is_none() {
            table.empty();
            self.keys[n] = key;
        }
        self.present = n;
        NonNull::from(&mut *table.entries).cast()
    }
    /// Where RIP leads under the key that was chosen last.
    pub fn get(&self, rip: u64) -> Option<u64> {
        let entries = &self.tables[self.present].entries;
        let n = index(rip);
        let found = [n, n ^ 1].into_iter().find(|&n| entries[n].rip == rip);
        found.map(|n| entries[n].code)
    }
    /// Has RIP lead to the host address `code` under the key that was chosen last.
    pub fn put(&mut self, rip: u64, code: u64) {
        let n = index(rip);
        let table = &mut self.tables[self.present];
        let old = table.entries[n];
        if old.rip != rip && old.code != 0 {
            table.set(n ^ 1, old);
        }
        table.set(n, JumpEntry { rip, code });
    }
}

impl Default for JumpTables {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rip_matches_an_empty_place() {
        let jumps = JumpTables::new();
        assert!((0..ENTRIES as u64).all(|rip| jumps.get(rip).is_none()));
        assert!((0..ENTRIES).all(|n| index(JumpEntry::empty(n).rip) & !1 != n & !1));
    }

    #[test]
    fn two_that_share_a_place_are_both_found() {
        let mut jumps = JumpTables::new();
        jumps.choose(1);
        let (a, b) = (0x40_0000u64, 0x50_0000);
        assert_eq!(index(a), index(b));
        jumps.put(a, 0xA);
        jumps.put(b, 0xB);
        assert_eq!((jumps.get(a), jumps.get(b)), (Some(0xA), Some(0xB)));
        jumps.put(a, 0xAA);
        assert_eq!((jumps.get(a), jumps.get(b)), (Some(0xAA), Some(0xB)));
    }

    #[test]
    fn each_key_has_its_own_entries() {
        let mut jumps = JumpTables::new();
        jumps.choose(1);
        jumps.put(0x1000, 0xAA);
        jumps.choose(2);
        assert_eq!(jumps.get(0x1000), None);
        jumps.put(0x1000, 0xBB);
        jumps.choose(1);
        assert_eq!(jumps.get(0x1000), Some(0xAA));
        jumps.choose(2);
        assert_eq!(jumps.get(0x1000), Some(0xBB));
    }

    #[test]
    fn the_key_that_was_not_used_for_longest_gives_up_its_table() {
        let mut jumps = JumpTables::new();
        for key in 1..=TABLES as u64 {
            jumps.choose(key);
            jumps.put(0x2000, key);
        }
        jumps.choose(1);
        jumps.choose(100);
        assert_eq!(jumps.get(0x2000), None, "what the table held was for another key");
        jumps.choose(1);
        assert_eq!(jumps.get(0x2000), Some(1));
        jumps.choose(2);
        assert_eq!(jumps.get(0x2000), None);
    }

    #[test]
    fn nothing_is_left_after_clearing_a_full_table() {
        let mut jumps = JumpTables::new();
        let first = jumps.choose(7);
        for rip in 0..3 * ENTRIES as u64 {
            jumps.put(rip, rip + 1);
        }
        assert_eq!(jumps.get(3 * ENTRIES as u64 - 1), Some(3 * ENTRIES as u64));
        jumps.follow_epoch(1);
        assert!((0..3 * ENTRIES as u64).all(|rip| jumps.get(rip).is_none()));
        assert_eq!(jumps.choose(7), first, "translated code keeps the address");
    }
}
