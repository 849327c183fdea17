//! `--switch`, and the console's key.

use crate::support::engines::JIT;
use crate::support::needs::Tests;
use crate::support::program::{Program, run_to_end};

pub fn tests() -> Tests {
    Tests::needing(&[JIT])
        .test(switches_are_made_where_they_are_planned)
        .test(a_key_has_the_next_engine_go_on)
}

fn switches_are_made_where_they_are_planned() {
    let counted = |more: &[&str]| {
        let fixed = ["demo", "--nographic", "--icount", "--accel", "interp", "--exit-on", "trimotor> "];
        let ended = run_to_end(&[&fixed[..], more].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    };
    let whole = counted(&[]);
    let switched = counted(&["--switch", "jit@200000i", "--switch", "interp@5", "--switch", "jit@4000000i"]);
    assert_eq!(switched.output, whole.output);
    let told: Vec<&str> = switched.errors.lines().filter(|line| line.contains("now: the switch")).collect();
    assert_eq!(told.len(), 3, "{switched:?}");
    for (line, words) in told.iter().zip([
        ["runs on jit now: the switch from interp took ", ", 200000 instructions)"],
        ["runs on interp now: the switch from jit took ", "(at 5."],
        ["runs on jit now: the switch from interp took ", ", 4000000 instructions)"],
    ]) {
        assert!(words.iter().all(|word| line.contains(word)), "{line}: {words:?}");
    }
    // What makes host code later may be told of its memory now.
    counted(&["--switch", "jit@0", "--code-cache", "1M"]);
}

fn a_key_has_the_next_engine_go_on() {
    let mut program = Program::start(&["demo", "--accel", "jit", "--nographic"]);
    program.expect("trimotor> ");
    for engine in ["interp", "jit", "interp"] {
        program.send("\x01e");
        program.expect(&format!("the guest runs on {engine} now: the switch from "));
    }
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
}
