//! The console.

use super::super::console::{Console, PortConfig, feature};
use super::super::registers::{common, modern};
use super::*;
use crate::serial::TestCable;
use trimotor_bus::SaveState;

const SPLIT: Format = Format { packed: false, indirect: false };
/// Where buffers are.
const BUFFERS: u64 = 0x20_0000;

fn bench() -> (Bench<Console>, TestCable, TestCable) {
    let (console, named) = (TestCable::new(1000), TestCable::new(1000));
    let port = |number, name: Option<&str>, cable: &TestCable| PortConfig {
        number,
        console: number == 0,
        name: name.map(str::to_owned),
        cable: Box::new(cable.clone()),
    };
    let ports = vec![port(0, None, &console), port(1, Some("agent"), &named)];
    (Bench::new(|_| Console::new(ports)), console, named)
}

/// A driver with all queues.
struct Driver {
    bench: Bench<Console>,
    rings: Vec<Ring>,
    offered: [u16; 6],
}
impl Driver {
    fn new(mut bench: Bench<Console>, without: u64) -> Self {
        let features = bench.offered() & !without & !registers::feature::RING_PACKED;
        assert!(bench.choose(features));
        let rings = (0..6).map(|queue| bench.queue(queue, 16, SPLIT)).collect();
        bench.ready();
        Self { bench, rings, offered: [0; 6] }
    }
    fn say(&mut self, port: u32, event: u16, value: u16) {
        let message = [port.to_le_bytes().as_slice(), &event.to_le_bytes(), &value.to_le_bytes()].concat();
        self.send(3, &message);
        assert!(self.rings[3].take_used(&self.bench.memory).is_some());
    }
    fn send(&mut self, queue: usize, bytes: &[u8]) {
        self.bench.memory.write(PhysAddr(BUFFERS), bytes);
        self.rings[queue].offer(&self.bench.memory, &[(BUFFERS, bytes.len() as u32, false)]);
        self.bench.notify(queue as u64);
    }
    /// What comes through a queue to the guest, with a buffer of so many bytes.
    fn receive(&mut self, queue: usize, room: u32) -> Option<Vec<u8>> {
        let at = |id: u16| BUFFERS + 0x1_0000 + 0x1000 * queue as u64 + 0x100 * u64::from(id);
        // The next descriptor has the next buffer.
        let next = self.offered[queue];
        self.offered[queue] = (next + 1) % 16;
        self.rings[queue].offer(&self.bench.memory, &[(at(next), room, true)]);
        self.bench.notify(queue as u64);
        let (id, length) = self.rings[queue].take_used(&self.bench.memory)?;
        Some(self.bench.bytes(at(id), length as usize))
    }
    fn messages(&mut self) -> Vec<Vec<u16>> {
        let word = |pair: &[u8]| u16::from(pair[0]) | u16::from(*pair.get(1).unwrap_or(&0)) << 8;
        let words = |bytes: Vec<u8>| bytes.chunks(2).map(word).collect();
        std::iter::from_fn(|| self.receive(2, 64)).map(words).collect()
    }
    fn poll(&mut self) {
        self.bench.card.with_device(NOW, Console::poll);
    }
}

#[test]
fn ports_are_found_named_and_opened() {
    let (bench, console, named) = bench();
    named.set_connected(false);
    let mut driver = Driver::new(bench, 0);
    assert_eq!(driver.bench.get(common::NUM_QUEUES, Width::Word), 6);
    assert_eq!(driver.bench.get(modern::DEVICE + 4, Width::Dword), 2);
    driver.say(0, 0, 1);
    assert_eq!(driver.messages(), [[0, 0, 1, 1], [1, 0, 1, 1]]);
    driver.say(0, 3, 1);
    driver.say(1, 3, 1);
    let agent = [1, 0, 7, 1, 0x6761, 0x6E65, 0x74];
    assert_eq!(driver.messages(), [[0, 0, 4, 1].as_slice(), &[0, 0, 6, 1], &agent]);
    named.set_connected(true);
    driver.poll();
    driver.rings[2].take_used(&driver.bench.memory);
    // Bytes wait for a program that opens the port.
    named.type_in(b"hello");
    driver.poll();
    assert_eq!(driver.receive(4, 3), None);
    driver.say(1, 6, 1);
    assert_eq!(driver.rings[4].take_used(&driver.bench.memory), Some((0, 3)));
    assert_eq!(driver.receive(4, 16), Some(b"lo".to_vec()));
    driver.send(5, b"answer");
    driver.send(1, b"text");
    assert_eq!((named.take_output(), console.take_output()), (b"answer".to_vec(), b"text".to_vec()));
    assert!(!driver.bench.needs_reset());
}

#[test]
fn a_full_cable_has_the_guest_wait() {
    let (bench, console, _) = bench();
    console.set_room(3);
    let mut driver = Driver::new(bench, feature::MULTIPORT);
    driver.send(1, b"abcdef");
    assert_eq!(driver.rings[1].take_used(&driver.bench.memory), None);
    let saved = driver.bench.card.save();
    driver.bench.card.restore(saved).unwrap();
    console.set_room(100);
    driver.poll();
    assert_eq!(driver.rings[1].take_used(&driver.bench.memory), Some((0, 0)));
    assert_eq!(console.take_output(), b"abcdef");
    // Nobody is there: bytes are lost, as on a serial line.
    console.set_connected(false);
    driver.send(1, b"lost");
    assert!(driver.rings[1].take_used(&driver.bench.memory).is_some());
    // Without control messages the port is open from the start.
    console.type_in(b"in");
    assert_eq!(driver.receive(0, 16), Some(b"in".to_vec()));
    // A byte out at once.
    console.set_connected(true);
    driver.bench.set(modern::DEVICE + 8, Width::Dword, u64::from(b'!'));
    assert_eq!(console.take_output(), b"!");
}

#[test]
fn a_driver_that_asks_and_does_not_read() {
    let (bench, _, _) = bench();
    let mut driver = Driver::new(bench, 0);
    for _ in 0..300 {
        let message = [0, 0, 0, 0, 0, 0, 1, 0];
        driver.send(3, &message);
        driver.rings[3].take_used(&driver.bench.memory);
    }
    let saved = serde_json::to_string(&driver.bench.card.save()).unwrap();
    assert!(saved.len() < 40_000, "{}", saved.len());
    // Strange messages, and short ones.
    for message in [&[9u8, 0, 0, 0, 3, 0, 1, 0][..], &[0, 0, 0, 0, 99, 0, 1, 0], &[1, 2], &[]] {
        driver.send(3, message);
    }
    assert!(!driver.bench.needs_reset());
}
