//! How the program ends: one message, one exit code.

use std::fmt::Display;
use std::process::ExitCode;

/// Exit code for input that cannot be used: a flag, a file, an unknown name.
pub const EXIT_BAD_INPUT: u8 = 2;
/// Exit code for a guest that ended in a triple fault.
pub const EXIT_TRIPLE_FAULT: u8 = 3;
/// Exit code for a host fault in translated code.
pub const EXIT_HOST_FAULT: u8 = 4;
/// Exit code for a host that fails us.
pub const EXIT_HOST: u8 = 1;

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A flag or file that cannot be used. The message names it and says what would work.
    #[error("{0}")]
    BadInput(String),
    /// The guest triple-faulted; the report says how.
    #[error("{0}")]
    TripleFault(String),
    /// The host failed.
    #[error("{0:#}")]
    Host(#[from] anyhow::Error),
}

impl Failure {
    /// A bad input, from anything that prints.
    pub fn bad(message: impl Display) -> Self {
        Failure::BadInput(message.to_string())
    }
    /// The exit code of this end.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::BadInput(_) => EXIT_BAD_INPUT,
            Failure::TripleFault(_) => EXIT_TRIPLE_FAULT,
            Failure::Host(_) => EXIT_HOST,
        }
    }
    /// Prints the message and gives the exit code.
    pub fn report(&self) -> ExitCode {
        eprintln!("trimotor: {self}");
        ExitCode::from(self.exit_code())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Host(error.into())
    }
}
