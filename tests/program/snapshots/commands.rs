//! Saving and restoring guests of a few instructions: what goes on, and what is refused.
//!
//! `fixtures/` has files that earlier builds saved, which all later ones must read. `TRIMOTOR_SAVE_FIXTURE=NAME` adds one by the present build: do so
//! where the format or a state has changed, and keep the others.

use super::{Folder, Saver, refused, waits_for_a_byte};
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::needs::Tests;
use crate::support::program::Program;
use std::fs;
use std::path::Path;
use trimotor_firmware::demo::PROMPT;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, a_machine_goes_on_where_it_was_saved)
        .test_needing(&[JIT], a_machine_goes_on_on_another_engine)
        .test(a_machine_that_was_restored_is_saved_again)
        .test(the_demo_is_saved_and_goes_on)
        .test(only_what_is_around_the_machine_is_given_anew)
        .test(what_is_no_saved_machine_is_refused)
        .test(a_damaged_file_is_refused_with_its_section)
        .test(a_guest_goes_on_whose_kernel_has_gone)
        .test_needing(&[JIT], files_of_earlier_builds_go_on)
}

/// A machine that has written "before" and waits for a byte, in a file.
fn saved(folder: &Folder, name: &str, more: &[&str]) -> String {
    let guest = waits_for_a_byte(name, 1 << 20, "before", "after");
    let fixed = ["run", "--memory", "16M", "--debug-exit", "--kernel", &guest.path()];
    let file = folder.file(name);
    Saver::start("before", &[&fixed[..], more].concat()).save(&file);
    file
}
/// Has it go on, and ends it by the byte that it waits for.
#[track_caller]
fn goes_on(file: &str, more: &[&str]) {
    let mut program = Program::start(&[&["run", "--restore", file], more].concat());
    program.send("x");
    let ended = program.wait();
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), "after"), "{ended:?}");
}

fn a_machine_goes_on_where_it_was_saved(engine: &str) {
    let folder = Folder::new(&format!("goes-on-{engine}"));
    let file = saved(&folder, "m", &["--accel", engine]);
    assert_eq!(folder.names(), ["m"], "nothing is left beside it");
    // As often as wanted.
    goes_on(&file, &["--accel", engine]);
    goes_on(&file, &["--accel", engine]);
    let counted = saved(&folder, "counted", &["--accel", engine, "--icount"]);
    goes_on(&counted, &["--accel", engine]);
}

fn a_machine_goes_on_on_another_engine() {
    let folder = Folder::new("engines");
    for (from, to) in [("interp", "jit"), ("jit", "interp")] {
        goes_on(&saved(&folder, from, &["--accel", from]), &["--accel", to]);
    }
    let four = saved(&folder, "four", &["--accel", "jit", "--cpus", "4"]);
    goes_on(&four, &["--accel", "interp"]);
}

fn a_machine_that_was_restored_is_saved_again() {
    let folder = Folder::new("again");
    let file = saved(&folder, "m", &[]);
    let (again, socket) = (folder.file("again"), folder.file("s"));
    let monitor = format!("unix:{socket},server");
    let program = Program::start(&["run", "--restore", &file, "--monitor", &monitor]);
    let mut client = crate::monitor::client::Client::connect(&socket);
    client.obeys("stop");
    client.obeys(&format!("save {again}"));
    client.refuses("save", &["booted.machine"]);
    client.refuses("save /nonexistent/m", &["/nonexistent/m", "No such file"]);
    client.send(b"quit\n");
    assert_eq!(program.wait().code, Some(0));
    goes_on(&again, &[]);
}

fn the_demo_is_saved_and_goes_on() {
    let folder = Folder::new("demo");
    let file = folder.file("m");
    Saver::start(PROMPT, &["demo", "--memory", "32M"]).save(&file);
    let mut program = Program::start(&["run", "--restore", &file]);
    program.send("\r");
    program.expect(PROMPT);
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
}

fn only_what_is_around_the_machine_is_given_anew() {
    let folder = Folder::new("options");
    let file = saved(&folder, "m", &["--cpus", "2"]);
    let restore = |more: &[&'static str]| [&["run", "--restore", &file], more].concat();
    for (more, option) in [
        (&["--memory", "32M"][..], "--memory: "),
        (&["--cpus", "2"], "--cpus: "),
        (&["--cpu", "max"], "--cpu: "),
        (&["--kernel", "vmlinuz"], "--kernel: "),
        (&["--drive", "file=d"], "--drive: "),
        (&["--nic", "user"], "--nic: "),
        (&["--icount"], "--icount: "),
        (&["disk.img"], "an image: "),
    ] {
        refused(&restore(more), &[option, "the saved machine's own counts"]);
    }
    refused(&restore(&["--serial", "null", "--serial", "null"]), &["1 serial ports", "given 2 times"]);
    refused(&restore(&["--type", "a@5"]), &["@text:"]);
    refused(&["lockstep", "--restore", &file], &["--restore and --loadvm: "]);
    let log = folder.file("log");
    let to_log = format!("file:{log}");
    let mut arguments = restore(&["--timeout", "1s", "--serial"]);
    arguments.push(&to_log);
    let mut program = Program::start(&arguments);
    program.close_input();
    assert_eq!(program.wait().code, Some(124));
    assert!(fs::exists(&log).unwrap());
}

fn what_is_no_saved_machine_is_refused() {
    let folder = Folder::new("others");
    let text = folder.file("text");
    fs::write(&text, "a text").unwrap();
    for (path, says) in [
        (text.as_str(), "it is no saved machine"),
        ("/dev/null", "it is no file"),
        ("/dev/zero", "it is no file"),
        ("/", "it is no file"),
        ("/nonexistent", "No such file"),
    ] {
        refused(&["run", "--restore", path], &[&format!("--restore {path}: "), says]);
    }
}

fn a_damaged_file_is_refused_with_its_section() {
    let folder = Folder::new("damaged");
    let bytes = fs::read(saved(&folder, "m", &[])).unwrap();
    let bad = folder.file("bad");
    let check = |bytes: &[u8], says: &[&str]| {
        fs::write(&bad, bytes).unwrap();
        refused(&["run", "--restore", &bad], &[&[bad.as_str()], says].concat());
    };
    let find = |name: &str| bytes.windows(name.len()).position(|part| part == name.as_bytes()).unwrap();
    let flipped = |at: usize| {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        flipped
    };
    check(&flipped(18), &["header"]);
    check(&flipped(find("vcpu 0") + 20), &["section \"vcpu 0\": its checksum is wrong"]);
    check(&flipped(find("device ")), &["wrong checksum"]);
    check(&flipped(bytes.len() - 100), &["checksum"]);
    for part in 0..40 {
        check(&bytes[..bytes.len() * part / 40], &[if part == 0 { "no saved machine" } else { "truncated" }]);
    }
}

fn a_guest_goes_on_whose_kernel_has_gone() {
    let folder = Folder::new("gone");
    // The guest's file goes with the function that makes it.
    let file = saved(&folder, "m", &[]);
    let mut program = Program::start(&["run", "--restore", &file]);
    program.expect_message("cannot start over");
    program.send("x");
    assert_eq!(program.wait().code, Some(1));
}

fn files_of_earlier_builds_go_on() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/snapshots/fixtures");
    if let Ok(name) = std::env::var("TRIMOTOR_SAVE_FIXTURE") {
        let guest = waits_for_a_byte("fixture", 4096, "before", "after");
        let (path, file) = (guest.path(), fixtures.join(format!("{name}.machine")));
        let arguments =
            ["run", "--memory", "8M", "--debug-exit", "--cpu", "x86-64-v2", "--cpus", "2", "--kernel", &path];
        // From a folder that all hosts have, whose name is in the file.
        let start = |arguments: &[&str]| Program::start_under(&["env", "--chdir=/"], arguments);
        Saver::start_by(start, "before", &arguments).save(&file.to_string_lossy());
    }
    let files: Vec<_> = fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        for engine in ["interp", "jit"] {
            goes_on(&file.to_string_lossy(), &["--accel", engine]);
        }
    }
}
