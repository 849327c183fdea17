//! Power management for programs in real mode: INT 15h function 53h (APM 1.2).
//!
//! What there is to manage: the processor rests until an interrupt, and the machine can be turned off. Interfaces for
//! protected mode are not offered, and the installation check says so.
//!
//! Source: Advanced Power Management BIOS Interface Specification 1.2.

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::frame;
use iced_x86::code_asm::*;
use trimotor_bus::board::{PM1A_CONTROL, SLP_TYP_S5};

/// Version 1.2.
const VERSION: u32 = 0x0102;
/// SLP_EN with the type of soft off.
const OFF: u32 = 1 << 13 | (SLP_TYP_S5 as u32) << 10;
/// All devices.
const ALL: u32 = 0x0001;
const STATE_OFF: u32 = 3;
/// Errors: no such function; unknown device; state not possible; no event.
const UNKNOWN_FUNCTION: u32 = 0x86;
const UNKNOWN_DEVICE: u32 = 0x09;
const BAD_STATE: u32 = 0x0A;
const NO_EVENT: u32 = 0x80;

pub(super) fn write(a: &mut Module) -> Build {
    a.routine("apm")?;
    for (function, routine) in [
        (0x00, "apm_check"),
        (0x01, "leave_ok"),
        (0x04, "leave_ok"),
        (0x05, "apm_idle"),
        (0x06, "leave_ok"),
        (0x07, "apm_state"),
        (0x08, "leave_ok"),
        (0x0A, "apm_status"),
        (0x0B, "apm_event"),
        (0x0E, "apm_version"),
        (0x0F, "leave_ok"),
    ] {
        let routine = a.at(routine);
        code!(a; cmp(al, function); je(routine));
    }
    let [bad_device, bad_state] = a.labels();
    code!(a;
        mov(byte_ptr(bp + frame::AH), UNKNOWN_FUNCTION);
        goto("leave_carry");
        routine("apm_check");
        mov(word_ptr(bp + frame::BX), u32::from(u16::from_be_bytes(*b"PM")));
        mov(word_ptr(bp + frame::CX), 0);
        routine("apm_version");
        mov(word_ptr(bp + frame::AX), VERSION);
        goto("leave_no_carry");
        routine("apm_idle");
        sti;
        hlt;
        goto("leave_ok");
        routine("apm_state");
        cmp(bx, ALL);
        jne(bad_device);
        cmp(cx, STATE_OFF);
        jne(bad_state);
        mov(dx, u32::from(PM1A_CONTROL.0));
        mov(ax, OFF);
        out(dx, ax);
        goto("leave_ok");
        bind(bad_device);
        mov(byte_ptr(bp + frame::AH), UNKNOWN_DEVICE);
        goto("leave_carry");
        bind(bad_state);
        mov(byte_ptr(bp + frame::AH), BAD_STATE);
        goto("leave_carry");
        // On mains; there is no battery.
        routine("apm_status");
        mov(word_ptr(bp + frame::BX), 0x01FF);
        mov(word_ptr(bp + frame::CX), 0x80FF);
        mov(word_ptr(bp + frame::DX), 0xFFFF);
        goto("leave_ok");
        routine("apm_event");
        mov(byte_ptr(bp + frame::AH), NO_EVENT);
        goto("leave_carry")
    );
    Ok(())
}
