//! Debug traps that wait: those that MOV SS holds back, and those of SYSCALL and SYSRET.
//!
//! Sources: SDM Vol. 3A, "Masking Exceptions and Interrupts When Switching Stacks"; Vol. 3B, "Debug Exceptions";
//! Vol. 2, INT n/INTO/INT3/INT1.

use crate::rig::*;
use trimotor_bus::VcpuSignals;
use trimotor_machine::engines::Engine;
use trimotor_test_support::engines::usable as engines;

/// BT, BS, BD and B3 to B0.
const CONDITIONS: u64 = 0xE00F;
/// MOV SS, [RAX].
const MOV_SS: [u8; 2] = [0x8E, 0x10];
const AFTER_MOV_SS: u64 = CODE + 2;
const EFER_SCE_LSTAR: u8 = 0x70;
const SYSENTER: u8 = 0x71;

/// A vCPU with a breakpoint on the selector that [`MOV_SS`] loads.
fn watched(mut r: Rig) -> Rig {
    r.m.write(DATA, &DS0.to_le_bytes());
    r.change(|s| {
        s.gpr[0] = DATA;
        s.dr[0] = DATA;
        s.dr[7] = 0x402 | 0b0111 << 16;
        // SYSCALL and SYSENTER lead to handlers of vectors that nobody else uses.
        s.msrs.star = u64::from(CS0) << 32;
        s.msrs.lstar = HANDLERS + u64::from(EFER_SCE_LSTAR) * 16;
        s.msrs.sysenter_cs = u64::from(CS0);
        s.msrs.sysenter_eip = HANDLERS + u64::from(SYSENTER) * 16;
        s.msrs.sysenter_esp = STACK0;
    });
    r
}
fn rigs(engine: Engine) -> [Rig; 2] {
    [watched(Rig::long(engine)), watched(Rig::protected(engine))]
}
fn after_mov_ss(r: &mut Rig, next: &[u8]) -> End {
    r.run(&[&MOV_SS[..], next].concat())
}

#[test]
fn int1_tells_of_what_was_held_back() {
    for engine in engines() {
        for mut r in rigs(engine) {
            r.change(|s| s.dr[7] |= 0x2000);
            assert_eq!(after_mov_ss(&mut r, &[0xF1]), End::Vector(1), "{engine}");
            // A second #DB would return to the handler's first instruction.
            assert_eq!(r.stack(0), AFTER_MOV_SS + 1, "{engine}");
            let s = r.state();
            assert_eq!((s.dr[6] & CONDITIONS, s.dr[7] & 0x2000, s.pending_debug), (1, 0, 0), "{engine}");
        }
        // On an interrupt stack a second frame would take the first one's place.
        let mut r = watched(Rig::long(engine));
        r.gate(1, 0x8E, 1);
        assert_eq!(after_mov_ss(&mut r, &[0xF1]), End::Vector(1), "{engine}");
        assert_eq!((r.state().gpr[4], r.stack(0), r.stack(3)), (IST1 - 40, AFTER_MOV_SS + 1, STACK));
        // Alone it sets no bit of DR6, and takes back those of breakpoints.
        let mut r = watched(Rig::long(engine));
        r.change(|s| s.dr[6] |= 0xF);
        assert_eq!(r.run(&[0xF1]), End::Vector(1), "{engine}");
        assert_eq!(r.state().dr[6] & CONDITIONS, 0, "{engine}");
    }
}

#[test]
fn other_ways_into_a_handler_are_followed_by_the_trap() {
    // INT 80h; INT3; INT 1.
    for (next, vector) in
        [(&[0xCD, 0x80][..], 0x80u8), (&[0xCC], 3), (&[0xCD, 1], 1), (&[0x0F, 0x34], SYSENTER)]
    {
        for engine in engines() {
            for mut r in rigs(engine) {
                assert_eq!(after_mov_ss(&mut r, next), End::Vector(1), "{engine}: {vector:#x}");
                assert_eq!(r.stack(0), HANDLERS + u64::from(vector) * 16, "{engine}: {vector:#x}");
                assert_eq!(r.state().dr[6] & CONDITIONS, 1, "{engine}: {vector:#x}");
            }
        }
    }
    for engine in engines() {
        let mut r = watched(Rig::long(engine));
        assert_eq!(after_mov_ss(&mut r, &[0x0F, 0x05]), End::Vector(1), "{engine}: SYSCALL");
        assert_eq!(r.stack(0), HANDLERS + u64::from(EFER_SCE_LSTAR) * 16, "{engine}: SYSCALL");
        // INTO, taken and not.
        let mut r = watched(Rig::protected(engine));
        r.change(|s| s.rflags |= 0x800);
        assert_eq!(after_mov_ss(&mut r, &[0xCE]), End::Vector(1), "{engine}: INTO");
        assert_eq!(r.stack(0), HANDLERS + 4 * 16, "{engine}: INTO");
        let mut r = watched(Rig::protected(engine));
        assert_eq!(after_mov_ss(&mut r, &[0xCE]), End::Vector(1), "{engine}: INTO");
        assert_eq!(r.stack(0), AFTER_MOV_SS + 1, "{engine}: INTO");
    }
}

#[test]
fn a_fault_of_the_next_instruction_drops_it() {
    // UD2; INT 81h with a gate that is not there; a read of DR7 with DR7.GD.
    for (next, gd, vector, told) in [
        (&[0x0F, 0x0B][..], false, 6, 0),
        (&[0xCD, 0x81], false, 11, 0),
        (&[0x0F, 0x21, 0xF8], true, 1, 0x2000),
    ] {
        for engine in engines() {
            for mut r in rigs(engine) {
                r.gate(0x81, 0x0E, 0);
                r.change(|s| s.dr[7] |= u64::from(gd) << 13);
                assert_eq!(after_mov_ss(&mut r, next), End::Vector(vector), "{engine}");
                let s = r.state();
                assert_eq!((s.dr[6] & CONDITIONS, s.pending_debug), (told, 0), "{engine}: {vector}");
                let at = if vector == 11 { 1 } else { 0 };
                assert_eq!(r.stack(at), AFTER_MOV_SS, "{engine}: {vector}");
            }
        }
    }
}

#[test]
fn an_instruction_breakpoint_on_the_next_instruction_is_not_seen() {
    for engine in engines() {
        for mut r in rigs(engine) {
            r.change(|s| (s.dr[1], s.dr[7]) = (AFTER_MOV_SS, s.dr[7] | 8));
            assert_eq!(after_mov_ss(&mut r, &[0x90, 0xF4]), End::Vector(1), "{engine}");
            assert_eq!((r.stack(0), r.state().dr[6] & CONDITIONS), (AFTER_MOV_SS + 1, 1), "{engine}");
        }
    }
}

#[test]
fn it_wakes_a_cpu_that_the_next_instruction_halts() {
    for engine in engines() {
        for mut r in rigs(engine) {
            assert_eq!(after_mov_ss(&mut r, &[0xF4]), End::Vector(1), "{engine}");
            assert_eq!((r.stack(0), r.state().dr[6] & CONDITIONS), (AFTER_MOV_SS + 1, 1), "{engine}");
        }
        // A single step over HLT does too, but not one that waits for a branch (IA32_DEBUGCTL.BTF).
        for (btf, end) in [(0, End::Vector(1)), (2, End::Halt(CODE + 1))] {
            let mut r = Rig::long(engine);
            r.change(|s| (s.rflags, s.msrs.debugctl) = (0x102, btf));
            assert_eq!(r.run(&[0xF4, 0x90]), end, "{engine}: BTF {btf}");
        }
    }
}

#[test]
fn an_nmi_in_between_waits_for_it() {
    for engine in engines() {
        for mut r in rigs(engine) {
            r.m.write(CODE, &[&MOV_SS[..], &[0x90, 0xF4]].concat());
            r.step(1);
            r.m.signals.raise(VcpuSignals::NMI);
            // The NMI comes before the first instruction of the handler of #DB.
            assert_eq!(r.go(), End::Vector(2), "{engine}");
            assert_eq!((r.stack(0), r.state().dr[6] & CONDITIONS), (HANDLERS + 16, 1), "{engine}");
        }
    }
}

/// The trap of SYSCALL and SYSRET goes by the TF that they load: a handler that masks TF is not single-stepped, and
/// SYSRET traps as SYSCALL would have.
#[test]
fn syscall_and_sysret_trap_by_the_flag_that_they_load() {
    for engine in engines() {
        for (fmask, end) in [(0x100, End::Vector(EFER_SCE_LSTAR)), (0, End::Vector(1))] {
            let mut r = watched(Rig::long(engine));
            r.ring3();
            r.change(|s| (s.rflags, s.dr[7], s.msrs.fmask) = (0x102, 0x400, fmask));
            assert_eq!(r.run(&[0x0F, 0x05]), end, "{engine}: FMASK {fmask:#x}");
            assert_eq!(r.state().gpr[11], 0x102, "{engine}");
        }
        // Twice: the second time the translator has seen the code.
        let mut r = watched(Rig::long(engine));
        r.m.write(CODE, &[0x48, 0x0F, 0x07]);
        for _ in 0..3 {
            r.change(|s| {
                (s.dr[7], s.rip, s.cpl) = (0x400, CODE, 0);
                s.segments[1].selector = CS0;
                s.segments[1].attributes = 0xA09B;
                s.msrs.star = 0x10 << 48;
                (s.gpr[1], s.gpr[11]) = (DATA + 8, 0x102);
            });
            assert_eq!(r.go(), End::Vector(1), "{engine}: SYSRET");
            assert_eq!((r.stack(0), r.stack(1) & 3), (DATA + 8, 3), "{engine}: SYSRET");
            assert_eq!(r.state().dr[6] & CONDITIONS, 0x4000, "{engine}: SYSRET");
        }
    }
}
