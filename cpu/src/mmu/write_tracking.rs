//! Pages that somebody tracks: writes to them, and the right to write them inline.

// The table in use is looked into as engines do; see the SAFETY note.
#![allow(unsafe_code)]

use super::address_spaces::Mmu;
use super::entry::{WRITE_PROTECTED, tlb_index};
use super::reverse_map::Place;
use crate::state::CpuState;
use std::sync::atomic::{Ordering, fence};
use trimotor_bus::memory::PageState;

impl Mmu {
    /// Notes that an entry allows to write to a RAM page inline.
    #[inline]
    pub(super) fn note_reverse(&mut self, ram_page: u64, space: usize, kind: usize, index: usize) {
        if self.reverse_map.is_full() {
            self.rebuild_reverse_map();
        }
        let place = Place { space: space as u8, kind: kind as u8, index: index as u16 };
        self.reverse_map.add(ram_page, place);
    }
    /// Puts the chains of writable pages together anew.
    #[cold]
    fn rebuild_reverse_map(&mut self) {
        self.reverse_map.clear();
        let Mmu { spaces, reverse_map, memory, .. } = self;
        for (space, s) in spaces.iter_mut().enumerate() {
            for (kind, t) in s.tables.iter_mut().enumerate() {
                let Some(t) = t else { continue };
                t.for_each(|i, e| {
                    if e.write_tag == e.read_tag
                        && let Some(ram_page) = memory.ram_page_of_host(e.host)
                    {
                        reverse_map
                            .add(ram_page, Place { space: space as u8, kind: kind as u8, index: i as u16 });
                    }
                });
            }
        }
        self.reverse_map.set_limit();
    }
    /// Takes the right to write a RAM page inline away.
    pub(super) fn write_protect_page(&mut self, ram_page: u64) {
        self.invalidations += 1;
        let Mmu { spaces, reverse_map, memory, .. } = self;
        let host = memory.ram_page_host(ram_page);
        reverse_map.take(ram_page, |p| {
            spaces[p.space as usize].write_protect(p.kind as usize, p.index as usize, host);
        });
        memory.peers().drop_writer(self.cpu, ram_page);
    }
    /// Takes the right to write inline from all entries of a RAM page (host address of its first byte),
    /// of this vCPU and of all others: its code is about to be read, and its state says so.
    pub fn protect_page(&mut self, host_page: *mut u8) {
        if let Some(ram_page) = self.memory.ram_page_of_host(host_page) {
            self.write_protect_page(ram_page);
            self.protect_from_peers(ram_page);
        }
    }
    /// Has other vCPUs give up the right to write a RAM page inline.
    pub(super) fn protect_from_peers(&mut self, ram_page: u64) {
        if self.memory.peers().has_other_writers(self.cpu, ram_page) {
            let memory = self.memory.clone();
            memory.peers().protect(self.cpu, ram_page, || self.serve_protect());
        }
    }
    /// Gives up what other vCPUs want this one to give up.
    pub fn serve_protect(&mut self) {
        let memory = self.memory.clone();
        memory.peers().serve_protect(self.cpu, |pages| match pages {
            Some(pages) => pages.pages().for_each(|ram_page| self.write_protect_page(ram_page)),
            None => {
                self.reverse_map.pages().into_iter().for_each(|ram_page| self.write_protect_page(ram_page))
            }
        });
    }
    /// Announces that an entry is about to allow to write to a RAM page inline; false where that must
    /// not be, as the page has a state.
    #[inline]
    pub(super) fn may_write_inline(&mut self, ram_page: u64) -> bool {
        let newly = self.memory.peers().add_writer(self.cpu, ram_page);
        let ordinary = self.memory.page_state(ram_page).load(Ordering::SeqCst) == 0;
        if newly && !ordinary {
            self.memory.peers().drop_writer(self.cpu, ram_page);
        }
        ordinary
    }

    /// Host address of `bytes` bytes at `linear` that the table in use allows to write, but not inline.
    #[inline]
    pub fn write_protected(&self, state: &CpuState, linear: u64, bytes: u64) -> Option<*mut u8> {
        // SAFETY: `tlb` points to a table of TLB_ENTRIES entries, and the index is within it.
        let e = unsafe { &*state.tlb.add(tlb_index(linear)) };
        let offset = linear.wrapping_sub(e.write_tag ^ WRITE_PROTECTED);
        if offset <= 4096 - bytes { Some(e.host.wrapping_add(offset as usize)) } else { None }
    }
    /// A page has no state any more: lifts its write protection in the entry for `linear` of the table in
    /// use.
    pub fn lift_write_protection(&mut self, state: &CpuState, linear: u64, ram_page: u64) {
        if !self.may_write_inline(ram_page) {
            return;
        }
        let kind = Self::kind(state, state.cpl == 3);
        let (space, i) = (self.table_space(kind), tlb_index(linear));
        let e = &mut self.spaces[space].table(kind).entries[i];
        if e.write_tag == linear & !0xFFF ^ WRITE_PROTECTED {
            e.write_tag ^= WRITE_PROTECTED;
            self.note_reverse(ram_page, space, kind, i);
        }
    }

    /// `bytes` bytes at `offset` of a RAM page were written, which has the state
    /// [`PageState::PAGE_TABLE`]: drops what came from there.
    pub fn table_written(&mut self, state: &mut CpuState, ram_page: u64, offset: u64, bytes: u64) {
        let (first, last) = (offset / 8, (offset + bytes.max(1) - 1).min(4095) / 8);
        let mut any = false;
        if !self.memory.peers().alone() {
            // What was written is seen before the marks are looked at.
            fence(Ordering::SeqCst);
        }
        for granule in first as u32..=last as u32 {
            if self.tracker.written(ram_page, granule) {
                any = true;
                self.granule_written(ram_page, granule);
                self.tracker.dropped(ram_page);
            }
        }
        if any {
            self.refresh_key(state);
        } else {
            self.tracker.idle_write(ram_page);
        }
    }
    /// A device wrote to a RAM page.
    pub fn device_wrote(&mut self, state: &mut CpuState, ram_page: u64, offset: u64, bytes: u64) {
        if self.memory.page_state(ram_page).load(Ordering::Acquire) & PageState::PAGE_TABLE != 0 {
            self.table_written(state, ram_page, offset, bytes);
        }
    }
    fn granule_written(&mut self, ram_page: u64, granule: u32) {
        self.invalidations += 1;
        self.table_writes += 1;
        if self.set_aside(ram_page, granule) {
            return;
        }
        let found = self.tracker.dependents(ram_page, granule);
        let mut spaces = found.spaces;
        while spaces != 0 {
            let space = &mut self.spaces[spaces.trailing_zeros() as usize];
            spaces &= spaces - 1;
            for &(linear, shift) in found.ranges() {
                space.drop_around(linear, shift);
            }
        }
    }

    /// Notices what other vCPUs did to page tables. To be called before a vCPU takes an interrupt; what
    /// flushes something does it too.
    #[inline]
    pub fn catch_up(&mut self, state: &mut CpuState) {
        if self.tracker.is_behind() {
            self.look_at_events(state);
        }
    }
    #[cold]
    fn look_at_events(&mut self, state: &mut CpuState) {
        match self.tracker.events() {
            None => self.flush_all(state),
            Some(events) => {
                for event in events {
                    self.granule_written(event.ram_page, event.granule);
                }
                self.refresh_key(state);
            }
        }
    }
}
