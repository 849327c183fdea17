//! Debian's stress-ng in a Linux guest: 150 stressors that check what they compute, many at a time. Timers, signals,
//! system calls and interrupts between processors come in numbers and orders that no test of ours has; a wake-up that
//! is lost shows as a stall, which the kernel's watchdogs complain of.

use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::run_to_end;

/// Groups of stressors that the guest runs (`src/guest/stress.rs`).
const GROUPS: usize = 8;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN])
        .test_needing(&[JIT], a_processor_does_what_stress_ng_asks)
        .test_needing(&[JIT], two_processors_do_what_stress_ng_asks)
        .test_needing(&[JIT], four_processors_do_what_stress_ng_asks)
        .test(two_processors_in_turn_do_what_stress_ng_asks)
}

fn stress(engine: &str, cpus: &str) {
    let (kernel, initrd) = (Guest::CloudKernel.path(), Guest::Stress.path());
    let fixed = ["run", "--accel", engine, "--cpus", cpus, "--memory", "512M", "--nographic"];
    let guest = ["--kernel", &kernel, "--initrd", &initrd, "--append", "console=ttyS0 quiet"];
    let ended = run_to_end(&[&fixed[..], &guest].concat());
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
    let output = ended.output.replace("\r\n", "\n");
    let (said, rest) = output.split_once("MARK-COMPLAINTS\n").expect("it came to its end");
    let (complaints, _) = rest.split_once("MARK-END").expect("it came to its end");
    assert_eq!(complaints.trim(), "", "the kernel complains\n{output}");
    assert_eq!(said.matches("successful run completed").count(), GROUPS, "{output}");
    let wrong =
        ["unsuccessful", "stress-ng: fail", "stress-ng: error"].into_iter().find(|word| said.contains(word));
    assert_eq!(wrong, None, "{output}");
}

fn a_processor_does_what_stress_ng_asks() {
    stress("jit", "1");
}

fn two_processors_do_what_stress_ng_asks() {
    stress("jit", "2");
}

fn four_processors_do_what_stress_ng_asks() {
    stress("jit", "4");
}

fn two_processors_in_turn_do_what_stress_ng_asks() {
    stress("interp", "2");
}
