//! VHD, the images of Microsoft's Virtual PC and Hyper-V: fixed and dynamic ones, to be read.
//!
//! A *footer* at the file's end says what the image is; a fixed one is the disk's content before it. A dynamic one has a
//! copy of the footer at its start and a *block allocation table*, which has the sector of each block (2 MiB, as a rule).
//! A block begins with a bitmap of its sectors, which matters for differencing images only; those are left out.
//! ("Virtual Hard Disk Image Format Specification", 1.0.)

use crate::block::{BlockBackend, BlockError};
use crate::bytes::{be_u16, be_u32, be_u64};
use crate::file::ImageFile;
use crate::mapped::{Map, Mapped, Place, read_words};
use std::sync::Arc;

const FOOTER_BYTES: usize = 512;
const FOOTER_MARK: &[u8] = b"conectix";
const HEADER_BYTES: usize = 1024;
const HEADER_MARK: &[u8] = b"cxsparse";
/// Entries of the largest table: a disk of 2040 GiB in blocks of 512 KiB has fewer.
const MOST_BLOCKS: u64 = 4 << 20;
const NO_BLOCK: u32 = u32::MAX;

struct Vhd {
    file: Arc<dyn ImageFile>,
    size: u64,
    /// None for a fixed image.
    blocks: Option<Blocks>,
}

struct Blocks {
    table: Vec<u32>,
    block_bytes: u64,
    bitmap_bytes: u64,
}

/// Whether these last 512 bytes of a file are a VHD's footer.
pub(crate) fn is_footer(tail: &[u8]) -> bool {
    tail.starts_with(FOOTER_MARK) && checksum_holds(tail, 64)
}

/// Whether the checksum at `at` is the complement of the sum of all other bytes.
fn checksum_holds(bytes: &[u8], at: usize) -> bool {
    let all = bytes.iter().enumerate().filter(|(index, _)| !(at..at + 4).contains(index));
    let sum = all.fold(0u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    !sum == be_u32(bytes, at)
}

/// Opens a VHD image.
///
/// # Errors
/// It is damaged, or a differencing image.
pub fn open(file: Arc<dyn ImageFile>) -> Result<Arc<dyn BlockBackend>, BlockError> {
    let damaged = |what: &str| Err(BlockError::Damaged(what.to_owned()));
    let file_bytes = file.bytes()?;
    let mut footer = [0; FOOTER_BYTES];
    let Some(content_bytes) = file_bytes.checked_sub(FOOTER_BYTES as u64) else {
        return damaged("it is too short for a VHD footer");
    };
    file.read_at(content_bytes, &mut footer)?;
    if !footer.starts_with(FOOTER_MARK) {
        // A dynamic image has a copy at its start.
        file.read_at(0, &mut footer)?;
    }
    if !footer.starts_with(FOOTER_MARK) {
        return damaged("it is no VHD image: there is no footer, or it is truncated");
    }
    if !checksum_holds(&footer, 64) {
        return damaged("the checksum of its VHD footer is wrong");
    }
    let size = disk_bytes(&footer);
    if size > i64::MAX as u64 - 511 {
        return damaged("the size of its disk is absurd");
    }
    let blocks = match be_u32(&footer, 60) {
        2 if size > content_bytes => return damaged("it is shorter than its disk: it is truncated"),
        2 => None,
        3 => Some(Blocks::read(&*file, be_u64(&footer, 16), size)?),
        4 => return Err(BlockError::Unsupported("a differencing VHD image (merge it first)".into())),
        kind => return Err(BlockError::Unsupported(format!("the VHD disk type {kind}"))),
    };
    Ok(Arc::new(Mapped(Vhd { file, size, blocks })))
}

/// Bytes of the disk. Virtual PC goes by the geometry, and so does QEMU for the images that it makes that way; all others
/// go by the size.
fn disk_bytes(footer: &[u8]) -> u64 {
    let size = be_u64(footer, 48);
    let (cylinders, heads, sectors) = (be_u16(footer, 56), footer.get(58), footer.get(59));
    let (heads, sectors) = (heads.copied().unwrap_or(0), sectors.copied().unwrap_or(0));
    let by_geometry = u64::from(cylinders) * u64::from(heads) * u64::from(sectors) * 512;
    let creator = footer.get(28..32).unwrap_or_default();
    let is_largest = (cylinders, heads, sectors) == (65535, 16, 255);
    if matches!(creator, b"vpc " | b"qemu") && !is_largest && by_geometry > 0 { by_geometry } else { size }
}

impl Blocks {
    fn read(file: &dyn ImageFile, at: u64, size: u64) -> Result<Self, BlockError> {
        let mut header = [0; HEADER_BYTES];
        file.read_at(at, &mut header)?;
        if !header.starts_with(HEADER_MARK) || !checksum_holds(&header, 36) {
            return Err(BlockError::Damaged(format!(
                "there is no VHD header at {at:#x}, or its checksum is wrong"
            )));
        }
        let (table_at, entries) = (be_u64(&header, 16), u64::from(be_u32(&header, 28)));
        let block_bytes = u64::from(be_u32(&header, 32));
        if !block_bytes.is_power_of_two() || !(512..=1 << 30).contains(&block_bytes) {
            return Err(BlockError::Damaged(format!("blocks of {block_bytes} bytes")));
        }
        if size.div_ceil(block_bytes) > entries {
            return Err(BlockError::Damaged(format!("{entries} blocks for a disk of {size} bytes")));
        }
        let table = read_words(file, "the block allocation table", table_at, entries, MOST_BLOCKS, be_u32)?;
        let bitmap_bytes = block_bytes.div_ceil(512 * 8).next_multiple_of(512);
        Ok(Self { table, block_bytes, bitmap_bytes })
    }
}

impl Map for Vhd {
    fn size(&self) -> u64 {
        self.size
    }
    fn find(&self, offset: u64, _decode: bool) -> Result<(Place, u64), BlockError> {
        let Some(blocks) = &self.blocks else {
            return Ok((Place::At(self.file.clone(), offset), self.size - offset));
        };
        let within = offset % blocks.block_bytes;
        let place = match blocks.table.get((offset / blocks.block_bytes) as usize) {
            None | Some(&NO_BLOCK) => Place::Nowhere,
            Some(sector) => {
                let at = u64::from(*sector) * 512 + blocks.bitmap_bytes + within;
                Place::At(self.file.clone(), at)
            }
        };
        Ok((place, blocks.block_bytes - within))
    }
}
