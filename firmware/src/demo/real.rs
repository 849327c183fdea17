//! The first sector: 16-bit real mode, where every x86 PC starts.
//!
//! It draws the header, finds the serial port, opens the A20 gate and switches to protected mode.
//! In real mode an address is segment times 16 plus offset, and everything may be written.

use super::asm::{Asm, Build};
use super::layout::{CODE32, COLUMNS, EARLY_TEXT, FIRST_ROW, PROTECTED_CODE, REAL_CODE, ROWS, VIDEO, vars};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// The header box, three rows.
const HEADER: [&str; 3] = [
    "╔══════════════════════════════════════════════════════════════════════════════╗",
    "║  Trimotor demo · one PC, three engines          up 00:00:00   ticks 00000000 ║",
    "╚══════════════════════════════════════════════════════════════════════════════╝",
];
/// The screen position at which the header shows `text`.
pub fn header_cell(text: &str) -> u64 {
    let row = HEADER[1];
    let column = row.find(text).map_or(0, |at| row[..at].chars().count());
    COLUMNS + column as u64
}
/// White on blue.
pub const HEADER_COLOUR: u8 = 0x1F;
/// Light grey on black.
pub const PLAIN: u8 = 0x07;

const SERIAL_BANNER: &str = "\n\
    Trimotor demo: one PC, three engines. This is serial port COM1; the screen shows the same.\n\n";
const STEP: &str = " 1 Real mode: 16-bit code at 0000:7C00, as a BIOS starts a boot sector.\n";

/// Bytes of a sector.
const SECTOR: usize = 512;

/// The first sector and its texts.
///
/// # Errors
/// Where the assembler refuses an instruction: a fault of this program.
pub fn assemble() -> Result<(Vec<u8>, Vec<u8>), IcedError> {
    let mut s = Asm::new(16, EARLY_TEXT)?;
    let header = s.pool.text(&HEADER.concat());
    let banner = s.pool.text(SERIAL_BANNER);
    let step = s.pool.text(STEP);
    let (serial_text, print) = (s.create_label(), s.create_label());
    start(&mut s)?;
    find_serial(&mut s)?;
    draw_header(&mut s, header)?;
    s.mov(si, banner as u32)?;
    s.call(serial_text)?;
    for routine in [print, serial_text] {
        s.mov(si, step as u32)?;
        s.call(routine)?;
    }
    enter_protected_mode(&mut s)?;
    print_to_serial(&mut s, serial_text)?;
    print_to_screen(&mut s, print)?;
    let (mut sector, texts) = s.finish(REAL_CODE)?;
    sector.resize(SECTOR - 2, 0);
    sector.extend_from_slice(&[0x55, 0xAA]);
    Ok((sector, texts))
}

/// Known segments, a stack, cleared variables.
fn start(s: &mut Asm) -> Build {
    s.cli()?;
    s.cld()?;
    s.xor(ax, ax)?;
    s.mov(ds, ax)?;
    s.mov(es, ax)?;
    s.mov(ss, ax)?;
    s.mov(sp, REAL_CODE as u32)?;
    s.mov(di, vars::CURSOR as u32)?;
    s.mov(cx, ((vars::END - vars::CURSOR) / 2) as u32)?;
    s.rep().stosw()?;
    s.mov(word_ptr(vars::CURSOR as u32), (FIRST_ROW * COLUMNS) as u32)?;
    s.mov(byte_ptr(vars::ATTRIBUTE as u32), u32::from(PLAIN))
}

/// COM1 at 115200 bits a second, 8 data bits, FIFOs on; a byte in its scratch register tells
/// whether it is there.
fn find_serial(s: &mut Asm) -> Build {
    let base = u32::from(board::SERIAL[0].0);
    for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 0x03), (2, 0x07), (4, 0x0B), (7, 0x5A)] {
        s.mov(dx, base + register)?;
        s.mov(al, value as u32)?;
        s.out(dx, al)?;
    }
    s.in_(al, dx)?;
    s.cmp(al, 0x5A)?;
    let absent = s.create_label();
    s.jne(absent)?;
    s.inc(byte_ptr(vars::SERIAL as u32))?;
    s.bind(absent)
}

fn draw_header(s: &mut Asm, header: u64) -> Build {
    s.mov(ax, (VIDEO >> 4) as u32)?;
    s.mov(es, ax)?;
    s.xor(di, di)?;
    s.mov(si, header as u32)?;
    s.mov(ah, u32::from(HEADER_COLOUR))?;
    s.mov(cx, (FIRST_ROW * COLUMNS) as u32)?;
    let next = s.here()?;
    s.lodsb()?;
    s.stosw()?;
    s.loop_(next)?;
    s.mov(ax, u32::from(PLAIN) << 8 | u32::from(b' '))?;
    s.mov(cx, ((ROWS - FIRST_ROW) * COLUMNS) as u32)?;
    s.rep().stosw()
}

/// A20 through port 92h, the descriptor tables, CR0.PE, and a far jump that loads CS.
fn enter_protected_mode(s: &mut Asm) -> Build {
    s.in_(al, u32::from(board::SYSTEM_CONTROL_A.0))?;
    s.or(al, 2)?;
    s.and(al, 0xFE)?;
    s.out(u32::from(board::SYSTEM_CONTROL_A.0), al)?;
    let table = s.pool.data(&gdt());
    let pointer = [&(GDT_BYTES as u16 - 1).to_le_bytes()[..], &(table as u32).to_le_bytes()].concat();
    let pointer = s.pool.data(&pointer);
    s.lgdt(ptr(pointer as u32))?;
    s.mov(eax, cr0)?;
    s.or(eax, 1)?;
    s.mov(cr0, eax)?;
    let mut far_jump = vec![0x66, 0xEA];
    far_jump.extend_from_slice(&(PROTECTED_CODE as u32).to_le_bytes());
    far_jump.extend_from_slice(&CODE32.to_le_bytes());
    s.db(&far_jump)
}

/// Bytes in [`gdt`].
const GDT_BYTES: usize = 6 * 8;

/// Null, 32-bit code, data, 64-bit code, and a task state segment, whose descriptor has 16 bytes
/// in long mode (SDM Vol. 3A, Segment Descriptors).
fn gdt() -> Vec<u8> {
    const TSS_LIMIT: u64 = 103;
    let tss = TSS_LIMIT | (vars::TSS & 0xFF_FFFF) << 16 | 0x89 << 40;
    [0, 0x00CF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF, 0x00AF_9A00_0000_FFFF, tss, 0]
        .iter()
        .flat_map(|d: &u64| d.to_le_bytes())
        .collect()
}

/// SI: text for the serial line.
fn print_to_serial(s: &mut Asm, label: CodeLabel) -> Build {
    let base = u32::from(board::SERIAL[0].0);
    let (done, plain, send) = (s.create_label(), s.create_label(), s.create_label());
    s.bind(label)?;
    s.cmp(byte_ptr(vars::SERIAL as u32), 0)?;
    s.je(done)?;
    let next = s.here()?;
    s.lodsb()?;
    s.test(al, al)?;
    s.je(done)?;
    s.cmp(al, 10)?;
    s.jne(plain)?;
    s.mov(al, 13)?;
    s.call(send)?;
    s.mov(al, 10)?;
    s.bind(plain)?;
    s.call(send)?;
    s.jmp(next)?;
    s.bind(send)?;
    s.xchg(bl, al)?;
    s.mov(dx, base + 5)?;
    let wait = s.here()?;
    s.in_(al, dx)?;
    s.test(al, 0x20)?;
    s.je(wait)?;
    s.mov(dx, base)?;
    s.xchg(bl, al)?;
    s.out(dx, al)?;
    s.bind(done)?;
    s.ret()
}

/// SI: text for the screen, at the cursor; a line feed ends it.
fn print_to_screen(s: &mut Asm, label: CodeLabel) -> Build {
    let end = s.create_label();
    s.bind(label)?;
    s.mov(di, word_ptr(vars::CURSOR as u32))?;
    s.add(di, di)?;
    s.mov(ah, byte_ptr(vars::ATTRIBUTE as u32))?;
    let next = s.here()?;
    s.lodsb()?;
    s.cmp(al, 10)?;
    s.je(end)?;
    s.stosw()?;
    s.jmp(next)?;
    s.bind(end)?;
    s.add(word_ptr(vars::CURSOR as u32), COLUMNS as u32)?;
    s.ret()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_wide_as_the_screen_and_the_sector_bears_its_signature() {
        assert!(HEADER.iter().all(|row| row.chars().count() as u64 == COLUMNS));
        let (sector, _) = assemble().unwrap();
        assert_eq!(sector.len(), SECTOR);
        assert_eq!(sector[510..], [0x55, 0xAA]);
    }
}
