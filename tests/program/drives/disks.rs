//! Hard disks.

use super::guest::{DISK_TOOLS, Folder, Shell, blank, host, ide};
use crate::support::engines::ENGINES;
use crate::support::guests::DEBIAN;
use crate::support::needs::Tests;
use std::sync::Arc;
use trimotor_machine::{Engine, Media};
use trimotor_storage::MemoryDisk;

const MIB: usize = 1 << 20;
/// Sectors of the first partition: where it begins, and how many.
const FIRST: (usize, usize) = (2048, 40 * 2048);

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, DISK_TOOLS])
        .each(&ENGINES, a_disk_is_partitioned_formatted_written_and_read_back)
        .each(&ENGINES, two_runs_with_a_disk_are_the_same)
}

/// Debian's sfdisk and mke2fs in the guest; the host's sfdisk, e2fsck and debugfs look at what they made.
fn a_disk_is_partitioned_formatted_written_and_read_back(engine: Engine) {
    let disk = blank(64 * MIB);
    let mut shell = Shell::start(engine, vec![(ide("disk", 0, Media::Disk), Some(disk.clone()))]);
    let table = shell.run("printf 'label: gpt\\n,40M\\n,\\n' | sfdisk -q /dev/sda; sfdisk -d /dev/sda");
    assert!(table.contains("label: gpt") && table.contains("/dev/sda2"), "{table}");
    assert_eq!(shell.run("/sbin/mke2fs -q -t ext4 /dev/sda1 2>&1"), "");
    shell.run("mount -t ext4 /dev/sda1 /mnt; dd if=/dev/urandom of=/mnt/random bs=64k count=200 2>/dev/null");
    shell.run("echo hello > /mnt/hello; sync");
    let sum = shell.run("md5sum < /mnt/random");
    // Read anew from the disk.
    shell.run("umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/sda1 /mnt");
    assert_eq!(shell.run("md5sum < /mnt/random"), sum);
    assert_eq!(shell.run("umount /mnt; /sbin/e2fsck -fn /dev/sda1 > /dev/null 2>&1; echo $?"), "0");
    let identity = shell.run("/sbin/hdparm -I /dev/sda");
    assert!(identity.contains("TRIMOTOR HARDDISK") && identity.contains("*mdma2"), "{identity}");
    assert!(identity.contains("Checksum: correct"), "{identity}");
    let health = shell.run("/sbin/smartctl -H /dev/sda");
    assert!(health.contains("PASSED"), "{health}");
    assert_eq!(shell.run("dmesg | grep -E 'ata[0-9].*(error|failed|exception)'"), "");
    shell.power_off();

    let folder = Folder::new(&format!("disk-{engine}"));
    let content = disk.content();
    let whole = folder.file("disk.img", &content);
    let seen = host("sfdisk", &["-d", &whole]);
    let first = format!("start= {:>11}, size= {:>11}", FIRST.0, FIRST.1);
    assert!(seen.contains("label: gpt") && seen.contains(&first), "{seen}");
    let part = folder.file("part.img", &content[FIRST.0 * 512..(FIRST.0 + FIRST.1) * 512]);
    host("e2fsck", &["-fn", &part]);
    assert_eq!(host("debugfs", &["-R", "cat hello", &part]), "hello\n");
    let random = folder.path("random");
    host("debugfs", &["-R", &format!("dump random {random}"), &part]);
    assert_eq!(host("md5sum", &[&random]).split(' ').next(), sum.split(' ').next());
}

fn two_runs_with_a_disk_are_the_same(engine: Engine) {
    let run = || {
        let disk = blank(16 * MIB);
        let drives = vec![(ide("disk", 0, Media::Disk), Some(disk.clone() as Arc<_>))];
        let mut shell = Shell::start(engine, drives);
        shell.run(
            "/sbin/mke2fs -q -t ext4 -U clear -E hash_seed=00000000-0000-0000-0000-000000000000 /dev/sda",
        );
        shell.run("mount -t ext4 /dev/sda /mnt; cp /sbin/* /mnt; sync; umount /mnt");
        let (text, instructions) = shell.power_off();
        let disk: Arc<MemoryDisk> = disk;
        (text, instructions, disk.content())
    };
    let (first, second) = (run(), run());
    assert_eq!((&first.0, first.1), (&second.0, second.1));
    assert!(first.2 == second.2, "the disks differ");
}
