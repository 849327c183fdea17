//! Floppy disks.

use super::guest::{Folder, MTOOLS, Shell, host};
use crate::support::engines::ENGINES;
use crate::support::guests::DEBIAN;
use crate::support::needs::Tests;
use std::fs;
use std::sync::Arc;
use trimotor_machine::{DriveConfig, DrivePlace, Engine, Media};
use trimotor_storage::MemoryDisk;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, MTOOLS])
        .each(&ENGINES, a_floppy_of_mtools_is_read_and_written)
        .test(floppies_of_all_sizes_are_found_by_their_data_rates)
}

fn floppy(unit: u8) -> DriveConfig {
    DriveConfig::new(&format!("floppy{unit}"), DrivePlace::Floppy { unit }, Media::Floppy)
}
/// A disk of so many kilobytes with a FAT file system and a file.
fn fat_disk(folder: &Folder, kilobytes: usize, content: &[u8]) -> Arc<MemoryDisk> {
    let (image, file) = (folder.path(&format!("{kilobytes}.img")), folder.file("content", content));
    let size = kilobytes.to_string();
    host("mformat", &["-C", "-f", &size, "-i", &image, "::"]);
    host("mcopy", &["-i", &image, &file, "::FILE"]);
    let bytes = fs::read(image).unwrap();
    assert_eq!(bytes.len(), kilobytes * 1024);
    Arc::new(MemoryDisk::new(bytes))
}

fn a_floppy_of_mtools_is_read_and_written(engine: Engine) {
    let folder = Folder::new(&format!("floppy-{engine}"));
    let content: Vec<u8> = (0..200_000u32).map(|i| (i ^ i >> 8) as u8).collect();
    let (first, second) = (fat_disk(&folder, 1440, &content), fat_disk(&folder, 720, b"second\n"));
    let sum = host("md5sum", &[&folder.file("expected", &content)]);
    let mut shell = Shell::start(engine, vec![(floppy(0), Some(first.clone())), (floppy(1), Some(second))]);
    assert_eq!(shell.run("insmod /later/floppy.ko; echo $?"), "0");
    let kinds = shell.run("dmesg | grep -E 'Floppy drive|FDC 0'");
    assert!(kinds.contains("fd0 is 1.44M, fd1 is 1.44M") && kinds.contains("82077"), "{kinds}");
    shell.run("mount -t vfat /dev/fd0 /mnt");
    assert_eq!(shell.run("md5sum < /mnt/FILE").split(' ').next(), sum.split(' ').next());
    shell.run("echo written > /mnt/new; umount /mnt");
    assert_eq!(shell.run("mount -t vfat /dev/fd1 /mnt; cat /mnt/FILE; umount /mnt"), "second");
    // Another disk: the change line tells the driver to forget what it has read.
    let third = fat_disk(&folder, 1440, b"third\n");
    shell.change("floppy0", None).expect("no guest holds a floppy");
    shell.change("floppy0", Some(third)).expect("the drive is empty");
    assert_eq!(shell.run("mount -t vfat /dev/fd0 /mnt; cat /mnt/FILE; umount /mnt"), "third");
    shell.power_off();
    let image = folder.file("after.img", &first.content());
    assert_eq!(host("mtype", &["-i", &image, "::new"]), "written\n");
}

fn floppies_of_all_sizes_are_found_by_their_data_rates() {
    let folder = Folder::new("floppies");
    for sizes in [[360, 1200], [720, 2880]] {
        let disks = sizes.map(|size| fat_disk(&folder, size, format!("{size}\n").as_bytes()));
        let drives =
            disks.iter().enumerate().map(|(unit, disk)| (floppy(unit as u8), Some(disk.clone() as Arc<_>)));
        let mut shell = Shell::start(Engine::fastest(), drives.collect());
        assert_eq!(shell.run("insmod /later/floppy.ko; echo $?"), "0");
        for (unit, size) in sizes.iter().enumerate() {
            let read = format!("mount -t vfat /dev/fd{unit} /mnt; cat /mnt/FILE; umount /mnt");
            assert_eq!(shell.run(&read), size.to_string());
        }
        shell.power_off();
    }
}
