//! What viewers say (RFC 6143, "Client-to-Server Messages"; extensions from the community's edition of the protocol).

use super::pixels::FORMAT_BYTES;
use crate::connection::Ended;

/// What a viewer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Pixels are to have this format.
    SetPixelFormat([u8; FORMAT_BYTES]),
    /// The encodings and extensions that it knows, best first.
    SetEncodings(Vec<i32>),
    /// It wants a part of the picture: what changed of it, or all.
    UpdateRequest { incremental: bool, place: [u16; 4] },
    /// A key, by what it types.
    Key { down: bool, keysym: u32 },
    /// A key, by what it types and by its scan code.
    ScanCode { down: bool, keysym: u32, code: u32 },
    /// The pointer's place and its buttons.
    Pointer { buttons: u16, x: u16, y: u16 },
    /// Updates without requests.
    ContinuousUpdates { on: bool, place: [u16; 4] },
    /// A mark in the stream.
    Fence { flags: u32, payload: Vec<u8> },
    /// It wants the screen to be another size.
    SetDesktopSize,
    /// A text for the guest's clipboard, so many bytes of which follow. The guest has none.
    CutText { bytes: usize },
}

/// The longest text for the clipboard that is read over.
const LONGEST_CUT_TEXT: usize = 16 << 20;
/// Encodings that are looked at; viewers know some thirty.
const MOST_ENCODINGS: usize = 256;
/// The longest payload of a fence.
const LONGEST_FENCE: usize = 64;

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn double(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The message at the beginning of `bytes`, and its length; `None` where more of it must come.
///
/// # Errors
/// There is no such message.
pub fn parse(bytes: &[u8]) -> Result<Option<(Message, usize)>, Ended> {
    let Some(&kind) = bytes.first() else { return Ok(None) };
    let has = |length: usize| bytes.len() >= length;
    let place = |at: usize| [0, 2, 4, 6].map(|offset| word(bytes, at + offset));
    let message = match kind {
        0 if has(20) => {
            let mut format = [0; FORMAT_BYTES];
            format.copy_from_slice(&bytes[4..20]);
            (Message::SetPixelFormat(format), 20)
        }
        2 if has(4) => {
            let count = usize::from(word(bytes, 2));
            let length = 4 + 4 * count;
            if !has(length) {
                return Ok(None);
            }
            let numbers = (0..count.min(MOST_ENCODINGS)).map(|number| double(bytes, 4 + 4 * number) as i32);
            (Message::SetEncodings(numbers.collect()), length)
        }
        3 if has(10) => (Message::UpdateRequest { incremental: bytes[1] != 0, place: place(2) }, 10),
        4 if has(8) => (Message::Key { down: bytes[1] != 0, keysym: double(bytes, 4) }, 8),
        5 if has(6) => {
            (Message::Pointer { buttons: bytes[1].into(), x: word(bytes, 2), y: word(bytes, 4) }, 6)
        }
        6 if has(8) => {
            // A negative length is that of another form of the same.
            let length = (double(bytes, 4) as i32).unsigned_abs() as usize;
            if length > LONGEST_CUT_TEXT {
                return Err(Ended::refused(format!("a text of {length} bytes for the clipboard")));
            }
            (Message::CutText { bytes: length }, 8)
        }
        150 if has(10) => (Message::ContinuousUpdates { on: bytes[1] != 0, place: place(2) }, 10),
        248 if has(9) => {
            let length = usize::from(bytes[8]);
            if length > LONGEST_FENCE {
                return Err(Ended::refused(format!("a fence with {length} bytes, where 64 are the most")));
            }
            if !has(9 + length) {
                return Ok(None);
            }
            (Message::Fence { flags: double(bytes, 4), payload: bytes[9..9 + length].to_vec() }, 9 + length)
        }
        251 if has(8) => {
            let length = 8 + 16 * usize::from(bytes[6]);
            if !has(length) {
                return Ok(None);
            }
            (Message::SetDesktopSize, length)
        }
        255 if has(2) && bytes[1] != 0 => {
            return Err(Ended::refused(format!("an extension that is not offered: 255, {}", bytes[1])));
        }
        255 if has(12) => {
            let (down, keysym, code) = (word(bytes, 2) != 0, double(bytes, 4), double(bytes, 8));
            (Message::ScanCode { down, keysym, code }, 12)
        }
        0 | 2..=6 | 150 | 248 | 251 | 255 => return Ok(None),
        _ => return Err(Ended::refused(format!("a message of a kind that does not exist: {kind}"))),
    };
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_or_not_yet() {
        let all: [(&[u8], Message); 8] = [
            (&[2, 0, 0, 2, 0, 0, 0, 16, 255, 255, 255, 33], Message::SetEncodings(vec![16, -223])),
            (
                &[3, 1, 0, 1, 0, 2, 0, 3, 0, 4],
                Message::UpdateRequest { incremental: true, place: [1, 2, 3, 4] },
            ),
            (&[4, 1, 0, 0, 0, 0, 255, 13], Message::Key { down: true, keysym: 0xFF0D }),
            (&[5, 3, 0, 9, 1, 0], Message::Pointer { buttons: 3, x: 9, y: 256 }),
            (&[6, 0, 0, 0, 255, 255, 255, 252], Message::CutText { bytes: 4 }),
            (
                &[248, 0, 0, 0, 128, 0, 0, 1, 2, 7, 8],
                Message::Fence { flags: 0x8000_0001, payload: vec![7, 8] },
            ),
            (&[251, 0, 0, 1, 0, 1, 0, 0], Message::SetDesktopSize),
            (
                &[255, 0, 0, 1, 0, 0, 0, 97, 0, 0, 0, 30],
                Message::ScanCode { down: true, keysym: 97, code: 30 },
            ),
        ];
        for (bytes, message) in all {
            for length in 0..bytes.len() {
                assert_eq!(parse(&bytes[..length]), Ok(None), "{message:?} of {length} bytes");
            }
            let longer = [bytes, &[0xAA]].concat();
            assert_eq!(parse(&longer), Ok(Some((message, bytes.len()))));
        }
    }

    #[test]
    fn what_does_not_exist_or_is_too_long_is_refused() {
        for bytes in
            [&[1u8][..], &[7], &[255, 1], &[6, 0, 0, 0, 127, 0, 0, 0], &[248, 0, 0, 0, 0, 0, 0, 0, 65]]
        {
            assert!(matches!(parse(bytes), Err(Ended::Refused(_))), "{bytes:?}");
        }
    }
}
