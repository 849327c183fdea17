//! The state of a whole machine beside a snapshot of its disk.
//!
//! It stands in the image's own tables, behind the disk's end, where no request of a guest reaches: from the first L1 entry on that
//! the disk does not need. A snapshot that is then made refers to it with all else, and says how long it is; the active tables
//! give it up. ("Qcow2 Image File Format", "Snapshots": the VM state.)
//!
//! A program that ends in between leaves it in the active tables, where it is consistent and in nobody's way; the next state
//! takes its place.

use super::entry::{Entry, OFFSET};
use super::header::MOST_L1_ENTRIES;
use super::{Qcow2, Snapshot};
use crate::block::BlockError;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes that are written at once, at least; whole clusters.
const PIECE: u64 = 1 << 20;

impl Qcow2 {
    /// Where the state begins in the active tables, in bytes of the disk.
    fn vm_state_at(&self) -> u64 {
        let header = self.header();
        header.size.next_multiple_of(header.bytes_of_l1_entry())
    }
    /// Takes a machine's state that is written to it, for the snapshot that is made next.
    ///
    /// # Errors
    /// The image is read-only, or the host fails.
    pub fn write_vm_state(&self) -> Result<VmStateWriter<'_>, BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        self.clear_vm_state()?;
        Ok(VmStateWriter { image: self, piece: Vec::new(), written: 0 })
    }
    /// Gives back the state in the active tables: a snapshot has it, or nobody wants it.
    ///
    /// # Errors
    /// The host's.
    pub fn clear_vm_state(&self) -> Result<(), BlockError> {
        let first = self.vm_state_at() >> self.cluster_bits;
        let end = (self.tables().l1.len() as u64) << (self.cluster_bits - 3);
        if first < end {
            self.replace(first, end, |_| Entry::Unallocated)?;
        }
        Ok(())
    }
    /// Sees that the L1 table reaches as far as this byte.
    fn reach(&self, end: u64) -> Result<(), BlockError> {
        let entry_bytes = self.header().bytes_of_l1_entry();
        let needed = end.div_ceil(entry_bytes);
        if needed <= self.tables().l1.len() as u64 {
            return Ok(());
        }
        if needed > u64::from(MOST_L1_ENTRIES) {
            return Err(BlockError::Unsupported(
                "so large a machine in an image with clusters of this size".into(),
            ));
        }
        let _alone = self.begin_change()?;
        let mut l1 = self.tables().l1.clone();
        // Room for as much again, so that few tables are written anew.
        let state = needed - self.vm_state_at() / entry_bytes;
        let entries = (needed + state).min(u64::from(MOST_L1_ENTRIES));
        l1.resize(entries as usize, 0);
        let size = self.header().size;
        self.replace_l1(l1, size)?;
        self.commit()
    }
    /// Reads the state of a machine that stands beside a snapshot; empty where none does.
    ///
    /// # Errors
    /// The snapshot's table is damaged, or the host fails.
    pub fn read_vm_state(&self, snapshot: &Snapshot) -> Result<VmStateReader<'_>, BlockError> {
        let size = snapshot.disk_bytes.unwrap_or(self.header().size);
        let start = size.checked_next_multiple_of(self.header().bytes_of_l1_entry());
        let end = start.and_then(|start| start.checked_add(snapshot.vm_state_bytes));
        let (Some(start), Some(_)) = (start, end.filter(|end| *end <= i64::MAX as u64)) else {
            return Err(BlockError::Damaged("a snapshot whose machine cannot be so large".into()));
        };
        Ok(VmStateReader {
            image: self,
            l1: self.snapshot_l1(snapshot)?,
            start,
            bytes: snapshot.vm_state_bytes,
            position: 0,
            table: None,
        })
    }
}

/// Takes a state: see [`Qcow2::write_vm_state`].
pub struct VmStateWriter<'a> {
    image: &'a Qcow2,
    /// What is not written yet.
    piece: Vec<u8>,
    written: u64,
}

impl VmStateWriter<'_> {
    /// Writes the rest. How many bytes the state has.
    ///
    /// # Errors
    /// The host's.
    pub fn finish(mut self) -> Result<u64, BlockError> {
        let bytes = self.written + self.piece.len() as u64;
        let whole = self.piece.len().next_multiple_of(self.image.cluster_bytes() as usize);
        self.piece.resize(whole, 0);
        self.write_piece()?;
        Ok(bytes)
    }
    /// Writes whole clusters.
    fn write_piece(&mut self) -> Result<(), BlockError> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let at = self.image.vm_state_at() + self.written;
        self.image.reach(at + self.piece.len() as u64)?;
        {
            let _request = self.image.request();
            self.image.write_range(at, &self.piece)?;
        }
        self.image.commit_if_much_waits()?;
        self.written += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

impl Write for VmStateWriter<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let whole = PIECE.next_multiple_of(self.image.cluster_bytes()) as usize;
        let (now, _) = from.split_at(from.len().min(whole - self.piece.len()));
        self.piece.extend_from_slice(now);
        if self.piece.len() == whole {
            self.write_piece().map_err(io::Error::other)?;
        }
        Ok(now.len())
    }
    /// Nothing: a state counts once its snapshot is made.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a state: see [`Qcow2::read_vm_state`].
pub struct VmStateReader<'a> {
    image: &'a Qcow2,
    l1: Vec<u64>,
    /// Where the state begins, in bytes of the disk.
    start: u64,
    bytes: u64,
    position: u64,
    /// The L2 table that was used last, and its index.
    table: Option<(usize, Vec<u64>)>,
}

impl VmStateReader<'_> {
    /// The entry of the cluster at this byte of the disk.
    fn entry(&mut self, at: u64) -> Result<Entry, BlockError> {
        let image = self.image;
        let cluster = at >> image.cluster_bits;
        let entries = 1 << (image.cluster_bits - 3);
        let index = (cluster / entries) as usize;
        if self.table.as_ref().is_none_or(|(known, _)| *known != index) {
            let table_at = self.l1.get(index).copied().unwrap_or(0) & OFFSET;
            if table_at == 0 {
                return Ok(Entry::Unallocated);
            }
            self.table = Some((index, image.read_l2(table_at)?));
        }
        let table = self.table.as_ref().map(|(_, table)| table.as_slice()).unwrap_or_default();
        let raw = table.get((cluster % entries) as usize).copied().unwrap_or(0);
        Entry::read(raw, image.version, image.cluster_bits)
    }
    /// Reads a piece within a cluster.
    fn read_piece(&mut self, at: u64, into: &mut [u8]) -> Result<(), BlockError> {
        let image = self.image;
        let offset = at % image.cluster_bytes();
        match self.entry(at)? {
            Entry::Unallocated | Entry::Zero { .. } => into.fill(0),
            Entry::Data { at, .. } => {
                image.check_in_file(at)?;
                image.file.read_at(at + offset, into)?;
            }
            entry @ Entry::Compressed { .. } => {
                let cluster = image.unpack(entry)?;
                let there = cluster.get(offset as usize..offset as usize + into.len());
                into.copy_from_slice(there.ok_or_else(|| BlockError::Damaged("a short cluster".into()))?);
            }
        }
        Ok(())
    }
}

impl Read for VmStateReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let at = self.start + self.position;
        let left = self.bytes.saturating_sub(self.position).min(self.image.left_in_cluster(at));
        let count = (into.len() as u64).min(left) as usize;
        let (piece, _) = into.split_at_mut(count);
        if !piece.is_empty() {
            self.read_piece(at, piece).map_err(io::Error::other)?;
            self.position += count as u64;
        }
        Ok(count)
    }
}

impl Seek for VmStateReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        // Behind the end there is nothing, however far.
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?.min(self.bytes);
        Ok(self.position)
    }
}
