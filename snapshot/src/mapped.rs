//! Pages of RAM that stand in a file as they are, to be mapped.
//!
//! They follow the last section, from the first multiple of [`ALIGNMENT`] on, each at its place: page n stands n pages behind
//! that. Pages of zeros are holes. The section [`MAPPED`] has a [`MappedV1`], by which pages in use are known and can be checked. Who maps
//! them does not check them, as that would read them all.

use crate::pages::{PAGE_BYTES, WINDOW_PAGES};
use crate::{FormatError, Reader, Writer};
use serde::{Deserialize, Serialize};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// The name of the section that says which pages stand behind the last section.
pub const MAPPED: &str = "mapped ram";
/// The version of its content.
pub const MAPPED_VERSION: u16 = 1;
/// What the first page's place is a multiple of, in bytes: of all hosts' pages.
pub const ALIGNMENT: u64 = 64 << 10;

/// Which pages there are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MappedV1 {
    windows: Vec<MappedWindowV1>,
}

/// Up to [`WINDOW_PAGES`] pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct MappedWindowV1 {
    /// The number of its first page, divided by [`WINDOW_PAGES`].
    number: u64,
    /// Which pages are in use: bit n of word w stands for page 64 w + n.
    present: [u64; 4],
    /// CRC-32 of these pages.
    crc: u32,
}

impl MappedV1 {
    /// Of these pages, by their numbers, which ascend.
    pub fn of<'a>(pages: impl IntoIterator<Item = (u64, &'a [u8])>) -> Self {
        let mut windows: Vec<MappedWindowV1> = Vec::new();
        let mut hasher = crc32fast::Hasher::new();
        for (page, bytes) in pages {
            let number = page / WINDOW_PAGES;
            if windows.last().is_none_or(|last| last.number != number) {
                hasher = crc32fast::Hasher::new();
                windows.push(MappedWindowV1 { number, present: [0; 4], crc: 0 });
            }
            hasher.update(bytes);
            if let Some(window) = windows.last_mut() {
                let within = page % WINDOW_PAGES;
                window.present[(within / 64) as usize] |= 1 << (within % 64);
                window.crc = hasher.clone().finalize();
            }
        }
        Self { windows }
    }
    /// How many pages there are.
    pub fn count(&self) -> u64 {
        let count = |window: &MappedWindowV1| -> u64 {
            window.present.iter().map(|word| u64::from(word.count_ones())).sum()
        };
        self.windows.iter().map(count).sum()
    }
    /// The pages, neighbours in a window joined.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.windows.iter().flat_map(MappedWindowV1::ranges)
    }
}

impl MappedWindowV1 {
    fn is_there(&self, page: u64) -> bool {
        self.present[(page / 64) as usize] >> (page % 64) & 1 != 0
    }
    fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for within in (0..WINDOW_PAGES).filter(|within| self.is_there(*within)) {
            let page = self.number.saturating_mul(WINDOW_PAGES).saturating_add(within);
            match ranges.last_mut() {
                Some(last) if last.end == page => last.end = page.saturating_add(1),
                _ => ranges.push(page..page.saturating_add(1)),
            }
        }
        ranges
    }
}

impl<W: Write + Seek> Writer<W> {
    /// Writes the last section, and pages to be mapped behind it; gives back what was written to, and where the first page's place is.
    /// The file must be made as long as all pages need, those of zeros too.
    ///
    /// # Errors
    /// The host cannot write.
    pub fn finish_mapped<'a>(
        self,
        pages: impl IntoIterator<Item = (u64, &'a [u8])>,
    ) -> Result<(W, u64), FormatError> {
        let (mut out, written) = self.end()?;
        let at = written.next_multiple_of(ALIGNMENT);
        let mut position = None;
        for (page, bytes) in pages {
            let place = at + page * PAGE_BYTES as u64;
            if position != Some(place) {
                out.seek(SeekFrom::Start(place))?;
            }
            out.write_all(bytes)?;
            position = Some(place + PAGE_BYTES as u64);
        }
        Ok((out, at))
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Hands out the pages behind the last section, which was read, and checks them.
    ///
    /// # Errors
    /// A page is damaged or missing, or what `put` says.
    pub fn mapped_pages<E: From<FormatError>>(
        mut self,
        mapped: &MappedV1,
        mut put: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let at = self.position().next_multiple_of(ALIGNMENT);
        let mut bytes = vec![0; WINDOW_PAGES as usize * PAGE_BYTES];
        for window in &mapped.windows {
            let mut hasher = crc32fast::Hasher::new();
            for pages in window.ranges() {
                let place =
                    pages.start.checked_mul(PAGE_BYTES as u64).and_then(|offset| offset.checked_add(at));
                let place = place
                    .ok_or_else(|| FormatError::in_section(MAPPED, "a page with an impossible number"))?;
                let read = &mut bytes[..(pages.end - pages.start) as usize * PAGE_BYTES];
                self.read_place(place, read)?;
                hasher.update(read);
                for (page, bytes) in pages.zip(read.chunks_exact(PAGE_BYTES)) {
                    put(page, bytes)?;
                }
            }
            if hasher.finalize() != window.crc {
                return Err(FormatError::in_section(
                    MAPPED,
                    "the checksum of its pages is wrong: the file is damaged",
                )
                .into());
            }
        }
        Ok(())
    }
}
