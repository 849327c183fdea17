//! Memory: the map that firmware handed over, and bytes at any address.

use super::colour;
use super::interrupts::{guard, unguard};
use crate::demo::asm::{Asm, Build, Routine};
use crate::demo::layout::*;
use iced_x86::code_asm::*;

/// Bytes that the `mem` command shows.
const DUMP_BYTES: u32 = 128;
const ROW_BYTES: u32 = 16;
/// A count that is larger than this is no memory map.
const MAX_ENTRIES: u32 = 64;

pub(super) fn routines(s: &mut Asm) -> Build {
    memory_map(s)?;
    dump(s)
}

/// Lists the entries and the sum of what is usable. Changes registers.
fn memory_map(s: &mut Asm) -> Build {
    let (next, reserved, kind_done, end) =
        (s.create_label(), s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::MemoryMap)?;
    s.say_in(colour::CYAN, "memory   ")?;
    s.mov(ebx, MEMORY_MAP as u32 + 4)?;
    s.mov(r12d, dword_ptr(MEMORY_MAP))?;
    s.xor(r13d, r13d)?;
    s.cmp(r12d, MAX_ENTRIES)?;
    s.ja(end)?;
    s.bind(next)?;
    s.test(r12d, r12d)?;
    s.je(end)?;
    s.mov(rax, qword_ptr(rbx))?;
    s.mov(cl, 10)?;
    s.invoke(Routine::PrintHex)?;
    s.say("-")?;
    s.add(rax, qword_ptr(rbx + 8))?;
    s.dec(rax)?;
    s.invoke(Routine::PrintHex)?;
    s.mov(rax, qword_ptr(rbx + 8))?;
    s.cmp(dword_ptr(rbx + 16), 1)?;
    s.jne(reserved)?;
    s.add(r13, rax)?;
    s.colour(colour::GREEN)?;
    s.say("  usable  ")?;
    s.jmp(kind_done)?;
    s.bind(reserved)?;
    s.say("  reserved")?;
    s.bind(kind_done)?;
    s.shr(rax, 10)?;
    s.mov(cl, 10)?;
    s.invoke(Routine::PrintDecPadded)?;
    s.colour(colour::PLAIN)?;
    s.say(" KiB\n         ")?;
    s.add(ebx, 20)?;
    s.dec(r12d)?;
    s.jmp(next)?;
    s.bind(end)?;
    s.say("together ")?;
    s.mov(rax, r13)?;
    s.shr(rax, 20)?;
    s.invoke(Routine::PrintDec)?;
    s.say(" MiB usable, as the firmware's E820 table says\n")?;
    s.ret()
}

/// RSI: an address in hexadecimal. Shows bytes there, in hexadecimal and as characters; a page
/// fault ends it. Changes registers.
fn dump(s: &mut Asm) -> Build {
    let (no_address, fault, row) = (s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::DumpMemory)?;
    s.invoke(Routine::ParseHex)?;
    s.jb(no_address)?;
    s.mov(rbx, rax)?;
    s.mov(r12d, DUMP_BYTES / ROW_BYTES)?;
    s.bind(row)?;
    // Registers of devices want to be read once, in the right size: four bytes, before printing.
    guard(s, fault)?;
    for offset in (0..ROW_BYTES).step_by(4) {
        s.mov(eax, dword_ptr(rbx + offset as i32))?;
        s.mov(dword_ptr(SCRATCH + u64::from(offset)), eax)?;
    }
    unguard(s)?;
    print_row(s)?;
    s.add(rbx, ROW_BYTES as i32)?;
    s.dec(r12d)?;
    s.jne(row)?;
    s.ret()?;
    s.bind(fault)?;
    s.colour(colour::RED)?;
    s.invoke(Routine::FaultStory)?;
    s.colour(colour::PLAIN)?;
    s.ret()?;
    s.bind(no_address)?;
    s.say("Which address? In hexadecimal, for example: mem 7C00\n")?;
    s.ret()
}

/// The 16 bytes in [`SCRATCH`], which came from RBX.
fn print_row(s: &mut Asm) -> Build {
    let (byte, character, dot, put) =
        (s.create_label(), s.create_label(), s.create_label(), s.create_label());
    s.colour(colour::CYAN)?;
    s.mov(rax, rbx)?;
    s.mov(cl, 10)?;
    s.invoke(Routine::PrintHex)?;
    s.colour(colour::PLAIN)?;
    s.invoke(Routine::Space)?;
    s.xor(edi, edi)?;
    s.bind(byte)?;
    s.invoke(Routine::Space)?;
    s.movzx(eax, byte_ptr(rdi + SCRATCH as i32))?;
    s.mov(cl, 2)?;
    s.invoke(Routine::PrintHex)?;
    s.inc(edi)?;
    s.cmp(edi, ROW_BYTES)?;
    s.jne(byte)?;
    s.say("  ")?;
    s.xor(edi, edi)?;
    s.bind(character)?;
    s.mov(al, byte_ptr(rdi + SCRATCH as i32))?;
    s.cmp(al, 32)?;
    s.jb(dot)?;
    s.cmp(al, 0x7F)?;
    s.jb(put)?;
    s.bind(dot)?;
    s.mov(al, u32::from(b'.'))?;
    s.bind(put)?;
    s.invoke(Routine::PutChar)?;
    s.inc(edi)?;
    s.cmp(edi, ROW_BYTES)?;
    s.jne(character)?;
    s.say("\n")
}
