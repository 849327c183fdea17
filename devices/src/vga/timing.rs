//! Where the beam is: input status 1 from guest time and the CRT controller's registers.
//!
//! The dot clock is 25.175 MHz or 28.322 MHz, or half of that. A line has as many character clocks of 8 or 9 dots as
//! horizontal total says (and 5 more), a frame as many lines as vertical total says (and 2 more). In DISPI modes, which
//! have no such registers, a frame is a sixtieth of a second, of which a twentieth is retrace.

use super::crtc::lines_shown;
use super::registers::{CRTC_VERTICAL_RETRACE_END, Registers};
use trimotor_bus::GuestTime;

/// Input status 1: the beam is not in the picture.
pub const DISPLAY_DISABLED: u8 = 0x01;
/// Input status 1: vertical retrace.
pub const VERTICAL_RETRACE: u8 = 0x08;
/// Frames a second in DISPI modes.
const DISPI_HZ: u64 = 60;
const SECOND_NS: u128 = 1_000_000_000;

/// A frame in units of dots.
struct Frame {
    clock_hz: u64,
    line_dots: u64,
    lines: u64,
}

impl Frame {
    fn of(r: &Registers) -> Self {
        let clock_hz: u64 = if r.misc >> 2 & 3 == 1 { 28_322_000 } else { 25_175_000 };
        let clock_hz = if r.half_clock() { clock_hz / 2 } else { clock_hz };
        let lines = r.crtc_vertical(6, 0, 5) as u64 + 2;
        let lines = if r.crtc[0x17] & 4 != 0 { 2 * lines } else { lines };
        Self { clock_hz, line_dots: (r.crtc[0] as u64 + 5) * r.dots() as u64, lines }
    }
    fn dots(&self) -> u64 {
        self.line_dots * self.lines
    }
    /// Dots since time began.
    fn at(&self, now: GuestTime) -> u128 {
        u128::from(now.ns()) * u128::from(self.clock_hz) / SECOND_NS
    }
}

/// How many frames were shown before `now`, had the mode always been this one: what cursor and blinking characters go by.
pub fn frames(r: &Registers, now: GuestTime) -> u64 {
    let frame = Frame::of(r);
    (frame.at(now) / u128::from(frame.dots())) as u64
}

/// The two bits of input status 1 at `now`.
pub fn input_status(r: &Registers, dispi: bool, now: GuestTime) -> u8 {
    if dispi {
        let frame_ns = SECOND_NS as u64 / DISPI_HZ;
        let retrace = now.ns() % frame_ns >= frame_ns / 20 * 19;
        return if retrace { DISPLAY_DISABLED | VERTICAL_RETRACE } else { 0 };
    }
    let frame = Frame::of(r);
    let at = (frame.at(now) % u128::from(frame.dots())) as u64;
    let (line, dot) = (at / frame.line_dots, at % frame.line_dots);
    let half = r.crtc[0x17] & 4 != 0;
    let counted = if half { line / 2 } else { line };
    let retrace = r.crtc_vertical(0x10, 2, 7) as u64;
    let retrace_lines = (r.crtc[CRTC_VERTICAL_RETRACE_END] as u64).wrapping_sub(retrace) & 0xF;
    let mut status = 0;
    if line >= lines_shown(r) as u64 || dot >= (r.crtc[1] as u64 + 1) * r.dots() as u64 {
        status |= DISPLAY_DISABLED;
    }
    if (retrace..retrace + retrace_lines).contains(&counted) {
        status |= VERTICAL_RETRACE | DISPLAY_DISABLED;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::super::registers::TextMode;
    use super::*;

    #[test]
    fn mode_3_has_seventy_pictures_a_second() {
        let r = Registers::text_mode(TextMode::Rows25);
        let mut retraces = 0;
        let mut dark = 0;
        let mut before = 0;
        for us in 0..1_000_000u64 {
            let status = input_status(&r, false, GuestTime(us * 1000));
            retraces += (status & !before & VERTICAL_RETRACE != 0) as u32;
            dark += (status & DISPLAY_DISABLED) as u32;
            before = status;
        }
        assert_eq!(retraces, 70);
        assert!((280_000..320_000).contains(&dark), "{dark}");
        // 28.322 MHz, 900 dots in a line, 449 lines.
        let ten_hours = GuestTime(36_000_000_000_000);
        assert_eq!(frames(&r, ten_hours), 28_322_000 * 36_000 / (900 * 449));
    }

    #[test]
    fn dispi_has_sixty() {
        let r = Registers::text_mode(TextMode::Rows25);
        let at = |us: u64| input_status(&r, true, GuestTime(us * 1000)) & VERTICAL_RETRACE != 0;
        assert_eq!((1..1_000_000).filter(|us| at(*us) && !at(us - 1)).count(), 60);
    }
}
