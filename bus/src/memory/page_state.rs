//! Page states: what engines derive from a page, and whether it was written.
//!
//! Each RAM page has a byte of state. A page whose state is not 0 is never writable through an engine's inline
//! translation, so that the engine's slow path sees each write; a page with state 0 is written at memory speed. Devices'
//! writes come here ([`GuestMemory::write`] and what is built on it).
//!
//! Whether a page is dirty is kept as its opposite, [`PageState::CLEAN`]: [`take_dirty`](GuestMemory::take_dirty) makes dirty
//! pages clean, has all vCPUs give up the right to write them inline, and reports them; the first write to a clean page
//! takes the slow path, which takes the bit away *after* the write. A write that races with `take_dirty` is either made
//! before it returns, and seen by who then reads the page, or makes the page dirty again. A page that nobody asks for
//! has no such bit, and costs nothing.

use super::GuestMemory;
use crate::address::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};
use crate::peers::{PageRange, Written, code_granules};
use std::sync::atomic::{AtomicU8, Ordering, fence};

/// Bits of a RAM page's state.
#[derive(Clone, Copy, Debug)]
pub struct PageState;
impl PageState {
    /// An engine holds decoded or translated code from this page.
    pub const CODE: u8 = 1 << 0;
    /// An engine shadows a page table in this page.
    pub const PAGE_TABLE: u8 = 1 << 1;
    /// Not written since it was last asked for.
    pub const CLEAN: u8 = 1 << 2;
}

/// Dirty pages with at most so many others between them are protected by one request.
const GAP: u64 = 32;

impl GuestMemory {
    /// The state bits of a RAM page.
    #[inline]
    pub fn page_state(&self, ram_page: u64) -> &AtomicU8 {
        &self.states[ram_page as usize]
    }

    /// `bytes` bytes at `offset` of a RAM page, within it, were written by a device, or in its name. Returns only after the
    /// vCPUs that hold code from there and run guest code have dropped it: what is written next is seen by none of them
    /// before. See [`peers`](crate::peers) for why that ends.
    #[inline]
    pub(crate) fn device_wrote(&self, ram_page: u64, offset: u64, bytes: u64) {
        // What was written is seen before the state is looked at: who decodes code does it the other way round.
        fence(Ordering::SeqCst);
        let state = self.page_state(ram_page).load(Ordering::SeqCst);
        if state != 0 {
            self.watched_page_written(state, Written { ram_page, offset, bytes, by_device: true });
        }
    }
    /// All of a RAM page was given back to the host, and what was there is not seen any more.
    pub(super) fn device_discarded(&self, ram_page: u64) {
        let state = self.page_state(ram_page).load(Ordering::SeqCst);
        if state != 0 {
            self.watched_page_written(
                state,
                Written { ram_page, offset: 0, bytes: PAGE_SIZE, by_device: true },
            );
        }
    }
    #[cold]
    fn watched_page_written(&self, state: u8, write: Written) {
        if state & PageState::CLEAN != 0 {
            self.note_dirty(write.ram_page);
        }
        if state & PageState::PAGE_TABLE != 0 {
            self.peers.tell_all(write);
        }
        if state & PageState::CODE != 0 {
            let granules = code_granules(write.offset as usize, write.bytes as usize);
            self.peers.device_wrote_code(granules, write);
        }
    }
    /// A RAM page was written, which may be [clean](PageState::CLEAN): it is no longer. Called after the write.
    #[inline]
    pub fn note_dirty(&self, ram_page: u64) {
        self.page_state(ram_page).fetch_and(!PageState::CLEAN, Ordering::SeqCst);
    }

    /// Notes a write to RAM that was made through a pointer, not by a vCPU's instruction: if engines derived something from
    /// the page, all vCPUs look at that before their next block. Does not wait for them.
    pub fn note_write(&self, addr: PhysAddr, bytes: u64) {
        if let Some(ram_page) = self.ram_page(addr) {
            self.note_write_to(ram_page, addr.page_offset(), bytes);
        }
    }
    pub(super) fn note_write_to(&self, ram_page: u64, offset: u64, bytes: u64) {
        fence(Ordering::SeqCst);
        let state = self.page_state(ram_page).load(Ordering::SeqCst);
        if state & PageState::CLEAN != 0 {
            self.note_dirty(ram_page);
        }
        if state & !PageState::CLEAN != 0 {
            self.peers.tell_all(Written { ram_page, offset, bytes, by_device: true });
        }
    }
    /// A page walk has set flags in a page-table entry of a RAM page. As a page table the page still says the same; as code
    /// it may not.
    pub fn note_flags_set(&self, ram_page: u64, offset: u64, bytes: u64) {
        let state = self.page_state(ram_page).load(Ordering::SeqCst);
        if state & PageState::CLEAN != 0 {
            self.note_dirty(ram_page);
        }
        if state & PageState::CODE != 0 {
            self.peers.tell_all(Written { ram_page, offset, bytes, by_device: true });
        }
    }

    /// The pages of a range of RAM pages that were written since they were last asked for, by vCPUs or devices, in
    /// ascending order; all of them the first time. What is written from now on makes them dirty again.
    ///
    /// Waits until running vCPUs have given up the right to write them inline. Called by what is no vCPU, or by a vCPU in a
    /// call to the board.
    pub fn take_dirty(&self, range: PageRange) -> Vec<u64> {
        let mut dirty = Vec::new();
        for (page, state) in range.pages().zip(&self.states[range.first as usize..]) {
            if state.load(Ordering::Relaxed) & PageState::CLEAN == 0 {
                state.fetch_or(PageState::CLEAN, Ordering::SeqCst);
                dirty.push(page);
            }
        }
        let mut from = 0;
        while let Some(&first) = dirty.get(from) {
            let mut last = from;
            while last + 1 < dirty.len() && dirty[last + 1] - dirty[last] <= GAP {
                last += 1;
            }
            self.peers.protect_all(PageRange { first, count: dirty[last] - first + 1 });
            from = last + 1;
        }
        dirty
    }

    /// The RAM page number of a RAM address, whatever the windows say, or of device memory where it is shown.
    pub fn ram_page(&self, addr: PhysAddr) -> Option<u64> {
        if let Some(offset) = self.ram_offset(addr) {
            return Some(offset >> PAGE_SHIFT);
        }
        self.shown.find(addr.frame()).map(|(page, _)| page)
    }
    /// The guest-physical address of a RAM page; `None` for device memory that is shown nowhere now.
    pub fn ram_page_addr(&self, ram_page: u64) -> Option<PhysAddr> {
        let offset = ram_page << PAGE_SHIFT;
        if offset < self.low_bytes {
            Some(PhysAddr(offset))
        } else if offset < self.ram_bytes() {
            Some(PhysAddr(offset - self.low_bytes + super::HIGH_RAM_BASE))
        } else {
            self.shown.place_of(ram_page).map(|frame| PhysAddr(frame << PAGE_SHIFT))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    #[test]
    fn a_device_write_to_a_code_page_is_told_to_who_has_the_code() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let told = |cpu| {
            let mut told = Vec::new();
            m.peers().serve_written(cpu, |w| told.extend(w.map(|w| (w.ram_page, w.offset, w.bytes))));
            told
        };
        (0..2).for_each(|cpu| m.peers().attach(cpu));
        m.write(PhysAddr(0x3000), &[1]);
        assert!(!m.peers().has_written(0));
        m.page_state(4).fetch_or(PageState::CODE, Ordering::AcqRel);
        m.peers().begin_code(1, 4, || {});
        m.peers().add_code(1, 4, 1);
        m.write(PhysAddr(0x3FFF), &[1, 2]);
        m.write(PhysAddr(0x4040), &[1, 2]);
        assert_eq!((told(0), told(1)), (vec![], vec![(4, 0, 1)]));
        m.page_state(4).fetch_or(PageState::PAGE_TABLE, Ordering::AcqRel);
        m.write(PhysAddr(0x4040), &[1, 2]);
        assert_eq!((told(0), told(1)), (vec![(4, 0x40, 2)], vec![(4, 0x40, 2)]));
    }

    #[test]
    fn dirty_pages_are_those_written_since() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let region = m.add_device_memory("frame buffer", 100 << 12).unwrap();
        m.peers().attach(0);
        assert_eq!(region.take_dirty(0..u64::MAX), from_ref(&(0..100 << 12)), "all of it at first");
        assert_eq!(region.take_dirty(0..u64::MAX), []);
        region.write(0x4FFF, &[1, 2]);
        region.write(0x63000, &[1]);
        region.write(0x60000, &[1]);
        assert_eq!(region.take_dirty(0..0x5000), from_ref(&(0x4000..0x5000)));
        assert_eq!(region.take_dirty(0x3000..u64::MAX), [0x5000..0x6000, 0x60000..0x61000, 0x63000..0x64000]);
        assert_eq!(region.take_dirty(0..0), []);
        assert_eq!(region.take_dirty(u64::MAX..u64::MAX), []);
        // The pages that a vCPU is to write no more inline.
        let mut asked = Vec::new();
        m.peers()
            .serve_protect(0, |pages| asked.extend(pages.map(|p| (p.first - region.pages().first, p.count))));
        assert_eq!(asked, [(0, 100), (4, 1), (5, 1), (0x60, 4)]);
    }
}
