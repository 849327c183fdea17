//! Exceptions on purpose, and the story that the processor tells about one.

use super::colour;
use super::interrupts::{guard, unguard};
use crate::demo::asm::{Asm, Build, Routine};
use crate::demo::layout::*;
use iced_x86::code_asm::*;

const PAGE_FAULT: u32 = 14;
/// Names of the exceptions 0 to 20 (SDM Vol. 3A, Exception and Interrupt Reference).
const NAMES: [&str; 21] = [
    "#DE divide error",
    "#DB debug",
    "NMI",
    "#BP breakpoint",
    "#OF overflow",
    "#BR bound range",
    "#UD invalid opcode",
    "#NM no coprocessor",
    "#DF double fault",
    "coprocessor segment overrun",
    "#TS invalid TSS",
    "#NP segment not present",
    "#SS stack fault",
    "#GP general protection",
    "#PF page fault",
    "reserved",
    "#MF x87 error",
    "#AC alignment",
    "#MC machine check",
    "#XM SIMD error",
    "#VE virtualization",
];
/// What the bits of a page fault's error code mean: set, clear.
const PAGE_FAULT_BITS: [(u32, &str, &str); 4] = [
    (0, "the page is there but its rights forbid it", "no page is mapped there"),
    (1, "it was a write", "it was a read"),
    (2, "from user mode", "from kernel mode"),
    (4, "fetching an instruction", ""),
];

pub(super) fn routines(s: &mut Asm) -> Build {
    story(s)?;
    fault_on_purpose(s)?;
    divide_on_purpose(s)
}

/// Prints what the last exception was. Changes registers.
fn story(s: &mut Asm) -> Build {
    let table: Vec<u8> = NAMES.iter().flat_map(|name| s.pool.text(name).to_le_bytes()).collect();
    let table = s.pool.data(&table);
    let (no_name, end) = (s.create_label(), s.create_label());
    s.routine(Routine::FaultStory)?;
    s.say("exception ")?;
    s.mov(rax, qword_ptr(vars::FAULT_VECTOR))?;
    s.invoke(Routine::PrintDec)?;
    s.cmp(rax, NAMES.len() as i32)?;
    s.jae(no_name)?;
    s.say(", ")?;
    s.mov(rsi, qword_ptr(rax * 8 + table as i32))?;
    s.invoke(Routine::Print)?;
    s.bind(no_name)?;
    s.say(", at RIP ")?;
    s.mov(rax, qword_ptr(vars::FAULT_RIP))?;
    s.mov(cl, 16)?;
    s.invoke(Routine::PrintHex)?;
    s.say("\n  error code ")?;
    s.mov(rax, qword_ptr(vars::FAULT_ERROR))?;
    s.mov(cl, 4)?;
    s.invoke(Routine::PrintHex)?;
    s.cmp(qword_ptr(vars::FAULT_VECTOR), PAGE_FAULT as i32)?;
    s.jne(end)?;
    s.say(", CR2 ")?;
    s.mov(rax, qword_ptr(vars::FAULT_CR2))?;
    s.mov(cl, 16)?;
    s.invoke(Routine::PrintHex)?;
    s.say(":\n  ")?;
    for (i, (bit, set, clear)) in PAGE_FAULT_BITS.into_iter().enumerate() {
        let (is_clear, next) = (s.create_label(), s.create_label());
        s.bt(dword_ptr(vars::FAULT_ERROR), bit)?;
        s.jae(is_clear)?;
        let comma = if i > 0 { ", " } else { "" };
        s.say(&format!("{comma}{set}"))?;
        s.jmp(next)?;
        s.bind(is_clear)?;
        if !clear.is_empty() {
            s.say(&format!("{comma}{clear}"))?;
        }
        s.bind(next)?;
    }
    s.bind(end)?;
    s.say("\n")?;
    s.ret()
}

/// Reads a page that is not mapped, then writes one that is read-only.
fn fault_on_purpose(s: &mut Asm) -> Build {
    s.routine(Routine::FaultOnPurpose)?;
    for (text, page, write) in [
        ("Reading 7B000h, a page that my page table does not map:\n", MISSING_PAGE, false),
        (
            "Writing 7A000h, a page that is mapped without the W bit (and CR0.WP is on):\n",
            READ_ONLY_PAGE,
            true,
        ),
    ] {
        let (caught, missed, next) = (s.create_label(), s.create_label(), s.create_label());
        s.say(text)?;
        guard(s, caught)?;
        if write {
            s.mov(byte_ptr(page), 1)?;
        } else {
            s.mov(ebx, page as u32)?;
            s.mov(bl, byte_ptr(rbx))?;
        }
        unguard(s)?;
        s.bind(missed)?;
        s.say_in(colour::RED, "  nothing happened: that is wrong!\n")?;
        s.jmp(next)?;
        s.bind(caught)?;
        s.colour(colour::YELLOW)?;
        s.say("  ")?;
        s.invoke(Routine::FaultStory)?;
        s.colour(colour::PLAIN)?;
        s.bind(next)?;
    }
    s.say("An operating system would now fetch the page from disk, copy it, or end the program.\n")?;
    s.ret()
}

/// Divides by zero.
fn divide_on_purpose(s: &mut Asm) -> Build {
    let (caught, end) = (s.create_label(), s.create_label());
    s.routine(Routine::DivideOnPurpose)?;
    s.say("Dividing 42 by 0. There is no result, so the processor refuses the instruction:\n")?;
    guard(s, caught)?;
    s.mov(eax, 42)?;
    s.xor(edx, edx)?;
    s.xor(ecx, ecx)?;
    s.div(ecx)?;
    unguard(s)?;
    s.say_in(colour::RED, "  nothing happened: that is wrong!\n")?;
    s.jmp(end)?;
    s.bind(caught)?;
    s.colour(colour::YELLOW)?;
    s.say("  ")?;
    s.invoke(Routine::FaultStory)?;
    s.colour(colour::PLAIN)?;
    s.say("RIP still points to the DIV: a fault leaves everything as it was before.\n")?;
    s.bind(end)?;
    s.ret()
}
