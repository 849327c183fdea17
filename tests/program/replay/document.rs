//! The commands of docs/record-and-replay.md run as they stand there.

use crate::images::Folder;
use crate::images::documents::commands;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::{Program, executable};
use std::os::unix::fs::symlink;
use std::path::Path;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT]).test(commands_of_the_document_work)
}

fn commands_of_the_document_work() {
    let folder = Folder::new("record-and-replay");
    let guests = folder.path().join("guests");
    std::fs::create_dir_all(&guests).unwrap();
    for guest in [Guest::Shell, Guest::CloudKernel] {
        let path = guest.path();
        symlink(&path, guests.join(Path::new(&path).file_name().unwrap())).unwrap();
    }
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/record-and-replay.md");
    let commands = commands(&std::fs::read_to_string(document).expect("the document"));
    assert!(commands.len() > 2, "{commands:?}");
    let programs = executable();
    let path =
        format!("{}:{}", programs.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let mut recorded = None;
    for command in &commands {
        let shell = format!("cd '{}' && PATH='{path}' && exec {command}", folder.path().display());
        let mut machine = Program::start_other("sh", &["-c", &shell], &[]);
        if command.contains("--record") {
            machine.expect("# ");
            machine.send("echo $((6*7)) is wrong; poweroff -f\n");
            machine.expect("42 is wrong");
        } else {
            machine.close_input();
        }
        let ended = machine.wait();
        assert_eq!(ended.code, Some(0), "`{command}`: {}", ended.errors);
        let first = recorded.get_or_insert_with(|| ended.output.clone());
        assert!(ended.output == *first, "`{command}`: {}", ended.output);
    }
}
