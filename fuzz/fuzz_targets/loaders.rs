//! Kernel files: no file makes a loader panic, hang or write outside of memory.
//!
//! The first bytes of the input choose kind, size of memory and module; the rest is the file. Without seeds the fuzzer
//! would never find a header, so `seed` gives each input one of the headers where its first byte asks for it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trimotor_bus::GuestMemory;
use trimotor_firmware::boot::{BootFile, BootModule, BootRequest, KernelKind, load};
use trimotor_firmware::tables::{MemoryMap, Platform};
use trimotor_fuzz::Input;

const KINDS: [Option<KernelKind>; 7] = [
    None,
    Some(KernelKind::BzImage),
    Some(KernelKind::Vmlinux),
    Some(KernelKind::Pvh),
    Some(KernelKind::Multiboot1),
    Some(KernelKind::Multiboot2),
    Some(KernelKind::Flat),
];

/// Lays the head of a format over a file, as bytes at an offset.
fn seed(format: usize, file: &mut Vec<u8>) {
    let mut put = |at: usize, bytes: &[u8]| {
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    match format {
        1 => {
            // The Linux/x86 Boot Protocol, "The Real-Mode Kernel Header": 2.15, loaded high.
            put(0x1FE, &[0x55, 0xAA, 0xEB, 0x66]);
            put(0x202, b"HdrS\x0F\x02");
            put(0x211, &[1]);
        }
        2 => put(0, b"\x7FELF\x02\x01\x01"),
        3 => put(0, b"\x7FELF\x01\x01\x01"),
        4 => {
            let header =
                [0x1BAD_B002u32, 1 << 16, 0u32.wrapping_sub(0x1BAD_B002 + (1 << 16)), 0x10_0000, 0x10_0000];
            header.iter().enumerate().for_each(|(n, word)| put(4 * n, &word.to_le_bytes()));
        }
        5 => {
            let header = [0xE852_50D6u32, 0, 64, 0u32.wrapping_sub(0xE852_50D6 + 64)];
            header.iter().enumerate().for_each(|(n, word)| put(4 * n, &word.to_le_bytes()));
        }
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    const MIB: u64 = 1 << 20;
    let mut input = Input(data);
    let kind = KINDS[input.below(KINDS.len())];
    let format = input.below(6);
    let memory_bytes = [MIB, 4 * MIB, 64 * MIB][input.below(3)];
    let module = input.below(64);
    let module = input.bytes(module).to_vec();
    let mut kernel = input.bytes(usize::MAX).to_vec();
    seed(format, &mut kernel);
    let platform = Platform {
        memory: MemoryMap::new(memory_bytes, 0),
        vcpus: 2,
        hpet: true,
        serial_ports: 1,
        pvpanic: true,
        vmgenid: true,
        pm_base: trimotor_bus::board::PM_BASE,
    };
    let mut request = BootRequest::new(BootFile { name: "kernel".into(), bytes: kernel });
    request.kind = kind;
    request.command_line = "console=ttyS0".into();
    if !module.is_empty() {
        let file = BootFile { name: "module".into(), bytes: module };
        request.modules.push(BootModule { file, command_line: String::new() });
    }
    if let Ok(plan) = load(request, &platform) {
        let memory = GuestMemory::new(memory_bytes, &[]).expect("memory for a small guest");
        plan.apply(&memory).expect("a plan fits the memory that it was made for");
    }
});
