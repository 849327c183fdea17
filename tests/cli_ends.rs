//! Ends of a run that scripts ask for: `--expect`, `--exit-on`, `--timeout`.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use support::engines::usable;
use support::program::{Ended, run_to_end};
use support::small_guest::{debug_exit, prints, runs_on, small_guest, triple_fault};

/// Runs a guest that writes `text` to COM1 and goes on with `then`, on an engine.
fn run_on(engine: &str, text: &str, then: fn(u32) -> Vec<u8>, more: &[&str]) -> Ended {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let name = format!("ends-{}", RUNS.fetch_add(1, Ordering::Relaxed));
    let image = small_guest(&name, &prints(text.as_bytes(), then));
    let path = image.path();
    let fixed =
        ["run", "--accel", engine, "--memory", "16M", "--nographic", "--debug-exit", "--kernel", &path];
    run_to_end(&[&fixed[..], more].concat())
}

/// The same on all engines, with the host's time and with counted instructions: the code must be `code`, and the
/// messages have all of `words`.
#[track_caller]
fn check(text: &str, then: fn(u32) -> Vec<u8>, more: &[&str], code: i32, words: &[&str]) {
    for engine in ["interp", "jit"].into_iter().filter(|name| usable(name)) {
        for count in [&[][..], &["--icount"]] {
            let ended = run_on(engine, text, then, &[more, count].concat());
            assert_eq!(ended.code, Some(code), "{engine} {more:?} {count:?}: {ended:?}");
            assert_eq!(ended.output, text, "{engine} {more:?} {count:?}");
            for word in words {
                assert!(ended.errors.contains(word), "no {word:?} in {:?}", ended.errors);
            }
        }
    }
}

#[test]
fn expected_text_ends_the_run_with_code_0() {
    check("boot\nlogin: ", runs_on, &["--expect", "login:"], 0, &[]);
    check("one\ntwo\n", runs_on, &["--expect", "one", "--expect", "two"], 0, &[]);
    // Whatever the guest does next.
    check("-- passed\n", runs_on, &["--expect", "-- passed", "--timeout", "1h"], 0, &[]);
}

#[test]
fn a_run_that_ends_without_expected_text_has_code_6() {
    check("two one", debug_exit, &["--expect", "one", "--expect", "two"], 6, &["--expect", "\"two\""]);
    check("boot", triple_fault, &["--expect", "login:"], 6, &["triple fault", "\"login:\""]);
    let timed_out = ["--expect", "login:", "--timeout", "300ms"];
    check("boot", runs_on, &timed_out, 6, &["--timeout", "\"login:\""]);
    check("panic", runs_on, &["--expect", "login:", "--exit-on", "panic"], 6, &["\"login:\""]);
}

#[test]
fn a_text_to_exit_on_ends_the_run() {
    check("Kernel panic - not syncing", runs_on, &["--exit-on", "nothing", "--exit-on", "panic"], 0, &[]);
    check("no such text", debug_exit, &["--exit-on", "panic"], 1, &[]);
}

#[test]
fn time_that_is_up_has_a_code_of_its_own() {
    check("still here", runs_on, &["--timeout", "300ms"], 124, &["--timeout", "300ms"]);
    check("done", debug_exit, &["--timeout", "1h"], 1, &[]);
}

/// Reports a panic through pvpanic, and ends the program with code 1 if nothing comes of it: mov dx, 505h; mov al, 1;
/// out dx, al; then as `debug_exit`.
fn panics(at: u32) -> Vec<u8> {
    [&[0x66, 0xba, 0x05, 0x05, 0xb0, 1, 0xee][..], &debug_exit(at)].concat()
}

#[test]
fn a_panic_that_the_guest_reports_does_what_is_asked() {
    check("panic", panics, &[], 1, &[]);
    check("panic", panics, &["--on-panic", "ignore"], 1, &["the guest panicked"]);
    for more in [
        &["--on-panic", "exit"][..],
        &["--device", "pvpanic"],
        &["--device", "pvpanic", "--on-panic", "exit"],
    ] {
        check("panic", panics, more, 8, &["panicked and said so through pvpanic"]);
    }
    check("panic", panics, &["--on-panic", "exit", "--expect", "login:"], 6, &["pvpanic", "\"login:\""]);
    check("panic", panics, &["--on-panic", "pause", "--timeout", "500ms"], 124, &["the machine is paused"]);
}

#[test]
fn a_panic_may_start_the_machine_over() {
    for engine in ["interp", "jit"].into_iter().filter(|name| usable(name)) {
        let more = ["--on-panic", "reset", "--expect", "panic", "--expect", "panic"];
        let ended = run_on(engine, "panic", panics, &more);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.output.starts_with("panicpanic"), "{ended:?}");
    }
}

#[test]
fn the_same_instructions_run_each_time() {
    // Goes on writing: what comes behind the text tells where the run ended.
    let code = prints(b"ready", |_| vec![0xee, 0xeb, 0xfd]); // out dx, al; jmp back
    let image = small_guest("ends-exactly", &code);
    let path = image.path();
    let mut outputs = Vec::new();
    for engine in ["interp", "jit", "interp", "jit"].into_iter().filter(|name| usable(name)) {
        let fixed =
            ["run", "--accel", engine, "--memory", "16M", "--nographic", "--icount", "--kernel", &path];
        let ended = run_to_end(&[&fixed[..], &["--expect", "ready"]].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        outputs.push(ended.output.len());
    }
    assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]), "{outputs:?}");
}

#[test]
fn text_is_found_wherever_com1_goes() {
    let image = small_guest("ends-null", &prints(b"ready", runs_on));
    let path = image.path();
    for spec in ["null", "stdio", "file:/dev/null"] {
        let arguments = ["run", "--memory", "16M", "--serial", spec, "--kernel", &path, "--expect", "ready"];
        assert_eq!(run_to_end(&arguments).code, Some(0), "{spec}");
    }
}

#[test]
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

#[test]
fn a_comparison_of_the_demo_ends_at_its_prompt() {
    let ended = run_to_end(&["lockstep", "--engines", "interp,interp"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.trim_end().ends_with("trimotor>"), "{}", ended.output);
}
