//! INT 15h function C2h, the pointing device, and its interrupt 12 (INT 74h).
//!
//! A driver says how long packets are (subfunction 5), gives a far routine (7) and switches the mouse on (0). From then on the
//! interrupt's handler puts the bytes of a packet together in the EBDA and calls the routine with four words on the stack:
//! status, X, Y, and the fourth byte or zero, with the last one on top.
//!
//! | offset in EBDA | what |
//! |---|---|
//! | 22h | far pointer to the routine |
//! | 26h | bits 2 to 0: bytes of the packet that have come |
//! | 27h | bit 7: there is a routine; bits 2 to 0: bytes of a packet, less one |
//! | 28h | the packet, eight bytes |
//!
//! AH is a status: 0 fine, 1 no such subfunction, 2 no such value, 3 the mouse does not answer, 5 there is no routine.
//!
//! Source: IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 15H - System Services", "Pointing Device BIOS
//! Interface".

use super::small::EOI;
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::frame;
use crate::bios::post::ebda_in_ds;
use iced_x86::code_asm::*;
use trimotor_bus::board::{I8042_COMMAND, I8042_DATA, PIC_MASTER, PIC_SLAVE};

const ROUTINE: u32 = 0x22;
const COUNT: u32 = 0x26;
const SIZE: u32 = 0x27;
const PACKET: u32 = 0x28;
/// In [`SIZE`]: there is a routine.
const HAS_ROUTINE: u32 = 0x80;

const COMMAND: u32 = I8042_COMMAND.0 as u32;
const DATA: u32 = I8042_DATA.0 as u32;
/// Status: a byte of the mouse is there.
const MOUSE_BYTE: u32 = 0x21;
/// Command bytes: nobody interrupts and the keyboard waits; both interrupt.
const QUIET: u32 = 0x54;
const BOTH: u32 = 0x47;
/// What subfunction 2 has numbers for.
const RATES: [u8; 7] = [10, 20, 40, 60, 80, 100, 200];

pub(super) fn write(a: &mut Module) -> Build {
    dispatch(a)?;
    subfunctions(a)?;
    exchange(a)?;
    interrupt(a)
}

fn dispatch(a: &mut Module) -> Build {
    a.routine("pointing")?;
    ebda_in_ds(a)?;
    for (number, routine) in [
        (0, "pointing_switch"),
        (1, "pointing_reset"),
        (2, "pointing_rate"),
        (3, "pointing_resolution"),
        (4, "pointing_type"),
        (5, "pointing_size"),
        (6, "pointing_extended"),
        (7, "pointing_routine"),
    ] {
        let routine = a.at(routine);
        code!(a; cmp(al, number); je(routine));
    }
    code!(a; mov(bl, 1); goto("pointing_error"));
    // BL is the status.
    code!(a;
        routine("pointing_bad_value");
        mov(bl, 2);
        goto("pointing_error");
        routine("pointing_no_answer");
        invoke("mouse_end");
        mov(bl, 3);
        routine("pointing_error");
        mov(byte_ptr(bp + frame::AH), bl);
        goto("leave_carry");
        routine("pointing_done");
        invoke("mouse_end");
        goto("leave_ok")
    );
    Ok(())
}

fn subfunctions(a: &mut Module) -> Build {
    let no_answer = a.at("pointing_no_answer");
    let bad_value = a.at("pointing_bad_value");
    let [off, send, reset] = a.labels();
    code!(a;
        routine("pointing_switch");
        cmp(bh, 1);
        ja(bad_value);
        mov(al, 0xF5);
        jb(off);
        mov(al, 0xF4);
        mov(bl, 5);
        test(byte_ptr(SIZE), HAS_ROUTINE);
    );
    let error = a.at("pointing_error");
    code!(a;
        jz(error);
        bind(off);
        bind(send);
        invoke("mouse_begin");
        invoke("mouse_send");
        jc(no_answer);
        goto("pointing_done");

        routine("pointing_size");
        dec(bh);
        cmp(bh, 7);
        ja(bad_value);
        and(byte_ptr(SIZE), HAS_ROUTINE);
        or(byte_ptr(SIZE), bh);
        jmp(reset);
        // BL is what the self test gave, BH the identity.
        routine("pointing_reset");
        bind(reset);
        invoke("mouse_begin");
        mov(al, 0xFF);
        invoke("mouse_send");
        jc(no_answer);
        invoke("keyboard_answer");
        jc(no_answer);
        mov(byte_ptr(bp + frame::BX), al);
        invoke("keyboard_answer");
        jc(no_answer);
        mov(byte_ptr(bp + frame::BH), al);
        goto("pointing_done")
    );
    let rates = a.bytes(&RATES);
    code!(a;
        routine("pointing_rate");
        cmp(bh, RATES.len() as u32);
        jae(bad_value);
        movzx(bx, bh);
        mov(bh, byte_ptr(bx + rates).cs());
        mov(bl, 0xF3);
        goto("pointing_pair");
        routine("pointing_resolution");
        cmp(bh, 3);
        ja(bad_value);
        mov(bl, 0xE8);
        // Command BL with the value BH.
        routine("pointing_pair");
        invoke("mouse_begin");
        mov(al, bl);
        invoke("mouse_send");
        jc(no_answer);
        mov(al, bh);
        invoke("mouse_send");
        jc(no_answer);
        goto("pointing_done");

        routine("pointing_type");
        invoke("mouse_begin");
        mov(al, 0xF2);
        invoke("mouse_send");
        jc(no_answer);
        invoke("keyboard_answer");
        jc(no_answer);
        mov(byte_ptr(bp + frame::BH), al);
        goto("pointing_done")
    );
    extended(a, send)?;
    let [set] = a.labels();
    code!(a;
        routine("pointing_routine");
        mov(ax, word_ptr(bp + frame::ES));
        mov(word_ptr(ROUTINE), bx);
        mov(word_ptr(ROUTINE + 2), ax);
        and(byte_ptr(SIZE), 0x07);
        or(ax, bx);
        jz(set);
        or(byte_ptr(SIZE), HAS_ROUTINE);
        bind(set);
        goto("leave_ok")
    );
    Ok(())
}

/// Status (BH = 0), scaling 1:1 (1) and 2:1 (2); `send` sends AL.
fn extended(a: &mut Module, send: CodeLabel) -> Build {
    let no_answer = a.at("pointing_no_answer");
    let bad_value = a.at("pointing_bad_value");
    let [status] = a.labels();
    code!(a;
        routine("pointing_extended");
        cmp(bh, 2);
        ja(bad_value);
        test(bh, bh);
        jz(status);
        mov(al, 0xE5);
        add(al, bh);
        jmp(send);
        bind(status);
        invoke("mouse_begin");
        mov(al, 0xE9);
        invoke("mouse_send");
        jc(no_answer);
    );
    for register in [frame::BX, frame::CX, frame::DX] {
        code!(a; invoke("keyboard_answer"); jc(no_answer); mov(byte_ptr(bp + register), al));
    }
    a.goto("pointing_done")
}

/// Talking to the mouse while no handler takes its answers.
fn exchange(a: &mut Module) -> Build {
    /// Reads of the status until something is taken for absent.
    const PATIENCE: u32 = 0xFFFF;
    /// Bytes of a packet that may come before an acknowledgement.
    const STRAY: u32 = 8;
    let [wait, empty, next, done, bad] = a.labels();
    code!(a;
        // The keyboard is held, and what has come is taken by its handler.
        routine("mouse_begin");
        push(ax);
        push(cx);
        mov(al, 0xAD);
        invoke("keyboard_command");
        sti;
        mov(cx, PATIENCE);
        bind(wait);
        in_(al, COMMAND);
        test(al, 1);
        loopne(wait);
        cli;
        jz(empty);
        in_(al, DATA);
        bind(empty);
        mov(al, 0x60);
        invoke("keyboard_command");
        mov(al, QUIET);
        invoke("keyboard_data");
        // A packet that was under way is lost.
        and(byte_ptr(COUNT), 0xF8);
        pop(cx);
        pop(ax);
        ret;
        routine("mouse_end");
        mov(al, 0x60);
        invoke("keyboard_command");
        mov(al, BOTH);
        invoke("keyboard_data");
        ret;
        // Sends AL. CF: the mouse did not take it.
        routine("mouse_send");
        push(cx);
        mov(ah, al);
        mov(al, 0xD4);
        invoke("keyboard_command");
        mov(al, ah);
        invoke("keyboard_data");
        mov(cx, STRAY);
        bind(next);
        invoke("keyboard_answer");
        jc(done);
        cmp(al, 0xFA);
        je(done);
        cmp(al, 0xFE);
        je(bad);
        loop_(next);
        bind(bad);
        stc;
        bind(done);
        pop(cx);
        ret
    );
    Ok(())
}

fn interrupt(a: &mut Module) -> Build {
    let [done, whole, no_fourth, first] = a.labels();
    code!(a;
        routine("int74");
        pushad;
        push(ds);
        push(es);
        cld;
        in_(al, COMMAND);
        and(al, MOUSE_BYTE);
        cmp(al, MOUSE_BYTE);
        jne(done);
        in_(al, DATA);
    );
    ebda_in_ds(a)?;
    code!(a;
        movzx(bx, byte_ptr(COUNT));
        and(bl, 7);
        jnz(first);
        // Bit 3 of the first byte is set: where it is not, this is none.
        test(al, 8);
        jz(done);
        bind(first);
        mov(byte_ptr(bx + PACKET), al);
        mov(cl, byte_ptr(SIZE));
        and(cl, 7);
        cmp(bl, cl);
        jae(whole);
        inc(byte_ptr(COUNT));
        jmp(done);
        bind(whole);
        and(byte_ptr(COUNT), 0xF8);
        test(byte_ptr(SIZE), HAS_ROUTINE);
        jz(done);
        xor(ah, ah);
    );
    for n in 0..3 {
        code!(a; mov(al, byte_ptr(PACKET + n)); push(ax));
    }
    code!(a;
        xor(al, al);
        cmp(cl, 3);
        jb(no_fourth);
        mov(al, byte_ptr(PACKET + 3));
        bind(no_fourth);
        push(ax);
        call(dword_ptr(ROUTINE));
        add(sp, 8);
        bind(done);
        out_byte(PIC_SLAVE.0, EOI);
        out_byte(PIC_MASTER.0, EOI);
        pop(es);
        pop(ds);
        popad;
        iret
    );
    Ok(())
}
