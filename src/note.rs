//! What the program tells people on standard error, beside what was asked for.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;
use trimotor_console::background_writer;

/// How long a standard error that takes nothing is waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Prints a line on standard error. Where that is closed nobody is there to be told, and the
/// program goes on.
pub fn note(text: impl Display) {
    let _ = writeln!(background_writer::stderr(), "{text}");
}

/// Waits at the program's end until all that was told is written, unless standard error takes nothing.
pub fn finish() {
    background_writer::stderr().drain(LAST_WAIT);
}
