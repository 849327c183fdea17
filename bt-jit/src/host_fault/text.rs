//! Text in a buffer of fixed size, for code that may not allocate.

use std::fmt;

/// Room for a report; what is more is cut off.
const BYTES: usize = 8192;

/// A report under way.
pub struct Text {
    bytes: [u8; BYTES],
    used: usize,
}

impl Text {
    /// Nothing.
    pub fn new() -> Text {
        Text { bytes: [0; BYTES], used: 0 }
    }
    /// What was written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.used..];
        let taken = text.len().min(room.len());
        room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.used += taken;
        Ok(())
    }
}

/// Bytes in hexadecimal with blanks between them.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if n > 0 { " " } else { "" })?;
        }
        if self.0.is_empty() { f.write_str("(not readable)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut text = Text::new();
        write!(text, "{}", Hex(&[0x0F, 0xAB])).unwrap();
        assert_eq!(text.bytes(), b"0f ab");
        for _ in 0..BYTES {
            write!(text, "0123456789").unwrap();
        }
        assert_eq!(text.bytes().len(), BYTES);
        assert_eq!(Hex(&[]).to_string(), "(not readable)");
    }
}
