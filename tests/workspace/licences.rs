//! Each dependency may be used under one of a list of licences, which all allow use under MIT or Apache-2.0's terms.

use crate::metadata;
use std::process::Command;

/// Licences by their SPDX names. To add one, read it.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX licence expression, as `(MIT OR Apache-2.0) AND Unicode-3.0`, can be met with [`ALLOWED`] licences.
/// Old packages write `/` for OR.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    any_of(&mut rest) && rest.is_empty()
}

/// Terms with OR between them; OR binds less than AND.
fn any_of(words: &mut &[&str]) -> bool {
    let mut allowed = all_of(words);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        allowed |= all_of(words);
    }
    allowed
}

fn all_of(words: &mut &[&str]) -> bool {
    let mut allowed = one(words);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut &[&str]) -> bool {
    match **words {
        ["(", ref rest @ ..] => {
            *words = rest;
            let allowed = any_of(words);
            let [")", rest @ ..] = *words else { return false };
            *words = rest;
            allowed
        }
        [name, "WITH", exception, ref rest @ ..] => {
            *words = rest;
            ALLOWED.contains(&format!("{name} WITH {exception}").as_str())
        }
        [name, ref rest @ ..] => {
            *words = rest;
            ALLOWED.contains(&name)
        }
        [] => false,
    }
}

/// The platform that Cargo runs on, whose dependencies are here: others' need not have been fetched.
fn platform() -> String {
    let output = Command::new(env!("CARGO")).args(["version", "--verbose"]).output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap_or_else(|| panic!("cargo does not name its host: {text}")).to_owned()
}

#[test]
fn dependencies_have_licences_of_the_list() {
    let metadata = metadata(&["--filter-platform", &platform()]);
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 50, "all dependencies are looked at, not {} packages", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_allowed))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(
        refused.is_empty(),
        "licences that tests/workspace/licences.rs does not list:\n{}",
        refused.join("\n")
    );
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    for allowed in
        ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-2.0", "(MIT OR GPL-2.0) AND Unicode-3.0", "MIT OR X AND Y"]
    {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in
        ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR MIT) AND X", "MIT WITH X", "(MIT", "MIT MIT"]
    {
        assert!(!is_allowed(refused), "{refused}");
    }
}
