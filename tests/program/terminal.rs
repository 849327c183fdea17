//! The program on a terminal: takes it, draws, obeys its keys, and gives it back on every way out.

use crate::support::needs::Tests;
use crate::support::program::Program;
use rustix::process::Signal;

pub fn tests() -> Tests {
    Tests::new()
        .test(help_opens_and_the_leave_key_gives_the_terminal_back)
        .test(signals_give_the_terminal_back)
        .test(the_screen_and_the_serial_port_change_places)
        .test(a_terminal_smaller_than_the_screen_is_enough)
}

/// Switches to and from the alternate screen (xterm, "DEC Private Mode Set", 1049).
const ENTER_SCREEN: &str = "\x1b[?1049h";
const LEAVE_SCREEN: &str = "\x1b[?1049l";

/// The demo on a terminal that has room for the status line.
fn demo() -> Program {
    let mut program = Program::start_on_terminal(&["demo"], 100, 30);
    program.expect(ENTER_SCREEN);
    // The status line: the session runs and has drawn.
    program.expect("keys");
    assert!(!program.terminal_is_cooked(), "keys must come one by one");
    program
}

fn help_opens_and_the_leave_key_gives_the_terminal_back() {
    let mut program = demo();
    program.send("\x01h");
    program.expect("leave Trimotor");
    program.send("\x01x");
    program.expect(LEAVE_SCREEN);
    assert_eq!(program.wait_on_terminal(), Some(0));
    assert!(program.terminal_is_cooked());
}

fn signals_give_the_terminal_back() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut program = demo();
        program.signal(signal);
        program.expect(LEAVE_SCREEN);
        assert_eq!(program.wait_on_terminal(), Some(code));
        assert!(program.terminal_is_cooked());
    }
}

fn the_screen_and_the_serial_port_change_places() {
    let mut program = demo();
    program.send("\x01s");
    program.expect(LEAVE_SCREEN);
    program.expect("[serial port]");
    program.send("\x01s");
    program.expect(ENTER_SCREEN);
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}

fn a_terminal_smaller_than_the_screen_is_enough() {
    let mut program = Program::start_on_terminal(&["demo"], 40, 10);
    program.expect(ENTER_SCREEN);
    program.send("\x01h");
    program.expect("leave Trimotor");
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}
