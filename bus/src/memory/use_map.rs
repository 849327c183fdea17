//! Which parts of memory were ever used, and larger host pages where use grows.
//!
//! Memory is private to the process and costs nothing until it is touched. The host gives it page by page, each by a fault:
//! 4 KiB, or 2 MiB where it was advised to (transparent huge pages). Large pages everywhere would cost a small guest
//! memory that it never uses. So a *block* of 2 MiB is advised at its first use only if the two blocks before it, or
//! behind it, are in use nearly as a whole: memory that grows along, as a guest's does that fills its page cache or a heap,
//! comes in large pages, and what is touched here and there does not.
//!
//! Whoever gets the address of a page comes by [`touch`](GuestMemory::touch), which keeps a bit for each *chunk* of 64 KiB. The same
//! bits say which pages need be looked at when memory is saved or compared.

// The host is given advice about addresses; see the SAFETY note.
#![allow(unsafe_code)]

use super::GuestMemory;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a block: of a large page.
pub(super) const BLOCK_BYTES: u64 = 2 << 20;
/// `log2` of the pages of a block, and of a chunk.
const BLOCK_SHIFT: u32 = 9;
const CHUNK_SHIFT: u32 = 4;
/// A block with so many of its 32 chunks in use is in use nearly as a whole.
const NEARLY_FULL: u32 = 28;
/// So many such blocks in a row let the next one be a large page.
const RUN: usize = 2;

/// A bit for each chunk, a word for each block.
pub(super) struct UseMap(Box<[AtomicU32]>);

impl UseMap {
    /// For so many pages, none of them used.
    pub(super) fn new(pages: u64) -> UseMap {
        UseMap((0..pages.div_ceil(1 << BLOCK_SHIFT)).map(|_| AtomicU32::new(0)).collect())
    }
    /// The word and the bit of a page's chunk.
    #[inline]
    fn place(&self, ram_page: u64) -> (&AtomicU32, u32) {
        (&self.0[(ram_page >> BLOCK_SHIFT) as usize], 1 << (ram_page >> CHUNK_SHIFT & 31))
    }
    /// Notes pages that are in use without a first use here.
    pub(super) fn mark(&self, pages: Range<u64>) {
        for page in pages {
            let (word, chunk) = self.place(page);
            word.fetch_or(chunk, Ordering::Relaxed);
        }
    }
    fn is_nearly_full(&self, block: usize) -> bool {
        self.0.get(block).is_some_and(|word| word.load(Ordering::Relaxed).count_ones() >= NEARLY_FULL)
    }
    /// Whether use grows to a block, from below or from above.
    fn grows_to(&self, block: usize) -> bool {
        let from_below = || block >= RUN && (block - RUN..block).all(|below| self.is_nearly_full(below));
        from_below() || (block + 1..=block + RUN).all(|above| self.is_nearly_full(above))
    }
}

impl GuestMemory {
    /// A page is about to be used.
    #[inline]
    pub(super) fn touch(&self, ram_page: u64) {
        let (word, chunk) = self.used.place(ram_page);
        if word.load(Ordering::Relaxed) & chunk == 0 {
            self.first_use(ram_page);
        }
    }
    #[cold]
    #[inline(never)]
    fn first_use(&self, ram_page: u64) {
        let (word, chunk) = self.used.place(ram_page);
        let block = (ram_page >> BLOCK_SHIFT) as usize;
        if word.fetch_or(chunk, Ordering::Relaxed) == 0 && self.used.grows_to(block) {
            let start = self.base.wrapping_add(block * BLOCK_BYTES as usize);
            // SAFETY: the block begins in the mapping, which has a block more than its pages; advice changes no content. A
            // host that has no large pages refuses, and nothing is lost.
            _ = unsafe {
                rustix::mm::madvise(start.cast(), BLOCK_BYTES as usize, rustix::mm::Advice::LinuxHugepage)
            };
        }
    }
    /// The RAM pages of chunks that were ever used, in ascending order, neighbours joined; the rest is zeros.
    pub(super) fn touched(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (block, word) in self.used.0.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            for chunk in (0..32).filter(|chunk| word >> chunk & 1 != 0) {
                let first = (block as u64) << BLOCK_SHIFT | chunk << CHUNK_SHIFT;
                let end = (first + (1 << CHUNK_SHIFT)).min(self.mapped_pages());
                match ranges.last_mut() {
                    Some(last) if last.end == first => last.end = end,
                    _ => ranges.push(first..end),
                }
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PhysAddr;

    #[test]
    fn use_grows_up_and_down_but_not_from_here_and_there() {
        let used = UseMap::new(16 << BLOCK_SHIFT);
        let fill =
            |block: usize, chunks: u32| used.0[block].store(u32::MAX >> (32 - chunks), Ordering::Relaxed);
        fill(4, 32);
        assert!(!used.grows_to(5) && !used.grows_to(3));
        fill(5, NEARLY_FULL);
        assert!(used.grows_to(6) && used.grows_to(3) && !used.grows_to(7) && !used.grows_to(2));
        fill(5, NEARLY_FULL - 1);
        assert!(!used.grows_to(6) && !used.grows_to(3));
        assert!(!used.grows_to(0) && !used.grows_to(15));
    }

    #[test]
    fn what_was_used_is_known() {
        let m = GuestMemory::new((16 << 20) + 4096, &[]).unwrap();
        assert!(m.touched().is_empty());
        m.write(PhysAddr(0x1F000), &[0; 4096]);
        m.write(PhysAddr(0x20000), &[0]);
        m.read(PhysAddr(16 << 20), &mut [0]);
        // The last page shares its chunk with memory of devices.
        assert_eq!(m.touched(), [0x10..0x30, 0x1000..0x1010]);
        for block in 0..8 {
            m.write(PhysAddr(block << 21), &vec![1; BLOCK_BYTES as usize]);
        }
        let mut bytes = vec![0; 16 << 20];
        m.read(PhysAddr(0), &mut bytes);
        let hidden = 0xA_0000..0xC_0000;
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == 1 || hidden.contains(&at)));
    }
}
