//! Pages of main memory that go back to the host: a guest said that it does not need their content.

// The host is given advice about addresses; see the SAFETY note.
#![allow(unsafe_code)]

use super::{GuestMemory, HIGH_RAM_BASE};
use crate::address::{PAGE_SHIFT, PhysAddr};
use std::ops::Range;
use std::sync::atomic::{Ordering, fence};

/// What is in the first megabyte stays: windows, ROM and firmware's tables.
const FIRST_FRAME: u64 = 0x100;

impl GuestMemory {
    /// Gives pages of main memory back to the host, by their guest-physical page numbers. They read as zeroes from then on, and take
    /// memory of the host again when they are used. To engines it is a device's write of zeroes. What is no main memory, or
    /// below 1 MiB, stays as it is, and so does all of a memory that began with a file's content: the host would read that anew. Returns how many pages were given.
    pub fn discard(&self, frames: Range<u64>) -> u64 {
        if self.has_file {
            return 0;
        }
        let low = FIRST_FRAME..self.low_bytes >> PAGE_SHIFT;
        let high = HIGH_RAM_BASE >> PAGE_SHIFT..(HIGH_RAM_BASE + self.high_bytes) >> PAGE_SHIFT;
        [low, high].into_iter().map(|part| self.discard_part(&frames, &part)).sum()
    }
    fn discard_part(&self, frames: &Range<u64>, part: &Range<u64>) -> u64 {
        let (first, end) = (frames.start.max(part.start), frames.end.min(part.end));
        let offset = self.ram_offset(PhysAddr(first << PAGE_SHIFT));
        let Some(offset) = offset.filter(|_| first < end) else { return 0 };
        let (at, bytes) = (self.base.wrapping_add(offset as usize), (end - first) << PAGE_SHIFT);
        // SAFETY: whole pages of the private mapping, all of which are main memory. All access them atomically, or in code
        // that is not Rust's, and find either what was there or zeroes. A host that refuses leaves what was there.
        if unsafe { rustix::mm::madvise(at.cast(), bytes as usize, rustix::mm::Advice::LinuxDontNeed) }
            .is_err()
        {
            return 0;
        }
        fence(Ordering::SeqCst);
        let page = offset >> PAGE_SHIFT;
        (page..page + (end - first)).for_each(|page| self.device_discarded(page));
        end - first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::PageState;

    #[test]
    fn what_was_given_back_is_zero_and_engines_hear_of_it() {
        let m = GuestMemory::new(4 << 20, &[]).unwrap();
        m.peers().attach(0);
        m.write(PhysAddr(0), &vec![7; 4 << 20]);
        m.page_state(0x201).fetch_or(PageState::PAGE_TABLE, Ordering::SeqCst);
        assert_eq!(m.discard(0x200..0x203), 3);
        let mut told = Vec::new();
        m.peers().serve_written(0, |w| told.extend(w.map(|w| (w.ram_page, w.offset, w.bytes))));
        assert_eq!(told, [(0x201, 0, 4096)]);
        let byte = |at: u64| {
            let mut byte = [0];
            m.read(PhysAddr(at), &mut byte);
            byte[0]
        };
        assert_eq!([0x1F_FFFF, 0x20_0000, 0x20_2FFF, 0x20_3000].map(byte), [7, 0, 0, 7]);
        // Past the end, below 1 MiB, and where nothing is.
        assert_eq!(m.discard(0x3FF..u64::MAX), 1);
        assert_eq!(m.discard(0..0x100), 0);
        assert_eq!(m.discard(0x10_0000..0x20_0000), 0);
        let (first, end) = (5, 3);
        assert_eq!(m.discard(first..end), 0);
        assert_eq!(byte(0x9_0000), 7);
    }
}
