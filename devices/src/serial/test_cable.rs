//! A cable for a port under test: its other end is the test.

use super::SerialBackend;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The cable. All handles are of the same one.
#[derive(Clone, Debug, Default)]
pub struct TestCable(Arc<Mutex<Other>>);

/// The other end.
#[derive(Debug, Default)]
struct Other {
    output: Vec<u8>,
    input: Vec<u8>,
    room: usize,
    away: bool,
}

impl TestCable {
    /// One that takes so many bytes.
    pub fn new(room: usize) -> Self {
        let cable = Self::default();
        cable.set_room(room);
        cable
    }
    fn other(&self) -> MutexGuard<'_, Other> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// It takes so many bytes from now on.
    pub fn set_room(&self, room: usize) {
        self.other().room = room;
    }
    /// Somebody is at the other end, or nobody; there is somebody at the beginning.
    pub fn set_connected(&self, connected: bool) {
        self.other().away = !connected;
    }
    /// Sends bytes to the port.
    pub fn type_in(&self, bytes: &[u8]) {
        self.other().input.extend(bytes);
    }
    /// What has come from the port since the last call.
    pub fn take_output(&self) -> Vec<u8> {
        std::mem::take(&mut self.other().output)
    }
}

impl SerialBackend for TestCable {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut other = self.other();
        let taken = bytes.len().min(other.room);
        other.room -= taken;
        other.output.extend(&bytes[..taken]);
        taken
    }
    fn flush(&mut self) {}
    fn read(&mut self, into: &mut [u8]) -> usize {
        let input = &mut self.other().input;
        let length = input.len().min(into.len());
        into[..length].copy_from_slice(&input[..length]);
        input.drain(..length);
        length
    }
    fn connected(&self) -> bool {
        !self.other().away
    }
}
