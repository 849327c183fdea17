//! Function 0Ah: code that 32-bit programs copy and call.
//!
//! | offset | what |
//! |---|---|
//! | 0, 2, 4 | words: where functions 05h, 07h and 09h start |
//! | 6 | word: where the list of ports is; FFFFh ends it, and a list of memory, which is empty |
//! | 8 | the code, which can stand anywhere |
//!
//! Registers are as in functions 05h, 07h and 09h, but for a display start, which is in units of 4 bytes (of a byte, in planar
//! modes), its upper half in DX. There is no result. Programs change no segment but ES.
//!
//! Source: VESA BIOS Extension (VBE) Core Functions Standard 3.0, "Protected Mode Interface".

use super::super::dispi::{BANK, BITS, FIRST_COLUMN, FIRST_LINE, MEMORY_COLUMNS, PORT};
use super::super::palette::DAC_WRITE;
use crate::bios::BiosError;
use crate::bios::asm::{Module, code};
use crate::bios::layout::{VIDEO_SEGMENT, frame};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Input status 1; bit 3: the beam goes back to the top.
const STATUS: u32 = 0x3DA;
const RETRACE: u32 = 1 << 3;
const TABLE_BYTES: usize = 8;
/// Ports that the code uses, and the ends of both lists.
const PORTS: [u16; 8] =
    [PORT as u16, PORT as u16 + 1, PORT as u16 + 2, 0x3C8, 0x3C9, STATUS as u16, 0xFFFF, 0xFFFF];

pub(super) fn write(a: &mut Module) -> Result<(), BiosError> {
    let block = block()?;
    let at = a.bytes(&block);
    let bad = a.label();
    code!(a;
        routine("vbe_protected");
        test(bl, bl);
        jnz(bad);
        mov(word_ptr(bp + frame::ES), u32::from(VIDEO_SEGMENT));
        mov(word_ptr(bp + frame::DI), at);
        mov(word_ptr(bp + frame::CX), block.len() as u32);
        goto("vbe_done");
        bind(bad);
        goto("vbe_failed")
    );
    Ok(())
}

/// The table and what it leads to.
fn block() -> Result<Vec<u8>, IcedError> {
    let parts = [window()?, start()?, palette()?, PORTS.into_iter().flat_map(u16::to_le_bytes).collect()];
    let mut table = Vec::new();
    let mut at = TABLE_BYTES;
    for part in &parts {
        table.extend((at as u16).to_le_bytes());
        at += part.len();
    }
    Ok([table, parts.concat()].concat())
}

fn get(a: &mut CodeAssembler, index: u32) -> Result<(), IcedError> {
    a.mov(edx, PORT)?;
    a.mov(eax, index)?;
    a.out(dx, ax)?;
    a.inc(edx)?;
    a.in_(ax, dx)
}
/// AX is lost, and DX.
fn put(a: &mut CodeAssembler, index: u32, value: AsmRegister16) -> Result<(), IcedError> {
    a.mov(edx, PORT)?;
    a.mov(eax, index)?;
    a.out(dx, ax)?;
    a.inc(edx)?;
    a.mov(ax, value)?;
    a.out(dx, ax)
}

/// DX to the window.
fn window() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let mut end = a.create_label();
    a.push(eax)?;
    a.push(ecx)?;
    a.push(edx)?;
    a.test(bx, bx)?;
    a.jnz(end)?;
    a.mov(cx, dx)?;
    put(&mut a, BANK, cx)?;
    a.set_label(&mut end)?;
    a.pop(edx)?;
    a.pop(ecx)?;
    a.pop(eax)?;
    a.ret()?;
    a.assemble(0)
}

/// DX:CX is the display start.
fn start() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let [mut planar, mut known, mut divided, mut no_wait, mut wait, mut come] =
        std::array::from_fn(|_| a.create_label());
    a.pushad()?;
    a.test(bl, 0x80)?;
    a.jz(no_wait)?;
    a.push(ecx)?;
    a.push(edx)?;
    a.mov(edx, STATUS)?;
    a.mov(ecx, 0x1_0000)?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, RETRACE)?;
    a.jnz(come)?;
    a.dec(ecx)?;
    a.jnz(wait)?;
    a.set_label(&mut come)?;
    a.pop(edx)?;
    a.pop(ecx)?;
    a.set_label(&mut no_wait)?;
    // ESI is the byte, EBX bytes of a pixel (0: planar), EDI bytes of a line.
    a.movzx(esi, dx)?;
    a.shl(esi, 16)?;
    a.mov(si, cx)?;
    get(&mut a, BITS)?;
    a.movzx(ebx, ax)?;
    get(&mut a, MEMORY_COLUMNS)?;
    a.movzx(edi, ax)?;
    a.cmp(bl, 4)?;
    a.je(planar)?;
    a.shl(esi, 2)?;
    a.inc(ebx)?;
    a.shr(ebx, 3)?;
    a.imul_2(edi, ebx)?;
    a.jmp(known)?;
    a.set_label(&mut planar)?;
    a.shr(edi, 3)?;
    a.xor(ebx, ebx)?;
    a.set_label(&mut known)?;
    a.test(edi, edi)?;
    a.jz(divided)?;
    a.mov(eax, esi)?;
    a.xor(edx, edx)?;
    a.div(edi)?;
    a.mov(ecx, eax)?;
    // The byte of the line as a pixel.
    a.mov(eax, edx)?;
    let mut packed = a.create_label();
    let mut column = a.create_label();
    a.test(ebx, ebx)?;
    a.jnz(packed)?;
    a.shl(eax, 3)?;
    a.jmp(column)?;
    a.set_label(&mut packed)?;
    a.xor(edx, edx)?;
    a.div(ebx)?;
    a.set_label(&mut column)?;
    a.mov(ebx, eax)?;
    put(&mut a, FIRST_COLUMN, bx)?;
    put(&mut a, FIRST_LINE, cx)?;
    a.set_label(&mut divided)?;
    a.popad()?;
    a.ret()?;
    a.assemble(0)
}

/// CX colours from DX on, at ES:EDI.
fn palette() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let [mut next, mut end] = std::array::from_fn(|_| a.create_label());
    a.pushad()?;
    a.test(bl, 0x7F)?;
    a.jnz(end)?;
    a.movzx(ecx, cx)?;
    a.test(ecx, ecx)?;
    a.jz(end)?;
    a.mov(al, dl)?;
    a.mov(edx, DAC_WRITE)?;
    a.out(dx, al)?;
    a.inc(edx)?;
    a.set_label(&mut next)?;
    for component in [2u32, 1, 0] {
        a.mov(al, byte_ptr(edi + component).es())?;
        a.out(dx, al)?;
    }
    a.add(edi, 4)?;
    a.dec(ecx)?;
    a.jnz(next)?;
    a.set_label(&mut end)?;
    a.popad()?;
    a.ret()?;
    a.assemble(0)
}
