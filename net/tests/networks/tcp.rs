//! TCP through the user-mode network, by Linux's stack.

use crate::pattern;
use crate::station::{CURL, NAMESPACES, Setup, Station};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;
use trimotor_net::UserNetConfig;
use trimotor_test_needs::{Case, Tests, free_port};

const MUCH: u64 = 100_000_000;

#[derive(Clone, Copy)]
struct Path {
    server: &'static str,
    guest_sees: &'static str,
    offloads: bool,
}

const PATHS: [Case<Path>; 3] = [
    Case {
        name: "ipv4",
        needs: &[],
        value: Path { server: "127.0.0.1:0", guest_sees: "10.0.2.2", offloads: true },
    },
    Case {
        name: "without_offloads",
        needs: &[],
        value: Path { server: "127.0.0.1:0", guest_sees: "10.0.2.2", offloads: false },
    },
    Case {
        name: "ipv6",
        needs: &[],
        value: Path { server: "[::1]:0", guest_sees: "[fec0::2]", offloads: true },
    },
];

pub fn tests() -> Tests {
    Tests::needing(&[NAMESPACES])
        .each(&PATHS, much_arrives_as_it_was_sent_both_ways)
        .each(&PATHS, a_half_closed_connection_goes_on)
        .test(a_slow_reader_holds_up_nobody_else)
        .test(a_slow_server_holds_up_nobody_else)
        .test(a_thousand_connections_at_a_time)
        .test(a_server_that_dies_is_a_reset)
        .test(a_guest_that_resets_is_heard)
        .test(a_port_without_a_server_refuses)
        .test(a_restricted_guest_reaches_nobody)
        .test(many_short_connections_leave_nothing_behind)
        .test_needing(&[CURL], curl_loads_a_page)
}

/// A server on the host's loopback that does `each` with each connection: its port.
pub fn server(at: &str, each: impl Fn(TcpStream) + Send + Clone + 'static) -> u16 {
    let listener = TcpListener::bind(at).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (each, stream) = (each.clone(), stream.unwrap());
            std::thread::spawn(move || each(stream));
        }
    });
    port
}

fn station(path: Path) -> Station {
    let station = Station::with(UserNetConfig::default(), Setup::Address, path.offloads);
    if path.guest_sees.starts_with('[') {
        station.must(&format!("ip -6 addr add fec0::15/64 dev {} nodad", station.interface));
    }
    station
}

fn much_arrives_as_it_was_sent_both_ways(path: Path) {
    let down = server(path.server, |mut stream| pattern::write(&mut stream, MUCH).unwrap());
    let up = server(path.server, |mut stream| {
        let bytes = pattern::read(&mut stream, u64::MAX).unwrap();
        write!(stream, "{bytes} bytes").unwrap();
    });
    let station = station(path);
    let host = path.guest_sees;
    assert_eq!(station.client(&format!("fetch {host}:{down}")), MUCH.to_string());
    assert_eq!(station.client(&format!("push {host}:{up} {MUCH}")), format!("{MUCH} bytes"));
}

fn a_half_closed_connection_goes_on(path: Path) {
    // The server answers only when it has read to the end; and the guest reads on behind its own end.
    let port = server(path.server, |mut stream| {
        let mut question = Vec::new();
        stream.read_to_end(&mut question).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        write!(stream, "{} ", question.len()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        write!(stream, "and more").unwrap();
    });
    let station = station(path);
    let answer = station.client(&format!("push {}:{port} 12345", path.guest_sees));
    assert_eq!(answer, "12345 and more");
    // The other way: the server ends first, and the guest writes on.
    let (tell, told) = std::sync::mpsc::channel();
    let port = server(path.server, move |mut stream| {
        stream.shutdown(Shutdown::Write).unwrap();
        tell.send(pattern::read(&mut stream, u64::MAX).unwrap()).unwrap();
    });
    assert_eq!(station.client(&format!("push {}:{port} 3000000", path.guest_sees)), "");
    assert_eq!(told.recv().unwrap(), 3_000_000);
}

fn a_slow_reader_holds_up_nobody_else() {
    const SLOWLY: u64 = 20_000_000;
    let slow = server("127.0.0.1:0", |mut stream| pattern::write(&mut stream, SLOWLY).unwrap());
    let fast = server("127.0.0.1:0", |mut stream| pattern::write(&mut stream, MUCH).unwrap());
    let station = Station::new(UserNetConfig::default());
    let reader = station.client_command(&format!("slow 10.0.2.2:{slow}")).spawn().unwrap();
    assert_eq!(station.client(&format!("fetch 10.0.2.2:{fast}")), MUCH.to_string());
    let output = reader.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), SLOWLY.to_string());
}

fn a_slow_server_holds_up_nobody_else() {
    // It takes nothing until the other connection has ended.
    let (begin, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
    let slow = server("127.0.0.1:0", move |mut stream| {
        wait.lock().unwrap().recv().unwrap();
        let bytes = pattern::read(&mut stream, u64::MAX).unwrap();
        write!(stream, "{bytes} at last").unwrap();
    });
    let fast = server("127.0.0.1:0", |mut stream| pattern::write(&mut stream, MUCH).unwrap());
    let station = Station::new(UserNetConfig::default());
    let writer = station.client_command(&format!("push 10.0.2.2:{slow} {MUCH}")).spawn().unwrap();
    assert_eq!(station.client(&format!("fetch 10.0.2.2:{fast}")), MUCH.to_string());
    begin.send(()).unwrap();
    let output = writer.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("{MUCH} at last"));
}

fn a_thousand_connections_at_a_time() {
    let port = server("127.0.0.1:0", |mut stream| {
        let mut to = stream.try_clone().unwrap();
        _ = std::io::copy(&mut stream, &mut to);
    });
    let station = Station::new(UserNetConfig::default());
    assert_eq!(station.client(&format!("many 10.0.2.2:{port} 1000")), "1000");
}

fn a_server_that_dies_is_a_reset() {
    let port = server("127.0.0.1:0", |mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(&[0; 100_000]).unwrap();
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    });
    let station = Station::new(UserNetConfig::default());
    assert_eq!(station.client(&format!("reset 10.0.2.2:{port}")), "Some(ConnectionReset)");
}

fn a_guest_that_resets_is_heard() {
    let (tell, told) = std::sync::mpsc::channel();
    let port = server("127.0.0.1:0", move |mut stream| {
        let mut bytes = [0; 9];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(b"what").unwrap();
        tell.send(stream.read(&mut bytes).map_err(|error| error.kind())).unwrap();
    });
    let station = Station::new(UserNetConfig::default());
    station.client(&format!("abort 10.0.2.2:{port}"));
    assert_eq!(told.recv().unwrap(), Err(std::io::ErrorKind::ConnectionReset));
}

fn a_port_without_a_server_refuses() {
    let station = Station::new(UserNetConfig::default());
    let nobody = free_port();
    assert_eq!(station.client(&format!("refused 10.0.2.2:{nobody}")), "Some(ConnectionRefused)");
    // An address of the network that nobody has is not even there.
    assert_eq!(station.client("refused 10.0.2.3:54"), "Some(ConnectionRefused)");
}

fn a_restricted_guest_reaches_nobody() {
    let port = server("127.0.0.1:0", |mut stream| pattern::write(&mut stream, 1).unwrap());
    let station = Station::new(UserNetConfig { restrict: true, ..UserNetConfig::default() });
    for address in [format!("10.0.2.2:{port}"), "192.0.2.2:9".into()] {
        let error = station.client(&format!("refused {address}"));
        assert!(error.starts_with("Some("), "{address}: {error}");
    }
}

fn many_short_connections_leave_nothing_behind() {
    let port = server("127.0.0.1:0", |mut stream| pattern::write(&mut stream, 1000).unwrap());
    let station = Station::new(UserNetConfig::default());
    for _ in 0..20 {
        assert_eq!(station.client(&format!("fetch 10.0.2.2:{port}")), "1000");
    }
    // Strays are waited for a second.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !trimotor_net::NetBackend::info(&*station.network).contains("connections: 0 TCP") {
        assert!(
            std::time::Instant::now() < deadline,
            "{}",
            trimotor_net::NetBackend::info(&*station.network)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A web server that answers one thing.
fn curl_loads_a_page() {
    let port = server("127.0.0.1:0", |mut stream| {
        let mut request = [0; 4096];
        let n = stream.read(&mut request).unwrap();
        assert!(request[..n].starts_with(b"GET /page HTTP/1.1"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n").unwrap();
    });
    let station = Station::new(UserNetConfig::default());
    assert_eq!(station.must(&format!("curl -sS http://10.0.2.2:{port}/page")), "hello\n");
}
