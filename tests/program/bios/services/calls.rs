//! The calls that the probe makes, in order: later ones rest on what earlier ones did.

use super::probe::{BUFFER, Call, DESCRIPTORS, INDEXED, NOTHING, TEXT};

/// The text mode's words in the BIOS data area.
const VIDEO_DATA: (u16, u8) = (0x449, 30);
/// Where the state of the adapter is saved.
const STATE: u32 = 0xC000;
const BUFFER_16: u16 = BUFFER as u16;

fn call(name: &'static str, interrupt: u8, registers: [u32; 7]) -> Call {
    Call { name: name.to_owned(), interrupt, registers, shown: (0, 0) }
}
/// AX, BX, CX, DX.
fn plain(name: &'static str, interrupt: u8, [a, b, c, d]: [u32; 4]) -> Call {
    call(name, interrupt, [a, b, c, d, 0, 0, 0])
}
fn video(name: &'static str, registers: [u32; 4]) -> Call {
    plain(name, 0x10, registers)
}
fn shows(name: &'static str, at: u16, bytes: u8) -> Call {
    Call { shown: (at, bytes), ..call(name, NOTHING, [0; 7]) }
}
/// Registers behind an index port.
fn ports(name: &'static str, port: u32, count: u8) -> Call {
    Call { shown: (BUFFER_16, count), ..call(name, INDEXED, [0, 0, count.into(), port, 0, 0, 0]) }
}

/// All calls.
pub fn calls() -> Vec<Call> {
    let mut all = Vec::new();
    all.extend(text());
    all.extend(fonts_and_colours());
    all.extend(modes());
    all.extend(system());
    all.extend(keyboard());
    all.extend(clock());
    all.extend(serial_and_printer());
    all
}

fn text() -> Vec<Call> {
    vec![
        video("10/00 mode 3", [3, 0, 0, 0]),
        shows("mode 3: data area", VIDEO_DATA.0, VIDEO_DATA.1),
        shows("mode 3: more data", 0x484, 3),
        ports("mode 3: sequencer", 0x3C4, 5),
        ports("mode 3: CRT controller", 0x3D4, 25),
        ports("mode 3: graphics controller", 0x3CE, 9),
        video("10/0F", [0x0F00, 0, 0, 0]),
        video("10/02", [0x0200, 0, 0, 0x0205]),
        video("10/03", [0x0300, 0, 0, 0]),
        video("10/09", [0x0941, 0x001E, 3, 0]),
        video("10/08", [0x0800, 0, 0, 0]),
        video("10/0A", [0x0A42, 0x0007, 1, 0]),
        video("10/08 after 0A", [0x0800, 0, 0, 0]),
        video("10/06 one up", [0x0601, 0x0700, 0x0000, 0x184F]),
        video("10/02 a row higher", [0x0200, 0, 0, 0x0106]),
        video("10/08 a row higher", [0x0800, 0, 0, 0]),
        video("10/07 two down in a window", [0x0702, 0x2000, 0x0104, 0x050A]),
        video("10/02 where it is now", [0x0200, 0, 0, 0x0306]),
        video("10/08 where it is now", [0x0800, 0, 0, 0]),
        video("10/02 a cleared line", [0x0200, 0, 0, 0x0106]),
        video("10/08 a cleared line", [0x0800, 0, 0, 0]),
        video("10/06 all", [0x0600, 0x1700, 0x0000, 0x184F]),
        video("10/08 all", [0x0800, 0, 0, 0]),
        video("10/02 lower right corner", [0x0200, 0, 0, 0x184F]),
        video("10/0E scrolls", [0x0E5A, 7, 0, 0]),
        video("10/03 after it", [0x0300, 0, 0, 0]),
        video("10/0E backspace at the edge", [0x0E08, 7, 0, 0]),
        video("10/0E return", [0x0E0D, 7, 0, 0]),
        video("10/0E line feed", [0x0E0A, 7, 0, 0]),
        video("10/03 after these", [0x0300, 0, 0, 0]),
        call("10/13 a string", 0x10, [0x1301, 0x004F, 12, 0x0A22, 0, 0, TEXT]),
        video("10/03 after the string", [0x0300, 0, 0, 0]),
        video("10/02 on the string", [0x0200, 0, 0, 0x0A23]),
        video("10/08 on the string", [0x0800, 0, 0, 0]),
        video("10/01", [0x0100, 0, 0x0407, 0]),
        video("10/03 the shape", [0x0300, 0, 0, 0]),
        video("10/05 page 1", [0x0501, 0, 0, 0]),
        shows("page 1: data area", VIDEO_DATA.0, VIDEO_DATA.1),
        ports("page 1: CRT controller", 0x3D4, 16),
        video("10/05 page 0", [0x0500, 0, 0, 0]),
    ]
}

fn fonts_and_colours() -> Vec<Call> {
    let to_buffer = |name, [a, b, c]: [u32; 3], bytes| Call {
        shown: (BUFFER_16, bytes),
        ..call(name, 0x10, [a, b, c, BUFFER, 0, BUFFER, 0])
    };
    vec![
        video("10/1130 1Fh", [0x1130, 0x0000, 0, 0]),
        video("10/1130 8x14", [0x1130, 0x0200, 0, 0]),
        video("10/1130 8x16", [0x1130, 0x0600, 0, 0]),
        video("10/1112", [0x1112, 0, 0, 0]),
        shows("50 rows: data", 0x484, 3),
        shows("50 rows: page", 0x44C, 2),
        ports("50 rows: CRT controller", 0x3D4, 25),
        video("10/1114", [0x1114, 0, 0, 0]),
        ports("25 rows: CRT controller", 0x3D4, 25),
        video("10/1000", [0x1000, 0x2A01, 0, 0]),
        video("10/1007", [0x1007, 0x0001, 0, 0]),
        video("10/1001", [0x1001, 0x0500, 0, 0]),
        video("10/1008", [0x1008, 0, 0, 0]),
        to_buffer("10/1009", [0x1009, 0, 0], 17),
        video("10/1010", [0x1010, 0x0007, 0x1122, 0x3300]),
        video("10/1015", [0x1015, 0x0007, 0, 0]),
        to_buffer("10/1017", [0x1017, 0, 64], 192),
        video("10/1019", [0x1019, 0, 0, 0]),
        video("10/101A", [0x101A, 0, 0, 0]),
        video("10/101B", [0x101B, 7, 1, 0]),
        video("10/1015 grey", [0x1015, 0x0007, 0, 0]),
        video("10/1003 bright backgrounds", [0x1003, 0, 0, 0]),
        video("10/1007 mode register", [0x1007, 0x0010, 0, 0]),
        video("10/1003 blinking", [0x1003, 1, 0, 0]),
        video("10/12 10h", [0x1200, 0x0010, 0, 0]),
        video("10/12 31h", [0x1200, 0x0031, 0, 0]),
        video("10/12 34h", [0x1200, 0x0034, 0, 0]),
        video("10/1A00", [0x1A00, 0, 0, 0]),
        to_buffer("10/1B", [0x1B00, 0, 0], 64),
        video("10/04", [0x0400, 0, 0, 0]),
        video("10/1C of nothing", [0x1C00, 0, 0, 0]),
        call("10/1C01", 0x10, [0x1C01, STATE, 7, 0, 0, 0, 0]),
        video("10/1C: another colour", [0x1000, 0x1B02, 0, 0]),
        video("10/1C: another place", [0x0200, 0, 0, 0x0707]),
        call("10/1C02", 0x10, [0x1C02, STATE, 7, 0, 0, 0, 0]),
        video("10/1C: the colour", [0x1007, 0x0002, 0, 0]),
        video("10/1C: the place", [0x0300, 0, 0, 0]),
        video("10/12 30h, 200", [0x1200, 0x0030, 0, 0]),
        video("200: mode", [3, 0, 0, 0]),
        ports("200: CRT controller", 0x3D4, 25),
        shows("200: rows", 0x484, 7),
        video("10/12 30h, 350", [0x1201, 0x0030, 0, 0]),
        video("350: mode", [3, 0, 0, 0]),
        ports("350: CRT controller", 0x3D4, 25),
        shows("350: rows", 0x484, 7),
        video("350: rows of 8", [0x1112, 0, 0, 0]),
        ports("350: CRT controller for rows of 8", 0x3D4, 25),
        shows("350: more rows", 0x484, 7),
        video("10/12 30h, 400", [0x1202, 0x0030, 0, 0]),
        video("400: mode", [3, 0, 0, 0]),
    ]
}

fn modes() -> Vec<Call> {
    let mut all = Vec::new();
    for (mode, names) in [
        (
            0x13,
            [
                "mode 13",
                "13: data",
                "13: sequencer",
                "13: CRTC",
                "13: graphics",
                "13: put",
                "13: get",
                "13: draw",
                "13: read",
                "13: pixel of it",
                "13: scroll",
                "13: read higher",
            ],
        ),
        (
            0x12,
            [
                "mode 12",
                "12: data",
                "12: sequencer",
                "12: CRTC",
                "12: graphics",
                "12: put",
                "12: get",
                "12: draw",
                "12: read",
                "12: pixel of it",
                "12: scroll",
                "12: read higher",
            ],
        ),
        (
            0x10,
            [
                "mode 10",
                "10: data",
                "10: sequencer",
                "10: CRTC",
                "10: graphics",
                "10: put",
                "10: get",
                "10: draw",
                "10: read",
                "10: pixel of it",
                "10: scroll",
                "10: read higher",
            ],
        ),
        (
            0x0D,
            [
                "mode 0D",
                "0D: data",
                "0D: sequencer",
                "0D: CRTC",
                "0D: graphics",
                "0D: put",
                "0D: get",
                "0D: draw",
                "0D: read",
                "0D: pixel of it",
                "0D: scroll",
                "0D: read higher",
            ],
        ),
        (
            0x04,
            [
                "mode 04",
                "04: data",
                "04: sequencer",
                "04: CRTC",
                "04: graphics",
                "04: put",
                "04: get",
                "04: draw",
                "04: read",
                "04: pixel of it",
                "04: scroll",
                "04: read higher",
            ],
        ),
        (
            0x06,
            [
                "mode 06",
                "06: data",
                "06: sequencer",
                "06: CRTC",
                "06: graphics",
                "06: put",
                "06: get",
                "06: draw",
                "06: read",
                "06: pixel of it",
                "06: scroll",
                "06: read higher",
            ],
        ),
    ] {
        all.extend([
            video(names[0], [mode, 0, 0, 0]),
            shows(names[1], VIDEO_DATA.0, VIDEO_DATA.1),
            ports(names[2], 0x3C4, 5),
            ports(names[3], 0x3D4, 25),
            ports(names[4], 0x3CE, 9),
            video(names[5], [0x0C01, 0, 101, 77]),
            video(names[6], [0x0D00, 0, 101, 77]),
            video("to 2, 1", [0x0200, 0, 0, 0x0201]),
            video(names[7], [0x0941, 0x0001, 1, 0]),
            video(names[8], [0x0800, 0, 0, 0]),
            video(names[9], [0x0D00, 0, 12, 20]),
            video(names[10], [0x0601, 0, 0x0100, 0x0409]),
            video("to 1, 1", [0x0200, 0, 0, 0x0101]),
            video(names[11], [0x0800, 0, 0, 0]),
        ]);
    }
    all.push(video("mode 3 again", [3, 0, 0, 0]));
    all
}

fn system() -> Vec<Call> {
    let mut all = vec![
        plain("11", 0x11, [0; 4]),
        plain("12", 0x12, [0; 4]),
        plain("15/C0", 0x15, [0xC000, 0, 0, 0]),
        plain("15/C1", 0x15, [0xC100, 0, 0, 0]),
        plain("15/88", 0x15, [0x8800, 0, 0, 0]),
        plain("15/E801", 0x15, [0xE801, 0, 0, 0]),
        plain("15/4F", 0x15, [0x4F1E, 0, 0, 0]),
        plain("15/2402", 0x15, [0x2402, 0, 0, 0]),
        plain("15/2403", 0x15, [0x2403, 0, 0, 0]),
        plain("15/2400", 0x15, [0x2400, 0, 0, 0]),
        plain("15/2402 closed", 0x15, [0x2402, 0, 0, 0]),
        plain("15/2401", 0x15, [0x2401, 0, 0, 0]),
        plain("15/86", 0x15, [0x8600, 0, 0, 1000]),
        plain("15/90", 0x15, [0x9000, 0, 0, 0]),
        plain("15/91", 0x15, [0x9100, 0, 0, 0]),
        plain("15/85", 0x15, [0x8500, 0, 0, 0]),
        plain("15/7F00", 0x15, [0x7F00, 0, 0, 0]),
        plain("15/5300", 0x15, [0x5300, 0, 0, 0]),
        Call { shown: (BUFFER_16, 16), ..call("15/87", 0x15, [0x8700, 0, 6, 0, DESCRIPTORS, 0, 0]) },
        plain("15/E820 bad signature", 0x15, [0xE820, 0, 20, 0x534D_4150 + 1]),
    ];
    all.extend(pointing());
    for (entry, name) in
        ["15/E820 0", "15/E820 1", "15/E820 2", "15/E820 3", "15/E820 4"].into_iter().enumerate()
    {
        let registers = [0xE820, entry as u32, 20, 0x534D_4150, 0, BUFFER, 0];
        all.push(Call { shown: (BUFFER_16, 20), ..call(name, 0x15, registers) });
    }
    all
}

/// The mouse.
fn pointing() -> Vec<Call> {
    [
        ("15/C205 three bytes", 0x05, 0x0300),
        ("15/C204", 0x04, 0),
        ("15/C206 status", 0x06, 0),
        ("15/C202 100 a second", 0x02, 0x0500),
        ("15/C202 200 a second", 0x02, 0x0600),
        ("15/C203", 0x03, 0x0300),
        ("15/C206 scaling 2:1", 0x06, 0x0200),
        ("15/C206 status after these", 0x06, 0),
        ("15/C206 scaling 1:1", 0x06, 0x0100),
        ("15/C200 without a handler", 0x00, 0x0100),
        ("15/C207", 0x07, 0x7000),
        ("15/C200 on", 0x00, 0x0100),
        ("15/C206 status while on", 0x06, 0),
        ("15/C200 off", 0x00, 0),
        ("15/C201", 0x01, 0),
        ("15/C206 status after reset", 0x06, 0),
        ("15/C200 no such state", 0x00, 0x0200),
        ("15/C202 no such rate", 0x02, 0x0700),
        ("15/C203 no such resolution", 0x03, 0x0400),
        ("15/C205 no such size", 0x05, 0x0900),
        ("15/C206 no such function", 0x06, 0x0300),
        ("15/C20A", 0x0A, 0),
    ]
    .map(|(name, function, bx)| plain(name, 0x15, [0xC200 | function, bx, 0, 0]))
    .to_vec()
}

fn keyboard() -> Vec<Call> {
    vec![
        plain("16/01 nothing", 0x16, [0x0100, 0, 0, 0]),
        plain("16/02", 0x16, [0x0200, 0, 0, 0]),
        plain("16/12", 0x16, [0x1200, 0, 0, 0]),
        plain("16/09", 0x16, [0x0900, 0, 0, 0]),
        plain("16/0A", 0x16, [0x0A00, 0, 0, 0]),
        plain("16/05 a", 0x16, [0x0500, 0, 0x1E61, 0]),
        plain("16/05 grey up", 0x16, [0x0500, 0, 0x48E0, 0]),
        plain("16/05 F11", 0x16, [0x0500, 0, 0x8500, 0]),
        plain("16/05 keypad enter", 0x16, [0x0500, 0, 0xE00D, 0]),
        plain("16/01", 0x16, [0x0100, 0, 0, 0]),
        plain("16/11", 0x16, [0x1100, 0, 0, 0]),
        plain("16/00 a", 0x16, [0; 4]),
        plain("16/10 grey up", 0x16, [0x1000, 0, 0, 0]),
        plain("16/00 enter, past F11", 0x16, [0; 4]),
        plain("16/01 empty", 0x16, [0x0100, 0, 0, 0]),
        shows("keyboard's data", 0x480, 4),
    ]
}

fn clock() -> Vec<Call> {
    vec![
        plain("1A/01", 0x1A, [0x0100, 0, 0x0012, 0x8000]),
        plain("1A/00", 0x1A, [0; 4]),
        plain("1A/03", 0x1A, [0x0300, 0, 0x1234, 0x1000]),
        plain("1A/02", 0x1A, [0x0200, 0, 0, 0]),
        plain("1A/05", 0x1A, [0x0500, 0, 0x2031, 0x0615]),
        plain("1A/04", 0x1A, [0x0400, 0, 0, 0]),
        plain("1A/06", 0x1A, [0x0600, 0, 0x2359, 0x5900]),
        plain("1A/06 again", 0x1A, [0x0600, 0, 0x2359, 0x5900]),
        plain("1A/07", 0x1A, [0x0700, 0, 0, 0]),
        plain("1A/7F", 0x1A, [0x7F00, 0, 0, 0]),
        plain("1A/B101", 0x1A, [0xB101, 0, 0, 0]),
    ]
}

fn serial_and_printer() -> Vec<Call> {
    vec![
        plain("14/03", 0x14, [0x0300, 0, 0, 0]),
        plain("14/03 absent", 0x14, [0x0300, 0, 0, 3]),
        plain("17/02", 0x17, [0x0200, 0, 0, 0]),
    ]
}
