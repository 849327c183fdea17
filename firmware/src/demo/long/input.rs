//! Input: keyboard and serial interrupts put characters into a ring; the line editor takes them.
//!
//! The keyboard sends a scan code when a key goes down and another when it comes up; which
//! character that means is for the program to find out. The serial port sends characters.

use super::interrupts::end_of_interrupt;
use crate::demo::asm::{Asm, Build, Routine};
use crate::demo::layout::*;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// Scan codes (set 1) 00h to 39h, plain and with shift.
const KEYS: &[u8; 58] = b"\0\x1B1234567890-=\x08\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
const SHIFTED_KEYS: &[u8; 58] = b"\0\x1B!@#$%^&*()_+\x08\tQWERTYUIOP{}\n\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
const DATA_PORT: u32 = board::I8042_DATA.0 as u32;
const COMMAND_PORT: u32 = board::I8042_COMMAND.0 as u32;
/// How often a status bit is asked for before a missing chip is given up.
const TRIES: u32 = 100_000;
/// The longest line, so that the prompt and it fit in a row.
const LINE_LIMIT: u32 = 66;

pub(super) fn routines(s: &mut Asm) -> Build {
    init(s)?;
    push_char(s)?;
    get_char(s)?;
    read_line(s)
}

/// The keyboard controller: interrupts on, translation to set 1 on, mouse off. Changes registers.
fn init(s: &mut Asm) -> Build {
    let (wait_to_write, wait_to_read, drain) = (s.create_label(), s.create_label(), s.create_label());
    let command = |s: &mut Asm, port: u32, value: u32| -> Build {
        s.call(wait_to_write)?;
        s.mov(al, value)?;
        s.out(port, al)
    };
    s.routine(Routine::InitInput)?;
    command(s, COMMAND_PORT, 0xAD)?; // keyboard off while it is set up
    command(s, COMMAND_PORT, 0xA7)?; // mouse off
    s.call(drain)?;
    command(s, COMMAND_PORT, 0x60)?; // write the command byte:
    command(s, DATA_PORT, 0x65)?; // translation, mouse off, system flag, interrupt 1
    command(s, COMMAND_PORT, 0xAE)?; // keyboard on
    command(s, DATA_PORT, 0xF4)?; // the keyboard itself: scan
    s.call(wait_to_read)?;
    s.call(drain)?;
    // The serial port: interrupt on received data.
    s.mov(edx, u32::from(board::SERIAL[0].0) + 1)?;
    s.mov(al, 1)?;
    s.out(dx, al)?;
    s.ret()?;
    for (label, bit, wanted) in [(wait_to_write, 2, false), (wait_to_read, 1, true)] {
        let done = s.create_label();
        s.bind(label)?;
        s.mov(ecx, TRIES)?;
        let again = s.here()?;
        s.in_(al, COMMAND_PORT)?;
        s.test(al, bit)?;
        if wanted {
            s.jne(done)?
        } else {
            s.je(done)?
        }
        s.loop_(again)?;
        s.bind(done)?;
        s.ret()?;
    }
    let empty = s.create_label();
    s.bind(drain)?;
    s.mov(ecx, 32)?;
    let again = s.here()?;
    s.in_(al, COMMAND_PORT)?;
    s.test(al, 1)?;
    s.je(empty)?;
    s.in_(al, DATA_PORT)?;
    s.loop_(again)?;
    s.bind(empty)?;
    s.ret()
}

/// Interrupt 1: one scan code.
pub(super) fn keyboard_interrupt(s: &mut Asm) -> Result<CodeLabel, IcedError> {
    let (end, not_extended) = (s.create_label(), s.create_label());
    let keys = s.pool.data(&[&KEYS[..], &SHIFTED_KEYS[..]].concat());
    let label = s.here()?;
    for register in [rax, rbx, rcx, rdx] {
        s.push(register)?;
    }
    s.inc(dword_ptr(vars::KEY_INTERRUPTS))?;
    s.in_(al, DATA_PORT)?;
    s.movzx(ebx, al)?;
    s.xor(ecx, ecx)?;
    s.xchg(byte_ptr(vars::EXTENDED), cl)?;
    s.cmp(bl, 0xE0u32)?;
    s.jne(not_extended)?;
    s.mov(byte_ptr(vars::EXTENDED), 1)?;
    s.jmp(end)?;
    s.bind(not_extended)?;
    modifiers(s, end)?;
    look_up(s, keys, end)?;
    s.test(al, al)?;
    s.je(end)?;
    s.invoke(Routine::PushChar)?;
    s.bind(end)?;
    end_of_interrupt(s)?;
    for register in [rdx, rcx, rbx, rax] {
        s.pop(register)?;
    }
    s.iretq()?;
    Ok(label)
}

/// BL: a scan code, CL: 1 where E0h came before it. Shift, control and caps lock are taken note
/// of, and they and keys that come up lead to `end`; else DL is the key. Changes AL and RDX.
fn modifiers(s: &mut Asm, end: CodeLabel) -> Build {
    let press = s.create_label();
    // Shift and control: down sets, up (bit 7) clears. DL: the key, AL: 1 where it went down.
    s.mov(edx, ebx)?;
    s.and(dl, 0x7F)?;
    s.mov(al, bl)?;
    s.shr(al, 7)?;
    s.xor(al, 1)?;
    for (key, variable) in [(0x2A, vars::SHIFT), (0x36, vars::SHIFT), (0x1D, vars::CONTROL)] {
        let other = s.create_label();
        s.cmp(dl, key)?;
        s.jne(other)?;
        if variable == vars::SHIFT {
            // E0 2A and E0 AA are no shift keys: keyboards put them around arrow keys.
            s.test(cl, cl)?;
            s.jne(end)?;
        }
        s.mov(byte_ptr(variable), al)?;
        s.jmp(end)?;
        s.bind(other)?;
    }
    s.test(al, al)?;
    s.je(end)?;
    s.cmp(dl, 0x3A)?;
    s.jne(press)?;
    s.xor(byte_ptr(vars::CAPS), 1)?;
    s.jmp(end)?;
    s.bind(press)
}

/// DL: a key that went down. AL: its character, from the tables at `keys`. Changes BL.
fn look_up(s: &mut Asm, keys: u64, end: CodeLabel) -> Build {
    let (letter, plain, no_control) = (s.create_label(), s.create_label(), s.create_label());
    s.cmp(dl, KEYS.len() as u32)?;
    s.jae(end)?;
    s.mov(al, byte_ptr(rdx + keys as i32))?;
    // Caps lock is a shift for letters only.
    s.mov(bl, byte_ptr(vars::SHIFT))?;
    s.cmp(al, u32::from(b'a'))?;
    s.jb(letter)?;
    s.cmp(al, u32::from(b'z'))?;
    s.ja(letter)?;
    s.xor(bl, byte_ptr(vars::CAPS))?;
    s.bind(letter)?;
    s.test(bl, bl)?;
    s.je(plain)?;
    s.mov(al, byte_ptr(rdx + (keys as i32 + KEYS.len() as i32)))?;
    s.bind(plain)?;
    s.cmp(byte_ptr(vars::CONTROL), 0)?;
    s.je(no_control)?;
    s.and(al, 0x1F)?;
    s.bind(no_control)
}

/// Interrupt 4: received characters, as many as there are.
pub(super) fn serial_interrupt(s: &mut Asm) -> Result<CodeLabel, IcedError> {
    const FIFO_BYTES: u32 = 64;
    let base = u32::from(board::SERIAL[0].0);
    let (end, no_return) = (s.create_label(), s.create_label());
    let label = s.here()?;
    for register in [rax, rcx, rdx] {
        s.push(register)?;
    }
    s.inc(dword_ptr(vars::SERIAL_INTERRUPTS))?;
    s.mov(ecx, FIFO_BYTES)?;
    let next = s.here()?;
    s.mov(edx, base + 5)?;
    s.in_(al, dx)?;
    s.test(al, 1)?;
    s.je(end)?;
    s.mov(edx, base)?;
    s.in_(al, dx)?;
    s.cmp(al, 13)?;
    s.jne(no_return)?;
    s.mov(al, 10)?;
    s.bind(no_return)?;
    s.invoke(Routine::PushChar)?;
    s.loop_(next)?;
    s.bind(end)?;
    end_of_interrupt(s)?;
    for register in [rdx, rcx, rax] {
        s.pop(register)?;
    }
    s.iretq()?;
    Ok(label)
}

/// AL: a character for the ring; dropped where it is full.
fn push_char(s: &mut Asm) -> Build {
    let full = s.create_label();
    s.routine(Routine::PushChar)?;
    s.push(rbx)?;
    s.push(rcx)?;
    s.movzx(ebx, byte_ptr(vars::RING_HEAD))?;
    s.mov(ecx, ebx)?;
    s.inc(cl)?;
    s.cmp(cl, byte_ptr(vars::RING_TAIL))?;
    s.je(full)?;
    s.mov(byte_ptr(rbx + vars::RING as i32), al)?;
    s.mov(byte_ptr(vars::RING_HEAD), cl)?;
    s.bind(full)?;
    s.pop(rcx)?;
    s.pop(rbx)?;
    s.ret()
}

/// AL: the next character. The processor sleeps until there is one: STI takes effect after the
/// next instruction, so that no interrupt can come between the look and the HLT.
fn get_char(s: &mut Asm) -> Build {
    let have = s.create_label();
    s.routine(Routine::GetChar)?;
    s.push(rbx)?;
    s.invoke(Routine::SyncCursor)?;
    let look = s.here()?;
    s.cli()?;
    s.movzx(ebx, byte_ptr(vars::RING_TAIL))?;
    s.cmp(bl, byte_ptr(vars::RING_HEAD))?;
    s.jne(have)?;
    s.sti()?;
    s.hlt()?;
    s.jmp(look)?;
    s.bind(have)?;
    s.mov(al, byte_ptr(rbx + vars::RING as i32))?;
    s.inc(byte_ptr(vars::RING_TAIL))?;
    s.sti()?;
    s.pop(rbx)?;
    s.ret()
}

/// Reads a line into [`vars::LINE`], NUL-terminated. Backspace and Ctrl-U work. Changes registers.
fn read_line(s: &mut Asm) -> Build {
    const CONTROL_U: u32 = 0x15;
    const CONTROL_C: u32 = 3;
    let (end, rub, kill) = (s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::ReadLine)?;
    s.xor(ebx, ebx)?;
    let next = s.here()?;
    s.invoke(Routine::GetChar)?;
    s.cmp(al, 10)?;
    s.je(end)?;
    for code in [8, 0x7F] {
        s.cmp(al, code)?;
        s.je(rub)?;
    }
    for code in [CONTROL_U, CONTROL_C] {
        s.cmp(al, code)?;
        s.je(kill)?;
    }
    s.cmp(al, 32)?;
    s.jb(next)?;
    s.cmp(al, 0x7F)?;
    s.jae(next)?;
    s.cmp(ebx, LINE_LIMIT)?;
    s.jae(next)?;
    s.mov(byte_ptr(rbx + vars::LINE as i32), al)?;
    s.inc(ebx)?;
    s.invoke(Routine::PutChar)?;
    s.jmp(next)?;
    s.bind(rub)?;
    s.test(ebx, ebx)?;
    s.je(next)?;
    s.dec(ebx)?;
    s.mov(al, 8)?;
    s.invoke(Routine::PutChar)?;
    s.jmp(next)?;
    s.bind(kill)?;
    s.test(ebx, ebx)?;
    s.je(next)?;
    s.dec(ebx)?;
    s.mov(al, 8)?;
    s.invoke(Routine::PutChar)?;
    s.jmp(kill)?;
    s.bind(end)?;
    s.mov(byte_ptr(rbx + vars::LINE as i32), 0)?;
    s.invoke(Routine::PutChar)?;
    s.ret()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_tables_put_letters_where_set_1_has_them() {
        for (code, plain, shifted) in
            [(0x1E, b'a', b'A'), (0x32, b'm', b'M'), (0x02, b'1', b'!'), (0x39, b' ', b' '), (0x1C, 10, 10)]
        {
            assert_eq!((KEYS[code], SHIFTED_KEYS[code]), (plain, shifted));
        }
        assert_eq!((KEYS[0x0E], KEYS[0x35], KEYS[0x2B]), (8, b'/', b'\\'));
    }
}
