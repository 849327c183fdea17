//! Linux's drivers of keyboard and mouse: what the host's side presses and moves comes out of `/dev/input`.

use super::counted::{Log, boot_with};
use crate::support::engines::ENGINES;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use std::time::{Duration, Instant};
use trimotor_devices::i8042::{KeyCode, Leds};
use trimotor_devices::pointer::{PointerButton, PointerEvent};
use trimotor_machine::{Engine, MachineConfig, MachineControl};

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN])
        .each(&ENGINES, linux_takes_positions_from_vmmouse)
        .test(linux_finds_an_explorer_mouse)
        .test(linux_drives_the_keyboard_in_set_3)
}

/// Waits that are longer are bugs.
const PATIENCE: Duration = Duration::from_secs(300);
/// Types of events (Linux, `input-event-codes.h`).
const EV_KEY: u16 = 1;
const EV_REL: u16 = 2;
const EV_ABS: u16 = 3;
const KEY_A: u16 = 30;
const KEY_PAUSE: u16 = 119;
const KEY_SYSRQ: u16 = 99;
const KEY_102ND: u16 = 86;
const KEY_RIGHT: u16 = 106;
const KEY_VOLUMEUP: u16 = 115;
const BTN_LEFT: u16 = 0x110;
const BTN_SIDE: u16 = 0x113;
const REL_X: u16 = 0;
const REL_Y: u16 = 1;
const REL_WHEEL: u16 = 8;
const ABS_X: u16 = 0;
const ABS_Y: u16 = 1;

/// The guest while it runs on another thread.
struct Running {
    control: MachineControl,
    log: Log,
}

impl Running {
    fn wait(&self, what: &str, done: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = self.log.text();
            if done(&text) {
                return text;
            }
            assert!(start.elapsed() < PATIENCE, "no {what}:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    /// The number of the input device with this name, `event3`, which must be there.
    fn device(&self, name: &str) -> String {
        let text = self.log.text();
        let line = text.lines().find(|line| line.starts_with("MARK-DEVICE") && line.trim().ends_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name}:\n{text}"));
        line.split([' ', ':']).nth(1).unwrap().to_owned()
    }
    /// Waits for an event of a device.
    fn event(&self, device: &str, kind: u16, code: u16, value: i32) {
        let begin = format!("IN {device} ");
        let end = format!(" {kind} {code} {value}");
        // The shell's prompt may stand before it.
        let is_it = |line: &str| line.contains(&begin) && line.trim().ends_with(&end);
        self.wait(&format!("{begin}...{end}"), |text| text.lines().any(is_it));
    }
    fn strike(&self, key: KeyCode) {
        assert!(self.control.key(key, true) && self.control.key(key, false));
    }
    fn press(&self, button: PointerButton, down: bool) {
        assert!(self.control.pointer(PointerEvent::Button { button, down }));
    }
}

/// Boots the guest, and lets `test` use it once it shows its events.
fn with_guest(
    engine: Engine,
    append: &str,
    configure: impl FnOnce(&mut MachineConfig),
    test: impl FnOnce(&Running),
) {
    let (mut machine, log) = boot_with(engine, Guest::FullKernel, Guest::Input, append, configure);
    let guest = Running { control: machine.control(), log };
    /// Ends the machine whatever becomes of the test.
    struct Quit<'a>(&'a MachineControl);
    impl Drop for Quit<'_> {
        fn drop(&mut self) {
            self.0.quit();
        }
    }
    std::thread::scope(|scope| {
        scope.spawn(move || machine.run());
        let _quit = Quit(&guest.control);
        guest.wait("MARK-INPUT", |text| text.contains("MARK-INPUT"));
        test(&guest);
    });
}

fn linux_takes_positions_from_vmmouse(engine: Engine) {
    with_guest(
        engine,
        "",
        |_| {},
        |guest| {
            let keyboard = guest.device("AT Translated Set 2 keyboard");
            // One device for positions and one for moves, both with this name.
            guest.device("VirtualPS/2 VMware VMMouse");
            let text = guest.log.text();
            let mice: Vec<_> = text
                .lines()
                .filter(|line| line.starts_with("MARK-DEVICE") && line.contains("VMMouse"))
                .map(|line| line.split([' ', ':']).nth(1).unwrap().to_owned())
                .collect();
            assert_eq!(mice.len(), 2, "{text}");
            assert!(guest.control.pointer_is_absolute());
            assert!(guest.control.pointer(PointerEvent::Position { x: 0x4000, y: 0xC001 }));
            let absolute = mice
                .iter()
                .find(|mouse| {
                    let seen = |text: &str| text.lines().any(|line| line.trim().ends_with(" 3 0 16384"));
                    guest.wait("position", seen);
                    guest.log.text().lines().any(|line| {
                        line.contains(&format!("IN {mouse} ")) && line.trim().ends_with(" 3 0 16384")
                    })
                })
                .unwrap();
            guest.event(absolute, EV_ABS, ABS_X, 0x4000);
            guest.event(absolute, EV_ABS, ABS_Y, 0xC001);
            guest.press(PointerButton::Left, true);
            guest.event(absolute, EV_KEY, BTN_LEFT, 1);
            guest.control.release_all_keys();
            guest.event(absolute, EV_KEY, BTN_LEFT, 0);
            let relative = mice.iter().find(|mouse| *mouse != absolute).unwrap();
            assert!(guest.control.pointer(PointerEvent::Wheel { down: 2, right: 0 }));
            guest.event(relative, EV_REL, REL_WHEEL, -2);
            assert!(guest.control.pointer(PointerEvent::Motion { dx: 11, dy: -7 }));
            guest.event(relative, EV_REL, REL_X, 11);
            guest.event(relative, EV_REL, REL_Y, -7);
            for (key, code) in [
                (KeyCode::A, KEY_A),
                (KeyCode::Pause, KEY_PAUSE),
                (KeyCode::PrintScreen, KEY_SYSRQ),
                (KeyCode::NonUsBackslash, KEY_102ND),
                (KeyCode::ArrowRight, KEY_RIGHT),
                (KeyCode::VolumeUp, KEY_VOLUMEUP),
            ] {
                guest.strike(key);
                guest.event(&keyboard, EV_KEY, code, 1);
                guest.event(&keyboard, EV_KEY, code, 0);
            }
            // A key that is held repeats by itself: Linux passes that on as value 2.
            assert!(guest.control.key(KeyCode::A, true));
            guest.event(&keyboard, EV_KEY, KEY_A, 2);
            guest.control.release_all_keys();
            // The guest's Caps Lock lights the keyboard's.
            assert_eq!(guest.control.leds() & Leds::CAPS_LOCK, Leds::empty());
            guest.strike(KeyCode::CapsLock);
            guest.wait("light", |_| guest.control.leds().contains(Leds::CAPS_LOCK));
        },
    );
}

fn linux_finds_an_explorer_mouse() {
    let without = |config: &mut MachineConfig| config.without.push("vmmouse".to_owned());
    with_guest(Engine::fastest(), "", without, |guest| {
        let mouse = guest.device("ImExPS/2 Generic Explorer Mouse");
        assert!(!guest.control.pointer_is_absolute());
        assert!(guest.control.pointer(PointerEvent::Motion { dx: 100, dy: 50 }));
        guest.event(&mouse, EV_REL, REL_X, 100);
        guest.event(&mouse, EV_REL, REL_Y, 50);
        assert!(guest.control.pointer(PointerEvent::Wheel { down: -1, right: 0 }));
        guest.event(&mouse, EV_REL, REL_WHEEL, 1);
        guest.press(PointerButton::Side, true);
        guest.event(&mouse, EV_KEY, BTN_SIDE, 1);
        guest.press(PointerButton::Side, false);
        guest.event(&mouse, EV_KEY, BTN_SIDE, 0);
        // A position tells a mouse how far it is from the last one: half the screen is 512 counts.
        for x in [0, 0x8000] {
            assert!(guest.control.pointer(PointerEvent::Position { x, y: 0 }));
            guest.control.wake();
        }
        let moved = |text: &str| -> i32 {
            let begin = format!("IN {mouse} ");
            let moves = text.lines().filter(|line| line.contains(&begin));
            let x = |line: &str| {
                line.trim().rsplit_once(" 2 0 ").and_then(|(_, value)| value.parse::<i32>().ok())
            };
            moves.filter_map(x).sum()
        };
        // The first position may have been replaced by the second before the machine looked.
        guest.control.pointer(PointerEvent::Motion { dx: 1, dy: 0 });
        guest.wait("moves", |text| [101, 613].contains(&moved(text)));
    });
}

fn linux_drives_the_keyboard_in_set_3() {
    with_guest(
        Engine::fastest(),
        "i8042.direct atkbd.set=3",
        |_| {},
        |guest| {
            let keyboard = guest.device("AT Raw Set 3 keyboard");
            for (key, code) in
                [(KeyCode::A, KEY_A), (KeyCode::Pause, KEY_PAUSE), (KeyCode::ArrowRight, KEY_RIGHT)]
            {
                guest.strike(key);
                guest.event(&keyboard, EV_KEY, code, 1);
                guest.event(&keyboard, EV_KEY, code, 0);
            }
        },
    );
}
