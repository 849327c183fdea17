//! Functions 10h (the monitor's power) and 15h (its EDID).
//!
//! The card has one wire to the screen: it is dark in each state but "on". The state itself is kept in the BDA.

use super::super::header::EDID;
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

/// Version 1.0; stand-by, suspend and off.
const POWER: u32 = 0x0710;
/// One second at most; DDC2, and the screen stays on.
const DDC: u32 = 0x0102;
const BLOCK: u32 = 128;
/// Where an EDID says how many blocks follow the first.
const EXTENSIONS: u32 = 126;

pub(super) fn write(a: &mut Module) -> Build {
    power(a)?;
    edid(a)
}

/// BL 0: what there is, 1: state BH (0 on, 1 stand-by, 2 suspend, 4 off), 2: which state.
fn power(a: &mut Module) -> Build {
    let [bad, set, get, absent, known, dark, shown] = a.labels();
    code!(a;
        routine("vbe_power");
        cmp(bl, 1);
        je(set);
        cmp(bl, 2);
        je(get);
        ja(bad);
        mov(word_ptr(bp + frame::BX), POWER);
        goto("vbe_done");
        bind(get);
        mov(al, byte_ptr(bda::VIDEO_POWER));
        mov(byte_ptr(bp + frame::BH), al);
        goto("vbe_done");
        bind(set);
        mov(al, bh)
    );
    for state in [0u32, 1, 2, 4] {
        code!(a; cmp(al, state); je(known));
    }
    code!(a;
        bind(absent);
        goto("vbe_not_here");
        bind(known);
        mov(byte_ptr(bda::VIDEO_POWER), al);
        // Bit 5 of the sequencer's clocking mode: the screen is off.
        mov(dx, 0x3C4);
        mov(al, 1);
        out(dx, al);
        inc(dx);
        in_(al, dx);
        and(al, 0xDF);
        test(bh, bh);
        jz(shown);
        or(al, 0x20);
        bind(shown);
        out(dx, al);
        // Likewise bit 5 of the attribute controller's index, which not all cards have wired to it.
        mov(dx, word_ptr(bda::CRTC_PORT));
        add(dx, 6);
        in_(al, dx);
        mov(dx, 0x3C0);
        mov(al, 0);
        test(bh, bh);
        jnz(dark);
        mov(al, 0x20);
        bind(dark);
        out(dx, al);
        goto("vbe_done");
        bind(bad);
        goto("vbe_failed")
    );
    Ok(())
}

/// BL 0: what there is, 1: block DX of the EDID to ES:DI.
fn edid(a: &mut Module) -> Build {
    let [bad, read, absent] = a.labels();
    code!(a;
        routine("vbe_monitor");
        // One controller.
        test(cx, cx);
        jnz(bad);
        cmp(bl, 1);
        je(read);
        ja(absent);
        mov(word_ptr(bp + frame::BX), DDC);
        goto("vbe_done");
        bind(read);
        movzx(ax, byte_ptr(EDID + EXTENSIONS).cs());
        cmp(dx, ax);
        ja(bad);
        // One is kept.
        cmp(dx, 1);
        ja(bad);
        mov(si, dx);
        shl(si, BLOCK.trailing_zeros());
        add(si, EDID);
        mov(di, word_ptr(bp + frame::DI));
        push(cs);
        pop(ds);
        mov(cx, BLOCK);
        rep_movsb();
        goto("vbe_done");
        bind(absent);
        goto("vbe_not_here");
        bind(bad);
        goto("vbe_failed")
    );
    Ok(())
}
