//! The program on a terminal: takes it, draws, obeys its keys, and gives it back on every way out.

use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::Tests;
use crate::support::program::{Program, run_to_end};
use crate::support::small_guest::{Scratch, debug_exit, prints, runs_on, small_guest, triple_fault};
use rustix::process::Signal;

pub fn tests() -> Tests {
    Tests::new()
        .test(help_opens_and_the_leave_key_gives_the_terminal_back)
        .test(signals_give_the_terminal_back)
        .test(the_screen_and_the_serial_port_change_places)
        .test(a_terminal_smaller_than_the_screen_is_enough)
        .test(a_terminal_of_the_usual_size_has_the_status_line)
        .test(the_status_line_names_the_key_that_is_in_use)
        .test(a_terminal_that_changes_its_size_is_drawn_anew)
        .test(a_terminal_that_cannot_be_drawn_on_gets_lines)
        .test(a_locale_without_utf_8_gets_ascii)
        .test(a_coloured_guest_s_terminal_is_put_right_on_every_way_out)
        .test(the_screen_is_drawn_without_what_the_guest_set_on_the_serial_port)
        .test(output_that_is_no_terminal_s_gets_nothing_added)
        .test(answers_to_a_guest_s_questions_are_taken_before_the_shell_comes_back)
        .each(&ENGINE_NAMES, a_guest_that_says_nothing_is_told_of)
        .each(&ENGINE_NAMES, a_guest_that_writes_to_its_screen_only_is_noticed)
}

/// Switches to and from the alternate screen (xterm, "DEC Private Mode Set", 1049).
const ENTER_SCREEN: &str = "\x1b[?1049h";
const LEAVE_SCREEN: &str = "\x1b[?1049l";
/// Signals that ask for the end, with the program's exit codes.
const SIGNALS: [(Signal, i32); 4] =
    [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131)];

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
    for (signal, code) in SIGNALS {
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

fn a_terminal_of_the_usual_size_has_the_status_line() {
    let mut program = Program::start_on_terminal(&["demo"], 80, 24);
    program.expect(ENTER_SCREEN);
    program.expect("Ctrl-A h: keys, Ctrl-A x: leave");
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}

fn the_status_line_names_the_key_that_is_in_use() {
    let mut program = Program::start_on_terminal(&["demo", "--escape", "^B"], 80, 24);
    program.expect("Ctrl-B x: leave");
    program.send("\x02x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}

fn a_terminal_that_changes_its_size_is_drawn_anew() {
    let mut program = demo();
    program.resize(80, 24);
    // All is erased, and the last row is the 24th.
    program.expect("\x1b[2J");
    program.expect("\x1b[24;1H");
    program.expect("keys");
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}

fn a_terminal_that_cannot_be_drawn_on_gets_lines() {
    let dumb = [("TERM", "dumb")];
    let mut program = Program::start_on_terminal_with(&["demo"], 80, 24, &dumb);
    let shown = program.expect("trimotor>");
    assert!(!shown.contains('\x1b') && shown.contains("|"), "{shown:?}");
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
    let refused = ["demo", "--display", "terminal"];
    let mut program = Program::start_on_terminal_with(&refused, 80, 24, &dumb);
    program.expect("--display terminal: the terminal cannot be drawn on");
    assert_eq!(program.wait_on_terminal(), Some(2));
}

fn a_locale_without_utf_8_gets_ascii() {
    let mut program = Program::start_on_terminal_with(&["demo"], 80, 24, &[("LC_ALL", "de_DE.ISO-8859-1")]);
    let mut shown = program.expect("keys");
    program.send("\x01h");
    shown += &program.expect("leave Trimotor");
    assert!(shown.contains("+---"), "{shown:?}");
    assert!(shown.is_ascii(), "{shown:?}");
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}

/// What the coloured guest sets: a title, red on blue, no cursor, no wrapping, mouse reports, a scroll region, and
/// the cursor in the middle.
const SETS: &[u8] =
    b"\x1b]0;guest\x07\x1b[31;44mred\x1b[?25l\x1b[?7l\x1b[?1000;1006h\x1b[?2004h\x1b[3;9r\x1b[5;20Hmiddle";
/// What puts it right, in this order.
const PUT_RIGHT: [&str; 8] =
    ["\x1b[r", "\x1b[?7h", "\x1b[?1000l", "\x1b[?1006l", "\x1b[?2004l", "\x1b[23;0t", "\x1b[0m", "\x1b[?25h"];

/// A guest on the serial port of a terminal, up to where it has set everything.
fn coloured(name: &str, then: fn(u32) -> Vec<u8>) -> (Program, Scratch) {
    let image = small_guest(name, &prints(SETS, then));
    let arguments = ["run", "--memory", "16M", "--nographic", "--debug-exit", "--kernel", &image.path()];
    let mut program = Program::start_on_terminal(&arguments, 80, 24);
    program.expect("Ctrl-A x leaves");
    // The title is kept before it is set.
    program.expect("\x1b[22;0t");
    program.expect("\x1b]0;guest");
    program.expect("middle");
    (program, image)
}

#[track_caller]
fn check_put_right(mut program: Program, code: i32) {
    assert_eq!(program.wait_on_terminal(), Some(code));
    assert!(program.terminal_is_cooked());
    for sequence in PUT_RIGHT {
        program.expect(sequence);
    }
    // The cursor is below all that the guest wrote.
    program.expect("\x1b[999;1H\r");
}

fn a_coloured_guest_s_terminal_is_put_right_on_every_way_out() {
    let (mut program, _image) = coloured("colours-leave", runs_on);
    program.send("\x01x");
    check_put_right(program, 0);
    for (signal, code) in SIGNALS {
        let (program, _image) = coloured(&format!("colours-{code}"), runs_on);
        program.signal(signal);
        check_put_right(program, code);
    }
    check_put_right(coloured("colours-exit", debug_exit).0, 1);
    let (program, _image) = coloured("colours-triple", triple_fault);
    check_put_right(program, 3);
}

fn the_screen_is_drawn_without_what_the_guest_set_on_the_serial_port() {
    let image = small_guest("colours-switch", &prints(SETS, runs_on));
    let arguments = ["run", "--memory", "16M", "--kernel", &image.path()];
    let mut program = Program::start_on_terminal(&arguments, 80, 24);
    program.expect(ENTER_SCREEN);
    program.send("\x01s");
    program.expect("middle");
    program.send("\x01s");
    for sequence in PUT_RIGHT {
        program.expect(sequence);
    }
    program.expect(ENTER_SCREEN);
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}

fn output_that_is_no_terminal_s_gets_nothing_added() {
    let image = small_guest("colours-pipe", &prints(SETS, debug_exit));
    let arguments = ["run", "--memory", "16M", "--nographic", "--debug-exit", "--kernel", &image.path()];
    let ended = run_to_end(&arguments);
    assert_eq!((ended.code, ended.output.as_bytes()), (Some(1), SETS));
}

fn answers_to_a_guest_s_questions_are_taken_before_the_shell_comes_back() {
    let image = small_guest("question", &prints(b"where?\x1b[6n", debug_exit));
    let arguments = ["run", "--memory", "16M", "--nographic", "--debug-exit", "--kernel", &image.path()];
    let mut program = Program::start_on_terminal(&arguments, 80, 24);
    // A question of the program's own, behind which nothing is left to come.
    program.expect("\x1b[5n");
    assert!(!program.terminal_is_cooked());
    program.send("\x1b[1;7R");
    program.send("\x1b[0n");
    assert_eq!(program.wait_on_terminal(), Some(1));
    assert!(program.terminal_is_cooked());
}

/// A guest on the serial port of a terminal from which nothing comes is told of with `words`.
#[track_caller]
fn check_silence(engine: &str, name: &str, code: &[u8], more: &[&str], words: &[&str]) {
    let image = small_guest(&format!("{name}-{engine}"), code);
    let path = image.path();
    let fixed = ["run", "--accel", engine, "--memory", "16M", "--nographic", "--kernel", &path];
    let mut program = Program::start_on_terminal(&[&fixed[..], more].concat(), 80, 24);
    program.expect("nothing came from the serial port");
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
    for word in words {
        assert!(program.rest().contains(word), "no {word:?} in {:?}", program.rest());
    }
}

fn a_guest_that_says_nothing_is_told_of(engine: &str) {
    let runs_on = runs_on(0);
    check_silence(engine, "silent", &runs_on, &[], &["the VGA screen is blank", "console=ttyS0"]);
    let told = ["--append", "console=ttyS0"];
    check_silence(engine, "silent-told", &runs_on, &told, &["may not be that far yet"]);
}

fn a_guest_that_writes_to_its_screen_only_is_noticed(engine: &str) {
    // mov dword [0b8000h], "Hi" in grey; jmp $
    let code = [0xc7, 0x05, 0, 0x80, 0x0b, 0, b'H', 7, b'i', 7, 0xeb, 0xfe];
    check_silence(engine, "vga-only", &code, &[], &["VGA screen (\"Hi\")", "--nographic", "console=ttyS0"]);
}
