//! VDI, the images of VirtualBox: dynamic and fixed ones, to be read.
//!
//! Behind a header stands the *block map*: for each block of the disk (1 MiB, as a rule) the number of the block in the
//! file that has it, or that there is none. Left out: differencing images, which name their parent by a number only
//! VirtualBox knows. ("All about VDIs".)

use crate::block::{BlockBackend, BlockError};
use crate::bytes::{le_u32, le_u64};
use crate::file::ImageFile;
use crate::mapped::{Map, Mapped, Place, read_words};
use std::sync::Arc;

const SIGNATURE: u32 = 0xBEDA_107F;
/// Version 1.1, which all that is around has.
const VERSION: u32 = 0x0001_0001;
const HEADER_BYTES: usize = 512;
/// Entries of the largest block map: 256 MiB of memory would be too much.
const MOST_BLOCKS: u64 = 16 << 20;
/// Block numbers from here on mean that there is none.
const NO_BLOCK: u32 = 0xFFFF_FFFE;

struct Vdi {
    file: Arc<dyn ImageFile>,
    size: u64,
    block_bytes: u64,
    data_at: u64,
    map: Vec<u32>,
}

/// Opens a VDI image.
///
/// # Errors
/// It is damaged, or of a kind that is not supported.
pub fn open(file: Arc<dyn ImageFile>) -> Result<Arc<dyn BlockBackend>, BlockError> {
    let damaged = |what: String| Err(BlockError::Damaged(what));
    let mut header = [0; HEADER_BYTES];
    file.read_at(0, &mut header)?;
    let word = |at| le_u32(&header, at);
    if word(0x40) != SIGNATURE {
        return damaged("it is no VDI image: the signature is missing".into());
    }
    if word(0x44) != VERSION {
        return Err(BlockError::Unsupported(format!("version {:#x} of VDI; 1.1 is known", word(0x44))));
    }
    match word(0x4C) {
        1 | 2 => {}
        4 => {
            return Err(BlockError::Unsupported(
                "a differencing VDI image (merge it in VirtualBox first)".into(),
            ));
        }
        kind => return Err(BlockError::Unsupported(format!("the VDI image type {kind}"))),
    }
    let (size, block_bytes, blocks) =
        (le_u64(&header, 0x170), u64::from(word(0x178)), u64::from(word(0x180)));
    if !block_bytes.is_power_of_two() || !(512..=256 << 20).contains(&block_bytes) || word(0x17C) != 0 {
        return damaged(format!("blocks of {block_bytes} bytes"));
    }
    if size > i64::MAX as u64 - 511 || size.div_ceil(block_bytes) > blocks {
        return damaged(format!("{blocks} blocks of {block_bytes} bytes for a disk of {size} bytes"));
    }
    let map = read_words(&*file, "the block map", u64::from(word(0x154)), blocks, MOST_BLOCKS, le_u32)?;
    Ok(Arc::new(Mapped(Vdi { file, size, block_bytes, data_at: u64::from(word(0x158)), map })))
}

impl Map for Vdi {
    fn size(&self) -> u64 {
        self.size
    }
    fn find(&self, offset: u64, _decode: bool) -> Result<(Place, u64), BlockError> {
        let within = offset % self.block_bytes;
        let place = match self.map.get((offset / self.block_bytes) as usize) {
            None | Some(NO_BLOCK..) => Place::Nowhere,
            Some(block) => {
                let at = self.data_at + u64::from(*block) * self.block_bytes + within;
                Place::At(self.file.clone(), at)
            }
        };
        Ok((place, self.block_bytes - within))
    }
}
