//! Peers that send garbage, lines without end, or read nothing: neither the guest nor others notice.

use super::client::{Client, connect};
use crate::support::needs::Tests;
use crate::support::program::Program;
use crate::support::small_guest::{Scratch, prints, runs_on, small_guest};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub fn tests() -> Tests {
    Tests::new()
        .test(garbage_and_endless_lines_harm_nobody)
        .test(who_never_reads_holds_nobody_up)
        .test(peers_beyond_the_bound_are_told)
}

fn start(name: &str) -> (Program, Scratch, Scratch) {
    let (image, socket) = (small_guest(name, &prints(b"ready", runs_on)), Scratch::new("m.sock"));
    let monitor = format!("unix:{},server", socket.path());
    let arguments =
        ["run", "--memory", "16M", "--kernel", &image.path(), "--nographic", "--monitor", &monitor];
    let mut program = Program::start(&arguments);
    program.expect("ready");
    (program, image, socket)
}

fn quit(program: Program, mut client: Client) {
    client.send(b"quit\n");
    let ended = program.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.errors.contains("panicked"), "{ended:?}");
}

/// Reads whatever comes, on a thread of its own.
fn reads_all(stream: &UnixStream) {
    let mut stream = stream.try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        let mut bytes = [0; 65536];
        while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
}

fn garbage_and_endless_lines_harm_nobody() {
    let (program, _image, socket) = start("garbage");
    let mut client = Client::connect(&socket.path());
    let mut state = 0x1234_5678_9ABC_DEFFu64;
    let mut garbage = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    // No line is "q" or "s", which are commands, and no Ctrl-D ends it early.
    let noise: Vec<u8> =
        (0..1 << 20).map(|_| garbage()).filter(|byte| ![4, b'q', b's'].contains(byte)).collect();
    for bytes in
        [noise, vec![b'a'; 1 << 20], b"\x1b[".repeat(1 << 18), b"\"".repeat(1 << 18), b"\t".repeat(10_000)]
    {
        let mut stream = connect(&socket.path());
        reads_all(&stream);
        stream.write_all(&bytes).expect("it is read");
        assert!(client.ask("info status").contains("running"));
        // Leaves in the middle of a line.
        drop(stream);
    }
    quit(program, client);
}

fn who_never_reads_holds_nobody_up() {
    let (program, _image, socket) = start("deaf");
    let mut deaf = connect(&socket.path());
    deaf.set_write_timeout(Some(Duration::from_secs(2))).expect("a time");
    // Much is answered to each, until nothing more is taken from who asks.
    let asked = loop {
        match deaf.write_all(&b"help\ninfo registers\ninfo mtree\n".repeat(100)) {
            Ok(()) => {}
            Err(error) => break error.kind(),
        }
    };
    assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&asked), "{asked:?}");
    let mut client = Client::connect(&socket.path());
    client.obeys("stop");
    client.obeys("cont");
    assert!(client.ask("info status").contains("running"));
    quit(program, client);
}

fn peers_beyond_the_bound_are_told() {
    let (program, _image, socket) = start("many");
    let mut clients: Vec<Client> = (0..16).map(|_| Client::connect(&socket.path())).collect();
    let mut told = String::new();
    connect(&socket.path()).read_to_string(&mut told).expect("it is told");
    assert!(told.contains("16 are connected"), "{told}");
    drop(clients.pop());
    // There is a place again, once the program has seen who left.
    let mut told = String::new();
    while !told.contains("monitor - type") {
        let mut bytes = [0; 4096];
        let mut stream = connect(&socket.path());
        let count = stream.read(&mut bytes).expect("it is told");
        told = String::from_utf8_lossy(&bytes[..count]).into_owned();
    }
    quit(program, clients.remove(0));
}
