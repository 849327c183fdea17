//! Synthetic guest files through all loaders, and hostile variants of them.

use super::*;
use crate::boot::bytes::Record;
use crate::tables::Platform;
use trimotor_bus::{GuestMemory, PhysAddr};

fn platform(mib: u64) -> Platform {
    Platform { memory: MemoryMap::new(mib << 20, 0), vcpus: 1, hpet: true, serial_ports: 1, pvpanic: false }
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

fn images() -> Vec<(KernelKind, Vec<u8>)> {
    vec![
        (KernelKind::BzImage, bzimage()),
        (KernelKind::Vmlinux, elf64(0x200, b"Linux version 6.1", true)),
        (KernelKind::Pvh, elf64(0x200, b"", true)),
        (KernelKind::Multiboot1, multiboot1_kludge()),
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

#[test]
fn kinds_are_detected_and_plans_are_free_of_overlap() {
    for (kind, bytes) in images() {
        assert_eq!(detect(&file("k", bytes.clone())).unwrap(), kind);
        let (plan, _) = booted(bytes);
        let mut ranges: Vec<_> = plan.writes.iter().map(|w| (w.addr.0, w.addr.0 + w.len())).collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|w| w[0].1 <= w[1].0), "{kind:?}: {ranges:x?}");
    }
}

#[test]
fn a_64_bit_bzimage_finds_its_zero_page() {
    let (plan, m) = booted(bzimage());
    let e = &plan.entry;
    assert_eq!((e.mode, e.rip), (EntryMode::Long64, (16 << 20) + 0x200));
    let zero_page = e.gpr[entry::RSI];
    assert_eq!(m.read_u32(PhysAddr(zero_page + 0x202)), u32::from_le_bytes(*b"HdrS"));
    assert_eq!(m.read_u32(PhysAddr(zero_page + 0x214)), 16 << 20);
    assert_eq!(text_at(&m, m.read_u32(PhysAddr(zero_page + 0x228)).into()), "console=ttyS0");
    let (initrd, bytes) = (m.read_u32(PhysAddr(zero_page + 0x218)), m.read_u32(PhysAddr(zero_page + 0x21C)));
    assert_eq!(bytes, 5000);
    assert_eq!(initrd, (64 << 20) - 8192);
    assert_eq!(m.read_u32(PhysAddr(initrd.into())), 0xABAB_ABAB);
    assert_eq!(m.read_u64(PhysAddr(zero_page + 0x70)), 0xF_0000);
    assert_eq!(m.read_u64(PhysAddr(e.gdtr.base + 0x10)), e.cs.descriptor());
    assert_eq!(m.read_u64(PhysAddr(e.cr3)) & !0xFFF, e.cr3 + 0x1000);
}

#[test]
fn an_old_bzimage_is_entered_in_32_bit_mode_at_1_mib() {
    let mut bytes = bzimage();
    bytes[0x206] = 3; // protocol 2.03: no relocation, no 64-bit entry
    let (plan, _) = booted(bytes);
    assert_eq!((plan.entry.mode, plan.entry.rip), (EntryMode::Protected32, 1 << 20));
    assert_eq!(plan.entry.cr0 & entry::CR0_PG, 0);
}

#[test]
fn a_vmlinux_with_a_linear_entry_point_is_entered_at_its_physical_one() {
    let (plan, _) = booted(images()[1].1.clone());
    assert_eq!((plan.entry.mode, plan.entry.rip), (EntryMode::Long64, 0x10_0010));
}

#[test]
fn a_pvh_kernel_finds_modules_map_and_command_line() {
    let (plan, m) = booted(images()[2].1.clone());
    assert_eq!((plan.entry.mode, plan.entry.rip), (EntryMode::Protected32, 0x10_0040));
    let info = plan.entry.gpr[entry::RBX];
    assert_eq!(m.read_u32(PhysAddr(info)), 0x336E_C578);
    assert_eq!(m.read_u32(PhysAddr(info + 12)), 1);
    let module = m.read_u64(PhysAddr(info + 16));
    assert_eq!(m.read_u64(PhysAddr(module + 8)), 5000);
    assert_eq!(m.read_u32(PhysAddr(m.read_u64(PhysAddr(module)))), 0xABAB_ABAB);
    assert_eq!(text_at(&m, m.read_u64(PhysAddr(info + 24))), "console=ttyS0");
    assert_eq!(m.read_u64(PhysAddr(info + 32)), 0xF_0000);
    assert_eq!(m.read_u64(PhysAddr(m.read_u64(PhysAddr(info + 40)) + 8)), 0x9_FC00);
}

#[test]
fn a_multiboot_1_kernel_finds_its_information() {
    let (plan, m) = booted(multiboot1_kludge());
    assert_eq!((plan.entry.rip, plan.entry.gpr[entry::RAX]), (0x20_0040, 0x2BAD_B002));
    let info = plan.entry.gpr[entry::RBX];
    let field = |at: u64| u64::from(m.read_u32(PhysAddr(info + at)));
    assert_eq!((field(4), field(8)), (639, 63 << 10));
    assert_eq!(text_at(&m, field(16)), "kernel console=ttyS0");
    assert_eq!(field(20), 1);
    let module = field(24);
    let start = u64::from(m.read_u32(PhysAddr(module)));
    assert_eq!(u64::from(m.read_u32(PhysAddr(module + 4))) - start, 5000);
    assert!(start >= 0x20_0300);
    assert_eq!(m.read_u32(PhysAddr(start)), 0xABAB_ABAB);
    assert_eq!(text_at(&m, u64::from(m.read_u32(PhysAddr(module + 8)))), "initrd");
    assert_eq!(text_at(&m, field(64)), BOOT_LOADER_NAME);
    assert_eq!(field(88), 0xB_8000);
}

#[test]
fn a_multiboot_2_kernel_finds_its_tags() {
    let (plan, m) = booted(images()[4].1.clone());
    assert_eq!((plan.entry.rip, plan.entry.gpr[entry::RAX]), (0x10_0010, 0x36D7_6289));
    let info = plan.entry.gpr[entry::RBX];
    let total = u64::from(m.read_u32(PhysAddr(info)));
    let (mut at, mut kinds) = (info + 8, Vec::new());
    while at < info + total {
        kinds.push(m.read_u32(PhysAddr(at)));
        at += u64::from(m.read_u32(PhysAddr(at + 4))).next_multiple_of(8);
    }
    assert_eq!(kinds, [1, 2, 3, 4, 6, 8, 14, 15, 0]);
    assert_eq!(at, info + total);
}

#[test]
fn what_cannot_work_is_said_in_words() {
    let words = |r: BootRequest, mib: u64| load(r, &platform(mib)).unwrap_err().to_string();
    let e = words(request(bzimage()), 16);
    assert!(e.contains("kernel") && e.contains("--memory 32M"), "{e}");
    let mut r = request(bzimage());
    r.initrd = Some(file("big.cpio", vec![0; 60 << 20]));
    let e = words(r, 64);
    assert!(e.starts_with("big.cpio: ") && e.contains("--memory 96M"), "{e}");
    let mut r = request(bzimage());
    r.command_line = "x".repeat(3000);
    assert!(words(r, 64).contains("2047"));
    let mut r = request(bzimage());
    r.command_line = "a\0b".into();
    assert!(words(r, 64).contains("NUL"));
    let mut short = bzimage();
    short.truncate(4000);
    assert!(words(request(short), 64).contains("truncated"));
    let mut arm = elf64(0x200, b"", false);
    arm[18] = 183;
    assert!(words(request(arm), 64).contains("AARCH64"));
    assert!(words(request(elf64(0x200, b"", false)), 64).contains("neither Linux"));
    let mut r = request(bzimage());
    let module = |n: &str| BootModule { file: file(n, vec![1]), command_line: String::new() };
    r.modules = vec![module("a"), module("b")];
    assert!(words(r, 64).contains("--module"));
    let mut r = request(vec![0x90; 1 << 20]);
    r.kind = Some(KernelKind::Flat);
    r.initrd = None;
    assert!(words(r, 64).contains("flat image"));
}

#[test]
fn a_flat_image_is_entered_in_real_mode() {
    let mut r = BootRequest::new(file("demo", vec![0xF4; 40000]));
    r.kind = Some(KernelKind::Flat);
    let plan = load(r, &platform(1)).unwrap();
    assert_eq!((plan.entry.mode, plan.entry.rip), (EntryMode::Real, 0x7C00));
    plan.apply(&GuestMemory::new(1 << 20, &[]).unwrap()).unwrap();
}

/// A small generator of numbers: tests must not depend on chance.
struct Lcg(u64);
impl Lcg {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n
    }
}

/// Boots a hostile file as its own kind and as every other: it may fail, it may not panic, and
/// what it writes lies in RAM.
fn survives(bytes: &[u8], kinds: &[Option<KernelKind>]) {
    for &kind in kinds {
        let mut r = request(bytes.to_vec());
        r.kind = kind;
        if let Ok(plan) = load(r, &platform(64)) {
            assert!(plan.writes.iter().all(|w| w.addr.0 + w.len() <= 64 << 20));
        }
    }
}

const ALL_KINDS: [Option<KernelKind>; 7] = [
    None,
    Some(KernelKind::BzImage),
    Some(KernelKind::Vmlinux),
    Some(KernelKind::Pvh),
    Some(KernelKind::Multiboot1),
    Some(KernelKind::Multiboot2),
    Some(KernelKind::Flat),
];

#[test]
fn truncated_images_do_not_panic() {
    for (_, bytes) in images() {
        for len in (0..bytes.len()).step_by(if bytes.len() > 2000 { 7 } else { 1 }) {
            survives(&bytes[..len], &ALL_KINDS);
        }
    }
}

#[test]
fn damaged_images_do_not_panic() {
    let mut random = Lcg(42);
    for (_, bytes) in images() {
        for _ in 0..1000 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(damaged.len().min(0x2A0));
                match random.below(3) {
                    0 => damaged[at] ^= 1 << random.below(8),
                    1 => damaged[at] = 0xFF,
                    _ => {
                        let end = (at + 8).min(damaged.len());
                        damaged[at..end].fill(if random.below(2) == 0 { 0xFF } else { 0 });
                    }
                }
            }
            survives(&damaged, &ALL_KINDS[..1 + 6 * usize::from(random.below(8) == 0)]);
        }
    }
}
