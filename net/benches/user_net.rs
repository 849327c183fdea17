//! The user-mode network by itself: bytes of one TCP connection in a second through `NetBackend`, in both directions, with long frames
//! and with those of an MTU, to a server on the host's loopback; and how long an echo takes.
//!
//! ```text
//! cargo bench -p trimotor-net --bench user_net -- [SECONDS]
//! ```
//! The guest is a few lines here that do as little as a guest can: the headers of its segments are made once. What is measured is
//! the network, its thread and the host's sockets. Beside it stands what the host's loopback does without it.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a failure to set the bench up ends it")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use trimotor_net::wire::build::{IpHeader, append_ethernet};
use trimotor_net::wire::checksum::Sum;
use trimotor_net::wire::headers::{Arp, Ethernet, Tcp, protocol, tcp_flags};
use trimotor_net::wire::ip::Packet;
use trimotor_net::{
    Checksum, Frame, NetBackend, Offloads, Segmentation, SegmentationKind, UserNet, UserNetConfig,
};
use zerocopy::IntoBytes;

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ROUTER_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
const MSS: usize = 1460;
const LONG: usize = 44 * MSS;
/// The guest's window.
const WINDOW: usize = 3 << 20;

/// A guest with one connection.
struct Guest {
    net: UserNet,
    bell: Arc<(Mutex<bool>, Condvar)>,
    port: u16,
    own: u16,
    next: u32,
    acknowledged: u32,
    expected: u32,
    window: usize,
    scale: u8,
}

impl Guest {
    fn new(port: u16, long: bool) -> Self {
        let net = UserNet::start(&UserNetConfig::default()).unwrap();
        let bell = Arc::new((Mutex::new(false), Condvar::new()));
        let of_waker = bell.clone();
        net.set_waker(Arc::new(move || {
            *of_waker.0.lock().unwrap() = true;
            of_waker.1.notify_one();
        }));
        if long {
            net.card_accepts(Offloads { checksum: true, tcp4: true, ..Offloads::default() });
        }
        let mut arp = Vec::new();
        append_ethernet(&mut arp, [0xFF; 6], GUEST_MAC, 0x0806);
        let question = Arp {
            hardware: 1.into(),
            protocol: 0x0800.into(),
            hardware_length: 6,
            protocol_length: 4,
            operation: 1.into(),
            sender_mac: GUEST_MAC,
            sender: GUEST.octets(),
            target_mac: [0; 6],
            target: ROUTER.octets(),
        };
        arp.extend_from_slice(question.as_bytes());
        net.send(arp.into());
        let mut guest =
            Self { net, bell, port, own: 40_000, next: 1, acknowledged: 1, expected: 0, window: 0, scale: 0 };
        guest.connect();
        guest
    }
    fn frame(&self, flags: u16, payload: &[u8], options: &[u8]) -> Frame {
        let header = IpHeader::new(GUEST.into(), ROUTER.into(), protocol::TCP);
        let length = 20 + options.len() + payload.len();
        let mut bytes = Vec::with_capacity(54 + length);
        append_ethernet(&mut bytes, ROUTER_MAC, GUEST_MAC, 0x0800);
        header.append(&mut bytes, length);
        let sum = Sum::default().pseudo_header(GUEST.into(), ROUTER.into(), protocol::TCP, length);
        let tcp = Tcp {
            source: self.own.into(),
            destination: self.port.into(),
            sequence: self.next.into(),
            acknowledgment: self.expected.into(),
            offset_and_flags: (((20 + options.len()) as u16 / 4) << 12 | flags).into(),
            window: ((WINDOW >> 7).min(0xFFFF) as u16).into(),
            checksum: sum.folded(),
            urgent: 0.into(),
        };
        bytes.extend_from_slice(tcp.as_bytes());
        bytes.extend_from_slice(options);
        bytes.extend_from_slice(payload);
        let segmentation = (payload.len() > MSS).then_some(Segmentation {
            kind: SegmentationKind::Tcp4,
            payload: MSS as u16,
            ecn: false,
        });
        Frame { bytes, checksum: Some(Checksum { start: 34, offset: 16 }), segmentation, ..Frame::default() }
    }
    fn wait(&self) -> Frame {
        loop {
            if let Some(frame) = self.net.receive() {
                return frame;
            }
            let mut rang = self.bell.0.lock().unwrap();
            while !*rang {
                rang = self.bell.1.wait(rang).unwrap();
            }
            *rang = false;
        }
    }
    /// What a frame has of our connection: bytes of payload, and whether it was of it.
    fn take(&mut self, frame: &Frame) -> Option<usize> {
        let (ethernet, _) = Ethernet::split(&frame.bytes)?;
        if ethernet.kind.get() != 0x0800 {
            return None;
        }
        let packet = Packet::read(frame)?;
        let (tcp, _) = Tcp::split(&frame.bytes[packet.payload.clone()])?;
        if packet.source != IpAddr::V4(ROUTER) || tcp.destination.get() != self.own {
            return None;
        }
        if tcp.flags() & tcp_flags::SYN != 0 {
            self.expected = tcp.sequence.get() + 1;
            // The network's windows have this shift.
            self.scale = 7;
        }
        self.acknowledged = tcp.acknowledgment.get();
        self.window =
            usize::from(tcp.window.get()) << if tcp.flags() & tcp_flags::SYN == 0 { self.scale } else { 0 };
        let payload = packet.payload.len() - tcp.header_bytes();
        if tcp.sequence.get() == self.expected {
            self.expected = self.expected.wrapping_add(payload as u32);
        }
        Some(payload)
    }
    fn connect(&mut self) {
        let syn = self.frame(tcp_flags::SYN, &[], &[2, 4, 5, 0xB4, 1, 3, 3, 7]);
        self.net.send(syn);
        self.next += 1;
        while self.acknowledged != self.next {
            let frame = self.wait();
            self.take(&frame);
        }
        self.net.send(self.frame(tcp_flags::ACK, &[], &[]));
    }
    /// Sends for a while: bytes that were acknowledged.
    fn upload(&mut self, time: Duration, piece: usize) -> usize {
        let payload = vec![7; piece];
        let began = Instant::now();
        let first = self.acknowledged;
        let mut total = 0_usize;
        let mut last = first;
        while began.elapsed() < time {
            while self.next.wrapping_sub(self.acknowledged) as usize + piece <= self.window {
                self.net.send(self.frame(tcp_flags::ACK, &payload, &[]));
                self.next = self.next.wrapping_add(piece as u32);
                if let Some(frame) = self.net.receive() {
                    self.take(&frame);
                }
            }
            let frame = self.wait();
            self.take(&frame);
            total += self.acknowledged.wrapping_sub(last) as usize;
            last = self.acknowledged;
        }
        total
    }
    /// Receives for a while: bytes.
    fn download(&mut self, time: Duration) -> usize {
        let began = Instant::now();
        let (mut total, mut owed) = (0, 0);
        while began.elapsed() < time {
            let frame = self.wait();
            let bytes = self.take(&frame).unwrap_or(0);
            total += bytes;
            owed += bytes;
            // As a guest does: every second segment, or each long one.
            if owed >= 2 * MSS {
                owed = 0;
                self.net.send(self.frame(tcp_flags::ACK, &[], &[]));
            }
        }
        total
    }
    /// Sends a byte and waits for one, so often.
    fn echo(&mut self, times: u32) -> Duration {
        let began = Instant::now();
        for _ in 0..times {
            self.net.send(self.frame(tcp_flags::ACK, &[1], &[]));
            self.next = self.next.wrapping_add(1);
            loop {
                let frame = self.wait();
                if self.take(&frame) == Some(1) {
                    break;
                }
            }
        }
        began.elapsed() / times
    }
}

fn server(each: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(|stream| each(stream.unwrap())));
    port
}

fn swallow(mut stream: TcpStream) {
    let mut buffer = vec![0; 256 << 10];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}
fn pour(mut stream: TcpStream) {
    let buffer = vec![0; 256 << 10];
    while stream.write_all(&buffer).is_ok() {}
}
fn echo(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 100];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        stream.write_all(&buffer[..n]).unwrap();
    }
}

fn show(name: &str, bytes: usize, time: Duration) {
    let bits = bytes as f64 * 8.0 / time.as_secs_f64() / 1e9;
    println!("{name:<40} {bits:7.2} Gbit/s");
}

fn loopback(time: Duration) {
    let mut stream = TcpStream::connect(("127.0.0.1", server(pour))).unwrap();
    let mut buffer = vec![0; 256 << 10];
    let (began, mut total) = (Instant::now(), 0);
    while began.elapsed() < time {
        total += stream.read(&mut buffer).unwrap();
    }
    show("the host's loopback alone", total, began.elapsed());
}

fn main() {
    let seconds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(3.0);
    let time = Duration::from_secs_f64(seconds);
    loopback(time);
    for (name, piece) in [("from the guest, 64 KiB frames", LONG), ("from the guest, 1500-byte frames", MSS)]
    {
        let bytes = Guest::new(server(swallow), true).upload(time, piece);
        show(name, bytes, time);
    }
    for (name, long) in [("to the guest, 64 KiB frames", true), ("to the guest, 1500-byte frames", false)] {
        let bytes = Guest::new(server(pour), long).download(time);
        show(name, bytes, time);
    }
    let time = Guest::new(server(echo), true).echo(20_000);
    println!("{:<40} {:7.1} us", "a byte to a server and back", time.as_secs_f64() * 1e6);
}
