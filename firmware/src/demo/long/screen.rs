//! Printing: each character goes to the screen and, where it is there, to COM1.

use crate::demo::asm::{Asm, Build, Routine, SPECIAL};
use crate::demo::layout::*;
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// A line of spaces in light grey, four cells at a time.
const BLANK: u64 = 0x0720_0720_0720_0720;
const ROW_BYTES: u64 = COLUMNS * 2;

pub(super) fn routines(s: &mut Asm) -> Build {
    print(s)?;
    space(s)?;
    put_char(s)?;
    serial_out(s)?;
    clear_screen(s)?;
    sync_cursor(s)
}

/// RSI: text. Changes RSI.
fn print(s: &mut Asm) -> Build {
    let end = s.create_label();
    s.routine(Routine::Print)?;
    s.push(rax)?;
    let next = s.here()?;
    s.lodsb()?;
    s.test(al, al)?;
    s.je(end)?;
    s.invoke(Routine::PutChar)?;
    s.jmp(next)?;
    s.bind(end)?;
    s.pop(rax)?;
    s.ret()
}

/// Prints a space.
fn space(s: &mut Asm) -> Build {
    s.routine(Routine::Space)?;
    s.push(rax)?;
    s.mov(al, u32::from(b' '))?;
    s.invoke(Routine::PutChar)?;
    s.pop(rax)?;
    s.ret()
}

/// AL: a character of code page 437, line feed or backspace.
fn put_char(s: &mut Asm) -> Build {
    let (newline, backspace, check, store) =
        (s.create_label(), s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::PutChar)?;
    for register in [rax, rbx, rcx, rdx, rsi, rdi] {
        s.push(register)?;
    }
    s.invoke(Routine::SerialOut)?;
    s.movzx(ebx, word_ptr(vars::CURSOR))?;
    s.mov(edi, VIDEO as u32)?;
    s.cmp(al, 10)?;
    s.je(newline)?;
    s.cmp(al, 8)?;
    s.je(backspace)?;
    s.mov(ah, byte_ptr(vars::ATTRIBUTE))?;
    s.mov(word_ptr(rdi + rbx * 2), ax)?;
    s.inc(ebx)?;
    s.jmp(check)?;
    s.bind(backspace)?;
    s.dec(ebx)?;
    s.mov(word_ptr(rdi + rbx * 2), 0x0720)?;
    s.jmp(store)?;
    s.bind(newline)?;
    s.mov(eax, ebx)?;
    s.xor(edx, edx)?;
    s.mov(ecx, COLUMNS as u32)?;
    s.div(ecx)?;
    s.sub(ebx, edx)?;
    s.add(ebx, COLUMNS as u32)?;
    s.bind(check)?;
    s.cmp(ebx, (ROWS * COLUMNS) as u32)?;
    s.jb(store)?;
    scroll(s)?;
    s.bind(store)?;
    s.mov(word_ptr(vars::CURSOR), bx)?;
    for register in [rdi, rsi, rdx, rcx, rbx, rax] {
        s.pop(register)?;
    }
    s.ret()
}

/// Moves all rows below the header up by one and leaves EBX at the start of the last.
fn scroll(s: &mut Asm) -> Build {
    let first = VIDEO + FIRST_ROW * ROW_BYTES;
    s.mov(edi, first as u32)?;
    s.mov(esi, (first + ROW_BYTES) as u32)?;
    s.mov(ecx, ((ROWS - FIRST_ROW - 1) * ROW_BYTES / 8) as u32)?;
    s.rep().movsq()?;
    s.mov(rax, BLANK)?;
    s.mov(ecx, (ROW_BYTES / 8) as u32)?;
    s.rep().stosq()?;
    s.mov(ebx, ((ROWS - 1) * COLUMNS) as u32)
}

/// AL: a character for COM1; special ones are replaced, a line feed becomes CR LF, a backspace
/// wipes out a character.
fn serial_out(s: &mut Asm) -> Build {
    let (end, send) = (s.create_label(), s.create_label());
    let special = s.pool.data(&SPECIAL.map(|(_, screen, serial)| [screen, serial]).concat());
    let (line_feed, wipe, plain, search) =
        (s.create_label(), s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::SerialOut)?;
    s.cmp(byte_ptr(vars::SERIAL), 0)?;
    s.je(end)?;
    for register in [rax, rcx, rdx, rsi] {
        s.push(register)?;
    }
    s.cmp(al, 10)?;
    s.je(line_feed)?;
    s.cmp(al, 8)?;
    s.je(wipe)?;
    s.mov(esi, special as u32)?;
    s.mov(ecx, SPECIAL.len() as u32)?;
    s.bind(search)?;
    s.cmp(al, byte_ptr(rsi))?;
    let found = s.create_label();
    s.je(found)?;
    s.add(rsi, 2)?;
    s.loop_(search)?;
    s.jmp(plain)?;
    s.bind(found)?;
    s.mov(al, byte_ptr(rsi + 1))?;
    s.bind(plain)?;
    s.call(send)?;
    let restore = s.here()?;
    for register in [rsi, rdx, rcx, rax] {
        s.pop(register)?;
    }
    s.bind(end)?;
    s.ret()?;
    s.bind(line_feed)?;
    s.mov(al, 13)?;
    s.call(send)?;
    s.mov(al, 10)?;
    s.call(send)?;
    s.jmp(restore)?;
    s.bind(wipe)?;
    for byte in [8, 32, 8] {
        s.mov(al, byte)?;
        s.call(send)?;
    }
    s.jmp(restore)?;
    s.bind(send)?;
    send_byte(s)
}

/// AL: a byte for COM1, sent when its transmitter is free; given up after many tries.
fn send_byte(s: &mut Asm) -> Build {
    const TRIES: u32 = 10_000_000;
    let base = u32::from(board::SERIAL[0].0);
    let free = s.create_label();
    s.mov(ah, al)?;
    s.mov(edx, base + 5)?;
    s.mov(ecx, TRIES)?;
    let wait = s.here()?;
    s.in_(al, dx)?;
    s.test(al, 0x20)?;
    s.jne(free)?;
    s.loop_(wait)?;
    s.bind(free)?;
    s.mov(al, ah)?;
    s.mov(edx, base)?;
    s.out(dx, al)?;
    s.ret()
}

/// Clears all below the header; a terminal behind COM1 is told to clear itself too.
fn clear_screen(s: &mut Asm) -> Build {
    const ANSI_CLEAR: &[u8] = b"\x1B[2J\x1B[H";
    s.routine(Routine::ClearScreen)?;
    for &byte in ANSI_CLEAR {
        s.mov(al, u32::from(byte))?;
        s.invoke(Routine::SerialOut)?;
    }
    s.mov(edi, (VIDEO + FIRST_ROW * ROW_BYTES) as u32)?;
    s.mov(rax, BLANK)?;
    s.mov(ecx, ((ROWS - FIRST_ROW) * ROW_BYTES / 8) as u32)?;
    s.rep().stosq()?;
    s.mov(word_ptr(vars::CURSOR), (FIRST_ROW * COLUMNS) as u32)?;
    s.ret()
}

/// Puts the blinking cursor where the next character goes (CRT controller registers 0Eh, 0Fh).
fn sync_cursor(s: &mut Asm) -> Build {
    const CRTC: u32 = 0x3D4;
    s.routine(Routine::SyncCursor)?;
    s.push(rax)?;
    s.push(rdx)?;
    for (register, offset) in [(0x0E, 1), (0x0F, 0)] {
        s.mov(edx, CRTC)?;
        s.mov(al, register)?;
        s.out(dx, al)?;
        s.inc(edx)?;
        s.mov(al, byte_ptr(vars::CURSOR + offset))?;
        s.out(dx, al)?;
    }
    s.pop(rdx)?;
    s.pop(rax)?;
    s.ret()
}
