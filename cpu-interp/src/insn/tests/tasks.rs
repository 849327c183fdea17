//! Hardware task switches.

use super::rig::*;

/// Where the second task starts, its stack, and its selector.
const START: u64 = 0x1_8000;
const STACK2: u64 = 0x2_C000;
const TSS2_SELECTOR: u16 = FREE;

fn rig() -> Rig {
    let r = Rig::protected();
    r.gdt(TSS2_SELECTOR, descriptor(TSS2, 0x67, 0x89));
    let put = |at: u64, v: u32| r.write(TSS2 + at, &v.to_le_bytes());
    put(28, 0); // CR3
    put(32, START as u32);
    put(36, 2);
    for i in 0..8u64 {
        put(40 + i * 4, 0x100 + i as u32);
    }
    put(56, STACK2 as u32);
    for (i, selector) in [DS0, CS0, DS0, DS0, 0, DS3].iter().enumerate() {
        put(72 + i as u64 * 4, *selector as u32);
    }
    put(96, 0);
    put(100, 0x68 << 16);
    r.write(START, &[0xF4]);
    r
}

fn far(opcode: u8, selector: u16) -> [u8; 8] {
    let s = selector.to_le_bytes();
    [opcode, 0, 0, 0, 0, s[0], s[1], 0xF4]
}

fn busy(r: &Rig, selector: u16) -> bool {
    r.read::<8>(GDT + selector as u64)[5] & 2 != 0
}

#[test]
fn jump_saves_and_loads_everything() {
    let mut r = rig();
    r.change(|s| {
        s.gpr[0] = 0xAAAA;
        s.rflags = 0x203;
    });
    assert_eq!(r.run_bytes(&far(0xEA, TSS2_SELECTOR)), End::Halt(START + 1));
    let s = r.state();
    assert_eq!((s.gpr[0], s.gpr[4], s.gpr[7], s.rflags), (0x100, STACK2, 0x107, 2));
    assert_eq!((s.tr.selector, s.tr.base, s.tr.attributes & 15), (TSS2_SELECTOR, TSS2, 11));
    assert_eq!((s.segments[4].selector, s.segments[5].selector), (0, DS3));
    assert_eq!(s.cr0 >> 3 & 1, 1, "TS");
    assert_eq!((r.u32(TSS + 32) as u64, r.u32(TSS + 36), r.u32(TSS + 40)), (CODE + 7, 0x203, 0xAAAA));
    assert_eq!((r.u32(TSS + 76), r.u32(TSS + 80)), (CS0 as u32, DS0 as u32));
    assert_eq!((busy(&r, TR), busy(&r, TSS2_SELECTOR)), (false, true));
    assert_eq!(r.u32(TSS2) as u16, 0, "no link");
}

#[test]
fn call_nests_and_iret_comes_back() {
    let mut r = rig();
    r.write(START, &[0xCF, 0xF4]); // IRET
    assert_eq!(r.run_bytes(&far(0x9A, TSS2_SELECTOR)), End::Halt(CODE + 8));
    let s = r.state();
    assert_eq!((s.tr.selector, s.gpr[4], s.rflags & 0x4000), (TR, STACK, 0));
    assert_eq!((busy(&r, TR), busy(&r, TSS2_SELECTOR)), (true, false));
    assert_eq!(r.u32(TSS2 + 32) as u64, START + 1);
    assert_eq!(r.u32(TSS2 + 36) & 0x4000, 0, "NT is cleared in what IRET saves");
    // Without the IRET: link, NT, both busy.
    let mut r = rig();
    assert_eq!(r.run_bytes(&far(0x9A, TSS2_SELECTOR)), End::Halt(START + 1));
    assert_eq!((r.u32(TSS2) as u16, r.state().rflags & 0x4000), (TR, 0x4000));
    assert!(busy(&r, TR) && busy(&r, TSS2_SELECTOR));
}

#[test]
fn an_exception_through_a_task_gate_pushes_its_error_code() {
    let mut r = rig();
    r.idt(13, gate(TSS2_SELECTOR, 0, 0x85, 0), 0);
    // MOV DS, 800h: #GP(800h).
    assert_eq!(r.run_bytes(&[0xB8, 0, 8, 0, 0, 0x8E, 0xD8]), End::Halt(START + 1));
    assert_eq!((r.state().gpr[4], r.stack(0)), (STACK2 - 4, 0x800));
    assert_eq!((r.u32(TSS + 32) as u64, r.u32(TSS + 36)), (CODE + 5, 0x1_0002));
}

#[test]
fn through_a_task_gate_in_the_gdt() {
    let mut r = rig();
    r.ring3();
    r.gdt(FREE + 8, gate(TSS2_SELECTOR, 0, 0xE5, 0));
    assert_eq!(r.run_bytes(&far(0x9A, FREE + 8 + 3)), End::Halt(START + 1));
    assert_eq!(r.state().cpl, 0);
    assert_eq!(r.u32(TSS + 76), CS3 as u32);
    // The TSS itself, of DPL 0, cannot be named from ring 3.
    let mut r = rig();
    r.ring3();
    assert_eq!(r.run_bytes(&far(0x9A, TSS2_SELECTOR)), End::Vector(13));
    assert_eq!(r.stack(0), TSS2_SELECTOR as u64);
}

#[test]
fn what_is_wrong_with_the_tss_faults_in_the_old_task() {
    let f = FREE as u64;
    for (d, vector, code) in [
        (descriptor(TSS2, 0x66, 0x89), 10, f),
        (descriptor(TSS2, 0x67, 0x09), 11, f),
        (descriptor(TSS2, 0x67, 0x8B), 13, f),
    ] {
        let mut r = rig();
        r.gdt(TSS2_SELECTOR, d);
        assert_eq!(r.run_bytes(&far(0xEA, TSS2_SELECTOR)), End::Vector(vector), "{d:#x}");
        assert_eq!((r.stack(0), r.stack(1)), (code, CODE), "{d:#x}");
        assert_eq!(r.state().tr.selector, TR);
    }
}

#[test]
fn what_is_wrong_with_its_registers_faults_in_the_new_task() {
    // Offset in the TSS, value, vector, error code.
    let bad = FREE + 8;
    let table: &[(u64, u32, u64, u8, u64)] = &[
        (76, 0, 0, 10, 0),
        (76, DS0 as u32, 0, 10, DS0 as u64),
        (76, bad as u32, flat(0xC01B), 11, bad as u64),
        (80, 0, 0, 10, 0),
        (80, CS0 as u32, 0, 10, CS0 as u64),
        (80, bad as u32, flat(0xC013), 12, bad as u64),
        (84, 0x800, 0, 10, 0x800),
        (84, bad as u32, flat(0xC013), 11, bad as u64),
        (96, DS0 as u32, 0, 10, DS0 as u64),
        (96, bad as u32, descriptor(DATA, 0xFF, 0x02), 10, bad as u64),
    ];
    for &(at, value, d, vector, code) in table {
        let mut r = rig();
        r.gdt(bad, d);
        r.write(TSS2 + at, &value.to_le_bytes());
        // The handler in a task of its own would hide the frame: give the new task ring 0 code by an
        // interrupt gate; where SS was what is wrong, delivery cannot push, and a task gate helps.
        let gate_task = FREE + 16;
        let tss3 = 0x4000u64;
        r.gdt(gate_task, descriptor(tss3, 0x67, 0x89));
        let image: [u8; 104] = r.read(TSS2);
        r.write(tss3, &image);
        for (offset, v) in
            [(32, SPOT as u32), (56, 0x2_E000), (76, CS0 as u32), (80, DS0 as u32), (84, DS0 as u32), (96, 0)]
        {
            r.write(tss3 + offset, &v.to_le_bytes());
        }
        r.write(SPOT, &[0xF4]);
        r.idt(vector as u16, gate(gate_task, 0, 0x85, 0), 0);
        assert_eq!(r.run_bytes(&far(0xEA, TSS2_SELECTOR)), End::Halt(SPOT + 1), "{at} {value:#x}");
        assert_eq!(r.stack(0), code, "error code, {at} {value:#x}");
        assert_eq!(r.u32(TSS2 + 32) as u64, START, "the new task did not start, {at} {value:#x}");
        assert_eq!(r.u32(tss3) as u16, TSS2_SELECTOR);
    }
}
/// Where the third task runs.
const SPOT: u64 = 0x1_9000;

#[test]
fn the_t_bit_traps_before_the_first_instruction() {
    let mut r = rig();
    r.write(TSS2 + 100, &1u16.to_le_bytes());
    assert_eq!(r.run_bytes(&far(0xEA, TSS2_SELECTOR)), End::Vector(1));
    assert_eq!(r.stack(0), START);
    assert_eq!(r.state().dr[6] & 0x8000, 0x8000);
}

#[test]
fn a_16_bit_tss() {
    let mut r = rig();
    r.gdt(TSS2_SELECTOR, descriptor(TSS2, 0x2B, 0x81));
    let mut words = [0u16; 22];
    words[7] = 0x8F00; // IP
    words[8] = 2;
    for i in 0..8 {
        words[9 + i] = 0x200 + i as u16;
    }
    words[17..21].copy_from_slice(&[DS0, CS0, DS0, DS0]);
    for (i, w) in words.iter().enumerate() {
        r.write(TSS2 + i as u64 * 2, &w.to_le_bytes());
    }
    r.write(0x8F00, &[0xEB, 0xFE]);
    assert_eq!(r.run_bytes(&far(0xEA, TSS2_SELECTOR)), End::Running);
    let s = r.state();
    assert_eq!((s.rip, s.gpr[0] & 0xFFFF, s.gpr[4] & 0xFFFF), (0x8F00, 0x200, 0x204));
    assert_eq!((s.tr.attributes & 15, s.segments[4].selector), (3, 0));
}

#[test]
fn iret_checks_the_link() {
    for (link, d, vector, code) in [
        (0u16, 0, 10, 0),
        (TSS2_SELECTOR, descriptor(TSS2, 0x67, 0x89), 10, FREE as u64),
        (TSS2_SELECTOR, descriptor(TSS2, 0x67, 0x0B), 11, FREE as u64),
        (0x804, 0, 10, 0x804),
    ] {
        let mut r = rig();
        r.gdt(TSS2_SELECTOR, d);
        r.write(TSS, &link.to_le_bytes());
        r.change(|s| s.rflags |= 0x4000);
        assert_eq!(r.run_bytes(&[0xCF]), End::Vector(vector), "{link:#x} {d:#x}");
        assert_eq!((r.stack(0), r.stack(1)), (code, CODE));
    }
}

#[test]
fn a_task_brings_its_page_tables() {
    // Two page directories of 4 MiB pages: in the second one, 4 MiB maps to 0.
    let mut r = rig();
    let (first, second) = (TABLES, TABLES + 0x1000);
    for directory in [first, second] {
        r.write(directory, &0x83u32.to_le_bytes());
    }
    r.write(second + 4, &0x83u32.to_le_bytes());
    r.write(TSS2 + 28, &(second as u32).to_le_bytes());
    r.write(DATA, &[0x99]);
    // The task reads 400000h + DATA.
    r.write(START, &[0xA0, 0, 0, 0x43, 0, 0xF4]);
    r.change(|s| {
        s.cr3 = first;
        s.cr4 = 0x10;
        s.cr0 |= 0x8000_0000;
    });
    assert_eq!(r.run_bytes(&far(0xEA, TSS2_SELECTOR)), End::Halt(START + 6));
    assert_eq!((r.state().cr3, r.state().gpr[0] & 0xFF), (second, 0x99));
}
