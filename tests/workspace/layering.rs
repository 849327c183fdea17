//! The rules of who may know whom, checked on the workspace as it is.
//!
//! ARCHITECTURE.md states them; `cargo metadata` and the sources tell whether they hold.

use crate::{metadata, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// The members that each member may depend on, apart from tests. Who is not listed may use all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("trimotor-bus", &[]),
    ("trimotor-test-needs", &[]),
    ("trimotor-test-terminal", &[]),
    ("trimotor-storage", &[]),
    ("trimotor-net", &[]),
    ("trimotor-snapshot", &[]),
    ("trimotor-sockets", &[]),
    ("trimotor-cpu", &["trimotor-bus"]),
    ("trimotor-cpu-interp", &["trimotor-cpu", "trimotor-bus"]),
    ("trimotor-bt-jit", &["trimotor-cpu", "trimotor-cpu-interp", "trimotor-bus"]),
    ("trimotor-accel-kvm", &["trimotor-cpu", "trimotor-bus"]),
    ("trimotor-devices", &["trimotor-bus", "trimotor-storage", "trimotor-net"]),
    ("trimotor-displays", &["trimotor-devices", "trimotor-sockets"]),
    ("trimotor-firmware", &["trimotor-bus"]),
    ("trimotor-monitor", &["trimotor-machine", "trimotor-devices", "trimotor-bus"]),
    ("trimotor-gdb", &["trimotor-machine", "trimotor-monitor", "trimotor-cpu"]),
    (
        "trimotor-machine",
        &[
            "trimotor-bus",
            "trimotor-cpu",
            "trimotor-cpu-interp",
            "trimotor-bt-jit",
            "trimotor-accel-kvm",
            "trimotor-devices",
            "trimotor-firmware",
            "trimotor-storage",
            "trimotor-snapshot",
            "trimotor-net",
        ],
    ),
];

/// The engines, as crates are named in Rust.
const ENGINES: &[&str] = &["trimotor_cpu_interp", "trimotor_bt_jit", "trimotor_accel_kvm"];

/// Members whose sources read neither the host's clock, randomness, environment nor files.
/// (`storage` works on files that it is handed.)
const PURE: &[&str] =
    &["bus", "cpu", "cpu-interp", "bt-jit", "accel-kvm", "devices", "firmware", "snapshot", "machine"];

/// What such a source would say.
const IMPURE: &[&str] = &[
    "std::time::Instant",
    "Instant::now",
    "SystemTime",
    "std::env::var",
    "std::env::args",
    "std::env::current",
    "std::fs",
    "File::open",
    "File::create",
    "OpenOptions",
    "rand::",
    "getrandom",
    "_rdtsc(",
    "_rdrand",
    "_rdseed",
];
/// What `use std::{...}` must not name.
const IMPURE_IN_GROUP: &[&str] = &["fs", "env", "time::Instant", "time::SystemTime"];

/// The members that each member depends on, apart from dev-dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let members: BTreeSet<String> = packages.iter().map(name).collect();
    let of_package = |package: &Value| {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        let normal = all.filter(|dependency| dependency["kind"] != "dev").map(name);
        normal.filter(|dependency| members.contains(dependency)).collect()
    };
    packages.iter().map(|package| (name(package), of_package(package))).collect()
}

/// All Rust sources of a member that are no tests, with the tests at a file's end cut off and
/// comments taken out.
fn sources(member: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![root().join(member).join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a folder's entry").path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if name == "tests"
                || name.ends_with("_tests")
                || name.ends_with("_test")
                || name.starts_with("tests_")
                || name.starts_with("test_")
            {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                sources.push((path, without_tests_and_comments(&text)));
            }
        }
    }
    sources
}

fn without_tests_and_comments(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let starts_tests = line.trim() == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.trim().starts_with("mod ") && next.trim().ends_with('{'));
        if starts_tests {
            break;
        }
        kept += line.split("//").next().unwrap_or_default();
        kept.push('\n');
    }
    kept
}

/// Whether `text` has `word`, and not as the end of a longer name.
fn says(text: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(is_name))
}

#[test]
fn members_depend_only_on_what_their_layer_may_use() {
    let dependencies = dependencies();
    for (member, allowed) in MAY_USE {
        let Some(used) = dependencies.get(*member) else { continue };
        for dependency in used {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{member} depends on {dependency}; it may use {allowed:?} only"
            );
        }
    }
}

#[test]
fn only_the_machine_depends_on_engines() {
    for (member, used) in dependencies() {
        for engine in ["trimotor-cpu-interp", "trimotor-bt-jit", "trimotor-accel-kvm"] {
            let may = matches!(member.as_str(), "trimotor-machine" | "trimotor-bt-jit");
            assert!(may || !used.contains(engine), "{member} depends on the engine {engine}");
        }
    }
}

#[test]
fn one_file_of_the_machine_names_engines() {
    for (path, text) in sources("machine") {
        if path.ends_with("machine/src/engines.rs") {
            continue;
        }
        for engine in ENGINES {
            assert!(
                !text.contains(engine),
                "{} names {engine}; only machine/src/engines.rs may",
                path.display()
            );
        }
    }
}

#[test]
fn device_cpu_and_board_code_reads_nothing_of_the_host() {
    for member in PURE {
        for (path, text) in sources(member) {
            // A File may wrap memory without a name; what opens a file by its name is listed.
            let text = text.replace("std::fs::File", "");
            for word in IMPURE {
                assert!(!says(&text, word), "{} uses {word}: host-facing crates hand it in", path.display());
            }
            for group in text.split("use std::{").skip(1) {
                let group = group.split(';').next().unwrap_or_default();
                let names: Vec<_> = group.split([',', '{', '}']).map(str::trim).collect();
                for word in IMPURE_IN_GROUP {
                    assert!(!names.contains(word), "{} uses std::{word}", path.display());
                }
            }
        }
    }
}

#[test]
fn a_forbidden_word_would_be_found() {
    let text = "use a;\n// std::fs in a comment\nfn f() {}\n#[cfg(test)]\nmod tests {\n use std::fs;\n}\n";
    assert!(!without_tests_and_comments(text).contains("std::fs"));
    assert!(says(&without_tests_and_comments("use std::fs;\n"), "std::fs"));
    assert!(says("use rand::Rng;", "rand::") && !says("operand::Kind", "rand::"));
}
