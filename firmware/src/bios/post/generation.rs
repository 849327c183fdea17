//! The VM generation ID: the device is told in which page of RAM our ACPI tables have it, as it is by other firmware, by
//! writing the page's address to a file of fw_cfg. It then puts the ID there.
//!
//! Source: QEMU documentation, "QEMU Firmware Configuration (fw_cfg) Device", "Guest-side DMA Interface".

use super::given_roms::{DATA, DIRECTORY, ENTRY, ENTRY_BYTES, KEY, NAME, SELECTOR};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::EBDA_SEGMENT;
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// The request, in place of the entry once its key is known, and the address that is written.
const REQUEST: u32 = ENTRY;
const ADDRESS: u32 = REQUEST + 16;
const ADDRESS_BYTES: u32 = 8;
/// Select, and write: the last two bytes of a control word, which is big-endian.
const SELECT_AND_WRITE: u32 = 0x1800;
const DMA: u32 = SELECTOR + 4;
/// Linear address of a byte of the EBDA.
const fn linear(offset: u32) -> u32 {
    (EBDA_SEGMENT as u32) << 4 | offset
}

/// `tell_generation_page`.
pub(super) fn write(a: &mut Module) -> Build {
    let [next, done] = a.labels();
    code!(a;
        routine("tell_generation_page");
        mov(ax, u32::from(EBDA_SEGMENT));
        mov(ds, ax);
        mov(es, ax);
        mov(ax, DIRECTORY);
        mov(cx, 4);
        invoke("fw_cfg_read");
        // The count is big-endian and has one byte that counts.
        movzx(bx, byte_ptr(ENTRY + 3));
        bind(next);
        sub(bx, 1);
        jb(done);
        mov(dx, DATA);
        mov(di, ENTRY);
        mov(cx, ENTRY_BYTES);
        rep_insb()
    );
    let name = board::GENERATION_ADDRESS_FILE.as_bytes();
    for (at, part) in (0..).step_by(4).zip(name.chunks(4)) {
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        code!(a; cmp(dword_ptr(NAME + at), u32::from_le_bytes(word)); jne(next));
    }
    code!(a;
        cmp(byte_ptr(NAME + name.len() as u32), 0);
        jne(next);
        mov(ax, word_ptr(KEY));
        mov(word_ptr(REQUEST), ax);
        mov(word_ptr(REQUEST + 2), SELECT_AND_WRITE);
        mov(dword_ptr(REQUEST + 4), ADDRESS_BYTES.swap_bytes());
        mov(dword_ptr(REQUEST + 8), 0);
        mov(dword_ptr(REQUEST + 12), linear(ADDRESS).swap_bytes());
        mov(dword_ptr(ADDRESS), board::GENERATION_PAGE.0 as u32);
        mov(dword_ptr(ADDRESS + 4), 0);
        mov(dx, DMA);
        xor(eax, eax);
        out(dx, eax);
        mov(dx, DMA + 4);
        mov(eax, linear(REQUEST).swap_bytes());
        out(dx, eax);
        bind(done);
        ret
    );
    Ok(())
}
