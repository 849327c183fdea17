//! Synthetic guest files through all loaders.

mod hostile;
mod plans;

use super::*;
use crate::boot::bytes::Record;
use crate::tables::Platform;
use trimotor_bus::{GuestMemory, PhysAddr};

fn platform(mib: u64) -> Platform {
    Platform {
        memory: MemoryMap::new(mib << 20, 0),
        vcpus: 1,
        hpet: true,
        serial_ports: 1,
        pvpanic: false,
        vmgenid: false,
        pm_base: trimotor_bus::board::PM_BASE,
    }
}

fn file(name: &str, bytes: Vec<u8>) -> BootFile {
    BootFile { name: name.into(), bytes }
}

/// A relocatable 64-bit bzImage: preferred at 16 MiB, needing 8 MiB there.
pub fn bzimage() -> Vec<u8> {
    let mut r = Record::new(5 * 512 + 4096);
    r.u8(0x1F1, 4);
    r.u32(0x1F4, 4096 / 16);
    r.u16(0x1FE, 0xAA55);
    r.u8(0x201, 0x6A);
    r.put(0x202, b"HdrS");
    r.u16(0x206, 0x020F);
    r.u8(0x211, 1);
    r.u32(0x22C, 0x7FFF_FFFF);
    r.u32(0x230, 1 << 21);
    r.u8(0x234, 1);
    r.u16(0x236, 1);
    r.u32(0x238, 2047);
    r.u64(0x258, 16 << 20);
    r.u32(0x260, 8 << 20);
    r.0
}

/// An ELF64 executable at 1 MiB with a PVH note and, from `extra_at` on, other bytes.
fn elf64(extra_at: usize, extra: &[u8], pvh: bool) -> Vec<u8> {
    let mut r = Record::new(0x400);
    r.put(0, b"\x7FELF\x02\x01\x01");
    r.u16(16, 2);
    r.u16(18, 62);
    r.u32(20, 1);
    r.u64(24, 0xFFFF_FFFF_8010_0010); // a linear entry point
    r.u64(32, 64);
    r.u16(52, 64);
    r.u16(54, 56);
    r.u16(56, if pvh { 2 } else { 1 });
    r.u16(58, 64);
    let mut header = |at: usize, kind: u32, offset: u64, bytes: (u64, u64)| {
        r.u32(at, kind);
        r.u64(at + 8, offset);
        r.u64(at + 16, 0xFFFF_FFFF_8010_0000);
        r.u64(at + 24, 0x10_0000);
        r.u64(at + 32, bytes.0);
        r.u64(at + 40, bytes.1);
        r.u64(at + 48, 4);
    };
    header(64, 1, 0x200, (0x200, 0x2000));
    header(120, 4, 0x180, (20, 20));
    for (i, value) in [4u32, 4, 18].into_iter().enumerate() {
        r.u32(0x180 + 4 * i, value);
    }
    r.put(0x18C, b"Xen\0");
    r.u32(0x190, 0x10_0040);
    r.put(extra_at, extra);
    r.0
}

fn multiboot1_kludge() -> Vec<u8> {
    let mut r = Record::new(0x100);
    let flags = 1u32 << 16 | 3;
    for (i, value) in [
        0x1BAD_B002,
        flags,
        0u32.wrapping_sub(0x1BAD_B002).wrapping_sub(flags),
        0x20_0010, // header
        0x20_0000, // load
        0x20_0100, // load end
        0x20_0300, // bss end
        0x20_0040, // entry
    ]
    .into_iter()
    .enumerate()
    {
        r.u32(0x10 + 4 * i, value);
    }
    r.0
}

/// A Multiboot 1 kernel as an ELF32 executable at 1 MiB with a symbol section that belongs to no segment.
fn multiboot1_elf32() -> Vec<u8> {
    let mut r = Record::new(0x300);
    r.put(0, b"\x7FELF\x01\x01\x01");
    r.u16(16, 2);
    r.u16(18, 3);
    r.u32(20, 1);
    r.u32(24, 0x10_0020); // entry
    r.u32(28, 52); // program headers
    r.u32(32, 0x200); // section headers
    for (at, value) in [(40, 52), (42, 32), (44, 1), (46, 40), (48, 3), (50, 2)] {
        r.u16(at, value);
    }
    for (n, value) in [1u32, 0x100, 0x10_0000, 0x10_0000, 0x80, 0x1000, 7, 4].into_iter().enumerate() {
        r.u32(52 + 4 * n, value);
    }
    for (n, value) in [0x1BAD_B002u32, 3, 0u32.wrapping_sub(0x1BAD_B002 + 3)].into_iter().enumerate() {
        r.u32(0x100 + 4 * n, value);
    }
    r.put(0x180, b"SYMBOLS!");
    r.put(0x190, b"\0.symtab\0.shstrtab\0");
    // Name, type, flags, address, offset, size; then link, info, alignment, entry size.
    for (n, [name, kind, offset, size]) in [[1u32, 2, 0x180, 8], [9, 3, 0x190, 19]].into_iter().enumerate() {
        let at = 0x200 + 40 * (n + 1);
        for (field, value) in [(0, name), (4, kind), (16, offset), (20, size), (32, 4)] {
            r.u32(at + field, value);
        }
    }
    r.0
}

fn multiboot2_header() -> Vec<u8> {
    let magic = 0xE852_50D6u32;
    let length = 16 + 8 + 16 + 8;
    let mut r = Record::new(length as usize);
    for (i, v) in [magic, 0, length, 0u32.wrapping_sub(magic).wrapping_sub(length)].into_iter().enumerate() {
        r.u32(4 * i, v);
    }
    r.u16(16, 6);
    r.u32(20, 8);
    r.u16(24, 1);
    r.u32(28, 12);
    r.u32(32, 6);
    r.u32(44, 8);
    r.0
}

/// A good file of each kind.
fn images() -> Vec<(KernelKind, Vec<u8>)> {
    vec![
        (KernelKind::BzImage, bzimage()),
        (KernelKind::Vmlinux, elf64(0x200, b"Linux version 6.1", true)),
        (KernelKind::Pvh, elf64(0x200, b"", true)),
        (KernelKind::Multiboot1, multiboot1_kludge()),
        (KernelKind::Multiboot1, multiboot1_elf32()),
        (KernelKind::Multiboot2, elf64(0x200, &multiboot2_header(), false)),
    ]
}

fn request(bytes: Vec<u8>) -> BootRequest {
    let mut r = BootRequest::new(file("kernel", bytes));
    r.command_line = "console=ttyS0".into();
    r.initrd = Some(file("initrd", vec![0xAB; 5000]));
    r
}

/// The memory of a 64 MiB guest after the plan for `bytes`.
fn booted(bytes: Vec<u8>) -> (BootPlan, std::sync::Arc<GuestMemory>) {
    let plan = load(request(bytes), &platform(64)).unwrap();
    let memory = GuestMemory::new(64 << 20, &[]).unwrap();
    plan.apply(&memory).unwrap();
    (plan, memory)
}

fn text_at(memory: &GuestMemory, at: u64) -> String {
    let mut b = [0; 64];
    memory.read(PhysAddr(at), &mut b);
    b.iter().take_while(|&&c| c != 0).map(|&c| char::from(c)).collect()
}

/// The entry of a plan of direct boot, which always has one.
fn entry_of(plan: &BootPlan) -> &EntryState {
    plan.entry.as_ref().unwrap()
}
