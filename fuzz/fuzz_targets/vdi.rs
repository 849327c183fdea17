//! VDI images: no file makes a reader panic, hang or take memory without bound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trimotor_fuzz::{Input, images};
use trimotor_storage::Format;

/// Eight blocks of 512 bytes, every other of which is there.
fn valid() -> Vec<u8> {
    let mut image = vec![0; 1024];
    let mut put = |at: usize, value: u32| image[at..at + 4].copy_from_slice(&value.to_le_bytes());
    for (at, value) in
        [(0x40, 0xBEDA_107F), (0x44, 0x1_0001), (0x48, 0x180), (0x4C, 1), (0x154, 512), (0x158, 1024)]
    {
        put(at, value);
    }
    for (at, value) in [(0x168, 512), (0x170, 4096), (0x178, 512), (0x180, 8), (0x184, 4)] {
        put(at, value);
    }
    (0..8).for_each(|block| put(512 + 4 * block, if block % 2 == 0 { block as u32 / 2 } else { u32::MAX }));
    image.resize(1024 + 4 * 512, 0xAB);
    image
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let image = images::spoil(valid(), &mut input);
    images::read_only(image, Format::Vdi, &mut input);
});
