//! Ends that only take bytes: a file and nothing.

use crate::background_writer::BackgroundWriter;
use crate::outlet::WhenFull;
use std::fs::File;
use std::time::Duration;
use trimotor_devices::serial::SerialBackend;

/// How long the end of the program waits for a file that takes nothing: a pipe with a name, a host that is away.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Output to a file, written by a thread of its own.
pub struct FileSink {
    writer: BackgroundWriter,
    name: String,
    when_full: WhenFull,
    reported: bool,
}

impl FileSink {
    /// Output to `file`; `name` is for messages: flag and file.
    pub fn new(file: File, name: String, when_full: WhenFull) -> Self {
        let writer = BackgroundWriter::start("serial-file", file.into());
        Self { writer, name, when_full, reported: false }
    }
    /// Its writer.
    pub fn writer(&self) -> &BackgroundWriter {
        &self.writer
    }
}

impl SerialBackend for FileSink {
    fn write(&mut self, bytes: &[u8]) -> usize {
        if self.when_full == WhenFull::Refuse {
            return self.writer.offer(bytes);
        }
        self.writer.append(bytes);
        bytes.len()
    }
    /// A file that fails (a full disk) is reported once; output is lost from then on.
    fn flush(&mut self) {
        self.writer.flush_now();
        if let Some(error) = self.writer.failure()
            && !std::mem::replace(&mut self.reported, true)
        {
            log::error!("{}: {error}; the rest is lost", self.name);
        }
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
        self.writer.drain(LAST_WAIT);
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
