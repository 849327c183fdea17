//! One peer: its socket on one side, its session on the other, and one thread that waits for both.
//!
//! A [`Session`] knows no socket: it is given what came, and puts what goes into an [`Output`]. It is asked for more only
//! while little waits there, and what the peer says is not read while much does, so that neither grows with a peer that sends
//! and takes nothing.

use crate::guest::Bell;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trimotor_sockets::Stream;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// Output that waits for the peer before no more is made, and nothing more read.
pub const OUTPUT_LIMIT: usize = 256 << 10;
/// Bytes, or messages, that are read before output is looked at again.
const READ_AT_ONCE: usize = 64 << 10;
const MESSAGES_AT_ONCE: usize = 256;
/// The longest message of a browser: a page of text that is pasted.
pub const LONGEST_MESSAGE: usize = 256 << 10;
/// How long a peer that is told to go may take to read why.
const FAREWELL: Duration = Duration::from_secs(2);
/// The same where the program ends, which one that stands still must not hold up.
const SHORT_FAREWELL: Duration = Duration::from_millis(200);

/// Why a connection ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The peer went.
    ByPeer,
    /// The server goes, or another viewer wants to be alone.
    ByUs,
    /// The peer broke a rule. What waits for it is still sent, if it takes it.
    Refused(String),
}

impl Ended {
    /// The peer broke this rule.
    pub fn refused(why: impl Into<String>) -> Ended {
        Ended::Refused(why.into())
    }
}

/// Messages to a peer. On a plain connection they are a stream of bytes.
#[derive(Default, Debug)]
pub struct Output {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Output {
    /// One more; nothing where it is empty.
    pub fn push(&mut self, message: Vec<u8>) {
        if !message.is_empty() {
            self.bytes += message.len();
            self.messages.push_back(message);
        }
    }
    /// Whether more may be made.
    pub fn has_room(&self) -> bool {
        self.bytes < OUTPUT_LIMIT
    }
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
    /// The oldest message.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }
    /// All bytes.
    pub fn take(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| self.pop()).flatten().collect()
    }
}

/// What is said with a peer.
pub trait Session: Send {
    /// The peer said this: a piece of a stream, or a message.
    ///
    /// # Errors
    /// The connection ends.
    fn receive(&mut self, bytes: &[u8], out: &mut Output) -> Result<(), Ended>;
    /// Says what there is to say, while `out` has room; called after anything happened. Returns when to call it again at the
    /// latest.
    ///
    /// # Errors
    /// The connection ends.
    fn turn(&mut self, now: Instant, out: &mut Output) -> Result<Option<Instant>, Ended>;
    /// Whether it can be given more.
    fn takes_input(&self) -> bool {
        true
    }
}

/// How bytes become messages.
pub(crate) enum Transport {
    /// Not at all; with what could not be written at once.
    Plain(Stream, Vec<u8>),
    /// By RFC 6455; with whether something waits to be written.
    WebSocket(Box<WebSocket<Stream>>, bool),
}

impl Transport {
    pub(crate) fn plain(stream: Stream) -> Transport {
        Transport::Plain(stream, Vec::new())
    }
    /// After its handshake; `begun` came behind that.
    pub(crate) fn web_socket(stream: Stream, begun: Vec<u8>) -> Transport {
        let socket = WebSocket::from_partially_read(stream, begun, Role::Server, Some(web_socket_config()));
        Transport::WebSocket(Box::new(socket), false)
    }
    fn stream(&self) -> &Stream {
        match self {
            Transport::Plain(stream, _) => stream,
            Transport::WebSocket(socket, _) => socket.get_ref(),
        }
    }
    /// Whether something waits to be written.
    fn is_behind(&self) -> bool {
        match self {
            Transport::Plain(_, rest) => !rest.is_empty(),
            Transport::WebSocket(_, behind) => *behind,
        }
    }
    /// Whether answers to what is read next would pile up.
    fn must_write_first(&self) -> bool {
        matches!(self, Transport::WebSocket(_, true))
    }
    /// Gives `session` what came. True where there may be more that poll(2) does not tell of.
    fn read(&mut self, session: &mut dyn Session, out: &mut Output) -> Result<bool, Ended> {
        match self {
            Transport::Plain(stream, _) => {
                let mut piece = vec![0; READ_AT_ONCE];
                match stream.read(&mut piece) {
                    Ok(0) => Err(Ended::ByPeer),
                    Ok(count) => session.receive(&piece[..count], out).map(|()| false),
                    Err(error) if is_later(&error) => Ok(false),
                    Err(_) => Err(Ended::ByPeer),
                }
            }
            Transport::WebSocket(socket, behind) => {
                for _ in 0..MESSAGES_AT_ONCE {
                    // Answers to pings must not pile up either.
                    if *behind || !out.has_room() || !session.takes_input() {
                        return Ok(true);
                    }
                    match socket.read() {
                        Ok(Message::Binary(bytes)) => session.receive(&bytes, out)?,
                        Ok(Message::Text(text)) => session.receive(text.as_bytes(), out)?,
                        // The answers to pings and to the end wait in the socket.
                        Ok(_) => *behind = true,
                        Err(tungstenite::Error::Io(error)) if is_later(&error) => return Ok(false),
                        Err(
                            tungstenite::Error::Io(_)
                            | tungstenite::Error::ConnectionClosed
                            | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                        ) => return Err(Ended::ByPeer),
                        Err(error) => return Err(Ended::refused(error.to_string())),
                    }
                }
                Ok(true)
            }
        }
    }
    /// Writes as much as the peer takes now.
    fn write(&mut self, out: &mut Output) -> Result<(), Ended> {
        match self {
            Transport::Plain(stream, rest) => loop {
                if rest.is_empty() {
                    match out.pop() {
                        Some(message) => *rest = message,
                        None => return Ok(()),
                    }
                }
                match stream.write(rest) {
                    Ok(count) => _ = rest.drain(..count),
                    Err(error) if is_later(&error) => return Ok(()),
                    Err(_) => return Err(Ended::ByPeer),
                }
            },
            Transport::WebSocket(socket, behind) => loop {
                if !*behind {
                    match out.pop() {
                        Some(message) => ended(socket.write(Message::binary(message)))?,
                        None => return Ok(()),
                    }
                    *behind = true;
                }
                match socket.flush() {
                    Ok(()) => *behind = false,
                    Err(tungstenite::Error::Io(error)) if is_later(&error) => return Ok(()),
                    Err(_) => return Err(Ended::ByPeer),
                }
            },
        }
    }
}

/// What of WebSocket is limited. Messages are written when they are flushed, one by one.
pub(crate) fn web_socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .write_buffer_size(usize::MAX / 2)
        .max_write_buffer_size(usize::MAX)
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE))
}

fn ended(outcome: tungstenite::Result<()>) -> Result<(), Ended> {
    outcome.map_err(|_| Ended::ByPeer)
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Serves a peer until it, or the server, ends that.
pub(crate) fn run(
    mut transport: Transport,
    session: &mut dyn Session,
    bell: &Arc<Bell>,
    stopped: &AtomicBool,
) -> Ended {
    let mut out = Output::default();
    let ended = loop {
        if stopped.load(Ordering::Acquire) {
            break Ended::ByUs;
        }
        bell.silence();
        match round(&mut transport, session, &mut out) {
            Ok(wait) => wait_for(&transport, bell, &wait),
            Err(ended) => break ended,
        }
    };
    match ended {
        Ended::ByPeer => {}
        Ended::ByUs => say_farewell(&mut transport, &mut out, SHORT_FAREWELL),
        Ended::Refused(_) => say_farewell(&mut transport, &mut out, FAREWELL),
    }
    ended
}

/// What the thread waits for.
struct Wait {
    reads: bool,
    deadline: Option<Instant>,
}

fn round(transport: &mut Transport, session: &mut dyn Session, out: &mut Output) -> Result<Wait, Ended> {
    let mut more = false;
    if out.has_room() && session.takes_input() {
        more = transport.read(session, out)?;
    }
    transport.write(out)?;
    let mut deadline = None;
    if out.has_room() {
        deadline = session.turn(Instant::now(), out)?;
        let had_room = out.has_room();
        transport.write(out)?;
        // The peer took all at once: poll(2) tells of no room that was there already, and the session may have more.
        if !had_room && out.has_room() {
            deadline = Some(Instant::now());
        }
    }
    let reads = out.has_room() && session.takes_input() && !transport.must_write_first();
    if more && reads {
        deadline = Some(Instant::now());
    }
    Ok(Wait { reads, deadline })
}

fn wait_for(transport: &Transport, bell: &Bell, wait: &Wait) {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, wait.reads);
    flags.set(PollFlags::OUT, transport.is_behind());
    let mut descriptors = [PollFd::new(bell, PollFlags::IN), PollFd::new(transport.stream(), flags)];
    let left = wait.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let limit = left.and_then(|left| Timespec::try_from(left).ok());
    if poll(&mut descriptors, limit.as_ref()).is_err_and(|error| error != Errno::INTR) {
        // Too little memory, for a moment: no reason to spin.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Sends what waits, if the peer takes it soon.
fn say_farewell(transport: &mut Transport, out: &mut Output, patience: Duration) {
    if let Transport::WebSocket(socket, behind) = transport
        && !*behind
        && out.is_empty()
    {
        *behind = true;
        let _ = socket.close(None);
    }
    let end = Instant::now() + patience;
    while transport.write(out).is_ok() && transport.is_behind() {
        let Some(left) = end.checked_duration_since(Instant::now()) else { return };
        let mut descriptors = [PollFd::new(transport.stream(), PollFlags::OUT)];
        let limit = Timespec::try_from(left).ok();
        if poll(&mut descriptors, limit.as_ref()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::set_socket_send_buffer_size;
    use std::os::unix::net::UnixStream;

    /// Has messages as long as there is room for them.
    struct Much(usize);
    impl Session for Much {
        fn receive(&mut self, _bytes: &[u8], _out: &mut Output) -> Result<(), Ended> {
            Ok(())
        }
        fn turn(&mut self, _now: Instant, out: &mut Output) -> Result<Option<Instant>, Ended> {
            while out.has_room() && self.0 > 0 {
                out.push(vec![0; 64 << 10]);
                self.0 -= 1;
            }
            Ok(None)
        }
    }

    #[test]
    fn the_rest_follows_where_the_peer_takes_all_at_once() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        set_socket_send_buffer_size(&ours, 2 * OUTPUT_LIMIT).unwrap();
        let mut transport = Transport::plain(Stream::Unix(ours));
        let (mut session, mut out) = (Much(2 * OUTPUT_LIMIT / (64 << 10)), Output::default());
        let wait = round(&mut transport, &mut session, &mut out).unwrap();
        assert!(session.0 > 0, "there is a rest");
        // Where the host gives less room, poll(2) tells when there is more.
        assert!(wait.deadline.is_some() || transport.is_behind(), "nothing would wake the connection");
        drop(theirs);
    }
}
