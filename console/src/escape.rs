//! The escape prefix: the one key that the console keeps for itself.
//!
//! Everything typed goes to the guest, except the prefix (Ctrl-A unless told otherwise)
//! and the one byte after it. The same bytes hold for a person at a terminal and for a
//! script on a pipe.

/// What the person asks of the console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Leave the emulator.
    Quit,
    /// Show the keys.
    Help,
    /// Type to the monitor, or back to the guest.
    Monitor,
    /// Show or hide the status line.
    StatusLine,
    /// Show the other of screen and serial port.
    Switch,
    /// Send a break on the serial port.
    Break,
    /// Strike Ctrl-Alt-Delete.
    CtrlAltDelete,
    /// Show what the engine counted.
    Info,
    /// Have another engine go on with the guest.
    Engine,
    /// Draw the screen anew.
    Redraw,
    /// Give the mouse to the guest, or back to the terminal.
    Mouse,
    /// Show a picture as large as it is, or all of it.
    Zoom,
    /// Pause the machine, or go on.
    Pause,
    /// A byte that means nothing after the prefix.
    Unknown(u8),
}

/// A piece of what was typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Typed {
    /// Bytes for the guest.
    Bytes(Vec<u8>),
    /// A command for the console.
    Command(Command),
}

/// Splits what is typed into commands and bytes.
#[derive(Debug)]
pub struct Escape {
    prefix: Option<u8>,
    after_prefix: bool,
}

impl Escape {
    /// Ctrl-A.
    pub const CTRL_A: u8 = 0x01;

    /// A splitter with this prefix byte; with none, everything goes to the guest.
    pub fn new(prefix: Option<u8>) -> Self {
        Self { prefix, after_prefix: false }
    }
    /// The prefix as people write it ("Ctrl-A"), if there is one.
    pub fn name(&self) -> Option<String> {
        self.prefix.map(|byte| format!("Ctrl-{}", (byte + 0x40) as char))
    }
    /// Takes what was typed.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let mut typed = Vec::new();
        let mut plain = Vec::new();
        for &byte in bytes {
            if self.after_prefix {
                self.after_prefix = false;
                if Some(byte) == self.prefix {
                    plain.push(byte);
                    continue;
                }
                if !plain.is_empty() {
                    typed.push(Typed::Bytes(std::mem::take(&mut plain)));
                }
                typed.push(Typed::Command(command(byte)));
            } else if Some(byte) == self.prefix {
                self.after_prefix = true;
            } else {
                plain.push(byte);
            }
        }
        if !plain.is_empty() {
            typed.push(Typed::Bytes(plain));
        }
        typed
    }
}

fn command(byte: u8) -> Command {
    match byte.to_ascii_lowercase() {
        b'x' => Command::Quit,
        b'h' | b'?' => Command::Help,
        b'c' => Command::Monitor,
        b's' => Command::Switch,
        b't' => Command::StatusLine,
        b'b' => Command::Break,
        b'd' => Command::CtrlAltDelete,
        b'i' => Command::Info,
        b'e' => Command::Engine,
        b'l' | 0x0c => Command::Redraw,
        b'm' => Command::Mouse,
        b'z' => Command::Zoom,
        b'p' => Command::Pause,
        _ => Command::Unknown(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_taken_out_and_twice_is_itself() {
        let mut escape = Escape::new(Some(Escape::CTRL_A));
        assert_eq!(escape.push(b"ab\x01"), [Typed::Bytes(b"ab".to_vec())]);
        assert_eq!(escape.push(b"xcd"), [Typed::Command(Command::Quit), Typed::Bytes(b"cd".to_vec())]);
        assert_eq!(escape.push(b"\x01\x01"), [Typed::Bytes(vec![1])]);
        assert_eq!(escape.push(b"\x01H"), [Typed::Command(Command::Help)]);
        assert_eq!(escape.push(b"\x01!"), [Typed::Command(Command::Unknown(b'!'))]);
        assert_eq!(escape.name().as_deref(), Some("Ctrl-A"));
    }

    #[test]
    fn without_a_prefix_all_bytes_pass() {
        let mut escape = Escape::new(None);
        assert_eq!(escape.push(b"\x01x"), [Typed::Bytes(b"\x01x".to_vec())]);
        assert_eq!(escape.name(), None);
    }
}
