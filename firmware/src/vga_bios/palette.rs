//! Functions 0Bh (the CGA's colours) and 10h (palette and DAC).

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

/// The DAC's ports.
pub(super) const DAC_MASK: u32 = 0x3C6;
pub(super) const DAC_READ: u32 = 0x3C7;
pub(super) const DAC_WRITE: u32 = 0x3C8;
const ATTRIBUTE: u32 = 0x3C0;

pub(super) fn write(a: &mut Module) -> Build {
    attribute_access(a)?;
    cga(a)?;
    dispatch(a)?;
    attribute_services(a)?;
    dac_services(a)
}

/// `attribute_write`: AH to register AL; `attribute_read`: AL is the register AL. The screen stays on. DX is lost.
fn attribute_access(a: &mut Module) -> Build {
    code!(a;
        routine("attribute_select");
        push(ax);
        mov(dx, word_ptr(bda::CRTC_PORT));
        add(dx, 6);
        in_(al, dx);
        pop(ax);
        mov(dx, ATTRIBUTE);
        out(dx, al);
        ret;
        routine("attribute_write");
        invoke("attribute_select");
        mov(al, ah);
        out(dx, al);
        goto("screen_on");
        routine("attribute_read");
        invoke("attribute_select");
        inc(dx);
        in_(al, dx);
        mov(ah, al);
        invoke("screen_on");
        mov(al, ah);
        ret;
        routine("screen_on");
        mov(dx, word_ptr(bda::CRTC_PORT));
        add(dx, 6);
        in_(al, dx);
        mov(dx, ATTRIBUTE);
        mov(al, 0x20);
        out(dx, al);
        ret
    );
    Ok(())
}

/// Function 0Bh. BH = 0: BL is the colour of border and, in graphics modes, background; bit 4 makes the others bright. BH = 1:
/// BL chooses between green, red, brown and cyan, magenta, white.
fn cga(a: &mut Module) -> Build {
    let [choose, text, next, apply] = a.labels();
    code!(a;
        routine("cga_palette");
        cmp(bh, 1);
        je(choose);
        mov(al, byte_ptr(bda::CGA_PALETTE));
        and(al, 0xE0);
        and(bl, 0x1F);
        or(al, bl);
        mov(byte_ptr(bda::CGA_PALETTE), al);
        // Intensity is bit 4 of a colour.
        mov(ah, bl);
        and(ah, 0x0F);
        test(ah, 8);
        jz(apply);
        add(ah, 8);
        bind(apply);
        mov(bh, ah);
        mov(al, 0x11);
        invoke("attribute_write");
        invoke("if_text");
        jz(text);
        mov(al, 0);
        mov(ah, bh);
        invoke("attribute_write");
        jmp(next);
        bind(choose);
        and(byte_ptr(bda::CGA_PALETTE), 0xDF);
        and(bl, 1);
        shl(bl, 5);
        or(byte_ptr(bda::CGA_PALETTE), bl);
        bind(next);
        // Colours 1 to 3 are 2, 4, 6 or, with bit 5, 3, 5, 7; with bit 4 bright.
        mov(bl, byte_ptr(bda::CGA_PALETTE));
        mov(bh, bl);
        and(bh, 0x10);
        shr(bl, 5);
        and(bl, 1);
        or(bh, bl);
    );
    for register in 1..=3u32 {
        code!(a; mov(ah, bh); add(ah, 2 * register); mov(al, register); invoke("attribute_write"));
    }
    code!(a; bind(text); goto("leave"));
    Ok(())
}

fn dispatch(a: &mut Module) -> Build {
    a.routine("palette")?;
    for (function, routine) in [
        (0x00, "palette_set"),
        (0x01, "border_set"),
        (0x02, "palette_set_all"),
        (0x03, "blink_set"),
        (0x07, "palette_get"),
        (0x08, "border_get"),
        (0x09, "palette_get_all"),
        (0x10, "dac_set"),
        (0x12, "dac_set_block"),
        (0x13, "dac_page_set"),
        (0x15, "dac_get"),
        (0x17, "dac_get_block"),
        (0x18, "dac_mask_set"),
        (0x19, "dac_mask_get"),
        (0x1A, "dac_page_get"),
        (0x1B, "dac_grey"),
    ] {
        let routine = a.at(routine);
        code!(a; cmp(al, function); je(routine));
    }
    a.goto("leave")
}

/// The attribute controller: palette registers 0 to 0Fh, mode 10h, border 11h.
fn attribute_services(a: &mut Module) -> Build {
    let [bad, next, read_next, steady, set] = a.labels();
    code!(a;
        routine("border_set");
        mov(bl, 0x11);
        routine("palette_set");
        cmp(bl, 0x14);
        ja(bad);
        mov(al, bl);
        mov(ah, bh);
        invoke("attribute_write");
        bind(bad);
        goto("leave");
        routine("border_get");
        mov(bl, 0x11);
        routine("palette_get");
        mov(al, bl);
        invoke("attribute_read");
        mov(byte_ptr(bp + frame::BH), al);
        goto("leave");
        // 17 bytes at ES:DX: the palette, then the border.
        routine("palette_set_all");
        mov(es, word_ptr(bp + frame::ES));
        mov(si, dx);
        mov(bx, 0);
        bind(next);
        mov(ah, byte_ptr(si).es());
        mov(al, bl);
        cmp(bl, 16);
        jne(set);
        mov(al, 0x11);
        bind(set);
        invoke("attribute_write");
        inc(si);
        inc(bx);
        cmp(bx, 17);
        jb(next);
        goto("leave");
        routine("palette_get_all");
        mov(es, word_ptr(bp + frame::ES));
        mov(di, dx);
        xor(bx, bx);
        bind(read_next);
        mov(al, bl);
        cmp(al, 16);
        jne(steady);
        inc(al);
        bind(steady);
        invoke("attribute_read");
        stosb;
        inc(bx);
        cmp(bx, 17);
        jb(read_next);
        goto("leave");
        // BL: bit 7 of an attribute makes characters blink, or backgrounds bright.
        routine("blink_set");
        mov(al, 0x10);
        invoke("attribute_read");
        and(al, 0xF7);
        and(bl, 1);
        shl(bl, 3);
        or(al, bl);
        mov(ah, al);
        mov(al, 0x10);
        invoke("attribute_write");
        mov(al, byte_ptr(bda::CGA_MODE));
        and(al, 0xDF);
        shl(bl, 2);
        or(al, bl);
        mov(byte_ptr(bda::CGA_MODE), al);
        goto("leave")
    );
    pages(a)
}

/// The DAC's pages: with bit 7 of the mode register 16 of 16 colours, else 4 of 64.
fn pages(a: &mut Module) -> Build {
    let [page, fine, get_fine] = a.labels();
    code!(a;
        routine("dac_page_set");
        mov(al, 0x10);
        invoke("attribute_read");
        test(bl, bl);
        jnz(page);
        and(al, 0x7F);
        and(bh, 1);
        shl(bh, 7);
        or(al, bh);
        mov(ah, al);
        mov(al, 0x10);
        invoke("attribute_write");
        goto("leave");
        bind(page);
        test(al, 0x80);
        jnz(fine);
        shl(bh, 2);
        bind(fine);
        mov(al, 0x14);
        mov(ah, bh);
        and(ah, 0x0F);
        invoke("attribute_write");
        goto("leave");
        routine("dac_page_get");
        mov(al, 0x10);
        invoke("attribute_read");
        shr(al, 7);
        mov(bl, al);
        mov(al, 0x14);
        invoke("attribute_read");
        and(al, 0x0F);
        test(bl, bl);
        jnz(get_fine);
        shr(al, 2);
        bind(get_fine);
        mov(byte_ptr(bp + frame::BX), bl);
        mov(byte_ptr(bp + frame::BH), al);
        goto("leave")
    );
    Ok(())
}

/// The DAC: colours of three components.
fn dac_services(a: &mut Module) -> Build {
    let [set_next, get_next, grey_next, none] = a.labels();
    code!(a;
        routine("dac_set");
        mov(dx, DAC_WRITE);
        mov(al, bl);
        out(dx, al);
        inc(dx);
        mov(al, byte_ptr(bp + frame::DH));
        out(dx, al);
        mov(al, ch);
        out(dx, al);
        mov(al, cl);
        out(dx, al);
        goto("leave");
        routine("dac_get");
        mov(dx, DAC_READ);
        mov(al, bl);
        out(dx, al);
        add(dx, 2);
        in_(al, dx);
        mov(byte_ptr(bp + frame::DH), al);
        in_(al, dx);
        mov(byte_ptr(bp + frame::CH), al);
        in_(al, dx);
        mov(byte_ptr(bp + frame::CX), al);
        goto("leave");
        // CX colours from BX on, at ES:DX.
        routine("dac_set_block");
        mov(es, word_ptr(bp + frame::ES));
        mov(si, dx);
        imul_3(cx, cx, 3);
        jcxz(none);
        mov(dx, DAC_WRITE);
        mov(al, bl);
        out(dx, al);
        inc(dx);
        bind(set_next);
        mov(al, byte_ptr(si).es());
        out(dx, al);
        inc(si);
        loop_(set_next);
        bind(none);
        goto("leave");
        routine("dac_get_block");
        mov(es, word_ptr(bp + frame::ES));
        mov(di, dx);
        imul_3(cx, cx, 3);
        jcxz(none);
        mov(dx, DAC_READ);
        mov(al, bl);
        out(dx, al);
        add(dx, 2);
        bind(get_next);
        in_(al, dx);
        stosb;
        loop_(get_next);
        goto("leave");
        routine("dac_mask_set");
        mov(dx, DAC_MASK);
        mov(al, bl);
        out(dx, al);
        goto("leave");
        routine("dac_mask_get");
        mov(dx, DAC_MASK);
        in_(al, dx);
        mov(byte_ptr(bp + frame::BX), al);
        goto("leave");
        routine("dac_grey");
        jcxz(none);
        bind(grey_next);
        invoke("grey");
        inc(bl);
        loop_(grey_next);
        goto("leave");
        // Colour BL becomes the grey that is as bright: 30% red, 59% green, 11% blue.
        routine("grey");
        push(cx);
        mov(dx, DAC_READ);
        mov(al, bl);
        out(dx, al);
        add(dx, 2);
        xor(cx, cx);
    );
    for share in [77u32, 151, 28] {
        code!(a; in_(al, dx); mov(ah, share); mul(ah); add(cx, ax));
    }
    code!(a;
        add(cx, 0x80);
        dec(dx);
        mov(al, bl);
        out(dx, al);
        inc(dx);
        mov(al, ch);
        out(dx, al);
        out(dx, al);
        out(dx, al);
        pop(cx);
        ret
    );
    Ok(())
}
