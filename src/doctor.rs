//! `trimotor doctor`: what this build and host can do, and why not.

use crate::error::Failure;
use std::process::ExitCode;

/// Runs the command.
///
/// # Errors
/// None yet.
pub fn run() -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
