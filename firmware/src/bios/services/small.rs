//! Services of a few instructions: equipment (11h), memory size (12h), print screen (05h), the non-maskable interrupt
//! (02h), and what ends interrupts that no device of ours makes.

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::bda;
use iced_x86::code_asm::*;
use trimotor_bus::board::{PIC_MASTER, PIC_SLAVE};

/// End of interrupt, not specific.
pub(super) const EOI: u8 = 0x20;

pub(super) fn write(a: &mut Module) -> Build {
    for (name, field) in [("int11", bda::EQUIPMENT), ("int12", bda::MEMORY_KIB)] {
        code!(a;
            routine(name);
            push(ds);
            push(0x40);
            pop(ds);
            mov(ax, word_ptr(field));
            pop(ds);
            iret
        );
    }
    code!(a;
        // There is no printer to print the screen on: the flag at 0050:0000 says so.
        routine("int05");
        push(ds);
        push(0x50);
        pop(ds);
        mov(byte_ptr(0), 0xFF);
        pop(ds);
        iret;
        routine("int02");
        iret;
        // INT 10h of a PC whose video adapter has no BIOS of its own.
        routine("int42");
        iret;
        routine("hardware_master");
        push(ax);
        out_byte(PIC_MASTER.0, EOI);
        pop(ax);
        iret;
        routine("hardware_slave");
        push(ax);
        out_byte(PIC_SLAVE.0, EOI);
        out_byte(PIC_MASTER.0, EOI);
        pop(ax);
        iret;
        // Floppy: bit 7 of the seek status says that it has come.
        routine("int0e");
        push(ax);
        push(ds);
        push(0x40);
        pop(ds);
        or(byte_ptr(0x3E), 0x80);
        pop(ds);
        out_byte(PIC_MASTER.0, EOI);
        pop(ax);
        iret;
        // IRQ 9 stands where IRQ 2 once was.
        routine("int71");
        push(ax);
        out_byte(PIC_SLAVE.0, EOI);
        pop(ax);
        int(0x0A);
        iret;
        // Coprocessor errors end as the PC's did: as a non-maskable interrupt.
        routine("int75");
        push(ax);
        out_byte(0xF0, 0);
        out_byte(PIC_SLAVE.0, EOI);
        out_byte(PIC_MASTER.0, EOI);
        pop(ax);
        int(0x02);
        iret;
        // Hard disk: the flag says that its interrupt has come.
        routine("int76");
        push(ax);
        push(ds);
        push(0x40);
        pop(ds);
        mov(byte_ptr(0x8E), 0xFF);
        pop(ds);
        out_byte(PIC_SLAVE.0, EOI);
        out_byte(PIC_MASTER.0, EOI);
        pop(ax);
        iret
    );
    Ok(())
}
