//! The prompt and its commands.

use super::colour;
use crate::demo::PROMPT;
use crate::demo::asm::{Asm, Build, Routine};
use crate::demo::layout::vars;
use iced_x86::code_asm::*;

/// Name, argument, what the command shows, and the routine behind it.
const COMMANDS: [(&str, &str, &str, Routine); 15] = [
    ("help", "", "this list", Routine::Help),
    ("tour", "", "how the demo works, page by page", Routine::Tour),
    ("cpuid", "[leaf]", "what the processor says about itself; one leaf in hex", Routine::CpuLeaf),
    ("map", "", "the memory map that firmware handed over", Routine::MemoryMap),
    ("mem", "addr", "128 bytes of memory; try mem B8000, mem FEE00000, mem 7B000", Routine::DumpMemory),
    ("pci", "", "the devices on the PCI bus", Routine::PciList),
    ("fault", "", "a page fault on purpose: what the processor reports", Routine::FaultOnPurpose),
    ("divide", "", "a division by zero on purpose", Routine::DivideOnPurpose),
    ("check", "", "the self-checks again", Routine::Checks),
    ("ticks", "", "how often the timer, the keyboard and COM1 have interrupted", Routine::Ticks),
    ("clear", "", "an empty screen", Routine::ClearScreen),
    ("halt", "", "stop the processor for good", Routine::Halt),
    ("reboot", "", "reset the machine", Routine::Reboot),
    ("poweroff", "", "switch the machine off (ACPI S5)", Routine::PowerOff),
    // A second name that people try.
    ("?", "", "", Routine::Help),
];

pub(super) fn routines(s: &mut Asm) -> Build {
    shell(s)?;
    match_word(s)?;
    help(s)?;
    ticks(s)
}

fn shell(s: &mut Asm) -> Build {
    let (skip, trimmed) = (s.create_label(), s.create_label());
    s.routine(Routine::Shell)?;
    s.say_in(colour::YELLOW, &format!("\n{PROMPT}"))?;
    s.invoke(Routine::ReadLine)?;
    s.mov(ebx, vars::LINE as u32)?;
    s.bind(skip)?;
    s.cmp(byte_ptr(rbx), u32::from(b' '))?;
    s.jne(trimmed)?;
    s.inc(ebx)?;
    s.jmp(skip)?;
    s.bind(trimmed)?;
    let again = s.label_of(Routine::Shell);
    s.cmp(byte_ptr(rbx), 0)?;
    s.je(again)?;
    for (name, _, _, routine) in COMMANDS {
        let other = s.create_label();
        let text = s.pool.text(name);
        s.mov(edi, text as u32)?;
        s.invoke(Routine::MatchWord)?;
        s.jne(other)?;
        s.invoke(routine)?;
        s.jmp(again)?;
        s.bind(other)?;
    }
    s.say("There is no command \"")?;
    s.mov(esi, ebx)?;
    s.invoke(Routine::Print)?;
    s.say("\"; type help for a list.\n")?;
    s.jmp(again)
}

/// RBX: a line, RDI: a word. Zero flag where the line starts with the word, and then RSI points
/// behind it. Changes RAX and RDI.
fn match_word(s: &mut Asm) -> Build {
    let (next, word_ends, end) = (s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::MatchWord)?;
    s.mov(esi, ebx)?;
    s.bind(next)?;
    s.mov(al, byte_ptr(rdi))?;
    s.test(al, al)?;
    s.je(word_ends)?;
    s.mov(ah, byte_ptr(rsi))?;
    // Upper case letters become lower case; no command holds a character that this would spoil.
    s.cmp(ah, u32::from(b'?'))?;
    let keep = s.create_label();
    s.je(keep)?;
    s.or(ah, 0x20)?;
    s.bind(keep)?;
    s.cmp(ah, al)?;
    s.jne(end)?;
    s.inc(rsi)?;
    s.inc(rdi)?;
    s.jmp(next)?;
    s.bind(word_ends)?;
    s.cmp(byte_ptr(rsi), 0)?;
    s.je(end)?;
    s.cmp(byte_ptr(rsi), u32::from(b' '))?;
    s.bind(end)?;
    s.ret()
}

fn help(s: &mut Asm) -> Build {
    s.routine(Routine::Help)?;
    for (name, argument, text, _) in COMMANDS.into_iter().filter(|c| !c.2.is_empty()) {
        s.say_in(colour::BRIGHT, &format!("  {name:<9}"))?;
        s.say(&format!("{argument:<7}{text}\n"))?;
    }
    s.say("Leave the emulator with Ctrl-A x; Ctrl-A h shows its keys.\n")?;
    s.ret()
}

fn ticks(s: &mut Asm) -> Build {
    s.routine(Routine::Ticks)?;
    s.say("Timer interrupts: ")?;
    s.mov(rax, qword_ptr(vars::TICKS))?;
    s.invoke(Routine::PrintDec)?;
    s.say(" in ")?;
    s.invoke(Routine::Seconds)?;
    s.invoke(Routine::PrintDec)?;
    s.say(" seconds, keyboard: ")?;
    s.mov(eax, dword_ptr(vars::KEY_INTERRUPTS))?;
    s.invoke(Routine::PrintDec)?;
    s.say(", COM1: ")?;
    s.mov(eax, dword_ptr(vars::SERIAL_INTERRUPTS))?;
    s.invoke(Routine::PrintDec)?;
    s.say(".\nThe timer asks for 100 a second; on a busy host some are lost.\n")?;
    s.say("Between them the processor sleeps in HLT.\n")?;
    s.ret()
}
