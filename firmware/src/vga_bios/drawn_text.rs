//! Characters and scrolling in graphics modes, by the routines of [`super::graphics`]. A character is drawn pixel by pixel from the
//! font that vector 43h points to.

use super::graphics::{GRAPHICS_CONTROLLER, plain_writes};
use super::mode_table::Kind;
use super::vbe::VBE_GRAPHICS;
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::bda;
use iced_x86::code_asm::*;

pub(super) fn write(a: &mut Module) -> Build {
    draw_character(a)?;
    scroll(a)?;
    scroll_line(a)?;
    read_character(a)
}

/// `draw_character`: AL with colour BL at the column CL and row CH of characters. General registers are kept.
fn draw_character(a: &mut Module) -> Build {
    let [upper, line, pixel, ink, background, next, font, in_vga, drawn] = a.labels();
    code!(a;
        routine("draw_character");
        pushad;
        push(es);
        push(ds);
        // ES:DI is the glyph.
        mov(ah, 0);
        mov(si, ax);
        mov(al, byte_ptr(bda::CHARACTER_LINES));
        push(cx);
        xor(cx, cx);
        mov(es, cx);
        pop(cx);
        cmp(byte_ptr(bda::CHARACTER_LINES), 8);
        jne(font);
        cmp(si, 128);
        jae(upper);
        bind(font);
        les(di, dword_ptr(4 * 0x43).es());
        mul(si);
        add(di, ax);
        jmp(line);
        // Modes of eight lines take the upper half from another place.
        bind(upper);
        les(di, dword_ptr(4 * 0x1F).es());
        sub(si, 128);
        shl(si, 3);
        add(di, si);
        bind(line);
        // CX is the column, DX the line of pixels; BH counts lines.
        mov(al, byte_ptr(bda::CHARACTER_LINES));
        mul(ch);
        mov(dx, ax);
        mov(ch, 0);
        shl(cx, 3);
        mov(bh, byte_ptr(bda::CHARACTER_LINES));
        invoke("mode_kind");
        cmp(al, Kind::Banked as u32);
        jne(in_vga);
        mov(al, bl);
        push(gs);
        push(es);
        pop(gs);
        mov(si, di);
        invoke("vbe_draw");
        pop(gs);
        jmp(drawn);
        bind(in_vga)
    );
    let lines = a.here()?;
    code!(a;
        mov(ah, byte_ptr(di).es());
        mov(si, 8);
        bind(pixel);
        shl(ah, 1);
        jc(ink);
        // With the exclusive or the background stays.
        mov(al, bl);
        test(al, 0x80);
        jnz(next);
        mov(al, 0);
        jmp(background);
        bind(ink);
        mov(al, bl);
        bind(background);
        invoke("put_pixel");
        bind(next);
        inc(cx);
        dec(si);
        jnz(pixel);
        sub(cx, 8);
        inc(dx);
        inc(di);
        dec(bh);
        jnz(lines);
        bind(drawn);
        pop(ds);
        pop(es);
        popad;
        ret
    );
    Ok(())
}

/// `scroll_graphics`: the window of DL columns and DH rows at CL, CH, by AL lines, down where AH is 1; BH is the colour of
/// new lines. BP is lost.
fn scroll(a: &mut Module) -> Build {
    let [up, rows, move_line, clear, clear_line, done] = a.labels();
    code!(a;
        routine("scroll_graphics");
        // SI lines of pixels are moved, BP is how far, DI the lines to clear, DX the first line.
        push(ax);
        mov(ah, byte_ptr(bda::CHARACTER_LINES));
        mul(ah);
        mov(bp, ax);
        mov(al, dh);
        mul(byte_ptr(bda::CHARACTER_LINES));
        mov(si, ax);
        mov(al, ch);
        mul(byte_ptr(bda::CHARACTER_LINES));
        mov(ch, dl);
        mov(dx, ax);
        pop(ax);
        mov(di, bp);
        sub(si, bp);
        // BL is the step from a line to the next.
        mov(bl, 1);
        test(ah, ah);
        jz(up);
        add(dx, si);
        add(dx, bp);
        dec(dx);
        neg(bp);
        mov(bl, 0xFF);
        bind(up);
        test(si, si);
        jz(clear);
        bind(rows);
        bind(move_line);
        invoke("move_line");
        invoke("step_line");
        dec(si);
        jnz(move_line);
        bind(clear);
        bind(clear_line);
        invoke("clear_line");
        invoke("step_line");
        dec(di);
        jnz(clear_line);
        bind(done);
        ret;
        routine("step_line");
        movsx(ax, bl);
        add(dx, ax);
        ret
    );
    Ok(())
}

/// `move_line`: line DX becomes a copy of line DX + BP, in CH characters from character CL on; `clear_line`: it gets the
/// colour BH. General registers are kept.
fn scroll_line(a: &mut Module) -> Build {
    let [move_planar, moved, clear_planar, fill, cga_2, cga_4] = a.labels();
    let [in_vga, clear_in_vga, cleared] = a.labels();
    code!(a;
        routine("move_line");
        pusha;
        push(ds);
        push(es);
        cmp(byte_ptr(bda::VIDEO_MODE), VBE_GRAPHICS);
        jne(in_vga);
        invoke("vbe_move_line");
        jmp(moved);
        bind(in_vga);
        push(dx);
        add(dx, bp);
        invoke("line_address");
        mov(si, di);
        pop(dx);
        invoke("line_width");
        jnc(move_planar);
        add(si, ax);
        push(es);
        pop(ds);
        rep_movsb();
        jmp(moved);
        // Write mode 1: all planes at once.
        bind(move_planar);
        add(si, ax);
        push(es);
        pop(ds);
        mov(dx, GRAPHICS_CONTROLLER);
        mov(ax, 0x0105);
        out(dx, ax);
        rep_movsb()
    );
    plain_writes(a)?;
    code!(a;
        bind(moved);
        pop(es);
        pop(ds);
        popa;
        ret;
        routine("clear_line");
        pusha;
        push(es);
        cmp(byte_ptr(bda::VIDEO_MODE), VBE_GRAPHICS);
        jne(clear_in_vga);
        invoke("vbe_clear_line");
        jmp(cleared);
        bind(clear_in_vga);
        invoke("line_width");
        jnc(clear_planar);
        invoke("mode_kind");
        cmp(al, Kind::Cga2 as u32);
        je(cga_2);
        jb(cga_4);
        mov(al, bh);
        jmp(fill);
        bind(cga_2);
        mov(al, bh);
        and(al, 1);
        neg(al);
        jmp(fill);
        bind(cga_4);
        mov(al, 0x55);
        and(bh, 3);
        mul(bh);
        bind(fill);
        rep_stosb();
        pop(es);
        popa;
        ret;
        bind(clear_planar);
        mov(dx, GRAPHICS_CONTROLLER);
        mov(ax, 0x0205);
        out(dx, ax);
        mov(al, bh);
        rep_stosb()
    );
    plain_writes(a)?;
    let [wide, planar, out_] = a.labels();
    code!(a;
        bind(cleared);
        pop(es);
        popa;
        ret;
        // ES:DI is the first byte of the window on line DX, CX its bytes, AX its distance from the line's start. CF is
        // clear in planar modes.
        routine("line_width");
        invoke("line_address");
        mov(ah, 0);
        push(bx);
        mov(bl, al);
        movzx(ax, cl);
        movzx(cx, ch);
        cmp(bl, Kind::Planar as u32);
        je(planar);
        ja(wide);
        cmp(bl, Kind::Cga4 as u32);
        jne(out_);
        add(ax, ax);
        add(cx, cx);
        jmp(out_);
        bind(wide);
        shl(ax, 3);
        shl(cx, 3);
        bind(out_);
        add(di, ax);
        pop(bx);
        stc;
        ret;
        bind(planar);
        add(di, ax);
        pop(bx);
        clc;
        ret
    );
    Ok(())
}

/// `find_character`: AL is the character at column CL, row CH: the first whose glyph is what is there, 0 if none is.
fn read_character(a: &mut Module) -> Build {
    let [lines, pixel, dark, compare, other, hit, next] = a.labels();
    code!(a;
        routine("find_character");
        push(bp);
        sub(sp, 32);
        mov(bp, sp);
        mov(al, byte_ptr(bda::CHARACTER_LINES));
        mul(ch);
        mov(dx, ax);
        mov(ch, 0);
        shl(cx, 3);
        xor(si, si);
        bind(lines);
        mov(bx, 8);
        bind(pixel);
        invoke("get_pixel");
        add(bh, bh);
        test(al, al);
        jz(dark);
        inc(bh);
        bind(dark);
        inc(cx);
        dec(bl);
        jnz(pixel);
        sub(cx, 8);
        mov(byte_ptr(bp + si), bh);
        inc(dx);
        inc(si);
        cmp(si, word_ptr(bda::CHARACTER_LINES));
        jb(lines);
        xor(ax, ax);
        mov(es, ax);
        les(di, dword_ptr(4 * 0x43).es());
        bind(compare);
        xor(si, si);
        bind(other);
        mov(bx, si);
        mov(dl, byte_ptr(bx + di).es());
        cmp(byte_ptr(bp + si), dl);
        jne(next);
        inc(si);
        cmp(si, word_ptr(bda::CHARACTER_LINES));
        jb(other);
        jmp(hit);
        bind(next);
        add(di, word_ptr(bda::CHARACTER_LINES));
        inc(al);
        jnz(compare);
        bind(hit);
        add(sp, 32);
        pop(bp);
        ret
    );
    Ok(())
}
