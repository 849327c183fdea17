//! Telling what a guest file is by its first bytes.

use super::bytes::Fields;
use super::error::BootError;
use super::foreign::{self, Foreign};
use super::{BootFile, elf, multiboot1, multiboot2};

/// The kinds of guest file that can be booted directly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelKind {
    /// A Linux `bzImage` (Debian's `vmlinuz`), or another program in this form such as memtest86+.
    BzImage,
    /// A Linux `vmlinux` ELF file.
    Vmlinux,
    /// An ELF file with the Xen PVH entry note.
    Pvh,
    /// A Multiboot 1 kernel.
    Multiboot1,
    /// A Multiboot 2 kernel.
    Multiboot2,
    /// A flat 16-bit image that is loaded to 7C00h and entered in real mode; never detected,
    /// because any file could be one.
    Flat,
}

impl KernelKind {
    /// The kind's name for people.
    pub fn describe(self) -> &'static str {
        match self {
            KernelKind::BzImage => "Linux bzImage",
            KernelKind::Vmlinux => "Linux vmlinux",
            KernelKind::Pvh => "PVH kernel",
            KernelKind::Multiboot1 => "Multiboot 1 kernel",
            KernelKind::Multiboot2 => "Multiboot 2 kernel",
            KernelKind::Flat => "flat image",
        }
    }
}

/// Whether the file has the boot signature and Linux's setup header.
pub(crate) fn is_bzimage(fields: Fields<'_>) -> bool {
    fields.u16(0x1FE) == Some(0xAA55) && fields.array(0x202) == Some(*b"HdrS")
}

/// Finds the kind of a kernel file.
///
/// # Errors
/// [`BootError`] that says what the file seems to be.
pub fn detect(file: &BootFile) -> Result<KernelKind, BootError> {
    let bytes = &file.bytes;
    if bytes.is_empty() {
        return Err(BootError::Empty { file: file.name.clone() });
    }
    let fields = Fields(bytes);
    if is_bzimage(fields) {
        return Ok(KernelKind::BzImage);
    }
    if multiboot2::find_header(bytes).is_some() {
        return Ok(KernelKind::Multiboot2);
    }
    if multiboot1::find_header(bytes).is_some() {
        return Ok(KernelKind::Multiboot1);
    }
    if bytes.starts_with(b"\x7FELF") {
        let image = elf::parse(file)?;
        return match image.pvh_entry {
            _ if image.is_linux(bytes) => Ok(KernelKind::Vmlinux),
            Some(_) => Ok(KernelKind::Pvh),
            None => Err(BootError::Foreign {
                file: file.name.clone(),
                looks_like: "an ELF program that is neither Linux, PVH nor Multiboot".into(),
                advice: foreign::WANTED,
            }),
        };
    }
    let Foreign { looks_like, advice } = foreign::look(bytes);
    Err(BootError::Foreign { file: file.name.clone(), looks_like, advice })
}

/// The error for a file that is not what `--boot-as` says: it lacks what that kind has.
pub(crate) fn not_a(wanted: KernelKind, lacks: &'static str, file: &BootFile) -> BootError {
    let looks_like = match detect(file) {
        Ok(kind) => format!("a {}", kind.describe()),
        Err(BootError::Foreign { looks_like, .. }) => looks_like,
        Err(error @ BootError::Empty { .. }) => return error,
        Err(_) => "a damaged kernel".into(),
    };
    BootError::NotThatKind { file: file.name.clone(), wanted: wanted.describe(), lacks, looks_like }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_files_are_told_apart() {
        for (bytes, words) in [
            (b"\x1F\x8B\x08\0".to_vec(), "gzip"),
            (b"hello, world\n".to_vec(), "text"),
            (b"MZ\x90\0".to_vec(), "DOS program"),
        ] {
            let e = detect(&BootFile { name: "f".into(), bytes }).unwrap_err().to_string();
            assert!(e.starts_with("f: ") && e.contains(words), "{e}");
        }
        let e = detect(&BootFile { name: "f".into(), bytes: vec![] }).unwrap_err().to_string();
        assert!(e.contains("empty"), "{e}");
    }
}
