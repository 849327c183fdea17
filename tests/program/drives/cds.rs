//! CDs.

use super::guest::{Folder, Shell, XORRISO, host, ide};
use crate::support::engines::ENGINES;
use crate::support::guests::DEBIAN;
use crate::support::needs::Tests;
use std::fs;
use std::sync::Arc;
use trimotor_machine::{Engine, Media, Medium, MediumError};
use trimotor_storage::MemoryDisk;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, XORRISO]).each(&ENGINES, a_cd_is_read_ejected_and_changed)
}

/// A CD with one file.
fn cd(folder: &Folder, name: &str, content: &[u8]) -> Medium {
    let tree = folder.0.join(name);
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("file"), content).unwrap();
    let image = folder.path(&format!("{name}.iso"));
    host("xorriso", &["-as", "mkisofs", "-quiet", "-R", "-V", name, "-o", &image, &tree.to_string_lossy()]);
    Arc::new(MemoryDisk::new(fs::read(image).unwrap()).read_only())
}

fn a_cd_is_read_ejected_and_changed(engine: Engine) {
    let folder = Folder::new(&format!("cd-{engine}"));
    let content: Vec<u8> = (0..3_000_000u32).map(|i| (i ^ i >> 8) as u8).collect();
    let (first, second) = (cd(&folder, "FIRST", &content), cd(&folder, "SECOND", b"another disc\n"));
    let sum = host("md5sum", &[&folder.path("FIRST/file")]);
    let mut shell = Shell::start(engine, vec![(ide("cd", 1, Media::Cdrom), Some(first))]);
    let found = shell.run("cat /proc/sys/dev/cdrom/info; mount -t iso9660 -o ro /dev/sr0 /mnt");
    assert!(found.contains("sr0"), "{found}");
    assert_eq!(shell.run("md5sum < /mnt/file").split(' ').next(), sum.split(' ').next());
    // The kernel holds a disc that is mounted, and is asked to let it go.
    assert_eq!(shell.change("cd", None), Err(MediumError::Locked { id: "cd".to_owned() }));
    shell.run("umount /mnt");
    shell.change("cd", None).expect("it lies free");
    let empty = shell.run("mount -t iso9660 -o ro /dev/sr0 /mnt 2>&1");
    assert!(empty.to_lowercase().contains("no medium"), "{empty}");
    shell.change("cd", Some(second)).expect("the tray is open");
    assert_eq!(shell.run("mount -t iso9660 -o ro /dev/sr0 /mnt; cat /mnt/file; umount /mnt"), "another disc");
    // Debian's own program opens and closes the tray.
    assert_eq!(shell.run("/sbin/eject /dev/sr0 && /sbin/eject -t /dev/sr0; echo $?"), "0");
    assert_eq!(shell.run("mount -t iso9660 -o ro /dev/sr0 /mnt; cat /mnt/file; umount /mnt"), "another disc");
    shell.power_off();
}
