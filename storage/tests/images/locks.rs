//! QEMU and we refuse each other's images in use.

use crate::host::{Files, Folder, make, writable};
use crate::qemu;
use std::io::Write;
use std::process::{Command, Stdio};
use trimotor_storage::qcow2::CreateOptions;
use trimotor_storage::{ImageOptions, open};
use trimotor_test_needs::{QEMU_IMG, Tests};

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG])
        .test(qemu_refuses_what_we_write_to)
        .test(we_refuse_what_qemu_writes_to)
        .test(readers_share)
}

fn image(folder: &Folder) -> std::path::PathBuf {
    let image = folder.path("image.qcow2");
    make(&image, &CreateOptions::new(1 << 20));
    image
}

fn qemu_refuses_what_we_write_to() {
    let folder = Folder::new("locks");
    let image = image(&folder);
    let disk = writable(&image);
    let why = qemu::can_write(&image, "qcow2").expect_err("it is in use");
    assert!(why.contains("lock"), "{why}");
    drop(disk);
    qemu::can_write(&image, "qcow2").expect("it is free");
}

fn we_refuse_what_qemu_writes_to() {
    let folder = Folder::new("locks");
    let image = image(&folder);
    let mut command = Command::new("qemu-io");
    command.args(["-f", "qcow2"]).arg(&image).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut writer = command.spawn().expect("qemu-io");
    let input = writer.stdin.as_mut().expect("a pipe");
    writeln!(input, "write 0 512").and_then(|()| input.flush()).expect("qemu-io reads");
    // Its answer says that the image is open.
    let mut byte = [0];
    std::io::Read::read_exact(writer.stdout.as_mut().expect("a pipe"), &mut byte).expect("an answer");
    for options in [ImageOptions::new(&image), ImageOptions::new(&image).read_only()] {
        let error = open(&options, &Files).err().expect("it is in use").to_string();
        assert!(error.contains("image.qcow2") && error.contains("another program"), "{error}");
    }
    let mut shared = ImageOptions::new(&image).read_only();
    shared.share = true;
    open(&shared, &Files).unwrap_or_else(|error| panic!("{error}"));
    drop(writer.stdin.take());
    writer.wait().expect("ends");
    writable(&image);
}

fn readers_share() {
    let folder = Folder::new("locks");
    let image = image(&folder);
    let read =
        || open(&ImageOptions::new(&image).read_only(), &Files).unwrap_or_else(|error| panic!("{error}"));
    let (_one, _other) = (read(), read());
    qemu::img(&["map", "-f", "qcow2", image.to_str().unwrap()]);
    let why = qemu::can_write(&image, "qcow2").expect_err("it is being read");
    assert!(why.contains("lock"), "{why}");
}
