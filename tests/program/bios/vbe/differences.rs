//! What differs between our ROM and SeaBIOS's VGA BIOS, and between our card and QEMU's, and why. A name "*: what" is that of
//! all modes' calls.

use crate::bios::oracle::Difference;

const WRONG_MODE: &str = "the call fails in this mode: 03h in AH, as the standard has it";
const NO_PALETTE: &str = "SeaVGABIOS lacks function 09h";
const UNKNOWN: &str = "a function that is there fails by 01h or 02h in AH";
const ROUNDED: &str =
    "lines are rounded up to a multiple of eight pixels, so that they are as long as was asked for";
const NOT_CLAMPED: &str = "what is longer than memory allows fails, as the standard has it";
const TEXT_MODES: &str = "SeaVGABIOS has no such mode and stays in the one before";
const SMALL_CHARACTERS: &str = "modes with 200 lines have characters of eight lines";
const NO_ATTRIBUTE: &str = "there is no attribute in graphics modes: AH is 0";
const SIXTEEN_BITS: &str = "SeaVGABIOS draws to the first 64 KiB only in modes with 256 colours";

/// Our ROM and SeaBIOS's, on QEMU's card.
pub const OURS: &[Difference] = &[
    ("4F00", &["memory"], "other strings, another version of them"),
    ("4F00 of version 1", &["memory"], "likewise"),
    ("4F05 in text", &["eax"], WRONG_MODE),
    ("4F06 in text", &["eax", "ebx", "ecx", "edx"], WRONG_MODE),
    ("4F07 in text", &["eax"], WRONG_MODE),
    ("4F08 in text", &["eax"], WRONG_MODE),
    ("4F0A of an unknown function", &["eax"], "SeaVGABIOS has no interface for protected mode"),
    ("4F10 what there is", &["ebx"], "version 1.0 without reduced power"),
    ("4F15 what there is", &["ebx"], "the card has no wires for DDC1"),
    ("4F01 of a number of VGA", &["eax", "memory"], "modes of VGA are not in VBE's list"),
    ("4F02 of a mode of VGA: data", &["memory"], "the BDA has the CGA's registers"),
    ("*: information", &["memory"], "see what differs in the information on all modes"),
    ("*: far to 2", &["flags", "eax"], "the window function has no result: AX is kept"),
    ("*: line at most", &["eax", "ebx", "ecx", "edx"], "SeaVGABIOS lacks it"),
    ("*: line of 2052 pixels", &["ebx", "ecx", "edx"], ROUNDED),
    ("*: line of 4096 bytes", &["ebx", "ecx", "edx"], ROUNDED),
    ("*: line too long", &["eax", "ebx", "ecx", "edx"], NOT_CLAMPED),
    ("*: start 8, 5", &["eax"], "after that the line is longer with SeaVGABIOS"),
    ("*: start is", &["ecx", "edx"], "likewise"),
    ("*: registers after it", &["memory"], "likewise"),
    ("*: start later", &["eax"], "likewise"),
    ("*: start is 16, 7", &["ecx", "edx"], "likewise"),
    ("*: start beyond memory", &["eax"], "what is shown must lie in memory"),
    ("*: start by stereo", &["eax"], UNKNOWN),
    ("*: palette of this code", &["eax"], NO_PALETTE),
    ("*: palette back", &["eax"], NO_PALETTE),
    ("*: palette of the second DAC", &["eax"], NO_PALETTE),
    ("*: DAC of 7 bits", &["eax", "ebx"], "the next lower width is taken, as the standard has it"),
    ("10D: rows and lines", &["memory"], SMALL_CHARACTERS),
    ("10D: their pixel", &["eax"], SMALL_CHARACTERS),
    ("10D: its pixel a row higher", &["eax"], SMALL_CHARACTERS),
    ("10D: window's sum", &["eax"], SMALL_CHARACTERS),
    ("105: its pixel a row higher", &["eax"], SIXTEEN_BITS),
    ("*: window's sum", &["eax"], SIXTEEN_BITS),
    ("*: the character", &["eax"], NO_ATTRIBUTE),
    ("*: window in linear memory", &["eax"], WRONG_MODE),
    ("*: with timings", &["eax"], "the card has no timings to set: the call fails"),
    ("state: size", &["ebx"], "the state looks otherwise"),
    ("state: size of nothing", &["eax"], UNKNOWN),
    ("state: registers", &["memory"], "bit 7 tells that memory was kept"),
    ("power: unknown", &["eax"], UNKNOWN),
    ("*: set", &["eax"], TEXT_MODES),
    ("*: get", &["ebx"], TEXT_MODES),
    ("*: data", &["memory"], TEXT_MODES),
    ("*: rows", &["memory"], TEXT_MODES),
];

const MONITOR: &str = "another monitor";
const LINES_IN_TEXT: &str = "QEMU's card tells how many lines memory has while DISPI is off, too";
const LONG_LINES: &str = "QEMU's card has lines of up to 16000 pixels in memory";

/// Our ROM on our card and on QEMU's.
pub const CARD: &[Difference] = &[
    ("4F15", &["memory"], MONITOR),
    ("*: line at most", &["ebx", "ecx"], LONG_LINES),
    ("mode 3: registers", &["memory"], LINES_IN_TEXT),
];
/// SeaBIOS's ROM, likewise. Its lines are as long as the card makes them, and there are as many.
pub const CARD_SEABIOS: &[Difference] = &[
    ("4F15", &["memory"], MONITOR),
    ("*: line too long", &["ebx", "ecx", "edx"], LONG_LINES),
    ("*: start is", &["edx"], LONG_LINES),
    ("*: registers after it", &["memory"], LONG_LINES),
    ("*: start is 16, 7", &["edx"], LONG_LINES),
    ("mode 3: registers", &["memory"], LINES_IN_TEXT),
];
/// Our ROM on our card, with SeaBIOS and with our BIOS: nothing.
pub const BIOS: &[Difference] = &[];
