//! NMIs: one is handled while one waits (SDM Vol. 3A, "Handling Multiple NMIs").

use crate::rig::*;
use trimotor_bus::VcpuSignals;
use trimotor_machine::engines::Engine;
use trimotor_test_support::engines::usable as engines;

/// A vCPU whose NMI handler counts in RBX and returns.
fn counting(engine: Engine) -> Rig {
    let r = Rig::long(engine);
    r.handler(2, &[0x48, 0xFF, 0xC3, 0x48, 0xCF]);
    r
}
fn raise(r: &Rig, times: u32) {
    (0..times).for_each(|_| r.m.signals.raise(VcpuSignals::NMI));
}

#[test]
fn one_in_service_and_one_that_waits() {
    for engine in engines() {
        for (before, during, count) in
            [(1, 0, 1), (2, 0, 2), (3, 0, 2), (1, 1, 2), (1, 2, 2), (2, 1, 2), (2, 3, 2)]
        {
            let mut r = counting(engine);
            r.m.write(CODE, &[0x90, 0x90, 0xF4]);
            raise(&r, before);
            // Into the handler of the first.
            r.step(1);
            assert!(r.state().nmi_blocked, "{engine}");
            raise(&r, during);
            assert_eq!(r.go(), End::Halt(CODE + 3), "{engine} {before} {during}");
            assert_eq!(r.state().gpr[3], count, "{engine} {before} {during}");
        }
    }
}

/// STI holds interrupts back, not NMIs; MOV SS both: whenever the NMI comes, on all engines.
#[test]
fn shadows_of_sti_and_mov_ss() {
    // NOP; STI; NOP; MOV SS, EAX; NOP; HLT.
    const CODE_BYTES: [u8; 7] = [0x90, 0xFB, 0x90, 0x8E, 0xD0, 0x90, 0xF4];
    for engine in engines() {
        for (after, at) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 6)] {
            let mut r = Rig::long(engine);
            r.m.write(CODE, &CODE_BYTES);
            r.change(|s| s.gpr[0] = DS0.into());
            // Once without: the translator has seen the code.
            assert_eq!(r.go(), End::Halt(CODE + 7), "{engine}");
            r.change(|s| (s.rip, s.rflags, s.activity) = (CODE, 2, trimotor_cpu::state::Activity::Active));
            r.step(after);
            raise(&r, 1);
            assert_eq!(r.go(), End::Vector(2), "{engine}: after {after}");
            assert_eq!(r.stack(0), CODE + at, "{engine}: after {after}");
        }
    }
}
