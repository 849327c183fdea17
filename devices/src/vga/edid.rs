//! What the monitor tells of itself: a block of E-EDID 1.4 (VESA Enhanced Extended Display Identification Data Standard,
//! Release A, Revision 2), with timings by the formulas of VESA CVT 1.2, reduced blanking.

/// Bytes of the block.
pub const EDID_BYTES: usize = 128;
/// The widest mode that a detailed timing can tell, a multiple of 8.
pub const MAX_WIDTH: u64 = 4088;
/// The highest mode.
pub const MAX_HEIGHT: u64 = 2160;
/// The monitor's refresh rate.
const REFRESH_HZ: u32 = 60;
/// Dots of a square inch's edge: what the size in millimetres follows from.
const DOTS_PER_INCH: u32 = 96;

/// A mode's timing with reduced blanking.
struct Timing {
    /// In units of 10 kHz.
    clock: u32,
    blank_dots: u32,
    blank_lines: u32,
    sync_lines: u32,
}

impl Timing {
    fn reduced_blanking(width: u32, height: u32) -> Self {
        const BLANK_DOTS: u32 = 160;
        const MIN_BLANK_US: f64 = 460.0;
        const FRONT: u32 = 3;
        const MIN_BACK: u32 = 6;
        let sync_lines = match () {
            () if height * 4 == width * 3 => 4,
            () if height * 16 == width * 9 => 5,
            () if height * 16 == width * 10 => 6,
            () if height * 5 == width * 4 || height * 15 == width * 9 => 7,
            () => 10,
        };
        let line_us = (1e6 / f64::from(REFRESH_HZ) - MIN_BLANK_US) / f64::from(height);
        let blank_lines = ((MIN_BLANK_US / line_us) as u32 + 1).max(FRONT + sync_lines + MIN_BACK);
        let hz = u64::from(REFRESH_HZ) * u64::from(height + blank_lines) * u64::from(width + BLANK_DOTS);
        // The clock is a multiple of 250 kHz.
        Self { clock: (hz / 250_000 * 25) as u32, blank_dots: BLANK_DOTS, blank_lines, sync_lines }
    }
}

/// The block of a monitor that prefers this mode. Both sizes are below 4096.
pub fn block(width: u16, height: u16) -> [u8; EDID_BYTES] {
    let (width, height) = (u32::from(width.min(4095)), u32::from(height.min(4095)));
    let millimetres = |dots: u32| dots * 254 / (10 * DOTS_PER_INCH);
    let mut e = [0; EDID_BYTES];
    e[..8].copy_from_slice(&[0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0]);
    // Manufacturer in letters of five bits, product, no serial number, model year.
    let maker = b"TRI".iter().fold(0u16, |all, letter| all << 5 | u16::from(letter - b'@'));
    e[8..10].copy_from_slice(&maker.to_be_bytes());
    e[10..12].copy_from_slice(&1u16.to_le_bytes());
    e[16..18].copy_from_slice(&[0xFF, (2026 - 1990) as u8]);
    // Version 1.4; digital, eight bits a colour; size in centimetres; gamma 2.2.
    e[18..21].copy_from_slice(&[1, 4, 0xA0]);
    e[21] = (millimetres(width) / 10).clamp(1, 255) as u8;
    e[22] = (millimetres(height) / 10).clamp(1, 255) as u8;
    e[23] = 120;
    // sRGB, the preferred mode is that of the panel, other modes by CVT.
    e[24] = 0x07;
    e[25..35].copy_from_slice(&[0xEE, 0x91, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54]);
    // Established: 640x480, 800x600 and 1024x768 at 60 Hz.
    e[35..38].copy_from_slice(&[0x21, 0x08, 0]);
    e[38..54].copy_from_slice(&[1; 16]);
    for (n, (width, aspect)) in
        [(1280, 0), (1280, 2), (1440, 0), (1680, 0), (1920, 3)].into_iter().enumerate()
    {
        // Aspect 16:10, 4:3, 5:4 or 16:9; at 60 Hz.
        e[38 + 2 * n..40 + 2 * n].copy_from_slice(&[(width / 8 - 31) as u8, aspect << 6]);
    }
    e[54..72].copy_from_slice(&detailed(width, height, millimetres(width), millimetres(height)));
    let top = Timing::reduced_blanking(MAX_WIDTH as u32, MAX_HEIGHT as u32).clock;
    // 50 to 75 Hz, 24 to 160 kHz, up to this clock in units of 10 MHz; bare limits.
    let limits = [0, 0, 0, 0xFD, 0, 50, 75, 24, 160, top.div_ceil(1000) as u8, 1];
    e[72..83].copy_from_slice(&limits);
    e[83..90].copy_from_slice(b"\x0A      ");
    e[90..95].copy_from_slice(&[0, 0, 0, 0xFC, 0]);
    e[95..108].copy_from_slice(b"Trimotor\x0A    ");
    // A place that holds nothing.
    e[111] = 0x10;
    let sum = e.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    e[127] = sum.wrapping_neg();
    e
}

/// A detailed timing descriptor.
fn detailed(width: u32, height: u32, wide_mm: u32, high_mm: u32) -> [u8; 18] {
    const FRONT_DOTS: u32 = 48;
    const SYNC_DOTS: u32 = 32;
    const FRONT_LINES: u32 = 3;
    let t = Timing::reduced_blanking(width, height);
    let high = |first: u32, second: u32| (first >> 8 << 4 | second >> 8) as u8;
    let clock = (t.clock.min(0xFFFF) as u16).to_le_bytes();
    [
        clock[0],
        clock[1],
        width as u8,
        t.blank_dots as u8,
        high(width, t.blank_dots),
        height as u8,
        t.blank_lines as u8,
        high(height, t.blank_lines),
        FRONT_DOTS as u8,
        SYNC_DOTS as u8,
        (FRONT_LINES << 4 | t.sync_lines) as u8,
        0,
        wide_mm as u8,
        high_mm as u8,
        high(wide_mm, high_mm),
        0,
        0,
        // Separate syncs, horizontal positive, vertical negative.
        0x1A,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_and_preferred_mode() {
        for (width, height) in [(1280, 800), (640, 480), (4088, 2160), (1920, 1080)] {
            let e = block(width, height);
            assert_eq!(e.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
            assert_eq!(u16::from(e[56]) | u16::from(e[58] >> 4) << 8, width);
            assert_eq!(u16::from(e[59]) | u16::from(e[61] >> 4) << 8, height);
        }
        // 1280x800 with reduced blanking has 71 MHz and 823 lines.
        let e = block(1280, 800);
        assert_eq!((u16::from_le_bytes([e[54], e[55]]), e[60]), (7100, 23));
    }
}
