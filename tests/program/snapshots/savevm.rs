//! `savevm`, `loadvm`, `delvm`, `info snapshots` and `--loadvm`: machines in the snapshots of their disks, with `qemu-img` as
//! the judge of the images.

use super::{Folder, Saver, refused, waits_for_a_byte};
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{QEMU_IMG, Tests};
use crate::support::program::Program;
use std::process::Command;

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG])
        .each(&ENGINE_NAMES, a_machine_goes_back_to_its_snapshot)
        .test_needing(&[JIT], a_snapshot_is_listed_and_gone_on_with_in_another_run)
        .test(disks_that_cannot_have_snapshots_are_named)
        .test(what_is_no_snapshot_of_the_machine_is_refused)
        .test_needing(&[DEBIAN, JIT], linux_goes_back_with_its_file_system)
}

fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output().expect("qemu-img");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
fn disk(folder: &Folder, name: &str, size: &str) -> String {
    let image = folder.file(name);
    qemu_img(&["create", "-q", "-f", "qcow2", &image, size]);
    image
}

/// The count of instructions that `info status` tells.
fn instructions(saver: &mut Saver) -> u64 {
    let status = saver.client.ask("info status");
    let count = status.lines().find_map(|line| line.strip_prefix("instructions: ")).expect("a count");
    count.parse().expect("a number")
}

fn a_machine_goes_back_to_its_snapshot(engine: &str) {
    let folder = Folder::new(&format!("savevm-{engine}"));
    let (one, two) = (disk(&folder, "one.qcow2", "64M"), disk(&folder, "two.qcow2", "1G"));
    let guest = waits_for_a_byte("savevm", 1 << 20, "before", "after");
    let drives = [format!("file={one},if=virtio"), format!("file={two},id=second")];
    let mut saver = Saver::start(
        "before",
        &[
            "run",
            "--memory",
            "16M",
            "--debug-exit",
            "--icount",
            "--accel",
            engine,
            "--kernel",
            &guest.path(),
            "--drive",
            &drives[0],
            "--drive",
            &drives[1],
        ],
    );
    saver.client.obeys("stop");
    saver.client.obeys("savevm \"at the wait\"");
    let then = instructions(&mut saver);
    let registers = saver.client.ask("info registers");
    // It waits on, by other instructions each time.
    saver.client.obeys("cont");
    saver.client.ask_until("info status", |status| !status.contains(&format!("instructions: {then}")));
    saver.client.obeys("stop");
    assert!(instructions(&mut saver) > then);
    saver.client.obeys("loadvm \"at the wait\"");
    assert_eq!(instructions(&mut saver), then);
    assert_eq!(saver.client.ask("info registers"), registers);
    let list = saver.client.ask("info snapshots");
    assert!(list.contains("at the wait") && list.contains("MiB") && !list.contains("only"), "{list}");
    saver.client.refuses("loadvm other", &["there is no snapshot \"other\""]);
    // While it runs, too.
    saver.client.obeys("cont");
    saver.client.obeys("loadvm 1");
    for image in [&one, &two] {
        let list = qemu_img(&["snapshot", "-U", "-l", image]);
        assert!(list.contains("at the wait"), "{list}");
    }
    saver.client.obeys("savevm other");
    saver.client.obeys("delvm \"at the wait\"");
    let list = saver.client.ask("info snapshots");
    assert!(list.contains("other") && !list.contains("at the wait"), "{list}");
    saver.program.send("x");
    let ended = saver.program.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for image in [&one, &two] {
        qemu_img(&["check", "-q", image]);
    }
}

fn a_snapshot_is_listed_and_gone_on_with_in_another_run() {
    let folder = Folder::new("loadvm");
    let image = disk(&folder, "disk.qcow2", "64M");
    let guest = waits_for_a_byte("loadvm", 3 << 20, "before", "after");
    let drive = format!("file={image}");
    let run = ["run", "--memory", "16M", "--debug-exit", "--kernel", &guest.path(), "--drive", &drive];
    let mut saver = Saver::start("before", &run);
    saver.client.obeys("savevm booted");
    let said = saver.client.ask("savevm");
    assert!(said.starts_with("snapshot vm-20"), "{said}");
    saver.client.obeys(&format!("delvm {}", said.trim_start_matches("snapshot ")));
    saver.quit();
    let list = qemu_img(&["snapshot", "-l", &image]);
    let line = list.lines().find(|line| line.contains("booted")).expect("the snapshot");
    assert!(line.contains("MiB") && line.contains("00:00:"), "{line}");
    qemu_img(&["check", "-q", &image]);
    for engine in ["interp", "jit"] {
        let mut program = Program::start(&[&run[..], &["--loadvm", "booted", "--accel", engine]].concat());
        program.send("x");
        let ended = program.wait();
        assert_eq!((ended.code, ended.output.as_str()), (Some(1), "after"), "{ended:?}");
        qemu_img(&["check", "-q", &image]);
    }
    // QEMU's tools take it away again.
    qemu_img(&["snapshot", "-d", "booted", &image]);
    qemu_img(&["check", "-q", &image]);
    refused(&[&run[..], &["--loadvm", "booted"]].concat(), &["--loadvm booted", "there is no snapshot"]);
}

fn disks_that_cannot_have_snapshots_are_named() {
    let folder = Folder::new("savevm-raw");
    let image = disk(&folder, "disk.qcow2", "64M");
    let raw = folder.file("raw.img");
    std::fs::write(&raw, vec![0; 1 << 20]).expect("a file");
    let guest = waits_for_a_byte("savevm-raw", 4096, "before", "after");
    let fixed = ["run", "--memory", "16M", "--kernel", &guest.path()];
    let qcow2 = format!("file={image},id=good");
    for (drive, words) in [
        (format!("file={raw},format=raw,id=plain"), &["drive plain can be written", "qcow2"][..]),
        (format!("file={raw},format=raw,id=plain,readonly=on"), &[]),
        (format!("file={image},id=temporary,snapshot=on"), &["drive temporary has snapshot=on"]),
    ] {
        let drives: &[&str] = if drive.contains("snapshot") {
            &["--drive", &drive]
        } else {
            &["--drive", &qcow2, "--drive", &drive]
        };
        let mut saver = Saver::start("before", &[&fixed[..], drives].concat());
        match words {
            [] => saver.client.obeys("savevm s"),
            words => saver.client.refuses("savevm s", words),
        }
        saver.quit();
    }
    let mut saver = Saver::start("before", &fixed);
    saver.client.refuses("savevm s", &["no disk that can be written", "`save FILE`"]);
    saver.client.refuses("loadvm", &["info snapshots"]);
    saver.quit();
}

fn what_is_no_snapshot_of_the_machine_is_refused() {
    let folder = Folder::new("loadvm-other");
    let image = disk(&folder, "disk.qcow2", "64M");
    let guest = waits_for_a_byte("loadvm-other", 4096, "before", "after");
    let drive = format!("file={image}");
    let run = |memory: &str, more: &[&str]| {
        let kernel = guest.path();
        let all = [&["run", "--memory", memory, "--kernel", &kernel, "--drive", &drive], more].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let cd = image_of_cd(&folder);
    let line = run("16M", &["--cdrom", &cd]);
    let mut saver = Saver::start("before", &line.iter().map(String::as_str).collect::<Vec<_>>());
    saver.client.obeys("savevm s");
    saver.client.obeys("eject ide1-cd0");
    saver.client.refuses("loadvm s", &["drive ide1-cd0 had", "change ide1-cd0"]);
    saver.quit();
    qemu_img(&["snapshot", "-c", "plain", &image]);
    for (memory, more, says) in [
        ("32M", &["--loadvm", "s"][..], "memory in bytes"),
        ("16M", &["--loadvm", "s", "--cpus", "2"], "vCPUs"),
        ("16M", &["--loadvm", "s", "--cpu", "x86-64-v3,-avx2"], "avx2"),
        ("16M", &["--loadvm", "s", "--icount"], "guest time"),
        ("16M", &["--loadvm", "s", "--device", "virtio-rng-pci"], "devices"),
        ("16M", &["--loadvm", "plain"], "without a machine"),
        ("16M", &["--loadvm", "gone"], "there is no snapshot"),
        ("16M", &["--loadvm", "s", "--restore", "m"], "--restore"),
    ] {
        let line = run(memory, more);
        refused(&line.iter().map(String::as_str).collect::<Vec<_>>(), &[says]);
    }
    qemu_img(&["check", "-q", &image]);
}
/// A file that can be a CD.
fn image_of_cd(folder: &Folder) -> String {
    let cd = folder.file("cd.iso");
    std::fs::write(&cd, vec![0; 1 << 20]).expect("a file");
    cd
}

/// A file system that is written to after the snapshot is what it was, in memory and on the disk.
fn linux_goes_back_with_its_file_system() {
    let folder = Folder::new("savevm-linux");
    let image = disk(&folder, "disk.qcow2", "256M");
    let (kernel, initrd) = (Guest::FullKernel.path(), Guest::Drives.path());
    let drive = format!("file={image}");
    let boot = [
        "run",
        "--memory",
        "256M",
        "--accel",
        "jit",
        "--kernel",
        &kernel,
        "--initrd",
        &initrd,
        "--append",
        "console=ttyS0 quiet",
        "--drive",
        &drive,
    ];
    let mut saver = Saver::start("# ", &boot);
    let program = &mut saver.program;
    program.send("/sbin/mke2fs -q -t ext4 /dev/sda && mount -t ext4 /dev/sda /mnt && echo MOUN''TED\n");
    program.expect("MOUNTED");
    program.send("echo first >/mnt/file; sync; echo lost >/mnt/unsynced; echo WRI''TTEN\n");
    program.expect("WRITTEN");
    saver.client.obeys("savevm s");
    let program = &mut saver.program;
    program.send(
        "for i in $(seq 200); do echo second$i >/mnt/file$i; done; rm /mnt/file; sync; echo CHAN''GED\n",
    );
    program.expect("CHANGED");
    saver.client.obeys("loadvm s");
    const LOOK: &str = "cat /mnt/file /mnt/unsynced; ls /mnt | grep -c file; \
        umount /mnt && /sbin/e2fsck -fn /dev/sda >/dev/null 2>&1; echo CHECK''ED $?; poweroff -f\n";
    let ended = |program: &mut Program| {
        let text = program.expect("CHECKED 0");
        assert!(text.contains("first") && text.contains("lost") && text.contains("\n1\r\n"), "{text}");
    };
    saver.program.send(LOOK);
    ended(&mut saver.program);
    assert_eq!(saver.program.wait().code, Some(0));
    qemu_img(&["check", "-q", &image]);
    // And in another run.
    let mut program = Program::start(&[&boot[..], &["--nographic", "--loadvm", "s"]].concat());
    program.send(LOOK);
    ended(&mut program);
    assert_eq!(program.wait().code, Some(0));
    qemu_img(&["check", "-q", &image]);
}
