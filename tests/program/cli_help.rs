//! What the program says about itself.

use crate::support::needs::Tests;
use crate::support::program::run_to_end;

pub fn tests() -> Tests {
    Tests::new()
        .test(help_has_examples_and_exit_codes)
        .test(version_is_the_workspace_s)
        .test(doctor_names_every_engine_and_the_host)
        .test(cpus_lists_models_and_features)
        .test(a_reader_who_leaves_early_gets_no_complaint)
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
}

fn cpus_lists_models_and_features() {
    let list = printed(&["cpus"]);
    for word in ["x86-64-v1", "x86-64-v2", "x86-64-v3", "max", "avx2", "sse4"] {
        assert!(list.contains(word), "no {word:?} in {list}");
    }
    let one = printed(&["cpus", "x86-64-v3,-avx2"]);
    assert!(!one.split_whitespace().any(|feature| feature == "avx2"), "{one}");
}

fn a_reader_who_leaves_early_gets_no_complaint() {
    for command in ["doctor", "cpus"] {
        // A pipe whose other end is closed before anything is written.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_trimotor"))
            .arg(command)
            .stdout(writer)
            .output()
            .expect("the program");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{command}");
        assert_eq!(ended.status.code(), Some(141), "{command}: as if by SIGPIPE");
    }
}
