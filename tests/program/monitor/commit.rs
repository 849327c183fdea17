//! `commit`: what a disk's image has itself goes into the one below, while the guest writes on.

use super::client::Client;
use crate::drives::writer::{SECTORS, STRIDE, writer};
use crate::snapshots::{Folder, Saver, waits_for_a_byte};
use crate::support::needs::{QEMU_IMG, Tests};
use crate::support::small_guest::small_guest;
use std::fs;
use std::process::Command;

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG])
        .test(what_a_disk_has_goes_into_the_image_below)
        .test(disks_with_nothing_to_commit_are_named)
        .test(an_image_below_that_others_use_is_left_alone)
}

fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output().expect("qemu-img");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The writer's guest on a linked clone, whose content is committed amid its writes.
fn what_a_disk_has_goes_into_the_image_below() {
    let folder = Folder::new("commit");
    let guest = small_guest("writer", &writer(1).expect("a program"));
    let (raw, qcow2) = (folder.file("base.raw"), folder.file("base.qcow2"));
    fs::write(&raw, vec![0xB5; SECTORS as usize * 512]).expect("a file");
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", &raw, &qcow2]);
    for (base, format, temporary) in [(&raw, "raw", false), (&qcow2, "qcow2", false), (&qcow2, "qcow2", true)]
    {
        let clone = folder.file(&format!("{format}-{temporary}.qcow2"));
        qemu_img(&["create", "-q", "-f", "qcow2", "-b", base, "-F", format, &clone, "32M"]);
        let drive = match temporary {
            false => format!("file={clone},format=qcow2,id=root"),
            true => format!("file={base},format=qcow2,id=root,snapshot=on"),
        };
        let mut saver =
            Saver::start("0010\n", &["run", "--memory", "16M", "--kernel", &guest.path(), "--drive", &drive]);
        let answer = saver.client.ask("commit root");
        assert!(answer.starts_with("root: committed to") && answer.contains(base.as_str()), "{answer}");
        saver.program.expect("0040\n");
        let answer = saver.client.ask("commit all");
        assert!(answer.starts_with("root: committed to"), "{answer}");
        // What was written before is in the image below, though the guest writes on.
        saver.program.expect("0060\n");
        saver.quit();
        let content = folder.file("content");
        qemu_img(&["convert", "-f", format, "-O", "raw", base, &content]);
        holds(&content, 0x40);
        if temporary {
            qemu_img(&["check", "-q", base]);
            continue;
        }
        qemu_img(&["check", "-q", &clone]);
        qemu_img(&["convert", "-f", "qcow2", "-O", "raw", &clone, &content]);
        holds(&content, 0x60);
        // A last one has the two equal.
        let mut saver = Saver::start(
            "before",
            &[
                "run",
                "--memory",
                "16M",
                "--kernel",
                &waits_for_a_byte("commit", 4096, "before", "after").path(),
                "--drive",
                &drive,
            ],
        );
        saver.client.ask("commit all");
        saver.quit();
        qemu_img(&["compare", "-f", format, "-F", "qcow2", base, &clone]);
        let map = qemu_img(&["map", "-f", "qcow2", "--output=json", &clone]);
        assert!(!map.contains("\"depth\": 0"), "the clone has nothing itself: {map}");
    }
}
/// The image has the writer's first records.
fn holds(image: &str, records: u32) {
    let content = fs::read(image).expect("a raw image");
    for n in 0..=records {
        let at = (n * STRIDE % SECTORS) as usize * 512;
        let wanted = (1 << 16 | n).to_le_bytes().repeat(128);
        assert!(content[at..at + 512] == wanted, "record {n}");
    }
}

fn disks_with_nothing_to_commit_are_named() {
    let folder = Folder::new("commit-nothing");
    let (raw, alone) = (folder.file("disk.raw"), folder.file("alone.qcow2"));
    fs::write(&raw, vec![0; 1 << 20]).expect("a file");
    qemu_img(&["create", "-q", "-f", "qcow2", &alone, "1M"]);
    let guest = waits_for_a_byte("commit-nothing", 4096, "before", "after");
    let drives = [format!("file={raw},format=raw,id=plain"), format!("file={alone},id=alone")];
    let mut saver = Saver::start(
        "before",
        &["run", "--memory", "16M", "--kernel", &guest.path(), "--drive", &drives[0], "--drive", &drives[1]],
    );
    saver.client.refuses("commit plain", &["drive plain", "not qcow2"]);
    saver.client.refuses("commit alone", &["drive alone", "no other one"]);
    saver.client.refuses("commit gone", &["no disk \"gone\"", "info block"]);
    saver.client.refuses("commit all", &["nothing to commit"]);
    saver.client.refuses("commit", &["or all"]);
    saver.quit();
}

fn an_image_below_that_others_use_is_left_alone() {
    let folder = Folder::new("commit-used");
    let base = folder.file("base.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", &base, "32M"]);
    let clones = ["one", "two"].map(|name| {
        let clone = folder.file(&format!("{name}.qcow2"));
        qemu_img(&["create", "-q", "-f", "qcow2", "-b", &base, "-F", "qcow2", &clone]);
        clone
    });
    let guest = small_guest("writer", &writer(1).expect("a program"));
    let mut savers = clones.each_ref().map(|clone| {
        let drive = format!("file={clone},id=root");
        Saver::start("0010\n", &["run", "--memory", "16M", "--kernel", &guest.path(), "--drive", &drive])
    });
    let before = fs::read(&base).expect("a file");
    savers[0].client.refuses("commit all", &["drive root", &base]);
    savers[0].program.expect("0040\n");
    assert!(fs::read(&base).expect("a file") == before);
    // Snapshots stand on what is below.
    let Saver { client, .. } = &mut savers[0];
    let client: &mut Client = client;
    client.obeys("savevm s");
    client.refuses("commit root", &["snapshots", "delvm"]);
    client.obeys("delvm s");
    let [first, second] = savers;
    second.quit();
    let mut first = first;
    assert!(first.client.ask("commit all").contains("committed"));
    first.quit();
    for image in clones.iter().chain([&base]) {
        qemu_img(&["check", "-q", image]);
    }
}
