//! RAM that begins with what is in a file: machines that were made from one file share the pages that they do not change.
//!
//! The file is mapped in RAM's place, privately: a page is the host's page cache's, of which there is one for all, until it is
//! written. Nothing is read before it is used, so that it takes no longer with more RAM.

// The file takes the place of a part of the mapping; see the SAFETY note.
#![allow(unsafe_code)]

use super::{GuestMemory, MemoryError};
use crate::address::{PAGE_SHIFT, PAGE_SIZE};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// Where RAM begins.
#[derive(Debug)]
pub struct RamFile {
    /// The file. Whoever shortens it while it is mapped ends the program.
    pub file: File,
    /// Where RAM stands in it, in bytes: a whole number of the host's pages.
    pub at: u64,
    /// The pages that hold anything but zeros.
    pub in_use: Vec<Range<u64>>,
}

impl GuestMemory {
    /// The same as [`new`](Self::new), with RAM that begins with what is in a file.
    ///
    /// # Errors
    /// As there; a file that ends before RAM does, or cannot be mapped.
    pub fn from_file(bytes: u64, rom: &[u8], ram: &RamFile) -> Result<Arc<Self>, MemoryError> {
        let mut memory = Self::make(bytes, rom)?;
        let refuse = |reason: String| MemoryError::Host { bytes, reason };
        let length = ram.file.metadata().map_err(|error| refuse(error.to_string()))?.len();
        if ram.at.checked_add(bytes).is_none_or(|end| end > length) {
            return Err(refuse(format!("the file with it is truncated: it has {length} bytes")));
        }
        let (rights, how) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE);
        // SAFETY: RAM is the beginning of a mapping that was just made, which nobody else has seen, and which is unmapped as
        // a whole, whatever has taken a part's place.
        unsafe { mmap(memory.base.cast(), bytes as usize, rights, how, &ram.file, ram.at) }
            .map_err(|error| refuse(error.to_string()))?;
        memory.has_file = true;
        for pages in &ram.in_use {
            if pages.end > bytes >> PAGE_SHIFT {
                return Err(refuse(format!("there is no page {:#x}", pages.end * PAGE_SIZE)));
            }
            memory.used.mark(pages.clone());
        }
        Ok(Arc::new(memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PhysAddr;
    use crate::peers::PageRange;
    use std::io::Write;

    fn file(name: &str, bytes: usize) -> File {
        let path = std::env::temp_dir().join(format!("trimotor-ram-{name}-{}", std::process::id()));
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let content: Vec<u8> = (0..bytes).map(|at| (at >> PAGE_SHIFT) as u8).collect();
        file.write_all(&content).unwrap();
        file
    }

    #[test]
    fn machines_of_one_file_do_not_see_each_other_s_writes() {
        let file = file("shared", (1 << 20) + (64 << 10));
        let ram = || RamFile {
            file: file.try_clone().unwrap(),
            at: 64 << 10,
            in_use: std::iter::once(0..200).collect(),
        };
        let (a, b) = (
            GuestMemory::from_file(1 << 20, &[], &ram()).unwrap(),
            GuestMemory::from_file(1 << 20, &[], &ram()).unwrap(),
        );
        let byte = |memory: &GuestMemory, page: u64| {
            let mut byte = [0];
            memory.read(PhysAddr(page << PAGE_SHIFT), &mut byte);
            byte[0]
        };
        assert_eq!([byte(&a, 0), byte(&b, 5)], [16, 21]);
        a.write(PhysAddr(5 << PAGE_SHIFT), &[99]);
        assert_eq!([byte(&a, 5), byte(&b, 5)], [99, 21]);
        // What is in use is saved, though it was not touched.
        let pages: Vec<_> =
            b.pages_in_use(PageRange { first: 0, count: 256 }).map(|(page, _)| page).collect();
        assert!(pages.contains(&199) && !pages.contains(&250), "{pages:?}");
        // The file's pages cannot be given back: the host would read them anew.
        assert_eq!(a.discard(0x100..0x200), 0);
    }

    #[test]
    fn files_that_are_too_short_are_refused() {
        let short = file("short", 1 << 20);
        for at in [4096, 64 << 10, u64::MAX - 4095] {
            let ram = RamFile { file: short.try_clone().unwrap(), at, in_use: Vec::new() };
            assert!(GuestMemory::from_file(1 << 20, &[], &ram).is_err(), "{at}");
        }
        let outside = RamFile { file: short, at: 0, in_use: std::iter::once(0..257).collect() };
        assert!(GuestMemory::from_file(1 << 20, &[], &outside).is_err());
    }
}
