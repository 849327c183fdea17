//! Pixels, characters and lines in VBE's graphics modes, through the window of 64 KiB at A0000h. A pixel may lie across two
//! windows, and so may a line.

use super::dispi::{BANK, BITS, PORT};
use crate::bios::asm::{Build, Module, code};
use iced_x86::code_asm::*;

/// Bytes that are moved at once, by way of the stack.
const CHUNK: u32 = 256;

pub(super) fn write(a: &mut Module) -> Build {
    address(a)?;
    colour(a)?;
    put(a)?;
    get(a)?;
    draw(a)?;
    move_line(a)?;
    clear_line(a)
}

/// `vbe_address`: EAX is where line DX starts, in bytes (of one plane), BL bits of a pixel. `vbe_map`: ES:DI is
/// byte EAX, BX its bank.
/// `next_bank`: the bank behind BX, and DI at its beginning. Other registers are kept.
fn address(a: &mut Module) -> Build {
    code!(a;
        routine("vbe_address");
        push(cx);
        push(edx);
        invoke("vbe_pitch");
        mov(bl, cl);
        movzx(edx, dx);
        mul(edx);
        pop(edx);
        pop(cx);
        ret;
        routine("vbe_map");
        mov(di, ax);
        shr(eax, 16);
        mov(bx, ax);
        routine("select_bank");
        push(dx);
        push(ax);
        mov(dx, PORT);
        mov(ax, BANK);
        out(dx, ax);
        inc(dx);
        mov(ax, bx);
        out(dx, ax);
        mov(ax, 0xA000);
        mov(es, ax);
        pop(ax);
        pop(dx);
        ret;
        routine("next_bank");
        inc(bx);
        xor(di, di);
        goto("select_bank")
    );
    Ok(())
}

/// `vbe_colour`: EAX is what pixels of BL bits have for colour AL: one of sixteen where they hold red, green and blue.
fn colour(a: &mut Module) -> Build {
    let components = |n: u32| {
        let bright = if n & 8 != 0 { 0x55 } else { 0 };
        let component = |bit: u32| (n >> bit & 1) * 0xAA + bright;
        // Dark yellow is brown.
        if n == 6 { [0xAA, 0x55, 0] } else { [component(2), component(1), component(0)] }
    };
    let mut tables = [15u32, 16, 24].map(|bits| {
        let values: Vec<u8> = (0..16)
            .map(components)
            .map(|[red, green, blue]| match bits {
                15 => (red >> 3) << 10 | (green >> 3) << 5 | blue >> 3,
                16 => (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3,
                _ => red << 16 | green << 8 | blue,
            })
            .flat_map(u32::to_le_bytes)
            .collect();
        values
    });
    let [in_15, in_16, in_24] = tables.each_mut().map(|table| a.bytes(table));
    let [packed, known] = a.labels();
    code!(a;
        routine("vbe_colour");
        cmp(bl, 8);
        jbe(packed);
        push(si);
        and(ax, 0x0F);
        shl(ax, 2);
        mov(si, in_24);
        cmp(bl, 16);
        ja(known);
        mov(si, in_16);
        je(known);
        mov(si, in_15);
        bind(known);
        add(si, ax);
        mov(eax, dword_ptr(si).cs());
        pop(si);
        ret;
        bind(packed);
        movzx(eax, al);
        ret
    );
    Ok(())
}

/// `pixel_address`: EAX is the byte of column CX of line DX, BL bits of a pixel. `vbe_put_pixel`: colour AL
/// there; bit 7 combines, where pixels hold red, green and blue. `store_pixel`: EAX in CL bytes to ES:DI of bank
/// BX, which go on. `stored_bytes`: CL is the bytes of a pixel of BL bits.
fn put(a: &mut Module) -> Build {
    let [next, same_bank, plain] = a.labels();
    code!(a;
        routine("pixel_address");
        invoke("vbe_address");
        push(ecx);
        push(eax);
        movzx(eax, cx);
        mov(cl, bl);
        invoke("bytes_of_pixels");
        pop(ecx);
        add(eax, ecx);
        pop(ecx);
        ret;
        routine("stored_bytes");
        mov(cl, bl);
        inc(cl);
        shr(cl, 3);
        ret;
        routine("vbe_put_pixel");
        push(ax);
        invoke("pixel_address");
        mov(edx, eax);
        pop(ax);
        mov(ch, al);
        invoke("vbe_colour");
        invoke("stored_bytes");
        xchg(eax, edx);
        invoke("vbe_map");
        mov(eax, edx);
        // A byte is a colour as it is; more of them have a bit to combine by.
        cmp(cl, 1);
        je(plain);
        test(ch, 0x80);
        jz(plain);
        goto("xor_pixel");
        bind(plain);
        routine("store_pixel");
        mov(ch, cl);
        push(eax);
        bind(next);
        stosb;
        shr(eax, 8);
        test(di, di);
        jnz(same_bank);
        invoke("next_bank");
        bind(same_bank);
        dec(ch);
        jnz(next);
        pop(eax);
        ret
    );
    Ok(())
}

/// `vbe_get_pixel`: AL is the colour at column CX of line DX; where pixels hold red, green and blue, which of the
/// sixteen it is, 15 if it is none.
fn get(a: &mut Module) -> Build {
    let [next, same_bank, packed, compare, found] = a.labels();
    code!(a;
        routine("vbe_get_pixel");
        invoke("pixel_address");
        push(bx);
        invoke("stored_bytes");
        invoke("vbe_map");
        // The bytes, the first one lowest.
        mov(ch, cl);
        xor(edx, edx);
        bind(next);
        mov(dl, byte_ptr(di).es());
        ror(edx, 8);
        inc(di);
        jnz(same_bank);
        invoke("next_bank");
        bind(same_bank);
        dec(ch);
        jnz(next);
        pop(bx);
        mov(ch, cl);
        neg(cl);
        add(cl, 4);
        shl(cl, 3);
        shr(edx, cl);
        cmp(ch, 1);
        je(packed);
        xor(cx, cx);
        // The unused byte or bit does not matter.
        and(edx, 0x00FF_FFFF);
        bind(compare);
        mov(al, cl);
        invoke("vbe_colour");
        cmp(eax, edx);
        je(found);
        inc(cx);
        cmp(cl, 15);
        jb(compare);
        bind(found);
        mov(al, cl);
        ret;
        bind(packed);
        mov(al, dl);
        ret
    );
    Ok(())
}

/// `vbe_draw`: the glyph at GS:SI, BH lines, with colour AL, from column CX and line DX of pixels on. All
/// registers are lost, but for segments other than ES.
fn draw(a: &mut Module) -> Build {
    let [line, pixel, ink, put] = a.labels();
    code!(a;
        routine("vbe_draw");
        // EBP is the colour, with bit 31 to combine; EDX the address of a line, ECX bytes of a line of memory.
        push(bp);
        push(ax);
        invoke("pixel_address");
        mov(edx, eax);
        invoke("vbe_pitch");
        mov(ebp, eax);
        pop(ax);
        push(ax);
        invoke("vbe_colour");
        pop(cx);
        xchg(eax, ebp);
        // EBP colour, EAX pitch, CL the caller's colour.
        mov(ch, cl);
        invoke("stored_bytes");
        and(ch, 0x80);
        cmp(cl, 1);
        jne(line);
        mov(ch, 0);
        bind(line);
        push(eax);
        push(edx);
        push(bx);
        mov(ah, byte_ptr(si).gs());
        inc(si);
        push(ax);
        mov(eax, edx);
        invoke("vbe_map");
        pop(ax);
        mov(dh, 8);
        bind(pixel);
        shl(ah, 1);
        push(ax);
        push(cx);
        mov(eax, ebp);
        jc(ink);
        xor(eax, eax);
        bind(ink);
        test(ch, 0x80);
        jz(put);
        invoke("xor_pixel");
    );
    let [stored, next, one_bank] = a.labels();
    code!(a;
        jmp(stored);
        bind(put);
        invoke("store_pixel");
        bind(stored);
        pop(cx);
        pop(ax);
        dec(dh);
        jnz(pixel);
        pop(bx);
        pop(edx);
        pop(eax);
        add(edx, eax);
        dec(bh);
        jnz(line);
        pop(bp);
        ret;
        routine("xor_pixel");
        mov(ch, cl);
        bind(next);
        xor(byte_ptr(di).es(), al);
        shr(eax, 8);
        inc(di);
        jnz(one_bank);
        invoke("next_bank");
        bind(one_bank);
        dec(ch);
        jnz(next);
        ret
    );
    Ok(())
}

/// `vbe_window_bytes`: of characters CH from column CL on, EAX is the byte of line DX where they start and ECX how many bytes
/// they have, in one plane.
fn move_line(a: &mut Module) -> Build {
    let [planar, chunk, small, copy_in, copy_out, in_bank, out_bank, byte] = a.labels();
    code!(a;
        routine("vbe_window_bytes");
        push(ebx);
        push(ecx);
        movzx(cx, cl);
        shl(cx, 3);
        invoke("pixel_address");
        pop(ecx);
        push(eax);
        movzx(eax, ch);
        shl(eax, 3);
        mov(cl, bl);
        invoke("bytes_of_pixels");
        mov(ecx, eax);
        pop(eax);
        pop(ebx);
        ret;
        // Line DX becomes a copy of line DX + BP, in characters CH from CL on.
        routine("vbe_move_line");
        push(cx);
        push(dx);
        add(dx, bp);
        invoke("vbe_window_bytes");
        mov(esi, eax);
        pop(dx);
        pop(cx);
        invoke("vbe_window_bytes");
        mov(edx, eax);
        mov(ax, BITS);
        invoke("dispi_get");
        cmp(al, 4);
        je(planar);
        // From ESI to EDX, ECX bytes, through the stack.
        push(bp);
        sub(sp, CHUNK);
        mov(bp, sp);
        bind(chunk);
        push(ecx);
        cmp(ecx, CHUNK);
        jbe(small);
        mov(ecx, CHUNK);
        bind(small);
        push(cx);
        // All is a multiple of eight bytes, and so is where windows end.
        shr(cx, 2);
        push(cx);
        push(bp);
        mov(eax, esi);
        invoke("vbe_map");
        bind(copy_in);
        mov(eax, dword_ptr(di).es());
        mov(dword_ptr(bp), eax);
        add(bp, 4);
        add(di, 4);
        jnz(in_bank);
        invoke("next_bank");
        bind(in_bank);
        loop_(copy_in);
        pop(bp);
        pop(cx);
        push(bp);
        mov(eax, edx);
        invoke("vbe_map");
        bind(copy_out);
        mov(eax, dword_ptr(bp));
        mov(dword_ptr(di).es(), eax);
        add(bp, 4);
        add(di, 4);
        jnz(out_bank);
        invoke("next_bank");
        bind(out_bank);
        loop_(copy_out);
        pop(bp);
        pop(cx);
        movzx(eax, cx);
        add(esi, eax);
        add(edx, eax);
        pop(ecx);
        sub(ecx, eax);
        jnz(chunk);
        add(sp, CHUNK);
        pop(bp);
        ret;
        // Write mode 1: the latches carry a byte of each plane.
        bind(planar);
        push(dx);
        mov(dx, 0x3CE);
        mov(ax, 0x0105);
        out(dx, ax);
        pop(dx);
        bind(byte);
        mov(eax, esi);
        invoke("vbe_map");
        mov(al, byte_ptr(di).es());
        mov(eax, edx);
        invoke("vbe_map");
        mov(byte_ptr(di).es(), al);
        inc(esi);
        inc(edx);
        loop_(byte)
    );
    super::graphics::plain_writes(a)?;
    a.ret()
}

/// `vbe_clear_line`: line DX gets colour BH, in characters CH from CL on.
fn clear_line(a: &mut Module) -> Build {
    let [planar, next, byte, same_bank] = a.labels();
    code!(a;
        routine("vbe_clear_line");
        push(bx);
        push(cx);
        invoke("vbe_window_bytes");
        mov(esi, eax);
        pop(cx);
        pop(dx);
        mov(ax, BITS);
        invoke("dispi_get");
        mov(bl, al);
        cmp(al, 4);
        je(planar);
        // DH is the colour, CH how many characters.
        mov(al, dh);
        invoke("vbe_colour");
        push(eax);
        movzx(dx, ch);
        shl(dx, 3);
        invoke("stored_bytes");
        mov(eax, esi);
        invoke("vbe_map");
        pop(eax);
        bind(next);
        invoke("store_pixel");
        dec(dx);
        jnz(next);
        ret;
        bind(planar);
        push(dx);
        mov(dx, 0x3CE);
        mov(ax, 0x0205);
        out(dx, ax);
        pop(dx);
        mov(eax, esi);
        invoke("vbe_map");
        movzx(cx, ch);
        mov(al, dh);
        bind(byte);
        stosb;
        test(di, di);
        jnz(same_bank);
        invoke("next_bank");
        bind(same_bank);
        loop_(byte)
    );
    super::graphics::plain_writes(a)?;
    a.ret()
}
