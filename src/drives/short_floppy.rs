//! Floppy images that are shorter than any floppy disk: what was written to a disk's beginning, and no more.
//!
//! Makers of boot floppies leave off what their programs do not use. The disk is the smaller one of 1.44 MB and 2.88 MB
//! that has room; behind the image's end it reads as zeroes, and cannot be written.

use trimotor_machine::Medium;
use trimotor_storage::block::check_range;
use trimotor_storage::{BlockBackend, BlockError, BlockLimits};

/// The disks that short images are written to, in bytes.
const DISKS: [u64; 2] = [1_474_560, 2_949_120];

/// A floppy disk whose image ends early.
pub struct ShortFloppy {
    image: Medium,
    bytes: u64,
}

impl ShortFloppy {
    /// The disk that `image` was made for; nothing where it is larger than all.
    pub fn new(image: Medium) -> Option<Self> {
        let bytes = DISKS.into_iter().find(|bytes| image.size() < *bytes)?;
        Some(Self { image, bytes })
    }
    fn changed(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        check_range(offset, bytes, self.bytes)?;
        match check_range(offset, bytes, self.image.size()) {
            Ok(()) => Ok(()),
            Err(_) => Err(BlockError::Refused(format!(
                "the floppy's image ends at byte {}: copy it to a file of {} bytes to write there",
                self.image.size(),
                self.bytes
            ))),
        }
    }
}

impl BlockBackend for ShortFloppy {
    fn size(&self) -> u64 {
        self.bytes
    }
    fn limits(&self) -> BlockLimits {
        self.image.limits()
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        check_range(offset, into.len() as u64, self.bytes)?;
        let there = self.image.size().saturating_sub(offset).min(into.len() as u64) as usize;
        let (there, behind) = into.split_at_mut(there);
        behind.fill(0);
        if there.is_empty() { Ok(()) } else { self.image.read(offset, there) }
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
        self.changed(offset, from.len() as u64)?;
        self.image.write(offset, from)
    }
    fn flush(&self) -> Result<(), BlockError> {
        self.image.flush()
    }
    fn settle(&self) -> Result<(), BlockError> {
        self.image.settle()
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
        self.changed(offset, bytes)?;
        self.image.write_zeroes(offset, bytes, unmap)
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        self.changed(offset, bytes)?;
        self.image.discard(offset, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use trimotor_storage::MemoryDisk;

    #[test]
    fn a_short_image_reads_as_zeroes_behind_its_end_and_is_not_written_there() {
        let disk = ShortFloppy::new(Arc::new(MemoryDisk::new(vec![7; 1024]))).unwrap();
        assert_eq!(disk.size(), DISKS[0]);
        let mut read = [1; 1024];
        disk.read(512, &mut read).unwrap();
        assert!(read[..512].iter().all(|byte| *byte == 7) && read[512..].iter().all(|byte| *byte == 0));
        disk.read(DISKS[0] - 1024, &mut read).unwrap();
        assert_eq!(read, [0; 1024]);
        assert!(disk.read(DISKS[0] - 512, &mut read).is_err());
        disk.write(512, &[1; 512]).unwrap();
        assert!(matches!(disk.write(1024, &[1; 512]), Err(BlockError::Refused(_))));
        assert!(matches!(disk.write(DISKS[0], &[1; 512]), Err(BlockError::OutOfRange { .. })));
        let large = ShortFloppy::new(Arc::new(MemoryDisk::new(vec![0; 2 << 20]))).unwrap();
        assert_eq!(large.size(), DISKS[1]);
        assert!(ShortFloppy::new(Arc::new(MemoryDisk::new(vec![0; 3 << 20]))).is_none());
    }
}
