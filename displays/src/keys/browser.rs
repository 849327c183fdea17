//! Keys as browsers name them by their place (W3C, "UI Events KeyboardEvent code Values").

use trimotor_devices::i8042::KeyCode;

/// The key of a `KeyboardEvent.code`.
pub fn browser_code(code: &str) -> Option<KeyCode> {
    if let Some(rest) = code.strip_prefix("Key") {
        return KeyCode::from_name(&rest.to_ascii_lowercase()).filter(|_| rest.len() == 1);
    }
    if let Some(rest) = code.strip_prefix("Digit") {
        return KeyCode::from_name(rest).filter(|_| rest.len() == 1);
    }
    if code.len() <= 3 && code.starts_with('F') {
        return KeyCode::from_name(&code.to_ascii_lowercase());
    }
    CODES.iter().find(|row| row.0 == code).map(|row| row.1)
}

/// Those whose names do not follow from ours.
#[rustfmt::skip]
const CODES: &[(&str, KeyCode)] = {
    use KeyCode::*;
    &[
        ("Backquote", Grave), ("Minus", Minus), ("Equal", Equal), ("Backslash", Backslash), ("Backspace", Backspace),
        ("Space", Space), ("Tab", Tab), ("CapsLock", CapsLock), ("Enter", Enter), ("Escape", Escape),
        ("BracketLeft", BracketLeft), ("BracketRight", BracketRight), ("Semicolon", Semicolon), ("Quote", Apostrophe),
        ("Comma", Comma), ("Period", Period), ("Slash", Slash), ("IntlBackslash", NonUsBackslash),
        ("ShiftLeft", ShiftLeft), ("ShiftRight", ShiftRight), ("ControlLeft", ControlLeft),
        ("ControlRight", ControlRight), ("AltLeft", AltLeft), ("AltRight", AltRight), ("MetaLeft", MetaLeft),
        ("MetaRight", MetaRight), ("ContextMenu", Menu), ("PrintScreen", PrintScreen), ("ScrollLock", ScrollLock),
        ("Pause", Pause), ("Insert", Insert), ("Home", Home), ("PageUp", PageUp), ("Delete", Delete), ("End", End),
        ("PageDown", PageDown), ("ArrowUp", ArrowUp), ("ArrowLeft", ArrowLeft), ("ArrowDown", ArrowDown),
        ("ArrowRight", ArrowRight), ("NumLock", NumLock), ("NumpadDivide", KeypadDivide),
        ("NumpadMultiply", KeypadMultiply), ("NumpadSubtract", KeypadSubtract), ("NumpadAdd", KeypadAdd),
        ("NumpadEnter", KeypadEnter), ("NumpadDecimal", KeypadDecimal), ("NumpadComma", KeypadComma),
        ("Numpad0", Keypad0), ("Numpad1", Keypad1), ("Numpad2", Keypad2), ("Numpad3", Keypad3), ("Numpad4", Keypad4),
        ("Numpad5", Keypad5), ("Numpad6", Keypad6), ("Numpad7", Keypad7), ("Numpad8", Keypad8), ("Numpad9", Keypad9),
        ("IntlRo", Ro), ("IntlYen", Yen), ("Convert", Convert), ("NonConvert", NonConvert), ("KanaMode", KanaMode),
        ("MediaTrackNext", MediaNext), ("MediaTrackPrevious", MediaPrevious), ("MediaStop", MediaStop),
        ("MediaPlayPause", MediaPlay), ("AudioVolumeMute", VolumeMute), ("AudioVolumeUp", VolumeUp),
        ("AudioVolumeDown", VolumeDown),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_105_keys_have_names_in_browsers() {
        let letters = ('A'..='Z').map(|letter| format!("Key{letter}"));
        let digits = ('0'..='9').map(|digit| format!("Digit{digit}"));
        let functions = (1..=12).map(|number| format!("F{number}"));
        let others = CODES.iter().map(|row| row.0.to_owned());
        let names: Vec<String> = letters.chain(digits).chain(functions).chain(others).collect();
        let keys: HashSet<KeyCode> = names.iter().map(|name| browser_code(name).unwrap()).collect();
        assert_eq!(keys.len(), names.len(), "each name has a key of its own");
        assert!(keys.len() >= 105);
        for unknown in ["", "Key", "KeyAB", "KeySpace", "Digit", "Digit12", "F13", "Fn", "Numpad", "keyA"] {
            assert_eq!(browser_code(unknown), None, "{unknown}");
        }
    }
}
