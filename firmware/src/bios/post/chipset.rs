//! The chipset: bridges, interrupt controllers, timer, DMA, clock, keyboard controller.
//!
//! Source: "82371SB PIIX3", "82371AB PIIX4", "8259A", "8254", "MC146818"; IBM PC/AT Technical Reference, "Keyboard
//! controller".

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::bda;
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// Bus and device of the ISA bridge and of power management, as BX in [`super::pci`].
const ISA_BRIDGE: u16 = 0x0008;
const POWER: u16 = 0x000B;

/// What the bridges get: function, register, byte.
fn bridge_bytes() -> Vec<(u16, u8, u8)> {
    let [pm_low, pm_high] = (board::PM_BASE.0 | 1).to_le_bytes();
    let mut bytes = vec![(POWER, 0x40, pm_low), (POWER, 0x41, pm_high), (POWER, 0x80, 1), (POWER, 0x04, 1)];
    let links = board::PCI_LINK_IRQS.iter().zip(0x60..);
    bytes.extend(links.map(|(irq, register)| (ISA_BRIDGE, register, *irq)));
    bytes
}

pub(super) fn write(a: &mut Module) -> Build {
    bridges(a)?;
    interrupts_and_timer(a)?;
    clock(a)?;
    keyboard(a)
}

fn bridges(a: &mut Module) -> Build {
    a.routine("bridges")?;
    for (function, register, value) in bridge_bytes() {
        code!(a;
            mov(bx, u32::from(function));
            mov(di, u32::from(register));
            mov(al, u32::from(value));
            invoke("pci_write_byte");
        );
    }
    // The PCI links and the SCI are level triggered.
    let level = |irq: u8| 1u16 << irq;
    let levels = board::PCI_LINK_IRQS.iter().fold(level(board::SCI_IRQ), |all, irq| all | level(*irq));
    for (chip, byte) in levels.to_le_bytes().into_iter().enumerate() {
        code!(a; mov(dx, u32::from(board::ELCR.0) + chip as u32); mov(al, u32::from(byte)); out(dx, al));
    }
    // A20: nothing wraps any more.
    code!(a;
        in_(al, u32::from(board::SYSTEM_CONTROL_A.0));
        and(al, 0xFE);
        or(al, 2);
        out_al(u32::from(board::SYSTEM_CONTROL_A.0));
        ret
    );
    Ok(())
}

/// Counter 0 gives 18.2 ticks a second, vectors are 08h and 70h, DMA channel 4 is the cascade. Timer, keyboard, floppy and
/// the slave are let in; on the slave, clock, mouse and the first IDE channel.
fn interrupts_and_timer(a: &mut Module) -> Build {
    const MASTER_MASK: u8 = !(1 << 0 | 1 << 1 | 1 << 2 | 1 << 6);
    const SLAVE_MASK: u8 = !(1 << 0 | 1 << 4 | 1 << 5 | 1 << 6);
    let (master, slave) = (board::PIC_MASTER.0, board::PIC_SLAVE.0);
    a.routine("interrupts_and_timer")?;
    for (port, value) in [
        (0x43, 0x36),
        (0x40, 0),
        (0x40, 0),
        // Counter 1 asked for refreshes of memory every 15 microseconds.
        (0x43, 0x54),
        (0x41, 18),
        (master, 0x11),
        (master + 1, 0x08),
        (master + 1, 0x04),
        (master + 1, 0x01),
        (master + 1, MASTER_MASK),
        (slave, 0x11),
        (slave + 1, 0x70),
        (slave + 1, 0x02),
        (slave + 1, 0x01),
        (slave + 1, SLAVE_MASK),
        (0x0D, 0),
        (0xDA, 0),
        (0xD6, 0xC0),
        (0xD4, 0),
    ] {
        a.out_byte(port, value)?;
    }
    a.ret()
}

/// The clock in 24-hour BCD without interrupts; ticks since midnight from it.
fn clock(a: &mut Module) -> Build {
    /// Ticks a second: 1193182 / 65536.
    const TIMER_HZ: u32 = 1_193_182;
    a.routine("clock")?;
    for (register, value) in [(0x8A, 0x26), (0x8B, 0x02)] {
        code!(a; out_byte(board::CMOS.0, register); out_byte(board::CMOS.0 + 1, value));
    }
    code!(a;
        mov(al, 0x8C);
        invoke("cmos_read");
        mov(al, 4);
        invoke("cmos_read_number");
        imul_3(cx, ax, 60);
        mov(al, 2);
        invoke("cmos_read_number");
        add(cx, ax);
        movzx(ecx, cx);
        imul_3(ecx, ecx, 60);
        xor(al, al);
        invoke("cmos_read_number");
        movzx(eax, ax);
        add(eax, ecx);
        mov(ecx, TIMER_HZ);
        mul(ecx);
        shrd(eax, edx, 16);
        push(ds);
        push(0);
        pop(ds);
        mov(dword_ptr(0x400 + bda::TICKS), eax);
        pop(ds);
        ret;
        routine("cmos_read");
        out_al(u32::from(board::CMOS.0));
        in_(al, u32::from(board::CMOS.0 + 1));
        ret;
        // A number in BCD; AX has its value.
        routine("cmos_read_number");
        invoke("cmos_read");
        mov(ah, al);
        shr(ah, 4);
        and(al, 0x0F);
        aad(10);
        mov(ah, 0);
        ret
    );
    Ok(())
}

/// Keyboard controller and keyboard: self-tests, translation to scan code set 1, interrupt 1.
fn keyboard(a: &mut Module) -> Build {
    const COMMAND: u32 = board::I8042_COMMAND.0 as u32;
    const DATA: u32 = board::I8042_DATA.0 as u32;
    /// Translation, system flag, keyboard interrupt; the mouse is off.
    const COMMAND_BYTE: u32 = 0x65;
    /// Reads of the status until something is taken for absent.
    const PATIENCE: u32 = 0xFFFF;
    let [fail, drained] = a.labels();
    a.routine("keyboard_setup")?;
    let drain = a.here()?;
    code!(a;
        in_(al, COMMAND);
        test(al, 1);
        jz(drained);
        in_(al, DATA);
        jmp(drain);
        bind(drained);
        mov(al, 0xAA);
        invoke("keyboard_command");
        invoke("keyboard_answer");
        cmp(al, 0x55);
        jne(fail);
        mov(al, 0x60);
        invoke("keyboard_command");
        mov(al, COMMAND_BYTE);
        invoke("keyboard_data");
        mov(al, 0xAE);
        invoke("keyboard_command");
        // Scanning on; what answers is a keyboard.
        mov(al, 0xF4);
        invoke("keyboard_data");
        invoke("keyboard_answer");
        bind(fail);
        ret;
    );
    for (name, port) in [("keyboard_command", COMMAND), ("keyboard_data", DATA)] {
        let wait = a.label();
        a.routine(name)?;
        code!(a;
            push(cx);
            push(ax);
            mov(cx, PATIENCE);
            bind(wait);
            in_(al, COMMAND);
            test(al, 2);
            loopne(wait);
            pop(ax);
            out_al(port);
            pop(cx);
            ret
        );
    }
    let [wait, none] = a.labels();
    // AL is the answer; CF: none came.
    a.routine("keyboard_answer")?;
    code!(a;
        push(cx);
        mov(cx, PATIENCE);
        bind(wait);
        in_(al, COMMAND);
        test(al, 1);
        loope(wait);
        jz(none);
        in_(al, DATA);
        pop(cx);
        clc;
        ret;
        bind(none);
        pop(cx);
        stc;
        ret
    );
    Ok(())
}
