//! Drives and the boot: INT 19h and INT 18h.
//!
//! Entries of the boot order come from the device that carries out disk services ([`crate::bios::services::port`]), then from
//! option ROMs with a bootstrap entry vector. INT 19h tries each in turn and says on the screen what it tries and why it
//! failed. A boot program that gives up calls INT 18h: the next entry is tried. After the last one a key starts over.
//! With a menu ([`super::menu`]) the first entry is a chosen one.

use super::option_roms::{ENTRIES, ENTRY_BYTES, ENTRY_LIST};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::*;
use iced_x86::code_asm::*;

/// In the EBDA: the device of disk services is there; the entry that is tried; the one that comes first; how many entries
/// the device has.
pub const SERVICES_PRESENT: u32 = 0x180;
const ENTRY: u32 = 0x181;
pub(super) const FIRST_ENTRY: u32 = 0x182;
const SERVICE_ENTRIES: u32 = 0x183;
/// What DL says of an entry: boot from the network, which is for option ROMs to do.
const KIND_NETWORK: u32 = 0xFE;

pub(super) fn write(a: &mut Module) -> Build {
    find_drives(a)?;
    bootstrap(a)?;
    entry_name(a)?;
    boot_entry(a)?;
    bootstrap_vector(a)
}

/// Asks the services for the drives. Where nobody answers AX stays as it was.
fn find_drives(a: &mut Module) -> Build {
    let texts = [" hard disks, ", " floppies, ", " CD-ROM drives\r\n"].map(|text| a.text(text));
    let none = a.label();
    code!(a;
        routine("find_drives");
        mov(ax, -1);
        call_interrupt("service_0100");
        cmp(ax, -1);
        je(none)
    );
    super::ebda_in_ds(a)?;
    code!(a;
        mov(byte_ptr(SERVICES_PRESENT), 1);
        mov(byte_ptr(SERVICE_ENTRIES), dl);
        mov(dx, ax);
        or(dx, bx);
        or(dx, cx);
        jz(none);
        push(cx);
        push(bx);
        invoke("say_number");
        mov(si, texts[0]);
        invoke("say");
        pop(ax);
        invoke("say_number");
        mov(si, texts[1]);
        invoke("say");
        pop(ax);
        invoke("say_number");
        mov(si, texts[2]);
        invoke("say");
        bind(none);
        ret
    );
    Ok(())
}

/// INT 19h tries the entries from the first on, INT 18h from the one behind the last that was tried.
fn bootstrap(a: &mut Module) -> Build {
    let nothing = a.text("\r\nNo bootable device. Press a key to try again.\r\n");
    let no_entry = a.text("There is no drive to boot from.\r\n");
    let returned = a.text("The boot program gave up.\r\n");
    let [next, some, wait, key, at_end] = a.labels();
    code!(a; routine("int18"));
    fresh_stack(a)?;
    code!(a; mov(si, returned); invoke("say"); jmp(next); routine("int19"));
    fresh_stack(a)?;
    super::ebda_in_ds(a)?;
    code!(a;
        mov(al, byte_ptr(FIRST_ENTRY));
        dec(al);
        mov(byte_ptr(ENTRY), al);
        bind(next)
    );
    super::ebda_in_ds(a)?;
    code!(a;
        inc(byte_ptr(ENTRY));
        mov(al, byte_ptr(ENTRY));
        invoke("entry_name");
        jc(at_end);
        invoke("boot_entry");
        jmp(next);
        bind(at_end);
        cmp(byte_ptr(ENTRY), 0);
        jne(some);
        mov(si, no_entry);
        invoke("say");
        bind(some);
        mov(byte_ptr(FIRST_ENTRY), 0);
        mov(si, nothing);
        invoke("say");
        bind(wait);
        mov(ah, 0x11);
        int(0x16);
        jnz(key);
        hlt;
        jmp(wait);
        bind(key);
        mov(ah, 0x10);
        int(0x16);
        goto("int19")
    );
    Ok(())
}

/// Whoever called may have left anything.
fn fresh_stack(a: &mut Module) -> Build {
    code!(a; xor(ax, ax); mov(ss, ax); mov(sp, u32::from(BOOT_SECTOR)); sti; cld);
    Ok(())
}

/// `entry_name`: ES:BX is the name of entry AL, DL its kind. CF: there is none. DS is the EBDA.
fn entry_name(a: &mut Module) -> Build {
    let [rom, absent, unnamed] = a.labels();
    let no_name = a.text("option ROM");
    code!(a;
        routine("entry_name");
        cmp(al, byte_ptr(SERVICE_ENTRIES));
        jae(rom);
        stc;
        call_interrupt("service_0102");
        ret;
        bind(rom);
        invoke("rom_entry");
        jc(absent);
        mov(es, word_ptr(di + (ENTRY_LIST + 2)));
        mov(bx, word_ptr(di + (ENTRY_LIST + 4)));
        mov(dl, KIND_NETWORK);
        test(bx, bx);
        jz(unnamed);
        clc;
        bind(absent);
        ret;
        bind(unnamed);
        push(cs);
        pop(es);
        mov(bx, no_name);
        ret;
        // Entry AL of all as an offset DI into the list of option ROMs'.
        routine("rom_entry");
        sub(al, byte_ptr(SERVICE_ENTRIES));
        cmp(al, byte_ptr(ENTRIES));
        cmc;
        jc(absent);
        movzx(di, al);
        imul_3(di, di, ENTRY_BYTES);
        clc;
        ret
    );
    Ok(())
}

/// `boot_entry`: tries entry [`ENTRY`], whose name is ES:BX and whose kind is DL. Comes back if it failed.
fn boot_entry(a: &mut Module) -> Build {
    let [booting, dots, reason, line, no_rom] =
        ["Booting from ", "...\r\n", "  failed: ", "\r\n", "no option ROM boots from a network"]
            .map(|text| a.text(text));
    let [network, next_rom, rom, failed, none_left, no_roms] = a.labels();
    code!(a;
        routine("boot_entry");
        push(dx);
        push(es);
        push(bx);
        mov(si, booting);
        invoke("say");
        pop(bx);
        pop(es);
        invoke("say_es_bx");
        mov(si, dots);
        invoke("say");
        pop(dx);
        mov(al, byte_ptr(ENTRY));
        cmp(al, byte_ptr(SERVICE_ENTRIES));
        jae(rom);
        cmp(dl, KIND_NETWORK);
        je(network);
        stc;
        call_interrupt("service_0101");
        jc(failed);
    );
    enter(a)?;
    code!(a;
        bind(rom);
        invoke("rom_entry");
        invoke("bootstrap_vector");
        ret;
        // All that option ROMs have, in turn.
        bind(network);
        cmp(word_ptr(ENTRIES), 0);
        je(no_roms);
        xor(di, di);
        mov(cx, word_ptr(ENTRIES));
        bind(next_rom);
        push(cx);
        push(di);
        invoke("bootstrap_vector");
        pop(di);
        pop(cx);
        add(di, ENTRY_BYTES);
        loop_(next_rom);
        bind(none_left);
        ret;
        bind(no_roms);
        push(cs);
        pop(es);
        mov(bx, no_rom);
        bind(failed);
        push(es);
        push(bx);
        mov(si, reason);
        invoke("say");
        pop(bx);
        pop(es);
        invoke("say_es_bx");
        mov(si, line);
        goto("say")
    );
    Ok(())
}

/// Jumps to ES:BX with DL, ES, DS and the general registers as boot sectors expect them.
fn enter(a: &mut Module) -> Build {
    code!(a;
        push(es);
        push(bx);
        xor(eax, eax);
        mov(ds, ax);
        mov(es, ax);
        mov(ax, 0xAA55);
        xor(ebx, ebx);
        xor(ecx, ecx);
        movzx(edx, dl);
        xor(esi, esi);
        xor(edi, edi);
        xor(ebp, ebp);
        retf
    );
    Ok(())
}

/// `bootstrap_vector`: calls the one at DI of the list. It comes back by RETF, if it does.
fn bootstrap_vector(a: &mut Module) -> Build {
    let back = a.table(&["bootstrap_back"]);
    code!(a;
        routine("bootstrap_vector");
        push(cs);
        push(word_ptr(back).cs());
        push(word_ptr(di + (ENTRY_LIST + 2)));
        push(word_ptr(di + ENTRY_LIST));
        mov(ax, u32::from(SYSTEM_SEGMENT));
        mov(es, ax);
        retf;
        routine("bootstrap_back");
    );
    super::ebda_in_ds(a)?;
    code!(a; cld; ret);
    Ok(())
}
