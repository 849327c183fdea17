//! VBE's modes. Numbers up to 11Bh are the standard's; those up to 19Bh are as other BIOSes for this card have
//! them, and those from 1A0h on are ours. Systems find modes by what function 01h says of them.

use super::super::dispi::{COLUMNS, ENABLE, LINES, MEMORY_BLOCKS, SHOW_LIMITS};
use super::super::mode_table::VBE_TEXT;
use crate::bios::asm::{Build, Module, code};
use iced_x86::code_asm::*;

/// Graphics modes: number, columns, lines, bits of a pixel (4: planar).
#[rustfmt::skip]
pub static GRAPHICS: &[(u16, u16, u16, u8)] = &[
    (0x100, 640, 400, 8), (0x101, 640, 480, 8), (0x102, 800, 600, 4), (0x103, 800, 600, 8),
    (0x104, 1024, 768, 4), (0x105, 1024, 768, 8), (0x106, 1280, 1024, 4), (0x107, 1280, 1024, 8),
    (0x10D, 320, 200, 15), (0x10E, 320, 200, 16), (0x10F, 320, 200, 24),
    (0x110, 640, 480, 15), (0x111, 640, 480, 16), (0x112, 640, 480, 24),
    (0x113, 800, 600, 15), (0x114, 800, 600, 16), (0x115, 800, 600, 24),
    (0x116, 1024, 768, 15), (0x117, 1024, 768, 16), (0x118, 1024, 768, 24),
    (0x119, 1280, 1024, 15), (0x11A, 1280, 1024, 16), (0x11B, 1280, 1024, 24),
    (0x11C, 1600, 1200, 8), (0x11D, 1600, 1200, 15), (0x11E, 1600, 1200, 16), (0x11F, 1600, 1200, 24),
    (0x140, 320, 200, 32), (0x141, 640, 400, 32), (0x142, 640, 480, 32), (0x143, 800, 600, 32),
    (0x144, 1024, 768, 32), (0x145, 1280, 1024, 32), (0x146, 320, 200, 8), (0x147, 1600, 1200, 32),
    (0x148, 1152, 864, 8), (0x149, 1152, 864, 15), (0x14A, 1152, 864, 16), (0x14B, 1152, 864, 24),
    (0x14C, 1152, 864, 32),
    (0x175, 1280, 768, 16), (0x176, 1280, 768, 24), (0x177, 1280, 768, 32),
    (0x178, 1280, 800, 16), (0x179, 1280, 800, 24), (0x17A, 1280, 800, 32),
    (0x17B, 1280, 960, 16), (0x17C, 1280, 960, 24), (0x17D, 1280, 960, 32),
    (0x17E, 1440, 900, 16), (0x17F, 1440, 900, 24), (0x180, 1440, 900, 32),
    (0x181, 1400, 1050, 16), (0x182, 1400, 1050, 24), (0x183, 1400, 1050, 32),
    (0x184, 1680, 1050, 16), (0x185, 1680, 1050, 24), (0x186, 1680, 1050, 32),
    (0x187, 1920, 1200, 16), (0x188, 1920, 1200, 24), (0x189, 1920, 1200, 32),
    (0x18A, 2560, 1600, 16), (0x18B, 2560, 1600, 24), (0x18C, 2560, 1600, 32),
    (0x18D, 1280, 720, 16), (0x18E, 1280, 720, 24), (0x18F, 1280, 720, 32),
    (0x190, 1920, 1080, 16), (0x191, 1920, 1080, 24), (0x192, 1920, 1080, 32),
    (0x193, 1600, 900, 16), (0x194, 1600, 900, 24), (0x195, 1600, 900, 32),
    (0x196, 2560, 1440, 16), (0x197, 2560, 1440, 24), (0x198, 2560, 1440, 32),
    (0x199, 3840, 2160, 16), (0x19A, 3840, 2160, 24), (0x19B, 3840, 2160, 32),
    (0x1A0, 4096, 2160, 8), (0x1A1, 4096, 2160, 15), (0x1A2, 4096, 2160, 16), (0x1A3, 4096, 2160, 24),
    (0x1A4, 4096, 2160, 32),
    (0x1A5, 1280, 720, 8), (0x1A6, 1280, 720, 15), (0x1A7, 1280, 800, 8), (0x1A8, 1440, 900, 8),
    (0x1A9, 1600, 900, 8), (0x1AA, 1680, 1050, 8), (0x1AB, 1920, 1080, 8), (0x1AC, 1920, 1080, 15),
    (0x1AD, 1920, 1200, 8), (0x1AE, 1920, 1200, 15), (0x1AF, 2560, 1440, 8), (0x1B0, 2560, 1600, 8),
    (0x1B1, 2560, 1600, 15), (0x1B2, 3840, 2160, 8), (0x1B3, 3840, 2160, 15), (0x1B4, 640, 400, 16),
];

/// Offsets in a row of the table in ROM: a word each for number, columns and lines, a byte each for bits and the row of the
/// [parameter table](super::super::parameters), which text modes have (their bits are 0).
pub(super) const ROW_COLUMNS: u32 = 2;
pub(super) const ROW_LINES: u32 = 4;
pub(super) const ROW_BITS: u32 = 6;
pub(super) const ROW_PARAMETERS: u32 = 7;
pub(super) const ROW_BYTES: u32 = 8;
/// How many rows there are.
pub(super) const ROWS: u32 = (GRAPHICS.len() + VBE_TEXT.len()) as u32;

fn table() -> Vec<u8> {
    let mut rows: Vec<(u16, u16, u16, u8, u8)> =
        GRAPHICS.iter().map(|&(number, columns, lines, bits)| (number, columns, lines, bits, 0)).collect();
    // Of text modes columns and rows of characters.
    let shape = |number: u16| match number {
        0x108 => (80, 60),
        0x109 => (132, 25),
        0x10A => (132, 43),
        0x10B => (132, 50),
        _ => (132, 60),
    };
    rows.extend(VBE_TEXT.iter().map(|&(number, row)| (number, shape(number).0, shape(number).1, 0, row)));
    rows.sort_unstable();
    let bytes = |(number, columns, lines, bits, row): &(u16, u16, u16, u8, u8)| {
        let words = [*number, *columns, *lines].map(u16::to_le_bytes);
        [words.concat(), vec![*bits, *row]].concat()
    };
    rows.iter().flat_map(bytes).collect()
}

pub(super) fn write(a: &mut Module) -> Build {
    let rows = a.bytes(&table());
    find(a, rows)?;
    fits(a)?;
    limits(a)
}

/// `vbe_find`: SI is the row of mode BX; CF: there is none, or it needs more than the card has. `vbe_rows`: SI is the
/// first row. Other registers are kept.
fn find(a: &mut Module, rows: u32) -> Build {
    let [next, known, end] = a.labels();
    code!(a;
        routine("vbe_rows");
        mov(si, rows);
        ret;
        routine("vbe_find");
        push(cx);
        mov(si, rows);
        mov(cx, ROWS);
        bind(next);
        cmp(word_ptr(si).cs(), bx);
        je(known);
        add(si, ROW_BYTES);
        loop_(next);
        stc;
        jmp(end);
        bind(known);
        invoke("vbe_fits");
        bind(end);
        pop(cx);
        ret
    );
    Ok(())
}

/// `vbe_fits`: CF: the mode of row SI needs more than the card has. `row_pitch`: EAX is the bytes of a line of
/// row SI. `row_planes`: EAX bytes in each plane as bytes of memory. Other registers are kept.
fn fits(a: &mut Module) -> Build {
    let [text, too_large, end, packed] = a.labels();
    code!(a;
        routine("vbe_fits");
        push(eax);
        push(ecx);
        push(edx);
        cmp(byte_ptr(si + ROW_BITS).cs(), 0);
        je(text);
        invoke("vbe_limits");
        cmp(ax, word_ptr(si + ROW_COLUMNS).cs());
        jb(too_large);
        cmp(dx, word_ptr(si + ROW_LINES).cs());
        jb(too_large);
        invoke("row_pitch");
        movzx(ecx, word_ptr(si + ROW_LINES).cs());
        mul(ecx);
        invoke("row_planes");
        mov(ecx, eax);
        invoke("vbe_memory");
        cmp(eax, ecx);
        jmp(end);
        bind(text);
        clc;
        jmp(end);
        bind(too_large);
        stc;
        bind(end);
        pop(edx);
        pop(ecx);
        pop(eax);
        ret;
        routine("row_pitch");
        push(cx);
        movzx(eax, word_ptr(si + ROW_COLUMNS).cs());
        mov(cl, byte_ptr(si + ROW_BITS).cs());
        invoke("bytes_of_pixels");
        pop(cx);
        ret;
        routine("row_planes");
        cmp(byte_ptr(si + ROW_BITS).cs(), 4);
        jne(packed);
        shl(eax, 2);
        bind(packed);
        ret
    );
    Ok(())
}

/// `vbe_limits`: AX and DX are the most columns and lines. `vbe_memory`: EAX is the card's memory in bytes. CX is kept.
fn limits(a: &mut Module) -> Build {
    code!(a;
        routine("vbe_limits");
        push(cx);
        push(bx);
        mov(ax, ENABLE);
        invoke("dispi_get");
        mov(bx, ax);
        mov(cx, ax);
        or(cx, SHOW_LIMITS);
        mov(ax, ENABLE);
        invoke("dispi_put");
        mov(ax, LINES);
        invoke("dispi_get");
        mov(dx, ax);
        mov(ax, COLUMNS);
        invoke("dispi_get");
        push(ax);
        mov(cx, bx);
        mov(ax, ENABLE);
        invoke("dispi_put");
        pop(ax);
        pop(bx);
        pop(cx);
        ret;
        routine("vbe_memory");
        mov(ax, MEMORY_BLOCKS);
        invoke("dispi_get");
        movzx(eax, ax);
        shl(eax, 16);
        ret
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_the_list_fits_its_place() {
        assert!(GRAPHICS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(table().len(), (ROWS * ROW_BYTES) as usize);
        // 222 bytes of the information block, with the end of the list.
        const { assert!(ROWS < 111) };
        // The registers count in eights.
        assert!(GRAPHICS.iter().all(|mode| mode.1 % 8 == 0));
    }
}
