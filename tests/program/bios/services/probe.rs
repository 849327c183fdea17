//! A boot floppy that calls BIOS services and says on COM1 what came back, a line a call.
//!
//! The boot sector loads the program, the rest of its track, and its table, the three tracks behind. The program goes
//! through the table: it loads the registers of a row, issues the interrupt, and prints CF and ZF, the registers, and some
//! bytes of memory.

use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Where programs find memory to have filled: 512 bytes, cleared before each interrupt.
pub const BUFFER: u32 = 0xB000;
/// A text, and a table of descriptors for moving it to the buffer.
pub const TEXT: u32 = 0x9F00;
pub const DESCRIPTORS: u32 = 0x9F40;
/// The interrupt of rows that call INT 10h with "VBE2" at the beginning of the buffer.
pub const VBE2: u8 = 0xF9;
/// The interrupt of rows that read registers of 16 bits, likewise port DX, index AL, CX of them.
pub const INDEXED_16: u8 = 0xFA;
/// The interrupt of rows that call what the far pointer at the buffer's byte 12 leads to: the window function of a VBE mode.
pub const FAR_CALL: u8 = 0xFC;
/// The interrupt of rows that compute EAX from CX bytes of segment BX: each byte is added to what was there, rotated by five bits.
pub const SUM: u8 = 0xFD;
/// The interrupt of rows that read registers behind an index port instead: port DX, from index AL on, CX of them.
pub const INDEXED: u8 = 0xFE;
/// The interrupt of rows that only show memory.
pub const NOTHING: u8 = 0xFF;
/// What the last line says.
pub const END: &str = "probe ends";

const SECTOR: usize = 512;
const LOAD_AT: u32 = 0x7E00;
/// Sectors behind the boot sector: the rest of a floppy's track.
const SECTORS: u32 = 17;
/// Where the flags and registers of a call are kept.
const KEPT: u32 = 0x600;
/// The segment of the table of calls, and the tracks that it has.
const TABLE_SEGMENT: u32 = 0x1000;
const TABLE_TRACKS: usize = 3;
const TRACK: usize = 18 * SECTOR;
const ROW_BYTES: u32 = 32;
const COM1: u32 = 0x3F8;

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it is, for people.
    pub name: String,
    /// The interrupt.
    pub interrupt: u8,
    /// EAX, EBX, ECX, EDX, ESI, EDI, EBP.
    pub registers: [u32; 7],
    /// The memory that is shown: an address below 64 KiB and at most 255 bytes.
    pub shown: (u16, u8),
}

/// The floppy's image.
pub fn floppy(calls: &[Call]) -> Result<Vec<u8>, IcedError> {
    let mut sector = boot_sector()?;
    sector.resize(SECTOR - 2, 0);
    sector.extend([0x55, 0xAA]);
    let mut program = code(calls.len())?;
    let text_at = (TEXT - LOAD_AT) as usize;
    assert!(program.len() <= text_at, "the code has {} bytes", program.len());
    program.resize(text_at, 0);
    program.extend(b"Hello, BIOS!");
    program.resize((DESCRIPTORS - LOAD_AT) as usize, 0);
    program.extend(descriptors());
    program.resize(SECTORS as usize * SECTOR, 0);
    let table = table(calls);
    assert!(table.len() <= TABLE_TRACKS * TRACK, "the table has {} bytes", table.len());
    let mut image = [sector, program, table].concat();
    image.resize(1440 << 10, 0);
    Ok(image)
}

/// For INT 15h function 87h: source and target with limits of 64 KiB.
fn descriptors() -> Vec<u8> {
    let mut table = vec![0; 48];
    for (at, base) in [(16, TEXT), (24, BUFFER)] {
        let [b0, b1, b2, _] = base.to_le_bytes();
        table[at..at + 6].copy_from_slice(&[0xFF, 0xFF, b0, b1, b2, 0x93]);
    }
    table
}

fn boot_sector() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    a.cli()?;
    a.cld()?;
    a.xor(ax, ax)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.mov(ss, ax)?;
    a.mov(sp, 0x7C00u32)?;
    a.sti()?;
    // Into ES:BX: the rest of track 0, and heads 1, 0, 1 of cylinders 0, 1, 1.
    let mut load = |segment: u32, offset: u32, sectors: u32, first: u32, head: u32| {
        a.mov(ax, segment)?;
        a.mov(es, ax)?;
        a.mov(ax, 0x0200 | sectors)?;
        a.mov(bx, offset)?;
        a.mov(cx, first)?;
        a.mov(dx, head << 8)?;
        a.int(0x13)
    };
    load(0, LOAD_AT, SECTORS, 2, 0)?;
    for (track, (cylinder, head)) in [(0u32, 1u32), (1, 0), (1, 1)].into_iter().enumerate() {
        load(TABLE_SEGMENT, (track * TRACK) as u32, 18, cylinder << 8 | 1, head)?;
    }
    a.mov(ax, 0u32)?;
    a.mov(es, ax)?;
    let [l0, l1] = (LOAD_AT as u16).to_le_bytes();
    a.db(&[0xEA, l0, l1, 0, 0])?;
    a.assemble(0x7C00)
}

fn table(calls: &[Call]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for call in calls {
        let (at, count) = call.shown;
        bytes.extend([call.interrupt, count]);
        bytes.extend(at.to_le_bytes());
        bytes.extend(call.registers.iter().flat_map(|register| register.to_le_bytes()));
    }
    assert!(bytes.len() == calls.len() * ROW_BYTES as usize);
    bytes
}

/// The state of the program: the row, how many follow, and the call with a RET behind it.
const ROW: u32 = KEPT + 0x40;
const LEFT: u32 = KEPT + 0x42;
const CALL: u32 = KEPT + 0x50;

fn code(rows: usize) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    let [mut next, mut done, mut called, mut say] = std::array::from_fn(|_| a.create_label());
    let mut ways: Vec<(u8, CodeLabel, Way)> =
        WAYS.iter().map(|(n, way)| (*n, a.create_label(), *way)).collect();
    for (register, value) in [(3, 0x80u32), (0, 1), (1, 0), (3, 3), (4, 3)] {
        a.mov(dx, COM1 + register)?;
        a.mov(al, value)?;
        a.out(dx, al)?;
    }
    a.mov(word_ptr(ROW), 0)?;
    a.mov(word_ptr(LEFT), rows as u32)?;
    a.set_label(&mut next)?;
    a.cmp(word_ptr(LEFT), 0)?;
    a.je(done)?;
    a.dec(word_ptr(LEFT))?;
    a.push(TABLE_SEGMENT as i32)?;
    a.pop(fs)?;
    a.mov(bx, word_ptr(ROW))?;
    a.mov(al, byte_ptr(bx).fs())?;
    // The buffer is empty each time; rows that are no interrupt find what the last one left there.
    let mut keep_buffer = a.create_label();
    a.cmp(al, u32::from(INDEXED_16))?;
    a.jae(keep_buffer)?;
    a.push(ax)?;
    a.mov(di, BUFFER)?;
    a.mov(cx, 128u32)?;
    a.xor(eax, eax)?;
    a.rep().stosd()?;
    a.pop(ax)?;
    a.set_label(&mut keep_buffer)?;
    let mut plain = a.create_label();
    a.cmp(al, u32::from(VBE2))?;
    a.jne(plain)?;
    a.mov(dword_ptr(BUFFER), u32::from_le_bytes(*b"VBE2"))?;
    a.mov(al, 0x10u32)?;
    a.set_label(&mut plain)?;
    a.mov(byte_ptr(CALL + 1), al)?;
    a.mov(byte_ptr(CALL), 0xCD)?;
    a.mov(byte_ptr(CALL + 2), 0xC3)?;
    a.mov(eax, dword_ptr(bx + 4).fs())?;
    a.mov(ecx, dword_ptr(bx + 12).fs())?;
    a.mov(edx, dword_ptr(bx + 16).fs())?;
    a.mov(esi, dword_ptr(bx + 20).fs())?;
    a.mov(edi, dword_ptr(bx + 24).fs())?;
    a.mov(ebp, dword_ptr(bx + 28).fs())?;
    a.mov(ebx, dword_ptr(bx + 8).fs())?;
    for (number, label, _) in &ways {
        a.cmp(byte_ptr(CALL + 1), u32::from(*number))?;
        a.je(*label)?;
    }
    a.cmp(byte_ptr(CALL + 1), u32::from(NOTHING))?;
    a.je(called)?;
    // Through a register: the call is not where this code is.
    a.push(ax)?;
    a.mov(ax, CALL)?;
    a.mov(word_ptr(KEPT + 0x60), ax)?;
    a.pop(ax)?;
    a.clc()?;
    a.call(word_ptr(KEPT + 0x60))?;
    a.jmp(called)?;
    for (_, label, way) in &mut ways {
        a.set_label(label)?;
        way(&mut a)?;
        a.jmp(called)?;
    }
    a.set_label(&mut called)?;
    keep(&mut a)?;
    show(&mut a, &mut say)?;
    a.add(word_ptr(ROW), ROW_BYTES)?;
    a.jmp(next)?;
    a.set_label(&mut done)?;
    for byte in END.bytes().chain(*b"\r\n") {
        a.mov(al, u32::from(byte))?;
        a.call(say)?;
    }
    // Off: by ACPI where a test has its port there, else it stands still.
    let mut stop = a.create_label();
    a.set_label(&mut stop)?;
    a.hlt()?;
    a.jmp(stop)?;
    say_byte(&mut a, &mut say)?;
    a.assemble(u64::from(LOAD_AT))
}

/// Writes what a row does that is no interrupt.
type Way = fn(&mut CodeAssembler) -> Result<(), IcedError>;
const WAYS: [(u8, Way); 4] = [(INDEXED, indexed), (INDEXED_16, indexed_16), (FAR_CALL, far_call), (SUM, sum)];

fn indexed(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut read = a.create_label();
    a.mov(di, BUFFER)?;
    a.mov(ah, al)?;
    a.set_label(&mut read)?;
    a.mov(al, ah)?;
    a.out(dx, al)?;
    a.inc(dx)?;
    a.in_(al, dx)?;
    a.dec(dx)?;
    a.stosb()?;
    a.inc(ah)?;
    a.loop_(read)
}
fn indexed_16(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut read = a.create_label();
    a.mov(di, BUFFER)?;
    a.mov(bx, ax)?;
    a.set_label(&mut read)?;
    a.mov(ax, bx)?;
    a.out(dx, ax)?;
    a.inc(dx)?;
    a.in_(ax, dx)?;
    a.dec(dx)?;
    a.stosw()?;
    a.inc(bx)?;
    a.loop_(read)
}
fn far_call(a: &mut CodeAssembler) -> Result<(), IcedError> {
    // CALL FAR [BUFFER + 12].
    let [b0, b1] = (BUFFER as u16 + 12).to_le_bytes();
    a.db(&[0xFF, 0x1E, b0, b1])
}
fn sum(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut next = a.create_label();
    a.mov(es, bx)?;
    a.xor(di, di)?;
    a.xor(eax, eax)?;
    a.set_label(&mut next)?;
    a.rol(eax, 5)?;
    a.movzx(edx, byte_ptr(di).es())?;
    a.add(eax, edx)?;
    a.inc(di)?;
    a.loop_(next)
}

/// Flags and registers, and real-mode segments of zero again.
fn keep(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.pushf()?;
    a.push(ds)?;
    a.push(0)?;
    a.pop(ds)?;
    a.pop(word_ptr(KEPT + 4))?;
    a.pop(word_ptr(KEPT))?;
    a.mov(word_ptr(KEPT + 2), es)?;
    for (register, at) in [(eax, 8), (ebx, 12), (ecx, 16), (edx, 20), (esi, 24), (edi, 28), (ebp, 32)] {
        a.mov(dword_ptr(KEPT + at), register)?;
    }
    a.push(0)?;
    a.pop(es)?;
    a.cld()
}

/// CF and ZF as a digit, the registers, the memory.
fn show(a: &mut CodeAssembler, say: &mut CodeLabel) -> Result<(), IcedError> {
    let [mut number, mut digit, mut shown, mut memory] = std::array::from_fn(|_| a.create_label());
    let mut start = a.create_label();
    a.jmp(start)?;
    // EAX, CL digits from its upper end.
    a.set_label(&mut number)?;
    a.push(cx)?;
    a.rol(eax, 4)?;
    a.push(eax)?;
    a.and(al, 0x0F)?;
    a.cmp(al, 10)?;
    a.sbb(al, 0x69u32)?;
    a.das()?;
    a.call(*say)?;
    a.pop(eax)?;
    a.pop(cx)?;
    a.dec(cl)?;
    a.jnz(number)?;
    a.mov(al, u32::from(b' '))?;
    a.jmp(*say)?;
    a.set_label(&mut start)?;
    // Bit 6 is ZF, bit 0 CF: 0 to 3.
    a.mov(ax, word_ptr(KEPT))?;
    a.mov(dl, al)?;
    a.shr(al, 5)?;
    a.and(al, 2)?;
    a.and(dl, 1)?;
    a.or(al, dl)?;
    a.add(al, u32::from(b'0'))?;
    a.call(*say)?;
    a.mov(al, u32::from(b' '))?;
    a.call(*say)?;
    for at in [8, 12, 16, 20, 24, 28, 32] {
        a.mov(eax, dword_ptr(KEPT + at))?;
        a.mov(cl, 8u32)?;
        a.call(number)?;
    }
    a.mov(ax, word_ptr(KEPT + 2))?;
    a.shl(eax, 16)?;
    a.mov(cl, 4u32)?;
    a.call(number)?;
    a.push(TABLE_SEGMENT as i32)?;
    a.pop(fs)?;
    a.mov(bx, word_ptr(ROW))?;
    a.mov(si, word_ptr(bx + 2).fs())?;
    a.movzx(cx, byte_ptr(bx + 1).fs())?;
    a.jcxz(shown)?;
    a.set_label(&mut memory)?;
    a.push(cx)?;
    a.lodsb()?;
    a.shl(eax, 24)?;
    a.set_label(&mut digit)?;
    a.mov(cl, 2u32)?;
    a.call(number)?;
    a.pop(cx)?;
    a.loop_(memory)?;
    a.set_label(&mut shown)?;
    for byte in [13u32, 10] {
        a.mov(al, byte)?;
        a.call(*say)?;
    }
    Ok(())
}

/// AL to COM1.
fn say_byte(a: &mut CodeAssembler, say: &mut CodeLabel) -> Result<(), IcedError> {
    let mut wait = a.create_label();
    a.set_label(say)?;
    a.push(dx)?;
    a.push(ax)?;
    a.mov(dx, COM1 + 5)?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, 0x20)?;
    a.jz(wait)?;
    a.mov(dx, COM1)?;
    a.pop(ax)?;
    a.out(dx, al)?;
    a.pop(dx)?;
    a.ret()
}
