//! What the program tells people on standard error, beside what was asked for.

use std::fmt::Display;
use std::io::Write;
use trimotor_console::background_writer;

/// Prints a line on standard error. Where that is closed nobody is there to be told, and the
/// program goes on.
pub fn note(text: impl Display) {
    let _ = writeln!(background_writer::stderr(), "{text}");
}
