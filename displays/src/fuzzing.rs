//! Ways in for fuzz targets, to what is otherwise behind a socket.

use crate::connection::{Session, web_socket_config};
use crate::guest::Guest;
use crate::{http, web};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use tungstenite::WebSocket;
use tungstenite::protocol::Role;

/// A page's session.
pub fn page(guest: Arc<dyn Guest>, then: impl FnOnce(&mut dyn Session)) {
    then(&mut web::Session::new(guest, Arc::default()));
}

/// Reads a request of HTTP.
pub fn request(bytes: &[u8]) {
    if let Ok(Some((request, length))) = http::parse(bytes) {
        assert!(length <= bytes.len());
        let _ = request.is_of_same_origin();
    }
}

/// A peer that sent these bytes and takes none.
struct Sent<'a>(&'a [u8]);

impl Read for Sent<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Sent<'_> {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes frames to pieces, as connections do.
pub fn web_socket(bytes: &[u8], mut told: impl FnMut(&[u8])) {
    let mut socket = WebSocket::from_raw_socket(Sent(bytes), Role::Server, Some(web_socket_config()));
    while let Ok(message) = socket.read() {
        // What stands behind the end's code is made legible, and may grow by that.
        if message.is_text() || message.is_binary() {
            told(&message.into_data());
        }
    }
}
