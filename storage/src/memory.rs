//! A disk in the host's memory: for tests, and for what is thrown away at the end of a run.

use crate::block::{BlockBackend, BlockError, BlockLimits, check_range};
use std::sync::{PoisonError, RwLock};

/// A disk in the host's memory.
#[derive(Debug)]
pub struct MemoryDisk {
    content: RwLock<Vec<u8>>,
    read_only: bool,
}

impl MemoryDisk {
    /// A disk with this content, rounded up to whole sectors of 512 bytes with zeroes.
    pub fn new(mut content: Vec<u8>) -> Self {
        content.resize(content.len().next_multiple_of(512), 0);
        Self { content: RwLock::new(content), read_only: false }
    }
    /// The same disk, read-only.
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }
    /// A copy of its content.
    pub fn content(&self) -> Vec<u8> {
        self.content.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn change(&self, offset: u64, bytes: u64, with: impl FnOnce(&mut [u8])) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        check_range(offset, bytes, content.len() as u64)?;
        with(&mut content[offset as usize..(offset + bytes) as usize]);
        Ok(())
    }
}

impl BlockBackend for MemoryDisk {
    fn size(&self) -> u64 {
        self.content.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }
    fn limits(&self) -> BlockLimits {
        BlockLimits { read_only: self.read_only, preferred_bytes: 512, discard_bytes: None }
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        check_range(offset, into.len() as u64, content.len() as u64)?;
        into.copy_from_slice(&content[offset as usize..][..into.len()]);
        Ok(())
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
        self.change(offset, from.len() as u64, |range| range.copy_from_slice(from))
    }
    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, _unmap: bool) -> Result<(), BlockError> {
        self.change(offset, bytes, |range| range.fill(0))
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        self.change(offset, bytes, |_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_ranges_are_checked() {
        let disk = MemoryDisk::new(vec![7; 700]);
        assert_eq!(disk.size(), 1024);
        disk.write(690, &[1, 2, 3]).expect("in range");
        let mut read = [0; 15];
        disk.read(688, &mut read).expect("in range");
        assert_eq!(read, [7, 7, 1, 2, 3, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0]);
        for offset in [1023, 1024, u64::MAX] {
            assert!(matches!(disk.read(offset, &mut [0; 2]), Err(BlockError::OutOfRange { .. })));
            assert!(matches!(disk.write(offset, &[0; 2]), Err(BlockError::OutOfRange { .. })));
        }
        disk.write_zeroes(0, 1024, true).expect("in range");
        assert_eq!(disk.content(), vec![0; 1024]);
    }
    #[test]
    fn a_read_only_disk_refuses_writes() {
        let disk = MemoryDisk::new(vec![7; 512]).read_only();
        assert!(matches!(disk.write(0, &[1]), Err(BlockError::ReadOnly)));
        assert!(matches!(disk.write_zeroes(0, 1, false), Err(BlockError::ReadOnly)));
        assert!(matches!(disk.discard(0, 1), Err(BlockError::ReadOnly)));
        assert_eq!(disk.content(), vec![7; 512]);
    }
}
