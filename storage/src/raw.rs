//! Raw images: the disk's content byte for byte, in a file or on a block device of the host.
//!
//! What was never written is a hole in the file and takes no space; discarded ranges become holes again.

use crate::block::{BlockBackend, BlockError, BlockLimits, Extent, check_range};
use crate::file::ImageFile;
use crate::probe;
use std::sync::Arc;

/// Bytes at the start in which formats have their marks.
const HEAD: usize = 512;
/// Smallest piece of a file that a file system gives back, on those in use.
const HOLE_BYTES: u32 = 4096;

/// A raw image.
pub struct RawImage {
    file: Arc<dyn ImageFile>,
    size: u64,
    read_only: bool,
    /// Nobody said that it is raw, so that the guest must not make it look like anything else.
    guarded: bool,
}

impl RawImage {
    /// The image in `file`. A length that is no multiple of 512 is rounded up; the rest reads as zeroes.
    ///
    /// # Errors
    /// The host's.
    pub fn open(file: Arc<dyn ImageFile>, read_only: bool) -> Result<Self, BlockError> {
        let size = file.bytes()?.checked_next_multiple_of(512);
        let size = size.ok_or_else(|| BlockError::Damaged("its size is absurd".into()))?;
        Ok(Self { file, size, read_only, guarded: false })
    }
    /// The same image, whose format was only guessed: writes that would make it look like another format are
    /// refused, since the next guess would be wrong.
    pub fn guarded(self) -> Self {
        Self { guarded: true, ..self }
    }
    fn check_write(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_range(offset, bytes, self.size)
    }
}

impl BlockBackend for RawImage {
    fn size(&self) -> u64 {
        self.size
    }
    fn limits(&self) -> BlockLimits {
        BlockLimits { read_only: self.read_only, preferred_bytes: 4096, discard_bytes: Some(HOLE_BYTES) }
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        check_range(offset, into.len() as u64, self.size)?;
        Ok(self.file.read_at(offset, into)?)
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
        self.check_write(offset, from.len() as u64)?;
        if self.guarded && offset < HEAD as u64 {
            let mut head = [0; HEAD];
            self.file.read_at(0, &mut head)?;
            let at = offset as usize;
            let count = from.len().min(HEAD - at);
            head[at..at + count].copy_from_slice(&from[..count]);
            if let Some(format) = probe::by_head(&head) {
                return Err(BlockError::WouldLookLike(format));
            }
        }
        Ok(self.file.write_at(offset, from)?)
    }
    fn flush(&self) -> Result<(), BlockError> {
        if self.read_only {
            return Ok(());
        }
        Ok(self.file.sync()?)
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
        self.check_write(offset, bytes)?;
        Ok(self.file.zero_at(offset, bytes, unmap)?)
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        self.check_write(offset, bytes)?;
        Ok(self.file.zero_at(offset, bytes, true)?)
    }
    fn extent(&self, offset: u64, bytes: u64) -> Result<Extent, BlockError> {
        check_range(offset, bytes, self.size)?;
        let (hole, bytes) = self.file.hole_at(offset, bytes)?;
        Ok(Extent {
            bytes,
            is_zero: hole,
            has_data: !hole,
            is_here: true,
            depth: 0,
            at: Some(offset),
            compressed: false,
        })
    }
}
