//! What people and scripts type, and what terminals say in between: escapes of terminals, answers, mice, the console's own keys, names of
//! serial ports.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use trimotor_console::abilities::Abilities;
use trimotor_console::decode::Decoder;
use trimotor_console::escape::{Escape, Typed};
use trimotor_console::graphics::fit::{self, CellSize, Room, Unit};
use trimotor_console::mouse::{GuestPlace, Mouse};
use trimotor_console::reports::{Piece, Report, Reports};
use trimotor_console::serial::SerialSpec;
use trimotor_fuzz::Input;

/// The longest wait for the rest of a report.
const LONG: Duration = Duration::from_secs(2);

/// The terminal's window.
const SIZE: (usize, usize) = (80, 24);

/// What takes what the terminal says.
struct Told {
    abilities: Abilities,
    mouse: Mouse,
}

impl Told {
    fn take(&mut self, report: Report) {
        self.abilities.take(&report, SIZE);
        let CellSize { width, height } = self.abilities.cell();
        let room =
            Room { columns: SIZE.0, rows: SIZE.1, cell: CellSize { width, height }, unit: Unit::Pixel };
        let fit = fit::fit(640, 480, room, Some((width * 7 % 640, height))).expect("there is room");
        if let Report::Mouse(report) = report {
            let pixel = fit.guest_pixel(f64::from(report.x), f64::from(report.y));
            let place = GuestPlace { pixel, size: (640, 480), inside: report.x % 3 != 0 };
            self.mouse.take(report, place, report.y % 2 == 0);
        }
    }
}

fn anything(mut input: Input<'_>) {
    let (mut escape, mut decoder) = (Escape::new(Some(Escape::CTRL_A)), Decoder::default());
    let mut reports = Reports::default();
    let mut told = Told { abilities: Abilities::of_environment(None), mouse: Mouse::default() };
    while !input.is_empty() {
        // As reads of a terminal cut it.
        let length = 1 + input.below(8);
        reports.expect(length % 2 == 0, length % 3 == 0);
        let mut pieces = reports.push(input.bytes(length));
        if length == 1 {
            pieces.push(Piece::Typed(reports.idle(LONG)));
            assert!(!reports.is_waiting(), "nothing is kept after a pause");
        }
        for piece in pieces {
            let typed = match piece {
                Piece::Typed(typed) => typed,
                Piece::Report(report) => {
                    told.take(report);
                    continue;
                }
            };
            for typed in escape.push(&typed) {
                if let Typed::Bytes(bytes) = typed {
                    decoder.push(&bytes).into_iter().for_each(|stroke| _ = stroke.transitions().count());
                }
            }
        }
        if decoder.is_waiting() && length == 1 {
            decoder.idle();
            assert!(!decoder.is_waiting(), "nothing is kept after a pause");
        }
    }
    let mut events = 0;
    told.mouse.release_all();
    told.mouse.feed(|_| {
        events += 1;
        true
    });
    assert!(events < 1000, "{events} events of a mouse waited");
}

/// Reports of all kinds, cut into pieces and cut off, with nothing typed between them.
fn reports_only(mut input: Input<'_>) {
    let mut reports = Reports::default();
    reports.expect(true, true);
    while !input.is_empty() {
        let numbers: Vec<String> = (0..input.below(6)).map(|_| input.below(3000).to_string()).collect();
        let numbers = numbers.join(";");
        let said = match input.below(7) {
            0 => format!("\x1b[?{numbers}c"),
            1 => format!("\x1b[<{numbers}M"),
            2 => format!("\x1b[<{numbers}m"),
            3 => format!("\x1b[?{numbers}$y"),
            4 => format!("\x1b_G{numbers};OK\x1b\\"),
            5 => format!("\x1bP1$r{numbers}m\x1b\\"),
            _ => format!("\x1b[4;{numbers}t"),
        };
        let end = if input.below(4) == 0 { 3 + input.below(said.len() - 3) } else { said.len() };
        let cut = input.below(end + 1);
        for piece in [&said[..cut], &said[cut..end]] {
            for piece in reports.push(piece.as_bytes()) {
                assert!(matches!(piece, Piece::Report(_)), "{said:?}, cut at {cut} and {end}: {piece:?}");
            }
        }
        if end < said.len() {
            assert!(reports.idle(LONG).is_empty(), "{said:?} to {end}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    match input.below(3) {
        0 => reports_only(input),
        _ => anything(input),
    }
    if let Ok(text) = std::str::from_utf8(data) {
        _ = text.parse::<SerialSpec>();
    }
});
