//! Ends that only take bytes: a file and nothing.

use std::fs::File;
use std::io::Write;
use trimotor_devices::serial::SerialBackend;

/// Bytes that gather before they are written in any case.
const BUFFER_BYTES: usize = 64 << 10;

/// Output to a file. A write to a file never has to wait for anyone, so all bytes are taken.
pub struct FileSink {
    file: File,
    name: String,
    buffer: Vec<u8>,
    failed: bool,
}

impl FileSink {
    /// Output to `file`; `name` is for messages: flag and file.
    pub fn new(file: File, name: String) -> Self {
        Self { file, name, buffer: Vec::with_capacity(BUFFER_BYTES), failed: false }
    }
}

impl SerialBackend for FileSink {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
        bytes.len()
    }
    /// A file that fails (a full disk) is reported once; output is lost from then on.
    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if !self.failed
            && let Err(error) = self.file.write_all(&self.buffer)
        {
            log::error!("{}: {error}; the rest is lost", self.name);
            self.failed = true;
        }
        self.buffer.clear();
    }
    fn read(&mut self, _into: &mut [u8]) -> usize {
        0
    }
    fn connected(&self) -> bool {
        true
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Swallows output and is silent, but holds the modem lines, so that guests do not wait.
pub struct NullSink;

impl SerialBackend for NullSink {
    fn write(&mut self, bytes: &[u8]) -> usize {
        bytes.len()
    }
    fn flush(&mut self) {}
    fn read(&mut self, _into: &mut [u8]) -> usize {
        0
    }
    fn connected(&self) -> bool {
        true
    }
}
