//! Numbers as text, and text as numbers.

use crate::demo::asm::{Asm, Build, Routine};
use iced_x86::code_asm::*;

pub(super) fn routines(s: &mut Asm) -> Build {
    print_hex(s)?;
    print_dec(s)?;
    put_digits(s)?;
    parse_hex(s)
}

/// RAX: a value, CL: how many hexadecimal digits of it.
fn print_hex(s: &mut Asm) -> Build {
    let digits = s.pool.data(b"0123456789ABCDEF");
    s.routine(Routine::PrintHex)?;
    for register in [rax, rbx, rcx] {
        s.push(register)?;
    }
    s.mov(rbx, rax)?;
    s.movzx(ecx, cl)?;
    // The first digit moves to the top; each turn rotates the next one to the bottom.
    s.push(rcx)?;
    s.shl(ecx, 2)?;
    s.ror(rbx, cl)?;
    s.pop(rcx)?;
    let next = s.here()?;
    s.rol(rbx, 4)?;
    s.mov(eax, ebx)?;
    s.and(eax, 15)?;
    s.mov(al, byte_ptr(rax + digits as i32))?;
    s.invoke(Routine::PutChar)?;
    s.loop_(next)?;
    for register in [rcx, rbx, rax] {
        s.pop(register)?;
    }
    s.ret()
}

/// RAX: a value in decimal; the padded form puts spaces before it up to CL characters.
fn print_dec(s: &mut Asm) -> Build {
    let (body, divide, out, pad) = (s.create_label(), s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::PrintDec)?;
    s.push(rcx)?;
    s.xor(ecx, ecx)?;
    s.call(body)?;
    s.pop(rcx)?;
    s.ret()?;
    s.routine(Routine::PrintDecPadded)?;
    s.bind(body)?;
    for register in [rax, rbx, rcx, rdx, rsi] {
        s.push(register)?;
    }
    s.movzx(esi, cl)?;
    s.xor(ecx, ecx)?;
    s.mov(ebx, 10)?;
    s.bind(divide)?;
    s.xor(edx, edx)?;
    s.div(rbx)?;
    s.push(rdx)?;
    s.inc(ecx)?;
    s.test(rax, rax)?;
    s.jne(divide)?;
    s.bind(pad)?;
    s.cmp(esi, ecx)?;
    s.jbe(out)?;
    s.invoke(Routine::Space)?;
    s.dec(esi)?;
    s.jmp(pad)?;
    s.bind(out)?;
    s.pop(rax)?;
    s.add(al, u32::from(b'0'))?;
    s.invoke(Routine::PutChar)?;
    s.loop_(out)?;
    for register in [rsi, rdx, rcx, rbx, rax] {
        s.pop(register)?;
    }
    s.ret()
}

/// EAX: a value, ECX: how many decimal digits, RDI: the screen cell of the first one. Writes
/// characters only, not colours. Changes RAX and RCX.
fn put_digits(s: &mut Asm) -> Build {
    s.routine(Routine::PutDigits)?;
    s.push(rbx)?;
    s.push(rdx)?;
    s.mov(ebx, 10)?;
    let next = s.here()?;
    s.xor(edx, edx)?;
    s.div(ebx)?;
    s.add(dl, u32::from(b'0'))?;
    s.mov(byte_ptr(rdi + rcx * 2 - 2), dl)?;
    s.loop_(next)?;
    s.pop(rdx)?;
    s.pop(rbx)?;
    s.ret()
}

/// RSI: text. RAX: the hexadecimal number there ("0x" before and "h" behind are allowed); carry
/// where there is none. Changes RSI and RCX.
fn parse_hex(s: &mut Asm) -> Build {
    let (next, letter, digit, end, none) =
        (s.create_label(), s.create_label(), s.create_label(), s.create_label(), s.create_label());
    let skip = s.create_label();
    let start = s.create_label();
    s.routine(Routine::ParseHex)?;
    s.push(rdx)?;
    s.xor(eax, eax)?;
    s.xor(ecx, ecx)?;
    s.bind(skip)?;
    s.cmp(byte_ptr(rsi), u32::from(b' '))?;
    s.jne(start)?;
    s.inc(rsi)?;
    s.jmp(skip)?;
    s.bind(start)?;
    // "0x"
    s.mov(dx, word_ptr(rsi))?;
    s.or(dh, 0x20)?;
    s.cmp(dx, u32::from(u16::from_le_bytes(*b"0x")))?;
    s.jne(next)?;
    s.add(rsi, 2)?;
    s.bind(next)?;
    s.movzx(edx, byte_ptr(rsi))?;
    s.sub(dl, u32::from(b'0'))?;
    s.cmp(dl, 9)?;
    s.jbe(digit)?;
    s.bind(letter)?;
    s.add(dl, u32::from(b'0'))?;
    s.or(dl, 0x20)?;
    s.sub(dl, u32::from(b'a'))?;
    s.cmp(dl, 5)?;
    s.ja(end)?;
    s.add(dl, 10)?;
    s.bind(digit)?;
    s.shl(rax, 4)?;
    s.or(rax, rdx)?;
    s.inc(ecx)?;
    s.inc(rsi)?;
    s.jmp(next)?;
    s.bind(end)?;
    s.test(ecx, ecx)?;
    s.je(none)?;
    s.pop(rdx)?;
    s.clc()?;
    s.ret()?;
    s.bind(none)?;
    s.pop(rdx)?;
    s.stc()?;
    s.ret()
}
