//! PCI: what is on the bus, by configuration mechanism 1.
//!
//! Writing bus, device, function and register number to port CF8h makes port CFCh the window to
//! that register. A function that is not there reads as all ones.
//!
//! Source: PCI Local Bus Specification 3.0, "Configuration Space Access Mechanism".

use super::colour;
use crate::demo::asm::{Asm, Build, Routine};
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// Vendor, device and name of what this PC may hold.
const NAMES: &[(u16, u16, &str)] = &[
    (0x8086, 0x1237, "Intel 440FX host bridge"),
    (0x8086, 0x7000, "Intel PIIX3 ISA bridge"),
    (0x8086, 0x7010, "Intel PIIX3 IDE controller"),
    (0x8086, 0x7020, "Intel PIIX3 USB controller"),
    (0x8086, 0x7110, "Intel PIIX4 ISA bridge"),
    (0x8086, 0x7113, "Intel PIIX4 power management"),
    (0x8086, 0x100E, "Intel 82540EM network card"),
    (0x1234, 0x1111, "standard VGA"),
    (0x10EC, 0x8139, "Realtek RTL8139 network card"),
    (0x1AF4, 0x1000, "virtio network card"),
    (0x1AF4, 0x1001, "virtio disk"),
];
/// Base class and name, for functions that are not in [`NAMES`].
const CLASSES: &[(u8, &str)] = &[
    (0x01, "a disk controller"),
    (0x02, "a network card"),
    (0x03, "a display"),
    (0x04, "a multimedia device"),
    (0x06, "a bridge"),
    (0x07, "a communication port"),
    (0x08, "a system device"),
    (0x0C, "a serial bus controller"),
];

pub(super) fn routines(s: &mut Asm) -> Build {
    read(s)?;
    list(s)
}

/// EBX: a function's number (device times 8 plus function), EDX: register. EAX: its 4 bytes.
fn read(s: &mut Asm) -> Build {
    s.routine(Routine::PciRead)?;
    s.push(rdx)?;
    s.mov(eax, ebx)?;
    s.shl(eax, 8)?;
    s.or(eax, edx)?;
    s.or(eax, 0x8000_0000u32)?;
    s.mov(edx, u32::from(board::PCI_CONFIG_ADDRESS.0))?;
    s.out(dx, eax)?;
    s.mov(edx, u32::from(board::PCI_CONFIG_DATA.0))?;
    s.in_(eax, dx)?;
    s.pop(rdx)?;
    s.ret()
}

/// Lists bus 0. Changes registers.
fn list(s: &mut Asm) -> Build {
    let (next, skip, last, indent) = (s.create_label(), s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::PciList)?;
    s.say_in(colour::CYAN, "PCI      ")?;
    s.xor(ebx, ebx)?;
    s.xor(r12d, r12d)?;
    s.xor(r13d, r13d)?;
    s.bind(next)?;
    s.xor(edx, edx)?;
    s.invoke(Routine::PciRead)?;
    s.cmp(ax, 0xFFFFu32)?;
    s.je(skip)?;
    s.test(r13d, r13d)?;
    s.je(indent)?;
    s.say("         ")?;
    s.bind(indent)?;
    s.inc(r13d)?;
    print_function(s)?;
    s.bind(skip)?;
    // Functions 1 to 7 are looked at only where function 0 says that there are several.
    s.inc(ebx)?;
    s.test(ebx, 7)?;
    s.je(last)?;
    s.test(r12d, r12d)?;
    s.jne(last)?;
    s.or(ebx, 7)?;
    s.inc(ebx)?;
    s.bind(last)?;
    let same_device = s.create_label();
    s.test(ebx, 7)?;
    s.jne(same_device)?;
    s.xor(r12d, r12d)?;
    s.bind(same_device)?;
    s.cmp(ebx, 256)?;
    s.jb(next)?;
    s.test(r13d, r13d)?;
    let some = s.create_label();
    s.jne(some)?;
    s.say("no devices\n")?;
    s.bind(some)?;
    s.ret()
}

/// EBX: function, EAX: its vendor and device id. Sets R12 where function 0 says "several".
fn print_function(s: &mut Asm) -> Build {
    let named = s.create_label();
    let not_first = s.create_label();
    s.mov(r14d, eax)?;
    s.test(ebx, 7)?;
    s.jne(not_first)?;
    s.mov(edx, 0x0C)?;
    s.invoke(Routine::PciRead)?;
    s.shr(eax, 23)?;
    s.and(eax, 1)?;
    s.mov(r12d, eax)?;
    s.bind(not_first)?;
    s.say("00:")?;
    s.mov(eax, ebx)?;
    s.shr(eax, 3)?;
    s.mov(cl, 2)?;
    s.invoke(Routine::PrintHex)?;
    s.say(".")?;
    s.mov(eax, ebx)?;
    s.and(eax, 7)?;
    s.mov(cl, 1)?;
    s.invoke(Routine::PrintHex)?;
    s.say("  ")?;
    s.mov(cl, 4)?;
    s.mov(eax, r14d)?;
    s.invoke(Routine::PrintHex)?;
    s.say(":")?;
    s.shr(eax, 16)?;
    s.invoke(Routine::PrintHex)?;
    s.say("  class ")?;
    s.mov(edx, 8)?;
    s.invoke(Routine::PciRead)?;
    s.shr(eax, 16)?;
    s.invoke(Routine::PrintHex)?;
    s.mov(r15d, eax)?;
    s.say("  ")?;
    s.colour(colour::BRIGHT)?;
    for &(vendor, device, name) in NAMES {
        let other = s.create_label();
        s.cmp(r14d, u32::from(vendor) | u32::from(device) << 16)?;
        s.jne(other)?;
        s.say(name)?;
        s.jmp(named)?;
        s.bind(other)?;
    }
    s.shr(r15d, 8)?;
    for &(class, name) in CLASSES {
        let other = s.create_label();
        s.cmp(r15d, u32::from(class))?;
        s.jne(other)?;
        s.say(name)?;
        s.jmp(named)?;
        s.bind(other)?;
    }
    s.say("a device unknown to the demo")?;
    s.bind(named)?;
    s.colour(colour::PLAIN)?;
    s.say("\n")
}
