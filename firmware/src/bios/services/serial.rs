//! Serial ports (INT 14h) and printers (INT 17h), of which this PC has none.
//!
//! Source: IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 14H - Asynchronous Communications".

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

/// Divisors for 110, 150, 300, 600, 1200, 2400, 4800, 9600 bits a second; for the extended function also 19200.
const DIVISORS: [u16; 9] = [1047, 768, 384, 192, 96, 48, 24, 12, 6];
/// Reads of a status register that one unit of the time-out stands for.
const PATIENCE: u32 = 0xFFFF;
/// Bit of the answer in AH: time-out.
const TIMEOUT: u32 = 0x80;

pub(super) fn write(a: &mut Module) -> Build {
    let functions = a.table(&[
        "serial_setup",
        "serial_send",
        "serial_receive",
        "serial_status",
        "serial_setup_extended",
        "serial_modem",
    ]);
    let absent = a.label();
    a.routine("int14")?;
    super::enter(a)?;
    // DX is the port's base, CL its time-out.
    code!(a;
        cmp(dx, 4);
        jae(absent);
        cmp(ah, 6);
        jae(absent);
        mov(si, dx);
        mov(dl, byte_ptr(si + bda::SERIAL_TIMEOUTS));
        add(si, si);
        mov(si, word_ptr(si + bda::SERIAL));
        test(si, si);
        jz(absent);
        xchg(si, dx);
        movzx(di, ah);
        add(di, di);
        jmp(word_ptr(di + functions).cs());
        bind(absent);
        goto("leave");
    );
    setup(a)?;
    transfer(a)?;
    // No printer is there: time-out.
    a.routine("int17")?;
    super::enter(a)?;
    code!(a; mov(byte_ptr(bp + frame::AH), 1); goto("leave"));
    Ok(())
}

/// Functions 00h (all in AL) and 04h (CL rate, CH bits, BL stop bits, BH parity).
fn setup(a: &mut Module) -> Build {
    let divisors = a.words(&DIVISORS);
    let [no_parity, two] = a.labels();
    code!(a;
        routine("serial_setup");
        mov(bl, al);
        shr(bl, 5);
        and(al, 0x1F);
        invoke("serial_line");
        goto("serial_status");
        routine("serial_setup_extended");
        mov(al, ch);
        and(al, 3);
        and(bl, 1);
        shl(bl, 2);
        or(al, bl);
        // Parity: none, odd, even, stick odd, stick even.
        test(bh, bh);
        jz(no_parity);
        dec(bh);
        and(bh, 3);
        shl(bh, 4);
        or(bh, 8);
        or(al, bh);
        bind(no_parity);
        mov(bl, cl);
        cmp(bl, (DIVISORS.len() - 1) as u32);
        jbe(two);
        mov(bl, (DIVISORS.len() - 1) as u32);
        bind(two);
        invoke("serial_line");
        goto("serial_status");
        // BL is the rate, AL the line control register.
        routine("serial_line");
        mov(bh, 0);
        add(bx, bx);
        mov(bx, word_ptr(bx + divisors).cs());
        mov(ah, al);
        add(dx, 3);
        or(al, 0x80);
        out(dx, al);
        sub(dx, 3);
        mov(al, bl);
        out(dx, al);
        inc(dx);
        mov(al, bh);
        out(dx, al);
        add(dx, 2);
        mov(al, ah);
        out(dx, al);
        sub(dx, 2);
        mov(al, 0);
        out(dx, al);
        dec(dx);
        ret
    );
    Ok(())
}

/// Functions 01h, 02h, 03h and 05h. SI holds the time-out in its low byte.
fn transfer(a: &mut Module) -> Build {
    let [late, set, got] = a.labels();
    code!(a;
        routine("serial_send");
        push(ax);
        // DTR and RTS; then the transmitter must be empty.
        add(dx, 4);
        mov(al, 3);
        out(dx, al);
        inc(dx);
        mov(bl, 0x20);
        invoke("serial_await");
        jc(late);
        pop(bx);
        push(ax);
        mov(al, bl);
        sub(dx, 5);
        out(dx, al);
        pop(ax);
        mov(byte_ptr(bp + frame::AH), al);
        goto("leave");
        routine("serial_receive");
        add(dx, 4);
        mov(al, 1);
        out(dx, al);
        inc(dx);
        mov(bl, 1);
        invoke("serial_await");
        jc(late);
        and(al, 0x1E);
        mov(byte_ptr(bp + frame::AH), al);
        sub(dx, 5);
        in_(al, dx);
        mov(byte_ptr(bp + frame::AX), al);
        goto("leave");
        bind(late);
        or(al, TIMEOUT);
        mov(byte_ptr(bp + frame::AH), al);
        goto("leave");
        routine("serial_status");
        add(dx, 5);
        in_(al, dx);
        mov(ah, al);
        inc(dx);
        in_(al, dx);
        mov(word_ptr(bp + frame::AX), ax);
        goto("leave");
        // AL = 0: the modem control register into BL; 1: from BL.
        routine("serial_modem");
        add(dx, 4);
        cmp(al, 1);
        je(set);
        in_(al, dx);
        mov(byte_ptr(bp + frame::BX), al);
        jmp(got);
        bind(set);
        mov(al, bl);
        out(dx, al);
        bind(got);
        sub(dx, 4);
        goto("serial_status")
    );
    await_status(a)
}

/// Waits until a bit of BL is set in the line status register at DX, which is AL afterwards. CF: it is not.
fn await_status(a: &mut Module) -> Build {
    let [unit, wait, there] = a.labels();
    code!(a;
        routine("serial_await");
        bind(unit);
        mov(cx, PATIENCE);
        bind(wait);
        in_(al, dx);
        test(al, bl);
        jnz(there);
        loop_(wait);
        mov(cx, si);
        dec(si);
        dec(cl);
        jg(unit);
        stc;
        ret;
        bind(there);
        clc;
        ret
    );
    Ok(())
}
