//! The serial port whose other end is the console: the session's back end.

use crate::outlet::{SerialOutlet, WhenFull};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use trimotor_devices::serial::SerialBackend;

/// Bytes that wait for the guest to read them.
const CAPACITY: usize = 4096;

/// The machine's end.
#[derive(Debug)]
pub struct ConsolePort {
    outlet: SerialOutlet,
    when_full: WhenFull,
    inlet: SerialInlet,
}

/// The session's end: bytes for the guest. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SerialInlet {
    waiting: Arc<Mutex<VecDeque<u8>>>,
}

impl SerialInlet {
    /// Gives bytes to the guest; returns how many there was room for.
    pub fn give(&self, bytes: &[u8]) -> usize {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = CAPACITY.saturating_sub(waiting.len()).min(bytes.len());
        waiting.extend(&bytes[..room]);
        room
    }
}

impl ConsolePort {
    /// A port that sends to `outlet`, and the inlet that feeds it.
    pub fn new(outlet: SerialOutlet, when_full: WhenFull) -> (Self, SerialInlet) {
        let inlet = SerialInlet::default();
        (Self { outlet, when_full, inlet: inlet.clone() }, inlet)
    }
}

impl SerialBackend for ConsolePort {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.outlet.send(bytes, self.when_full)
    }
    fn flush(&mut self) {}
    fn read(&mut self, into: &mut [u8]) -> usize {
        let mut waiting = self.inlet.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let length = waiting.len().min(into.len());
        for (place, byte) in into.iter_mut().zip(waiting.drain(..length)) {
            *place = byte;
        }
        length
    }
    fn connected(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_both_ways_with_bounds() {
        let outlet = SerialOutlet::new(|| {});
        let (mut port, inlet) = ConsolePort::new(outlet.clone(), WhenFull::Refuse);
        assert_eq!(port.write(b"out"), 3);
        assert_eq!(outlet.take(99), b"out");
        assert_eq!(inlet.give(b"in"), 2);
        assert_eq!(inlet.give(&[0; 2 * CAPACITY]), CAPACITY - 2);
        let mut bytes = [0; 2];
        assert_eq!(port.read(&mut bytes), 2);
        assert_eq!(&bytes, b"in");
        assert!(port.connected());
    }
}
