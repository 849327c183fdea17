//! INT 15h: the system's services, but for memory ([`super::memory`]) and power ([`super::apm`]).
//!
//! Source: IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 15H - System Services".

use crate::bios::asm::{Build, Module, code};
use crate::bios::entries::CONFIGURATION;
use crate::bios::layout::{EBDA_SEGMENT, SYSTEM_SEGMENT, bda, frame};
use iced_x86::code_asm::*;
use trimotor_bus::board::{CMOS, PIC_SLAVE};

const REGISTER_B: u8 = 0x0B;
/// The refresh bit of port 61h turns over every 15.085 microseconds: that many thousandths.
const REFRESH_NS: u32 = 15_085;

pub(super) fn write(a: &mut Module) -> Build {
    dispatch(a)?;
    waits(a)?;
    small(a)
}

fn dispatch(a: &mut Module) -> Build {
    let (map, e801) = (a.at("memory_map"), a.at("memory_e801"));
    a.routine("int15")?;
    // The scan code of function 4Fh goes back as it came, with CF set.
    let no_key = a.label();
    code!(a; cmp(ah, 0x4F); jne(no_key); push(bp); mov(bp, sp); or(byte_ptr(bp + 6), 1); pop(bp); iret; bind(no_key));
    super::enter(a)?;
    code!(a; cmp(ax, 0xE820); je(map); cmp(ax, 0xE801); je(e801));
    for (function, routine) in [
        (0x24, "a20"),
        (0x53, "apm"),
        (0x80, "system_nothing"),
        (0x81, "system_nothing"),
        (0x82, "system_nothing"),
        (0x83, "wait_event"),
        (0x85, "system_nothing"),
        (0x86, "wait"),
        (0x87, "block_move"),
        (0x88, "memory_88"),
        (0x8A, "memory_8a"),
        (0x90, "system_nothing"),
        (0x91, "system_nothing"),
        (0xC0, "configuration"),
        (0xC1, "ebda_segment"),
        (0xC2, "pointing"),
    ] {
        let routine = a.at(routine);
        code!(a; cmp(ah, function); je(routine));
    }
    a.goto("leave_unsupported")
}

fn small(a: &mut Module) -> Build {
    code!(a;
        routine("system_nothing");
        goto("leave_ok");
        routine("configuration");
        mov(word_ptr(bp + frame::BX), CONFIGURATION);
        mov(word_ptr(bp + frame::ES), u32::from(SYSTEM_SEGMENT));
        goto("leave_ok");
        routine("ebda_segment");
        mov(word_ptr(bp + frame::ES), u32::from(EBDA_SEGMENT));
        goto("leave_ok")
    );
    Ok(())
}

/// Functions 86h (waits CX:DX microseconds) and 83h (sets bit 7 of ES:BX after so long).
fn waits(a: &mut Module) -> Build {
    let [turn, done, cancel, busy] = a.labels();
    code!(a;
        routine("wait");
        shl(ecx, 16);
        mov(cx, dx);
        // Turns of the refresh bit, rounded up.
        mov(eax, 1000);
        mul(ecx);
        mov(ebx, REFRESH_NS);
        // The quotient fits: 1000 is less than the divisor.
        div(ebx);
        mov(ecx, eax);
        inc(ecx);
        in_(al, 0x61);
        and(al, 0x10);
        mov(ah, al);
        sti;
        bind(turn);
        pause;
        in_(al, 0x61);
        and(al, 0x10);
        cmp(al, ah);
        je(turn);
        mov(ah, al);
        dec(ecx);
        jnz(turn);
        goto("leave_ok");
        routine("wait_event");
        cmp(al, 1);
        je(cancel);
        test(al, al);
        jnz(busy);
        cmp(byte_ptr(bda::WAIT_STATE), 0);
        jne(busy);
        mov(byte_ptr(bda::WAIT_STATE), 1);
        mov(ax, word_ptr(bp + frame::ES));
        mov(word_ptr(bda::WAIT_FLAG), bx);
        mov(word_ptr(bda::WAIT_FLAG + 2), ax);
        mov(word_ptr(bda::WAIT_LEFT), dx);
        mov(word_ptr(bda::WAIT_LEFT + 2), cx);
        mov(bl, 0x40);
        invoke("clock_period");
        in_(al, u32::from(PIC_SLAVE.0) + 1);
        and(al, 0xFE);
        out_al(u32::from(PIC_SLAVE.0) + 1);
        goto("leave_ok");
        bind(cancel);
        mov(byte_ptr(bda::WAIT_STATE), 0);
        mov(bl, 0);
        invoke("clock_period");
        bind(done);
        goto("leave_ok");
        bind(busy);
        mov(byte_ptr(bp + frame::AH), 0);
        goto("leave_carry");
        // Periodic interrupts on or off, by bit 6 of BL.
        routine("clock_period");
        out_byte(CMOS.0, REGISTER_B);
        in_(al, u32::from(CMOS.0) + 1);
        and(al, 0xBF);
        or(al, bl);
        mov(ah, al);
        mov(al, u32::from(REGISTER_B));
        goto("cmos_write")
    );
    Ok(())
}
