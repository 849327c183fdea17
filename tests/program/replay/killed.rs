//! A recorder that is killed leaves what it wrote.

use super::{Folder, Program, run_to_end};
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use rustix::process::Signal;
use std::fs;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT]).test(what_was_written_is_replayed)
}

fn what_was_written_is_replayed() {
    let folder = Folder::new("replay-killed");
    let log = folder.file("log");
    let (kernel, initrd) = (Guest::CloudKernel.path(), Guest::Shell.path());
    let files = ["run", "--kernel", &kernel, "--initrd", &initrd, "--append", "console=ttyS0 quiet"];
    let mut program = Program::start(&[&files[..], &["--nographic", "--record", &log]].concat());
    program.expect("# ");
    program.send("echo fir''st\n");
    program.expect("first");
    // Somebody looks at the replay while it is still written.
    let early = run_to_end(&["run", "--replay", &log]);
    assert_eq!(early.code, Some(2), "{early:?}");
    assert!(early.errors.contains("still being recorded"), "{}", early.errors);
    let before = fs::metadata(&log).unwrap().len();
    while fs::metadata(&log).unwrap().len() <= before + 200 {
        program.send("echo mo''re\n");
        program.expect("more");
    }
    program.signal(Signal::KILL);
    let killed = program.wait();
    assert_eq!(killed.code, None);
    let whole = fs::read(&log).unwrap();
    for (engine, cut) in [("interp", 0), ("jit", 3)] {
        // Amid a section: what is before it counts.
        fs::write(&log, &whole[..whole.len() - cut]).unwrap();
        let replayed = run_to_end(&["run", "--replay", &log, "--accel", engine]);
        assert_eq!(replayed.code, Some(0), "{engine}: {replayed:?}");
        for says in ["did not come to the end", "the recording is cut, and ends here"] {
            assert!(replayed.errors.contains(says), "{engine}: {}", replayed.errors);
        }
        let (a, b) = (replayed.output.as_bytes(), killed.output.as_bytes());
        assert!(
            a.starts_with(b) || b.starts_with(a),
            "{engine}: {}\n---\n{}",
            replayed.output,
            killed.output
        );
        // The last section may have all that was typed.
        assert!(cut > 0 || replayed.output.contains("first"), "{engine}: {replayed:?}");
    }
}
