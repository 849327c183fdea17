//! Control messages (5.3.6.2): port, event and value, and behind a name's its text.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use trimotor_bus::RestoreError;

/// Event: the driver is ready, or has failed.
pub const DEVICE_READY: u16 = 0;
/// Event: there is a port.
const DEVICE_ADD: u16 = 1;
/// Event: the driver has made a port.
pub const PORT_READY: u16 = 3;
/// Event: a port is a console.
const CONSOLE_PORT: u16 = 4;
/// Event: the other end of a port was opened or closed.
pub const PORT_OPEN: u16 = 6;
/// Event: the name of a port.
const PORT_NAME: u16 = 7;

/// Messages that wait for the guest, from which on it is not listened to.
const MANY: usize = 128;
/// Messages that wait at most: what one of the guest's brings about comes on top.
const MOST: usize = MANY + 128;
/// Bytes of a name.
pub const MOST_NAME: usize = 255;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub(super) port: u32,
    pub(super) event: u16,
    pub(super) value: u16,
    name: String,
}

impl Message {
    fn new(port: u32, event: u16, value: u16) -> Self {
        Self { port, event, value, name: String::new() }
    }
    pub(super) fn open(port: u32, open: bool) -> Self {
        Self::new(port, PORT_OPEN, open.into())
    }
    pub(super) fn console(port: u32) -> Self {
        Self::new(port, CONSOLE_PORT, 1)
    }
    pub(super) fn name(port: u32, name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::new(port, PORT_NAME, 1) }
    }
    pub(super) fn of(bytes: &[u8; 8]) -> Self {
        let half = |at| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self::new(u32::from(half(0)) | u32::from(half(2)) << 16, half(4), half(6))
    }
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self { port, event, value, name } = self;
        [port.to_le_bytes().as_slice(), &event.to_le_bytes(), &value.to_le_bytes(), name.as_bytes()].concat()
    }
}

/// What was said, and what is yet to be told.
#[derive(Clone, Debug, Default)]
pub(super) struct Control {
    to_guest: VecDeque<Message>,
    /// A bit for each port that the driver was told of.
    known: u32,
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlStateV1 {
    to_guest: Vec<Message>,
    known: u32,
}

impl Control {
    pub(super) fn has_room(&self) -> bool {
        self.to_guest.len() < MANY
    }
    /// A message that finds no room is lost: its driver asks and does not read.
    pub(super) fn tell(&mut self, message: Message) {
        if self.to_guest.len() < MOST {
            self.to_guest.push_back(message);
        }
    }
    pub(super) fn add_port(&mut self, port: u32) {
        self.known |= 1 << (port % 32);
        self.tell(Message::new(port, DEVICE_ADD, 1));
    }
    /// Whether the driver has heard of a port.
    pub(super) fn knows(&self, port: u32) -> bool {
        self.known >> (port % 32) & 1 != 0
    }
    pub(super) fn waiting(&self) -> Option<&Message> {
        self.to_guest.front()
    }
    pub(super) fn sent(&mut self) {
        self.to_guest.pop_front();
    }
    pub(super) fn save(&self) -> ControlStateV1 {
        let Self { to_guest, known } = self;
        ControlStateV1 { to_guest: to_guest.iter().cloned().collect(), known: *known }
    }
    pub(super) fn restored(state: ControlStateV1) -> Self {
        let ControlStateV1 { to_guest, known } = state;
        Self { to_guest: to_guest.into(), known }
    }
}

impl ControlStateV1 {
    pub(super) fn check(&self, ports: u32) -> Result<(), RestoreError> {
        let Self { to_guest, known } = self;
        let bad = |message: &Message| message.port >= ports || message.name.len() > MOST_NAME;
        let refused =
            to_guest.len() > MOST || to_guest.iter().any(bad) || known.checked_shr(ports).unwrap_or(0) != 0;
        if !refused {
            return Ok(());
        }
        let value = format!("{} messages, {known:#x}", to_guest.len());
        Err(RestoreError { part: "virtio console", field: "messages", value })
    }
}
