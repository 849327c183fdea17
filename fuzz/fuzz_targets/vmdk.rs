//! VMDK images: no file, descriptor or compressed grain makes a reader panic, hang or take memory without bound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trimotor_fuzz::{Input, images};
use trimotor_storage::Format;

const DESCRIPTOR: &str = "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"twoGbMaxExtentFlat\"\n\
RW 30 FLAT \"below\" 2\nRW 8 ZERO\nRW 20 FLAT \"below\"\n";

/// A sparse extent of 16 grains of 4 KiB; compressed ones hold an empty stream, which the input may change.
fn sparse(is_compressed: bool) -> Vec<u8> {
    let mut image = vec![0; 512];
    image[..4].copy_from_slice(b"KDMV");
    let flags: u32 = if is_compressed { 1 << 16 | 1 } else { 1 << 2 | 1 };
    let words = [(4, 1), (8, flags), (12, 128), (20, 8), (28, 5), (36, 1), (44, 4), (56, 1)];
    words
        .iter()
        .for_each(|(at, value): &(usize, u32)| image[*at..at + 4].copy_from_slice(&value.to_le_bytes()));
    if is_compressed {
        image[77] = 1;
    }
    let table = |entries: [u32; 4]| {
        let mut sector: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        sector.resize(512, 0);
        sector
    };
    image.extend(table([2, 0, 3, 0]));
    image.extend(table([6, 0, 7, 1]));
    image.extend(table([0, 6, 0, 0]));
    image.resize(5 * 512, 0);
    image.extend(b"# Disk DescriptorFile\nparentCID=ffffffff\n");
    image.resize(6 * 512, 0);
    let mut grain = vec![0; 8];
    grain.extend(8u32.to_le_bytes());
    grain.extend([0x78, 0x9C, 0x03, 0, 0, 0, 0, 1]);
    image.extend(grain);
    image.resize(20 * 512, 0xEF);
    image
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let image = match input.below(4) {
        0 => DESCRIPTOR.as_bytes().to_vec(),
        1 => [DESCRIPTOR.as_bytes(), input.bytes(64)].concat(),
        kind => sparse(kind == 3),
    };
    let image = images::spoil(image, &mut input);
    images::read_only(image, Format::Vmdk, &mut input);
});
