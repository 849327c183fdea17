//! Servers: who may connect, how many, and to what.

use crate::connection::{self, Ended, Session, Transport};
use crate::guest::{Bell, Guest};
use crate::http::{self, Request};
use crate::rfb;
use crate::serial_tap::SerialTap;
use crate::web;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use trimotor_sockets::{Listener, Stream};

/// Connections of one server at a time. Each has a copy of the picture, and a thread.
pub const MOST_CONNECTIONS: usize = 16;
/// The wait before the next look where the host has no descriptor left for a connection.
const NO_DESCRIPTOR: Duration = Duration::from_millis(200);

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// A TCP port of a name or an address; port 0 is any that is free.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Who may connect by a WebSocket. A browser connects to any server for any page that it shows, and names the page.
#[derive(Clone, Default, Debug)]
pub struct Access {
    /// The secret in the address of who may.
    pub token: String,
    /// Pages that may without it, as browsers name them: `https://host:port`.
    pub origins: Vec<String>,
    /// The session asks for a password: everybody may without it.
    pub has_password: bool,
}

impl Access {
    fn allows(&self, request: &Request) -> bool {
        let is_listed = request
            .origin
            .as_ref()
            .is_some_and(|origin| self.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin)));
        request.has_token(&self.token) || is_listed || self.has_password
    }
}

/// What is served.
#[derive(Clone)]
pub enum Service {
    /// VNC.
    Vnc(rfb::Config),
    /// VNC over WebSocket.
    VncWebSocket(rfb::Config, Access),
    /// The page, and what it connects to; with the secret in its address.
    Web(Arc<SerialTap>, String),
}

/// A server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nothing is known of the name.
    #[error("{host}: {error}; write an address as 127.0.0.1")]
    Name {
        /// The name.
        host: String,
        /// What the host's resolver said.
        error: io::Error,
    },
    /// Another program listens there.
    #[error("{0} is taken; choose another, or end the program that listens there")]
    Taken(String),
    /// It may not listen there.
    #[error("{0}: no permission to listen there; choose a port above 1023, or a folder of yours")]
    Forbidden(String),
    /// Something else.
    #[error("{place}: {error}")]
    Other {
        /// Where it was to listen.
        place: String,
        /// What the host said.
        error: io::Error,
    },
}

/// Listens, and serves nobody yet.
#[derive(Debug)]
pub struct Opened {
    listener: Listener,
    /// Where, for messages.
    place: String,
    address: Option<SocketAddr>,
}

impl Listen {
    /// Where it listens, for messages.
    fn place(&self) -> String {
        match self {
            Listen::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Listen::Tcp(host, port) => format!("{host}:{port}"),
            Listen::Unix(path) => path.display().to_string(),
        }
    }
    /// The addresses of its name.
    fn addresses(&self) -> Result<Vec<SocketAddr>, ServerError> {
        let Listen::Tcp(host, port) = self else { return Ok(Vec::new()) };
        let found = (host.as_str(), *port).to_socket_addrs();
        let all = found.map_err(|error| ServerError::Name { host: host.clone(), error })?;
        Ok(all.collect())
    }
    /// Whether only programs on this machine can connect.
    ///
    /// # Errors
    /// See [`ServerError::Name`].
    pub fn is_local(&self) -> Result<bool, ServerError> {
        Ok(self.addresses()?.iter().all(|address| address.ip().is_loopback()))
    }
    /// Begins to listen.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn open(&self) -> Result<Opened, ServerError> {
        let listener = match self {
            Listen::Tcp(..) => Listener::tcp(&*self.addresses()?),
            Listen::Unix(path) => Listener::unix(path),
        };
        let place = self.place();
        let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        let listener = listener.map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => ServerError::Taken(place.clone()),
            ErrorKind::PermissionDenied => ServerError::Forbidden(place.clone()),
            _ => ServerError::Other { place: place.clone(), error },
        })?;
        let address = listener.address();
        Ok(Opened { listener, place: address.map_or(place, |address| address.to_string()), address })
    }
}

impl Opened {
    /// Where it listens: with the port that the host chose, if that was left to it.
    pub fn place(&self) -> &str {
        &self.place
    }
    /// The TCP port.
    pub fn port(&self) -> Option<u16> {
        self.address.map(|address| address.port())
    }
    /// Serves until what is returned is dropped.
    ///
    /// # Errors
    /// The host has no thread or descriptor left.
    pub fn serve(self, service: Service, guest: Arc<dyn Guest>) -> io::Result<Server> {
        let shared = Arc::new(Shared {
            service,
            guest,
            name: self.place.clone(),
            peers: Mutex::default(),
            bell: Bell::new()?,
            stopped: AtomicBool::new(false),
        });
        let for_thread = shared.clone();
        let thread = thread::Builder::new()
            .name("display server".to_owned())
            .spawn(move || take_connections(&for_thread, &self.listener))?;
        Ok(Server { shared, thread: Some(thread) })
    }
}

/// A connection, as others see it.
struct Peer {
    number: u64,
    bell: Arc<Bell>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.bell.ring();
    }
}

#[derive(Default)]
struct Peers {
    all: Vec<Peer>,
    next_number: u64,
}

struct Shared {
    service: Service,
    guest: Arc<dyn Guest>,
    name: String,
    peers: Mutex<Peers>,
    bell: Arc<Bell>,
    stopped: AtomicBool,
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that runs. Dropping it ends all its connections; what viewers hold down goes up.
pub struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The server's thread.
fn take_connections(shared: &Arc<Shared>, listener: &Listener) {
    while !shared.stopped.load(Ordering::Acquire) {
        let mut descriptors =
            [PollFd::new(&*shared.bell, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        let _ = poll(&mut descriptors, None);
        shared.bell.silence();
        forget_those_that_ended(shared);
        let accepted = listener
            .accept()
            .and_then(|(stream, peer)| stream.set_nonblocking(true).map(|()| (stream, peer)));
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = take(shared, stream, peer) {
                    log::warn!("{}: no thread for a connection: {error}", shared.name);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // A peer that has gone already is no matter.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                log::warn!("{}: {error}", shared.name);
                thread::sleep(NO_DESCRIPTOR);
            }
        }
    }
    let peers = std::mem::take(&mut shared.peers().all);
    peers.iter().for_each(Peer::stop);
    for thread in peers.into_iter().filter_map(|peer| peer.thread) {
        let _ = thread.join();
    }
}

fn forget_those_that_ended(shared: &Shared) {
    let has_ended = |peer: &mut Peer| peer.thread.as_ref().is_some_and(JoinHandle::is_finished);
    let ended: Vec<Peer> = shared.peers().all.extract_if(.., has_ended).collect();
    for thread in ended.into_iter().filter_map(|peer| peer.thread) {
        let _ = thread.join();
    }
}

fn take(shared: &Arc<Shared>, stream: Stream, from: String) -> io::Result<()> {
    if shared.peers().all.len() >= MOST_CONNECTIONS {
        log::warn!("{}: {from} is refused: {MOST_CONNECTIONS} are connected already", shared.name);
        return Ok(());
    }
    let (bell, stopped) = (Bell::new()?, Arc::new(AtomicBool::new(false)));
    shared.guest.bells().add(&bell);
    let mut peers = shared.peers();
    let number = peers.next_number;
    peers.next_number += 1;
    let place = Place { shared: shared.clone(), number, bell: bell.clone(), stopped: stopped.clone() };
    let thread = thread::Builder::new().name("viewer".to_owned()).spawn(move || {
        log::info!("{}: {from} connected", place.shared.name);
        match place.serve(stream) {
            Ended::Refused(why) => log::warn!("{}: {from} was sent away: {why}", place.shared.name),
            Ended::ByPeer | Ended::ByUs => log::info!("{}: {from} left", place.shared.name),
        }
        // Its thread is joined then.
        place.shared.bell.ring();
    })?;
    peers.all.push(Peer { number, bell, stopped, thread: Some(thread) });
    Ok(())
}

/// A connection's place in its server.
struct Place {
    shared: Arc<Shared>,
    number: u64,
    bell: Arc<Bell>,
    stopped: Arc<AtomicBool>,
}

impl Place {
    fn serve(&self, stream: Stream) -> Ended {
        match &self.shared.service {
            Service::Vnc(config) => self.serve_vnc(Transport::plain(stream), config),
            Service::VncWebSocket(config, access) => {
                self.serve_http(stream, |request| match access.allows(request) {
                    true => Route::Vnc(config.clone()),
                    false => Route::Answer(FORBIDDEN, "text/plain", b"the address lacks the token\n"),
                })
            }
            Service::Web(serial, token) => {
                let config = rfb::Config::default();
                self.serve_http(stream, |request| web::route(request, token, serial, &config))
            }
        }
    }
    fn serve_http(&self, mut stream: Stream, route: impl FnOnce(&Request) -> Route) -> Ended {
        let stop = http::Stop { bell: &self.bell, stopped: &self.stopped };
        let (request, rest) = match http::read_request(&mut stream, &stop) {
            Ok(read) => read,
            Err(ended) => return ended,
        };
        let route = route(&request);
        if let Route::Answer(status, kind, body) = route {
            let sent = http::send(&mut stream, &http::answer(status, kind, body), &stop);
            return sent.err().unwrap_or(Ended::ByUs);
        }
        let Some(key) = &request.web_socket_key else {
            let _ = http::send(
                &mut stream,
                &http::answer("426 Upgrade Required", "text/plain", b"a WebSocket is here\n"),
                &stop,
            );
            return Ended::ByUs;
        };
        if let Err(ended) = http::send(&mut stream, request.upgrade(key).as_bytes(), &stop) {
            return ended;
        }
        let transport = Transport::web_socket(stream, rest);
        match route {
            Route::Vnc(config) => self.serve_vnc(transport, &config),
            Route::Web(serial) => {
                let mut session = web::Session::new(self.shared.guest.clone(), serial);
                self.run(transport, &mut session)
            }
            Route::Answer(..) => Ended::ByUs,
        }
    }
    fn serve_vnc(&self, transport: Transport, config: &rfb::Config) -> Ended {
        let (shared, own) = (self.shared.clone(), self.number);
        let alone = Box::new(move || {
            shared.peers().all.iter().filter(|peer| peer.number != own).for_each(Peer::stop);
        });
        match rfb::Session::new(config.clone(), self.shared.guest.clone(), alone) {
            Ok(mut session) => self.run(transport, &mut session),
            Err(error) => Ended::refused(format!("the host has no random bytes: {error}")),
        }
    }
    fn run(&self, transport: Transport, session: &mut dyn Session) -> Ended {
        connection::run(transport, session, &self.bell, &self.stopped)
    }
}

const FORBIDDEN: &str = "403 Forbidden";

/// Where a request leads.
pub(crate) enum Route {
    /// Status, kind and content.
    Answer(&'static str, &'static str, &'static [u8]),
    Vnc(rfb::Config),
    Web(Arc<SerialTap>),
}
