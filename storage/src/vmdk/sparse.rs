//! Sparse extents: grains, and a directory of tables that say where they are.

use super::descriptor;
use crate::block::BlockError;
use crate::bytes::{le_u16, le_u32, le_u64};
use crate::file::ImageFile;
use crate::mapped::{Place, read_words};
use flate2::{Decompress, FlushDecompress};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

const HEADER_BYTES: usize = 512;
/// The directory's offset is in the footer.
const AT_END: u64 = u64::MAX;
/// Grains are compressed.
const COMPRESSED: u32 = 1 << 16;
/// The entry 1 means that a grain is zero.
const ZEROED: u32 = 1 << 2;
/// Sectors of the largest grain: 64 MiB.
const MOST_GRAIN_SECTORS: u64 = 128 << 10;
/// Entries of the largest table.
const MOST_TABLE_ENTRIES: u32 = 4096;
/// Tables of the largest directory.
const MOST_TABLES: u64 = 4 << 20;
/// Tables that are kept in memory.
const KEPT_TABLES: usize = 1024;

/// An open sparse extent.
pub(super) struct Sparse {
    file: Arc<dyn ImageFile>,
    sectors: u64,
    grain_sectors: u64,
    table_entries: u64,
    flags: u32,
    directory: Vec<u32>,
    descriptor: (u64, u64),
    tables: Mutex<HashMap<u32, Arc<Vec<u32>>>>,
    last: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
}

impl Sparse {
    pub(super) fn open(file: Arc<dyn ImageFile>) -> Result<Self, BlockError> {
        let damaged = |what: String| Err(BlockError::Damaged(format!("its VMDK header: {what}")));
        let mut header = [0; HEADER_BYTES];
        file.read_at(0, &mut header)?;
        let file_bytes = file.bytes()?;
        if le_u64(&header, 56) == AT_END {
            // Footer and end-of-stream marker are the last two sectors.
            file.read_at(file_bytes.saturating_sub(2 * HEADER_BYTES as u64), &mut header)?;
        }
        if !header.starts_with(b"KDMV") {
            return damaged("there is none, or its footer is gone: it is truncated".into());
        }
        let (version, flags) = (le_u32(&header, 4), le_u32(&header, 8));
        if !matches!(version, 1..=3) {
            return Err(BlockError::Unsupported(format!("version {version} of VMDK; 1 to 3 are known")));
        }
        let (sectors, grain_sectors) = (le_u64(&header, 12), le_u64(&header, 20));
        let table_entries = le_u32(&header, 44);
        if !grain_sectors.is_power_of_two() || grain_sectors > MOST_GRAIN_SECTORS {
            return damaged(format!("grains of {grain_sectors} sectors"));
        }
        if table_entries == 0 || table_entries > MOST_TABLE_ENTRIES || sectors > i64::MAX as u64 / 512 - 1 {
            return damaged(format!("tables of {table_entries} entries for {sectors} sectors"));
        }
        let compression = le_u16(&header, 77);
        if flags & COMPRESSED != 0 && compression != 1 {
            return Err(BlockError::Unsupported(format!(
                "the VMDK compression {compression}; deflate (1) is"
            )));
        }
        let table_entries = u64::from(table_entries);
        let tables = sectors.div_ceil(grain_sectors * table_entries);
        let directory_at = le_u64(&header, 56).saturating_mul(512);
        let directory = read_words(&*file, "the grain directory", directory_at, tables, MOST_TABLES, le_u32)?;
        let descriptor = (le_u64(&header, 28).saturating_mul(512), le_u64(&header, 36).saturating_mul(512));
        Ok(Self {
            file,
            sectors,
            grain_sectors,
            table_entries,
            flags,
            directory,
            descriptor,
            tables: Mutex::default(),
            last: Mutex::default(),
        })
    }
    /// Bytes of the extent.
    pub(super) fn bytes(&self) -> u64 {
        self.sectors * 512
    }
    /// The descriptor inside, if there is one.
    pub(super) fn descriptor(&self) -> Result<Option<String>, BlockError> {
        let (at, bytes) = self.descriptor;
        if at == 0 || bytes == 0 {
            return Ok(None);
        }
        descriptor::text(&*self.file, at, bytes).map(Some)
    }

    /// Where a byte of the extent is, and how many bytes from there on.
    pub(super) fn find(&self, offset: u64, decode: bool) -> Result<(Place, u64), BlockError> {
        let grain_bytes = self.grain_sectors * 512;
        let (grain, within) = (offset / grain_bytes, offset % grain_bytes);
        let left = grain_bytes - within;
        let table_sector = self.directory.get((grain / self.table_entries) as usize).copied().unwrap_or(0);
        if table_sector == 0 {
            // No grain of the table is there.
            let tables_end = (grain / self.table_entries + 1) * self.table_entries * grain_bytes;
            return Ok((Place::Nowhere, tables_end - offset));
        }
        let table = self.table(table_sector)?;
        let sector = table.get((grain % self.table_entries) as usize).copied().unwrap_or(0);
        if sector == 0 || (sector == 1 && self.flags & ZEROED != 0) {
            return Ok((Place::Nowhere, left));
        }
        let at = u64::from(sector) * 512;
        if self.flags & COMPRESSED == 0 {
            return Ok((Place::At(self.file.clone(), at + within), left));
        }
        if !decode {
            return Ok((Place::Packed, left));
        }
        Ok((Place::Decoded(self.grain(at)?, within as usize), left))
    }
    fn table(&self, sector: u32) -> Result<Arc<Vec<u32>>, BlockError> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get(&sector) {
            return Ok(table.clone());
        }
        if tables.len() >= KEPT_TABLES {
            tables.clear();
        }
        let at = u64::from(sector) * 512;
        let most = u64::from(MOST_TABLE_ENTRIES);
        let table = Arc::new(read_words(&*self.file, "a grain table", at, self.table_entries, most, le_u32)?);
        tables.insert(sector, table.clone());
        Ok(table)
    }
    /// Decodes a compressed grain: its first sector of the disk, its length, and a zlib stream.
    fn grain(&self, at: u64) -> Result<Arc<Vec<u8>>, BlockError> {
        {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, grain)) = last.as_ref().filter(|(place, _)| *place == at) {
                return Ok(grain.clone());
            }
        }
        let damaged = || BlockError::Damaged(format!("the compressed grain at {at:#x} cannot be decoded"));
        let grain_bytes = (self.grain_sectors * 512) as usize;
        let mut head = [0; 12];
        self.file.read_at(at, &mut head)?;
        let bytes = u64::from(le_u32(&head, 8));
        let file_bytes = self.file.bytes()?;
        if at.saturating_add(12 + bytes) > file_bytes {
            return Err(BlockError::Damaged(format!(
                "the file ends before the grain at {at:#x} does: it is truncated"
            )));
        }
        if bytes > 2 * grain_bytes as u64 + 512 {
            return Err(damaged());
        }
        let mut packed = vec![0; bytes as usize];
        self.file.read_at(at + 12, &mut packed)?;
        let mut grain = Vec::with_capacity(grain_bytes);
        Decompress::new(true)
            .decompress_vec(&packed, &mut grain, FlushDecompress::Finish)
            .map_err(|_| damaged())?;
        let grain = Arc::new(grain);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, grain.clone()));
        Ok(grain)
    }
}
