//! Misses of the shadow page tables.

use super::address_space::{SUPERVISOR, SUPERVISOR_AC};
use super::address_spaces::{MANY_NON_GLOBALS, Mmu, SHARED};
use super::entry::{TlbEntry, WRITE_PROTECTED, tlb_index};
use super::guest_tables::GuestTables;
use super::tracking::Path;
use super::walk::{Access, WalkConfig, WalkResult, walk};
use crate::fault::Fault;
use crate::registers::{Cr0, Cr4};
use crate::state::CpuState;
use std::sync::atomic::Ordering;
use trimotor_bus::memory::View;
use trimotor_bus::{LinearAddr, PageBacking, PhysAddr};

/// Where an access ends up.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    /// Guest-physical address of the byte, as long as the memory map stays.
    pub phys: PhysAddr,
    /// Host address of the byte; null where the bus answers (devices, nobody, ROM writes).
    pub host: *mut u8,
    /// The RAM page has a state (code, page table): a write must tell.
    pub tracked: bool,
}

/// An access that asks for a translation.
#[derive(Clone, Copy, Debug)]
pub struct FillRequest {
    /// The access.
    pub access: Access,
    /// At user privilege.
    pub user: bool,
}

/// Whose view of memory an access takes.
fn view_for(state: &CpuState, access: Access) -> View {
    if access == Access::Execute { View::of_code(state.in_smm) } else { View::of(state.in_smm) }
}

impl Mmu {
    /// Translates, with a walk if the table does not know. The page is then remembered.
    ///
    /// # Faults
    /// #PF with its error code; `state.fault_address` is set. The caller has checked that the
    /// address is canonical.
    pub fn translate(
        &mut self,
        state: &mut CpuState,
        linear: u64,
        request: FillRequest,
        cacheable: bool,
    ) -> Result<Mapped, Fault> {
        let FillRequest { access, user } = request;
        let kind = Self::kind(state, user);
        let hit = match self.hit(kind, linear, access) {
            None if kind == SUPERVISOR_AC && self.sharing && cacheable => self.copy_shared(linear, access),
            hit => hit,
        };
        match hit {
            Some(mapped) => {
                if self.check.is_some() {
                    self.check_hit(state, linear, request, &mapped);
                }
                Ok(mapped)
            }
            None if self.keeper.is_some() => match self.put_back(state, kind, linear, request) {
                Some(mapped) => Ok(mapped),
                None => self.walk_and_fill(state, linear, request, cacheable),
            },
            None if cacheable
                && self.check.is_none()
                && let Some(phys) = self.device_pages.find(self.invalidations, kind, linear, access) =>
            {
                Ok(Mapped { phys, host: std::ptr::null_mut(), tracked: false })
            }
            None => self.walk_and_fill(state, linear, request, cacheable),
        }
    }

    /// Holds a hit against a walk, from which nothing is remembered.
    #[cold]
    fn check_hit(&mut self, state: &CpuState, linear: u64, request: FillRequest, hit: &Mapped) {
        let FillRequest { access, user } = request;
        let (config, view) = (self.config(state), View::of(state.in_smm));
        let mut tables = GuestTables::new(&self.memory, &config, view);
        let walked = walk(&mut tables, &config, LinearAddr(linear), access, user);
        let host = walked.map(|result| {
            let backing = self.memory.backing_for(result.phys, view_for(state, access));
            let page = if access == Access::Write { backing.write } else { backing.read };
            (result.phys, page.wrapping_add(result.phys.page_offset() as usize))
        });
        if let Some(check) = &mut self.check {
            check.compare(linear, access, hit.host, host);
        }
    }

    /// What the table of a kind says.
    #[inline]
    pub(super) fn hit(&mut self, kind: usize, linear: u64, access: Access) -> Option<Mapped> {
        let space = self.table_space(kind);
        let e = self.spaces[space].table(kind).entries[tlb_index(linear)];
        let (page, offset) = (linear & !0xFFF, linear & 0xFFF);
        let (tag, write_protected) = match access {
            Access::Read => (e.read_tag, false),
            Access::Write => (e.write_tag, e.write_tag == page ^ WRITE_PROTECTED),
            Access::Execute => (e.exec_tag, false),
        };
        if tag != page && !write_protected {
            return None;
        }
        let ram_page = self.memory.ram_page_of_host(e.host)?;
        let tracked = write_protected && self.memory.page_state(ram_page).load(Ordering::Acquire) != 0;
        let phys = self.phys_of(ram_page, offset);
        Some(Mapped { phys, host: e.host.wrapping_add(offset as usize), tracked })
    }

    /// The guest-physical address of a byte of a RAM page. Where it has none any more, as it is device memory that the
    /// guest has just hidden: the last address of all, where no memory is.
    fn phys_of(&self, ram_page: u64, offset: u64) -> PhysAddr {
        self.memory.ram_page_addr(ram_page).map_or(PhysAddr(u64::MAX), |addr| addr.offset(offset))
    }

    fn walk_and_fill(
        &mut self,
        state: &mut CpuState,
        linear: u64,
        request: FillRequest,
        cacheable: bool,
    ) -> Result<Mapped, Fault> {
        let FillRequest { access, user } = request;
        let (config, view) = (self.config(state), View::of(state.in_smm));
        let kind = Self::kind(state, user);
        let memory = self.memory_of_walks.clone();
        let result = loop {
            self.walks += 1;
            let mut tables = GuestTables::new(&memory, &config, view);
            let result = match walk(&mut tables, &config, LinearAddr(linear), access, user) {
                Ok(result) => result,
                Err(fault) => {
                    state.fault_address = linear;
                    self.forget_faulting(state, linear);
                    return Err(Fault::pf(fault.error_code));
                }
            };
            self.note_source(&config, linear, &result, &tables.path, kind, access);
            // Another vCPU may have written an entry before it was marked.
            let bytes = if config.cr4.contains(Cr4::PAE) { 8 } else { 4 };
            if memory.peers().alone() || tables.unchanged(bytes) {
                break result;
            }
        };
        let backing = memory.backing_for(result.phys, view_for(state, access));
        let page = if access == Access::Write { backing.write } else { backing.read };
        // SMRAM that is closed to data: an entry would open it.
        let same_for_data = || memory.backing_for(result.phys, view).read == backing.read;
        let cacheable = cacheable && (access != Access::Execute || same_for_data());
        let writes_inline = cacheable && result.writable && backing.read == backing.write;
        let tracked = match backing.ram_page {
            Some(ram_page) if writes_inline => !self.may_write_inline(ram_page),
            // Writes may go to RAM where reads do not come from: a window of the first megabyte.
            _ => memory
                .ram_page_of_host(backing.write)
                .is_some_and(|ram_page| memory.page_state(ram_page).load(Ordering::Acquire) != 0),
        };
        if cacheable && !backing.read.is_null() {
            self.fill(state, linear, &result, backing, request, tracked);
        }
        let host = if page.is_null() {
            if cacheable {
                self.device_pages.note(self.invalidations, kind, linear, access, result.phys);
            }
            page
        } else {
            page.wrapping_add(result.phys.page_offset() as usize)
        };
        Ok(Mapped { phys: result.phys, host, tracked: tracked && access == Access::Write })
    }

    /// Sees to it that a change of the translation will be noticed.
    fn note_source(
        &mut self,
        config: &WalkConfig,
        linear: u64,
        r: &WalkResult,
        path: &Path,
        kind: usize,
        access: Access,
    ) {
        let space = self.table_space(kind);
        let paging = config.cr0.contains(Cr0::PG);
        let global = r.global && paging;
        if access == Access::Execute {
            let code_space = self.code_space(kind == super::address_space::USER);
            self.spaces[code_space].note_execution(linear);
            self.non_global_code |= code_space == SHARED && !global;
        }
        let kept = self.keeper.is_some() && paging;
        if let Some(keeper) = &mut self.keeper
            && paging
        {
            keeper.note(path, if config.cr4.contains(Cr4::PAE) { 8 } else { 4 });
        }
        if (global || kept) && r.page_shift > 12 {
            self.large.add(linear, r.page_shift);
        }
        if global && !kept {
            if space != SHARED {
                self.global_elsewhere.set(tlb_index(linear), true);
            }
        } else if space == SHARED {
            // Goes with the next CR3 load. With too many of them the rest is not remembered twice.
            if self.non_globals.len() < 2 * MANY_NON_GLOBALS {
                self.non_globals.push(tlb_index(linear) as u16);
            }
        } else if paging {
            let wide = config.cr4.contains(Cr4::PAE);
            let mut used = [(0, false); 5];
            let mut count = 0;
            self.tracker.track(space, linear, path, wide, |ram_page, newly| {
                used[count] = (ram_page, newly);
                count += 1;
            });
            for &(ram_page, newly) in &used[..count] {
                if newly {
                    self.write_protect_page(ram_page);
                }
                self.protect_from_peers(ram_page);
            }
        }
    }

    fn fill(
        &mut self,
        state: &mut CpuState,
        linear: u64,
        r: &WalkResult,
        backing: PageBacking,
        request: FillRequest,
        tracked: bool,
    ) {
        let kind = Self::kind(state, request.user);
        let space = self.table_space(kind);
        let (host, page, i) = (backing.read, linear & !0xFFF, tlb_index(linear));
        let global = r.global && state.cr0.contains(Cr0::PG);
        // Code that supervisors fetch with AC set has the shared table's generation, which knows
        // nothing of other tables.
        let fetches = !(self.sharing && kind == SUPERVISOR_AC);
        let old = self.spaces[space].table(kind).entries[i];
        let executed = old.exec_tag == page && !old.host.is_null();
        let none = TlbEntry::no_tag(i);
        let tag = |allowed: bool| if allowed { page } else { none };
        let can_write = r.writable && backing.read == backing.write;
        let entry = TlbEntry {
            read_tag: tag(r.readable),
            write_tag: if can_write && tracked { page ^ WRITE_PROTECTED } else { tag(can_write) },
            exec_tag: tag(r.executable && fetches && (executed || request.access == Access::Execute)),
            host,
        };
        if space == SHARED && !global && self.non_globals.len() >= 2 * MANY_NON_GLOBALS {
            return;
        }
        self.spaces[space].table(kind).put(i, entry, global);
        if can_write
            && !tracked
            && let Some(ram_page) = backing.ram_page
        {
            self.note_reverse(ram_page, space, kind, i);
        }
        if executed && (old.host != host || !r.executable) {
            let code_space = self.code_space(request.user);
            self.spaces[code_space].change_generation();
            self.refresh_key(state);
        }
    }

    /// Takes a global translation from the shared table over into the one for AC set.
    fn copy_shared(&mut self, linear: u64, access: Access) -> Option<Mapped> {
        let i = tlb_index(linear);
        let table = self.spaces[SHARED].table(SUPERVISOR);
        let entry = TlbEntry { exec_tag: TlbEntry::no_tag(i), ..table.entries[i] };
        let tag = match access {
            Access::Read => entry.read_tag,
            Access::Write => entry.write_tag,
            Access::Execute => return None,
        };
        if tag != linear & !0xFFF || entry.host.is_null() || !table.is_global(i) {
            return None;
        }
        let ram_page = self.memory.ram_page_of_host(entry.host)?;
        self.global_elsewhere.set(i, true);
        self.spaces[self.current].table(SUPERVISOR_AC).put(i, entry, true);
        if entry.write_tag == entry.read_tag {
            self.note_reverse(ram_page, self.current, SUPERVISOR_AC, i);
        }
        let offset = linear & 0xFFF;
        Some(Mapped {
            phys: self.phys_of(ram_page, offset),
            host: entry.host.wrapping_add(offset as usize),
            tracked: false,
        })
    }
}
