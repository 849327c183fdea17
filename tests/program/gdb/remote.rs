//! gdb's protocol by hand: what gdb itself never sends.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// No answer takes as long: the guard against hanging.
const PATIENCE: Duration = Duration::from_secs(300);

/// A peer.
pub struct Remote(pub UnixStream);

/// A packet with its checksum.
pub fn packet(text: &str) -> Vec<u8> {
    let sum = text.bytes().fold(0u8, u8::wrapping_add);
    format!("${text}#{sum:02x}").into_bytes()
}

impl Remote {
    /// Connects as soon as somebody listens.
    pub fn connect(path: &str) -> Remote {
        let started = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
                    return Remote(stream);
                }
                Err(error) if started.elapsed() > PATIENCE => panic!("{path}: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
    pub fn send(&mut self, text: &str) {
        self.0.write_all(&packet(text)).expect("the stub reads");
    }
    /// The next packet that comes, which is acknowledged.
    pub fn receive(&mut self) -> String {
        let (mut text, mut byte) = (Vec::new(), [0]);
        let mut inside = false;
        while !text.ends_with(b"#") {
            self.0.read_exact(&mut byte).expect("a packet");
            inside |= byte[0] == b'$';
            if inside {
                text.push(byte[0]);
            }
        }
        self.0.read_exact(&mut [0; 2]).expect("a checksum");
        self.0.write_all(b"+").expect("the stub reads");
        String::from_utf8_lossy(&text[1..text.len() - 1]).into_owned()
    }
    /// Sends a packet; the answer.
    pub fn ask(&mut self, text: &str) -> String {
        self.send(text);
        self.receive()
    }
    /// Whether the stub has ended the connection: reads to its end.
    pub fn is_let_go(&mut self) -> bool {
        self.0.read_to_end(&mut Vec::new()).is_ok()
    }
}
