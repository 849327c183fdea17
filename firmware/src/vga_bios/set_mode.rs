//! Function 00h: sets a mode. Bit 7 of AL leaves memory as it is.

use super::Tables;
use super::mode_table::{COLOURS, ENTRY_BYTES, KIND, Kind, MODES, ROWS as ROW_NUMBERS, SEGMENT};
use super::parameters::{
    ATTRIBUTE, COLUMNS, CRTC, GRAPHICS, LINES, MISCELLANEOUS, PAGE_BYTES, ROW_BYTES, ROWS, SEQUENCER,
};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

/// The cursor's shape in text modes: the lowest two of eight lines.
pub(super) const DEFAULT_CURSOR: u32 = 0x0607;
/// The CGA's mode register for modes 0 to 7, which programs read from the BDA.
const CGA_MODES: [u8; 8] = [0x2C, 0x28, 0x2D, 0x29, 0x2A, 0x2E, 0x1E, 0x29];
/// Bits of the video flags that say how many lines text has: 200, or 400; neither: 350.
pub(super) const LINES_200: u32 = 1 << 7;
/// See [`LINES_200`].
pub(super) const LINES_400: u32 = 1 << 4;

pub(super) fn write(a: &mut Module, tables: &Tables) -> Build {
    let [known, clear, told] = a.labels();
    a.routine("set_mode")?;
    code!(a;
        mov(dh, al);
        and(al, 0x7F);
        invoke("find_mode");
        jnc(known);
        goto("leave");
        bind(known);
        push(dx);
        mov(word_ptr(bda::VBE_MODE), 0);
        invoke("mode_apply");
        pop(dx);
        and(byte_ptr(bda::VIDEO_CONTROL), 0x7F);
        and(dh, 0x80);
        or(byte_ptr(bda::VIDEO_CONTROL), dh);
        jnz(clear);
        invoke("mode_clear");
        bind(clear);
        invoke("mode_show");
        // AL tells what kind of mode it was, as some programs expect.
        mov(al, 0x20);
        mov(ah, byte_ptr(bda::VIDEO_MODE));
        cmp(ah, 7);
        ja(told);
        mov(al, 0x30);
        cmp(ah, 6);
        jne(told);
        mov(al, 0x3F);
        bind(told);
        mov(byte_ptr(bp + frame::AX), al);
        goto("leave")
    );
    find(a, tables)?;
    apply(a)?;
    registers(a)?;
    data_area(a)?;
    clear_memory(a)
}

/// `find_mode`: DI is the entry of mode AL, SI its row; CF: there is none. `mode_row`: SI is row AL.
fn find(a: &mut Module, tables: &Tables) -> Build {
    let [next, known, lines] = a.labels();
    code!(a;
        routine("find_mode");
        mov(di, tables.modes);
        mov(cx, MODES.len() as u32);
        bind(next);
        cmp(byte_ptr(di).cs(), al);
        je(known);
        add(di, ENTRY_BYTES);
        loop_(next);
        stc;
        ret;
        bind(known);
        mov(si, 0);
        mov(al, byte_ptr(bda::VIDEO_FLAGS));
        test(al, LINES_200);
        jnz(lines);
        inc(si);
        test(al, LINES_400);
        jz(lines);
        inc(si);
        bind(lines);
        add(si, di);
        mov(al, byte_ptr(si + ROW_NUMBERS).cs());
        routine("mode_row");
        mov(ah, 0);
        shl(ax, ROW_BYTES.trailing_zeros());
        add(ax, tables.rows);
        mov(si, ax);
        clc;
        ret
    );
    Ok(())
}

/// `mode_apply`: makes the mode of entry DI and row SI the current one, but for its memory. `mode_show`: the screen on again, and
/// the cursor. SI and DI are kept.
fn apply(a: &mut Module) -> Build {
    code!(a;
        routine("mode_apply");
        invoke("dispi_off");
        push(di);
        invoke("mode_registers");
        pop(di);
        push(di);
        mov(bl, byte_ptr(di + COLOURS).cs());
        invoke("load_colours");
        pop(di);
        push(di);
        invoke("mode_data_area");
        mov(bl, byte_ptr(di + KIND).cs());
        invoke("default_font");
        pop(di);
        ret;
        routine("mode_show");
        mov(dx, word_ptr(bda::CRTC_PORT));
        add(dx, 6);
        in_(al, dx);
        mov(dx, 0x3C0);
        mov(al, 0x20);
        out(dx, al);
        push(si);
        invoke("cursor_show");
        pop(si);
        ret
    );
    Ok(())
}

/// Writes `count` registers behind an index port from CS:DI on, the first one with index AH.
fn indexed(a: &mut Module, port: u32, count: u32) -> Build {
    code!(a; mov(dx, port));
    indexed_at_dx(a, count)
}
/// The same with the port in DX.
fn indexed_at_dx(a: &mut Module, count: u32) -> Build {
    code!(a; mov(cx, count));
    let next = a.here()?;
    code!(a;
        mov(al, ah);
        out(dx, al);
        inc(dx);
        mov(al, byte_ptr(di).cs());
        out(dx, al);
        dec(dx);
        inc(di);
        inc(ah);
        loop_(next)
    );
    Ok(())
}

/// `mode_registers`: all registers from the row at CS:SI.
fn registers(a: &mut Module) -> Build {
    let colour = a.label();
    code!(a;
        routine("mode_registers");
        // The sequencer stands still meanwhile.
        mov(dx, 0x3C4);
        mov(ax, 0x0100);
        out(dx, ax);
        mov(dx, 0x3C2);
        mov(al, byte_ptr(si + MISCELLANEOUS).cs());
        out(dx, al);
        lea(di, ptr(si + SEQUENCER));
        mov(ah, 1)
    );
    indexed(a, 0x3C4, 4)?;
    code!(a;
        mov(dx, 0x3C4);
        mov(ax, 0x0300);
        out(dx, ax);
        mov(bx, 0x3B4);
        test(byte_ptr(si + MISCELLANEOUS).cs(), 1);
        jz(colour);
        mov(bl, 0xD4);
        bind(colour);
        mov(word_ptr(bda::CRTC_PORT), bx);
        // Bit 7 of register 11h protects the first ones.
        mov(dx, bx);
        mov(ax, 0x0011);
        out(dx, ax);
        lea(di, ptr(si + CRTC));
        mov(ah, 0)
    );
    indexed_at_dx(a, 25)?;
    code!(a;
        lea(di, ptr(si + GRAPHICS));
        mov(ah, 0)
    );
    indexed(a, 0x3CE, 9)?;
    // Attribute controller: index and data at one port; a read of input status 1 starts with the index.
    code!(a;
        lea(dx, ptr(bx + 6));
        in_(al, dx);
        mov(dx, 0x3C0);
        lea(di, ptr(si + ATTRIBUTE));
        mov(ah, 0);
        mov(cx, 20)
    );
    let next = a.here()?;
    code!(a;
        mov(al, ah);
        out(dx, al);
        mov(al, byte_ptr(di).cs());
        out(dx, al);
        inc(di);
        inc(ah);
        loop_(next);
        mov(al, 0x14);
        out(dx, al);
        mov(al, 0);
        out(dx, al);
        ret
    );
    Ok(())
}

/// `mode_data_area`: what the BDA says of the mode of entry DI and row SI.
fn data_area(a: &mut Module) -> Build {
    let cga = a.bytes(&CGA_MODES);
    let [equipment, no_cga, palette, no_cursor] = a.labels();
    code!(a;
        routine("mode_data_area");
        mov(al, byte_ptr(di).cs());
        mov(byte_ptr(bda::VIDEO_MODE), al);
        movzx(ax, byte_ptr(si + COLUMNS).cs());
        mov(word_ptr(bda::COLUMNS), ax);
        mov(al, byte_ptr(si + ROWS).cs());
        mov(byte_ptr(bda::ROWS), al);
        mov(al, byte_ptr(si + LINES).cs());
        mov(word_ptr(bda::CHARACTER_LINES), ax);
        mov(ax, word_ptr(si + PAGE_BYTES).cs());
        mov(word_ptr(bda::PAGE_BYTES), ax);
        xor(eax, eax);
        mov(word_ptr(bda::PAGE_START), ax);
        mov(byte_ptr(bda::PAGE), al);
        mov(dword_ptr(bda::CURSORS), eax);
        mov(dword_ptr(bda::CURSORS + 4), eax);
        mov(dword_ptr(bda::CURSORS + 8), eax);
        mov(dword_ptr(bda::CURSORS + 12), eax);
        // Only text modes have a cursor.
        mov(word_ptr(bda::CURSOR_SHAPE), ax);
        cmp(byte_ptr(di + KIND).cs(), al);
        jne(no_cursor);
        mov(word_ptr(bda::CURSOR_SHAPE), DEFAULT_CURSOR);
        bind(no_cursor);
        mov(byte_ptr(bda::VIDEO_CONTROL), 0x60);
        mov(al, 0x20);
        cmp(byte_ptr(bda::VIDEO_MODE), 7);
        jne(equipment);
        mov(al, 0x30);
        bind(equipment);
        and(byte_ptr(bda::EQUIPMENT), 0xCF);
        or(byte_ptr(bda::EQUIPMENT), al);
        movzx(bx, byte_ptr(bda::VIDEO_MODE));
        cmp(bx, 7);
        ja(no_cga);
        mov(al, byte_ptr(bx + cga).cs());
        mov(byte_ptr(bda::CGA_MODE), al);
        mov(al, 0x30);
        cmp(bx, 6);
        jne(palette);
        mov(al, 0x3F);
        bind(palette);
        mov(byte_ptr(bda::CGA_PALETTE), al);
        bind(no_cga);
        ret
    );
    Ok(())
}

/// `mode_clear`: blanks in text modes, zeros in others: 32 KiB or 64 KiB. DI is the entry.
fn clear_memory(a: &mut Module) -> Build {
    let fill = a.label();
    code!(a;
        routine("mode_clear");
        push(di);
        mov(ax, word_ptr(di + SEGMENT).cs());
        mov(es, ax);
        mov(bl, byte_ptr(di + KIND).cs());
        xor(di, di);
        mov(cx, 0x4000);
        mov(ax, 0x0720);
        test(bl, bl);
        jz(fill);
        xor(ax, ax);
        cmp(bl, Kind::Planar as u32);
        jb(fill);
        mov(cx, 0x8000);
        bind(fill);
        rep_stosw();
        pop(di);
        ret
    );
    Ok(())
}
