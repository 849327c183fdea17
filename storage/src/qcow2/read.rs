//! Reading: which places of the file, or of the backing file, a range of the disk is in.

use super::Qcow2;
use super::entry::Entry;
use crate::block::{BlockError, Extent};
use std::sync::Arc;

/// A stretch of the disk that is in one piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The entry of its first cluster.
    pub(super) entry: Entry,
    /// Its length in bytes.
    pub(super) bytes: u64,
}

impl Qcow2 {
    /// What is known of the disk from `offset` on, for at most `bytes` bytes.
    pub(super) fn run(&self, offset: u64, bytes: u64) -> Result<Run, BlockError> {
        if let Some(run) = self.cached_run(offset, bytes)? {
            return Ok(run);
        }
        self.tables_mut().load(offset >> self.cluster_bits, &*self.file)?;
        match self.cached_run(offset, bytes)? {
            Some(run) => Ok(run),
            // Others have displaced it meanwhile.
            None => {
                let entry = self.tables_mut().get(offset >> self.cluster_bits, &*self.file)?;
                Ok(Run { entry, bytes: bytes.min(self.left_in_cluster(offset)) })
            }
        }
    }
    /// Bytes from `offset` to the end of its cluster.
    pub(super) fn left_in_cluster(&self, offset: u64) -> u64 {
        self.cluster_bytes() - offset % self.cluster_bytes()
    }
    /// The same, if the entries are in memory.
    fn cached_run(&self, offset: u64, bytes: u64) -> Result<Option<Run>, BlockError> {
        let tables = self.tables();
        let cluster = offset >> self.cluster_bits;
        let Some(entry) = tables.cached(cluster)? else { return Ok(None) };
        let mut run = self.left_in_cluster(offset);
        let mut next = cluster + 1;
        while run < bytes {
            let Some(other) = tables.cached(next)? else { break };
            if !follows(entry, other, (next - cluster) << self.cluster_bits) {
                break;
            }
            // Large empty disks have long stretches without any table.
            let clusters = tables.without_table(next)?.max(1);
            run = run.saturating_add(clusters << self.cluster_bits);
            next += clusters;
        }
        Ok(Some(Run { entry, bytes: run.min(bytes) }))
    }

    /// Reads a range that was checked.
    pub(super) fn read_range(&self, mut offset: u64, mut into: &mut [u8]) -> Result<(), BlockError> {
        while !into.is_empty() {
            let run = self.run(offset, into.len() as u64)?;
            let (piece, _) = into.split_at_mut(run.bytes as usize);
            match run.entry {
                Entry::Unallocated => self.read_backing(offset, piece)?,
                Entry::Zero { .. } => piece.fill(0),
                Entry::Data { at, .. } => {
                    let at = at + offset % self.cluster_bytes();
                    self.check_in_file(at)?;
                    self.file.read_at(at, piece)?;
                }
                Entry::Compressed { .. } => {
                    let Some(bytes) = self.unpack_now(offset, run.entry)? else { continue };
                    let start = (offset % self.cluster_bytes()) as usize;
                    piece.copy_from_slice(bytes.get(start..start + piece.len()).unwrap_or_default());
                }
            }
            offset += run.bytes;
            into = into.split_at_mut(run.bytes as usize).1;
        }
        Ok(())
    }
    /// The content of a compressed cluster; none where a write has given it another place in the meantime.
    fn unpack_now(&self, offset: u64, entry: Entry) -> Result<Option<Arc<Vec<u8>>>, BlockError> {
        match self.unpack(entry) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) if self.run(offset, 1)?.entry != entry => Ok(None),
            Err(error) => Err(error),
        }
    }
    /// Reads what the image does not have.
    pub(super) fn read_backing(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        let Some(backing) = self.backing() else {
            into.fill(0);
            return Ok(());
        };
        let there = backing.size().saturating_sub(offset).min(into.len() as u64);
        let (there, behind) = into.split_at_mut(there as usize);
        behind.fill(0);
        if there.is_empty() { Ok(()) } else { backing.read(offset, there) }
    }

    /// What a request for extents is told.
    pub(super) fn extent_at(&self, offset: u64, bytes: u64) -> Result<Extent, BlockError> {
        let run = self.run(offset, bytes)?;
        let here = Extent {
            bytes: run.bytes,
            is_zero: false,
            has_data: true,
            is_here: true,
            depth: 0,
            at: None,
            compressed: false,
        };
        Ok(match run.entry {
            Entry::Zero { at: None, .. } => Extent { is_zero: true, has_data: false, ..here },
            Entry::Zero { at: Some(at), .. } => {
                let at = Some(at + offset % self.cluster_bytes());
                Extent { is_zero: true, has_data: false, at, ..here }
            }
            Entry::Data { at, .. } => Extent { at: Some(at + offset % self.cluster_bytes()), ..here },
            Entry::Compressed { .. } => Extent { compressed: true, ..here },
            Entry::Unallocated => {
                let nowhere = Extent { is_zero: true, has_data: false, is_here: false, ..here };
                let Some(backing) = self.backing() else { return Ok(nowhere) };
                let there = backing.size().saturating_sub(offset).min(run.bytes);
                if there == 0 {
                    return Ok(nowhere);
                }
                let below = backing.extent(offset, there)?;
                Extent { depth: below.depth + 1, ..below }
            }
        })
    }
}

/// Whether the entry of a cluster that lies `distance` bytes behind another's goes on in one piece.
fn follows(first: Entry, other: Entry, distance: u64) -> bool {
    match (first, other) {
        (Entry::Unallocated, Entry::Unallocated) => true,
        (Entry::Zero { at: None, .. }, Entry::Zero { at: None, .. }) => true,
        (Entry::Zero { at: Some(at), copied }, Entry::Zero { at: Some(other), copied: other_copied })
        | (Entry::Data { at, copied }, Entry::Data { at: other, copied: other_copied }) => {
            copied == other_copied && at.checked_add(distance) == Some(other)
        }
        _ => false,
    }
}
