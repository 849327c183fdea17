//! The guest's page tables as the walk reads them from RAM.

// Entries are accessed atomically through host pointers; see the SAFETY notes.
#![allow(unsafe_code)]

use super::fill::FillRequest;
use super::tracking::Path;
use super::walk::{Access, PageWalk, WalkConfig, walk};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use trimotor_bus::memory::View;
use trimotor_bus::{GuestMemory, LinearAddr, PhysAddr};

/// Page-table accesses go straight to RAM; the entries read are noted.
pub(super) struct GuestTables<'a> {
    memory: &'a GuestMemory,
    view: View,
    /// A level whose entries are in registers: 3 with PAE paging, else 0.
    in_registers: u8,
    /// The entries read.
    pub(super) path: Path,
}

impl<'a> GuestTables<'a> {
    pub(super) fn new(memory: &'a GuestMemory, config: &WalkConfig, view: View) -> GuestTables<'a> {
        let in_registers = if config.has_pdptes() { 3 } else { 0 };
        GuestTables { memory, view, in_registers, path: Path::default() }
    }
}

impl PageWalk for GuestTables<'_> {
    #[inline]
    fn read_entry(&mut self, addr: PhysAddr, bytes: u8) -> u64 {
        let page = self.memory.backing_for(addr, self.view).read;
        if page.is_null() {
            return 0;
        }
        let at = page.wrapping_add(addr.page_offset() as usize);
        // SAFETY: `page` is a mapped page of RAM or ROM; entries are naturally aligned and so
        // lie within it.
        unsafe {
            if bytes == 4 {
                (*(at as *const AtomicU32)).load(Ordering::Relaxed) as u64
            } else {
                (*(at as *const AtomicU64)).load(Ordering::Relaxed)
            }
        }
    }
    fn set_bits(&mut self, addr: PhysAddr, old: u64, bits: u64, bytes: u8) -> bool {
        let backing = self.memory.backing_for(addr, self.view);
        let page = backing.write;
        if page.is_null() {
            return true; // tables in ROM keep what they have
        }
        let at = page.wrapping_add(addr.page_offset() as usize);
        if backing.read != page {
            // Tables in ROM whose writes go to RAM: what is read stays as it is.
            self.memory.write_by_vcpu(addr, &(old | bits).to_le_bytes()[..usize::from(bytes)], self.view);
            return true;
        }
        let (o, r) = (Ordering::AcqRel, Ordering::Relaxed);
        // SAFETY: as in read_entry, and RAM is writable.
        let done = unsafe {
            if bytes == 4 {
                let e = &*(at as *const AtomicU32);
                e.compare_exchange(old as u32, (old | bits) as u32, o, r).is_ok()
            } else {
                (*(at as *const AtomicU64)).compare_exchange(old, old | bits, o, r).is_ok()
            }
        };
        if let Some(ram_page) = backing.ram_page {
            self.memory.note_flags_set(ram_page, addr.page_offset(), bytes.into());
        }
        done
    }
    #[inline]
    fn note(&mut self, level: u8, addr: PhysAddr, entry: u64) {
        if level != self.in_registers {
            self.path.push(addr, level, entry);
        }
    }
}

impl GuestTables<'_> {
    /// Whether the entries are still what they were, but for the accessed and dirty flags.
    pub(super) fn unchanged(&mut self, bytes: u8) -> bool {
        const ACCESSED_AND_DIRTY: u64 = 0x60;
        let path = std::mem::take(&mut self.path);
        path.values().all(|(addr, value)| (self.read_entry(addr, bytes) ^ value) & !ACCESSED_AND_DIRTY == 0)
    }
}

/// The tables for walks that set no flags and leave nothing behind; `N` is told of each entry read.
struct Quiet<'a, N>(GuestTables<'a>, N);

impl<N: FnMut(u8, PhysAddr, u64)> PageWalk for Quiet<'_, N> {
    fn read_entry(&mut self, addr: PhysAddr, bytes: u8) -> u64 {
        self.0.read_entry(addr, bytes)
    }
    fn set_bits(&mut self, _: PhysAddr, _: u64, _: u64, _: u8) -> bool {
        true
    }
    fn note(&mut self, level: u8, addr: PhysAddr, entry: u64) {
        (self.1)(level, addr, entry);
    }
}

/// Walks for a debugger or a report: no flags set, nothing remembered. `notes` gets a line for
/// each table entry read.
pub(super) fn inspect(
    memory: &GuestMemory,
    config: &WalkConfig,
    view: View,
    linear: u64,
    notes: &mut Vec<String>,
) -> Option<PhysAddr> {
    let note = |level, addr: PhysAddr, entry| {
        let present = if entry & 1 == 0 { ", not present" } else { "" };
        notes.push(format!("level {level} entry at {:#x}: {entry:#018x}{present}", addr.0));
    };
    let mut tables = Quiet(GuestTables::new(memory, config, view), note);
    walk(&mut tables, config, LinearAddr(linear), Access::Read, false).ok().map(|r| r.phys)
}

/// Where an access would lead by a walk that sets no flags; `None` where it would fault.
pub(super) fn look(
    memory: &GuestMemory,
    config: &WalkConfig,
    view: View,
    linear: u64,
    request: FillRequest,
) -> Option<PhysAddr> {
    let mut tables = Quiet(GuestTables::new(memory, config, view), |_, _, _| ());
    walk(&mut tables, config, LinearAddr(linear), request.access, request.user).ok().map(|r| r.phys)
}
