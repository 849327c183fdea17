//! Shadow page tables under guest code: what it writes to its page tables is seen, and what it does
//! not change stays.

use super::rig::*;
use iced_x86::code_asm::*;

const P: u64 = 1;
const RW: u64 = 2;
const US: u64 = 4;
const A: u64 = 0x20;
const D: u64 = 0x40;
const PS: u64 = 0x80;
const G: u64 = 0x100;

/// A linear address with tables of its own: one of each level, from TREE on.
const LINEAR: u64 = 0x80_0000_0000 + (3 << 30) + (5 << 21) + (7 << 12);
const TREE: u64 = 0x20_0000;
/// Two pages that it may lead to.
const ONE: u64 = 0x3_1000;
const TWO: u64 = 0x3_2000;
/// Page tables that lead to TWO.
const OTHER_TREE: u64 = 0x21_0000;
/// A second root, which shares all but LINEAR's tables.
const ROOT2: u64 = 0x22_0000;

/// Where the entry for LINEAR of a level lies in the tables from `tree` on (level 4: in `root`).
fn entry_at(root: u64, tree: u64, level: u64) -> u64 {
    let index = LINEAR >> (12 + 9 * (level - 1)) & 511;
    if level == 4 { root + index * 8 } else { tree + (3 - level) * 0x1000 + index * 8 }
}
/// Builds tables from `tree` on that lead from LINEAR to `page`.
fn build(r: &Rig, root: u64, tree: u64, page: u64) {
    for level in 1..=4 {
        let to = if level == 1 { page } else { tree + (4 - level) * 0x1000 };
        r.write(entry_at(root, tree, level), &(to | P | RW | US).to_le_bytes());
    }
}
fn rig() -> Rig {
    let r = Rig::long();
    r.write(ONE, &[1; 16]);
    r.write(TWO, &[2; 16]);
    let root: [u8; 4096] = r.read(TABLES);
    r.write(ROOT2, &root);
    build(&r, ROOT2, OTHER_TREE, TWO);
    build(&r, TABLES, TREE, ONE);
    r
}
/// A statistic of the vCPU.
fn count(r: &Rig, name: &str) -> u64 {
    r.vcpu.statistics().into_iter().find(|(n, _)| n == name).unwrap().1
}
fn gpr(r: &Rig, n: usize) -> u64 {
    r.state().gpr[n]
}

/// Ways to write a quadword at RDI that holds RDX and shall hold RSI.
type Write = fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>;
const WRITES: &[(&str, Write)] = &[
    ("mov", |a| a.mov(qword_ptr(rdi), rsi)),
    ("two doublewords", |a| {
        a.mov(dword_ptr(rdi), esi)?;
        a.mov(rax, rsi)?;
        a.shr(rax, 32)?;
        a.mov(dword_ptr(rdi + 4), eax)
    }),
    ("bytes", |a| {
        a.push(rsi)?;
        a.mov(rsi, rsp)?;
        a.mov(ecx, 8)?;
        a.rep().movsb()?;
        a.pop(rsi)
    }),
    ("xchg", |a| {
        a.mov(rax, rsi)?;
        a.xchg(qword_ptr(rdi), rax)
    }),
    ("cmpxchg", |a| {
        a.mov(rax, qword_ptr(rdi))?;
        a.lock().cmpxchg(qword_ptr(rdi), rsi)
    }),
    ("stosq", |a| {
        a.mov(rax, rsi)?;
        a.stosq()
    }),
    ("sse", |a| {
        a.movq(xmm0, rsi)?;
        a.movq(qword_ptr(rdi), xmm0)
    }),
    ("xor", |a| {
        a.mov(rax, rsi)?;
        a.xor(rax, qword_ptr(rdi))?;
        a.xor(qword_ptr(rdi), rax)
    }),
    ("push", |a| {
        a.mov(rbp, rsp)?;
        a.lea(rsp, qword_ptr(rdi + 8))?;
        a.push(rsi)?;
        a.mov(rsp, rbp)
    }),
];

#[test]
fn a_write_to_an_entry_of_any_level_is_seen() {
    for &(name, write) in WRITES {
        for level in 1..=4 {
            let mut r = rig();
            let new = r.u64(entry_at(ROOT2, OTHER_TREE, level));
            r.change(|s| {
                s.gpr[3] = LINEAR;
                s.gpr[7] = entry_at(TABLES, TREE, level);
                s.gpr[6] = new;
            });
            let end = r.run(|a| {
                a.mov(r8b, byte_ptr(rbx)).unwrap();
                a.mov(byte_ptr(rbx + 8), r8b).unwrap();
                write(a).unwrap();
                a.mov(r9b, byte_ptr(rbx)).unwrap();
                a.mov(byte_ptr(rbx + 9), 9).unwrap();
                a.hlt().unwrap();
            });
            assert!(matches!(end, End::Halt(_)), "{name}, level {level}: {end:?}");
            assert_eq!((gpr(&r, 8), gpr(&r, 9)), (1, 2), "{name}, level {level}");
            assert_eq!(r.u16(ONE + 8), 0x0101, "{name}, level {level}");
            assert_eq!(r.u16(TWO + 8), 0x0902, "{name}, level {level}");
        }
    }
}

#[test]
fn writes_through_another_mapping_and_by_devices_are_seen() {
    let mut r = rig();
    // The page DATA leads to the leaf table.
    r.page(DATA, (TREE + 0x2000) | P | RW);
    let at = DATA + (entry_at(TABLES, TREE, 1) & 0xFFF);
    r.change(|s| s.gpr[3] = LINEAR);
    let end = r.run(|a| {
        a.mov(r8b, byte_ptr(rbx)).unwrap();
        a.mov(dword_ptr(at), (TWO | P | RW) as u32).unwrap();
        a.mov(r9b, byte_ptr(rbx)).unwrap();
        let mut again = a.create_label();
        a.set_label(&mut again).unwrap();
        a.mov(r10b, byte_ptr(rbx)).unwrap();
        a.jmp(again).unwrap();
    });
    assert_eq!(end, End::Running);
    assert_eq!((gpr(&r, 8), gpr(&r, 9), gpr(&r, 10)), (1, 2, 2));
    r.write(entry_at(TABLES, TREE, 1), &(ONE | P | RW).to_le_bytes());
    assert_eq!(r.go(), End::Running);
    assert_eq!(gpr(&r, 10), 1);
}

#[test]
fn cleared_accessed_and_dirty_flags_are_set_again() {
    let mut r = rig();
    let leaf = entry_at(TABLES, TREE, 1);
    r.change(|s| s.gpr[3] = LINEAR);
    r.run(|a| {
        for (n, bits) in [(0u64, D), (1, A | D)] {
            a.mov(byte_ptr(rbx), al).unwrap();
            a.and(byte_ptr(leaf), !(bits as i32)).unwrap();
            a.mov(byte_ptr(rbx), al).unwrap();
            a.mov(rax, qword_ptr(leaf)).unwrap();
            a.mov(qword_ptr(DATA + n * 8), rax).unwrap();
        }
        a.and(byte_ptr(leaf), !((A | D) as i32)).unwrap();
        a.mov(al, byte_ptr(rbx)).unwrap();
        a.mov(rax, qword_ptr(leaf)).unwrap();
        a.mov(qword_ptr(DATA + 16), rax).unwrap();
        a.hlt().unwrap();
    });
    let flags = |n: u64| r.u64(DATA + n * 8) & (A | D);
    assert_eq!([flags(0), flags(1), flags(2)], [A | D, A | D, A]);
}

/// Loops over loads of CR3 from RAX and RBX with a read of LINEAR (RSI) after each.
fn switching(a: &mut CodeAssembler) {
    let (mut top, mut next) = (a.create_label(), a.create_label());
    a.set_label(&mut top).unwrap();
    a.mov(cr3, rax).unwrap();
    a.mov(r8b, byte_ptr(rsi)).unwrap();
    a.mov(cr3, rbx).unwrap();
    a.mov(r9b, byte_ptr(rsi)).unwrap();
    // A call across pages, which links through the jump cache.
    a.mov(ecx, DATA as u32).unwrap();
    a.call(rcx).unwrap();
    a.jmp(next).unwrap();
    a.set_label(&mut next).unwrap();
    a.jmp(top).unwrap();
}

#[test]
fn switching_back_and_forth_walks_and_looks_up_nothing() {
    for shared in [false, true] {
        let mut r = rig();
        r.write(DATA, &[0xC3]);
        for page in (0..0x40_0000).step_by(0x1000) {
            r.page(page, page | P | RW | if shared { G } else { 0 });
        }
        for (root, tree) in [(TABLES, TREE), (ROOT2, OTHER_TREE)] {
            let at = entry_at(root, tree, 1);
            r.write(at, &(r.u64(at) & !US).to_le_bytes());
        }
        r.change(|s| {
            (s.gpr[0], s.gpr[3], s.gpr[6]) = (TABLES, ROOT2, LINEAR);
            s.cr4 |= if shared { 3 << 20 } else { 0 };
        });
        assert_eq!(r.run(switching), End::Running);
        assert_eq!((gpr(&r, 8), gpr(&r, 9)), (1, 2));
        let (walks, slow) = (count(&r, "page walks"), count(&r, "TLB flushes"));
        assert_eq!(r.go(), End::Running);
        assert_eq!((gpr(&r, 8), gpr(&r, 9)), (1, 2));
        assert_eq!(count(&r, "TLB flushes"), slow);
        let walked = count(&r, "page walks") - walks;
        if shared {
            // LINEAR is a supervisor's page that is not global: each space must look anew.
            assert!(walked > 100, "{walked}");
        } else {
            assert_eq!(walked, 0);
        }
    }
}

#[test]
fn global_pages_are_shared_by_new_spaces_until_invlpg() {
    let mut r = rig();
    for page in (0..0x40_0000).step_by(0x1000) {
        r.page(page, page | P | RW | G);
    }
    r.change(|s| {
        s.gpr[3] = ROOT2;
        s.cr4 |= 3 << 20;
    });
    // All that is used is global: the second space does not walk.
    let end = r.run(|a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.mov(cr3, rbx).unwrap();
        a.mov(al, byte_ptr(DATA)).unwrap();
        a.jmp(top).unwrap();
    });
    assert_eq!(end, End::Running);
    assert_eq!(count(&r, "page walks"), 2, "code and data");
    // A changed global entry is seen after INVLPG.
    r.page(DATA, ONE | P | RW | G);
    let entry = TABLES + 0x4000 + (DATA >> 12) * 8;
    r.change(|s| s.rip = CODE);
    let end = r.run(|a| {
        a.mov(r8b, byte_ptr(DATA)).unwrap();
        a.mov(dword_ptr(entry), (TWO | P | RW | G) as u32).unwrap();
        a.invlpg(byte_ptr(DATA)).unwrap();
        a.mov(r9b, byte_ptr(DATA)).unwrap();
        // The same with CR4.PGE cleared and set.
        a.mov(dword_ptr(entry), (ONE | P | RW | G) as u32).unwrap();
        a.mov(rax, cr4).unwrap();
        a.btr(rax, 7).unwrap();
        a.mov(cr4, rax).unwrap();
        a.bts(rax, 7).unwrap();
        a.mov(cr4, rax).unwrap();
        a.mov(r10b, byte_ptr(DATA)).unwrap();
        a.hlt().unwrap();
    });
    assert!(matches!(end, End::Halt(_)), "{end:?}");
    assert_eq!((gpr(&r, 8), gpr(&r, 9), gpr(&r, 10)), (1, 2, 1));
}

#[test]
fn large_pages_change_as_a_whole() {
    for (level, size) in [(2u64, 21u64), (3, 30)] {
        let mut r = rig();
        // A large page at physical 0, reached at an offset of ONE in it, that gives way to small ones.
        let base = LINEAR >> size << size;
        let at = entry_at(TABLES, TREE, level);
        let small = r.u64(at);
        r.write(at, &(PS | P | RW).to_le_bytes());
        r.change(|s| {
            s.gpr[3] = base + ONE;
            s.gpr[5] = LINEAR;
            s.gpr[6] = small;
        });
        let end = r.run(|a| {
            a.mov(r8b, byte_ptr(rbx)).unwrap();
            a.mov(r9b, byte_ptr(rbx + 0x1000)).unwrap();
            a.mov(qword_ptr(at), rsi).unwrap();
            a.mov(r10b, byte_ptr(rbp)).unwrap();
            a.mov(r11b, byte_ptr(rbx)).unwrap();
            a.hlt().unwrap();
        });
        assert_eq!((gpr(&r, 8), gpr(&r, 9), gpr(&r, 10)), (1, 2, 1), "level {level}");
        assert_eq!(end, End::Vector(14), "the rest of the large page is gone");
        assert_eq!(r.state().cr2, base + ONE);
    }
}

#[test]
fn a_former_page_table_holds_data_and_code() {
    let mut r = rig();
    let leaf_table = TREE + 0x2000;
    r.change(|s| {
        s.gpr[3] = LINEAR;
        s.gpr[7] = leaf_table;
    });
    let end = r.run(|a| {
        a.mov(al, byte_ptr(rbx)).unwrap();
        // The table is taken out and filled with code: INC R8D, 3 bytes each, then HLT.
        a.mov(qword_ptr(entry_at(TABLES, TREE, 2)), 0).unwrap();
        a.mov(eax, 0x00C0_FF41).unwrap();
        a.mov(ecx, 100).unwrap();
        let mut fill = a.create_label();
        a.set_label(&mut fill).unwrap();
        a.mov(dword_ptr(rdi), eax).unwrap();
        a.add(rdi, 3).unwrap();
        a.dec(ecx).unwrap();
        a.jne(fill).unwrap();
        a.mov(byte_ptr(rdi), 0xF4).unwrap();
        a.mov(edi, leaf_table as u32).unwrap();
        a.jmp(rdi).unwrap();
    });
    assert_eq!(end, End::Halt(leaf_table + 301));
    assert_eq!(gpr(&r, 8), 100);
    // And back: the code gives way to an entry, which leads to TWO.
    r.write(leaf_table, &[0; 4096]);
    r.write(entry_at(TABLES, TREE, 1), &(TWO | P).to_le_bytes());
    r.write(entry_at(TABLES, TREE, 2), &(leaf_table | P | RW).to_le_bytes());
    r.change(|s| {
        s.rip = CODE;
        s.activity = trimotor_cpu::state::Activity::Active;
    });
    let end = r.run(|a| {
        a.mov(r9b, byte_ptr(rbx)).unwrap();
        a.hlt().unwrap();
    });
    assert!(matches!(end, End::Halt(_)), "{end:?}");
    assert_eq!(gpr(&r, 9), 2);
}

/// 32-bit paging: a directory at TABLES that maps its first 4 MiB as a large page and the second
/// through a table, whose first entries lead to ONE and TWO.
fn two_levels() -> Rig {
    let mut r = Rig::protected();
    r.write(ONE, &[1; 16]);
    r.write(TWO, &[2; 16]);
    r.write(TABLES, &((PS | P | RW) as u32).to_le_bytes());
    r.write(TABLES + 4, &((TREE | P | RW) as u32).to_le_bytes());
    r.write(TREE, &((ONE | P | RW) as u32).to_le_bytes());
    r.write(TREE + 4, &((TWO | P | RW) as u32).to_le_bytes());
    r.change(|s| {
        s.cr3 = TABLES;
        s.cr4 = 0x10;
        s.cr0 |= 0x8000_0000;
    });
    r
}

#[test]
fn entries_of_4_bytes() {
    let mut r = two_levels();
    let end = r.run(|a| {
        let read = |a: &mut CodeAssembler, to: u64| {
            a.mov(ebx, 0x40_0000).unwrap();
            a.mov(al, byte_ptr(ebx)).unwrap();
            a.mov(ah, byte_ptr(ebx + 0x1000)).unwrap();
            a.mov(word_ptr(DATA + to), ax).unwrap();
        };
        read(a, 0);
        // Both entries of a granule, one after the other.
        a.mov(dword_ptr(TREE), (TWO | P | RW) as i32).unwrap();
        read(a, 2);
        a.mov(dword_ptr(TREE + 4), (ONE | P | RW) as i32).unwrap();
        read(a, 4);
        // The directory's entry becomes a large page, which holds other things at its start.
        a.mov(dword_ptr(TABLES + 4), (PS | P | RW) as i32).unwrap();
        a.mov(byte_ptr(0), 5).unwrap();
        a.mov(byte_ptr(0x1000), 6).unwrap();
        read(a, 6);
        a.hlt().unwrap();
    });
    assert!(matches!(end, End::Halt(_)), "{end:?}");
    assert_eq!([0, 2, 4, 6].map(|n| r.u16(DATA + n)), [0x0201, 0x0202, 0x0102, 0x0605]);
}

#[test]
fn pdptes_count_from_the_load_of_cr3() {
    let mut r = Rig::protected();
    r.write(ONE, &[1; 16]);
    r.write(TWO, &[2; 16]);
    let (directory, one, two) = (TABLES + 0x1000, TREE, OTHER_TREE);
    r.write(directory, &(PS | P | RW).to_le_bytes());
    r.write(directory + 8, &((1 << 21) | PS | P | RW).to_le_bytes());
    for (tree, page) in [(one, ONE), (two, TWO)] {
        r.write(tree, &((tree + 0x1000) | P | RW).to_le_bytes());
        r.write(tree + 0x1000, &(page | P | RW).to_le_bytes());
    }
    r.write(TABLES, &(directory | P).to_le_bytes());
    r.write(TABLES + 8, &(one | P).to_le_bytes());
    r.change(|s| {
        s.cr3 = TABLES;
        s.pdpte = [directory | P, one | P, 0, 0];
        s.cr4 = 0x20;
        s.cr0 |= 0x8000_0000;
    });
    let end = r.run(|a| {
        a.mov(esi, 0x4000_0000).unwrap();
        a.mov(bl, byte_ptr(esi)).unwrap();
        a.mov(dword_ptr(TABLES + 8), (two | P) as i32).unwrap();
        a.mov(bh, byte_ptr(esi)).unwrap();
        a.mov(eax, cr3).unwrap();
        a.mov(cr3, eax).unwrap();
        a.mov(cl, byte_ptr(esi)).unwrap();
        a.mov(dword_ptr(TABLES + 8), (one | P) as i32).unwrap();
        a.mov(cr3, eax).unwrap();
        a.mov(ch, byte_ptr(esi)).unwrap();
        a.hlt().unwrap();
    });
    assert!(matches!(end, End::Halt(_)), "{end:?}");
    assert_eq!((gpr(&r, 3) as u16, gpr(&r, 1) as u16), (0x0101, 0x0102));
}

#[test]
fn self_referencing_tables() {
    let mut r = rig();
    // The root's entry 510 leads to the root: LINEAR's leaf entry lies at this address.
    r.write(TABLES + 510 * 8, &(TABLES | P | RW).to_le_bytes());
    let through = 0xFFFF_0000_0000_0000 | 510 << 39 | LINEAR >> 12 << 3;
    r.change(|s| {
        s.gpr[3] = LINEAR;
        s.gpr[7] = through;
        s.gpr[6] = TWO | P | RW;
    });
    let end = r.run(|a| {
        a.mov(r8b, byte_ptr(rbx)).unwrap();
        a.mov(r10, qword_ptr(rdi)).unwrap();
        a.mov(qword_ptr(rdi), rsi).unwrap();
        a.mov(r9b, byte_ptr(rbx)).unwrap();
        // Without its root's entry the address leads nowhere.
        a.mov(qword_ptr(TABLES + 510 * 8), 0).unwrap();
        a.mov(qword_ptr(rdi), rsi).unwrap();
        a.hlt().unwrap();
    });
    assert_eq!(end, End::Vector(14));
    assert_eq!((gpr(&r, 8), gpr(&r, 9)), (1, 2));
    assert_eq!((gpr(&r, 10) & !0xFFF, r.state().cr2), (ONE, through));
}

#[test]
fn another_vcpu_sees_it_when_it_runs() {
    use std::sync::Arc;
    use trimotor_bus::VcpuSignals;
    use trimotor_cpu::model::CpuModel;
    use trimotor_cpu::{CpuBackend, state::Activity};
    let mut r = rig();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let mut engine = crate::Interpreter::new();
    let mut both = [0, 1].map(|id| engine.create_vcpu(id, &model, &r.memory, &VcpuSignals::new()).unwrap());
    // The first changes LINEAR's leaf entry from TWO to ONE and back, the second reads LINEAR.
    let start = r.state();
    for (n, vcpu) in both.iter_mut().enumerate() {
        let at = CODE + n as u64 * 0x1000;
        let code: &[u8] = if n == 0 {
            &[0x4C, 0x31, 0xC6, 0x48, 0x89, 0x37, 0xEB, 0xF8] // XOR RSI, R8; MOV [RDI], RSI; JMP
        } else {
            &[0x8A, 0x03, 0xEB, 0xFC] // MOV AL, [RBX]; JMP
        };
        r.write(at, code);
        let mut s = start.clone();
        (s.rip, s.activity) = (at, Activity::Active);
        (s.gpr[0], s.gpr[3], s.gpr[8]) = (0, LINEAR, ONE ^ TWO);
        (s.gpr[6], s.gpr[7]) = (TWO | P | RW, entry_at(TABLES, TREE, 1));
        vcpu.set_state(&s);
    }
    // At first the table is not in use, and the first one may write it inline.
    for expected in [1, 2, 1, 2, 1] {
        both[0].run(&mut r.bus, 3);
        both[1].run(&mut r.bus, 20);
        assert_eq!(both[1].state().gpr[0], expected);
    }
}
