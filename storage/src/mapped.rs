//! Images that are only read: what a format must say is where each byte of the disk is.

use crate::block::{BlockBackend, BlockError, BlockLimits, Extent, check_range};
use crate::file::ImageFile;
use std::sync::Arc;

/// Where a stretch of a disk is.
pub(crate) enum Place {
    /// Nowhere: it is zero.
    Nowhere,
    /// In a file, as it is.
    At(Arc<dyn ImageFile>, u64),
    /// It was decoded; the stretch begins at this byte.
    Decoded(Arc<Vec<u8>>, usize),
    /// In a file and compressed, which is said without decoding it.
    Packed,
}

/// A format that is read.
pub(crate) trait Map: Send + Sync {
    /// Bytes of the disk.
    fn size(&self) -> u64;
    /// Where byte `offset` of the disk is, and how many bytes from there on are in the same piece. With `decode`, what is
    /// compressed is decoded.
    fn find(&self, offset: u64, decode: bool) -> Result<(Place, u64), BlockError>;
}

/// A disk of such a format.
pub(crate) struct Mapped<M>(pub(crate) M);

impl<M: Map> BlockBackend for Mapped<M> {
    fn size(&self) -> u64 {
        self.0.size().next_multiple_of(512)
    }
    fn limits(&self) -> BlockLimits {
        BlockLimits { read_only: true, preferred_bytes: 4096, discard_bytes: None }
    }
    fn read(&self, mut offset: u64, mut into: &mut [u8]) -> Result<(), BlockError> {
        check_range(offset, into.len() as u64, self.size())?;
        while !into.is_empty() {
            let left = self.0.size().saturating_sub(offset);
            if left == 0 {
                into.fill(0);
                break;
            }
            let (place, run) = self.0.find(offset, true)?;
            let run = run.min(left).max(1).min(into.len() as u64);
            let (piece, rest) = into.split_at_mut(run as usize);
            match place {
                Place::Nowhere | Place::Packed => piece.fill(0),
                Place::At(file, at) => {
                    if at >= file.bytes()? {
                        return Err(BlockError::Damaged(format!(
                            "its file ends before {at:#x}: it is truncated"
                        )));
                    }
                    file.read_at(at, piece)?;
                }
                Place::Decoded(bytes, start) => {
                    let there = bytes.get(start..).unwrap_or_default();
                    let count = there.len().min(piece.len());
                    let (from_there, behind) = piece.split_at_mut(count);
                    from_there.copy_from_slice(there.get(..count).unwrap_or_default());
                    behind.fill(0);
                }
            }
            offset += run;
            into = rest;
        }
        Ok(())
    }
    fn write(&self, _offset: u64, _from: &[u8]) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }
    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
    fn write_zeroes(&self, _offset: u64, _bytes: u64, _unmap: bool) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }
    fn discard(&self, _offset: u64, _bytes: u64) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }
    fn extent(&self, offset: u64, bytes: u64) -> Result<Extent, BlockError> {
        check_range(offset, bytes, self.size())?;
        let left = self.0.size().saturating_sub(offset);
        let nowhere = Extent {
            bytes,
            is_zero: true,
            has_data: false,
            is_here: false,
            depth: 0,
            at: None,
            compressed: false,
        };
        if left == 0 {
            return Ok(nowhere);
        }
        let (place, run) = self.0.find(offset, false)?;
        let nowhere = Extent { bytes: run.min(left).max(1).min(bytes), ..nowhere };
        let here = Extent { is_zero: false, has_data: true, is_here: true, ..nowhere };
        Ok(match place {
            Place::Nowhere => nowhere,
            Place::At(_, at) => Extent { at: Some(at), ..here },
            Place::Decoded(..) | Place::Packed => Extent { compressed: true, ..here },
        })
    }
}

/// Reads a table of 32-bit numbers, which must be in the file as a whole and no longer than `most` entries.
pub(crate) fn read_words(
    file: &dyn ImageFile,
    what: &str,
    at: u64,
    entries: u64,
    most: u64,
    number: fn(&[u8], usize) -> u32,
) -> Result<Vec<u32>, BlockError> {
    let bytes = entries.saturating_mul(4);
    if entries > most || at.saturating_add(bytes) > file.bytes()? {
        return Err(BlockError::Damaged(format!(
            "{what} has {entries} entries at {at:#x}: too many, or truncated"
        )));
    }
    let mut table = vec![0; bytes as usize];
    file.read_at(at, &mut table)?;
    Ok(table.chunks_exact(4).map(|entry| number(entry, 0)).collect())
}
