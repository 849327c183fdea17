//! Writes an initramfs: a cpio archive in the "newc" format.
//!
//! The format is the one of the kernel's "initramfs buffer format" document: a header of
//! 110 ASCII characters an entry (the magic 070701 and thirteen numbers in hexadecimal),
//! the name with a NUL, the data, both padded to four bytes, and an entry named
//! `TRAILER!!!` at the end. Device nodes are entries too, so no privilege is needed.

/// File type bits of the mode (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive being written.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, &[], (0, 0));
    }
    /// Adds a file with these permission bits.
    pub fn file(&mut self, path: &str, permissions: u32, contents: &[u8]) {
        self.entry(path, REGULAR | permissions, contents, (0, 0));
    }
    /// Adds a symbolic link to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.entry(path, SYMLINK | 0o777, target.as_bytes(), (0, 0));
    }
    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | permissions, &[], (major, minor));
    }
    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let links = if mode & DIRECTORY != 0 && mode & REGULAR == 0 { 2 } else { 1 };
        let fields = [
            self.entries,
            mode,
            0, // uid
            0, // gid
            links,
            0, // modification time: archives of the same contents are the same
            data.len() as u32,
            0, // major and minor of the file system
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0, // check, unused in this format
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_the_header_of_the_format() {
        let mut archive = Archive::default();
        archive.directory("dev");
        archive.character_device("dev/console", 0o600, 5, 1);
        archive.file("init", 0o755, b"#!/bin/sh\n");
        archive.symlink("bin", "usr/bin");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[14..22], b"000041ED");
        let text = String::from_utf8_lossy(&bytes);
        let at = text.find("dev/console").unwrap();
        assert_eq!(&text[at - 110 + 14..at - 110 + 22], "00002180");
        assert_eq!(&text[at - 110 + 78..at - 110 + 94], "0000000500000001");
        assert!(text.contains("#!/bin/sh\n\0\0") && text.contains("TRAILER!!!"));
    }
}
