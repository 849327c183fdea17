//! Linux's own driver of pvpanic: its kernel panics, and the machine learns of it.

use super::counted::boot;
use crate::support::engines::ENGINES;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use trimotor_machine::{DeviceConfig, Engine, ExitReason};

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN]).each(&ENGINES, a_panic_of_linux_ends_the_run)
}

/// Boots the guest that panics; returns how it ended, what it said, and after how many instructions.
fn run(engine: Engine) -> (ExitReason, String, u64) {
    let (mut machine, log) = boot(engine, Guest::CloudKernel, Guest::Panic, |config| {
        config.devices.push(DeviceConfig::new("pvpanic"));
    });
    (machine.run(), log.text(), machine.instructions())
}

/// Twice, and both runs are the same: a counted run is a function of its inputs.
fn a_panic_of_linux_ends_the_run(engine: Engine) {
    let first = run(engine);
    let (reason, said, _) = &first;
    assert_eq!(*reason, ExitReason::Panic, "{said}");
    assert!(said.contains("MARK-BOOTED") && said.contains("sysrq triggered crash"), "{said}");
    assert_eq!(first, run(engine));
}
