//! Changes to an image as a whole: its size, and the backing file that it stands on.

use super::Qcow2;
use super::entry::Entry;
use super::header::MOST_L1_ENTRIES;
use crate::block::{BlockBackend, BlockError};
use crate::probe::Format;
use std::sync::PoisonError;

impl Qcow2 {
    /// Gives the disk another size. What is new reads as zeroes; what is cut off is gone.
    ///
    /// # Errors
    /// The size is impossible, or the host fails.
    pub fn resize(&self, size: u64) -> Result<(), BlockError> {
        let size = size.checked_next_multiple_of(512).filter(|size| *size <= i64::MAX as u64 - 511);
        let size = size.ok_or_else(|| BlockError::Unsupported("a disk of this size".into()))?;
        let old = self.size();
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        // Nothing that stands behind the old end may become a part of the disk.
        self.clear_vm_state()?;
        if size < old {
            self.cut(size, old)?;
        }
        {
            let _alone = self.begin_change()?;
            let needed = size.div_ceil(self.header().bytes_of_l1_entry());
            if needed > u64::from(MOST_L1_ENTRIES) {
                return Err(BlockError::Unsupported(format!(
                    "a disk of {size} bytes with clusters of this size"
                )));
            }
            let mut l1 = self.tables().l1.clone();
            l1.resize(l1.len().max(needed as usize), 0);
            self.replace_l1(l1, size)?;
            self.commit()?;
        }
        // The rest of what was the last cluster, and what the backing file has there.
        let end = self
            .backing()
            .map_or(0, |backing| backing.size())
            .max(old.next_multiple_of(self.cluster_bytes()));
        let end = end.min(size);
        if end > old {
            self.zero_range(old, end - old, true)?;
        }
        self.commit()
    }
    /// Gives back what lies behind a new end.
    fn cut(&self, size: u64, old: u64) -> Result<(), BlockError> {
        let first = size.div_ceil(self.cluster_bytes());
        let end = old.div_ceil(self.cluster_bytes());
        let part = (first << self.cluster_bits).min(old) - size;
        if part > 0 {
            self.zero_range(size, part, true)?;
        }
        self.replace(first, end, |_| Entry::Unallocated)
    }

    /// Gives back all clusters, so that the backing file shows through everywhere.
    ///
    /// # Errors
    /// The host's.
    pub fn make_empty(&self) -> Result<(), BlockError> {
        self.replace(0, self.size().div_ceil(self.cluster_bytes()), |_| Entry::Unallocated)?;
        self.commit()
    }

    /// Notes another backing file in the header, or none. What the disk then has is the caller's matter.
    ///
    /// # Errors
    /// The name does not fit into the header, or the host fails.
    pub fn set_backing(&self, backing: Option<(&str, Format)>) -> Result<(), BlockError> {
        let _alone = self.begin_change()?;
        let mut header = self.header.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = header.clone();
        new.backing = backing.map(|(name, _)| name.to_owned());
        new.backing_format = backing.map(|(_, format)| format.name().to_owned());
        let mut bytes = new.to_bytes()?;
        // A longer header must not show its end behind the new one.
        let old = header.to_bytes()?.len();
        bytes.resize(bytes.len().max(old), 0);
        self.file.write_at(0, &bytes)?;
        self.file.sync()?;
        *header = new;
        Ok(())
    }
}
