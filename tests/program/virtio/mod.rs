//! Virtio devices, with Debian's drivers in the guest.

use crate::drives::guest::{Folder, Setup, Shell, Terminal, blank, ide};
use crate::networks::guest::Shell as ProgramShell;
use crate::support::engines::{ENGINES, JIT};
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_devices::serial::SerialBackend;
use trimotor_machine::control::Reply;
use trimotor_machine::{Command, DriveConfig, DriveLimits, DrivePlace, Engine, Media, Medium, Rate, Rates};
use trimotor_storage::MemoryDisk;

const MIB: usize = 1 << 20;
/// Which rings and registers a driver uses.
const MODES: [&str; 4] =
    ["packed=off", "packed=on", "disable-modern=on", "packed=on,disable-legacy=on,vectors=0,num-queues=4"];
/// What a driver says when something is wrong.
const COMPLAINTS: &str =
    "dmesg | grep -iE '(virtio|vd[a-z]|balloon|vport|hwrng).*(error|fail|timed out|bug|warn|broken)'";

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT])
        .each(&ENGINES, a_disk_is_formatted_written_and_read_back)
        .test(each_kind_of_ring_carries_a_file_system)
        .test(two_processors_use_the_queues_of_a_disk)
        .test(a_limited_disk_takes_guest_time)
        .test(the_kernel_finds_its_devices_as_they_are)
        .test(ports_carry_bytes_both_ways)
        .test(a_balloon_gives_memory_back)
        .test(free_memory_goes_back_to_the_host)
        .each(&ENGINES, two_runs_are_the_same_and_a_saved_one_goes_on)
}

fn disk(content: &Arc<MemoryDisk>) -> Vec<(DriveConfig, Option<Medium>)> {
    let mut config = DriveConfig::new("disk", DrivePlace::Unattached, Media::Disk);
    config.serial = Some("TRI-1".to_owned());
    vec![(config, Some(content.clone()))]
}
fn shell(engine: Engine, content: &Arc<MemoryDisk>, devices: Vec<&str>) -> Shell {
    Shell::start_as(
        engine,
        Setup { initrd: Guest::Virtio, drives: disk(content), devices, ..Setup::default() },
    )
}

/// Writes a file system and reads it back.
fn use_disk(shell: &mut Shell) {
    assert_eq!(shell.run("cat /sys/block/vda/serial"), "TRI-1");
    assert_eq!(shell.run("/sbin/mke2fs -q -t ext4 /dev/vda 2>&1"), "");
    shell.run(
        "mount -t ext4 /dev/vda /mnt; dd if=/dev/urandom of=/mnt/random bs=64k count=100 2>/dev/null; sync",
    );
    let sum = shell.run("md5sum < /mnt/random");
    shell.run("umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /mnt");
    assert_eq!(shell.run("md5sum < /mnt/random"), sum);
    assert_eq!(shell.run("umount /mnt; /sbin/e2fsck -fn /dev/vda > /dev/null 2>&1; echo $?"), "0");
    assert_eq!(shell.run("/sbin/blkdiscard -f -z -o 1M -l 1M /dev/vda 2> /dev/null; echo $?"), "0");
    assert_eq!(shell.run("dd if=/dev/vda bs=1M skip=1 count=1 2>/dev/null | tr -d '\\0' | wc -c"), "0");
    assert_eq!(shell.run(COMPLAINTS), "");
}

fn a_disk_is_formatted_written_and_read_back(engine: Engine) {
    let mut shell = shell(engine, &blank(32 * MIB), vec!["virtio-blk-pci,drive=disk"]);
    use_disk(&mut shell);
    shell.power_off();
}

fn each_kind_of_ring_carries_a_file_system() {
    for mode in MODES {
        let device = format!("virtio-blk-pci,drive=disk,{mode}");
        let mut shell = shell(Engine::Jit, &blank(32 * MIB), vec![&device]);
        use_disk(&mut shell);
        shell.power_off();
    }
}

/// The program as a person runs it, with processors on threads of their own.
fn two_processors_use_the_queues_of_a_disk() {
    let folder = Folder::new("virtio-queues");
    let image = folder.path("disk.img");
    for options in ["", ",packed=on"] {
        // An empty one each time.
        std::fs::File::create(&image).and_then(|file| file.set_len(96 << 20)).expect("an image");
        let drive = format!("file={image},format=raw,if=none,id=d");
        let device = format!("virtio-blk-pci,drive=d{options}");
        let options = ["--accel", "jit", "--cpus", "2", "--drive", &drive, "--device", &device];
        let mut shell = ProgramShell::start_with(Guest::Virtio, &options);
        assert_eq!(shell.run("ls /sys/block/vda/mq | wc -l"), "2");
        assert_eq!(shell.run("/sbin/mke2fs -q -t ext4 /dev/vda 2>&1"), "");
        shell.run("mkdir -p /tmp; mount -t tmpfs tmp /tmp; mount -t ext4 /dev/vda /mnt");
        let each = |what: &str| format!("for n in 1 2 3 4; do ({what}) & done; wait; cat /tmp/sum*");
        let write =
            "dd if=/dev/urandom of=/mnt/$n bs=64k count=200 2>/dev/null; md5sum < /mnt/$n > /tmp/sum$n";
        let sums = shell.run(&each(write));
        assert_eq!(sums.lines().count(), 4, "{sums}");
        shell
            .run("umount /mnt; rm /tmp/sum*; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /mnt");
        assert_eq!(shell.run(&each("md5sum < /mnt/$n > /tmp/sum$n")), sums);
        assert_eq!(shell.run("umount /mnt; /sbin/e2fsck -fn /dev/vda > /dev/null 2>&1; echo $?"), "0");
        // Interrupts of each queue, on whatever processor.
        let interrupts = shell.run("grep -E 'virtio[0-9]+-req' /proc/interrupts");
        let used = |line: &str| line.split_whitespace().skip(1).take(2).any(|count| count != "0");
        assert_eq!(interrupts.lines().filter(|line| used(line)).count(), 2, "{interrupts}");
        assert_eq!(shell.run(COMPLAINTS), "");
        shell.power_off();
    }
}

/// The same limit at each controller: 16 MiB at 4 MiB in a second. A tenth of a second's goes at once, and the last request, of 1 MiB at most,
/// is paid for afterwards.
fn a_limited_disk_takes_guest_time() {
    let limit = Rate { per_s: 4 << 20, burst: None };
    let limits =
        DriveLimits { bytes: Rates { total: Some(limit), ..Rates::default() }, ..DriveLimits::default() };
    for (initrd, config, devices, name) in [
        (Guest::Drives, ide("disk", 0, Media::Disk), vec![], "sda"),
        (
            Guest::Virtio,
            DriveConfig::new("disk", DrivePlace::Unattached, Media::Disk),
            vec!["virtio-blk-pci,drive=disk"],
            "vda",
        ),
    ] {
        let run = || {
            let drives = vec![(DriveConfig { limits, ..config.clone() }, Some(blank(16 * MIB) as Medium))];
            let setup = Setup { initrd, drives, devices: devices.clone(), ..Setup::default() };
            let mut shell = Shell::start_as(Engine::Jit, setup);
            let now = "cut -d ' ' -f 1 /proc/uptime";
            let read = format!("{now}; dd if=/dev/{name} of=/dev/null bs=1M 2>/dev/null; {now}");
            let write = format!("dd if=/dev/zero of=/dev/{name} bs=1M count=8 2>/dev/null; sync; {now}");
            let text = shell.run(&format!("{read}; {write}"));
            let times: Vec<f64> = text.lines().map(|line| line.parse().expect("seconds")).collect();
            let (reads, writes) = (times[1] - times[0], times[2] - times[1]);
            println!("{name}: 16 MiB read in {reads:.2} s, 8 MiB written in {writes:.2} s");
            assert!((3.5..4.5).contains(&reads), "{name}: 16 MiB are read in {reads} s");
            assert!((1.5..2.7).contains(&writes), "{name}: 8 MiB are written in {writes} s");
            shell.power_off()
        };
        assert_eq!(run(), run(), "two runs differ");
    }
}

fn the_kernel_finds_its_devices_as_they_are() {
    const CARDS: [&str; 5] = [
        "virtio-blk-pci,drive=disk",
        "virtio-net-pci",
        "virtio-rng-pci",
        "virtio-balloon-pci",
        "virtio-serial-pci",
    ];
    let setup = Setup {
        initrd: Guest::Virtio,
        drives: disk(&blank(4 * MIB)),
        devices: [&CARDS[..], &["virtconsole,chardev=c"]].concat(),
        chardevs: [("c".to_owned(), Box::new(Terminal::default()) as Box<dyn SerialBackend>)].into(),
        ..Setup::default()
    };
    let mut shell = Shell::start_as(Engine::Jit, setup);
    assert_eq!(shell.run("cat /sys/class/misc/hw_random/rng_current"), "virtio_rng.0");
    let (first, second) =
        (shell.run("head -c 100000 /dev/hwrng | md5sum"), shell.run("head -c 100000 /dev/hwrng | md5sum"));
    assert_ne!(first, second);
    let buses = shell.run("/sbin/lspci -vv -d 1af4: 2>&1");
    for wanted in [
        "VirtIO: CommonCfg",
        "VirtIO: Notify",
        "VirtIO: ISR",
        "VirtIO: DeviceCfg",
        "MSI-X: Enable+",
        "Kernel driver in use: virtio-pci",
    ] {
        assert_eq!(buses.matches(wanted).count(), CARDS.len(), "{wanted}: {buses}");
    }
    for complaint in ["access denied", "!!!", "<unassigned>", "[disabled]", "[virtual]"] {
        assert!(!buses.contains(complaint), "{complaint}: {buses}");
    }
    assert_eq!(shell.run("ls -d /sys/bus/virtio/drivers/virtio_*/virtio* | wc -l"), CARDS.len().to_string());
    // Warnings and worse. The chipset has no memory for configuration space, as any of its time, which Linux says.
    let complaints = shell.run("dmesg -r | grep '^<[0-4]>' | grep -v 'fail to add MMCONFIG'");
    assert_eq!(complaints, "");
    shell.power_off();
}

fn ports_carry_bytes_both_ways() {
    let (console, agent) = (Terminal::default(), Terminal::default());
    let ends: [(&str, Box<dyn SerialBackend>); 2] =
        [("c", Box::new(console.clone())), ("a", Box::new(agent.clone()))];
    let chardevs: BTreeMap<_, _> = ends.into_iter().map(|(id, end)| (id.to_owned(), end)).collect();
    let devices = vec![
        "virtio-serial-pci,packed=on",
        "virtconsole,chardev=c",
        "virtserialport,chardev=a,name=org.qemu.guest_agent.0",
    ];
    let setup = Setup { initrd: Guest::Virtio, devices, chardevs, ..Setup::default() };
    let mut shell = Shell::start_as(Engine::Jit, setup);
    assert_eq!(shell.run("cat /sys/class/virtio-ports/vport0p1/name"), "org.qemu.guest_agent.0");
    shell.run("echo from the guest > /dev/vport0p1");
    assert_eq!(agent.said(), "from the guest\n");
    agent.type_in("from the host\n");
    assert_eq!(shell.run("head -n 1 < /dev/vport0p1"), "from the host");
    // More than waits anywhere on the way.
    shell.run("seq 1 30000 > /dev/vport0p1");
    let numbers: String = (1..=30_000).map(|n| format!("{n}\n")).collect();
    assert!(agent.said().ends_with(&numbers), "{} bytes", agent.said().len());
    agent.type_in(&numbers);
    let sum = shell.run("head -n 30000 < /dev/vport0p1 | md5sum");
    assert_eq!(sum, shell.run("seq 1 30000 | md5sum"));
    shell.run("stty -F /dev/hvc0 -echo -opost 2>/dev/null; echo to the console > /dev/hvc0; sleep 1");
    assert!(console.said().contains("to the console"), "{:?}", console.said());
    assert_eq!(shell.run(COMPLAINTS), "");
    shell.power_off();
}

fn balloon(shell: &mut Shell, command: Command) -> trimotor_machine::BalloonStatus {
    let machine = shell.machine();
    let answer = machine.control().send(command);
    shell.pass(2_000_000_000);
    answer.try_take().expect("the machine obeys").expect("there is a balloon");
    let answer = shell.machine().control().send(Command::BalloonStatus);
    shell.pass(1_000_000);
    match answer.try_take() {
        Some(Ok(Reply::Balloon(status))) => status,
        other => panic!("{other:?}"),
    }
}

fn a_balloon_gives_memory_back() {
    let mut shell = shell(Engine::Jit, &blank(MIB), vec!["virtio-balloon-pci,deflate-on-oom=on"]);
    let free = |shell: &mut Shell| -> u64 {
        shell.run("sed -n 's/MemFree: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo").parse().expect("a number")
    };
    let before = free(&mut shell);
    let status = balloon(&mut shell, Command::Balloon(160 << 20));
    // 96 MiB of the 256 are in the balloon.
    assert_eq!((status.target, status.actual), (96 << 8, 96 << 8), "{status:?}");
    assert!(status.given_back >= 96 << 8, "{status:?}");
    let total = status.stats.iter().find(|(name, _)| *name == "total-memory");
    assert!(total.is_some_and(|(_, bytes)| *bytes > 64 << 20), "{status:?}");
    let during = free(&mut shell);
    assert!(before - during > 90 << 10, "{before} {during}");
    let status = balloon(&mut shell, Command::Balloon(256 << 20));
    assert_eq!(status.actual, 0);
    let after = free(&mut shell);
    assert!(after > during + (90 << 10), "{during} {after}");
    // What the guest gets back is whole.
    shell.run("mount -t tmpfs tmp /mnt; dd if=/dev/urandom of=/mnt/x bs=1M count=100 2>/dev/null");
    assert_eq!(shell.run("cat /mnt/x /mnt/x | md5sum"), shell.run("cat /mnt/x /mnt/x | md5sum"));
    assert_eq!(shell.run(COMPLAINTS), "");
    shell.power_off();
}

fn free_memory_goes_back_to_the_host() {
    let device = "virtio-balloon-pci,free-page-reporting=on,free-page-hint=on";
    let mut shell = shell(Engine::Jit, &blank(MIB), vec![device]);
    shell.run(
        "mount -t tmpfs tmp /mnt; dd if=/dev/zero of=/mnt/x bs=1M count=120 2>/dev/null; rm /mnt/x; sleep 5",
    );
    let status = balloon(&mut shell, Command::BalloonStatus);
    assert!(status.given_back > 100 << 8, "reported: {status:?}");
    let hinted = balloon(&mut shell, Command::BalloonHint);
    assert!(hinted.given_back > status.given_back + (60 << 8), "hinted: {hinted:?} after {status:?}");
    assert_eq!(shell.run(COMPLAINTS), "");
    shell.run("dd if=/dev/urandom of=/mnt/x bs=1M count=120 2>/dev/null");
    assert_eq!(shell.run("md5sum < /mnt/x"), shell.run("md5sum < /mnt/x"));
    shell.power_off();
}

fn two_runs_are_the_same_and_a_saved_one_goes_on(engine: Engine) {
    let run = |saves: bool| {
        let content = blank(16 * MIB);
        let devices = vec!["virtio-blk-pci,drive=disk,packed=on", "virtio-rng-pci"];
        let mut shell = shell(engine, &content, devices);
        shell.type_in("dd if=/dev/hwrng of=/dev/vda bs=16k count=100 2>/dev/null; sync; md5sum /dev/vda; echo FINI''SHED\n");
        for _ in 0..30 {
            shell.pass(300_000);
            if saves {
                shell.go_on(engine);
            }
        }
        shell.wait_for("FINISHED");
        let (text, instructions) = shell.power_off();
        (text, instructions, content.content())
    };
    let (first, second, third) = (run(false), run(false), run(true));
    assert!(first.2 == second.2 && first.2 == third.2, "the disks differ");
    assert_eq!((&first.0, first.1), (&second.0, second.1));
    assert_eq!((&first.0, first.1), (&third.0, third.1), "the one that was saved");
}
