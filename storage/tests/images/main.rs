//! Disk images in files of the host: random requests against a model, and beside QEMU's tools.
//!
//! With `TRIMOTOR_WRITE_UNTIL_KILLED` set, the program is the writer of [`killed`] instead, and with
//! `TRIMOTOR_SNAPSHOTS_UNTIL_KILLED` the one that takes snapshots of [`machines`].

#![allow(clippy::unwrap_used, reason = "a failure to set a test up ends the test")]

use std::process::ExitCode;
use trimotor_test_needs as needs;

mod bad_input;
mod failing;
mod formats;
mod host;
mod killed;
mod locks;
mod machines;
mod manage;
mod qemu;
mod random;
mod requests;

fn main() -> ExitCode {
    if let Some(what) = std::env::var_os(killed::VARIABLE) {
        killed::write_until_killed(what.as_ref());
    }
    if let Some(what) = std::env::var_os(machines::VARIABLE) {
        machines::take_until_killed(what.as_ref());
    }
    needs::run([
        bad_input::tests(),
        failing::tests(),
        formats::tests(),
        killed::tests(),
        locks::tests(),
        machines::tests(),
        manage::tests(),
        random::tests(),
        requests::tests(),
    ])
}
