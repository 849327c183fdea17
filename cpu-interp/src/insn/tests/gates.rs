//! Far transfers and call gates.

use super::rig::*;
use iced_x86::code_asm::{eax, es, fs};

/// JMP FAR or CALL FAR to `selector:offset`, 32-bit.
fn far(opcode: u8, selector: u16, offset: u32) -> Vec<u8> {
    let mut code = vec![opcode];
    code.extend(offset.to_le_bytes());
    code.extend(selector.to_le_bytes());
    code.push(0xF4);
    code
}
const JMP: u8 = 0xEA;
const CALL: u8 = 0x9A;
/// Where targets stand: a HLT.
const TARGET: u32 = 0x1_8000;

fn rig_at(cpl: u8) -> Rig {
    let mut r = Rig::protected();
    if cpl == 3 {
        r.ring3();
    }
    r.write(TARGET as u64, &[0xF4]);
    r
}

#[test]
fn far_jumps_check_the_code_segment() {
    // selector, descriptor, CPL, what comes: None is arrival, else vector and error code.
    let table: &[(u16, u64, u8, Option<(u8, u64)>)] = &[
        (FREE, flat(0xC09B), 0, None),
        (FREE | 3, flat(0xC09B), 0, Some((13, FREE as u64))),
        (FREE, flat(0xC093), 0, Some((13, FREE as u64))),
        (FREE, flat(0xC01B), 0, Some((11, FREE as u64))),
        (FREE, flat(0xC0BB), 0, Some((13, FREE as u64))),
        (FREE, flat(0xC09F), 0, None),
        (FREE, flat(0xC0FF), 0, Some((13, FREE as u64))),
        (FREE, descriptor(0, 0x17FFF, 0x409B), 0, Some((13, 0))),
        (FREE, descriptor(0, 0x18000, 0x409B), 0, None),
        (0, 0, 0, Some((13, 0))),
        (3, 0, 0, Some((13, 0))),
        (0x800, 0, 0, Some((13, 0x800))),
        (FREE | 4, 0, 0, Some((13, FREE as u64 | 4))),
        // From ring 3: conforming code keeps CPL.
        (FREE, flat(0xC0FB), 3, Some((13, 0))),
        (FREE, flat(0xC09F), 3, Some((13, 0))),
        (FREE, flat(0xC09B), 3, Some((13, FREE as u64))),
    ];
    for &(selector, d, cpl, expected) in table {
        let mut r = rig_at(cpl);
        r.gdt(FREE, d);
        let end = r.run_bytes(&far(JMP, selector, TARGET));
        let what = format!("selector {selector:#x}, descriptor {d:#x}, CPL {cpl}: {end:?}");
        match expected {
            None => {
                assert_eq!(end, End::Halt(TARGET as u64 + 1), "{what}");
                assert_eq!(r.state().segments[1].selector, selector & !3, "{what}");
                assert_eq!(r.u64(GDT + FREE as u64) >> 40 & 1, 1, "accessed; {what}");
            }
            // In ring 3 the HLT of the target is what faults.
            Some((13, 0)) if cpl == 3 => {
                assert_eq!(end, End::Vector(13), "{what}");
                assert_eq!(r.stack(1), TARGET as u64, "{what}");
                assert_eq!(r.stack(2), (selector & !3 | 3) as u64, "{what}");
            }
            Some((vector, code)) => {
                assert_eq!(end, End::Vector(vector), "{what}");
                assert_eq!((r.stack(0), r.stack(1)), (code, CODE), "{what}");
            }
        }
    }
}

#[test]
fn far_call_and_return_keep_the_stack() {
    let mut r = rig_at(0);
    r.write(TARGET as u64, &[0xCA, 8, 0]); // RETF 8
    let mut code = far(CALL, CS0, TARGET);
    code.splice(0..0, [0x6A, 1, 0x6A, 2]);
    assert_eq!(r.run_bytes(&code), End::Halt(CODE + 12));
    assert_eq!(r.state().gpr[4], STACK);
    assert_eq!((r.u32(STACK - 12), r.u32(STACK - 16)), (CS0 as u32, CODE as u32 + 11));
}

#[test]
fn a_call_gate_to_ring_0_switches_stacks_and_copies_parameters() {
    let mut r = rig_at(3);
    r.gdt(FREE, gate(CS0, TARGET as u64, 0xEC, 2));
    let mut code = far(CALL, FREE | 3, 0xDEAD_BEEF);
    code.splice(0..0, [0x6A, 0x11, 0x6A, 0x22]);
    assert_eq!(r.run_bytes(&code), End::Halt(TARGET as u64 + 1));
    let s = r.state();
    assert_eq!((s.cpl, s.segments[1].selector, s.segments[2].selector), (0, CS0, DS0));
    assert_eq!(s.gpr[4], STACK0 - 24);
    let frame: Vec<u64> = (0..6).map(|n| r.stack(n)).collect();
    assert_eq!(frame, [CODE + 11, CS3 as u64, 0x22, 0x11, STACK - 8, DS3 as u64]);
}

#[test]
fn a_return_through_the_gate_drops_parameters_on_both_stacks() {
    let mut r = rig_at(3);
    r.gdt(FREE, gate(CS0, TARGET as u64, 0xEC, 2));
    r.write(TARGET as u64, &[0xCA, 8, 0]);
    // After the return, ring 3 executes HLT, which faults.
    let mut code = far(CALL, FREE | 3, 0);
    code.splice(0..0, [0x6A, 0x11, 0x6A, 0x22]);
    assert_eq!(r.run_bytes(&code), End::Vector(13));
    assert_eq!((r.stack(1), r.stack(2), r.stack(4)), (CODE + 11, CS3 as u64, STACK));
}

#[test]
fn a_16_bit_gate_pushes_words() {
    let mut r = rig_at(3);
    r.gdt(FREE, gate(CS0, 0x8FF0, 0xE4, 1));
    r.write(0x8FF0, &[0xF4]);
    let mut code = far(CALL, FREE | 3, 0);
    code.splice(0..0, [0x66, 0x6A, 0x33]);
    assert_eq!(r.run_bytes(&code), End::Vector(0xFF)); // the last handler's place
    let sp = r.state().gpr[4];
    assert_eq!(sp, STACK0 - 10);
    let words: Vec<u16> = (0..5).map(|n| r.u16(sp + n * 2)).collect();
    assert_eq!(words, [CODE as u16 + 10, CS3, 0x33, (STACK - 2) as u16, DS3]);
}

#[test]
fn call_gates_are_checked() {
    // gate, selector used, CPL, vector and error code.
    let f = FREE as u64;
    let table: &[(u64, u16, u8, (u8, u64))] = &[
        (gate(CS0, 0, 0x8C, 0), FREE, 3, (13, f)),
        (gate(CS0, 0, 0x8C, 0), FREE | 3, 0, (13, f)),
        (gate(CS0, 0, 0x6C, 0), FREE, 3, (11, f)),
        (gate(0, 0, 0xEC, 0), FREE, 3, (13, 0)),
        (gate(DS0, 0, 0xEC, 0), FREE, 3, (13, DS0 as u64)),
        (gate(0x800, 0, 0xEC, 0), FREE, 3, (13, 0x800)),
        (gate(CS3, 0, 0xEC, 0), FREE, 0, (13, CS3 as u64 & !3)),
        // An interrupt gate, and a busy TSS, in the GDT.
        (gate(CS0, 0, 0xEE, 0), FREE, 3, (13, f)),
        (descriptor(TSS2, 0x67, 0x8B), FREE, 0, (13, f)),
    ];
    for &(d, selector, cpl, expected) in table {
        for opcode in [JMP, CALL] {
            let mut r = rig_at(cpl);
            r.gdt(FREE, d);
            let end = r.run_bytes(&far(opcode, selector, 0));
            assert_eq!(end, End::Vector(expected.0), "{d:#x} {opcode:#x}");
            assert_eq!((r.stack(0), r.stack(1)), (expected.1, CODE), "{d:#x} {opcode:#x}");
        }
    }
    // JMP cannot go inward.
    let mut r = rig_at(3);
    r.gdt(FREE, gate(CS0, TARGET as u64, 0xEC, 0));
    assert_eq!(r.run_bytes(&far(JMP, FREE, 0)), End::Vector(13));
    assert_eq!(r.stack(0), CS0 as u64);
}

#[test]
fn bad_inner_stacks_are_invalid_tss() {
    // SS of the TSS, its descriptor at FREE + 8, vector and error code.
    let s = FREE + 8;
    let e = s as u64;
    let table: &[(u16, u64, (u8, u64))] = &[
        (0, 0, (10, 0)),
        (0x800, 0, (10, 0x800)),
        (s | 1, flat(0xC0B3), (10, e)),
        (s, flat(0xC0B3), (10, e)),
        (s, flat(0xC091), (10, e)),
        (s, flat(0xC09B), (10, e)),
        (s, flat(0xC013), (12, e)),
        // No room: a limit below the stack pointer.
        (s, descriptor(0, 0xFFF, 0x4093), (12, e)),
    ];
    for &(ss, d, expected) in table {
        let mut r = rig_at(3);
        r.gdt(FREE, gate(CS0, TARGET as u64, 0xEC, 0));
        r.gdt(s, d);
        r.write(TSS + 8, &ss.to_le_bytes());
        // The handler's stack must be sound: a conforming handler stays in ring 3.
        r.gdt(FREE + 16, flat(0xC09F));
        r.idt(expected.0 as u16, gate(FREE + 16, HANDLERS + expected.0 as u64 * 16, 0x8E, 0), 0);
        r.write(HANDLERS + expected.0 as u64 * 16, &[0xEB, 0xFE]); // HLT would fault in ring 3
        assert_eq!(r.run_bytes(&far(CALL, FREE, 0)), End::Running, "SS {ss:#x}");
        assert_eq!(r.state().rip, HANDLERS + expected.0 as u64 * 16, "SS {ss:#x}, {d:#x}");
        assert_eq!((r.stack(0), r.stack(1)), (expected.1, CODE), "SS {ss:#x}, {d:#x}");
    }
}

#[test]
fn returns_check_what_they_pop() {
    // CS, SS, vector and error code of a RETF from ring 0 with EIP = TARGET.
    let table: &[(u16, u16, Option<(u8, u64)>)] = &[
        (CS0, 0, None),
        (CS3, DS3, Some((13, 0))), // arrives in ring 3, where HLT faults
        (0, 0, Some((13, 0))),
        (CS3 & !3, DS3, Some((13, CS3 as u64 & !3))),
        (CS0 | 3, DS3, Some((13, CS0 as u64))),
        (DS3, DS3, Some((13, DS3 as u64 & !3))),
        (CS3, 0, Some((13, 0))),
        (CS3, DS0, Some((13, DS0 as u64))),
        (CS3, DS3 & !3, Some((13, DS3 as u64 & !3))),
        (CS1, DS3, Some((13, DS3 as u64 & !3))),
    ];
    for &(cs, ss, expected) in table {
        let mut r = rig_at(0);
        r.write(STACK - 16, &TARGET.to_le_bytes());
        r.write(STACK - 12, &(cs as u32).to_le_bytes());
        r.write(STACK - 8, &0x2_4000u32.to_le_bytes());
        r.write(STACK - 4, &(ss as u32).to_le_bytes());
        r.change(|s| s.gpr[4] = STACK - 16);
        let end = r.run_bytes(&[0xCB]);
        match expected {
            None => assert_eq!(end, End::Halt(TARGET as u64 + 1)),
            Some((vector, code)) => {
                assert_eq!(end, End::Vector(vector), "CS {cs:#x}, SS {ss:#x}");
                assert_eq!(r.stack(0), code, "CS {cs:#x}, SS {ss:#x}");
                let arrived = (cs, ss) == (CS3, DS3);
                assert_eq!(r.stack(1), if arrived { TARGET as u64 } else { CODE }, "CS {cs:#x}, SS {ss:#x}");
            }
        }
    }
}

#[test]
fn outward_returns_null_segments_that_the_new_level_must_not_see() {
    let mut r = rig_at(0);
    r.gdt(FREE, flat(0xC09F)); // conforming code, readable? no: execute-only would not load
    r.write(STACK - 16, &TARGET.to_le_bytes());
    r.write(STACK - 12, &(CS3 as u32).to_le_bytes());
    r.write(STACK - 8, &0x2_4000u32.to_le_bytes());
    r.write(STACK - 4, &(DS3 as u32).to_le_bytes());
    r.write(TARGET as u64, &[0xEB, 0xFE]);
    r.change(|s| s.gpr[4] = STACK - 16);
    let end = r.run(|a| {
        a.mov(eax, DS3 as u32).unwrap();
        a.mov(es, eax).unwrap();
        a.mov(eax, FREE as u32).unwrap();
        a.mov(fs, eax).unwrap();
        a.retf().unwrap();
    });
    assert_eq!(end, End::Running);
    let s = r.state();
    assert_eq!((s.cpl, s.gpr[4]), (3, 0x2_4000));
    assert_eq!(s.segments[3].selector, 0, "DS of ring 0");
    assert_eq!(s.segments[5].selector, 0, "GS of ring 0");
    assert_eq!(s.segments[0].selector, DS3, "ES of ring 3");
    assert_eq!(s.segments[4].selector, FREE, "FS of conforming code");
}

#[test]
fn long_mode_call_gates_push_quadwords_and_load_a_null_ss() {
    let mut r = Rig::long();
    r.ring3();
    let at = FREE + 16;
    r.gdt(at, gate(CS0, TARGET as u64, 0xEC, 0));
    r.gdt(at + 8, 0);
    r.write(TARGET as u64, &[0xF4]);
    // CALL [rip]: m16:32
    r.write(DATA, &[0, 0, 0, 0, at as u8 | 3, (at >> 8) as u8]);
    assert_eq!(r.run_bytes(&[0xFF, 0x1C, 0x25, 0, 0, 3, 0]), End::Halt(TARGET as u64 + 1));
    let frame: Vec<u64> = (0..4).map(|n| r.stack(n)).collect();
    assert_eq!(frame, [CODE + 7, CS3 as u64, STACK, DS3 as u64]);
    let s = r.state();
    assert_eq!((s.cpl, s.segments[2].selector, s.gpr[4]), (0, 0, STACK0 - 32));
    // A 64-bit gate must name 64-bit code.
    let mut r = Rig::long();
    r.gdt(at, gate(FREE + 8, TARGET as u64, 0xEC, 0));
    r.gdt(at + 8, 0);
    r.write(DATA, &[0, 0, 0, 0, at as u8, (at >> 8) as u8]);
    assert_eq!(r.run_bytes(&[0xFF, 0x1C, 0x25, 0, 0, 3, 0]), End::Vector(13));
    assert_eq!(r.stack(0), FREE as u64 + 8);
}

#[test]
fn compatibility_mode_and_back() {
    let mut r = Rig::long();
    // From 64-bit code to 32-bit code at ring 0, which returns.
    r.write(DATA, &(TARGET).to_le_bytes());
    r.write(DATA + 4, &(FREE + 8).to_le_bytes());
    // inc eax (a REX prefix in 64-bit mode); jmp far 08:CODE+0x100
    let mut code = vec![0x40];
    code.extend(far(JMP, CS0, CODE as u32 + 0x100));
    r.write(TARGET as u64, &code);
    r.write(CODE + 0x100, &[0x48, 0xFF, 0xC3, 0xF4]); // inc rbx; hlt
    r.change(|s| s.gpr[3] = 0xFFFF_FFFF);
    assert_eq!(r.run_bytes(&[0xFF, 0x2C, 0x25, 0, 0, 3, 0]), End::Halt(CODE + 0x104));
    let s = r.state();
    assert_eq!((s.gpr[0], s.gpr[3]), (1, 0x1_0000_0000));
    assert_eq!(s.segments[1].attributes & 0xF0FF, 0xA09B);
}
