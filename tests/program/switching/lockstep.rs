//! Two engines beside each other on what the BIOS boots from a disk.

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
