//! Functions 02h (sets a mode) and 03h (which one it is).

use super::super::dispi::{BITS, COLUMNS, ENABLE, KEEP_MEMORY, LINEAR, LINES, ON};
use super::super::header::FRAME_BUFFER;
use super::super::mode_table::{Colours, Kind, PACKED_ROW, PLANAR_ROW};
use super::VBE_GRAPHICS;
use super::mode_list::{ROW_BITS, ROW_COLUMNS, ROW_LINES, ROW_PARAMETERS};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

/// Bits of a mode's number: which mode, linear frame buffer, memory is kept.
const NUMBER: u32 = 0x1FF;
const LINEAR_BIT: u32 = 1 << 14;
const KEEP_BIT: u32 = 1 << 15;
/// Bits that must be zero: timings from the caller among them.
const REFUSED: u32 = 0x3E00;
/// Modes of so many lines and fewer have characters of eight lines.
pub(super) const LOW_LINES: u32 = 240;
/// Columns and rows of characters have a byte in cursors.
const MOST_CHARACTERS: u32 = 255;

pub(super) fn write(a: &mut Module) -> Build {
    set(a)?;
    text(a)?;
    graphics(a)?;
    data_area(a)?;
    get(a)
}

fn set(a: &mut Module) -> Build {
    let [extended, fail, clear, graphics] = a.labels();
    code!(a;
        routine("vbe_set");
        test(bx, REFUSED);
        jnz(fail);
        mov(ax, bx);
        and(ax, NUMBER);
        cmp(ax, 0x100);
        jae(extended);
        // A mode of VGA: function 00h.
        test(bx, LINEAR_BIT);
        jnz(fail);
        test(al, 0x80);
        jnz(fail);
        push(ax);
        invoke("find_mode");
        pop(ax);
        jc(fail);
        test(bh, 0x80);
        jz(clear);
        or(al, 0x80);
        bind(clear);
        mov(ah, 0);
        call_interrupt("int10");
        goto("vbe_done");
        bind(fail);
        goto("vbe_failed");
        bind(extended);
        push(bx);
        mov(bx, ax);
        invoke("vbe_find");
        pop(bx);
        jc(fail);
        mov(byte_ptr(bda::VIDEO_POWER), 0);
        cmp(byte_ptr(si + ROW_BITS).cs(), 0);
        jne(graphics);
        test(bx, LINEAR_BIT);
        jnz(fail);
        goto("vbe_set_text");
        bind(graphics);
        test(bx, LINEAR_BIT);
    );
    let windowed = a.label();
    code!(a;
        jz(windowed);
        cmp(byte_ptr(si + ROW_BITS).cs(), 4);
        je(fail);
        cmp(dword_ptr(FRAME_BUFFER).cs(), 0);
        je(fail);
        bind(windowed);
        goto("vbe_set_graphics")
    );
    Ok(())
}

/// A text mode: mode 3 with other registers.
fn text(a: &mut Module) -> Build {
    let keep = a.label();
    code!(a;
        routine("vbe_set_text");
        push(bx);
        push(word_ptr(si + ROW_PARAMETERS).cs());
        mov(al, 3);
        invoke("find_mode");
        pop(ax);
        invoke("mode_row");
        invoke("mode_apply");
        pop(bx);
        mov(word_ptr(bda::VBE_MODE), bx);
        and(byte_ptr(bda::VIDEO_CONTROL), 0x7F);
        mov(al, bh);
        and(al, 0x80);
        or(byte_ptr(bda::VIDEO_CONTROL), al);
        jnz(keep);
        invoke("mode_clear");
        bind(keep);
        invoke("mode_show");
        goto("vbe_done")
    );
    Ok(())
}

/// A graphics mode: the registers of mode 13h or 12h, then the DISPI registers.
fn graphics(a: &mut Module) -> Build {
    let [packed, linear, keep] = a.labels();
    code!(a;
        routine("vbe_set_graphics");
        push(bx);
        push(si);
        invoke("dispi_off");
        mov(ax, PLANAR_ROW);
        mov(bl, Colours::Ega as u32);
        cmp(byte_ptr(si + ROW_BITS).cs(), 4);
        je(packed);
        mov(ax, PACKED_ROW);
        mov(bl, Colours::All as u32);
        bind(packed);
        push(bx);
        invoke("mode_row");
        invoke("mode_registers");
        pop(bx);
        invoke("load_colours");
        pop(si);
        pop(bx);
        mov(ax, COLUMNS);
        mov(cx, word_ptr(si + ROW_COLUMNS).cs());
        invoke("dispi_put");
        mov(ax, LINES);
        mov(cx, word_ptr(si + ROW_LINES).cs());
        invoke("dispi_put");
        mov(ax, BITS);
        movzx(cx, byte_ptr(si + ROW_BITS).cs());
        invoke("dispi_put");
        // This clears memory, too, and shows its beginning.
        mov(cx, ON);
        test(bx, LINEAR_BIT);
        jz(linear);
        or(cl, LINEAR);
        bind(linear);
        test(bx, KEEP_BIT);
        jz(keep);
        or(cl, KEEP_MEMORY);
        bind(keep);
        mov(ax, ENABLE);
        invoke("dispi_put");
        invoke("vbe_data_area");
        invoke("mode_show");
        goto("vbe_done")
    );
    Ok(())
}

/// `vbe_data_area`: what the BDA says of mode BX of row SI.
fn data_area(a: &mut Module) -> Build {
    let [columns_fit, rows_fit, high] = a.labels();
    code!(a;
        routine("vbe_data_area");
        mov(word_ptr(bda::VBE_MODE), bx);
        mov(byte_ptr(bda::VIDEO_MODE), VBE_GRAPHICS);
        and(byte_ptr(bda::VIDEO_CONTROL), 0x7F);
        mov(al, bh);
        and(al, 0x80);
        or(byte_ptr(bda::VIDEO_CONTROL), al);
        mov(ax, word_ptr(si + ROW_COLUMNS).cs());
        shr(ax, 3);
        cmp(ax, MOST_CHARACTERS);
        jbe(columns_fit);
        mov(ax, MOST_CHARACTERS);
        bind(columns_fit);
        mov(word_ptr(bda::COLUMNS), ax);
        mov(cx, 8);
        mov(ax, word_ptr(si + ROW_LINES).cs());
        cmp(ax, LOW_LINES);
        jbe(high);
        mov(cl, 16);
        bind(high);
        mov(word_ptr(bda::CHARACTER_LINES), cx);
        xor(dx, dx);
        div(cx);
        cmp(ax, MOST_CHARACTERS);
        jbe(rows_fit);
        mov(ax, MOST_CHARACTERS);
        bind(rows_fit);
        dec(al);
        mov(byte_ptr(bda::ROWS), al);
        xor(eax, eax);
        mov(word_ptr(bda::PAGE_BYTES), ax);
        mov(word_ptr(bda::PAGE_START), ax);
        mov(byte_ptr(bda::PAGE), al);
        mov(word_ptr(bda::CURSOR_SHAPE), ax)
    );
    for cursor in [0u32, 4, 8, 12] {
        a.mov(dword_ptr(bda::CURSORS + cursor), eax)?;
    }
    code!(a;
        and(byte_ptr(bda::EQUIPMENT), 0xCF);
        or(byte_ptr(bda::EQUIPMENT), 0x20);
        mov(bl, Kind::Banked as u32);
        goto("default_font")
    );
    Ok(())
}

fn get(a: &mut Module) -> Build {
    let vbe = a.label();
    code!(a;
        routine("vbe_get");
        mov(bx, word_ptr(bda::VBE_MODE));
        test(bx, bx);
        jnz(vbe);
        mov(bl, byte_ptr(bda::VIDEO_MODE));
        mov(bh, byte_ptr(bda::VIDEO_CONTROL));
        and(bh, 0x80);
        bind(vbe);
        mov(word_ptr(bp + frame::BX), bx);
        goto("vbe_done")
    );
    Ok(())
}
