//! The program on a host whose file system is full, and on one that cannot read: real file systems and real errors of the kernel.

use super::guest::{Folder, host};
use super::writer::{STRIDE, writer};
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Need, QEMU_IMG, Tests};
use crate::support::program::Program;
use crate::support::small_guest::small_guest;
use trimotor_test_support::needs::program;

/// A file system of the test's own, which nobody else sees.
const UNSHARE: Need = Need {
    name: "unshare",
    check: || {
        let tried = std::process::Command::new("unshare")
            .args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"])
            .output();
        match tried {
            Ok(done) if done.status.success() => Ok(()),
            Ok(done) => Err(format!("unshare cannot mount: {}", String::from_utf8_lossy(&done.stderr))),
            Err(error) => Err(format!("unshare: {error}")),
        }
    },
};
/// Has system calls fail.
const STRACE: Need = Need { name: "strace", check: || program("strace", "strace") };

pub fn tests() -> Tests {
    Tests::new()
        .test_needing(&[UNSHARE, QEMU_IMG], a_full_file_system_pauses_the_machine_until_there_is_room)
        .test_needing(&[STRACE, DEBIAN], linux_sees_an_error_where_the_host_cannot_read)
}

/// Copies a disk into a small file system, fills that, and runs the program there.
const FULL: &str = r#"
set -e
mount -t tmpfs -o size=1m none "$0"
cp "$0.qcow2" "$0/disk.qcow2"
cat /dev/zero > "$0/filler" 2>/dev/null || true
exec "$@"
"#;

fn a_full_file_system_pauses_the_machine_until_there_is_room() {
    let folder = Folder::new("full");
    let place = folder.path("small");
    std::fs::create_dir(&place).expect("a folder");
    host("qemu-img", &["create", "-q", "-f", "qcow2", &format!("{place}.qcow2"), "32M"]);
    let guest = small_guest("full-writer", &writer(1).expect("a program"));
    let image = format!("{place}/disk.qcow2");
    let drive = format!("file={image},format=qcow2");
    let mut program = Program::start_under(
        &["unshare", "-rm", "sh", "-c", FULL, &place],
        &[
            "run",
            "--kernel",
            &guest.path(),
            "--memory",
            "16M",
            "--nographic",
            "--serial",
            "stdio",
            "--drive",
            &drive,
        ],
    );
    program.expect_message("no space left for the disk image; the machine pauses");
    // The test sees the file system through the program.
    let inside = format!("/proc/{}/root{place}", program.id());
    std::fs::remove_file(format!("{inside}/filler")).expect("the filler is there");
    // The machine waits for a person's word: Ctrl-A p.
    program.send("\x01p");
    let written = 3u32;
    program.expect(&format!("{:04X}\n", written - 1));
    // The file is there for as long as somebody has it open; its file system goes with the program.
    let mut image = std::fs::File::open(format!("{inside}/disk.qcow2")).expect("the image is there");
    program.send("\x01x");
    let ended = program.wait();
    assert_eq!(ended.errors.matches("no space left").count(), 1, "one message: {}", ended.errors);
    let kept = folder.path("kept.qcow2");
    let mut copy = std::fs::File::create(&kept).expect("a file");
    std::io::copy(&mut image, &mut copy).expect("the image can be read");
    host("qemu-img", &["check", "-q", &kept]);
    let raw = folder.path("content.raw");
    host("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", &kept, &raw]);
    let found = std::fs::read(&raw).expect("a raw image");
    for n in 0..written {
        let at = (n * STRIDE) as usize * 512;
        let wanted = (1 << 16 | n).to_le_bytes();
        assert!(found[at..at + 512].chunks_exact(4).all(|dword| dword == wanted), "write {n} is lost");
    }
}

fn linux_sees_an_error_where_the_host_cannot_read() {
    let folder = Folder::new("unreadable");
    let (bad, good) = (folder.file("bad.raw", &[0; 1 << 20]), folder.file("good.raw", &[7; 2 << 20]));
    let (bad_drive, good_drive) = (format!("file={bad},format=raw"), format!("file={good},format=raw"));
    // Every read and write of this file fails as one of a broken disk.
    let errors = "inject=pread64,preadv,preadv2,pwrite64,pwritev,pwritev2:error=EIO";
    let calls = "trace=pread64,preadv,preadv2,pwrite64,pwritev,pwritev2";
    let initrd = Guest::Drives.path();
    let mut program = Program::start_under(
        &["strace", "-f", "-qq", "-o", "/dev/null", "-P", &bad, "-e", calls, "-e", errors],
        &[
            "run",
            "--accel",
            "jit",
            "--memory",
            "256M",
            "--nographic",
            "--serial",
            "stdio",
            "--kernel",
            &Guest::FullKernel.path(),
            "--initrd",
            &initrd,
            "--append",
            "console=ttyS0 quiet",
            "--drive",
            &bad_drive,
            "--drive",
            &good_drive,
        ],
    );
    program.expect("MARK-DRIVERS");
    program.expect("# ");
    let mut run = |command: &str| {
        program.send(&format!("echo BE''GIN; {command}; echo DO''NE\n"));
        program.expect("BEGIN");
        let told = program.expect("DONE");
        program.expect("# ");
        told
    };
    // Linux names disks in the order in which it is done with them.
    run(
        "bad=$(cd /sys/block; grep -l '^2048$' sd*/size | cut -d/ -f1); good=$(cd /sys/block; grep -l '^4096$' sd*/size | cut -d/ -f1)",
    );
    let read = run("dd if=/dev/$bad of=/dev/null bs=4k count=1; echo status $?");
    assert!(read.contains("status 1"), "{read}");
    // Linux tells of ten errors in five seconds.
    let write = run("sleep 6; dd if=/dev/zero of=/dev/$bad bs=4k count=1 oflag=direct; echo status $?");
    assert!(write.contains("status 1"), "{write}");
    let said = run("dmesg | grep \"I/O error, dev $bad\"");
    assert!(said.contains("op 0x0:(READ)") && said.contains("op 0x1:(WRITE)"), "{said}");
    // The other disk of the controller goes on.
    let other =
        run("dd if=/dev/$good bs=4k count=1 2>/dev/null | cksum; dmesg | grep -c \"error, dev $good\"");
    let expected = run("head -c 4096 /dev/zero | tr '\\000' '\\007' | cksum; echo 0");
    assert_eq!(other, expected);
    program.send("poweroff -f\n");
    let ended = program.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(ended.errors.matches("Input/output error").count(), 1, "one message: {}", ended.errors);
}
