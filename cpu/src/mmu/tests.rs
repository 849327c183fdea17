//! Whatever the guest does to its page tables, the shadow tables say what a fresh walk says.

#![allow(unsafe_code, reason = "looks into the table as engines do")]

use super::address_spaces::Mmu;
use super::entry::{TlbEntry, WRITE_PROTECTED, tlb_index};
use super::walk::{Access, PageWalk, WalkResult, walk};
use super::{FillRequest, guest_tables::GuestTables};
use crate::registers::{Cr0, Cr4, Efer};
use crate::state::CpuState;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trimotor_bus::memory::{PageState, View};
use trimotor_bus::{GuestMemory, LinearAddr, PhysAddr};

/// Page tables lie in the first pages from here on, data behind them.
const TABLE_PAGES: u64 = 12;
const TABLES: u64 = 0x1_0000;

/// Numbers that look random: xorshift.
struct Random(u64);
impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A way of paging.
#[derive(Clone, Copy, Debug)]
struct Paging {
    cr4: Cr4,
    long: bool,
    entry_bytes: usize,
    linears: &'static [u64],
}

const LONG: &[u64] =
    &[0, 0x1000, 0x20_0000, 0x20_3000, 0x4000_0000, 0x80_0000_1000, 0xFFFF_8000_0000_2000, 1 << 30 | 1 << 21];
const SHORT: &[u64] = &[0, 0x1000, 0x2000, 0x20_0000, 0x40_0000, 0x40_1000, 0x8000_0000, 0xC000_3000];

fn pagings() -> [Paging; 4] {
    let long = |cr4| Paging { cr4: cr4 | Cr4::PAE, long: true, entry_bytes: 8, linears: LONG };
    [
        long(Cr4::empty()),
        long(Cr4::PGE | Cr4::SMEP | Cr4::SMAP | Cr4::LA57),
        Paging { cr4: Cr4::PAE, long: false, entry_bytes: 8, linears: SHORT },
        Paging { cr4: Cr4::PSE, long: false, entry_bytes: 4, linears: SHORT },
    ]
}

struct Rig {
    memory: Arc<GuestMemory>,
    mmus: Vec<(Mmu, CpuState)>,
    paging: Paging,
    random: Random,
}

impl Rig {
    fn new(paging: Paging, seed: u64) -> Rig {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        let mut random = Random(seed);
        let mmus = (0..2)
            .map(|cpu| {
                let mut state = CpuState::at_reset(0);
                state.cr0 |= Cr0::PG | Cr0::PE | Cr0::WP;
                state.cr4 = paging.cr4;
                state.efer = if paging.long { Efer::LMA | Efer::LME | Efer::NXE } else { Efer::NXE };
                state.a20_mask = !0;
                let mut mmu = Mmu::new(memory.clone(), cpu, 40, true);
                mmu.reconfigure(&mut state);
                (mmu, state)
            })
            .collect();
        random.below(2);
        Rig { memory, mmus, paging, random }
    }

    /// An entry that leads to a table or data page; sometimes it is large, global, missing.
    fn entry(&mut self) -> u64 {
        let r = &mut self.random;
        if r.one_in(6) {
            return 0;
        }
        let page = if r.one_in(4) {
            TABLES / 0x1000 + TABLE_PAGES + r.below(4)
        } else {
            TABLES / 0x1000 + r.below(TABLE_PAGES)
        };
        let large = r.one_in(8);
        let mut e = if large { 0x80 } else { page << 12 } | 1;
        for (bit, odds) in [(2, 8), (4, 8), (0x20, 2), (0x40, 2)] {
            e |= if r.one_in(odds) { 0 } else { bit };
        }
        if self.paging.long && r.one_in(8) {
            e |= 1 << 63;
        }
        e
    }

    /// Writes memory as a device or another mapping does, and tells the MMU of vCPU `by`.
    fn write(&mut self, by: usize, at: u64, bytes: &[u8]) {
        self.memory.write(PhysAddr(at), bytes);
        (0..2).for_each(|cpu| self.memory.peers().serve_written(cpu, |_| {}));
        let (mmu, state) = &mut self.mmus[by];
        mmu.device_wrote(state, at >> 12, at & 0xFFF, bytes.len() as u64);
    }
    fn change_tables(&mut self, by: usize) {
        let table = TABLES + self.random.below(TABLE_PAGES) * 0x1000;
        if self.random.one_in(40) {
            return self.write(by, table, &[0; 4096]);
        }
        let size = self.paging.entry_bytes as u64;
        let linear = self.random.one_of(self.paging.linears);
        let shift = if size == 8 { 12 + 9 * self.random.below(5) } else { 12 + 10 * self.random.below(2) };
        let index = linear >> shift & (4096 / size - 1);
        let entry = self.entry().to_le_bytes();
        match self.random.below(4) {
            0 => self.write(by, table + index * size, &entry[..1]),
            _ => self.write(by, table + index * size, &entry[..size as usize]),
        }
    }
    fn load_cr3(&mut self, vcpu: usize) {
        let table = TABLES + self.random.below(3) * 0x1000;
        let (mmu, state) = &mut self.mmus[vcpu];
        state.cr3 = table;
        if self.paging.cr4.contains(Cr4::PAE) && !self.paging.long {
            for (i, p) in state.pdpte.iter_mut().enumerate() {
                *p = self.memory.read_u64(PhysAddr(table + 8 * i as u64)) & 0xF_F001;
            }
        }
        mmu.load_cr3(state);
    }
    fn access(&mut self, vcpu: usize) {
        let linear = self.random.one_of(self.paging.linears);
        let access = self.random.one_of(&[Access::Read, Access::Write, Access::Execute]);
        let user = self.random.one_in(2);
        let (mmu, state) = &mut self.mmus[vcpu];
        state.rflags.set(crate::flags::Rflags::AC, self.random.one_in(2));
        let _ = mmu.translate(state, linear, FillRequest { access, user }, true);
    }

    fn fresh(
        &self,
        mmu: &Mmu,
        state: &CpuState,
        linear: u64,
        access: Access,
        user: bool,
    ) -> Option<WalkResult> {
        struct Quiet<'a>(GuestTables<'a>);
        impl PageWalk for Quiet<'_> {
            fn read_entry(&mut self, addr: PhysAddr, bytes: u8) -> u64 {
                self.0.read_entry(addr, bytes)
            }
            fn set_bits(&mut self, _: PhysAddr, _: u64, _: u64, _: u8) -> bool {
                true
            }
        }
        let config = mmu.config(state);
        walk(
            &mut Quiet(GuestTables::new(&self.memory, &config, View::Plain)),
            &config,
            LinearAddr(linear),
            access,
            user,
        )
        .ok()
    }

    /// Checks all that the tables of vCPU `vcpu` in its present address space say.
    fn check(&mut self, vcpu: usize) -> usize {
        let mut hits = 0;
        for cpl in [0, 3] {
            for ac in [false, true] {
                // What is in the shared table may be as old as the last CR3 load.
                if cpl == 0 && !ac && self.mmus[vcpu].0.sharing {
                    continue;
                }
                let (mmu, state) = &mut self.mmus[vcpu];
                state.cpl = cpl;
                state.rflags.set(crate::flags::Rflags::AC, ac);
                mmu.select(state);
                let (mmu, state) = &self.mmus[vcpu];
                for &linear in self.paging.linears {
                    // SAFETY: the table has an entry for each index.
                    let e = unsafe { &*state.tlb.add(tlb_index(linear)) };
                    let what = format!("vCPU {vcpu}, cpl {cpl}, ac {ac}, {linear:#x}: {e:x?}");
                    hits += self.check_entry(mmu, state, linear, e, &what);
                }
            }
        }
        hits
    }
    fn check_entry(&self, mmu: &Mmu, state: &CpuState, linear: u64, e: &TlbEntry, what: &str) -> usize {
        let user = state.cpl == 3;
        let host = |r: &WalkResult| self.memory.backing(r.phys).read;
        let mut hits = 0;
        let rights = [(e.read_tag, Access::Read), (e.exec_tag, Access::Execute)];
        for (_, access) in rights.into_iter().filter(|r| r.0 == linear && !e.host.is_null()) {
            let r = self.fresh(mmu, state, linear, access, user);
            assert_eq!(r.as_ref().map(host), Some(e.host), "{what} {access:?} {r:x?}");
            hits += 1;
        }
        if e.is_for(linear) && (e.write_tag == linear || e.write_tag == linear ^ WRITE_PROTECTED) {
            let r = self.fresh(mmu, state, linear, Access::Read, user).expect(what);
            assert!(r.writable, "{what}: dirty and writable {r:x?}");
            let page = self.memory.ram_page_of_host(e.host).expect(what);
            let tracked = self.memory.page_state(page).load(Ordering::Acquire) & PageState::PAGE_TABLE != 0;
            assert!(!tracked || e.write_tag != linear, "{what}: written inline");
        }
        hits
    }
}

#[test]
fn tables_are_as_fresh_as_a_walk() {
    for (n, paging) in pagings().into_iter().enumerate() {
        let mut rig = Rig::new(paging, 0x9E37_79B9 + n as u64);
        let mut hits = 0;
        for round in 0..6000 {
            // One vCPU runs for a while, then the other: it catches up first.
            let vcpu = round / 50 % 2;
            let (mmu, state) = &mut rig.mmus[vcpu];
            mmu.catch_up(state);
            match rig.random.below(8) {
                0 => rig.load_cr3(vcpu),
                1 | 2 => rig.change_tables(vcpu),
                _ => rig.access(vcpu),
            }
            hits += rig.check(vcpu);
        }
        assert!(hits > 1000, "{paging:?}: {hits} hits were checked");
    }
}

#[test]
fn pages_are_watched_no_longer_when_they_hold_data() {
    let mut rig = Rig::new(pagings()[0], 1);
    let entry = |page: u64| ((TABLES + page * 0x1000) | 0x67).to_le_bytes();
    for level in 0..4 {
        rig.write(0, TABLES + level * 0x1000, &entry(level + 1));
    }
    let (mmu, state) = &mut rig.mmus[0];
    state.cr3 = TABLES;
    mmu.load_cr3(state);
    let request = FillRequest { access: Access::Read, user: false };
    mmu.translate(state, 0, request, true).unwrap();
    let leaf = (TABLES + 0x3000) >> 12;
    let tracked =
        |rig: &Rig| rig.memory.page_state(leaf).load(Ordering::Acquire) & PageState::PAGE_TABLE != 0;
    assert!(tracked(&rig));
    // Entries that nothing came from may be written for ever: the page is in use.
    for n in 0..100 {
        rig.write(0, TABLES + 0x3000 + 8 + n * 8, &entry(5));
    }
    assert!(tracked(&rig));
    rig.write(0, TABLES + 0x3000, &[0; 8]);
    for n in 0..16 {
        assert!(tracked(&rig));
        rig.write(0, TABLES + 0x3000 + n * 8, &[0; 8]);
    }
    assert!(!tracked(&rig));
}

/// A rig of 4-level paging with supervisor pages: `roots` roots at TABLES share three more tables, and
/// linear 0 leads through them to the page behind.
fn shared_tree(roots: u64, cr4: Cr4, flags: u64) -> Rig {
    let mut rig = Rig::new(Paging { cr4: cr4 | Cr4::PAE, ..pagings()[0] }, 1);
    let tree = TABLES + roots * 0x1000;
    let entry = |page: u64| ((tree + page * 0x1000) | 0x63 | flags).to_le_bytes();
    for root in 0..roots {
        rig.write(0, TABLES + root * 0x1000, &entry(0));
    }
    for level in 0..3 {
        rig.write(0, tree + level * 0x1000, &entry(level + 1));
    }
    rig
}
fn enter(rig: &mut Rig, root: u64) -> u64 {
    let (mmu, state) = &mut rig.mmus[0];
    state.cr3 = TABLES + root * 0x1000;
    mmu.load_cr3(state);
    let walks = mmu.walks;
    let request = FillRequest { access: Access::Read, user: false };
    mmu.translate(state, 0, request, true).unwrap();
    mmu.walks - walks
}

#[test]
fn more_spaces_than_are_kept() {
    let mut rig = shared_tree(40, Cr4::empty(), 0);
    let walks: Vec<u64> = (0..40).map(|root| enter(&mut rig, root)).collect();
    assert_eq!(walks, [1; 40]);
    // The last ones are kept with their generations, the first are not.
    let generation = rig.mmus[0].0.generation(false);
    assert_eq!(enter(&mut rig, 20), 0);
    assert_ne!(rig.mmus[0].0.generation(false), generation);
    assert_eq!(enter(&mut rig, 39), 0);
    assert_eq!(rig.mmus[0].0.generation(false), generation);
    assert_eq!(enter(&mut rig, 3), 1);
    // A write to the shared leaf table reaches them all.
    rig.write(0, TABLES + 42 * 0x1000, &(0x1_0063u64).to_le_bytes());
    assert_eq!((enter(&mut rig, 20), enter(&mut rig, 39)), (1, 1));
}

#[test]
fn a_kernel_whose_pages_are_not_global_gets_tables_for_each_space() {
    const SHARES: Cr4 = Cr4::PGE.union(Cr4::SMEP).union(Cr4::SMAP);
    let mut rig = shared_tree(2, SHARES, 0);
    assert!(rig.mmus[0].0.sharing || enter(&mut rig, 0) == 1);
    assert_eq!([enter(&mut rig, 1), enter(&mut rig, 0), enter(&mut rig, 1)], [1; 3], "gone with CR3");
    let tree = TABLES + 2 * 0x1000;
    for page in 0..512u64 {
        rig.write(0, tree + 0x2000 + page * 8, &((page % 256) << 12 | 0x63).to_le_bytes());
        let (mmu, state) = &mut rig.mmus[0];
        let request = FillRequest { access: Access::Read, user: false };
        mmu.translate(state, page << 12, request, true).unwrap();
    }
    enter(&mut rig, 0);
    assert!(!rig.mmus[0].0.sharing);
    enter(&mut rig, 1);
    assert_eq!([enter(&mut rig, 0), enter(&mut rig, 1), enter(&mut rig, 0)], [0; 3], "kept");
}

#[test]
fn global_pages_are_walked_for_once() {
    const SHARES: Cr4 = Cr4::PGE.union(Cr4::SMEP).union(Cr4::SMAP);
    let mut rig = shared_tree(3, SHARES, 0x100);
    assert_eq!([enter(&mut rig, 0), enter(&mut rig, 1), enter(&mut rig, 2)], [1, 0, 0]);
    let generation = rig.mmus[0].0.generation(false);
    assert_eq!(enter(&mut rig, 0), 0);
    assert_eq!(rig.mmus[0].0.generation(false), generation, "one generation for the kernel's code");
    // With AC set the translation is taken over.
    let (mmu, state) = &mut rig.mmus[0];
    state.rflags.insert(crate::flags::Rflags::AC);
    let (walks, request) = (mmu.walks, FillRequest { access: Access::Read, user: false });
    mmu.translate(state, 0, request, true).unwrap();
    assert_eq!(mmu.walks, walks);
    mmu.flush_page(state, 0);
    mmu.translate(state, 0, request, true).unwrap();
    assert_eq!(mmu.walks, walks + 1);
}

#[test]
fn the_generation_changes_with_the_code_and_with_nothing_else() {
    let mut rig = shared_tree(2, Cr4::empty(), 0);
    enter(&mut rig, 0);
    let leaf = TABLES + 4 * 0x1000;
    let fetch = FillRequest { access: Access::Execute, user: false };
    let read = FillRequest { access: Access::Read, user: false };
    rig.write(0, leaf + 8, &0x1_1063u64.to_le_bytes());
    let (mmu, state) = &mut rig.mmus[0];
    mmu.translate(state, 0, fetch, true).unwrap();
    mmu.translate(state, 0x1000, read, true).unwrap();
    let generation = mmu.generation(false);
    // Another page's entry: no link can depend on it.
    rig.write(0, leaf + 8, &0x1_2063u64.to_le_bytes());
    assert_eq!(rig.mmus[0].0.generation(false), generation);
    // The code's page is displaced by one that belongs into the same entry: links stay valid.
    let (mmu, state) = &mut rig.mmus[0];
    let far = (super::TLB_ENTRIES as u64) << 12;
    rig.memory.write(PhysAddr(TABLES + 3 * 0x1000 + (far >> 21) * 8), &(leaf | 0x63).to_le_bytes());
    mmu.translate(state, far, read, true).unwrap();
    assert_eq!(mmu.generation(false), generation);
    // But its entry is still tracked.
    rig.write(0, leaf, &0x1_3063u64.to_le_bytes());
    let (mmu, state) = &rig.mmus[0];
    assert_ne!(mmu.generation(false), generation);
    assert_eq!(state.jump_key >> 24, mmu.generation(false));
}
