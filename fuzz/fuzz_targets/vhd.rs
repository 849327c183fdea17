//! VHD images: no file makes a reader panic, hang or take memory without bound.
//!
//! Checksums are set right after the input has changed the image, or no change would get past them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trimotor_fuzz::{Input, images};
use trimotor_storage::Format;

/// A footer for a disk of 64 KiB.
fn footer(kind: u32) -> Vec<u8> {
    let mut footer = vec![0; 512];
    footer[..8].copy_from_slice(b"conectix");
    footer[16..24].copy_from_slice(&(if kind == 3 { 512 } else { u64::MAX }).to_be_bytes());
    footer[28..32].copy_from_slice(b"win ");
    footer[48..56].copy_from_slice(&65536u64.to_be_bytes());
    footer[60..64].copy_from_slice(&kind.to_be_bytes());
    footer
}

fn valid(is_dynamic: bool) -> Vec<u8> {
    if !is_dynamic {
        return [vec![0xAB; 65536], footer(2)].concat();
    }
    let mut header = vec![0; 1024];
    header[..8].copy_from_slice(b"cxsparse");
    header[16..24].copy_from_slice(&1536u64.to_be_bytes());
    header[28..32].copy_from_slice(&16u32.to_be_bytes());
    header[32..36].copy_from_slice(&4096u32.to_be_bytes());
    let mut table = vec![0xFF; 512];
    table[4..8].copy_from_slice(&4u32.to_be_bytes());
    [footer(3), header, table, vec![0xCD; 512 + 4096], footer(3)].concat()
}

fn set_checksum(image: &mut [u8], at: usize, bytes: usize, checksum_at: usize) {
    let Some(part) = image.get_mut(at..at + bytes) else { return };
    part[checksum_at..checksum_at + 4].fill(0);
    let sum = part.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    part[checksum_at..checksum_at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let is_dynamic = input.below(4) > 0;
    let mut image = images::spoil(valid(is_dynamic), &mut input);
    let end = image.len().saturating_sub(512);
    if input.below(8) > 0 {
        set_checksum(&mut image, 0, 512, 64);
        set_checksum(&mut image, 512, 1024, 36);
        set_checksum(&mut image, end, 512, 64);
    }
    images::read_only(image, Format::Vhd, &mut input);
});
