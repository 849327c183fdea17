//! UEFI: Debian's OVMF with its code in ROM and its variables in flash memory, from a CD that is made here.
//!
//! The shell that is part of OVMF runs a script from the CD. In the first run it sets a variable and switches the machine off; in the
//! second run it finds the variable, and starts an EFI program: Debian's kernel, which has a loader of that kind in it.

use super::images::Folder;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Need, Tests, program};
use crate::support::program::Program;
use std::path::Path;

pub const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// Debian's OVMF, and what makes its CD.
pub const OVMF: Need = Need { name: "ovmf", check: tools };

/// What the shell runs.
const SCRIPT: &str = "@echo -off
setvar Kept -guid 7A1F9C3E-52B4-4D0A-9E6B-1C2D3E4F5061
if %lasterror% == 0x0 then
  echo MARK-FOUND
  fs0:
  vmlinuz.efi console=ttyS0 initrd=\\initrd
else
  setvar Kept -guid 7A1F9C3E-52B4-4D0A-9E6B-1C2D3E4F5061 -nv -bs =48656C6C6F
  echo MARK-SET
  reset -s
endif
";

pub fn tests() -> Tests {
    Tests::needing(&[OVMF, DEBIAN])
        .test(variables_are_kept_and_linux_starts_from_a_cd)
        .test(a_snapshot_of_variables_is_gone_at_the_end)
}

fn tools() -> Result<(), String> {
    program("xorriso", "xorriso")?;
    program("mcopy", "mtools")?;
    match Path::new(CODE).exists() && Path::new(VARIABLES).exists() {
        true => Ok(()),
        false => Err(format!("{CODE} is not installed (Debian's package ovmf)")),
    }
}

/// A CD whose El Torito image for UEFI is a FAT file system with the script, a kernel and its first file system.
fn cd(folder: &Folder) -> String {
    folder.file("startup.nsh", SCRIPT.as_bytes());
    folder.copy(&Guest::CloudKernel.path(), "vmlinuz.efi");
    folder.copy(&Guest::PowerOff.path(), "initrd");
    // Larger than a catalog's entry can say, 32 MB, it must not be.
    folder.run("mformat", &["-C", "-T", "60000", "-h", "16", "-s", "63", "-i", "efi.img", "::"]);
    folder.run("mcopy", &["-i", "efi.img", "startup.nsh", "vmlinuz.efi", "initrd", "::"]);
    folder.copy(&folder.result("efi.img"), "cd/efi.img");
    folder.run(
        "xorriso",
        &["-as", "mkisofs", "-quiet", "-o", "efi.iso", "-e", "efi.img", "-no-emul-boot", "cd"],
    );
    folder.result("efi.iso")
}

/// Starts OVMF and has its shell begin with the script at once. By the translator alone: the interpreter takes minutes.
fn start(variables: &str, cd: &str) -> Program {
    let arguments = ["run", "--accel", "jit", "--memory", "256M", "--nographic", "--serial", "stdio"];
    let drive = format!("file={cd},media=cdrom,index=2");
    let more = ["--pflash", CODE, "--drive", variables, "--drive", &drive];
    let mut program = Program::start(&[&arguments[..], &more].concat());
    program.expect("UEFI Interactive Shell");
    program.expect("any other key to continue");
    program.send("\r");
    program
}

fn variables_are_kept_and_linux_starts_from_a_cd() {
    let folder = Folder::new();
    let cd = cd(&folder);
    folder.copy(VARIABLES, "variables.fd");
    let variables = format!("if=pflash,unit=1,format=raw,file={}", folder.result("variables.fd"));
    let mut first = start(&variables, &cd);
    first.expect("MARK-SET");
    let ended = first.wait();
    assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
    let mut second = start(&variables, &cd);
    second.expect("MARK-FOUND");
    second.expect("EFI v2.70 by EDK II");
    second.expect("MARK-BOOTED");
    // By ACPI's tables, at the place where OVMF has put the registers.
    let ended = second.wait();
    assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
    assert!(!ended.output.contains("Unable to enable ACPI"), "{}", ended.output);
}

fn a_snapshot_of_variables_is_gone_at_the_end() {
    let folder = Folder::new();
    let (cd, name) = (cd(&folder), folder.file("variables.fd", &std::fs::read(VARIABLES).unwrap()));
    let variables = format!("if=pflash,unit=1,format=raw,snapshot=on,file={name}");
    let mut run = start(&variables, &cd);
    run.expect("MARK-SET");
    assert_eq!(run.wait().code, Some(0));
    assert!(std::fs::read(name).unwrap() == std::fs::read(VARIABLES).unwrap(), "the file was written");
}
