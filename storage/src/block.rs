//! The interface between a disk controller and what holds its disk's content.
//!
//! A call blocks until the host is done, so a device makes it on a worker thread: it begins a request
//! with `Outside::begin`, whose job calls these functions. Several workers may call at the same time; a
//! back end orders what overlaps as it likes, as a disk with a queue does.
//!
//! What is written may be lost in a crash of the host until [`BlockBackend::flush`] returns.

use crate::probe::Format;
use crate::qcow2::Qcow2;
use std::io;

/// What holds a disk's content.
pub trait BlockBackend: Send + Sync {
    /// Size of the disk in bytes, a multiple of 512. It does not change while a device has the disk.
    fn size(&self) -> u64;
    /// What this disk can do.
    fn limits(&self) -> BlockLimits;
    /// Reads `into.len()` bytes from byte `offset` on.
    ///
    /// # Errors
    /// The range ends behind the disk, or the host cannot read; `into` then has any content.
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError>;
    /// Writes `from` from byte `offset` on.
    ///
    /// # Errors
    /// The disk is read-only, the range ends behind it, or the host cannot write; the range then has any
    /// mixture of old and new content.
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError>;
    /// Returns when all writes that returned before the call would survive a crash of the host.
    ///
    /// # Errors
    /// The host cannot: what was written may be lost.
    fn flush(&self) -> Result<(), BlockError>;
    /// The same, and the host's file then stays as it is until something is written again, even where the disk is dropped: an
    /// image whose file says that it is in use no longer says so.
    ///
    /// # Errors
    /// As for [`BlockBackend::flush`].
    fn settle(&self) -> Result<(), BlockError> {
        self.flush()
    }
    /// The qcow2 image that this disk is, for what other formats do not have: snapshots, and a backing file to commit to.
    fn as_qcow2(&self) -> Option<&Qcow2> {
        None
    }
    /// Makes `bytes` bytes from byte `offset` on zero. With `unmap` the space in the host's file may be
    /// given back.
    ///
    /// # Errors
    /// As for [`BlockBackend::write`].
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError>;
    /// The guest no longer needs the content of this range, which may be given back to the host; it
    /// reads as anything afterwards.
    ///
    /// # Errors
    /// As for [`BlockBackend::write`].
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError>;
    /// What is known of the bytes from `offset` on, without reading them: how far the answer reaches (at least one
    /// byte, at most `bytes`, which are not zero), and what is there. A disk that knows nothing says that it has data.
    ///
    /// # Errors
    /// As for [`BlockBackend::read`].
    fn extent(&self, offset: u64, bytes: u64) -> Result<Extent, BlockError> {
        check_range(offset, bytes, self.size())?;
        Ok(Extent {
            bytes,
            is_zero: false,
            has_data: true,
            is_here: true,
            depth: 0,
            at: None,
            compressed: false,
        })
    }
}

/// What a stretch of a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its length in bytes.
    pub bytes: u64,
    /// It reads as zeroes.
    pub is_zero: bool,
    /// The host has space for it.
    pub has_data: bool,
    /// One of the images says what it holds. Otherwise no image of the chain does, and it is zero.
    pub is_here: bool,
    /// How many backing files down the image is that says so.
    pub depth: u32,
    /// Where it begins in the file of that image, in bytes, if it stands there as it is.
    pub at: Option<u64>,
    /// It is stored compressed.
    pub compressed: bool,
}

/// What a disk can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    /// Writes are refused.
    pub read_only: bool,
    /// Size in bytes of the units in which the host reads and writes best; 512 at least.
    pub preferred_bytes: u32,
    /// Size in bytes of the units in which space can be given back, if it can.
    pub discard_bytes: Option<u32>,
}

/// Why a disk did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The range ends behind the disk.
    #[error("{bytes} bytes at {offset:#x} end behind the disk, which has {size} bytes")]
    OutOfRange {
        /// Where it begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        bytes: u64,
        /// Bytes of the disk.
        size: u64,
    },
    /// The disk is read-only.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The host has no space left.
    #[error("the host has no space left for the disk image")]
    NoSpace,
    /// The image contradicts itself here.
    #[error("the disk image is damaged: {0}")]
    Damaged(String),
    /// The image, or what is asked for, needs what is not supported.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// What is asked for cannot be done with this image.
    #[error("{0}")]
    Refused(String),
    /// The image's format was guessed to be raw, and this write would make it look like another.
    #[error(
        "the image was opened without `format=`, and this write would make it look like {0}: say `format=raw`"
    )]
    WouldLookLike(Format),
    /// The host could not read or write.
    #[error("the host cannot read or write the disk image: {0}")]
    Host(#[source] io::Error),
}

impl From<io::Error> for BlockError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Host(error),
        }
    }
}

/// Checks that a range lies in a disk of `size` bytes.
///
/// # Errors
/// [`BlockError::OutOfRange`].
pub fn check_range(offset: u64, bytes: u64, size: u64) -> Result<(), BlockError> {
    match offset.checked_add(bytes) {
        Some(end) if end <= size => Ok(()),
        _ => Err(BlockError::OutOfRange { offset, bytes, size }),
    }
}
