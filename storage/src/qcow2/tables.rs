//! The L1 table and a cache of slices of L2 tables.
//!
//! A *slice* is up to 4 KiB of an L2 table, which is read and kept as a whole. Entries that are newer than the file stay
//! in the cache until a commit has written them ([`super::commit`]).

use super::entry::{COPIED, Entry, OFFSET};
use super::header::Header;
use super::refcounts::{Patch, Refcounts, UNIT_BYTES, unit_ranges};
use crate::block::BlockError;
use crate::bytes::{be_bytes, be_table};
use crate::file::ImageFile;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// 2 to the power of this many entries are in a slice, or a whole table where it is smaller.
const SLICE_BITS: u32 = 9;
/// Slices that are kept: 8 MiB, which cover 64 GiB of a disk with clusters of 64 KiB.
const MOST_SLICES: usize = 2048;
/// Changed slices that may wait before they must be written.
pub(super) const MOST_DIRTY_SLICES: usize = 512;

/// A part of an L2 table.
struct Slice {
    entries: Vec<u64>,
    dirty: Option<Range<usize>>,
    /// A commit is writing it.
    pinned: bool,
    /// Used since the cache was last tidied.
    used: AtomicBool,
}

/// All that is known of where things are in the file.
pub(super) struct Tables {
    version: u32,
    pub(super) cluster_bits: u32,
    pub(super) l1: Vec<u64>,
    pub(super) l1_at: u64,
    /// Units of the L1 table that are newer than the file.
    l1_dirty: BTreeSet<usize>,
    slices: HashMap<u64, Slice>,
    dirty: HashSet<u64>,
    pub(super) refcounts: Refcounts,
    /// From this byte of the file on everything is zero.
    pub(super) zero_from: u64,
    /// The file must have this length once the tables point to its end.
    pub(super) end: u64,
    /// Clusters with L2 tables, which no entry may point to as data.
    l2_places: HashSet<u64>,
}

fn widen(range: &mut Option<Range<usize>>, with: Range<usize>) {
    *range = Some(match range.take() {
        Some(old) => old.start.min(with.start)..old.end.max(with.end),
        None => with,
    });
}

/// The clusters with the L2 tables of an L1 table.
fn l2_places(l1: &[u64], cluster_bits: u32) -> HashSet<u64> {
    l1.iter().map(|entry| (entry & OFFSET) >> cluster_bits).filter(|cluster| *cluster != 0).collect()
}

impl Tables {
    pub(super) fn new(
        header: &Header,
        l1: Vec<u64>,
        refcounts: Refcounts,
        file_bytes: u64,
        fresh: bool,
    ) -> Self {
        Self {
            version: header.version,
            cluster_bits: header.cluster_bits,
            l2_places: l2_places(&l1, header.cluster_bits),
            l1,
            l1_at: header.l1_at,
            l1_dirty: BTreeSet::new(),
            slices: HashMap::new(),
            dirty: HashSet::new(),
            refcounts,
            zero_from: if fresh { file_bytes } else { u64::MAX },
            end: 0,
        }
    }
    pub(super) fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }
    fn slice_bits(&self) -> u32 {
        SLICE_BITS.min(self.cluster_bits - 3)
    }
    /// Slices of an L2 table: 2 to the power of this.
    fn slices_bits(&self) -> u32 {
        self.cluster_bits - 3 - self.slice_bits()
    }
    /// Clusters of the disk from `cluster` on that no L2 table is there for, as far as one L1 entry reaches.
    pub(super) fn without_table(&self, cluster: u64) -> Result<u64, BlockError> {
        let entries = 1 << (self.cluster_bits - 3);
        Ok(if self.l2_at(cluster)?.is_none() { entries - cluster % entries } else { 0 })
    }
    /// Clusters of the disk from `cluster` on that are in the same slice.
    pub(super) fn left_in_slice(&self, cluster: u64) -> u64 {
        let entries = 1 << self.slice_bits();
        entries - cluster % entries
    }
    fn l1_index(&self, cluster: u64) -> usize {
        (cluster >> (self.cluster_bits - 3)) as usize
    }
    /// Where the L2 table of a cluster of the disk is; none where there is no table.
    fn l2_at(&self, cluster: u64) -> Result<Option<u64>, BlockError> {
        let at = self.l1.get(self.l1_index(cluster)).copied().unwrap_or(0) & OFFSET;
        if at & (self.cluster_bytes() - 1) != 0 {
            return Err(BlockError::Damaged(format!("an L1 entry points to {at:#x}, inside a cluster")));
        }
        Ok((at != 0).then_some(at))
    }
    fn decode(&self, raw: u64) -> Result<Entry, BlockError> {
        Entry::read(raw, self.version, self.cluster_bits)
    }

    /// The entry of a cluster of the disk, if it is known without reading the file.
    pub(super) fn cached(&self, cluster: u64) -> Result<Option<Entry>, BlockError> {
        if self.l2_at(cluster)?.is_none() {
            return Ok(Some(Entry::Unallocated));
        }
        let Some(slice) = self.slices.get(&(cluster >> self.slice_bits())) else { return Ok(None) };
        if !slice.used.load(Ordering::Relaxed) {
            slice.used.store(true, Ordering::Relaxed);
        }
        let index = cluster & ((1 << self.slice_bits()) - 1);
        self.decode(slice.entries.get(index as usize).copied().unwrap_or(0)).map(Some)
    }

    /// Reads the slice that has the entry of a cluster of the disk.
    pub(super) fn load(&mut self, cluster: u64, file: &dyn ImageFile) -> Result<(), BlockError> {
        let key = cluster >> self.slice_bits();
        let Some(table) = self.l2_at(cluster)? else { return Ok(()) };
        if self.slices.contains_key(&key) {
            return Ok(());
        }
        // A new table may be zeroes that the file does not have yet.
        if table >= self.end && table >= file.bytes()? {
            return Err(BlockError::Damaged(format!(
                "an L2 table at {table:#x}, behind the end of the file"
            )));
        }
        self.make_room();
        let mut bytes = vec![0; 8 << self.slice_bits()];
        file.read_at(table + self.offset_in_table(key), &mut bytes)?;
        let slice = Slice { entries: be_table(&bytes), dirty: None, pinned: false, used: true.into() };
        self.slices.insert(key, slice);
        Ok(())
    }
    fn offset_in_table(&self, key: u64) -> u64 {
        (key & ((1 << self.slices_bits()) - 1)) << (self.slice_bits() + 3)
    }
    fn make_room(&mut self) {
        if self.slices.len() < MOST_SLICES {
            return;
        }
        let mut spared = MOST_SLICES / 2;
        self.slices.retain(|_, slice| {
            let used = slice.used.swap(false, Ordering::Relaxed) && spared > 0;
            spared -= usize::from(used);
            used || slice.dirty.is_some() || slice.pinned
        });
    }

    /// The entry of a cluster of the disk.
    pub(super) fn get(&mut self, cluster: u64, file: &dyn ImageFile) -> Result<Entry, BlockError> {
        if let Some(entry) = self.cached(cluster)? {
            return Ok(entry);
        }
        self.load(cluster, file)?;
        Ok(self.cached(cluster)?.unwrap_or(Entry::Unallocated))
    }

    /// Sets the entry of a cluster of the disk, whose L2 table [`Tables::make_l2`] has made this image's own.
    pub(super) fn set(&mut self, cluster: u64, entry: Entry, file: &dyn ImageFile) -> Result<(), BlockError> {
        self.load(cluster, file)?;
        let (key, index) =
            (cluster >> self.slice_bits(), (cluster & ((1 << self.slice_bits()) - 1)) as usize);
        let raw = entry.raw(self.cluster_bits);
        if let Some(slice) = self.slices.get_mut(&key)
            && let Some(place) = slice.entries.get_mut(index)
        {
            *place = raw;
            widen(&mut slice.dirty, index..index + 1);
            self.dirty.insert(key);
        }
        Ok(())
    }
    /// Slices that are newer than the file.
    pub(super) fn dirty_slices(&self) -> usize {
        self.dirty.len()
    }
    /// Whether something is newer than the file.
    pub(super) fn has_changes(&self) -> bool {
        !self.dirty.is_empty() || !self.l1_dirty.is_empty() || self.refcounts.has_changes()
    }

    /// Makes sure that a cluster of the disk has an L2 table that may be written: a new one, or a copy of one that
    /// snapshots share.
    pub(super) fn make_l2(&mut self, cluster: u64, file: &dyn ImageFile) -> Result<(), BlockError> {
        let index = self.l1_index(cluster);
        let raw = self.l1.get(index).copied().unwrap_or(0);
        if raw & COPIED != 0 {
            return Ok(());
        }
        let old = self.l2_at(cluster)?;
        let place = self.refcounts.take(1, file)?;
        let at = place.start << self.cluster_bits;
        let copied = self.copy_table(old, at, file);
        if let Err(error) = copied.and_then(|()| self.refcounts.settle(place.clone(), file)) {
            self.refcounts.release(place);
            return Err(error);
        }
        if let Some(entry) = self.l1.get_mut(index) {
            *entry = at | COPIED;
        }
        self.l1_dirty.insert(index * 8 / UNIT_BYTES);
        self.refcounts.freed.extend(old.map(|at| at >> self.cluster_bits));
        self.used_up_to(at + self.cluster_bytes());
        self.l2_places.insert(place.start);
        Ok(())
    }
    fn copy_table(&mut self, old: Option<u64>, at: u64, file: &dyn ImageFile) -> Result<(), BlockError> {
        match old {
            Some(old) => {
                let mut table = vec![0; self.cluster_bytes() as usize];
                file.read_at(old, &mut table)?;
                file.write_at(at, &table)?;
            }
            // Where nothing was ever written there are zeroes already.
            None if at >= self.zero_from => {}
            None => file.write_at(at, &vec![0; self.cluster_bytes() as usize])?,
        }
        Ok(())
    }
    /// Whether a cluster of the file has tables or the header, so that no data may be written there.
    pub(super) fn is_metadata(&self, cluster: u64) -> bool {
        let bits = self.cluster_bits;
        let l1 = self.l1_at >> bits..(self.l1_at + self.l1.len() as u64 * 8).div_ceil(1 << bits);
        cluster == 0
            || l1.contains(&cluster)
            || self.refcounts.is_own(cluster)
            || self.l2_places.contains(&cluster)
    }
    /// Bytes of the file up to `end` are in use from now on.
    pub(super) fn used_up_to(&mut self, end: u64) {
        if self.zero_from != u64::MAX {
            self.zero_from = self.zero_from.max(end);
        }
        self.end = self.end.max(end);
    }
    /// The whole L1 table is newer than the file.
    pub(super) fn l1_changed(&mut self) {
        self.l1_dirty.extend(0..(self.l1.len() * 8).div_ceil(UNIT_BYTES));
    }
    /// Forgets all entries that were read: the tables in the file have changed.
    pub(super) fn forget_slices(&mut self) {
        self.slices.clear();
        self.dirty.clear();
        self.l2_places = l2_places(&self.l1, self.cluster_bits);
    }

    /// Takes the entries that are newer than the file.
    pub(super) fn take_changes(&mut self) -> Result<TableChanges, BlockError> {
        let keys: Vec<u64> = self.dirty.drain().collect();
        let mut l2 = Vec::new();
        let mut taken = Vec::new();
        for key in keys {
            let table = self.l2_at(key << self.slice_bits())?;
            let offset = self.offset_in_table(key);
            let Some(slice) = self.slices.get_mut(&key) else { continue };
            let (Some(range), Some(table)) = (slice.dirty.take(), table) else { continue };
            slice.pinned = true;
            let bytes = be_bytes(slice.entries.get(range.clone()).unwrap_or_default());
            l2.push((table + offset + range.start as u64 * 8, bytes));
            taken.push((key, range));
        }
        let l1_units = std::mem::take(&mut self.l1_dirty);
        let patch = |range: Range<usize>| {
            let entries = self.l1.get(range.start / 8..range.end / 8).unwrap_or_default();
            (self.l1_at + range.start as u64, be_bytes(entries))
        };
        let l1 = unit_ranges(&l1_units, self.l1.len() * 8).into_iter().map(patch).collect();
        Ok(TableChanges { l2, l1, taken, l1_units })
    }
    /// What a commit took is in the file, or, where it failed, must be written again.
    pub(super) fn changes_written(&mut self, changes: &TableChanges, done: bool) {
        for (key, range) in &changes.taken {
            if let Some(slice) = self.slices.get_mut(key) {
                slice.pinned = false;
                if !done {
                    widen(&mut slice.dirty, range.clone());
                    self.dirty.insert(*key);
                }
            }
        }
        if !done {
            self.l1_dirty.extend(&changes.l1_units);
        }
    }
}

/// What a commit writes of the tables.
pub(super) struct TableChanges {
    pub(super) l2: Vec<Patch>,
    pub(super) l1: Vec<Patch>,
    taken: Vec<(u64, Range<usize>)>,
    l1_units: BTreeSet<usize>,
}
