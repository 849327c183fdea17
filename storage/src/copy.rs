//! One disk's content to another, and whether two disks have the same.
//!
//! Several threads take stretches of the disk in turn. What is known to be zero is not read, and what is found to be zero
//! is not written to a target that is new.

use crate::block::{BlockBackend, BlockError};
use crate::policy::is_zero;
use crate::qcow2::{self, Qcow2};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Bytes that a thread copies at once.
const STRETCH: u64 = 2 << 20;
/// Zeroes are looked for in units of this many bytes.
const ZERO_UNIT: usize = 4096;

/// How content is copied.
pub struct Copy<'a> {
    /// Where from.
    pub from: &'a dyn BlockBackend,
    /// Where to; it is at least as large.
    pub to: &'a dyn BlockBackend,
    /// The target is zero (or like its backing file) where nothing is written.
    pub is_new: bool,
    /// What the target has where nothing is written, if that is not zero.
    pub backing: Option<&'a dyn BlockBackend>,
    /// The same target, if clusters are to be compressed.
    pub compress: Option<&'a Qcow2>,
    /// Threads.
    pub threads: usize,
    /// Told how many bytes are done, now and then.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Copy<'_> {
    /// Copies, and flushes the target.
    ///
    /// # Errors
    /// A disk's; the target then has any part of the content.
    pub fn run(&self) -> Result<(), BlockError> {
        let stretch = self.compress.map_or(STRETCH, |image| image.cluster_bytes().max(64 << 10));
        in_stretches(self.from.size(), stretch, self.threads, self.progress, &|offset, bytes, buffer| {
            self.stretch(offset, bytes, buffer)
        })?;
        self.to.flush()
    }

    fn stretch(&self, mut offset: u64, bytes: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let end = offset + bytes;
        if let Some(image) = self.compress {
            return self.packed(image, offset, bytes, buffer);
        }
        while offset < end {
            let extent = self.from.extent(offset, end - offset)?;
            let piece = buffer.get_mut(..extent.bytes as usize).unwrap_or_default();
            if extent.is_zero {
                self.zeroes(offset, extent.bytes, piece)?;
            } else {
                self.from.read(offset, piece)?;
                self.data(offset, piece)?;
            }
            offset += extent.bytes;
        }
        Ok(())
    }
    fn zeroes(&self, offset: u64, bytes: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        match self.backing {
            None if self.is_new => Ok(()),
            None => self.to.write_zeroes(offset, bytes, true),
            Some(backing) => {
                read_or_zero(backing, offset, buffer)?;
                if is_zero(buffer) { Ok(()) } else { self.to.write_zeroes(offset, bytes, true) }
            }
        }
    }
    /// Writes data, in runs that are zero (or like the backing file) throughout or nowhere.
    fn data(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        let mut below = Vec::new();
        if let Some(backing) = self.backing {
            below.resize(data.len(), 0);
            read_or_zero(backing, offset, &mut below)?;
        }
        let is_there = |unit: &[u8], at: usize| match self.backing {
            Some(_) => below.get(at..at + unit.len()) == Some(unit),
            None => is_zero(unit),
        };
        let mut start = 0;
        while start < data.len() {
            let unit = |at: usize| data.get(at..(at + ZERO_UNIT).min(data.len())).unwrap_or_default();
            let kind = is_there(unit(start), start);
            let mut end = (start + ZERO_UNIT).min(data.len());
            while end < data.len() && is_there(unit(end), end) == kind {
                end = (end + ZERO_UNIT).min(data.len());
            }
            let at = offset + start as u64;
            match (kind, self.is_new) {
                (true, true) => {}
                (true, false) => self.to.write_zeroes(at, (end - start) as u64, true)?,
                (false, _) => self.to.write(at, data.get(start..end).unwrap_or_default())?,
            }
            start = end;
        }
        Ok(())
    }
    fn packed(&self, image: &Qcow2, offset: u64, bytes: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let cluster = image.cluster_bytes();
        let data = buffer.get_mut(..bytes as usize).unwrap_or_default();
        self.from.read(offset, data)?;
        for (piece, at) in data.chunks(cluster as usize).zip((offset..).step_by(cluster as usize)) {
            let mut whole = Vec::new();
            if (piece.len() as u64) < cluster {
                whole.extend_from_slice(piece);
                whole.resize(cluster as usize, 0);
            }
            let whole = if whole.is_empty() { piece } else { &whole };
            let is_there = match self.backing {
                None => is_zero(whole),
                Some(backing) => {
                    let mut below = vec![0; whole.len()];
                    read_or_zero(backing, at, &mut below)?;
                    below == whole
                }
            };
            if is_there {
                continue;
            }
            match qcow2::pack(whole, image.header().compression)? {
                Some(packed) => image.write_packed(at / cluster, &packed)?,
                None => image.write(at, piece)?,
            }
        }
        Ok(())
    }
}

/// Reads a range of which a part may lie behind the disk, where it is zero.
fn read_or_zero(disk: &dyn BlockBackend, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
    let there = disk.size().saturating_sub(offset).min(into.len() as u64) as usize;
    let (there, behind) = into.split_at_mut(there);
    behind.fill(0);
    if there.is_empty() { Ok(()) } else { disk.read(offset, there) }
}

/// What is done with a stretch: its first byte, its length, and a buffer that is as long.
type Work<'a> = dyn Fn(u64, u64, &mut [u8]) -> Result<(), BlockError> + Sync + 'a;

/// Lets threads work on stretches of a disk in turn; the first error ends all.
fn in_stretches(
    size: u64,
    stretch: u64,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
    work: &Work<'_>,
) -> Result<(), BlockError> {
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let run = || {
        let mut buffer = vec![0; stretch as usize];
        while !failed.load(Ordering::Relaxed) {
            let offset = next.fetch_add(stretch, Ordering::Relaxed);
            if offset >= size {
                break;
            }
            let bytes = stretch.min(size - offset);
            if let Err(error) = work(offset, bytes, &mut buffer) {
                failed.store(true, Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                break;
            }
            progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(size.div_ceil(stretch) as usize) {
            scope.spawn(run);
        }
        run();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Where two disks first differ, in bytes, if they do. What is behind the end of the smaller one counts as zero.
///
/// # Errors
/// A disk's.
pub fn first_difference(
    one: &dyn BlockBackend,
    other: &dyn BlockBackend,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Option<u64>, BlockError> {
    let first = AtomicU64::new(u64::MAX);
    in_stretches(one.size().max(other.size()), STRETCH, threads, progress, &|offset, bytes, buffer| {
        if offset > first.load(Ordering::Relaxed)
            || (known_zero(one, offset, bytes)? && known_zero(other, offset, bytes)?)
        {
            return Ok(());
        }
        let mut second = vec![0; bytes as usize];
        let buffer = buffer.get_mut(..bytes as usize).unwrap_or_default();
        read_or_zero(one, offset, buffer)?;
        read_or_zero(other, offset, &mut second)?;
        if *buffer != *second {
            let at = buffer.iter().zip(&second).position(|(one, other)| one != other).unwrap_or(0);
            first.fetch_min(offset + at as u64, Ordering::Relaxed);
        }
        Ok(())
    })?;
    Ok(Some(first.into_inner()).filter(|at| *at != u64::MAX))
}

/// Whether a range is zero without reading it.
fn known_zero(disk: &dyn BlockBackend, offset: u64, bytes: u64) -> Result<bool, BlockError> {
    let bytes = disk.size().saturating_sub(offset).min(bytes);
    if bytes == 0 {
        return Ok(true);
    }
    let extent = disk.extent(offset, bytes)?;
    Ok(extent.is_zero && extent.bytes == bytes)
}
