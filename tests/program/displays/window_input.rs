//! Keys and pointer in the window: what the X server has from its keyboard comes out of Linux's `/dev/input`.

use super::xserver::{XServer, XVFB};
use crate::support::engines::ENGINE_NAMES;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::Program;
use x11rb::protocol::xproto::Window;

pub fn tests() -> Tests {
    Tests::needing(&[XVFB, DEBIAN])
        .each(&ENGINE_NAMES, each_key_and_the_pointer_s_place_reach_linux)
        .each(&ENGINE_NAMES, a_grabbed_pointer_moves_linux_s_mouse)
}

/// What X's numbers of keys are higher than Linux's codes, with the key codes that Xvfb has.
const X_OFFSET: u8 = 8;
/// The keys of a PC keyboard with 105 keys by Linux's codes (`input-event-codes.h`), in rows.
const KEYS_105: [std::ops::RangeInclusive<u8>; 6] =
    [1..=83, 86..=88, 96..=100, 102..=111, 119..=119, 125..=127];
/// Japanese and Brazilian keys, and those of keyboards with media keys.
const MORE_KEYS: [u8; 26] = [
    89, 92, 93, 94, 113, 114, 115, 116, 121, 124, 128, 140, 142, 143, 155, 156, 157, 158, 159, 163, 164, 165,
    166, 172, 173, 217,
];
const KEY_A: u8 = 30;
const BTN_LEFT: u16 = 0x110;
const BTN_RIGHT: u16 = 0x111;
const BTN_MIDDLE: u16 = 0x112;

/// The guest that shows its events, with a window.
fn guest(x: &XServer, engine: &str, more: &[&str]) -> (Program, Window) {
    let (kernel, initrd) = (Guest::FullKernel.path(), Guest::Input.path());
    let boots = ["--kernel", &kernel, "--initrd", &initrd, "--append", "quiet console=ttyS0"];
    let fixed = ["run", "--accel", engine, "--memory", "512M", "--display", "window"];
    let mut program = Program::start_with(&[&fixed[..], &boots, more].concat(), &x.variables());
    program.expect("MARK-INPUT");
    program.expect("# ");
    (program, x.window())
}

/// Waits for an event: type, code and value.
fn expect(program: &mut Program, kind: u16, code: u16, value: i32) {
    program.expect(&format!(" {kind} {code} {value}\r\n"));
}
fn expect_key(program: &mut Program, code: u16, value: i32) {
    expect(program, 1, code, value);
}
fn expect_relative(program: &mut Program, code: u16, value: i32) {
    expect(program, 2, code, value);
}
fn expect_position(program: &mut Program, code: u16, value: i32) {
    expect(program, 3, code, value);
}

fn each_key_and_the_pointer_s_place_reach_linux(engine: &str) {
    let x = XServer::start();
    let (mut program, window) = guest(&x, engine, &[]);
    x.point_at(window, 0, 0);
    let codes = KEYS_105.into_iter().flatten().chain(MORE_KEYS);
    assert_eq!(KEYS_105.into_iter().flatten().count(), 105);
    for code in codes {
        x.key(code + X_OFFSET, true);
        x.key(code + X_OFFSET, false);
        expect_key(&mut program, code.into(), 1);
        expect_key(&mut program, code.into(), 0);
    }
    // The driver takes positions: nothing is grabbed.
    x.point_at(window, 360, 200);
    expect_position(&mut program, 0, 360 * 0xFFFF / 719);
    expect_position(&mut program, 1, 200 * 0xFFFF / 399);
    for (number, code) in [("1", BTN_LEFT), ("2", BTN_MIDDLE), ("3", BTN_RIGHT)] {
        x.xdotool(&["click", number]);
        expect_key(&mut program, code, 1);
        expect_key(&mut program, code, 0);
    }
    x.xdotool(&["click", "5"]);
    expect_relative(&mut program, 8, -1);
    // A key is down when the keyboard goes to another program, and up for the guest from then on.
    x.focus(window);
    x.key(KEY_A + X_OFFSET, true);
    expect_key(&mut program, KEY_A.into(), 1);
    x.focus_elsewhere();
    expect_key(&mut program, KEY_A.into(), 0);
    x.key(KEY_A + X_OFFSET, false);
    x.focus(window);
    x.key(KEY_A + X_OFFSET + 1, true);
    x.key(KEY_A + X_OFFSET + 1, false);
    expect_key(&mut program, u16::from(KEY_A) + 1, 0);
    // The grab is of the keyboard alone.
    x.xdotool(&["key", "ctrl+alt+g"]);
    x.wait_for_title(window, "Ctrl-Alt-G releases the keyboard");
    x.xdotool(&["key", "ctrl+alt+q"]);
    assert_eq!(program.wait().code, Some(0));
}

fn a_grabbed_pointer_moves_linux_s_mouse(engine: &str) {
    let x = XServer::start();
    let (mut program, window) = guest(&x, engine, &["--without", "vmmouse"]);
    x.point_at(window, 10, 10);
    x.xdotool(&["click", "1"]);
    x.wait_for_title(window, "Ctrl-Alt-G releases the pointer");
    x.xdotool(&["mousemove_relative", "--", "12", "-7"]);
    expect_relative(&mut program, 0, 12);
    expect_relative(&mut program, 1, -7);
    // Further than the window, and than the screen, without an end.
    let mut moved = 0;
    while moved < 5000 {
        x.xdotool(&["mousemove_relative", "100", "0"]);
        program.expect(" 2 0 ");
        let far = program.expect("\r\n");
        moved += far.trim().parse::<i32>().unwrap();
    }
    x.xdotool(&["click", "3"]);
    expect_key(&mut program, BTN_RIGHT, 1);
    expect_key(&mut program, BTN_RIGHT, 0);
    x.xdotool(&["key", "ctrl+alt+g"]);
    super::xserver::wait_for("a released pointer", || {
        (!x.title(window).contains("Ctrl-Alt-G")).then_some(())
    });
    x.xdotool(&["mousemove", "1500", "1100"]);
    let place = x.xdotool(&["getmouselocation"]);
    assert!(place.starts_with("x:1500 y:1100"), "{place}");
    x.close(window);
    assert_eq!(program.wait().code, Some(0));
}
