//! Ends of a run that scripts ask for: `--expect`, `--exit-on`, `--timeout`.

use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::needs::Tests;
use crate::support::program::{Ended, run_to_end};
use crate::support::small_guest::{debug_exit, prints, runs_on, small_guest, triple_fault};

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, expected_text_ends_the_run_with_code_0)
        .each(&ENGINE_NAMES, a_run_that_ends_without_expected_text_has_code_6)
        .each(&ENGINE_NAMES, a_text_to_exit_on_ends_the_run)
        .each(&ENGINE_NAMES, time_that_is_up_has_a_code_of_its_own)
        .each(&ENGINE_NAMES, a_panic_that_the_guest_reports_does_what_is_asked)
        .each(&ENGINE_NAMES, a_panic_may_start_the_machine_over)
        .test_needing(&[JIT], the_same_instructions_run_each_time)
        .test(text_is_found_wherever_com1_goes)
        .test(what_cannot_be_waited_for_is_refused)
        .test(a_comparison_of_the_demo_ends_at_its_prompt)
}

/// Runs a guest that writes `text` to COM1 and goes on with `then`, on an engine.
fn run_on(engine: &str, text: &str, then: fn(u32) -> Vec<u8>, more: &[&str]) -> Ended {
    let image = small_guest("ends", &prints(text.as_bytes(), then));
    let path = image.path();
    let fixed =
        ["run", "--accel", engine, "--memory", "16M", "--nographic", "--debug-exit", "--kernel", &path];
    run_to_end(&[&fixed[..], more].concat())
}

/// The same with the host's time and with counted instructions: the code must be `code`, and the messages have all of
/// `words`.
#[track_caller]
fn check(engine: &str, text: &str, then: fn(u32) -> Vec<u8>, more: &[&str], code: i32, words: &[&str]) {
    for count in [&[][..], &["--icount"]] {
        let ended = run_on(engine, text, then, &[more, count].concat());
        assert_eq!(ended.code, Some(code), "{more:?} {count:?}: {ended:?}");
        assert_eq!(ended.output, text, "{more:?} {count:?}");
        for word in words {
            assert!(ended.errors.contains(word), "no {word:?} in {:?}", ended.errors);
        }
    }
}

fn expected_text_ends_the_run_with_code_0(engine: &str) {
    check(engine, "boot\nlogin: ", runs_on, &["--expect", "login:"], 0, &[]);
    check(engine, "one\ntwo\n", runs_on, &["--expect", "one", "--expect", "two"], 0, &[]);
    // Whatever the guest does next.
    check(engine, "-- passed\n", runs_on, &["--expect", "-- passed", "--timeout", "1h"], 0, &[]);
}

fn a_run_that_ends_without_expected_text_has_code_6(engine: &str) {
    check(
        engine,
        "two one",
        debug_exit,
        &["--expect", "one", "--expect", "two"],
        6,
        &["--expect", "\"two\""],
    );
    check(engine, "boot", triple_fault, &["--expect", "login:"], 6, &["triple fault", "\"login:\""]);
    let timed_out = ["--expect", "login:", "--timeout", "300ms"];
    check(engine, "boot", runs_on, &timed_out, 6, &["--timeout", "\"login:\""]);
    check(engine, "panic", runs_on, &["--expect", "login:", "--exit-on", "panic"], 6, &["\"login:\""]);
}

fn a_text_to_exit_on_ends_the_run(engine: &str) {
    // Nothing comes behind the text: how much of it would, is not said.
    check(engine, "Kernel panic", runs_on, &["--exit-on", "nothing", "--exit-on", "panic"], 0, &[]);
    check(engine, "no such text", debug_exit, &["--exit-on", "panic"], 1, &[]);
}

fn time_that_is_up_has_a_code_of_its_own(engine: &str) {
    check(engine, "still here", runs_on, &["--timeout", "300ms"], 124, &["--timeout", "300ms"]);
    check(engine, "done", debug_exit, &["--timeout", "1h"], 1, &[]);
}

/// Reports a panic through pvpanic, and ends the program with code 1 if nothing comes of it: mov dx, 505h; mov al, 1;
/// out dx, al; then as `debug_exit`.
fn panics(at: u32) -> Vec<u8> {
    [&[0x66, 0xba, 0x05, 0x05, 0xb0, 1, 0xee][..], &debug_exit(at)].concat()
}

fn a_panic_that_the_guest_reports_does_what_is_asked(engine: &str) {
    check(engine, "panic", panics, &[], 1, &[]);
    check(engine, "panic", panics, &["--on-panic", "ignore"], 1, &["the guest panicked"]);
    for more in [
        &["--on-panic", "exit"][..],
        &["--device", "pvpanic"],
        &["--device", "pvpanic", "--on-panic", "exit"],
    ] {
        check(engine, "panic", panics, more, 8, &["panicked and said so through pvpanic"]);
    }
    check(
        engine,
        "panic",
        panics,
        &["--on-panic", "exit", "--expect", "login:"],
        6,
        &["pvpanic", "\"login:\""],
    );
    check(
        engine,
        "panic",
        panics,
        &["--on-panic", "pause", "--timeout", "500ms"],
        124,
        &["the machine is paused"],
    );
}

fn a_panic_may_start_the_machine_over(engine: &str) {
    let more = ["--on-panic", "reset", "--expect", "panic", "--expect", "panic"];
    let ended = run_on(engine, "panic", panics, &more);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.starts_with("panicpanic"), "{ended:?}");
}

fn the_same_instructions_run_each_time() {
    // Goes on writing: what comes behind the text tells where the run ended.
    let code = prints(b"ready", |_| vec![0xee, 0xeb, 0xfd]); // out dx, al; jmp back
    let image = small_guest("ends-exactly", &code);
    let path = image.path();
    let mut outputs = Vec::new();
    for engine in ["interp", "jit", "interp", "jit"] {
        let fixed =
            ["run", "--accel", engine, "--memory", "16M", "--nographic", "--icount", "--kernel", &path];
        let ended = run_to_end(&[&fixed[..], &["--expect", "ready"]].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        outputs.push(ended.output.len());
    }
    assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]), "{outputs:?}");
}

fn text_is_found_wherever_com1_goes() {
    let image = small_guest("ends-null", &prints(b"ready", runs_on));
    let path = image.path();
    for spec in ["null", "stdio", "file:/dev/null"] {
        let arguments = ["run", "--memory", "16M", "--serial", spec, "--kernel", &path, "--expect", "ready"];
        assert_eq!(run_to_end(&arguments).code, Some(0), "{spec}");
    }
}

fn what_cannot_be_waited_for_is_refused() {
    for (more, word) in [
        (&["--timeout", "soon"][..], "60s"),
        (&["--timeout", "0"], "--timeout"),
        (&["--expect", ""], "--expect"),
        (&["--exit-on", ""], "--exit-on"),
    ] {
        let ended = run_to_end(&[&["demo"][..], more].concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.errors.contains(word), "{ended:?}");
    }
    let ended = run_to_end(&["lockstep", "--timeout", "1s"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("--until"), "{ended:?}");
}

fn a_comparison_of_the_demo_ends_at_its_prompt() {
    let ended = run_to_end(&["lockstep", "--engines", "interp,interp"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.trim_end().ends_with("trimotor>"), "{}", ended.output);
}
