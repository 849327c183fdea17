//! Keys as window systems name them by their place on the keyboard.
//!
//! Wayland has the codes of Linux's input events (`input-event-codes.h`). X has numbers of its own for each server, and
//! tells for each of them the key's name, of up to four characters ("The X Keyboard Extension: Protocol Specification",
//! "Key Names"). What the names stand for is in the key code files of xkeyboard-config; keys that have no name of their own
//! there have one of `I` and a number, which is the code of Linux and 8 more.

use trimotor_devices::i8042::KeyCode;

/// What X's numbers of keys are higher than Linux's codes, where the server has them from there.
const X_OFFSET: u32 = 8;

/// The key of a code of Linux.
pub fn linux_code(code: u32) -> Option<KeyCode> {
    PLACES.iter().find(|row| row.1 == code).map(|row| row.2)
}

/// The key of an X key name, which zeros fill up.
pub fn xkb_name(name: [u8; 4]) -> Option<KeyCode> {
    let name = std::str::from_utf8(&name).ok()?.trim_end_matches('\0');
    if let Some(row) = PLACES.iter().find(|row| row.0 == name && !name.is_empty()) {
        return Some(row.2);
    }
    let number: u32 = name.strip_prefix('I')?.parse().ok()?;
    linux_code(number.checked_sub(X_OFFSET)?)
}

/// Name, code of Linux, key. Without a name: `I` and the number is it.
#[rustfmt::skip]
const PLACES: &[(&str, u32, KeyCode)] = {
    use KeyCode::*;
    &[
        ("ESC", 1, Escape), ("AE01", 2, Digit1), ("AE02", 3, Digit2), ("AE03", 4, Digit3), ("AE04", 5, Digit4),
        ("AE05", 6, Digit5), ("AE06", 7, Digit6), ("AE07", 8, Digit7), ("AE08", 9, Digit8), ("AE09", 10, Digit9),
        ("AE10", 11, Digit0), ("AE11", 12, Minus), ("AE12", 13, Equal), ("BKSP", 14, Backspace), ("TAB", 15, Tab),
        ("AD01", 16, Q), ("AD02", 17, W), ("AD03", 18, E), ("AD04", 19, R), ("AD05", 20, T), ("AD06", 21, Y),
        ("AD07", 22, U), ("AD08", 23, I), ("AD09", 24, O), ("AD10", 25, P), ("AD11", 26, BracketLeft),
        ("AD12", 27, BracketRight), ("RTRN", 28, Enter), ("LCTL", 29, ControlLeft), ("AC01", 30, A), ("AC02", 31, S),
        ("AC03", 32, D), ("AC04", 33, F), ("AC05", 34, G), ("AC06", 35, H), ("AC07", 36, J), ("AC08", 37, K),
        ("AC09", 38, L), ("AC10", 39, Semicolon), ("AC11", 40, Apostrophe), ("TLDE", 41, Grave),
        ("LFSH", 42, ShiftLeft), ("BKSL", 43, Backslash), ("AC12", 43, Backslash), ("AB01", 44, Z), ("AB02", 45, X),
        ("AB03", 46, C), ("AB04", 47, V), ("AB05", 48, B), ("AB06", 49, N), ("AB07", 50, M), ("AB08", 51, Comma),
        ("AB09", 52, Period), ("AB10", 53, Slash), ("RTSH", 54, ShiftRight), ("KPMU", 55, KeypadMultiply),
        ("LALT", 56, AltLeft), ("SPCE", 57, Space), ("CAPS", 58, CapsLock), ("FK01", 59, F1), ("FK02", 60, F2),
        ("FK03", 61, F3), ("FK04", 62, F4), ("FK05", 63, F5), ("FK06", 64, F6), ("FK07", 65, F7), ("FK08", 66, F8),
        ("FK09", 67, F9), ("FK10", 68, F10), ("NMLK", 69, NumLock), ("SCLK", 70, ScrollLock), ("KP7", 71, Keypad7),
        ("KP8", 72, Keypad8), ("KP9", 73, Keypad9), ("KPSU", 74, KeypadSubtract), ("KP4", 75, Keypad4),
        ("KP5", 76, Keypad5), ("KP6", 77, Keypad6), ("KPAD", 78, KeypadAdd), ("KP1", 79, Keypad1),
        ("KP2", 80, Keypad2), ("KP3", 81, Keypad3), ("KP0", 82, Keypad0), ("KPDL", 83, KeypadDecimal),
        ("LSGT", 86, NonUsBackslash), ("FK11", 87, F11), ("FK12", 88, F12), ("AB11", 89, Ro), ("HENK", 92, Convert),
        ("HKTG", 93, KanaMode), ("MUHE", 94, NonConvert), ("KPEN", 96, KeypadEnter), ("RCTL", 97, ControlRight),
        ("KPDV", 98, KeypadDivide), ("PRSC", 99, PrintScreen), ("RALT", 100, AltRight), ("HOME", 102, Home),
        ("UP", 103, ArrowUp), ("PGUP", 104, PageUp), ("LEFT", 105, ArrowLeft), ("RGHT", 106, ArrowRight),
        ("END", 107, End), ("DOWN", 108, ArrowDown), ("PGDN", 109, PageDown), ("INS", 110, Insert),
        ("DELE", 111, Delete), ("MUTE", 113, VolumeMute), ("VOL-", 114, VolumeDown), ("VOL+", 115, VolumeUp),
        ("POWR", 116, Power), ("PAUS", 119, Pause), ("KPPT", 121, KeypadComma), ("AE13", 124, Yen),
        ("LWIN", 125, MetaLeft), ("RWIN", 126, MetaRight), ("COMP", 127, Menu), ("MENU", 127, Menu),
        ("STOP", 128, BrowserStop), ("", 140, Calculator), ("", 142, Sleep), ("", 143, Wake), ("", 155, Mail),
        ("", 156, BrowserFavorites), ("", 157, Computer), ("", 158, BrowserBack), ("", 159, BrowserForward),
        ("", 163, MediaNext), ("", 164, MediaPlay), ("", 165, MediaPrevious), ("", 166, MediaStop),
        ("", 171, MediaSelect), ("", 172, BrowserHome), ("", 173, BrowserRefresh), ("", 217, BrowserSearch),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn named(name: &str) -> Option<KeyCode> {
        let mut bytes = [0; 4];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        xkb_name(bytes)
    }

    #[test]
    fn each_key_has_a_place_and_each_place_one_key() {
        let mut by_code = HashMap::new();
        for (name, code, key) in PLACES {
            assert_eq!(*by_code.entry(*code).or_insert(*key), *key, "{name}");
            assert_eq!(linux_code(*code), Some(*key));
            assert!(name.is_empty() || named(name) == Some(*key), "{name}");
        }
        let missing: Vec<_> = KeyCode::all().filter(|key| !PLACES.iter().any(|row| row.2 == *key)).collect();
        assert_eq!(missing, [], "keys of a PC keyboard that have no place");
    }

    #[test]
    fn keys_without_a_name_have_a_number() {
        assert_eq!(named("I163"), Some(KeyCode::Mail));
        assert_eq!(named("I129"), Some(KeyCode::KeypadComma));
        for unknown in ["", "I", "I7", "I0", "I255", "Ix", "QQQQ"] {
            assert_eq!(named(unknown), None, "{unknown}");
        }
        assert_eq!(xkb_name([0xFF; 4]), None);
    }

    /// The key codes of xkeyboard-config, which X servers on Linux use.
    const KEY_CODES: &str = "/usr/share/X11/xkb/keycodes/evdev";

    #[test]
    fn names_and_codes_are_those_of_xkeyboard_config() {
        let read = std::fs::read_to_string(KEY_CODES);
        let missing =
            read.as_ref().err().map(|_| format!("{KEY_CODES} is not there (Debian's package xkb-data)"));
        if trimotor_test_needs::skip(missing.map_or(Ok(()), Err)) {
            return;
        }
        let text = read.unwrap();
        let mut found = 0;
        for line in text.lines().map(str::trim) {
            let Some((name, number)) = line.strip_prefix('<').and_then(|rest| rest.split_once("> = ")) else {
                continue;
            };
            let Some((number, _)) = number.split_once(';') else { continue };
            let number: u32 = number.trim().parse().unwrap();
            if let Some(key) = named(name.trim()) {
                assert_eq!(linux_code(number - X_OFFSET), Some(key), "{line}");
                found += 1;
            }
        }
        assert!(found > 110, "{found} keys of ours are there");
    }
}
