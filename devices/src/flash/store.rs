//! What of a flash chip's content is yet to be written to its file, shared by the device and the worker that writes it.

use super::BLOCK_BYTES;
use crate::drive::Medium;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_storage::BlockError;

/// Blocks on their way to the file.
#[derive(Default)]
struct Pending {
    blocks: BTreeMap<u32, Vec<u8>>,
    /// A worker has written before: this machine's requests are carried out, and not taken from a log.
    carried_out: bool,
}

/// The way to the file.
pub(super) struct Store {
    medium: Medium,
    pending: Mutex<Pending>,
}

impl Store {
    pub(super) fn new(medium: Medium) -> Arc<Self> {
        Arc::new(Self { medium, pending: Mutex::default() })
    }
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A block's new content. What was to be written of it before is forgotten.
    pub(super) fn put(&self, block: u32, content: &[u8]) {
        self.pending().blocks.insert(block, content.to_vec());
    }
    /// Writes all that waits, and sees that the host keeps it. What fails waits on.
    pub(super) fn write(&self) -> Result<(), BlockError> {
        let mut pending = self.pending();
        pending.carried_out = true;
        if pending.blocks.is_empty() {
            return Ok(());
        }
        while let Some((block, content)) = pending.blocks.first_key_value() {
            self.medium.write(u64::from(*block) * u64::from(BLOCK_BYTES), content)?;
            pending.blocks.pop_first();
        }
        self.medium.flush()
    }
    /// The machine ends: writes what came after the last worker was done.
    pub(super) fn finish(&self) -> Result<(), BlockError> {
        if self.pending().carried_out { self.write() } else { Ok(()) }
    }
}
