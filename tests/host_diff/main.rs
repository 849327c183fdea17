//! Engines against the host's CPU: random instructions of every form that the decoder
//! accepts in user mode, 64-bit and 32-bit, on random operands, executed by all; registers, flags, memory
//! and exceptions are compared.
//!
//! Where processors of different makers differ from each other, `compare.rs` says so by name, with
//! the manual's words or a reason.
//!
//! As many cases as wanted:
//! `TRIMOTOR_DIFF_CASES=10_000_000 cargo test --release --test host_diff`.
//! Environment variables: `TRIMOTOR_DIFF_CASES` (how many, default 100,000),
//! `TRIMOTOR_DIFF_SEED`, `TRIMOTOR_DIFF_ONLY` (mnemonics, separated by commas),
//! `TRIMOTOR_DIFF_COVERAGE` (a file for the table of forms).

#![cfg_attr(
    target_arch = "x86_64",
    allow(
        unsafe_code,
        clippy::unwrap_used,
        reason = "a test that executes generated code in a child process; see the modules"
    )
)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod campaign;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod compare;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod generate;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod guest;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod native;

fn main() -> std::process::ExitCode {
    trimotor_test_support::needs::run([
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        campaign::tests(),
    ])
}
