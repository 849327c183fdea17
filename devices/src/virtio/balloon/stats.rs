//! Figures of the guest's memory (5.5.6.4): a tag of 16 bits and a value of 64 each.

use std::collections::BTreeMap;

/// Bytes of a figure.
const BYTES: usize = 10;
/// Names of the tags, from 0 on. Those of pages and bytes are in bytes.
const NAMES: [&str; 16] = [
    "swap-in",
    "swap-out",
    "major-faults",
    "minor-faults",
    "free-memory",
    "total-memory",
    "available-memory",
    "disk-caches",
    "hugetlb-allocations",
    "hugetlb-failures",
    "oom-kills",
    "alloc-stalls",
    "async-scans",
    "direct-scans",
    "async-reclaims",
    "direct-reclaims",
];
/// Bytes of a buffer that are looked at.
pub(super) const MOST_BYTES: u64 = 64 * BYTES as u64;

/// The last figures by their tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stats(BTreeMap<u16, u64>);

impl Stats {
    /// What a driver wrote. Tags that nobody knows are left out.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let figure = |entry: &[u8]| {
            let tag = u16::from_le_bytes([entry[0], entry[1]]);
            (tag, u64::from_le_bytes(std::array::from_fn(|i| entry[2 + i])))
        };
        let known = |(tag, _): &(u16, u64)| usize::from(*tag) < NAMES.len();
        Self(bytes.chunks_exact(BYTES).map(figure).filter(known).collect())
    }
    pub(super) fn named(&self) -> Vec<(&'static str, u64)> {
        self.0.iter().filter_map(|(tag, value)| Some((*NAMES.get(usize::from(*tag))?, *value))).collect()
    }
    pub(super) fn save(&self) -> Vec<(u16, u64)> {
        self.0.iter().map(|(tag, value)| (*tag, *value)).collect()
    }
    pub(super) fn restored(state: Vec<(u16, u64)>) -> Option<Self> {
        let rises = state.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let known = state.iter().all(|(tag, _)| usize::from(*tag) < NAMES.len());
        (rises && known).then(|| Self(state.into_iter().collect()))
    }
}
