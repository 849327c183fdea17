//! Telling what a guest file is by its first bytes.

use super::bytes::Fields;
use super::error::BootError;
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

const WANTED: &str = "give a Linux bzImage or vmlinux, a PVH or a Multiboot kernel for x86";

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
    if fields.u16(0x1FE) == Some(0xAA55) && fields.array(0x202) == Some(*b"HdrS") {
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
                advice: WANTED,
            }),
        };
    }
    Err(foreign(file))
}

/// The error for a file that is no kernel, with what it seems to be.
fn foreign(file: &BootFile) -> BootError {
    let error = |looks_like: &str, advice| BootError::Foreign {
        file: file.name.clone(),
        looks_like: looks_like.into(),
        advice,
    };
    let b = &file.bytes;
    let at = |offset: usize, magic: &[u8]| b.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    const UNPACK: &str = "unpack it first, or give the bzImage (vmlinuz) that contains it";
    const INITRD: &str =
        "if it is an initramfs, give it with --initrd beside --kernel; a kernel must be unpacked";
    const DISK: &str = "a disk image cannot be given as --kernel; take the kernel file out of it";
    for (offset, magic, what, advice) in [
        (0, &b"\x1F\x8B"[..], "gzip-compressed data", INITRD),
        (0, b"\xFD7zXZ\0", "xz-compressed data", UNPACK),
        (0, b"\x28\xB5\x2F\xFD", "zstd-compressed data", UNPACK),
        (0, b"BZh", "bzip2-compressed data", UNPACK),
        (0, b"\x04\x22\x4D\x18", "lz4-compressed data", UNPACK),
        (0, b"\x02\x21\x4C\x18", "lz4-compressed data", UNPACK),
        (0, b"07070", "a cpio archive", INITRD),
        (0x38, b"ARM\x64", "a Linux kernel for ARM64", WANTED),
        (0x30, b"RISCV\0\0\0", "a Linux kernel for RISC-V", WANTED),
        (0, b"\x27\x05\x19\x56", "a U-Boot image", WANTED),
        (0, b"MZ", "a PE program (Windows or EFI)", WANTED),
        (0, b"QFI\xFB", "a qcow2 disk image", DISK),
        (0x8001, b"CD001", "an ISO 9660 image (CD or DVD)", DISK),
        (0x101, b"ustar", "a tar archive", WANTED),
        (0, b"!<arch>\n", "an ar archive or Debian package", "unpack it with dpkg-deb -x first"),
        (0, b"PK\x03\x04", "a zip archive", WANTED),
        (0, b"#!", "a script", WANTED),
        (0x1FE, b"\x55\xAA", "a boot sector or disk image", DISK),
    ] {
        if at(offset, magic) {
            return error(what, advice);
        }
    }
    let sample = &b[..b.len().min(1024)];
    if sample.iter().all(|&c| (b' '..=b'~').contains(&c) || matches!(c, b'\n' | b'\r' | b'\t') || c >= 0x80)
        && std::str::from_utf8(&sample[..sample.len() - sample.len().min(3)]).is_ok()
    {
        return error("text", WANTED);
    }
    if sample.iter().all(|&c| c == 0) {
        return error("a file of zeros", WANTED);
    }
    error("data of no known kind", WANTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_files_are_told_apart() {
        let mut iso = vec![0; 0x9000];
        iso[0x8001..0x8006].copy_from_slice(b"CD001");
        let mut sector = vec![1; 512];
        sector[510..].copy_from_slice(&[0x55, 0xAA]);
        for (bytes, words) in [
            (b"\x1F\x8B\x08\0".to_vec(), "gzip"),
            (b"MZ\x90\0".to_vec(), "PE program"),
            (iso, "ISO 9660"),
            (sector, "boot sector"),
            (b"hello, world\n".to_vec(), "text"),
            (vec![0; 4096], "zeros"),
            (vec![0xFF; 64], "no known kind"),
        ] {
            let e = detect(&BootFile { name: "f".into(), bytes }).unwrap_err().to_string();
            assert!(e.starts_with("f: ") && e.contains(words), "{e}");
        }
        let e = detect(&BootFile { name: "f".into(), bytes: vec![] }).unwrap_err().to_string();
        assert!(e.contains("empty"), "{e}");
    }
}
