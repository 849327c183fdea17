//! Boots Debian's kernels and talks to them on the serial console.

use crate::on_each_engine;
use crate::support::engines::usable;
use crate::support::guests::Guest;
use crate::support::program::{Ended, Program, run_to_end};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Words that a kernel says when it finds something wrong with the machine.
const COMPLAINTS: &str = "BUG|WARNING|unchecked MSR|Call Trace|Oops";

/// Arguments that boot `kernel` with `initrd` on the serial console, on an engine.
fn boot(engine: &str, kernel: Guest, initrd: Guest, append: &str, more: &[&str]) -> Vec<String> {
    let append = format!("console=ttyS0 {append}");
    let (kernel, initrd) = (kernel.path(), initrd.path());
    let fixed = ["run", "--accel", engine, "--memory", "512M", "--nographic"];
    let named = ["--kernel", &kernel, "--initrd", &initrd, "--append", &append];
    fixed.iter().chain(&named).chain(more).map(|argument| argument.to_string()).collect()
}

fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

on_each_engine!(
    the_cloud_kernel_runs_a_shell_reboots_and_powers_off,
    the_power_off_guest_ends_with_code_0,
    the_full_kernel_runs_a_shell,
    the_32_bit_installer_reaches_its_first_dialog,
    four_processors_come_up,
);

/// A shell in a guest.
struct Shell(Program);

impl Shell {
    /// Waits for the prompt of the guest that `arguments` boot.
    fn start(arguments: &[String]) -> Self {
        let mut program = Program::start(&strs(arguments));
        program.expect("MARK-BOOTED");
        program.expect("# ");
        Shell(program)
    }
    /// Runs `command`; returns what it printed.
    fn run(&mut self, command: &str) -> String {
        // The mark is put together by the shell, so that the echo of the line does not have it.
        self.0.send(&format!("{command}; echo DO''NE\n"));
        self.0.expect("DO''NE");
        let printed = self.0.expect("DONE");
        printed.trim_end_matches("DONE").replace("\r\n", "\n").trim().to_owned()
    }
    fn power_off(mut self) -> Ended {
        self.0.send("poweroff -f\n");
        self.0.wait()
    }
    fn has_no_complaints(&mut self) {
        let complaints = self.run(&format!("dmesg | grep -E '{COMPLAINTS}'"));
        assert_eq!(complaints, "", "the kernel complains");
    }
}

fn the_cloud_kernel_runs_a_shell_reboots_and_powers_off(engine: &str) {
    let mut shell = Shell::start(&boot(engine, Guest::CloudKernel, Guest::Shell, "", &[]));
    let cpuinfo = shell.run("cat /proc/cpuinfo");
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).expect("flags");
    for flag in
        ["fpu", "tsc", "apic", "sse2", "syscall", "nx", "lm", "sse4_2", "popcnt", "avx2", "bmi2", "fma"]
    {
        assert!(flags.split_whitespace().any(|word| word == flag), "no {flag} in {flags}");
    }
    shell.has_no_complaints();

    let host_now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let guest_now: u64 = shell.run("date +%s").parse().expect("a number");
    assert!(guest_now.abs_diff(host_now) < 120, "guest {guest_now}, host {host_now}");
    // Guest time may not run faster than the host's; how much slower is the host's load.
    let started = Instant::now();
    let slept = shell.run("a=$(date +%s); sleep 2; b=$(date +%s); echo $((b-a))");
    assert!(slept.parse::<u64>().is_ok_and(|seconds| seconds >= 2), "{slept}");
    assert!(started.elapsed() >= Duration::from_millis(1900), "{:?}", started.elapsed());

    shell.0.send("reboot -f\n");
    shell.0.expect("MARK-BOOTED");
    shell.0.expect("# ");
    assert_eq!(shell.run("echo $((6*7))"), "42");
    let ended = shell.power_off();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
}

fn the_power_off_guest_ends_with_code_0(engine: &str) {
    let ended = run_to_end(&strs(&boot(engine, Guest::CloudKernel, Guest::PowerOff, "", &[])));
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
    assert!(ended.output.contains("MARK-BOOTED") && ended.output.contains("Power down"), "{}", ended.output);
}

#[test]
fn a_reset_ends_the_program_where_it_is_told_so() {
    // The board's doing, whatever the engine.
    let engine = "interp";
    let mut shell =
        Shell::start(&boot(engine, Guest::CloudKernel, Guest::Shell, "quiet", &["--on-reset", "exit"]));
    shell.0.send("reboot -f\n");
    let ended = shell.0.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(ended.output.matches("MARK-BOOTED").count(), 1);
}

fn the_full_kernel_runs_a_shell(engine: &str) {
    let mut shell = Shell::start(&boot(engine, Guest::FullKernel, Guest::Shell, "", &[]));
    shell.has_no_complaints();
    assert!(shell.run("uname -m").contains("x86_64"));
    assert_eq!(shell.power_off().code, Some(0));
}

fn the_32_bit_installer_reaches_its_first_dialog(engine: &str) {
    let arguments = boot(engine, Guest::InstallerKernel, Guest::InstallerInitrd, "", &[]);
    let mut program = Program::start(&strs(&arguments));
    program.expect("Select a language");
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
}

#[test]
fn counted_runs_print_the_same_bytes_on_all_engines() {
    let run = |engine: &str| {
        let ended = run_to_end(&strs(&boot(engine, Guest::CloudKernel, Guest::PowerOff, "", &["--icount"])));
        assert_eq!(ended.code, Some(0), "{engine}: {}\n{}", ended.output, ended.errors);
        ended.output
    };
    let first = run("interp");
    assert_eq!(first, run("interp"));
    if usable("jit") {
        assert_eq!(first, run("jit"));
    }
}

fn four_processors_come_up(engine: &str) {
    let mut shell = Shell::start(&boot(engine, Guest::CloudKernel, Guest::Shell, "", &["--cpus", "4"]));
    assert_eq!(shell.run("nproc"), "4");
    assert_eq!(shell.run("grep -c ^processor /proc/cpuinfo"), "4");
    shell.has_no_complaints();
    assert_eq!(shell.power_off().code, Some(0));
}
