//! The embedded demo, by its serial port and by screen and keyboard.

use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::needs::Tests;
use crate::support::program::{Program, run_to_end};

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, the_demo_shows_faults_and_powers_off)
        .each(&ENGINE_NAMES, the_demo_reboots_and_halts)
        .each(&ENGINE_NAMES, the_demo_goes_on_by_itself_and_keeps_time)
        .each(&ENGINE_NAMES, the_demo_takes_commands_that_come_before_its_prompt)
        .test(the_demo_ends_with_a_reset_where_it_is_told_so)
        .test(the_demo_reads_the_keyboard_and_its_screen_can_be_kept)
        .test_needing(&[JIT], the_demo_is_the_same_on_interpreter_and_translator)
}

/// The demo up to its prompt, with pipes: serial output on standard output.
fn on_serial_port(engine: &str, more: &[&str]) -> Program {
    let mut program = Program::start(&[&["demo", "--accel", engine], more].concat());
    let mut report = String::new();
    for step in
        [" 1 Real mode", " 2 Protected mode", " 3 Two-level paging", "hello", " 4 Long mode", " 5 Interrupts"]
    {
        report += &program.expect(step);
    }
    report += &program.expect("A key goes on");
    program.send(" ");
    report += &program.expect("trimotor> ");
    for word in ["sse4.2", "avx2", "nx", "long-mode"] {
        assert!(report.contains(word), "no {word} in {report}");
    }
    assert!(!report.contains("[fail]"), "{report}");
    // What comes before goes to the serial port alone.
    let mut shown = report.lines().skip_while(|line| !line.starts_with(" 1 Real mode"));
    let wide = shown.find(|line| line.trim_end().chars().count() >= 80);
    assert_eq!(wide, None, "a line that fills a row leaves an empty one behind it");
    program
}

fn the_demo_shows_faults_and_powers_off(engine: &str) {
    let mut program = on_serial_port(engine, &[]);
    program.send("fault\r");
    program.expect("exception 14, #PF page fault");
    program.expect("no page is mapped there, it was a read");
    program.expect("the page is there but its rights forbid it, it was a write");
    program.expect("trimotor> ");
    program.send("divide\r");
    program.expect("exception 0, #DE divide error");
    program.expect("trimotor> ");
    program.send("pci\r");
    program.expect("8086:1237");
    program.expect("trimotor> ");
    program.send("poweroff\r");
    assert_eq!(program.wait().code, Some(0));
}

fn the_demo_reboots_and_halts(engine: &str) {
    let mut program = on_serial_port(engine, &[]);
    program.send("reboot\r");
    program.expect(" 1 Real mode");
    program.expect("A key goes on");
    program.send("\r");
    program.expect("trimotor> ");
    program.send("halt\r");
    program.expect("halt");
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
}

/// A script that reads only gets to the prompt. Guest time counts instructions, so no tick is lost.
fn the_demo_goes_on_by_itself_and_keeps_time(engine: &str) {
    let mut program = Program::start(&["demo", "--accel", engine, "--icount"]);
    program.expect("A key goes on");
    program.expect("trimotor> ");
    program.send("ticks\r");
    program.expect("Timer interrupts: ");
    let line = program.expect(" seconds");
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [ticks, seconds] = numbers[..] else { panic!("{line}") };
    assert!(seconds >= 10 && ticks.abs_diff(seconds * 100) <= 101, "{line}");
    program.send("poweroff\r");
    assert_eq!(program.wait().code, Some(0));
}

/// A script that writes at once loses no key.
fn the_demo_takes_commands_that_come_before_its_prompt(engine: &str) {
    let mut program = Program::start(&["demo", "--accel", engine]);
    program.expect(" 5 Interrupts");
    program.send("poweroff\r");
    program.expect("trimotor> poweroff");
    assert_eq!(program.wait().code, Some(0));
}

fn the_demo_ends_with_a_reset_where_it_is_told_so() {
    let mut program = on_serial_port("interp", &["--on-reset", "exit"]);
    program.send("reboot\r");
    assert_eq!(program.wait().code, Some(0));
}

fn the_demo_reads_the_keyboard_and_its_screen_can_be_kept() {
    let dump = std::env::temp_dir().join(format!("trimotor-screen-{}.txt", std::process::id()));
    let dump_argument = dump.to_string_lossy().into_owned();
    let arguments = ["demo", "--display", "lines", "--serial", "null", "--screen-dump", &dump_argument];
    let mut program = Program::start(&arguments);
    program.expect("trimotor>");
    program.send("ticks\r");
    program.expect("Timer interrupts: ");
    let line = program.expect(", COM1: 0");
    let keyboard: u64 =
        line.split("keyboard: ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0);
    assert!(keyboard >= 11, "five keys went down and up, Enter at least down: {line}");
    // The next prompt may stand in the row where the last one stood: no row to print has changed.
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
    let screen = std::fs::read_to_string(&dump).expect("the screen was kept");
    let _ = std::fs::remove_file(&dump);
    assert!(screen.contains("Trimotor demo") && screen.contains("Timer interrupts: "), "{screen}");
}

fn the_demo_is_the_same_on_interpreter_and_translator() {
    // Up to the prompt and some time of waiting there.
    let ended = run_to_end(&["lockstep", "--every", "500000", "--until", "130000000"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
    assert!(ended.output.contains("trimotor> "), "{}", ended.output);
    assert!(
        ended.errors.contains("interp and jit are the same for 130000000 instructions"),
        "{}",
        ended.errors
    );
}
