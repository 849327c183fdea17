//! Services that a device carries out: disks (INT 13h and 40h), and what POST asks for.
//!
//! A stub pushes the caller's registers as a *frame* and writes its physical address to port 520h. Bit 0 of port 524h
//! tells when the service is done; then the registers are taken from the frame. Interrupts are let in meanwhile, as
//! disk services always did.
//!
//! | offset in frame | what |
//! |---|---|
//! | 0 | the interrupt's number; 100h and up are POST's (word), a word of zeros |
//! | 4 | EDI, ESI, EBP, ESP, EBX, EDX, ECX, EAX |
//! | 36 | ES, DS |
//! | 40 | IP, CS and flags of the caller; CF and ZF are results |
//!
//! Where the device is absent port 524h reads as all ones and the frame stays as it is.

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::frame;
use crate::bios::post::boot::SERVICES_PRESENT;
use iced_x86::code_asm::*;

/// Where the frame's address is written to, a dword.
pub const CALL: u32 = 0x520;
/// Where bit 0 tells that the service is done.
pub const STATUS: u32 = 0x524;
/// Services of POST.
const POST_SERVICES: [(&str, i32); 4] =
    [("service_0100", 0x100), ("service_0101", 0x101), ("service_0102", 0x102), ("service_0103", 0x103)];

pub(super) fn write(a: &mut Module) -> Build {
    // Floppies have a vector of their own, which programs may have taken over.
    let disk = a.label();
    code!(a;
        routine("int13");
        cmp(dl, 0x80);
        jae(disk);
        int(0x40);
        push(bp);
        mov(bp, sp);
        push(ax);
        lahf;
        mov(byte_ptr(bp + 6), ah);
        pop(ax);
        pop(bp);
        iret;
        bind(disk)
    );
    for (name, number) in [("disk", 0x13), ("int40", 0x40)] {
        let there = a.label();
        a.routine(name)?;
        present(a)?;
        a.jne(there)?;
        super::enter(a)?;
        code!(a; mov(byte_ptr(bp + frame::AH), 1); goto("leave_carry"); bind(there));
        call(a, number)?;
    }
    for (name, number) in POST_SERVICES {
        a.routine(name)?;
        call(a, number)?;
    }
    carry_out(a)
}

/// Compares the flag of POST with zero.
fn present(a: &mut Module) -> Build {
    code!(a; push(ds));
    crate::bios::post::ebda_in_ds(a)?;
    code!(a; cmp(byte_ptr(SERVICES_PRESENT), 0); pop(ds));
    Ok(())
}

/// Pushes the frame of a service.
fn call(a: &mut Module, number: i32) -> Build {
    code!(a; push(ds); push(es); pushad; push(0); push(number); goto("carry_out"));
    Ok(())
}

fn carry_out(a: &mut Module) -> Build {
    let [done, wait] = a.labels();
    code!(a;
        routine("carry_out");
        mov(ax, ss);
        movzx(eax, ax);
        shl(eax, 4);
        movzx(ebx, sp);
        add(eax, ebx);
        mov(dx, CALL);
        out(dx, eax);
        mov(dx, STATUS);
        bind(wait);
        in_(al, dx);
        test(al, 1);
        jnz(done);
        sti;
        pause;
        jmp(wait);
        bind(done);
        add(sp, 4);
        popad;
        pop(es);
        pop(ds);
        iret
    );
    Ok(())
}
