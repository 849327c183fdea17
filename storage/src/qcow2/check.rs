//! Checks an image, and repairs it: are the refcounts what the tables refer to, and do all entries point into the file?

use super::count::count_in;
use super::entry::{COPIED, Entry, OFFSET};
use super::header::{CORRUPT, INCOMPATIBLE_AT};
use super::references::References;
use super::{Qcow2, snapshot};
use crate::block::BlockError;
use crate::bytes::{be_bytes, be_u32, be_u64};
use std::ops::Range;
use std::sync::PoisonError;

/// Messages that are kept; there may be one for each cluster.
const MOST_MESSAGES: usize = 100;
/// Most entries of L2 tables that are looked at. Many snapshots may share one table.
const MOST_ENTRIES: u64 = 1 << 32;

/// What a check repairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// Nothing.
    Nothing,
    /// Clusters that are counted and not used.
    Leaks,
    /// All that can be repaired.
    All,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Errors, which can cost data.
    pub errors: u64,
    /// Clusters that are counted and not used, which cost space only.
    pub leaks: u64,
    /// Errors that were repaired.
    pub errors_repaired: u64,
    /// Leaks that were repaired.
    pub leaks_repaired: u64,
    /// The first of the findings, in words.
    pub messages: Vec<String>,
    /// Clusters of the disk that are in the file.
    pub allocated: u64,
    /// Of these, compressed ones.
    pub compressed: u64,
    /// Of these, those that do not stand behind their neighbour.
    pub fragmented: u64,
    /// Clusters of the disk.
    pub clusters: u64,
    /// Where the last cluster in use ends, in bytes of the file.
    pub end: u64,
}

impl Findings {
    fn error(&mut self, message: String) {
        self.errors += 1;
        self.say(format!("error: {message}"));
    }
    fn say(&mut self, message: String) {
        if self.messages.len() < MOST_MESSAGES {
            self.messages.push(message);
        }
    }
}

/// A check on its way.
struct Check<'a> {
    image: &'a Qcow2,
    repair: Repair,
    found: Findings,
    references: References,
    /// What has clusters of its own, and which.
    own: Vec<(&'static str, Range<u64>)>,
    file_end: u64,
    entries_left: u64,
    /// The next cluster that would follow without a gap.
    next: Option<u64>,
}

impl Qcow2 {
    /// Checks the image, and repairs what it may.
    ///
    /// # Errors
    /// The host's, and damage that makes a check impossible.
    pub fn check(&self, repair: Repair) -> Result<Findings, BlockError> {
        // What a writer has in memory must be in the file.
        let _alone = match repair {
            Repair::Nothing if self.read_only => self.alone(),
            _ => self.begin_change()?,
        };
        let mut check = Check {
            image: self,
            repair,
            found: Findings::default(),
            references: References::default(),
            own: Vec::new(),
            file_end: self.file.bytes()?.div_ceil(self.cluster_bytes()),
            entries_left: MOST_ENTRIES,
            next: None,
        };
        check.run()?;
        let found = check.found;
        if repair == Repair::All && found.errors == found.errors_repaired {
            self.clear_corrupt()?;
        }
        Ok(found)
    }
    fn clear_corrupt(&self) -> Result<(), BlockError> {
        let mut header = self.header.write().unwrap_or_else(PoisonError::into_inner);
        if header.incompatible & CORRUPT != 0 {
            header.incompatible &= !CORRUPT;
            self.file.write_at(INCOMPATIBLE_AT, &header.incompatible.to_be_bytes())?;
        }
        Ok(())
    }
}

impl Check<'_> {
    fn run(&mut self) -> Result<(), BlockError> {
        let header = self.image.header();
        let bits = header.cluster_bits;
        let clusters = |bytes: u64| bytes.div_ceil(header.cluster_bytes());
        self.found.clusters = clusters(header.size);
        self.references.add(0..1)?;
        self.own.push(("the header", 0..1));
        self.refer_own("the L1 table", header.l1_at >> bits, clusters(u64::from(header.l1_entries) * 8))?;
        self.refer_own(
            "the refcount table",
            header.refcount_table_at >> bits,
            u64::from(header.refcount_table_clusters),
        )?;
        let (snapshots, bytes) = snapshot::read_all(&*self.image.file, &header)?;
        self.refer_own("the table of snapshots", header.snapshots_at >> bits, clusters(bytes))?;
        let mut tables = Vec::with_capacity(snapshots.len());
        for snapshot in &snapshots {
            let table = self.image.snapshot_l1(snapshot)?;
            self.refer_own(
                "a snapshot's L1 table",
                snapshot.l1_at >> bits,
                clusters(table.len() as u64 * 8),
            )?;
            tables.push(table);
        }
        let l1 = self.image.tables().l1.clone();
        let l1 = self.tree(&l1, "active", true)?;
        for (snapshot, table) in snapshots.iter().zip(&tables) {
            self.tree(table, &format!("of snapshot {}", snapshot.id), false)?;
        }
        if header.has_bitmaps() {
            self.bitmaps(&header)?;
        }
        self.check_own();
        self.blocks()?;
        self.compare()?;
        self.flags(&l1)?;
        self.found.end = self.references.end() << bits;
        Ok(())
    }

    /// Counts a reference to clusters in a row, if they are in the file.
    fn refer(&mut self, what: &str, first: u64, count: u64) -> Result<bool, BlockError> {
        if count == 0 {
            return Ok(true);
        }
        match first.checked_add(count) {
            Some(end) if end <= self.file_end => {
                self.references.add(first..end)?;
                Ok(true)
            }
            _ => {
                self.found.error(format!("{what} is behind the end of the file, at cluster {first}"));
                Ok(false)
            }
        }
    }

    /// The same for clusters that nothing else may refer to. Where something does, a repair would write one of the two over
    /// the other: nothing is repaired then.
    fn refer_own(&mut self, what: &'static str, first: u64, count: u64) -> Result<(), BlockError> {
        let taken =
            (first..first.saturating_add(count).min(self.file_end)).any(|n| self.references.get(n) > 0);
        if self.refer(what, first, count)? && count > 0 {
            self.own.push((what, first..first + count));
        }
        if taken {
            self.overlaps(what, first);
        }
        Ok(())
    }
    fn overlaps(&mut self, what: &str, cluster: u64) {
        self.found.error(format!(
            "{what}, at cluster {cluster}, is where something else is too: nothing is repaired"
        ));
        self.repair = Repair::Nothing;
    }
    /// Whether tables refer to clusters that are not theirs.
    fn check_own(&mut self) {
        for (what, clusters) in std::mem::take(&mut self.own) {
            if let Some(cluster) = clusters.clone().find(|cluster| self.references.get(*cluster) > 1) {
                self.overlaps(what, cluster);
            }
        }
    }

    /// Counts what an L1 table refers to. Entries that point nowhere are dropped, if that may be.
    fn tree(&mut self, l1: &[u64], whose: &str, active: bool) -> Result<Vec<u64>, BlockError> {
        let image = self.image;
        let mut l1 = l1.to_vec();
        let mut dropped = false;
        for (index, entry) in l1.iter_mut().enumerate() {
            let at = *entry & OFFSET;
            if at == 0 {
                continue;
            }
            let is_start = at.is_multiple_of(image.cluster_bytes());
            let what = format!("the L2 table of {whose} L1 entry {index}, {at:#x},");
            let there = is_start && self.refer(&what, at >> image.cluster_bits, 1)?;
            if !is_start {
                self.found.error(format!("{what} is inside a cluster"));
            }
            if there {
                self.table(at, whose)?;
            } else if self.repair == Repair::All && active {
                *entry = 0;
                dropped = true;
                self.found.errors_repaired += 1;
            }
        }
        if dropped {
            let mut tables = image.tables_mut();
            tables.l1.clone_from(&l1);
            tables.l1_changed();
            tables.forget_slices();
        }
        Ok(l1)
    }
    fn table(&mut self, at: u64, whose: &str) -> Result<(), BlockError> {
        let image = self.image;
        let bits = image.cluster_bits;
        let mut table = image.read_l2(at)?;
        self.entries_left = self.entries_left.checked_sub(table.len() as u64).ok_or_else(|| {
            BlockError::Damaged("its snapshots share more entries than can be checked".into())
        })?;
        let mut dropped = false;
        for (index, raw) in table.iter_mut().enumerate() {
            if *raw == 0 {
                continue;
            }
            let what = format!("{whose} L2 entry {index} of the table at {at:#x}");
            let there = match Entry::read(*raw, image.version, bits) {
                Ok(entry) => {
                    self.count_entry(entry);
                    let run = entry.clusters(bits);
                    self.refer(&what, run.start, run.end - run.start)?
                }
                Err(error) => {
                    self.found.error(format!("{what}: {error}"));
                    false
                }
            };
            if !there && self.repair == Repair::All {
                *raw = 0;
                dropped = true;
                self.found.errors_repaired += 1;
            }
        }
        if dropped {
            image.file.write_at(at, &be_bytes(&table))?;
            image.tables_mut().forget_slices();
        }
        Ok(())
    }
    fn count_entry(&mut self, entry: Entry) {
        let bits = self.image.cluster_bits;
        match entry {
            Entry::Unallocated | Entry::Zero { at: None, .. } => return,
            Entry::Compressed { .. } => {
                self.found.compressed += 1;
                self.found.fragmented += 1;
            }
            Entry::Data { at, .. } | Entry::Zero { at: Some(at), .. } => {
                let cluster = at >> bits;
                self.found.fragmented += u64::from(self.next.is_some_and(|next| next != cluster));
                self.next = Some(cluster + 1);
            }
        }
        self.found.allocated += 1;
    }

    /// Counts the clusters of bitmaps. ("Bitmaps": a directory, of each bitmap a table, of that the clusters.)
    fn bitmaps(&mut self, header: &super::Header) -> Result<(), BlockError> {
        const MOST_DIRECTORY_BYTES: u64 = 16 << 20;
        let file = &*self.image.file;
        let Some((_, fields)) =
            header.extensions.iter().find(|(kind, _)| *kind == super::header::BITMAPS_EXTENSION)
        else {
            return Ok(());
        };
        let (bytes, at) = (be_u64(fields, 8), be_u64(fields, 16));
        let clusters = |bytes: u64| bytes.div_ceil(header.cluster_bytes());
        if bytes > MOST_DIRECTORY_BYTES
            || !self.refer("the bitmaps' directory", at >> header.cluster_bits, clusters(bytes))?
        {
            return Ok(());
        }
        let mut directory = vec![0; bytes as usize];
        file.read_at(at, &mut directory)?;
        let mut entry = directory.as_slice();
        while entry.len() >= 24 {
            let (table_at, entries) = (be_u64(entry, 0), u64::from(be_u32(entry, 8)));
            if self.refer("a bitmap's table", table_at >> header.cluster_bits, clusters(entries * 8))? {
                for raw in super::read_table(file, "a bitmap's table", table_at, entries * 8)? {
                    let at = raw & OFFSET;
                    if at != 0 {
                        self.refer("a bitmap's cluster", at >> header.cluster_bits, 1)?;
                    }
                }
            }
            let name_bytes = usize::from(crate::bytes::be_u16(entry, 18));
            let length = (24 + name_bytes + be_u32(entry, 20) as usize).next_multiple_of(8);
            entry = entry.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    /// Counts the refcount blocks. Those that cannot be are taken out of the table, if they may be made anew.
    fn blocks(&mut self) -> Result<(), BlockError> {
        let image = self.image;
        let table = image.tables().refcounts.table().to_vec();
        for (number, at) in table.into_iter().enumerate() {
            if at == 0 {
                continue;
            }
            let cluster = at >> image.cluster_bits;
            let is_start = at.is_multiple_of(image.cluster_bytes());
            let is_own = is_start && self.references.get(cluster) == 0;
            let there = is_own && self.refer("a refcount block", cluster, 1)?;
            if !is_start {
                self.found.error(format!("refcount block {number} is at {at:#x}, inside a cluster"));
            } else if !is_own {
                self.found
                    .error(format!("refcount block {number} is at {at:#x}, where something else is too"));
            }
            if !there && self.repair == Repair::All {
                image.tables_mut().refcounts.forget_block(number);
                self.found.errors_repaired += 1;
            }
        }
        Ok(())
    }

    /// Compares refcounts with references, and sets them right.
    fn compare(&mut self) -> Result<(), BlockError> {
        let image = self.image;
        let file = &*image.file;
        let (entries, order) = (image.tables().refcounts.block_entries(), image.header().refcount_order);
        let mut wrong: Vec<(u64, u64)> = Vec::new();
        let table = image.tables().refcounts.table().to_vec();
        let is_there = |number: usize| {
            let at = table.get(number).copied().unwrap_or(0);
            at != 0 && at.is_multiple_of(image.cluster_bytes()) && at >> image.cluster_bits < self.file_end
        };
        let there: Vec<bool> = (0..table.len()).map(is_there).collect();
        for (number, at) in table.iter().enumerate().filter(|(number, _)| there.get(*number) == Some(&true)) {
            let mut block = vec![0; image.cluster_bytes() as usize];
            file.read_at(*at, &mut block)?;
            let first = number as u64 * entries;
            for index in 0..entries {
                let (count, wanted) =
                    (count_in(&block, index as usize, order), self.references.get(first + index));
                if count != wanted {
                    self.compare_one(first + index, count, wanted, &mut wrong);
                }
            }
        }
        // What no block counts.
        let is_counted = |cluster: u64| {
            usize::try_from(cluster / entries).is_ok_and(|number| there.get(number) == Some(&true))
        };
        let uncounted: Vec<_> = self.references.all().filter(|(cluster, _)| !is_counted(*cluster)).collect();
        for (cluster, wanted) in uncounted {
            self.compare_one(cluster, 0, wanted, &mut wrong);
        }
        self.set_counts(&wrong)
    }
    fn compare_one(&mut self, cluster: u64, count: u64, wanted: u64, wrong: &mut Vec<(u64, u64)>) {
        let repaired = if count > wanted {
            self.found.leaks += 1;
            self.found
                .say(format!("leak: cluster {cluster} has {wanted} references and a refcount of {count}"));
            let repaired = self.repair >= Repair::Leaks;
            self.found.leaks_repaired += u64::from(repaired);
            repaired
        } else {
            self.found.error(format!("cluster {cluster} has {wanted} references and a refcount of {count}"));
            let repaired = self.repair == Repair::All;
            self.found.errors_repaired += u64::from(repaired);
            repaired
        };
        if repaired {
            wrong.push((cluster, wanted));
        }
    }
    fn set_counts(&mut self, wrong: &[(u64, u64)]) -> Result<(), BlockError> {
        if wrong.is_empty() {
            return Ok(());
        }
        let image = self.image;
        let mut tables = image.tables_mut();
        // New refcount blocks must not go where something is that is not counted.
        let uncounted: Vec<u64> =
            wrong.iter().filter(|(_, wanted)| *wanted > 0).map(|(cluster, _)| *cluster).collect();
        tables.refcounts.hold(&uncounted);
        let set = wrong
            .iter()
            .try_for_each(|(cluster, wanted)| tables.refcounts.set(*cluster, *wanted, &*image.file));
        tables.refcounts.let_go(&uncounted);
        let end = self.references.end() << image.cluster_bits;
        tables.used_up_to(end);
        drop(tables);
        set.and_then(|()| image.commit())
    }

    /// Checks the flags that say which clusters have one reference.
    fn flags(&mut self, l1: &[u64]) -> Result<(), BlockError> {
        let image = self.image;
        let mut wrong = 0;
        for entry in l1 {
            let at = entry & OFFSET;
            let cluster = at >> image.cluster_bits;
            if at == 0 || !at.is_multiple_of(image.cluster_bytes()) || cluster >= self.file_end {
                continue;
            }
            wrong += u64::from((entry & COPIED != 0) != (self.references.get(cluster) == 1));
            for raw in image.read_l2(at)? {
                let Ok(entry) = Entry::read(raw, image.version, image.cluster_bits) else { continue };
                if let Entry::Data { at, copied } | Entry::Zero { at: Some(at), copied } = entry {
                    wrong += u64::from(copied != (self.references.get(at >> image.cluster_bits) == 1));
                }
            }
        }
        if wrong == 0 {
            return Ok(());
        }
        self.found.errors += wrong;
        self.found.say(format!("error: {wrong} flags say wrongly whether a cluster has one reference"));
        if self.repair == Repair::All && self.found.errors - wrong == self.found.errors_repaired {
            image.update_copied()?;
            self.found.errors_repaired += wrong;
        }
        Ok(())
    }
}

/// Repairs an image that was not closed.
///
/// # Errors
/// The host's, and damage that cannot be repaired.
pub(crate) fn repair_after_crash(image: &Qcow2) -> Result<(), BlockError> {
    let found = image.check(Repair::All)?;
    if found.errors > found.errors_repaired {
        let first = found.messages.into_iter().next().unwrap_or_default();
        return Err(BlockError::Damaged(format!("it was not closed, and cannot be repaired: {first}")));
    }
    Ok(())
}
