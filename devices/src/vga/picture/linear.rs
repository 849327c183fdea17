//! DISPI modes: pixels lie in memory one after the other; or, with 4 bits each, in planes.

use super::dirty::DirtyPages;
use super::{LinearLook, put};
use crate::display::{Damage, Surface};
use crate::vga::dispi;
use trimotor_bus::MemoryRegion;

/// Draws the lines whose pages were written, or all.
pub(super) fn draw(
    look: &LinearLook,
    memory: &MemoryRegion,
    dirty: &DirtyPages,
    surface: &mut Surface,
    damage: &mut Damage,
    all: bool,
) {
    let mode = look.mode;
    let line_bytes = if mode.bits == 4 {
        4 * (mode.skipped + mode.width).div_ceil(8)
    } else {
        mode.width * dispi::bytes(mode.bits) as usize
    };
    let mut bytes = vec![0; line_bytes];
    let mut pixels = vec![0; mode.width];
    for y in 0..mode.height {
        let start = mode.start + y as u64 * mode.pitch;
        if !all && !dirty.touches(start..start + line_bytes as u64) {
            continue;
        }
        memory.read(start, &mut bytes);
        convert(look, &bytes, &mut pixels);
        put(surface, damage, 0, y, &pixels);
    }
}

/// Turns a line of memory into pixels of 00RRGGBBh.
fn convert(look: &LinearLook, bytes: &[u8], pixels: &mut [u32]) {
    let word = |pair: &[u8]| {
        let pair = [pair[0], pair[1]];
        u32::from(if look.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
    };
    let five = |value: u32| (value & 31) << 3 | (value & 31) >> 2;
    let six = |value: u32| (value & 63) << 2 | (value & 63) >> 4;
    match look.mode.bits {
        4 => {
            for (x, pixel) in pixels.iter_mut().enumerate() {
                let at = x + look.mode.skipped;
                let planes = bytes.get(at / 8 * 4..).unwrap_or_default();
                let code =
                    planes.iter().take(4).rev().fold(0, |code, byte| code << 1 | byte >> (7 - at % 8) & 1);
                *pixel = look.palette[code as usize & 15];
            }
        }
        8 => pixels.iter_mut().zip(bytes).for_each(|(pixel, byte)| *pixel = look.colours[*byte as usize]),
        15 => pixels.iter_mut().zip(bytes.chunks_exact(2)).for_each(|(pixel, pair)| {
            let value = word(pair);
            *pixel = five(value >> 10) << 16 | five(value >> 5) << 8 | five(value);
        }),
        16 => pixels.iter_mut().zip(bytes.chunks_exact(2)).for_each(|(pixel, pair)| {
            let value = word(pair);
            *pixel = five(value >> 11) << 16 | six(value >> 5) << 8 | five(value);
        }),
        24 => pixels.iter_mut().zip(bytes.chunks_exact(3)).for_each(|(pixel, c)| {
            let c = if look.big_endian { [c[2], c[1], c[0]] } else { [c[0], c[1], c[2]] };
            *pixel = u32::from_le_bytes([c[0], c[1], c[2], 0]);
        }),
        _ => pixels.iter_mut().zip(bytes.chunks_exact(4)).for_each(|(pixel, c)| {
            let c = [c[0], c[1], c[2], c[3]];
            let value = if look.big_endian { u32::from_be_bytes(c) } else { u32::from_le_bytes(c) };
            *pixel = value & 0xFF_FFFF;
        }),
    }
}
