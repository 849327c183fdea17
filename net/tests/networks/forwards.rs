//! Ports of the host that lead to the guest, and addresses of the network that lead out.

use crate::pattern;
use crate::services::Folder;
use crate::station::{NAMESPACES, SOCAT, Station};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::Child;
use std::time::Duration;
use trimotor_net::user::forward::{HostForward, Transport};
use trimotor_net::{NetBackend, UserNet, UserNetConfig};
use trimotor_test_needs::Tests;

pub fn tests() -> Tests {
    Tests::needing(&[NAMESPACES])
        .test(a_port_of_the_host_leads_to_the_guest)
        .test(a_port_of_ipv6_leads_to_the_guest)
        .test(a_guest_that_comes_later_is_reached)
        .test(a_guest_without_a_server_is_a_reset)
        .test_needing(&[SOCAT], datagrams_are_forwarded)
        .test(forwards_come_and_go)
        .test(a_taken_port_is_named)
        .test(guest_forwards_lead_to_sockets_and_commands)
        .test(a_restricted_guest_has_its_forwards)
}

fn forward(text: &str) -> HostForward {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// A server in the station, which is ready.
fn serve(station: &Station, at: &str, connections: u32) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut server = station.client_command(&format!("serve {at} {connections}")).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "listening\n");
    (server, lines)
}

fn echo_much(at: SocketAddr) {
    const MUCH: u64 = 20_000_000;
    let mut stream = TcpStream::connect(at).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        pattern::write(&mut writer, MUCH).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(pattern::read(&mut stream, u64::MAX).unwrap(), MUCH);
    writer.join().unwrap();
}

fn a_port_of_the_host_leads_to_the_guest() {
    let station = Station::new(UserNetConfig::default());
    let host = station.network.add_forward(forward("tcp:127.0.0.1:0-:7")).unwrap().host;
    let (mut server, mut lines) = serve(&station, "10.0.2.15:7", 2);
    for _ in 0..2 {
        echo_much(host);
        let mut peer = String::new();
        lines.read_line(&mut peer).unwrap();
        assert_eq!(peer, "10.0.2.2\n");
    }
    assert!(server.wait().unwrap().success());
}

fn a_port_of_ipv6_leads_to_the_guest() {
    let station = Station::new(UserNetConfig::default());
    station.must(&format!("ip -6 addr add fec0::15/64 dev {} nodad", station.interface));
    let host = station.network.add_forward(forward("tcp:[::1]:0-[fec0::15]:7")).unwrap().host;
    let (mut server, _lines) = serve(&station, "[fec0::15]:7", 1);
    echo_much(host);
    assert!(server.wait().unwrap().success());
}

fn a_guest_that_comes_later_is_reached() {
    let station = Station::new(UserNetConfig::default());
    station.must(&format!("ip link set {} down", station.interface));
    let host = station.network.add_forward(forward("tcp:127.0.0.1:0-:7")).unwrap().host;
    let mut early = TcpStream::connect(host).unwrap();
    early.write_all(b"hello?").unwrap();
    early.shutdown(Shutdown::Write).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    station.must(&format!("ip link set {} up", station.interface));
    let (mut server, _lines) = serve(&station, "10.0.2.15:7", 1);
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello?");
    assert!(server.wait().unwrap().success());
}

fn a_guest_without_a_server_is_a_reset() {
    let station = Station::new(UserNetConfig::default());
    let host = station.network.add_forward(forward("tcp:127.0.0.1:0-:7")).unwrap().host;
    let mut stream = TcpStream::connect(host).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

fn datagrams_are_forwarded() {
    let station = Station::new(UserNetConfig::default());
    let host = station.network.add_forward(forward("udp:127.0.0.1:0-:5353")).unwrap().host;
    let mut server = station.command("exec socat UDP4-RECVFROM:5353,fork EXEC:'sed s/a/b/'").spawn().unwrap();
    let sockets: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for (n, socket) in sockets.iter().enumerate() {
        socket.connect(host).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut answer = [0; 100];
        // The server may not be ready yet.
        let n = (0..50).find_map(|_| {
            socket.send(format!("data {n}\n").as_bytes()).unwrap();
            socket.recv(&mut answer).ok().map(|length| (n, length))
        });
        let (n, length) = n.expect("no answer");
        assert_eq!(answer[..length], *format!("dbta {n}\n").as_bytes());
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

fn forwards_come_and_go() {
    let network = UserNet::start(&UserNetConfig::default()).unwrap();
    let one = network.add_forward(forward("tcp:127.0.0.1:0-:22")).unwrap();
    let two = network.add_forward(forward("udp:127.0.0.1:0-10.0.2.20:53")).unwrap();
    assert_eq!(network.list_forwards(), [one, two]);
    assert!(network.info().contains(&format!("hostfwd {one}")), "{}", network.info());
    assert_eq!(network.remove_forward(Transport::Tcp, one.host).unwrap(), one);
    let error = network.remove_forward(Transport::Tcp, one.host).unwrap_err().to_string();
    assert!(error.contains(&format!("no forward at tcp:{}", one.host)), "{error}");
    assert!(error.contains(&two.to_string()), "{error}");
    // The port is free again, soon.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while TcpListener::bind(one.host).is_err() {
        assert!(std::time::Instant::now() < deadline);
    }
}

fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("tcp:{}-:22", taken.local_addr().unwrap());
    let config = UserNetConfig::from_options([("hostfwd", forward.as_str())]).unwrap();
    let error = UserNet::start(&config).err().unwrap().to_string();
    assert!(error.contains(&forward) && error.contains("another program has this port"), "{error}");
}

fn guest_forwards_lead_to_sockets_and_commands() {
    let folder = Folder::new("guestfwd");
    let path = folder.0.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let bytes = pattern::read(&mut stream, u64::MAX).unwrap();
            write!(stream, "{bytes} by a Unix socket").unwrap();
        }
    });
    let tcp = crate::tcp::server("127.0.0.1:0", |mut stream| stream.write_all(b"by TCP").unwrap());
    let rules = [
        format!("tcp:10.0.2.100:1-unix:{}", path.display()),
        "tcp:10.0.2.100:2-cmd:wc -c; echo by a command".into(),
        format!("tcp:10.0.2.101:3-tcp:127.0.0.1:{tcp}"),
        "tcp:10.0.2.100:4-unix:/nothing/is/here".into(),
    ];
    let config = UserNetConfig::from_options(rules.iter().map(|rule| ("guestfwd", rule.as_str()))).unwrap();
    let station = Station::new(config);
    assert_eq!(station.client("push 10.0.2.100:1 1000000"), "1000000 by a Unix socket");
    assert_eq!(station.client("push 10.0.2.100:2 1000000"), "1000000\nby a command");
    assert_eq!(station.client("push 10.0.2.101:3 0"), "by TCP");
    assert_eq!(station.client("refused 10.0.2.100:4"), "Some(ConnectionRefused)");
}

fn a_restricted_guest_has_its_forwards() {
    let config = UserNetConfig::from_options([
        ("restrict", "on"),
        ("guestfwd", "tcp:10.0.2.100:2-cmd:wc -c"),
        ("hostfwd", "tcp:127.0.0.1:0-:7"),
    ]);
    let station = Station::new(config.unwrap());
    assert_eq!(station.client("push 10.0.2.100:2 1234"), "1234");
    let (mut server, _lines) = serve(&station, "10.0.2.15:7", 1);
    echo_much(station.network.list_forwards()[0].host);
    assert!(server.wait().unwrap().success());
}
