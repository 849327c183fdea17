//! A serial port's other end, with somebody who reads along what the guest writes.

use trimotor_devices::serial::SerialBackend;

/// `backend`, with `hear` called for the bytes that it takes.
pub struct Overheard<F> {
    backend: Box<dyn SerialBackend>,
    hear: F,
}

impl<F: FnMut(&[u8]) + Send> Overheard<F> {
    /// Both together.
    pub fn new(backend: Box<dyn SerialBackend>, hear: F) -> Self {
        Self { backend, hear }
    }
}

impl<F: FnMut(&[u8]) + Send> SerialBackend for Overheard<F> {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = self.backend.write(bytes);
        (self.hear)(&bytes[..taken]);
        taken
    }
    fn flush(&mut self) {
        self.backend.flush();
    }
    fn read(&mut self, into: &mut [u8]) -> usize {
        self.backend.read(into)
    }
    fn connected(&self) -> bool {
        self.backend.connected()
    }
}
