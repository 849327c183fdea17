//! memtest86+ finds no error in the memory that we give it. Its screen is VGA text.

mod support;

use support::guests::Guest;
use support::program::Program;

#[test]
fn the_first_pass_on_64_mib_finds_no_error() {
    let kernel = Guest::Memtest.path();
    let arguments =
        ["run", "--accel", "interp", "--memory", "64M", "--kernel", &kernel, "--display", "lines"];
    let mut program = Program::start(&[&arguments[..], &["--serial", "null"]].concat());
    program.expect("Memtest86+");
    let screens = program.expect("Pass completed, no errors");
    assert!(!screens.contains("FAIL"), "{screens}");
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
}
