//! The clock in the header: how long the demo has been running.
//!
//! The timer chip interrupts 100 times a second, but counting interrupts is no clock: an interrupt that is not taken
//! before the next one is due is lost, as happens while a host is busy. The HPET counts by itself, so its counter tells
//! the time, and interrupts only say when to look. Without an HPET the interrupts have to do.
//!
//! Source: IA-PC HPET Specification 1.0a, "Register Model and Interrupt Mapping".

use super::interrupts::{TICKS_A_SECOND, end_of_interrupt};
use crate::demo::asm::{Asm, Build, Routine};
use crate::demo::layout::*;
use crate::demo::real::header_cell;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// General configuration.
const CONFIGURATION: i32 = 0x10;
/// Main counter.
const COUNTER: i32 = 0xF0;
const ENABLE: i32 = 1;
/// The longest time between counts that the specification allows, in femtoseconds. What is longer is no HPET.
const MAX_PERIOD_FS: u32 = 100_000_000;
const FEMTOSECONDS: u64 = 1_000_000_000_000_000;

pub(super) fn routines(s: &mut Asm) -> Build {
    init(s)?;
    seconds(s)
}

/// Finds the HPET and starts it from zero. Changes registers.
fn init(s: &mut Asm) -> Build {
    let none = s.create_label();
    s.routine(Routine::InitClock)?;
    s.mov(edi, board::HPET.0 as u32)?;
    // The upper half of the capabilities is the time between two counts.
    s.mov(ecx, dword_ptr(rdi + 4))?;
    s.test(ecx, ecx)?;
    s.je(none)?;
    s.cmp(ecx, MAX_PERIOD_FS)?;
    s.ja(none)?;
    s.mov(rax, FEMTOSECONDS)?;
    s.xor(edx, edx)?;
    s.div(rcx)?;
    s.mov(qword_ptr(vars::HPET_COUNTS_A_SECOND), rax)?;
    s.mov(dword_ptr(rdi + CONFIGURATION), 0)?;
    s.mov(qword_ptr(rdi + COUNTER), 0)?;
    s.mov(dword_ptr(rdi + CONFIGURATION), ENABLE)?;
    s.bind(none)?;
    s.ret()
}

/// RAX: whole seconds since the start.
fn seconds(s: &mut Asm) -> Build {
    let (by_ticks, divide) = (s.create_label(), s.create_label());
    s.routine(Routine::Seconds)?;
    s.push(rcx)?;
    s.push(rdx)?;
    s.mov(rcx, qword_ptr(vars::HPET_COUNTS_A_SECOND))?;
    s.test(rcx, rcx)?;
    s.je(by_ticks)?;
    s.mov(eax, board::HPET.0 as u32)?;
    s.mov(rax, qword_ptr(rax + COUNTER))?;
    s.jmp(divide)?;
    s.bind(by_ticks)?;
    s.mov(rax, qword_ptr(vars::TICKS))?;
    s.mov(ecx, TICKS_A_SECOND)?;
    s.bind(divide)?;
    s.xor(edx, edx)?;
    s.div(rcx)?;
    s.pop(rdx)?;
    s.pop(rcx)?;
    s.ret()
}

/// The timer interrupt: counts the tick, and shows the time when a new second has begun.
pub(super) fn timer_interrupt(s: &mut Asm) -> Result<CodeLabel, IcedError> {
    let end = s.create_label();
    let label = s.here()?;
    for register in [rax, rcx, rdx, rdi] {
        s.push(register)?;
    }
    s.inc(qword_ptr(vars::TICKS))?;
    s.invoke(Routine::Seconds)?;
    s.cmp(rax, qword_ptr(vars::SECOND))?;
    s.je(end)?;
    s.mov(qword_ptr(vars::SECOND), rax)?;
    let cell = |text: &str, more: u64| (VIDEO + 2 * (header_cell(text) + more)) as u32;
    for (at, divisor) in [(6, 60), (3, 60), (0, 100)] {
        s.xor(edx, edx)?;
        s.mov(ecx, divisor)?;
        s.div(rcx)?;
        s.push(rax)?;
        s.mov(eax, edx)?;
        s.mov(ecx, 2)?;
        s.mov(edi, cell("00:00:00", at))?;
        s.invoke(Routine::PutDigits)?;
        s.pop(rax)?;
    }
    s.mov(rax, qword_ptr(vars::TICKS))?;
    s.mov(ecx, 8)?;
    s.mov(edi, cell("00000000", 0))?;
    s.invoke(Routine::PutDigits)?;
    s.bind(end)?;
    end_of_interrupt(s)?;
    for register in [rdi, rdx, rcx, rax] {
        s.pop(register)?;
    }
    s.iretq()?;
    Ok(label)
}
