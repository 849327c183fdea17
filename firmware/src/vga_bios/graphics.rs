//! Pixels of graphics modes: functions 0Ch and 0Dh, and the routines that know how a mode's memory is laid out: one pixel, and
//! the address of a line.

use super::dispi::BITS;
use super::mode_table::Kind;
use super::vbe::VBE_GRAPHICS;
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

pub(super) const GRAPHICS_CONTROLLER: u32 = 0x3CE;
/// Bytes between the even and the odd lines of the CGA.
const CGA_BANK: u32 = 0x2000;
const CGA_LINE: u32 = 80;

pub(super) fn write(a: &mut Module) -> Build {
    kind(a)?;
    line_address(a)?;
    put_pixel(a)?;
    planar_byte(a)?;
    get_pixel(a)?;
    pixel_services(a)
}

/// `mode_kind`: AL is the kind of the mode, and ZF is set in text modes. `if_text`: the same, AX kept.
fn kind(a: &mut Module) -> Build {
    let [cga_2, cga_4, planar, packed, text, vbe] = a.labels();
    code!(a;
        routine("mode_kind");
        mov(al, byte_ptr(bda::VIDEO_MODE));
        cmp(al, VBE_GRAPHICS);
        je(vbe);
        cmp(al, 4);
        jb(text);
        cmp(al, 6);
        jb(cga_4);
        je(cga_2);
        cmp(al, 0x13);
        je(packed);
        cmp(al, 7);
        je(text);
        bind(planar);
        mov(al, Kind::Planar as u32);
        test(al, al);
        ret;
        bind(vbe);
        push(ax);
        mov(ax, BITS);
        invoke("dispi_get");
        cmp(al, 4);
        pop(ax);
        je(planar);
        mov(al, Kind::Banked as u32);
        test(al, al);
        ret;
        bind(cga_4);
        mov(al, Kind::Cga4 as u32);
        test(al, al);
        ret;
        bind(cga_2);
        mov(al, Kind::Cga2 as u32);
        test(al, al);
        ret;
        bind(packed);
        mov(al, Kind::Packed as u32);
        test(al, al);
        ret;
        bind(text);
        xor(al, al);
        ret;
        routine("if_text");
        push(bx);
        mov(bx, ax);
        invoke("mode_kind");
        mov(ax, bx);
        pop(bx);
        ret
    );
    Ok(())
}

/// `line_address`: ES:DI is the first byte of line DX on the page that is shown, AL the kind of the mode. AH is lost.
fn line_address(a: &mut Module) -> Build {
    let [cga, packed, even, done] = a.labels();
    code!(a;
        routine("line_address");
        invoke("mode_kind");
        push(bx);
        push(dx);
        push(ax);
        mov(bx, 0xA000);
        cmp(al, Kind::Planar as u32);
        jb(cga);
        ja(packed);
        movzx(ax, byte_ptr(bda::COLUMNS));
        mul(dx);
        add(ax, word_ptr(bda::PAGE_START));
        jmp(done);
        bind(packed);
        imul_3(ax, dx, 320);
        jmp(done);
        bind(cga);
        mov(bh, 0xB8);
        mov(ax, dx);
        shr(ax, 1);
        imul_3(ax, ax, CGA_LINE);
        test(dl, 1);
        jz(even);
        add(ax, CGA_BANK);
        bind(even);
        bind(done);
        mov(di, ax);
        mov(es, bx);
        pop(ax);
        pop(dx);
        pop(bx);
        ret
    );
    Ok(())
}

/// Finds a pixel of the CGA's modes: ES:DI is its line, CX its column, AL the mode's kind. DI becomes its byte, BH the mask of a
/// pixel at the right, CL how far this one is from there.
fn cga_pixel(a: &mut Module) -> Build {
    let [cga_2, cga] = a.labels();
    code!(a;
        mov(si, cx);
        cmp(al, Kind::Cga2 as u32);
        je(cga_2);
        shr(si, 2);
        not(cl);
        and(cl, 3);
        add(cl, cl);
        mov(bh, 3);
        jmp(cga);
        bind(cga_2);
        shr(si, 3);
        not(cl);
        and(cl, 7);
        mov(bh, 1);
        bind(cga);
        add(di, si);
    );
    Ok(())
}

/// `put_pixel`: colour AL at column CX of line DX; bit 7 combines it with what is there, by exclusive or, but for mode 13h.
/// All other registers are kept.
fn put_pixel(a: &mut Module) -> Build {
    let [planar, packed, no_xor, put, done, in_vga] = a.labels();
    code!(a;
        routine("put_pixel");
        pushad;
        push(es);
        mov(bl, al);
        invoke("mode_kind");
        cmp(al, Kind::Banked as u32);
        jne(in_vga);
        mov(al, bl);
        invoke("vbe_put_pixel");
        jmp(done);
        bind(in_vga);
        cmp(al, Kind::Planar as u32);
        je(planar);
        invoke("line_address");
        ja(packed);
    );
    cga_pixel(a)?;
    code!(a;
        mov(al, bl);
        and(al, bh);
        shl(al, cl);
        shl(bh, cl);
        mov(ah, byte_ptr(di).es());
        test(bl, 0x80);
        jnz(no_xor);
        not(bh);
        and(ah, bh);
        bind(no_xor);
        xor(al, ah);
        jmp(put);
        bind(packed);
        add(di, cx);
        mov(al, bl);
        bind(put);
        mov(byte_ptr(di).es(), al);
        jmp(done);
        // Write mode 2: the byte is the colour of the pixels that the bit mask has.
        bind(planar);
        invoke("planar_byte");
        and(cl, 7);
        mov(dx, GRAPHICS_CONTROLLER);
        mov(ax, 0x8008);
        shr(ah, cl);
        out(dx, ax);
        mov(ax, 0x0205);
        out(dx, ax);
        mov(al, 3);
        mov(ah, bl);
        shr(ah, 7);
        neg(ah);
        and(ah, 0x18);
        out(dx, ax);
        mov(al, byte_ptr(di).es());
        mov(byte_ptr(di).es(), bl);
    );
    plain_writes(a)?;
    code!(a; bind(done); pop(es); popad; ret);
    Ok(())
}

/// `planar_byte`: ES:DI is the byte of column CX of line DX, in planar modes. AX and SI are lost.
fn planar_byte(a: &mut Module) -> Build {
    let vbe = a.label();
    code!(a;
        routine("planar_byte");
        cmp(byte_ptr(bda::VIDEO_MODE), VBE_GRAPHICS);
        je(vbe);
        invoke("line_address");
        mov(si, cx);
        shr(si, 3);
        add(di, si);
        ret;
        bind(vbe);
        push(bx);
        push(cx);
        invoke("pixel_address");
        invoke("vbe_map");
        pop(cx);
        pop(bx);
        ret
    );
    Ok(())
}

/// The graphics controller as a mode has it: write mode 0, all bits, no combination.
pub(super) fn plain_writes(a: &mut Module) -> Build {
    a.mov(dx, GRAPHICS_CONTROLLER)?;
    for value in [0xFF08u32, 0x0005, 0x0003] {
        code!(a; mov(ax, value); out(dx, ax));
    }
    Ok(())
}

/// `get_pixel`: AL is the colour at column CX of line DX. All other registers are kept.
fn get_pixel(a: &mut Module) -> Build {
    let [planar, packed, done, plane, in_vga] = a.labels();
    code!(a;
        routine("get_pixel");
        pushad;
        push(es);
        invoke("mode_kind");
        cmp(al, Kind::Banked as u32);
        jne(in_vga);
        invoke("vbe_get_pixel");
        mov(bl, al);
        jmp(done);
        bind(in_vga);
        cmp(al, Kind::Planar as u32);
        je(planar);
        invoke("line_address");
        ja(packed);
    );
    cga_pixel(a)?;
    code!(a;
        mov(bl, byte_ptr(di).es());
        shr(bl, cl);
        and(bl, bh);
        jmp(done);
        bind(packed);
        add(di, cx);
        mov(bl, byte_ptr(di).es());
        jmp(done);
        // A bit from each plane, the third first.
        bind(planar);
        invoke("planar_byte");
        not(cl);
        and(cl, 7);
        mov(dx, GRAPHICS_CONTROLLER);
        mov(ax, 0x0304);
        xor(bl, bl);
        bind(plane);
        out(dx, ax);
        mov(bh, byte_ptr(di).es());
        shr(bh, cl);
        and(bh, 1);
        add(bl, bl);
        or(bl, bh);
        dec(ah);
        jns(plane);
        bind(done);
        pop(es);
        mov(si, sp);
        mov(byte_ptr(si + 28).ss(), bl);
        popad;
        ret
    );
    Ok(())
}

fn pixel_services(a: &mut Module) -> Build {
    let text = a.label();
    code!(a;
        routine("pixel_write");
        invoke("if_text");
        jz(text);
        invoke("put_pixel");
        bind(text);
        goto("leave");
        routine("pixel_read");
        invoke("if_text");
        jz(text);
        invoke("get_pixel");
        mov(byte_ptr(bp + frame::AX), al);
        goto("leave")
    );
    Ok(())
}
