//! The whole program by its command line, as a person or a script runs it; among its guests are real ones.
//!
//! One test program, so that guests run side by side.

#![allow(clippy::unwrap_used, reason = "a failure to set a test up ends the test")]

use std::process::ExitCode;
use trimotor_test_support as support;

mod boot;
mod cli_bad_input;
mod cli_ends;
mod cli_habits;
mod cli_help;
mod demo_on_qemu;
mod exit_codes;
mod profiling;
mod stuck_output;
mod terminal;
mod ticks;

fn main() -> ExitCode {
    support::needs::run([
        boot::demo::tests(),
        boot::linux::tests(),
        boot::memtest::tests(),
        boot::pvpanic::tests(),
        boot::saved::tests(),
        boot::small_kernels::tests(),
        boot::stress::tests(),
        boot::xen::tests(),
        cli_bad_input::tests(),
        cli_ends::tests(),
        cli_habits::tests(),
        cli_help::tests(),
        demo_on_qemu::tests(),
        exit_codes::tests(),
        profiling::tests(),
        stuck_output::tests(),
        terminal::tests(),
        ticks::tests(),
    ])
}
