//! The program that `cargo run` builds is the one that tests run: no dependency of a test changes what the program is
//! compiled with, so nothing is compiled twice.

use crate::root;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The features that packages are compiled with, by name and version, as `cargo tree` tells with these flags.
fn features(flags: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"])
        .args(flags)
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((package, features)) = line.split_once('|') else { continue };
        let features = features.trim_end_matches(" (*)").split(',').filter(|feature| !feature.is_empty());
        found.entry(package.to_owned()).or_default().extend(features.map(str::to_owned));
    }
    found
}

#[test]
fn tests_do_not_change_the_features_of_the_program() {
    let program = features(&["--package", "trimotor", "--edges", "normal"]);
    let tested = features(&["--workspace", "--edges", "normal,dev"]);
    assert!(program.contains_key(&format!("trimotor v{} ({})", env!("CARGO_PKG_VERSION"), root().display())));
    for (package, features) in program {
        assert_eq!(
            features, tested[&package],
            "{package}: what tests depend on changes its features; name them in the workspace's dependencies"
        );
    }
}
