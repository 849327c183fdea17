//! System instructions that came with x86-64 and after: INVPCID, RDPID, XSAVES, RDRAND.

use super::rig::*;
use trimotor_bus::CpuBus;
use trimotor_cpu::registers::Cr4;
use trimotor_cpu::state::Activity;

/// `code` and HLT, with RDI at DATA, once more on the same rig.
fn again(r: &mut Rig, code: &[u8], kind: u64) -> End {
    r.change(|s| {
        (s.activity, s.rip) = (Activity::Active, CODE);
        (s.gpr[0], s.gpr[4], s.gpr[7]) = (kind, STACK, DATA);
    });
    r.run_bytes(&[code, &[0xF4]].concat())
}

const INVPCID: [u8; 5] = [0x66, 0x0F, 0x38, 0x82, 0x07]; // invpcid rax, [rdi]

#[test]
fn invpcid_checks_type_and_descriptor() {
    const FAR: u64 = 1 << 56;
    // Type, PCID field, linear address, CR4.PCIDE; whether it is #GP(0).
    for (kind, pcid, linear, pcide, faults) in [
        (0, 0, CODE, false, false),
        (0, 0, 1 << 47, false, false),
        (0, 1, CODE, false, true),
        (0, 1, CODE, true, false),
        (0, 1, FAR, true, true),
        (1, 1, FAR, true, false),
        (1, 1, 0, false, true),
        (2, 1, FAR, false, false),
        (3, 1, FAR, false, false),
        (3, 0x1000, 0, true, true),
        (4, 0, 0, true, true),
        (u64::MAX, 0, 0, true, true),
    ] {
        let mut r = Rig::long();
        if pcide {
            r.change(|s| s.cr4 |= Cr4::PCIDE.bits());
        }
        r.write(DATA, &u64::to_le_bytes(pcid));
        r.write(DATA + 8, &u64::to_le_bytes(linear));
        let end = again(&mut r, &INVPCID, kind);
        let expected = if faults { End::Vector(13) } else { End::Halt(CODE + 6) };
        assert_eq!(end, expected, "type {kind:#x}, PCID {pcid:#x}, {linear:#x}, PCIDE {pcide}");
    }
    let mut r = Rig::long();
    r.ring3();
    assert_eq!(again(&mut r, &INVPCID, 2), End::Vector(13), "for ring 0 only");
}

#[test]
fn rdpid_reads_tsc_aux() {
    let mut r = Rig::long();
    r.change(|s| s.msrs.tsc_aux = 0x8765_4321);
    r.ring3();
    // RDPID RAX; the HLT after it faults in ring 3.
    assert_eq!(again(&mut r, &[0xF3, 0x0F, 0xC7, 0xF8], 0), End::Vector(13));
    assert_eq!(r.state().gpr[0], 0x8765_4321);
}

#[test]
fn xsaves_compacts_and_xrstors_brings_back() {
    const XSAVES: [u8; 4] = [0x48, 0x0F, 0xC7, 0x2F];
    const XRSTORS: [u8; 4] = [0x48, 0x0F, 0xC7, 0x1F];
    let mut r = Rig::long();
    assert_eq!(again(&mut r, &XSAVES, 7), End::Vector(6), "without CR4.OSXSAVE");
    r.change(|s| {
        s.cr4 |= Cr4::OSXSAVE.bits();
        s.xcr0 = 7;
        s.gpr[2] = 0;
        s.ymm[3] = [1, 2, 3, 4];
    });
    // Only the AVX state: its upper halves follow the header.
    assert_eq!(again(&mut r, &XSAVES, 4), End::Halt(CODE + 5));
    assert_eq!((r.u64(DATA + 512), r.u64(DATA + 520)), (4, 1 << 63 | 4));
    assert_eq!(r.u64(DATA + 576 + 3 * 16), 3);
    r.change(|s| s.ymm[3] = [5, 6, 7, 8]);
    assert_eq!(again(&mut r, &XRSTORS, 4), End::Halt(CODE + 5));
    assert_eq!(r.state().ymm[3], [5, 6, 3, 4]);
    r.write(DATA + 520, &4u64.to_le_bytes());
    assert_eq!(again(&mut r, &XRSTORS, 4), End::Vector(13), "XRSTORS takes the compacted form only");
    r.ring3();
    assert_eq!(again(&mut r, &XSAVES, 4), End::Vector(13), "for ring 0 only");
}

#[test]
fn rdrand_and_rdseed_give_the_board_s_numbers() {
    for opcode in [0xF0, 0xF8] {
        let mut r = Rig::long();
        // RDRAND or RDSEED RAX.
        assert_eq!(again(&mut r, &[0x48, 0x0F, 0xC7, opcode], 0), End::Halt(CODE + 5));
        assert_eq!((r.state().rflags & 0x8D5, r.state().gpr[0]), (1, r.bus.random()), "CF alone is set");
    }
}
