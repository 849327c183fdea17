//! The network card.

use super::super::net::{Net, feature};
use super::super::registers::{common, modern};
use super::*;
use crate::network::{MacAddress, NetworkCard, TestCable};
use trimotor_bus::SaveState;
use trimotor_net::{Checksum, Frame, Offloads, Segmentation, SegmentationKind};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const TX: u64 = 0x20_0000;
const RX: u64 = 0x21_0000;
const HEADER: usize = 12;

struct Driver {
    bench: Bench<Net>,
    rings: Vec<Ring>,
    cable: TestCable,
    format: Format,
}
impl Driver {
    fn new(pairs: u16, format: Format, without: u64, offloads: Offloads) -> Self {
        let mut cable = TestCable::default();
        cable.offloads = offloads;
        let end = Arc::new(cable.clone());
        let mut bench = Bench::new(|_| Net::new(end, MacAddress(MAC), pairs, 64));
        let packed = if format.packed { 0 } else { registers::feature::RING_PACKED };
        let features = bench.offered() & !without & !packed;
        assert!(bench.choose(features));
        let queues = bench.get(common::NUM_QUEUES, Width::Word) as u16;
        let rings = (0..queues).map(|queue| bench.queue(queue, 16, format)).collect();
        bench.ready();
        Self { bench, rings, cable, format }
    }
    /// Sends a frame in two pieces, behind this header.
    fn send(&mut self, queue: usize, header: &[u8], frame: &[u8]) -> Vec<Frame> {
        let mut bytes = header.to_vec();
        bytes.resize(HEADER, 0);
        bytes.extend(frame);
        self.bench.memory.write(PhysAddr(TX), &bytes);
        let (first, all) = (20.min(bytes.len() as u32), bytes.len() as u32);
        self.rings[queue].offer(&self.bench.memory, &[(TX, first, false), (TX + 20, all - first, false)]);
        self.bench.notify(queue as u64);
        assert!(self.rings[queue].take_used(&self.bench.memory).is_some());
        self.cable.take_sent()
    }
    /// Offers buffers of so many bytes, 4 KiB apart.
    fn offer(&mut self, queue: usize, count: u64, bytes: u32) {
        self.offer_from(queue, 0..count, bytes);
    }
    fn offer_from(&mut self, queue: usize, buffers: std::ops::Range<u64>, bytes: u32) {
        for buffer in buffers {
            self.rings[queue].offer(&self.bench.memory, &[(RX + 0x1000 * buffer, bytes, true)]);
        }
        self.bench.notify(queue as u64);
    }
    fn receive(&mut self, frame: &Frame) -> bool {
        self.bench.card.has_room() && self.bench.card.receive(frame, NOW)
    }
    fn used(&mut self, queue: usize) -> Vec<u32> {
        std::iter::from_fn(|| self.rings[queue].take_used(&self.bench.memory))
            .map(|(_, bytes)| bytes)
            .collect()
    }
    fn command(&mut self, class: u8, command: u8, data: &[u8]) -> u8 {
        let queue = self.rings.len() - 1;
        let bytes = [&[class, command], data].concat();
        self.bench.memory.write(PhysAddr(TX), &bytes);
        self.rings[queue]
            .offer(&self.bench.memory, &[(TX, bytes.len() as u32, false), (TX + 0x8000, 1, true)]);
        self.bench.notify(queue as u64);
        assert!(self.rings[queue].take_used(&self.bench.memory).is_some(), "{class} {command}");
        self.bench.bytes(TX + 0x8000, 1)[0]
    }
}
fn frame(to: [u8; 6], bytes: usize) -> Frame {
    let mut frame = to.to_vec();
    frame.extend((6..bytes).map(|at| at as u8));
    frame.into()
}

#[test]
fn frames_go_both_ways() {
    for format in ALL_RINGS {
        let mut driver = Driver::new(1, format, 0, Offloads::default());
        for round in 0..40 {
            let sent = driver.send(1, &[], &frame([9; 6], 60 + round).bytes);
            assert_eq!(sent, [frame([9; 6], 60 + round)], "{:?}", driver.format);
            driver.offer(0, 2, 1500);
            assert!(driver.receive(&frame(MAC, 700)));
            assert_eq!(driver.used(0), [712]);
            let got = driver.bench.bytes(RX, 712);
            assert_eq!(
                (got[..10].to_vec(), &got[10..12], &got[12..]),
                (vec![0; 10], &[1, 0][..], &frame(MAC, 700).bytes[..])
            );
            // The other buffer, so that the ring is empty again.
            assert!(driver.receive(&frame(MAC, 64)));
            assert_eq!(driver.used(0), [76]);
        }
        assert!(!driver.bench.needs_reset());
    }
}

#[test]
fn a_long_frame_takes_several_buffers_all_at_once() {
    let split = Format { packed: false, indirect: false };
    for format in [split, Format { packed: true, indirect: false }] {
        let mut driver = Driver::new(1, format, 0, Offloads::default());
        let mut long = frame(MAC, 5000);
        long.checksum = Some(Checksum { start: 34, offset: 16 });
        long.segmentation = Some(Segmentation { kind: SegmentationKind::Tcp4, payload: 1448, ecn: false });
        driver.offer(0, 3, 1500);
        driver.cable.take_told_of_room();
        assert!(!driver.receive(&long), "512 bytes are missing");
        assert!(driver.used(0).is_empty());
        driver.rings[0].offer(&driver.bench.memory, &[(RX + 0x3000, 1500, true)]);
        assert!(driver.rings[0].wants_notification(&driver.bench.memory), "{format:?}");
        driver.bench.notify(0);
        assert_ne!(driver.cable.take_told_of_room(), 0);
        assert!(driver.receive(&long));
        assert_eq!(driver.used(0), [1500, 1500, 1500, 512]);
        let header = driver.bench.bytes(RX, 12);
        assert_eq!(header[..2], [1, 1]);
        assert_eq!(header[4..], [0xA8, 5, 34, 0, 16, 0, 4, 0]);
    }
    // Without buffers that go together it is lost, and so is what can never fit.
    let mut driver = Driver::new(1, split, feature::MRG_RXBUF, Offloads::default());
    driver.offer(0, 4, 1500);
    assert!(driver.receive(&frame(MAC, 2000)));
    assert!(driver.used(0).is_empty());
    assert!(driver.receive(&frame(MAC, 200)));
    assert_eq!(driver.used(0), [212]);
}

#[test]
fn what_the_network_takes_is_offered_and_handed_on() {
    let all = Offloads { checksum: true, tcp4: true, tcp6: true, ecn: true, udp: true };
    let format = Format { packed: false, indirect: false };
    let mut driver = Driver::new(1, format, 0, all);
    assert_eq!(driver.cable.offloads_of_card(), Offloads { udp: false, ..all });
    let header = [1, 1, 54, 0, 0xA8, 5, 34, 0, 16, 0];
    let sent = driver.send(1, &header, &frame([9; 6], 9000).bytes);
    assert_eq!(sent[0].checksum, Some(Checksum { start: 34, offset: 16 }));
    assert_eq!(sent[0].segmentation.map(|cut| (cut.kind, cut.payload)), Some((SegmentationKind::Tcp4, 1448)));
    // The driver takes less from now on, and nothing after a reset.
    assert_eq!(driver.command(5, 0, &1u64.wrapping_shl(1).to_le_bytes()), 0);
    assert_eq!(driver.cable.offloads_of_card(), Offloads { checksum: true, ..Offloads::default() });
    assert_eq!(driver.command(5, 0, &u64::MAX.to_le_bytes()), 1);
    driver.bench.set(common::STATUS, Width::Byte, 0);
    assert_eq!(driver.cable.offloads_of_card(), Offloads::default());
    assert!(driver.receive(&frame(MAC, 60)), "thrown away");

    let mut driver = Driver::new(1, format, 0, Offloads::default());
    assert_eq!(driver.bench.offered() & (feature::HOST_TSO4 | feature::HOST_TSO6), 0);
    assert_eq!(driver.send(1, &header, &frame([9; 6], 9000).bytes), [], "it was not offered");
    let sent = driver.send(1, &[1, 0, 0, 0, 0, 0, 34, 0, 16, 0], &frame([9; 6], 90).bytes);
    assert_eq!(sent[0].checksum, None);
    assert_ne!(sent[0].bytes, frame([9; 6], 90).bytes, "filled in");
}

#[test]
fn commands_change_what_is_received() {
    let mut driver = Driver::new(1, Format { packed: true, indirect: true }, 0, Offloads::default());
    driver.offer(0, 12, 1500);
    let takes = |driver: &mut Driver, frame: &Frame| {
        assert!(driver.receive(frame));
        driver.used(0).len() == 1
    };
    let (other, group) = ([2, 0, 0, 0, 0, 9], [1, 0, 0x5E, 0, 0, 5]);
    assert!(takes(&mut driver, &frame(other, 60)), "all, until the driver says something else");
    assert_eq!(driver.command(0, 0, &[0]), 0);
    assert!(!takes(&mut driver, &frame(other, 60)) && !takes(&mut driver, &frame(group, 60)));
    let table = [&[1, 0, 0, 0][..], &other, &[1, 0, 0, 0], &group].concat();
    assert_eq!(driver.command(1, 0, &table), 0);
    assert!(takes(&mut driver, &frame(other, 60)) && takes(&mut driver, &frame(group, 60)));
    assert_eq!(driver.command(1, 0, &table[..table.len() - 1]), 1, "a list that is cut off");
    assert_eq!(driver.command(1, 1, &[2, 0, 0, 0, 0, 7]), 0);
    assert_eq!(driver.bench.get(modern::DEVICE, Width::Dword), 2);
    assert!(takes(&mut driver, &frame([2, 0, 0, 0, 0, 7], 60)));
    let tagged = Frame::from([&[2, 0, 0, 0, 0, 7][..], &[0; 6], &[0x81, 0, 0, 100], &[0; 60]].concat());
    assert!(!takes(&mut driver, &tagged));
    assert_eq!(driver.command(2, 0, &[100, 0]), 0);
    assert!(takes(&mut driver, &tagged));
    let saved = driver.bench.card.save();
    driver.bench.card.restore(saved).unwrap();
    assert!(takes(&mut driver, &tagged));
    for (class, command, data) in [
        (0, 9, &[1][..]),
        (1, 0, &[255; 8]),
        (1, 1, &[1]),
        (2, 0, &[0, 0x10]),
        (4, 0, &[1, 0]),
        (9, 9, &[]),
        (0, 0, &[]),
    ] {
        assert_eq!(driver.command(class, command, data), 1, "{class} {command}");
    }
    assert!(!driver.bench.needs_reset());
}

#[test]
fn a_cable_that_comes_back_is_announced() {
    let mut driver = Driver::new(1, Format { packed: false, indirect: false }, 0, Offloads::default());
    let status = |driver: &mut Driver| driver.bench.get(modern::DEVICE + 6, Width::Word);
    assert_eq!(status(&mut driver), 1);
    driver.bench.card.carrier(false, NOW);
    assert_eq!((status(&mut driver), driver.bench.pin()), (0, true));
    driver.bench.card.carrier(true, NOW);
    assert_eq!(status(&mut driver), 3);
    assert_eq!(driver.command(3, 0, &[]), 0);
    assert_eq!(status(&mut driver), 1);
    assert_eq!(driver.bench.get(modern::DEVICE + 10, Width::Word), 1500);
}

#[test]
fn flows_come_back_to_the_pair_that_they_were_sent_by() {
    let mut driver = Driver::new(3, Format { packed: false, indirect: false }, 0, Offloads::default());
    assert_eq!((driver.rings.len(), driver.bench.get(modern::DEVICE + 8, Width::Word)), (7, 3));
    for (pairs, answer) in [(0, 1), (4, 1), (3, 0)] {
        assert_eq!(driver.command(4, 0, &[pairs, 0]), answer, "{pairs}");
    }
    let segment = |from: u8, to: u8, ports: [u8; 4]| {
        let mut bytes = frame(MAC, 60).bytes;
        bytes[12..].fill(0);
        (bytes[12], bytes[14], bytes[23], bytes[29], bytes[33]) = (8, 0x45, 6, from, to);
        bytes[34..38].copy_from_slice(&ports);
        Frame::from(bytes)
    };
    for queue in [0, 2, 4] {
        driver.offer(queue, 2, 1500);
    }
    assert_eq!(driver.send(5, &[], &segment(1, 2, [1, 2, 3, 4]).bytes).len(), 1);
    assert!(driver.receive(&segment(2, 1, [3, 4, 1, 2])));
    assert_eq!([0, 2, 4].map(|queue| driver.used(queue).len()), [0, 0, 1]);
    assert!(driver.receive(&segment(2, 1, [9, 9, 9, 9])));
    assert_eq!([0, 2, 4].map(|queue| driver.used(queue).len()), [1, 0, 0]);
    // Where the network has queues too it knows better; of one that is not used the card does.
    for (queue, used) in [(Some(1), [0, 1, 0]), (Some(3), [0, 0, 1]), (Some(u16::MAX), [1, 0, 0])] {
        let ports = if queue == Some(3) { [3, 4, 1, 2] } else { [9, 9, 9, 9] };
        let frame = Frame { queue, ..segment(2, 1, ports) };
        assert!(driver.receive(&frame));
        assert_eq!([0, 2, 4].map(|queue| driver.used(queue).len()), used, "{queue:?}");
    }
    let sent = driver.send(5, &[], &segment(1, 2, [1, 2, 3, 4]).bytes);
    assert_eq!(sent[0].queue, Some(2));
}

#[test]
fn what_is_no_frame_is_lost() {
    let mut driver = Driver::new(1, Format { packed: false, indirect: false }, 0, Offloads::default());
    assert_eq!(driver.send(1, &[], &[]), []);
    assert_eq!(driver.send(1, &[], &[1; 13]), []);
    assert_eq!(driver.send(1, &[], &vec![1; 70_000]), []);
    assert_eq!(driver.send(1, &[1, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF], &[1; 60]), []);
    assert!(!driver.bench.needs_reset());
    driver.offer(0, 1, 1500);
    assert!(driver.receive(&Frame::from(vec![1, 2, 3])), "and from the network");
}
