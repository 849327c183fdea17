//! What `cache=`, `discard=` and `detect-zeroes=` make of requests, whatever the format.

use crate::block::{BlockBackend, BlockError, BlockLimits, Extent};
use crate::options::{CacheMode, DetectZeroes, Discard, ImageOptions};
use crate::qcow2::Qcow2;
use std::sync::Arc;

/// A disk with the policies of its options.
pub(crate) struct Policy {
    disk: Arc<dyn BlockBackend>,
    cache: CacheMode,
    discard: Discard,
    detect_zeroes: DetectZeroes,
}

impl Policy {
    /// `disk` with these policies; itself, if they change nothing.
    pub(crate) fn wrap(disk: Arc<dyn BlockBackend>, options: &ImageOptions) -> Arc<dyn BlockBackend> {
        let ImageOptions { cache, discard, detect_zeroes, .. } = *options;
        if cache != CacheMode::Writethrough && discard == Discard::Unmap && detect_zeroes == DetectZeroes::Off
        {
            return disk;
        }
        Arc::new(Policy { disk, cache, discard, detect_zeroes })
    }
    fn written(&self) -> Result<(), BlockError> {
        if self.cache == CacheMode::Writethrough { self.disk.flush() } else { Ok(()) }
    }
    fn unmaps(&self) -> bool {
        self.discard == Discard::Unmap
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    // A kibibyte at once: the compiler makes vector code of it, and data is told from zeroes early.
    let any = |words: &[[u8; 16]]| words.iter().fold(0, |all, word| all | u128::from_ne_bytes(*word)) != 0;
    !words.chunks(64).any(any) && rest.iter().all(|byte| *byte == 0)
}

impl BlockBackend for Policy {
    fn size(&self) -> u64 {
        self.disk.size()
    }
    fn limits(&self) -> BlockLimits {
        let limits = self.disk.limits();
        BlockLimits { discard_bytes: limits.discard_bytes.filter(|_| self.unmaps()), ..limits }
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.disk.read(offset, into)
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
        if self.detect_zeroes != DetectZeroes::Off && is_zero(from) {
            let unmap = self.detect_zeroes == DetectZeroes::Unmap && self.unmaps();
            self.disk.write_zeroes(offset, from.len() as u64, unmap)?;
        } else {
            self.disk.write(offset, from)?;
        }
        self.written()
    }
    fn flush(&self) -> Result<(), BlockError> {
        // With cache=unsafe the file below is not synced.
        self.disk.flush()
    }
    fn settle(&self) -> Result<(), BlockError> {
        self.disk.settle()
    }
    fn as_qcow2(&self) -> Option<&Qcow2> {
        self.disk.as_qcow2()
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
        self.disk.write_zeroes(offset, bytes, unmap && self.unmaps())?;
        self.written()
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        if self.unmaps() {
            self.disk.discard(offset, bytes)?;
            return self.written();
        }
        crate::block::check_range(offset, bytes, self.disk.size())?;
        if self.disk.limits().read_only { Err(BlockError::ReadOnly) } else { Ok(()) }
    }
    fn extent(&self, offset: u64, bytes: u64) -> Result<Extent, BlockError> {
        self.disk.extent(offset, bytes)
    }
}
