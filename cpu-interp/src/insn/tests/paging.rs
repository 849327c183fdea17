//! Page faults with every combination of rights, reserved bits, accessed and dirty flags.

use super::rig::*;
use crate::Interpreter;
use crate::vcpu::{TLB_DIFFERENCES, TLB_HITS};

const P: u64 = 1;
const RW: u64 = 2;
const US: u64 = 4;
const NX: u64 = 1 << 63;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    Fetch,
}

/// What an access depends on.
#[derive(Clone, Copy, Debug)]
struct Case {
    entry: u64,
    user: bool,
    access: Access,
    wp: bool,
    smep: bool,
    smap: bool,
    ac: bool,
}

/// The error code that the manual's rules give, `None` where the access is allowed.
fn expected(c: Case) -> Option<u64> {
    let (rw, us, nx) = (c.entry & RW != 0, c.entry & US != 0, c.entry & NX != 0);
    let kind = match c.access {
        Access::Read => 0,
        Access::Write => 2,
        Access::Fetch => 16,
    } | if c.user { 4 } else { 0 };
    if c.entry & P == 0 {
        return Some(kind);
    }
    let violation = if c.user {
        !us || c.access == Access::Write && !rw || c.access == Access::Fetch && nx
    } else {
        match c.access {
            Access::Read => us && c.smap && !c.ac,
            Access::Write => us && c.smap && !c.ac || !rw && c.wp,
            Access::Fetch => nx || us && c.smep,
        }
    };
    violation.then_some(kind | 1)
}

/// A long-mode rig whose pages are the supervisor's, but CODE's is the user's where `user`.
fn rig(user: bool) -> Rig {
    let mut r = Rig::long();
    for page in 0..0x100u64 {
        r.page(page << 12, page << 12 | P | RW);
    }
    if user {
        r.page(CODE, CODE | P | RW | US);
        r.ring3();
    }
    // MOV AL, [DATA]; MOV [DATA], AL; JMP DATA; each followed by a place to stay.
    let spin = [0xEB, 0xFE];
    for (at, code) in [
        (0u64, vec![0x8A, 0x04, 0x25, 0, 0, 3, 0]),
        (0x10, vec![0x88, 0x04, 0x25, 0, 0, 3, 0]),
        (0x20, vec![0xB8, 0x80, 0, 3, 0, 0xFF, 0xE0]),
    ] {
        r.write(CODE + at, &code);
        r.write(CODE + at + code.len() as u64, &spin);
    }
    r.write(DATA + 0x80, &spin);
    r
}

#[test]
fn every_combination_of_rights() {
    for user in [false, true] {
        let mut r = rig(user);
        let base = r.state();
        for n in 0..768u32 {
            let bit = |i: u32| n >> i & 1 != 0;
            let rights = (n & 7) as u64 | if bit(3) { NX } else { 0 };
            let access = [Access::Read, Access::Write, Access::Fetch][(n >> 8) as usize];
            let c = Case {
                entry: DATA & !0xFFF | rights,
                user,
                access,
                wp: bit(4),
                smep: bit(5),
                smap: bit(6),
                ac: bit(7),
            };
            r.page(DATA, c.entry);
            let mut s = base.clone();
            s.cr0 = 0x8000_0033 | (c.wp as u64) << 16;
            s.cr4 = 0x6A0 | (c.smep as u64) << 20 | (c.smap as u64) << 21;
            s.rflags = 2 | (c.ac as u64) << 18;
            s.rip = CODE + access as u64 * 0x10;
            s.activity = trimotor_cpu::state::Activity::Active;
            r.vcpu.set_state(&s);
            let end = r.go();
            let entry = r.u64(TABLES + 0x4000 + (DATA >> 12) * 8);
            match expected(c) {
                None => {
                    assert_eq!(end, End::Running, "{c:x?}");
                    assert_eq!(
                        entry >> 5 & 3,
                        if access == Access::Write { 3 } else { 1 },
                        "A and D, {c:x?}"
                    );
                }
                Some(code) => {
                    assert_eq!(end, End::Vector(14), "{c:x?}");
                    assert_eq!((r.stack(0), r.state().cr2 & !0xFFF), (code, DATA), "{c:x?}");
                    assert_eq!(entry, c.entry, "no flags, {c:x?}");
                }
            }
        }
    }
}

#[test]
fn rights_are_the_sum_of_all_levels() {
    // Take a right away at each level in turn: PML4E, PDPTE, PDE.
    for table in [TABLES, TABLES + 0x1000, TABLES + 0x2000] {
        let mut r = rig(true);
        let entry = r.u64(table);
        r.write(table, &(entry & !RW).to_le_bytes());
        r.page(DATA, DATA | P | RW | US);
        r.change(|s| {
            s.rip = CODE + 0x10;
            s.cr0 &= !0x1_0000; // ring 0 may still write its stack
        });
        assert_eq!(r.go(), End::Vector(14), "{table:#x}");
        assert_eq!(r.stack(0), 7);
    }
}

#[test]
fn reserved_bits() {
    for (table, bits, efer) in [
        (TABLES, 1u64 << 45, 0xD01),
        (TABLES, 1 << 7, 0xD01),
        (TABLES + 0x1000, 1 << 51, 0xD01),
        (TABLES + 0x2000, 1 << 40, 0xD01),
        // The last: a page of 2 MiB whose base is not aligned.
        (TABLES + 0x2008, 1 << 7 | 1 << 13, 0xD01),
        (TABLES + 0x2008, 1 << 63, 0x501),
    ] {
        let mut r = rig(false);
        // The rig's own memory hangs off the first entry of each table, which must stay sound: what is
        // tested is a copy of it at entry 2, or the second page directory entry.
        let entry = r.u64(table);
        let (place, linear) = match table - TABLES {
            0 => (16, 2u64 << 39),
            0x1000 => (16, 2 << 30),
            0x2000 => (16, 2 << 21),
            _ => (0, 1 << 21),
        };
        r.write(table + place, &(entry | bits).to_le_bytes());
        r.change(|s| {
            s.efer = efer;
            s.gpr[3] = linear;
        });
        assert_eq!(r.run_bytes(&[0x8A, 0x03]), End::Vector(14), "{table:#x} {bits:#x}");
        assert_eq!((r.stack(0), r.state().cr2), (9, linear), "{table:#x} {bits:#x}");
    }
}

#[test]
fn an_access_across_pages_faults_on_the_page_that_is_missing() {
    let mut r = rig(false);
    r.page(DATA + 0x1000, 0);
    r.change(|s| s.gpr[3] = DATA + 0xFFC);
    assert_eq!(r.run_bytes(&[0x48, 0x89, 0x03]), End::Vector(14)); // MOV [RBX], RAX
    assert_eq!((r.stack(0), r.state().cr2), (2, DATA + 0x1000));
    assert_eq!(r.u32(DATA + 0xFFC), 0, "nothing was written");
}

#[test]
fn legacy_paging_with_4_mib_pages() {
    let mut r = Rig::protected();
    r.write(TABLES, &0x83u32.to_le_bytes()); // 4 MiB, supervisor
    r.write(TABLES + 4, &0u32.to_le_bytes());
    r.change(|s| {
        s.cr3 = TABLES;
        s.cr4 = 0x10;
        s.cr0 |= 0x8000_0000;
    });
    assert_eq!(r.run_bytes(&[0xA1, 0, 0, 0x40, 0]), End::Vector(14));
    assert_eq!((r.stack(0), r.state().cr2), (0, 0x40_0000));
    assert_eq!(r.u32(TABLES) & 0x60, 0x60, "A and D of the large page");
    // Bit 21 of a large entry is reserved.
    let mut r = Rig::protected();
    r.write(TABLES, &0x83u32.to_le_bytes());
    r.write(TABLES + 4, &0x0020_0083u32.to_le_bytes());
    r.change(|s| {
        s.cr3 = TABLES;
        s.cr4 = 0x10;
        s.cr0 |= 0x8000_0000;
    });
    assert_eq!(r.run_bytes(&[0xA1, 0, 0, 0x40, 0]), End::Vector(14));
    assert_eq!(r.stack(0), 9);
}

#[test]
fn pae_loads_its_pointers_with_cr3() {
    // CR3 of a table whose entry is bad: #GP(0) at the load.
    for (pdpte, end) in [
        ((TABLES + 0x1000) | 1, End::Halt(CODE + 4)),
        ((TABLES + 0x1000) | 3, End::Vector(13)),
        ((TABLES + 0x1000) | 0x21, End::Vector(13)),
        ((TABLES + 0x1000) | 1 | 1 << 45, End::Vector(13)),
        (0x1E6, End::Halt(CODE + 4)),
    ] {
        let mut r = Rig::protected();
        let good = TABLES + 0x800;
        r.write(good, &((TABLES + 0x1000) | 1).to_le_bytes());
        r.write(TABLES + 0x1000, &0x83u64.to_le_bytes());
        r.write(TABLES + 0x1008, &0x20_0083u64.to_le_bytes());
        r.write(TABLES, &((TABLES + 0x1000) | 1).to_le_bytes());
        r.write(TABLES + 24, &pdpte.to_le_bytes());
        r.change(|s| {
            s.cr3 = good;
            s.pdpte[0] = (TABLES + 0x1000) | 1;
            s.cr4 = 0x20;
            s.cr0 |= 0x8000_0000;
            s.gpr[0] = TABLES;
        });
        assert_eq!(r.run_bytes(&[0x0F, 0x22, 0xD8, 0xF4]), end, "{pdpte:#x}");
    }
}

#[test]
fn invlpg_and_cr3_make_changes_seen() {
    // Read DATA, take its page away, read again: the old translation may be used until INVLPG.
    let mut r = rig(false);
    let entry_at = TABLES + 0x4000 + (DATA >> 12) * 8;
    for page in [TABLES + 0x4000, TABLES] {
        r.page(page, page | P | RW);
    }
    let code = r.assemble(|a| {
        use iced_x86::code_asm::{al, byte_ptr, qword_ptr};
        a.mov(al, byte_ptr(DATA)).unwrap();
        a.mov(qword_ptr(entry_at), 0).unwrap();
        a.invlpg(byte_ptr(DATA)).unwrap();
        a.mov(al, byte_ptr(DATA)).unwrap();
    });
    assert_eq!(r.run_bytes(&code), End::Vector(14));
    assert_eq!((r.stack(0), r.state().cr2), (0, DATA));
}

#[test]
fn protection_keys() {
    for (pkru, write, fault) in [
        (0u32, true, None),
        (1 << 2, false, Some(0x25u64)),
        (2 << 2, false, None),
        (2 << 2, true, Some(0x27)),
    ] {
        let mut r = rig(true);
        r.page(DATA, DATA | P | RW | US | 1 << 59);
        r.change(|s| {
            s.cr4 |= 1 << 22;
            s.pkru = pkru;
            s.rip = CODE + if write { 0x10 } else { 0 };
        });
        match fault {
            None => assert_eq!(r.go(), End::Running),
            Some(code) => {
                assert_eq!(r.go(), End::Vector(14));
                assert_eq!(r.stack(0), code);
            }
        }
    }
}

#[test]
fn five_levels() {
    let mut r = rig(false);
    let pml5 = TABLES + 0x3000;
    r.write(pml5, &(TABLES | 7).to_le_bytes());
    r.change(|s| {
        s.cr4 |= 1 << 12;
        s.cr3 = pml5;
        s.gpr[3] = 1 << 50; // canonical with 57 bits only
    });
    assert_eq!(r.run_bytes(&[0x8A, 0x03]), End::Vector(14));
    assert_eq!(r.state().cr2, 1 << 50);
    let mut r = rig(false);
    r.change(|s| s.gpr[3] = 1 << 50);
    assert_eq!(r.run_bytes(&[0x8A, 0x03]), End::Vector(13));
}

#[test]
fn hits_that_a_walk_contradicts_are_counted() {
    let count = |r: &Rig, wanted: &str| {
        let lines = r.vcpu.statistics();
        lines.into_iter().find(|(name, _)| name == wanted).map(|(_, count)| count)
    };
    // mov al, [DATA] twice; then the second page table entry changes below the CPU, and once more.
    let read = [0x8A, 0x04, 0x25, 0, 0, 3, 0];
    let mut r = Rig::long_on(Interpreter::new().checking_tlb());
    r.write(DATA, &[1]);
    assert_eq!(r.run_bytes(&[&read[..], &read, &[0xF4]].concat()), End::Halt(CODE + 15));
    assert!(count(&r, TLB_HITS).unwrap() >= 1);
    assert_eq!(count(&r, TLB_DIFFERENCES), Some(0));
    let entry = TABLES + 0x4000 + (DATA >> 12) * 8;
    // mov qword [entry], 7 (page 0); then the read without INVLPG; hlt
    let change = [&[0x48, 0xC7, 0x04, 0x25][..], &(entry as u32).to_le_bytes(), &7u32.to_le_bytes()].concat();
    let mut r = Rig::long_on(Interpreter::new().checking_tlb());
    let flush = [0x0F, 0x01, 0x3C, 0x25, 0, 0, 3, 0];
    assert_eq!(r.run_bytes(&[&read[..], &change, &flush, &read, &[0xF4]].concat()), End::Halt(CODE + 35));
    assert_eq!(count(&r, TLB_DIFFERENCES), Some(0), "INVLPG came between");
    assert_eq!(count(&Rig::long(), TLB_HITS), None, "off unless asked for");
    let mut r = Rig::long_on(Interpreter::new().checking_tlb());
    assert_eq!(r.run_bytes(&[&read[..], &change, &read, &[0xF4]].concat()), End::Halt(CODE + 27));
    assert_eq!(count(&r, TLB_DIFFERENCES), Some(0), "the entry is tracked");
    // A global page is kept as a TLB would, until INVLPG: this guest forgets it.
    let mut r = Rig::long_on(Interpreter::new().checking_tlb());
    r.page(DATA, DATA | 0x107);
    assert_eq!(r.run_bytes(&[&read[..], &change, &read, &[0xF4]].concat()), End::Halt(CODE + 27));
    assert_eq!(count(&r, TLB_DIFFERENCES), Some(1));
}
