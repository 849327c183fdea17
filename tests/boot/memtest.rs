//! memtest86+ finds no error in the memory that we give it. Its screen is VGA text.

use crate::on_each_engine;
use crate::support::guests::Guest;
use crate::support::program::Program;

on_each_engine!(the_first_pass_on_64_mib_finds_no_error);

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
