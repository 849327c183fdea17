//! The expansion ROMs of PCI cards: each stands behind a base address register of its own, above 1 MiB, and is copied to
//! where it runs, below 1 MiB. INT 15h function 87h reaches that far. The video card's goes to C0000h, and is called before all
//! others; those of other cards go behind it, one after the other.
//!
//! A ROM has one or more *images*, for several kinds of firmware. Each has a *PCI data structure*, which says for what it is, for
//! which device, and how long it is. The image that a BIOS runs is the first one that is for PCs.
//!
//! Source: PCI Local Bus Specification 3.0, "Expansion ROM Base Address Register" and "Expansion ROM Contents"; PCI Firmware
//! Specification 3.0, "PCI Expansion ROMs".

use super::pci::NEXT_MEMORY;
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{OPTION_ROMS_END, VIDEO_MOST_BYTES, VIDEO_SEGMENT};
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// Class and interface of a VGA.
const VGA_CLASS: u32 = 0x03_0000;
/// Offsets of registers in configuration space.
const CLASS: u32 = 8;
const HEADER_TYPE: u32 = 0x0E;
const ROM: u32 = 0x30;
/// Bits of the ROM's register that are an address, and the one that opens it.
const ADDRESS: u32 = 0xFFFF_F800;
const OPEN: u32 = 1;
const SIGNATURE: u32 = 0xAA55;
const BLOCK: u32 = 512;
/// Offset of the pointer to the PCI data structure in an image; its signature, its fields, and its bytes.
const DATA_POINTER: u32 = 0x18;
const DATA_SIGNATURE: u32 = u32::from_le_bytes(*b"PCIR");
const DATA_DEVICE: u32 = 4;
const DATA_BLOCKS: u32 = 0x10;
const DATA_CODE: u32 = 0x14;
const DATA_LAST: u32 = 0x15;
const DATA_BYTES: u32 = 0x18;
/// What an image for PCs has for its code type.
const CODE_PC: u32 = 0;
const LAST: u32 = 0x80;
/// Bytes of an image that are looked at first: the smallest ROM. The data structure must be within them.
const HEAD_BYTES: u32 = 2048;
/// The most bytes that are copied at a time.
const PIECE_BYTES: u32 = 32 << 10;
/// Descriptors of function 87h.
const TABLE_BYTES: u32 = 48;

pub(super) fn write(a: &mut Module) -> Build {
    class(a)?;
    video(a)?;
    cards(a)?;
    image(a)?;
    open(a)?;
    copy(a)
}

/// `card_class`: EAX is the class, subclass and interface of PCI function BX; CF is set where there is none.
fn class(a: &mut Module) -> Build {
    let [none] = a.labels();
    code!(a;
        routine("card_class");
        xor(di, di);
        invoke("pci_read");
        cmp(ax, 0xFFFF);
        je(none);
        mov(di, CLASS);
        invoke("pci_read");
        shr(eax, 8);
        clc;
        ret;
        bind(none);
        stc;
        ret
    );
    Ok(())
}

/// `video_card_rom`: copies the ROM of the first VGA on bus 0, if it has one; BX is the PCI function, 0 if there is none.
fn video(a: &mut Module) -> Build {
    let [next, skip, found, none, closed, whole] = a.labels();
    code!(a; routine("video_card_rom"));
    super::ebda_in_ds(a)?;
    code!(a;
        xor(bx, bx);
        bind(next);
        invoke("card_class");
        jc(skip);
        cmp(eax, VGA_CLASS);
        je(found);
        bind(skip);
        inc(bl);
        jnz(next);
        bind(none);
        xor(bx, bx);
        ret;
        bind(found);
        invoke("open_card_rom");
        jc(none);
        push(i32::from(VIDEO_SEGMENT as i16));
        pop(es);
        // The first block tells how many there are.
        mov(cx, BLOCK / 2);
        invoke("copy_rom");
        cmp(word_ptr(0).es(), SIGNATURE);
        jne(closed);
        movzx(cx, byte_ptr(2).es());
        cmp(cx, VIDEO_MOST_BYTES as u32 / BLOCK);
        jbe(whole);
        mov(cx, VIDEO_MOST_BYTES as u32 / BLOCK);
        bind(whole);
        shl(cx, 8);
        invoke("copy_rom");
        bind(closed);
        invoke("close_card_rom");
        ret
    );
    Ok(())
}

/// `card_roms`: copies and calls the ROMs of all other cards on bus 0, from segment AX up; AX is the segment behind the last.
fn cards(a: &mut Module) -> Build {
    let [next, skip, bad, end] = a.labels();
    code!(a;
        routine("card_roms");
        mov(es, ax);
        xor(bx, bx);
        bind(next);
    );
    super::ebda_in_ds(a)?;
    code!(a;
        invoke("card_class");
        jc(skip);
        cmp(eax, VGA_CLASS);
        je(skip);
        // Bridges have other registers there.
        mov(di, HEADER_TYPE);
        invoke("pci_read_byte");
        test(al, 0x7F);
        jnz(skip);
        mov(ax, es);
        cmp(ax, u32::from(OPTION_ROMS_END) - (HEAD_BYTES >> 4));
        ja(end);
        invoke("open_card_rom");
        jc(skip);
        invoke("copy_image");
        pushf;
        invoke("close_card_rom");
        popf;
        jc(skip);
        push(es);
        pop(ds);
        push(bx);
        invoke("option_rom_verify");
        pop(bx);
        jc(bad);
        push(bx);
        push(ds);
        mov(ax, bx);
        invoke("option_rom_run");
        pop(ds);
        pop(bx);
        invoke("option_rom_end");
        mov(es, ax);
        jmp(skip);
        bind(bad);
        mov(word_ptr(0), 0);
        bind(skip);
        inc(bl);
        jnz(next);
        bind(end);
        mov(ax, es);
        ret
    );
    Ok(())
}

/// `copy_image`: copies the image for PCs of PCI function BX, whose ROM of ECX bytes is open at ESI, to segment ES. CF is set
/// where it has none, or where there is no room for it.
fn image(a: &mut Module) -> Build {
    let [next, found, more, piece, none] = a.labels();
    code!(a;
        routine("copy_image");
        // EDX is the end of the ROM.
        mov(edx, esi);
        add(edx, ecx);
        bind(next);
        mov(cx, HEAD_BYTES / 2);
        invoke("copy_rom");
        cmp(word_ptr(0).es(), SIGNATURE);
        jne(none);
        mov(di, word_ptr(DATA_POINTER).es());
        cmp(di, HEAD_BYTES - DATA_BYTES);
        ja(none);
        cmp(dword_ptr(di).es(), DATA_SIGNATURE);
        jne(none);
        movzx(ecx, word_ptr(di + DATA_BLOCKS).es());
        shl(ecx, 9);
        jz(none);
        cmp(byte_ptr(di + DATA_CODE).es(), CODE_PC);
        je(found);
        test(byte_ptr(di + DATA_LAST).es(), LAST);
        jnz(none);
        add(esi, ecx);
        jc(none);
        cmp(esi, edx);
        jb(next);
        bind(none);
        mov(word_ptr(0).es(), 0);
        stc;
        ret;
        bind(found);
        // It is this device's, and there is room.
        mov(bp, di);
        xor(di, di);
        invoke("pci_read");
        cmp(eax, dword_ptr(bp + DATA_DEVICE).es());
        jne(none);
        mov(ax, es);
        movzx(eax, ax);
        mov(edx, ecx);
        shr(edx, 4);
        add(eax, edx);
        cmp(eax, u32::from(OPTION_ROMS_END));
        ja(none);
        push(es);
        mov(edx, ecx);
        bind(more);
        mov(ecx, edx);
        cmp(ecx, PIECE_BYTES);
        jbe(piece);
        mov(ecx, PIECE_BYTES);
        bind(piece);
        sub(edx, ecx);
        push(ecx);
        shr(cx, 1);
        invoke("copy_rom");
        pop(ecx);
        add(esi, ecx);
        mov(ax, es);
        add(ax, PIECE_BYTES >> 4);
        mov(es, ax);
        test(edx, edx);
        jnz(more);
        pop(es);
        clc;
        ret
    );
    Ok(())
}

/// `open_card_rom`: opens the ROM of PCI function BX for a while, at the next free address that is a multiple of its size: ESI is
/// where it is, ECX its bytes. CF is set where it has none. `close_card_rom` ends that. DS is the EBDA.
fn open(a: &mut Module) -> Build {
    let [closed, none] = a.labels();
    code!(a;
        routine("open_card_rom");
        mov(di, ROM);
        mov(eax, ADDRESS);
        invoke("pci_write");
        invoke("pci_read");
        and(eax, ADDRESS);
        jz(none);
        neg(eax);
        mov(ecx, eax);
        mov(esi, dword_ptr(NEXT_MEMORY));
        dec(eax);
        add(esi, eax);
        jc(closed);
        not(eax);
        and(esi, eax);
        mov(eax, ecx);
        add(eax, esi);
        jc(closed);
        cmp(eax, board::PCI_HOLE_END.0 as u32);
        ja(closed);
        mov(eax, esi);
        or(al, OPEN);
        invoke("pci_write");
        clc;
        ret;
        bind(closed);
        invoke("close_card_rom");
        bind(none);
        stc;
        ret;
        routine("close_card_rom");
        xor(eax, eax);
        mov(di, ROM);
        invoke("pci_write");
        ret
    );
    Ok(())
}

/// `copy_rom`: CX words from physical address ESI to the start of segment ES. AX, CX, DI and BP are lost.
fn copy(a: &mut Module) -> Build {
    code!(a;
        routine("copy_rom");
        push(esi);
        push(edx);
        push(bx);
        push(es);
        mov(dx, es);
        sub(sp, TABLE_BYTES);
        mov(bp, sp);
        push(ss);
        pop(es);
        mov(di, bp);
        push(cx);
        mov(cx, TABLE_BYTES / 2);
        xor(ax, ax);
        rep_stosw();
        pop(cx);
        mov(word_ptr(bp + 0x10), 0xFFFF);
        mov(dword_ptr(bp + 0x12), esi);
        shr(esi, 24);
        mov(byte_ptr(bp + 0x15), 0x93);
        mov(ax, si);
        mov(byte_ptr(bp + 0x17), al);
        mov(word_ptr(bp + 0x18), 0xFFFF);
        movzx(edx, dx);
        shl(edx, 4);
        mov(dword_ptr(bp + 0x1A), edx);
        mov(byte_ptr(bp + 0x1D), 0x93);
        mov(si, bp);
        mov(ah, 0x87);
        int(0x15);
        add(sp, TABLE_BYTES);
        pop(es);
        pop(bx);
        pop(edx);
        pop(esi);
        ret
    );
    Ok(())
}
