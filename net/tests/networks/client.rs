//! What a station does with TCP, in a network namespace of its own: `WHAT ADDRESS [NUMBER]` in an environment variable.
//!
//! | what | |
//! |---|---|
//! | `fetch` | reads the pattern to its end, prints how many bytes |
//! | `push` | writes so many bytes of the pattern, ends its direction, prints what the server answers |
//! | `slow` | as `fetch`, with a small receive buffer and pauses |
//! | `many` | opens so many connections, then uses each |
//! | `reset` | says something, reads until an error, and prints its kind |
//! | `refused` | connects, and prints the kind of the error |
//! | `serve` | listens at the address, takes so many connections, and echoes |
//! | `abort` | connects, says something, and resets the connection |
//! | `ping` | in a host's place: has a guest of frames ping the address, and prints how that is answered |
//! | `bridge` | in a host's place: has the bridge helper make an interface, and prints what is on the bridge |
//! | `flows` | sends a datagram from each of so many ports |
//! | `udp` | sends datagrams of 1 to so many bytes, and wants each back |

use crate::pattern;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

/// Says what to do.
pub const VARIABLE: &str = "TRIMOTOR_STATION";

pub fn run(what: &str) -> ExitCode {
    let words: Vec<&str> = what.split(' ').collect();
    let address: SocketAddr = words[1].parse().unwrap();
    let number: u64 = words.get(2).map_or(0, |number| number.parse().unwrap());
    match words[0] {
        "fetch" => println!("{}", pattern::read(&mut connect(address), u64::MAX).unwrap()),
        "push" => push(address, number),
        "slow" => slow(address),
        "many" => many(address, number),
        "reset" => {
            let mut stream = connect(address);
            stream.write_all(b"go on").unwrap();
            let error = std::io::copy(&mut stream, &mut std::io::sink()).err();
            println!("{:?}", error.map(|error| error.kind()));
        }
        "refused" => println!("{:?}", TcpStream::connect(address).err().map(|error| error.kind())),
        "serve" => serve(address, number),
        "abort" => {
            let mut stream = connect(address);
            stream.write_all(b"something").unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
        "flows" => {
            for port in 0..number as u16 {
                let socket = UdpSocket::bind(("0.0.0.0", 20_000 + port)).unwrap();
                socket.send_to(b"a datagram", address).unwrap();
            }
        }
        "udp" => udp(address, number),
        "ping" => println!("{}", crate::hostile::ping_beyond(address.ip())),
        "bridge" => {
            let config = trimotor_net::TapConfig::from_options([("br", "trimotorbr0")]).unwrap();
            let tap = trimotor_net::Tap::open(&config).unwrap_or_else(|error| panic!("{error}"));
            assert!(trimotor_net::NetBackend::info(&tap).contains("on trimotorbr0"));
            let listed = std::process::Command::new("ip")
                .args(["-br", "link", "show", "master", "trimotorbr0"])
                .output();
            print!("{}", String::from_utf8_lossy(&listed.unwrap().stdout));
        }
        _ => panic!("{what}"),
    }
    ExitCode::SUCCESS
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"))
}

fn push(address: SocketAddr, bytes: u64) {
    let mut stream = connect(address);
    pattern::write(&mut stream, bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    println!("{answer}");
}

fn slow(address: SocketAddr) {
    let mut stream = connect(address);
    let mut reader = Pauses(&mut stream, 0);
    println!("{}", pattern::read(&mut reader, u64::MAX).unwrap());
}

/// Reads with a pause now and then, so that windows close.
struct Pauses<'a>(&'a mut TcpStream, u32);

impl Read for Pauses<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(50) {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.0.read(buffer)
    }
}

fn many(address: SocketAddr, number: u64) {
    let mut streams: Vec<TcpStream> = (0..number).map(|_| connect(address)).collect();
    for (n, stream) in streams.iter_mut().enumerate() {
        writeln!(stream, "number {n}").unwrap();
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        let expected = format!("number {n}\n");
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, expected.as_bytes());
    }
    println!("{number}");
}

fn serve(address: SocketAddr, number: u64) {
    let listener = TcpListener::bind(address).unwrap();
    println!("listening");
    for _ in 0..number {
        let (mut stream, peer) = listener.accept().unwrap();
        println!("{}", peer.ip());
        let mut to = stream.try_clone().unwrap();
        _ = std::io::copy(&mut stream, &mut to);
        _ = to.shutdown(Shutdown::Write);
    }
}

fn udp(address: SocketAddr, most: u64) {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = vec![0; 65_535];
    let mut length = 1;
    while length <= most {
        let datagram: Vec<u8> = (0..length).map(|n| (n * 7 + length) as u8).collect();
        socket.send(&datagram).unwrap();
        match socket.recv(&mut answer) {
            Ok(n) => assert!(answer[..n] == datagram, "{length} bytes, {n} back"),
            Err(error) => return println!("{:?}", error.kind()),
        }
        length = if length == most { most + 1 } else { (length * 3).min(most) };
    }
    println!("{most}");
}
