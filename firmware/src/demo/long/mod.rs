//! Long mode: interrupts, screen, input, and a prompt that shows what is inside the machine.
//!
//! | file | part |
//! |---|---|
//! | [`screen`], [`numbers`] | printing to screen and COM1 |
//! | [`interrupts`] | IDT, exceptions, PIC, PIT |
//! | [`clock`], [`pause`] | the header's clock, waiting for a key |
//! | [`input`] | keyboard and serial interrupts, the line editor |
//! | [`shell`] | the prompt and its commands |
//! | [`cpu`], [`memory`], [`pci`] | what the machine has |
//! | [`checks`], [`faults`] | self-checks, exceptions on purpose |
//! | [`power`], [`tour`] | how to end, and how it all works |
//!
//! Routines keep all registers but those that they return something in, unless they say otherwise.

pub mod checks;
pub mod clock;
pub mod cpu;
pub mod faults;
pub mod input;
pub mod interrupts;
pub mod memory;
pub mod numbers;
pub mod pause;
pub mod pci;
pub mod power;
pub mod screen;
pub mod shell;
pub mod tour;

use super::asm::{Asm, Build, Routine};
use super::layout::*;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Colours of text mode: background in the upper half, foreground in the lower.
pub mod colour {
    pub use crate::demo::real::PLAIN;
    /// What to look at.
    pub const BRIGHT: u8 = 0x0F;
    /// Headings.
    pub const CYAN: u8 = 0x0B;
    /// What went well.
    pub const GREEN: u8 = 0x0A;
    /// What failed.
    pub const RED: u8 = 0x0C;
    /// The prompt.
    pub const YELLOW: u8 = 0x0E;
}

/// The long-mode part and its texts.
///
/// # Errors
/// Where the assembler refuses an instruction: a fault of this program.
pub fn assemble() -> Result<(Vec<u8>, Vec<u8>), IcedError> {
    let mut s = Asm::new(64, LONG_TEXT)?;
    start(&mut s)?;
    for part in [
        screen::routines,
        numbers::routines,
        interrupts::routines,
        clock::routines,
        pause::routines,
        input::routines,
        shell::routines,
        cpu::routines,
        memory::routines,
        pci::routines,
        checks::routines,
        faults::routines,
        power::routines,
        tour::routines,
    ] {
        part(&mut s)?;
    }
    s.finish(LONG_CODE)
}

/// The first 64-bit instructions, and what the demo does from there on.
fn start(s: &mut Asm) -> Build {
    s.mov(eax, u32::from(DATA))?;
    for segment in [ds, es, ss, fs, gs] {
        s.mov(segment, eax)?;
    }
    s.mov(rsp, STACK_TOP)?;
    s.cld()?;
    s.say(" 4 Long mode: 64-bit code, PAE, EFER.LME, four-level paging, the same memory.\n")?;
    enable_floating_point(s)?;
    s.invoke(Routine::InitInterrupts)?;
    s.invoke(Routine::InitClock)?;
    s.invoke(Routine::InitInput)?;
    s.sti()?;
    s.say(" 5 Interrupts: an IDT, PICs at vectors 20h-2Fh, PIT at 100 Hz, keyboard, COM1.\n\n")?;
    s.invoke(Routine::CpuSummary)?;
    s.invoke(Routine::Features)?;
    s.invoke(Routine::MemoryMap)?;
    s.invoke(Routine::Pause)?;
    s.invoke(Routine::PciList)?;
    s.invoke(Routine::Checks)?;
    s.say("\nNo operating system is here: only this program. Type ")?;
    s.say_in(colour::YELLOW, "help")?;
    s.say(" or ")?;
    s.say_in(colour::YELLOW, "tour")?;
    s.say(".\n")?;
    let shell = s.label_of(Routine::Shell);
    s.jmp(shell)
}

/// x87 and SSE on; XSAVE and AVX too where CPUID has them (SDM Vol. 1, Enabling the XSAVE Feature
/// Set and XSAVE-Enabled Features).
fn enable_floating_point(s: &mut Asm) -> Build {
    const CR0_EM_TS: i32 = 1 << 2 | 1 << 3;
    const CR0_MP_NE: i32 = 1 << 1 | 1 << 5;
    const CR4_OSFXSR_OSXMMEXCPT: i32 = 1 << 9 | 1 << 10;
    const CR4_OSXSAVE: i32 = 1 << 18;
    let done = s.create_label();
    s.mov(rax, cr0)?;
    s.and(rax, !CR0_EM_TS)?;
    s.or(rax, CR0_MP_NE)?;
    s.mov(cr0, rax)?;
    s.mov(rax, cr4)?;
    s.or(rax, CR4_OSFXSR_OSXMMEXCPT)?;
    s.mov(cr4, rax)?;
    s.fninit()?;
    s.mov(eax, 1)?;
    s.cpuid()?;
    s.bt(ecx, 26)?;
    s.jae(done)?;
    s.mov(rax, cr4)?;
    s.or(rax, CR4_OSXSAVE)?;
    s.mov(cr4, rax)?;
    s.mov(eax, 0xD)?;
    s.xor(ecx, ecx)?;
    s.cpuid()?;
    // x87, SSE and AVX states, as far as they are supported.
    s.and(eax, 0b111)?;
    s.xor(edx, edx)?;
    s.xor(ecx, ecx)?;
    s.xsetbv()?;
    s.bind(done)
}
