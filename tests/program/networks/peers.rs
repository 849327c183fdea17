//! Peers of a guest that are difficult: many at a time, slow ones, and ones that die. And a host that has run out of file descriptors.

use super::files::{bytes, http, md5};
use super::guest::{Booting, Shell};
use crate::support::engines::JIT;
use crate::support::guests::DEBIAN;
use crate::support::needs::{Case, Need, Tests, free_port, program};
use rustix::net::sockopt::set_socket_linger;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

const PRLIMIT: Need = Need { name: "prlimit", check: || program("prlimit", "util-linux") };
const MODELS: [Case<&str>; 2] = [
    Case { name: "e1000", needs: &[], value: "e1000" },
    Case { name: "virtio", needs: &[], value: "virtio" },
];
/// Connections that are open at the same time.
const CONNECTIONS: usize = 1000;
const MIB: usize = 1 << 20;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT])
        .each(&MODELS, a_guest_gets_along_with_many_slow_and_dying_peers)
        .test_needing(&[PRLIMIT], a_network_outlives_a_lack_of_file_descriptors)
}

fn a_guest_gets_along_with_many_slow_and_dying_peers(model: &str) {
    let mut shell = Shell::start(&["--nic", &format!("user,model={model}")]);
    shell.up();
    a_thousand_connections_are_half_closed(&mut shell);
    a_slow_reader_holds_up_nobody(&mut shell);
    a_server_dies_in_the_middle(&mut shell);
    shell.power_off();
}

/// A server that waits until so many connections are open, each of which has said that it sends no more, and then answers them all;
/// returns its port, and who is told.
fn server_of_many() -> (u16, Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().take(CONNECTIONS).flatten() {
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            open.push((stream, said));
        }
        let _ = sender.send(open.len());
        for (mut stream, said) in open {
            stream.write_all(format!("to {said}").as_bytes()).unwrap();
        }
    });
    (port, receiver)
}

fn a_thousand_connections_are_half_closed(shell: &mut Shell) {
    let (port, open) = server_of_many();
    shell.run(&format!(
        "for n in $(seq {CONNECTIONS}); do echo number $n | nc 10.0.2.2 {port} >> /tmp/said & done; wait"
    ));
    assert_eq!(open.try_recv(), Ok(CONNECTIONS));
    let sum: usize = (1..=CONNECTIONS).sum();
    let said =
        shell.run("sort -u /tmp/said | awk '/^to number/ { lines++; sum += $3 } END { print lines, sum }'");
    assert_eq!(said, format!("{CONNECTIONS} {sum}"));
}

/// A guest that takes nothing for a while, from one of its connections.
fn a_slow_reader_holds_up_nobody(shell: &mut Shell) {
    let content = bytes(20 * MIB);
    let port = http(vec![("/big".to_owned(), content.clone())]);
    let sums = shell.run(&format!(
        "(wget -q -O - http://10.0.2.2:{port}/big | (until [ -e /tmp/done ]; do sleep 1; done; md5sum)) & \
         wget -q -O - http://10.0.2.2:{port}/big | md5sum; > /tmp/done; wait"
    ));
    assert_eq!(sums.matches(&md5(&content)).count(), 2, "{sums}");
}

/// A server whose connection is reset while the guest reads, as that of one that was killed with work to do.
fn a_server_dies_in_the_middle(shell: &mut Shell) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").unwrap();
        stream.write_all(&bytes(3 * MIB)).unwrap();
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    });
    // Established connections that were reset: wget does not say whether its own was.
    let count = "awk '/^Tcp: [0-9]/ { print $9 }' /proc/net/snmp";
    let before: u32 = shell.must(count).parse().unwrap();
    let said = shell.run(&format!("wget -O /dev/null http://10.0.2.2:{port}/ 2>&1; echo ended $?"));
    assert!(said.contains("ended 1"), "{said}");
    assert_eq!(shell.must(count), (before + 1).to_string());
    server.join().unwrap();
    shell.ping("10.0.2.2");
}

/// The program may have few files open: connections beyond that are refused or wait, and all is well when others have ended.
fn a_network_outlives_a_lack_of_file_descriptors() {
    let forward = free_port();
    let nic = format!("user,hostfwd=tcp:127.0.0.1:{forward}-:5000");
    let booting = Booting::start_under(&["prlimit", "--nofile=100:100"], &["--nic", &nic]);
    let mut shell = booting.ready();
    shell.up();
    // A server that keeps all connections.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    thread::spawn(move || listener.incoming().flatten().try_for_each(|stream| sender.send(stream)));
    let said = shell.run(&format!(
        "for n in $(seq 150); do nc 10.0.2.2 {port} < /dev/null 2>> /tmp/errors & done; \
         until [ $(wc -l < /tmp/errors) -ge 40 ]; do sleep 1; done; wc -l < /tmp/errors"
    ));
    let refused: usize = said.lines().last().and_then(|line| line.parse().ok()).unwrap_or_default();
    let mut open: Vec<TcpStream> = receiver.try_iter().collect();
    assert!((40..150).contains(&refused) && open.len() > 20, "{refused} refused, {} open", open.len());
    // Somebody comes in by the forward, and has to wait.
    shell.must("nc -ll -p 5000 -e cat & sleep 1");
    let mut stream = TcpStream::connect(("127.0.0.1", forward)).unwrap();
    stream.write_all(b"hello\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    open.clear();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello\n");
    shell.ping("10.0.2.2");
    let content = bytes(MIB);
    let port = http(vec![("/big".to_owned(), content.clone())]);
    let loaded = shell.run(&format!("wget -q -O - http://10.0.2.2:{port}/big | md5sum"));
    assert!(loaded.contains(&md5(&content)), "{loaded}");
    shell.power_off();
}
