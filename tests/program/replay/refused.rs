//! Recordings that cannot be replayed are refused with the reason, before anything runs.

use super::{Folder, replays};
use crate::snapshots::waits_for_a_byte;
use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::Tests;
use crate::support::program::{Ended, Program, run_to_end};
use crate::support::small_guest::Scratch;
use std::fs;
use trimotor_machine::events::{ExternalEvent, TakenEvent};

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, a_small_guest_is_the_same)
        .test(damaged_recordings_are_refused)
        .test(another_machine_is_refused)
        .test(what_a_recording_must_not_replace_stays)
        .test(a_replay_that_leaves_its_recording_says_where)
}

/// A recorded run of a guest that was typed at, with a disk that it does not look at.
struct Recorded {
    folder: Folder,
    guest: Scratch,
    log: String,
    disk: String,
    ended: Ended,
}

impl Recorded {
    fn new(name: &str) -> Self {
        let folder = Folder::new(&format!("replay-{name}"));
        let guest = waits_for_a_byte("waits", 1 << 20, "[before]", "[after]");
        let (log, disk) = (folder.file("log"), folder.file("disk"));
        fs::write(&disk, vec![1; 1 << 20]).unwrap();
        let mut recorded = Self {
            folder,
            guest,
            log,
            disk,
            ended: Ended { code: None, output: String::new(), errors: String::new() },
        };
        let log = recorded.log.clone();
        let mut program = Program::start(&strs(&recorded.command(&["--record", &log])));
        program.expect("[before]");
        program.send("x");
        program.expect("[after]");
        recorded.ended = program.wait();
        assert_eq!(recorded.ended.code, Some(1), "{:?}", recorded.ended);
        recorded
    }
    fn command(&self, options: &[&str]) -> Vec<String> {
        let (guest, drive) = (self.guest.path(), format!("file={},format=raw", self.disk));
        let own =
            ["run", "--kernel", &guest, "--memory", "16M", "--debug-exit", "--nographic", "--drive", &drive];
        own.iter().chain(options).map(|text| (*text).to_owned()).collect()
    }
    #[track_caller]
    fn refuses(&self, arguments: &[String], says: &str) {
        let ended = run_to_end(&strs(arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.errors.contains("--replay") && ended.errors.contains(says), "{says}: {}", ended.errors);
        assert_eq!(ended.output, "", "nothing ran");
    }
}

fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn a_small_guest_is_the_same(engine: &str) {
    let recorded = Recorded::new(&format!("small-{engine}"));
    replays(&recorded.log, engine, &recorded.ended);
    // The same by the whole command line.
    let again = run_to_end(&strs(&recorded.command(&["--replay", &recorded.log, "--accel", engine])));
    assert_eq!(
        (again.code, &again.output),
        (recorded.ended.code, &recorded.ended.output),
        "{}",
        again.errors
    );
}

fn damaged_recordings_are_refused() {
    let recorded = Recorded::new("damaged");
    let whole = fs::read(&recorded.log).unwrap();
    let replay = ["run", "--replay", &recorded.log].map(str::to_owned);
    let change = |content: &[u8]| fs::write(&recorded.log, content).unwrap();
    for length in [0, 10, 30, 60, whole.len() / 2, whole.len() - 30, whole.len() - 1] {
        change(&whole[..length]);
        let says = if length < 16 { "it is no recording" } else { "" };
        recorded.refuses(&replay, says);
    }
    change(&[&whole[..], b"more"].concat());
    recorded.refuses(&replay, "it is damaged");
    for at in (0..whole.len()).step_by(1 + whole.len() / 40) {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        change(&flipped);
        recorded.refuses(&replay, "");
    }
    change(b"#!/bin/sh\necho this is no recording, but a script\n");
    recorded.refuses(&replay, "it is no recording");
    recorded
        .refuses(&["run", "--replay", &recorded.folder.file("nowhere")].map(str::to_owned), "No such file");
}

fn another_machine_is_refused() {
    let recorded = Recorded::new("other");
    let with = |options: &[&str]| recorded.command(&[options, &["--replay", &recorded.log]].concat());
    for (options, says) in [
        (&["--cpus", "2"][..], "2 processors, and 1 in the recording"),
        (&["--cpu", "x86-64-v3,-avx2"], "without avx2"),
        (&["--serial", "stdio", "--serial", "null"], "isa-serial"),
        (&["--device", "pvpanic"], "pvpanic"),
        (&["--on-reset", "exit"], "--on-reset"),
        (&["--append", "other"], "what is booted differs"),
        (&["--cdrom", &recorded.disk], "drives"),
    ] {
        recorded.refuses(&with(options), says);
    }
    let memory: Vec<_> = with(&[]).iter().map(|word| word.replace("16M", "32M")).collect();
    recorded.refuses(&memory, "bytes of memory");
    // Its content is in the recording, but not its size.
    fs::write(&recorded.disk, vec![1; 2 << 20]).unwrap();
    recorded.refuses(&with(&[]), "it had 1048576 bytes in the recording, and has 2097152");
    // Another program.
    let other = waits_for_a_byte("other", 1 << 20, "[other!]", "[after]");
    fs::copy(&other.0, &recorded.guest.0).unwrap();
    recorded.refuses(&["run", "--replay", &recorded.log].map(str::to_owned), "what is booted differs");
}

fn what_a_recording_must_not_replace_stays() {
    let recorded = Recorded::new("stays");
    let record = |file: &str, options: &[&str]| {
        let ended = run_to_end(&strs(&recorded.command(&[&["--record", file], options].concat())));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.errors
    };
    let text = recorded.folder.file("text");
    fs::write(&text, "a text").unwrap();
    assert!(record(&text, &[]).contains("something else in it"));
    assert_eq!(fs::read(&text).unwrap(), b"a text");
    assert!(record("/dev/null", &[]).contains("no file"));
    let before = fs::read(&recorded.log).unwrap();
    assert!(record(&recorded.log, &["--gdb", "1234"]).contains("--gdb"));
    // A machine that cannot be made replaces nothing.
    record(&recorded.log, &["--cpu", "nothing"]);
    assert!(fs::read(&recorded.log).unwrap() == before);
}

/// What was typed comes a nanosecond later, or never.
fn a_replay_that_leaves_its_recording_says_where() {
    let recorded = Recorded::new("leaves");
    let is_input = |taken: &TakenEvent| matches!(taken.event, ExternalEvent::SerialInput { .. });
    let replay = |change: &dyn Fn(&mut Vec<TakenEvent>)| {
        let mut changed = sections(&recorded.log);
        for section in changed.iter_mut().filter(|section| section.name == "events") {
            let mut events: Vec<TakenEvent> = section.value().unwrap();
            change(&mut events);
            section.content = postcard::to_stdvec(&events).unwrap();
        }
        let log = recorded.folder.file("changed");
        write(&log, &changed);
        let ended = run_to_end(&["run", "--replay", &log]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ended.errors
    };
    let later = replay(&|events| {
        events.iter_mut().filter(|taken| is_input(taken)).for_each(|taken| taken.at.time_ns += 1)
    });
    for says in ["left the recording: at ", " instructions", "vCPU 0", "the log has 1 bytes for COM1 at"] {
        assert!(later.contains(says), "{says}: {later}");
    }
    let never = replay(&|events| events.retain(|taken| !is_input(taken)));
    assert!(never.contains("left the recording: at ") && never.contains("vCPU 0"), "{never}");
}

fn sections(file: &str) -> Vec<trimotor_snapshot::Section> {
    let bytes = fs::read(file).unwrap();
    let (mut reader, mut sections) = (trimotor_snapshot::Reader::new(&bytes[..]).unwrap(), Vec::new());
    while let Some(section) = reader.next().unwrap() {
        sections.push(section);
    }
    sections
}
/// Writes a recording that says that it is whole.
fn write(file: &str, sections: &[trimotor_snapshot::Section]) {
    let mut bytes = 0u64;
    loop {
        let mut writer = trimotor_snapshot::Writer::new(Vec::new()).unwrap();
        for (number, section) in sections.iter().enumerate() {
            let content = if number == 0 { bytes.to_le_bytes().to_vec() } else { section.content.clone() };
            writer.section(&section.name, section.version, &content).unwrap();
        }
        let written = writer.finish().unwrap();
        if written.len() as u64 == bytes {
            return fs::write(file, written).unwrap();
        }
        bytes = written.len() as u64;
    }
}
