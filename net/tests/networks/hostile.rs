//! A guest that means harm, made of frames: the network goes on, within its bounds.

use crate::pattern;
use crate::tcp::server;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use trimotor_net::wire::build::{IpHeader, append_ethernet, udp};
use trimotor_net::wire::checksum::Sum;
use trimotor_net::wire::headers::{Arp, Tcp, protocol, tcp_flags};
use trimotor_net::wire::ip::Packet;
use trimotor_net::{Frame, NetBackend, UserNet, UserNetConfig};
use trimotor_test_needs::{Tests, free_port};
use zerocopy::IntoBytes;

const GUEST: [u8; 4] = [10, 0, 2, 15];
const ROUTER: [u8; 4] = [10, 0, 2, 2];
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ROUTER_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];

pub fn tests() -> Tests {
    Tests::new()
        .test(any_bytes_are_no_harm)
        .test(packets_that_are_nearly_right_are_no_harm)
        .test(a_flood_of_arp_is_forgotten)
        .test(who_claims_the_routers_address_is_not_believed)
        .test(a_flood_of_dhcp_leaves_addresses)
        .test(a_flood_of_connections_is_bounded)
        .test(a_reset_must_have_the_right_number)
        .test(a_guest_that_stands_still_loses_nothing)
        .test(a_closed_window_is_probed)
}

/// A guest, and what it sends.
struct Guest {
    net: UserNet,
}

impl Guest {
    fn new() -> Self {
        // Questions go to nobody.
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = UserNetConfig { resolvers: vec![nobody], ..UserNetConfig::default() };
        let net = UserNet::start(&config).unwrap();
        let guest = Self { net };
        guest.net.send(arp(MAC, GUEST, ROUTER));
        guest
    }
    /// The next frame that is wanted, within a while.
    fn wait<T>(&self, wanted: impl FnMut(&Frame) -> Option<T>) -> T {
        self.wait_while(|| {}, wanted)
    }
    /// The next frame that is wanted, with something to do meanwhile.
    fn wait_while<T>(&self, mut meanwhile: impl FnMut(), mut wanted: impl FnMut(&Frame) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            meanwhile();
            match self.net.receive() {
                Some(frame) => {
                    if let Some(found) = wanted(&frame) {
                        return found;
                    }
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(Instant::now() < deadline, "{}", self.net.info());
        }
    }
    /// The router answers still.
    fn must_be_served(&self) {
        // In a flood some are dropped.
        let mut sent = None::<Instant>;
        self.wait_while(
            || {
                if sent.is_none_or(|at| at.elapsed() > Duration::from_millis(100)) {
                    sent = Some(Instant::now());
                    self.net.send(ping());
                }
            },
            |frame| {
                let packet = Packet::read(frame).filter(|packet| packet.protocol == protocol::ICMP)?;
                let message = &frame.bytes[packet.payload];
                (message[0] == 0 && message[4..8] == [7; 4] && frame.bytes[..6] == MAC).then_some(())
            },
        );
    }
    fn send_tcp(&self, ports: (u16, u16), numbers: (u32, u32), flags: u16, window: u16, payload: &[u8]) {
        let header = IpHeader::new(GUEST.into(), ROUTER.into(), protocol::TCP);
        let tcp = Tcp {
            source: ports.0.into(),
            destination: ports.1.into(),
            sequence: numbers.0.into(),
            acknowledgment: numbers.1.into(),
            offset_and_flags: (5 << 12 | flags).into(),
            window: window.into(),
            ..Tcp::default()
        };
        self.net.send(packet(&header, &[tcp.as_bytes(), payload].concat()));
    }
    /// The next segment to a port: sequence number, acknowledgment, flags, bytes.
    fn segment(&self, port: u16) -> (u32, u32, u16, Vec<u8>) {
        self.wait(|frame| {
            let packet = Packet::read(frame).filter(|packet| packet.protocol == protocol::TCP)?;
            let (tcp, rest) = Tcp::split(&frame.bytes[packet.payload])?;
            let payload = rest[tcp.header_bytes() - 20..].to_vec();
            let is_it = tcp.destination.get() == port;
            is_it.then(|| (tcp.sequence.get(), tcp.acknowledgment.get(), tcp.flags(), payload))
        })
    }
    /// Connects from a port: the number that comes next, and the one that is expected.
    fn connect(&self, ports: (u16, u16), window: u16) -> (u32, u32) {
        self.send_tcp(ports, (1000, 0), tcp_flags::SYN, window, &[]);
        let (sequence, acknowledged, flags, _) = self.segment(ports.0);
        assert_eq!((acknowledged, flags), (1001, tcp_flags::SYN | tcp_flags::ACK));
        let expected = sequence.wrapping_add(1);
        self.send_tcp(ports, (1001, expected), tcp_flags::ACK, window, &[]);
        (1001, expected)
    }
}

fn packet(header: &IpHeader, payload: &[u8]) -> Frame {
    let mut bytes = Vec::new();
    append_ethernet(&mut bytes, ROUTER_MAC, MAC, header.ethertype());
    header.append(&mut bytes, payload.len());
    bytes.extend_from_slice(payload);
    // Checksums are the card's business here.
    Frame { bytes, verified: true, ..Frame::default() }
}

fn arp(mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Frame {
    let mut bytes = Vec::new();
    append_ethernet(&mut bytes, [0xFF; 6], mac, 0x0806);
    let question = Arp {
        hardware: 1.into(),
        protocol: 0x0800.into(),
        hardware_length: 6,
        protocol_length: 4,
        operation: 1.into(),
        sender_mac: mac,
        sender,
        target_mac: [0; 6],
        target,
    };
    bytes.extend_from_slice(question.as_bytes());
    bytes.into()
}

fn ping() -> Frame {
    let header = IpHeader::new(GUEST.into(), ROUTER.into(), protocol::ICMP);
    let mut message = vec![8, 0, 0, 0, 7, 7, 7, 7];
    let checksum = Sum::default().bytes(&message).checksum();
    message[2..4].copy_from_slice(&checksum);
    packet(&header, &message)
}

/// How an echo request to an address beyond the network is answered: the type and code of the message.
pub fn ping_beyond(address: IpAddr) -> String {
    let guest = Guest::new();
    let header = IpHeader::new(GUEST.into(), address, protocol::ICMP);
    let mut message = vec![8, 0, 0, 0, 7, 7, 7, 7];
    let checksum = Sum::default().bytes(&message).checksum();
    message[2..4].copy_from_slice(&checksum);
    guest.net.send(packet(&header, &message));
    guest.wait(|frame| {
        let packet = Packet::read(frame).filter(|packet| packet.protocol == protocol::ICMP)?;
        let message = &frame.bytes[packet.payload];
        let ident = if message[0] == 0 { format!(" {:?}", &message[4..8]) } else { String::new() };
        Some(format!("{} {}{ident} from {}", message[0], message[1], packet.source))
    })
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 24
    }
}

fn any_bytes_are_no_harm() {
    let guest = Guest::new();
    let mut random = Random(1);
    for _ in 0..100_000 {
        let length = random.next() as usize % 100;
        guest.net.send((0..length).map(|_| random.next() as u8).collect::<Vec<u8>>().into());
    }
    guest.must_be_served();
}

fn packets_that_are_nearly_right_are_no_harm() {
    let guest = Guest::new();
    let mut random = Random(2);
    let restricted: [IpAddr; 2] = [ROUTER.into(), [10, 0, 2, 3].into()];
    for n in 0..100_000 {
        let number = [1, 6, 17, 58, 0, 43, 44][random.next() as usize % 7];
        let mut header = IpHeader::new(GUEST.into(), restricted[n % 2], number);
        header.flags_and_offset = if n % 3 == 0 { random.next() as u16 } else { 0 };
        let length = random.next() as usize % 200;
        let mut payload: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        if number == 17 && payload.len() > 8 {
            let port = [53, 67, 69, 68][n % 4];
            payload = udp(SocketAddr::from((GUEST, 1000)), (restricted[0], port).into(), &payload[8..]);
        } else if number != 6 && payload.len() > 4 {
            payload[0] = [8, 0, 128, 133, 135, 136, 3][n % 7];
        } else if payload.len() > 3 {
            // No port of the host is meant.
            payload[2..4].fill(0);
        }
        guest.net.send(packet(&header, &payload));
        while guest.net.receive().is_some() {}
    }
    guest.must_be_served();
}

fn a_flood_of_arp_is_forgotten() {
    let guest = Guest::new();
    for n in 0..50_000_u32 {
        let [_, b, c, d] = n.to_be_bytes();
        guest.net.send(arp([2, 0, 0, b, c, d], [10, 0, 2, 16 + d % 200], [10, 0, 2, c]));
    }
    guest.must_be_served();
}

fn who_claims_the_routers_address_is_not_believed() {
    let guest = Guest::new();
    for claimed in [ROUTER, [10, 0, 2, 3], [192, 168, 0, 1]] {
        guest.net.send(arp([2, 2, 2, 2, 2, 2], claimed, GUEST));
        let mut spoofed = ping();
        spoofed.bytes[26..30].copy_from_slice(&claimed);
        spoofed.bytes[24..26].fill(0);
        let checksum = Sum::default().bytes(&spoofed.bytes[14..34]).checksum();
        spoofed.bytes[24..26].copy_from_slice(&checksum);
        guest.net.send(spoofed);
    }
    guest.must_be_served();
    guest.net.send(arp(MAC, GUEST, ROUTER));
    guest.wait(|frame| {
        let is_answer = frame.bytes[12..14] == [8, 6] && frame.bytes[20..22] == [0, 2];
        is_answer.then(|| assert_eq!(frame.bytes[22..28], ROUTER_MAC))
    });
}

fn dhcp(client: [u8; 6], kind: u8, requested: Option<[u8; 4]>) -> Frame {
    let mut message = vec![0; 240];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[28..34].copy_from_slice(&client);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend_from_slice(&[53, 1, kind]);
    if let Some(requested) = requested {
        message.extend_from_slice(&[50, 4]);
        message.extend_from_slice(&requested);
    }
    message.push(255);
    let (from, to) = (SocketAddr::from(([0; 4], 68)), SocketAddr::from(([255; 4], 67)));
    packet(&IpHeader::new(from.ip(), to.ip(), protocol::UDP), &udp(from, to, &message))
}

fn a_flood_of_dhcp_leaves_addresses() {
    let guest = Guest::new();
    // What the server says to a client: the kind, and the address.
    let answer = |client: [u8; 6]| {
        guest.wait(|frame| {
            let packet = Packet::read(frame).filter(|packet| packet.protocol == protocol::UDP)?;
            let message = frame.bytes[packet.payload].get(8..)?;
            let is_it = message.get(28..34)? == client;
            is_it.then(|| (message[242], [message[16], message[17], message[18], message[19]]))
        })
    };
    for n in 0..2000_u32 {
        let [_, b, c, d] = n.to_be_bytes();
        guest.net.send(dhcp([2, 1, 0, b, c, d], 1, None));
        let (kind, [a, b, c, d]) = answer([2, 1, 0, b, c, d]);
        assert_eq!((kind, a, b, c), (2, 10, 0, 2));
        assert!((4..=254).contains(&d), "{d}");
    }
    guest.net.send(dhcp(MAC, 1, None));
    let (_, address) = answer(MAC);
    guest.net.send(dhcp(MAC, 3, Some(address)));
    assert_eq!(answer(MAC), (5, address));
    // Neither the router's address nor one of another network can be had.
    for wanted in [ROUTER, [10, 0, 2, 3], [10, 0, 2, 255], [192, 168, 1, 1]] {
        guest.net.send(dhcp(MAC, 3, Some(wanted)));
        assert_eq!(answer(MAC).0, 6, "{wanted:?}");
    }
}

fn a_flood_of_connections_is_bounded() {
    let port = server("127.0.0.1:0", |mut stream| _ = stream.read(&mut [0]));
    let guest = Guest::new();
    for n in 0..6000 {
        guest.send_tcp((10_000 + n, port), (1, 0), tcp_flags::SYN, 1000, &[]);
        while guest.net.receive().is_some() {}
        if n % 500 == 0 {
            // The frames' queue is bounded too.
            guest.must_be_served();
        }
    }
    guest.must_be_served();
    std::thread::sleep(Duration::from_millis(1500));
    guest.must_be_served();
    let info = guest.net.info();
    let count = info.split("connections: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(count.parse::<u32>().unwrap() <= 4096, "{info}");
}

fn a_reset_must_have_the_right_number() {
    let port = server("127.0.0.1:0", |mut stream| pattern::write(&mut stream, 8).unwrap());
    let guest = Guest::new();
    let ports = (40_000, port);
    let (next, expected) = guest.connect(ports, 1000);
    // In the window, but not the next: the network asks (RFC 5961).
    guest.send_tcp(ports, (next + 100, expected), tcp_flags::RST, 0, &[]);
    let mut data = Vec::new();
    while data.is_empty() {
        data = guest.segment(ports.0).3;
    }
    guest.send_tcp(ports, (next, expected), tcp_flags::RST, 0, &[]);
    // Now nobody knows the connection.
    guest.send_tcp(ports, (next, expected), tcp_flags::ACK, 1000, &[]);
    while guest.segment(ports.0).2 & tcp_flags::RST == 0 {}
}

fn a_guest_that_stands_still_loses_nothing() {
    const BYTES: u64 = 20_000;
    let port = server("127.0.0.1:0", |mut stream| {
        pattern::write(&mut stream, BYTES).unwrap();
        _ = stream.read(&mut [0]);
    });
    let guest = Guest::new();
    let ports = (40_000, port);
    let (next, mut expected) = guest.connect(ports, 40_000);
    // Long after data would have been sent again, they wait once for the card.
    std::thread::sleep(Duration::from_secs(2));
    let mut data = Vec::new();
    while (data.len() as u64) < BYTES {
        let (sequence, _, _, payload) = guest.segment(ports.0);
        assert_eq!(sequence, expected, "sent again");
        expected = expected.wrapping_add(payload.len() as u32);
        data.extend(payload);
    }
    guest.send_tcp(ports, (next, expected), tcp_flags::ACK, 40_000, &[]);
    assert_eq!(pattern::read(&mut &data[..], u64::MAX).unwrap(), BYTES);
    assert!(guest.net.info().contains(" 0 sent again"), "{}", guest.net.info());
}

fn a_closed_window_is_probed() {
    let port = server("127.0.0.1:0", |mut stream| {
        pattern::write(&mut stream, 100).unwrap();
        _ = stream.read(&mut [0]);
    });
    let guest = Guest::new();
    let ports = (40_000, port);
    let (next, expected) = guest.connect(ports, 0);
    for _ in 0..3 {
        let (sequence, _, _, payload) = guest.segment(ports.0);
        assert_eq!((sequence, payload.len()), (expected, 1));
        guest.send_tcp(ports, (next, expected), tcp_flags::ACK, 0, &[]);
    }
    guest.send_tcp(ports, (next, expected), tcp_flags::ACK, 1000, &[]);
    let mut length = 0;
    while length < 100 {
        length = length.max(guest.segment(ports.0).3.len());
    }
}
