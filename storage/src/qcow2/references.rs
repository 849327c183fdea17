//! References to clusters of a file, as a check finds them in the tables, in memory that grows with what is referred to.

use crate::block::BlockError;
use std::collections::HashMap;
use std::ops::Range;

/// Counts that are kept together.
const CHUNK: usize = 64;
/// Most chunks of counts: 1 GiB of memory, enough for 16 TiB in clusters of 64 KiB.
const MOST_CHUNKS: usize = 4 << 20;

/// References to each cluster of the file, as the tables have them.
#[derive(Default)]
pub(super) struct References {
    chunks: HashMap<u64, [u32; CHUNK]>,
    end: u64,
}

impl References {
    /// Counts a reference to each of these clusters.
    pub(super) fn add(&mut self, run: Range<u64>) -> Result<(), BlockError> {
        for cluster in run {
            self.end = self.end.max(cluster + 1);
            let key = cluster / CHUNK as u64;
            if self.chunks.len() >= MOST_CHUNKS && !self.chunks.contains_key(&key) {
                return Err(BlockError::Damaged(
                    "its tables refer to more places than can be checked".into(),
                ));
            }
            let chunk = self.chunks.entry(key).or_insert([0; CHUNK]);
            if let Some(count) = chunk.get_mut(cluster as usize % CHUNK) {
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }
    /// How many references there are to a cluster.
    pub(super) fn get(&self, cluster: u64) -> u64 {
        let chunk = self.chunks.get(&(cluster / CHUNK as u64));
        chunk.and_then(|chunk| chunk.get(cluster as usize % CHUNK)).map_or(0, |count| u64::from(*count))
    }
    /// Behind the last cluster with a reference.
    pub(super) fn end(&self) -> u64 {
        self.end
    }
    /// All clusters with references, in order, and how many there are.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut keys: Vec<u64> = self.chunks.keys().copied().collect();
        keys.sort_unstable();
        let clusters = keys.into_iter().flat_map(|key| key * CHUNK as u64..(key + 1) * CHUNK as u64);
        clusters.map(|cluster| (cluster, self.get(cluster))).filter(|(_, count)| *count > 0)
    }
}
