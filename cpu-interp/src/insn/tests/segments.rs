//! Loads of segment registers, and the instructions that ask about descriptors.

use super::rig::*;

/// MOV of AX to a segment register: /0 ES, /2 SS, /3 DS, /4 FS, /5 GS.
fn mov(reg: u8) -> [u8; 3] {
    [0x8E, 0xC0 | reg << 3, 0xF4]
}

#[test]
fn data_segments() {
    // selector, descriptor, CPL, vector and code.
    let f = FREE as u64;
    let table: &[(u16, u64, u8, Option<(u8, u64)>)] = &[
        (FREE, flat(0xC092), 0, None),
        (FREE, flat(0xC09A), 0, None), // readable code
        (FREE, flat(0xC098), 0, Some((13, f))),
        (FREE, flat(0xC012), 0, Some((11, f))),
        (FREE, descriptor(TSS2, 0x67, 0x89), 0, Some((13, f))),
        (FREE | 3, flat(0xC092), 0, Some((13, f))),
        (FREE | 3, flat(0xC0F2), 0, None),
        (FREE, flat(0xC092), 3, Some((13, f))),
        (FREE, flat(0xC09E), 3, None), // conforming code of ring 0
        (FREE | 3, flat(0xC0F2), 3, None),
        (0x800, 0, 0, Some((13, 0x800))),
        (0, 0, 0, None),
        (3, 0, 3, None),
        (FREE | 4, 0, 0, Some((13, f | 4))),
    ];
    for &(selector, d, cpl, expected) in table {
        for reg in [0u8, 3, 4, 5] {
            let mut r = Rig::protected();
            r.gdt(FREE, d);
            if cpl == 3 {
                r.ring3();
            }
            r.change(|s| s.gpr[0] = selector as u64);
            let mut code = mov(reg);
            code[2] = 0x90;
            let end = r.run_bytes(&[&code[..], &[0xEB, 0xFE]].concat());
            match expected {
                None => {
                    assert_eq!(end, End::Running, "{selector:#x} {d:#x}");
                    assert_eq!(r.state().segments[reg as usize].selector, selector);
                    if d != 0 {
                        assert_eq!(r.u64(GDT + f) >> 40 & 1, 1, "accessed");
                    }
                }
                Some((vector, code)) => {
                    assert_eq!(end, End::Vector(vector), "{selector:#x} {d:#x}");
                    assert_eq!((r.stack(0), r.stack(1)), (code, CODE), "{selector:#x} {d:#x}");
                }
            }
        }
    }
}

#[test]
fn stack_segments() {
    let f = FREE as u64;
    let table: &[(u16, u64, Option<(u8, u64)>)] = &[
        (FREE, flat(0xC092), None),
        (0, 0, Some((13, 0))),
        (FREE | 1, flat(0xC0B2), Some((13, f))),
        (FREE, flat(0xC0B2), Some((13, f))),
        (FREE, flat(0xC090), Some((13, f))),
        (FREE, flat(0xC09A), Some((13, f))),
        (FREE, flat(0xC012), Some((12, f))),
    ];
    for &(selector, d, expected) in table {
        let mut r = Rig::protected();
        r.gdt(FREE, d);
        r.change(|s| s.gpr[0] = selector as u64);
        let end = r.run_bytes(&mov(2));
        match expected {
            None => assert_eq!(end, End::Halt(CODE + 3)),
            Some((vector, code)) => {
                assert_eq!(end, End::Vector(vector), "{selector:#x} {d:#x}");
                assert_eq!(r.stack(0), code);
            }
        }
    }
    // 64-bit mode takes a null SS at CPL 0 to 2 where RPL is CPL.
    let mut r = Rig::long();
    r.change(|s| s.gpr[0] = 0);
    assert_eq!(r.run_bytes(&mov(2)), End::Halt(CODE + 3));
    let mut r = Rig::long();
    r.ring3();
    r.change(|s| s.gpr[0] = 3);
    assert_eq!(r.run_bytes(&mov(2)), End::Vector(13));
}

#[test]
fn null_segments_fault_at_use_and_limits_hold() {
    for (change, code, vector) in [
        (0u8, &[0xA1u8, 0, 0, 3, 0][..], 13), // null DS
        (1, &[0xA1, 0xFD, 0xFF, 3, 0], 13),   // a dword across the limit 3FFFFh
        (1, &[0xA1, 0xFC, 0xFF, 3, 0], 255),
        (2, &[0xA1, 0xFF, 0xFF, 0, 0], 13), // expand-down: valid above FFFFh
        (2, &[0xA1, 0, 0, 1, 0], 255),
        (3, &[0xA3, 0, 0, 3, 0], 13),       // read-only data
        (4, &[0x2E, 0xA3, 0, 0, 3, 0], 13), // a write through CS
        (5, &[0x50], 12),                   // a push beyond SS's limit
    ] {
        let mut r = Rig::protected();
        r.change(|s| match change {
            0 => s.segments[3] = trimotor_cpu::Segment::null(0),
            1 => s.segments[3].limit = 0x3_FFFF,
            2 => (s.segments[3].attributes, s.segments[3].limit) = (0xC097, 0xFFFF),
            3 => s.segments[3].attributes = 0xC091,
            5 => s.segments[2].limit = 0xFFF,
            _ => {}
        });
        if change == 5 {
            // The fault cannot be pushed here either: by a task.
            assert!(matches!(r.run_bytes(code), End::Shutdown(_)));
            continue;
        }
        let end = r.run_bytes(&[code, &[0xF4]].concat());
        let expected =
            if vector == 255 { End::Halt(CODE + code.len() as u64 + 1) } else { End::Vector(vector) };
        assert_eq!(end, expected, "{change} {code:x?}");
    }
}

#[test]
fn lar_lsl_verr_verw() {
    // descriptor, CPL and RPL, LAR, LSL, VERR, VERW.
    let table: &[(u64, u8, [Option<u64>; 2], [bool; 2])] = &[
        (flat(0xC093), 0, [Some(0xCF_9300), Some(0xFFFF_FFFF)], [true, true]),
        (descriptor(0, 0x1234, 0x4091), 0, [Some(0x40_9100), Some(0x1234)], [true, false]),
        (flat(0xC09A), 0, [Some(0xCF_9A00), Some(0xFFFF_FFFF)], [true, false]),
        (flat(0xC098), 0, [Some(0xCF_9800), Some(0xFFFF_FFFF)], [false, false]),
        (descriptor(TSS2, 0x67, 0x89), 0, [Some(0x8900), Some(0x67)], [false, false]),
        (gate(CS0, 0, 0x8C, 0), 0, [Some(0x8C00), None], [false, false]),
        (gate(CS0, 0, 0x8E, 0), 0, [None, None], [false, false]),
        (0, 0, [None, None], [false, false]),
        (flat(0xC093), 3, [None, None], [false, false]),
        (flat(0xC09E), 3, [Some(0xCF_9E00), Some(0xFFFF_FFFF)], [true, false]),
    ];
    for &(d, cpl, loads, verifies) in table {
        // LAR EBX, EAX; SETZ DL; LSL ECX, EAX; SETZ DH; VERR AX; SETZ [DATA]; VERW AX; SETZ [DATA+1]
        let code = [
            0x0F, 0x02, 0xD8, 0x0F, 0x94, 0xC2, 0x0F, 0x03, 0xC8, 0x0F, 0x94, 0xC6, 0x0F, 0x00, 0xE0, 0x0F,
            0x94, 0x05, 0, 0, 3, 0, 0x0F, 0x00, 0xE8, 0x0F, 0x94, 0x05, 1, 0, 3, 0, 0xEB, 0xFE,
        ];
        let mut r = Rig::protected();
        r.gdt(FREE, d);
        if cpl == 3 {
            r.ring3();
        }
        r.change(|s| {
            s.gpr[0] = FREE as u64;
            (s.gpr[1], s.gpr[3]) = (0x5555, 0x5555);
        });
        assert_eq!(r.run_bytes(&code), End::Running, "{d:#x}");
        let s = r.state();
        let (zl, zs) = (s.gpr[2] & 1 != 0, s.gpr[2] >> 8 & 1 != 0);
        assert_eq!((zl, s.gpr[3]), (loads[0].is_some(), loads[0].unwrap_or(0x5555)), "LAR {d:#x}");
        assert_eq!((zs, s.gpr[1]), (loads[1].is_some(), loads[1].unwrap_or(0x5555)), "LSL {d:#x}");
        assert_eq!(r.read::<2>(DATA).map(|b| b != 0), verifies, "VERR, VERW {d:#x}");
    }
}

#[test]
fn arpl_raises_the_rpl() {
    let mut r = Rig::protected();
    r.change(|s| (s.gpr[0], s.gpr[3]) = (0x10, 0x23));
    assert_eq!(r.run_bytes(&[0x63, 0xD8, 0xF4]), End::Halt(CODE + 3));
    assert_eq!((r.state().gpr[0], r.state().rflags & 0x40), (0x13, 0x40));
    let mut r = Rig::real();
    assert_eq!(r.run_bytes(&[0x63, 0xD8]), End::Vector(6));
}

#[test]
fn lldt_and_ltr() {
    let f = FREE as u64;
    // /2 LLDT, /3 LTR; descriptor; vector and code.
    let table: &[(u8, u16, u64, Option<(u8, u64)>)] = &[
        (2, FREE, descriptor(DATA, 0xFF, 0x82), None),
        (2, 0, 0, None),
        (2, FREE, descriptor(DATA, 0xFF, 0x02), Some((11, f))),
        (2, FREE, flat(0xC093), Some((13, f))),
        (2, FREE | 4, 0, Some((13, f | 4))),
        (3, FREE, descriptor(TSS2, 0x67, 0x89), None),
        (3, 0, 0, Some((13, 0))),
        (3, FREE, descriptor(TSS2, 0x67, 0x8B), Some((13, f))),
        (3, FREE, descriptor(TSS2, 0x67, 0x09), Some((11, f))),
    ];
    for &(op, selector, d, expected) in table {
        let mut r = Rig::protected();
        r.gdt(FREE, d);
        r.change(|s| s.gpr[0] = selector as u64);
        let end = r.run_bytes(&[0x0F, 0x00, 0xC0 | op << 3, 0xF4]);
        match expected {
            None => {
                assert_eq!(end, End::Halt(CODE + 4));
                let s = r.state();
                assert_eq!(if op == 2 { s.ldtr.selector } else { s.tr.selector }, selector);
                if op == 3 {
                    assert_eq!(r.read::<8>(GDT + f)[5], 0x8B, "busy");
                }
            }
            Some((vector, code)) => {
                assert_eq!(end, End::Vector(vector), "{op} {d:#x}");
                assert_eq!(r.stack(0), code, "{op} {d:#x}");
            }
        }
    }
    // In long mode: 16 bytes, with the upper type zero.
    for (high, end) in [(0xFFFF_8000u64, End::Halt(CODE + 4)), (0x1F00_0000_0000, End::Vector(13))] {
        let mut r = Rig::long();
        r.gdt(FREE + 16, descriptor(TSS2, 0x67, 0x89));
        r.gdt(FREE + 24, high);
        r.change(|s| s.gpr[0] = FREE as u64 + 16);
        assert_eq!(r.run_bytes(&[0x0F, 0x00, 0xD8, 0xF4]), end);
        if high >> 32 == 0 {
            assert_eq!(r.state().tr.base, 0xFFFF_8000_0000_3800);
        }
    }
}

#[test]
fn pushes_and_pops_and_far_loads() {
    let mut r = Rig::protected();
    // PUSH DS with 32 bits writes two bytes; POP ES; LES EAX, [DATA]
    r.write(STACK - 4, &[0xAA; 4]);
    r.write(DATA, &[0x78, 0x56, 0x34, 0x12, DS3 as u8, 0]);
    assert_eq!(r.run_bytes(&[0x1E, 0x07, 0xC4, 0x05, 0, 0, 3, 0, 0xF4]), End::Halt(CODE + 9));
    assert_eq!(r.u32(STACK - 4), 0xAAAA_0000 | DS0 as u32);
    let s = r.state();
    assert_eq!((s.gpr[0], s.gpr[4], s.segments[0].selector), (0x1234_5678, STACK, DS3));
    // MOV to CS does not exist.
    let mut r = Rig::protected();
    assert_eq!(r.run_bytes(&[0x8E, 0xC8]), End::Vector(6));
}
