//! What tests need of the host, and how a test that cannot run is reported.
//!
//! A test that cannot run must not look like one that passed. So each thing that a host may lack is a [`Need`], and:
//!
//! - Test programs with `harness = false` list their tests with [`Tests`]. A test whose needs are not met is *ignored*,
//!   with the reason, and counted as such in the summary.
//! - A `#[test]` function asks [`skip`], which prints a line that no capture hides, with a count.
//! - In CI (the environment variable `CI`) both fail instead. `TRIMOTOR_MAY_LACK=recordings,iasl` names needs that may
//!   be missing there.
//!
//! This crate knows no other of the project, so that all of them can use it. What needs an engine or a guest is in
//! `trimotor-test-support`.

mod ports;
mod runner;

pub use ports::free_port;
pub use runner::{Case, Tests, run};

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Something that a test needs and that a host may lack.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The name, as `TRIMOTOR_MAY_LACK` has it.
    pub name: &'static str,
    /// Whether it is there; the text says what is missing and what would help.
    pub check: fn() -> Result<(), String>,
}

/// QEMU's PC, to compare with.
pub const QEMU: Need = Need { name: "qemu", check: || program("qemu-system-x86_64", "qemu-system-x86") };
/// QEMU's tools for disk images, `qemu-img` and `qemu-io`.
pub const QEMU_IMG: Need = Need {
    name: "qemu-img",
    check: || program("qemu-img", "qemu-utils").and_then(|()| program("qemu-io", "qemu-utils")),
};
/// The ACPICA compiler.
pub const IASL: Need = Need { name: "iasl", check: || program("iasl", "acpica-tools") };
/// Network namespaces and TAP interfaces, and programs to set them up.
pub const NAMESPACES: Need = Need { name: "namespaces", check: namespaces };
/// Instructions recorded on an 80286: see [`recordings`].
pub const RECORDINGS: Need = Need {
    name: "recordings",
    check: || match recordings() {
        Some(_) => Ok(()),
        None => Err("no recordings: set TRIMOTOR_CONFORMANCE to a folder with 80286/".into()),
    },
};

/// The folder with recordings of an 80286: in what `TRIMOTOR_CONFORMANCE` names, or in `../shared/conformance`.
///
/// They are the public set of <https://github.com/SingleStepTests/80286>, in MOO files.
pub fn recordings() -> Option<PathBuf> {
    let named = std::env::var_os("TRIMOTOR_CONFORMANCE").map(PathBuf::from);
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    named.into_iter().chain([usual]).map(|folder| folder.join("80286")).find(|folder| folder.is_dir())
}

/// Whether a program is installed.
///
/// # Errors
/// It is not; the text names Debian's package that has it.
pub fn program(name: &str, package: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).any(|folder| folder.join(name).is_file()) {
        true => Ok(()),
        false => Err(format!("{name} is not installed (Debian's package {package})")),
    }
}

fn namespaces() -> Result<(), String> {
    program("ip", "iproute2")?;
    program("nsenter", "util-linux")?;
    let status = Command::new("unshare").args(["-n", "-m", "true"]).stderr(Stdio::null()).status();
    match status.is_ok_and(|status| status.success()) && Path::new("/dev/net/tun").exists() {
        true => Ok(()),
        false => Err("no right to make network namespaces and TAP interfaces (root has it)".into()),
    }
}

/// Whether the host's CPU has a feature, as `is_x86_feature_detected` tells.
///
/// # Errors
/// It has not.
pub fn host_cpu(feature: &str, has_it: bool) -> Result<(), String> {
    if has_it { Ok(()) } else { Err(format!("the host's CPU lacks {feature}")) }
}

/// Whether this is a run that decides whether a change is good: nothing may be skipped there.
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Whether a run in CI may lack the need of this name.
fn may_lack(name: &str) -> bool {
    std::env::var("TRIMOTOR_MAY_LACK").is_ok_and(|names| names.split(',').any(|one| one.trim() == name))
}

/// Whether the running `#[test]` function must be skipped: says so, past the capture of output, if `need` is not met.
///
/// # Panics
/// In CI, where a test may not be skipped.
#[track_caller]
#[must_use = "a test that goes on would fail"]
pub fn skip(need: Result<(), String>) -> bool {
    static SKIPPED: AtomicU32 = AtomicU32::new(0);
    let Err(why) = need else { return false };
    assert!(!is_ci(), "would be skipped, which CI does not allow: {why}");
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let thread = std::thread::current();
    let line = format!("SKIPPED ({count} of this program): {}: {why}\n", thread.name().unwrap_or("a test"));
    // Not `eprintln`, which the harness captures and shows for failures only.
    let _ = std::io::stderr().write_all(line.as_bytes());
    true
}

/// Whether the host's processor is Intel's: where the manual leaves something undefined, they differ from AMD's, with which the
/// engines agree.
#[cfg(target_arch = "x86_64")]
pub fn intel_host() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    // "GenuineIntel".
    (leaf.ebx, leaf.edx, leaf.ecx) == (0x756E_6547, 0x4965_6E69, 0x6C65_746E)
}
/// No.
#[cfg(not(target_arch = "x86_64"))]
pub fn intel_host() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_found() {
        assert_eq!(program("sh", "dash"), Ok(()));
        let missing = program("no-such-program", "no-package");
        assert!(missing.is_err_and(|why| why.contains("no-such-program") && why.contains("no-package")));
    }

    #[test]
    fn what_is_there_is_not_skipped() {
        assert!(!skip(host_cpu("anything", true)));
    }
}
