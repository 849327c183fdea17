//! Functions 06h and 07h (scrolling), 08h to 0Ah (characters) in text modes.

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

/// Text memory.
pub(super) const MEMORY_BYTES: u32 = 0x8000;

pub(super) fn write(a: &mut Module) -> Build {
    code!(a; routine("cell_of_page"));
    cell(a)?;
    characters(a)?;
    scroll_services(a)?;
    scroll(a)
}

/// `cell_of_page`: ES:DI is the cell at the cursor of page BH. AX and SI are lost.
fn cell(a: &mut Module) -> Build {
    let enough = a.label();
    super::text_memory_in_es(a)?;
    code!(a;
        push(dx);
        movzx(si, bh);
        and(si, 7);
        mov(ax, si);
        mul(word_ptr(bda::PAGE_BYTES));
        mov(di, ax);
        add(si, si);
        mov(al, byte_ptr(si + (bda::CURSORS + 1)));
        mul(byte_ptr(bda::COLUMNS));
        movzx(si, byte_ptr(si + bda::CURSORS));
        add(ax, si);
        add(ax, ax);
        add(di, ax);
        // A cursor may be anywhere; memory has 32 KiB.
        and(di, MEMORY_BYTES - 2);
        pop(dx);
        ret;
        // CX is how many cells there are from DI on, if it was more. AX is lost.
        routine("cells_left");
        mov(ax, MEMORY_BYTES);
        sub(ax, di);
        shr(ax, 1);
        cmp(cx, ax);
        jbe(enough);
        mov(cx, ax);
        bind(enough);
        ret
    );
    Ok(())
}

fn characters(a: &mut Module) -> Build {
    let [next, done, draw, drawn, one] = a.labels();
    code!(a;
        routine("read_character");
        invoke("if_text");
        jnz(drawn);
        invoke("cell_of_page");
        mov(ax, word_ptr(di).es());
        mov(word_ptr(bp + frame::AX), ax);
        goto("leave");
        // CX times AL with the attribute BL.
        routine("write_with_attribute");
        invoke("if_text");
        jnz(draw);
        invoke("cell_of_page");
        invoke("cells_left");
        mov(al, byte_ptr(bp + frame::AX));
        mov(ah, bl);
        rep_stosw();
        goto("leave");
        routine("write_without_attribute");
        invoke("if_text");
        jnz(draw);
        invoke("cell_of_page");
        invoke("cells_left");
        mov(al, byte_ptr(bp + frame::AX));
        jcxz(done);
        bind(next);
        stosb;
        inc(di);
        loop_(next);
        bind(done);
        goto("leave");
        // In graphics modes BL is a colour, and characters do not go past the end of a row.
        bind(draw);
        mov(dx, cx);
        movzx(si, bh);
        and(si, 7);
        add(si, si);
        mov(cx, word_ptr(si + bda::CURSORS));
        test(dx, dx);
        jz(done);
        bind(one);
        mov(al, byte_ptr(bp + frame::AX));
        invoke("draw_character");
        inc(cl);
        cmp(cl, byte_ptr(bda::COLUMNS));
        jae(done);
        dec(dx);
        jnz(one);
        goto("leave");
        bind(drawn);
        movzx(si, bh);
        and(si, 7);
        add(si, si);
        mov(cx, word_ptr(si + bda::CURSORS));
        invoke("find_character");
        mov(ah, 0);
        mov(word_ptr(bp + frame::AX), ax);
        goto("leave")
    );
    Ok(())
}

/// AL lines (0: all), the window from CX to DX, attribute BH of new lines.
fn scroll_services(a: &mut Module) -> Build {
    code!(a;
        routine("scroll_up");
        mov(ah, 0);
        invoke("scroll");
        goto("leave");
        routine("scroll_down");
        mov(ah, 1);
        invoke("scroll");
        goto("leave")
    );
    Ok(())
}

/// `scroll`: as above, down where AH is 1. BP is kept.
fn scroll(a: &mut Module) -> Build {
    let [columns_fit, rows_fit, some, up, clear, next_row, next_clear, done, text, rows_down] = a.labels();
    code!(a;
        routine("scroll");
        push(bp);
        // The window ends on the screen.
        push(ax);
        mov(al, byte_ptr(bda::COLUMNS));
        dec(al);
        cmp(dl, al);
        jbe(columns_fit);
        mov(dl, al);
        bind(columns_fit);
        mov(al, byte_ptr(bda::ROWS));
        cmp(dh, al);
        jbe(rows_fit);
        mov(dh, al);
        bind(rows_fit);
        pop(ax);
        cmp(cl, dl);
        ja(done);
        cmp(ch, dh);
        ja(done);
        // DL columns, DH rows from here on.
        sub(dl, cl);
        inc(dl);
        sub(dh, ch);
        inc(dh);
        test(al, al);
        jz(clear);
        cmp(al, dh);
        jb(some);
        bind(clear);
        mov(al, dh);
        bind(some);
        invoke("if_text");
        jz(text);
        invoke("scroll_graphics");
        pop(bp);
        ret;
        bind(text);
        // SI is the bytes of a row, DI the window's first cell, AX lines and direction.
        push(ax);
        push(dx);
        movzx(si, byte_ptr(bda::COLUMNS));
        mov(al, ch);
        mov(ah, 0);
        mul(si);
        mov(ch, 0);
        add(ax, cx);
        add(ax, ax);
        add(ax, word_ptr(bda::PAGE_START));
        mov(di, ax);
        add(si, si);
        pop(dx);
    );
    super::text_memory_in_es(a)?;
    code!(a;
        pop(ax);
        test(ah, ah);
        jz(up);
        // Down: from the last row on, upwards.
        push(ax);
        push(dx);
        mov(al, dh);
        dec(al);
        mov(ah, 0);
        mul(si);
        add(di, ax);
        pop(dx);
        pop(ax);
        neg(si);
        bind(up);
        // CH rows are moved, AL are cleared; BP is from a row to the one it gets.
        mov(ch, dh);
        sub(ch, al);
        push(ax);
        push(dx);
        mov(ah, 0);
        imul_2(ax, si);
        mov(bp, ax);
        pop(dx);
        pop(ax);
        test(ch, ch);
        jz(rows_down);
        bind(next_row);
        push(cx);
        push(si);
        push(di);
        push(ds);
        mov(si, di);
        add(si, bp);
        movzx(cx, dl);
        push(es);
        pop(ds);
        rep_movsw();
        pop(ds);
        pop(di);
        pop(si);
        pop(cx);
        add(di, si);
        dec(ch);
        jnz(next_row);
        bind(rows_down);
        mov(ch, al);
        mov(ah, bh);
        mov(al, u32::from(b' '));
        bind(next_clear);
        push(cx);
        push(di);
        movzx(cx, dl);
        rep_stosw();
        pop(di);
        pop(cx);
        add(di, si);
        dec(ch);
        jnz(next_clear);
        bind(done);
        pop(bp);
        ret
    );
    Ok(())
}
