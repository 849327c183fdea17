//! iPXE, from the card's ROM and from its CD, and UEFI firmware boot from the network.

use super::files;
use crate::bios::ovmf::{CODE, OVMF, VARIABLES};
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Need, Tests};
use crate::support::program::Program;
use crate::support::small_guest::Scratch;
use rustix::process::Signal;
use std::fs;
use std::path::Path;

pub const ROM: &str = "/usr/lib/ipxe/qemu/pxe-e1000.rom";
/// The one with a driver for UEFI firmware too.
const EFI_ROM: &str = "/usr/lib/ipxe/qemu/efi-e1000.rom";
/// iPXE by itself, with drivers of its own for many cards.
const CD: &str = "/usr/lib/ipxe/ipxe.iso";
/// iPXE's ROMs, from Debian.
pub const IPXE: Need = Need { name: "ipxe-qemu", check: || file(ROM, "ipxe-qemu") };
/// iPXE's CD, from Debian.
const IPXE_CD: Need = Need { name: "ipxe", check: || file(CD, "ipxe") };

fn file(path: &str, package: &str) -> Result<(), String> {
    match Path::new(path).is_file() {
        true => Ok(()),
        false => Err(format!("no {path}: the package {package}")),
    }
}

pub fn tests() -> Tests {
    Tests::needing(&[IPXE])
        .each(&ENGINE_NAMES, a_card_s_rom_gets_an_address)
        .test_needing(&[JIT, DEBIAN], linux_boots_by_tftp)
        .test_needing(&[JIT, DEBIAN], linux_boots_by_http)
        .test_needing(&[JIT, DEBIAN, IPXE_CD], linux_boots_by_ipxes_cd)
        .test_needing(&[JIT, DEBIAN, OVMF], linux_boots_by_a_rom_for_uefi)
        .test_needing(&[JIT, DEBIAN, OVMF], linux_boots_by_ovmfs_own_driver)
}

/// A folder of the TFTP server with these files.
fn folder(files: &[(&str, Vec<u8>)]) -> Scratch {
    let folder = Scratch::new("tftp");
    for (name, content) in files {
        let path = folder.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    folder
}

fn a_card_s_rom_gets_an_address(engine: &str) {
    let folder = folder(&[("boot.ipxe", b"#!ipxe\necho MARK-SCRIPT ${net0/ip}\nsleep 3600\n".to_vec())]);
    let nic = format!("user,model=e1000,romfile={ROM},tftp={},bootfile=boot.ipxe", folder.path());
    let mut program =
        Program::start(&["run", "--accel", engine, "--boot", "n", "--nic", &nic, "--display", "lines"]);
    program.expect("MARK-SCRIPT 10.0.2.15");
    program.signal(Signal::TERM);
    program.wait();
    let _ = fs::remove_dir_all(&folder.0);
}

/// The script that boots Debian's kernel from there.
fn script(from: &str) -> Vec<u8> {
    format!("#!ipxe\nkernel {from}vmlinuz console=ttyS0 quiet\ninitrd {from}initrd\nboot\n").into_bytes()
}
/// The same for a kernel that is an EFI program, which finds its first file system by name.
const EFI_SCRIPT: &[u8] = b"#!ipxe\nkernel vmlinuz console=ttyS0 initrd=initrd\ninitrd initrd\nboot\n";

/// Boots Linux, which powers off; returns what it said.
fn linux_boots(nic: &str, more: &[&str]) -> String {
    let machine = ["run", "--accel", "jit", "--memory", "512M", "--nic", nic, "--nographic"];
    let mut program = Program::start(&[&machine[..], more].concat());
    program.expect("MARK-BOOTED");
    let ended = program.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.output
}

/// A folder with the script, and what it loads by TFTP.
fn linux_by_tftp() -> Scratch {
    folder(&[
        ("boot.ipxe", script("")),
        ("vmlinuz", read(Guest::CloudKernel)),
        ("initrd", read(Guest::PowerOff)),
    ])
}
/// A folder with a script, which loads the rest by HTTP.
fn linux_by_http() -> Scratch {
    let port = files::http(vec![
        ("/vmlinuz".to_owned(), read(Guest::CloudKernel)),
        ("/initrd".to_owned(), read(Guest::PowerOff)),
    ]);
    folder(&[("boot.ipxe", script(&format!("http://10.0.2.2:{port}/")))])
}
fn read(guest: Guest) -> Vec<u8> {
    fs::read(guest.path()).expect("the guest can be read")
}

fn linux_boots_by_tftp() {
    let folder = linux_by_tftp();
    linux_boots(&format!("user,model=e1000,tftp={},bootfile=boot.ipxe", folder.path()), &["--boot", "n"]);
    let _ = fs::remove_dir_all(&folder.0);
}

fn linux_boots_by_http() {
    let folder = linux_by_http();
    linux_boots(&format!("user,model=e1000,tftp={},bootfile=boot.ipxe", folder.path()), &["--boot", "n"]);
    let _ = fs::remove_dir_all(&folder.0);
}

/// By drivers of iPXE's own rather than the card's ROM: each model by one of the protocols.
fn linux_boots_by_ipxes_cd() {
    for (model, folder) in [("e1000", linux_by_tftp()), ("virtio", linux_by_http())] {
        let nic = format!("user,model={model},tftp={},bootfile=boot.ipxe", folder.path());
        linux_boots(&nic, &["--cdrom", CD, "--boot", "d"]);
        let _ = fs::remove_dir_all(&folder.0);
    }
}

/// Boots Linux by OVMF with this card; `files` are those of the TFTP server.
fn linux_boots_by_ovmf(card: &str, files: &[(&str, Vec<u8>)]) {
    let linux = [("vmlinuz", read(Guest::CloudKernel)), ("initrd", read(Guest::PowerOff))];
    let folder = folder(&[files, &linux].concat());
    let nic = format!("user,{card},tftp={}", folder.path());
    let variables = format!("if=pflash,unit=1,format=raw,snapshot=on,file={VARIABLES}");
    let said = linux_boots(&nic, &["--pflash", CODE, "--drive", &variables]);
    assert!(said.contains("EFI v2.70 by EDK II"), "{said}");
    let _ = fs::remove_dir_all(&folder.0);
}

/// OVMF has no driver for this card, and finds one in its ROM.
fn linux_boots_by_a_rom_for_uefi() {
    let card = format!("model=e1000,romfile={EFI_ROM},bootfile=boot.ipxe");
    linux_boots_by_ovmf(&card, &[("boot.ipxe", EFI_SCRIPT.to_vec())]);
}

/// For this card it has one. It loads shim, that GRUB, and that the kernel.
fn linux_boots_by_ovmfs_own_driver() {
    let grub = Guest::EfiNetLoader.path();
    let shim = fs::read(Path::new(&grub).with_file_name("bootnetx64.efi")).expect("shim");
    let script = b"linux /vmlinuz console=ttyS0\ninitrd /initrd\nboot\n".to_vec();
    let loaders = [
        ("bootnetx64.efi", shim),
        ("grubx64.efi", read(Guest::EfiNetLoader)),
        ("debian-installer/amd64/grub/grub.cfg", script),
    ];
    linux_boots_by_ovmf("model=virtio,bootfile=bootnetx64.efi", &loaders);
}
