//! Saves that do not come to their end: the program is killed, the host is full, somebody else saves. The file that was there
//! is whole, and the guest is unharmed.

use super::{Folder, Saver, waits_for_a_byte};
use crate::support::needs::{NAMESPACES, Tests};
use crate::support::program::Program;
use rustix::process::Signal;
use std::fs;
use std::time::Duration;

/// How often the program is killed, unless `TRIMOTOR_KILLS` says it.
const KILLS: u32 = 10;
/// What the guest fills with numbers, which cannot be packed.
const FILLED: u32 = 48 << 20;

pub fn tests() -> Tests {
    Tests::new()
        .test(a_killed_save_leaves_the_old_file_whole)
        .test_needing(&[NAMESPACES], a_full_host_leaves_the_old_file_whole)
        .test(of_two_saves_at_a_time_one_is_refused)
}

/// A guest whose memory is full of numbers.
fn start(name: &str, start: impl FnOnce(&[&str]) -> Program) -> Saver {
    let guest = waits_for_a_byte(name, FILLED, "filled", "after");
    let arguments = ["run", "--memory", "64M", "--debug-exit", "--kernel", &guest.path()];
    Saver::start_by(start, "filled", &arguments)
}
/// The guest in a file finds its memory as it was.
fn is_whole(file: &str) {
    let mut program = Program::start(&["run", "--restore", file]);
    program.send("x");
    let ended = program.wait();
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), "after"), "{ended:?}");
}

fn a_killed_save_leaves_the_old_file_whole() {
    let kills = std::env::var("TRIMOTOR_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let folder = Folder::new("killed");
    let file = folder.file("m");
    start("killed", Program::start).save(&file);
    for kill in 0..kills {
        let mut saver = start("killed", Program::start);
        saver.client.send(format!("save {file}\n").as_bytes());
        // Any moment will do: each is one at which a program may be killed.
        std::thread::sleep(Duration::from_millis(u64::from(kill * 37 % 400)));
        saver.program.signal(Signal::KILL);
        saver.program.wait();
        is_whole(&file);
    }
    // What a killed save has left is in nobody's way.
    start("killed", Program::start).save(&file);
    assert_eq!(folder.names(), ["m"]);
}

fn a_full_host_leaves_the_old_file_whole() {
    let folder = Folder::new("full");
    let file = folder.file("m");
    // Room for one file, and half of another.
    let mount =
        format!("mount -t tmpfs -o size={} tmpfs {} && exec \"$@\"", FILLED / 2 * 3, folder.file("."));
    let launcher = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
    let mut saver = start("full", |arguments| Program::start_under(&launcher, arguments));
    saver.client.obeys(&format!("save {file}"));
    // The file is seen by programs of that namespace only.
    let there = format!("/proc/{}/root{file}", saver.program.id());
    let bytes = fs::read(&there).unwrap();
    for _ in 0..3 {
        saver.client.refuses(&format!("save {file}"), &[&file, "No space left"]);
        assert!(fs::read(&there).unwrap() == bytes);
        assert!(!fs::exists(format!("{there}.part")).unwrap());
    }
    let copy = folder.file("copy");
    fs::write(&copy, bytes).unwrap();
    is_whole(&copy);
    assert!(saver.client.ask("info status").starts_with("VM status: running"));
    saver.program.send("x");
    assert_eq!(saver.program.wait().code, Some(1), "the guest goes on");
}

fn of_two_saves_at_a_time_one_is_refused() {
    let folder = Folder::new("two");
    let (first, second) = (folder.file("first"), folder.file("second"));
    let mut saver = start("two", Program::start);
    let mut other = crate::monitor::client::Client::connect(&saver.socket());
    // One of them may be done before the other begins.
    let mut rounds = 0;
    loop {
        saver.client.begin(&format!("save {first}"));
        let answers = [other.ask(&format!("save {second}")), saver.client.end()];
        let refused: Vec<_> = answers.iter().filter(|answer| !answer.is_empty()).collect();
        if let [one] = refused[..] {
            assert!(one.contains("being saved already"), "{one}");
            break;
        }
        assert!(refused.is_empty(), "{answers:?}");
        rounds += 1;
        assert!(rounds < 100, "two saves never met");
    }
    for (client, file) in [(&mut saver.client, &first), (&mut other, &second)] {
        client.obeys(&format!("save {file}"));
        is_whole(file);
    }
    assert_eq!(folder.names(), ["first", "second"]);
    saver.quit();
}
