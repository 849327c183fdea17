//! Port 80h: where firmware shows how far its self test is.
//!
//! A byte written here once lit two digits on a card. It is also the port that Linux writes to
//! wait a microsecond, so it must be there and do nothing else. The last codes are kept for a
//! person to look at.

use crate::device::Device;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use trimotor_bus::{GuestTime, Port, PortDevice, RestoreError, SaveState, Width};

/// Where the port is.
pub const POST_PORT: Port = Port(0x80);
/// Codes that are kept.
pub const HISTORY: usize = 16;

/// The port and its last codes.
#[derive(Default)]
pub struct PostPort {
    history: VecDeque<u8>,
}

/// The saved state: the last codes, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostPortStateV1 {
    history: VecDeque<u8>,
}

impl PostPort {
    /// A port without a code.
    pub fn new() -> Self {
        Self::default()
    }
    /// The last codes, oldest first; a code that repeats counts once.
    pub fn history(&self) -> impl Iterator<Item = u8> {
        self.history.iter().copied()
    }
}

impl PortDevice for PostPort {
    fn port_read(&mut self, _port: Port, width: Width, _now: GuestTime) -> u32 {
        width.mask() as u32 & !0xFF | self.history.back().copied().unwrap_or(0) as u32
    }
    fn port_write(&mut self, _port: Port, _width: Width, value: u32, _now: GuestTime) {
        let code = value as u8;
        if self.history.back() == Some(&code) {
            return;
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(code);
    }
}

impl SaveState for PostPort {
    type State = PostPortStateV1;
    fn save(&self) -> PostPortStateV1 {
        let Self { history } = self;
        PostPortStateV1 { history: history.clone() }
    }
    fn restore(&mut self, state: PostPortStateV1) -> Result<(), RestoreError> {
        let PostPortStateV1 { history } = state;
        if history.len() > HISTORY {
            let value = format!("{} codes", history.len());
            return Err(RestoreError { part: "POST port", field: "history", value });
        }
        self.history = history;
        Ok(())
    }
}

impl Device for PostPort {
    fn reset(&mut self, _now: GuestTime) {}
    fn info(&self) -> String {
        let codes: Vec<_> = self.history().map(|code| format!("{code:02x}")).collect();
        format!("codes {}", codes.join(" "))
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_codes_are_kept() {
        let mut post = PostPort::new();
        for code in 0..40u32 {
            post.port_write(POST_PORT, Width::Byte, code / 2, GuestTime::ZERO);
        }
        assert_eq!(post.history().collect::<Vec<_>>(), (4..20).collect::<Vec<u8>>());
        assert_eq!(post.port_read(POST_PORT, Width::Byte, GuestTime::ZERO), 19);
        let mut other = PostPort::new();
        other.restore(post.save()).unwrap();
        assert_eq!(other.save(), post.save());
    }
}
