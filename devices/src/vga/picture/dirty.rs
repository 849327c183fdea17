//! Pages of the frame buffer that were written and not drawn since.

use std::ops::Range;
use trimotor_bus::MemoryRegion;
use trimotor_bus::address::PAGE_SHIFT;

/// A bit for each page.
#[derive(Default)]
pub(super) struct DirtyPages {
    bits: Vec<u64>,
    count: usize,
}

impl DirtyPages {
    /// Asks memory which pages of a range were written since it was last asked; whether any was.
    pub(super) fn look(&mut self, memory: &MemoryRegion, range: Range<u64>) -> bool {
        let words = (memory.bytes() >> PAGE_SHIFT).div_ceil(64) as usize;
        if self.bits.len() != words {
            self.bits = vec![0; words];
        }
        let mut any = false;
        for dirty in memory.take_dirty(range) {
            any = true;
            for page in (dirty.start >> PAGE_SHIFT) as usize..(dirty.end >> PAGE_SHIFT) as usize {
                let Some(word) = self.bits.get_mut(page / 64) else { break };
                self.count += usize::from(*word & 1 << (page % 64) == 0);
                *word |= 1 << (page % 64);
            }
        }
        any
    }
    /// Whether any page is.
    pub(super) fn any(&self) -> bool {
        self.count != 0
    }
    /// Whether a page is, which is drawn now.
    pub(super) fn take(&mut self, page: usize) -> bool {
        let Some(word) = self.bits.get_mut(page / 64) else { return false };
        let dirty = *word & 1 << (page % 64) != 0;
        *word &= !(1 << (page % 64));
        self.count -= usize::from(dirty);
        dirty
    }
    /// Whether any byte of a range is on such a page.
    pub(super) fn touches(&self, bytes: Range<u64>) -> bool {
        if self.count == 0 || bytes.is_empty() {
            return false;
        }
        let pages = (bytes.start >> PAGE_SHIFT) as usize..=((bytes.end - 1) >> PAGE_SHIFT) as usize;
        pages
            .into_iter()
            .any(|page| self.bits.get(page / 64).is_some_and(|word| word & 1 << (page % 64) != 0))
    }
    /// All that is shown was drawn.
    pub(super) fn clear(&mut self) {
        if self.count != 0 {
            self.bits.fill(0);
            self.count = 0;
        }
    }
}
