//! The header of a qcow2 image and its extensions.
//!
//! Everything is checked here before anything is allocated: sizes have bounds, tables lie at cluster boundaries. The
//! source is QEMU's "Qcow2 Image File Format" (`docs/interop/qcow2.txt`), sections "Header" and "Header extensions".

use crate::block::BlockError;
use crate::bytes::{be_u32, be_u64};
use crate::file::ImageFile;

const MAGIC: u32 = 0x5146_49FB;
/// Bytes of a header of version 2.
const V2_BYTES: u32 = 72;
/// Bytes of the shortest header of version 3.
const V3_BYTES: u32 = 104;
/// Bytes of the headers that we write: with the compression type.
const OUR_BYTES: u32 = 112;
/// Where the fields are that change in an image's life: table sizes and offsets, snapshots, features.
pub(super) const L1_FIELDS_AT: u64 = 36;
pub(super) const SIZE_AT: u64 = 24;
pub(super) const REFCOUNT_FIELDS_AT: u64 = 48;
pub(super) const SNAPSHOT_FIELDS_AT: u64 = 60;
pub(super) const INCOMPATIBLE_AT: u64 = 72;
pub(super) const AUTOCLEAR_AT: u64 = 88;

/// Incompatible feature: refcounts may be wrong.
pub(super) const DIRTY: u64 = 1 << 0;
/// Incompatible feature: the tables may be wrong.
pub(super) const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
/// Compatible feature: refcounts may be updated late.
pub(super) const LAZY_REFCOUNTS: u64 = 1 << 0;
/// Autoclear feature: bitmaps are up to date.
pub(super) const BITMAPS: u64 = 1 << 0;

/// Largest L1 table, as QEMU has it: 32 MiB.
pub(super) const MOST_L1_ENTRIES: u32 = 4 << 20;
/// Largest refcount table, as QEMU has it: 8 MiB.
pub(super) const MOST_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
/// Most snapshots, as QEMU has it.
pub(super) const MOST_SNAPSHOTS: u32 = 65536;
/// Longest name of a backing file, as QEMU has it.
const MOST_NAME_BYTES: u32 = 1023;
/// Longest header extension that is looked at.
const MOST_EXTENSION_BYTES: u32 = 64 << 10;
/// Largest disk: the limit of file offsets.
const MOST_BYTES: u64 = i64::MAX as u64 - 511;

const END: u32 = 0;
const BACKING_FORMAT: u32 = 0xE279_2ACA;
const FEATURE_NAMES: u32 = 0x6803_F857;
pub(super) const BITMAPS_EXTENSION: u32 = 0x2385_2875;

/// How compressed clusters are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Deflate, without zlib's frame.
    #[default]
    Zlib,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Its name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Zlib => "zlib",
            Compression::Zstd => "zstd",
        }
    }
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// A cluster has 2 to the power of this many bytes.
    pub cluster_bits: u32,
    /// Bytes of the disk.
    pub size: u64,
    /// Entries of the active L1 table.
    pub l1_entries: u32,
    /// Where it begins in the file.
    pub l1_at: u64,
    /// Where the refcount table begins.
    pub refcount_table_at: u64,
    /// Its clusters.
    pub refcount_table_clusters: u32,
    /// Internal snapshots.
    pub snapshots: u32,
    /// Where their table begins.
    pub snapshots_at: u64,
    /// Bits of features that must be known.
    pub incompatible: u64,
    /// Bits of features that need not be known.
    pub compatible: u64,
    /// Bits of features that a writer that does not know them clears.
    pub autoclear: u64,
    /// A refcount has 2 to the power of this many bits.
    pub refcount_order: u32,
    /// How compressed clusters are compressed.
    pub compression: Compression,
    /// The backing file's name, as it stands there.
    pub backing: Option<String>,
    /// The backing file's format, as it stands there.
    pub backing_format: Option<String>,
    /// Extensions that are not understood here, which are kept.
    pub extensions: Vec<(u32, Vec<u8>)>,
}

fn damaged(what: impl Into<String>) -> BlockError {
    BlockError::Damaged(what.into())
}

impl Header {
    /// Bytes of a cluster.
    pub fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }
    /// Bytes of disk that one L1 entry stands for.
    pub fn bytes_of_l1_entry(&self) -> u64 {
        1 << (2 * self.cluster_bits - 3)
    }
    /// Whether refcounts may be wrong.
    pub fn is_dirty(&self) -> bool {
        self.incompatible & DIRTY != 0
    }
    /// Whether tables may be wrong.
    pub fn is_corrupt(&self) -> bool {
        self.incompatible & CORRUPT != 0
    }
    /// Whether refcounts may be updated late.
    pub fn has_lazy_refcounts(&self) -> bool {
        self.compatible & LAZY_REFCOUNTS != 0
    }
    /// Whether there are bitmaps that count.
    pub fn has_bitmaps(&self) -> bool {
        self.autoclear & BITMAPS != 0 && self.extensions.iter().any(|(kind, _)| *kind == BITMAPS_EXTENSION)
    }

    /// Reads and checks the header of an image.
    ///
    /// # Errors
    /// It is none, is damaged, or asks for what is not supported.
    pub fn read(file: &dyn ImageFile) -> Result<Self, BlockError> {
        let file_bytes = file.bytes()?;
        if file_bytes < u64::from(V2_BYTES) {
            return Err(damaged(format!("its {file_bytes} bytes are too few for a qcow2 header")));
        }
        let mut fixed = [0; OUR_BYTES as usize];
        file.read_at(0, &mut fixed)?;
        let word = |at| be_u32(&fixed, at);
        let long = |at| be_u64(&fixed, at);
        if word(0) != MAGIC {
            return Err(damaged("it is no qcow2 image: the mark at its start is missing"));
        }
        let version = word(4);
        if !matches!(version, 2 | 3) {
            return Err(BlockError::Unsupported(format!("version {version} of qcow2; 2 and 3 are known")));
        }
        let cluster_bits = word(20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(damaged(format!("clusters of 2^{cluster_bits} bytes; 2^9 to 2^21 are allowed")));
        }
        let header_bytes = if version == 2 { V2_BYTES } else { word(100) };
        if header_bytes < if version == 2 { V2_BYTES } else { V3_BYTES } || header_bytes > 1 << cluster_bits {
            return Err(damaged(format!("a header of {header_bytes} bytes")));
        }
        let v3 = |value: u64| if version == 2 { 0 } else { value };
        let mut header = Header {
            version,
            cluster_bits,
            size: long(24),
            l1_entries: word(36),
            l1_at: long(40),
            refcount_table_at: long(48),
            refcount_table_clusters: word(56),
            snapshots: word(60),
            snapshots_at: long(64),
            incompatible: v3(long(72)),
            compatible: v3(long(80)),
            autoclear: v3(long(88)),
            refcount_order: if version == 2 { 4 } else { word(96) },
            compression: Compression::Zlib,
            backing: None,
            backing_format: None,
            extensions: Vec::new(),
        };
        let names = header.read_extensions(file, header_bytes)?;
        header.check_features(&names, word(32))?;
        let compression = if header_bytes > V3_BYTES { fixed[104] } else { 0 };
        header.compression = match (header.incompatible & COMPRESSION != 0, compression) {
            (false, 0) => Compression::Zlib,
            (true, 1) => Compression::Zstd,
            (true, 2..) => {
                return Err(BlockError::Unsupported(format!(
                    "compression type {compression}; zlib and zstd are known"
                )));
            }
            _ => {
                return Err(damaged(format!(
                    "the compression type {compression} contradicts the feature bits"
                )));
            }
        };
        header.read_backing_name(file, long(8), word(16))?;
        header.check_sizes()?;
        Ok(header)
    }

    /// Reads the extensions; returns the feature name table.
    fn read_extensions(&mut self, file: &dyn ImageFile, header_bytes: u32) -> Result<Vec<u8>, BlockError> {
        let end = self.cluster_bytes();
        let mut names = Vec::new();
        let mut at = u64::from(header_bytes);
        while at + 8 <= end {
            let mut head = [0; 8];
            file.read_at(at, &mut head)?;
            let (kind, bytes) = (be_u32(&head, 0), be_u32(&head, 4));
            if kind == END {
                break;
            }
            if bytes > MOST_EXTENSION_BYTES || at + 8 + u64::from(bytes) > end {
                return Err(damaged(format!("a header extension ({kind:#010x}) of {bytes} bytes")));
            }
            let mut content = vec![0; bytes as usize];
            file.read_at(at + 8, &mut content)?;
            match kind {
                BACKING_FORMAT => self.backing_format = Some(String::from_utf8_lossy(&content).into_owned()),
                FEATURE_NAMES => names = content,
                _ => self.extensions.push((kind, content)),
            }
            at += 8 + u64::from(bytes).next_multiple_of(8);
        }
        Ok(names)
    }

    fn check_features(&self, names: &[u8], encryption: u32) -> Result<(), BlockError> {
        match encryption {
            0 => {}
            1 | 2 => {
                let how = if encryption == 1 { "AES" } else { "LUKS" };
                return Err(BlockError::Unsupported(format!("encryption ({how})")));
            }
            _ => return Err(damaged(format!("encryption method {encryption}"))),
        }
        let unknown = self.incompatible & !(DIRTY | CORRUPT | COMPRESSION);
        if unknown == 0 {
            return Ok(());
        }
        let name = |bit: u32| {
            let entry = names.chunks_exact(48).find(|entry| entry[0] == 0 && u32::from(entry[1]) == bit);
            let given =
                entry.map(|entry| String::from_utf8_lossy(&entry[2..]).trim_end_matches('\0').to_owned());
            let known = match 1u64 << bit {
                DATA_FILE => Some("external data file"),
                EXTENDED_L2 => Some("extended L2 entries"),
                _ => None,
            };
            let printable = given.filter(|name| !name.is_empty() && !name.contains(char::is_control));
            match (known, printable) {
                (Some(name), _) => format!("{name} (bit {bit})"),
                (None, Some(name)) => format!("{name} (bit {bit})"),
                (None, None) => format!("bit {bit}, which has no name"),
            }
        };
        let all: Vec<String> = (0..64).filter(|bit| unknown >> bit & 1 != 0).map(name).collect();
        Err(BlockError::Unsupported(format!("the incompatible features: {}", all.join(", "))))
    }

    fn read_backing_name(&mut self, file: &dyn ImageFile, at: u64, bytes: u32) -> Result<(), BlockError> {
        if at == 0 || bytes == 0 {
            return Ok(());
        }
        if bytes > MOST_NAME_BYTES || at.saturating_add(u64::from(bytes)) > self.cluster_bytes() {
            return Err(damaged(format!("a backing file's name of {bytes} bytes at {at:#x}")));
        }
        let mut name = vec![0; bytes as usize];
        file.read_at(at, &mut name)?;
        let name =
            String::from_utf8(name).map_err(|_| damaged("the backing file's name is no UTF-8 text"))?;
        self.backing = Some(name);
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), BlockError> {
        let is_start = |at: u64| at != 0 && at.is_multiple_of(self.cluster_bytes()) && at < 1 << 56;
        if self.size > MOST_BYTES {
            return Err(damaged(format!("a disk of {} bytes", self.size)));
        }
        if self.refcount_order > 6 {
            return Err(damaged(format!(
                "refcounts of 2^{} bits; at most 64 are allowed",
                self.refcount_order
            )));
        }
        let needed = self.size.div_ceil(self.bytes_of_l1_entry());
        if self.l1_entries > MOST_L1_ENTRIES || needed > u64::from(self.l1_entries) {
            return Err(damaged(format!(
                "an L1 table of {} entries for a disk of {} bytes, which needs {needed}",
                self.l1_entries, self.size
            )));
        }
        if self.l1_entries > 0 && !is_start(self.l1_at) {
            return Err(damaged(format!("an L1 table at {:#x}", self.l1_at)));
        }
        let table_bytes = u64::from(self.refcount_table_clusters) << self.cluster_bits;
        if !is_start(self.refcount_table_at) || table_bytes > MOST_REFCOUNT_TABLE_BYTES || table_bytes == 0 {
            return Err(damaged(format!(
                "a refcount table of {} clusters at {:#x}",
                self.refcount_table_clusters, self.refcount_table_at
            )));
        }
        if self.snapshots > MOST_SNAPSHOTS || (self.snapshots > 0 && !is_start(self.snapshots_at)) {
            return Err(damaged(format!("{} snapshots at {:#x}", self.snapshots, self.snapshots_at)));
        }
        Ok(())
    }

    /// The header as it stands in the image's first cluster, with extensions and the backing file's name.
    ///
    /// # Errors
    /// They do not fit into a cluster.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BlockError> {
        let header_bytes = if self.version == 2 { V2_BYTES } else { OUR_BYTES };
        let mut tail = Vec::new();
        let mut extension = |kind: u32, content: &[u8]| {
            tail.extend(kind.to_be_bytes());
            tail.extend((content.len() as u32).to_be_bytes());
            tail.extend(content);
            tail.resize(tail.len().next_multiple_of(8), 0);
        };
        if let Some(format) = &self.backing_format {
            extension(BACKING_FORMAT, format.as_bytes());
        }
        if self.version > 2 {
            extension(FEATURE_NAMES, &feature_names());
        }
        self.extensions.iter().for_each(|(kind, content)| extension(*kind, content));
        extension(END, &[]);
        let name = self.backing.as_deref().unwrap_or_default();
        let name_at = if name.is_empty() { 0 } else { u64::from(header_bytes) + tail.len() as u64 };
        let mut bytes = Vec::new();
        let mut put = |field: &[u8]| bytes.extend_from_slice(field);
        put(&MAGIC.to_be_bytes());
        put(&self.version.to_be_bytes());
        put(&name_at.to_be_bytes());
        put(&(name.len() as u32).to_be_bytes());
        put(&self.cluster_bits.to_be_bytes());
        put(&self.size.to_be_bytes());
        put(&0u32.to_be_bytes());
        put(&self.l1_entries.to_be_bytes());
        put(&self.l1_at.to_be_bytes());
        put(&self.refcount_table_at.to_be_bytes());
        put(&self.refcount_table_clusters.to_be_bytes());
        put(&self.snapshots.to_be_bytes());
        put(&self.snapshots_at.to_be_bytes());
        if self.version > 2 {
            put(&self.incompatible_bits().to_be_bytes());
            put(&self.compatible.to_be_bytes());
            put(&self.autoclear.to_be_bytes());
            put(&self.refcount_order.to_be_bytes());
            put(&header_bytes.to_be_bytes());
            put(&[self.compression as u8, 0, 0, 0, 0, 0, 0, 0]);
        }
        put(&tail);
        put(name.as_bytes());
        if bytes.len() as u64 > self.cluster_bytes() || name.len() as u32 > MOST_NAME_BYTES {
            return Err(BlockError::Unsupported(format!(
                "a header of {} bytes: choose larger clusters or a shorter name of the backing file",
                bytes.len()
            )));
        }
        Ok(bytes)
    }
    fn incompatible_bits(&self) -> u64 {
        let compression = if self.compression == Compression::Zlib { 0 } else { COMPRESSION };
        self.incompatible & !COMPRESSION | compression
    }
}

/// The names of the features that we may set, for programs that do not know them.
fn feature_names() -> Vec<u8> {
    let features: [(u8, u8, &str); 5] = [
        (0, 0, "dirty bit"),
        (0, 1, "corrupt bit"),
        (0, 3, "compression type"),
        (1, 0, "lazy refcounts"),
        (2, 0, "bitmaps"),
    ];
    let entry = |(kind, bit, name): (u8, u8, &str)| {
        let mut entry = vec![kind, bit];
        entry.extend(name.bytes());
        entry.resize(48, 0);
        entry
    };
    features.into_iter().flat_map(entry).collect()
}
