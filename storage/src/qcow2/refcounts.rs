//! Refcounts: how many references there are to each cluster of the file, and where free clusters are.
//!
//! The refcount table points to refcount blocks, each a cluster of counts. Changes are made in memory and written by a
//! commit (see [`super::commit`]). Clusters that must not be used although their count is zero are *held*: those that a
//! write has been given and that no table points to yet, and those that were given back since the last sync, which a
//! table in the file may still point to.

use super::count::{count_in, set_count_in};
use super::header::MOST_REFCOUNT_TABLE_BYTES;
use crate::block::BlockError;
use crate::file::ImageFile;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

/// Where a refcount block is in a table's entry.
const BLOCK_AT: u64 = 0xFFFF_FFFF_FFFF_FE00;
/// Bytes of refcount blocks that are kept in memory unless more are waiting to be written.
const CACHE_BYTES: u64 = 4 << 20;
/// So many blocks may count clusters behind the end of the file, before a search for a free cluster ends.
const MOST_BLOCKS_BEHIND: u64 = 64;
/// The clusters of a file have numbers below this, so that offsets have 56 bits.
const MOST_FILE_BITS: u32 = 56;

/// Tables are written in units of this many bytes, so that little is written and each unit is in the file at once.
pub(super) const UNIT_BYTES: usize = 512;

/// A refcount block in memory.
struct Block {
    bytes: Vec<u8>,
    /// Units that are newer than the file.
    dirty: BTreeSet<usize>,
    /// A commit is writing it.
    pinned: bool,
}

/// Bytes that are to be written at an offset.
pub(super) type Patch = (u64, Vec<u8>);

/// All refcounts of an image.
pub(super) struct Refcounts {
    cluster_bits: u32,
    order: u32,
    table: Vec<u64>,
    /// Where the table is in the file, or will be.
    table_at: u64,
    /// Units of it that are newer than the file.
    table_dirty: BTreeSet<usize>,
    /// The table is to be written somewhere else, and the header must say so.
    table_moved: bool,
    blocks: HashMap<usize, Block>,
    /// Clusters with blocks.
    block_places: HashSet<u64>,
    /// Below this cluster none is free.
    cursor: u64,
    held: HashSet<u64>,
    /// Clusters to give back once the tables in the file no longer point to them.
    pub(super) freed: Vec<u64>,
}

/// Units in a row as ranges of bytes of a table of `bytes` bytes.
pub(super) fn unit_ranges(units: &BTreeSet<usize>, bytes: usize) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for unit in units {
        let (start, end) = (unit * UNIT_BYTES, ((unit + 1) * UNIT_BYTES).min(bytes));
        match ranges.last_mut() {
            // A page is written at once.
            Some(last) if last.end == start && !start.is_multiple_of(4096) => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

impl Refcounts {
    /// Refcounts with this table, which is at `table_at`.
    pub(super) fn new(cluster_bits: u32, order: u32, table: Vec<u64>, table_at: u64) -> Self {
        let places = table.iter().map(|at| (at & BLOCK_AT) >> cluster_bits).filter(|cluster| *cluster != 0);
        Self {
            block_places: places.collect(),
            cluster_bits,
            order,
            table,
            table_at,
            table_dirty: BTreeSet::new(),
            table_moved: false,
            blocks: HashMap::new(),
            cursor: 0,
            held: HashSet::new(),
            freed: Vec::new(),
        }
    }
    fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }
    /// Counts of a block.
    pub(super) fn block_entries(&self) -> u64 {
        1 << (self.cluster_bits + 3 - self.order)
    }
    /// The largest count.
    pub(super) fn most(&self) -> u64 {
        if self.order == 6 { u64::MAX } else { (1 << (1 << self.order)) - 1 }
    }
    /// The table: offsets of blocks, zero where there is none.
    pub(super) fn table(&self) -> &[u64] {
        &self.table
    }
    /// Clusters of the table.
    pub(super) fn table_clusters(&self) -> u64 {
        (self.table.len() as u64 * 8) >> self.cluster_bits
    }
    /// Whether a cluster is a refcount block or of the table.
    pub(super) fn is_own(&self, cluster: u64) -> bool {
        let start = self.table_at >> self.cluster_bits;
        (start..start + self.table_clusters()).contains(&cluster) || self.block_places.contains(&cluster)
    }
    fn split(&self, cluster: u64) -> (usize, u64) {
        let entries = self.block_entries();
        (usize::try_from(cluster / entries).unwrap_or(usize::MAX), cluster % entries)
    }

    /// The block with this number, from the file if needed; none where the table has none.
    fn block(&mut self, number: usize, file: &dyn ImageFile) -> Result<Option<&mut Block>, BlockError> {
        let at = self.table.get(number).copied().unwrap_or(0) & BLOCK_AT;
        if at == 0 {
            return Ok(None);
        }
        if !self.blocks.contains_key(&number) {
            if !at.is_multiple_of(self.cluster_bytes()) || at.saturating_add(1) > file.bytes()? {
                return Err(BlockError::Damaged(format!("a refcount block at {at:#x}, where none can be")));
            }
            self.make_room();
            let mut bytes = vec![0; self.cluster_bytes() as usize];
            file.read_at(at, &mut bytes)?;
            self.blocks.insert(number, Block { bytes, dirty: BTreeSet::new(), pinned: false });
        }
        Ok(self.blocks.get_mut(&number))
    }
    fn make_room(&mut self) {
        let most = (CACHE_BYTES >> self.cluster_bits).max(4) as usize;
        if self.blocks.len() >= most {
            let mut spared = most / 2;
            self.blocks.retain(|_, block| {
                let keep = !block.dirty.is_empty() || block.pinned || spared > 0;
                spared = spared.saturating_sub(1);
                keep
            });
        }
    }

    /// The count of a cluster.
    pub(super) fn get(&mut self, cluster: u64, file: &dyn ImageFile) -> Result<u64, BlockError> {
        let (number, index) = self.split(cluster);
        let order = self.order;
        Ok(self.block(number, file)?.map_or(0, |block| count_in(&block.bytes, index as usize, order)))
    }

    /// Sets the count of a cluster; makes the block that has it if needed.
    pub(super) fn set(&mut self, cluster: u64, count: u64, file: &dyn ImageFile) -> Result<(), BlockError> {
        if count > self.most() {
            return Err(BlockError::Unsupported(format!(
                "more than {} references to a cluster",
                self.most()
            )));
        }
        let (number, index) = self.split(cluster);
        let order = self.order;
        if self.block(number, file)?.is_none() {
            if count == 0 {
                return Ok(());
            }
            self.add_block(number, file)?;
        }
        let Some(block) = self.block(number, file)? else {
            return Err(BlockError::Damaged("a refcount block went".into()));
        };
        set_count_in(&mut block.bytes, index as usize, order, count);
        block.dirty.insert((index << order >> 3) as usize / UNIT_BYTES);
        if count == 0 {
            self.cursor = self.cursor.min(cluster);
        }
        Ok(())
    }

    /// Makes the block with this number, in a free cluster whose count it has itself, if there is one.
    fn add_block(&mut self, number: usize, file: &dyn ImageFile) -> Result<(), BlockError> {
        if number >= self.table.len() {
            self.grow_table(number, file)?;
            // The larger table's own counts may have made the block.
            if self.table.get(number).is_some_and(|at| *at != 0) {
                return Ok(());
            }
        }
        let first = number as u64 * self.block_entries();
        let own = (first..first + self.block_entries())
            .find(|cluster| *cluster > 0 && !self.held.contains(cluster));
        let cluster = match own {
            Some(cluster) => cluster,
            None => self.find(1, file)?.start,
        };
        let bytes = vec![0; self.cluster_bytes() as usize];
        let dirty = (0..bytes.len() / UNIT_BYTES).collect();
        self.make_room();
        self.blocks.insert(number, Block { bytes, dirty, pinned: false });
        if let Some(entry) = self.table.get_mut(number) {
            *entry = cluster << self.cluster_bits;
        }
        self.table_dirty.insert(number * 8 / UNIT_BYTES);
        self.block_places.insert(cluster);
        self.set(cluster, 1, file)
    }

    /// Makes a table that has room for block `number`.
    fn grow_table(&mut self, number: usize, file: &dyn ImageFile) -> Result<(), BlockError> {
        let entries_a_cluster = (self.cluster_bytes() / 8) as usize;
        let entries = (number + 1 + number / 2).next_multiple_of(entries_a_cluster);
        let most = (MOST_REFCOUNT_TABLE_BYTES / 8) as usize;
        let entries = if entries > most { (number + 1).next_multiple_of(entries_a_cluster) } else { entries };
        if entries > most {
            return Err(BlockError::Unsupported(
                "an image file of this size: its refcount table is full".into(),
            ));
        }
        let old = self.table_at >> self.cluster_bits;
        let old = old..old + self.table_clusters();
        let place = self.find((entries / entries_a_cluster) as u64, file)?;
        self.held.extend(place.clone());
        self.table.resize(entries, 0);
        self.table_at = place.start << self.cluster_bits;
        self.table_moved = true;
        self.freed.extend(old);
        // As in `settle`: no block is put where the table is.
        self.settle(place, file)
    }

    /// A run of `count` free clusters.
    fn find(&mut self, count: u64, file: &dyn ImageFile) -> Result<Range<u64>, BlockError> {
        let mut run = self.cursor.max(1)..self.cursor.max(1);
        let mut first_free = None;
        let most = 1u64 << (MOST_FILE_BITS - self.cluster_bits);
        let file_end = file.bytes()? >> self.cluster_bits;
        let counted =
            file_end.saturating_add(MOST_BLOCKS_BEHIND * self.block_entries()).saturating_add(count);
        loop {
            let cluster = run.end;
            if cluster >= most {
                return Err(BlockError::NoSpace);
            }
            if cluster >= counted {
                return Err(BlockError::Damaged(
                    "its refcounts count clusters far behind the end of the file: `trimotor img check` says more".into(),
                ));
            }
            let free = !self.held.contains(&cluster) && self.get(cluster, file)? == 0;
            // Held clusters become free again: only those with a count are passed for good.
            if first_free.is_none() && (free || self.held.contains(&cluster)) {
                first_free = Some(cluster);
            }
            run = if free { run.start..cluster + 1 } else { cluster + 1..cluster + 1 };
            if run.end - run.start == count {
                self.cursor = first_free.unwrap_or(run.start);
                return Ok(run);
            }
        }
    }

    /// Takes up to `count` free clusters in a row, one at least, and holds them.
    pub(super) fn take(&mut self, count: u64, file: &dyn ImageFile) -> Result<Range<u64>, BlockError> {
        let mut run = self.find(1, file)?;
        while run.end - run.start < count && !self.held.contains(&run.end) && self.get(run.end, file)? == 0 {
            run.end += 1;
        }
        self.held.extend(run.clone());
        Ok(run)
    }
    /// Takes exactly `count` free clusters in a row, and holds them.
    pub(super) fn take_all(&mut self, count: u64, file: &dyn ImageFile) -> Result<Range<u64>, BlockError> {
        let run = self.find(count, file)?;
        self.held.extend(run.clone());
        Ok(run)
    }
    /// Gives back clusters that were taken.
    pub(super) fn release(&mut self, run: Range<u64>) {
        self.cursor = self.cursor.min(run.start);
        run.for_each(|cluster| {
            self.held.remove(&cluster);
        });
    }
    /// Counts one reference to clusters that were taken.
    pub(super) fn settle(&mut self, run: Range<u64>, file: &dyn ImageFile) -> Result<(), BlockError> {
        for cluster in run {
            // Still held while its count is set, so that no block is put there.
            self.set(cluster, 1, file)?;
            self.held.remove(&cluster);
        }
        Ok(())
    }
    /// Holds clusters that are in use without being counted.
    pub(super) fn hold(&mut self, clusters: &[u64]) {
        self.held.extend(clusters);
    }
    /// Takes a block that cannot be one out of the table.
    pub(super) fn forget_block(&mut self, number: usize) {
        self.blocks.remove(&number);
        if let Some(entry) = self.table.get_mut(number) {
            self.block_places.remove(&(*entry >> self.cluster_bits));
            *entry = 0;
            self.table_dirty.insert(number * 8 / UNIT_BYTES);
        }
    }

    /// Takes what is newer than the file: blocks, then the table (whole, if it moved) and the header's fields.
    pub(super) fn take_changes(&mut self) -> Changes {
        let mut blocks = Vec::new();
        let mut numbers = Vec::new();
        for (number, block) in &mut self.blocks {
            if block.dirty.is_empty() {
                continue;
            }
            let units = std::mem::take(&mut block.dirty);
            block.pinned = true;
            let at = self.table.get(*number).copied().unwrap_or(0) & BLOCK_AT;
            for range in unit_ranges(&units, block.bytes.len()) {
                let bytes = block.bytes.get(range.clone()).unwrap_or_default().to_vec();
                blocks.push((at + range.start as u64, bytes));
            }
            numbers.push((*number, units));
        }
        let moved = std::mem::take(&mut self.table_moved);
        let units = std::mem::take(&mut self.table_dirty);
        let bytes = self.table.len() * 8;
        let all = if moved { (0..bytes.div_ceil(UNIT_BYTES)).collect() } else { units.clone() };
        let ranges = unit_ranges(&all, bytes);
        let patch = |range: Range<usize>| {
            let entries = self.table.get(range.start / 8..range.end / 8).unwrap_or_default();
            (self.table_at + range.start as u64, crate::bytes::be_bytes(entries))
        };
        let table = ranges.into_iter().map(patch).collect();
        let header = moved.then(|| {
            let mut fields = self.table_at.to_be_bytes().to_vec();
            fields.extend((self.table_clusters() as u32).to_be_bytes());
            (super::header::REFCOUNT_FIELDS_AT, fields)
        });
        Changes { blocks, table, header, numbers, table_units: units }
    }
    /// What a commit took is in the file, or, where it failed, must be written again.
    pub(super) fn changes_written(&mut self, changes: &Changes, done: bool) {
        for (number, units) in &changes.numbers {
            if let Some(block) = self.blocks.get_mut(number) {
                block.pinned = false;
                if !done {
                    block.dirty.extend(units);
                }
            }
        }
        if !done {
            self.table_moved |= changes.header.is_some();
            self.table_dirty.extend(&changes.table_units);
        }
    }
    /// Whether something is newer than the file.
    pub(super) fn has_changes(&self) -> bool {
        self.table_moved
            || !self.table_dirty.is_empty()
            || !self.freed.is_empty()
            || self.blocks.values().any(|block| !block.dirty.is_empty())
    }

    /// Whether so many blocks are newer than the file that they should be written.
    pub(super) fn has_many_changes(&self) -> bool {
        let most = 4 * (CACHE_BYTES >> self.cluster_bits).max(4) as usize;
        self.blocks.len() > most
            && self.blocks.values().filter(|block| !block.dirty.is_empty()).count() > most
    }

    /// Takes one reference from each freed cluster. Those without any other are held and returned, in order.
    pub(super) fn apply_freed(&mut self, file: &dyn ImageFile) -> Result<Vec<u64>, BlockError> {
        let mut unused = Vec::new();
        for cluster in std::mem::take(&mut self.freed) {
            match self.get(cluster, file)? {
                // The image was damaged before; a check finds what else is wrong.
                0 => {}
                1 => {
                    self.held.insert(cluster);
                    unused.push(cluster);
                    self.set(cluster, 0, file)?;
                }
                count => self.set(cluster, count - 1, file)?,
            }
        }
        unused.sort_unstable();
        Ok(unused)
    }
    /// Lets clusters be used again.
    pub(super) fn let_go(&mut self, clusters: &[u64]) {
        for cluster in clusters {
            self.held.remove(cluster);
            self.cursor = self.cursor.min(*cluster);
        }
    }
}

/// What a commit writes of refcounts.
pub(super) struct Changes {
    pub(super) blocks: Vec<Patch>,
    pub(super) table: Vec<Patch>,
    pub(super) header: Option<Patch>,
    numbers: Vec<(usize, BTreeSet<usize>)>,
    table_units: BTreeSet<usize>,
}
