//! What an image has itself goes into the one that it stands on, while both are in use.

use super::Qcow2;
use super::entry::Entry;
use crate::block::{BlockBackend, BlockError, BlockLimits};
use std::io;
use std::sync::{Arc, PoisonError};

/// Bytes that are copied at once.
const STRETCH: u64 = 2 << 20;

impl Qcow2 {
    /// Writes what this image has itself to the one below, and gives it back here. Other requests wait meanwhile.
    ///
    /// `open` opens the image below: to be written (`true`; it is as large as this disk then), or to be read as before. It is closed
    /// before either.
    ///
    /// # Errors
    /// There is none below, it cannot be opened or written, or this image has snapshots, which stand on it as it is. This disk
    /// has its content all the same.
    pub fn commit_to_backing(
        &self,
        open: impl Fn(bool) -> Result<Arc<dyn BlockBackend>, BlockError>,
    ) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        if !self.snapshots()?.is_empty() {
            return Err(BlockError::Refused(
                "it has snapshots, which stand on the image below as that is now: delete them first (delvm)"
                    .into(),
            ));
        }
        let _alone = self.alone();
        self.commit()?;
        let Some(size) = self.backing().map(|backing| backing.size()) else {
            return Err(BlockError::Refused(
                "it stands on no other image: there is nothing to commit".into(),
            ));
        };
        // Its file is closed by that, so that it can be locked for writing.
        self.set_backing_disk(Arc::new(Closed { size }));
        let written = open(true).and_then(|below| {
            self.copy_own_to(&*below)?;
            below.settle()
        });
        self.set_backing_disk(open(false)?);
        written?;
        let end = self.size().div_ceil(self.cluster_bytes());
        self.replace_alone(0, end, |_| Entry::Unallocated)?;
        self.commit()
    }
    fn set_backing_disk(&self, disk: Arc<dyn BlockBackend>) {
        *self.backing.write().unwrap_or_else(PoisonError::into_inner) = Some(disk);
    }
    /// Copies what this image has itself.
    fn copy_own_to(&self, below: &dyn BlockBackend) -> Result<(), BlockError> {
        let (size, mut offset) = (self.size(), 0);
        let mut buffer = vec![0; STRETCH as usize];
        while offset < size {
            let wanted = STRETCH.min(size - offset);
            let run = self.run(offset, wanted)?;
            match run.entry {
                Entry::Unallocated => {}
                Entry::Zero { .. } => below.write_zeroes(offset, run.bytes, true)?,
                Entry::Data { .. } | Entry::Compressed { .. } => {
                    let (piece, _) = buffer.split_at_mut(run.bytes as usize);
                    self.read_range(offset, piece)?;
                    below.write(offset, piece)?;
                }
            }
            offset += run.bytes;
        }
        below.flush()
    }
}

/// Stands where an image below is closed: nothing may be taken for its content.
struct Closed {
    size: u64,
}

impl BlockBackend for Closed {
    fn size(&self) -> u64 {
        self.size
    }
    fn limits(&self) -> BlockLimits {
        BlockLimits { read_only: true, preferred_bytes: 512, discard_bytes: None }
    }
    fn read(&self, _: u64, _: &mut [u8]) -> Result<(), BlockError> {
        Err(BlockError::Host(io::Error::other("the image below could not be opened again")))
    }
    fn write(&self, _: u64, _: &[u8]) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }
    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
    fn write_zeroes(&self, _: u64, _: u64, _: bool) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }
    fn discard(&self, _: u64, _: u64) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }
}
