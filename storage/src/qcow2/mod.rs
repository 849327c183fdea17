//! qcow2, the images of QEMU, versions 2 and 3.
//!
//! The disk is divided into *clusters* (64 KiB unless chosen otherwise), and so is the file. The *L1 table* points to *L2
//! tables*, whose entries say where each cluster of the disk is in the file: nowhere (then the backing file has it, or it
//! is zero), at an offset, compressed, or that it is zero. *Refcounts* say how many references there are to each cluster
//! of the file; internal snapshots are further L1 tables, and what they share has more than one.
//!
//! **Order of writes.** Nothing in the file points to what is not there yet. A write to a new cluster writes the data,
//! and keeps the entry and the refcount in memory. A *commit* (at a flush, at the end, and when much is waiting) syncs the
//! data, then writes refcounts, L2 entries and the L1 table, in this order and with nothing in between; then it takes back
//! the refcounts of what is no longer used, and syncs again. So the file is consistent whenever this program ends,
//! whichever way. When the *host* ends between the two syncs, refcounts may be missing. For that the dirty bit is in the
//! header from the first commit until the image is closed: who opens a dirty image computes the refcounts anew, as QEMU
//! does too. Version 2 has no such bit: there a sync stands between refcounts and L2 entries.
//!
//! **Threads.** Several requests run at once. The tables are behind a lock that is not held while data is read or
//! written; writes that need a new cluster wait for each other if they touch the same cluster of the disk.
//!
//! Left out: encryption, external data files, extended L2 entries (an image with them is refused by name). Bitmaps are
//! declared out of date when the image is written to.
//!
//! | file | what it has |
//! |---|---|
//! | `header.rs`, `entry.rs` | the header and an L2 entry, as bytes and as what they mean |
//! | `tables.rs`, `refcounts.rs`, `count.rs` | what is known of the tables, bounded caches |
//! | `read.rs`, `write.rs`, `zeroes.rs` | requests |
//! | `commit.rs` | tables get into the file |
//! | `create.rs`, `manage.rs`, `merge.rs` | a new image; another size, another backing file; what it has goes into that |
//! | `snapshot.rs`, `vm_state.rs`, `date.rs` | internal snapshots, and machines beside them |
//! | `check.rs`, `references.rs` | is the image consistent, and repair |

pub(crate) mod check;
mod commit;
mod compress;
mod count;
mod create;
mod date;
mod entry;
mod header;
mod manage;
mod merge;
mod read;
mod refcounts;
mod references;
mod snapshot;
mod tables;
mod vm_state;
mod write;
mod zeroes;

pub use check::{Findings, Repair};
pub use compress::pack;
pub use create::{CreateOptions, Preallocation, create};
pub use date::date;
pub use header::{Compression, Header};
pub use snapshot::{NewSnapshot, Snapshot};
pub use vm_state::{VmStateReader, VmStateWriter};

use crate::block::{BlockBackend, BlockError, BlockLimits, Extent, check_range};
use crate::bytes::be_table;
use crate::file::ImageFile;
use entry::Entry;
use refcounts::Refcounts;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tables::Tables;

/// Bytes of new clusters that one step of a write allocates.
const MOST_NEW_BYTES: u64 = 4 << 20;
/// Clusters that may wait to be given back before a commit must do it.
const MOST_FREED: usize = 16384;

/// What an image is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To be read.
    Read,
    /// To be read and written. An image that was not closed is repaired first.
    Write,
    /// To be checked.
    Check,
    /// To be checked and repaired.
    Repair,
}

/// An open qcow2 image.
pub struct Qcow2 {
    file: Arc<dyn ImageFile>,
    header: RwLock<Header>,
    version: u32,
    cluster_bits: u32,
    compression: Compression,
    size: AtomicU64,
    backing: RwLock<Option<Arc<dyn BlockBackend>>>,
    read_only: bool,
    tables: RwLock<Tables>,
    /// Held for reading by each request, and for writing by what gives clusters back or changes the image as a whole.
    requests: RwLock<()>,
    commits: Mutex<()>,
    in_work: InWork,
    /// The header says that refcounts may be wrong.
    is_marked: AtomicBool,
    /// The file has at least this length.
    file_bytes: AtomicU64,
    last_unpacked: Mutex<Option<(Entry, Arc<Vec<u8>>)>>,
    next_packed: Mutex<Option<u64>>,
}

/// Clusters of the disk that are being given a new place.
#[derive(Default)]
struct InWork {
    clusters: Mutex<HashSet<u64>>,
    changed: Condvar,
}

/// Clusters that the holder may give new places.
struct Claim<'a> {
    of: &'a InWork,
    first: u64,
    end: u64,
}

impl InWork {
    /// Waits until nobody works on these clusters, and claims them.
    fn claim(&self, first: u64, end: u64) -> Claim<'_> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        while (first..end).any(|cluster| clusters.contains(&cluster)) {
            clusters = self.changed.wait(clusters).unwrap_or_else(PoisonError::into_inner);
        }
        clusters.extend(first..end);
        Claim { of: self, first, end }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut clusters = self.of.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        (self.first..self.end).for_each(|cluster| {
            clusters.remove(&cluster);
        });
        self.of.changed.notify_all();
    }
}

impl Qcow2 {
    /// Opens an image whose backing file, if it names one, is `backing`.
    ///
    /// # Errors
    /// The image is damaged, asks for what is not supported, or must be repaired before it can be written to.
    pub fn open(
        file: Arc<dyn ImageFile>,
        header: Header,
        backing: Option<Arc<dyn BlockBackend>>,
        mode: Mode,
    ) -> Result<Self, BlockError> {
        if header.is_corrupt() && mode == Mode::Write {
            return Err(BlockError::Damaged(
                "it is marked as corrupt: `trimotor img check -r all` may repair it; it can be opened read-only".into(),
            ));
        }
        let file_bytes = file.bytes()?;
        let l1 = read_table(&*file, "the L1 table", header.l1_at, u64::from(header.l1_entries) * 8)?;
        let table_bytes = u64::from(header.refcount_table_clusters) << header.cluster_bits;
        let table = match mode {
            // Reading needs no refcounts.
            Mode::Read => Vec::new(),
            _ => read_table(&*file, "the refcount table", header.refcount_table_at, table_bytes)?,
        };
        let read_only = matches!(mode, Mode::Read | Mode::Check);
        let refcounts =
            Refcounts::new(header.cluster_bits, header.refcount_order, table, header.refcount_table_at);
        let tables = Tables::new(&header, l1, refcounts, file_bytes, file.grows_with_zeroes());
        let image = Self {
            file,
            version: header.version,
            cluster_bits: header.cluster_bits,
            compression: header.compression,
            size: AtomicU64::new(header.size.next_multiple_of(512)),
            backing: RwLock::new(backing),
            read_only,
            tables: RwLock::new(tables),
            requests: RwLock::new(()),
            commits: Mutex::new(()),
            in_work: InWork::default(),
            is_marked: AtomicBool::new(header.is_dirty()),
            file_bytes: AtomicU64::new(file_bytes),
            last_unpacked: Mutex::new(None),
            next_packed: Mutex::new(None),
            header: RwLock::new(header),
        };
        if mode == Mode::Write && image.version > 2 && image.is_marked.load(Ordering::Relaxed) {
            check::repair_after_crash(&image)?;
        }
        Ok(image)
    }
    /// What the header says now.
    pub fn header(&self) -> Header {
        self.header.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Bytes of a cluster.
    pub fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }
    /// The image that this one stands on, if it does.
    fn backing(&self) -> Option<Arc<dyn BlockBackend>> {
        self.backing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
    /// Held by a request that does not give clusters back.
    fn request(&self) -> RwLockReadGuard<'_, ()> {
        self.requests.read().unwrap_or_else(PoisonError::into_inner)
    }
    /// Held by what must be alone.
    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.requests.write().unwrap_or_else(PoisonError::into_inner)
    }
    fn check_write(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_range(offset, bytes, self.size())
    }
    /// Checks that the file has a cluster that a table points to.
    fn check_in_file(&self, at: u64) -> Result<(), BlockError> {
        // Zeroes at the end of the last cluster need not be there.
        let at = at & !(self.cluster_bytes() - 1);
        if at < self.file_bytes.load(Ordering::Relaxed) {
            return Ok(());
        }
        let bytes = self.file.bytes()?;
        self.file_bytes.store(bytes, Ordering::Relaxed);
        if at < bytes {
            return Ok(());
        }
        Err(BlockError::Damaged(format!(
            "the file ends at {bytes:#x}, before the cluster at {at:#x}: it is truncated"
        )))
    }
}

/// Reads a table whose size was checked.
fn read_table(file: &dyn ImageFile, what: &str, at: u64, bytes: u64) -> Result<Vec<u64>, BlockError> {
    let file_bytes = file.bytes()?;
    if bytes > 0 && at.saturating_add(bytes) > file_bytes.next_multiple_of(512) {
        return Err(BlockError::Damaged(format!(
            "{what} is at {at:#x} and has {bytes} bytes, but the file has {file_bytes}: it is truncated"
        )));
    }
    let mut table = vec![0; bytes as usize];
    file.read_at(at, &mut table)?;
    Ok(be_table(&table))
}

impl BlockBackend for Qcow2 {
    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }
    fn limits(&self) -> BlockLimits {
        let cluster = u32::try_from(self.cluster_bytes()).unwrap_or(u32::MAX);
        BlockLimits { read_only: self.read_only, preferred_bytes: cluster, discard_bytes: Some(cluster) }
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        check_range(offset, into.len() as u64, self.size())?;
        let _request = self.request();
        self.read_range(offset, into)
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
        self.check_write(offset, from.len() as u64)?;
        {
            let _request = self.request();
            self.write_range(offset, from)?;
        }
        self.commit_if_much_waits()
    }
    fn flush(&self) -> Result<(), BlockError> {
        if self.read_only { Ok(()) } else { self.commit() }
    }
    fn settle(&self) -> Result<(), BlockError> {
        self.close()
    }
    fn as_qcow2(&self) -> Option<&Qcow2> {
        Some(self)
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
        self.check_write(offset, bytes)?;
        self.zero_range(offset, bytes, unmap)?;
        self.commit_if_much_waits()
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        self.check_write(offset, bytes)?;
        self.discard_range(offset, bytes)?;
        self.commit_if_much_waits()
    }
    fn extent(&self, offset: u64, bytes: u64) -> Result<Extent, BlockError> {
        check_range(offset, bytes, self.size())?;
        let _request = self.request();
        self.extent_at(offset, bytes)
    }
}

impl Drop for Qcow2 {
    fn drop(&mut self) {
        // Who wants to know of a failure flushes before; the image is consistent either way.
        let _ = self.close();
    }
}
