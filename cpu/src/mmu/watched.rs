//! Pages that somebody watches: writes to them, and the right to write them unseen.

// The table in use is looked into as engines do; see the SAFETY note.
#![allow(unsafe_code)]

use super::entry::{HELD, tlb_index};
use super::spaces::Mmu;
use super::writable::Place;
use crate::state::CpuState;
use std::sync::atomic::{Ordering, fence};
use trimotor_bus::PhysAddr;
use trimotor_bus::memory::PageState;

impl Mmu {
    /// Notes that an entry allows to write to a RAM page unseen.
    #[inline]
    pub(super) fn note_writable(&mut self, ram_page: u64, space: usize, kind: usize, index: usize) {
        if self.writable.is_full() {
            self.collect_writable();
        }
        let place = Place { space: space as u8, kind: kind as u8, index: index as u16 };
        self.writable.add(ram_page, place);
    }
    /// Puts the chains of writable pages together anew.
    #[cold]
    fn collect_writable(&mut self) {
        self.writable.clear();
        let Mmu { spaces, writable, memory, .. } = self;
        for (space, s) in spaces.iter_mut().enumerate() {
            for (kind, t) in s.tables.iter_mut().enumerate() {
                let Some(t) = t else { continue };
                t.for_each(|i, e| {
                    if e.write_tag == e.read_tag
                        && let Some(ram_page) = memory.ram_page_of_host(e.host)
                    {
                        writable
                            .add(ram_page, Place { space: space as u8, kind: kind as u8, index: i as u16 });
                    }
                });
            }
        }
        self.writable.set_limit();
    }
    /// Takes the right to write a RAM page unseen away.
    pub(super) fn hold_page(&mut self, ram_page: u64) {
        self.losses += 1;
        let Mmu { spaces, writable, memory, .. } = self;
        let host = memory.ram_page_host(ram_page);
        writable.take(ram_page, |p| {
            spaces[p.space as usize].hold(p.kind as usize, p.index as usize, host);
        });
        memory.peers().drop_writer(self.cpu, ram_page);
    }
    /// Takes the right to write unseen from all entries of a RAM page (host address of its first byte),
    /// of this vCPU and of all others: its code is about to be read, and its state says so.
    pub fn protect_page(&mut self, host_page: *mut u8) {
        if let Some(ram_page) = self.memory.ram_page_of_host(host_page) {
            self.hold_page(ram_page);
            self.protect_from_peers(ram_page);
        }
    }
    /// Has other vCPUs give up the right to write a RAM page unseen.
    pub(super) fn protect_from_peers(&mut self, ram_page: u64) {
        if self.memory.peers().has_other_writers(self.cpu, ram_page) {
            let memory = self.memory.clone();
            memory.peers().protect(self.cpu, ram_page, || self.serve_protect());
        }
    }
    /// Gives up what other vCPUs want this one to give up.
    pub fn serve_protect(&mut self) {
        let memory = self.memory.clone();
        memory.peers().serve_protect(self.cpu, |ram_page| match ram_page {
            Some(ram_page) => self.hold_page(ram_page),
            None => self.writable.pages().into_iter().for_each(|ram_page| self.hold_page(ram_page)),
        });
    }
    /// Announces that an entry is about to allow to write to a RAM page unseen; false where that must
    /// not be, as the page has a state.
    #[inline]
    pub(super) fn may_write_unseen(&mut self, ram_page: u64) -> bool {
        let newly = self.memory.peers().add_writer(self.cpu, ram_page);
        let ordinary = self.memory.page_state(ram_page).load(Ordering::SeqCst) == 0;
        if newly && !ordinary {
            self.memory.peers().drop_writer(self.cpu, ram_page);
        }
        ordinary
    }

    /// Host address of `bytes` bytes at `linear` that the table in use allows to write, but not unseen.
    #[inline]
    pub fn held(&self, state: &CpuState, linear: u64, bytes: u64) -> Option<*mut u8> {
        // SAFETY: `tlb` points to a table of TLB_ENTRIES entries, and the index is within it.
        let e = unsafe { &*state.tlb.add(tlb_index(linear)) };
        let offset = linear.wrapping_sub(e.write_tag ^ HELD);
        if offset <= 4096 - bytes { Some(e.host.wrapping_add(offset as usize)) } else { None }
    }
    /// A page has no state any more: what is held of it in the entry for `linear` of the table in use
    /// may be written unseen again.
    pub fn release(&mut self, state: &CpuState, linear: u64, ram_page: u64) {
        if !self.may_write_unseen(ram_page) {
            return;
        }
        let kind = Self::kind(state, state.cpl == 3);
        let (space, i) = (self.table_space(kind), tlb_index(linear));
        let e = &mut self.spaces[space].table(kind).entries[i];
        if e.write_tag == linear & !0xFFF ^ HELD {
            e.write_tag ^= HELD;
            self.note_writable(ram_page, space, kind, i);
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
    /// A device wrote to memory.
    pub fn device_wrote(&mut self, state: &mut CpuState, addr: PhysAddr, bytes: u64) {
        let Some(ram_page) = self.memory.ram_page(addr) else { return };
        if self.memory.page_state(ram_page).load(Ordering::Acquire) & PageState::PAGE_TABLE != 0 {
            self.table_written(state, ram_page, addr.page_offset(), bytes);
        }
    }
    fn granule_written(&mut self, ram_page: u64, granule: u32) {
        self.losses += 1;
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
