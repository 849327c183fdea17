//! The calls of VBE, in order: later ones rest on what earlier ones did.

use crate::bios::services::probe::{BUFFER, Call, FAR_CALL, INDEXED_16, NOTHING, SUM, VBE2};

const AT_BUFFER: u16 = BUFFER as u16;
/// What of a mode's information is shown: all up to the highest pixel clock.
pub const INFORMATION_BYTES: u8 = 66;
/// Modes whose information is asked for.
pub const NUMBERS: std::ops::Range<u32> = 0x100..0x1C0;
/// How lines of [`NUMBERS`] begin.
pub const INFORMATION: &str = "4F01/";

fn call(name: impl Into<String>, interrupt: u8, registers: [u32; 7], shown: u8) -> Call {
    Call { name: name.into(), interrupt, registers, shown: (AT_BUFFER, shown) }
}
/// AX, BX, CX, DX; with ES:DI at the buffer, of which some bytes are shown.
fn video(name: impl Into<String>, [a, b, c, d]: [u32; 4], shown: u8) -> Call {
    call(name, 0x10, [a, b, c, d, 0, BUFFER, 0], shown)
}
fn shows(name: impl Into<String>, at: u16, bytes: u8) -> Call {
    Call { shown: (at, bytes), ..call(name, NOTHING, [0; 7], 0) }
}
/// The DISPI registers.
fn registers(name: impl Into<String>) -> Call {
    call(name, INDEXED_16, [0, 0, 11, 0x1CE, 0, 0, 0], 22)
}
/// A sum of the window.
fn window(name: impl Into<String>) -> Call {
    call(name, SUM, [0, 0xA000, 0xFFFF, 0, 0, 0, 0], 0)
}

/// All calls.
pub fn calls() -> Vec<Call> {
    let mut all = vec![
        call("4F00", VBE2, [0x4F00, 0, 0, 0, 0, BUFFER, 0], 34),
        call("4F00 of version 1", 0x10, [0x4F00, 0, 0, 0, 0, BUFFER, 0], 20),
        video("4F05 in text", [0x4F05, 0, 0, 1], 0),
        video("4F06 in text", [0x4F06, 1, 0, 0], 0),
        video("4F07 in text", [0x4F07, 1, 0, 0], 0),
        video("4F08 in text", [0x4F08, 1, 0, 0], 0),
        video("4F0A of an unknown function", [0x4F0A, 7, 0, 0], 0),
        video("4F10 what there is", [0x4F10, 0, 0, 0], 0),
        video("4F15 what there is", [0x4F15, 0, 0, 0], 0),
        video("4F15", [0x4F15, 1, 0, 0], 128),
        video("4F15 of a block that is missing", [0x4F15, 1, 0, 5], 0),
        video("4F7F", [0x4F7F, 0, 0, 0], 0),
        video("4F03 in text", [0x4F03, 0, 0, 0], 0),
        video("4F01 of a number of VGA", [0x4F01, 0, 0x13, 0], 16),
        video("4F02 of a mode that is missing", [0x4F02, 0x1FE, 0, 0], 0),
        video("4F02 of a mode of VGA", [0x4F02, 0x13, 0, 0], 0),
        shows("4F02 of a mode of VGA: data", 0x449, 30),
        video("4F03 in a mode of VGA", [0x4F03, 0, 0, 0], 0),
    ];
    for number in NUMBERS {
        all.push(video(format!("{INFORMATION}{number:X}"), [0x4F01, 0, number, 0], INFORMATION_BYTES));
    }
    for (number, bits) in [
        (0x101u32, 8u32),
        (0x103, 8),
        (0x105, 8),
        (0x10D, 15),
        (0x111, 16),
        (0x115, 24),
        (0x144, 32),
        (0x190, 16),
    ] {
        all.extend(graphics(number, bits));
    }
    all.extend(state());
    all.extend(text());
    all
}

/// One mode, with the window and, at last, linear.
fn graphics(number: u32, bits: u32) -> Vec<Call> {
    let name = |what: &str| format!("{number:X}: {what}");
    let mut all = vec![
        video(name("set"), [0x4F02, number, 0, 0], 0),
        video(name("get"), [0x4F03, 0, 0, 0], 0),
        registers(name("registers")),
        shows(name("mode and columns"), 0x449, 4),
        shows(name("rows and lines"), 0x484, 3),
        video(name("window to 3"), [0x4F05, 0, 0, 3], 0),
        video(name("window is"), [0x4F05, 0x0100, 0, 0], 0),
        video(name("window B"), [0x4F05, 1, 0, 3], 0),
        video(name("window to none"), [0x4F05, 0, 0, 0x7FFF], 0),
        // For its far pointer.
        video(name("information"), [0x4F01, 0, number, 0], 4),
        call(name("far to 2"), FAR_CALL, [0x4F05, 0, 0, 2, 0, 0, 0], 0),
        video(name("window is 2"), [0x4F05, 0x0100, 0, 0], 0),
        video(name("line is"), [0x4F06, 1, 0, 0], 0),
        video(name("line at most"), [0x4F06, 3, 0, 0], 0),
        video(name("line of 2000 pixels"), [0x4F06, 0, 2000, 0], 0),
        video(name("line of 2052 pixels"), [0x4F06, 0, 2052, 0], 0),
        video(name("line of 4096 bytes"), [0x4F06, 2, 4096, 0], 0),
        video(name("line too long"), [0x4F06, 0, 0xFFF8, 0], 0),
        video(name("start 8, 5"), [0x4F07, 0, 8, 5], 0),
        video(name("start is"), [0x4F07, 1, 0, 0], 0),
        registers(name("registers after it")),
        video(name("start later"), [0x4F07, 0x80, 16, 7], 0),
        video(name("start is 16, 7"), [0x4F07, 1, 0, 0], 0),
        video(name("start beyond memory"), [0x4F07, 0, 0, 0xFFF0], 0),
        video(name("start by stereo"), [0x4F07, 3, 0, 0], 0),
        video(name("DAC is"), [0x4F08, 1, 0, 0], 0),
    ];
    if bits == 8 {
        all.extend([
            video(name("DAC of 8 bits"), [0x4F08, 0x0800, 0, 0], 0),
            video(name("DAC is 8"), [0x4F08, 1, 0, 0], 0),
            video(name("palette of this code"), [0x4F09, 0, 4, 100], 0),
            video(name("palette back"), [0x4F09, 1, 4, 100], 16),
            video(name("DAC of 7 bits"), [0x4F08, 0x0700, 0, 0], 0),
        ]);
    }
    all.extend([
        video(name("palette of the second DAC"), [0x4F09, 2, 1, 0], 0),
        video(name("set again"), [0x4F02, number, 0, 0], 0),
        video(name("pixel"), [0x0C0C, 0, 20, 10], 0),
        video(name("pixel is"), [0x0D00, 0, 20, 10], 0),
        video(name("a pixel in another window"), [0x0C09, 0, 11, 190], 0),
        video(name("it is"), [0x0D00, 0, 11, 190], 0),
        video(name("cursor"), [0x0200, 0, 0, 0x0203], 0),
        video(name("two characters"), [0x09DB, 0x000E, 2, 0], 0),
        video(name("their pixel"), [0x0D00, 0, 30, 38], 0),
        video(name("the character"), [0x0800, 0, 0, 0], 0),
        video(name("tele"), [0x0EDB, 0x000A, 0, 0], 0),
        video(name("cursor is"), [0x0300, 0, 0, 0], 0),
        video(name("scroll"), [0x0601, 0, 0x0100, 0x0A10], 0),
        video(name("its pixel a row higher"), [0x0D00, 0, 38, 22], 0),
        video(name("its pixel where it was"), [0x0D00, 0, 38, 46], 0),
        video(name("down"), [0x0702, 0x0400, 0x0000, 0x0A10], 0),
        video(name("pixel of a new row"), [0x0D00, 0, 5, 5], 0),
        video(name("memory starts"), [0x4F05, 0, 0, 0], 0),
        window(name("window's sum")),
        video(name("linear, memory kept"), [0x4F02, number | 0xC000, 0, 0], 0),
        video(name("linear is"), [0x4F03, 0, 0, 0], 0),
        registers(name("linear registers")),
        video(name("window in linear memory"), [0x4F05, 0, 0, 1], 0),
        video(name("with timings"), [0x4F02, number | 0x4800, 0, 0], 0),
    ]);
    all
}

/// Saving and restoring; what is saved is told by what is restored.
fn state() -> Vec<Call> {
    let mut all = vec![
        video("state: mode", [0x4F02, 0x103, 0, 0], 0),
        video("state: colour", [0x1010, 33, 0x1A1B, 0x1900], 0),
        video("state: size", [0x4F04, 0, 0x0F, 0], 0),
        video("state: size of nothing", [0x4F04, 0, 0, 0], 0),
        video("state: bad function", [0x4F04, 0, 0x0F, 7], 0),
        video("state: start", [0x4F07, 0, 0, 20], 0),
        call("state: save", 0x10, [0x4F04, 0xC000, 0x0F, 1, 0, 0, 0], 0),
        video("state: text", [3, 0, 0, 0], 0),
        call("state: restore", 0x10, [0x4F04, 0xC000, 0x0F, 2, 0, 0, 0], 0),
    ];
    all.extend([
        registers("state: registers"),
        shows("state: mode and columns", 0x449, 4),
        video("state: get", [0x4F03, 0, 0, 0], 0),
        video("state: start is", [0x4F07, 1, 0, 0], 0),
        video("state: colour is", [0x1015, 33, 0, 0], 0),
        video("power: stand-by", [0x4F10, 0x0101, 0, 0], 0),
        video("power: is", [0x4F10, 2, 0, 0], 0),
        video("power: on", [0x4F10, 0x0001, 0, 0], 0),
        video("power: unknown", [0x4F10, 0x5501, 0, 0], 0),
    ]);
    all
}

/// Text modes; at last mode 3.
fn text() -> Vec<Call> {
    let mut all = Vec::new();
    for number in 0x108u32..=0x10C {
        let name = |what: &str| format!("{number:X}: {what}");
        all.extend([
            video(name("set"), [0x4F02, number, 0, 0], 0),
            video(name("get"), [0x4F03, 0, 0, 0], 0),
            shows(name("data"), 0x449, 30),
            shows(name("rows"), 0x484, 3),
        ]);
    }
    all.extend([
        video("mode 3", [3, 0, 0, 0], 0),
        registers("mode 3: registers"),
        video("mode 3: get", [0x4F03, 0, 0, 0], 0),
    ]);
    all
}
