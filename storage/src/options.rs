//! How a disk image is opened: what `--drive` can say of it.

use crate::probe::Format;
use std::path::PathBuf;

/// How a disk image is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOptions {
    /// The image.
    pub path: PathBuf,
    /// Its format; without, the first bytes tell, unless that would be a dangerous guess.
    pub format: Option<Format>,
    /// It is not written to.
    pub read_only: bool,
    /// Writes go to a temporary file and are gone at the end.
    pub snapshot: bool,
    /// What the host does with what is written.
    pub cache: CacheMode,
    /// What happens to what the guest no longer needs.
    pub discard: Discard,
    /// What happens to zeroes that the guest writes.
    pub detect_zeroes: DetectZeroes,
    /// Without locks, for a look at an image that is in use. Read-only images only.
    pub share: bool,
    /// The image's backing file is left out: for what concerns the image alone.
    pub without_backing: bool,
}

impl ImageOptions {
    /// An image that is read and written, as QEMU opens it where nothing else is said.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: None,
            read_only: false,
            snapshot: false,
            cache: CacheMode::Writeback,
            discard: Discard::Ignore,
            detect_zeroes: DetectZeroes::Off,
            share: false,
            without_backing: false,
        }
    }
    /// The same, for reading only.
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }
    /// The same, with a format that was named.
    pub fn format(self, format: Option<Format>) -> Self {
        Self { format, ..self }
    }
}

/// What the host does with what is written (`cache=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// It lies in the host's page cache until the guest flushes.
    #[default]
    Writeback,
    /// It goes past the page cache.
    None,
    /// Each write is flushed before it is complete.
    Writethrough,
    /// Flushes do nothing: for what may be lost.
    Unsafe,
}

/// What happens to what the guest no longer needs (`discard=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discard {
    /// Nothing.
    #[default]
    Ignore,
    /// Its space is given back.
    Unmap,
}

/// What happens to zeroes that the guest writes (`detect-zeroes=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DetectZeroes {
    /// They are written.
    #[default]
    Off,
    /// They become a request for zeroes.
    On,
    /// They become a request for zeroes that gives space back, if `discard=unmap`.
    Unmap,
}
