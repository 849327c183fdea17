//! Disks as devices see them: an array of bytes that is read, written and flushed; and the images that hold them.
//!
//! A *disk controller* has a [`BlockBackend`]. What that is, a file, a chain of images or memory, it need not know.
//! Host-facing code makes one from what the command line says:
//!
//! ```no_run
//! # fn on_the_host() -> std::sync::Arc<dyn trimotor_storage::Opener> { unimplemented!() }
//! use trimotor_storage::{Format, ImageOptions, open};
//!
//! let mut options = ImageOptions::new("disk.qcow2").format(Some(Format::Qcow2));
//! options.snapshot = true;
//! let disk = open(&options, &*on_the_host())?;
//! let mut sector = [0; 512];
//! disk.read(0, &mut sector)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The way of a request is: [`BlockBackend`] (policy of `cache=` and the like, then the format) to [`ImageFile`]
//! (bytes of a file of the host). An [`Opener`] opens files by their names; the program's is in `src/`, so that no code
//! here does. An image and its backing files are locked against other programs as QEMU locks them ([`lock()`]).
//!
//! | module | what it has |
//! |---|---|
//! | [`block`] | the interface of disks |
//! | [`file`](mod@file), [`host_file`], [`memory_file`] | the interface of files, the host's files, files in memory |
//! | [`open()`], [`options`], [`probe`] | opening: which format, which chain, which policy |
//! | [`copy`] | one disk's content to another, and whether they are equal |
//! | [`raw`], [`mod@qcow2`], [`vdi`], [`vhd`], `vmdk` | one format a module; the last three are read only |

pub mod block;
mod bytes;
pub mod copy;
pub mod file;
pub mod host_file;
mod lock;
mod mapped;
pub mod memory;
pub mod memory_file;
mod open;
pub mod options;
mod policy;
pub mod probe;
pub mod qcow2;
pub mod raw;
pub mod vdi;
pub mod vhd;
mod vmdk;

pub use block::{BlockBackend, BlockError, BlockLimits, Extent};
pub use file::{Access, FileError, ImageFile, Opener};
pub use host_file::HostFile;
pub use lock::{LockError, LockMode, lock};
pub use memory::MemoryDisk;
pub use memory_file::MemoryFile;
pub use open::{OpenError, backing_path, format_of, open, open_qcow2};
pub use options::{CacheMode, DetectZeroes, Discard, ImageOptions};
pub use probe::Format;
