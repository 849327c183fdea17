//! Boot loaders of the field start by our BIOS, and some of them by SeaBIOS as a second opinion: GRUB, ISOLINUX, SYSLINUX, memtest86+, from disks, CDs and floppies.
//!
//! The images are made here by the tools that people use for it. What a loader loads in the end is a program of a few
//! instructions that says so on COM1 and leaves through the debug exit port, so that everything on the way there has worked.

use super::images::{self, Folder};
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Need, Tests};
use crate::support::program::{Program, run_to_end};

pub fn tests() -> Tests {
    Tests::needing(&[images::TOOLS])
        .each(&ENGINE_NAMES, isolinux_starts_from_a_cd)
        .each(&ENGINE_NAMES, syslinux_starts_from_a_floppy)
        .each(&ENGINE_NAMES, a_floppy_is_emulated_from_a_cd)
        .each(&ENGINE_NAMES, a_hard_disk_is_emulated_from_a_cd)
        .each(&ENGINE_NAMES, grub_starts_from_a_cd_and_from_the_same_image_as_a_disk)
        .each(&ENGINE_NAMES, grub_starts_from_a_disk_with_ext4)
        .each(&ENGINE_NAMES, grub_rescue_images_of_debian_start)
        .each(&ENGINE_NAMES, memtest_starts_from_a_cd)
        .each(&ENGINE_NAMES, entries_that_fail_say_why_and_the_next_is_tried)
}
/// Those that need a kernel of Debian's too.
pub fn linux_tests() -> Tests {
    Tests::needing(&[images::TOOLS, DEBIAN])
        .each(&ENGINE_NAMES, grub_loads_linux_from_ext4)
        .test_needing(&[JIT], linux_starts_in_a_mode_of_vbe)
        .test(linux_writes_reboots_and_finds_its_data)
}
/// Those on SeaBIOS.
pub fn seabios_tests() -> Tests {
    Tests::needing(&[images::TOOLS, SEABIOS])
        .test(loaders_start_by_seabios)
        .test(loaders_start_by_the_smaller_seabios)
        .each(&ENGINE_NAMES, a_program_writes_by_int_13_resets_and_finds_its_data)
}
/// SeaBIOS, and Linux.
pub fn seabios_linux_tests() -> Tests {
    Tests::needing(&[images::TOOLS, SEABIOS, DEBIAN]).test(linux_does_so_by_seabios)
}

/// SeaBIOS (Debian's package seabios), with its VGA BIOS beside it.
const SEABIOS: Need = Need {
    name: "seabios",
    check: || match std::path::Path::new(SEABIOS_ROM).exists() {
        true => Ok(()),
        false => Err(format!("{SEABIOS_ROM} is not installed (Debian's package seabios)")),
    },
};
const SEABIOS_ROM: &str = "/usr/share/seabios/bios-256k.bin";
/// The smaller build in the same package: without drivers for what a machine of its time lacks.
const SEABIOS_128K_ROM: &str = "/usr/share/seabios/bios.bin";

/// Boots with these options until the guest leaves with code 3; what it said.
fn boot(engine: &str, options: &[&str]) -> String {
    let arguments = ["run", "--accel", engine, "--memory", "64M", "--debug-exit", "--nographic"];
    let ended = run_to_end(&[&arguments[..], &["--serial", "stdio"], options].concat());
    assert_eq!(ended.code, Some(3), "{options:?}: {}{}", ended.output, ended.errors);
    ended.output
}
fn boots(engine: &str, options: &[&str], says: &[&str]) {
    let output = boot(engine, options);
    for text in says {
        assert!(output.contains(text), "{options:?}: no {text:?} in {output}");
    }
}
fn floppy(path: &str) -> String {
    format!("file={path},format=raw,if=floppy,readonly=on")
}
fn disk(path: &str) -> String {
    format!("file={path},format=raw,snapshot=on")
}
fn virtio_disk(path: &str) -> String {
    format!("{},if=virtio", disk(path))
}

fn isolinux_starts_from_a_cd(engine: &str) {
    let folder = Folder::new();
    let cd = images::isolinux_cd(&folder);
    boots(engine, &["--cdrom", &cd, "--boot", "order=d"], &["ISOLINUX", images::SECTOR_SAYS]);
}

fn syslinux_starts_from_a_floppy(engine: &str) {
    let folder = Folder::new();
    let image = images::syslinux_floppy(&folder);
    let drive = floppy(&image);
    boots(engine, &["--drive", &drive, "--boot", "order=a"], &["SYSLINUX", images::SECTOR_SAYS]);
}

fn a_floppy_is_emulated_from_a_cd(engine: &str) {
    let folder = Folder::new();
    let image = images::syslinux_floppy(&folder);
    let cd = images::emulating_cd(&folder, &image, &[]);
    boots(engine, &["--cdrom", &cd, "--boot", "order=d"], &["SYSLINUX", images::SECTOR_SAYS]);
}

fn a_hard_disk_is_emulated_from_a_cd(engine: &str) {
    let folder = Folder::new();
    let image = images::partitioned_boot_sector(&folder);
    let cd = images::emulating_cd(&folder, &image, &["-hard-disk-boot"]);
    boots(engine, &["--cdrom", &cd, "--boot", "order=d"], &[images::SECTOR_SAYS]);
}

fn grub_starts_from_a_cd_and_from_the_same_image_as_a_disk(engine: &str) {
    let folder = Folder::new();
    let image = images::grub_cd(&folder, "multiboot /boot/kernel");
    let says = ["grub here", images::KERNEL_SAYS];
    boots(engine, &["--cdrom", &image, "--boot", "order=d"], &says);
    boots(engine, &["--drive", &disk(&image), "--boot", "order=c"], &says);
}

fn grub_starts_from_a_disk_with_ext4(engine: &str) {
    let folder = Folder::new();
    let image = images::grub_disk(&folder);
    for drive in [disk(&image), virtio_disk(&image)] {
        boots(engine, &["--drive", &drive], &["grub here", images::KERNEL_SAYS]);
    }
}

fn grub_loads_linux_from_ext4(engine: &str) {
    let folder = Folder::new();
    let image = images::linux_disk(&folder, &Guest::CloudKernel.path(), &Guest::PowerOff.path());
    let arguments = ["run", "--accel", engine, "--memory", "256M", "--nographic", "--serial", "stdio"];
    let ended = run_to_end(&[&arguments[..], &["--drive", &disk(&image)]].concat());
    assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
    for text in ["BOOT_IMAGE=/boot/vmlinuz", "MARK-BOOTED", "Power down"] {
        assert!(ended.output.contains(text), "no {text:?} in {}", ended.output);
    }
}

/// The kernel's code for real mode sets the mode, and finds the frame buffer.
fn linux_starts_in_a_mode_of_vbe() {
    let folder = Folder::new();
    let cd = images::linux_cd(&folder, &Guest::FullKernel.path(), &Guest::Shell.path(), "vga=0x317");
    let arguments = ["run", "--memory", "256M", "--display", "none", "--serial", "stdio", "--cdrom", &cd];
    let mut program = Program::start(&arguments);
    program.expect("MARK-BOOTED");
    program.expect("built-in shell");
    let of = |file: &str| format!("/sys/class/graphics/fb0/{file}");
    let files = ["name", "virtual_size", "bits_per_pixel"].map(of).join(" ");
    program.send(&format!("cat {files}\n"));
    for text in ["VESA VGA", "1024,768", "16"] {
        program.expect(text);
    }
    program.send("poweroff\n");
    assert_eq!(program.wait().code, Some(0));
}

/// Boots with a screen and waits for text on it.
fn shows(engine: &str, options: &[&str], texts: &[&str]) {
    let arguments = ["run", "--accel", engine, "--memory", "64M", "--display", "lines", "--serial", "null"];
    let mut program = Program::start(&[&arguments[..], options].concat());
    for text in texts {
        program.expect(text);
    }
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
}

fn grub_rescue_images_of_debian_start(engine: &str) {
    // It is shorter than the floppy that it is written to.
    let drive = floppy(images::GRUB_RESCUE_FLOPPY);
    let menu = ["Memtest86+", "Change the colors"];
    shows(engine, &["--drive", &drive, "--boot", "order=a"], &menu);
    shows(engine, &["--cdrom", images::GRUB_RESCUE_CD, "--boot", "order=d"], &menu);
}

fn memtest_starts_from_a_cd(engine: &str) {
    let folder = Folder::new();
    let image = images::grub_cd(&folder, "linux /boot/memtest");
    shows(engine, &["--cdrom", &image, "--boot", "order=d"], &["Memtest86+", "Pass"]);
}

fn entries_that_fail_say_why_and_the_next_is_tried(engine: &str) {
    let folder = Folder::new();
    let (blank, cd) = (folder.file("blank.img", &vec![0; 1 << 20]), images::data_cd(&folder));
    let drive = disk(&blank);
    let reasons = [
        "Floppy 0: there is no such drive",
        "Hard disk 0: no boot signature (55 AA) at the end of sector 0",
        "CD-ROM 0: no El Torito boot record at sector 17",
        "No bootable device",
    ];
    shows(engine, &["--drive", &drive, "--cdrom", &cd, "--boot", "order=acd"], &reasons);
}

/// ISOLINUX from a CD, GRUB from a CD that is a disk too, SYSLINUX from a floppy, GRUB from ext4. By the translator: SeaBIOS's
/// own code takes most of the time, and the loaders have run on the interpreter above.
fn loaders_start_by_seabios() {
    let folder = Folder::new();
    let starts = |options: &[&str], says: &[&str]| boots_by(SEABIOS_ROM, options, says);
    let cd = images::isolinux_cd(&folder);
    starts(&["--cdrom", &cd, "--boot", "order=d"], &["ISOLINUX", images::SECTOR_SAYS]);
    let floppy_image = images::syslinux_floppy(&folder);
    starts(&["--drive", &floppy(&floppy_image), "--boot", "order=a"], &["SYSLINUX", images::SECTOR_SAYS]);
    let says = ["grub here", images::KERNEL_SAYS];
    let hybrid = images::grub_cd(&folder, "multiboot /boot/kernel");
    starts(&["--cdrom", &hybrid, "--boot", "order=d"], &says);
    starts(&["--drive", &disk(&hybrid), "--boot", "order=c"], &says);
    let ext4 = images::grub_disk(&folder);
    starts(&["--drive", &disk(&ext4)], &says);
    // By SeaBIOS's own driver: of virtio 1, of before, and with packed rings offered.
    starts(&["--drive", &virtio_disk(&ext4)], &says);
    let detached = format!("{},if=none,id=v", disk(&ext4));
    for card in ["packed=on,disable-legacy=on", "disable-modern=on"] {
        let card = format!("virtio-blk-pci,drive=v,{card}");
        starts(&["--drive", &detached, "--device", &card], &says);
    }
}

/// By the translator, with this BIOS.
fn boots_by(bios: &str, options: &[&str], says: &[&str]) {
    boots("jit", &[&["--bios", bios], options].concat(), says);
}

fn loaders_start_by_the_smaller_seabios() {
    let folder = Folder::new();
    let starts = |options: &[&str], says: &[&str]| boots_by(SEABIOS_128K_ROM, options, says);
    let cd = images::isolinux_cd(&folder);
    starts(&["--cdrom", &cd, "--boot", "order=d"], &["ISOLINUX", images::SECTOR_SAYS]);
    let floppy_image = images::syslinux_floppy(&folder);
    starts(&["--drive", &floppy(&floppy_image), "--boot", "order=a"], &["SYSLINUX", images::SECTOR_SAYS]);
    let ext4 = images::grub_disk(&folder);
    starts(&["--drive", &disk(&ext4)], &["grub here", images::KERNEL_SAYS]);
}

/// The program says what it found at its first and at its second start.
fn a_program_writes_by_int_13_resets_and_finds_its_data(engine: &str) {
    for bios in [&[][..], &["--bios", SEABIOS_ROM]] {
        let folder = Folder::new();
        let name = folder.file("keeper.img", &images::keeper_disk());
        let drive = format!("file={name},format=raw");
        boots(engine, &[&["--drive", &drive], bios].concat(), &["nothing", "kept"]);
        let content = std::fs::read(&name).expect("the disk");
        assert_eq!(content[512 * images::KEPT_SECTOR..][..512], [0x5A; 512], "{bios:?}");
    }
}

fn linux_writes_reboots_and_finds_its_data() {
    keeps_over_a_reboot(&[], false);
    keeps_over_a_reboot(&[], true);
}
fn linux_does_so_by_seabios() {
    keeps_over_a_reboot(&["--bios", SEABIOS_ROM], false);
    keeps_over_a_reboot(&["--bios", SEABIOS_ROM], true);
}
/// Debian's kernel with ext4 on the disk that GRUB loaded it from, an IDE disk or a virtio one.
fn keeps_over_a_reboot(bios: &[&str], virtio: bool) {
    let folder = Folder::new();
    let (initrd, interface, disk) =
        if virtio { (Guest::Virtio, "virtio", "vda1") } else { (Guest::Drives, "ide", "sda1") };
    // The file system first: where it is fetched, the kernel that it is for comes with it.
    let initrd = initrd.path();
    let image = images::linux_disk(&folder, &Guest::FullKernel.path(), &initrd);
    let drive = format!("file={image},format=raw,if={interface}");
    let arguments = ["run", "--accel", "jit", "--memory", "256M", "--nographic", "--serial", "stdio"];
    let mut guest = Program::start(&[&arguments[..], &["--drive", &drive], bios].concat());
    let mut at_prompt = |command: &str, says: &str| {
        guest.expect("BOOT_IMAGE=/boot/vmlinuz");
        guest.expect("MARK-DRIVERS");
        guest.expect("# ");
        guest.send(&format!("mount -t ext4 /dev/{disk} /mnt; cat /mnt/kept; {command}\n"));
        guest.expect(says);
    };
    at_prompt("echo MARK-''KEPT > /mnt/kept; umount /mnt; reboot -f", "No such file");
    at_prompt("umount /mnt; poweroff -f", "MARK-KEPT");
    let ended = guest.wait();
    assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
}
