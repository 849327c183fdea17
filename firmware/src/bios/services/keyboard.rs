//! Keyboard: INT 09h takes scan codes, INT 16h gives keys.
//!
//! The controller translates to scan code set 1. INT 09h offers each code to INT 15h function 4Fh first, keeps the shift
//! flags at 0040:0017, and puts a word for each key into the ring at 0040:001E: a scan code and a character.
//! Ctrl-Break calls INT 1Bh, SysRq INT 15h function 85h, Print Screen INT 05h; Ctrl-Alt-Del resets; Pause waits for
//! another key. Indicators are set by messages whose answers come as codes too.
//!
//! Source: IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 09H", "Interrupt 16H".

use super::key_table::{EXTENDED, KEYPAD_FIRST, LAST, rows};
use super::small::EOI;
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;
use trimotor_bus::board::{I8042_COMMAND, I8042_DATA, PIC_MASTER};

/// Bits of the shift flags.
const RIGHT_SHIFT: u32 = 1 << 0;
const LEFT_SHIFT: u32 = 1 << 1;
const SHIFTS: u32 = RIGHT_SHIFT | LEFT_SHIFT;
const CONTROL: u32 = 1 << 2;
const ALT: u32 = 1 << 3;
const SCROLL: u32 = 1 << 4;
const NUM: u32 = 1 << 5;
const CAPS: u32 = 1 << 6;
const INSERT: u32 = 1 << 7;
/// Bits of the second shift flags, beside those of the locks while their keys are down.
const LEFT_CONTROL: u32 = 1 << 0;
const LEFT_ALT: u32 = 1 << 1;
const SYSTEM_REQUEST: u32 = 1 << 2;
const PAUSED: u32 = 1 << 3;
/// Bits of the keyboard's flags.
const PREFIX_E1: u32 = 1 << 0;
const PREFIX_E0: u32 = 1 << 1;
const RIGHT_CONTROL: u32 = 1 << 2;
const RIGHT_ALT: u32 = 1 << 3;
/// Bit of the indicators: the answer to the message "set indicators" is awaited.
const INDICATORS_AWAITED: u32 = 1 << 6;

const SET_INDICATORS: u32 = 0xED;
const ACKNOWLEDGE: u32 = 0xFA;
/// Message to the controller: reset the machine.
const PULSE_RESET: u8 = 0xFE;

pub(super) fn write(a: &mut Module) -> Build {
    interrupt(a)?;
    take_code(a)?;
    shifts(a)?;
    special_keys(a)?;
    look_up(a)?;
    store(a)?;
    services(a)?;
    take_key(a)
}

fn interrupt(a: &mut Module) -> Build {
    let taken = a.label();
    code!(a;
        routine("int09");
        push(ds);
        push(es);
        pushad;
        cld;
        push(0x40);
        pop(ds);
        in_(al, u32::from(I8042_DATA.0));
        mov(ah, 0x4F);
        stc;
        int(0x15);
        jnc(taken);
        invoke("key_code");
        bind(taken);
        cli;
        out_byte(PIC_MASTER.0, EOI);
        popad;
        pop(es);
        pop(ds);
        iret
    );
    Ok(())
}

/// A code in AL. Afterwards DL is the key, DH bit 7 says that it was released, BL that it had the prefix E0h.
fn take_code(a: &mut Module) -> Build {
    let [e0, e1, after_e1, ack, no_ack, ignore, set] = a.labels();
    let pause = a.at("key_pause");
    code!(a;
        routine("key_code");
        cmp(al, ACKNOWLEDGE);
        je(ack);
        cmp(al, 0xFE);
        je(ignore);
        cmp(al, 0xFF);
        je(ignore);
        test(al, al);
        jz(ignore);
        cmp(al, 0xE0);
        je(e0);
        cmp(al, 0xE1);
        je(e1);
        mov(dl, al);
        and(dl, 0x7F);
        mov(dh, al);
        test(byte_ptr(bda::KEYBOARD_FLAGS), PREFIX_E1);
        jnz(after_e1);
        mov(bl, byte_ptr(bda::KEYBOARD_FLAGS));
        and(bl, PREFIX_E0);
        and(byte_ptr(bda::KEYBOARD_FLAGS), 0xFF & !PREFIX_E0);
        goto("key_shifts");
        bind(e0);
        or(byte_ptr(bda::KEYBOARD_FLAGS), PREFIX_E0);
        ret;
        bind(e1);
        or(byte_ptr(bda::KEYBOARD_FLAGS), PREFIX_E1);
        ret;
        // Pause is E1h 1Dh 45h, then the same as releases.
        bind(after_e1);
        cmp(dl, 0x1D);
        je(ignore);
        and(byte_ptr(bda::KEYBOARD_FLAGS), 0xFF & !PREFIX_E1);
        cmp(al, 0x45);
        je(pause);
        bind(ignore);
        ret;
        // The answer to "set indicators": now follows which.
        bind(ack);
        test(byte_ptr(bda::KEYBOARD_LEDS), INDICATORS_AWAITED);
        jz(no_ack);
        and(byte_ptr(bda::KEYBOARD_LEDS), 0xFF & !INDICATORS_AWAITED);
        mov(al, byte_ptr(bda::KEYBOARD_LEDS));
        and(al, 7);
        invoke("keyboard_data");
        bind(no_ack);
        ret;
        // Tells the keyboard if the locks are not what its indicators show.
        routine("key_indicators");
        mov(al, byte_ptr(bda::SHIFT_FLAGS));
        shr(al, 4);
        and(al, 7);
        mov(ah, byte_ptr(bda::KEYBOARD_LEDS));
        xor(ah, al);
        test(ah, 7);
        jnz(set);
        ret;
        bind(set);
        and(byte_ptr(bda::KEYBOARD_LEDS), 0xF8);
        or(byte_ptr(bda::KEYBOARD_LEDS), al);
        or(byte_ptr(bda::KEYBOARD_LEDS), INDICATORS_AWAITED);
        mov(al, SET_INDICATORS);
        goto("keyboard_data")
    );
    Ok(())
}

/// Shift, Ctrl, Alt and the locks.
fn shifts(a: &mut Module) -> Build {
    let [not_left, not_right, not_control, control_right, control_both] = a.labels();
    let [not_alt, alt_right, alt_both, released, number] = a.labels();
    code!(a; routine("key_shifts"));
    for (key, bit, other) in [(0x2A, LEFT_SHIFT, not_left), (0x36, RIGHT_SHIFT, not_right)] {
        let [up, ignore] = a.labels();
        // With the prefix it is none: some keys come as if Shift were pressed.
        code!(a;
            cmp(dl, key);
            jne(other);
            test(bl, bl);
            jnz(ignore);
            test(dh, dh);
            js(up);
            or(byte_ptr(bda::SHIFT_FLAGS), bit);
            bind(ignore);
            ret;
            bind(up);
            and(byte_ptr(bda::SHIFT_FLAGS), 0xFF & !bit);
            ret;
            bind(other)
        );
    }
    code!(a; cmp(dl, 0x1D); jne(not_control); mov(cl, LEFT_CONTROL); mov(ch, RIGHT_CONTROL));
    either(a, control_right, control_both)?;
    combine(a, CONTROL, LEFT_CONTROL, RIGHT_CONTROL)?;
    code!(a; ret; bind(not_control); cmp(dl, 0x38); jne(not_alt); mov(cl, LEFT_ALT); mov(ch, RIGHT_ALT));
    either(a, alt_right, alt_both)?;
    combine(a, ALT, LEFT_ALT, RIGHT_ALT)?;
    code!(a;
        test(dh, dh);
        js(released);
        ret;
        // The number that was typed meanwhile is a character.
        bind(released);
        xor(ax, ax);
        xchg(byte_ptr(bda::ALT_NUMBER), al);
        test(al, al);
        jnz(number);
        ret;
        bind(number);
        goto("key_store");
        bind(not_alt);
        goto("key_locks")
    );
    locks(a)
}

/// Notes a key of which there are two, by the bits CL (left) and CH (right, with the prefix).
fn either(a: &mut Module, right: CodeLabel, both: CodeLabel) -> Build {
    let [left_up, right_up] = a.labels();
    code!(a;
        test(bl, bl);
        jnz(right);
        test(dh, dh);
        js(left_up);
        or(byte_ptr(bda::SHIFT_FLAGS_2), cl);
        jmp(both);
        bind(left_up);
        not(cl);
        and(byte_ptr(bda::SHIFT_FLAGS_2), cl);
        jmp(both);
        bind(right);
        test(dh, dh);
        js(right_up);
        or(byte_ptr(bda::KEYBOARD_FLAGS), ch);
        jmp(both);
        bind(right_up);
        not(ch);
        and(byte_ptr(bda::KEYBOARD_FLAGS), ch);
        bind(both)
    );
    Ok(())
}

/// The bit of both: one of them is down.
fn combine(a: &mut Module, bit: u32, left: u32, right: u32) -> Build {
    let [down, done] = a.labels();
    code!(a;
        test(byte_ptr(bda::SHIFT_FLAGS_2), left);
        jnz(down);
        test(byte_ptr(bda::KEYBOARD_FLAGS), right);
        jnz(down);
        and(byte_ptr(bda::SHIFT_FLAGS), 0xFF & !bit);
        jmp(done);
        bind(down);
        or(byte_ptr(bda::SHIFT_FLAGS), bit);
        bind(done)
    );
    Ok(())
}

fn locks(a: &mut Module) -> Build {
    let (pause, broken) = (a.at("key_pause"), a.at("key_break"));
    let [plain_num, plain_scroll, num, scroll] = a.labels();
    code!(a; routine("key_locks"));
    for (key, bit, also) in [(0x3A, CAPS, None), (0x45, NUM, Some(num)), (0x46, SCROLL, Some(scroll))] {
        let [other, up, again] = a.labels();
        code!(a; cmp(dl, key); jne(other));
        if also.is_some() {
            // Ctrl with it is Pause, or Break.
            let (plain, special) = if key == 0x45 { (plain_num, pause) } else { (plain_scroll, broken) };
            let ignore = a.label();
            if key == 0x46 {
                code!(a; test(bl, bl); jnz(ignore));
            }
            code!(a;
                test(byte_ptr(bda::SHIFT_FLAGS), CONTROL);
                jz(plain);
                bind(ignore);
                test(dh, dh);
                jns(special);
                ret;
                bind(plain)
            );
        }
        code!(a;
            test(dh, dh);
            js(up);
            test(byte_ptr(bda::SHIFT_FLAGS_2), bit);
            jnz(again);
            or(byte_ptr(bda::SHIFT_FLAGS_2), bit);
            xor(byte_ptr(bda::SHIFT_FLAGS), bit);
            goto("key_indicators");
            bind(up);
            and(byte_ptr(bda::SHIFT_FLAGS_2), 0xFF & !bit);
            bind(again);
            ret;
            bind(other)
        );
    }
    a.goto("key_special")
}

/// SysRq, Print Screen, Insert, Ctrl-Alt-Del; then keys that are released are done.
fn special_keys(a: &mut Module) -> Build {
    let [no_request, request_up, no_print, no_insert, insert_up, down, no_reset, wait, resume] = a.labels();
    code!(a;
        routine("key_special");
        cmp(dl, 0x54);
        jne(no_request);
        mov(ax, 0x8500);
        test(dh, dh);
        js(request_up);
        or(byte_ptr(bda::SHIFT_FLAGS_2), SYSTEM_REQUEST);
        int(0x15);
        ret;
        bind(request_up);
        and(byte_ptr(bda::SHIFT_FLAGS_2), 0xFF & !SYSTEM_REQUEST);
        inc(ax);
        int(0x15);
        ret;
        bind(no_request);
        cmp(dl, 0x37);
        jne(no_print);
        test(bl, bl);
        jz(no_print);
        test(dh, dh);
        js(no_reset);
        int(0x05);
        bind(no_reset);
        ret;
        bind(no_print);
        cmp(dl, 0x52);
        jne(no_insert);
        test(dh, dh);
        js(insert_up);
        test(byte_ptr(bda::SHIFT_FLAGS_2), INSERT);
        jnz(no_insert);
        or(byte_ptr(bda::SHIFT_FLAGS_2), INSERT);
        xor(byte_ptr(bda::SHIFT_FLAGS), INSERT);
        jmp(no_insert);
        bind(insert_up);
        and(byte_ptr(bda::SHIFT_FLAGS_2), 0xFF & !INSERT);
        bind(no_insert);
        test(dh, dh);
        jns(down);
        ret;
        bind(down);
        test(byte_ptr(bda::SHIFT_FLAGS_2), PAUSED);
        jnz(resume);
        cmp(dl, 0x53);
        jne(wait);
        mov(al, byte_ptr(bda::SHIFT_FLAGS));
        and(al, CONTROL | ALT);
        cmp(al, CONTROL | ALT);
        jne(wait);
        mov(word_ptr(bda::WARM), 0x1234);
        goto("reset_machine");
        bind(wait);
        goto("key_look_up");
        bind(resume);
        and(byte_ptr(bda::SHIFT_FLAGS_2), 0xFF & !PAUSED);
        ret;
        routine("reset_machine");
        out_byte(I8042_COMMAND.0, PULSE_RESET);
    );
    let stopped = a.here()?;
    code!(a; cli; hlt; jmp(stopped));
    pause_and_break(a)
}

fn pause_and_break(a: &mut Module) -> Build {
    let [wait, already] = a.labels();
    code!(a;
        // Waits in the interrupt, with others let in, for a key that ends it.
        routine("key_pause");
        test(byte_ptr(bda::SHIFT_FLAGS_2), PAUSED);
        jnz(already);
        or(byte_ptr(bda::SHIFT_FLAGS_2), PAUSED);
        out_byte(PIC_MASTER.0, EOI);
        sti;
        bind(wait);
        hlt;
        test(byte_ptr(bda::SHIFT_FLAGS_2), PAUSED);
        jnz(wait);
        cli;
        bind(already);
        ret;
        routine("key_break");
        mov(ax, word_ptr(bda::KEY_START));
        mov(word_ptr(bda::KEY_HEAD), ax);
        mov(word_ptr(bda::KEY_TAIL), ax);
        or(byte_ptr(bda::BREAK), 0x80);
        int(0x1B);
        xor(ax, ax);
        goto("key_store")
    );
    Ok(())
}

/// From key to word.
fn look_up(a: &mut Module) -> Build {
    let table: Vec<u16> = rows().into_iter().flatten().collect();
    let table = a.words(&table);
    let codes: Vec<u8> = EXTENDED.iter().map(|(code, _)| *code).collect();
    let codes = a.bytes(&codes);
    let extended: Vec<u16> = EXTENDED.iter().flat_map(|(_, row)| *row).collect();
    let extended = a.words(&extended);
    // The digit of each key of the keypad; FFh for signs.
    let digits = a.bytes(&[7, 8, 9, 0xFF, 4, 5, 6, 0xFF, 1, 2, 3, 0, 0xFF]);
    let [plain, search, hit, column, no_alt, no_control, letter, keypad] = a.labels();
    let [with_shift, chosen, none, no_digit, flip, settled] = a.labels();
    code!(a;
        routine("key_look_up");
        test(bl, bl);
        jz(plain);
        xor(si, si);
        bind(search);
        cmp(byte_ptr(si + codes).cs(), dl);
        je(hit);
        inc(si);
        cmp(si, EXTENDED.len() as u32);
        jb(search);
        ret;
        bind(hit);
        shl(si, 3);
        add(si, extended);
        jmp(column);
        bind(plain);
        cmp(dl, u32::from(LAST));
        ja(none);
        movzx(si, dl);
        shl(si, 3);
        add(si, table);
        bind(column);
        mov(cl, byte_ptr(bda::SHIFT_FLAGS));
        test(cl, ALT);
        jz(no_alt);
        test(bl, bl);
        jnz(no_digit);
        // Digits of the keypad make a character's number.
        movzx(di, dl);
        sub(di, u32::from(KEYPAD_FIRST));
        cmp(di, 12);
        ja(no_digit);
        mov(ch, byte_ptr(di + digits).cs());
        cmp(ch, 0xFF);
        je(no_digit);
        mov(al, 10);
        mul(byte_ptr(bda::ALT_NUMBER));
        add(al, ch);
        mov(byte_ptr(bda::ALT_NUMBER), al);
        ret;
        bind(no_digit);
        mov(byte_ptr(bda::ALT_NUMBER), 0);
        add(si, 6);
        jmp(chosen);
        bind(no_alt);
        test(cl, CONTROL);
        jz(no_control);
        add(si, 4);
        jmp(chosen);
        bind(no_control);
        // CH: whether the second word counts.
        mov(ch, cl);
        and(ch, SHIFTS);
        test(bl, bl);
        jnz(settled);
        cmp(dl, u32::from(KEYPAD_FIRST));
        jae(keypad);
        mov(al, byte_ptr(si).cs());
        cmp(al, u32::from(b'a'));
        jb(settled);
        cmp(al, u32::from(b'z'));
        jbe(letter);
        jmp(settled);
        bind(letter);
        test(cl, CAPS);
        jnz(flip);
        jmp(settled);
        bind(keypad);
        cmp(dl, 0x53);
        ja(settled);
        test(cl, NUM);
        jz(settled);
        bind(flip);
        cmp(ch, 1);
        sbb(ch, ch);
        bind(settled);
        test(ch, ch);
        jz(chosen);
        bind(with_shift);
        add(si, 2);
        bind(chosen);
        mov(ax, word_ptr(si).cs());
        test(ax, ax);
        jz(none);
        goto("key_store");
        bind(none);
        ret
    );
    Ok(())
}

/// AX into the ring; CF: it is full.
fn store(a: &mut Module) -> Build {
    let [no_wrap, full] = a.labels();
    code!(a;
        routine("key_store");
        mov(di, word_ptr(bda::KEY_TAIL));
        mov(si, di);
        add(si, 2);
        cmp(si, word_ptr(bda::KEY_END));
        jb(no_wrap);
        mov(si, word_ptr(bda::KEY_START));
        bind(no_wrap);
        cmp(si, word_ptr(bda::KEY_HEAD));
        je(full);
        mov(word_ptr(di), ax);
        mov(word_ptr(bda::KEY_TAIL), si);
        clc;
        ret;
        bind(full);
        stc;
        ret
    );
    Ok(())
}

/// INT 16h, by the function in AH.
fn services(a: &mut Module) -> Build {
    /// What function 09h says: 03h with AL = 5, 0Ah, 10h to 12h.
    const ABILITIES: u32 = 1 << 2 | 1 << 4 | 1 << 5;
    /// An enhanced keyboard behind a translating controller.
    const KEYBOARD_ID: u32 = 0x41AB;
    let functions: Vec<(u32, &'static str)> = vec![
        (0x00, "key_get"),
        (0x01, "key_peek"),
        (0x02, "key_flags"),
        (0x03, "key_rate"),
        (0x05, "key_push"),
        (0x09, "key_abilities"),
        (0x0A, "key_id"),
        (0x10, "key_get"),
        (0x11, "key_peek"),
        (0x12, "key_flags_2"),
    ];
    a.routine("int16")?;
    super::enter(a)?;
    for (function, routine) in functions {
        let routine = a.at(routine);
        code!(a; cmp(ah, function); je(routine));
    }
    let [full, not_rate] = a.labels();
    code!(a;
        goto("leave");
        routine("key_flags");
        mov(al, byte_ptr(bda::SHIFT_FLAGS));
        mov(byte_ptr(bp + frame::AX), al);
        goto("leave");
        routine("key_flags_2");
        mov(al, byte_ptr(bda::SHIFT_FLAGS));
        mov(bl, byte_ptr(bda::SHIFT_FLAGS_2));
        mov(ah, bl);
        and(ah, 0x73);
        and(bl, SYSTEM_REQUEST);
        shl(bl, 5);
        or(ah, bl);
        mov(bl, byte_ptr(bda::KEYBOARD_FLAGS));
        and(bl, RIGHT_CONTROL | RIGHT_ALT);
        or(ah, bl);
        mov(word_ptr(bp + frame::AX), ax);
        goto("leave");
        routine("key_push");
        cli;
        mov(ax, cx);
        invoke("key_store");
        mov(al, 0);
        adc(al, 0);
        mov(byte_ptr(bp + frame::AX), al);
        bind(full);
        goto("leave");
        routine("key_abilities");
        mov(byte_ptr(bp + frame::AX), ABILITIES);
        goto("leave");
        routine("key_id");
        mov(word_ptr(bp + frame::BX), KEYBOARD_ID);
        goto("leave");
        // Rate in BL, delay in BH. Interrupts stay off: the answers are taken here.
        routine("key_rate");
        cmp(al, 5);
        jne(not_rate);
        and(bx, 0x031F);
        mov(al, 0xF3);
        invoke("keyboard_data");
        invoke("keyboard_answer");
        shl(bh, 5);
        mov(al, bh);
        or(al, bl);
        invoke("keyboard_data");
        invoke("keyboard_answer");
        bind(not_rate);
        goto("leave")
    );
    Ok(())
}

/// Functions 00h, 01h, 10h and 11h. The old two neither see keys of the enhanced keyboard nor its marks.
fn take_key(a: &mut Module) -> Build {
    let [wait, some, got, empty, skip_wait, seen, skip] = a.labels();
    code!(a;
        routine("key_get");
        bind(wait);
        cli;
        mov(bx, word_ptr(bda::KEY_HEAD));
        cmp(bx, word_ptr(bda::KEY_TAIL));
        jne(some);
        sti;
        hlt;
        jmp(wait);
        bind(some);
        invoke("key_remove");
        invoke("key_convert");
        jc(skip_wait);
        bind(got);
        mov(word_ptr(bp + frame::AX), ax);
        goto("leave");
        bind(skip_wait);
        jmp(wait);
        routine("key_peek");
        cli;
        mov(bx, word_ptr(bda::KEY_HEAD));
        cmp(bx, word_ptr(bda::KEY_TAIL));
        je(empty);
        mov(ax, word_ptr(bx));
        invoke("key_convert");
        jnc(seen);
        bind(skip);
        invoke("key_remove");
        mov(ah, byte_ptr(bp + frame::AH));
        goto("key_peek");
        bind(seen);
        mov(word_ptr(bp + frame::AX), ax);
        and(byte_ptr(bp + frame::FLAGS), 0xBF);
        sti;
        goto("leave");
        bind(empty);
        or(byte_ptr(bp + frame::FLAGS), 0x40);
        sti;
        goto("leave");
    );
    convert(a)
}

fn convert(a: &mut Module) -> Build {
    let [no_wrap, old, no_mark, keypad, slash, absent, good, all] = a.labels();
    code!(a;
        // The key at the head, BX, into AX.
        routine("key_remove");
        mov(ax, word_ptr(bx));
        add(bx, 2);
        cmp(bx, word_ptr(bda::KEY_END));
        jb(no_wrap);
        mov(bx, word_ptr(bda::KEY_START));
        bind(no_wrap);
        mov(word_ptr(bda::KEY_HEAD), bx);
        ret;
        // AX as the function that was called shows it; CF: not at all.
        routine("key_convert");
        cmp(byte_ptr(bp + frame::AH), 0x10);
        jb(old);
        cmp(al, 0xF0);
        jne(good);
        test(ah, ah);
        jz(good);
        mov(al, 0);
        jmp(good);
        bind(old);
        cmp(ah, 0xE0);
        je(keypad);
        test(ah, ah);
        jz(good);
        cmp(al, 0xF0);
        je(absent);
        cmp(al, 0xE0);
        jne(no_mark);
        mov(al, 0);
        bind(no_mark);
        test(al, al);
        jnz(good);
        cmp(ah, 0x84);
        ja(absent);
        bind(good);
        clc;
        ret;
        bind(keypad);
        cmp(al, u32::from(b'/'));
        je(slash);
        mov(ah, 0x1C);
        jmp(all);
        bind(slash);
        mov(ah, 0x35);
        bind(all);
        clc;
        ret;
        bind(absent);
        stc;
        ret
    );
    Ok(())
}
