//! Functions 08h (bits of a colour's components) and 09h (the palette).

use super::super::dispi::{BITS, DAC_8, ENABLE};
use super::super::palette::{DAC_READ, DAC_WRITE};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::frame;
use iced_x86::code_asm::*;

/// Input status 1; bit 3: the beam goes back to the top.
const STATUS: u32 = 0x3DA;
const RETRACE: u32 = 1 << 3;

pub(super) fn write(a: &mut Module) -> Build {
    width(a)?;
    palette(a)
}

/// Function 08h. BL 0: BH bits, if there are so many, else the next lower number; 1: what is. The answer is in BH.
fn width(a: &mut Module) -> Build {
    let [wrong_mode, bad, get, six, told] = a.labels();
    code!(a;
        routine("vbe_dac_width");
        invoke("vbe_graphics");
        jne(wrong_mode);
        mov(ax, BITS);
        invoke("dispi_get");
        cmp(al, 8);
        ja(wrong_mode);
        mov(ax, ENABLE);
        invoke("dispi_get");
        cmp(bl, 1);
        je(get);
        ja(bad);
        and(al, 0xFF & !DAC_8);
        cmp(bh, 8);
        jb(six);
        or(al, DAC_8);
        bind(six);
        mov(cx, ax);
        mov(ax, ENABLE);
        invoke("dispi_put");
        invoke("dispi_get");
        bind(get);
        mov(bh, 6);
        test(al, DAC_8);
        jz(told);
        mov(bh, 8);
        bind(told);
        mov(byte_ptr(bp + frame::BH), bh);
        goto("vbe_done");
        bind(bad);
        goto("vbe_failed");
        bind(wrong_mode);
        goto("vbe_not_in_this_mode")
    );
    Ok(())
}

/// Function 09h: CX colours from DX on, at ES:DI: blue, green, red, and a byte that is not used. BL 0 sets them, 80h when the beam
/// goes back, 1 gets them.
fn palette(a: &mut Module) -> Build {
    let [bad, absent, set, wait, come, none, get, packed, wrong_mode] = a.labels();
    code!(a;
        routine("vbe_palette");
        invoke("vbe_graphics");
        jne(packed);
        mov(ax, BITS);
        invoke("dispi_get");
        cmp(al, 8);
        ja(wrong_mode);
        bind(packed);
        cmp(bl, 2);
        je(absent);
        cmp(bl, 3);
        je(absent);
        cmp(dx, 256);
        jae(bad);
        cmp(cx, 256);
        ja(bad);
        mov(ax, dx);
        add(ax, cx);
        cmp(ax, 256);
        ja(bad);
        mov(di, word_ptr(bp + frame::DI));
        cmp(bl, 1);
        je(get);
        test(bl, bl);
        jz(set);
        cmp(bl, 0x80);
        jne(bad);
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
        bind(set);
        mov(al, dl);
        mov(dx, DAC_WRITE);
        out(dx, al);
        inc(dx);
        jcxz(none);
    );
    let next = a.here()?;
    for component in [2u32, 1, 0] {
        code!(a; mov(al, byte_ptr(di + component).es()); out(dx, al));
    }
    code!(a;
        add(di, 4);
        loop_(next);
        bind(none);
        goto("vbe_done");
        bind(get);
        mov(al, dl);
        mov(dx, DAC_READ);
        out(dx, al);
        add(dx, 2);
        jcxz(none);
    );
    let next = a.here()?;
    for component in [2u32, 1, 0] {
        code!(a; in_(al, dx); mov(byte_ptr(di + component).es(), al));
    }
    code!(a;
        mov(byte_ptr(di + 3).es(), 0);
        add(di, 4);
        loop_(next);
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
