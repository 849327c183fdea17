//! Firmware of others: U-Boot, which has its own drivers for the IDE controller and the e1000, and the BIOS of Bochs. SeaBIOS is in `boots`,
//! OVMF in `ovmf`.

use super::images::{self, Folder, SECTOR_SAYS};
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::needs::{Need, Tests};
use crate::support::program::{Program, run_to_end};
use std::path::Path;

/// Debian's package u-boot-qemu: for 32-bit processors, and for 64-bit ones.
const U_BOOTS: [&str; 2] = ["/usr/lib/u-boot/qemu-x86/u-boot.rom", "/usr/lib/u-boot/qemu-x86_64/u-boot.rom"];
const U_BOOT: Need = Need { name: "u-boot", check: || is_there(U_BOOTS[1], "u-boot-qemu") };
/// Debian's package bochsbios: with ACPI's and other tables, and without.
const BOCHS_BIOSES: [&str; 2] = ["/usr/share/bochs/BIOS-bochs-latest", "/usr/share/bochs/BIOS-bochs-legacy"];
const BOCHS_BIOS: Need = Need { name: "bochsbios", check: || is_there(BOCHS_BIOSES[0], "bochsbios") };

fn is_there(file: &str, package: &str) -> Result<(), String> {
    match Path::new(file).exists() {
        true => Ok(()),
        false => Err(format!("{file} is not installed (Debian's package {package})")),
    }
}

pub fn u_boot_tests() -> Tests {
    Tests::needing(&[U_BOOT, JIT]).test(u_boot_reads_a_disk_and_loads_a_file_from_the_network)
}
pub fn bochs_tests() -> Tests {
    Tests::needing(&[BOCHS_BIOS]).each(&ENGINE_NAMES, the_bios_of_bochs_boots_a_disk)
}

fn u_boot_reads_a_disk_and_loads_a_file_from_the_network() {
    let folder = Folder::new();
    let disk = folder.file("disk.raw", &[[0x5A; 512].as_slice(), &[0xA5; 512 * 2047]].concat());
    folder.file("loaded", b"read by TFTP");
    let nic = format!("user,model=e1000,mac=52:54:00:00:00:42,tftp={}", folder.result(""));
    let drive = format!("file={disk},format=raw");
    for rom in U_BOOTS {
        let fixed = ["run", "--memory", "256M", "--nographic", "--serial", "stdio", "--accel", "jit"];
        let machine = ["--bios", rom, "--nic", &nic, "--drive", &drive];
        let mut program = Program::start(&[&fixed[..], &machine].concat());
        program.expect("e1000: 52:54:00:00:00:42");
        program.expect("Hit any key to stop autoboot");
        program.send("\r");
        program.expect("=> ");
        let mut command = |command: &str, says: &str| {
            program.send(&format!("{command}\r"));
            program.expect(says);
            program.expect("=> ");
        };
        command("ide reset", "Model: TRIMOTOR HARDDISK");
        command("ide read 1000000 0 2", "2 blocks read: OK");
        command("md.b 10001ff 2", "010001ff: 5a a5");
        command("setenv autoload no; dhcp", "bound to address 10.0.2.15");
        command("tftpboot 2000000 loaded", "Bytes transferred = 12");
        command("md.b 2000000 c", "read by TFTP");
        program.send("\x01x");
        assert_eq!(program.wait().code, Some(0), "{rom}");
    }
}

fn the_bios_of_bochs_boots_a_disk(engine: &str) {
    let folder = Folder::new();
    let disk = format!("file={},format=raw,snapshot=on", images::partitioned_boot_sector(&folder));
    for bios in BOCHS_BIOSES {
        let fixed = ["run", "--memory", "64M", "--nographic", "--serial", "stdio", "--accel", engine];
        let machine = ["--bios", bios, "--drive", &disk, "--debug-exit"];
        let ended = run_to_end(&[&fixed[..], &machine].concat());
        assert!(ended.output.contains(SECTOR_SAYS), "{bios}: {ended:?}");
        assert_eq!(ended.code, Some(3), "{bios}: {ended:?}");
    }
}
