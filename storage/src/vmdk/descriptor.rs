//! The descriptor: a text with the disk's properties and the list of its extents.

use crate::block::BlockError;
use crate::file::ImageFile;

/// Longest descriptor that is read.
const MOST_BYTES: u64 = 1 << 20;
/// Most extents of a disk.
const MOST_EXTENTS: usize = 4096;
/// No parent.
const NO_PARENT: &str = "ffffffff";

/// What a descriptor says.
pub(super) struct Descriptor {
    pub(super) extents: Vec<Listed>,
    parent: Option<String>,
}

/// An extent as it is listed.
pub(super) struct Listed {
    pub(super) bytes: u64,
    pub(super) kind: Kind,
}

/// What an extent is.
pub(super) enum Kind {
    Zero,
    Flat { name: String, at: u64 },
    Sparse { name: String },
}

fn damaged(what: String) -> BlockError {
    BlockError::Damaged(format!("its VMDK descriptor: {what}"))
}

/// Reads a descriptor's text from a file.
pub(super) fn text(file: &dyn ImageFile, at: u64, bytes: u64) -> Result<String, BlockError> {
    if bytes > MOST_BYTES || at.saturating_add(bytes) > file.bytes()? {
        return Err(damaged(format!("{bytes} bytes at {at:#x} are too many, or it is truncated")));
    }
    let mut text = vec![0; bytes as usize];
    file.read_at(at, &mut text)?;
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

impl Descriptor {
    pub(super) fn read(text: &str) -> Result<Self, BlockError> {
        let mut descriptor = Self { extents: Vec::new(), parent: None };
        for line in text.lines().map(str::trim) {
            if let Some(extent) = read_extent(line)? {
                if descriptor.extents.len() >= MOST_EXTENTS {
                    return Err(damaged(format!("more than {MOST_EXTENTS} extents")));
                }
                descriptor.extents.push(extent);
            } else if let Some((name, value)) = line.split_once('=') {
                let value = value.trim().trim_matches('"');
                match name.trim() {
                    "parentCID" if value != NO_PARENT => descriptor.parent = Some(value.to_owned()),
                    "createType"
                        if matches!(
                            value,
                            "vmfsSparse" | "seSparse" | "fullDevice" | "partitionedDevice"
                        ) =>
                    {
                        return Err(BlockError::Unsupported(format!("the VMDK type {value}")));
                    }
                    _ => {}
                }
            }
        }
        Ok(descriptor)
    }
    /// Refuses a disk that stands on another.
    pub(super) fn check_parent(&self) -> Result<(), BlockError> {
        match &self.parent {
            None => Ok(()),
            Some(_) => Err(BlockError::Unsupported(
                "a VMDK disk that stands on a parent (a clone or snapshot: make a full clone in VMware first)".into(),
            )),
        }
    }
}

/// Reads a line such as `RW 4192256 SPARSE "disk-s001.vmdk"`; none where the line is another one.
fn read_extent(line: &str) -> Result<Option<Listed>, BlockError> {
    let mut words = line.splitn(4, char::is_whitespace);
    let access = words.next().unwrap_or_default();
    if !matches!(access, "RW" | "RDONLY" | "NOACCESS") {
        return Ok(None);
    }
    let wrong = || damaged(format!("the extent `{line}`"));
    let sectors: u64 = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
    let bytes = sectors.checked_mul(512).ok_or_else(wrong)?;
    let kind = words.next().ok_or_else(wrong)?;
    let rest = words.next().unwrap_or_default();
    let (name, offset) = match rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some((name, offset)) => (name.to_owned(), offset.trim()),
        None => (String::new(), ""),
    };
    let kind = match kind {
        "ZERO" => Kind::Zero,
        _ if name.is_empty() => return Err(wrong()),
        "FLAT" | "VMFS" => {
            let sector: u64 = if offset.is_empty() { 0 } else { offset.parse().map_err(|_| wrong())? };
            Kind::Flat { name, at: sector.checked_mul(512).ok_or_else(wrong)? }
        }
        "SPARSE" => Kind::Sparse { name },
        kind => return Err(BlockError::Unsupported(format!("the VMDK extent type {kind}"))),
    };
    Ok(Some(Listed { bytes, kind }))
}
