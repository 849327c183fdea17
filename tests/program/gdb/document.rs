//! The commands of docs/gdb.md run as they stand there.

use super::GDB;
use super::guests::GCC;
use crate::images::Folder;
use crate::images::documents::commands;
use crate::support::needs::{Tests, free_port};
use crate::support::program::executable;
use std::fs;
use std::path::Path;

pub fn tests() -> Tests {
    Tests::needing(&[GDB, GCC]).test(commands_of_the_document_work)
}

fn commands_of_the_document_work() {
    let folder = Folder::new("gdb-document");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gdb.md");
    let text = fs::read_to_string(document).expect("the document");
    let (_, rest) = text.split_once("```c\n").expect("a kernel");
    let (kernel, _) = rest.split_once("```").expect("its end");
    fs::write(folder.path().join("kernel.c"), kernel).expect("a file");
    let program = executable();
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    // The port of the document may be in use here.
    let port = free_port().to_string();
    let commands = commands(&text);
    assert!(commands.len() >= 4, "{commands:?}");
    let mut shown = String::new();
    for command in commands {
        let with_path = format!("PATH='{path}'; {}", command.replace("1234", &port));
        let output = folder.run(Path::new("sh"), &["-c", &with_path]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{command}`: {}: {errors}", output.status);
        shown += &String::from_utf8_lossy(&output.stdout);
        // What the stub shows goes there.
        shown += &errors;
    }
    for wanted in ["Breakpoint 1, add (a=0, b=1)", "New value = 1", "CPU #0: pc="] {
        assert!(shown.contains(wanted), "no {wanted:?} in {shown}");
    }
}
