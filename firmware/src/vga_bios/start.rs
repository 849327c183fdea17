//! The INIT function, which POST calls: vectors, what the card is, mode 3.
//!
//! The ROM's place can be written as long as POST runs. So what must be known later and cannot be read from the VGA's
//! ports is written into the ROM now: where the frame buffer is, which PCI decided, and the monitor's EDID, which the
//! card has in its memory region beyond 1 MiB. INT 15h moves it from there. Where this fails, there is no linear frame buffer, or
//! the EDID is that of [`super::edid`].

use super::header::{BLOCK_BYTES, BLOCKS, CARD, CHECKSUM, EDID, FRAME_BUFFER};
use super::{Tables, parameters};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{VIDEO_SEGMENT, bda};
use iced_x86::code_asm::*;

/// PCI configuration mechanism 1.
const PCI_ADDRESS: u32 = 0xCF8;
const PCI_DATA: u32 = 0xCFC;
/// BARs of the frame buffer and of the registers, at whose beginning the EDID stands.
const FRAME_BUFFER_BAR: u32 = 0x10;
const REGISTER_BAR: u32 = 0x18;
/// Where a card without PCI has its frame buffer.
const ISA_FRAME_BUFFER: u32 = 0xE000_0000;
/// What is found in the BDA after power-on: 256 KiB, 400 lines.
const CONTROL: u32 = 0x60;
const SWITCHES: u32 = 0xF9;
const FLAGS: u32 = 0x11;
const VGA_WITH_COLOUR: u32 = 8;

pub(super) fn write(a: &mut Module, tables: &Tables) -> Build {
    let pointers = parameters::pointers(a, tables.rows);
    let vector = a.table(&["int10"]);
    let segment = u32::from(VIDEO_SEGMENT);
    code!(a;
        routine("start");
        pushad;
        push(ds);
        push(es);
        cld;
        mov(bx, ax);
        push(0);
        pop(ds);
        mov(ax, word_ptr(vector).cs());
        mov(word_ptr(4 * 0x10), ax);
        mov(word_ptr(4 * 0x10 + 2), segment);
        invoke("font_vectors");
        push(0x40);
        pop(ds);
        mov(dword_ptr(bda::VIDEO_POINTERS), segment << 16 | pointers);
        mov(byte_ptr(bda::VIDEO_CONTROL), CONTROL);
        mov(byte_ptr(bda::VIDEO_SWITCHES), SWITCHES);
        mov(byte_ptr(bda::VIDEO_FLAGS), FLAGS);
        mov(byte_ptr(bda::DISPLAY_CODE), VGA_WITH_COLOUR);
        mov(byte_ptr(bda::VIDEO_POWER), 0);
        invoke("find_card");
        mov(ax, 3);
        call_interrupt("int10");
        pop(es);
        pop(ds);
        popad;
        retf
    );
    pci(a)?;
    find_card(a)?;
    read_edid(a)?;
    sum(a)
}

/// `pci_read`: EAX is register AL of function BX. DX is lost.
fn pci(a: &mut Module) -> Build {
    code!(a;
        routine("pci_read");
        movzx(edx, bx);
        shl(edx, 8);
        mov(dl, al);
        or(edx, 0x8000_0000u32 as i32);
        mov(eax, edx);
        mov(dx, PCI_ADDRESS);
        out(dx, eax);
        mov(dx, PCI_DATA);
        in_(eax, dx);
        ret
    );
    Ok(())
}

/// `find_card`: BX is the PCI function that POST said, or zero, or anything. The frame buffer and the EDID become known.
fn find_card(a: &mut Module) -> Build {
    let [next, found, isa, known, done] = a.labels();
    code!(a;
        routine("find_card");
        invoke("dispi_present");
        jc(done);
        mov(al, 0);
        invoke("pci_read");
        cmp(eax, CARD);
        je(found);
        xor(bx, bx);
        bind(next);
        mov(al, 0);
        invoke("pci_read");
        cmp(eax, CARD);
        je(found);
        inc(bl);
        jnz(next);
        bind(isa);
        mov(ecx, ISA_FRAME_BUFFER);
        jmp(known);
        bind(found);
        mov(al, FRAME_BUFFER_BAR);
        invoke("pci_read");
        mov(ecx, eax);
        and(cl, 0xF0);
        mov(al, REGISTER_BAR);
        invoke("pci_read");
        and(al, 0xF0);
        test(eax, eax);
        jz(known);
        push(ecx);
        invoke("read_edid");
        pop(ecx);
        bind(known);
        push(cs);
        pop(es);
        mov(dword_ptr(FRAME_BUFFER).es(), ecx);
        invoke("sum_rom");
        bind(done);
        ret
    );
    Ok(())
}

/// `read_edid`: takes the EDID at physical address EAX, if there is one.
fn read_edid(a: &mut Module) -> Build {
    const BYTES: u32 = super::edid::BYTES as u32;
    const TABLE: u32 = 48;
    let [sum, bad] = a.labels();
    // The stack has a table of six descriptors and the bytes behind it.
    code!(a;
        routine("read_edid");
        push(bp);
        sub(sp, BYTES + TABLE);
        mov(bp, sp);
        push(ss);
        pop(es);
        mov(di, bp);
        mov(ecx, eax);
        xor(ax, ax);
        push(cx);
        mov(cx, (BYTES + TABLE) / 2);
        rep_stosw();
        pop(cx);
        // 2: the source. 3: the target.
        mov(word_ptr(bp + 0x10), 0xFFFF);
        mov(dword_ptr(bp + 0x12), ecx);
        mov(byte_ptr(bp + 0x15), 0x93);
        shr(ecx, 24);
        mov(byte_ptr(bp + 0x17), cl);
        mov(ax, ss);
        movzx(eax, ax);
        shl(eax, 4);
        movzx(ecx, bp);
        add(eax, ecx);
        add(eax, TABLE as i32);
        mov(word_ptr(bp + 0x18), 0xFFFF);
        mov(dword_ptr(bp + 0x1A), eax);
        mov(byte_ptr(bp + 0x1D), 0x93);
        mov(si, bp);
        mov(cx, BYTES / 2);
        mov(ah, 0x87);
        int(0x15);
        cld;
        // The first block begins with 00 FF FF FF FF FF FF 00, and its bytes add up to zero.
        cmp(dword_ptr(bp + TABLE), 0xFFFF_FF00u32 as i32);
        jne(bad);
        cmp(dword_ptr(bp + (TABLE + 4)), 0x00FF_FFFF);
        jne(bad);
        lea(si, ptr(bp + TABLE));
        mov(cx, 128);
        mov(ah, 0);
        bind(sum);
        mov(al, byte_ptr(si).ss());
        add(ah, al);
        inc(si);
        loop_(sum);
        test(ah, ah);
        jnz(bad);
        push(ds);
        push(ss);
        pop(ds);
        push(cs);
        pop(es);
        lea(si, ptr(bp + TABLE));
        mov(di, EDID);
        mov(cx, BYTES);
        rep_movsb();
        pop(ds);
        bind(bad);
        add(sp, BYTES + TABLE);
        pop(bp);
        ret
    );
    Ok(())
}

/// `sum_rom`: makes the sum of the ROM's bytes zero again.
fn sum(a: &mut Module) -> Build {
    let next = a.label();
    code!(a;
        routine("sum_rom");
        push(cs);
        pop(es);
        movzx(cx, byte_ptr(BLOCKS).es());
        shl(cx, BLOCK_BYTES.trailing_zeros());
        mov(byte_ptr(CHECKSUM).es(), 0);
        xor(si, si);
        mov(ah, 0);
        bind(next);
        mov(al, byte_ptr(si).es());
        sub(ah, al);
        inc(si);
        loop_(next);
        mov(byte_ptr(CHECKSUM).es(), ah);
        ret
    );
    Ok(())
}
