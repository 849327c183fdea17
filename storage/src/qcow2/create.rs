//! A new image.

use super::entry::{COPIED, Entry};
use super::header::{Compression, Header, LAZY_REFCOUNTS, MOST_L1_ENTRIES};
use crate::block::BlockError;
use crate::bytes::be_bytes;
use crate::file::ImageFile;
use crate::probe::Format;

/// How a new image is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateOptions {
    /// Bytes of the disk, rounded up to a multiple of 512.
    pub size: u64,
    /// Bytes of a cluster: a power of two from 512 to 2 MiB.
    pub cluster_bytes: u64,
    /// Version 2 (`compat=0.10`) or 3 (`compat=1.1`).
    pub version: u32,
    /// Bits of a refcount: 1, 2, 4, 8, 16, 32 or 64.
    pub refcount_bits: u32,
    /// Refcounts may be updated late.
    pub lazy_refcounts: bool,
    /// How compressed clusters are compressed.
    pub compression: Compression,
    /// The backing file's name and format.
    pub backing: Option<(String, Format)>,
    /// What gets space before it is written.
    pub preallocation: Preallocation,
}

/// What of a new image gets space before it is written (`preallocation=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preallocation {
    /// Nothing.
    #[default]
    Off,
    /// Each cluster has its place in the file, which has holes there.
    Metadata,
    /// All bytes are written with zeroes.
    Full,
}

impl CreateOptions {
    /// What `qemu-img` takes where nothing else is said.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            cluster_bytes: 65536,
            version: 3,
            refcount_bits: 16,
            lazy_refcounts: false,
            compression: Compression::Zlib,
            backing: None,
            preallocation: Preallocation::Off,
        }
    }
    /// The header, without places of tables.
    fn header(&self) -> Result<Header, BlockError> {
        let refuse = |why: String| Err(BlockError::Unsupported(why));
        if !self.cluster_bytes.is_power_of_two() || !(512..=2 << 20).contains(&self.cluster_bytes) {
            return refuse(format!(
                "a cluster size of {}: a power of two from 512 to 2M is",
                self.cluster_bytes
            ));
        }
        if !self.refcount_bits.is_power_of_two() || self.refcount_bits > 64 {
            return refuse(format!(
                "refcounts of {} bits: 1, 2, 4, 8, 16, 32 and 64 are",
                self.refcount_bits
            ));
        }
        let (old, new) = (self.version == 2, self.refcount_bits != 16 || self.lazy_refcounts);
        if old && (new || self.compression != Compression::Zlib) {
            return refuse(
                "that with compat=0.10: refcount_bits, lazy_refcounts and zstd need compat=1.1".into(),
            );
        }
        let mut header = Header {
            version: self.version,
            cluster_bits: self.cluster_bytes.trailing_zeros(),
            size: self.size.checked_next_multiple_of(512).unwrap_or(u64::MAX),
            l1_entries: 0,
            l1_at: 0,
            refcount_table_at: 0,
            refcount_table_clusters: 1,
            snapshots: 0,
            snapshots_at: 0,
            incompatible: 0,
            compatible: if self.lazy_refcounts { LAZY_REFCOUNTS } else { 0 },
            autoclear: 0,
            refcount_order: self.refcount_bits.trailing_zeros(),
            compression: self.compression,
            backing: self.backing.as_ref().map(|(name, _)| name.clone()),
            backing_format: self.backing.as_ref().map(|(_, format)| format.name().to_owned()),
            extensions: Vec::new(),
        };
        let l1_entries = header.size.div_ceil(header.bytes_of_l1_entry());
        if l1_entries > u64::from(MOST_L1_ENTRIES) || header.size > i64::MAX as u64 - 511 {
            return refuse(format!(
                "a disk of {} bytes with clusters of {} bytes",
                self.size, self.cluster_bytes
            ));
        }
        header.l1_entries = l1_entries as u32;
        Ok(header)
    }
}

/// Makes a new image in an empty file; the header is written last.
///
/// # Errors
/// The options contradict each other, or the host cannot write.
pub fn create(file: &dyn ImageFile, options: &CreateOptions) -> Result<(), BlockError> {
    let mut header = options.header()?;
    let cluster = options.cluster_bytes;
    let l1_clusters = (u64::from(header.l1_entries) * 8).div_ceil(cluster);
    let l2_tables =
        if options.preallocation == Preallocation::Off { 0 } else { u64::from(header.l1_entries) };
    let data_clusters = if l2_tables == 0 { 0 } else { header.size.div_ceil(cluster) };
    // The header, the L1 table, L2 tables and data, then the refcounts, which must count themselves.
    let counted = 1 + l1_clusters + l2_tables + data_clusters;
    let entries = cluster * 8 / u64::from(options.refcount_bits);
    let (mut blocks, mut table_clusters) = (1, 1);
    while (counted + blocks + table_clusters).div_ceil(entries) > blocks
        || (blocks * 8).div_ceil(cluster) > table_clusters
    {
        blocks = (counted + blocks + table_clusters).div_ceil(entries);
        table_clusters = (blocks * 8).div_ceil(cluster);
    }
    header.l1_at = cluster;
    let l2_at = cluster * (1 + l1_clusters);
    let data_at = l2_at + cluster * l2_tables;
    header.refcount_table_at = cluster * counted;
    header.refcount_table_clusters = u32::try_from(table_clusters).unwrap_or(u32::MAX);
    if table_clusters * cluster > super::header::MOST_REFCOUNT_TABLE_BYTES {
        return Err(BlockError::Unsupported(
            "a preallocated disk of this size: choose larger clusters".into(),
        ));
    }
    let first = header.to_bytes()?;
    let end = header.refcount_table_at + (table_clusters + blocks) * cluster;
    file.set_bytes(0)?;
    file.set_bytes(end)?;
    if !file.grows_with_zeroes() {
        // A block device has what was there before.
        file.zero_at(0, end, false)?;
    }

    let blocks_at = header.refcount_table_at + table_clusters * cluster;
    let table: Vec<u64> = (0..blocks).map(|block| blocks_at + block * cluster).collect();
    file.write_at(header.refcount_table_at, &be_bytes(&table))?;
    write_ones(file, blocks_at, end / cluster, options.refcount_bits)?;
    if l2_tables > 0 {
        let l1: Vec<u64> = (0..l2_tables).map(|table| (l2_at + table * cluster) | COPIED).collect();
        file.write_at(header.l1_at, &be_bytes(&l1))?;
        write_entries(file, l2_at, data_at, data_clusters, header.cluster_bits)?;
    }
    if options.preallocation == Preallocation::Full {
        let zeroes = vec![0; 1 << 20];
        let data_bytes = data_clusters * cluster;
        for at in (0..data_bytes).step_by(zeroes.len()) {
            let count = (data_bytes - at).min(zeroes.len() as u64) as usize;
            file.write_at(data_at + at, zeroes.get(..count).unwrap_or_default())?;
        }
    }
    file.sync()?;
    file.write_at(0, &first)?;
    Ok(file.sync()?)
}

/// Writes `count` refcounts of one.
fn write_ones(file: &dyn ImageFile, at: u64, count: u64, bits: u32) -> Result<(), BlockError> {
    let a_chunk: u64 = 64 << 10;
    for first in (0..count).step_by(a_chunk as usize) {
        let count = (count - first).min(a_chunk);
        let bytes: Vec<u8> = match bits {
            1 | 2 | 4 => {
                let counts_a_byte = u64::from(8 / bits);
                let byte = |n: u64| {
                    let there = (count - n * counts_a_byte).min(counts_a_byte);
                    (0..there).fold(0, |byte, index| byte | 1 << (index as u32 * bits))
                };
                (0..count.div_ceil(counts_a_byte)).map(byte).collect()
            }
            _ => {
                let one = 1u64.to_be_bytes();
                let one = one.get(8 - bits as usize / 8..).unwrap_or_default();
                one.repeat(count as usize)
            }
        };
        file.write_at(at + first * u64::from(bits) / 8, &bytes)?;
    }
    Ok(())
}

/// Writes entries of L2 tables that point to data in a row.
fn write_entries(
    file: &dyn ImageFile,
    at: u64,
    data_at: u64,
    count: u64,
    cluster_bits: u32,
) -> Result<(), BlockError> {
    const A_CHUNK: u64 = 64 << 10;
    let entry = |n: u64| Entry::Data { at: data_at + (n << cluster_bits), copied: true }.raw(cluster_bits);
    for first in (0..count).step_by(A_CHUNK as usize) {
        let entries: Vec<u64> = (first..count.min(first + A_CHUNK)).map(entry).collect();
        file.write_at(at + first * 8, &be_bytes(&entries))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockBackend;
    use crate::memory_file::MemoryFile;
    use crate::qcow2::{Mode, Qcow2, Repair};
    use std::sync::Arc;

    #[test]
    fn what_a_block_device_had_before_is_not_taken_for_tables() {
        let device = Arc::new(MemoryFile::device(vec![0xA7; 4 << 20]));
        for preallocation in [Preallocation::Off, Preallocation::Metadata] {
            let options = CreateOptions { preallocation, cluster_bytes: 4096, ..CreateOptions::new(1 << 20) };
            create(&*device, &options).expect("it has room");
            let header = Header::read(&*device).expect("a header");
            let image = Qcow2::open(device.clone(), header, None, Mode::Write).expect("opens");
            image.write(300_000, &[1; 1000]).expect("writes");
            let found = image.check(Repair::Nothing).expect("a check");
            assert_eq!((found.errors, found.leaks), (0, 0), "{found:?}");
            let mut content = vec![0; 1 << 20];
            image.read(0, &mut content).expect("reads");
            assert!(content[300_000..301_000].iter().all(|byte| *byte == 1));
            assert!(content[..300_000].iter().chain(&content[301_000..]).all(|byte| *byte == 0));
        }
        let small = MemoryFile::device(vec![0xA7; 10_000]);
        assert!(matches!(create(&small, &CreateOptions::new(1 << 20)), Err(BlockError::NoSpace)));
    }
}
