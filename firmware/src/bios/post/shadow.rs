//! The ROM is slow and cannot be written; RAM lies beneath it. POST copies the ROM onto itself: the host bridge sends
//! reads to the ROM and writes to RAM, and reads to RAM afterwards. F0000h to FFFFFh cannot be written once POST is
//! over, nor can C0000h to C7FFFh, the video BIOS; E0000h to EFFFFh can, because the ACPI table FACS lies there and is
//! written to.
//!
//! Source: "82441FX PMC", "Programmable Attribute Map Registers".

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::*;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// Configuration registers of the host bridge as the address register of mechanism 1 takes them: dwords that hold
/// PAM0 (59h) to PAM6 (5Fh).
const PAM_LOW: u32 = 0x8000_0058;
const PAM_HIGH: u32 = 0x8000_005C;
/// What port 70h and 71h have: why the processor was reset.
const SHUTDOWN_CODE: u8 = 0x0F;

/// Where the ROM stands at the end of 4 GiB, and its segment F000h there.
const ROM: u32 = 0xFFFE_0000;
const HIGH_SEGMENT: u32 = 0xFFFF_0000;
/// Segments for the copy: all of memory as 32-bit code and as data, the segment F000h as 16-bit code, and data of 64 KiB, whose limit
/// stays in real mode.
const GDT: [u64; 5] =
    [0, 0x00CF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF, 0x0000_9A0F_0000_FFFF, 0x0000_9200_0000_FFFF];
const CODE_32: u16 = 0x08;
const FLAT: u32 = 0x10;
const CODE_16: u16 = 0x18;
const DATA_16: u32 = 0x20;

/// Copies the ROM to the RAM beneath it. No stack is needed.
pub(super) fn copy_rom(a: &mut Module) -> Build {
    a.align_data(8);
    let table: Vec<u8> = GDT.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let gdt = a.bytes(&table);
    let limit = (table.len() as u16 - 1).to_le_bytes();
    let gdtr = a.bytes(&[&limit[..], &(HIGH_SEGMENT + gdt).to_le_bytes()].concat());
    let back = back_to_real_mode(a);
    let at = a.bytes(&[]);
    let mut copy = copy_code(HIGH_SEGMENT + at)?;
    // A far jump to 16-bit code.
    copy.push(0xEA);
    copy.extend(back.to_le_bytes());
    copy.extend(CODE_16.to_le_bytes());
    a.bytes(&copy);
    // LGDT with all 32 bits of the address: CS and operand size prefixes.
    let [low, high] = (gdtr as u16).to_le_bytes();
    a.db(&[0x2E, 0x66, 0x0F, 0x01, 0x16, low, high])?;
    code!(a; mov(eax, cr0); or(al, 1); mov(cr0, eax));
    let [e0, e1, e2, e3] = (HIGH_SEGMENT + at).to_le_bytes();
    let [s0, s1] = CODE_32.to_le_bytes();
    a.db(&[0x66, 0xEA, e0, e1, e2, e3, s0, s1])?;
    a.routine("rom_copied")
}
/// 32-bit code at the end of 4 GiB.
fn copy_code(at: u32) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    a.mov(ax, FLAT)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    // F0000h is PAM0's upper half; E0000h to EFFFFh are PAM5 and PAM6. C0000h to DFFFFh, PAM1 to PAM4, become RAM too.
    for (register, value, mask) in
        [(PAM_LOW, 0x3333_3000, 0xFFFF_FF00u32), (PAM_HIGH, 0x3333_3333, 0xFFFF_FFFF)]
    {
        a.mov(eax, register)?;
        a.mov(edx, u32::from(board::PCI_CONFIG_ADDRESS.0))?;
        a.out(dx, eax)?;
        a.mov(edx, u32::from(board::PCI_CONFIG_DATA.0))?;
        a.in_(eax, dx)?;
        a.and(eax, !mask as i32)?;
        a.or(eax, value)?;
        a.out(dx, eax)?;
    }
    a.mov(esi, ROM)?;
    a.mov(edi, 0xE_0000u32)?;
    a.mov(ecx, 0x2_0000u32 / 4)?;
    a.rep().movsd()?;
    a.mov(ax, DATA_16)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.assemble(at.into())
}
/// 16-bit code that leaves protected mode and goes on at `rom_copied`; its offset.
fn back_to_real_mode(a: &mut Module) -> u32 {
    let [low, high] = (a.table(&["rom_copied"]) as u16).to_le_bytes();
    // jmp cs:[table]
    let real = a.bytes(&[0x2E, 0xFF, 0x26, low, high]) as u16;
    let [r0, r1] = real.to_le_bytes();
    // mov eax, cr0; and al, 0feh; mov cr0, eax; jmp f000:real
    a.bytes(&[0x0F, 0x20, 0xC0, 0x24, 0xFE, 0x0F, 0x22, 0xC0, 0xEA, r0, r1, 0x00, 0xF0])
}

/// Writes the bits of `mask` of a configuration register.
fn set(a: &mut Module, register: u32, value: u32, mask: u32) -> Build {
    code!(a;
        mov(eax, register);
        mov(dx, u32::from(board::PCI_CONFIG_ADDRESS.0));
        out(dx, eax);
        mov(dx, u32::from(board::PCI_CONFIG_DATA.0));
        in_(eax, dx);
        and(eax, !mask);
        or(eax, value);
        out(dx, eax);
    );
    Ok(())
}

pub(super) fn write(a: &mut Module) -> Build {
    a.routine("lock_shadow")?;
    set(a, PAM_LOW, 0x0011_1000, 0x00FF_F000)?;
    a.ret()?;
    shutdown_code(a)
}

/// A program of the 80286's time leaves protected mode by a reset. It says in CMOS memory where it wants to go on: 05h
/// and 0Ah at the far pointer 0040:0067, after an end of interrupt or without one; 0Bh and 0Ch by IRET and RETF on the
/// stack at that place.
fn shutdown_code(a: &mut Module) -> Build {
    let [with_eoi, jump, by_iret, by_retf] = a.labels();
    a.routine("shutdown_code")?;
    code!(a;
        out_byte(board::CMOS.0, SHUTDOWN_CODE | 0x80);
        in_(al, u32::from(board::CMOS.0 + 1));
        mov(bl, al);
        out_byte(board::CMOS.0, SHUTDOWN_CODE);
        out_byte(board::CMOS.0 + 1, 0);
        mov(ax, u32::from(bda::SEGMENT));
        mov(ds, ax);
        cmp(bl, 0x05);
        je(with_eoi);
        cmp(bl, 0x0A);
        je(jump);
        cmp(bl, 0x0B);
        je(by_iret);
        cmp(bl, 0x0C);
        je(by_retf);
        ret;
        bind(with_eoi);
        out_byte(board::PIC_SLAVE.0, 0x20);
        out_byte(board::PIC_MASTER.0, 0x20);
        bind(jump);
        jmp(dword_ptr(bda::RESET_RESUME));
        bind(by_iret);
        lss(sp, dword_ptr(bda::RESET_RESUME));
        iret;
        bind(by_retf);
        lss(sp, dword_ptr(bda::RESET_RESUME));
        retf
    );
    Ok(())
}
