//! Each kind of end, with this test at the far side.

use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A test that waits longer is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Port {
    backend: Box<dyn SerialBackend>,
    place: Option<String>,
    kicks: Receiver<()>,
}

fn open(text: &str) -> Port {
    let (sender, kicks) = channel();
    let spec: SerialSpec = text.parse().unwrap();
    let opened = spec.open("--serial", Box::new(move || _ = sender.send(())), WhenFull::Refuse).unwrap();
    Port { backend: opened.backend, place: opened.place, kicks }
}

fn refused(text: &str) -> String {
    let spec: SerialSpec = text.parse().unwrap();
    spec.open("--serial", Box::new(|| ()), WhenFull::Refuse).err().expect("must be refused").to_string()
}

impl Port {
    fn wait(&self, ready: impl Fn(&Self) -> bool) {
        while !ready(self) {
            self.kicks.recv_timeout(PATIENCE).expect("a kick must come");
        }
    }
    /// Reads `count` bytes, as they come.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            let mut some = [0; 16];
            let n = self.backend.read(&mut some);
            all.extend(&some[..n]);
            if n == 0 {
                self.kicks.recv_timeout(PATIENCE).expect("a kick must come");
            }
        }
        all
    }
    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n = self.backend.write(bytes);
            bytes = &bytes[n..];
            self.backend.flush();
        }
    }
}

fn scratch(name: &str) -> String {
    let directory = std::env::temp_dir().join(format!("trimotor-serial-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name).display().to_string()
}

/// Both directions, and the end of the connection.
fn converse(mut port: Port, mut far: impl Read + Write) {
    port.wait(|p| p.backend.connected());
    port.send(b"login: ");
    let mut got = [0; 7];
    far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"login: ");
    far.write_all(b"root\r").unwrap();
    assert_eq!(port.take(5), b"root\r");
    drop(far);
    port.wait(|p| !p.backend.connected());
    assert_eq!(port.backend.write(b"to nobody"), 9);
    port.backend.flush();
}

#[test]
fn a_file_gets_all_and_null_swallows() {
    let path = scratch("out.log");
    let mut port = open(&format!("file:{path}"));
    let bytes = vec![b'x'; 200_000];
    port.send(&bytes);
    assert_eq!(port.backend.read(&mut [0; 4]), 0);
    drop(port);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let mut port = open("null");
    assert_eq!(port.backend.write(b"abc"), 3);
    assert!(port.backend.connected());
}

#[test]
fn tcp_listens_and_connects() {
    // A port of the system's choice: listen, then connect to where that is.
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = open(&format!("tcp:{}", far.local_addr().unwrap()));
    converse(port, far.accept().unwrap().0);
    let free = far.local_addr().unwrap();
    drop(far);
    let port = open(&format!("tcp:{free},server"));
    let far = TcpStream::connect(port.place.as_ref().unwrap()).unwrap();
    converse(port, far);
}

#[test]
fn unix_listens_again_after_a_peer_left_and_cleans_up() {
    let path = scratch("socket");
    let text = format!("unix:{path},server");
    drop(UnixListener::bind(&path)); // What a killed program leaves.
    let mut port = open(&text);
    for _ in 0..2 {
        let mut far = UnixStream::connect(&path).unwrap();
        far.write_all(b"hi").unwrap();
        assert_eq!(port.take(2), b"hi");
        assert!(port.backend.connected());
        drop(far);
        port.wait(|p| !p.backend.connected());
    }
    assert!(refused(&text).contains("cannot listen"));
    drop(port);
    assert!(!Path::new(&path).exists());

    let far = UnixListener::bind(&path).unwrap();
    let port = open(&format!("unix:{path}"));
    converse(port, far.accept().unwrap().0);
}

#[test]
fn a_pty_comes_and_goes() {
    let mut port = open("pty");
    let path = port.place.clone().unwrap();
    for _ in 0..2 {
        assert!(!port.backend.connected());
        let mut far = File::options().read(true).write(true).open(&path).unwrap();
        port.wait(|p| p.backend.connected());
        port.send(b"a\nb");
        let mut got = [0; 3];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"a\nb", "nothing is translated");
        far.write_all(b"\x03\r").unwrap();
        assert_eq!(port.take(2), b"\x03\r");
        drop(far);
        port.wait(|p| !p.backend.connected());
    }
}

#[test]
fn back_pressure_reaches_both_sides_and_loses_nothing() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let (sender, kicks) = channel();
    let kick: Kick = Box::new(move || _ = sender.send(()));
    let backend = Channel::start(End::Connected(near.into()), kick).unwrap();
    let mut port = Port { backend: Box::new(backend), place: None, kicks };
    let sent: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let to_guest = sent.clone();
    let mut writer = far.try_clone().unwrap();
    let thread = std::thread::spawn(move || writer.write_all(&to_guest).unwrap());
    assert!(port.take(sent.len()) == sent);
    thread.join().unwrap();

    // Nobody reads: at some point the end takes no more.
    let mut taken = 0;
    while taken < sent.len() {
        match port.backend.write(&sent[taken..(taken + 1000).min(sent.len())]) {
            0 => break,
            n => taken += n,
        }
    }
    assert!(taken < sent.len());
    let thread = std::thread::spawn(move || {
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        got
    });
    port.send(&sent[taken..]);
    drop(port);
    assert!(thread.join().unwrap() == sent);
}

#[test]
fn refusals_name_flag_and_path() {
    let message = refused("file:/nowhere/at/all.log");
    assert!(message.contains("--serial") && message.contains("/nowhere/at/all.log"), "{message}");
    let message = refused("unix:/nowhere/socket");
    assert!(message.contains("start the listener first"), "{message}");
}
