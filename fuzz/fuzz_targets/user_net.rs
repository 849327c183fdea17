//! The user-mode network: any frames of a guest, and packets of each protocol that are nearly right, with a server behind a forward.
//!
//! No frame panics; what waits for the card is bounded; each frame for the guest is a whole one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use trimotor_fuzz::Input;
use trimotor_net::user::router::Router;
use trimotor_net::user::shared::Shared;
use trimotor_net::wire::build::{IpHeader, append_ethernet, udp};
use trimotor_net::wire::ip::Packet;
use trimotor_net::{Checksum, Frame, NetError, Offloads, Segmentation, SegmentationKind, UserNetConfig};

const GUEST: [u8; 4] = [10, 0, 2, 15];
const OWN: [[u8; 4]; 5] = [[10, 0, 2, 2], [10, 0, 2, 3], [10, 0, 2, 100], [10, 0, 2, 255], [93, 184, 215, 14]];
const PORTS: [u16; 6] = [80, 67, 53, 69, 49_153, 9];

/// A folder with a file for TFTP, and the server's socket.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("trimotor-fuzz-net-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        std::fs::write(path.join("file"), vec![5; 5000]).expect("a file");
        path
    })
}

fn start(shared: &Arc<Shared>) -> Result<(Router, UnixListener), NetError> {
    let socket = folder().join("socket");
    _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("a socket");
    listener.set_nonblocking(true).expect("a socket");
    let forward = format!("tcp:10.0.2.100:80-unix:{}", socket.display());
    // Nothing of the host is reached: the guest is restricted.
    let mut config = UserNetConfig::from_options([("restrict", "on"), ("guestfwd", forward.as_str())])?;
    config.tftp = Some(folder().clone());
    Ok((Router::new(&config, shared.clone())?, listener))
}

/// An IPv4 packet with any payload, whose header is right.
fn ipv4(input: &mut Input<'_>, protocol: u8, payload: &[u8]) -> Frame {
    let destination = OWN[input.below(OWN.len())];
    let mut header = IpHeader::new(GUEST.into(), destination.into(), protocol);
    if input.below(4) == 0 {
        header.flags_and_offset = input.number(2) as u16;
        header.id = input.below(3) as u16;
    }
    let mut bytes = Vec::new();
    append_ethernet(&mut bytes, [0xFF; 6], [2; 6], 0x0800);
    header.append(&mut bytes, payload.len());
    bytes.extend_from_slice(payload);
    Frame { bytes, verified: true, ..Frame::default() }
}

fn ipv6(input: &mut Input<'_>, next: u8, payload: &[u8]) -> Frame {
    let own = ["fec0::2", "fec0::3", "fe80::2", "ff02::1", "2001:db8::1"][input.below(5)];
    let guest = ["fec0::15", "fe80::15", "::"][input.below(3)];
    let parse = |address: &str| address.parse::<std::net::IpAddr>().expect("an address");
    let mut header = IpHeader::new(parse(guest), parse(own), next);
    header.ttl = if input.below(4) == 0 { 1 } else { 255 };
    let mut bytes = Vec::new();
    append_ethernet(&mut bytes, [0x33, 0x33, 0, 0, 0, 1], [2; 6], 0x86DD);
    header.append(&mut bytes, payload.len());
    bytes.extend_from_slice(payload);
    Frame { bytes, verified: true, ..Frame::default() }
}

/// What the guest's TCP knows, so that segments are in their windows.
#[derive(Default)]
struct Tcp {
    next: u32,
    acknowledged: u32,
}

impl Tcp {
    fn segment(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        let flags = [2, 0x10, 0x18, 0x11, 0x14, 0x12, 0][input.below(7)];
        let payload = input.bytes(40);
        let ports = [40_000_u16, 80].map(u16::to_be_bytes).concat();
        let jitter = if input.below(3) == 0 { input.number(1) as u32 } else { 0 };
        let numbers = [self.next.wrapping_add(jitter).wrapping_sub(jitter / 2), self.acknowledged];
        let numbers = numbers.map(u32::to_be_bytes).concat();
        let words = if input.below(5) == 0 { input.number(1) as u8 } else { 0x50 };
        let window = [0, 1, 0xFF, 0xFF][input.below(4)];
        let mut bytes = [&ports[..], &numbers, &[words, flags, window, window, 0, 0, 0, 0], payload].concat();
        if flags & 2 != 0 && input.below(2) == 0 {
            bytes[12] = 0x70;
            bytes.splice(20..20, [2, 4, 0, 100, 1, 3, 3, input.number(1) as u8]);
        }
        self.next = self.next.wrapping_add(payload.len() as u32 + u32::from(flags & 3 != 0));
        bytes
    }
    /// A segment from the network.
    fn look(&mut self, frame: &Frame) {
        let Some(packet) = Packet::read(frame).filter(|packet| packet.protocol == 6) else { return };
        let bytes = &frame.bytes[packet.payload];
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let length = bytes.len() as u32 - u32::from(bytes[12] >> 4) * 4;
        self.acknowledged = number(4).wrapping_add(length + u32::from(bytes[13] & 3 != 0));
        if bytes[13] & 0x10 != 0 {
            self.next = number(8);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let shared = Arc::new(Shared::new().expect("a bell"));
    let Ok((mut router, listener)) = start(&shared) else { return };
    let mut streams: Vec<UnixStream> = Vec::new();
    let mut tcp = Tcp { next: 1000, acknowledged: 0 };
    while !input.is_empty() {
        let length = input.below(300);
        let frame = match input.below(12) {
            0 => input.bytes(length).to_vec().into(),
            1 => {
                let number = [1, 2, 6, 17, 58][input.below(5)];
                let payload = input.bytes(length);
                ipv4(&mut input, number, payload)
            }
            2 => {
                let next = [0, 6, 17, 43, 44, 58, 60][input.below(7)];
                let payload = input.bytes(length);
                ipv6(&mut input, next, payload)
            }
            3 => {
                let ports = (40_000 + input.below(3) as u16, PORTS[input.below(PORTS.len())]);
                let payload = input.bytes(length);
                let datagram = udp((GUEST, ports.0).into(), ([10, 0, 2, 2], ports.1).into(), payload);
                ipv4(&mut input, 17, &datagram)
            }
            // DHCP: the fixed part and any options.
            4 => {
                let mut message = vec![0; 240];
                message[..3].copy_from_slice(&[1, 1, 6]);
                message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, input.number(1) as u8]);
                message[236..].copy_from_slice(&[99, 130, 83, 99]);
                message.extend_from_slice(&[53, 1, input.below(10) as u8]);
                message.extend_from_slice(input.bytes(length.min(60)));
                let datagram = udp((GUEST, 68).into(), ([255; 4], 67).into(), &message);
                ipv4(&mut input, 17, &datagram)
            }
            // TFTP: a request for the file, and any options.
            5 => {
                let mut request = b"\0\x01file\0octet\0".to_vec();
                request.extend_from_slice(input.bytes(length.min(60)));
                let datagram = udp((GUEST, 40_000).into(), ([10, 0, 2, 2], 69).into(), &request);
                ipv4(&mut input, 17, &datagram)
            }
            6..=9 => {
                let segment = tcp.segment(&mut input);
                let mut frame = ipv4(&mut input, 6, &segment);
                frame.bytes[30..34].copy_from_slice(&OWN[2]);
                frame.bytes[20..22].fill(0);
                frame.segmentation =
                    Some(Segmentation { kind: SegmentationKind::Tcp4, payload: 10, ecn: false });
                frame
            }
            10 => {
                if let Some(mut stream) = streams.pop() {
                    _ = stream.write(&vec![3; length * 20]);
                    _ = stream.read(&mut [0; 100]);
                    if input.below(3) > 0 {
                        streams.push(stream);
                    }
                }
                continue;
            }
            _ => {
                let bits = input.number(1);
                let accepts = Offloads { checksum: bits & 1 != 0, tcp4: bits & 2 != 0, ..Offloads::default() };
                shared.set_card_accepts(accepts);
                continue;
            }
        };
        if input.below(8) == 0 {
            let mut open = frame.clone();
            let (start, offset) = (input.number(1) as u16, input.number(1) as u16);
            open.checksum = Some(Checksum { start, offset });
            open.finish(|piece| router.frame(piece));
        }
        router.frame(frame);
        router.step();
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).expect("a socket");
            streams.push(stream);
        }
        assert!(shared.queue.room() > 0, "the queue is full");
        while let Some(frame) = shared.next_for_card() {
            let is_whole = frame.bytes[12..14] == [8, 6] || Packet::read(&frame).is_some();
            assert!(is_whole, "a frame that is none: {frame:?}");
            tcp.look(&frame);
        }
    }
    router.step();
});
