//! What the program says about itself.

use crate::support::needs::Tests;
use crate::support::program::{executable, run_to_end};
use std::io::Write;
use std::process::{Command, Output, Stdio};

pub fn tests() -> Tests {
    Tests::new()
        .test(help_has_examples_and_exit_codes)
        .test(version_is_the_workspace_s)
        .test(doctor_names_every_engine_and_the_host)
        .test(cpus_lists_models_and_features)
        .test(devices_lists_kinds_and_options)
        .test(a_reader_who_leaves_early_gets_no_complaint)
        .test(nothing_panics_where_nobody_reads)
}

/// Runs with `arguments`, which must succeed; returns what was printed.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let ended = run_to_end(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended.output
}

fn help_has_examples_and_exit_codes() {
    let help = printed(&["--help"]);
    for word in ["Examples", "trimotor guest linux", "Ctrl-A x", "Exit codes", "doctor"] {
        assert!(help.contains(word), "no {word:?} in {help}");
    }
    let help = printed(&["run", "--help"]);
    for word in
        ["--accel", "--memory", "--icount", "--serial", "--debug-exit", "--tlb", "Examples", "x86-64-v3"]
    {
        assert!(help.contains(word), "no {word:?} in {help}");
    }
}

fn version_is_the_workspace_s() {
    assert_eq!(printed(&["--version"]).trim(), concat!("trimotor ", env!("CARGO_PKG_VERSION")));
}

fn doctor_names_every_engine_and_the_host() {
    let report = printed(&["doctor"]);
    for word in ["interp", "jit", "kvm", "memory"] {
        assert!(report.contains(word), "no {word:?} in {report}");
    }
    for engine in ["interp", "jit", "kvm"] {
        let lines: Vec<_> = report.lines().filter(|line| line.starts_with(&format!("  {engine} "))).collect();
        assert!(matches!(lines[..], [line] if line.contains(" yes: ") || line.contains(" no: ")), "{report}");
    }
    let detailed = printed(&["doctor", "-v"]);
    assert!(detailed.lines().count() > report.lines().count(), "{detailed}");
    for line in report.lines().chain(detailed.lines()) {
        assert!(line.chars().count() <= 90, "a long line: {line}");
    }
}

fn cpus_lists_models_and_features() {
    let list = printed(&["cpus"]);
    for word in ["x86-64-v1", "x86-64-v2", "x86-64-v3", "max", "avx2", "sse4"] {
        assert!(list.contains(word), "no {word:?} in {list}");
    }
    let one = printed(&["cpus", "x86-64-v3,-avx2"]);
    assert!(!one.split_whitespace().any(|feature| feature == "avx2"), "{one}");
}

fn devices_lists_kinds_and_options() {
    let list = printed(&["devices"]);
    let (fixed, named) = list.split_once("--device").expect("devices that are there when they are named");
    for word in ["pit", "i440fx", "fw_cfg"] {
        assert!(fixed.contains(word), "no {word:?} in {fixed}");
    }
    for word in ["isa-serial", "isa-debug-exit", "iobase=PORT", "demo-card", "addr=SLOT"] {
        assert!(named.contains(word), "no {word:?} in {named}");
    }
}

/// The program with these arguments and descriptors, to its end.
fn run_with(arguments: &[&str], stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Output {
    let mut command = Command::new(executable());
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr).output().expect("the program")
}
/// The writing end of a pipe that nobody reads.
fn nobody_reads() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn a_reader_who_leaves_early_gets_no_complaint() {
    for arguments in [&["doctor"][..], &["doctor", "-v"], &["cpus"], &["cpus", "max"]] {
        let ended = run_with(arguments, nobody_reads(), Stdio::piped());
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{arguments:?}");
        assert_eq!(ended.status.code(), Some(141), "{arguments:?}: as if by SIGPIPE");
    }
}

fn nothing_panics_where_nobody_reads() {
    let until_prompt = ["demo", "--accel", "interp", "--on-reset", "exit"];
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["help", "lockstep"],
        &["--version"],
        &["fly"],
        &["run", "--kernel", "/nonexistent"],
        &["lockstep", "--accel", "interp", "--engines", "interp,interp", "--until", "20000000"],
        &[&until_prompt[..], &["--display", "lines"]].concat(),
        &until_prompt,
    ] {
        for (stdout, stderr) in [
            (nobody_reads(), Stdio::piped()),
            (Stdio::piped(), nobody_reads()),
            (nobody_reads(), nobody_reads()),
        ] {
            let mut child = Command::new(executable());
            let child = child.args(arguments).stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
            let mut child = child.spawn().expect("the program");
            // Ends the demo; the others do not read it, and may have ended already.
            let _ = child.stdin.take().expect("a pipe").write_all(b"\x01x");
            let ended = child.wait_with_output().expect("the program");
            let told = String::from_utf8_lossy(&ended.stderr);
            let said = String::from_utf8_lossy(&ended.stdout);
            assert!(!told.contains("panicked at") && !said.contains("panicked at"), "{arguments:?}: {told}");
            let code = ended.status.code().unwrap_or_else(|| panic!("{arguments:?}: {}", ended.status));
            assert!(code != 101 && code != 134, "{arguments:?}: {code}");
        }
    }
}
