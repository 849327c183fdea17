//! The card as a driver uses it.

use super::registers::*;
use super::*;
use crate::network::TestCable;
use std::sync::Arc;
use trimotor_bus::{GuestMemory, PhysAddr, SaveState};
use trimotor_net::SegmentationKind;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const PEER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
/// The rings of eight descriptors, buffers, and packets to send.
const RX: u64 = 0x1000;
const TX: u64 = 0x2000;
const BUFFERS: u64 = 0x1_0000;
const PACKET: u64 = 0x8_0000;
/// The link is up.
const LATER: GuestTime = GuestTime(1_000_000_000);

struct Bench {
    card: E1000,
    cable: TestCable,
    memory: Arc<GuestMemory>,
    now: GuestTime,
}

impl Bench {
    fn new(offloads: Offloads) -> Self {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        let cable = TestCable::new(offloads);
        let master = BusMaster::new(memory.clone());
        let card = E1000::new(IrqLine::unconnected(), master, Arc::new(cable.clone()), MacAddress(MAC), None);
        let mut bench = Self { card, cable, memory, now: LATER };
        bench.card.config_write(4, Width::Word, 7, bench.now);
        bench.card.advance(bench.now);
        for (register, value) in [
            (RDBAL, RX as u32),
            (RDLEN, 128),
            (RDT, 7),
            (RCTL, rctl::EN | rctl::BAM | rctl::SECRC),
            (TDBAL, TX as u32),
            (TDLEN, 128),
            (TCTL, tctl::EN | tctl::PSP),
        ] {
            bench.write(register, value);
        }
        for n in 0..8 {
            bench.memory.write(PhysAddr(RX + 16 * n), &(BUFFERS + 0x800 * n).to_le_bytes());
        }
        bench
    }
    fn write(&mut self, register: u64, value: u32) {
        self.card.bar_write(REGISTER_BAR, register, Width::Dword, value.into(), self.now);
    }
    fn read(&mut self, register: u64) -> u32 {
        self.card.bar_read(REGISTER_BAR, register, Width::Dword, self.now) as u32
    }
    fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(PhysAddr(at), &mut bytes);
        bytes
    }
    /// Puts descriptors into the transmit ring, from the head on, and tells the card.
    fn send(&mut self, descriptors: &[[u64; 2]]) {
        let tail = self.read(TDT);
        for (n, [low, high]) in descriptors.iter().enumerate() {
            let at = TX + 16 * ((u64::from(tail) + n as u64) % 8);
            self.memory.write(PhysAddr(at), &low.to_le_bytes());
            self.memory.write(PhysAddr(at + 8), &high.to_le_bytes());
        }
        self.write(TDT, (tail + descriptors.len() as u32) % 8);
    }
    fn receive(&mut self, bytes: &[u8]) -> bool {
        assert!(self.card.has_room());
        self.card.receive(&bytes.to_vec().into(), self.now)
    }
    /// Status, errors, length and tag of a receive descriptor.
    fn descriptor(&self, n: u64) -> (u8, u8, u16, u16) {
        let [a, b, _, _, status, errors, e, f] = self.bytes(RX + 16 * n + 8);
        (status, errors, u16::from_le_bytes([a, b]), u16::from_le_bytes([e, f]))
    }
}

/// A frame to the card with this Ethertype.
fn frame(to: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let [a, b] = ethertype.to_be_bytes();
    [to.as_slice(), &PEER, &[a, b], payload].concat()
}
/// A legacy descriptor of `length` bytes at `PACKET`.
fn legacy(length: usize, command: u32) -> [u64; 2] {
    [PACKET, length as u64 | u64::from(command)]
}
/// TCP over IPv4 as Linux gives it to a card that segments: without lengths, with the sum of the pseudo header.
fn tcp4(payload: usize, flags: u8) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
    let mut tcp = vec![0x30, 0x39, 0, 80, 0, 0, 0x10, 0, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0];
    let sum = checksum::pseudo_header(&ip[12..20], 6, 0);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    ip.extend(tcp);
    ip.extend((0..payload).map(|n| n as u8));
    frame(PEER, 0x0800, &ip)
}
/// The context of such packets, and the descriptor that sends one.
fn tcp4_descriptors(total: usize, payload: usize, piece: u16) -> [[u64; 2]; 2] {
    let low = 14u64 | 24 << 8 | 33 << 16 | 34 << 32 | 50 << 40;
    let command = tx::DEXT | tx::TSE | tx::TCP | tx::IPV4 | payload as u32;
    let context = [low, u64::from(command) | 54 << 40 | u64::from(piece) << 48];
    let command = tx::DEXT | tx::DATA | tx::TSE | tx::EOP | tx::IFCS | tx::RS | total as u32;
    [context, [PACKET, u64::from(command) | u64::from(tx::IXSM | tx::TXSM) << 40]]
}
/// Whether the checksums of a frame of TCP over IPv4 are right, as a receiver looks at it.
fn is_right(bytes: &[u8]) -> bool {
    let ip = &bytes[14..];
    let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let pseudo = checksum::pseudo_header(&ip[12..20], 6, length - 20);
    checksum::sum(&ip[..20]) == 0xFFFF && checksum::add(pseudo, checksum::sum(&ip[20..length])) == 0xFFFF
}

#[test]
fn a_packet_in_pieces_is_one_frame() {
    let mut bench = Bench::new(Offloads::default());
    let bytes: Vec<u8> = frame(PEER, 0x88B5, &[7; 100]);
    bench.memory.write(PhysAddr(PACKET), &bytes);
    bench.write(IMS, cause::TXDW);
    let first = legacy(40, 0);
    let mut second = legacy(bytes.len() - 40, tx::EOP | tx::IFCS | tx::RS);
    second[0] += 40;
    bench.send(&[first, second]);
    assert_eq!(bench.cable.take_sent(), [Frame::from(bytes)]);
    assert_eq!(bench.read(TDH), 2);
    assert_eq!(bench.bytes::<4>(TX + 12), [0; 4], "nobody wants to know of the first");
    assert_eq!(bench.bytes::<4>(TX + 28), [1, 0, 0, 0]);
    assert!(bench.card.config.interrupt_status());
    assert_eq!(bench.read(ICR) & (cause::TXDW | cause::TXQE), cause::TXDW | cause::TXQE);
    assert!(!bench.card.config.interrupt_status());
    assert_eq!((bench.read(0x4080), bench.read(0x40D4), bench.read(0x40DC)), (1, 1, 1));
    assert_eq!((bench.read(0x4090), bench.read(0x4090)), (118, 118));
}

#[test]
fn short_packets_are_padded_and_tags_and_sums_inserted() {
    let mut bench = Bench::new(Offloads::default());
    let bytes = frame(PEER, 0x88B5, &[1, 2, 3, 4]);
    bench.memory.write(PhysAddr(PACKET), &bytes);
    bench.send(&[legacy(bytes.len(), tx::EOP | tx::IFCS)]);
    let sent = bench.cable.take_sent();
    assert_eq!((sent[0].bytes.len(), &sent[0].bytes[..18], sent[0].bytes[59]), (60, bytes.as_slice(), 0));
    // A checksum from byte 14 on, at byte 18; then a check sequence of the driver's own; then a tag.
    let [at, command] = legacy(bytes.len() + 4, tx::EOP | tx::IFCS | tx::IC);
    bench.memory.write(PhysAddr(PACKET + 18), &[0; 4]);
    bench.send(&[[at, command | 14 << 40 | 18 << 16]]);
    let sent = bench.cable.take_sent();
    assert_eq!(sent[0].bytes[18..20], (!checksum::sum(&[1, 2, 3, 4])).to_be_bytes());
    bench.send(&[legacy(bytes.len() + 4, tx::EOP)]);
    assert_eq!(bench.cable.take_sent()[0].bytes[..18], bytes);
    bench.write(CTRL, CTRL_AFTER_RESET | ctrl::VME);
    let [at, command] = legacy(bytes.len(), tx::EOP | tx::IFCS | tx::VLE);
    bench.send(&[[at, command | 0x2064 << 48]]);
    let sent = bench.cable.take_sent();
    assert_eq!(sent[0].bytes[12..18], [0x81, 0, 0x20, 0x64, 0x88, 0xB5]);
}

#[test]
fn segments_have_their_own_headers() {
    for tagged in [false, true] {
        let mut bench = Bench::new(Offloads::default());
        let bytes = tcp4(2500, 0x19);
        bench.memory.write(PhysAddr(PACKET), &bytes);
        let mut descriptors = tcp4_descriptors(bytes.len(), 2500, 1000);
        if tagged {
            bench.write(CTRL, CTRL_AFTER_RESET | ctrl::VME);
            descriptors[1][1] |= u64::from(tx::VLE) | 5 << 48;
        }
        bench.send(&descriptors);
        let sent = bench.cable.take_sent();
        assert_eq!(sent.len(), 3);
        for (n, (frame, payload)) in sent.iter().zip([1000, 1000, 500]).enumerate() {
            let mut bytes = frame.bytes.clone();
            if tagged {
                assert_eq!(bytes.splice(12..16, []).collect::<Vec<_>>(), [0x81, 0, 0, 5]);
            }
            assert_eq!(bytes.len(), 54 + payload);
            assert!(is_right(&bytes), "{n}");
            assert_eq!(
                bytes[16..20],
                [((40 + payload) >> 8) as u8, (40 + payload) as u8, 0x12, 0x34 + n as u8]
            );
            assert_eq!(bytes[38..42], (0x1000 + 1000 * n as u32).to_be_bytes());
            assert_eq!(bytes[47], if n == 2 { 0x19 } else { 0x10 }, "FIN and PSH are for the last");
            assert_eq!(bytes[54], (1000 * n) as u8);
        }
        assert_eq!((bench.read(0x40F8), bench.read(0x4080)), (1, 3));
    }
}

#[test]
fn a_network_that_cuts_gets_the_packet_whole() {
    let accepts = Offloads { checksum: true, tcp4: true, ..Offloads::default() };
    let mut bench = Bench::new(accepts);
    let bytes = tcp4(2500, 0x18);
    bench.memory.write(PhysAddr(PACKET), &bytes);
    let descriptors = tcp4_descriptors(bytes.len(), 2500, 1000);
    bench.send(&descriptors);
    let sent = bench.cable.take_sent();
    assert_eq!(sent.len(), 1);
    let segmentation = sent[0].segmentation.unwrap();
    assert_eq!((segmentation.kind, segmentation.payload), (SegmentationKind::Tcp4, 1000));
    let open = sent[0].checksum.unwrap();
    assert_eq!((open.start, open.offset), (34, 16));
    assert_eq!(sent[0].bytes[16..18], 2540u16.to_be_bytes());
    // Filled in, it is right.
    let mut whole = sent[0].bytes.clone();
    let end = whole.len();
    checksum::fill(&mut whole, 34, end, 50);
    assert!(is_right(&whole));
    assert_eq!((bench.read(0x4080), bench.read(0x40D4)), (3, 3), "what is counted is what is on the wire");
    assert_eq!(bench.read(0x4090), 2 * 1058 + 558);
    // Headers that are elsewhere are cut by the card.
    bench.memory.write(PhysAddr(PACKET + 23), &[17]);
    bench.send(&descriptors);
    assert_eq!(bench.cable.take_sent().len(), 3);
    // A packet that is not cut leaves its checksum to the network.
    let mut descriptors = descriptors;
    descriptors[0][1] &= !u64::from(tx::TSE);
    descriptors[1][1] &= !u64::from(tx::TSE);
    bench.send(&descriptors);
    let sent = bench.cable.take_sent();
    assert_eq!((sent.len(), sent[0].checksum, sent[0].segmentation), (1, Some(open), None));
}

#[test]
fn contexts_that_cannot_be_followed_lose_the_packet() {
    let mut bench = Bench::new(Offloads { checksum: true, tcp4: true, ..Offloads::default() });
    let bytes = tcp4(100, 0);
    bench.memory.write(PhysAddr(PACKET), &bytes);
    for (payload, piece, header) in [(100, 0, 54), (100, 10, 255), (0, 10, 54), (100, 10, 5)] {
        let [mut context, data] = tcp4_descriptors(bytes.len(), payload, piece);
        context[1] = context[1] & !(0xFF << 40) | header << 40;
        bench.send(&[context, data]);
    }
    assert!(bench.cable.take_sent().is_empty());
    assert_eq!((bench.read(0x40FC), bench.read(0x40F8)), (4, 0));
    // Pieces longer than a frame may be.
    bench.memory.write(PhysAddr(PACKET), &tcp4(40_000, 0));
    bench.send(&tcp4_descriptors(40_054, 40_000, 30_000));
    assert!(bench.cable.take_sent().is_empty());
    assert_eq!(bench.read(0x40FC), 1);
}

#[test]
fn a_frame_is_stored_and_told() {
    let mut bench = Bench::new(Offloads::default());
    bench.write(IMS, cause::RXT0);
    let bytes = frame(MAC, 0x88B5, &[9; 86]);
    assert!(bench.receive(&bytes));
    assert_eq!(bench.descriptor(0), (rx::DD | rx::EOP | rx::IXSM, 0, 100, 0));
    assert_eq!(bench.bytes::<100>(BUFFERS).as_slice(), bytes);
    assert_eq!(bench.read(RDH), 1);
    assert!(bench.card.config.interrupt_status());
    assert_eq!(bench.read(ICR) & cause::RXT0, cause::RXT0);
    assert_eq!((bench.read(0x4074), bench.read(0x4060), bench.read(0x40D0)), (1, 1, 1));
    // A frame for another card is counted, and no more.
    assert!(bench.receive(&frame(PEER, 0x88B5, &[9; 86])));
    assert_eq!((bench.read(RDH), bench.read(0x4074), bench.read(0x40D0)), (1, 0, 1));
    // With its check sequence, which makes the whole a frame that a receiver finds right.
    bench.write(RCTL, rctl::EN);
    assert!(bench.receive(&bytes));
    assert_eq!(bench.descriptor(1).2, 104);
    assert_eq!(crc32fast::hash(&bench.bytes::<104>(BUFFERS + 0x800)), 0x2144_DF1C, "the residue of CRC-32");
}

#[test]
fn long_frames_take_several_buffers() {
    let mut bench = Bench::new(Offloads::default());
    let bytes: Vec<u8> = frame(MAC, 0x88B5, &(0..5000).map(|n| n as u8).collect::<Vec<_>>());
    assert!(bench.receive(&bytes));
    assert_eq!((bench.read(RDH), bench.read(0x40AC)), (0, 1), "too long without LPE");
    bench.write(RCTL, rctl::EN | rctl::LPE | rctl::SECRC);
    assert!(bench.receive(&bytes));
    assert_eq!([0, 1, 2].map(|n| bench.descriptor(n).2), [2048, 2048, 918]);
    assert_eq!([0, 1, 2].map(|n| bench.descriptor(n).0 & rx::EOP), [0, 0, rx::EOP]);
    assert_eq!(bench.bytes::<918>(BUFFERS + 0x1000).as_slice(), &bytes[4096..]);
    // Two more fit into four buffers of 2048 bytes only in part: the second one waits.
    assert!(bench.receive(&bytes));
    bench.cable.take_told_of_room();
    assert!(!bench.receive(&bytes));
    assert_eq!(bench.cable.take_told_of_room(), 0);
    assert_eq!((bench.read(RDH), bench.read(0x4010)), (6, 0));
    bench.write(RDT, 3);
    assert!(bench.cable.take_told_of_room() > 0);
    assert!(bench.receive(&bytes));
    // One for which the ring is too small is lost: it would wait for ever.
    bench.write(RCTL, rctl::EN | rctl::LPE | rctl::SECRC | 3 << rctl::BSIZE_SHIFT);
    assert!(bench.receive(&bytes));
    assert_eq!((bench.read(0x4010), bench.read(0x40A0)), (1, 1));
}

#[test]
fn few_buffers_are_told_of() {
    let mut bench = Bench::new(Offloads::default());
    let bytes = frame([0xFF; 6], 0x88B5, &[1; 50]);
    for n in 0..7 {
        bench.receive(&bytes);
        let told = bench.read(ICR) & cause::RXDMT0 != 0;
        assert_eq!(told, n == 2, "half of eight, after {n}");
    }
    assert!(!bench.card.has_room());
    assert_eq!((bench.read(0x4078), bench.read(0x407C)), (7, 0));
}

#[test]
fn tags_are_stripped_and_filtered() {
    let mut bench = Bench::new(Offloads::default());
    let mut bytes = frame(MAC, 0x8100, &[0x20, 0x64, 0x88, 0xB5]);
    bytes.extend([5; 60]);
    bench.write(CTRL, CTRL_AFTER_RESET | ctrl::VME);
    assert!(bench.receive(&bytes));
    assert_eq!(bench.descriptor(0), (rx::DD | rx::EOP | rx::IXSM | rx::VP, 0, 74, 0x2064));
    assert_eq!(bench.bytes::<18>(BUFFERS)[12..], [0x88, 0xB5, 5, 5, 5, 5]);
    bench.write(RCTL, rctl::EN | rctl::SECRC | rctl::VFE);
    assert!(bench.receive(&bytes));
    assert_eq!(bench.read(RDH), 1);
    bench.write(VFTA + 4 * 3, 1 << 4);
    assert!(bench.receive(&bytes));
    assert_eq!(bench.read(RDH), 2);
}

#[test]
fn checksums_that_come_are_looked_at() {
    let mut bench = Bench::new(Offloads::default());
    bench.write(RXCSUM, rxcsum::IPOFL | rxcsum::TUOFL | 14);
    let mut bytes = tcp4(100, 0x18);
    bytes[..6].copy_from_slice(&MAC);
    bytes[16..18].copy_from_slice(&140u16.to_be_bytes());
    bytes[50..52].fill(0);
    let bad = bytes.clone();
    let pseudo = checksum::pseudo_header(&bytes[26..34], 6, 120);
    bytes[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let end = bytes.len();
    checksum::fill(&mut bytes, 34, end, 50);
    checksum::fill(&mut bytes, 14, 34, 24);
    assert!(is_right(&bytes));
    bench.receive(&bytes);
    let both = rx::IPCS | rx::TCPCS;
    assert_eq!(bench.descriptor(0), (rx::DD | rx::EOP | both, 0, 154, 0));
    let field = u16::from_le_bytes(bench.bytes(RX + 10));
    assert_eq!(field, !checksum::sum(&bytes[14..]));
    bench.receive(&bad);
    assert_eq!(bench.descriptor(1), (rx::DD | rx::EOP | both, rx::IPE | rx::TCPE, 154, 0));
    // What the network says is believed; what it left open is filled in.
    let now = bench.now;
    bench.card.receive(&Frame { verified: true, ..bad.clone().into() }, now);
    assert_eq!(bench.descriptor(2).1, 0);
    let mut open = bytes.clone();
    open[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let checksum = Some(trimotor_net::Checksum { start: 34, offset: 16 });
    bench.card.receive(&Frame { checksum, ..open.into() }, now);
    assert_eq!(
        (bench.descriptor(3).1, bench.bytes::<154>(BUFFERS + 0x1800).as_slice()),
        (0, bytes.as_slice())
    );
}

#[test]
fn a_link_that_goes_down_is_told_and_nothing_passes() {
    let mut bench = Bench::new(Offloads::default());
    bench.read(ICR);
    assert_eq!(bench.read(STATUS), 0x283);
    let now = bench.now;
    bench.card.carrier(false, now);
    assert_eq!((bench.read(ICR) & cause::LSC, bench.read(STATUS) & status::LU), (cause::LSC, 0));
    bench.memory.write(PhysAddr(PACKET), &frame(PEER, 0x88B5, &[1; 50]));
    bench.send(&[legacy(64, tx::EOP | tx::IFCS | tx::RS)]);
    assert!(bench.cable.take_sent().is_empty());
    assert_eq!(bench.read(TDH), 1);
    assert!(bench.receive(&frame(MAC, 0x88B5, &[1; 50])));
    assert_eq!(bench.read(RDH), 0);
    bench.card.carrier(true, now);
    bench.now = now + phy::NEGOTIATION_NS;
    assert_eq!(bench.card.next_event(), Some(bench.now));
    assert_eq!((bench.read(STATUS) & status::LU, bench.read(ICR) & cause::LSC), (status::LU, cause::LSC));
}

#[test]
fn a_loopback_brings_back_what_is_sent() {
    let mut bench = Bench::new(Offloads { checksum: true, tcp4: true, ..Offloads::default() });
    bench.write(RCTL, rctl::EN | rctl::SECRC | 1 << 6);
    let bytes = frame(MAC, 0x88B5, &[3; 50]);
    bench.memory.write(PhysAddr(PACKET), &bytes);
    bench.send(&[legacy(64, tx::EOP | tx::IFCS)]);
    assert!(bench.cable.take_sent().is_empty());
    assert_eq!(bench.bytes::<64>(BUFFERS).as_slice(), bytes);
}

#[test]
fn much_work_is_done_in_parts() {
    let mut bench = Bench::new(Offloads::default());
    // A ring of all the descriptors that there may be, each of as many bytes as it can say, none the last of a packet.
    bench.write(TDBAL, 0);
    bench.write(TDLEN, 0xF_FF80);
    bench.memory.write(PhysAddr(0x1000), &[0xFF; 0x1000]);
    bench.write(TDT, 0xFFF0);
    let head = bench.read(TDH);
    assert!((1..=1024).contains(&head), "{head}");
    let mut parts = 0;
    while let Some(at) = bench.card.next_event() {
        bench.card.advance(at);
        parts += 1;
        assert!(parts < 100_000);
    }
    assert_eq!(bench.read(TDH), 0xFFF0);
    assert!(bench.card.transmitter.gathered.bytes.len() <= transmit::LONGEST_SEGMENTED);
}

#[test]
fn senseless_rings_stand_still() {
    let mut bench = Bench::new(Offloads::default());
    for (length, head, tail) in [(0, 0, 5), (128, 0, 8), (128, 8, 3), (128, 0xFFFF, 0xFFFF)] {
        for (length_at, head_at, tail_at) in [(TDLEN, TDH, TDT), (RDLEN, RDH, RDT)] {
            bench.write(length_at, length);
            bench.write(head_at, head);
            bench.write(tail_at, tail);
            assert_eq!(bench.read(head_at), head);
        }
        assert!(!bench.card.has_room());
    }
    // Nothing is taken either while the card may not be bus master.
    for register in [RDH, RDT, TDH, TDT] {
        bench.write(register, 0);
    }
    bench.card.config_write(4, Width::Word, 3, LATER);
    bench.write(RDT, 7);
    assert!(!bench.card.has_room());
    bench.send(&[legacy(64, tx::EOP)]);
    assert_eq!(bench.read(TDH), 0);
    bench.card.config_write(4, Width::Word, 7, LATER);
    assert!(bench.card.has_room());
}

#[test]
fn a_reset_leaves_the_address_and_the_link() {
    let mut bench = Bench::new(Offloads::default());
    bench.write(RAL, 0x1234_5678);
    bench.write(CTRL, ctrl::RST);
    assert_eq!((bench.read(CTRL), bench.read(RCTL), bench.read(RDLEN)), (CTRL_AFTER_RESET, 0, 0));
    assert_eq!(bench.read(RAL).to_le_bytes(), MAC[..4]);
    assert_eq!(bench.read(RAL + 4), 0x8000_5634);
    assert_eq!(bench.read(STATUS) & status::LU, status::LU);
    // By the ports of the other BAR.
    let now = bench.now;
    bench.card.bar_write(IO_BAR, 0, Width::Dword, RAL, now);
    assert_eq!(bench.card.bar_read(IO_BAR, 4, Width::Dword, now) as u32, bench.read(RAL));
    bench.card.bar_write(IO_BAR, 0, Width::Dword, u64::MAX, now);
    bench.card.bar_write(IO_BAR, 4, Width::Dword, 1, now);
    assert_eq!(bench.card.bar_read(IO_BAR, 4, Width::Dword, now), 0);
}

/// The offline register test of Linux's driver (`ethtool -t`), with its masks.
#[test]
fn registers_keep_what_drivers_test() {
    let mut bench = Bench::new(Offloads::default());
    bench.card.reset(LATER);
    for (register, mask, written) in [
        (0x28, u32::MAX, u32::MAX),
        (0x2C, 0xFFFF, u32::MAX),
        (0x30, 0xFFFF, u32::MAX),
        (VET, 0xFFFF, u32::MAX),
        (RDTR, 0xFFFF, u32::MAX),
        (RDBAH, u32::MAX, u32::MAX),
        (RDLEN, 0xF_FF80, 0xF_FFFF),
        (RDH, 0xFFFF, 0xFFFF),
        (RDT, 0xFFFF, 0xFFFF),
        (0x2168, 0xFFF8, 0xFFF8),
        (0x170, 0xFFFF, 0xFFFF),
        (0x410, 0x3FFF_FFFF, u32::MAX),
        (TDBAH, u32::MAX, u32::MAX),
        (TDLEN, 0xF_FF80, 0xF_FFFF),
        (RDBAL, 0xFFFF_FFF0, u32::MAX),
        (0x178, 0xC000_FFFF, 0xFFFF),
        (TDBAL, 0xFFFF_FFF0, u32::MAX),
        (TIDV, 0xFFFF, 0xFFFF),
        (RAL + 12, 0x8003_FFFF, u32::MAX),
        (MTA + 4 * 127, u32::MAX, u32::MAX),
    ] {
        for pattern in [0x5A5A_5A5A, 0xA5A5_A5A5, 0, u32::MAX] {
            bench.write(register, pattern & written);
            assert_eq!(bench.read(register), pattern & written & mask, "{register:#x}");
        }
    }
    for (register, mask, value) in [
        (RCTL, u32::MAX, 0),
        (TCTL, u32::MAX, 0),
        (RCTL, 0x06DF_B3FE, 0x003F_FFFB),
        (RCTL, 0x06DF_B3FE, u32::MAX),
    ] {
        bench.write(register, value & mask);
        assert_eq!(bench.read(register) & mask, value & mask, "{register:#x}");
    }
}

#[test]
fn a_saved_card_goes_on_with_half_a_packet() {
    let mut bench = Bench::new(Offloads::default());
    let bytes = frame(PEER, 0x88B5, &[7; 100]);
    bench.memory.write(PhysAddr(PACKET), &bytes);
    bench.send(&[legacy(40, 0)]);
    let state = bench.card.save();
    let mut other = Bench::new(Offloads::default());
    other.card.restore(state).unwrap();
    other.memory.write(PhysAddr(PACKET), &bytes);
    let mut second = legacy(bytes.len() - 40, tx::EOP | tx::IFCS);
    second[0] += 40;
    other.send(&[second]);
    assert_eq!(other.cable.take_sent(), [Frame::from(bytes)]);
}

#[test]
fn tails_are_read_where_a_doorbell_left_them() {
    let mut bench = Bench::new(Offloads::default());
    bench.memory.write(PhysAddr(PACKET), &frame(PEER, 0x88B5, &[1; 50]));
    let [low, high] = legacy(64, tx::EOP | tx::IFCS);
    bench.memory.write(PhysAddr(TX), &low.to_le_bytes());
    bench.memory.write(PhysAddr(TX + 8), &high.to_le_bytes());
    bench.card.transmit_tail().store(1, std::sync::atomic::Ordering::Release);
    assert_eq!((bench.read(TDT), bench.read(TDH)), (1, 0));
    let now = bench.now;
    bench.card.rung(1 << TRANSMIT_BELL, now);
    assert_eq!((bench.read(TDH), bench.cable.take_sent().len()), (1, 1));
}
