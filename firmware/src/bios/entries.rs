//! Entry points at fixed addresses, as programs of the PC's first years expect them, and what else stands there.
//!
//! Source: IBM PC/AT Technical Reference, "System BIOS", "Compatibility".

use super::asm::Assembled;
use super::layout::SYSTEM_SEGMENT;
use super::{BiosError, Image, offset_in_rom};
use crate::vga_bios::font;

/// Offsets in the system BIOS and the routines to which they lead.
const JUMPS: [(u32, &str); 20] = [
    (PNP_ENTRY, "pnp_entry"),
    (0xE05B, "post"),
    (0xE2C3, "int02"),
    (0xE3FE, "int13"),
    (0xE6F2, "int19"),
    (0xE739, "int14"),
    (0xE82E, "int16"),
    (0xE987, "int09"),
    (0xEC59, "int40"),
    (0xEF57, "int0e"),
    (0xEFD2, "int17"),
    (0xF065, "int42"),
    (0xF841, "int12"),
    (0xF84D, "int11"),
    (0xF859, "int15"),
    (0xFE6E, "int1a"),
    (0xFEA5, "int08"),
    (0xFF23, "hardware_master"),
    (0xFF2B, "hardware_slave"),
    (0xFF54, "int05"),
];

/// IRET alone.
pub const IRET: u32 = 0xFF53;
/// Where the entry point of a PnP BIOS would be; it says that no function is there.
pub const PNP_ENTRY: u32 = 0xFF60;
/// Where the system's configuration table stands, which INT 15h function C0h returns.
pub const CONFIGURATION: u32 = 0xE6F5;
/// Where the parameters of the floppy drives stand.
pub const FLOPPY_PARAMETERS: u32 = 0xEFC7;
/// Where the first half of the 8x8 font stands.
const FONT_8X8: u32 = 0xFA6E;
const RESET_VECTOR: u32 = 0xFFF0;
/// Eight characters, then nothing, then the model: AT.
const DATE: u32 = 0xFFF5;
const MODEL_AT: u8 = 0xFC;

/// Feature bytes: second PIC, clock, INT 15h function 4Fh is called, EBDA.
const FEATURES: u8 = 1 << 6 | 1 << 5 | 1 << 4 | 1 << 2;
/// Feature byte 2: INT 16h function 09h is there.
const FEATURES_2: u8 = 1 << 6;

/// Parameters of a 1.44 MB drive.
const FLOPPY_1440: [u8; 11] = [0xAF, 0x02, 0x25, 0x02, 0x12, 0x1B, 0xFF, 0x6C, 0xF6, 0x0F, 0x08];

/// Puts all of it into the ROM.
pub(super) fn place(image: &mut Image, system: &Assembled) -> Result<(), BiosError> {
    let mut put = |at: u32, bytes: &[u8]| {
        let start = offset_in_rom(SYSTEM_SEGMENT, at);
        image.place("entry points", start, bytes, start + bytes.len())
    };
    for (at, routine) in JUMPS {
        // A near jump, relative to what follows it.
        let target = system.offset(routine)?.wrapping_sub(at as u16 + 3).to_le_bytes();
        put(at, &[0xE9, target[0], target[1]])?;
    }
    put(IRET, &[0xCF])?;
    put(CONFIGURATION, &[8, 0, MODEL_AT, 1, 0, FEATURES, FEATURES_2, 0, 0, 0])?;
    put(FLOPPY_PARAMETERS, &FLOPPY_1440)?;
    put(FONT_8X8, &font::LINES_8[..128 * 8])?;
    // Far: it leads from the ROM below 4 GiB to that below 1 MiB.
    put(RESET_VECTOR, &[0xEA, 0x5B, 0xE0, 0x00, 0xF0])?;
    put(DATE, b"01/01/26")?;
    put(DATE + 9, &[MODEL_AT])
}
