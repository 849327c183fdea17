//! Single steps, breakpoints, RF and the debug registers.

use super::rig::*;

/// BT, BS, BD and B3 to B0.
const CONDITIONS: u64 = 0xE00F;

#[test]
fn a_single_step_traps_after_the_instruction() {
    let mut r = Rig::protected();
    r.change(|s| s.rflags |= 0x100);
    assert_eq!(r.run_bytes(&[0x43, 0x43, 0xF4]), End::Vector(1));
    assert_eq!((r.stack(0), r.stack(2)), (CODE + 1, 0x102));
    assert_eq!((r.state().dr[6] & CONDITIONS, r.state().rflags & 0x100), (0x4000, 0));
    // POPF that sets TF: the trap comes after the next instruction.
    let mut r = Rig::protected();
    assert_eq!(r.run_bytes(&[0x68, 2, 1, 0, 0, 0x9D, 0x43, 0x43, 0xF4]), End::Vector(1));
    assert_eq!(r.stack(0), CODE + 7);
    // INT n clears TF and is not followed by a trap.
    let mut r = Rig::protected();
    r.change(|s| s.rflags |= 0x100);
    assert_eq!(r.run_bytes(&[0xCD, 0x80]), End::Vector(0x80));
    assert_eq!(r.stack(2), 0x102);
    // MOV SS holds it back by an instruction.
    let mut r = Rig::protected();
    r.change(|s| {
        s.rflags |= 0x100;
        s.gpr[0] = DS0 as u64;
    });
    assert_eq!(r.run_bytes(&[0x8E, 0xD0, 0x43, 0x43, 0xF4]), End::Vector(1));
    assert_eq!(r.stack(0), CODE + 3);
    // A fault comes instead of the trap.
    let mut r = Rig::protected();
    r.change(|s| s.rflags |= 0x100);
    assert_eq!(r.run_bytes(&[0x0F, 0x0B]), End::Vector(6));
    assert_eq!(r.state().dr[6] & CONDITIONS, 0);
}

#[test]
fn instruction_breakpoints_come_before_and_rf_passes_them() {
    let mut r = Rig::protected();
    r.change(|s| {
        s.dr[1] = CODE + 1;
        s.dr[7] = 0x408;
    });
    assert_eq!(r.run_bytes(&[0x43, 0x43, 0xF4]), End::Vector(1));
    assert_eq!((r.stack(0), r.state().gpr[3], r.state().dr[6] & CONDITIONS), (CODE + 1, 1, 2));
    // The handler sets RF in the image and returns.
    let sp = r.state().gpr[4];
    r.write(sp + 8, &0x1_0002u32.to_le_bytes());
    let at = r.state().rip;
    r.write(at, &[0xCF]);
    r.change(|s| s.activity = trimotor_cpu::state::Activity::Active);
    assert_eq!(r.go(), End::Halt(CODE + 3));
    assert_eq!((r.state().gpr[3], r.state().rflags & 0x1_0000), (2, 0));
    // Not enabled: nothing happens.
    let mut r = Rig::protected();
    r.change(|s| s.dr[1] = CODE + 1);
    assert_eq!(r.run_bytes(&[0x43, 0x43, 0xF4]), End::Halt(CODE + 3));
}

#[test]
fn data_breakpoints_come_after() {
    // DR7's R/W and LEN of breakpoint 0, the access, hit or not.
    let (read, write) = ([0xA0u8, 2, 0, 3, 0], [0xA2u8, 2, 0, 3, 0]);
    for (fields, address, code, hit) in [
        (1u64, DATA + 2, write, true),
        (1, DATA + 2, read, false),
        (3, DATA + 2, read, true),
        (3, DATA + 3, read, false),
        (0b1111, DATA, read, true),  // four bytes
        (0b0111, DATA, read, false), // two
        (0b0111, DATA + 2, write, true),
    ] {
        let mut r = Rig::protected();
        r.change(|s| {
            s.dr[0] = address;
            s.dr[7] = 0x402 | fields << 16;
        });
        let end = r.run_bytes(&[&code[..], &[0x43, 0xF4]].concat());
        if hit {
            assert_eq!(end, End::Vector(1), "{fields:b} {address:#x}");
            assert_eq!((r.stack(0), r.state().dr[6] & CONDITIONS), (CODE + 5, 1));
        } else {
            assert_eq!(end, End::Halt(CODE + 7), "{fields:b} {address:#x}");
        }
    }
}

#[test]
fn port_breakpoints() {
    for (de, port, hit) in [(true, 0x80u8, true), (true, 0x81, false), (false, 0x80, false)] {
        let mut r = Rig::protected();
        r.change(|s| {
            s.dr[2] = 0x80;
            s.dr[7] = 0x420 | 2 << 24;
            s.cr4 = (de as u64) << 3;
        });
        let end = r.run_bytes(&[0xE6, port, 0x43, 0xF4]);
        assert_eq!(end, if hit { End::Vector(1) } else { End::Halt(CODE + 4) });
        assert_eq!(r.bus.port_writes.len(), 1);
        if hit {
            assert_eq!((r.stack(0), r.state().dr[6] & CONDITIONS), (CODE + 2, 4));
        }
    }
}

#[test]
fn general_detect_guards_the_registers_once() {
    let mut r = Rig::protected();
    r.change(|s| s.dr[7] = 0x2400);
    assert_eq!(r.run_bytes(&[0x0F, 0x21, 0xC0]), End::Vector(1));
    let s = r.state();
    assert_eq!((r.stack(0), s.dr[6] & CONDITIONS, s.dr[7]), (CODE, 0x2000, 0x400));
}

#[test]
fn reserved_bits_of_the_debug_registers() {
    // MOV DR7, EAX; MOV EBX, DR7; MOV DR6, EAX; MOV ECX, DR6
    let code = [0x0F, 0x23, 0xF8, 0x0F, 0x21, 0xFB, 0x0F, 0x23, 0xF0, 0x0F, 0x21, 0xF1, 0xF4];
    let mut r = Rig::protected();
    r.change(|s| s.gpr[0] = 0xFFFF_DC00); // nothing enabled, no GD
    assert_eq!(r.run_bytes(&code), End::Halt(CODE + 13));
    assert_eq!((r.state().gpr[3], r.state().gpr[1]), (0xFFFF_0400, 0xFFFF_CFF0));
    // DR4 is DR6 without CR4.DE, and does not exist with it; in 64-bit mode the upper half must be zero.
    let mut r = Rig::protected();
    assert_eq!(r.run_bytes(&[0x0F, 0x21, 0xE1, 0xF4]), End::Halt(CODE + 4));
    assert_eq!(r.state().gpr[1], 0xFFFF_0FF0);
    let mut r = Rig::protected();
    r.change(|s| s.cr4 = 8);
    assert_eq!(r.run_bytes(&[0x0F, 0x21, 0xE1]), End::Vector(6));
    let mut r = Rig::long();
    r.change(|s| s.gpr[0] = 1 << 32);
    assert_eq!(r.run_bytes(&[0x0F, 0x23, 0xF8]), End::Vector(13));
}

#[test]
fn int1_is_a_trap_without_a_privilege_check() {
    let mut r = Rig::protected();
    r.ring3();
    assert_eq!(r.run_bytes(&[0xF1]), End::Vector(1));
    assert_eq!((r.stack(0), r.stack(2)), (CODE + 1, 2));
}

#[test]
fn a_single_step_over_hlt_wakes_at_once() {
    let mut r = Rig::protected();
    r.change(|s| s.rflags |= 0x100);
    assert_eq!(r.run_bytes(&[0xF4, 0x43]), End::Vector(1));
    assert_eq!((r.stack(0), r.state().gpr[3]), (CODE + 1, 0));
}

/// Writes IA32_DEBUGCTL and returns to the code after it: mov ecx, 1D9h; mov eax, `bits`; xor edx, edx;
/// wrmsr.
fn set_debugctl(bits: u8) -> Vec<u8> {
    vec![0xB9, 0xD9, 1, 0, 0, 0xB8, bits, 0, 0, 0, 0x31, 0xD2, 0x0F, 0x30]
}

#[test]
fn btf_traps_after_branches_that_are_taken() {
    // inc ebx; jz +1 (not taken); inc ebx; jmp +1; hlt; inc ebx; hlt
    let rest = [0x43, 0x74, 1, 0x43, 0xEB, 1, 0xF4, 0x43, 0xF4];
    let mut r = Rig::protected();
    // push 102h; popf sets TF, and the trap would come after the next instruction.
    let code = [&set_debugctl(2)[..], &[0x68, 2, 1, 0, 0, 0x9D], &rest].concat();
    assert_eq!(r.run_bytes(&code), End::Vector(1));
    let start = CODE + 20;
    assert_eq!((r.stack(0), r.state().gpr[3]), (start + 7, 2));
    assert_eq!(r.state().dr[6] & CONDITIONS, 0x4000);
    assert_eq!(r.state().msrs.debugctl, 0, "a debug exception clears it");
    // A call to the next instruction is a branch too.
    let mut r = Rig::protected();
    let code = [&set_debugctl(2)[..], &[0x68, 2, 1, 0, 0, 0x9D], &[0x43, 0xE8, 0, 0, 0, 0, 0xF4]].concat();
    assert_eq!(r.run_bytes(&code), End::Vector(1));
    assert_eq!(r.stack(0), start + 6);
}

#[test]
fn the_last_branches_are_recorded() {
    // jmp +0; jz +0 (not taken: ZF is clear after or eax, 1); call +0; ud2
    let mut r = Rig::protected();
    let code =
        [&set_debugctl(1)[..], &[0xEB, 0, 0x83, 0xC8, 1, 0x74, 0, 0xE8, 0, 0, 0, 0, 0x0F, 0x0B]].concat();
    assert_eq!(r.run_bytes(&code), End::Vector(6));
    let start = CODE + 14;
    let record = r.state().msrs.last_branches;
    assert_eq!(record.top, 3);
    assert_eq!(record.from[1..4], [start, start + 7, start + 12]);
    assert_eq!(record.to[1..4], [start + 2, start + 12, HANDLERS + 6 * 16]);
    assert_eq!(record.before_event, [start + 7, start + 12]);
    // Its registers: mov ecx, 43h; rdmsr; hlt
    assert_eq!(r.state().msrs.debugctl, 1);
    let at = r.state().rip;
    r.write(at, &[0xB9, 0x43, 0, 0, 0, 0x0F, 0x32, 0xF4]);
    r.change(|s| s.activity = trimotor_cpu::state::Activity::Active);
    r.go();
    assert_eq!(r.state().gpr[0], start + 12);
}

#[test]
fn an_interrupted_string_instruction_pushes_rf() {
    // rep lodsb of more than a portion, interrupted once interrupts are on.
    let mut r = Rig::protected();
    r.change(|s| {
        s.gpr[1] = 10_000;
        s.gpr[6] = DATA;
        s.rflags |= 0x200;
    });
    r.write(CODE, &[0xF3, 0xAC, 0xF4]);
    r.vcpu.run(&mut r.bus, 0);
    r.signals.raise(trimotor_bus::VcpuSignals::NMI);
    // The signal is there before the first iteration: RF stays clear.
    assert_eq!(r.go(), End::Vector(2));
    assert_eq!((r.stack(0), r.stack(2) & 0x1_0000), (CODE, 0));
    // Between two iterations: an output whose device raises NMI.
    let mut r = Rig::protected();
    r.bus.signal_port = Some((0x77, r.signals.clone(), trimotor_bus::VcpuSignals::NMI));
    r.change(|s| (s.gpr[1], s.gpr[2], s.gpr[6]) = (3, 0x77, DATA));
    assert_eq!(r.run_bytes(&[0xF3, 0x6E, 0xF4]), End::Vector(2));
    assert_eq!((r.stack(0), r.stack(2) & 0x1_0000, r.state().gpr[1]), (CODE, 0x1_0000, 2));
    // After the last one it is over.
    let mut r = Rig::protected();
    r.bus.signal_port = Some((0x77, r.signals.clone(), trimotor_bus::VcpuSignals::NMI));
    r.change(|s| (s.gpr[1], s.gpr[2], s.gpr[6]) = (1, 0x77, DATA));
    assert_eq!(r.run_bytes(&[0xF3, 0x6E, 0xF4]), End::Vector(2));
    assert_eq!((r.stack(0), r.stack(2) & 0x1_0000), (CODE + 2, 0));
}
