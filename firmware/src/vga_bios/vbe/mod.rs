//! Function 4Fh: the VESA BIOS Extension 3.0, by the [DISPI registers](super::dispi).
//!
//! A call answers 4Fh in AL where it is there, and in AH 0 for done, 1 for failed, 2 for not with this hardware, 3 for not in
//! this mode. On a card without DISPI registers none is there.
//!
//! | file | functions |
//! |---|---|
//! | [`mode_list`] | the modes |
//! | [`information`] | 00h, 01h |
//! | [`set`] | 02h, 03h |
//! | [`window`] | 05h, 06h, 07h |
//! | [`dac`] | 08h, 09h |
//! | [`protected`] | 0Ah |
//! | [`monitor`] | 10h, 15h |
//!
//! 04h is in [`super::state`]. Left out: timings from the caller (bit 11 of a mode: the call fails), stereo, and display starts
//! that are scheduled (07h, 02h and up), which the registers lack; the protected-mode entry point, which is optional.
//!
//! Source: VESA BIOS Extension (VBE) Core Functions Standard 3.0; VBE/PM 1.0; VBE/DDC 1.1.

pub mod dac;
pub mod information;
pub mod mode_list;
pub mod monitor;
pub mod protected;
pub mod set;
pub mod window;

use super::dispi::{BITS, MEMORY_COLUMNS};
use crate::bios::BiosError;
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use iced_x86::code_asm::*;

/// What the BDA has as the video mode in VBE's graphics modes, as other video BIOSes have it.
pub(super) const VBE_GRAPHICS: u32 = 0xFF;

pub(super) fn write(a: &mut Module) -> Result<(), BiosError> {
    dispatch(a)?;
    active(a)?;
    mode_list::write(a)?;
    information::write(a)?;
    set::write(a)?;
    window::write(a)?;
    dac::write(a)?;
    monitor::write(a)?;
    protected::write(a)
}

fn dispatch(a: &mut Module) -> Build {
    let functions = [
        (0x00, "vbe_information"),
        (0x01, "vbe_mode_information"),
        (0x02, "vbe_set"),
        (0x03, "vbe_get"),
        (0x04, "vbe_state"),
        (0x05, "vbe_window"),
        (0x06, "vbe_line_length"),
        (0x07, "vbe_start"),
        (0x08, "vbe_dac_width"),
        (0x09, "vbe_palette"),
        (0x0A, "vbe_protected"),
        (0x10, "vbe_power"),
        (0x15, "vbe_monitor"),
    ];
    let absent = a.label();
    code!(a; routine("vbe"); invoke("dispi_present"); jc(absent));
    for (function, routine) in functions {
        let routine = a.at(routine);
        code!(a; cmp(al, function); je(routine));
    }
    code!(a; bind(absent); mov(word_ptr(bp + frame::AX), 0x0100); goto("leave"));
    for (routine, answer) in [
        ("vbe_done", 0x004F),
        ("vbe_failed", 0x014F),
        ("vbe_not_here", 0x024F),
        ("vbe_not_in_this_mode", 0x034F),
    ] {
        code!(a; routine(routine); mov(word_ptr(bp + frame::AX), answer); goto("leave"));
    }
    Ok(())
}

/// `vbe_graphics`: ZF is set in a graphics mode of VBE. `vbe_pitch`: EAX is the bytes of a line, in one plane; CX is lost.
/// `bytes_of_pixels`: EAX pixels of CL bits as bytes.
fn active(a: &mut Module) -> Build {
    let planar = a.label();
    code!(a;
        routine("vbe_graphics");
        cmp(byte_ptr(bda::VIDEO_MODE), VBE_GRAPHICS);
        ret;
        routine("vbe_pitch");
        mov(ax, BITS);
        invoke("dispi_get");
        mov(cx, ax);
        mov(ax, MEMORY_COLUMNS);
        invoke("dispi_get");
        movzx(eax, ax);
        routine("bytes_of_pixels");
        cmp(cl, 4);
        je(planar);
        push(cx);
        movzx(ecx, cl);
        inc(cx);
        shr(cx, 3);
        push(edx);
        mul(ecx);
        pop(edx);
        pop(cx);
        ret;
        bind(planar);
        shr(eax, 3);
        ret
    );
    Ok(())
}
