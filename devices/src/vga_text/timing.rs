//! Where the beam is: input status 1 from guest time and the CRT controller's registers.

use super::registers::{CRTC_VERTICAL_RETRACE_END, Registers};
use trimotor_bus::GuestTime;

/// Input status 1: the beam is not in the picture.
pub const DISPLAY_DISABLED: u8 = 0x01;
/// Input status 1: vertical retrace.
pub const VERTICAL_RETRACE: u8 = 0x08;

/// The two bits of input status 1 at `now`.
pub fn input_status(r: &Registers, now: GuestTime) -> u8 {
    let dots = if r.sequencer[1] & 1 != 0 { 8 } else { 9 };
    let clock_hz: u64 = if r.misc >> 2 & 3 == 1 { 28_322_000 } else { 25_175_000 };
    let clock_hz = if r.sequencer[1] & 8 != 0 { clock_hz / 2 } else { clock_hz };
    let characters = r.crtc[0] as u64 + 5;
    let lines = r.crtc_vertical(6, 0, 5) as u64 + 2;
    let line_ns = characters * dots * 1_000_000_000 / clock_hz;
    let at = now.ns() % (line_ns * lines);
    let (line, within) = (at / line_ns, at % line_ns);

    let shown_lines = r.crtc_vertical(0x12, 1, 6) as u64 + 1;
    let shown_ns = line_ns * (r.crtc[1] as u64 + 1) / characters;
    let retrace = r.crtc_vertical(0x10, 2, 7) as u64;
    let retrace_lines = (r.crtc[CRTC_VERTICAL_RETRACE_END] as u64).wrapping_sub(retrace) & 0xF;
    let mut status = 0;
    if line >= shown_lines || within >= shown_ns {
        status |= DISPLAY_DISABLED;
    }
    if (retrace..retrace + retrace_lines).contains(&line) {
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
            let status = input_status(&r, GuestTime(us * 1000));
            retraces += (status & !before & VERTICAL_RETRACE != 0) as u32;
            dark += (status & DISPLAY_DISABLED) as u32;
            before = status;
        }
        assert_eq!(retraces, 70);
        assert!((280_000..320_000).contains(&dark), "{dark}");
    }
}
