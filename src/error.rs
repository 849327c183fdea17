//! How the program ends: one message, one exit code.

use crate::note::note;
use crate::watch::MissingText;
use anyhow::anyhow;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

/// Exit code for input that cannot be used: a flag, a file, an unknown name.
pub const EXIT_BAD_INPUT: u8 = 2;
/// Exit code for a guest that ended in a triple fault.
pub const EXIT_TRIPLE_FAULT: u8 = 3;
/// Exit code for a host fault in translated code.
pub const EXIT_HOST_FAULT: u8 = 4;
/// Exit code where text that `--expect` names did not come. Even, as all codes of ours above 3: isa-debug-exit's are odd.
pub const EXIT_EXPECTED_TEXT_MISSING: u8 = 6;
/// Exit code for a guest whose kernel panicked and said so.
pub const EXIT_GUEST_PANIC: u8 = 8;
/// Exit code where the time of `--timeout` was up: that of the program `timeout`.
pub const EXIT_TIMEOUT: u8 = 124;
/// Exit code for a host that fails us.
pub const EXIT_HOST: u8 = 1;
/// Exit code where who read the output has gone, as in `trimotor cpus | head -1`: that of a program which
/// SIGPIPE ended.
pub const EXIT_READER_GONE: u8 = 128 + 13;

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A flag or file that cannot be used. The message names it and says what would work.
    #[error("{0}")]
    BadInput(String),
    /// The guest triple-faulted; the report says how.
    #[error("{0}")]
    TripleFault(String),
    /// The guest's kernel panicked and said so.
    #[error("the guest's kernel panicked and said so through pvpanic")]
    GuestPanic,
    /// Text that `--expect` names did not come.
    #[error("{0}")]
    TextMissing(MissingText),
    /// The time of `--timeout` was up.
    #[error("--timeout: the run did not end within {0:?}")]
    TimedOut(Duration),
    /// The host failed.
    #[error("{0:#}")]
    Host(#[from] anyhow::Error),
    /// Nobody reads the output any more.
    #[error("nobody reads the output any more")]
    ReaderGone,
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
            Failure::GuestPanic => EXIT_GUEST_PANIC,
            Failure::TextMissing(_) => EXIT_EXPECTED_TEXT_MISSING,
            Failure::TimedOut(_) => EXIT_TIMEOUT,
            Failure::Host(_) => EXIT_HOST,
            Failure::ReaderGone => EXIT_READER_GONE,
        }
    }
    /// Prints the message and gives the exit code. There is none where the reader has gone: who closed
    /// the pipe has what he wanted.
    pub fn report(&self) -> ExitCode {
        if !matches!(self, Failure::ReaderGone) {
            note(format_args!("trimotor: {self}"));
        }
        ExitCode::from(self.exit_code())
    }
}

/// Of standard output, which most of what is written goes to; other errors are given words of their own before.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::Host(anyhow!("standard output: {error}")),
        }
    }
}
