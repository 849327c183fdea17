//! Guests of some instructions that show what engines do, on vCPUs without a board.

#![allow(clippy::unwrap_used, reason = "a guest that does not assemble ends the test")]

use std::process::ExitCode;
use trimotor_test_support as support;

mod addresses;
mod at_once;
mod conformance_80286;
mod debugger;
mod dma;
mod endless;
mod faults_change_nothing;
mod halt;
mod kick;
mod kvm;
mod self_modifying;
mod single_step;
mod stack_growth;
mod video_bios;
mod windows;

fn main() -> ExitCode {
    support::needs::run([
        at_once::tests(),
        dma::tests(),
        conformance_80286::tests(),
        debugger::tests(),
        addresses::tests(),
        endless::tests(),
        faults_change_nothing::tests(),
        halt::tests(),
        kick::tests(),
        kvm::tests(),
        self_modifying::tests(),
        single_step::tests(),
        stack_growth::tests(),
        video_bios::tests(),
        windows::tests(),
    ])
}
