//! Zeroes, and what the guest no longer needs.

use super::Qcow2;
use super::entry::Entry;
use crate::block::BlockError;
use std::sync::PoisonError;

/// Zeroes that are written at once.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

impl Qcow2 {
    /// The whole clusters of a range, and the parts before and behind them.
    fn whole_clusters(&self, offset: u64, bytes: u64) -> (u64, u64) {
        let end = offset + bytes;
        // The disk's last cluster is whole where the range has all of it.
        let end_cluster = if end == self.size.load(std::sync::atomic::Ordering::Relaxed) {
            end.div_ceil(self.cluster_bytes())
        } else {
            end >> self.cluster_bits
        };
        (offset.div_ceil(self.cluster_bytes()), end_cluster)
    }

    /// Makes a range that was checked zero.
    pub(super) fn zero_range(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
        let end = offset + bytes;
        let (first, last) = self.whole_clusters(offset, bytes);
        if first >= last {
            return self.write_zeroes_in_part(offset, bytes);
        }
        let (whole_from, whole_to) = (first << self.cluster_bits, (last << self.cluster_bits).min(end));
        self.write_zeroes_in_part(offset, whole_from - offset)?;
        self.write_zeroes_in_part(whole_to, end - whole_to)?;
        // An entry of version 2 cannot say that a cluster is zero.
        let stands_alone = self.backing().is_none();
        if self.version == 2 && !stands_alone {
            return self.write_zeroes_in_part(whole_from, whole_to - whole_from);
        }
        let zero = |entry: Entry| match entry {
            Entry::Unallocated if stands_alone => entry,
            Entry::Zero { at: None, .. } => entry,
            Entry::Zero { .. } if !unmap => entry,
            Entry::Data { at, copied: true } if !unmap && self.version > 2 => {
                Entry::Zero { at: Some(at), copied: true }
            }
            _ if self.version == 2 => Entry::Unallocated,
            _ => Entry::Zero { at: None, copied: false },
        };
        self.replace(first, last, zero)
    }
    /// Writes zeroes where there are none yet.
    fn write_zeroes_in_part(&self, mut offset: u64, mut bytes: u64) -> Result<(), BlockError> {
        let _request = self.request();
        while bytes > 0 {
            let run = self.run(offset, bytes)?;
            let is_zero = match run.entry {
                Entry::Zero { .. } => true,
                Entry::Unallocated => self.backing().is_none_or(|backing| offset >= backing.size()),
                _ => false,
            };
            let count = if is_zero { run.bytes } else { run.bytes.min(ZEROES.len() as u64) };
            if !is_zero {
                self.write_range(offset, ZEROES.get(..count as usize).unwrap_or_default())?;
            }
            offset += count;
            bytes -= count;
        }
        Ok(())
    }

    /// Gives back the whole clusters of a range that was checked. They read as zeroes afterwards.
    pub(super) fn discard_range(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        let (first, last) = self.whole_clusters(offset, bytes);
        let stands_alone = self.backing().is_none();
        if self.version == 2 && !stands_alone {
            // What the backing file has would come to light.
            return Ok(());
        }
        let gone = |entry: Entry| match entry {
            Entry::Unallocated | Entry::Zero { at: None, .. } => entry,
            _ if stands_alone => Entry::Unallocated,
            _ => Entry::Zero { at: None, copied: false },
        };
        self.replace(first, last, gone)
    }

    /// Changes the entries of whole clusters, and gives back what they no longer refer to.
    pub(super) fn replace(
        &self,
        first: u64,
        last: u64,
        with: impl Fn(Entry) -> Entry,
    ) -> Result<(), BlockError> {
        self.replace_in_steps(first, last, |cluster| {
            let _alone = self.alone();
            self.replace_some(cluster, last, &with)
        })
    }
    /// The same for who is alone already.
    pub(super) fn replace_alone(
        &self,
        first: u64,
        last: u64,
        with: impl Fn(Entry) -> Entry,
    ) -> Result<(), BlockError> {
        self.replace_in_steps(first, last, |cluster| self.replace_some(cluster, last, &with))
    }
    /// Goes from `first` to `last` by steps, which say how far they got, and writes tables in between where much waits.
    fn replace_in_steps(
        &self,
        first: u64,
        last: u64,
        step: impl Fn(u64) -> Result<u64, BlockError>,
    ) -> Result<(), BlockError> {
        let mut cluster = first;
        while cluster < last {
            cluster = step(cluster)?;
            self.commit_if_much_waits()?;
        }
        Ok(())
    }
    /// The same for the first of them; how far it got. Nobody else works on the image.
    fn replace_some(&self, first: u64, last: u64, with: &impl Fn(Entry) -> Entry) -> Result<u64, BlockError> {
        let file = &*self.file;
        let mut tables = self.tables_mut();
        let empty = tables.without_table(first)?;
        if empty > 0 && with(Entry::Unallocated) == Entry::Unallocated {
            return Ok(first + empty);
        }
        let end = last.min(first + tables.left_in_slice(first));
        for cluster in first..end {
            let old = tables.get(cluster, file)?;
            let new = with(old);
            if new != old {
                tables.make_l2(cluster, file)?;
                tables.set(cluster, new, file)?;
                if old.clusters(self.cluster_bits) != new.clusters(self.cluster_bits) {
                    tables.refcounts.freed.extend(old.clusters(self.cluster_bits));
                }
            }
        }
        *self.last_unpacked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(end)
    }
}
