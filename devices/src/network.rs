//! Network cards and their cables.
//!
//! A card has a cable ([`NetworkCable`]) into which it puts frames at any time, on the thread that it runs on. What comes out of the
//! cable is taken by the machine, one frame at a time as an external event, and given to the card ([`NetworkCard`]): only
//! while it has room. So frames wait in the network, which may make their sender wait, and are not lost in a card that a slow guest
//! has given no buffers.
//!
//! A card that said that it has no room says so when that changes ([`NetworkCable::room`]), and the machine looks again.
//! Nothing of that is seen by the guest.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_bus::GuestTime;
use trimotor_net::{Frame, Offloads};

/// A device that takes frames from a network.
pub trait NetworkCard: Send {
    /// Whether the card would take a frame now, be it to keep it or to throw it away. A card whose receiver is off throws away what
    /// comes, as real ones do.
    fn has_room(&mut self) -> bool;
    /// A frame arrives. Returns whether the card took it: where it has no room for so long a frame, nothing has changed,
    /// and the same frame comes again after the card has told of room.
    fn receive(&mut self, frame: &Frame, now: GuestTime) -> bool;
    /// The cable's other end was connected, or disconnected.
    fn carrier(&mut self, connected: bool, now: GuestTime);
}

/// A card's end of its cable. No call waits.
pub trait NetworkCable: Send + Sync {
    /// Puts a frame into the cable. Its offloads must be among those that [`accepts`](Self::accepts) says.
    fn send(&self, frame: Frame);
    /// What may be left open in frames that are sent. It stays the same.
    fn accepts(&self) -> Offloads {
        Offloads::default()
    }
    /// What the card's driver takes in frames that come, from now on; nothing until this is called, and a card says so again
    /// when it is reset.
    fn card_accepts(&self, _offloads: Offloads) {}
    /// The largest IP packet that the network carries, in bytes. It stays the same.
    fn mtu(&self) -> u16 {
        1500
    }
    /// Into how many queues the network sorts what comes ([`Frame::queue`]). It stays the same.
    fn queues(&self) -> u16 {
        1
    }
    /// Whether the other end is connected, as far as the card was told. At power-on nobody tells: the card asks.
    fn carrier(&self) -> bool {
        true
    }
    /// The card has room again, after it had none. Cheap; it may be called too often.
    fn room(&self) {}
}

/// A card's handle to its end of the cable.
pub type CableRef = Arc<dyn NetworkCable>;

/// A cable that leads nowhere: for a card that nobody connected.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCable;
impl NetworkCable for NoCable {
    fn send(&self, _frame: Frame) {}
    fn carrier(&self) -> bool {
        false
    }
}

/// A cable for a card under test: it keeps what was sent.
#[derive(Clone, Debug, Default)]
pub struct TestCable {
    /// What the network accepts.
    pub offloads: Offloads,
    seen: Arc<Mutex<Seen>>,
}
#[derive(Debug, Default)]
struct Seen {
    sent: Vec<Frame>,
    card_accepts: Offloads,
    told_of_room: u32,
}
impl TestCable {
    /// To a network that accepts such frames.
    pub fn new(offloads: Offloads) -> Self {
        Self { offloads, seen: Arc::default() }
    }
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The frames that were sent since the last call.
    pub fn take_sent(&self) -> Vec<Frame> {
        std::mem::take(&mut self.seen().sent)
    }
    /// What the card said last that it takes.
    pub fn offloads_of_card(&self) -> Offloads {
        self.seen().card_accepts
    }
    /// How many times the card told of room since the last call.
    pub fn take_told_of_room(&self) -> u32 {
        std::mem::take(&mut self.seen().told_of_room)
    }
}
impl NetworkCable for TestCable {
    fn send(&self, frame: Frame) {
        self.seen().sent.push(frame);
    }
    fn accepts(&self) -> Offloads {
        self.offloads
    }
    fn card_accepts(&self, offloads: Offloads) {
        self.seen().card_accepts = offloads;
    }
    fn room(&self) {
        self.seen().told_of_room += 1;
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether it is a group's, multicast or broadcast: no card's own.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Six bytes in hexadecimal with colons or hyphens between them.
impl FromStr for MacAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no MAC address: six bytes as in 52:54:00:12:34:56");
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| (1..=2).contains(&part.len())).ok_or_else(wrong)?;
            // A sign is no digit.
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        match parts.next() {
            Some(_) => Err(wrong()),
            None if MacAddress(bytes).is_group() => {
                Err(format!("{text} is the address of a group, not of a card: the first byte must be even"))
            }
            None => Ok(MacAddress(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_printed() {
        let mac = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0xAB]);
        assert_eq!("52:54:00:12:34:AB".parse(), Ok(mac));
        assert_eq!("52-54-0-12-34-ab".parse(), Ok(mac));
        assert_eq!(mac.to_string(), "52:54:00:12:34:ab");
        for wrong in ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:+6", "52:54:00:12:34:123"]
        {
            assert!(wrong.parse::<MacAddress>().unwrap_err().contains("no MAC address"), "{wrong}");
        }
        assert!("01:00:5e:00:00:01".parse::<MacAddress>().unwrap_err().contains("group"));
    }
}
