//! Data breakpoints at the ends of the address space.

use crate::rig::*;
use trimotor_bus::PhysAddr;
use trimotor_test_support::engines::usable as engines;

/// Runs `code` with a breakpoint for reads and writes, and tells whether it was hit.
fn hits(mut r: Rig, at: u64, bytes: u64, code: &[u8]) -> bool {
    let len = [0, 0b00, 0b01, 0, 0b11, 0, 0, 0, 0b10][bytes as usize];
    r.change(|s| (s.dr[0], s.dr[7]) = (at, 0x402 | (3 | len << 2) << 16));
    let end = r.run(&[code, &[0xF4]].concat());
    assert!(matches!(end, End::Vector(1) | End::Halt(_)), "{end:?}");
    end == End::Vector(1)
}

#[test]
fn in_32_bits() {
    const TOP: u32 = 0xFFFF_FFFC;
    for engine in engines() {
        // MOV AL, [TOP + n] and MOV EAX, [TOP - 2].
        let byte = |n: u32| [&[0xA0][..], &(TOP + n).to_le_bytes()].concat();
        let dword = [&[0xA1][..], &(TOP - 2).to_le_bytes()].concat();
        let hit = |at: u32, bytes, code: &[u8]| hits(Rig::protected(engine), at.into(), bytes, code);
        assert!(hit(TOP, 4, &byte(0)) && hit(TOP, 4, &byte(3)) && hit(TOP, 4, &dword), "{engine}");
        assert!(hit(TOP + 3, 1, &byte(3)) && !hit(TOP + 3, 1, &byte(2)), "{engine}");
        assert!(!hit(TOP + 2, 2, &dword) && hit(TOP + 1, 1, &dword), "{engine}");
        // Breakpoints have 64 bits: none of these is here.
        assert!(!hits(Rig::protected(engine), 1 << 32 | u64::from(TOP), 4, &byte(0)), "{engine}");
    }
}

#[test]
fn an_access_that_goes_on_at_zero() {
    for engine in engines() {
        // MOV EAX, [EBX] with a base that leaves two bytes before the end.
        for (at, bytes, expected) in
            [(0, 1, true), (1, 1, true), (2, 1, false), (0, 4, true), (0xFFFF_FFFE, 2, true)]
        {
            let mut r = Rig::protected(engine);
            r.change(|s| (s.segments[3].base, s.gpr[3]) = (0xFFFF_FFFE, 0));
            assert_eq!(hits(r, at, bytes, &[0x8B, 0x03]), expected, "{engine}: {at:#x}");
        }
    }
}

/// In 64-bit mode, with the last page mapped to RAM.
#[test]
fn in_64_bits() {
    const TOP: u64 = 0xFFFF_FFFF_FFFF_FFF8;
    for engine in engines() {
        let rig = || {
            let r = Rig::long(engine);
            r.u64s(0x1000 + 511 * 8, &[0x2007]);
            r.u64s(0x2000 + 511 * 8, &[0x3007]);
            r.u64s(0x3000 + 511 * 8, &[0x1_0007]);
            r
        };
        // MOV AL, [-8 + n]; MOV RAX, [-12].
        let byte = |n: u8| [0x8A, 0x04, 0x25, 0xF8 + n, 0xFF, 0xFF, 0xFF];
        let qword = [0x48, 0x8B, 0x04, 0x25, 0xF4, 0xFF, 0xFF, 0xFF];
        assert!(hits(rig(), TOP, 8, &byte(0)) && hits(rig(), TOP, 8, &byte(7)), "{engine}");
        assert!(hits(rig(), TOP, 8, &qword) && hits(rig(), TOP + 2, 2, &qword), "{engine}");
        assert!(!hits(rig(), TOP + 4, 4, &qword) && hits(rig(), TOP, 4, &qword), "{engine}");
        assert!(hits(rig(), TOP + 7, 1, &byte(7)) && !hits(rig(), TOP + 7, 1, &byte(6)), "{engine}");
    }
}

/// In compatibility mode linear addresses have 32 bits too: what crosses the last one goes on at 0.
#[test]
fn compatibility_mode_goes_on_at_zero() {
    for engine in engines() {
        let mut r = Rig::long(engine);
        // The page before 4 GiB leads to RAM, as page 0 does.
        r.u64s(0x2000 + 3 * 8, &[0x6007]);
        r.u64s(0x6000 + 511 * 8, &[0x7007]);
        r.u64s(0x7000 + 511 * 8, &[DATA | 7]);
        r.m.write(DATA + 0xFFE, &[0x11, 0x22]);
        assert_eq!(r.m.memory.write(PhysAddr(0), &[0x33, 0x44]), 2);
        r.change(|s| {
            s.segments[1].attributes = 0xC09B;
            (s.segments[3].base, s.gpr[3]) = (0xFFFF_FFFE, 0);
        });
        assert_eq!(r.run(&[0x8B, 0x03, 0xF4]), End::Halt(CODE + 3), "{engine}");
        assert_eq!(r.state().gpr[0], 0x4433_2211, "{engine}");
    }
}
