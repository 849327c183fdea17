//! A file or block device of the host, as images are stored in it.

use crate::file::{FileError, ImageFile};
use crate::lock::unlock;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};

/// Alignment that direct requests get, in bytes: a page, which each device and file system takes.
const DIRECT_ALIGNMENT: usize = 4096;
/// Bytes of a direct request that must be copied to be aligned.
const BOUNCE_BYTES: usize = 1 << 20;
/// Zeroes that are written at once where the host cannot make them by itself.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// An open file or block device.
#[derive(Debug)]
pub struct HostFile {
    file: File,
    /// The same file, opened past the page cache.
    direct: Option<File>,
    is_device: bool,
    identity: (u64, u64),
}

impl HostFile {
    /// An image in an open file. `direct` is the same file opened with `O_DIRECT`, which large aligned requests use.
    ///
    /// # Errors
    /// It is a folder, a pipe or the like, or the host fails.
    pub fn new(file: File, direct: Option<File>) -> Result<Self, FileError> {
        let metadata = file.metadata()?;
        let is_device = is_disk(&metadata)?;
        let identity = match is_device {
            true => (u64::MAX, metadata.rdev()),
            false => (metadata.dev(), metadata.ino()),
        };
        Ok(Self { file, direct, is_device, identity })
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        unlock(&self.file);
    }
}

/// Whether this is a block device, or else a regular file.
///
/// # Errors
/// It is neither.
pub fn is_disk(metadata: &Metadata) -> Result<bool, FileError> {
    let kind = metadata.file_type();
    if kind.is_file() || kind.is_block_device() {
        Ok(kind.is_block_device())
    } else if kind.is_dir() {
        Err(FileError::Kind("it is a folder"))
    } else {
        Err(FileError::Kind("it is neither a file nor a block device"))
    }
}

/// Room for direct requests: bytes that begin at an aligned address.
struct Aligned {
    room: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new(bytes: usize) -> Self {
        let room = vec![0; bytes + DIRECT_ALIGNMENT];
        let start = room.as_ptr().align_offset(DIRECT_ALIGNMENT);
        Self { room, start }
    }
    fn bytes(&mut self, count: usize) -> &mut [u8] {
        &mut self.room[self.start..self.start + count]
    }
}

fn is_aligned(offset: u64, bytes: usize) -> bool {
    offset.is_multiple_of(DIRECT_ALIGNMENT as u64) && bytes.is_multiple_of(DIRECT_ALIGNMENT) && bytes > 0
}

/// Reads until `into` is full or the file ends; what is behind its end is zero.
fn read_full(file: &File, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        match file.read_at(into, offset) {
            Ok(0) => {
                into.fill(0);
                break;
            }
            Ok(count) => {
                into = &mut into[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl ImageFile for HostFile {
    fn bytes(&self) -> io::Result<u64> {
        match self.is_device {
            // The position of a block device's file is used by nothing else.
            true => Ok(seek(&self.file, SeekFrom::End(0))?),
            false => Ok(self.file.metadata()?.len()),
        }
    }
    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        match self.is_device {
            true if bytes <= self.bytes()? => Ok(()),
            true => Err(io::Error::new(io::ErrorKind::StorageFull, "the block device is too small")),
            // A file system may take an empty file that is emptied for one whose content is replaced, and write out all of it
            // when it is closed (ext4's auto_da_alloc).
            false if bytes == self.bytes()? => Ok(()),
            false => self.file.set_len(bytes),
        }
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let Some(direct) = self.direct.as_ref().filter(|_| is_aligned(offset, into.len())) else {
            return read_full(&self.file, offset, into);
        };
        if (into.as_ptr() as usize).is_multiple_of(DIRECT_ALIGNMENT) {
            return read_full(direct, offset, into);
        }
        let mut aligned = Aligned::new(into.len().min(BOUNCE_BYTES));
        for (piece, at) in into.chunks_mut(BOUNCE_BYTES).zip((offset..).step_by(BOUNCE_BYTES)) {
            let bytes = aligned.bytes(piece.len());
            read_full(direct, at, bytes)?;
            piece.copy_from_slice(bytes);
        }
        Ok(())
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        let Some(direct) = self.direct.as_ref().filter(|_| is_aligned(offset, from.len())) else {
            return self.file.write_all_at(from, offset);
        };
        if (from.as_ptr() as usize).is_multiple_of(DIRECT_ALIGNMENT) {
            return direct.write_all_at(from, offset);
        }
        let mut aligned = Aligned::new(from.len().min(BOUNCE_BYTES));
        for (piece, at) in from.chunks(BOUNCE_BYTES).zip((offset..).step_by(BOUNCE_BYTES)) {
            let bytes = aligned.bytes(piece.len());
            bytes.copy_from_slice(piece);
            direct.write_all_at(bytes, at)?;
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn zero_at(&self, offset: u64, bytes: u64, unmap: bool) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let end = offset.checked_add(bytes).ok_or(io::ErrorKind::FileTooLarge)?;
        let flags = match unmap {
            true => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            false => FallocateFlags::ZERO_RANGE,
        };
        match fallocate(&self.file, flags, offset, bytes) {
            // By a byte rather than by a length, which would cut off what others write behind it meanwhile.
            Ok(()) if unmap && !self.is_device && self.bytes()? < end => {
                self.file.write_all_at(&[0], end - 1)
            }
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                let mut at = offset;
                while at < end {
                    let count = (end - at).min(ZEROES.len() as u64);
                    self.file.write_all_at(&ZEROES[..count as usize], at)?;
                    at += count;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
    fn hole_at(&self, offset: u64, bytes: u64) -> io::Result<(bool, u64)> {
        if self.is_device {
            return Ok((false, bytes));
        }
        let data = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data,
            // No data up to the end of the file.
            Err(Errno::NXIO) => return Ok((true, bytes)),
            Err(_) => return Ok((false, bytes)),
        };
        if data > offset {
            return Ok((true, bytes.min(data - offset)));
        }
        let hole = seek(&self.file, SeekFrom::Hole(offset)).unwrap_or(u64::MAX);
        Ok((false, bytes.min(hole.saturating_sub(offset).max(1))))
    }
    fn identity(&self) -> Option<(u64, u64)> {
        Some(self.identity)
    }
    fn grows_with_zeroes(&self) -> bool {
        !self.is_device
    }
    fn used_bytes(&self) -> Option<u64> {
        // Linux counts in units of 512 bytes, whatever the file system's are.
        self.file.metadata().ok().filter(|_| !self.is_device).map(|metadata| metadata.blocks() * 512)
    }
}
