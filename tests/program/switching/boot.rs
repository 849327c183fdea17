//! A counted boot of Linux with a thousand switches is the boot without.

use crate::boot::counted::boot;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use trimotor_machine::{Engine, ExitReason};

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT])
        .test(a_boot_with_a_thousand_switches_is_the_boot_without)
        .test(four_processors_boot_with_a_thousand_switches_as_without)
}

const SWITCHES: u64 = 1000;

fn a_boot_with_a_thousand_switches_is_the_boot_without() {
    check(1);
}
fn four_processors_boot_with_a_thousand_switches_as_without() {
    check(4);
}

fn check(cpus: u8) {
    let start = || boot(Engine::Jit, Guest::CloudKernel, Guest::PowerOff, |config| config.cpus = cpus);
    let (mut whole, log) = start();
    assert_eq!(whole.run(), ExitReason::PowerOff);
    assert!(log.text().contains("MARK-BOOTED"), "{}", log.text());
    let end = whole.instructions();
    let (mut switched, switched_log) = start();
    for number in 1..=SWITCHES {
        assert_eq!(switched.run_until(end / (SWITCHES + 1) * number), None, "switch {number}");
        let (from, to) = (switched.engine(), [Engine::Jit, Engine::Interp][number as usize % 2]);
        let made = switched.switch_engine(to).expect("both engines are here");
        assert_eq!((made.from, made.to), (from, to));
        assert_ne!(from, to);
    }
    assert_eq!(switched.run(), ExitReason::PowerOff);
    assert_eq!(switched.instructions(), end);
    assert_eq!(switched_log.text(), log.text());
    for cpu in 0..usize::from(cpus) {
        assert_eq!(switched.vcpu_state(cpu), whole.vcpu_state(cpu), "vCPU {cpu}");
    }
    assert!(switched.memory().differing_pages(whole.memory()).is_empty(), "memory differs");
}
