//! Functions 01h (shape of the cursor), 02h and 03h (its place), 04h (a light pen: none), 05h (the page that is shown), 0Fh
//! (the mode).

use super::text::MEMORY_BYTES;
use super::vbe::VBE_GRAPHICS;
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

/// Bit of the video control byte: shapes of the cursor are taken as they are.
const NO_EMULATION: u32 = 1 << 0;

pub(super) fn write(a: &mut Module) -> Build {
    let [done, no_page, paged, in_graphics] = a.labels();
    code!(a;
        routine("cursor_set");
        movzx(bx, bh);
        and(bl, 7);
        mov(si, bx);
        add(si, bx);
        mov(word_ptr(si + bda::CURSORS), dx);
        cmp(bl, byte_ptr(bda::PAGE));
        jne(done);
        invoke("cursor_place");
        bind(done);
        goto("leave");
        routine("cursor_get");
        movzx(bx, bh);
        and(bl, 7);
        add(bx, bx);
        mov(ax, word_ptr(bx + bda::CURSORS));
        mov(word_ptr(bp + frame::DX), ax);
        mov(ax, word_ptr(bda::CURSOR_SHAPE));
        mov(word_ptr(bp + frame::CX), ax);
        goto("leave");
        routine("cursor_shape");
        mov(word_ptr(bda::CURSOR_SHAPE), cx);
        invoke("cursor_show");
        goto("leave");
        routine("page_select");
        cmp(al, 7);
        ja(no_page);
        // The page lies in memory as a whole. VBE's modes have one.
        mov(cl, al);
        mov(ah, 0);
        mul(word_ptr(bda::PAGE_BYTES));
        jc(no_page);
        mov(bx, ax);
        mov(ax, word_ptr(bda::PAGE_BYTES));
        dec(ax);
        add(ax, bx);
        jc(no_page);
        cmp(byte_ptr(bda::VIDEO_MODE), VBE_GRAPHICS);
        jne(paged);
        test(cl, cl);
        jnz(no_page);
        bind(paged);
        invoke("if_text");
        jnz(in_graphics);
        cmp(ax, MEMORY_BYTES);
        jae(no_page);
        bind(in_graphics);
        mov(byte_ptr(bda::PAGE), cl);
        mov(word_ptr(bda::PAGE_START), bx);
        invoke("page_start");
        invoke("cursor_place");
        bind(no_page);
        goto("leave");
        routine("light_pen");
        mov(byte_ptr(bp + frame::AH), 0);
        goto("leave");
        routine("mode_get");
        mov(al, byte_ptr(bda::VIDEO_CONTROL));
        and(al, 0x80);
        or(al, byte_ptr(bda::VIDEO_MODE));
        mov(ah, byte_ptr(bda::COLUMNS));
        mov(word_ptr(bp + frame::AX), ax);
        mov(al, byte_ptr(bda::PAGE));
        mov(byte_ptr(bp + frame::BH), al);
        goto("leave")
    );
    place(a)?;
    shape(a)
}

/// Tells the CRT controller where the page starts and where its cursor is. Text modes count words.
fn place(a: &mut Module) -> Build {
    let [graphics, text] = a.labels();
    code!(a;
        routine("page_start");
        mov(bx, word_ptr(bda::PAGE_START));
        mov(al, byte_ptr(bda::VIDEO_MODE));
        cmp(al, 3);
        jbe(text);
        cmp(al, 7);
        jne(graphics);
        bind(text);
        shr(bx, 1);
        bind(graphics);
        mov(ah, 0x0C);
        goto("crtc_pair");
        routine("cursor_place");
        movzx(si, byte_ptr(bda::PAGE));
        add(si, si);
        mov(cx, word_ptr(si + bda::CURSORS));
        mov(al, byte_ptr(bda::COLUMNS));
        mul(ch);
        mov(bx, ax);
        mov(ch, 0);
        add(bx, cx);
        mov(ax, word_ptr(bda::PAGE_START));
        shr(ax, 1);
        add(bx, ax);
        mov(ah, 0x0E);
        // BX into the register AH, high byte, and the one behind it.
        routine("crtc_pair");
        mov(dx, word_ptr(bda::CRTC_PORT));
        mov(al, ah);
        mov(ah, bh);
        out(dx, ax);
        inc(al);
        mov(ah, bl);
        out(dx, ax);
        ret
    );
    Ok(())
}

/// Shapes are given for a character of eight lines, and fitted to the lines that there are, unless that is switched off.
fn shape(a: &mut Module) -> Build {
    let [as_given, underline, fit, known] = a.labels();
    code!(a;
        routine("cursor_show");
        mov(cx, word_ptr(bda::CURSOR_SHAPE));
        // Graphics modes have none.
        test(cx, cx);
        jz(as_given);
        mov(bl, byte_ptr(bda::CHARACTER_LINES));
        test(byte_ptr(bda::VIDEO_CONTROL), NO_EMULATION);
        jnz(as_given);
        cmp(bl, 8);
        jbe(as_given);
        cmp(ch, 8);
        jae(as_given);
        cmp(cl, 8);
        jae(as_given);
        mov(al, ch);
        inc(al);
        cmp(al, cl);
        je(underline);
        jmp(fit);
        // Two lines next to each other: above the lowest line.
        bind(underline);
        mov(cl, bl);
        sub(cl, 2);
        mov(ch, cl);
        dec(ch);
        jmp(known);
        // Line n becomes (n + 1) * lines / 8 - 1.
        bind(fit);
        mul(bl);
        shr(ax, 3);
        dec(al);
        mov(ch, al);
        mov(al, cl);
        inc(al);
        mul(bl);
        shr(ax, 3);
        dec(al);
        mov(cl, al);
        bind(known);
        bind(as_given);
        mov(dx, word_ptr(bda::CRTC_PORT));
        mov(al, 0x0A);
        mov(ah, ch);
        out(dx, ax);
        inc(al);
        mov(ah, cl);
        out(dx, ax);
        goto("cursor_place")
    );
    Ok(())
}
