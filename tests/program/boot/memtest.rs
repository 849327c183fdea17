//! memtest86+ finds no error in the memory that we give it. Its screen is VGA text.

use crate::support::engines::ENGINE_NAMES;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::Program;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN]).each(&ENGINE_NAMES, the_first_pass_on_64_mib_finds_no_error)
}

fn the_first_pass_on_64_mib_finds_no_error(engine: &str) {
    let kernel = Guest::Memtest.path();
    let arguments = ["run", "--accel", engine, "--memory", "64M", "--kernel", &kernel, "--display", "lines"];
    let mut program = Program::start(&[&arguments[..], &["--serial", "null"]].concat());
    program.expect("Memtest86+");
    // The last of its tests looks for bits that fade within minutes of guest time.
    let screens = program.expect("Pass:  1");
    assert!(!screens.contains("FAIL"), "{screens}");
    program.expect("Errors: 0");
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
}
