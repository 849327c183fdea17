//! What a file's content looks like, so that a bare file can be put into the drive that it is for.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use trimotor_devices::floppy::Geometry;
use trimotor_storage::probe;

/// Bytes of a file's beginning that are looked at.
const HEAD: usize = 4096;

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// A CD or DVD: an ISO 9660 or UDF file system, perhaps a disk too (hybrid).
    Cd,
    /// A floppy disk, by its size.
    Floppy,
    /// A disk: a boot sector, a partition table, or content that says nothing.
    Disk,
    /// A disk image in a format of its own.
    Image,
    /// A kernel, which is no disk.
    Kernel,
}

/// Looks at a file.
///
/// # Errors
/// The host cannot read it.
pub fn of(file: &File, size: u64) -> io::Result<Content> {
    let mut head = vec![0; HEAD];
    let read = read_at_most(file, &mut head, 0)?;
    head.truncate(read);
    if probe::by_head(&head).is_some() {
        return Ok(Content::Image);
    }
    if is_kernel(&head) {
        return Ok(Content::Kernel);
    }
    // Volume descriptors begin at sector 16 of 2048 bytes (ECMA-119, "Volume Descriptors").
    let mut descriptor = [0; 6];
    if read_at_most(file, &mut descriptor, 0x8000)? == descriptor.len()
        && [&b"CD001"[..], b"BEA01", b"NSR02", b"NSR03"].contains(&&descriptor[1..])
    {
        return Ok(Content::Cd);
    }
    Ok(if Geometry::of(size).is_some() { Content::Floppy } else { Content::Disk })
}

/// Linux kernels have a boot sector too.
fn is_kernel(head: &[u8]) -> bool {
    head.starts_with(b"\x7FELF") || head.get(0x202..).is_some_and(|rest| rest.starts_with(b"HdrS"))
}

/// Reads up to the file's end.
fn read_at_most(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read_at(&mut into[read..], offset.saturating_add(read as u64)) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// The content of a file of `size` bytes with these bytes in it.
    fn content(size: u64, parts: &[(u64, &[u8])]) -> Content {
        let path: PathBuf = std::env::temp_dir().join(format!("trimotor-content-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(size).unwrap();
        for (at, bytes) in parts {
            file.write_all_at(bytes, *at).unwrap();
        }
        let content = of(&file, size).unwrap();
        std::fs::remove_file(path).unwrap();
        content
    }

    #[test]
    fn files_are_known_by_what_is_in_them() {
        const MIB: u64 = 1 << 20;
        for (size, parts, expected) in [
            (MIB, &[(0x8001, &b"CD001"[..])][..], Content::Cd),
            (MIB, &[(510, b"\x55\xAA"), (0x8001, b"CD001")], Content::Cd),
            (MIB, &[(0x8001, b"NSR02")], Content::Cd),
            (1_474_560, &[(510, b"\x55\xAA")], Content::Floppy),
            (2_949_120, &[], Content::Floppy),
            (MIB, &[(510, b"\x55\xAA")], Content::Disk),
            (MIB, &[(512, b"EFI PART")], Content::Disk),
            (0, &[], Content::Disk),
            (MIB, &[(0, b"QFI\xFB\0\0\0\x03")], Content::Image),
            (MIB, &[(0, b"KDMV")], Content::Image),
            (MIB, &[(0x40, b"\x7F\x10\xDA\xBE")], Content::Image),
            (MIB, &[(510, b"\x55\xAA"), (0x202, b"HdrS")], Content::Kernel),
            (MIB, &[(0, b"\x7FELF")], Content::Kernel),
        ] {
            assert_eq!(content(size, parts), expected, "{size} {parts:x?}");
        }
    }
}
