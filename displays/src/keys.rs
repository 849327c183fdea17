//! Keys as peers name them, and the keys that a peer holds down.
//!
//! VNC names keys by what they type, as X does ([`keysym`]), or with an extension by their scan codes ([`scan_code`]);
//! browsers by their place ([`browser_code`]), and so do window systems ([`linux_code`], [`xkb_name`]). [`Hands`] are one
//! peer's at the guest's keyboard and pointing device: what it holds when it goes away goes up.

mod browser;
mod hands;
mod keysyms;
mod places;

pub use browser::browser_code;
pub use hands::{Hands, RETRY};
pub use keysyms::{KeyPress, keysym};
pub use places::{linux_code, xkb_name};

use trimotor_devices::i8042::{KeyCode, translate};

/// The key of a code of scan-code set 1, whose bit 7 stands for the prefix E0h (RFB, "QEMU Extended Key Event Message").
pub fn scan_code(code: u32) -> Option<KeyCode> {
    match code {
        // Print Screen with Alt held, and Pause, whose sequences are of their own.
        0x54 => return Some(KeyCode::PrintScreen),
        0xC6 => return Some(KeyCode::Pause),
        _ => {}
    }
    KeyCode::all().filter(|key| *key != KeyCode::Pause).find(|key| {
        let prefix = if key.set_2() >> 8 == 0xE0 { 0x80 } else { 0 };
        u32::from(translate::code(key.set_2() as u8)) | prefix == code
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_codes_are_those_of_set_1() {
        for (code, key) in [
            (0x1E, KeyCode::A),
            (0x01, KeyCode::Escape),
            (0x1C, KeyCode::Enter),
            (0x9C, KeyCode::KeypadEnter),
            (0x2A, KeyCode::ShiftLeft),
            (0x9D, KeyCode::ControlRight),
            (0x41, KeyCode::F7),
            (0x45, KeyCode::NumLock),
            (0xC6, KeyCode::Pause),
            (0xB7, KeyCode::PrintScreen),
            (0xC8, KeyCode::ArrowUp),
            (0x48, KeyCode::Keypad8),
        ] {
            assert_eq!(scan_code(code), Some(key), "{code:02x}");
        }
        assert_eq!((scan_code(0), scan_code(u32::MAX)), (None, None));
    }
}
