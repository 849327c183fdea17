//! How to end: halt, reset, soft off.

use super::colour;
use crate::demo::asm::{Asm, Build, Routine};
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// How long the demo waits for the machine to go away before it says that it did not.
const PATIENCE: u32 = 50_000_000;

pub(super) fn routines(s: &mut Asm) -> Build {
    halt(s)?;
    reboot(s)?;
    power_off(s)
}

fn halt(s: &mut Asm) -> Build {
    s.routine(Routine::Halt)?;
    s.say("CLI, then HLT: the processor waits for an interrupt that it does not take.\n")?;
    s.say("Nothing but a reset helps now. Ctrl-A x leaves the emulator.\n")?;
    s.invoke(Routine::SyncCursor)?;
    let stop = s.here()?;
    s.cli()?;
    s.hlt()?;
    s.jmp(stop)
}

/// The reset control register, then the keyboard controller's reset line.
fn reboot(s: &mut Asm) -> Build {
    s.routine(Routine::Reboot)?;
    s.say("Writing 06h to port CF9h, the reset control register.\n")?;
    s.mov(edx, u32::from(board::RESET_CONTROL.0))?;
    s.mov(al, u32::from(board::RESET_VALUE))?;
    s.out(dx, al)?;
    wait(s)?;
    s.mov(al, 0xFE)?;
    s.out(u32::from(board::I8042_COMMAND.0), al)?;
    wait(s)?;
    s.say_in(colour::RED, "The machine is still here.\n")?;
    s.ret()
}

/// ACPI: take power management over from firmware, then SLP_TYP of S5 with SLP_EN.
fn power_off(s: &mut Asm) -> Build {
    const SLP_EN: u32 = 1 << 13;
    const SLP_TYP_SHIFT: u32 = 10;
    s.routine(Routine::PowerOff)?;
    s.say("ACPI S5: SLP_TYP and SLP_EN go to the PM1a control register. Good night.\n")?;
    s.mov(al, u32::from(board::ACPI_ENABLE))?;
    s.out(u32::from(board::SMI_COMMAND.0), al)?;
    s.mov(edx, u32::from(board::PM1A_CONTROL.0))?;
    s.in_(ax, dx)?;
    s.and(eax, 0x1)?;
    s.or(eax, u32::from(board::SLP_TYP_S5) << SLP_TYP_SHIFT | SLP_EN)?;
    s.out(dx, ax)?;
    wait(s)?;
    s.say_in(colour::RED, "The machine is still here.\n")?;
    s.ret()
}

fn wait(s: &mut Asm) -> Build {
    s.mov(ecx, PATIENCE)?;
    let again = s.here()?;
    s.pause()?;
    s.dec(ecx)?;
    s.jne(again)
}
