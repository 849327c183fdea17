//! The commands of docs/snapshots.md run as they stand there.

use crate::images::Folder;
use crate::images::documents::commands;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Need, Tests, program};
use crate::support::program::{Program, executable};
use std::os::unix::fs::symlink;
use std::path::Path;

const SOCAT: Need = Need { name: "socat", check: || program("socat", "socat") };

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT, SOCAT]).test(commands_of_the_document_work)
}

fn commands_of_the_document_work() {
    let folder = Folder::new("snapshots");
    let guests = folder.path().join("guests");
    std::fs::create_dir_all(&guests).unwrap();
    for guest in [Guest::Shell, Guest::CloudKernel] {
        let path = guest.path();
        symlink(&path, guests.join(Path::new(&path).file_name().unwrap())).unwrap();
    }
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/snapshots.md");
    let commands = commands(&std::fs::read_to_string(document).expect("the document"));
    assert!(commands.len() > 4, "{commands:?}");
    let programs = executable();
    let path =
        format!("{}:{}", programs.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let mut booted = None;
    for command in &commands {
        let shell = |command: &str| format!("cd '{}' && PATH='{path}' && {command}", folder.path().display());
        if !command.starts_with("trimotor run") {
            let output = folder.run(Path::new("sh"), &["-c", &shell(command)]);
            assert!(output.status.success(), "`{command}`: {output:?}");
            let answer = String::from_utf8_lossy(&output.stdout);
            assert!(!answer.contains("Error"), "`{command}`: {answer}");
            continue;
        }
        let mut machine = Program::start_other("sh", &["-c", &shell(&format!("exec {command}"))], &[]);
        if command.contains("--restore") {
            machine.send("\n");
            machine.expect("# ");
            machine.send("echo $((6*7)) is right; poweroff -f\n");
            machine.expect("42 is right");
            assert_eq!(machine.wait().code, Some(0), "`{command}`");
        } else {
            machine.expect("# ");
            booted = Some(machine);
        }
    }
    // It was told to quit.
    assert_eq!(booted.expect("a machine was booted").wait().code, Some(0));
}
