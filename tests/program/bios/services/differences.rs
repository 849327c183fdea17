//! What differs from SeaBIOS under QEMU, and why.

use crate::bios::oracle::Difference;

/// Fields that are not the same twice.
pub const VARYING: &[Difference] = &[("1A/00", &["edx"], "the timer ticks")];

const CGA_REGISTERS: &str =
    "the BDA has the CGA's registers as IBM's adapters leave them; SeaVGABIOS leaves zeros";
const FONT_PLACE: &str = "the font stands elsewhere";
const NO_ATTRIBUTE: &str =
    "there is no attribute in graphics modes: AH is 0; SeaVGABIOS leaves a colour there";
const COLOUR_DONT_CARE: &str = "IBM's tables have 0 in a register that text and CGA modes do not use";
const NO_ERROR: &str = "AH is 0 where a call succeeds; SeaBIOS leaves it as it was";
const CLOCK_AL: &str = "AL is not a result; SeaBIOS leaves a register of the clock there";
const MEMORY_OF_SEABIOS: &str = "SeaBIOS keeps memory below the end of RAM for its tables";
const MOUSE_VALUE: &str = "a value that does not exist is status 2; SeaBIOS says 1 or 3";
const NO_PRINTER: &str = "QEMU's PC has a parallel port";
const LINES: &str = "SeaVGABIOS has text with 400 lines only";
const NO_MASK: &str = "QEMU's DAC has no mask register";

/// Our BIOS.
pub const OURS: &[Difference] = &[
    ("mode 3: data area", &["memory"], CGA_REGISTERS),
    ("mode 3: graphics controller", &["memory"], COLOUR_DONT_CARE),
    ("page 1: data area", &["memory"], CGA_REGISTERS),
    ("10/1130 1Fh", &["ebp"], FONT_PLACE),
    ("10/1130 8x14", &["ebp"], FONT_PLACE),
    ("10/1130 8x16", &["ebp"], FONT_PLACE),
    ("10/1019", &["ebx"], NO_MASK),
    (
        "10/1B",
        &["memory"],
        "another table of abilities, the CGA's registers; rows are counted, not the last one named",
    ),
    ("10/1C of nothing", &["eax"], "no part of the state is named: the call does not answer"),
    ("10/1C: the place", &["ecx"], "shapes are told as they were set, not as they are shown"),
    ("200: CRT controller", &["memory"], LINES),
    ("200: rows", &["memory"], LINES),
    ("350: CRT controller", &["memory"], LINES),
    ("350: rows", &["memory"], LINES),
    ("350: CRT controller for rows of 8", &["memory"], LINES),
    ("350: more rows", &["memory"], LINES),
    ("13: data", &["memory"], CGA_REGISTERS),
    ("13: read", &["eax"], NO_ATTRIBUTE),
    ("13: read higher", &["eax"], NO_ATTRIBUTE),
    ("12: data", &["memory"], CGA_REGISTERS),
    ("12: read", &["eax"], NO_ATTRIBUTE),
    ("12: read higher", &["eax"], NO_ATTRIBUTE),
    ("10: data", &["memory"], CGA_REGISTERS),
    ("10: read", &["eax"], NO_ATTRIBUTE),
    ("10: read higher", &["eax"], NO_ATTRIBUTE),
    ("0D: data", &["memory"], CGA_REGISTERS),
    ("0D: read", &["eax"], NO_ATTRIBUTE),
    ("0D: read higher", &["eax"], NO_ATTRIBUTE),
    ("04: data", &["memory"], CGA_REGISTERS),
    ("04: graphics", &["memory"], COLOUR_DONT_CARE),
    ("04: read", &["eax"], NO_ATTRIBUTE),
    ("04: read higher", &["eax"], NO_ATTRIBUTE),
    ("06: data", &["memory"], CGA_REGISTERS),
    ("06: graphics", &["memory"], COLOUR_DONT_CARE),
    ("06: read", &["eax"], NO_ATTRIBUTE),
    ("06: read higher", &["eax"], NO_ATTRIBUTE),
    ("11", &["eax"], NO_PRINTER),
    ("15/C1", &["eax"], NO_ERROR),
    ("15/E801", &["ebx", "edx"], MEMORY_OF_SEABIOS),
    ("15/86", &["eax"], NO_ERROR),
    ("15/90", &["eax"], NO_ERROR),
    ("15/91", &["eax"], NO_ERROR),
    ("15/85", &["flags", "eax"], "SeaBIOS refuses what its keyboard handler calls"),
    ("15/5300", &["ecx"], "our APM has no interface for protected mode"),
    ("15/C200 no such state", &["eax"], MOUSE_VALUE),
    ("15/C205 no such size", &["eax"], MOUSE_VALUE),
    ("15/C206 no such function", &["eax"], MOUSE_VALUE),
    ("15/E820 2", &["memory"], "our tables start at E0000h"),
    ("15/E820 3", &["memory"], MEMORY_OF_SEABIOS),
    ("15/E820 4", &["ebx", "memory"], MEMORY_OF_SEABIOS),
    ("16/09", &["eax"], "function 03h can set the rate, which SeaBIOS does not say"),
    (
        "16/00 enter, past F11",
        &["eax"],
        "function 00h does not see keys of the enhanced keyboard, as IBM has it",
    ),
    ("16/01 empty", &["flags", "eax"], "so it has taken one key more"),
    ("1A/03", &["eax"], CLOCK_AL),
    ("1A/02", &["eax"], CLOCK_AL),
    ("1A/05", &["eax"], CLOCK_AL),
    ("1A/04", &["eax"], CLOCK_AL),
    ("1A/07", &["eax"], CLOCK_AL),
    ("1A/B101", &["eax", "edi"], "special cycles are there too; EDI is no result in version 2.1"),
    ("14/03 absent", &["flags"], "CF is no result of this interrupt"),
    ("17/02", &["eax"], NO_PRINTER),
];

/// SeaBIOS on this machine.
pub const SEABIOS_HERE: &[Difference] = &[
    ("10/1019", &["ebx"], NO_MASK),
    ("11", &["eax"], NO_PRINTER),
    ("15/E801", &["ebx", "edx"], "SeaBIOS keeps as much memory as its tables need"),
    ("15/E820 3", &["memory"], "likewise"),
    ("15/E820 4", &["memory"], "likewise"),
    ("17/02", &["flags", "eax"], NO_PRINTER),
];
