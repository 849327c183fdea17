//! Two engines beside each other on what the BIOS boots from a disk.

use crate::networks::boot::{IPXE, ROM};
use crate::support::engines::JIT;
use crate::support::needs::Tests;
use crate::support::program::run_to_end;
use crate::support::small_guest::Scratch;
use iced_x86::code_asm::*;
use std::fs;

pub fn tests() -> Tests {
    Tests::needing(&[JIT])
        .test(a_disk_is_booted_on_both_and_written_by_neither)
        .test(a_comparison_may_begin_later)
        .test_needing(&[IPXE], what_a_network_brings_comes_to_both_and_comes_again)
        .test(events_that_cannot_be_replayed_are_refused)
}

const SECTOR: usize = 512;

/// Reads the second sector of the disk, adds one to its first byte, writes it as the third one, reads that, and says its first byte and
/// an exclamation mark on COM1.
fn boot_sector() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    let mut rest = a.create_label();
    a.xor(ax, ax)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.mov(ss, ax)?;
    a.mov(sp, 0x7000)?;
    // INT 13h: read (2) or write (3) a sector of the first hard disk.
    let disk = |a: &mut CodeAssembler, function: u32, sector: u32, buffer: u32| {
        a.mov(ax, function << 8 | 1)?;
        a.mov(cx, sector)?;
        a.mov(dx, 0x80)?;
        a.mov(bx, buffer)?;
        a.int(0x13)
    };
    disk(&mut a, 2, 2, 0x8000)?;
    a.inc(byte_ptr(0x8000))?;
    disk(&mut a, 3, 3, 0x8000)?;
    disk(&mut a, 2, 3, 0x8200)?;
    // Eight data bits.
    a.mov(dx, 0x3FB)?;
    a.mov(al, 3)?;
    a.out(dx, al)?;
    a.mov(dx, 0x3F8)?;
    a.mov(al, byte_ptr(0x8200))?;
    a.out(dx, al)?;
    a.mov(al, u32::from(b'!'))?;
    a.out(dx, al)?;
    a.set_label(&mut rest)?;
    a.hlt()?;
    a.jmp(rest)?;
    a.assemble(0x7C00)
}

fn disk() -> Scratch {
    let mut image = boot_sector().expect("it assembles");
    image.resize(SECTOR - 2, 0);
    image.extend([0x55, 0xAA, b'A']);
    image.resize(1 << 20, 0);
    let file = Scratch::new("lockstep.img");
    fs::write(&file.0, image).expect("a temporary file");
    file
}

fn a_disk_is_booted_on_both_and_written_by_neither() {
    let disk = disk();
    let before = fs::read(&disk.0).expect("the disk");
    let interface = format!("file={},if=virtio,format=raw", disk.path());
    for drive in [&["--drive", &interface][..], &[&disk.path()]] {
        let ended = run_to_end(&[&["lockstep", "--memory", "16M", "--exit-on", "B!"], drive].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.output.contains("B!"), "{ended:?}");
        assert!(ended.errors.contains("interp and jit are the same for "), "{ended:?}");
        assert!(fs::read(&disk.0).expect("the disk") == before, "the disk was written");
    }
}

fn a_comparison_may_begin_later() {
    let disk = disk();
    let range = ["lockstep", "--memory", "16M", "--every", "100", "--from", "200000", "--until", "210000"];
    let ended = run_to_end(&[&range[..], &[&disk.path()]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.errors.contains("interp and jit are the same for 210000 instructions"), "{ended:?}");
}

/// What iPXE boots from the network: says N! on COM1.
fn network_program() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    let mut rest = a.create_label();
    for (port, value) in [(0x3FBu32, 3), (0x3F8, b'N'), (0x3F8, b'!')] {
        a.mov(dx, port)?;
        a.mov(al, u32::from(value))?;
        a.out(dx, al)?;
    }
    a.set_label(&mut rest)?;
    a.hlt()?;
    a.jmp(rest)?;
    a.assemble(0x7C00)
}

fn what_a_network_brings_comes_to_both_and_comes_again() {
    let (folder, events) = (Scratch::new("lockstep-tftp"), Scratch::new("lockstep.events"));
    fs::create_dir_all(&folder.0).expect("a folder");
    fs::write(folder.0.join("boot.bin"), network_program().expect("it assembles")).expect("a file");
    let nic = format!("user,model=e1000,romfile={ROM},tftp={},bootfile=boot.bin", folder.path());
    let given = ["lockstep", "--memory", "16M", "--boot", "n", "--nic", &nic];
    let compare = |more: &[&str]| {
        let ended = run_to_end(&[&given[..], more].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.errors.contains("interp and jit are the same for "), "{ended:?}");
        ended.output
    };
    assert!(compare(&["--exit-on", "N!", "--record", &events.path()]).contains("N!"));
    // The network is gone, and what came from it is there again.
    let _ = fs::remove_dir_all(&folder.0);
    compare(&["--replay", &events.path(), "--from", "30000000", "--until", "30000100", "--every", "1"]);
}

fn events_that_cannot_be_replayed_are_refused() {
    let file = Scratch::new("no.events");
    let refused = |wanted: &str| {
        let ended = run_to_end(&["lockstep", "--replay", &file.path()]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.errors.contains(wanted), "{ended:?}");
    };
    refused("No such file");
    fs::write(&file.0, "no events").expect("a file");
    refused("it has no events: lockstep --record FILE");
}
