//! Pages that somebody watches: writes to them, and the right to write them unseen.

// The table in use is looked into as engines do; see the SAFETY note.
#![allow(unsafe_code)]

use super::entry::{HELD, tlb_index};
use super::spaces::Mmu;
use super::writable::Place;
use crate::state::CpuState;
use std::sync::atomic::Ordering;
use trimotor_bus::PhysAddr;
use trimotor_bus::memory::PageState;
use trimotor_bus::table_watch::TableEvent;

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
    }
    /// Takes the right to write without telling from all entries of a RAM page (host address of its
    /// first byte): it now holds code or a page table.
    pub fn protect_page(&mut self, host_page: *mut u8) {
        if let Some(ram_page) = self.memory.ram_page_of_host(host_page) {
            self.hold_page(ram_page);
        }
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
        for granule in first as u32..=last as u32 {
            if self.memory.tables().take(ram_page, granule) {
                any = true;
                self.granule_written(ram_page, granule);
                self.tracker.written(ram_page, granule);
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

    /// Notices what other vCPUs and devices did to page tables. To be called before a vCPU runs.
    pub fn catch_up(&mut self, state: &mut CpuState) {
        if !self.tracker.is_behind() {
            return;
        }
        match self.tracker.events() {
            None => self.flush_all(state),
            Some(events) => {
                for event in events {
                    match event {
                        TableEvent::Used { ram_page } => self.hold_page(ram_page),
                        TableEvent::Written { ram_page, granule } => {
                            self.granule_written(ram_page, granule);
                        }
                    }
                }
                self.refresh_key(state);
            }
        }
    }
}
