//! Functions 0Eh (a character as a teletype prints it) and 13h (a string).
//!
//! Bell, backspace, line feed and carriage return move the cursor or make a sound; everything else is printed, and the
//! screen scrolls below its last row. Output goes to the page that is shown.

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

pub(super) fn write(a: &mut Module) -> Build {
    code!(a;
        routine("teletype");
        mov(bh, byte_ptr(bda::PAGE));
        mov(dl, 0);
        invoke("print");
        invoke("cursor_place");
        goto("leave")
    );
    print(a)?;
    string(a)
}

/// `print`: AL on page BH; with the attribute BL where DL is not 0. AX, CX, DX, SI, DI and ES are lost.
fn print(a: &mut Module) -> Build {
    let [backspace, feed, carriage, keep, moved, done, draw, black] = a.labels();
    code!(a;
        routine("print");
        push(bx);
        mov(dh, al);
        movzx(si, bh);
        add(si, si);
        mov(cx, word_ptr(si + bda::CURSORS));
        cmp(dh, 7);
        je(done);
        cmp(dh, 8);
        je(backspace);
        cmp(dh, 10);
        je(feed);
        cmp(dh, 13);
        je(carriage);
        push(cx);
        push(si);
        push(dx);
        invoke("if_text");
        jnz(draw);
        invoke("cell_of_page");
        pop(dx);
        mov(al, dh);
        stosb;
        test(dl, dl);
        jz(keep);
        mov(al, bl);
        stosb;
        bind(keep);
        pop(si);
        pop(cx);
        inc(cl);
        cmp(cl, byte_ptr(bda::COLUMNS));
        jb(moved);
        mov(cl, 0);
        bind(feed);
        inc(ch);
        cmp(ch, byte_ptr(bda::ROWS));
        jbe(moved);
        dec(ch);
        mov(word_ptr(si + bda::CURSORS), cx);
        // One line up; the new one has the attribute at the cursor.
        invoke("attribute_at_cursor");
        mov(bh, ah);
        xor(cx, cx);
        mov(dl, byte_ptr(bda::COLUMNS));
        dec(dl);
        mov(dh, byte_ptr(bda::ROWS));
        mov(ax, 1);
        invoke("scroll");
        pop(bx);
        ret;
        bind(backspace);
        test(cl, cl);
        jz(done);
        dec(cl);
        jmp(moved);
        bind(carriage);
        mov(cl, 0);
        bind(moved);
        mov(word_ptr(si + bda::CURSORS), cx);
        bind(done);
        pop(bx);
        ret;
        bind(draw);
        pop(dx);
        mov(al, dh);
        invoke("draw_character");
        jmp(keep);
        // AH: 0 in graphics modes.
        routine("attribute_at_cursor");
        mov(ah, 0);
        invoke("if_text");
        jnz(black);
        invoke("cell_of_page");
        mov(ah, byte_ptr(di + 1).es());
        bind(black);
        ret
    );
    Ok(())
}

/// CX characters at ES:BP of the caller, from DX of page BH on. AL: bit 0, the cursor moves; bit 1, attributes lie between
/// the characters, else BL is the attribute of all.
fn string(a: &mut Module) -> Build {
    let [next, plain, done, restore, shown] = a.labels();
    code!(a;
        routine("write_string");
        jcxz(done);
        and(bh, 7);
        movzx(si, bh);
        add(si, si);
        push(word_ptr(si + bda::CURSORS));
        push(si);
        mov(word_ptr(si + bda::CURSORS), dx);
        mov(di, word_ptr(bp + frame::BP));
        bind(next);
        mov(es, word_ptr(bp + frame::ES));
        mov(al, byte_ptr(di).es());
        inc(di);
        test(byte_ptr(bp + frame::AX), 2);
        jz(plain);
        mov(bl, byte_ptr(di).es());
        inc(di);
        bind(plain);
        push(cx);
        push(di);
        mov(dl, 1);
        invoke("print");
        pop(di);
        pop(cx);
        loop_(next);
        pop(si);
        pop(ax);
        test(byte_ptr(bp + frame::AX), 1);
        jnz(shown);
        bind(restore);
        mov(word_ptr(si + bda::CURSORS), ax);
        bind(shown);
        invoke("cursor_place");
        bind(done);
        goto("leave")
    );
    Ok(())
}
