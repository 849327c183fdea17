//! Linux in a machine that is saved while it boots, and that goes on as another machine, on the same or another engine.

use super::counted::{boot, go_on};
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use trimotor_machine::{Engine, ExitReason, Machine};

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT]).test(a_boot_that_is_cut_into_machines_says_the_same)
}

/// Where the boot is cut, in thousandths of its instructions, and on which engine each piece runs.
const CUTS: [(&[u64], &[Engine]); 3] = [
    (&[137, 523, 871], &[Engine::Jit, Engine::Interp, Engine::Jit, Engine::Jit]),
    (&[12, 333], &[Engine::Interp, Engine::Jit, Engine::Jit]),
    (&[640, 641, 990], &[Engine::Jit, Engine::Jit, Engine::Interp, Engine::Jit]),
];

fn a_boot_that_is_cut_into_machines_says_the_same() {
    let start = |engine| boot(engine, Guest::CloudKernel, Guest::PowerOff, |_| {});
    let (mut whole, log) = start(Engine::Jit);
    assert_eq!(whole.run(), ExitReason::PowerOff);
    let (end, expected) = (whole.instructions(), log.text());
    assert!(expected.contains("MARK-BOOTED"), "{expected}");
    for (cuts, engines) in CUTS {
        let (mut machine, log) = start(engines[0]);
        for (cut, engine) in cuts.iter().zip(&engines[1..]) {
            assert_eq!(machine.run_until(end / 1000 * cut), None, "{cuts:?} {engines:?}");
            machine = go_on(&mut machine, *engine, &log);
        }
        assert_eq!(finish(&mut machine), end, "{cuts:?} {engines:?}");
        assert_eq!(machine.vcpu_state(0), whole.vcpu_state(0), "{cuts:?} {engines:?}");
        let differing = machine.memory().differing_pages(whole.memory());
        assert!(differing.is_empty(), "{cuts:?} {engines:?}: pages {differing:?}");
        assert_eq!(log.text(), expected, "{cuts:?} {engines:?}");
    }
}

fn finish(machine: &mut Machine) -> u64 {
    assert_eq!(machine.run(), ExitReason::PowerOff);
    machine.instructions()
}
