//! Function 11h: fonts. Text modes take characters from plane 2, in which each has 32 bytes; graphics modes draw them, from
//! where vector 43h points.

use super::font;
use super::set_mode::{DEFAULT_CURSOR, LINES_200, LINES_400};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{VIDEO_SEGMENT, bda, frame};
use iced_x86::code_asm::*;

/// Lines of a character at most: a cell of plane 2.
const MOST_LINES: u32 = 32;

pub(super) fn write(a: &mut Module) -> Build {
    let lines_16 = a.bytes(font::LINES_16);
    let lines_14 = a.bytes(font::LINES_14);
    let lines_8 = a.bytes(font::LINES_8);
    let segment = u32::from(VIDEO_SEGMENT);
    let [graphics, set] = a.labels();
    code!(a;
        // 1Fh: the upper half of the 8x8 font. 43h: the font of the mode. DS is 0.
        routine("font_vectors");
        mov(dword_ptr(4 * 0x1F), segment << 16 | (lines_8 + 128 * 8));
        mov(dword_ptr(4 * 0x43), segment << 16 | lines_16);
        ret;
        // BL is the kind of the mode.
        routine("default_font");
        mov(ax, lines_16);
        mov(cl, byte_ptr(bda::CHARACTER_LINES));
        cmp(cl, 16);
        je(set);
        mov(ax, lines_14);
        cmp(cl, 14);
        je(set);
        mov(ax, lines_8);
        bind(set);
        push(ds);
        push(0);
        pop(ds);
        mov(word_ptr(4 * 0x43), ax);
        mov(word_ptr(4 * 0x43 + 2), segment);
        pop(ds);
        test(bl, bl);
        jnz(graphics);
        push(si);
        mov(si, ax);
        push(cs);
        pop(es);
        mov(bh, byte_ptr(bda::CHARACTER_LINES));
        mov(bl, 0);
        mov(cx, 256);
        xor(dx, dx);
        invoke("load_characters");
        pop(si);
        bind(graphics);
        ret
    );
    services(a, [lines_16, lines_14, lines_8])?;
    recalculate(a)?;
    graphics_fonts(a, [lines_16, lines_14, lines_8])?;
    information(a, [lines_16, lines_14, lines_8])?;
    load(a)
}

/// Functions 00h to 04h load a font; with bit 4 the rows are counted anew. 03h chooses among loaded ones.
fn services(a: &mut Module, [lines_16, lines_14, lines_8]: [u32; 3]) -> Build {
    let [rom, no_rows, not_user] = a.labels();
    a.routine("font")?;
    for (function, routine) in [
        (0x03, "font_blocks"),
        (0x20, "font_upper_set"),
        (0x21, "font_graphics_set"),
        (0x22, "font_graphics_14"),
        (0x23, "font_graphics_8"),
        (0x24, "font_graphics_16"),
        (0x30, "font_information"),
    ] {
        let routine = a.at(routine);
        code!(a; cmp(al, function); je(routine));
    }
    code!(a;
        mov(ah, al);
        and(ah, 0xEF);
        test(ah, ah);
        jnz(not_user);
        mov(es, word_ptr(bp + frame::ES));
        mov(si, word_ptr(bp + frame::BP));
        jmp(rom);
        bind(not_user);
    );
    let load_rom = a.label();
    for (function, lines, at) in [(1u32, 14u32, lines_14), (2, 8, lines_8), (4, 16, lines_16)] {
        let other = a.label();
        code!(a; cmp(ah, function); jne(other); mov(bh, lines); mov(si, at); jmp(load_rom); bind(other));
    }
    code!(a;
        goto("leave");
        bind(load_rom);
        push(cs);
        pop(es);
        xor(dx, dx);
        mov(cx, 256);
        bind(rom);
        push(bx);
        invoke("load_characters");
        pop(bx);
        test(byte_ptr(bp + frame::AX), 0x10);
        jz(no_rows);
        invoke("font_rows");
        bind(no_rows);
        goto("leave");
        routine("font_blocks");
        mov(dx, 0x3C4);
        mov(al, 3);
        mov(ah, bl);
        out(dx, ax);
        goto("leave")
    );
    Ok(())
}

/// `font_rows`: characters have BH lines from now on, and as many rows fit as the screen has lines. 200 lines are 400, each
/// shown twice.
fn recalculate(a: &mut Module) -> Build {
    let [some, known, once, ibm] = a.labels();
    code!(a;
        routine("font_rows");
        // A cell has 32 lines.
        dec(bh);
        cmp(bh, MOST_LINES);
        inc(bh);
        jb(some);
        ret;
        bind(some);
        // The text modes of VBE have what they have; IBM's have what function 12h chose.
        movzx(si, byte_ptr(bda::ROWS));
        inc(si);
        mov(ax, word_ptr(bda::CHARACTER_LINES));
        mul(si);
        mov(si, ax);
        cmp(word_ptr(bda::VBE_MODE), 0);
        je(ibm);
        // Lines that no row has at the bottom: 43 rows of 8 leave six of 350.
        cmp(si, 400);
        jbe(ibm);
        mov(si, 480);
        jmp(known);
        bind(ibm);
        mov(al, byte_ptr(bda::VIDEO_FLAGS));
        mov(si, 200);
        test(al, LINES_200);
        jnz(known);
        mov(si, 400);
        test(al, LINES_400);
        jnz(known);
        mov(si, 350);
        bind(known);
        mov(byte_ptr(bda::CHARACTER_LINES), bh);
        mov(dx, word_ptr(bda::CRTC_PORT));
        mov(al, 9);
        out(dx, al);
        inc(dx);
        in_(al, dx);
        mov(cl, al);
        and(al, 0xE0);
        mov(ah, bh);
        dec(ah);
        or(al, ah);
        out(dx, al);
        dec(dx);
        mov(ax, si);
        div(bh);
        mov(ch, al);
        dec(al);
        mov(byte_ptr(bda::ROWS), al);
        // The last line that is shown: its low eight bits; bit 8 is set as before.
        mov(al, ch);
        mul(bh);
        test(cl, 0x80);
        jz(once);
        add(ax, ax);
        bind(once);
        dec(ax);
        mov(ah, al);
        mov(al, 0x12);
        out(dx, ax);
        // A page is a multiple of 2 KiB.
        mov(al, ch);
        mul(byte_ptr(bda::COLUMNS));
        add(ax, ax);
        add(ax, 0x7FF);
        and(ax, 0xF800);
        mov(word_ptr(bda::PAGE_BYTES), ax);
        mov(word_ptr(bda::CURSOR_SHAPE), DEFAULT_CURSOR);
        goto("cursor_show")
    );
    Ok(())
}

/// Functions 20h to 24h: fonts of graphics modes. BL (and DL) say how many rows there are.
fn graphics_fonts(a: &mut Module, [lines_16, lines_14, lines_8]: [u32; 3]) -> Build {
    let rows = a.bytes(&[0, 14, 25, 43]);
    let [given, known, set, bad] = a.labels();
    code!(a;
        routine("font_upper_set");
        mov(ax, word_ptr(bp + frame::ES));
        mov(dx, word_ptr(bp + frame::BP));
        xor(bx, bx);
        mov(ds, bx);
        mov(word_ptr(4 * 0x1F), dx);
        mov(word_ptr(4 * 0x1F + 2), ax);
        goto("leave");
        routine("font_graphics_set");
        mov(si, word_ptr(bp + frame::BP));
        mov(es, word_ptr(bp + frame::ES));
        jmp(set)
    );
    for (name, lines, at) in [
        ("font_graphics_14", 14u32, lines_14),
        ("font_graphics_8", 8, lines_8),
        ("font_graphics_16", 16, lines_16),
    ] {
        code!(a; routine(name); mov(cx, lines); mov(si, at); push(cs); pop(es); jmp(set));
    }
    code!(a;
        bind(set);
        dec(cx);
        cmp(cx, MOST_LINES);
        inc(cx);
        jae(bad);
        mov(word_ptr(bda::CHARACTER_LINES), cx);
        test(bl, bl);
        jz(given);
        movzx(bx, bl);
        and(bl, 3);
        mov(dl, byte_ptr(bx + rows).cs());
        bind(given);
        test(dl, dl);
        jz(known);
        dec(dl);
        mov(byte_ptr(bda::ROWS), dl);
        bind(known);
        mov(ax, es);
        xor(bx, bx);
        mov(ds, bx);
        mov(word_ptr(4 * 0x43), si);
        mov(word_ptr(4 * 0x43 + 2), ax);
        bind(bad);
        goto("leave")
    );
    Ok(())
}

/// Function 30h: ES:BP is the font BH, CX the lines of a character, DL the rows less one.
fn information(a: &mut Module, [lines_16, lines_14, lines_8]: [u32; 3]) -> Build {
    // 5 and 7 are lists of characters that differ in cells of nine pixels: there are none.
    let nothing = a.bytes(&[0]);
    let places = [lines_14, lines_8, lines_8 + 128 * 8, nothing, lines_16, nothing];
    let places = a.words(&places.map(|at| at as u16));
    let [vector, set, bad] = a.labels();
    code!(a;
        routine("font_information");
        mov(ax, word_ptr(bda::CHARACTER_LINES));
        mov(word_ptr(bp + frame::CX), ax);
        mov(al, byte_ptr(bda::ROWS));
        mov(byte_ptr(bp + frame::DX), al);
        cmp(bh, 7);
        ja(bad);
        movzx(si, bh);
        sub(si, 2);
        jc(vector);
        add(si, si);
        mov(di, word_ptr(si + places).cs());
        mov(ax, cs);
        jmp(set);
        // 0 is vector 1Fh, 1 vector 43h.
        bind(vector);
        xor(ax, ax);
        mov(ds, ax);
        mov(si, 4 * 0x1F);
        test(bh, bh);
    );
    let first = a.label();
    code!(a;
        jz(first);
        mov(si, 4 * 0x43);
        bind(first);
        mov(di, word_ptr(si));
        mov(ax, word_ptr(si + 2));
        bind(set);
        mov(word_ptr(bp + frame::BP), di);
        mov(word_ptr(bp + frame::ES), ax);
        bind(bad);
        goto("leave")
    );
    Ok(())
}

/// `load_characters`: CX characters of BH lines from ES:SI on, from character DX on, into block BL of plane 2.
fn load(a: &mut Module) -> Build {
    let open = [(0x3C4u32, 0x0100u32), (0x3C4, 0x0402), (0x3C4, 0x0704), (0x3C4, 0x0300)];
    let open = open.into_iter().chain([(0x3CE, 0x0204), (0x3CE, 0x0005), (0x3CE, 0x0406)]);
    let close = [(0x3C4u32, 0x0100u32), (0x3C4, 0x0302), (0x3C4, 0x0304), (0x3C4, 0x0300)];
    let close = close.into_iter().chain([(0x3CE, 0x0004), (0x3CE, 0x1005)]);
    let [next, colour] = a.labels();
    code!(a; routine("load_characters"); push(dx));
    for (port, value) in open {
        code!(a; mov(dx, port); mov(ax, value); out(dx, ax));
    }
    code!(a;
        pop(dx);
        // Blocks 0 to 3 lie 16 KiB apart, 4 to 7 between them.
        movzx(di, bl);
        and(di, 3);
        shl(di, 14);
        test(bl, 4);
        push(ds);
        push(es);
        pop(ds);
    );
    let low = a.label();
    code!(a;
        jz(low);
        add(di, 0x2000);
        bind(low);
        shl(dx, 5);
        add(di, dx);
        mov(ax, 0xA000);
        mov(es, ax);
        mov(dx, cx);
        bind(next);
        push(di);
        movzx(cx, bh);
        rep_movsb();
        pop(di);
        add(di, 32);
        dec(dx);
        jnz(next);
        push(ds);
        pop(es);
        pop(ds);
    );
    for (port, value) in close {
        code!(a; mov(dx, port); mov(ax, value); out(dx, ax));
    }
    // The window is that of the mode.
    code!(a;
        mov(dx, 0x3CE);
        mov(ax, 0x0E06);
        cmp(byte_ptr(bda::VIDEO_MODE), 7);
        jne(colour);
        mov(ah, 0x0A);
        bind(colour);
        out(dx, ax);
        ret
    );
    Ok(())
}
