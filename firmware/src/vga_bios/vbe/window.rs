//! Functions 05h (which memory is at A0000h), 06h (how long lines are in memory), 07h (which part of memory is shown).

use super::super::dispi::{BANK, BITS, COLUMNS, FIRST_COLUMN, FIRST_LINE, LINES, MEMORY_COLUMNS, PORT};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

/// In the upper byte of a mode: memory is linear.
const LINEAR: u32 = 1 << 6;
/// Input status 1 of adapters with colour; bit 3: the beam goes back to the top.
const STATUS: u32 = 0x3DA;
const RETRACE: u32 = 1 << 3;

pub(super) fn write(a: &mut Module) -> Build {
    window(a)?;
    line_length(a)?;
    line_limits(a)?;
    start(a)
}

/// BH 0 moves the window to DX, in units of 64 KiB, 1 tells where it is. Programs may call `vbe_window_far` instead, which has no
/// result.
fn window(a: &mut Module) -> Build {
    let [wrong_mode, bad, get, far_get, planar, far_done] = a.labels();
    code!(a;
        routine("vbe_window");
        invoke("vbe_graphics");
        jne(wrong_mode);
        test(byte_ptr(bda::VBE_MODE + 1), LINEAR);
        jnz(wrong_mode);
        test(bl, bl);
        jnz(bad);
        cmp(bh, 1);
        je(get);
        ja(bad);
        // Planes share a unit.
        mov(ax, BITS);
        invoke("dispi_get");
        mov(bx, ax);
        invoke("vbe_memory");
        shr(eax, 16);
        cmp(bl, 4);
        jne(planar);
        shr(ax, 2);
        bind(planar);
        cmp(dx, ax);
        jae(bad);
        mov(cx, dx);
        mov(ax, BANK);
        invoke("dispi_put");
        goto("vbe_done");
        bind(get);
        mov(ax, BANK);
        invoke("dispi_get");
        mov(word_ptr(bp + frame::DX), ax);
        goto("vbe_done");
        bind(bad);
        goto("vbe_failed");
        bind(wrong_mode);
        goto("vbe_not_in_this_mode");
        routine("vbe_window_far");
        push(ax);
        test(bl, bl);
        jnz(far_done);
        cmp(bh, 1);
        je(far_get);
        ja(far_done);
        push(dx);
        mov(dx, PORT);
        mov(ax, BANK);
        out(dx, ax);
        inc(dx);
        pop(ax);
        push(ax);
        out(dx, ax);
        pop(dx);
        pop(ax);
        retf;
        bind(far_get);
        mov(dx, PORT);
        mov(ax, BANK);
        out(dx, ax);
        inc(dx);
        in_(ax, dx);
        mov(dx, ax);
        bind(far_done);
        pop(ax);
        retf
    );
    Ok(())
}

/// BL 0: CX pixels, 1: what is, 2: CX bytes, 3: the most. The answer is BX bytes, CX pixels, DX lines.
fn line_length(a: &mut Module) -> Build {
    let [wrong_mode, bad, get, most, in_pixels, planar, enough, too_long] = a.labels();
    code!(a;
        routine("vbe_line_length");
        invoke("vbe_graphics");
        jne(wrong_mode);
        cmp(bl, 1);
        je(get);
        cmp(bl, 3);
        je(most);
        ja(bad);
        // Pixels in ECX, a multiple of eight and at least a line of the screen.
        movzx(ecx, cx);
        test(bl, bl);
        jz(in_pixels);
        mov(ax, BITS);
        invoke("dispi_get");
        cmp(al, 4);
        je(planar);
        inc(al);
        shr(al, 3);
        movzx(ebx, al);
        lea(eax, ptr(ecx + ebx - 1));
        xor(edx, edx);
        div(ebx);
        mov(ecx, eax);
        jmp(in_pixels);
        bind(planar);
        shl(ecx, 3);
        bind(in_pixels);
        add(ecx, 7);
        and(cl, 0xF8);
        mov(ax, COLUMNS);
        invoke("dispi_get");
        movzx(eax, ax);
        cmp(ecx, eax);
        jae(enough);
        mov(ecx, eax);
        bind(enough);
        invoke("vbe_most_columns");
        cmp(ecx, eax);
        ja(too_long);
        mov(ax, MEMORY_COLUMNS);
        invoke("dispi_put");
        bind(get);
        invoke("vbe_pitch");
        mov(word_ptr(bp + frame::BX), ax);
        mov(ax, MEMORY_COLUMNS);
        invoke("dispi_get");
        mov(word_ptr(bp + frame::CX), ax);
        invoke("vbe_memory_lines");
        mov(word_ptr(bp + frame::DX), ax);
        goto("vbe_done");
        bind(most);
        invoke("vbe_most_columns");
        mov(word_ptr(bp + frame::CX), ax);
        push(eax);
        mov(ax, BITS);
        invoke("dispi_get");
        mov(cl, al);
        pop(eax);
        invoke("bytes_of_pixels");
        mov(word_ptr(bp + frame::BX), ax);
        mov(ax, LINES);
        invoke("dispi_get");
        mov(word_ptr(bp + frame::DX), ax);
        goto("vbe_done");
        bind(bad);
        goto("vbe_failed");
        bind(too_long);
        goto("vbe_not_here");
        bind(wrong_mode);
        goto("vbe_not_in_this_mode")
    );
    Ok(())
}

/// `vbe_plane_memory`: EAX is the bytes of memory, in one plane. `vbe_most_columns`: EAX is the longest line with which all
/// lines of the screen have memory. `vbe_memory_lines`: EAX is how many lines there are in memory, FFFFh at most. ECX is kept.
fn line_limits(a: &mut Module) -> Build {
    let [whole, fits, limit, few, word] = a.labels();
    code!(a;
        routine("vbe_plane_memory");
        mov(ax, BITS);
        invoke("dispi_get");
        mov(bl, al);
        invoke("vbe_memory");
        cmp(bl, 4);
        jne(whole);
        shr(eax, 2);
        bind(whole);
        ret;
        routine("vbe_most_columns");
        push(ecx);
        invoke("vbe_plane_memory");
        mov(ecx, eax);
        mov(ax, LINES);
        invoke("dispi_get");
        movzx(ebx, ax);
        mov(eax, ecx);
        xor(edx, edx);
        div(ebx);
        // A line's bytes are told in a word.
        cmp(eax, 0xFFFF);
        jbe(word);
        mov(eax, 0xFFFF);
        bind(word);
        mov(ebx, eax);
        mov(ax, BITS);
        invoke("dispi_get");
        xchg(eax, ebx);
        mov(edx, 8);
        mul(edx);
        // 15 bits have two bytes.
        inc(bl);
        and(ebx, 0x3C);
        xor(edx, edx);
        div(ebx);
        mov(ecx, eax);
        invoke("vbe_limits");
        movzx(eax, ax);
        cmp(ecx, eax);
        ja(limit);
        mov(eax, ecx);
        bind(limit);
        and(al, 0xF8);
        bind(fits);
        pop(ecx);
        ret;
        routine("vbe_memory_lines");
        push(ecx);
        invoke("vbe_pitch");
        push(eax);
        invoke("vbe_plane_memory");
        pop(ebx);
        xor(edx, edx);
        div(ebx);
        cmp(eax, 0xFFFF);
        jbe(few);
        mov(eax, 0xFFFF);
        bind(few);
        pop(ecx);
        ret
    );
    Ok(())
}

/// BL 0 and 80h: column CX and line DX are the upper left corner, at once or when the beam goes back; 1: what is.
fn start(a: &mut Module) -> Build {
    let [wrong_mode, get, bad, no_wait, wait, come, absent] = a.labels();
    code!(a;
        routine("vbe_start");
        invoke("vbe_graphics");
        jne(wrong_mode);
        cmp(bl, 1);
        je(get);
        test(bl, 0x7F);
        jnz(absent);
        // All that is shown lies in memory.
        mov(ax, COLUMNS);
        invoke("dispi_get");
        add(ax, cx);
        jc(bad);
        mov(si, ax);
        mov(ax, MEMORY_COLUMNS);
        invoke("dispi_get");
        cmp(si, ax);
        ja(bad);
        mov(ax, LINES);
        invoke("dispi_get");
        add(ax, dx);
        jc(bad);
        mov(si, ax);
        push(bx);
        push(dx);
        invoke("vbe_memory_lines");
        pop(dx);
        pop(bx);
        cmp(si, ax);
        ja(bad);
        test(bl, bl);
        jz(no_wait);
        // For a while only: a beam that stands still is no reason to hang.
        push(cx);
        push(dx);
        mov(dx, STATUS);
        xor(cx, cx);
        bind(wait);
        in_(al, dx);
        test(al, RETRACE);
        jnz(come);
        loop_(wait);
        bind(come);
        pop(dx);
        pop(cx);
        bind(no_wait);
        mov(ax, FIRST_COLUMN);
        invoke("dispi_put");
        mov(cx, dx);
        mov(ax, FIRST_LINE);
        invoke("dispi_put");
        goto("vbe_done");
        bind(get);
        mov(byte_ptr(bp + frame::BH), 0);
        mov(ax, FIRST_COLUMN);
        invoke("dispi_get");
        mov(word_ptr(bp + frame::CX), ax);
        mov(ax, FIRST_LINE);
        invoke("dispi_get");
        mov(word_ptr(bp + frame::DX), ax);
        goto("vbe_done");
        bind(bad);
        goto("vbe_failed");
        bind(absent);
        goto("vbe_not_here");
        bind(wrong_mode);
        goto("vbe_not_in_this_mode")
    );
    Ok(())
}
