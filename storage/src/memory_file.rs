//! A file in memory, for tests and for images that are handed in as bytes.

use crate::file::ImageFile;
use std::io;
use std::sync::{PoisonError, RwLock};

/// A file in memory that grows up to a bound.
#[derive(Debug)]
pub struct MemoryFile {
    content: RwLock<Vec<u8>>,
    most_bytes: u64,
    is_device: bool,
}

impl MemoryFile {
    /// A file with this content that may grow to `most_bytes` bytes.
    pub fn new(content: Vec<u8>, most_bytes: u64) -> Self {
        Self { content: RwLock::new(content), most_bytes, is_device: false }
    }
    /// What is like a block device: it keeps its length, and what was there before.
    pub fn device(content: Vec<u8>) -> Self {
        let most_bytes = content.len() as u64;
        Self { content: RwLock::new(content), most_bytes, is_device: true }
    }
    /// A copy of its content.
    pub fn content(&self) -> Vec<u8> {
        self.content.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Lets `change` work on the bytes of a range, with the file grown to hold it.
    fn change(&self, offset: u64, bytes: u64, change: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let end = offset.checked_add(bytes).filter(|end| *end <= self.most_bytes);
        let end = end.ok_or(io::ErrorKind::StorageFull)? as usize;
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        if content.len() < end {
            content.resize(end, 0);
        }
        change(&mut content[offset as usize..end]);
        Ok(())
    }
}

impl ImageFile for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.content.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }
    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.most_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.is_device {
            return Ok(());
        }
        self.content.write().unwrap_or_else(PoisonError::into_inner).resize(bytes as usize, 0);
        Ok(())
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let count = into.len().min(content.len() - start);
        into[..count].copy_from_slice(&content[start..start + count]);
        into[count..].fill(0);
        Ok(())
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.change(offset, from.len() as u64, |range| range.copy_from_slice(from))
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn zero_at(&self, offset: u64, bytes: u64, _unmap: bool) -> io::Result<()> {
        self.change(offset, bytes, |range| range.fill(0))
    }
    fn hole_at(&self, _offset: u64, bytes: u64) -> io::Result<(bool, u64)> {
        Ok((false, bytes))
    }
    fn identity(&self) -> Option<(u64, u64)> {
        None
    }
    fn grows_with_zeroes(&self) -> bool {
        !self.is_device
    }
    fn used_bytes(&self) -> Option<u64> {
        self.bytes().ok()
    }
}
