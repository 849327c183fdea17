//! What an entry of an L2 table says of its cluster. ("Qcow2 Image File Format", "L2 table entry".)

use crate::block::BlockError;

/// The cluster has one reference, so that it may be written in place.
pub(super) const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1 << 0;
/// The offset in an L1 entry, and in an L2 entry that is not compressed.
pub(super) const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;

/// What an L2 entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The backing file has the cluster, or it is zero where there is none.
    Unallocated,
    /// It is zero; a place in the file may be kept for it.
    Zero { at: Option<u64>, copied: bool },
    /// It is in the file.
    Data { at: u64, copied: bool },
    /// It is in the file, compressed: in at most so many bytes.
    Compressed { at: u64, bytes: u64 },
}

impl Entry {
    /// Reads an entry of an image of this version and size of clusters.
    ///
    /// # Errors
    /// It contradicts itself.
    pub(super) fn read(raw: u64, version: u32, cluster_bits: u32) -> Result<Self, BlockError> {
        if raw & COMPRESSED != 0 {
            let offset_bits = 62 - (cluster_bits - 8);
            let at = raw & ((1 << offset_bits) - 1);
            let more_sectors = raw << 2 >> 2 >> offset_bits;
            return Ok(Entry::Compressed { at, bytes: (more_sectors + 1) * 512 - at % 512 });
        }
        let at = raw & OFFSET;
        if at & ((1 << cluster_bits) - 1) != 0 {
            return Err(BlockError::Damaged(format!("an L2 entry points to {at:#x}, inside a cluster")));
        }
        let copied = raw & COPIED != 0;
        Ok(match (version > 2 && raw & ZERO != 0, at) {
            (true, 0) => Entry::Zero { at: None, copied: false },
            (true, at) => Entry::Zero { at: Some(at), copied },
            (false, 0) => Entry::Unallocated,
            (false, at) => Entry::Data { at, copied },
        })
    }
    /// The entry as it stands in a table.
    pub(super) fn raw(self, cluster_bits: u32) -> u64 {
        let flag = |copied| if copied { COPIED } else { 0 };
        match self {
            Entry::Unallocated => 0,
            Entry::Zero { at, copied } => ZERO | at.unwrap_or(0) | flag(copied),
            Entry::Data { at, copied } => at | flag(copied),
            Entry::Compressed { at, bytes } => {
                let more_sectors = (at % 512 + bytes).div_ceil(512).saturating_sub(1);
                COMPRESSED | at | more_sectors << (62 - (cluster_bits - 8))
            }
        }
    }
    /// The clusters of the file that it refers to.
    pub(super) fn clusters(self, cluster_bits: u32) -> std::ops::Range<u64> {
        match self {
            Entry::Unallocated | Entry::Zero { at: None, .. } => 0..0,
            Entry::Zero { at: Some(at), .. } | Entry::Data { at, .. } => {
                at >> cluster_bits..(at >> cluster_bits) + 1
            }
            Entry::Compressed { at, bytes } => at >> cluster_bits..((at + bytes - 1) >> cluster_bits) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were_written() {
        let cases = [
            Entry::Unallocated,
            Entry::Zero { at: None, copied: false },
            Entry::Zero { at: Some(0x50000), copied: true },
            Entry::Data { at: 0x70_0000_0000, copied: true },
            Entry::Data { at: 0x10000, copied: false },
        ];
        for entry in cases {
            assert_eq!(Entry::read(entry.raw(16), 3, 16).expect("an entry"), entry);
        }
        assert!(Entry::read(0x10200, 3, 16).is_err());
    }
    #[test]
    fn compressed_entries_count_sectors() {
        for bits in [9, 12, 16, 21] {
            let entry = Entry::Compressed { at: 0x12345, bytes: 400 };
            let Ok(Entry::Compressed { at, bytes }) = Entry::read(entry.raw(bits), 3, bits) else {
                panic!("{bits}")
            };
            assert_eq!(at, 0x12345);
            // From 0x12345 to the end of the sector that has the last byte.
            assert_eq!(at + bytes, (0x12345u64 + 400).next_multiple_of(512), "clusters of 2^{bits} bytes");
        }
    }
}
