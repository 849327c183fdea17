//! Functions 12h (choices), 1Ah (which display), 1Bh (what the adapter is and does).
//!
//! Left out of 12h: 20h, another routine to print the screen, because the system BIOS's knows how many rows there are; 35h, which
//! switches between two adapters.

use super::colours::{GREY, KEEP_COLOURS};
use super::mode_table::{MODES, PAGES, SHOWN_COLOURS};
use super::set_mode::{LINES_200, LINES_400};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{VIDEO_SEGMENT, bda, frame};
use iced_x86::code_asm::*;

/// What functions answer in AL that are there.
const DONE: u32 = 0x12;
/// Video memory: 256 KiB.
const MEMORY: u32 = 3;

pub(super) fn write(a: &mut Module) -> Build {
    choices(a)?;
    lines(a)?;
    display_code(a)?;
    state(a)
}

fn choices(a: &mut Module) -> Build {
    let mono = a.label();
    a.routine("choices")?;
    for (function, routine) in [
        (0x10, "choice_information"),
        (0x30, "choice_lines"),
        (0x31, "choice_colours"),
        (0x32, "choice_access"),
        (0x33, "choice_grey"),
        (0x34, "choice_cursor"),
        (0x36, "choice_refresh"),
    ] {
        let routine = a.at(routine);
        code!(a; cmp(bl, function); je(routine));
    }
    code!(a;
        goto("leave");
        // BH: monochrome, BL: memory, CH and CL: feature bits and switches.
        routine("choice_information");
        mov(bh, 0);
        cmp(word_ptr(bda::CRTC_PORT), 0x3D4);
        je(mono);
        inc(bh);
        bind(mono);
        mov(bl, MEMORY);
        mov(word_ptr(bp + frame::BX), bx);
        mov(al, byte_ptr(bda::VIDEO_SWITCHES));
        and(ax, 0x000F);
        mov(word_ptr(bp + frame::CX), ax);
        goto("leave")
    );
    // AL is 0 to enable and 1 to disable.
    for (name, field, bit) in
        [("choice_colours", bda::VIDEO_FLAGS, KEEP_COLOURS), ("choice_cursor", bda::VIDEO_CONTROL, 1)]
    {
        let off = a.label();
        code!(a;
            routine(name);
            and(byte_ptr(field), 0xFF & !bit);
            test(al, 1);
            jz(off);
            or(byte_ptr(field), bit);
            bind(off);
            goto("choice_done")
        );
    }
    let [grey_off, closed, refresh_off] = a.labels();
    code!(a;
        routine("choice_grey");
        and(byte_ptr(bda::VIDEO_FLAGS), 0xFF & !GREY);
        test(al, 1);
        jnz(grey_off);
        or(byte_ptr(bda::VIDEO_FLAGS), GREY);
        bind(grey_off);
        goto("choice_done");
        // The processor's way to video memory: bit 1 of miscellaneous output.
        routine("choice_access");
        mov(bl, al);
        mov(dx, 0x3CC);
        in_(al, dx);
        mov(dx, 0x3C2);
        or(al, 2);
        test(bl, 1);
        jz(closed);
        and(al, 0xFD);
        bind(closed);
        out(dx, al);
        goto("choice_done");
        // The screen: bit 5 of the sequencer's clocking mode.
        routine("choice_refresh");
        mov(bl, al);
        mov(dx, 0x3C4);
        mov(al, 1);
        out(dx, al);
        inc(dx);
        in_(al, dx);
        and(al, 0xDF);
        test(bl, 1);
        jz(refresh_off);
        or(al, 0x20);
        bind(refresh_off);
        out(dx, al);
        routine("choice_done");
        mov(byte_ptr(bp + frame::AX), DONE);
        goto("leave")
    );
    Ok(())
}

/// Function 12h 30h: the next text mode has 200, 350 or 400 lines by AL.
fn lines(a: &mut Module) -> Build {
    let [bad, set] = a.labels();
    code!(a;
        routine("choice_lines");
        mov(bx, LINES_200 | 8 << 8);
        test(al, al);
        jz(set);
        mov(bx, 9 << 8);
        cmp(al, 1);
        je(set);
        mov(bl, LINES_400);
        cmp(al, 2);
        jne(bad);
        bind(set);
        and(byte_ptr(bda::VIDEO_FLAGS), 0xFF & !(LINES_200 | LINES_400));
        or(byte_ptr(bda::VIDEO_FLAGS), bl);
        and(byte_ptr(bda::VIDEO_SWITCHES), 0xF0);
        or(byte_ptr(bda::VIDEO_SWITCHES), bh);
        goto("choice_done");
        bind(bad);
        goto("leave")
    );
    Ok(())
}

fn display_code(a: &mut Module) -> Build {
    let [set, done] = a.labels();
    code!(a;
        routine("display_code");
        cmp(al, 1);
        je(set);
        ja(done);
        movzx(bx, byte_ptr(bda::DISPLAY_CODE));
        mov(word_ptr(bp + frame::BX), bx);
        mov(byte_ptr(bp + frame::AX), 0x1A);
        goto("leave");
        bind(set);
        mov(byte_ptr(bda::DISPLAY_CODE), bl);
        mov(byte_ptr(bp + frame::AX), 0x1A);
        bind(done);
        goto("leave")
    );
    Ok(())
}

/// Modes that there are, lines, fonts, functions.
fn abilities() -> [u8; 16] {
    let modes = MODES.iter().fold(0u32, |all, mode| all | 1 << mode.number);
    let [m0, m1, m2, _] = modes.to_le_bytes();
    let mut bytes = [0; 16];
    bytes[..3].copy_from_slice(&[m0, m1, m2]);
    bytes[7] = 0b111; // text with 200, 350 and 400 lines
    bytes[8] = 8; // fonts that are loaded at once
    bytes[9] = 2; // and shown at once
    // All modes on all displays, greys, fonts, palette, cursor emulation, the EGA's palette, the DAC and its pages.
    bytes[10] = 0b1111_1111;
    // No light pen; saving the state, blinking, which display.
    bytes[11] = 0b0000_1110;
    bytes
}

/// Function 1Bh: 64 bytes at ES:DI.
fn state(a: &mut Module) -> Build {
    let table = a.bytes(&abilities());
    let [done, no_mode, known, lines_known] = a.labels();
    code!(a;
        routine("state");
        test(bx, bx);
        jnz(done);
        mov(es, word_ptr(bp + frame::ES));
        mov(eax, u32::from(VIDEO_SEGMENT) << 16 | table);
        stosd;
        mov(si, bda::VIDEO_MODE);
        mov(cx, 30);
        rep_movsb();
        mov(al, byte_ptr(bda::ROWS));
        inc(al);
        stosb;
        mov(ax, word_ptr(bda::CHARACTER_LINES));
        stosw;
        movzx(ax, byte_ptr(bda::DISPLAY_CODE));
        stosw;
        // Colours, pages. VBE's modes are not in the table.
        push(di);
        mov(al, byte_ptr(bda::VIDEO_MODE));
        invoke("find_mode");
        mov(bx, di);
        pop(di);
        mov(ax, 256);
        mov(dl, 1);
        jc(no_mode);
        mov(ax, word_ptr(bx + SHOWN_COLOURS).cs());
        mov(dl, byte_ptr(bx + PAGES).cs());
        bind(no_mode);
        stosw;
        mov(al, dl);
        stosb;
        // 200, 350, 400 or 480 lines.
        mov(al, byte_ptr(bda::ROWS));
        inc(al);
        mul(byte_ptr(bda::CHARACTER_LINES));
        mov(bl, 0)
    );
    for lines in [200u32, 350, 400] {
        code!(a; cmp(ax, lines); jbe(lines_known); inc(bl));
    }
    let [colour, plain] = a.labels();
    code!(a;
        bind(lines_known);
        mov(al, bl);
        stosb;
        // The fonts in use.
        mov(dx, 0x3C4);
        mov(al, 3);
        out(dx, al);
        inc(dx);
        in_(al, dx);
        mov(ah, al);
        and(al, 3);
        test(ah, 1 << 4);
        jz(known);
        or(al, 4);
        bind(known);
        stosb;
        mov(al, ah);
        shr(al, 2);
        and(al, 3);
        test(ah, 1 << 5);
        jz(plain);
        or(al, 4);
        bind(plain);
        stosb;
        // All modes on all displays, greys, monochrome, colours kept, cursor emulation, blinking.
        mov(al, byte_ptr(bda::VIDEO_FLAGS));
        and(al, GREY | KEEP_COLOURS);
        or(al, 1);
        cmp(word_ptr(bda::CRTC_PORT), 0x3D4);
        je(colour);
        or(al, 4);
        bind(colour);
        mov(ah, byte_ptr(bda::VIDEO_CONTROL));
        and(ah, 1);
        xor(ah, 1);
        shl(ah, 4);
        or(al, ah);
        mov(ah, byte_ptr(bda::CGA_MODE));
        and(ah, 0x20);
        or(al, ah);
        stosb;
        xor(ax, ax);
        stosw;
        stosb;
        mov(al, MEMORY);
        stosb;
        xor(al, al);
        mov(cx, 14);
        rep_stosb();
        mov(byte_ptr(bp + frame::AX), 0x1B);
        bind(done);
        goto("leave")
    );
    Ok(())
}
