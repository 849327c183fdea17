//! Option ROMs that were given to the machine: files `genroms/...` of fw_cfg are put where those of cards are looked for.
//!
//! Source: QEMU documentation, "QEMU Firmware Configuration (fw_cfg) Device".

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{EBDA_SEGMENT, OPTION_ROMS_END, VIDEO_SEGMENT};
use iced_x86::code_asm::*;
use trimotor_bus::board;

pub(super) const SELECTOR: u32 = board::FW_CFG.0 as u32;
pub(super) const DATA: u32 = SELECTOR + 1;
pub(super) const DIRECTORY: u32 = 0x19;
/// Bytes of a directory entry, and in the EBDA where one is read to: size, key, nothing, name.
pub(super) const ENTRY_BYTES: u32 = 64;
pub(super) const ENTRY: u32 = 0x1C0;
pub(super) const KEY: u32 = ENTRY + 4;
pub(super) const NAME: u32 = ENTRY + 8;
/// How names begin.
const FOLDER: [&[u8; 4]; 2] = [b"genr", b"oms/"];
/// What fits.
const MOST_BYTES: u32 = (OPTION_ROMS_END as u32 - VIDEO_SEGMENT as u32) << 4;
const SIGNATURE: &[u8; 4] = b"QEMU";

/// `given_roms`: puts the files to segment BX and up, one behind the other.
pub(super) fn write(a: &mut Module) -> Build {
    let [done, next, skip, block] = a.labels();
    code!(a; routine("given_roms"));
    // The first bytes of item 0 tell that the device is there.
    code!(a;
        mov(ax, u32::from(EBDA_SEGMENT));
        mov(ds, ax);
        mov(es, ax);
        xor(ax, ax);
        mov(cx, 4);
        invoke("fw_cfg_read");
        cmp(dword_ptr(ENTRY), u32::from_le_bytes(*SIGNATURE));
        jne(done);
        mov(ax, DIRECTORY);
        mov(cx, 4);
        invoke("fw_cfg_read");
        // The count is big-endian and has one byte that counts.
        movzx(cx, byte_ptr(ENTRY + 3));
        xor(si, si);
        bind(next);
        cmp(si, cx);
        jae(done);
        // Entry SI: what is in front of it is read and forgotten.
        push(cx);
        mov(dx, SELECTOR);
        mov(ax, DIRECTORY);
        out(dx, ax);
        inc(dx);
        mov(cx, si);
        shl(cx, 6);
        add(cx, 4);
        bind(skip);
        in_(al, dx);
        loop_(skip);
        mov(di, ENTRY);
        mov(cx, ENTRY_BYTES);
        rep_insb();
        pop(cx);
        inc(si);
        cmp(dword_ptr(NAME), u32::from_le_bytes(*FOLDER[0]));
        jne(next);
        cmp(dword_ptr(NAME + 4), u32::from_le_bytes(*FOLDER[1]));
        jne(next);
        // Size in EAX; where the next one goes in DI, on a border of 2 KiB.
        mov(eax, dword_ptr(ENTRY));
        bswap(eax);
        cmp(eax, MOST_BYTES);
        ja(next);
        add(eax, 0x7FF);
        shr(eax, 11);
        jz(next);
        mov(di, ax);
        shl(di, 7);
        add(di, bx);
        cmp(di, u32::from(OPTION_ROMS_END));
        ja(next);
        push(cx);
        push(di);
        // Blocks of 2 KiB; behind its end an item reads as zeros.
        push(ax);
        mov(dx, SELECTOR);
        mov(ax, word_ptr(KEY));
        xchg(al, ah);
        out(dx, ax);
        inc(dx);
        pop(ax);
        bind(block);
        mov(es, bx);
        xor(di, di);
        mov(cx, 0x800);
        rep_insb();
        add(bx, 0x80);
        dec(ax);
        jnz(block);
        pop(bx);
        pop(cx);
        push(ds);
        pop(es);
        jmp(next);
        bind(done);
        ret;
        // CX bytes of item AX into the EBDA.
        routine("fw_cfg_read");
        mov(dx, SELECTOR);
        out(dx, ax);
        mov(dx, DATA);
        mov(di, ENTRY);
        rep_insb();
        ret
    );
    Ok(())
}
