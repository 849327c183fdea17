//! A pause before the first page of the report scrolls away.

use super::colour;
use crate::demo::asm::{Asm, Build, Routine};
use crate::demo::layout::vars;
use iced_x86::code_asm::*;

/// So long the demo waits for a key.
const SECONDS: i32 = 10;
/// Keys that are there to go on: Escape, Enter and the space bar. Others are the beginning of a command.
const KEYS_TO_GO_ON: [u32; 3] = [0x1B, 10, 0x20];

/// Waits for a key, but not for ever: scripts read what comes, and who types a command at once loses nothing of it.
/// Changes registers.
pub(super) fn routines(s: &mut Asm) -> Build {
    let (key, take, end) = (s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::Pause)?;
    s.say_in(colour::YELLOW, &format!("A key goes on; without one the demo does in {SECONDS} seconds. "))?;
    s.invoke(Routine::SyncCursor)?;
    s.invoke(Routine::Seconds)?;
    s.lea(rbx, ptr(rax + SECONDS))?;
    let look = s.here()?;
    // STI takes effect after HLT has begun: no interrupt is lost between the look and the sleep.
    s.cli()?;
    s.movzx(ecx, byte_ptr(vars::RING_TAIL))?;
    s.cmp(cl, byte_ptr(vars::RING_HEAD))?;
    s.jne(key)?;
    s.invoke(Routine::Seconds)?;
    s.cmp(rax, rbx)?;
    s.jae(end)?;
    s.sti()?;
    s.hlt()?;
    s.jmp(look)?;
    s.bind(key)?;
    s.mov(al, byte_ptr(rcx + vars::RING as i32))?;
    for code in KEYS_TO_GO_ON {
        s.cmp(al, code)?;
        s.je(take)?;
    }
    s.jmp(end)?;
    s.bind(take)?;
    s.inc(byte_ptr(vars::RING_TAIL))?;
    s.bind(end)?;
    s.sti()?;
    s.say("\n")?;
    s.ret()
}
