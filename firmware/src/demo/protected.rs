//! 32-bit protected mode: segments with limits, two-level paging, and the way on to long mode.
//!
//! With paging on, a linear address is looked up in a page directory and a page table. To show
//! that both are only memory, video memory is mapped a second time at 4 MiB and written there.
//! Long mode wants its own, deeper tables: paging goes off for a moment, PAE and EFER.LME go on,
//! and when paging comes back the processor is in long mode.

use super::asm::{Asm, Build};
use super::layout::*;
use super::real::PLAIN;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use trimotor_bus::board;

const STEP_PROTECTED: &str =
    " 2 Protected mode: 32-bit code, flat 4 GiB segments from our own GDT, A20 open.\n";
const STEP_PAGING: &str = " 3 Two-level paging: linear 400000h is video memory too, and wrote this: ";
const ALIAS_WORD: &str = "hello\n";
const ALIAS_FAILED: &str = "nothing!\n";
const NO_LONG_MODE: &str = "   This processor has no long mode, so the demo ends here.\n";

/// Present and writable.
const PW: u32 = 0b11;
/// Page size: the entry maps a large page.
const PS: u32 = 1 << 7;
const EFER: u32 = 0xC000_0080;

/// The protected-mode part; its texts go to `texts`.
///
/// # Errors
/// Where the assembler refuses an instruction: a fault of this program.
pub fn assemble(texts: u64) -> Result<(Vec<u8>, Vec<u8>), IcedError> {
    let mut s = Asm::new(32, texts)?;
    let print = s.create_label();
    s.mov(eax, u32::from(DATA))?;
    for segment in [ds, es, ss, fs, gs] {
        s.mov(segment, eax)?;
    }
    s.mov(esp, STACK_TOP as u32)?;
    say(&mut s, print, STEP_PROTECTED)?;
    two_level_paging(&mut s)?;
    say(&mut s, print, STEP_PAGING)?;
    write_through_alias(&mut s, print)?;
    check_long_mode(&mut s, print)?;
    paging_off(&mut s)?;
    four_level_tables(&mut s)?;
    enter_long_mode(&mut s)?;
    print_routine(&mut s, print)?;
    s.finish(PROTECTED_CODE)
}

fn say(s: &mut Asm, print: CodeLabel, text: &str) -> Build {
    let at = s.pool.text(text);
    s.mov(esi, at as u32)?;
    s.call(print)
}

/// Fills `entries` entries of 4 bytes at `table` with `first`, `first + step` and so on.
fn fill_table(s: &mut Asm, table: u64, entries: u32, first: u32, step: u32) -> Build {
    s.mov(edi, table as u32)?;
    s.mov(ecx, entries)?;
    s.mov(eax, first)?;
    let next = s.here()?;
    s.stosd()?;
    s.add(eax, step)?;
    s.loop_(next)
}

/// Maps the first 4 MiB to themselves, and linear 4 MiB to video memory.
fn two_level_paging(s: &mut Asm) -> Build {
    let (table, alias) = (PAGE_DIRECTORY + 0x1000, PAGE_DIRECTORY + 0x2000);
    for page in [PAGE_DIRECTORY, alias] {
        s.mov(edi, page as u32)?;
        s.mov(ecx, 1024)?;
        s.xor(eax, eax)?;
        s.rep().stosd()?;
    }
    fill_table(s, table, 1024, PW, 0x1000)?;
    s.mov(dword_ptr(PAGE_DIRECTORY as u32), table as u32 | PW)?;
    s.mov(dword_ptr(PAGE_DIRECTORY as u32 + 4), alias as u32 | PW)?;
    s.mov(dword_ptr(alias as u32), VIDEO as u32 | PW)?;
    s.mov(eax, PAGE_DIRECTORY as u32)?;
    s.mov(cr3, eax)?;
    s.mov(eax, cr0)?;
    s.or(eax, 0x8000_0000u32)?;
    s.mov(cr0, eax)
}

/// Writes a word to where the cursor is, by the other address, and looks for it in video memory.
fn write_through_alias(s: &mut Asm, print: CodeLabel) -> Build {
    const GREEN: u32 = 0x0A;
    let (word, failed) = (s.pool.text(ALIAS_WORD), s.pool.text(ALIAS_FAILED));
    let cell = |letter: u8| u32::from(letter) | GREEN << 8;
    let word_is_there = s.create_label();
    s.movzx(edi, word_ptr(vars::CURSOR as u32))?;
    for (i, letter) in ALIAS_WORD.trim_end().bytes().enumerate() {
        s.mov(word_ptr(edi * 2 + (VIDEO_ALIAS as u32 + 2 * i as u32)), cell(letter))?;
    }
    s.mov(esi, word as u32)?;
    s.cmp(word_ptr(edi * 2 + VIDEO as u32), cell(ALIAS_WORD.as_bytes()[0]))?;
    s.je(word_is_there)?;
    s.mov(esi, failed as u32)?;
    s.bind(word_is_there)?;
    s.mov(byte_ptr(vars::ATTRIBUTE as u32), GREEN)?;
    s.call(print)?;
    s.mov(byte_ptr(vars::ATTRIBUTE as u32), u32::from(PLAIN))
}

/// CPUID 80000001h, EDX bit 29.
fn check_long_mode(s: &mut Asm, print: CodeLabel) -> Build {
    let (there, missing) = (s.create_label(), s.create_label());
    s.mov(eax, 0x8000_0000u32)?;
    s.cpuid()?;
    s.cmp(eax, 0x8000_0001u32)?;
    s.jb(missing)?;
    s.mov(eax, 0x8000_0001u32)?;
    s.cpuid()?;
    s.test(edx, 1 << 29)?;
    s.jne(there)?;
    s.bind(missing)?;
    say(s, print, NO_LONG_MODE)?;
    let stop = s.here()?;
    s.hlt()?;
    s.jmp(stop)?;
    s.bind(there)
}

fn paging_off(s: &mut Asm) -> Build {
    s.mov(eax, cr0)?;
    s.and(eax, 0x7FFF_FFFFu32)?;
    s.mov(cr0, eax)
}

/// 4 GiB mapped to themselves with 2 MiB pages; the first 2 MiB with 4 KiB pages, so that single
/// pages can have other rights. Long-mode entries have 8 bytes; the upper halves stay zero.
fn four_level_tables(s: &mut Asm) -> Build {
    s.mov(edi, PML4 as u32)?;
    s.mov(ecx, ((PAGE_DIRECTORIES + 0x4000 - PML4) / 4) as u32)?;
    s.xor(eax, eax)?;
    s.rep().stosd()?;
    s.mov(dword_ptr(PML4 as u32), PDPT as u32 | PW)?;
    for i in 0..4u32 {
        s.mov(dword_ptr(PDPT as u32 + 8 * i), (PAGE_DIRECTORIES as u32 + 0x1000 * i) | PW)?;
    }
    fill_long_table(s, PAGE_DIRECTORIES, 2048, PS | PW, 1 << 21)?;
    s.mov(dword_ptr(PAGE_DIRECTORIES as u32), PAGE_TABLE as u32 | PW)?;
    fill_long_table(s, PAGE_TABLE, 512, PW, 0x1000)?;
    let entry = |page: u64| (PAGE_TABLE + (page >> 12) * 8) as u32;
    s.mov(dword_ptr(entry(READ_ONLY_PAGE)), READ_ONLY_PAGE as u32 | 1)?;
    s.mov(dword_ptr(entry(MISSING_PAGE)), 0)
}

fn fill_long_table(s: &mut Asm, table: u64, entries: u32, first: u32, step: u32) -> Build {
    s.mov(edi, table as u32)?;
    s.mov(ecx, entries)?;
    s.mov(eax, first)?;
    let next = s.here()?;
    s.mov(dword_ptr(edi), eax)?;
    s.add(edi, 8)?;
    s.add(eax, step)?;
    s.loop_(next)
}

/// CR4.PAE, CR3, EFER.LME (and NXE where the processor has it), CR0.PG with CR0.WP, far jump.
fn enter_long_mode(s: &mut Asm) -> Build {
    let no_nx = s.create_label();
    s.mov(eax, cr4)?;
    s.or(eax, 1 << 5)?;
    s.mov(cr4, eax)?;
    s.mov(eax, PML4 as u32)?;
    s.mov(cr3, eax)?;
    s.mov(eax, 0x8000_0001u32)?;
    s.cpuid()?;
    s.mov(esi, edx)?;
    s.mov(ecx, EFER)?;
    s.rdmsr()?;
    s.or(eax, 1 << 8)?;
    s.test(esi, 1 << 20)?;
    s.je(no_nx)?;
    s.or(eax, 1 << 11)?;
    s.mov(byte_ptr(vars::HAS_NX as u32), 1)?;
    // NX is bit 63: bit 31 of the entry's upper half.
    s.mov(dword_ptr((PAGE_TABLE + (NO_EXECUTE_PAGE >> 12) * 8 + 4) as u32), 0x8000_0000u32)?;
    s.bind(no_nx)?;
    s.wrmsr()?;
    s.mov(eax, cr0)?;
    s.or(eax, 0x8001_0000u32)?;
    s.mov(cr0, eax)?;
    let mut far_jump = vec![0xEA];
    far_jump.extend_from_slice(&(LONG_CODE as u32).to_le_bytes());
    far_jump.extend_from_slice(&CODE64.to_le_bytes());
    s.db(&far_jump)
}

/// ESI: text for the screen and the serial line.
fn print_routine(s: &mut Asm, print: CodeLabel) -> Build {
    let base = u32::from(board::SERIAL[0].0);
    let (done, visible, serial, send, store) =
        (s.create_label(), s.create_label(), s.create_label(), s.create_label(), s.create_label());
    s.bind(print)?;
    s.movzx(edi, word_ptr(vars::CURSOR as u32))?;
    let next = s.here()?;
    s.xor(eax, eax)?;
    s.lodsb()?;
    s.test(al, al)?;
    s.je(done)?;
    s.mov(ebx, eax)?;
    s.cmp(al, 10)?;
    s.jne(visible)?;
    s.mov(eax, edi)?;
    s.xor(edx, edx)?;
    s.mov(ecx, COLUMNS as u32)?;
    s.div(ecx)?;
    s.sub(edi, edx)?;
    s.add(edi, COLUMNS as u32)?;
    s.mov(al, 13)?;
    s.call(send)?;
    s.jmp(serial)?;
    s.bind(visible)?;
    s.mov(ah, byte_ptr(vars::ATTRIBUTE as u32))?;
    s.mov(word_ptr(edi * 2 + VIDEO as u32), ax)?;
    s.inc(edi)?;
    s.bind(serial)?;
    s.mov(al, bl)?;
    s.call(send)?;
    s.jmp(next)?;
    s.bind(send)?;
    s.cmp(byte_ptr(vars::SERIAL as u32), 0)?;
    s.je(store)?;
    s.mov(ah, al)?;
    s.mov(edx, base + 5)?;
    let wait = s.here()?;
    s.in_(al, dx)?;
    s.test(al, 0x20)?;
    s.je(wait)?;
    s.mov(edx, base)?;
    s.mov(al, ah)?;
    s.out(dx, al)?;
    s.bind(store)?;
    s.ret()?;
    s.bind(done)?;
    s.mov(word_ptr(vars::CURSOR as u32), di)?;
    s.ret()
}
