//! Saved machines with disks: these must be as they were.

use super::{Folder, Saver, refused, waits_for_a_byte};
use crate::support::needs::{QEMU_IMG, Tests};
use crate::support::program::Program;
use std::fs::{self, File};
use std::process::Command;

pub fn tests() -> Tests {
    Tests::new()
        .test(a_disk_that_was_changed_is_refused)
        .test_needing(&[QEMU_IMG], a_qcow2_disk_stays_as_it_was_saved)
        .test(a_disk_whose_writes_are_thrown_away_is_not_saved)
        .test(media_that_were_changed_are_there_again)
}

fn disk(path: &str) {
    File::create(path).unwrap().set_len(1 << 20).unwrap();
}
/// A guest that waits, with these options beside its own.
fn start(name: &str, more: &[&str]) -> Saver {
    let guest = waits_for_a_byte(name, 4096, "before", "after");
    let fixed = ["run", "--memory", "16M", "--debug-exit", "--kernel", &guest.path()];
    Saver::start("before", &[&fixed[..], more].concat())
}
fn goes_on(file: &str) {
    let mut program = Program::start(&["run", "--restore", file]);
    program.send("x");
    let ended = program.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

fn a_disk_that_was_changed_is_refused() {
    let folder = Folder::new("disk");
    let (image, file) = (folder.file("disk.img"), folder.file("m"));
    disk(&image);
    start("disk", &["--drive", &format!("file={image},format=raw,id=root")]).save(&file);
    goes_on(&file);
    let saved = folder.file("as-it-was");
    let modified = fs::metadata(&image).unwrap().modified().unwrap();
    fs::copy(&image, &saved).unwrap();
    fs::write(&image, vec![1; 1 << 20]).unwrap();
    let restore = ["run", "--restore", &file];
    refused(&restore, &["drive root", &image, "was changed after the machine was saved", "last change"]);
    disk(&image);
    File::options().write(true).open(&image).unwrap().set_len(2 << 20).unwrap();
    refused(&restore, &["drive root", "it had 1048576 bytes and has 2097152"]);
    fs::remove_file(&image).unwrap();
    refused(&restore, &["drive root", &image, "No such file"]);
    fs::rename(&saved, &image).unwrap();
    File::options().write(true).open(&image).unwrap().set_modified(modified).unwrap();
    goes_on(&file);
}

fn a_qcow2_disk_stays_as_it_was_saved() {
    let folder = Folder::new("qcow2");
    let (image, file) = (folder.file("disk.qcow2"), folder.file("m"));
    let created = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", &image, "64M"]).status();
    assert!(created.unwrap().success());
    start("qcow2", &["--drive", &format!("file={image},if=virtio")]).save(&file);
    // Who only goes on changes nothing.
    goes_on(&file);
    goes_on(&file);
    assert!(Command::new("qemu-img").args(["check", "-q", &image]).status().unwrap().success());
}

fn a_disk_whose_writes_are_thrown_away_is_not_saved() {
    let folder = Folder::new("thrown-away");
    let (image, file) = (folder.file("disk.img"), folder.file("m"));
    disk(&image);
    let mut saver =
        start("thrown-away", &["--drive", &format!("file={image},format=raw,snapshot=on,id=root")]);
    saver.client.refuses(&format!("save {file}"), &["drive root has snapshot=on"]);
    assert_eq!(folder.names(), ["disk.img"]);
    saver.quit();
}

fn media_that_were_changed_are_there_again() {
    let folder = Folder::new("media");
    let (one, two, file) = (folder.file("one.iso"), folder.file("two.iso"), folder.file("m"));
    disk(&one);
    disk(&two);
    let mut saver = start("media", &["--cdrom", &one, "--drive", "if=floppy,id=a"]);
    saver.client.obeys(&format!("change ide1-cd0 {two}"));
    saver.save(&file);
    // Only what is in the drive counts.
    fs::remove_file(&one).unwrap();
    let socket = folder.file("s");
    let program = Program::start(&["run", "--restore", &file, "--monitor", &format!("unix:{socket},server")]);
    let mut client = crate::monitor::client::Client::connect(&socket);
    let block = client.ask("info block");
    assert!(block.contains(&two) && block.contains("a"), "{block}");
    client.send(b"quit\n");
    assert_eq!(program.wait().code, Some(0));
    fs::write(&two, "another").unwrap();
    refused(&["run", "--restore", &file], &["drive ide1-cd0", &two, "was changed"]);
}
