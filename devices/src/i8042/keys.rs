//! The keys of a PC keyboard: names and scan codes ("Keyboard Scan Code Specification",
//! Microsoft, revision 1.3a; set 3 from the IBM PS/2 Hardware Interface Technical Reference).
//!
//! Set 1 has no column: its codes are those of set 2 through the table of the keyboard
//! controller ([`super::translate`]).

use serde::{Deserialize, Serialize};

/// A key, by its place on a US keyboard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum KeyCode {
    /// Letter A.
    A,
    /// Letter B.
    B,
    /// Letter C.
    C,
    /// Letter D.
    D,
    /// Letter E.
    E,
    /// Letter F.
    F,
    /// Letter G.
    G,
    /// Letter H.
    H,
    /// Letter I.
    I,
    /// Letter J.
    J,
    /// Letter K.
    K,
    /// Letter L.
    L,
    /// Letter M.
    M,
    /// Letter N.
    N,
    /// Letter O.
    O,
    /// Letter P.
    P,
    /// Letter Q.
    Q,
    /// Letter R.
    R,
    /// Letter S.
    S,
    /// Letter T.
    T,
    /// Letter U.
    U,
    /// Letter V.
    V,
    /// Letter W.
    W,
    /// Letter X.
    X,
    /// Letter Y.
    Y,
    /// Letter Z.
    Z,
    /// Digit 0 of the main block.
    Digit0,
    /// Digit 1 of the main block.
    Digit1,
    /// Digit 2 of the main block.
    Digit2,
    /// Digit 3 of the main block.
    Digit3,
    /// Digit 4 of the main block.
    Digit4,
    /// Digit 5 of the main block.
    Digit5,
    /// Digit 6 of the main block.
    Digit6,
    /// Digit 7 of the main block.
    Digit7,
    /// Digit 8 of the main block.
    Digit8,
    /// Digit 9 of the main block.
    Digit9,
    /// Grave accent and tilde.
    Grave,
    /// Minus and underscore.
    Minus,
    /// Equals and plus.
    Equal,
    /// Backslash and bar.
    Backslash,
    /// Backspace.
    Backspace,
    /// Space bar.
    Space,
    /// Tab.
    Tab,
    /// Caps Lock.
    CapsLock,
    /// Enter of the main block.
    Enter,
    /// Escape.
    Escape,
    /// Left bracket and brace.
    BracketLeft,
    /// Right bracket and brace.
    BracketRight,
    /// Semicolon and colon.
    Semicolon,
    /// Apostrophe and quotation mark.
    Apostrophe,
    /// Comma and less-than.
    Comma,
    /// Period and greater-than.
    Period,
    /// Slash and question mark.
    Slash,
    /// The 102nd key, between left shift and Z.
    NonUsBackslash,
    /// Left shift.
    ShiftLeft,
    /// Right shift.
    ShiftRight,
    /// Left control.
    ControlLeft,
    /// Right control.
    ControlRight,
    /// Left alt.
    AltLeft,
    /// Right alt (AltGr).
    AltRight,
    /// Left Windows key.
    MetaLeft,
    /// Right Windows key.
    MetaRight,
    /// Application menu.
    Menu,
    /// Function key 1.
    F1,
    /// Function key 2.
    F2,
    /// Function key 3.
    F3,
    /// Function key 4.
    F4,
    /// Function key 5.
    F5,
    /// Function key 6.
    F6,
    /// Function key 7.
    F7,
    /// Function key 8.
    F8,
    /// Function key 9.
    F9,
    /// Function key 10.
    F10,
    /// Function key 11.
    F11,
    /// Function key 12.
    F12,
    /// Print Screen; with alt it is SysRq.
    PrintScreen,
    /// Scroll Lock.
    ScrollLock,
    /// Pause; with control it is Break.
    Pause,
    /// Insert.
    Insert,
    /// Home.
    Home,
    /// Page Up.
    PageUp,
    /// Delete.
    Delete,
    /// End.
    End,
    /// Page Down.
    PageDown,
    /// Cursor up.
    ArrowUp,
    /// Cursor left.
    ArrowLeft,
    /// Cursor down.
    ArrowDown,
    /// Cursor right.
    ArrowRight,
    /// Num Lock.
    NumLock,
    /// Slash of the keypad.
    KeypadDivide,
    /// Asterisk of the keypad.
    KeypadMultiply,
    /// Minus of the keypad.
    KeypadSubtract,
    /// Plus of the keypad.
    KeypadAdd,
    /// Enter of the keypad.
    KeypadEnter,
    /// Decimal point of the keypad.
    KeypadDecimal,
    /// Digit 0 of the keypad.
    Keypad0,
    /// Digit 1 of the keypad.
    Keypad1,
    /// Digit 2 of the keypad.
    Keypad2,
    /// Digit 3 of the keypad.
    Keypad3,
    /// Digit 4 of the keypad.
    Keypad4,
    /// Digit 5 of the keypad.
    Keypad5,
    /// Digit 6 of the keypad.
    Keypad6,
    /// Digit 7 of the keypad.
    Keypad7,
    /// Digit 8 of the keypad.
    Keypad8,
    /// Digit 9 of the keypad.
    Keypad9,
    /// Comma of a Brazilian keypad.
    KeypadComma,
    /// Japanese Ro; Brazilian slash.
    Ro,
    /// Japanese Yen.
    Yen,
    /// Japanese Henkan.
    Convert,
    /// Japanese Muhenkan.
    NonConvert,
    /// Japanese Hiragana and Katakana.
    KanaMode,
    /// Next track.
    MediaNext,
    /// Previous track.
    MediaPrevious,
    /// Stop.
    MediaStop,
    /// Play and pause.
    MediaPlay,
    /// Mute.
    VolumeMute,
    /// Louder.
    VolumeUp,
    /// Softer.
    VolumeDown,
    /// Media player.
    MediaSelect,
    /// Mail.
    Mail,
    /// Calculator.
    Calculator,
    /// File manager.
    Computer,
    /// Browser search.
    BrowserSearch,
    /// Browser home.
    BrowserHome,
    /// Browser back.
    BrowserBack,
    /// Browser forward.
    BrowserForward,
    /// Browser stop.
    BrowserStop,
    /// Browser refresh.
    BrowserRefresh,
    /// Browser favourites.
    BrowserFavorites,
    /// Power key.
    Power,
    /// Sleep key.
    Sleep,
    /// Wake key.
    Wake,
}

/// What a key sends in scan-code set 3 after reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeyKind {
    /// Make code, repeated while held.
    Typematic,
    /// Make code and break code.
    MakeBreak,
    /// Make code only.
    MakeOnly,
    /// Make code, repeated while held, and break code.
    TypematicMakeBreak,
}

struct Row {
    key: KeyCode,
    name: &'static str,
    set_2: u16,
    set_3: u8,
    kind: KeyKind,
}

const fn row(key: KeyCode, name: &'static str, set_2: u16, set_3: u8, kind: KeyKind) -> Row {
    Row { key, name, set_2, set_3, kind }
}

/// In the order of [`KeyCode`]. Pause stands here with the code that its sequence carries.
#[rustfmt::skip]
const KEYS: &[Row] = {
    use KeyCode::*;
    use KeyKind::*;
    &[
        row(A, "a", 0x1C, 0x1C, Typematic),
        row(B, "b", 0x32, 0x32, Typematic),
        row(C, "c", 0x21, 0x21, Typematic),
        row(D, "d", 0x23, 0x23, Typematic),
        row(E, "e", 0x24, 0x24, Typematic),
        row(F, "f", 0x2B, 0x2B, Typematic),
        row(G, "g", 0x34, 0x34, Typematic),
        row(H, "h", 0x33, 0x33, Typematic),
        row(I, "i", 0x43, 0x43, Typematic),
        row(J, "j", 0x3B, 0x3B, Typematic),
        row(K, "k", 0x42, 0x42, Typematic),
        row(L, "l", 0x4B, 0x4B, Typematic),
        row(M, "m", 0x3A, 0x3A, Typematic),
        row(N, "n", 0x31, 0x31, Typematic),
        row(O, "o", 0x44, 0x44, Typematic),
        row(P, "p", 0x4D, 0x4D, Typematic),
        row(Q, "q", 0x15, 0x15, Typematic),
        row(R, "r", 0x2D, 0x2D, Typematic),
        row(S, "s", 0x1B, 0x1B, Typematic),
        row(T, "t", 0x2C, 0x2C, Typematic),
        row(U, "u", 0x3C, 0x3C, Typematic),
        row(V, "v", 0x2A, 0x2A, Typematic),
        row(W, "w", 0x1D, 0x1D, Typematic),
        row(X, "x", 0x22, 0x22, Typematic),
        row(Y, "y", 0x35, 0x35, Typematic),
        row(Z, "z", 0x1A, 0x1A, Typematic),
        row(Digit0, "0", 0x45, 0x45, Typematic),
        row(Digit1, "1", 0x16, 0x16, Typematic),
        row(Digit2, "2", 0x1E, 0x1E, Typematic),
        row(Digit3, "3", 0x26, 0x26, Typematic),
        row(Digit4, "4", 0x25, 0x25, Typematic),
        row(Digit5, "5", 0x2E, 0x2E, Typematic),
        row(Digit6, "6", 0x36, 0x36, Typematic),
        row(Digit7, "7", 0x3D, 0x3D, Typematic),
        row(Digit8, "8", 0x3E, 0x3E, Typematic),
        row(Digit9, "9", 0x46, 0x46, Typematic),
        row(Grave, "grave", 0x0E, 0x0E, Typematic),
        row(Minus, "minus", 0x4E, 0x4E, Typematic),
        row(Equal, "equal", 0x55, 0x55, Typematic),
        row(Backslash, "backslash", 0x5D, 0x5C, Typematic),
        row(Backspace, "backspace", 0x66, 0x66, Typematic),
        row(Space, "space", 0x29, 0x29, Typematic),
        row(Tab, "tab", 0x0D, 0x0D, Typematic),
        row(CapsLock, "caps_lock", 0x58, 0x14, MakeBreak),
        row(Enter, "enter", 0x5A, 0x5A, Typematic),
        row(Escape, "esc", 0x76, 0x08, MakeOnly),
        row(BracketLeft, "bracket_left", 0x54, 0x54, Typematic),
        row(BracketRight, "bracket_right", 0x5B, 0x5B, Typematic),
        row(Semicolon, "semicolon", 0x4C, 0x4C, Typematic),
        row(Apostrophe, "apostrophe", 0x52, 0x52, Typematic),
        row(Comma, "comma", 0x41, 0x41, Typematic),
        row(Period, "period", 0x49, 0x49, Typematic),
        row(Slash, "slash", 0x4A, 0x4A, Typematic),
        row(NonUsBackslash, "less", 0x61, 0x13, Typematic),
        row(ShiftLeft, "shift", 0x12, 0x12, MakeBreak),
        row(ShiftRight, "shift_r", 0x59, 0x59, MakeBreak),
        row(ControlLeft, "ctrl", 0x14, 0x11, MakeBreak),
        row(ControlRight, "ctrl_r", 0xE014, 0x58, MakeOnly),
        row(AltLeft, "alt", 0x11, 0x19, MakeBreak),
        row(AltRight, "alt_r", 0xE011, 0x39, MakeOnly),
        row(MetaLeft, "meta", 0xE01F, 0x8B, MakeOnly),
        row(MetaRight, "meta_r", 0xE027, 0x8C, MakeOnly),
        row(Menu, "menu", 0xE02F, 0x8D, MakeOnly),
        row(F1, "f1", 0x05, 0x07, MakeOnly),
        row(F2, "f2", 0x06, 0x0F, MakeOnly),
        row(F3, "f3", 0x04, 0x17, MakeOnly),
        row(F4, "f4", 0x0C, 0x1F, MakeOnly),
        row(F5, "f5", 0x03, 0x27, MakeOnly),
        row(F6, "f6", 0x0B, 0x2F, MakeOnly),
        row(F7, "f7", 0x83, 0x37, MakeOnly),
        row(F8, "f8", 0x0A, 0x3F, MakeOnly),
        row(F9, "f9", 0x01, 0x47, MakeOnly),
        row(F10, "f10", 0x09, 0x4F, MakeOnly),
        row(F11, "f11", 0x78, 0x56, MakeOnly),
        row(F12, "f12", 0x07, 0x5E, MakeOnly),
        row(PrintScreen, "print", 0xE07C, 0x57, MakeOnly),
        row(ScrollLock, "scroll_lock", 0x7E, 0x5F, MakeOnly),
        row(Pause, "pause", 0xE077, 0x62, MakeOnly),
        row(Insert, "insert", 0xE070, 0x67, MakeOnly),
        row(Home, "home", 0xE06C, 0x6E, MakeOnly),
        row(PageUp, "pgup", 0xE07D, 0x6F, MakeOnly),
        row(Delete, "delete", 0xE071, 0x64, Typematic),
        row(End, "end", 0xE069, 0x65, MakeOnly),
        row(PageDown, "pgdn", 0xE07A, 0x6D, MakeOnly),
        row(ArrowUp, "up", 0xE075, 0x63, Typematic),
        row(ArrowLeft, "left", 0xE06B, 0x61, Typematic),
        row(ArrowDown, "down", 0xE072, 0x60, Typematic),
        row(ArrowRight, "right", 0xE074, 0x6A, Typematic),
        row(NumLock, "num_lock", 0x77, 0x76, MakeOnly),
        row(KeypadDivide, "kp_divide", 0xE04A, 0x77, MakeOnly),
        row(KeypadMultiply, "kp_multiply", 0x7C, 0x7E, MakeOnly),
        row(KeypadSubtract, "kp_subtract", 0x7B, 0x84, MakeOnly),
        row(KeypadAdd, "kp_add", 0x79, 0x7C, Typematic),
        row(KeypadEnter, "kp_enter", 0xE05A, 0x79, MakeOnly),
        row(KeypadDecimal, "kp_decimal", 0x71, 0x71, MakeOnly),
        row(Keypad0, "kp_0", 0x70, 0x70, MakeOnly),
        row(Keypad1, "kp_1", 0x69, 0x69, MakeOnly),
        row(Keypad2, "kp_2", 0x72, 0x72, MakeOnly),
        row(Keypad3, "kp_3", 0x7A, 0x7A, MakeOnly),
        row(Keypad4, "kp_4", 0x6B, 0x6B, MakeOnly),
        row(Keypad5, "kp_5", 0x73, 0x73, MakeOnly),
        row(Keypad6, "kp_6", 0x74, 0x74, MakeOnly),
        row(Keypad7, "kp_7", 0x6C, 0x6C, MakeOnly),
        row(Keypad8, "kp_8", 0x75, 0x75, MakeOnly),
        row(Keypad9, "kp_9", 0x7D, 0x7D, MakeOnly),
        row(KeypadComma, "kp_comma", 0x6D, 0x00, MakeOnly),
        row(Ro, "ro", 0x51, 0x00, MakeOnly),
        row(Yen, "yen", 0x6A, 0x00, MakeOnly),
        row(Convert, "henkan", 0x64, 0x00, MakeOnly),
        row(NonConvert, "muhenkan", 0x67, 0x00, MakeOnly),
        row(KanaMode, "hiragana", 0x13, 0x00, MakeOnly),
        row(MediaNext, "audio_next", 0xE04D, 0x00, MakeOnly),
        row(MediaPrevious, "audio_prev", 0xE015, 0x00, MakeOnly),
        row(MediaStop, "audio_stop", 0xE03B, 0x00, MakeOnly),
        row(MediaPlay, "audio_play", 0xE034, 0x00, MakeOnly),
        row(VolumeMute, "audio_mute", 0xE023, 0x00, MakeOnly),
        row(VolumeUp, "volume_up", 0xE032, 0x00, MakeOnly),
        row(VolumeDown, "volume_down", 0xE021, 0x00, MakeOnly),
        row(MediaSelect, "media_select", 0xE050, 0x00, MakeOnly),
        row(Mail, "mail", 0xE048, 0x00, MakeOnly),
        row(Calculator, "calculator", 0xE02B, 0x00, MakeOnly),
        row(Computer, "computer", 0xE040, 0x00, MakeOnly),
        row(BrowserSearch, "ac_search", 0xE010, 0x00, MakeOnly),
        row(BrowserHome, "ac_home", 0xE03A, 0x00, MakeOnly),
        row(BrowserBack, "ac_back", 0xE038, 0x00, MakeOnly),
        row(BrowserForward, "ac_forward", 0xE030, 0x00, MakeOnly),
        row(BrowserStop, "ac_stop", 0xE028, 0x00, MakeOnly),
        row(BrowserRefresh, "ac_refresh", 0xE020, 0x00, MakeOnly),
        row(BrowserFavorites, "ac_bookmarks", 0xE018, 0x00, MakeOnly),
        row(Power, "power", 0xE037, 0x00, MakeOnly),
        row(Sleep, "sleep", 0xE03F, 0x00, MakeOnly),
        row(Wake, "wake", 0xE05E, 0x00, MakeOnly),
    ]
};

/// Names beside those of the table: what QEMU, and people, call some keys.
#[rustfmt::skip]
const OTHER_NAMES: &[(&str, KeyCode)] = &[
    ("ret", KeyCode::Enter), ("return", KeyCode::Enter),
    ("spc", KeyCode::Space), ("escape", KeyCode::Escape), ("bksp", KeyCode::Backspace),
    ("del", KeyCode::Delete), ("ins", KeyCode::Insert), ("page_up", KeyCode::PageUp), ("pageup", KeyCode::PageUp),
    ("page_down", KeyCode::PageDown), ("pagedown", KeyCode::PageDown), ("capslock", KeyCode::CapsLock),
    ("numlock", KeyCode::NumLock), ("scrolllock", KeyCode::ScrollLock), ("break", KeyCode::Pause),
    ("sysrq", KeyCode::PrintScreen), ("printscreen", KeyCode::PrintScreen), ("prtsc", KeyCode::PrintScreen),
    ("shift_l", KeyCode::ShiftLeft), ("ctrl_l", KeyCode::ControlLeft), ("control", KeyCode::ControlLeft),
    ("control_r", KeyCode::ControlRight), ("alt_l", KeyCode::AltLeft), ("altgr", KeyCode::AltRight),
    ("meta_l", KeyCode::MetaLeft), ("win", KeyCode::MetaLeft), ("super", KeyCode::MetaLeft),
    ("super_r", KeyCode::MetaRight), ("compose", KeyCode::Menu),
    ("grave_accent", KeyCode::Grave), ("dot", KeyCode::Period), ("asterisk", KeyCode::KeypadMultiply),
    ("kp_dot", KeyCode::KeypadDecimal), ("102nd", KeyCode::NonUsBackslash),
    ("audionext", KeyCode::MediaNext), ("audioprev", KeyCode::MediaPrevious), ("audiostop", KeyCode::MediaStop),
    ("audioplay", KeyCode::MediaPlay), ("audiomute", KeyCode::VolumeMute), ("volumeup", KeyCode::VolumeUp),
    ("volumedown", KeyCode::VolumeDown), ("mediaselect", KeyCode::MediaSelect),
];

/// No key has this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no key is called {0:?}: letters and digits are named as they are, others as in {EXAMPLES}")]
pub struct UnknownKey(String);

const EXAMPLES: &str = "ret, esc, spc, tab, f1, up, pgdn, insert, delete, home, minus, comma, kp_5, ctrl, alt, altgr, shift, meta_l, print";

impl KeyCode {
    /// All keys.
    pub fn all() -> impl Iterator<Item = KeyCode> {
        KEYS.iter().map(|row| row.key)
    }
    /// The key's name, as people type it ("a", "enter", "kp_1").
    pub fn name(self) -> &'static str {
        KEYS[self as usize].name
    }
    /// The key of a name, or of another name that is in use, such as those of QEMU's `sendkey`.
    pub fn from_name(name: &str) -> Option<KeyCode> {
        let name = name.to_ascii_lowercase();
        let own = KEYS.iter().find(|row| row.name == name).map(|row| row.key);
        own.or_else(|| OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, key)| *key))
    }
    /// Keys that go down together, in the order of their names with `-` between them: `ctrl-alt-delete`.
    ///
    /// # Errors
    /// The name that no key has.
    pub fn from_chord(names: &str) -> Result<Vec<KeyCode>, UnknownKey> {
        let key = |name: &str| KeyCode::from_name(name).ok_or_else(|| UnknownKey(name.to_owned()));
        names.split('-').map(key).collect()
    }
    /// Make code of set 2; the upper byte is E0h or 0.
    pub fn set_2(self) -> u16 {
        KEYS[self as usize].set_2
    }
    /// Make code of set 3, where the key has one.
    pub fn set_3(self) -> Option<u8> {
        Some(KEYS[self as usize].set_3).filter(|&code| code != 0)
    }
    /// What the key sends in set 3 after reset.
    pub fn kind(self) -> KeyKind {
        KEYS[self as usize].kind
    }
    /// The keys between the main block and the keypad, which the keyboard wraps in shifts of
    /// its own so that old programs take them for keypad keys without Num Lock.
    pub fn is_navigation(self) -> bool {
        use KeyCode::*;
        matches!(
            self,
            Insert | Home | PageUp | Delete | End | PageDown | ArrowUp | ArrowLeft | ArrowDown | ArrowRight
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_is_in_the_order_of_the_keys_and_unique() {
        for (at, row) in KEYS.iter().enumerate() {
            assert_eq!(row.key as usize, at);
            assert_eq!(KeyCode::from_name(row.name), Some(row.key));
        }
        let unique = |codes: Vec<u32>| codes.len() == codes.iter().collect::<HashSet<_>>().len();
        assert!(unique(KEYS.iter().map(|r| r.set_2 as u32).collect()));
        assert!(unique(KeyCode::all().filter_map(|k| k.set_3()).map(u32::from).collect()));
        assert_eq!(KEYS.len(), KeyCode::Wake as usize + 1);
        assert!(OTHER_NAMES.iter().all(|(name, _)| !name.contains('-')));
    }

    #[test]
    fn chords_have_the_names_that_qemu_users_write() {
        use KeyCode::*;
        for (names, keys) in [
            ("ctrl-alt-delete", vec![ControlLeft, AltLeft, Delete]),
            ("Ctrl-Alt-Del", vec![ControlLeft, AltLeft, Delete]),
            ("ret", vec![Enter]),
            ("alt-sysrq-b", vec![AltLeft, PrintScreen, B]),
            ("shift-kp_5", vec![ShiftLeft, Keypad5]),
            ("altgr-q", vec![AltRight, Q]),
        ] {
            assert_eq!(KeyCode::from_chord(names), Ok(keys), "{names}");
        }
        let message = KeyCode::from_chord("ctrl-enter-any").unwrap_err().to_string();
        assert!(message.contains("\"any\"") && message.contains("ret, esc"), "{message}");
        assert!(KeyCode::from_chord("").is_err() && KeyCode::from_chord("ctrl-").is_err());
    }
}
