//! Linux with disks and networks, typed input and commands of a monitor: recorded on one engine, replayed on each.

use super::{Folder, Program, replays};
use crate::monitor::client::{Client, connect};
use crate::networks::files::{self, bytes, md5};
use crate::networks::guest::Shell;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Case, Tests};
use crate::support::small_guest::Scratch;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
const CPUS: [Case<&str>; 2] =
    [Case { name: "one", needs: &[], value: "1" }, Case { name: "two", needs: &[], value: "2" }];

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT])
        .each(&CPUS, virtio_disk_and_network_are_the_same_on_each_engine)
        .test(e1000_and_commands_of_a_monitor_are_the_same)
        .test(ide_and_changed_discs_are_the_same)
        .test(a_machine_that_was_saved_goes_on_the_same)
}

/// Files come from a server, and go to a disk and back. Meanwhile somebody looks at the machine all the time, which ends the
/// vCPUs' runs wherever they are: a replay knows nothing of it.
fn virtio_disk_and_network_are_the_same_on_each_engine(cpus: &str) {
    let folder = Folder::new(&format!("replay-virtio-{cpus}"));
    let (disk, log) = (folder.file("disk.img"), folder.file("log"));
    let content = bytes(12 * MIB);
    fs::write(&disk, &content).unwrap();
    let (sent, disk_sum) = (bytes(4 * MIB + 77), md5(&content));
    let port = files::http(vec![("/big".to_owned(), sent.clone())]);
    let drive = format!("file={disk},if=virtio,format=raw");
    let network = ["--netdev", "user,id=n", "--device", "virtio-net-pci,netdev=n"];
    let socket = Scratch::new("m.sock");
    let monitor = format!("unix:{},server", socket.path());
    let options =
        ["--accel", "jit", "--cpus", cpus, "--record", &log, "--drive", &drive, "--monitor", &monitor];
    let mut shell = Shell::start_with(Guest::Virtio, &[&options[..], &network].concat());
    let mut looks = connect(&socket.path());
    let observer = std::thread::spawn(move || look_all_the_time(&mut looks));
    assert!(shell.run("md5sum < /dev/vda").contains(&disk_sum));
    shell.must("ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0");
    let fetched = shell.run(&format!("wget -q -O /tmp/big http://10.0.2.2:{port}/big; md5sum < /tmp/big"));
    assert!(fetched.contains(&md5(&sent)), "{fetched}");
    shell.must("/sbin/mke2fs -q -t ext4 /dev/vda && mount -t ext4 /dev/vda /mnt && cp /tmp/big /mnt && sync");
    shell.must("umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /mnt");
    assert!(shell.run("md5sum < /mnt/big").contains(&md5(&sent)));
    let recorded = shell.power_off();
    assert!(observer.join().unwrap() > 100);
    // The disk is another one by now, or gone: what was read from it is in the recording.
    assert!(fs::read(&disk).unwrap() != content);
    for engine in ["jit", "interp"] {
        replays(&log, engine, &recorded);
        _ = fs::remove_file(&disk);
    }
}

/// Asks for the machine's state until it ends; how many times.
fn look_all_the_time(monitor: &mut UnixStream) -> usize {
    let mut answer = [0; 4096];
    let asked = std::iter::from_fn(|| {
        monitor.write_all(b"info status\n").ok()?;
        monitor.read(&mut answer).ok().filter(|read| *read > 0)
    });
    asked.count()
}

/// The guest's network goes away and comes back, keys are pressed, and an NMI comes.
fn e1000_and_commands_of_a_monitor_are_the_same() {
    let folder = Folder::new("replay-e1000");
    let (log, socket) = (folder.file("log"), Scratch::new("m.sock"));
    let monitor = format!("unix:{},server", socket.path());
    let network = ["--netdev", "user,id=net0", "--device", "e1000,netdev=net0"];
    let options = ["--accel", "jit", "--record", &log, "--monitor", &monitor];
    let mut shell = Shell::start(&[&options[..], &network].concat());
    let mut client = Client::connect(&socket.path());
    shell.up();
    // Else the guest would give up before its peers could answer.
    let began = Instant::now();
    shell.must("sleep 2");
    assert!(began.elapsed() > Duration::from_millis(1900), "a rest takes as long as it says");
    shell.ping("10.0.2.2");
    client.obeys("set_link net0 off");
    shell.must("while [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do sleep 1; done");
    client.obeys("stop");
    client.obeys("set_link net0 on");
    client.obeys("cont");
    client.obeys("sendkey a");
    client.obeys("nmi");
    shell.must("until dmesg | grep -q NMI; do sleep 1; done");
    shell.ping("10.0.2.2");
    client.obeys("system_powerdown");
    shell.must("dmesg | grep -q NMI");
    let recorded = shell.power_off();
    for engine in ["jit", "interp"] {
        replays(&log, engine, &recorded);
    }
}

/// Discs are taken out and put in.
fn ide_and_changed_discs_are_the_same() {
    let folder = Folder::new("replay-ide");
    let (disk, log, socket) = (folder.file("disk.img"), folder.file("log"), Scratch::new("m.sock"));
    let discs = ["first.iso", "second.iso"].map(|name| folder.file(name));
    fs::write(&disk, bytes(2 * MIB)).unwrap();
    let contents = [bytes(MIB), bytes(2 * MIB)[MIB / 2..][..MIB].to_vec()];
    for (disc, content) in discs.iter().zip(&contents) {
        fs::write(disc, content).unwrap();
    }
    let (monitor, drive) =
        (format!("unix:{},server", socket.path()), format!("file={disk},format=raw,snapshot=on"));
    let cd = format!("file={},media=cdrom,id=cd", discs[0]);
    let options = ["--record", &log, "--monitor", &monitor, "--drive", &drive, "--drive", &cd];
    let mut shell = Shell::start_with(Guest::Drives, &options);
    let mut client = Client::connect(&socket.path());
    shell.must("dd if=/dev/sda of=/dev/sda bs=64k count=4 seek=8 conv=notrunc; sync; md5sum /dev/sda");
    assert!(shell.run("md5sum < /dev/sr0").contains(&md5(&contents[0])));
    client.obeys("eject cd");
    shell.must("! dd if=/dev/sr0 of=/dev/null bs=2k count=1");
    client.obeys(&format!("change cd {}", discs[1]));
    shell.must("until dd if=/dev/sr0 of=/dev/null bs=2k count=1; do sleep 1; done");
    assert!(shell.run("md5sum < /dev/sr0").contains(&md5(&contents[1])));
    let recorded = shell.power_off();
    for disc in &discs {
        fs::remove_file(disc).unwrap();
    }
    for engine in ["jit", "interp"] {
        replays(&log, engine, &recorded);
    }
}

/// A machine is saved, and its restored run is what is recorded. Somebody ends it from outside.
fn a_machine_that_was_saved_goes_on_the_same() {
    let folder = Folder::new("replay-saved");
    let (saved, log, socket) = (folder.file("saved"), folder.file("log"), Scratch::new("m.sock"));
    let monitor = format!("unix:{},server", socket.path());
    let (kernel, initrd) = (Guest::CloudKernel.path(), Guest::Shell.path());
    let files = ["run", "--kernel", &kernel, "--initrd", &initrd, "--append", "console=ttyS0 quiet"];
    let mut program =
        Program::start(&[&files[..], &["--nographic", "--icount", "--monitor", &monitor]].concat());
    program.expect("# ");
    let mut client = Client::connect(&socket.path());
    client.obeys(&format!("save {saved}"));
    client.send(b"quit\n");
    assert_eq!(program.wait().code, Some(0));
    let mut program = Program::start(&["run", "--restore", &saved, "--record", &log]);
    program.send("echo $((6*7)) is right\n");
    program.expect("42 is right");
    program.send("\x01x");
    let recorded = program.wait();
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    for engine in ["jit", "interp"] {
        replays(&log, engine, &recorded);
    }
    fs::write(&saved, b"another").unwrap();
    let refused = crate::support::program::run_to_end(&["run", "--replay", &log]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.errors.contains("not the saved machine"), "{}", refused.errors);
}
