//! Option ROMs of cards: programs of 2 KiB and more between C0000h and DFFFFh that begin with 55h AAh.
//!
//! POST calls each at offset 3: first the video BIOS at C0000h, which is the ROM of the first VGA on the PCI bus, and later those
//! behind it. One with a PnP header may offer a *bootstrap entry vector*, a way to boot (a network
//! card's), which is noted for the boot order, or a *boot connection vector*, which installs a disk's services.
//!
//! Source: BIOS Boot Specification 1.01; Plug and Play BIOS Specification 1.0A, "Option ROM".

use crate::bios::asm::{Build, Module, code};
use crate::bios::entries::PNP_ENTRY;
use crate::bios::layout::*;
use crate::tables::checksum;
use iced_x86::code_asm::*;

/// In the EBDA: how many bootstrap entry vectors there are, and their segments and offsets, and names.
pub(super) const ENTRIES: u32 = 0x1A0;
pub(super) const ENTRY_LIST: u32 = 0x1A2;
pub(super) const ENTRY_BYTES: u32 = 8;
pub(super) const MOST_ENTRIES: u32 = 8;
/// Offset of the pointer to the PnP header in an option ROM, and fields of that.
const PNP_POINTER: u32 = 0x1A;
const PNP_SIGNATURE: u32 = u32::from_le_bytes(*b"$PnP");
const PNP_NAME: u32 = 0x10;
const PNP_CONNECTION: u32 = 0x16;
const PNP_BOOTSTRAP: u32 = 0x1A;

/// In the EBDA: the segment behind the video BIOS.
pub(super) const BEHIND_VIDEO: u32 = 0x19C;

pub(super) fn write(a: &mut Module) -> Build {
    let check = installation_check(a);
    video(a)?;
    scan(a)?;
    verify(a)?;
    run(a, check)?;
    a.routine("pnp_entry")?;
    // No function of a PnP BIOS is there.
    code!(a; mov(ax, 0x82); retf);
    Ok(())
}

/// The structure by which option ROMs know a PnP BIOS; its offset. No routine is behind its entry points, which lead to
/// where `pnp_entry` stands: at a fixed address, so that the checksum is known.
fn installation_check(a: &mut Module) -> u32 {
    let mut bytes = Vec::from(*b"$PnP\x10\x21\0\0\0");
    bytes.resize(0x21, 0);
    let segment = SYSTEM_SEGMENT.to_le_bytes();
    let [o0, o1] = (PNP_ENTRY as u16).to_le_bytes();
    let base = (u32::from(SYSTEM_SEGMENT) << 4).to_le_bytes();
    // The real-mode entry point, the protected-mode one with its base, and the data segment of each.
    bytes[0x0D..0x11].copy_from_slice(&[o0, o1, segment[0], segment[1]]);
    bytes[0x11..0x13].copy_from_slice(&[o0, o1]);
    bytes[0x13..0x17].copy_from_slice(&base);
    bytes[0x1B..0x1D].copy_from_slice(&segment);
    bytes[0x1D..0x21].copy_from_slice(&base);
    bytes[8] = checksum(&bytes);
    a.align_data(16);
    a.bytes(&bytes)
}

/// `video_rom`: finds the video BIOS and calls it. What stood there before, at a reset, is gone first.
fn video(a: &mut Module) -> Build {
    let [none, known] = a.labels();
    code!(a;
        routine("video_rom");
        mov(ax, u32::from(VIDEO_SEGMENT));
        mov(ds, ax);
        mov(word_ptr(0), 0);
        invoke("video_card_rom");
        push(bx);
        mov(ax, u32::from(VIDEO_SEGMENT));
        mov(ds, ax);
        invoke("option_rom_verify");
        pop(ax);
        jc(none);
        push(ds);
        invoke("option_rom_run");
        pop(ds);
        invoke("option_rom_end");
        jmp(known);
        bind(none);
        mov(ax, ds);
        bind(known)
    );
    super::ebda_in_ds(a)?;
    code!(a;
        mov(word_ptr(BEHIND_VIDEO), ax);
        ret;
        // AX is the segment behind the ROM at DS: it may have made itself smaller. DX is lost.
        routine("option_rom_end");
        mov(ah, byte_ptr(2));
        mov(al, 0);
        shr(ax, 3);
        add(ax, 0x7F);
        and(ax, 0xFF80);
        mov(dx, ds);
        add(ax, dx);
        ret
    );
    Ok(())
}

/// `option_roms`: calls the ROMs of cards, then looks at each 2 KiB border behind them. DS is the ROM's segment.
fn scan(a: &mut Module) -> Build {
    let [next, none, end] = a.labels();
    a.routine("option_roms")?;
    super::ebda_in_ds(a)?;
    code!(a;
        mov(ax, word_ptr(BEHIND_VIDEO));
        invoke("card_roms");
        push(ax);
        mov(bx, ax);
        invoke("given_roms");
        pop(ax);
        bind(next);
        mov(ds, ax);
        invoke("option_rom_verify");
        jc(none);
        push(ds);
        xor(ax, ax);
        invoke("option_rom_run");
        pop(ds);
        invoke("option_rom_end");
        jmp(end);
        bind(none);
        mov(ax, ds);
        add(ax, 0x80);
        bind(end);
        cmp(ax, u32::from(OPTION_ROMS_END));
        jb(next);
        ret
    );
    Ok(())
}

/// CF clear: DS:0 begins with 55h AAh, and all bytes of the length that follows add up to zero.
fn verify(a: &mut Module) -> Build {
    let [bad, next, block] = a.labels();
    a.routine("option_rom_verify")?;
    code!(a;
        cmp(word_ptr(0), 0xAA55);
        jne(bad);
        mov(dl, byte_ptr(2));
        test(dl, dl);
        jz(bad);
        push(ds);
        xor(ah, ah);
        // Blocks of 512 bytes: it may have more than 64 KiB.
        bind(block);
        xor(si, si);
        mov(cx, 512);
        bind(next);
        lodsb;
        add(ah, al);
        loop_(next);
        mov(bx, ds);
        add(bx, 0x20);
        mov(ds, bx);
        dec(dl);
        jnz(block);
        pop(ds);
        test(ah, ah);
        jnz(bad);
        clc;
        ret;
        bind(bad);
        stc;
        ret
    );
    Ok(())
}

/// Calls the ROM at DS:3 with ES:DI at the installation check, and notes what it offers. A ROM of a card finds in AX which
/// PCI function it is; others find 0.
fn run(a: &mut Module, check: u32) -> Build {
    let [done, no_connection] = a.labels();
    a.routine("option_rom_run")?;
    code!(a;
        push(ds);
        push(ds);
        pop(fs);
        push(i32::from(SYSTEM_SEGMENT as i16));
        pop(es);
        mov(di, check);
        mov(bx, -1);
        mov(dx, -1);
    );
    far_call_fs(a, 3)?;
    code!(a;
        pop(ds);
        cld;
        mov(si, word_ptr(PNP_POINTER));
        test(si, si);
        jz(done);
        cmp(dword_ptr(si), PNP_SIGNATURE);
        jne(done);
        mov(cx, word_ptr(si + PNP_CONNECTION));
        jcxz(no_connection);
        push(ds);
        push(si);
        mov(ax, u32::from(SYSTEM_SEGMENT));
        mov(es, ax);
        mov(di, check);
        xor(ax, ax);
        mov(bx, -1);
        mov(dx, -1);
    );
    // A far call of DS:CX: by a return.
    let back = a.table(&["connection_done"]);
    code!(a;
        push(cs);
        push(word_ptr(back).cs());
        push(ds);
        push(cx);
        retf;
        routine("connection_done");
        pop(si);
        pop(ds);
        cld;
        bind(no_connection);
        mov(cx, word_ptr(si + PNP_BOOTSTRAP));
        jcxz(done);
        mov(dx, word_ptr(si + PNP_NAME));
        mov(ax, ds);
    );
    super::ebda_in_ds(a)?;
    code!(a;
        mov(bx, word_ptr(ENTRIES));
        cmp(bx, MOST_ENTRIES);
        jae(done);
        inc(word_ptr(ENTRIES));
        shl(bx, 3);
        mov(word_ptr(bx + ENTRY_LIST), cx);
        mov(word_ptr(bx + (ENTRY_LIST + 2)), ax);
        mov(word_ptr(bx + (ENTRY_LIST + 4)), dx);
        bind(done);
        ret
    );
    Ok(())
}

/// A far call of an offset in FS.
fn far_call_fs(a: &mut Module, offset: u16) -> Build {
    let back = a.table(&["option_rom_back"]);
    code!(a;
        push(cs);
        push(word_ptr(back).cs());
        push(fs);
        push(i32::from(offset));
        retf;
        routine("option_rom_back");
    );
    Ok(())
}
