//! The translator by itself: the host code that it makes, and guests of some instructions on it.

#![cfg_attr(
    target_arch = "x86_64",
    allow(clippy::unwrap_used, reason = "a failure to set a test up ends the test")
)]

#[cfg(target_arch = "x86_64")]
mod flat;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod host_fault;
#[cfg(target_arch = "x86_64")]
mod inline_caches;
#[cfg(target_arch = "x86_64")]
mod listings;
#[cfg(target_arch = "x86_64")]
mod x87;

/// A host that translated code runs on.
#[cfg(target_arch = "x86_64")]
const TRANSLATOR: trimotor_test_needs::Need = trimotor_test_needs::Need {
    name: "jit",
    check: || trimotor_bt_jit::availability().map_err(|why| why.to_string()),
};

fn main() -> std::process::ExitCode {
    trimotor_test_needs::run([
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        host_fault::tests(),
        #[cfg(target_arch = "x86_64")]
        listings::tests(),
        #[cfg(target_arch = "x86_64")]
        inline_caches::tests(),
        #[cfg(target_arch = "x86_64")]
        x87::tests(),
    ])
}
