//! As much of HTTP (RFC 9112) as a page and a WebSocket need: one GET, one answer.

use crate::connection::Ended;
use crate::guest::Bell;
use crate::secrets;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trimotor_sockets::Stream;
use tungstenite::handshake::derive_accept_key;

/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 8 << 10;
const MOST_HEADERS: usize = 64;
/// How long a peer may take for its request, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request, whose fields are lower case where case does not matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Request {
    /// Without what stands behind `?`.
    pub(crate) path: String,
    /// The value of `token` behind `?`.
    pub(crate) token: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) origin: Option<String>,
    /// The key of a WebSocket's handshake, where this is one.
    pub(crate) web_socket_key: Option<String>,
    /// The WebSocket's subprotocols, as the peer lists them.
    pub(crate) protocols: Vec<String>,
}

/// What ends a wait for a peer before its time.
pub(crate) struct Stop<'a> {
    pub(crate) bell: &'a Bell,
    pub(crate) stopped: &'a AtomicBool,
}

/// Reads a request; with what came behind it.
pub(crate) fn read_request(stream: &mut Stream, stop: &Stop<'_>) -> Result<(Request, Vec<u8>), Ended> {
    let end = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    loop {
        if let Some((request, length)) = parse(&head)? {
            return Ok((request, head.split_off(length)));
        }
        if head.len() >= LONGEST_HEAD {
            return Err(Ended::refused("a request that is too long"));
        }
        wait(stream, PollFlags::IN, end, stop)?;
        let mut piece = [0; 2048];
        match stream.read(&mut piece) {
            Ok(0) => return Err(Ended::ByPeer),
            Ok(count) => head.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Err(Ended::ByPeer),
        }
    }
}

fn wait(stream: &Stream, flags: PollFlags, end: Instant, stop: &Stop<'_>) -> Result<(), Ended> {
    let left = end.checked_duration_since(Instant::now()).ok_or(Ended::ByPeer)?;
    stop.bell.silence();
    if stop.stopped.load(Ordering::Acquire) {
        return Err(Ended::ByUs);
    }
    // A wait that is interrupted, or that the bell ends, ends early, which is no harm.
    let mut descriptors = [PollFd::new(stop.bell, PollFlags::IN), PollFd::new(stream, flags)];
    let _ = poll(&mut descriptors, Timespec::try_from(left).ok().as_ref());
    Ok(())
}

/// A request and its length, once all of it is there.
pub(crate) fn parse(head: &[u8]) -> Result<Option<(Request, usize)>, Ended> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Ended::refused(format!("no request of HTTP: {error}"))),
    };
    if parsed.method != Some("GET") {
        return Err(Ended::refused("a request that is no GET"));
    }
    let header = |name: &str| {
        let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(std::str::from_utf8(found.value).ok()?.trim().to_owned())
    };
    let (path, query) = match parsed.path.unwrap_or_default().split_once('?') {
        Some((path, query)) => (path, query),
        None => (parsed.path.unwrap_or_default(), ""),
    };
    let is_upgrade = header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
        && header("sec-websocket-version").as_deref() == Some("13");
    let request = Request {
        path: path.to_owned(),
        token: query.split('&').find_map(|pair| pair.strip_prefix("token=")).map(str::to_owned),
        host: header("host").map(|host| host.to_ascii_lowercase()),
        origin: header("origin").map(|origin| origin.to_ascii_lowercase()),
        web_socket_key: header("sec-websocket-key").filter(|_| is_upgrade),
        protocols: header("sec-websocket-protocol")
            .map(|list| list.split(',').map(|name| name.trim().to_owned()).collect())
            .unwrap_or_default(),
    };
    Ok(Some((request, length)))
}

impl Request {
    /// Whether it names this token.
    pub(crate) fn has_token(&self, token: &str) -> bool {
        self.token.as_ref().is_some_and(|given| secrets::same(given.as_bytes(), token.as_bytes()))
    }
    /// Whether the page that asks came from the server that it asks; programs that are no browsers name no page.
    pub(crate) fn is_of_same_origin(&self) -> bool {
        let Some(origin) = &self.origin else { return true };
        let host = origin.strip_prefix("http://");
        host.is_some() && host == self.host.as_deref()
    }
    /// The answer that makes the connection a WebSocket. VNC's own subprotocol is taken where it is offered.
    pub(crate) fn upgrade(&self, key: &str) -> String {
        let protocol = match self.protocols.iter().any(|name| name == "binary") {
            true => "Sec-WebSocket-Protocol: binary\r\n",
            false => "",
        };
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
            derive_accept_key(key.as_bytes())
        )
    }
}

/// What a page may do: run what comes from its own server, and connect to it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An answer with all that stands in front of it. The connection ends behind it.
pub(crate) fn answer(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: {POLICY}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends all of `bytes`.
pub(crate) fn send(stream: &mut Stream, mut bytes: &[u8], stop: &Stop<'_>) -> Result<(), Ended> {
    let end = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(stream, PollFlags::OUT, end, stop)?,
            Err(_) => return Err(Ended::ByPeer),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn requests_are_read() {
        let text = "GET /ws?a=b&token=t0 HTTP/1.1\r\nHost: LocalHost:80\r\nOrigin: http://localhost:80\r\n\
                    Upgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: base64, binary\r\n\r\nrest";
        let (request, length) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(&text[length..], "rest");
        assert_eq!(request.path, "/ws");
        assert!(request.has_token("t0") && !request.has_token("t1") && request.is_of_same_origin());
        let answer = request.upgrade(request.web_socket_key.as_ref().unwrap());
        // The example of RFC 6455, "Opening Handshake".
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.contains("Protocol: binary\r\n"), "{answer}");
        assert_eq!(parse(&text.as_bytes()[..60]), Ok(None));
    }

    #[test]
    fn other_pages_and_other_methods_are_told_apart() {
        let from =
            |origin: &str| request(&format!("GET / HTTP/1.1\r\nHost: a:1\r\nOrigin: {origin}\r\n\r\n"));
        assert!(from("http://a:1").is_of_same_origin());
        for other in ["http://a:2", "https://a:1", "http://evil", "null", "http://a:1.evil"] {
            assert!(!from(other).is_of_same_origin(), "{other}");
        }
        assert!(request("GET / HTTP/1.1\r\n\r\n").is_of_same_origin());
        assert!(!request("GET / HTTP/1.1\r\nOrigin: http://\r\n\r\n").is_of_same_origin());
        assert!(parse(b"POST / HTTP/1.1\r\n\r\n").is_err() && parse(b"RFB 003.008\n\n\n").is_err());
    }
}
