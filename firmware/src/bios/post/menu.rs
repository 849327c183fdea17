//! The boot menu: for some seconds F12 or Esc asks for a list of entries; a digit chooses the one that is tried first.

use super::boot::{FIRST_ENTRY, SERVICES_PRESENT};
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::bda;
use iced_x86::code_asm::*;

const ESC: u32 = 0x011B;
const F12: u32 = 0x8600;
/// Entries that a digit can choose.
const MOST: u32 = 9;

pub(super) fn write(a: &mut Module) -> Build {
    let prompt = a.text("Press F12 or Esc for the boot menu.\r\n");
    let [done, wait, look, asked] = a.labels();
    a.routine("boot_menu")?;
    super::ebda_in_ds(a)?;
    code!(a;
        cmp(byte_ptr(SERVICES_PRESENT), 0);
        je(done);
        xor(ax, ax);
        call_interrupt("service_0103");
        test(ah, 1);
        jz(done);
        test(al, al);
        jz(done);
        push(ax);
        mov(si, prompt);
        invoke("say");
        pop(ax);
        // Tenths of a second to ticks: 18.2 a second.
        mov(ah, 0);
        imul_3(ax, ax, 182);
        xor(dx, dx);
        mov(bx, 100);
        div(bx);
        mov(cx, ax);
        inc(cx);
        push(0x40);
        pop(ds);
        add(cx, word_ptr(bda::TICKS));
        bind(wait);
        mov(ah, 0x11);
        int(0x16);
        jz(look);
        mov(ah, 0x10);
        int(0x16);
        cmp(ax, ESC);
        je(asked);
        cmp(ax, F12);
        je(asked);
        bind(look);
        mov(ax, cx);
        sub(ax, word_ptr(bda::TICKS));
        jle(done);
        hlt;
        jmp(wait);
        bind(done);
        ret;
        bind(asked)
    );
    choose(a)
}

/// Lists the entries and takes a digit; Esc leaves the order as it is.
fn choose(a: &mut Module) -> Build {
    let [title, separator, line] = ["\r\nBoot from:\r\n", ". ", "\r\n"].map(|text| a.text(text));
    let [list, listed, wait, leave] = a.labels();
    code!(a; mov(si, title); invoke("say"); xor(cx, cx));
    super::ebda_in_ds(a)?;
    code!(a;
        bind(list);
        mov(al, cl);
        push(cx);
        invoke("entry_name");
        pop(cx);
        jc(listed);
        inc(cl);
        push(cx);
        push(es);
        push(bx);
        mov(al, cl);
        add(al, u32::from(b'0'));
        invoke("say_character");
        mov(si, separator);
        invoke("say");
        pop(bx);
        pop(es);
        invoke("say_es_bx");
        mov(si, line);
        invoke("say");
        pop(cx);
        cmp(cl, MOST);
        jb(list);
        bind(listed);
        bind(wait);
        mov(ah, 0x10);
        int(0x16);
        cmp(ax, ESC);
        je(leave);
        sub(al, u32::from(b'1'));
        cmp(al, cl);
        jae(wait);
        mov(byte_ptr(FIRST_ENTRY), al);
        bind(leave);
        ret
    );
    Ok(())
}
