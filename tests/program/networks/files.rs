//! Servers on the host's loopback that guests talk to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// So many bytes that look like nothing.
pub fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The MD5 sum of bytes, as `md5sum` has it.
pub fn md5(bytes: &[u8]) -> String {
    let mut sum = Command::new("md5sum");
    let mut child = sum.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("md5sum runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(bytes).expect("md5sum reads");
    drop(input);
    let output = child.wait_with_output().expect("md5sum ends");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

/// An HTTP server of files by their paths; returns its port.
pub fn http(files: Vec<(String, Vec<u8>)>) -> u16 {
    let (listener, port) = listen();
    http_at(listener, files);
    port
}
/// The same where something listens already.
pub fn http_at(listener: TcpListener, files: Vec<(String, Vec<u8>)>) {
    let files = Arc::new(files);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let files = files.clone();
            // Who leaves early had enough, and who is slow holds up nobody.
            thread::spawn(move || _ = answer(stream, &files));
        }
    });
}
fn answer(mut stream: TcpStream, files: &[(String, Vec<u8>)]) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&piece[..length]),
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let found = files.iter().find(|(name, _)| name == path).map(|(_, content)| content);
    let (status, content) = found.map_or(("404 Not Found", &[][..]), |content| ("200 OK", content));
    let length = content.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    if method == "GET" {
        stream.write_all(content)?;
    }
    Ok(())
}

/// Takes all that one connection brings; returns the port, and where the bytes come.
pub fn sink() -> (u16, Receiver<Vec<u8>>) {
    let (listener, port) = listen();
    (port, sink_at(listener))
}
/// The same where something listens already.
pub fn sink_at(listener: TcpListener) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            if sender.send(all).is_err() {
                return;
            }
        }
    });
    receiver
}
