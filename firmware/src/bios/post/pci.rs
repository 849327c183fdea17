//! PCI: access by configuration mechanism 1, base addresses and interrupt lines for all functions of bus 0.
//!
//! BX names a function: bus in BH, device in bits 3 to 7 and function in bits 0 to 2 of BL. DI is a register. I/O BARs
//! get addresses from C000h up, memory BARs from the end of RAM below 4 GiB up, each on a border of its own size. A system
//! may move them.
//!
//! Source: PCI Local Bus Specification 3.0, "Configuration Mechanism #1", "Base Addresses".

use crate::bios::asm::{Build, Module, code};
use iced_x86::code_asm::*;
use trimotor_bus::board;

const ADDRESS: u32 = board::PCI_CONFIG_ADDRESS.0 as u32;
const DATA: u32 = board::PCI_CONFIG_DATA.0 as u32;
/// Where the next I/O BAR and the next memory BAR go, in the EBDA.
pub(super) const NEXT_IO: u32 = 0x190;
pub(super) const NEXT_MEMORY: u32 = 0x194;
/// Base class and subclass of IDE controllers.
const IDE_CLASS: u32 = 0x0101;
/// Power management has a wire of its own to interrupt 9.
const POWER: u32 = 0x0B;
/// The IDE function of the PIIX3: its two channels decode their ports once bit 15 of these registers is set.
const PIIX3_IDE: u32 = 0x7010_8086;
const IDE_TIMING: [u32; 2] = [0x41, 0x43];

pub(super) fn write(a: &mut Module) -> Build {
    access(a)?;
    setup(a)?;
    base_address(a)
}

/// `pci_read` and `pci_write`: the dword EAX; `pci_read_byte`, `pci_write_byte`: the byte AL.
fn access(a: &mut Module) -> Build {
    code!(a;
        // EAX is lost, DX is the data port.
        routine("pci_select");
        movzx(eax, bx);
        shl(eax, 8);
        or(eax, 0x8000_0000u32);
        push(di);
        and(di, 0xFC);
        or(ax, di);
        pop(di);
        mov(dx, ADDRESS);
        out(dx, eax);
        mov(dx, di);
        and(dx, 3);
        add(dx, DATA);
        ret;
        routine("pci_read");
        push(dx);
        invoke("pci_select");
        in_(eax, dx);
        pop(dx);
        ret;
        routine("pci_write");
        push(dx);
        push(eax);
        invoke("pci_select");
        pop(eax);
        out(dx, eax);
        pop(dx);
        ret;
        routine("pci_read_byte");
        push(dx);
        invoke("pci_select");
        in_(al, dx);
        pop(dx);
        ret;
        routine("pci_write_byte");
        push(dx);
        push(ax);
        invoke("pci_select");
        pop(ax);
        out(dx, al);
        pop(dx);
        ret;
    );
    Ok(())
}

/// Walks over bus 0. DS is the EBDA.
fn setup(a: &mut Module) -> Build {
    let links = a.bytes(&board::PCI_LINK_IRQS);
    let not_ide_2 = a.label();
    let [next_function, next_device, single, found, line_done, no_pin, not_ide, done] = a.labels();
    a.routine("pci_setup")?;
    super::ebda_in_ds(a)?;
    code!(a;
        mov(word_ptr(NEXT_IO), u32::from(board::PCI_IO_START.0));
        mov(dword_ptr(NEXT_MEMORY), board::PCI_HOLE_START.0 as u32);
        xor(bx, bx);
    );
    let walk = a.here()?;
    code!(a;
        xor(di, di);
        invoke("pci_read");
        cmp(ax, 0xFFFF);
        jne(found);
        test(bl, 7);
        jz(next_device);
        jmp(next_function);
        bind(found);
        cmp(eax, PIIX3_IDE);
        jne(not_ide);
    );
    for register in IDE_TIMING {
        code!(a; mov(di, register); mov(al, 0x80); invoke("pci_write_byte"));
    }
    code!(a;
        bind(not_ide);
        mov(di, 0x0E);
        invoke("pci_read_byte");
        mov(cl, al);
        test(al, 0x7F);
        jnz(line_done);
        mov(di, 0x10);
    );
    let bars = a.here()?;
    code!(a;
        invoke("pci_base_address");
        cmp(di, 0x28);
        jb(bars);
        mov(di, 0x3D);
        invoke("pci_read_byte");
        test(al, al);
        jz(no_pin);
        cmp(bx, POWER);
        je(no_pin);
        // The link is (device + pin + 2) & 3.
        mov(ah, bl);
        shr(ah, 3);
        add(al, ah);
        add(al, 2);
        and(ax, 3);
        mov(si, ax);
        mov(al, byte_ptr(si + links).cs());
        mov(di, 0x3C);
        invoke("pci_write_byte");
        bind(no_pin);
        mov(di, 4);
        invoke("pci_read_byte");
        or(al, 3);
        // What is an IDE controller moves data by itself.
        push(ax);
        mov(di, 8);
        invoke("pci_read");
        shr(eax, 16);
        cmp(ax, IDE_CLASS);
        pop(ax);
        jne(not_ide_2);
        or(al, 4);
        bind(not_ide_2);
        mov(di, 4);
        invoke("pci_write_byte");
        bind(line_done);
        test(bl, 7);
        jnz(next_function);
        test(cl, 0x80);
        jnz(next_function);
        bind(next_device);
        add(bl, 8);
        jmp(single);
        bind(next_function);
        inc(bl);
        bind(single);
        jz(done);
        jmp(walk);
        bind(done);
        ret
    );
    Ok(())
}

/// Gives the BAR at DI an address; DI is the next BAR afterwards. CX is kept.
fn base_address(a: &mut Module) -> Build {
    let [memory, no_address, next, upper, no_port] = a.labels();
    a.routine("pci_base_address")?;
    code!(a;
        mov(eax, u32::MAX);
        invoke("pci_write");
        invoke("pci_read");
        test(eax, eax);
        jz(next);
        test(al, 1);
        jz(memory);
        // I/O: size in AX, then its address.
        and(ax, 0xFFFC);
        neg(ax);
        mov(dx, word_ptr(NEXT_IO));
        dec(ax);
        add(dx, ax);
        jc(no_port);
        not(ax);
        and(dx, ax);
        neg(ax);
        mov(si, dx);
        add(si, ax);
        jc(no_port);
        mov(word_ptr(NEXT_IO), si);
        movzx(eax, dx);
        invoke("pci_write");
        jmp(next);
        bind(memory);
        mov(dl, al);
        and(al, 0xF0);
        neg(eax);
        jz(no_address);
        mov(esi, dword_ptr(NEXT_MEMORY));
        dec(eax);
        add(esi, eax);
        jc(no_address);
        not(eax);
        and(esi, eax);
        neg(eax);
        push(esi);
        add(esi, eax);
        pop(eax);
        jc(no_address);
        cmp(esi, board::PCI_HOLE_END.0 as u32);
        ja(no_address);
        mov(dword_ptr(NEXT_MEMORY), esi);
        invoke("pci_write");
        jmp(upper);
        // No address is free: 0, where nobody looks.
        bind(no_address);
        xor(eax, eax);
        invoke("pci_write");
        bind(upper);
        and(dl, 6);
        cmp(dl, 4);
        jne(next);
        add(di, 4);
        xor(eax, eax);
        invoke("pci_write");
        jmp(next);
        bind(no_port);
        xor(eax, eax);
        invoke("pci_write");
        bind(next);
        add(di, 4);
        ret
    );
    Ok(())
}
