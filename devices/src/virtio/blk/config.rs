//! What a disk says of itself: features and configuration (5.2.3, 5.2.4).

use super::{Blk, MOST_RANGE_SECTORS, MOST_RANGES, SECTOR, feature};
use trimotor_storage::BlockLimits;

/// Where the byte is by which the driver switches the write cache.
pub(super) const WRITE_BACK: usize = 32;
/// Bytes of the configuration, up to where the fields of writes of zeroes end.
const BYTES: usize = 60;
/// Heads and sectors of a track, as large disks have them.
const HEADS: u8 = 16;
const TRACK_SECTORS: u8 = 63;

impl Blk {
    fn limits(&self) -> BlockLimits {
        let none = BlockLimits { read_only: true, preferred_bytes: 512, discard_bytes: None };
        self.drive.medium().map_or(none, |medium| medium.limits())
    }
    /// The features of a disk.
    pub(super) fn offered(&self) -> u64 {
        let limits = self.limits();
        let mut features =
            feature::SEG_MAX | feature::GEOMETRY | feature::BLK_SIZE | feature::FLUSH | feature::TOPOLOGY;
        features |= feature::CONFIG_WCE;
        if self.queues > 1 {
            features |= feature::MQ;
        }
        if limits.read_only {
            return features | feature::RO;
        }
        features |= feature::WRITE_ZEROES;
        if self.drive.config().discard && limits.discard_bytes.is_some() {
            features |= feature::DISCARD;
        }
        features
    }
    pub(super) fn config_bytes(&self, features: u64) -> Vec<u8> {
        let limits = self.limits();
        let cylinders = (self.capacity / (u64::from(HEADS) * u64::from(TRACK_SECTORS))).min(0xFFFF);
        // In which units the host reads and writes best: a disk's physical sector has 4 KiB at most.
        let preferred = limits.preferred_bytes.max(512);
        let exponent = (preferred.min(4096) / 512).ilog2();
        let best = if preferred >= 4096 { preferred / 512 } else { 0 };
        let discard = limits.discard_bytes.map_or(1, |bytes| (bytes / 512).max(1));
        let mut config = vec![0; BYTES];
        let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.capacity.to_le_bytes());
        // A request has a header and a status beside its data.
        put(12, &u32::from(self.queue_size.saturating_sub(2).max(1)).to_le_bytes());
        put(16, &(cylinders as u16).to_le_bytes());
        put(18, &[HEADS, TRACK_SECTORS]);
        put(20, &(SECTOR as u32).to_le_bytes());
        put(24, &[exponent as u8, 0]);
        put(26, &(1u16 << exponent).to_le_bytes());
        put(28, &best.to_le_bytes());
        put(WRITE_BACK, &[u8::from(self.may_keep_back(features | feature::CONFIG_WCE))]);
        put(34, &self.queues.to_le_bytes());
        put(36, &MOST_RANGE_SECTORS.to_le_bytes());
        put(40, &MOST_RANGES.to_le_bytes());
        put(44, &discard.to_le_bytes());
        put(48, &MOST_RANGE_SECTORS.to_le_bytes());
        put(52, &MOST_RANGES.to_le_bytes());
        put(56, &[u8::from(self.drive.config().discard)]);
        config
    }
}
