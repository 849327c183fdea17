//! The window on a Wayland compositor.

use super::compositor::{Compositor, SCREEN, SWAY};
use super::xserver::wait_for;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::Program;

pub fn tests() -> Tests {
    Tests::needing(&[SWAY])
        .test(the_window_has_the_picture_and_takes_keys)
        .test(a_guest_goes_on_without_its_compositor)
        .test_needing(&[JIT, DEBIAN], the_pointer_reaches_linux_by_place_and_grabbed)
}

/// The size of the demo's picture, and where it is on a screen that has room for it twice as large.
const PICTURE: (usize, usize) = (720, 400);
const AT: (usize, usize) = ((SCREEN.0 - 2 * PICTURE.0) / 2, (SCREEN.1 - 2 * PICTURE.1) / 2);

/// Buttons, as VNC numbers them.
const LEFT: u8 = 1;
const RIGHT: u8 = 4;

fn demo(compositor: &Compositor) -> Program {
    let mut program = Program::start_with(&["demo", "--display", "window"], &compositor.variables());
    program.expect("trimotor>");
    program
}

/// Waits until the picture, twice as large in the middle of the screen, has a text.
fn wait_for_text(compositor: &Compositor, wanted: &str) {
    wait_for(wanted, || {
        let screen = compositor.picture();
        assert_eq!((screen.width, screen.height), SCREEN);
        let (part, rest) = screen.part_and_rest(AT, (2 * PICTURE.0, 2 * PICTURE.1));
        let text = part.every(2).lines();
        (text.iter().any(|line| line.contains(wanted)) && rest.iter().all(|pixel| *pixel == 0)).then_some(())
    });
}

fn the_window_has_the_picture_and_takes_keys() {
    let compositor = Compositor::start();
    let mut program = demo(&compositor);
    wait_for_text(&compositor, "trimotor>");
    wait_for("title", || compositor.titles().contains("Trimotor - demo (").then_some(()));
    // wtype makes a keyboard whose first keys, in Linux's order from Escape on, have the characters that it types: by their places they
    // are Escape, 1, 2 and so on.
    compositor.does("wtype", &["abcdefghijk"]);
    program.expect("1234567890");
    program.send("\r");
    program.expect("trimotor>");
    wait_for_text(&compositor, "1234567890");
    // As a window manager closes it.
    compositor.does("swaymsg", &["[app_id=trimotor]", "kill"]);
    let ended = program.wait();
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
}

fn a_guest_goes_on_without_its_compositor() {
    let mut compositor = Compositor::start();
    let mut program = demo(&compositor);
    wait_for_text(&compositor, "trimotor>");
    compositor.kill();
    program.expect_message("the window is gone");
    program.send("ticks\r");
    program.expect("Timer interrupts: ");
    program.send("poweroff\r");
    let ended = program.wait();
    assert_eq!(ended.code, Some(0));
    assert!(ended.errors.contains("the window is gone"), "{}", ended.errors);
}

fn the_pointer_reaches_linux_by_place_and_grabbed() {
    for (more, grabs) in [(&[][..], false), (&["--without", "vmmouse"], true)] {
        let mut compositor = Compositor::start();
        let (kernel, initrd) = (Guest::FullKernel.path(), Guest::Input.path());
        let boots = ["--kernel", &kernel, "--initrd", &initrd, "--append", "quiet console=ttyS0"];
        let fixed = ["run", "--accel", "jit", "--memory", "512M", "--display", "window"];
        let mut program = Program::start_with(&[&fixed[..], &boots, more].concat(), &compositor.variables());
        program.expect("MARK-INPUT");
        program.expect("# ");
        // The second of the two pixels that one of the guest has: places come as fractions.
        let (x, y) = (AT.0 + 2 * 360 + 1, AT.1 + 2 * 200 + 1);
        compositor.point_at(x, y, 0);
        if grabs {
            compositor.point_at(x, y, LEFT);
            compositor.point_at(x, y, 0);
            wait_for("a grab", || {
                compositor.titles().contains("Ctrl-Alt-G releases the pointer").then_some(())
            });
            // Whether a pointer that is locked stays where it is, is the compositor's business.
            for step in 1..=2 {
                compositor.point_at(x + 12 * step, y, 0);
                program.expect(" 2 0 ");
                let moved: i32 = program.expect("\r\n").trim().parse().unwrap();
                assert!((11..=24).contains(&moved), "{moved}");
            }
        } else {
            program.expect(&format!(" 3 0 {}\r\n", 360 * 0xFFFF / 719));
            program.expect(&format!(" 3 1 {}\r\n", 200 * 0xFFFF / 399));
        }
        for (buttons, value) in [(RIGHT, 1), (0, 0)] {
            compositor.point_at(x, y, buttons);
            program.expect(&format!(" 1 273 {value}\r\n"));
        }
        program.send("poweroff -f\n");
        assert_eq!(program.wait().code, Some(0));
    }
}
