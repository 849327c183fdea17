//! The display adapter with Linux' driver for it.

use crate::drives::guest::Shell;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use trimotor_devices::display::{Damage, Surface};
use trimotor_machine::Engine;
use trimotor_machine::control::Viewer;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN])
        .test_needing(&[JIT], linux_draws_on_the_linear_frame_buffer)
        .test_needing(&[JIT], linux_writes_text_that_the_picture_shows)
}

const WIDTH: usize = 1280;
const HEIGHT: usize = 800;
/// What the guest fills the frame buffer with, again and again.
const PATTERN: &str = "Tri motor";
/// Instructions in which what the guest drew comes to the screen.
const A_MOMENT: u64 = 200_000_000;

/// Takes what the screen shows once what the guest did last is on it. Returns what was new at the end.
fn look(guest: &mut Shell, viewer: &mut Viewer, picture: &mut Surface) -> Damage {
    // What was drawn last may be from before; taking it has the machine draw again.
    let mut damage = viewer.update(picture);
    guest.pass(A_MOMENT);
    damage.merge(&viewer.update(picture), picture);
    damage
}

/// What `bochs` makes of the adapter: the mode that the EDID prefers, a frame buffer of 32 bits a pixel. A program
/// writes it and reads it back, and the picture is what was written; then the console writes text.
fn linux_draws_on_the_linear_frame_buffer() {
    let mut guest = Shell::start_with(Engine::Jit, Guest::Display, "", Vec::new());
    let control = guest.machine().control();
    let mut viewer = control.view();
    let mut picture = Surface::default();
    let log = guest.run("dmesg");
    for line in
        ["Found bochs VGA, ID 0xb0c5", "Found EDID data blob", "Initialized bochs-drm", "frame buffer device"]
    {
        assert!(log.contains(line), "no {line:?} in {log}");
    }
    for complaint in ["BUG", "WARNING", "Call Trace", "*ERROR*", "can't reserve", "no space for"] {
        assert!(!log.contains(complaint), "{complaint} in {log}");
    }
    assert_eq!(guest.run("cat /sys/class/graphics/fb0/virtual_size"), format!("{WIDTH},{HEIGHT}"));
    assert_eq!(guest.run("cat /sys/class/graphics/fb0/bits_per_pixel"), "32");
    assert_eq!(guest.run("head -n 1 /sys/class/drm/card0-Virtual-1/modes"), format!("{WIDTH}x{HEIGHT}"));
    // Its resources, and that it is the display that the machine began with.
    let device = "/sys/bus/pci/devices/0000:00:02.0";
    assert_eq!(guest.run(&format!("cat {device}/boot_vga; cat {device}/class")), "1\n0x030000");

    guest.run("echo 0 >/sys/class/graphics/fbcon/cursor_blink");
    let bytes = 4 * WIDTH * HEIGHT;
    let fill = format!("yes '{PATTERN}' | head -c {bytes}");
    // In large blocks: of a write that ends with a line, Linux 6.1 does not bring what is on that line to the screen.
    guest.run(&format!("{fill} >/tmp/pattern; dd if=/tmp/pattern of=/dev/fb0 bs={bytes} 2>/dev/null"));
    let sum = guest.run("sha256sum </tmp/pattern");
    assert_eq!(guest.run(&format!("head -c {bytes} /dev/fb0 | sha256sum")), sum);
    look(&mut guest, &mut viewer, &mut picture);
    assert_eq!((picture.width(), picture.height()), (WIDTH, HEIGHT));
    let pattern: Vec<u8> = PATTERN.bytes().chain([b'\n']).cycle().take(bytes).collect();
    let pixels = pattern.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], 0]));
    let mut pairs = pixels.zip(picture.pixels()).enumerate();
    let wrong = pairs.by_ref().find(|(_, (written, shown))| written != *shown).map(|(at, _)| at);
    let more = pairs.filter(|(_, (written, shown))| written != *shown).count();
    assert_eq!((wrong, more), (None, 0), "the first pixel that is not as written, and how many follow");

    // An idle screen is not drawn again, and a letter is little.
    guest.pass(A_MOMENT);
    assert!(viewer.update(&mut picture).is_empty(), "nothing was drawn");
    guest.run("printf '\\033[H\\033[J' >/dev/tty1; echo Hello >/dev/tty1");
    let damage = look(&mut guest, &mut viewer, &mut picture);
    assert!(!damage.is_empty());
    let light = |line: usize| picture.line(line)[..40].iter().filter(|pixel| **pixel != 0).count();
    assert!((1..16).map(light).sum::<usize>() > 40, "no letters");
    assert_eq!((100..HEIGHT).map(light).sum::<usize>(), 0, "the screen is cleared");
    // Nothing is left of the picture once the driver's mode is off.
    guest.run("echo 4 >/sys/class/graphics/fb0/blank");
    look(&mut guest, &mut viewer, &mut picture);
    assert!(picture.pixels().iter().all(|pixel| *pixel == 0), "the screen is off");
    guest.power_off();
}

/// The console of a kernel without a driver: text mode, by the font that the board left in plane 2.
fn linux_writes_text_that_the_picture_shows() {
    let mut guest = Shell::start_with(Engine::Jit, Guest::Drives, "", Vec::new());
    let control = guest.machine().control();
    let mut viewer = control.view();
    let mut picture = Surface::default();
    guest.run("printf '\\033[H\\033[JM\\033[?25l' >/dev/tty1");
    look(&mut guest, &mut viewer, &mut picture);
    assert_eq!((picture.width(), picture.height()), (720, 400));
    let letter = &trimotor_firmware::vga_bios::font::LINES_16[16 * usize::from(b'M')..][..16];
    for (line, bits) in letter.iter().enumerate() {
        let shown = picture.line(line)[..8].iter().fold(0u8, |all, pixel| all << 1 | u8::from(*pixel != 0));
        assert_eq!(shown, *bits, "line {line} of the letter");
    }
    guest.power_off();
}
