//! Operand size and stack size that differ, and registers that a 16-bit TSS has only halves of.

use crate::rig::*;
use trimotor_machine::engines::Engine;
use trimotor_test_support::engines::usable as engines;

/// 32-bit code on a 16-bit stack at DATA, with ESP and EBP.
fn small_stack(engine: Engine, esp: u64, ebp: u64) -> Rig {
    let mut r = Rig::protected(engine);
    r.change(|s| {
        s.segments[2].base = DATA;
        (s.segments[2].limit, s.segments[2].attributes) = (0xFFFF, 0x93);
        (s.gpr[4], s.gpr[5]) = (esp, ebp);
    });
    r
}
fn dword(r: &Rig, at: u64) -> u64 {
    r.read(DATA + at) & 0xFFFF_FFFF
}

#[test]
fn enter_gives_ebp_all_of_esp() {
    for engine in engines() {
        let mut r = small_stack(engine, 0x1234_8000, 0x5678_9000);
        assert_eq!(r.run(&[0xC8, 8, 0, 0, 0xF4]), End::Halt(CODE + 5), "{engine}");
        let s = r.state();
        assert_eq!((s.gpr[4], s.gpr[5]), (0x1234_7FF4, 0x1234_7FFC), "{engine}");
        assert_eq!(dword(&r, 0x7FFC), 0x5678_9000, "{engine}");
        // Nested: the outer frames' pointers are found by BP, and pushed before the new one.
        let mut r = small_stack(engine, 0x1234_8000, 0x5678_9000);
        r.m.write(DATA + 0x8FF8, &[0xB0, 0xB1, 0xB2, 0xB3, 0xA0, 0xA1, 0xA2, 0xA3]);
        assert_eq!(r.run(&[0xC8, 8, 0, 3, 0xF4]), End::Halt(CODE + 5), "{engine}");
        let s = r.state();
        assert_eq!((s.gpr[4], s.gpr[5]), (0x1234_7FE8, 0x1234_7FFC), "{engine}");
        let frame = [0x7FF8, 0x7FF4, 0x7FF0].map(|at| dword(&r, at));
        assert_eq!(frame, [0xA3A2_A1A0, 0xB3B2_B1B0, 0x1234_7FFC], "{engine}");
        // A 16-bit operand leaves the upper half of EBP.
        let mut r = small_stack(engine, 0x1234_8000, 0x5678_9000);
        assert_eq!(r.run(&[0x66, 0xC8, 8, 0, 1, 0xF4]), End::Halt(CODE + 6), "{engine}");
        let s = r.state();
        assert_eq!((s.gpr[4], s.gpr[5]), (0x1234_7FF4, 0x5678_7FFE), "{engine}");
        assert_eq!(dword(&r, 0x7FFC), 0x9000_7FFE, "{engine}");
    }
}

#[test]
fn leave_moves_sp_only() {
    for engine in engines() {
        let mut r = small_stack(engine, 0x1234_0000, 0x5678_9000);
        r.m.write(DATA + 0x9000, &[1, 2, 3, 4]);
        assert_eq!(r.run(&[0xC9, 0xF4]), End::Halt(CODE + 2), "{engine}");
        assert_eq!((r.state().gpr[4], r.state().gpr[5]), (0x1234_9004, 0x0403_0201), "{engine}");
        let mut r = small_stack(engine, 0x1234_0000, 0x5678_9000);
        r.m.write(DATA + 0x9000, &[1, 2]);
        assert_eq!(r.run(&[0x66, 0xC9, 0xF4]), End::Halt(CODE + 3), "{engine}");
        assert_eq!((r.state().gpr[4], r.state().gpr[5]), (0x1234_9002, 0x5678_0201), "{engine}");
    }
}

#[test]
fn the_upper_half_of_esp_stays() {
    // PUSHAD; POPAD. PUSHFD; POPFD. CALL +0; POP EAX. RET from a pushed address. A far call and back.
    let next = CODE as u32 + 5;
    let push_ret = [&[0x68][..], &(next + 1).to_le_bytes(), &[0xC3]].concat();
    let retf = [&[0x0E, 0x68][..], &(CODE as u32 + 7).to_le_bytes(), &[0xCB]].concat();
    let iret = [&[0x9C, 0x0E, 0x68][..], &(CODE as u32 + 8).to_le_bytes(), &[0xCF]].concat();
    let cases = [
        &[0x60, 0x61][..],
        &[0x9C, 0x9D],
        &[0xE8, 0, 0, 0, 0, 0x58],
        &[0x6A, 1, 0x8F, 0xC0],
        &push_ret,
        &retf,
        &iret,
    ];
    for engine in engines() {
        for code in cases {
            let mut r = small_stack(engine, 0x1234_8000, 0);
            assert_eq!(
                r.run(&[code, &[0xF4]].concat()),
                End::Halt(CODE + code.len() as u64 + 1),
                "{engine} {code:x?}"
            );
            assert_eq!(r.state().gpr[4], 0x1234_8000, "{engine} {code:x?}");
        }
        // What PUSHAD pushes for ESP is all of it.
        let mut r = small_stack(engine, 0x1234_8000, 0);
        assert_eq!(r.run(&[0x60, 0xF4]), End::Halt(CODE + 2), "{engine}");
        assert_eq!((r.state().gpr[4], dword(&r, 0x7FEC)), (0x1234_7FE0, 0x1234_8000), "{engine}");
    }
}

#[test]
fn a_16_bit_task_has_ones_in_the_upper_halves() {
    const TASK: u64 = TSS + 0x400;
    for engine in engines() {
        let mut r = Rig::protected(engine);
        r.gdt(FREE, descriptor(TASK, 0x2B, 0x81));
        // The task runs in the first 64 KiB of CODE's 16-bit segment.
        r.gdt(FREE + 8, descriptor(CODE, 0xFFFF, 0x9B));
        let mut words = [0u16; 22];
        (words[7], words[8]) = (0x800, 2);
        words[9..17].copy_from_slice(&std::array::from_fn::<u16, 8, _>(|n| 0x200 + n as u16));
        words[17..21].copy_from_slice(&[DS0, FREE + 8, DS0, DS0]);
        r.m.write(TASK, &words.map(u16::to_le_bytes).concat());
        r.m.write(CODE + 0x800, &[0xEB, 0xFE]);
        r.change(|s| s.gpr[..8].fill(0x1111_1111));
        r.change(|s| s.gpr[4] = STACK);
        let far = [&[0xEA, 0, 0, 0, 0][..], &FREE.to_le_bytes()].concat();
        assert_eq!(r.run(&far), End::Running, "{engine}");
        let expected: [u64; 8] = std::array::from_fn(|n| 0xFFFF_0200 + n as u64);
        assert_eq!(r.state().gpr[..8], expected, "{engine}");
    }
}
