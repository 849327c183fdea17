//! The ROM of the VGA card: INT 10h, and VBE on cards with the DISPI registers.
//!
//! It is an option ROM of its own, which POST (or SeaBIOS) puts at C0000h and calls at offset 3. Its code touches ROM, low
//! memory, and the VGA's ports and memory only, in 16-bit code, because systems run it where nothing else is there: X
//! servers, v86d and others execute it in an emulator of their own. Only [`start`], which runs while the ROM's place can still
//! be written, looks at PCI and calls the system BIOS.
//!
//! | file | functions |
//! |---|---|
//! | [`parameters`], [`mode_table`], [`set_mode`] | 00h |
//! | [`cursor`] | 01h, 02h, 03h, 04h, 05h, 0Fh |
//! | [`text`], [`teletype`] | 06h to 0Ah, 0Eh, 13h |
//! | [`graphics`], [`drawn_text`], [`vbe_pixels`] | 0Ch, 0Dh, and all of these where characters are drawn |
//! | [`palette`], [`colours`] | 0Bh, 10h |
//! | [`font`], [`load_font`] | 11h |
//! | [`configuration`] | 12h, 1Ah, 1Bh |
//! | [`state`] | 1Ch, and 04h of VBE |
//! | [`vbe`] | 4Fh |
//!
//! Source: IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 10H - Video"; VESA BIOS Extension (VBE) Core Functions
//! Standard 3.0; PCI Firmware Specification 3.0, "PCI Expansion ROMs".

pub mod colours;
pub mod configuration;
pub mod cursor;
pub mod dispi;
pub mod drawn_text;
pub mod edid;
pub mod font;
pub mod graphics;
pub mod header;
pub mod load_font;
pub mod mode_table;
pub mod palette;
pub mod parameters;
pub mod set_mode;
pub mod start;
pub mod state;
pub mod teletype;
#[cfg(test)]
mod tests;
pub mod text;
pub mod vbe;
pub mod vbe_pixels;

use crate::bios::BiosError;
use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::VIDEO_SEGMENT;
use iced_x86::code_asm::*;

/// The ROM and what is known of it.
pub struct VgaBios {
    /// A whole number of 2 KiB, at most 64 KiB.
    pub image: Vec<u8>,
    /// Names of routines and their physical addresses, in ascending order.
    pub symbols: Vec<(u32, String)>,
}

/// Offsets of tables that several files use.
pub(crate) struct Tables {
    /// Of [`parameters`].
    rows: u32,
    /// Of [`mode_table`].
    modes: u32,
}

/// The ROM. It is the same for every machine.
///
/// # Errors
/// See [`BiosError`].
pub fn build() -> Result<VgaBios, BiosError> {
    let mut module = Module::data_first(header::BYTES)?;
    let a = &mut module;
    let tables = Tables { rows: parameters::table(a), modes: mode_table::table(a) };
    interrupt(a)?;
    start::write(a, &tables)?;
    set_mode::write(a, &tables)?;
    cursor::write(a)?;
    text::write(a)?;
    teletype::write(a)?;
    graphics::write(a)?;
    drawn_text::write(a)?;
    vbe_pixels::write(a)?;
    palette::write(a)?;
    colours::write(a)?;
    load_font::write(a)?;
    configuration::write(a)?;
    state::write(a)?;
    dispi::write(a)?;
    vbe::write(a)?;
    let module = module.finish()?;
    Ok(VgaBios { image: header::image(&module)?, symbols: module.addresses(VIDEO_SEGMENT) })
}

/// The entry, by the function in AH.
fn interrupt(a: &mut Module) -> Build {
    let functions = [
        (0x0E, "teletype"),
        (0x02, "cursor_set"),
        (0x03, "cursor_get"),
        (0x09, "write_with_attribute"),
        (0x0A, "write_without_attribute"),
        (0x08, "read_character"),
        (0x06, "scroll_up"),
        (0x07, "scroll_down"),
        (0x00, "set_mode"),
        (0x01, "cursor_shape"),
        (0x04, "light_pen"),
        (0x05, "page_select"),
        (0x0B, "cga_palette"),
        (0x0C, "pixel_write"),
        (0x0D, "pixel_read"),
        (0x0F, "mode_get"),
        (0x10, "palette"),
        (0x11, "font"),
        (0x12, "choices"),
        (0x13, "write_string"),
        (0x1A, "display_code"),
        (0x1B, "state"),
        (0x1C, "state_services"),
        (0x4F, "vbe"),
    ];
    a.routine("int10")?;
    crate::bios::services::enter(a)?;
    for (function, routine) in functions {
        let routine = a.at(routine);
        code!(a; cmp(ah, function); je(routine));
    }
    code!(a;
        routine("leave");
        mov(sp, bp);
        popad;
        pop(es);
        pop(ds);
        iret
    );
    Ok(())
}

/// Points ES at the text memory of the mode, B800h or B000h. DS is the BDA; AX is lost.
pub(crate) fn text_memory_in_es(a: &mut Module) -> Build {
    let colour = a.label();
    code!(a;
        mov(ax, 0xB800);
        cmp(byte_ptr(crate::bios::layout::bda::VIDEO_MODE), 7);
        jne(colour);
        mov(ah, 0xB0);
        bind(colour);
        mov(es, ax)
    );
    Ok(())
}
