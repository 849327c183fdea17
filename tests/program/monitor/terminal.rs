//! The monitor at the program's own terminal, behind Ctrl-A c, and at a pseudo-terminal.

use crate::support::needs::Tests;
use crate::support::program::Program;
use crate::support::small_guest::{prints, runs_on, small_guest};
use std::fs::File;
use std::io::{Read, Write};
use trimotor_test_terminal::Terminal;

pub fn tests() -> Tests {
    Tests::new()
        .test(ctrl_a_c_changes_between_serial_port_and_monitor)
        .test(the_monitor_takes_the_place_of_the_screen)
        .test(a_line_is_edited_as_at_a_shell)
        .test(scripts_reach_the_monitor_by_a_pipe)
        .test(a_terminal_without_a_monitor_says_so)
        .test(a_pseudo_terminal_serves_one_after_the_other)
}

const ENTER_SCREEN: &str = "\x1b[?1049h";
const LEAVE_SCREEN: &str = "\x1b[?1049l";
const MONITOR: &str = "[monitor: Ctrl-A c goes back]";
/// An empty line's prompt.
const PROMPT: &str = "(trimotor) \x1b[K";

fn ctrl_a_c_changes_between_serial_port_and_monitor() {
    let image = small_guest("monitor-serial", &prints(b"ready", runs_on));
    let path = image.path();
    let mut program =
        Program::start_on_terminal(&["run", "--memory", "16M", "--nographic", "--kernel", &path], 80, 24);
    program.expect("ready");
    program.send("\x01c");
    program.expect(MONITOR);
    program.expect("(trimotor) ");
    program.send("info status\r");
    program.expect("VM status: running");
    program.expect(PROMPT);
    program.send("system_reset\r");
    program.expect(PROMPT);
    // What the guest says meanwhile comes when it has the terminal again.
    program.send("info stat");
    program.expect("info stat");
    program.send("\x01c");
    let shown = program.expect("ready");
    assert!(shown.contains("[serial port]"), "{shown:?}");
    // The line that was begun is still there.
    program.send("\x01c");
    program.expect("info stat");
    program.send("us\r");
    program.expect("VM status: running");
    program.send("quit\r");
    assert_eq!(program.wait_on_terminal(), Some(0));
    assert!(program.terminal_is_cooked());
}

fn the_monitor_takes_the_place_of_the_screen() {
    let mut program = Program::start_on_terminal(&["demo"], 100, 30);
    program.expect(ENTER_SCREEN);
    program.expect("keys");
    program.send("\x01c");
    program.expect(LEAVE_SCREEN);
    program.expect(MONITOR);
    program.send("stop\r");
    program.expect(PROMPT);
    program.send("\x01h");
    program.expect("the monitor, or back to the guest");
    program.send("\x01c");
    program.expect(ENTER_SCREEN);
    program.expect("paused");
    program.send("\x01c");
    program.expect(LEAVE_SCREEN);
    program.send("cont\r\x01s");
    program.expect(ENTER_SCREEN);
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
    assert!(program.terminal_is_cooked());
}

fn a_line_is_edited_as_at_a_shell() {
    let image = small_guest("monitor-edit", &prints(b"ready", runs_on));
    let path = image.path();
    let mut program =
        Program::start_on_terminal(&["run", "--memory", "16M", "--nographic", "--kernel", &path], 80, 24);
    let mut terminal = Terminal::new(80, 24);
    terminal.write(program.expect("ready").as_bytes());
    program.send("\x01c");
    terminal.write(program.expect("(trimotor) ").as_bytes());
    // What is seen of the line after keys that leave the cursor where `mark` is typed then.
    for (keys, shown) in [
        ("nfo stat\x01\x01i\x05us#", "(trimotor) info status#"),
        ("\x15abc\x1b[D\x1b[D\x7fx\x1b[3~\x1b[F#", "(trimotor) xc#"),
        ("\x15info ver\t\x17#", "(trimotor) info #"),
        ("\x15scr\t#", "(trimotor) screendump #"),
        ("\x15print 1\r\x1b[A2#", "(trimotor) print 12#"),
    ] {
        program.send(keys);
        while !terminal.text().lines().any(|line| line.trim_end() == shown) {
            let next = program.next_output(std::time::Duration::from_secs(60)).expect("it runs");
            assert!(!next.is_empty(), "{keys:?}: no {shown:?} in\n{}", terminal.text());
            terminal.write(next.as_bytes());
        }
    }
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}

fn scripts_reach_the_monitor_by_a_pipe() {
    let image = small_guest("monitor-pipe", &prints(b"ready", runs_on));
    let mut program = Program::start(&["run", "--memory", "16M", "--nographic", "--kernel", &image.path()]);
    program.expect("ready");
    program.send("\x01cinfo status\nsystem_reset\n");
    program.expect("VM status: running");
    // Nothing of what the guest says is kept back.
    program.expect("ready");
    program.send("quit\n");
    let ended = program.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

fn a_terminal_without_a_monitor_says_so() {
    let image = small_guest("monitor-none", &prints(b"ready", runs_on));
    let path = image.path();
    let arguments = ["run", "--memory", "16M", "--nographic", "--kernel", &path, "--monitor", "none"];
    let mut program = Program::start_on_terminal(&arguments, 80, 24);
    program.expect("ready");
    program.send("\x01c");
    program.expect("--monitor stdio puts it here");
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}

/// Reads up to a text.
fn read_until(file: &mut File, wanted: &str) -> String {
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    while !text.contains(wanted) {
        let count = file.read(&mut bytes).expect("the terminal is read");
        assert!(count > 0, "no {wanted:?} in {text:?}");
        text += &String::from_utf8_lossy(&bytes[..count]);
    }
    text
}

fn a_pseudo_terminal_serves_one_after_the_other() {
    let image = small_guest("monitor-pty", &prints(b"ready", runs_on));
    let path = image.path();
    let mut program = Program::start_on_terminal(
        &["run", "--memory", "16M", "--nographic", "--kernel", &path, "--monitor", "pty"],
        80,
        24,
    );
    program.expect("--monitor pty: ");
    let place = program.expect("\n").trim().to_owned();
    for _ in 0..2 {
        let mut terminal = File::options().read(true).write(true).open(&place).expect("the terminal opens");
        // Who comes before the one who left was missed goes on where that one was, with no new prompt.
        terminal.write_all(b"\r").expect("it takes a line");
        read_until(&mut terminal, "(trimotor) ");
        terminal.write_all(b"info version\r").expect("it takes a line");
        read_until(&mut terminal, "\r\nTrimotor ");
    }
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}
