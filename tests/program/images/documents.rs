//! The commands of docs/images.md and docs/installer.md run as they stand there.

use super::Folder;
use crate::bios::images;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{QEMU_IMG, Tests};
use crate::support::program::executable;
use std::fs;
use std::path::Path;

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG])
        .test(commands_of_the_document_about_images_work)
        .test_needing(&[JIT, DEBIAN, images::TOOLS], commands_of_the_document_about_installers_work)
}

/// The lines of a document's blocks that are marked `console`, without the prompt.
pub fn commands(document: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if inside => commands.extend(line.strip_prefix("$ ").map(str::to_owned)),
            _ => {}
        }
    }
    commands
}

/// Runs the commands of a document one after another in a folder; returns what each printed, messages last.
pub fn follow(name: &str, least: usize, folder: &Folder) -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let commands = commands(&fs::read_to_string(document).expect("the document"));
    assert!(commands.len() >= least, "{commands:?}");
    let program = executable();
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let mut printed = Vec::new();
    for command in commands {
        let with_path = format!("PATH='{path}'; {command}");
        let output = folder.run(Path::new("sh"), &["-c", &with_path]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{command}`: {}: {errors}", output.status);
        printed.push(format!("{}\n{errors}\n", String::from_utf8_lossy(&output.stdout)));
    }
    printed
}

fn commands_of_the_document_about_images_work() {
    let folder = Folder::new("documents");
    // What the document takes for given: machines of other programs, and a disk that was used.
    folder.qemu_img(&["create", "-q", "-f", "vmdk", "machine.vmdk", "10M"]);
    folder.qemu_img(&["create", "-q", "-f", "vdi", "machine.vdi", "10M"]);
    follow("images.md", 10, &folder);
    folder.qemu_img(&["check", "disk.qcow2"]);
    folder.qemu_img(&["check", "clone.qcow2"]);
}

/// In an installer's place there is a CD whose Linux switches the machine off.
fn commands_of_the_document_about_installers_work() {
    let folder = Folder::new("installer");
    let parts = images::Folder::new();
    let (kernel, initrd) = (Guest::CloudKernel.path(), Guest::PowerOff.path());
    let cd = images::linux_cd(&parts, &kernel, &initrd, "console=tty0");
    fs::copy(cd, folder.path().join("debian.iso")).expect("a copy of the CD");
    follow("installer.md", 2, &folder);
    folder.qemu_img(&["check", "disk.qcow2"]);
}
