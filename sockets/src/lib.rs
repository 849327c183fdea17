//! Sockets of TCP and of the file system, alike: what viewers, debuggers and people at monitors connect to.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Of TCP. What is written goes out at once.
    Tcp(TcpStream),
    /// Of a socket in the file system.
    Unix(UnixStream),
}

impl Stream {
    /// Connects to a TCP port.
    ///
    /// # Errors
    /// The host's.
    pub fn tcp(to: impl ToSocketAddrs) -> io::Result<Stream> {
        Stream::of_tcp(TcpStream::connect(to)?)
    }
    /// Connects to a socket in the file system.
    ///
    /// # Errors
    /// The host's.
    pub fn unix(path: &Path) -> io::Result<Stream> {
        Ok(Stream::Unix(UnixStream::connect(path)?))
    }
    fn of_tcp(stream: TcpStream) -> io::Result<Stream> {
        // Without it a small piece may wait for the one before it to be acknowledged.
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }
    /// The same connection once more.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        })
    }
    /// Whether reads and writes return [`ErrorKind::WouldBlock`] instead of waiting.
    ///
    /// # Errors
    /// The host's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Stream::Unix(stream) => stream.set_nonblocking(nonblocking),
        }
    }
    /// Ends the connection for all that have it, both ways.
    pub fn shut_down(&self) {
        // The peer may have done so.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(into),
            Stream::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> OwnedFd {
        match stream {
            Stream::Tcp(stream) => stream.into(),
            Stream::Unix(stream) => stream.into(),
        }
    }
}

/// What takes connections. The file of one in the file system goes with it.
#[derive(Debug)]
pub enum Listener {
    /// A port of TCP.
    Tcp(TcpListener),
    /// A socket in the file system, with its file unless that was taken.
    Unix(UnixListener, Option<SocketFile>),
}

impl Listener {
    /// Listens at the first of these addresses that works.
    ///
    /// # Errors
    /// The host's: somebody listens there, or the address is not this host's.
    pub fn tcp(at: impl ToSocketAddrs) -> io::Result<Listener> {
        Ok(Listener::Tcp(TcpListener::bind(at)?))
    }
    /// Listens at a socket in the file system, for the program's own user. One that nobody listens at any more, as a
    /// killed program leaves it, makes room.
    ///
    /// # Errors
    /// The host's: somebody listens there, or the folder cannot be written.
    pub fn unix(path: &Path) -> io::Result<Listener> {
        let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        let is_left_over =
            || UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        if is_socket && is_left_over() {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let file = Some(SocketFile(path.to_owned()));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Listener::Unix(listener, file))
    }
    /// Whether [`Listener::accept`] returns [`ErrorKind::WouldBlock`] instead of waiting.
    ///
    /// # Errors
    /// The host's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_nonblocking(nonblocking),
            Listener::Unix(listener, _) => listener.set_nonblocking(nonblocking),
        }
    }
    /// The next connection, whose reads and writes wait, with its peer's address for messages.
    ///
    /// # Errors
    /// The host's: nobody is there where it does not wait, the peer has gone again, no descriptor is left.
    pub fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Stream::of_tcp(stream)?, peer.to_string()))
            }
            Listener::Unix(listener, _) => {
                Ok((Stream::Unix(listener.accept()?.0), "a local program".to_owned()))
            }
        }
    }
    /// The address of one of TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }
    /// What the host knows it by, and the file that goes when that is dropped.
    pub fn into_parts(self) -> (OwnedFd, Option<SocketFile>) {
        match self {
            Listener::Tcp(listener) => (listener.into(), None),
            Listener::Unix(listener, file) => (listener.into(), file),
        }
    }
    /// The file, for who ends before the thread that listens does.
    pub fn take_file(&mut self) -> Option<SocketFile> {
        match self {
            Listener::Tcp(_) => None,
            Listener::Unix(_, file) => file.take(),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        }
    }
}

/// The file of a socket, removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;

    fn place(name: &str) -> PathBuf {
        env::temp_dir().join(format!("trimotor-sockets-{}-{name}", std::process::id()))
    }

    fn carries(listener: &Listener, mut near: Stream) {
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"hello").unwrap();
        near.shut_down();
        let mut heard = String::new();
        far.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
    }

    #[test]
    fn both_kinds_carry_bytes() {
        let listener = Listener::tcp(("127.0.0.1", 0)).unwrap();
        carries(&listener, Stream::tcp(listener.address().unwrap()).unwrap());
        let path = place("carries");
        let listener = Listener::unix(&path).unwrap();
        carries(&listener, Stream::unix(&path).unwrap());
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists(), "the file goes with the listener");
    }
    #[test]
    fn only_a_socket_that_nobody_listens_at_makes_room() {
        let path = place("room");
        let first = Listener::unix(&path).unwrap();
        assert_eq!(Listener::unix(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        // As a killed program leaves it.
        drop(first);
        drop(UnixListener::bind(&path).unwrap());
        drop(Listener::unix(&path).unwrap());
        fs::write(&path, "not a socket").unwrap();
        assert_eq!(Listener::unix(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"not a socket");
        fs::remove_file(&path).unwrap();
    }
}
