//! The page walk (SDM Vol. 3A, Paging): 2, 3, 4 and 5 levels, large pages, rights,
//! reserved bits, accessed and dirty flags.

use crate::registers::{Cr0, Cr4, Efer};
use crate::state::CpuState;
use trimotor_bus::{LinearAddr, PhysAddr};

/// What an access wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Access {
    /// Data read.
    Read,
    /// Data write.
    Write,
    /// Instruction fetch.
    Execute,
}

/// The registers that a walk depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkConfig {
    /// CR0.
    pub cr0: Cr0,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: Cr4,
    /// IA32_EFER.
    pub efer: Efer,
    /// PKRU.
    pub pkru: u32,
    /// RFLAGS.AC, for SMAP; false for implicit supervisor accesses.
    pub ac: bool,
    /// The PDPTEs of PAE paging.
    pub pdpte: [u64; 4],
    /// Physical address bits, MAXPHYADDR.
    pub phys_bits: u32,
    /// Whether 1 GiB pages exist.
    pub gib_pages: bool,
    /// All ones, or without bit 20 where A20 is closed.
    pub a20_mask: u64,
}

impl WalkConfig {
    /// As the CPU stands.
    pub fn of(state: &CpuState, phys_bits: u32, gib_pages: bool) -> WalkConfig {
        WalkConfig {
            cr0: state.cr0,
            cr3: state.cr3,
            cr4: state.cr4,
            efer: state.efer,
            pkru: state.pkru,
            ac: state.rflags.contains(crate::flags::Rflags::AC),
            pdpte: state.pdpte,
            phys_bits,
            gib_pages,
            a20_mask: state.a20_mask,
        }
    }
    /// Whether the walk begins with the PDPTE registers (PAE paging).
    pub fn has_pdptes(&self) -> bool {
        self.cr4.contains(Cr4::PAE) && !self.efer.contains(Efer::LMA)
    }
}

/// How a walk reads and updates page-table entries.
pub trait PageWalk {
    /// Reads an entry of `bytes` (4 or 8) bytes.
    fn read_entry(&mut self, addr: PhysAddr, bytes: u8) -> u64;
    /// Sets `bits` (all in the low byte) of the entry at `addr` atomically if it still is `old`;
    /// false where it changed in between (the walk starts again).
    fn set_bits(&mut self, addr: PhysAddr, old: u64, bits: u64, bytes: u8) -> bool;
    /// The table entries that a translation came from, outermost first. Does nothing
    /// unless somebody wants to know: people, or an MMU that must learn when an entry changes.
    fn note(&mut self, _level: u8, _addr: PhysAddr, _entry: u64) {}
}

/// A successful walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalkResult {
    /// Guest-physical address of the byte.
    pub phys: PhysAddr,
    /// Reads are allowed (they are, or the walk would have failed, except for pure fetches with
    /// protection keys).
    pub readable: bool,
    /// Writes are allowed and the dirty flag is set.
    pub writable: bool,
    /// Fetches are allowed.
    pub executable: bool,
    /// Global page with CR4.PGE.
    pub global: bool,
    /// A user-mode page (U/S set at all levels).
    pub user_page: bool,
    /// `log2` of the page size: 12, 21, 22 or 30.
    pub page_shift: u8,
}

/// A failed walk: the page fault's error code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalkFault {
    /// Error code bits: P, W/R, U/S, RSVD, I/D, PK.
    pub error_code: u16,
}

const P: u64 = 1;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;

/// Error-code bits of #PF.
mod code {
    pub const PRESENT: u16 = 1;
    pub const WRITE: u16 = 2;
    pub const USER: u16 = 4;
    pub const RESERVED: u16 = 8;
    pub const FETCH: u16 = 16;
    pub const KEY: u16 = 32;
}

/// A walk in progress.
struct Walker<'a, T: PageWalk> {
    tables: &'a mut T,
    config: &'a WalkConfig,
    access: Access,
    user: bool,
}

/// Rights gathered on the way down.
#[derive(Clone, Copy)]
struct Rights {
    write: bool,
    user: bool,
    no_execute: bool,
}

/// Translates `linear` for an access at user (`true`) or supervisor privilege, sets accessed and
/// dirty flags as the access does, and tells what other accesses the entry would allow.
///
/// # Faults
/// The page fault's error code; the caller supplies the address.
pub fn walk<T: PageWalk>(
    tables: &mut T,
    config: &WalkConfig,
    linear: LinearAddr,
    access: Access,
    user: bool,
) -> Result<WalkResult, WalkFault> {
    if !config.cr0.contains(Cr0::PG) {
        let phys = PhysAddr(linear.0 & 0xFFFF_FFFF & config.a20_mask);
        return Ok(WalkResult {
            phys,
            readable: true,
            writable: true,
            executable: true,
            global: true,
            user_page: true,
            page_shift: 12,
        });
    }
    let mut walker = Walker { tables, config, access, user };
    loop {
        let done = if !config.cr4.contains(Cr4::PAE) { walker.two_level(linear) } else { walker.pae(linear) };
        if let Some(done) = done {
            return done;
        }
    }
}

impl<T: PageWalk> Walker<'_, T> {
    fn fail<R>(&self, bits: u16) -> Option<Result<R, WalkFault>> {
        let mut error_code = bits;
        if self.access == Access::Write {
            error_code |= code::WRITE;
        }
        if self.user {
            error_code |= code::USER;
        }
        let tells_fetch = self.config.efer.contains(Efer::NXE) && self.config.cr4.contains(Cr4::PAE)
            || self.config.cr4.contains(Cr4::SMEP);
        if self.access == Access::Execute && tells_fetch {
            error_code |= code::FETCH;
        }
        Some(Err(WalkFault { error_code }))
    }

    fn phys(&self, addr: u64) -> PhysAddr {
        PhysAddr(addr & self.config.a20_mask)
    }

    /// 32-bit paging. `None`: an entry changed under way, start again.
    fn two_level(&mut self, linear: LinearAddr) -> Option<Result<WalkResult, WalkFault>> {
        let l = linear.0 & 0xFFFF_FFFF;
        let pde_at = self.phys(self.config.cr3 & 0xFFFF_F000 | l >> 20 & 0xFFC);
        let pde = self.tables.read_entry(pde_at, 4);
        self.tables.note(2, pde_at, pde);
        if pde & P == 0 {
            return self.fail(0);
        }
        let mut rights = Rights { write: pde & RW != 0, user: pde & US != 0, no_execute: false };
        if pde & PS != 0 && self.config.cr4.contains(Cr4::PSE) {
            // PSE-36: bits 13 to 20 hold address bits 32 to 39; bit 21 is reserved.
            let high_bits = (self.config.phys_bits.min(40) - 32).min(8);
            let reserved = 1 << 21 | (0xFFu64 << (13 + high_bits) & 0xFF << 13);
            if pde & reserved != 0 {
                return self.fail(code::PRESENT | code::RESERVED);
            }
            let base = pde & 0xFFC0_0000 | (pde >> 13 & 0xFF) << 32;
            return self.leaf(pde_at, pde, 4, rights, base | l & 0x3F_FFFF, 22, &[]);
        }
        let pte_at = self.phys(pde & 0xFFFF_F000 | l >> 10 & 0xFFC);
        let pte = self.tables.read_entry(pte_at, 4);
        self.tables.note(1, pte_at, pte);
        if pte & P == 0 {
            return self.fail(0);
        }
        rights.write &= pte & RW != 0;
        rights.user &= pte & US != 0;
        self.leaf(pte_at, pte, 4, rights, pte & 0xFFFF_F000 | l & 0xFFF, 12, &[(pde_at, pde)])
    }

    /// PAE, 4-level and 5-level paging.
    fn pae(&mut self, linear: LinearAddr) -> Option<Result<WalkResult, WalkFault>> {
        let long = self.config.efer.contains(Efer::LMA);
        let address_mask = ((1u64 << self.config.phys_bits) - 1) & !0xFFF;
        let nx_reserved = if self.config.efer.contains(Efer::NXE) { 0 } else { NX };
        let mut reserved = !((1u64 << self.config.phys_bits) - 1) & !(0xFFF << 52) | nx_reserved;
        let mut rights = Rights { write: true, user: true, no_execute: false };
        let mut path = [(PhysAddr(0), 0); 4];
        let mut depth = 0;
        let (mut table, mut level, l);
        if long {
            l = linear.0;
            level = if self.config.cr4.contains(Cr4::LA57) { 5 } else { 4 };
            table = self.config.cr3 & address_mask;
        } else {
            l = linear.0 & 0xFFFF_FFFF;
            reserved |= 0x7FF << 52;
            let pdpte = self.config.pdpte[(l >> 30) as usize];
            self.tables.note(3, PhysAddr(self.config.cr3 & 0xFFFF_FFE0 | l >> 27 & 0x18), pdpte);
            if pdpte & P == 0 {
                return self.fail(0);
            }
            table = pdpte & address_mask;
            level = 2;
        }
        loop {
            let shift = 12 + 9 * (level - 1);
            let at = self.phys(table | (l >> shift & 0x1FF) << 3);
            let entry = self.tables.read_entry(at, 8);
            self.tables.note(level, at, entry);
            if entry & P == 0 {
                return self.fail(0);
            }
            let large_allowed = level == 2 || level == 3 && long && self.config.gib_pages;
            let leaf = level == 1 || entry & PS != 0 && large_allowed;
            let mut bad = entry & reserved;
            if leaf && level > 1 {
                // Address bits below the page size, but for the PAT bit 12.
                bad |= entry & ((1 << shift) - 1) & !0x1FFF;
            } else if level > 3 || level == 3 && !large_allowed {
                bad |= entry & PS;
            }
            if bad != 0 {
                return self.fail(code::PRESENT | code::RESERVED);
            }
            rights.write &= entry & RW != 0;
            rights.user &= entry & US != 0;
            rights.no_execute |= entry & NX != 0;
            if leaf {
                let low = (1u64 << shift) - 1;
                let phys = entry & address_mask & !low | l & low;
                return self.leaf(at, entry, 8, rights, phys, shift, &path[..depth]);
            }
            path[depth] = (at, entry);
            depth += 1;
            table = entry & address_mask;
            level -= 1;
        }
    }

    /// Checks the rights, sets accessed and dirty flags, and answers.
    fn leaf(
        &mut self,
        at: PhysAddr,
        entry: u64,
        bytes: u8,
        rights: Rights,
        phys: u64,
        page_shift: u8,
        path: &[(PhysAddr, u64)],
    ) -> Option<Result<WalkResult, WalkFault>> {
        let config = self.config;
        let (key_read, key_write) = self.key_allows(entry, rights.user);
        let smap = config.cr4.contains(Cr4::SMAP) && !self.user && rights.user && !config.ac;
        let reach = rights.user || !self.user;
        let may_read = reach && !smap && key_read;
        let wp = config.cr0.contains(Cr0::WP);
        let may_write = reach && !smap && (rights.write || !self.user && !wp) && key_write;
        let smep = config.cr4.contains(Cr4::SMEP) && !self.user && rights.user;
        let may_execute = reach && !smep && !rights.no_execute;
        // The key's part of the error code does not depend on the other rights.
        let (allowed, key_allows) = match self.access {
            Access::Read => (may_read, key_read),
            Access::Write => (may_write, key_write),
            Access::Execute => (may_execute, true),
        };
        if !allowed {
            return self.fail(code::PRESENT | if key_allows { 0 } else { code::KEY });
        }
        for &(table_at, table_entry) in path {
            if table_entry & A == 0 && !self.tables.set_bits(table_at, table_entry, A, bytes) {
                return None;
            }
        }
        let wanted = if self.access == Access::Write { A | D } else { A };
        if entry & wanted != wanted && !self.tables.set_bits(at, entry, wanted, bytes) {
            return None;
        }
        let dirty = entry & D != 0 || self.access == Access::Write;
        Some(Ok(WalkResult {
            phys: self.phys(phys),
            readable: may_read,
            writable: may_write && dirty,
            executable: may_execute,
            global: entry & G != 0 && config.cr4.contains(Cr4::PGE),
            user_page: rights.user,
            page_shift,
        }))
    }

    /// What the page's protection key allows: (read, write).
    fn key_allows(&self, entry: u64, user_page: bool) -> (bool, bool) {
        let config = self.config;
        if !config.cr4.contains(Cr4::PKE) || !config.efer.contains(Efer::LMA) || !user_page {
            return (true, true);
        }
        let key = (entry >> 59 & 15) as u32;
        let access_disabled = config.pkru >> (2 * key) & 1 != 0;
        let write_disabled = config.pkru >> (2 * key + 1) & 1 != 0;
        let write_checked = self.user || config.cr0.contains(Cr0::WP);
        (!access_disabled, !(access_disabled || write_disabled && write_checked))
    }
}
