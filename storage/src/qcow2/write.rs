//! Writing: in place where the cluster is this image's own, else to a new place.

use super::entry::Entry;
use super::{MOST_NEW_BYTES, Qcow2, Tables};
use crate::block::BlockError;
use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Up to so many bytes are put together in memory, to be written at once.
const MOST_JOINED_BYTES: usize = 256 << 10;

impl Qcow2 {
    /// Writes a range that was checked.
    pub(super) fn write_range(&self, mut offset: u64, mut from: &[u8]) -> Result<(), BlockError> {
        while !from.is_empty() {
            let run = self.run(offset, from.len() as u64)?;
            let done = match run.entry {
                Entry::Data { at, copied: true } => {
                    let at = at + offset % self.cluster_bytes();
                    self.check_no_table(at, run.bytes)?;
                    let piece = from.get(..run.bytes as usize).unwrap_or_default();
                    self.file.write_at(at, piece)?;
                    run.bytes
                }
                entry => {
                    let bytes = run.bytes.min(MOST_NEW_BYTES) as usize;
                    self.write_new(offset, from.get(..bytes).unwrap_or_default(), entry)?
                }
            };
            offset += done;
            from = from.get(done as usize..).unwrap_or_default();
        }
        Ok(())
    }

    /// Refuses to write over tables.
    fn check_no_table(&self, at: u64, bytes: u64) -> Result<(), BlockError> {
        let tables = self.tables();
        let clusters = at >> self.cluster_bits..(at + bytes).div_ceil(self.cluster_bytes());
        for cluster in clusters {
            if tables.is_metadata(cluster) {
                return Err(overlap(cluster << self.cluster_bits));
            }
        }
        Ok(())
    }

    /// Writes to clusters that need a new place, all with entries like `seen`; returns for how many bytes it did.
    /// None, where somebody else has changed the entry in the meantime.
    fn write_new(&self, offset: u64, from: &[u8], seen: Entry) -> Result<u64, BlockError> {
        let first = offset >> self.cluster_bits;
        let left = self.tables().left_in_slice(first);
        let end = (offset + from.len() as u64).div_ceil(self.cluster_bytes()).min(first + left);
        let _claim = self.in_work.claim(first, end);
        let Some(place) = self.new_place(first..end, seen)? else { return Ok(0) };
        let clusters = first..first + (place.clusters.end - place.clusters.start);
        let bytes = (clusters.end << self.cluster_bits).min(offset + from.len() as u64) - offset;
        let from = from.get(..bytes as usize).unwrap_or_default();
        let written = self
            .write_with_surroundings(offset, from, &place, clusters.end)
            .and_then(|()| self.link(clusters, &place, seen));
        if let Err(error) = written {
            if !place.was_kept {
                self.tables_mut().refcounts.release(place.clusters);
            }
            return Err(error);
        }
        Ok(bytes)
    }

    /// A place for these clusters of the disk, or for some of them.
    fn new_place(&self, clusters: Range<u64>, seen: Entry) -> Result<Option<Place>, BlockError> {
        let mut tables = self.tables_mut();
        let file = &*self.file;
        let same = |tables: &mut Tables, cluster: u64| -> Result<bool, BlockError> {
            let now = tables.get(cluster, file)?;
            Ok(match (seen, now) {
                (Entry::Unallocated, Entry::Unallocated) => true,
                (Entry::Zero { at: None, .. }, Entry::Zero { at: None, .. }) => true,
                (Entry::Data { copied: false, .. }, Entry::Data { copied: false, .. }) => true,
                _ => now == seen && cluster == clusters.start,
            })
        };
        let mut end = clusters.start;
        while end < clusters.end && same(&mut tables, end)? {
            end += 1;
        }
        if end == clusters.start {
            return Ok(None);
        }
        tables.make_l2(clusters.start, file)?;
        // A place that is kept for a cluster of zeroes is used.
        if let Entry::Zero { at: Some(at), copied: true } = seen {
            let cluster = at >> self.cluster_bits;
            if tables.is_metadata(cluster) {
                return Err(overlap(at));
            }
            return Ok(Some(Place { clusters: cluster..cluster + 1, is_zero: false, was_kept: true }));
        }
        let taken = tables.refcounts.take(end - clusters.start, file)?;
        if let Some(cluster) = taken.clone().find(|cluster| tables.is_metadata(*cluster)) {
            tables.refcounts.release(taken);
            return Err(BlockError::Damaged(format!(
                "the tables at {:#x} have a refcount of 0: `trimotor img check` says more",
                cluster << self.cluster_bits
            )));
        }
        let is_zero = taken.start << self.cluster_bits >= tables.zero_from;
        tables.used_up_to(taken.end << self.cluster_bits);
        Ok(Some(Place { clusters: taken, is_zero, was_kept: false }))
    }

    /// Writes `from` to its new place, with what was before and behind it in its first and last cluster.
    fn write_with_surroundings(
        &self,
        offset: u64,
        from: &[u8],
        place: &Place,
        end: u64,
    ) -> Result<(), BlockError> {
        let before = offset % self.cluster_bytes();
        let behind_at = offset + from.len() as u64;
        let behind = (end << self.cluster_bits) - behind_at;
        let at = place.clusters.start << self.cluster_bits;
        self.file_bytes.fetch_max(at + before + from.len() as u64, Ordering::Relaxed);
        if before == 0 && behind == 0 {
            return Ok(self.file.write_at(at, from)?);
        }
        // What is behind the disk's end in its last cluster is never read.
        let behind_there = behind.min(self.size.load(Ordering::Relaxed).saturating_sub(behind_at));
        let is_zero = place.is_zero
            && self.is_zero(offset - before, before)?
            && self.is_zero(behind_at, behind_there)?;
        if is_zero {
            return Ok(self.file.write_at(at + before, from)?);
        }
        let mut head = vec![0; before as usize];
        self.read_range(offset - before, &mut head)?;
        let mut tail = vec![0; behind as usize];
        self.read_range(behind_at, tail.get_mut(..behind_there as usize).unwrap_or_default())?;
        if head.len() + from.len() + tail.len() <= MOST_JOINED_BYTES {
            return Ok(self.file.write_at(at, &[&head, from, &tail].concat())?);
        }
        self.file.write_at(at, &head)?;
        self.file.write_at(at + before, from)?;
        Ok(self.file.write_at(at + before + from.len() as u64, &tail)?)
    }
    /// Whether a range within a cluster is known to be zero.
    fn is_zero(&self, offset: u64, bytes: u64) -> Result<bool, BlockError> {
        Ok(bytes == 0
            || match self.run(offset, bytes)?.entry {
                Entry::Unallocated => self.backing().is_none_or(|backing| offset >= backing.size()),
                Entry::Zero { .. } => true,
                _ => false,
            })
    }

    /// Lets the tables point to the new place, and gives the old one back.
    fn link(&self, clusters: Range<u64>, place: &Place, seen: Entry) -> Result<(), BlockError> {
        let mut tables = self.tables_mut();
        let file = &*self.file;
        if !place.was_kept {
            tables.refcounts.settle(place.clusters.clone(), file)?;
        }
        for (cluster, new) in clusters.zip(place.clusters.clone()) {
            let old = tables.get(cluster, file)?;
            tables.set(cluster, Entry::Data { at: new << self.cluster_bits, copied: true }, file)?;
            if !place.was_kept {
                tables.refcounts.freed.extend(old.clusters(self.cluster_bits));
            }
        }
        if matches!(seen, Entry::Compressed { .. }) {
            *self.last_unpacked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Ok(())
    }
}

fn overlap(at: u64) -> BlockError {
    BlockError::Damaged(format!(
        "an L2 entry points to the tables at {at:#x}: `trimotor img check` says more"
    ))
}

/// Where clusters of the disk get to.
struct Place {
    /// Clusters of the file.
    clusters: Range<u64>,
    /// They are all zero.
    is_zero: bool,
    /// They are counted already.
    was_kept: bool,
}
