//! Functions 00h (the controller) and 01h (a mode).

use super::super::dispi::MEMORY_BLOCKS;
use super::super::header::FRAME_BUFFER;
use super::mode_list::{ROW_BITS, ROW_BYTES, ROW_COLUMNS, ROW_LINES, ROWS};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{VIDEO_SEGMENT, frame};
use iced_x86::code_asm::*;

const VERSION: u32 = 0x0300;
/// The width of the DAC can be switched.
const DAC_CAN_BE_SWITCHED: u32 = 1 << 0;
/// Where the list of modes starts in the caller's block.
const LIST: u32 = 0x22;

/// A mode is there, has all of its block, can be written by function 0Eh, and has colours.
const ATTRIBUTES: u32 = 0x0F;
const GRAPHICS: u32 = 1 << 4;
const LINEAR: u32 = 1 << 7;
/// A window that can be moved, read and written.
const WINDOW: u32 = 7;
const WINDOW_KIB: u32 = 64;
const TEXT_KIB: u32 = 32;

pub(super) fn write(a: &mut Module) -> Build {
    controller(a)?;
    mode(a)?;
    colours(a)
}

/// Function 00h: 256 bytes at ES:DI, or 512 where they begin with "VBE2".
fn controller(a: &mut Module) -> Build {
    let [old, next, skip] = a.labels();
    let far = |offset: u32| u32::from(VIDEO_SEGMENT) << 16 | offset;
    let oem = a.text("Trimotor VGA BIOS");
    let vendor = a.text("Trimotor");
    let product = a.text("VGA with DISPI registers");
    let revision = a.text(env!("CARGO_PKG_VERSION"));
    code!(a;
        routine("vbe_information");
        mov(di, word_ptr(bp + frame::DI));
        mov(cx, 256 / 2);
        cmp(dword_ptr(di).es(), u32::from_le_bytes(*b"VBE2") as i32);
        jne(old);
        add(cx, cx);
        bind(old);
        xor(ax, ax);
        push(di);
        rep_stosw();
        pop(di);
        mov(dword_ptr(di).es(), u32::from_le_bytes(*b"VESA"));
        mov(word_ptr(di + 4).es(), VERSION);
        mov(dword_ptr(di + 6).es(), far(oem));
        mov(dword_ptr(di + 10).es(), DAC_CAN_BE_SWITCHED);
        lea(ax, ptr(di + LIST));
        mov(word_ptr(di + 14).es(), ax);
        mov(word_ptr(di + 16).es(), es);
        mov(ax, MEMORY_BLOCKS);
        invoke("dispi_get");
        mov(word_ptr(di + 18).es(), ax);
        mov(word_ptr(di + 20).es(), 0x0001);
        mov(dword_ptr(di + 22).es(), far(vendor));
        mov(dword_ptr(di + 26).es(), far(product));
        mov(dword_ptr(di + 30).es(), far(revision));
        add(di, LIST);
        invoke("vbe_rows");
        mov(cx, ROWS);
        bind(next);
        invoke("vbe_fits");
        jc(skip);
        mov(ax, word_ptr(si).cs());
        stosw;
        bind(skip);
        add(si, ROW_BYTES);
        loop_(next);
        mov(ax, 0xFFFF);
        stosw;
        goto("vbe_done")
    );
    Ok(())
}

/// Function 01h: 256 bytes at ES:DI on mode CX.
fn mode(a: &mut Module) -> Build {
    let [found, text, graphics, no_linear, planar, rest] = a.labels();
    let window_at = a.table(&["vbe_window_far"]);
    code!(a;
        routine("vbe_mode_information");
        mov(bx, cx);
        and(bx, 0x1FF);
        invoke("vbe_find");
        jnc(found);
        goto("vbe_failed");
        bind(found);
        mov(di, word_ptr(bp + frame::DI));
        push(di);
        xor(ax, ax);
        mov(cx, 256 / 2);
        rep_stosw();
        pop(di);
        // What all modes have.
        mov(byte_ptr(di + 2).es(), WINDOW);
        mov(ax, word_ptr(window_at).cs());
        mov(word_ptr(di + 12).es(), ax);
        mov(word_ptr(di + 14).es(), u32::from(VIDEO_SEGMENT));
        mov(ax, word_ptr(si + ROW_COLUMNS).cs());
        mov(word_ptr(di + 18).es(), ax);
        mov(ax, word_ptr(si + ROW_LINES).cs());
        mov(word_ptr(di + 20).es(), ax);
        mov(byte_ptr(di + 22).es(), 8);
        mov(byte_ptr(di + 26).es(), 1);
        mov(byte_ptr(di + 30).es(), 1);
        mov(cl, byte_ptr(si + ROW_BITS).cs());
        test(cl, cl);
        jnz(graphics);
        bind(text);
        mov(word_ptr(di).es(), ATTRIBUTES);
        mov(word_ptr(di + 4).es(), TEXT_KIB);
        mov(word_ptr(di + 6).es(), TEXT_KIB);
        mov(word_ptr(di + 8).es(), 0xB800);
        mov(ax, word_ptr(si + ROW_COLUMNS).cs());
        add(ax, ax);
        mov(word_ptr(di + 16).es(), ax);
        mov(word_ptr(di + 50).es(), ax);
        // 25 rows have 16 lines each, more have 8.
        mov(al, 8);
        cmp(word_ptr(si + ROW_LINES).cs(), 25);
    );
    let many = a.label();
    code!(a;
        ja(many);
        mov(al, 16);
        bind(many);
        mov(byte_ptr(di + 23).es(), al);
        mov(byte_ptr(di + 24).es(), 4);
        mov(byte_ptr(di + 25).es(), 4);
        goto("vbe_done");
        bind(graphics);
        mov(ax, ATTRIBUTES | GRAPHICS);
        mov(word_ptr(di + 4).es(), WINDOW_KIB);
        mov(word_ptr(di + 6).es(), WINDOW_KIB);
        mov(word_ptr(di + 8).es(), 0xA000);
        cmp(cl, 4);
        je(no_linear);
        mov(edx, dword_ptr(FRAME_BUFFER).cs());
        test(edx, edx);
        jz(no_linear);
        or(ax, LINEAR);
        mov(dword_ptr(di + 40).es(), edx);
        bind(no_linear);
        mov(word_ptr(di).es(), ax);
        mov(byte_ptr(di + 25).es(), cl);
        invoke("row_pitch");
        mov(word_ptr(di + 16).es(), ax);
        mov(word_ptr(di + 50).es(), ax);
        // Lines of a character, as the modes are set.
        mov(al, 8);
        cmp(word_ptr(si + ROW_LINES).cs(), super::set::LOW_LINES);
    );
    let [low, few] = a.labels();
    code!(a;
        jbe(low);
        mov(al, 16);
        bind(low);
        mov(byte_ptr(di + 23).es(), al);
        // Pages behind the first, 255 at most.
        invoke("row_pitch");
        movzx(edx, word_ptr(si + ROW_LINES).cs());
        mul(edx);
        invoke("row_planes");
        mov(ebx, eax);
        invoke("vbe_memory");
        xor(edx, edx);
        div(ebx);
        dec(eax);
        cmp(eax, 255);
        jbe(few);
        mov(al, 255);
        bind(few);
        mov(byte_ptr(di + 29).es(), al);
        mov(byte_ptr(di + 52).es(), al);
        mov(byte_ptr(di + 53).es(), al);
        // Planes and memory model: 3 planar, 4 a byte a pixel, 6 colours as such.
        mov(byte_ptr(di + 24).es(), 4);
        mov(byte_ptr(di + 27).es(), 3);
        cmp(cl, 4);
        je(planar);
        mov(byte_ptr(di + 24).es(), 1);
        mov(byte_ptr(di + 27).es(), 4);
        cmp(cl, 8);
        je(rest);
        mov(byte_ptr(di + 27).es(), 6);
        invoke("vbe_masks");
        bind(planar);
        bind(rest);
        goto("vbe_done")
    );
    Ok(())
}

/// `vbe_masks`: the places of red, green, blue and unused bits in pixels of CL bits, for windows and for linear memory. SI is lost.
fn colours(a: &mut Module) -> Build {
    // Bits; then size and place of each.
    let masks: [[u8; 9]; 4] = [
        [15, 5, 10, 5, 5, 5, 0, 1, 15],
        [16, 5, 11, 6, 5, 5, 0, 0, 0],
        [24, 8, 16, 8, 8, 8, 0, 0, 0],
        [32, 8, 16, 8, 8, 8, 0, 8, 24],
    ];
    let table = a.bytes(&masks.concat());
    let [next, found, full] = a.labels();
    code!(a;
        routine("vbe_masks");
        mov(si, table);
        bind(next);
        cmp(byte_ptr(si).cs(), cl);
        je(found);
        add(si, 9);
        jmp(next);
        bind(found);
        inc(si);
        // Unused bits may be used.
        cmp(byte_ptr(si + 6).cs(), 0);
        je(full);
        mov(byte_ptr(di + 39).es(), 2);
        bind(full);
        mov(cx, 8);
    );
    let copy = a.here()?;
    code!(a;
        mov(al, byte_ptr(si).cs());
        mov(byte_ptr(di + 31).es(), al);
        mov(byte_ptr(di + 54).es(), al);
        inc(si);
        inc(di);
        loop_(copy);
        ret
    );
    Ok(())
}
