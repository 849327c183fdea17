//! What loaders make of good files.

use super::*;

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
    let e = entry_of(&plan);
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
    assert_eq!((entry_of(&plan).mode, entry_of(&plan).rip), (EntryMode::Protected32, 1 << 20));
    assert_eq!(entry_of(&plan).cr0 & entry::CR0_PG, 0);
}

#[test]
fn a_vmlinux_with_a_linear_entry_point_is_entered_at_its_physical_one() {
    let (plan, _) = booted(elf64(0x200, b"Linux version 6.1", true));
    assert_eq!((entry_of(&plan).mode, entry_of(&plan).rip), (EntryMode::Long64, 0x10_0010));
}

#[test]
fn a_pvh_kernel_finds_modules_map_and_command_line() {
    let (plan, m) = booted(elf64(0x200, b"", true));
    assert_eq!((entry_of(&plan).mode, entry_of(&plan).rip), (EntryMode::Protected32, 0x10_0040));
    let info = entry_of(&plan).gpr[entry::RBX];
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
    assert_eq!((entry_of(&plan).rip, entry_of(&plan).gpr[entry::RAX]), (0x20_0040, 0x2BAD_B002));
    let info = entry_of(&plan).gpr[entry::RBX];
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
    let (plan, m) = booted(elf64(0x200, &multiboot2_header(), false));
    assert_eq!((entry_of(&plan).rip, entry_of(&plan).gpr[entry::RAX]), (0x10_0010, 0x36D7_6289));
    let info = entry_of(&plan).gpr[entry::RBX];
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
fn an_elf_multiboot_1_kernel_finds_its_symbols() {
    let (plan, m) = booted(multiboot1_elf32());
    let info = entry_of(&plan).gpr[entry::RBX];
    let field = |at: u64| u64::from(m.read_u32(PhysAddr(info + at)));
    assert_eq!(field(0) & 1 << 5, 1 << 5);
    assert_eq!((field(28), field(32), field(40)), (3, 40, 2));
    let section = |n: u64, at: u64| u64::from(m.read_u32(PhysAddr(field(36) + 40 * n + at)));
    assert_eq!(text_at(&m, section(1, 12)), "SYMBOLS!");
    assert_eq!(text_at(&m, section(2, 12) + section(1, 0)), ".symtab");
    let (plan, m) = booted(multiboot1_kludge());
    assert_eq!(m.read_u32(PhysAddr(entry_of(&plan).gpr[entry::RBX])) & 1 << 5, 0);
}

/// What small kernels rely on though no protocol promises it: selectors 8 and 10h in a GDT that stays, and a stack;
/// and nothing of the loader's where they put stacks and start-up code of their own.
#[test]
fn kernels_of_open_protocols_find_what_boot_loaders_leave() {
    for (kind, bytes) in images() {
        let (plan, m) = booted(bytes);
        let e = entry_of(&plan);
        if matches!(kind, KernelKind::BzImage | KernelKind::Vmlinux) {
            assert_eq!((e.cs.selector, e.ds.selector), (0x10, 0x18), "{kind:?}");
            continue;
        }
        assert_eq!((e.cs.selector, e.ds.selector, e.ss.selector), (8, 0x10, 0x10), "{kind:?}");
        assert_eq!(m.read_u64(PhysAddr(e.gdtr.base + 8)), 0x00CF_9B00_0000_FFFF, "{kind:?}");
        assert_eq!(m.read_u64(PhysAddr(e.gdtr.base + 16)), 0x00CF_9300_0000_FFFF, "{kind:?}");
        let stack = e.gpr[entry::RSP];
        let rest =
            plan.writes.iter().filter(|w| w.addr.0 >> 16 != 0xF && w.addr.0 >= 0x500 && w.addr.0 < 0x9_FC00);
        for write in rest {
            let end = write.addr.0 + write.len();
            assert!(write.addr.0 >= 0x1_0000 && end <= 0x8_0000, "{kind:?}: {:x?}", write.addr);
            assert!(end <= stack - 0x4000 || write.addr.0 >= stack || end == stack, "{kind:?}: the stack");
        }
        assert!(stack.is_multiple_of(16) && (0x1_4000..0x8_0000).contains(&stack), "{kind:?}: {stack:x}");
    }
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
    assert_eq!((entry_of(&plan).mode, entry_of(&plan).rip), (EntryMode::Real, 0x7C00));
    plan.apply(&GuestMemory::new(1 << 20, &[]).unwrap()).unwrap();
}
