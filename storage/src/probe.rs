//! Which format an image has, by its first bytes.

use crate::bytes::{be_u32, le_u32};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A format of disk images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The content as it is.
    Raw,
    /// QEMU's, versions 2 and 3.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// Microsoft's Virtual Hard Disk, which QEMU calls `vpc`.
    Vhd,
    /// VirtualBox's.
    Vdi,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 5] = [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vhd, Format::Vdi];
    /// Its name on command lines and in headers.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Vhd => "vpc",
            Format::Vdi => "vdi",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "vhd" => Ok(Format::Vhd),
            _ => Format::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
                format!("there is no image format `{text}`: raw, qcow2, vmdk, vpc (or vhd) and vdi are known")
            }),
        }
    }
}

/// The format whose mark these first bytes bear, 512 or fewer.
pub fn by_head(head: &[u8]) -> Option<Format> {
    match be_u32(head, 0) {
        0x5146_49FB if matches!(be_u32(head, 4), 2 | 3) => return Some(Format::Qcow2),
        _ => {}
    }
    if head.starts_with(b"KDMV") || head.starts_with(b"COWD") || head.starts_with(b"# Disk DescriptorFile") {
        return Some(Format::Vmdk);
    }
    if head.starts_with(b"conectix") {
        return Some(Format::Vhd);
    }
    (le_u32(head, 0x40) == 0xBEDA_107F).then_some(Format::Vdi)
}

/// Whether a file of this name is taken for a raw image by people.
pub fn name_says_raw(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    matches!(extension.as_str(), "raw" | "img" | "iso" | "bin" | "dd" | "ima" | "vfd" | "flp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_and_nothing_else() {
        assert_eq!(by_head(b"QFI\xfb\0\0\0\x03"), Some(Format::Qcow2));
        assert_eq!(by_head(b"QFI\xfb\0\0\0\x01"), None);
        assert_eq!(by_head(b"KDMV\x01\0\0\0"), Some(Format::Vmdk));
        assert_eq!(by_head(b"# Disk DescriptorFile\nversion=1"), Some(Format::Vmdk));
        assert_eq!(by_head(b"conectix\0\0\0\x02"), Some(Format::Vhd));
        let mut vdi = [0; 512];
        vdi[0x40..0x44].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
        assert_eq!(by_head(&vdi), Some(Format::Vdi));
        assert_eq!(by_head(&[0; 512]), None);
        assert_eq!(by_head(b""), None);
    }
    #[test]
    fn names_are_read() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert!("qcow".parse::<Format>().is_err_and(|why| why.contains("qcow2")));
    }
}
