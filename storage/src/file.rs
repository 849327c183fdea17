//! What images are stored in: files and block devices of the host, by positions.
//!
//! Code of a format sees an [`ImageFile`] only, so that the same code works on the host's files
//! ([`HostFile`](crate::HostFile)), on memory ([`MemoryFile`](crate::MemoryFile)) and, in tests, on files that fail.
//! Who opens files by their names is the [`Opener`], which host-facing code hands in.

use crate::lock::LockError;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file by positions. All functions may be called by several threads at once.
pub trait ImageFile: Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// The host's.
    fn bytes(&self) -> io::Result<u64>;
    /// Cuts it off, or appends zeroes without using space.
    ///
    /// # Errors
    /// The host's; a block device has one length.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;
    /// Fills `into` with what stands from byte `offset` on; there are zeroes behind the file's end.
    ///
    /// # Errors
    /// The host's.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Writes all of `from`; the file grows as needed.
    ///
    /// # Errors
    /// The host's; a part may have been written.
    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()>;
    /// Returns when what was written would survive a crash of the host.
    ///
    /// # Errors
    /// The host's.
    fn sync(&self) -> io::Result<()>;
    /// Makes a range zero; the file grows as needed. With `unmap` its space is given back, where the host can.
    ///
    /// # Errors
    /// The host's.
    fn zero_at(&self, offset: u64, bytes: u64, unmap: bool) -> io::Result<()>;
    /// What stands from byte `offset` on: whether it is a hole, and for how many bytes, at most `bytes`.
    ///
    /// # Errors
    /// The host's.
    fn hole_at(&self, offset: u64, bytes: u64) -> io::Result<(bool, u64)>;
    /// Numbers that no other file of this host has, where there are such; to find chains that bite their tail.
    fn identity(&self) -> Option<(u64, u64)>;
    /// Whether bytes that were never written are zero: not so on block devices.
    fn grows_with_zeroes(&self) -> bool;
    /// Bytes of the host's storage that it uses, where the host tells.
    fn used_bytes(&self) -> Option<u64>;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// For writing too.
    pub write: bool,
    /// Past the host's page cache, where requests are aligned.
    pub direct: bool,
    /// Without locks: the file may be in use by another program. For reading only.
    pub share: bool,
}

impl Access {
    /// For reading, under the locks.
    pub const READ: Access = Access { write: false, direct: false, share: false };
    /// For reading and writing, under the locks.
    pub const WRITE: Access = Access { write: true, direct: false, share: false };
}

/// Opens the host's files by their names.
pub trait Opener: Send + Sync {
    /// Opens a file that is there, and locks it against other programs ([`lock`](crate::lock())).
    ///
    /// # Errors
    /// The host's, or another program uses the file.
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn ImageFile>, FileError>;
    /// A file without a name, for reading and writing, which is gone when it is dropped.
    ///
    /// # Errors
    /// The host's.
    fn temporary(&self) -> Result<Arc<dyn ImageFile>, FileError>;
}

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The host's reason.
    #[error(transparent)]
    Host(#[from] io::Error),
    /// Another program uses it.
    #[error(transparent)]
    InUse(#[from] LockError),
    /// What is there is no file that can hold an image.
    #[error("{0}")]
    Kind(&'static str),
}

/// The same file, where a sync does nothing: for what may be lost in a crash of the host.
pub fn unsynced(file: Arc<dyn ImageFile>) -> Arc<dyn ImageFile> {
    Arc::new(Unsynced(file))
}

/// A file that is not synced: for what may be lost in a crash of the host.
struct Unsynced(Arc<dyn ImageFile>);

impl ImageFile for Unsynced {
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }
    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_bytes(bytes)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, from)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn zero_at(&self, offset: u64, bytes: u64, unmap: bool) -> io::Result<()> {
        self.0.zero_at(offset, bytes, unmap)
    }
    fn hole_at(&self, offset: u64, bytes: u64) -> io::Result<(bool, u64)> {
        self.0.hole_at(offset, bytes)
    }
    fn identity(&self) -> Option<(u64, u64)> {
        self.0.identity()
    }
    fn grows_with_zeroes(&self) -> bool {
        self.0.grows_with_zeroes()
    }
    fn used_bytes(&self) -> Option<u64> {
        self.0.used_bytes()
    }
}
