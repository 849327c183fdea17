//! Sixels as another program reads them: libsixel's.

use super::picture::Picture;
use crate::support::needs::{Need, Tests, program};
use crate::support::small_guest::Scratch;
use std::fs;
use std::process::Command;
use trimotor_console::graphics::sixel;
use trimotor_devices::display::{Rect, Surface};

/// libsixel's decoder.
const SIXEL2PNG: Need = Need { name: "sixel2png", check: || program("sixel2png", "libsixel-bin") };

pub fn tests() -> Tests {
    Tests::needing(&[SIXEL2PNG]).test(libsixel_reads_what_was_drawn)
}

fn libsixel_reads_what_was_drawn() {
    let mut picture = Surface::new(333, 101);
    for y in 0..101 {
        for (x, pixel) in picture.line_mut(y).iter_mut().enumerate() {
            // Stripes, single pixels, long runs.
            *pixel = match (x / 40 + y / 17) % 4 {
                0 => 0x00FF_FFFF,
                1 => (x as u32 % 7) << 20 | 0x80,
                2 => ((x * y) as u32 & 0x3) << 14,
                _ => 0x0000_4000,
            };
        }
    }
    for part in [
        picture.whole(),
        Rect { x: 17, y: 5, width: 1, height: 50 },
        Rect { x: 0, y: 0, width: 333, height: 7 },
    ] {
        let (drawn, read) = (Scratch::new("drawn.six"), Scratch::new("read.png"));
        fs::write(&drawn.0, sixel::encode(&picture, part, 256)).unwrap();
        let output =
            Command::new("sixel2png").args(["-i", &drawn.path(), "-o", &read.path()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = Picture::from_png(&read.0);
        // It rounds heights up to whole bands.
        assert_eq!((read.width, read.height.max(part.height)), (part.width, read.height));
        for y in 0..part.height {
            for x in 0..part.width {
                let meant = &picture.line(part.y + y)[part.x + x].to_be_bytes()[1..];
                let shown = read.rgb(x, y);
                let near = shown.iter().zip(meant).all(|(shown, meant)| shown.abs_diff(*meant) <= 2);
                assert!(near, "{x}, {y}: {shown:?}, and should be {meant:?}");
            }
        }
    }
}
