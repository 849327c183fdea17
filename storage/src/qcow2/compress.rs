//! Compressed clusters.

use super::entry::Entry;
use super::{Compression, Qcow2};
use crate::block::BlockError;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use std::io::Read;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// QEMU's decoder has a window of 2 to the power of this many bytes, so nothing may refer further back.
const WINDOW_BITS: u8 = 12;

/// Compresses a cluster; none where that gains nothing.
///
/// # Errors
/// The compressor's.
pub fn pack(cluster: &[u8], how: Compression) -> Result<Option<Vec<u8>>, BlockError> {
    let packed = match how {
        Compression::Zlib => {
            let mut packed = Vec::with_capacity(cluster.len());
            let mut compress =
                Compress::new_with_window_bits(flate2::Compression::default(), false, WINDOW_BITS);
            let status = compress.compress_vec(cluster, &mut packed, FlushCompress::Finish);
            match status.map_err(std::io::Error::other)? {
                Status::StreamEnd => packed,
                // It would become longer.
                Status::Ok | Status::BufError => return Ok(None),
            }
        }
        Compression::Zstd => {
            ruzstd::encoding::compress_to_vec(cluster, ruzstd::encoding::CompressionLevel::Fastest)
        }
    };
    Ok(Some(packed).filter(|packed| packed.len() < cluster.len()))
}

fn unpack(packed: &[u8], cluster_bytes: usize, how: Compression) -> Result<Vec<u8>, BlockError> {
    let damaged = || BlockError::Damaged(format!("a compressed cluster cannot be decoded ({})", how.name()));
    match how {
        Compression::Zlib => {
            let mut cluster = Vec::with_capacity(cluster_bytes);
            Decompress::new(false)
                .decompress_vec(packed, &mut cluster, FlushDecompress::Finish)
                .map_err(|_| damaged())?;
            if cluster.len() == cluster_bytes { Ok(cluster) } else { Err(damaged()) }
        }
        Compression::Zstd => {
            let mut cluster = vec![0; cluster_bytes];
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(packed).map_err(|_| damaged())?;
            decoder.read_exact(&mut cluster).map_err(|_| damaged())?;
            Ok(cluster)
        }
    }
}

impl Qcow2 {
    /// The content of a compressed cluster. The last one is kept, for requests that are smaller than a cluster.
    pub(super) fn unpack(&self, entry: Entry) -> Result<Arc<Vec<u8>>, BlockError> {
        let Entry::Compressed { at, bytes } = entry else {
            return Err(BlockError::Damaged("a cluster is not compressed".into()));
        };
        {
            let last = self.last_unpacked.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, cluster)) = last.as_ref().filter(|(of, _)| *of == entry) {
                return Ok(cluster.clone());
            }
        }
        self.check_in_file(at)?;
        // No cluster is longer when it is compressed, apart from the rest of the last sector.
        let bytes = bytes.min(2 * self.cluster_bytes() + 512);
        let mut packed = vec![0; bytes as usize];
        self.file.read_at(at, &mut packed)?;
        let cluster = Arc::new(unpack(&packed, self.cluster_bytes() as usize, self.compression)?);
        *self.last_unpacked.lock().unwrap_or_else(PoisonError::into_inner) = Some((entry, cluster.clone()));
        Ok(cluster)
    }

    /// Writes a cluster of the disk that [`pack`] compressed; the disk must not have it yet.
    ///
    /// # Errors
    /// As for a write.
    pub fn write_packed(&self, cluster: u64, packed: &[u8]) -> Result<(), BlockError> {
        let offset = cluster << self.cluster_bits;
        self.check_write(offset, 512)?;
        {
            let _request = self.request();
            let claim = self.in_work.claim(cluster, cluster + 1);
            // One at a time: each goes on where the last one ended.
            let mut next = self.next_packed.lock().unwrap_or_else(PoisonError::into_inner);
            let mut tables = self.tables_mut();
            if tables.get(cluster, &*self.file)? != Entry::Unallocated {
                return Err(BlockError::Unsupported(
                    "compressed data for a cluster that is there already".into(),
                ));
            }
            tables.make_l2(cluster, &*self.file)?;
            let bytes = packed.len() as u64;
            let (at, taken) = self.place_for_packed(&mut tables, *next, bytes)?;
            let entry = Entry::Compressed { at, bytes };
            if let Err(error) = self.file.write_at(at, packed) {
                tables.refcounts.release(taken);
                return Err(error.into());
            }
            for part in entry.clusters(self.cluster_bits) {
                let count = tables.refcounts.get(part, &*self.file)?;
                tables.refcounts.set(part, count + 1, &*self.file)?;
            }
            tables.refcounts.let_go(&taken.collect::<Vec<_>>());
            tables.used_up_to((at + bytes).next_multiple_of(self.cluster_bytes()));
            tables.set(cluster, entry, &*self.file)?;
            self.file_bytes.fetch_max(at + bytes, Ordering::Relaxed);
            *next = Some(at + bytes);
            drop(claim);
        }
        self.commit_if_much_waits()
    }
    /// Where packed bytes go: behind the last ones, if their cluster has room or the next cluster is free.
    fn place_for_packed(
        &self,
        tables: &mut super::Tables,
        next: Option<u64>,
        bytes: u64,
    ) -> Result<(u64, std::ops::Range<u64>), BlockError> {
        let mask = self.cluster_bytes() - 1;
        let most = tables.refcounts.most();
        if let Some(next) = next.filter(|next| next & mask != 0) {
            let cluster = next >> self.cluster_bits;
            let count = tables.refcounts.get(cluster, &*self.file)?;
            let room = count > 0 && count < most;
            if room && bytes <= self.cluster_bytes() - (next & mask) {
                return Ok((next, 0..0));
            }
            let taken = tables.refcounts.take(1, &*self.file)?;
            if room && taken.start == cluster + 1 {
                return Ok((next, taken));
            }
            return Ok((taken.start << self.cluster_bits, taken));
        }
        let taken = tables.refcounts.take(1, &*self.file)?;
        Ok((taken.start << self.cluster_bits, taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_come_back_as_they_were_packed() {
        let text: Vec<u8> = (0..65536u32).map(|n| (n / 97 * 31 % 251) as u8).collect();
        for how in [Compression::Zlib, Compression::Zstd] {
            let packed = pack(&text, how).expect("compresses").expect("is shorter");
            assert_eq!(unpack(&packed, text.len(), how).expect("decodes"), text);
            let mut with_rest = packed.clone();
            with_rest.resize(packed.len() + 300, 0xA5);
            assert_eq!(unpack(&with_rest, text.len(), how).expect("decodes"), text);
            assert!(unpack(&packed[..packed.len() / 2], text.len(), how).is_err());
        }
    }
    #[test]
    fn what_does_not_become_shorter_is_left_alone() {
        let mut state = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(65536)
        .collect();
        for how in [Compression::Zlib, Compression::Zstd] {
            assert_eq!(pack(&noise, how).expect("compresses"), None);
        }
    }
}
