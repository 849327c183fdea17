//! The colours that modes start with.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem", "Video DAC".

use super::mode_table::Colours;
use super::palette::{DAC_MASK, DAC_WRITE};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::bda;
use iced_x86::code_asm::*;

/// Bit of the video flags: a mode leaves the DAC as it is.
pub(super) const KEEP_COLOURS: u32 = 1 << 3;
/// Likewise: the DAC gets grey levels.
pub(super) const GREY: u32 = 1 << 1;

/// The DAC's components, six bits each, for a set of colours.
fn components(colours: Colours) -> Vec<u8> {
    match colours {
        Colours::Mono => {
            (0..64u8).flat_map(|n| [[0, 0x2A, 0x15, 0x3F][usize::from(n >> 3 & 3)]; 3]).collect()
        }
        Colours::Cga => (0..64u8).flat_map(|n| cga(n & 7 | n >> 1 & 8)).collect(),
        Colours::Ega => (0..64u8).flat_map(ega).collect(),
        Colours::All => (0..16).flat_map(cga).chain(greys()).chain(hues()).chain([0; 24]).collect(),
    }
}

/// A colour of the CGA: blue, green, red and intensity from bit 0 on. Dark yellow is brown.
fn cga(n: u8) -> [u8; 3] {
    let bright = if n & 8 != 0 { 0x15 } else { 0 };
    let component = |bit: u8| (n >> bit & 1) * 0x2A + bright;
    if n == 6 { [0x2A, 0x15, 0] } else { [component(2), component(1), component(0)] }
}
/// A colour of the EGA: two bits for each component, the upper three bits dim.
fn ega(n: u8) -> [u8; 3] {
    let component = |strong: u8, weak: u8| (n >> strong & 1) * 0x2A + (n >> weak & 1) * 0x15;
    [component(2, 5), component(1, 4), component(0, 3)]
}
fn greys() -> impl Iterator<Item = u8> {
    [0u8, 5, 8, 0x0B, 0x0E, 0x11, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x28, 0x2D, 0x32, 0x38, 0x3F]
        .into_iter()
        .flat_map(|level| [level; 3])
}
/// Three intensities of three saturations of 24 hues, from blue by red and green back.
fn hues() -> impl Iterator<Item = u8> {
    /// From the lowest component to the highest.
    const LEVELS: [[u8; 5]; 9] = [
        [0x00, 0x10, 0x1F, 0x2F, 0x3F],
        [0x1F, 0x27, 0x2F, 0x37, 0x3F],
        [0x2D, 0x31, 0x36, 0x3A, 0x3F],
        [0x00, 0x07, 0x0E, 0x15, 0x1C],
        [0x0E, 0x11, 0x15, 0x18, 0x1C],
        [0x14, 0x16, 0x18, 0x1A, 0x1C],
        [0x00, 0x04, 0x08, 0x0C, 0x10],
        [0x08, 0x0A, 0x0C, 0x0E, 0x10],
        [0x0B, 0x0C, 0x0D, 0x0F, 0x10],
    ];
    LEVELS.into_iter().flat_map(|levels| {
        (0..24usize).flat_map(move |hue| {
            let step = hue % 4;
            let (rising, falling) = (levels[step], levels[4 - step]);
            let (low, high) = (levels[0], levels[4]);
            match hue / 4 {
                0 => [rising, low, high],
                1 => [high, low, falling],
                2 => [high, rising, low],
                3 => [falling, high, low],
                4 => [low, high, rising],
                _ => [low, falling, high],
            }
        })
    })
}

/// `load_colours`: gives the DAC the set BL. SI is kept.
pub(super) fn write(a: &mut Module) -> Build {
    let sets = [Colours::Mono, Colours::Cga, Colours::Ega, Colours::All].map(components);
    let places: Vec<u16> = sets.iter().map(|set| a.bytes(set) as u16).collect();
    let lengths: Vec<u16> = sets.iter().map(|set| set.len() as u16).collect();
    let (places, lengths) = (a.words(&places), a.words(&lengths));
    let [keep, next, grey_next] = a.labels();
    code!(a;
        routine("load_colours");
        mov(dx, DAC_MASK);
        mov(al, 0xFF);
        out(dx, al);
        test(byte_ptr(bda::VIDEO_FLAGS), KEEP_COLOURS);
        jnz(keep);
        mov(bh, 0);
        add(bx, bx);
        mov(cx, word_ptr(bx + lengths).cs());
        mov(di, word_ptr(bx + places).cs());
        mov(dx, DAC_WRITE);
        mov(al, 0);
        out(dx, al);
        inc(dx);
        bind(next);
        mov(al, byte_ptr(di).cs());
        out(dx, al);
        inc(di);
        loop_(next);
        test(byte_ptr(bda::VIDEO_FLAGS), GREY);
        jz(keep);
        xor(bx, bx);
        bind(grey_next);
        invoke("grey");
        inc(bl);
        jnz(grey_next);
        bind(keep);
        ret
    );
    Ok(())
}
