//! Memory types of all processors, and the start of those beside the first.
//!
//! The first processor sends INIT and a start-up message to all others, by its local APIC. They set their memory type
//! registers as it does, count themselves, and halt until a system starts them anew.
//!
//! Source: SDM Vol. 3A, "Multiple-Processor (MP) Initialization", "Memory Type Range Registers (MTRRs)".

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::SYSTEM_SEGMENT;
use crate::tables::Platform;
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// Fixed-range registers: 64 KiB ranges from 0, 16 KiB ranges from 80000h and A0000h, 4 KiB ranges from C0000h.
const FIXED_64K: u32 = 0x250;
const FIXED_16K: [u32; 2] = [0x258, 0x259];
const FIXED_4K: std::ops::RangeInclusive<u32> = 0x268..=0x26F;
const VARIABLE_BASE: u32 = 0x200;
const VARIABLE_MASK: u32 = 0x201;
const DEFAULT_TYPE: u32 = 0x2FF;
const WRITE_BACK: u32 = 0x0606_0606;
const WRITE_PROTECTED: u32 = 0x0505_0505;
/// Write back; fixed and variable ranges count.
const DEFAULT_WRITE_BACK: u32 = 0xC06;
/// A variable range counts.
const VALID: u32 = 1 << 11;

/// The page in which the others start, for as long as they do: below the EBDA.
const START_PAGE: u32 = 0x9F;
/// Where they count themselves, behind their code there.
const COUNTER: u32 = 0x100;
/// Interrupt command register: low dword.
const COMMAND: u32 = board::LOCAL_APIC.0 as u32 + 0x300;
/// To all but the sender: INIT, asserted; start-up at a page.
const INIT_OTHERS: u32 = 0x000C_4500;
const START_OTHERS: u32 = 0x000C_4600 | START_PAGE;
/// So many looks at the counter, some tenths of a second.
const PATIENCE: u32 = 20_000_000;

pub(super) fn write(a: &mut Module, platform: &Platform) -> Build {
    // Descriptors: none; data with a limit of 4 GiB.
    let table = a.bytes(&[0; 8]);
    a.bytes(&0x00CF_9300_0000_FFFFu64.to_le_bytes());
    let base = (u32::from(SYSTEM_SEGMENT) << 4) + table;
    let pointer = a.bytes(&15u16.to_le_bytes());
    a.bytes(&base.to_le_bytes());
    a.routine("processors")?;
    set_memory_types(a)?;
    if platform.vcpus > 1 {
        start_others(a, pointer, u32::from(platform.vcpus) - 1)?;
    }
    a.ret()?;
    // In real mode; there is no stack.
    a.routine("other_processor")?;
    a.cli()?;
    set_memory_types(a)?;
    code!(a;
        mov(ax, START_PAGE << 8);
        mov(ds, ax);
        lock_inc(COUNTER);
    );
    let halted = a.here()?;
    code!(a; cli; hlt; jmp(halted));
    Ok(())
}

fn start_others(a: &mut Module, pointer: u32, others: u32) -> Build {
    let start = a.table(&["other_processor"]);
    // The far jump to it, of which the offset is not known yet.
    code!(a;
        mov(ax, START_PAGE << 8);
        mov(es, ax);
        xor(di, di);
        mov(al, 0xEA);
        stosb;
        mov(ax, word_ptr(start).cs());
        stosw;
        mov(ax, u32::from(SYSTEM_SEGMENT));
        stosw;
        mov(word_ptr(COUNTER).es(), 0);
    );
    // FS keeps the limit of 4 GiB when protected mode is left again.
    code!(a;
        lgdt(fword_ptr(pointer).cs());
        mov(eax, cr0);
        or(al, 1);
        mov(cr0, eax);
        mov(bx, 8);
        mov(fs, bx);
        and(al, 0xFE);
        mov(cr0, eax);
        mov(edi, COMMAND);
        mov(dword_ptr(edi).fs(), INIT_OTHERS);
        mov(cx, 40);
    );
    // A bit of port 61h turns over every 15 microseconds.
    let turn = a.here()?;
    code!(a;
        in_(al, u32::from(board::SYSTEM_CONTROL_B.0));
        and(al, 0x10);
        cmp(al, ah);
        je(turn);
        mov(ah, al);
        loop_(turn);
        mov(dword_ptr(edi).fs(), START_OTHERS);
        mov(ecx, PATIENCE);
    );
    let wait = a.here()?;
    code!(a;
        pause;
        cmp(word_ptr(COUNTER).es(), others);
    );
    let done = a.label();
    code!(a;
        jae(done);
        dec(ecx);
        jnz(wait);
        bind(done);
        xor(ax, ax);
        mov(fs, ax);
    );
    Ok(())
}

/// All RAM is write back, the VGA window and the PCI hole uncacheable, the ROM area write protected. Uses no stack.
fn set_memory_types(a: &mut Module) -> Build {
    let [absent, known] = a.labels();
    let write = |a: &mut Module, register: u32| {
        code!(a; mov(ecx, register); wrmsr);
        Build::Ok(())
    };
    code!(a;
        mov(eax, 1);
        cpuid;
        test(edx, 1 << 12);
        jz(absent);
        mov(eax, WRITE_BACK);
        mov(edx, eax);
    );
    write(a, FIXED_64K)?;
    write(a, FIXED_16K[0])?;
    code!(a; xor(eax, eax); xor(edx, edx));
    write(a, FIXED_16K[1])?;
    code!(a; mov(eax, WRITE_PROTECTED); mov(edx, eax));
    for register in FIXED_4K {
        write(a, register)?;
    }
    let hole = board::PCI_HOLE_START.0 as u32;
    code!(a; mov(eax, hole); xor(edx, edx));
    write(a, VARIABLE_BASE)?;
    // The upper half of the mask has as many bits as physical addresses have beyond 32.
    code!(a;
        mov(eax, 0x8000_0000u32);
        cpuid;
        mov(bl, 36);
        cmp(eax, 0x8000_0008u32);
        jb(known);
        mov(eax, 0x8000_0008u32);
        cpuid;
        mov(bl, al);
        bind(known);
        mov(cl, bl);
        sub(cl, 32);
        mov(edx, 1);
        shl(edx, cl);
        dec(edx);
        // The range is as long as it is high: C0000000h to FFFFFFFFh.
        mov(eax, hole | VALID);
    );
    write(a, VARIABLE_MASK)?;
    code!(a; mov(eax, DEFAULT_WRITE_BACK); xor(edx, edx));
    write(a, DEFAULT_TYPE)?;
    a.bind(absent)
}
