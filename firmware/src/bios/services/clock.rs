//! Timer and clock: INT 08h, INT 70h, INT 1Ah.
//!
//! The timer interrupts 18.2 times a second; ticks since midnight are counted at 0040:006C. The real-time clock has date
//! and time, and with its alarm and periodic interrupts (INT 70h) alarms and waits are made.
//!
//! Source: IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 1AH - System-Timer and Real-Time Clock
//! Services"; PCI BIOS Specification 2.1 for function B1h, which [`super::port`] has.

use super::small::EOI;
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;
use trimotor_bus::board::{CMOS, PIC_MASTER, PIC_SLAVE};

/// Ticks of a day.
const DAY: u32 = 0x18_00B0;
/// Microseconds between two periodic interrupts of the clock, 1024 a second.
const PERIOD_US: u32 = 976;
const REGISTER_A: u8 = 0x0A;
const REGISTER_B: u8 = 0x0B;
const REGISTER_C: u8 = 0x0C;
const CENTURY: u8 = 0x32;

pub(super) fn write(a: &mut Module) -> Build {
    tick(a)?;
    clock_interrupt(a)?;
    services(a)
}

/// INT 08h: counts, turns the floppy's motor off in time, calls INT 1Ch.
fn tick(a: &mut Module) -> Build {
    let [same_day, motor] = a.labels();
    code!(a;
        routine("int08");
        push(ds);
        push(eax);
        push(dx);
        push(0x40);
        pop(ds);
        mov(eax, dword_ptr(bda::TICKS));
        inc(eax);
        cmp(eax, DAY);
        jb(same_day);
        xor(eax, eax);
        inc(byte_ptr(bda::MIDNIGHT));
        bind(same_day);
        mov(dword_ptr(bda::TICKS), eax);
        cmp(byte_ptr(bda::MOTOR_COUNT), 0);
        je(motor);
        dec(byte_ptr(bda::MOTOR_COUNT));
        jnz(motor);
        and(byte_ptr(bda::MOTOR_STATUS), 0xF0);
        mov(al, 0x0C);
        mov(dx, 0x3F2);
        out(dx, al);
        bind(motor);
        int(0x1C);
        cli;
        out_byte(PIC_MASTER.0, EOI);
        pop(dx);
        pop(eax);
        pop(ds);
        iret
    );
    Ok(())
}

/// INT 70h: the alarm calls INT 4Ah; a periodic interrupt counts down a wait of INT 15h and sets its flag at the end.
fn clock_interrupt(a: &mut Module) -> Build {
    let [no_alarm, no_period, running] = a.labels();
    code!(a;
        routine("int70");
        push(ds);
        push(eax);
        push(0x40);
        pop(ds);
        mov(al, u32::from(REGISTER_C));
        invoke("cmos_read");
        mov(ah, al);
        mov(al, u32::from(REGISTER_B));
        invoke("cmos_read");
        and(ah, al);
        test(ah, 0x20);
        jz(no_alarm);
        push(ax);
        sti;
        int(0x4A);
        cli;
        pop(ax);
        bind(no_alarm);
        test(ah, 0x40);
        jz(no_period);
        sub(dword_ptr(bda::WAIT_LEFT), PERIOD_US);
        ja(running);
        // It is over: no more periodic interrupts.
        and(al, 0xBF);
        mov(ah, al);
        mov(al, u32::from(REGISTER_B));
        invoke("cmos_write");
        mov(dword_ptr(bda::WAIT_LEFT), 0);
        mov(byte_ptr(bda::WAIT_STATE), 0);
        push(es);
        push(bx);
        les(bx, dword_ptr(bda::WAIT_FLAG));
        or(byte_ptr(bx).es(), 0x80);
        pop(bx);
        pop(es);
        bind(running);
        bind(no_period);
        out_byte(PIC_SLAVE.0, EOI);
        out_byte(PIC_MASTER.0, EOI);
        pop(eax);
        pop(ds);
        iret;
        // AH to the register of CMOS memory that AL says.
        routine("cmos_write");
        out_al(u32::from(CMOS.0));
        mov(al, ah);
        out_al(u32::from(CMOS.0) + 1);
        ret
    );
    Ok(())
}

/// INT 1Ah, by the function in AH.
fn services(a: &mut Module) -> Build {
    let functions = a.table(&[
        "ticks_get",
        "ticks_set",
        "time_get",
        "time_set",
        "date_get",
        "date_set",
        "alarm_set",
        "alarm_cancel",
    ]);
    let other = a.label();
    let pci = a.at("service_1a");
    code!(a; routine("int1a"); cmp(ah, 0xB1); je(pci));
    super::enter(a)?;
    code!(a;
        cmp(ah, 8);
        jae(other);
        movzx(di, ah);
        add(di, di);
        jmp(word_ptr(di + functions).cs());
        bind(other);
        goto("leave_carry");
        routine("ticks_get");
        mov(ax, word_ptr(bda::TICKS + 2));
        mov(word_ptr(bp + frame::CX), ax);
        mov(ax, word_ptr(bda::TICKS));
        mov(word_ptr(bp + frame::DX), ax);
        xor(al, al);
        xchg(byte_ptr(bda::MIDNIGHT), al);
        mov(ah, 0);
        mov(word_ptr(bp + frame::AX), ax);
        goto("leave_no_carry");
        routine("ticks_set");
        mov(word_ptr(bda::TICKS), dx);
        mov(word_ptr(bda::TICKS + 2), cx);
        mov(byte_ptr(bda::MIDNIGHT), 0);
        goto("leave_ok");
    );
    read_group(a, "time_get", &[(0, frame::DH), (2, frame::CX), (4, frame::CH)], Some(frame::DX))?;
    read_group(a, "date_get", &[(7, frame::DX), (8, frame::DH), (9, frame::CX), (CENTURY, frame::CH)], None)?;
    write_group(a, "time_set", &[(0, frame::DH), (2, frame::CX), (4, frame::CH)], true)?;
    write_group(
        a,
        "date_set",
        &[(7, frame::DX), (8, frame::DH), (9, frame::CX), (CENTURY, frame::CH)],
        false,
    )?;
    alarm(a)
}

/// Reads registers of the clock into the frame, while it is not changing them; bit 0 of register B, daylight saving, too.
fn read_group(a: &mut Module, name: &'static str, registers: &[(u8, u32)], daylight: Option<u32>) -> Build {
    a.routine(name)?;
    a.invoke("clock_steady")?;
    for (register, place) in registers {
        code!(a; mov(al, u32::from(*register)); invoke("cmos_read"); mov(byte_ptr(bp + *place), al));
    }
    if let Some(place) = daylight {
        code!(a;
            mov(al, u32::from(REGISTER_B));
            invoke("cmos_read");
            and(al, 1);
            mov(byte_ptr(bp + place), al);
        );
    }
    a.goto("leave_ok")
}

/// Sets registers of the clock from the frame, while it stands still.
fn write_group(a: &mut Module, name: &'static str, registers: &[(u8, u32)], daylight: bool) -> Build {
    code!(a;
        routine(name);
        mov(al, u32::from(REGISTER_B));
        invoke("cmos_read");
        mov(bl, al);
        or(al, 0x80);
        mov(ah, al);
        mov(al, u32::from(REGISTER_B));
        invoke("cmos_write");
    );
    for (register, place) in registers {
        code!(a; mov(ah, byte_ptr(bp + *place)); mov(al, u32::from(*register)); invoke("cmos_write"));
    }
    if daylight {
        code!(a; and(bl, 0x7E); mov(al, byte_ptr(bp + frame::DX)); and(al, 1); or(bl, al));
    }
    code!(a;
        and(bl, 0x7F);
        mov(ah, bl);
        mov(al, u32::from(REGISTER_B));
        invoke("cmos_write");
        goto("leave_ok")
    );
    Ok(())
}

fn alarm(a: &mut Module) -> Build {
    let [taken, steady, patience] = a.labels();
    code!(a;
        routine("alarm_set");
        mov(al, u32::from(REGISTER_B));
        invoke("cmos_read");
        test(al, 0x20);
        jnz(taken);
    );
    for (register, place) in [(1u32, frame::DH), (3, frame::CX), (5, frame::CH)] {
        code!(a; mov(ah, byte_ptr(bp + place)); mov(al, register); invoke("cmos_write"));
    }
    code!(a;
        mov(al, u32::from(REGISTER_B));
        invoke("cmos_read");
        or(al, 0x20);
        and(al, 0x7F);
        mov(ah, al);
        mov(al, u32::from(REGISTER_B));
        invoke("cmos_write");
        in_(al, u32::from(PIC_SLAVE.0) + 1);
        and(al, 0xFE);
        out_al(u32::from(PIC_SLAVE.0) + 1);
        goto("leave_ok");
        bind(taken);
        mov(byte_ptr(bp + frame::AH), 0);
        goto("leave_carry");
        routine("alarm_cancel");
        mov(al, u32::from(REGISTER_B));
        invoke("cmos_read");
        and(al, 0x5F);
        mov(ah, al);
        mov(al, u32::from(REGISTER_B));
        invoke("cmos_write");
        goto("leave_ok");
        // Waits until the clock's registers do not change for a while.
        routine("clock_steady");
        mov(cx, 0xFFFF);
        bind(patience);
        mov(al, u32::from(REGISTER_A));
        invoke("cmos_read");
        test(al, 0x80);
        jz(steady);
        loop_(patience);
        bind(steady);
        ret
    );
    Ok(())
}
