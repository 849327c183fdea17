//! Guests of some instructions that show what engines do, on vCPUs without a board.

#![allow(clippy::unwrap_used, reason = "a guest that does not assemble ends the test")]

use std::process::ExitCode;
use trimotor_test_support as support;

mod at_once;
mod conformance_80286;
mod endless;
mod self_modifying;
mod single_step;
mod stack_growth;

fn main() -> ExitCode {
    support::needs::run([
        at_once::tests(),
        conformance_80286::tests(),
        endless::tests(),
        self_modifying::tests(),
        single_step::tests(),
        stack_growth::tests(),
    ])
}
