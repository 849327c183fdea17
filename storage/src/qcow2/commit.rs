//! Commits: the tables get into the file, in an order that leaves it consistent whenever this program ends.
//!
//! The order is in the module's lesson ([`super`]). What is written is copied under the tables' lock; syncs and writes
//! happen without it, so that other requests go on.

use super::header::{AUTOCLEAR_AT, DIRTY, INCOMPATIBLE_AT};
use super::refcounts::{Changes, Patch};
use super::tables::{MOST_DIRTY_SLICES, TableChanges};
use super::{MOST_FREED, Qcow2};
use crate::block::BlockError;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// All that one commit writes, in its order.
struct Batch {
    counts_up: Changes,
    tables: TableChanges,
    counts_down: Changes,
    /// Clusters that nothing refers to afterwards.
    unused: Vec<u64>,
}

impl Qcow2 {
    /// Commits if much waits in memory.
    pub(super) fn commit_if_much_waits(&self) -> Result<(), BlockError> {
        let much = {
            let tables = self.tables();
            tables.dirty_slices() > MOST_DIRTY_SLICES
                || tables.refcounts.freed.len() > MOST_FREED
                || tables.refcounts.has_many_changes()
        };
        if much { self.commit() } else { Ok(()) }
    }

    /// Writes the tables, if they have changed; all is safe on the host's disk afterwards.
    pub(super) fn commit(&self) -> Result<(), BlockError> {
        let _commit = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.tables().has_changes() {
            return Ok(self.file.sync()?);
        }
        self.mark_in_use()?;
        let batch = self.take_batch()?;
        let written = self.write_batch(&batch);
        let mut tables = self.tables_mut();
        let done = written.is_ok();
        tables.refcounts.changes_written(&batch.counts_up, done);
        tables.changes_written(&batch.tables, done);
        tables.refcounts.changes_written(&batch.counts_down, done);
        if done {
            tables.refcounts.let_go(&batch.unused);
        }
        written
    }

    fn take_batch(&self) -> Result<Batch, BlockError> {
        let mut tables = self.tables_mut();
        let counts_up = tables.refcounts.take_changes();
        let changes = tables.take_changes()?;
        let unused = tables.refcounts.apply_freed(&*self.file)?;
        let counts_down = tables.refcounts.take_changes();
        Ok(Batch { counts_up, tables: changes, counts_down, unused })
    }

    fn write_batch(&self, batch: &Batch) -> Result<(), BlockError> {
        let file = &*self.file;
        if self.file.grows_with_zeroes() {
            // Under the lock, and to what is in use now: else what others write behind it meanwhile would be cut off.
            let tables = self.tables_mut();
            if file.bytes()? < tables.end {
                file.set_bytes(tables.end)?;
            }
        }
        let ordered = self.version == 2;
        if !ordered {
            file.sync()?;
        }
        self.write_counts(&batch.counts_up)?;
        if ordered {
            file.sync()?;
        }
        self.write_patches(&batch.tables.l2)?;
        self.write_patches(&batch.tables.l1)?;
        if ordered {
            file.sync()?;
        }
        self.write_counts(&batch.counts_down)?;
        file.sync()?;
        // The space of what is not used any more goes back to the host. It is only now that nothing points there.
        for run in batch.unused.chunk_by(|one, next| one + 1 == *next) {
            if let Some(first) = run.first() {
                let bytes = (run.len() as u64) << self.cluster_bits;
                // Where the host cannot, the space stays in use.
                let _ = file.zero_at(first << self.cluster_bits, bytes, true);
            }
        }
        Ok(())
    }
    fn write_counts(&self, counts: &Changes) -> Result<(), BlockError> {
        self.write_patches(&counts.blocks)?;
        self.write_patches(&counts.table)?;
        self.write_patches(counts.header.as_slice())
    }
    fn write_patches(&self, patches: &[Patch]) -> Result<(), BlockError> {
        Ok(patches.iter().try_for_each(|(at, bytes)| self.file.write_at(*at, bytes))?)
    }

    /// Notes in the header that refcounts may be wrong from now on, and that bitmaps are out of date.
    pub(super) fn mark_in_use(&self) -> Result<(), BlockError> {
        if self.version == 2 || self.is_marked.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.set_marks(true)
    }
    fn set_marks(&self, in_use: bool) -> Result<(), BlockError> {
        let mut header = self.header.write().unwrap_or_else(PoisonError::into_inner);
        let incompatible = if in_use { header.incompatible | DIRTY } else { header.incompatible & !DIRTY };
        self.file.write_at(INCOMPATIBLE_AT, &incompatible.to_be_bytes())?;
        if header.autoclear != 0 {
            self.file.write_at(AUTOCLEAR_AT, &0u64.to_be_bytes())?;
        }
        self.file.sync()?;
        header.incompatible = incompatible;
        header.autoclear = 0;
        self.is_marked.store(in_use, Ordering::Relaxed);
        Ok(())
    }

    /// Writes all that waits and takes the mark out of the header.
    ///
    /// # Errors
    /// The host cannot; the image is consistent all the same.
    pub fn close(&self) -> Result<(), BlockError> {
        if self.read_only {
            return Ok(());
        }
        self.commit()?;
        if self.is_marked.load(Ordering::Relaxed) && self.version > 2 {
            self.set_marks(false)
        } else {
            Ok(())
        }
    }
}
