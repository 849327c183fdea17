//! Function 1Ch, and 04h of VBE: what the adapter is in, to a buffer and back.
//!
//! | bit of CX | what | bytes |
//! |---|---|---|
//! | 0 | indexes and registers of the VGA | 128 |
//! | 1 | what the BDA and vectors 1Fh and 43h have | 64 |
//! | 2 | the DAC: mask, index, 256 colours | 832 |
//! | 3 | the DISPI registers, for VBE only | 64 |
//!
//! A buffer has the parts that were asked for, one behind the other. How each looks inside is ours to say.

use super::dispi::{self, BANK, BITS, COLUMNS, ENABLE, FIRST_COLUMN, FIRST_LINE, KEEP_MEMORY, LINES};
use super::dispi::{MEMORY_COLUMNS, ON};
use super::palette::{DAC_MASK, DAC_READ, DAC_WRITE};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

/// Bytes of each part.
const REGISTERS: u32 = 128;
const DATA: u32 = 64;
const DAC: u32 = 832;
const EXTENDED: u32 = 64;
/// Sizes are told in blocks of so many bytes.
const BLOCK: u32 = 64;
/// The parts that function 1Ch knows.
const VGA_PARTS: u32 = 7;
const ALL_PARTS: u32 = 15;
/// Pieces of the BDA: where they start, and how many bytes they have.
const PIECES: [(u32, u32); 5] = [
    (bda::VIDEO_MODE, 30),
    (bda::ROWS, 7),
    (bda::VIDEO_POINTERS, 4),
    (bda::VBE_MODE, 3),
    (bda::EQUIPMENT, 1),
];
/// The display's bits of the equipment.
const DISPLAY: u32 = 0x30;
const SEQUENCER: u32 = 0x3C4;
const GRAPHICS: u32 = 0x3CE;
const ATTRIBUTE: u32 = 0x3C0;
/// DISPI registers in the order in which they are written: these, then [`ENABLE`], then those that it sets.
const SHAPE: [u32; 3] = [COLUMNS, LINES, BITS];
const PLACE: [u32; 4] = [BANK, MEMORY_COLUMNS, FIRST_COLUMN, FIRST_LINE];

pub(super) fn write(a: &mut Module) -> Build {
    services(a)?;
    size(a)?;
    save(a)?;
    save_registers(a)?;
    restore(a)?;
    restore_registers(a)?;
    restore_extended(a)
}

fn services(a: &mut Module) -> Build {
    let [bad, size_, save_, done, vbe_bad, vbe_size, vbe_save, vbe_done] = a.labels();
    code!(a;
        routine("state_services");
        and(cx, VGA_PARTS);
        jz(bad);
        mov(es, word_ptr(bp + frame::ES));
        mov(di, bx);
        test(al, al);
        jz(size_);
        cmp(al, 1);
        je(save_);
        cmp(al, 2);
        jne(bad);
        invoke("state_restore");
        jmp(done);
        bind(save_);
        invoke("state_save");
        jmp(done);
        bind(size_);
        invoke("state_size");
        mov(word_ptr(bp + frame::BX), ax);
        bind(done);
        mov(byte_ptr(bp + frame::AX), 0x1C);
        bind(bad);
        goto("leave");
        // VBE's has the subfunction in DL.
        routine("vbe_state");
        test(cx, ALL_PARTS);
        jz(vbe_bad);
        and(cx, ALL_PARTS);
        mov(di, bx);
        test(dl, dl);
        jz(vbe_size);
        cmp(dl, 1);
        je(vbe_save);
        cmp(dl, 2);
        jne(vbe_bad);
        invoke("state_restore");
        jmp(vbe_done);
        bind(vbe_save);
        invoke("state_save");
        jmp(vbe_done);
        bind(vbe_size);
        invoke("state_size");
        mov(word_ptr(bp + frame::BX), ax);
        bind(vbe_done);
        goto("vbe_done");
        bind(vbe_bad);
        goto("vbe_failed")
    );
    Ok(())
}

/// `state_size`: AX is the blocks of parts CX.
fn size(a: &mut Module) -> Build {
    a.routine("state_size")?;
    a.xor(ax, ax)?;
    for (part, bytes) in [(1u32, REGISTERS), (2, DATA), (4, DAC), (8, EXTENDED)] {
        let skip = a.label();
        code!(a; test(cl, part); jz(skip); add(ax, bytes / BLOCK); bind(skip));
    }
    a.ret()
}

/// `state_save`: parts CX to ES:DI.
fn save(a: &mut Module) -> Build {
    let [no_registers, no_data, no_dac, no_extended] = a.labels();
    code!(a;
        routine("state_save");
        test(cl, 1);
        jz(no_registers);
        push(cx);
        push(di);
        invoke("save_registers");
        pop(di);
        pop(cx);
        add(di, REGISTERS);
        bind(no_registers);
        test(cl, 2);
        jz(no_data);
        push(cx);
        push(di);
    );
    for (at, bytes) in PIECES {
        code!(a; mov(si, at); mov(cx, bytes); rep_movsb());
    }
    code!(a;
        push(ds);
        push(0);
        pop(ds);
        mov(eax, dword_ptr(4 * 0x1F));
        stosd;
        mov(eax, dword_ptr(4 * 0x43));
        stosd;
        pop(ds);
        pop(di);
        pop(cx);
        add(di, DATA);
        bind(no_data);
        test(cl, 4);
        jz(no_dac);
        push(cx);
        push(di);
        mov(dx, DAC_MASK);
        in_(al, dx);
        stosb;
        mov(dx, DAC_WRITE);
        in_(al, dx);
        stosb;
        mov(dx, DAC_READ);
        mov(al, 0);
        out(dx, al);
        add(dx, 2);
        mov(cx, 768)
    );
    let next = a.here()?;
    code!(a;
        in_(al, dx);
        stosb;
        loop_(next);
        // Reading has moved the index.
        pop(di);
        mov(dx, DAC_WRITE);
        mov(al, byte_ptr(di + 1).es());
        out(dx, al);
        pop(cx);
        add(di, DAC);
        bind(no_dac);
        test(cl, 8);
        jz(no_extended)
    );
    for index in [ENABLE].into_iter().chain(SHAPE).chain(PLACE) {
        code!(a; mov(ax, index); invoke("dispi_get"); stosw);
    }
    code!(a; bind(no_extended); ret);
    Ok(())
}

/// `count` registers behind an index port, to ES:DI.
fn read_indexed(a: &mut Module, count: u32) -> Build {
    code!(a; mov(cx, count); mov(ah, 0));
    let next = a.here()?;
    code!(a;
        mov(al, ah);
        out(dx, al);
        inc(dx);
        in_(al, dx);
        dec(dx);
        stosb;
        inc(ah);
        loop_(next)
    );
    Ok(())
}
/// The same from ES:SI, from register AH on.
fn write_indexed(a: &mut Module, count: u32) -> Build {
    a.mov(cx, count)?;
    let next = a.here()?;
    code!(a;
        mov(al, ah);
        out(dx, al);
        inc(dx);
        mov(al, byte_ptr(si).es());
        out(dx, al);
        dec(dx);
        inc(si);
        inc(ah);
        loop_(next)
    );
    Ok(())
}

/// `save_registers`: indexes of sequencer, graphics, CRT and attribute controller; miscellaneous output, feature control; the
/// registers of each.
fn save_registers(a: &mut Module) -> Build {
    a.routine("save_registers")?;
    code!(a; invoke("crtc_in_bx"));
    for port in [SEQUENCER, GRAPHICS] {
        code!(a; mov(dx, port); in_(al, dx); stosb);
    }
    code!(a; mov(dx, bx); in_(al, dx); stosb);
    for port in [ATTRIBUTE, 0x3CC, 0x3CA] {
        code!(a; mov(dx, port); in_(al, dx); stosb);
    }
    a.mov(dx, SEQUENCER)?;
    read_indexed(a, 5)?;
    a.mov(dx, GRAPHICS)?;
    read_indexed(a, 9)?;
    a.mov(dx, bx)?;
    read_indexed(a, 25)?;
    // The attribute controller's index and data share a port; a read of input status 1 comes before each index.
    code!(a; mov(cx, 21); mov(ah, 0));
    let next = a.here()?;
    code!(a;
        lea(dx, ptr(bx + 6));
        in_(al, dx);
        mov(dx, ATTRIBUTE);
        mov(al, ah);
        out(dx, al);
        inc(dx);
        in_(al, dx);
        stosb;
        inc(ah);
        loop_(next);
        sub(di, 6 + 5 + 9 + 25 + 21);
        goto("restore_indexes");
        // BX is the CRT controller's port.
        routine("crtc_in_bx");
        mov(dx, 0x3CC);
        in_(al, dx);
        mov(bx, 0x3B4)
    );
    let mono = a.label();
    code!(a; test(al, 1); jz(mono); mov(bl, 0xD4); bind(mono); ret);
    // The indexes from ES:DI.
    a.routine("restore_indexes")?;
    for (at, port) in [(0u32, SEQUENCER), (1, GRAPHICS)] {
        code!(a; mov(dx, port); mov(al, byte_ptr(di + at).es()); out(dx, al));
    }
    code!(a;
        mov(dx, bx);
        mov(al, byte_ptr(di + 2).es());
        out(dx, al);
        lea(dx, ptr(bx + 6));
        in_(al, dx);
        mov(dx, ATTRIBUTE);
        mov(al, byte_ptr(di + 3).es());
        out(dx, al);
        // An index is what comes next.
        lea(dx, ptr(bx + 6));
        in_(al, dx);
        ret
    );
    Ok(())
}

/// `state_restore`: parts CX from ES:DI. The DISPI registers are off while those of the VGA are written, and the DAC
/// comes after them, because they say how wide it is.
fn restore(a: &mut Module) -> Build {
    let [no_registers, no_data, no_dac, no_extended, next] = a.labels();
    code!(a;
        routine("state_restore");
        test(cl, 8);
        jz(no_extended);
        invoke("dispi_off");
        bind(no_extended);
        test(cl, 1);
        jz(no_registers);
        push(cx);
        push(di);
        invoke("restore_registers");
        pop(di);
        pop(cx);
        add(di, REGISTERS);
        bind(no_registers);
        test(cl, 2);
        jz(no_data);
        push(cx);
        push(di);
        push(ds);
        push(ds);
        // DS:SI is the buffer, ES the BDA.
        push(es);
        pop(ds);
        pop(es);
        mov(si, di)
    );
    for (at, bytes) in PIECES {
        if at == bda::EQUIPMENT {
            code!(a;
                lodsb;
                and(al, DISPLAY);
                and(byte_ptr(at).es(), 0xFF & !DISPLAY);
                or(byte_ptr(at).es(), al)
            );
        } else {
            code!(a; mov(di, at); mov(cx, bytes); rep_movsb());
        }
    }
    code!(a;
        push(0);
        pop(es);
        lodsd;
        mov(dword_ptr(4 * 0x1F).es(), eax);
        lodsd;
        mov(dword_ptr(4 * 0x43).es(), eax);
        push(ds);
        pop(es);
        pop(ds);
        pop(di);
        pop(cx);
        add(di, DATA);
        bind(no_data);
        // The DISPI registers are behind the DAC, if that is there.
        mov(si, di);
        test(cl, 4)
    );
    let [here, no_extended_2] = a.labels();
    code!(a;
        jz(here);
        add(si, DAC);
        bind(here);
        test(cl, 8);
        jz(no_extended_2);
        push(cx);
        invoke("restore_extended");
        pop(cx);
        bind(no_extended_2);
        test(cl, 4);
        jz(no_dac);
        mov(dx, DAC_MASK);
        mov(al, byte_ptr(di).es());
        out(dx, al);
        mov(dx, DAC_WRITE);
        mov(al, 0);
        out(dx, al);
        inc(dx);
        lea(si, ptr(di + 2));
        mov(cx, 768);
        bind(next);
        mov(al, byte_ptr(si).es());
        out(dx, al);
        inc(si);
        loop_(next);
        dec(dx);
        mov(al, byte_ptr(di + 1).es());
        out(dx, al);
        bind(no_dac);
        ret
    );
    Ok(())
}

fn restore_registers(a: &mut Module) -> Build {
    code!(a;
        routine("restore_registers");
        lea(si, ptr(di + 6));
        // The sequencer stands still meanwhile.
        mov(dx, SEQUENCER);
        mov(ax, 0x0100);
        out(dx, ax);
        mov(dx, 0x3C2);
        mov(al, byte_ptr(di + 4).es());
        out(dx, al);
        invoke("crtc_in_bx");
        lea(dx, ptr(bx + 6));
        mov(al, byte_ptr(di + 5).es());
        out(dx, al);
        mov(dx, SEQUENCER);
        inc(si);
        mov(ah, 1)
    );
    write_indexed(a, 4)?;
    code!(a;
        mov(ah, byte_ptr(di + 6).es());
        mov(al, 0);
        out(dx, ax);
        mov(dx, GRAPHICS);
        mov(ah, 0)
    );
    write_indexed(a, 9)?;
    // Bit 7 of register 11h protects the first ones.
    code!(a; mov(dx, bx); mov(ax, 0x0011); out(dx, ax); mov(ah, 0));
    write_indexed(a, 25)?;
    code!(a; lea(dx, ptr(bx + 6)); in_(al, dx); mov(dx, ATTRIBUTE); mov(cx, 21); mov(ah, 0));
    let next = a.here()?;
    code!(a;
        mov(al, ah);
        out(dx, al);
        mov(al, byte_ptr(si).es());
        out(dx, al);
        inc(si);
        inc(ah);
        loop_(next);
        goto("restore_indexes")
    );
    Ok(())
}

/// `restore_extended`: from ES:SI. Memory stays as it is.
fn restore_extended(a: &mut Module) -> Build {
    let off = a.label();
    let field = |index: u32| {
        let order = [ENABLE].into_iter().chain(SHAPE).chain(PLACE);
        2 * order.take_while(|other| *other != index).count() as u32
    };
    a.routine("restore_extended")?;
    let put = |a: &mut Module, index: u32| -> Build {
        code!(a; mov(ax, index); mov(cx, word_ptr(si + field(index)).es()); invoke("dispi_put"));
        Ok(())
    };
    for index in SHAPE {
        put(a, index)?;
    }
    code!(a;
        mov(ax, ENABLE);
        mov(cx, word_ptr(si).es());
        and(cx, 0xFFFF & !dispi::SHOW_LIMITS);
        or(cl, KEEP_MEMORY);
        invoke("dispi_put");
        test(cl, ON);
        jz(off)
    );
    for index in PLACE {
        put(a, index)?;
    }
    code!(a; bind(off); ret);
    Ok(())
}
