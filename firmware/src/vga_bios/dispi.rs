//! The DISPI registers: an index port and a data port of 16 bits, by which Bochs's VGA card and its descendants are given
//! modes beyond VGA's.
//!
//! | index | what |
//! |---|---|
//! | 0 | B0C0h and the version |
//! | 1, 2, 3 | columns, lines, bits of a pixel |
//! | 4 | bit 0 on; 1 the first three show what is possible; 5 DAC of 8 bits; 6 linear frame buffer; 7 memory is kept |
//! | 5 | which 64 KiB are at A0000h |
//! | 6, 7 | columns and lines of memory |
//! | 8, 9 | column and line of memory at the upper left corner |
//! | 0Ah | memory in blocks of 64 KiB |
//!
//! Source: Bochs, "VBE Display API", version 0.6.

use crate::bios::asm::{Build, Module, code};
use iced_x86::code_asm::*;

/// The index port; data are behind it.
pub const PORT: u32 = 0x1CE;
/// The version, and that these registers are there.
pub const ID: u32 = 0;
/// Columns of the screen.
pub const COLUMNS: u32 = 1;
/// Lines of the screen.
pub const LINES: u32 = 2;
/// Bits of a pixel.
pub const BITS: u32 = 3;
/// [`ON`] and others.
pub const ENABLE: u32 = 4;
/// Which 64 KiB are in the window.
pub const BANK: u32 = 5;
/// Columns of a line in memory.
pub const MEMORY_COLUMNS: u32 = 6;
/// The column of memory at the upper left corner.
pub const FIRST_COLUMN: u32 = 8;
/// The line of memory there.
pub const FIRST_LINE: u32 = 9;
/// Memory in blocks of 64 KiB.
pub const MEMORY_BLOCKS: u32 = 10;

/// The registers decide what is shown.
pub const ON: u32 = 1 << 0;
/// [`COLUMNS`], [`LINES`] and [`BITS`] show the highest values.
pub const SHOW_LIMITS: u32 = 1 << 1;
/// The DAC has eight bits a component rather than six.
pub const DAC_8: u32 = 1 << 5;
/// All of memory is at the frame buffer.
pub const LINEAR: u32 = 1 << 6;
/// Turning on clears no memory.
pub const KEEP_MEMORY: u32 = 1 << 7;

/// The first version that tells how much memory there is.
const OLDEST: u32 = 0xB0C5;
const NEWEST: u32 = 0xB0CF;

/// `dispi_get`: AX is register AX. `dispi_put`: CX to register AX. `dispi_present`: CF is set where there are no such registers.
/// `dispi_off`: the VGA's registers decide. Other registers are kept.
pub(super) fn write(a: &mut Module) -> Build {
    let [absent, present] = a.labels();
    code!(a;
        routine("dispi_get");
        push(dx);
        mov(dx, PORT);
        out(dx, ax);
        inc(dx);
        in_(ax, dx);
        pop(dx);
        ret;
        routine("dispi_put");
        push(dx);
        push(ax);
        mov(dx, PORT);
        out(dx, ax);
        inc(dx);
        mov(ax, cx);
        out(dx, ax);
        pop(ax);
        pop(dx);
        ret;
        routine("dispi_present");
        push(ax);
        mov(ax, ID);
        invoke("dispi_get");
        cmp(ax, OLDEST);
        jb(absent);
        cmp(ax, NEWEST);
        jbe(present);
        bind(absent);
        pop(ax);
        stc;
        ret;
        bind(present);
        pop(ax);
        clc;
        ret;
        routine("dispi_off");
        push(ax);
        push(cx);
        mov(ax, ENABLE);
        xor(cx, cx);
        invoke("dispi_put");
        pop(cx);
        pop(ax);
        ret
    );
    Ok(())
}
